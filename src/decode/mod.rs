//! Encoded bytes to 8-bit RGB pixels: the whole image, or only what a crop needs.
//!
//! JPEG goes through an own decoder where it is sequential, Huffman-coded and sound, else through libjpeg-turbo, at full scale
//! to the same pixels; PNG, WebP, GIF, BMP and TIFF through the `image` crate. The format is told by the bytes, never
//! by a file's name (ImageNet has a PNG called `.JPEG`).
//!
//! # Pixels
//!
//! RGB8, interleaved, `0..=255`, upright: the EXIF orientation is applied, colour profiles are ignored.
//! - JPEG: the integer IDCT and triangle ("fancy") chroma upsampling of `djpeg -dct int`, bit for bit. Gray is copied to
//!   the three channels; CMYK and YCCK inks are taken as inverted, as Adobe, djpeg and Pillow do.
//!   At a reduced scale M/8 ([`scale_for`]) they come from the low M x M coefficients of each block, and of JPEGs that the
//!   own decoder does not read from libjpeg's scaled transforms.
//! - Alpha is dropped, not blended, as by Pillow's `convert("RGB")`. Of an animation the first frame is taken.
//! - 16-bit samples keep their high byte, as Pillow does for colour and libpng's `strip_16` for all. (Pillow clips
//!   16-bit *gray* at 255 instead, which turns most such images white.)
//!
//! # Damaged files
//!
//! As djpeg and torchvision, and unlike Pillow, a JPEG in which libjpeg finds damage but still makes an image of decodes
//! to that image, with libjpeg's words in `warning`. [`Decoder::strict`] makes every warning an error. A region is only
//! read as far as its last row, so damage below it is not seen; with seek points ([`Decoder::decode_region_from`]) only where it
//! lies, so damage before it is not seen either.
//!
//! A packed record is checked whole where it is decoded whole, and by a strict decoder. For a region only its head and
//! index are, and that its chunks add up: a flipped bit in a chunk may give wrong pixels in its tile. `bandfeed info
//! --verify` finds all.

mod bands;
pub(crate) mod baseline;
mod fidelity;
mod jpeg;
mod markers;
mod orientation;
mod other;
mod region;

pub use baseline::seek::{SeekGrid, SeekPoint, SeekPoints};
pub(crate) use fidelity::chroma_scale;
pub use fidelity::{Fidelity, SCALE_MARGIN, scale_for};
pub use markers::{Frame, Process};
pub use orientation::Orientation;
#[cfg(feature = "wgpu")]
pub(crate) use {
    bands::{factors, placed, rings},
    baseline::colour as jpeg_colour,
    baseline::idct::{LARGEST_SUM as LARGEST_SUM_AT_8, SAFE_SUM as SAFE_SUM_AT_8},
    baseline::pixels::Placed,
    baseline::scaled::{LARGEST_SUM, SAFE_SUM},
    fidelity::libjpeg_scale_for,
    region::plan_window,
};

use crate::error::{DecodeError, Error, Result};
use crate::packed::Record;
use crate::shape::{Rect, Size};

/// What a file may ask for. Checked on its header, before memory is allocated for its pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most pixels of an image.
    pub max_pixels: u64,
    /// Most scans of a JPEG. Each costs a pass over the whole image, and a progressive JPEG can hold thousands that are
    /// a few bytes long. Encoders write about 10, and one that gives each coefficient its own scan some 70.
    pub max_scans: u32,
}

impl Default for Limits {
    /// 100 megapixels, 128 scans.
    fn default() -> Self {
        Self { max_pixels: 100_000_000, max_scans: 128 }
    }
}

impl Limits {
    fn check(&self, size: Size) -> Result<(), DecodeError> {
        if size.pixels() > self.max_pixels {
            let (Size { width, height }, most) = (size, self.max_pixels);
            return Err(DecodeError::limit(format!("{width}x{height} pixels, {most} are allowed")));
        }
        Ok(())
    }
}

