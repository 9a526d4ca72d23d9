//! Operations on 8-bit pixels over a batch.
//!
//! ```text
//! worker:  Ops ─(stage)─► Staged, words          for each image
//! batch:   all Staged ─(rounds)─► Params, passes  a round: the next step of every image that has one
//! device:  augment_stats ─► augment_apply for a round, augment_blur along rows ─► along columns for a round of blurs
//! ```
//!
//! An image has two areas in the buffer of images. Each step reads one and writes the other; [`stage::Staged::area`] says where
//! the result is. A batch of RandAugment with two operations takes 2 to 4 launches; one of colour jitter, grayscale, blur and
//! solarization up to 11, and 2 for all blurs.
//!
//! # Steps are fewer than operations
//! Invert, Posterize, Solarize, SolarizeAdd and Brightness map each value for itself: those that follow one another become one
//! table of 256 bytes, which the host makes. What changes nothing is left out.
//!
//! # What is not done here
//! [`stage::stage`] gives nothing for images above 32767 pixels a side or [`MOST_PIXELS`], for a blur of images above
//! [`LONGEST_LINE`] a side, and for geometry to the nearest pixel if a corner falls 32768 pixels away: the CPU does those.
//!
//! Reference: [`crate::augment::Augmenter`].

mod rounds;
mod stage;
#[cfg(test)]
mod tests;

pub(crate) use rounds::{Pass, Placed, Rounds, rounds};
pub(crate) use stage::{Staged, stage};

use super::kernel::{Kernel, kernel, params};

params! {
    /// A step of one image that is not a blur.
    pub(crate) struct Params {
        src: u32, dst: u32, width: u32, height: u32, kind: u32, at: u32, stats: u32, fill: u32, factor: f32, turn: u32,
    }
}

params! {
    /// A blur of one image.
    pub(crate) struct BlurParams {
        src: u32, dst: u32, width: u32, height: u32, reach: u32, whole: u32, end: u32,
    }
}

/// Reads the images, adds to the sums ([`rounds::Rounds::stats_words`] words, zeros before the first round).
///
/// Tolerance: none, integers.
pub(crate) static AUGMENT_STATS: Kernel = kernel!("augment_stats", Params, [Read, Write]);

/// Reads and writes the images, reads the sums.
///
/// Tolerance: none, but for bilinear and bicubic geometry, where coordinates are rounded to 2^-32 pixels, shares and values are
/// f32, and a truncated value may be the neighbouring grey level of the reference's. What the CPU fills is filled, and flat areas
/// stay. How many in a million values differ, each by 1, in 16 photos of 224 x 224 pixels with arguments drawn from RandAugment's
/// ranges (at most 7000 in the tests, where many results lie on a whole number, and f64's roundings decide):
///
/// | | from the reference | from the augmenter |
/// |---|---|---|
/// | Rotate, bilinear | 3 | 1059 |
/// | Rotate, bicubic | 8 | 1085 |
/// | ShearX, bilinear | 0 | 100 |
/// | ShearX, bicubic | 140 | 563 |
/// | ShearY, bilinear | 0 | 140 |
/// | ShearY, bicubic | 153 | 580 |
/// | TranslateX, bilinear | 0 | 1 |
/// | TranslateX, bicubic | 1 | 154 |
/// | TranslateY, bilinear | 0 | 610 |
/// | TranslateY, bicubic | 5 | 195 |
pub(crate) static AUGMENT_APPLY: Kernel = kernel!("augment_apply", Params, [Write, Read]);

/// Reads and writes the images. `head.a` is 0 for rows, 1 for columns.
///
/// Tolerance: none, integers.
pub(crate) static AUGMENT_BLUR: Kernel = kernel!("augment_blur", BlurParams, [Write]);

/// The kernels here.
pub(crate) const KERNELS: &[&Kernel] = &[&AUGMENT_STATS, &AUGMENT_APPLY, &AUGMENT_BLUR];

/// Most pixels of an image: sums of the luma have 32 bits.
pub(crate) const MOST_PIXELS: u64 = 1 << 24;

/// Longest side of an image that is blurred: a workgroup holds a row or column twice.
pub(crate) const LONGEST_LINE: u32 = 2048;
