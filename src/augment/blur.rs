//! Gaussian blur as Pillow does it: three box blurs along rows, then three along columns, rounded to bytes after each. Exact.
//!
//! A box is `2 reach + 1` pixels of equal weight and one more at either end with less (Gwosdek et al. 2011, "extended box"),
//! weights being integers of 2^-24.

use crate::ops::simd::{Kernel, Level, Vector};
use crate::shape::Size;

/// Far above the largest image side that is trained with.
pub(super) const LARGEST_RADIUS: f32 = 4096.0;

/// One of the three equal box blurs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Boxes {
    /// Whole pixels on either side.
    pub(crate) reach: usize,
    /// Weight of the whole pixels.
    pub(crate) whole: u32,
    /// Weight of the two at the ends.
    pub(crate) end: u32,
}

impl Boxes {
    /// The boxes whose variances add up to `radius` squared; none if that is no blur. In Pillow's mixture of f32 and f64.
    pub(crate) fn of(radius: f32) -> Option<Self> {
        let variance = radius * radius / 3.0;
        let length = (12.0 * f64::from(variance) + 1.0).sqrt() as f32;
        let whole = ((f64::from(length) - 1.0) / 2.0).floor() as f32;
        let part = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance);
        let part = part / (6.0 * (variance - (whole + 1.0) * (whole + 1.0)));
        let radius = whole + part;
        if radius == 0.0 {
            return None;
        }
        let one = 1u32 << 24;
        let reach = radius as u32;
        let whole = (one as f32 / (radius * 2.0 + 1.0)) as u32;
        let end = one.wrapping_sub((reach * 2 + 1).wrapping_mul(whole)) / 2;
        Some(Self { reach: reach as usize, whole, end })
    }

    /// The blurred value of a sum of whole pixels and a sum of the two at the ends.
    #[inline(always)]
    pub(super) fn byte(self, sum: u32, ends: u32) -> u8 {
        let value = sum.wrapping_mul(self.whole).wrapping_add(ends.wrapping_mul(self.end));
        (value.wrapping_add(1 << 23) >> 24) as u8
    }
}

/// Blurs with the memory that it needs from one image to the next.
#[derive(Debug, Default)]
pub(super) struct Blur {
    /// A row with its first and last pixel repeated, and [`TILE`] bytes more.
    line: Vec<u8>,
    sums: Vec<u32>,
}

/// Bytes computed together.
const TILE: usize = 64;

impl Blur {
    /// Where its memory lies.
    #[cfg(test)]
    pub(super) fn memory(&self) -> [*const u8; 2] {
        [self.line.as_ptr(), self.sums.as_ptr().cast()]
    }

    /// Blurs `image`; `spare` is as long.
    pub(super) fn run(&mut self, level: Level, boxes: Boxes, size: Size, image: &mut [u8], spare: &mut [u8]) {
        let row = 3 * size.width as usize;
        self.line.resize(row + 6 * (boxes.reach + 1) + TILE, 0);
        self.sums.resize(row + TILE, 0);
        for (src, dst) in image.chunks_exact(row).zip(spare.chunks_exact_mut(row)) {
            dst.copy_from_slice(src);
            for _ in 0..3 {
                level.run(AlongRow { boxes, line: &mut self.line, sums: &mut self.sums, row: dst });
            }
        }
        let sums = &mut self.sums[..row];
        level.run(DownRows { boxes, src: spare, sums, dst: image });
        level.run(DownRows { boxes, src: image, sums, dst: spare });
        level.run(DownRows { boxes, src: spare, sums, dst: image });
    }
}

/// Blurs a row along its length.
struct AlongRow<'a> {
    boxes: Boxes,
    line: &'a mut [u8],
    sums: &'a mut [u32],
    row: &'a mut [u8],
}

impl Kernel for AlongRow<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // Up to here a sum from scratch, which is vectorised, is faster than one from its left neighbour's.
        const SHORT: usize = 8;
        let Self { boxes, line, sums, row } = self;
        let (n, margin, reach) = (row.len(), 3 * (boxes.reach + 1), boxes.reach);
        line[margin..margin + n].copy_from_slice(row);
        for pixel in line[..margin].as_chunks_mut::<3>().0 {
            pixel.copy_from_slice(&row[..3]);
        }
        for pixel in line[margin + n..2 * margin + n].as_chunks_mut::<3>().0 {
            pixel.copy_from_slice(&row[n - 3..]);
        }
        if reach > SHORT {
            for c in 0..3 {
                sums[c] = line[3 + c..].iter().step_by(3).take(2 * reach + 1).map(|v| u32::from(*v)).sum();
            }
            for i in 3..n {
                let (next, gone) = (line[i + 3 * (2 * reach + 1)], line[i]);
                sums[i] = sums[i - 3] + u32::from(next) - u32::from(gone);
            }
        }
        for at in (0..n).step_by(TILE) {
            let sum: [u32; TILE] = if reach > SHORT {
                *sums[at..].first_chunk().expect("the sums have a tile more")
            } else {
                // Words suffice for 257 bytes, and twice as many go into a register.
                let mut sum = [0u16; TILE];
                for k in 1..=2 * reach + 1 {
                    let bytes: &[u8; TILE] = line[at + 3 * k..].first_chunk().expect("the line has a tile more");
                    for i in 0..TILE {
                        sum[i] += u16::from(bytes[i]);
                    }
                }
                sum.map(u32::from)
            };
            let left: &[u8; TILE] = line[at..].first_chunk().expect("the line has a tile more");
            let right = line[at + 6 * (reach + 1)..].first_chunk::<TILE>().expect("the line has a tile more");
            let out: [u8; TILE] = std::array::from_fn(|i| boxes.byte(sum[i], u32::from(left[i]) + u32::from(right[i])));
            match row[at..].first_chunk_mut() {
                Some(to) => *to = out,
                None => row[at..].copy_from_slice(&out[..n - at]),
            }
        }
    }
}

/// Blurs along columns. `sums` is as long as a row.
struct DownRows<'a> {
    boxes: Boxes,
    src: &'a [u8],
    sums: &'a mut [u32],
    dst: &'a mut [u8],
}

impl Kernel for DownRows<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { boxes, src, sums, dst } = self;
        let (row, reach) = (sums.len(), boxes.reach as isize);
        let last = (src.len() / row) as isize - 1;
        let src = |y: isize| &src[y.clamp(0, last) as usize * row..][..row];
        sums.fill(0);
        for y in -reach - 1..reach {
            for (sum, v) in sums.iter_mut().zip(src(y)) {
                *sum += u32::from(*v);
            }
        }
        for (y, dst) in dst.chunks_exact_mut(row).enumerate() {
            let y = y as isize;
            let (gone, next) = (src(y - reach - 1), src(y + reach));
            let far = src(y + reach + 1);
            for ((((out, sum), gone), next), far) in dst.iter_mut().zip(&mut *sums).zip(gone).zip(next).zip(far) {
                *sum = *sum + u32::from(*next) - u32::from(*gone);
                *out = boxes.byte(*sum, u32::from(*gone) + u32::from(*far));
            }
        }
    }
}