/// The kind of file, told by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// ITU-T T.81.
    Jpeg,
    /// Portable Network Graphics.
    Png,
    /// WebP, lossy and lossless.
    WebP,
    /// GIF 87a and 89a.
    Gif,
    /// Windows bitmap.
    Bmp,
    /// TIFF, both byte orders.
    Tiff,
    /// A record of [`crate::packed`]: a JPEG's coefficients, or a file as it was.
    Packed,
}

impl Format {
    /// The format whose signature the bytes carry.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        if markers::is_jpeg(bytes) {
            return Some(Self::Jpeg);
        }
        match bytes {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Self::Png),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Self::WebP),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Self::Gif),
            [b'B', b'M', ..] => Some(Self::Bmp),
            [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Some(Self::Tiff),
            [b'B', b'F', b'R', b'C', ..] => Some(Self::Packed),
            _ => None,
        }
    }
}

/// What is known of an image before its pixels. Made by [`Decoder::header`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// The kind of file.
    pub format: Format,
    /// Size after the orientation is applied: the coordinates of regions.
    pub size: Size,
    /// Size as stored.
    pub stored: Size,
    /// How the stored pixels are turned.
    pub orientation: Orientation,
    /// Frame of a JPEG, or of the one that a packed record is of; `None` for other formats.
    pub frame: Option<Frame>,
}

/// A decoded image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pixels {
    /// Columns and rows.
    pub size: Size,
    /// RGB8, interleaved, rows without padding: `3 * width * height` bytes.
    pub data: Vec<u8>,
    /// libjpeg's first complaint, where it made an image of a damaged file.
    pub warning: Option<String>,
}

/// The pixels that touch a region, borrowed from the decoder.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Patch<'a> {
    /// RGB8, interleaved, rows `stride` bytes apart; ends with the last row's last pixel.
    pub pixels: &'a [u8],
    /// Bytes from one row to the next, at least `3 * size.width`.
    pub stride: usize,
    /// Columns and rows of the patch.
    pub size: Size,
    /// The region in the patch's pixels: x, y, width, height. At full scale exactly `[0, 0, width, height]`.
    pub area: [f64; 4],
    /// M of the scale M/8: 8, 6, 4, 3, 2 or 1.
    pub scale: u8,
    /// Encoded bytes that were looked at: of a packed record the bands and tiles under the region, of other files all.
    pub bytes: u64,
    /// libjpeg's first complaint, where it made pixels of damaged data.
    pub warning: Option<&'a str>,
}

/// What became of seek points that a decoder was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Seek {
    /// There were none, or they were of no use: the file is not one for the own decoder, or the decoder is strict.
    #[default]
    Unused,
    /// The region was decoded by them.
    Used,
    /// They are not of this file, which was decoded without them.
    Wrong,
}

/// Decodes images one after another. Have one for each worker.
///
/// Its buffers are kept from image to image: once they have grown to a data set's usual size, [`Decoder::decode_region`]
/// of a JPEG allocates nothing on this side of libjpeg. More than 64 MiB is given back with the next smaller image.
pub struct Decoder {
    limits: Limits,
    scale_margin: f64,
    strict: bool,
    /// `None` where every JPEG is left to libjpeg.
    baseline: Option<baseline::Baseline>,
    /// Whether `baseline` decodes at full scale too. There the pixels are libjpeg's, so that the faster one may be taken; at
    /// a reduced scale they are not, and must not depend on the machine.
    own_full: bool,
    own_decodes: u64,
    bands: bands::Bands,
    seek: Seek,
    decoded: Vec<u8>,
    /// Oriented pixels, or samples that are not yet RGB8.
    second: Vec<u8>,
    warning: Option<String>,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { limits, scale_margin, strict, .. } = self;
        f.debug_struct("Decoder")
            .field("limits", limits)
            .field("scale_margin", scale_margin)
            .field("strict", strict)
            .finish_non_exhaustive()
    }
}

/// Scratch memory above this is not kept for smaller images.
const KEPT_BYTES: usize = 64 << 20;

/// `len` bytes of `buffer`, of any content.
fn scratch(buffer: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if buffer.len() > KEPT_BYTES && len <= KEPT_BYTES {
        *buffer = Vec::new();
    }
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    &mut buffer[..len]
}

