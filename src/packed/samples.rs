//! Coefficients and JPEGs for the tests of this module.

use super::coefficients::{Coefficients, Colour, Component, blocks};
use crate::decode::Orientation;
use crate::rng::{Draw, Purpose};
use crate::shape::Size;
use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};

/// Which values coefficients have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filling {
    Zero,
    /// As photographs: fewer and smaller with rising frequency.
    Sparse,
    /// None is 0, magnitudes up to 1000.
    Dense,
    /// Single blocks with values of any magnitude.
    Single,
    /// The largest and smallest that a JPEG can hold.
    Extreme,
}

/// Made-up coefficients of an image of this width and height.
pub(crate) fn coefficients(seed: u64, size: (u32, u32), sampling: &[(u8, u8)], filling: Filling) -> Coefficients {
    let mut draw = Draw::at(seed, 0, size.0.into(), Purpose::Demo);
    let size = Size::new(size.0, size.1);
    let largest = sampling.iter().fold((1, 1), |l: (u8, u8), f| (l.0.max(f.0), l.1.max(f.1)));
    let mut components = Vec::new();
    for (i, &sampling) in sampling.iter().enumerate() {
        let blocks = blocks(size, sampling, largest);
        let mut values = vec![0_i16; 64 * blocks.pixels() as usize];
        let count = blocks.pixels();
        let chosen = draw.below(count);
        for (block, at) in values.as_chunks_mut::<64>().0.iter_mut().zip(0..) {
            for (place, value) in block.iter_mut().enumerate() {
                *value = match filling {
                    Filling::Zero => 0,
                    Filling::Sparse => (draw.normal() * 60.0 / (1.0 + (place / 8 + place % 8).pow(2) as f64)) as i16,
                    Filling::Dense => (1 + draw.below(1000)) as i16 * if draw.chance(0.5) { 1 } else { -1 },
                    Filling::Single if at == chosen => ((draw.bits() as i16) >> draw.below(16)).max(-32767),
                    Filling::Single => 0,
                    // Differences between these have a code.
                    Filling::Extreme => [0, 1, -1, 32767, -32767, -1, 1, 255][draw.below(8) as usize],
                };
            }
            if filling == Filling::Extreme && block[0] < 0 {
                block[0] = 0;
            }
        }
        let wide = filling == Filling::Dense && i == 0;
        let steps = std::array::from_fn(|_| (1 + draw.below(if wide { 65535 } else { 255 })) as u16);
        components.push(Component { id: i as u8 + 1, sampling, steps, blocks, values });
    }
    let colour = match sampling.len() {
        1 => Colour::Gray,
        3 => Colour::YCbCr,
        _ => Colour::Cmyk,
    };
    let metadata = [0xff, 0xfe, 0, 5, b'a', b'b', b'c'].to_vec();
    Coefficients { size, orientation: Orientation::Normal, colour, components, metadata }
}

/// A JPEG of slopes, marks and noise.
pub(crate) fn jpeg(width: u32, height: u32, sampling: Subsamp, progressive: bool) -> Vec<u8> {
    let mut draw = Draw::at(u64::from(width), 0, height.into(), Purpose::Demo);
    let mut pixels = Vec::with_capacity((3 * width * height) as usize);
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        let noise = draw.below(24) as u32;
        let mark = if (x / 5 + y / 7) % 3 == 0 { 90 } else { 0 };
        let values = [x * 200 / width + noise + mark / 3, y * 200 / height + mark / 2, 200 - (x + y) % 150];
        pixels.extend(values.map(|v| v.min(255) as u8));
    }
    compress(&pixels, width, height, sampling, progressive)
}

/// A JPEG of RGB8 pixels.
pub(crate) fn compress(pixels: &[u8], width: u32, height: u32, sampling: Subsamp, progressive: bool) -> Vec<u8> {
    let mut compressor = Compressor::new().expect("libjpeg-turbo starts");
    compressor.set_quality(90).expect("the quality is in range");
    compressor.set_subsamp(sampling).expect("the sampling is known");
    compressor.set_progressive(progressive).expect("progressive is known");
    let (width, height) = (width as usize, height as usize);
    let image = Image { pixels, width, pitch: 3 * width, height, format: PixelFormat::RGB };
    compressor.compress_to_vec(image).expect("a picture compresses")
}

/// The JPEG with an EXIF segment that holds nothing but the orientation `value`.
pub(crate) fn with_orientation(jpeg: &[u8], value: u16) -> Vec<u8> {
    let mut segment = b"\xff\xe1\0\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01".to_vec();
    segment.extend(value.to_be_bytes());
    segment.extend([0; 6]);
    let mut bytes = jpeg.to_vec();
    bytes.splice(2..2, segment);
    bytes
}
