//! Runs operations on one image after another.

use super::affine::{self, Affine};
use super::blur::{Blur, Boxes, LARGEST_RADIUS};
use super::op::Op;
use super::{blend, hue, point, reference};
use crate::error::{Error, Result};
use crate::ops::simd::Level;
use crate::shape::Size;

/// Augments images, one at a time; one for each worker. What it has allocated it keeps.
///
/// ```
/// use bandfeed::{Size, augment::{Augmenter, Op}};
///
/// let mut image = vec![10, 20, 30, 40, 50, 60]; // two pixels
/// Augmenter::new().apply(&mut image, Size::new(2, 1), &[Op::Invert], [124, 116, 104])?;
/// assert_eq!(image, [245, 235, 225, 215, 205, 195]);
/// # Ok::<(), bandfeed::Error>(())
/// ```
#[derive(Debug)]
pub struct Augmenter {
    level: Level,
    /// Where operations write that cannot work in place; exchanged with the image then.
    spare: Vec<u8>,
    /// One row of sums.
    sums: Vec<u16>,
    affine: Affine,
    blur: Blur,
}

impl Default for Augmenter {
    fn default() -> Self {
        Self::new()
    }
}

impl Augmenter {
    /// No memory is taken before the first image.
    pub fn new() -> Self {
        Self::at(Level::detect())
    }

    pub(crate) fn at(level: Level) -> Self {
        Self { level, spare: Vec::new(), sums: Vec::new(), affine: Affine::default(), blur: Blur::default() }
    }

    /// Applies `ops` in their order to `image`: RGB8, interleaved, `3 * width * height` bytes, which stays its length.
    /// `fill` is the colour of what geometric operations leave empty.
    ///
    /// The result is Pillow 12.3's, byte by byte, but for bilinear and bicubic geometry, where a value may be the
    /// neighbouring grey level ([`reference::apply`] is exact there too).
    ///
    /// # Allocation
    /// None after the first images. The vector in `image` may be exchanged for another, so its capacity may change.
    ///
    /// # Errors
    /// [`Error::Config`] if `image` is empty or not of this size, or an argument is out of its range. Nothing is changed
    /// then.
    pub fn apply(&mut self, image: &mut Vec<u8>, size: Size, ops: &[Op], fill: [u8; 3]) -> Result<()> {
        check(image, size, ops)?;
        for op in ops {
            self.one(image, size, *op, fill)?;
        }
        Ok(())
    }

    fn one(&mut self, image: &mut Vec<u8>, size: Size, op: Op, fill: [u8; 3]) -> Result<()> {
        let level = self.level;
        match op {
            Op::Color { factor: 1.0 }
            | Op::Contrast { factor: 1.0 }
            | Op::Brightness { factor: 1.0 }
            | Op::Sharpness { factor: 1.0 }
            | Op::ShearX { factor: 0.0, .. }
            | Op::ShearY { factor: 0.0, .. }
            | Op::TranslateX { share: 0.0, .. }
            | Op::TranslateY { share: 0.0, .. } => {}
            Op::AutoContrast => point::auto_contrast(level, image),
            Op::Equalize => point::equalize(level, image),
            Op::Invert => point::invert(level, image),
            Op::Posterize { bits } => point::posterize(level, image, bits),
            Op::Solarize { threshold } => point::solarize(level, image, threshold),
            Op::SolarizeAdd { add } => point::solarize_add(level, image, add),
            Op::Brightness { factor } => point::brightness(level, image, factor),
            Op::Contrast { factor } => point::contrast(level, image, factor),
            Op::Hue { shift } => hue::turn(level, image, shift),
            Op::Grayscale => self.aside(image, 0, |_, src, dst| blend::grey(level, src, dst)),
            Op::Color { factor } => self.aside(image, 0, |_, src, dst| blend::color(level, src, dst, factor)),
            Op::Sharpness { factor } => self.aside(image, 0, |augmenter, src, dst| {
                blend::sharpness(level, src, size, factor, &mut augmenter.sums, dst)
            }),
            Op::GaussianBlur { radius } => {
                if let Some(boxes) = Boxes::of(radius) {
                    self.spare.resize(image.len(), 0);
                    self.blur.run(level, boxes, size, image, &mut self.spare);
                }
            }
            Op::Rotate { .. }
            | Op::ShearX { .. }
            | Op::ShearY { .. }
            | Op::TranslateX { .. }
            | Op::TranslateY { .. } => {
                if size.width.max(size.height) > affine::LARGEST_SIDE {
                    *image = reference::apply(image, size, &[op], fill)?;
                } else {
                    self.aside(image, affine::SLACK, |augmenter, src, dst| {
                        augmenter.affine.run(level, op, src, size, fill, dst)
                    });
                }
            }
        }
        Ok(())
    }

    /// An operation from the image to the spare memory, which has `slack` bytes more, and is the image afterwards.
    fn aside(&mut self, image: &mut Vec<u8>, slack: usize, run: impl FnOnce(&mut Self, &[u8], &mut [u8])) {
        let mut spare = std::mem::take(&mut self.spare);
        spare.resize(image.len() + slack, 0);
        run(self, image, &mut spare);
        spare.truncate(image.len());
        self.spare = std::mem::replace(image, spare);
    }
}

/// Refuses an image that is not of its size, and what [`check_ops`] refuses.
pub(super) fn check(image: &[u8], size: Size, ops: &[Op]) -> Result<()> {
    let Size { width, height } = size;
    let bytes = 3 * u128::from(width) * u128::from(height);
    if image.is_empty() || bytes != image.len() as u128 {
        return Err(Error::config(
            "pixels",
            format!(
                "{} bytes: expected {bytes}, which {width}x{height} RGB pixels have, and at least one",
                image.len()
            ),
        ));
    }
    check_ops(ops)
}

/// Refuses arguments that mean nothing.
pub(crate) fn check_ops(ops: &[Op]) -> Result<()> {
    for op in ops {
        let fine = match *op {
            Op::Color { factor } | Op::Contrast { factor } | Op::Brightness { factor } | Op::Sharpness { factor } => {
                factor.is_finite()
            }
            Op::Rotate { degrees: v, .. }
            | Op::ShearX { factor: v, .. }
            | Op::ShearY { factor: v, .. }
            | Op::TranslateX { share: v, .. }
            | Op::TranslateY { share: v, .. } => v.is_finite(),
            Op::Posterize { bits } => bits <= 8,
            Op::Solarize { threshold } => threshold <= 256,
            Op::GaussianBlur { radius } => (0.0..=LARGEST_RADIUS).contains(&radius),
            Op::Hue { shift } => (-0.5..=0.5).contains(&shift),
            Op::AutoContrast | Op::Equalize | Op::Invert | Op::SolarizeAdd { .. } | Op::Grayscale => true,
        };
        if !fine {
            return Err(Error::config("augment", format!("{op:?}: the argument is out of its range")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