impl Decoder {
    /// A decoder with these limits, which scales where [`scale_for`] allows and accepts damaged files.
    ///
    /// # Errors
    /// [`Error::Config`] if a limit is 0.
    pub fn new(limits: Limits) -> Result<Self> {
        for (what, limit) in [("max_pixels", limits.max_pixels), ("max_scans", limits.max_scans.into())] {
            if limit == 0 {
                return Err(Error::config(format!("limits.{what}"), "0 allows no image; expected at least 1"));
            }
        }
        let baseline = baseline::Baseline::new();
        Ok(Self {
            limits,
            scale_margin: SCALE_MARGIN,
            strict: false,
            own_full: baseline.is_fast(),
            baseline: Some(baseline),
            own_decodes: 0,
            bands: bands::Bands::new(),
            seek: Seek::Unused,
            decoded: Vec::new(),
            second: Vec::new(),
            warning: None,
        })
    }

    /// Decoded pixels to keep for each pixel needed, where a region is decoded at a reduced scale. Default [`SCALE_MARGIN`],
    /// which says what less costs; infinity decodes everything at full scale.
    ///
    /// # Errors
    /// [`Error::Config`] if `margin` is below 1: fewer pixels would be kept than are needed.
    pub fn scale_margin(mut self, margin: f64) -> Result<Self> {
        if margin.is_nan() || margin < 1.0 {
            return Err(Error::config("scale_margin", format!("{margin}: expected at least 1")));
        }
        self.scale_margin = margin;
        Ok(self)
    }

    /// Whether a JPEG that libjpeg warns about is [`DecodeError::Corrupt`].
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Leaves every JPEG to libjpeg, for tests and benches that compare.
    #[doc(hidden)]
    pub fn without_own_decoder(mut self) -> Self {
        self.baseline = None;
        self
    }

    /// Takes the own decoder also where libjpeg-turbo is thought to be faster: for tests.
    #[doc(hidden)]
    pub fn with_own_decoder(mut self) -> Self {
        self.baseline = Some(baseline::Baseline::new());
        self.own_full = true;
        self
    }

    /// Leaves out the vector instructions that this machine may have, to compare.
    #[doc(hidden)]
    pub fn without_vectors(mut self) -> Self {
        let baseline = baseline::Baseline::plain();
        self.own_full = baseline.is_fast();
        self.baseline = Some(baseline);
        self.bands = bands::Bands::plain();
        self
    }

    /// Leaves out AVX-512, which only packed records are decoded by, to compare.
    #[doc(hidden)]
    pub fn without_avx512(mut self) -> Self {
        self.bands = bands::Bands::without_avx512();
        self
    }

    /// How many images were decoded without libjpeg's help.
    #[doc(hidden)]
    pub fn own_decodes(&self) -> u64 {
        self.own_decodes
    }

    /// Size, format and orientation. Checks the limits; reads no pixels.
    ///
    /// Costs a pass over the whole file for a JPEG of several scans, and little for others.
    ///
    /// # Errors
    /// [`DecodeError`] where the header alone tells that there will be no image.
    pub fn header(&mut self, bytes: &[u8]) -> Result<Header, DecodeError> {
        let (bytes, record) = open(bytes, &self.limits)?;
        let format = Format::of(bytes).ok_or_else(|| unknown(bytes))?;
        let (stored, orientation, frame) = if let Some(image) = record.as_ref().and_then(Record::image) {
            (image.size, image.orientation, Some(frame_of(image)))
        } else if format == Format::Jpeg {
            let (frame, orientation) = markers::read(bytes, &self.limits)?;
            (frame.size, orientation, Some(frame))
        } else {
            let (stored, orientation) = other::header(bytes, format, &self.limits)?;
            (stored, orientation, None)
        };
        Ok(Header { format, size: orientation.size(stored), stored, orientation, frame })
    }

