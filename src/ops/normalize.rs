//! Bytes to normalised planes.

use super::View;
use super::simd::{Kernel, Level, Post, Vector};
use crate::error::{Error, Result};

/// The step `v -> (v / 255 - mean) / std` as one multiplication and one addition, for each channel.
pub(crate) fn affine(mean: [f32; 3], std: [f32; 3]) -> [Post; 3] {
    std::array::from_fn(|c| {
        let (mean, std) = (f64::from(mean[c]), f64::from(std[c]));
        Post { scale: (1.0 / (255.0 * std)) as f32, offset: (-mean / std) as f32, ..Post::NONE }
    })
}

/// `(v / 255 - mean) / std` by channel: RGB8 `(H, W, 3)` to planar f32 `(3, H, W)`, mirrored left to right if asked.
///
/// # Normalization
/// `mean` and `std` are those of values in `0..=1`. The step is evaluated as `v * k + a` in f32. With ImageNet's mean and
/// standard deviation the result is within 5e-7 of the exact one for every byte and channel; the bound is absolute, so
/// that next to the mean, where the result is close to 0, fewer of its digits are right.
///
/// # Errors
/// [`Error::Config`] if `src` does not hold its pixels or `out` is not `3 * H * W` long.
pub fn normalize(src: View<'_>, mirror: bool, mean: [f32; 3], std: [f32; 3], out: &mut [f32]) -> Result<()> {
    src.check()?;
    let (width, height) = (src.size.width as usize, src.size.height as usize);
    if out.len() != 3 * width * height {
        return Err(Error::config(
            "output",
            format!("{} values for {} RGB pixels of {width}x{height}", out.len(), width * height),
        ));
    }
    Level::detect().run(Normalize { src, mirror, post: affine(mean, std), out });
    Ok(())
}

struct Normalize<'a> {
    src: View<'a>,
    mirror: bool,
    post: [Post; 3],
    out: &'a mut [f32],
}

impl Kernel for Normalize<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        /// Pixels at a time: enough for two vectors of every set.
        const BLOCK: usize = 32;
        let [red, green, blue] = self.post;
        // Not fused: the same bits at every level.
        let step = |v: u32, post: Post| (v as i32) as f32 * post.scale + post.offset;
        let (width, height) = (self.src.size.width as usize, self.src.size.height as usize);
        let (first, rest) = self.out.split_at_mut(width * height);
        let (second, third) = rest.split_at_mut(width * height);
        let planes =
            first.chunks_exact_mut(width).zip(second.chunks_exact_mut(width)).zip(third.chunks_exact_mut(width));
        for (y, ((r, g), b)) in planes.enumerate() {
            let row = self.src.row(y);
            let mut x = 0;
            // A pixel is taken as four bytes, of which the last is the next one's: there must be a next one.
            while x + BLOCK < width {
                let bytes = row[3 * x..].first_chunk::<{ 3 * BLOCK + 1 }>().expect("a block and a byte are left");
                let mut pixels = [0u32; BLOCK];
                for (k, pixel) in pixels.iter_mut().enumerate() {
                    *pixel = u32::from_le_bytes([bytes[3 * k], bytes[3 * k + 1], bytes[3 * k + 2], bytes[3 * k + 3]]);
                }
                let [r, g, b] = [&mut *r, &mut *g, &mut *b]
                    .map(|plane| plane[x..].first_chunk_mut::<BLOCK>().expect("a block is left"));
                for k in 0..BLOCK {
                    r[k] = step(pixels[k] & 255, red);
                    g[k] = step(pixels[k] >> 8 & 255, green);
                    b[k] = step(pixels[k] >> 16 & 255, blue);
                }
                x += BLOCK;
            }
            for x in x..width {
                r[x] = step(row[3 * x].into(), red);
                g[x] = step(row[3 * x + 1].into(), green);
                b[x] = step(row[3 * x + 2].into(), blue);
            }
            if self.mirror {
                r.reverse();
                g.reverse();
                b.reverse();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{IMAGENET_MEAN, IMAGENET_STD};
    use crate::shape::Size;

    #[test]
    fn every_byte_of_every_channel_is_scaled_shifted_and_planar() {
        let pixels: Vec<u8> = (0..=255).flat_map(|v| [v, 255 - v, v ^ 0x55]).collect();
        for mirror in [false, true] {
            let mut out = vec![f32::NAN; 3 * 256];
            let src = View::packed(&pixels, Size::new(32, 8));
            normalize(src, mirror, IMAGENET_MEAN, IMAGENET_STD, &mut out).unwrap();
            for (n, pixel) in pixels.chunks(3).enumerate() {
                let (y, x) = (n / 32, if mirror { 31 - n % 32 } else { n % 32 });
                for c in 0..3 {
                    let expected =
                        (f64::from(pixel[c]) / 255.0 - f64::from(IMAGENET_MEAN[c])) / f64::from(IMAGENET_STD[c]);
                    let got = f64::from(out[c * 256 + y * 32 + x]);
                    assert!((got - expected).abs() <= 5e-7, "channel {c} pixel {n}: {got}, not {expected}");
                }
            }
        }
    }

    #[test]
    fn an_output_of_the_wrong_length_is_refused_with_both_numbers() {
        let error = normalize(View::packed(&[0; 12], Size::new(2, 2)), false, [0.0; 3], [1.0; 3], &mut [0.0; 11]);
        let text = error.unwrap_err().to_string();
        assert!(text.contains("11 values") && text.contains("2x2"), "{text}");
    }

    #[test]
    fn a_view_that_is_too_short_is_refused() {
        let mut out = [0.0; 12];
        for (len, stride) in [(11, 6), (12, 5), (0, usize::MAX)] {
            let bytes = vec![0; len];
            let view = View { pixels: &bytes, stride, size: Size::new(2, 2) };
            assert!(normalize(view, false, [0.0; 3], [1.0; 3], &mut out).is_err(), "{len} bytes, stride {stride}");
        }
    }
}
