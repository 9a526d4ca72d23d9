//! PNG, WebP, GIF, BMP and TIFF, through the `image` crate.

use super::{Format, Limits, Orientation};
use crate::error::DecodeError;
use crate::shape::Size;
use image::{ColorType, ImageDecoder, ImageError, ImageReader};
use std::io::Cursor;

/// Most bytes a decoder may hold for each pixel allowed: four 16-bit samples, once in the output and once in its own
/// frame buffer.
const BYTES_A_PIXEL: u64 = 16;
/// Room for tables and line buffers of a small limit.
const BASE_BYTES: u64 = 16 << 20;

/// Stored size and orientation.
pub(crate) fn header(bytes: &[u8], format: Format, limits: &Limits) -> Result<(Size, Orientation), DecodeError> {
    let mut decoder = open(bytes, format, limits)?;
    let (width, height) = decoder.dimensions();
    // Broken metadata must not cost the picture.
    let exif = decoder.orientation().map_or(1, |o| u16::from(o.to_exif()));
    Ok((Size::new(width, height), Orientation::from_exif(exif).unwrap_or_default()))
}

/// Decodes the first frame to dense RGB8 in `pixels`, which is resized to fit. `samples` is scratch for what is not RGB8.
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
    let len = usize::try_from(decoder.total_bytes()).map_err(|_| DecodeError::limit("image larger than memory"))?;
    if color == ColorType::Rgb8 {
        pixels.resize(len, 0);
        decoder.read_image(&mut pixels[..]).map_err(error)?;
        return Ok(size);
    }
    samples.resize(len, 0);
    decoder.read_image(&mut samples[..]).map_err(error)?;
    pixels.clear();
    pixels.reserve_exact(3 * size.pixels() as usize);
    let wide = |pair: &[u8; 2]| (u16::from_ne_bytes(*pair) >> 8) as u8;
    match color {
        ColorType::L8 => pixels.extend(samples.iter().flat_map(|&v| [v; 3])),
        ColorType::La8 => pixels.extend(samples.as_chunks::<2>().0.iter().flat_map(|&[v, _]| [v; 3])),
        ColorType::Rgba8 => pixels.extend(samples.as_chunks::<4>().0.iter().flat_map(|&[r, g, b, _]| [r, g, b])),
        ColorType::L16 => pixels.extend(samples.as_chunks::<2>().0.iter().flat_map(|v| [wide(v); 3])),
        ColorType::La16 => {
            let pairs = samples.as_chunks::<2>().0;
            pixels.extend(pairs.as_chunks::<2>().0.iter().flat_map(|[v, _]| [wide(v); 3]));
        }
        ColorType::Rgb16 => pixels.extend(samples.as_chunks::<2>().0.iter().map(wide)),
        ColorType::Rgba16 => {
            let pairs = samples.as_chunks::<2>().0;
            pixels.extend(pairs.as_chunks::<4>().0.iter().flat_map(|[r, g, b, _]| [wide(r), wide(g), wide(b)]));
        }
        other => return Err(DecodeError::unsupported(format!("{format:?} with {other:?} samples"))),
    }
    Ok(size)
}

fn open<'a>(bytes: &'a [u8], format: Format, limits: &Limits) -> Result<impl ImageDecoder + 'a, DecodeError> {
    let format = match format {
        Format::Jpeg => return Err(DecodeError::corrupt("a JPEG without a frame header")),
        Format::Png => image::ImageFormat::Png,
        Format::WebP => image::ImageFormat::WebP,
        Format::Gif => image::ImageFormat::Gif,
        Format::Bmp => image::ImageFormat::Bmp,
        Format::Tiff => image::ImageFormat::Tiff,
    };
    let mut allowed = image::Limits::default();
    allowed.max_alloc = Some(limits.max_pixels.saturating_mul(BYTES_A_PIXEL).saturating_add(BASE_BYTES));
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(allowed);
    let decoder = reader.into_decoder().map_err(error)?;
    let (width, height) = decoder.dimensions();
    limits.check(Size::new(width, height))?;
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
