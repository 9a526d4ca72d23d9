//! What a file says of its size, read before any decoder sees it.
//!
//! The decoders of the `image` crate allocate for what a file claims, at places where their own limits do not reach: PNG
//! inflates a colour profile before its size can be asked for, WebP makes room for a frame before comparing it with the
//! canvas, TIFF for a value list or a tile of any length. So each claim is compared with the limits, the canvas or the
//! file's length first.

use crate::decode::{Format, Limits};
use crate::error::DecodeError;
use crate::shape::Size;

/// The size the file gives its image, within the limits.
pub(super) fn size(bytes: &[u8], format: Format, limits: &Limits) -> Result<Size, DecodeError> {
    let size = match format {
        Format::Packed => return Err(DecodeError::corrupt("a packed record without an image")),
        Format::Jpeg => return Err(DecodeError::corrupt("a JPEG without a frame header")),
        Format::Png => png(bytes)?,
        Format::WebP => return webp(bytes, limits),
        Format::Gif => sides(u16::from_le_bytes(at(bytes, 6)?), u16::from_le_bytes(at(bytes, 8)?)),
        Format::Bmp => bmp(bytes)?,
        Format::Tiff => tiff(bytes)?,
    };
    limits.check(size)?;
    Ok(size)
}

fn sides(width: impl Into<u32>, height: impl Into<u32>) -> Size {
    Size::new(width.into(), height.into())
}

/// `N` bytes from `offset` on.
fn at<const N: usize>(bytes: &[u8], offset: usize) -> Result<[u8; N], DecodeError> {
    let found = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    found.copied().ok_or_else(|| DecodeError::corrupt(format!("truncated: ends at byte {}", bytes.len())))
}

/// The header chunk comes first (PNG specification, 5.6).
fn png(bytes: &[u8]) -> Result<Size, DecodeError> {
    if at(bytes, 12)? != *b"IHDR" {
        return Err(DecodeError::corrupt("a PNG whose first chunk is not IHDR"));
    }
    Ok(sides(u32::from_be_bytes(at(bytes, 16)?), u32::from_be_bytes(at(bytes, 20)?)))
}

/// 16-bit sides in the header of 12 bytes, signed 32-bit ones in all others; a negative height means top to bottom.
fn bmp(bytes: &[u8]) -> Result<Size, DecodeError> {
    if u32::from_le_bytes(at(bytes, 14)?) == 12 {
        return Ok(sides(u16::from_le_bytes(at(bytes, 18)?), u16::from_le_bytes(at(bytes, 20)?)));
    }
    let [width, height] = [18, 22].map(|offset| at(bytes, offset).map(i32::from_le_bytes));
    Ok(sides(width?.unsigned_abs(), height?.unsigned_abs()))
}

/// A chunk of a RIFF container.
struct Chunk<'a> {
    name: [u8; 4],
    /// Where its data begins in the file.
    start: usize,
    data: &'a [u8],
}

/// The chunks that begin in `range`. Bytes after the last may be anything, unless they name a chunk that is read.
fn chunks(bytes: &[u8], range: std::ops::Range<usize>) -> impl Iterator<Item = Result<Chunk<'_>, DecodeError>> {
    let mut position = range.start;
    std::iter::from_fn(move || {
        if position >= range.end {
            return None;
        }
        let name: [u8; 4] = at(bytes, position).ok()?;
        let len = u32::from_le_bytes(at(bytes, position + 4).ok()?) as usize;
        let start = position + 8;
        let Some(data) = bytes[start..].get(..len) else {
            position = range.end;
            let known = matches!(
                &name,
                b"VP8 " | b"VP8L" | b"VP8X" | b"ANIM" | b"ANMF" | b"ALPH" | b"ICCP" | b"EXIF" | b"XMP "
            );
            return known.then(|| {
                let name = String::from_utf8_lossy(&name);
                Err(DecodeError::corrupt(format!("truncated: {name} has {len} bytes from byte {start} on")))
            });
        };
        position = start + len.next_multiple_of(2);
        Some(Ok(Chunk { name, start, data }))
    })
}