    /// Decodes the whole image, upright.
    ///
    /// # Errors
    /// [`DecodeError`] if there is no image in the bytes, or more of it than the limits allow.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Pixels, DecodeError> {
        let header = self.header(bytes)?;
        let stored = self.decode_stored(bytes, &header)?;
        Ok(header.orientation.apply(stored))
    }

    /// Decodes the whole image as it is stored, without turning it by its orientation.
    ///
    /// # Errors
    /// As [`Decoder::decode`]; [`DecodeError::Corrupt`] where `header` is another file's.
    pub fn decode_stored(&mut self, bytes: &[u8], header: &Header) -> Result<Pixels, DecodeError> {
        self.limits.check(header.stored)?;
        let (bytes, record) = open(bytes, &self.limits)?;
        let (size, mut data) = (header.stored, Vec::new());
        if let Some(record) = record {
            image_of(&record, header)?;
            record.verify(8)?;
            if self.bands.decode(&record, Rect::whole(size), 8, &mut data)?.is_some() {
                self.own_decodes += 1;
                return Ok(Pixels { size, data, warning: None });
            }
            let jpeg = record.coefficients()?.to_jpeg()?;
            let (frame, _) = markers::read(&jpeg, &self.limits)?;
            return self.decode_jpeg(&jpeg, &frame, header);
        }
        if let Some(frame) = &header.frame {
            return self.decode_jpeg(bytes, frame, header);
        }
        let found = other::decode(bytes, header.format, &self.limits, &mut self.second, &mut data)?;
        same_size(found, header)?;
        Ok(Pixels { size, data, warning: None })
    }

    fn decode_jpeg(&mut self, bytes: &[u8], frame: &Frame, header: &Header) -> Result<Pixels, DecodeError> {
        let (size, mut data) = (header.stored, Vec::new());
        if let Some(baseline) = &mut self.baseline
            && self.own_full
            && baseline.decode(bytes, frame, (Rect::whole(size), 8), None, &mut data).is_some()
        {
            self.own_decodes += 1;
            return Ok(Pixels { size, data, warning: None });
        }
        let mut turbo = jpeg::Turbo::open(bytes, frame, self.limits.max_scans)?;
        data.resize(jpeg::buffer_len(frame, size), 0);
        let plan = region::plan_whole(size, Rect::whole(size), 8);
        let warning = turbo.decode(bytes, frame, &plan, &mut data)?;
        data.truncate(3 * size.pixels() as usize);
        self.accept(&warning)?;
        Ok(Pixels { size, data, warning })
    }

    /// Decodes the pixels that touch `region`, which is in the coordinates of the upright image.
    ///
    /// `need` is the size that the region will be resampled to: where it is small enough ([`scale_for`]), a JPEG is decoded at
    /// 6/8, 4/8, 3/8, 2/8 or 1/8. At full scale the pixels are those of [`Decoder::decode`], bit for bit. Of a JPEG of
    /// one Huffman-coded scan, only the rows down to the region's last are read, and only its columns are made into
    /// pixels.
    ///
    /// # Errors
    /// As [`Decoder::decode`]; [`DecodeError::Corrupt`] where `header` is another file's.
    ///
    /// # Panics
    /// If `region` is empty or not inside `header.size`.
    pub fn decode_region(
        &mut self,
        bytes: &[u8],
        header: &Header,
        region: Rect,
        need: Size,
    ) -> Result<Patch<'_>, DecodeError> {
        self.decode_region_from(bytes, header, region, need, None)
    }

    /// The states before all units of a JPEG's scan, if the own decoder reads it, whole and without finding fault.
    pub fn seek_points(&mut self, bytes: &[u8], frame: &Frame) -> Option<SeekPoints> {
        self.limits.check(frame.size).ok()?;
        self.baseline.as_mut()?.seek_points(bytes, frame)
    }

    /// What use the seek points were that the last call of [`Decoder::decode_region_from`] was given.
    pub fn seek(&self) -> Seek {
        self.seek
    }

    /// As [`Decoder::decode_region`] and faster, with seek points of the file ([`Decoder::seek_points`]): the own
    /// decoder then begins near the region in each row of units instead of reading all that lies before. The pixels are
    /// the same, but parts of the file that are jumped over are not looked at, so that damage is only seen under the
    /// region. A [`Decoder::strict`] decoder therefore makes no use of them.
    ///
    /// Seek points must be of these very bytes. Most that are not are noticed, and the file is decoded without them
    /// ([`Seek::Wrong`]); all are if a checksum of the file is compared first, as [`crate::index`] does.
    ///
    /// # Errors
    /// As [`Decoder::decode_region`].
    ///
    /// # Panics
    /// As [`Decoder::decode_region`].
    pub fn decode_region_from(
        &mut self,
        bytes: &[u8],
        header: &Header,
        region: Rect,
        need: Size,
        points: Option<&SeekPoints>,
    ) -> Result<Patch<'_>, DecodeError> {
        self.seek = Seek::Unused;
        let points = points.filter(|_| !self.strict);
        assert!(region.is_inside(header.size), "{region:?} is empty or not inside {:?}", header.size);
        self.limits.check(header.stored)?;
        self.warning = None;
        let stored = header.orientation.stored_rect(region, header.stored);
        let (bytes, record) = open(bytes, &self.limits)?;
        let mut looked_at = bytes.len() as u64;
        let plan = if let Some(record) = record {
            let scale = scale_for(region.size(), need, self.scale_margin);
            let plan = region::plan_window(header.stored, stored, scale);
            let window = plan.crop.unwrap_or(stored);
            self.check_record(&record, header, scale)?;
            if let Some(touched) = self.bands.decode(&record, window, scale, &mut self.decoded)? {
                looked_at = record.head_len() + touched.index + touched.payload;
                self.own_decodes += 1;
                plan
            } else {
                let jpeg = record.coefficients()?.to_jpeg()?;
                let (frame, _) = markers::read(&jpeg, &self.limits)?;
                self.jpeg_region(&jpeg, &frame, stored, (region.size(), need), None)?
            }
        } else if let Some(frame) = &header.frame {
            self.jpeg_region(bytes, frame, stored, (region.size(), need), points)?
        } else {
            let found = other::decode(bytes, header.format, &self.limits, &mut self.second, &mut self.decoded)?;
            same_size(found, header)?;
            region::plan_whole(header.stored, stored, 8)
        };
        self.accept(&self.warning)?;
        Ok(Patch { bytes: looked_at, ..self.patch(&plan, header.orientation) })
    }

    /// Decodes the pixels of a JPEG that touch `stored`, for what is needed of a region of a size.
    fn jpeg_region(
        &mut self,
        bytes: &[u8],
        frame: &Frame,
        stored: Rect,
        (size, need): (Size, Size),
        points: Option<&SeekPoints>,
    ) -> Result<region::Plan, DecodeError> {
        let scale = scale_for(size, need, self.scale_margin);
        if let Some(baseline) = &mut self.baseline
            && (scale < 8 || self.own_full)
        {
            let plan = region::plan_window(frame.size, stored, scale);
            let (window, pixels) = (plan.crop.unwrap_or(stored), &mut self.decoded);
            let sought = points.map(|_| baseline.decode(bytes, frame, (window, scale), points, pixels).is_some());
            if sought == Some(true) {
                self.seek = Seek::Used;
                self.own_decodes += 1;
                return Ok(plan);
            }
            if baseline.decode(bytes, frame, (window, scale), None, pixels).is_some() {
                if sought.is_some() {
                    self.seek = Seek::Wrong;
                }
                self.own_decodes += 1;
                return Ok(plan);
            }
        }
        let scale = fidelity::libjpeg_scale_for(size, need, self.scale_margin);
        let mut turbo = jpeg::Turbo::open(bytes, frame, self.limits.max_scans)?;
        let plan = if turbo.can_crop() && can_crop(frame) {
            region::plan_cropped(frame, stored, scale)
        } else {
            region::plan_whole(frame.size, stored, scale)
        };
        let pixels = scratch(&mut self.decoded, jpeg::buffer_len(frame, plan.decoded));
        self.warning = turbo.decode(bytes, frame, &plan, pixels)?;
        Ok(plan)
    }

    /// Whether the record is the header's; and whether it is sound, where that is asked for.
    fn check_record(&self, record: &Record, header: &Header, scale: u8) -> Result<(), DecodeError> {
        let image = image_of(record, header)?;
        if self.strict { record.verify(bands::rings(image, scale)) } else { Ok(()) }
    }

    /// The plan's window of the decoded pixels, turned.
    fn patch(&mut self, plan: &region::Plan, orientation: Orientation) -> Patch<'_> {
        let window = plan.window;
        let stride = 3 * plan.decoded.width as usize;
        let row = 3 * window.width as usize;
        let first = window.y as usize * stride + 3 * window.x as usize;
        let pixels = &self.decoded[first..][..(window.height as usize - 1) * stride + row];
        let (pixels, stride) = if orientation == Orientation::Normal {
            (pixels, stride)
        } else {
            let turned = scratch(&mut self.second, 3 * window.size().pixels() as usize);
            orientation.turn(pixels, stride, window.size(), turned);
            (&*turned, 3 * orientation.size(window.size()).width as usize)
        };
        Patch {
            pixels,
            stride,
            size: orientation.size(window.size()),
            area: orientation.turned_area(plan.area, window.size()),
            scale: plan.scale,
            bytes: 0,
            warning: self.warning.as_deref(),
        }
    }

    fn accept(&self, warning: &Option<String>) -> Result<(), DecodeError> {
        match warning {
            Some(warning) if self.strict => Err(DecodeError::corrupt(warning)),
            _ => Ok(()),
        }
    }
}

