//! PNG, WebP, GIF, BMP and TIFF, through the `image` crate.

mod claims;

use super::{Format, Limits, Orientation, scratch};
use crate::error::DecodeError;
use crate::shape::Size;
use image::{ColorType, ImageDecoder, ImageError, ImageReader};
use std::io::Cursor;

/// Most bytes a decoder may hold for each pixel of the image: four 16-bit samples, once in the output and once in its own
/// frame buffer.
const BYTES_A_PIXEL: u64 = 16;
/// Room for tables, line buffers and metadata, whatever the size.
const BASE_BYTES: u64 = 16 << 20;

/// Stored size and orientation.
pub(crate) fn header(bytes: &[u8], format: Format, limits: &Limits) -> Result<(Size, Orientation), DecodeError> {
    let mut decoder = open(bytes, format, limits)?;
    let (width, height) = decoder.dimensions();
    // Broken metadata must not cost the picture.
    let exif = decoder.orientation().map_or(1, |o| u16::from(o.to_exif()));
    Ok((Size::new(width, height), Orientation::from_exif(exif).unwrap_or_default()))
}

/// Decodes the first frame to dense RGB8 at the start of `pixels`. `samples` is scratch for what is not RGB8.
pub(crate) fn decode(
    bytes: &[u8],
    format: Format,
    limits: &Limits,
    samples: &mut Vec<u8>,
    pixels: &mut Vec<u8>,
) -> Result<Size, DecodeError> {
    let decoder = open(bytes, format, limits)?;
    let (width, height) = decoder.dimensions();
    let size = Size::new(width, height);
    let color = decoder.color_type();
    if matches!(color, ColorType::Rgb32F | ColorType::Rgba32F) {
        return Err(DecodeError::unsupported(format!("{format:?} with {color:?} samples")));
    }
    let len = usize::try_from(decoder.total_bytes()).map_err(|_| DecodeError::limit("image larger than memory"))?;
    if color == ColorType::Rgb8 {
        decoder.read_image(scratch(pixels, len)).map_err(error)?;
        return Ok(size);
    }
    let samples = scratch(samples, len);
    decoder.read_image(samples).map_err(error)?;
    let pixels = scratch(pixels, 3 * size.pixels() as usize);
    match color {
        ColorType::L8 => convert(samples, pixels, |&[v]| [v; 3]),
        ColorType::La8 => convert(samples, pixels, |&[v, _]| [v; 3]),
        ColorType::Rgba8 => convert(samples, pixels, |&[r, g, b, _]| [r, g, b]),
        ColorType::L16 => convert(samples, pixels, |v: &[u8; 2]| [high(v, 0); 3]),
        ColorType::La16 => convert(samples, pixels, |v: &[u8; 4]| [high(v, 0); 3]),
        ColorType::Rgb16 => convert(samples, pixels, |v: &[u8; 6]| [high(v, 0), high(v, 1), high(v, 2)]),
        ColorType::Rgba16 => convert(samples, pixels, |v: &[u8; 8]| [high(v, 0), high(v, 1), high(v, 2)]),
        other => return Err(DecodeError::unsupported(format!("{format:?} with {other:?} samples"))),
    }
    Ok(size)
}

/// Pixels of N bytes to RGB8.
fn convert<const N: usize>(samples: &[u8], pixels: &mut [u8], to_rgb: impl Fn(&[u8; N]) -> [u8; 3]) {
    for (pixel, samples) in pixels.as_chunks_mut::<3>().0.iter_mut().zip(samples.as_chunks::<N>().0) {
        *pixel = to_rgb(samples);
    }
}

/// High byte of the 16-bit sample `index`, in the machine's byte order.
fn high(samples: &[u8], index: usize) -> u8 {
    (u16::from_ne_bytes([samples[2 * index], samples[2 * index + 1]]) >> 8) as u8
}

fn open<'a>(bytes: &'a [u8], format: Format, limits: &Limits) -> Result<impl ImageDecoder + 'a, DecodeError> {
    let claimed = claims::size(bytes, format, limits)?;
    let format = match format {
        Format::Packed => return Err(DecodeError::corrupt("a packed record without an image")),
        Format::Jpeg => return Err(DecodeError::corrupt("a JPEG without a frame header")),
        Format::Png => image::ImageFormat::Png,
        Format::WebP => image::ImageFormat::WebP,
        Format::Gif => image::ImageFormat::Gif,
        Format::Bmp => image::ImageFormat::Bmp,
        Format::Tiff => image::ImageFormat::Tiff,
    };
    let mut allowed = image::Limits::default();
    allowed.max_alloc = Some(claimed.pixels().saturating_mul(BYTES_A_PIXEL).saturating_add(BASE_BYTES));
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(allowed);
    let decoder = reader.into_decoder().map_err(error)?;
    let (width, height) = decoder.dimensions();
    if claimed != Size::new(width, height) {
        let Size { width: across, height: down } = claimed;
        return Err(DecodeError::corrupt(format!(
            "the header is ambiguous: {across}x{down} or {width}x{height} pixels"
        )));
    }
    if width == 0 || height == 0 {
        return Err(DecodeError::corrupt(format!("an image of {width}x{height} pixels")));
    }
    Ok(decoder)
}

fn error(error: ImageError) -> DecodeError {
    match error {
        ImageError::Limits(e) => DecodeError::limit(e.to_string()),
        ImageError::Unsupported(e) => DecodeError::unsupported(e.to_string()),
        other => DecodeError::corrupt(other.to_string()),
    }
}
