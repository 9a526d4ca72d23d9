//! The bytes of a record's head, read and written.

use super::{ChunkTable, Head, Image, Plane, Section};
use crate::decode::{Limits, Orientation};
use crate::error::DecodeError;
use crate::packed::band::decode::SLACK;
use crate::packed::band::{BANDS, Tiling};
use crate::packed::coefficients::{Colour, blocks};
use crate::shape::Size;

const MAGIC: [u8; 4] = *b"BFRC";
const VERSION: u16 = 1;
/// Bytes before the key.
const FIXED: usize = 76;
/// No chunk is longer: 28 places of 32 values of at most 17 bits, with their parameters, are less.
pub(super) const WIDEST: u32 = 16;
const KIND_BANDS: u8 = 0;
const KIND_STORED: u8 = 1;
/// The flag of an image that is not the original's own.
const REDUCED: u8 = 1;
/// Longest key.
pub(super) const LONGEST_KEY: usize = 4096;

const COLOURS: [Colour; 5] = [Colour::Gray, Colour::YCbCr, Colour::Rgb, Colour::Cmyk, Colour::Ycck];

fn corrupt(what: &str, at: usize) -> DecodeError {
    DecodeError::corrupt(format!("the record's {what} at byte {at} is not sound"))
}

/// Takes values one after another.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(len).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| corrupt("head, which is too short,", self.at))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let at = self.at;
        self.take(N)?.try_into().map_err(|_| corrupt("head", at))
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A value that must hold.
    fn expect<T>(&self, what: &str, value: Option<T>) -> Result<T, DecodeError> {
        value.ok_or_else(|| corrupt(what, self.at))
    }
}

/// The checksum of what is in a head before its last four bytes.
fn checksum(head: &[u8]) -> u32 {
    crc32c::crc32c(head)
}

/// Reads the head at the start of `bytes`.
pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Head, DecodeError> {
    let mut fields = Fields { bytes, at: 0 };
    if fields.array()? != MAGIC {
        return Err(DecodeError::corrupt("not a packed record: its first four bytes are not BFRC"));
    }
    let version = fields.u16()?;
    if version != VERSION {
        return Err(DecodeError::unsupported(format!("a packed record of version {version}, {VERSION} is read here")));
    }
    let (kind, orientation) = (fields.u8()?, fields.u8()?);
    let len = fields.u32()? as usize;
    let head = len.checked_sub(4).and_then(|before| bytes.get(..before));
    let head = fields.expect("length", head.filter(|_| len <= bytes.len() && len.is_multiple_of(4)))?;
    let sum = Fields { bytes, at: len - 4 }.u32()?;
    if checksum(head) != sum {
        return Err(DecodeError::corrupt("the record's head does not have the checksum that it says"));
    }
    // From here on a fault is a writer's, not the disk's.
    fields.bytes = head;
    let label = fields.u32()?;
    let original_len = fields.u64()?;
    let original_sha256 = fields.array()?;
    let size = Size::new(fields.u16()?.into(), fields.u16()?.into());
    let [components, colour, tables, flags] = fields.array()?;
    let key_len = fields.u16()?;
    fields.u16()?;
    let (tail_len, tail_crc) = (fields.u32()?, fields.u32()?);
    let key = std::str::from_utf8(fields.take(key_len.into())?).ok().filter(|key| key.len() <= LONGEST_KEY);
    let key = fields.expect("key", key)?.to_owned();
    let (image, end) = match kind {
        KIND_STORED => (None, len as u64),
        KIND_BANDS => {
            if size.pixels() > limits.max_pixels {
                let (Size { width, height }, most) = (size, limits.max_pixels);
                return Err(DecodeError::limit(format!("{width}x{height} pixels, {most} are allowed")));
            }
            let colour = COLOURS.get(usize::from(colour)).copied();
            let colour = colour.filter(|c| c.components() == usize::from(components) && size.pixels() > 0);
            let colour = fields.expect("frame", colour)?;
            let orientation = fields.expect("orientation", Orientation::from_exif(orientation.into()))?;
            let image = read_image(&mut fields, size, orientation, colour, tables, len as u64)?;
            let end = image.bands[BANDS - 1].end;
            (Some(image), end)
        }
        _ => return Err(DecodeError::unsupported(format!("a packed record of kind {kind}"))),
    };
    if fields.bytes[fields.at..].iter().any(|&b| b != 0) || fields.bytes.len() - fields.at > 3 {
        return Err(corrupt("end of the head", fields.at));
    }
    let tail = end..end + u64::from(tail_len);
    let is_reduced = flags & REDUCED != 0;
    Ok(Head { key, label, original_len, original_sha256, is_reduced, image, len: tail.end, tail: (tail, tail_crc) })
}