/// The canvas, after each frame was compared with the room it has on it.
fn webp(bytes: &[u8], limits: &Limits) -> Result<Size, DecodeError> {
    let riff = u32::from_le_bytes(at(bytes, 4)?) as usize;
    // As far as the decoder looks for chunks, which is somewhat further than the container says.
    let end = bytes.len().min(riff.saturating_add(18));
    let mut all = chunks(bytes, 12..end);
    let first = all.next().ok_or_else(|| DecodeError::corrupt("a WebP without a chunk"))??;
    if first.name != *b"VP8X" {
        let size = frame(&first).ok_or_else(|| DecodeError::corrupt("a WebP without a frame"))?;
        limits.check(size)?;
        return Ok(size);
    }
    let canvas = Size::new(1 + u24(first.data, 4)?, 1 + u24(first.data, 7)?);
    limits.check(canvas)?;
    for chunk in all {
        let chunk = chunk?;
        if chunk.name != *b"ANMF" {
            fits(&chunk, canvas)?;
            continue;
        }
        let [x, y, width, height] = [0, 3, 6, 9].map(|offset| u24(chunk.data, offset));
        let (x, y, size) = (2 * x?, 2 * y?, Size::new(1 + width?, 1 + height?));
        if x + size.width > canvas.width || y + size.height > canvas.height {
            let (Size { width, height }, Size { width: across, height: down }) = (size, canvas);
            return Err(DecodeError::corrupt(format!(
                "a frame of {width}x{height} pixels at ({x}, {y}) of a canvas of {across}x{down}"
            )));
        }
        for part in chunks(bytes, chunk.start + 16..chunk.start + chunk.data.len()) {
            fits(&part?, size)?;
        }
    }
    Ok(canvas)
}

fn u24(data: &[u8], offset: usize) -> Result<u32, DecodeError> {
    let [a, b, c] = at(data, offset)?;
    Ok(u32::from_le_bytes([a, b, c, 0]))
}

/// Refuses a frame that is not of the size it should have.
fn fits(chunk: &Chunk<'_>, size: Size) -> Result<(), DecodeError> {
    match frame(chunk) {
        Some(found) if found != size => Err(DecodeError::corrupt(format!(
            "a frame of {}x{} pixels where {}x{} are announced",
            found.width, found.height, size.width, size.height
        ))),
        _ => Ok(()),
    }
}

/// The size in a frame's own header: RFC 6386 9.1 and the WebP lossless specification, 3. `None` where there is none; the
/// decoder stops there too.
fn frame(chunk: &Chunk<'_>) -> Option<Size> {
    match (&chunk.name, chunk.data) {
        (b"VP8 ", [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..]) => {
            let [width, height] = [[*w0, *w1], [*h0, *h1]].map(|side| u16::from_le_bytes(side) & 0x3fff);
            Some(sides(width, height))
        }
        (b"VP8L", [0x2f, a, b, c, d, ..]) => {
            let bits = u32::from_le_bytes([*a, *b, *c, *d]);
            Some(Size::new(1 + (bits & 0x3fff), 1 + (bits >> 14 & 0x3fff)))
        }
        _ => None,
    }
}

/// Longest side of a tile of a small TIFF; larger images have tiles up to their own size.
const TILE_SIDE: u32 = 4096;

/// The first directory's size. The values that the decoder reads have to lie in the file.
fn tiff(bytes: &[u8]) -> Result<Size, DecodeError> {
    let little = bytes.starts_with(b"II");
    let u16_at = |offset| at(bytes, offset).map(|b| if little { u16::from_le_bytes(b) } else { u16::from_be_bytes(b) });
    let u32_at = |offset| at(bytes, offset).map(|b| if little { u32::from_le_bytes(b) } else { u32::from_be_bytes(b) });
    let directory = u32_at(4)? as usize;
    let mut size = Size::new(0, 0);
    let mut tile = Size::new(0, 0);
    for n in 0..usize::from(u16_at(directory)?) {
        let entry = directory + 2 + 12 * n;
        let (tag, kind, count) = (u16_at(entry)?, u16_at(entry + 2)?, u32_at(entry + 4)?);
        // Everything that describes the samples; the tags in between that only describe the picture are not read.
        if !matches!(tag, 256..=259 | 262 | 266 | 273 | 274 | 277..=279 | 284 | 317 | 320..=325 | 338 | 339 | 347 | 529..=532)
        {
            continue;
        }
        let value_len: u64 = match kind {
            1 | 2 | 6 | 7 => 1,
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            _ => 8,
        };
        let len = value_len * u64::from(count);
        if len > 4 && u64::from(u32_at(entry + 8)?) + len > bytes.len() as u64 {
            return Err(DecodeError::corrupt(format!("truncated: the values of tag {tag} take {len} bytes")));
        }
        let side = match tag {
            256 => &mut size.width,
            257 => &mut size.height,
            322 => &mut tile.width,
            323 => &mut tile.height,
            _ => continue,
        };
        *side = match (kind, count) {
            (1, 1) => u32::from(at::<1>(bytes, entry + 8)?[0]),
            (3, 1) => u16_at(entry + 8)?.into(),
            (4, 1) => u32_at(entry + 8)?,
            _ => {
                return Err(DecodeError::unsupported(format!(
                    "a TIFF whose tag {tag} has {count} values of type {kind}"
                )));
            }
        };
    }
    if tile.width > TILE_SIDE.max(size.width.next_multiple_of(16))
        || tile.height > TILE_SIDE.max(size.height.next_multiple_of(16))
    {
        return Err(DecodeError::corrupt(format!("tiles of {}x{} pixels", tile.width, tile.height)));
    }
    Ok(size)
}
