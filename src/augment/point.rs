//! Operations that look at one value at a time: exact.
//!
//! Those with one rule for all channels are computed, which LLVM vectorises, not looked up; the two whose rule comes from
//! each channel's histogram or range have a table for each.

use super::blend::truncated;
use crate::ops::simd::{Kernel, Level, Vector};

/// Every byte through the same function.
struct Map<'a, F> {
    bytes: &'a mut [u8],
    f: F,
}

impl<F: Fn(u8) -> u8> Kernel for Map<'_, F> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        for byte in self.bytes {
            *byte = (self.f)(*byte);
        }
    }
}

fn map(level: Level, bytes: &mut [u8], f: impl Fn(u8) -> u8) {
    level.run(Map { bytes, f });
}

pub(super) fn invert(level: Level, image: &mut [u8]) {
    map(level, image, |v| !v);
}

/// 0 bits give black.
pub(super) fn posterize(level: Level, image: &mut [u8], bits: u8) {
    let mask = !(0xff_u16 >> bits) as u8;
    map(level, image, |v| v & mask);
}

pub(super) fn solarize(level: Level, image: &mut [u8], threshold: u16) {
    // A threshold of 256 does not fit a byte, and leaves the image.
    if let Ok(threshold) = u8::try_from(threshold) {
        map(level, image, |v| if v < threshold { v } else { !v });
    }
}

pub(super) fn solarize_add(level: Level, image: &mut [u8], add: u8) {
    // The sum before the question: a choice between two values is vectorised, a branch is not.
    map(level, image, |v| {
        let sum = v.saturating_add(add);
        if v < 128 { sum } else { v }
    });
}

pub(super) fn brightness(level: Level, image: &mut [u8], factor: f32) {
    towards(level, image, 0, factor);
}

pub(super) fn contrast(level: Level, image: &mut [u8], factor: f32) {
    let mut sum = 0;
    level.run(LumaSum { image, sum: &mut sum });
    let mean = sum as f64 / (image.len() / 3) as f64;
    towards(level, image, (mean + 0.5) as u8, factor);
}

/// Blends a constant with the image.
fn towards(level: Level, image: &mut [u8], constant: u8, factor: f32) {
    let from = f32::from(constant);
    map(level, image, |v| truncated(from + factor * (f32::from(v) - from)));
}

struct LumaSum<'a> {
    image: &'a [u8],
    sum: &'a mut u64,
}

impl Kernel for LumaSum<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // SAFETY: the caller's promise, and the image holds three bytes for each pixel.
        *self.sum = unsafe { V::luma_sum(self.image.as_ptr(), self.image.len() / 3) };
    }
}

pub(super) fn auto_contrast(level: Level, image: &mut [u8]) {
    let mut range = ([255; 3], [0; 3]);
    level.run(Range { image, range: &mut range });
    let (least, greatest) = range;
    if (least, greatest) != ([0; 3], [255; 3]) {
        let tables = std::array::from_fn(|c| stretch_table(least[c], greatest[c]));
        level.run(LookUp { image, tables: &tables });
    }
}

/// Least and greatest value of each channel.
struct Range<'a> {
    image: &'a [u8],
    range: &'a mut ([u8; 3], [u8; 3]),
}

impl Kernel for Range<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        /// A multiple of three, so that a place belongs to one channel; and of 32.
        const BLOCK: usize = 96;
        let (mut least, mut greatest) = ([255; BLOCK], [0; BLOCK]);
        let (blocks, rest) = self.image.as_chunks::<BLOCK>();
        for block in blocks {
            for i in 0..BLOCK {
                least[i] = block[i].min(least[i]);
                greatest[i] = block[i].max(greatest[i]);
            }
        }
        for (i, v) in rest.iter().enumerate() {
            least[i] = (*v).min(least[i]);
            greatest[i] = (*v).max(greatest[i]);
        }
        for i in 0..BLOCK {
            self.range.0[i % 3] = self.range.0[i % 3].min(least[i]);
            self.range.1[i % 3] = self.range.1[i % 3].max(greatest[i]);
        }
    }
}

/// `(v - least) * 255 / (greatest - least)` as Pillow's `autocontrast` rounds it; the same for a flat channel.
pub(super) fn stretch_table(least: u8, greatest: u8) -> [u8; 256] {
    if greatest <= least {
        return std::array::from_fn(|v| v as u8);
    }
    let scale = 255.0 / f64::from(greatest - least);
    let offset = -f64::from(least) * scale;
    std::array::from_fn(|v| (v as f64 * scale + offset) as u8)
}

pub(super) fn equalize(level: Level, image: &mut [u8]) {
    // An increment has to wait for the one before it where both are of the same value: neighbouring pixels, which often
    // are, have histograms of their own.
    const APART: usize = 4;
    let mut histograms = [[[0u32; 256]; 3]; APART];
    let (groups, rest) = image.as_chunks::<{ 3 * APART }>();
    for group in groups {
        for i in 0..3 * APART {
            histograms[i / 3][i % 3][usize::from(group[i])] += 1;
        }
    }
    for (i, v) in rest.iter().enumerate() {
        histograms[0][i % 3][usize::from(*v)] += 1;
    }
    let tables = std::array::from_fn(|c| {
        let sum = std::array::from_fn(|v| histograms.iter().map(|histogram| histogram[c][v]).sum());
        equalize_table(&sum)
    });
    level.run(LookUp { image, tables: &tables });
}

/// The table of Pillow's `equalize` for a channel's histogram.
pub(super) fn equalize_table(histogram: &[u32; 256]) -> [u8; 256] {
    let sum: u64 = histogram.iter().map(|count| u64::from(*count)).sum();
    let last = histogram.iter().rev().find(|count| **count > 0).map_or(0, |count| u64::from(*count));
    let step = (sum - last) / 255;
    if step == 0 {
        return std::array::from_fn(|v| v as u8);
    }
    let mut n = step / 2;
    std::array::from_fn(|v| {
        let out = (n / step).min(255) as u8;
        n += u64::from(histogram[v]);
        out
    })
}

/// Each channel through its table.
struct LookUp<'a> {
    image: &'a mut [u8],
    tables: &'a [[u8; 256]; 3],
}

impl Kernel for LookUp<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // SAFETY: the caller's promise.
        unsafe { V::look_up(self.tables, self.image) }
    }
}