fn read_image(
    fields: &mut Fields,
    size: Size,
    orientation: Orientation,
    colour: Colour,
    tables: u8,
    start: u64,
) -> Result<Image, DecodeError> {
    let mut steps: Vec<[u16; 64]> = Vec::new();
    for _ in 0..tables.min(4) {
        let mut table = [0; 64];
        let is_wide = fields.u8()?;
        for step in &mut table {
            *step = if is_wide == 1 { fields.u16()? } else { fields.u8()?.into() };
        }
        fields.expect("quantisation table", (is_wide <= 1 && !table.contains(&0)).then_some(()))?;
        steps.push(table);
    }
    let mut components = Vec::with_capacity(colour.components());
    for _ in 0..colour.components() {
        let [id, sampling, table, _] = fields.array()?;
        let largest_sum = fields.u32()?;
        let packed: [u8; 32] = fields.array()?;
        let sampling = (sampling >> 4, sampling & 15);
        let is_sampling = (1..=4).contains(&sampling.0) && (1..=4).contains(&sampling.1);
        let steps = fields.expect("component", steps.get(usize::from(table)).filter(|_| is_sampling).copied())?;
        let bases = std::array::from_fn(|place| packed[place / 2] >> (4 * (place % 2)) & 15);
        let (blocks, chunks) = (Size::new(0, 0), Default::default());
        components.push(Plane { id, sampling, steps, blocks, largest_sum, bases, chunks });
    }
    let largest = components.iter().fold((1, 1), |l: (u8, u8), c| (l.0.max(c.sampling.0), l.1.max(c.sampling.1)));
    for component in &mut components {
        component.blocks = blocks(size, component.sampling, largest);
    }
    let mut bands: [Section; BANDS] = Default::default();
    let mut at = start;
    for (band, section) in bands.iter_mut().enumerate() {
        section.index_crc = fields.u32()?;
        section.payload_crc = fields.u32()?;
        let mut payload_at = at;
        for component in &mut components {
            let (len, width) = (u64::from(fields.u32()?), u32::from(fields.u8()?));
            fields.expect("index width", (width <= WIDEST).then_some(()))?;
            let index_len = index_len(Tiling::new(component.blocks).count(), width);
            component.chunks[band] = ChunkTable { width, index: payload_at..payload_at + index_len, payload: 0..len };
            payload_at += index_len;
        }
        section.index = at..payload_at;
        let mut end = payload_at;
        for component in &mut components {
            let payload = &mut component.chunks[band].payload;
            *payload = end..end + payload.end;
            end = payload.end;
        }
        section.payload = payload_at..end;
        section.end = (end + SLACK as u64).next_multiple_of(4);
        at = section.end;
    }
    Ok(Image { size, orientation, colour, components, bands })
}

/// Bytes of a component's lengths.
pub(super) fn index_len(tiles: usize, width: u32) -> u64 {
    (tiles as u64 * u64::from(width)).div_ceil(8)
}

/// Writes the head for what `head` says. Of ranges only the lengths are written.
pub(super) fn write(head: &Head) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1024);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    let (kind, orientation, size, frame, image) = match &head.image {
        None => (KIND_STORED, 1, Size::new(0, 0), [0; 4], None),
        Some(image) => {
            let colour = COLOURS.iter().position(|&c| c == image.colour).unwrap_or(0) as u8;
            let frame =
                [image.components.len() as u8, colour, tables(image).len() as u8, u8::from(head.is_reduced) * REDUCED];
            (KIND_BANDS, image.orientation.to_exif() as u8, image.size, frame, Some(image))
        }
    };
    bytes.extend_from_slice(&[kind, orientation]);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&head.label.to_le_bytes());
    bytes.extend_from_slice(&head.original_len.to_le_bytes());
    bytes.extend_from_slice(&head.original_sha256);
    for side in [size.width, size.height] {
        bytes.extend_from_slice(&(side as u16).to_le_bytes());
    }
    bytes.extend_from_slice(&frame);
    bytes.extend_from_slice(&(head.key.len() as u16).to_le_bytes());
    bytes.extend_from_slice(&[0; 2]);
    bytes.extend_from_slice(&((head.tail.0.end - head.tail.0.start) as u32).to_le_bytes());
    bytes.extend_from_slice(&head.tail.1.to_le_bytes());
    debug_assert_eq!(bytes.len(), FIXED);
    bytes.extend_from_slice(head.key.as_bytes());
    if let Some(image) = image {
        write_image(image, &mut bytes);
    }
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let len = bytes.len() as u32 + 4;
    bytes[8..12].copy_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(&checksum(&bytes).to_le_bytes());
    bytes
}

fn write_image(image: &Image, bytes: &mut Vec<u8>) {
    let tables = tables(image);
    for steps in &tables {
        let is_wide = steps.iter().any(|&step| step > 255);
        bytes.push(is_wide.into());
        for step in steps.iter() {
            bytes.extend_from_slice(&step.to_le_bytes()[..if is_wide { 2 } else { 1 }]);
        }
    }
    for plane in &image.components {
        let table = tables.iter().position(|steps| **steps == plane.steps).unwrap_or(0) as u8;
        bytes.extend_from_slice(&[plane.id, plane.sampling.0 << 4 | plane.sampling.1, table, 0]);
        bytes.extend_from_slice(&plane.largest_sum.to_le_bytes());
        bytes.extend(plane.bases.as_chunks::<2>().0.iter().map(|pair| pair[0] | pair[1] << 4));
    }
    for (band, section) in image.bands.iter().enumerate() {
        bytes.extend_from_slice(&section.index_crc.to_le_bytes());
        bytes.extend_from_slice(&section.payload_crc.to_le_bytes());
        for plane in &image.components {
            let ChunkTable { width, payload, .. } = &plane.chunks[band];
            bytes.extend_from_slice(&((payload.end - payload.start) as u32).to_le_bytes());
            bytes.push(*width as u8);
        }
    }
}

/// The different quantisation tables of an image.
fn tables(image: &Image) -> Vec<&[u16; 64]> {
    let mut tables: Vec<&[u16; 64]> = Vec::new();
    for plane in &image.components {
        if !tables.contains(&&plane.steps) {
            tables.push(&plane.steps);
        }
    }
    tables
}
