//! `bandfeed pack --max-side`: images that are larger than a data set needs, reduced before they are packed.

use crate::decode::{Decoder, Header, Limits};
use crate::ops::{Resizer, View};
use crate::packed::Reduced;
use crate::shape::{Filter, Size};
use crate::{Error, Result};
use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};

/// Reduces images one after another. Have one for each worker.
pub(super) struct Reencoder {
    to: Reduced,
    limits: Limits,
    tools: Option<Tools>,
}

/// Made with the first image.
struct Tools {
    decoder: Decoder,
    resizer: Resizer,
    compressor: Compressor,
    pixels: Vec<u8>,
}

fn unable(error: turbojpeg::Error) -> Error {
    Error::config("--max-side", format!("libjpeg-turbo cannot encode: {error}"))
}

impl Tools {
    fn new(limits: &Limits, quality: u8) -> Result<Self> {
        let mut compressor = Compressor::new().map_err(unable)?;
        compressor.set_quality(quality.into()).map_err(unable)?;
        let decoder = Decoder::new(limits.clone())?;
        Ok(Self { decoder, resizer: Resizer::new(), compressor, pixels: Vec::new() })
    }
}

impl Reencoder {
    pub(super) fn new(to: Reduced, limits: &Limits) -> Self {
        Self { to, limits: limits.clone(), tools: None }
    }

    /// The JPEG that is packed in place of the file: upright, so with no orientation to apply, and without the file's metadata.
    /// The same for the same file.
    ///
    /// `None` for a file to be kept as it is: an image that is no larger, and one that gives no image or a damaged one.
    ///
    /// # Errors
    /// [`Error::Config`] if libjpeg-turbo has no memory.
    pub(super) fn reduce(&mut self, file: &[u8]) -> Result<Option<Vec<u8>>> {
        if self.tools.is_none() {
            self.tools = Some(Tools::new(&self.limits, self.to.quality)?);
        }
        let Some(Tools { decoder, resizer, compressor, pixels }) = &mut self.tools else { return Ok(None) };
        let Ok(header) = decoder.header(file) else { return Ok(None) };
        let Some(size) = smaller(header.size, self.to.max_side) else { return Ok(None) };
        let Ok(image) = decoder.decode(file) else { return Ok(None) };
        if image.warning.is_some() {
            return Ok(None);
        }
        let view = View { pixels: &image.data, stride: 3 * image.size.width as usize, size: image.size };
        let whole = [0.0, 0.0, f64::from(image.size.width), f64::from(image.size.height)];
        resizer.resize(view, whole, size, Filter::Lanczos3, pixels)?;
        compressor.set_subsamp(sampling(&header)).map_err(unable)?;
        let (width, height) = (size.width as usize, size.height as usize);
        let image = Image { pixels: &pixels[..], width, pitch: 3 * width, height, format: PixelFormat::RGB };
        compressor.compress_to_vec(image).map(Some).map_err(unable)
    }
}

/// The size at which the longer side is `most`, if it is more now.
fn smaller(size: Size, most: u32) -> Option<Size> {
    let longer = size.width.max(size.height);
    let scaled = |side: u32| {
        let (side, longer) = (u64::from(side) * u64::from(most), u64::from(longer));
        ((side + longer / 2) / longer).max(1) as u32
    };
    (longer > most).then(|| Size::new(scaled(size.width), scaled(size.height)))
}

/// The file's own chroma sampling, turned with the image; 4:2:0 where it is none of the usual, or the file is no JPEG.
fn sampling(header: &Header) -> Subsamp {
    let Some(frame) = &header.frame else { return Subsamp::Sub2x2 };
    let (across, down) = frame.largest_sampling();
    let is_turned = header.orientation.size(Size::new(2, 1)) != Size::new(2, 1);
    let factors = if is_turned { (down, across) } else { (across, down) };
    match (frame.components, factors) {
        (1, _) => Subsamp::Gray,
        (3, (1, 1)) => Subsamp::None,
        (3, (2, 1)) => Subsamp::Sub2x1,
        (3, (1, 2)) => Subsamp::Sub1x2,
        _ => Subsamp::Sub2x2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packed::samples;

    #[test]
    fn the_longer_side_becomes_the_most_and_the_other_keeps_the_aspect() {
        let of = |width, height| smaller(Size::new(width, height), 500);
        assert_eq!((of(500, 375), of(500, 500), of(1, 1)), (None, None, None));
        assert_eq!(of(501, 500), Some(Size::new(500, 499)));
        assert_eq!((of(1000, 750), of(750, 1000)), (Some(Size::new(500, 375)), Some(Size::new(375, 500))));
        assert_eq!(of(60_000, 3), Some(Size::new(500, 1)), "no side is lost");
        assert_eq!(smaller(Size::new(u32::MAX, 7), 65_500), Some(Size::new(65_500, 1)));
    }

    #[test]
    fn chroma_keeps_its_sampling_and_turns_with_the_image() {
        let limits = Limits::default();
        let mut reencoder = Reencoder::new(Reduced { max_side: 40, quality: 90 }, &limits);
        let mut decoder = Decoder::new(limits).unwrap();
        let mut frame = |file: &[u8]| {
            let jpeg = reencoder.reduce(file).unwrap().expect("the picture is larger");
            let header = decoder.header(&jpeg).unwrap();
            let frame = header.frame.expect("a JPEG was made");
            (header.size, header.orientation.to_exif(), frame.components, frame.largest_sampling())
        };
        for (sampling, components, factors, turned) in [
            (Subsamp::None, 3, (1, 1), (1, 1)),
            (Subsamp::Sub2x1, 3, (2, 1), (1, 2)),
            (Subsamp::Sub1x2, 3, (1, 2), (2, 1)),
            (Subsamp::Sub2x2, 3, (2, 2), (2, 2)),
            (Subsamp::Sub4x1, 3, (2, 2), (2, 2)),
            (Subsamp::Gray, 1, (1, 1), (1, 1)),
        ] {
            let jpeg = samples::jpeg(80, 60, sampling, false);
            assert_eq!(frame(&jpeg), (Size::new(40, 30), 1, components, factors), "{sampling:?}");
            let jpeg = samples::with_orientation(&jpeg, 6);
            assert_eq!(frame(&jpeg), (Size::new(30, 40), 1, components, turned), "{sampling:?} turned");
        }
    }
}
