//! The band crop of the ++ code: an 8-bit Lanczos-3 resize.

use crate::error::Result;
use crate::ops::{Rgb8, View, resize};
use crate::shape::{Filter, Size};

/// Antialiased Lanczos-3 resize of `src` to `band x band`: RGB8 in, RGB8 out, rounded and clamped after each axis
/// (`low-frequency-crop.md` §4).
///
/// # Errors
/// [`crate::Error::Config`] if `src` does not hold its pixels or `band` is 0.
pub fn lanczos(src: View<'_>, band: u32) -> Result<Rgb8> {
    let area = [0.0, 0.0, f64::from(src.size.width), f64::from(src.size.height)];
    resize(src, area, Size::square(band), Filter::Lanczos3)
}
