//! Blends with an image made from the image, and that image alone: grey and smooth. Exact.
//!
//! `from + factor * (to - from)` in f32, each step rounded (no fused multiply-add), clamped, truncated: Pillow's
//! `Image.blend`.

use crate::ops::simd::{Kernel, Level, Vector};
use crate::shape::Size;

/// `v` clamped to a byte and truncated; not a number gives 0.
#[inline(always)]
pub(super) fn truncated(v: f32) -> u8 {
    let v = if v > 0.0 { v } else { 0.0 };
    let v = if v < 255.0 { v } else { 255.0 };
    // SAFETY: 0 <= v <= 255: what is not a number was replaced by the first comparison.
    unsafe { v.to_int_unchecked::<i32>() as u8 }
}

#[inline(always)]
fn blend(from: u8, to: u8, factor: f32) -> u8 {
    let (from, to) = (f32::from(from), f32::from(to));
    truncated(from + factor * (to - from))
}

/// The luma of `src` in all channels of `dst`.
pub(super) fn grey(level: Level, src: &[u8], dst: &mut [u8]) {
    level.run(Grey { src, dst });
}

struct Grey<'a> {
    src: &'a [u8],
    dst: &'a mut [u8],
}

impl Kernel for Grey<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let pixels = self.src.len().min(self.dst.len()) / 3;
        // SAFETY: the caller's promise; both slices hold so many pixels, and `dst` is borrowed alone.
        unsafe { V::grey(self.src.as_ptr(), self.dst.as_mut_ptr(), pixels) }
    }
}

/// From the grey image to the image.
pub(super) fn color(level: Level, src: &[u8], dst: &mut [u8], factor: f32) {
    // Little enough at a time that the grey is still in the first cache.
    const PART: usize = 3 * 1024;
    for (src, dst) in src.chunks(PART).zip(dst.chunks_mut(PART)) {
        level.run(Grey { src, dst });
        level.run(Blend { src, dst, factor });
    }
}

/// From `dst` to `src`.
struct Blend<'a> {
    src: &'a [u8],
    dst: &'a mut [u8],
    factor: f32,
}

impl Kernel for Blend<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        for (dst, src) in self.dst.iter_mut().zip(self.src) {
            *dst = blend(*dst, *src, self.factor);
        }
    }
}

/// From the smooth image to the image. `sums` is memory for a row.
pub(super) fn sharpness(level: Level, src: &[u8], size: Size, factor: f32, sums: &mut Vec<u16>, dst: &mut [u8]) {
    let row = 3 * size.width as usize;
    sums.resize(row, 0);
    let last = size.height as usize - 1;
    for (y, dst) in dst.chunks_exact_mut(row).enumerate() {
        if y == 0 || y == last || row < 9 {
            dst.copy_from_slice(&src[y * row..][..row]);
        } else {
            let rows = std::array::from_fn(|k| &src[(y + k - 1) * row..][..row]);
            level.run(SharpRow { rows, factor, sums, dst });
        }
    }
}

/// A row with one above and one below; at least three pixels.
struct SharpRow<'a> {
    rows: [&'a [u8]; 3],
    factor: f32,
    sums: &'a mut [u16],
    dst: &'a mut [u8],
}

impl Kernel for SharpRow<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let ([above, row, below], sums) = (self.rows, self.sums);
        for (((sum, a), b), c) in sums.iter_mut().zip(above).zip(row).zip(below) {
            *sum = u16::from(*a) + u16::from(*b) + u16::from(*c);
        }
        let n = row.len();
        let middle = &row[3..n - 3];
        let around = sums.iter().zip(&sums[3..]).zip(&sums[6..]);
        for ((out, v), ((left, centre), right)) in self.dst[3..n - 3].iter_mut().zip(middle).zip(around) {
            // Rounded to nearest: floor((s + 6) / 13). The product with 5042 / 2^16 is too large by 0.04 at most here,
            // less than the 1/13 to the next whole number.
            let sum = left + centre + right + 4 * u16::from(*v) + 6;
            let smooth = ((u32::from(sum) * 5042) >> 16) as u8;
            *out = blend(smooth, *v, self.factor);
        }
        self.dst[..3].copy_from_slice(&row[..3]);
        self.dst[n - 3..].copy_from_slice(&row[n - 3..]);
    }
}