impl Orientation {
    /// A stored image, turned upright.
    pub fn apply(self, stored: Pixels) -> Pixels {
        if self == Self::Normal {
            return stored;
        }
        let mut data = vec![0; stored.data.len()];
        self.turn(&stored.data, 3 * stored.size.width as usize, stored.size, &mut data);
        Pixels { size: self.size(stored.size), data, warning: stored.warning }
    }
}

/// Whether rows and columns of the JPEG can be left out: one Huffman-coded scan of gray or three components. Others are
/// decoded whole, since their scans have to be read whole in any case.
fn can_crop(frame: &Frame) -> bool {
    frame.single_scan && frame.process == Process::Sequential && frame.components != 4
}

fn same_size(found: Size, header: &Header) -> Result<(), DecodeError> {
    if found == header.stored { Ok(()) } else { Err(another()) }
}

/// The record's image, if it is the header's.
pub(crate) fn image_of<'r>(record: &'r Record, header: &Header) -> Result<&'r crate::packed::Image, DecodeError> {
    let image = record.image().filter(|image| image.orientation == header.orientation).ok_or_else(another)?;
    same_size(image.size, header)?;
    Ok(image)
}

fn another() -> DecodeError {
    DecodeError::corrupt("the header is that of another file")
}

/// The bytes, and the record that they are; of a record that holds a file as it was, that file.
fn open<'b>(bytes: &'b [u8], limits: &Limits) -> Result<(&'b [u8], Option<Record<'b>>), DecodeError> {
    if Format::of(bytes) != Some(Format::Packed) {
        return Ok((bytes, None));
    }
    let record = Record::open(bytes, limits)?;
    if record.image().is_some() {
        return Ok((bytes, Some(record)));
    }
    let file = record.stored()?;
    if Format::of(file) == Some(Format::Packed) {
        return Err(DecodeError::corrupt("a packed record in a packed record"));
    }
    Ok((file, None))
}

/// The frame of the JPEG that a record's image is of.
fn frame_of(image: &crate::packed::Image) -> Frame {
    let mut sampling = [(0, 0); 4];
    for (sampling, plane) in sampling.iter_mut().zip(&image.components) {
        *sampling = plane.sampling;
    }
    let components = image.components.len() as u8;
    Frame { size: image.size, process: Process::Sequential, components, sampling, single_scan: true }
}

fn unknown(bytes: &[u8]) -> DecodeError {
    if bytes.is_empty() {
        return DecodeError::corrupt("the file is empty");
    }
    let start: Vec<String> = bytes.iter().take(4).map(|b| format!("{b:02x}")).collect();
    DecodeError::corrupt(format!(
        "neither JPEG, PNG, WebP, GIF, BMP, TIFF nor a packed record: starts with {}",
        start.join(" ")
    ))
}
