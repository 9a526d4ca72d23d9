//! One augmentation with its final arguments, and a short list of them.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// How a geometric operation reads between pixels: Pillow's filters of `Image.transform`, not antialiased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// The pixel that the point lies in. torchvision's default for TrivialAugment.
    Nearest,
    /// Two by two pixels.
    Bilinear,
    /// Four by four pixels, Keys' cubic with a = -1 (Pillow's; its resize has a = -0.5).
    #[default]
    Bicubic,
}

/// One operation on the 8-bit pixels of one image, with its final arguments (`randaugment.md` §2).
///
/// Geometric operations map output to input at pixel centres, `(x + 1/2, y + 1/2)`, and fill what lies outside with the
/// plan's colour. Blends are `deg + (image - deg) * factor`, clamped to `0..=255` and truncated.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Op {
    /// Each channel stretched linearly so that its least value becomes 0 and its greatest 255; a flat channel stays.
    AutoContrast,
    /// Each channel's histogram equalised.
    Equalize,
    /// `255 - v`.
    Invert,
    /// Counter-clockwise about the image's centre, same canvas.
    Rotate {
        /// Angle in degrees, any sign.
        degrees: f64,
        /// Between pixels.
        sampling: Sampling,
    },
    /// Keeps the `bits` highest bits of each value, `0..=8`. 0 bits are a black image, as in Pillow up to 12; Pillow 13 raises.
    Posterize {
        /// Bits kept.
        bits: u8,
    },
    /// `255 - v` for values of at least `threshold`, `0..=256`.
    Solarize {
        /// Least value that is inverted; 256 inverts none.
        threshold: u16,
    },
    /// Adds `add` to values below 128, at most to 255.
    SolarizeAdd {
        /// What is added.
        add: u8,
    },
    /// Blend with the grey image (Pillow's `ImageEnhance.Color`, saturation).
    Color {
        /// 0 is grey, 1 the image.
        factor: f32,
    },
    /// Blend with the constant mean of the luma, rounded.
    Contrast {
        /// 0 is flat, 1 the image.
        factor: f32,
    },
    /// Blend with black.
    Brightness {
        /// 0 is black, 1 the image.
        factor: f32,
    },
    /// Blend with the image smoothed by `[1 1 1; 1 5 1; 1 1 1] / 13`, whose border pixels are the image's.
    Sharpness {
        /// 0 is smoothed, 1 the image.
        factor: f32,
    },
    /// `x_in = x + factor * y`, from the upper left corner.
    ShearX {
        /// Columns per row.
        factor: f64,
        /// Between pixels.
        sampling: Sampling,
    },
    /// `y_in = y + factor * x`, from the upper left corner.
    ShearY {
        /// Rows per column.
        factor: f64,
        /// Between pixels.
        sampling: Sampling,
    },
    /// `x_in = x + share * width`: a positive share moves the content to the left.
    TranslateX {
        /// Share of the width.
        share: f64,
        /// Between pixels.
        sampling: Sampling,
    },
    /// `y_in = y + share * height`: a positive share moves the content up.
    TranslateY {
        /// Share of the height.
        share: f64,
        /// Between pixels.
        sampling: Sampling,
    },
    /// Luma in all three channels: `(19595 R + 38470 G + 7471 B + 32768) >> 16`.
    Grayscale,
    /// Pillow's `GaussianBlur`: three box blurs along rows, then three along columns, borders repeated.
    GaussianBlur {
        /// Standard deviation in pixels, above 0.
        radius: f32,
    },
    /// Turns the hue of HSV (torchvision's `adjust_hue`, through Pillow's 8-bit HSV).
    Hue {
        /// Share of a full turn, `-0.5..=0.5`.
        shift: f64,
    },
}

/// The operation with its argument, for people: `Rotate 27.0°`, `Posterize 4 bits`.
impl std::fmt::Display for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the sign of what rounds to 0.
        let tenth = |value: f64| (10.0 * value).round() / 10.0 + 0.0;
        let hundredth = |value: f64| (100.0 * value).round() / 100.0 + 0.0;
        match *self {
            Self::AutoContrast => f.write_str("AutoContrast"),
            Self::Equalize => f.write_str("Equalize"),
            Self::Invert => f.write_str("Invert"),
            Self::Grayscale => f.write_str("Grayscale"),
            Self::Rotate { degrees, .. } => write!(f, "Rotate {:.1}°", tenth(degrees)),
            Self::Posterize { bits: 1 } => f.write_str("Posterize 1 bit"),
            Self::Posterize { bits } => write!(f, "Posterize {bits} bits"),
            Self::Solarize { threshold } => write!(f, "Solarize from {threshold}"),
            Self::SolarizeAdd { add } => write!(f, "SolarizeAdd {add}"),
            Self::Color { factor } => write!(f, "Color {factor:.2}"),
            Self::Contrast { factor } => write!(f, "Contrast {factor:.2}"),
            Self::Brightness { factor } => write!(f, "Brightness {factor:.2}"),
            Self::Sharpness { factor } => write!(f, "Sharpness {factor:.2}"),
            Self::ShearX { factor, .. } => write!(f, "ShearX {:.2}", hundredth(factor)),
            Self::ShearY { factor, .. } => write!(f, "ShearY {:.2}", hundredth(factor)),
            Self::TranslateX { share, .. } => write!(f, "TranslateX {:.1} %", tenth(100.0 * share)),
            Self::TranslateY { share, .. } => write!(f, "TranslateY {:.1} %", tenth(100.0 * share)),
            Self::GaussianBlur { radius } => write!(f, "GaussianBlur {radius:.1} px"),
            Self::Hue { shift } => write!(f, "Hue {:.1}°", tenth(360.0 * shift)),
        }
    }
}

/// A list of at most [`Ops::CAPACITY`] operations that lives in place, so that a plan takes no memory.
#[derive(Debug, Clone, Copy)]
pub struct Ops {
    ops: [Op; Ops::CAPACITY],
    len: u8,
}

impl Ops {
    /// Most operations of one image.
    pub const CAPACITY: usize = 12;

    /// No operation.
    pub const NONE: Self = Self { ops: [Op::Invert; Self::CAPACITY], len: 0 };

    /// Adds an operation behind the others.
    ///
    /// # Errors
    /// [`Error::Config`] if the list is full.
    pub fn push(&mut self, op: Op) -> Result<()> {
        let Some(place) = self.ops.get_mut(usize::from(self.len)) else {
            return Err(Error::config(
                "augment",
                format!("more than {} operations for one image: use a smaller n", Self::CAPACITY),
            ));
        };
        *place = op;
        self.len += 1;
        Ok(())
    }

    /// The operations in their order.
    pub fn as_slice(&self) -> &[Op] {
        &self.ops[..usize::from(self.len)]
    }

    /// The operations in their order, to be changed.
    pub fn as_mut_slice(&mut self) -> &mut [Op] {
        &mut self.ops[..usize::from(self.len)]
    }
}

impl Default for Ops {
    fn default() -> Self {
        Self::NONE
    }
}

impl std::ops::Deref for Ops {
    type Target = [Op];

    fn deref(&self) -> &[Op] {
        self.as_slice()
    }
}

impl PartialEq for Ops {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl TryFrom<&[Op]> for Ops {
    type Error = Error;

    fn try_from(ops: &[Op]) -> Result<Self> {
        let mut list = Self::NONE;
        ops.iter().try_for_each(|op| list.push(*op))?;
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_told_with_their_arguments() {
        let sampling = Sampling::Bicubic;
        for (op, text) in [
            (Op::Rotate { degrees: 27.04, sampling }, "Rotate 27.0°"),
            (Op::Rotate { degrees: -3.35, sampling }, "Rotate -3.4°"),
            (Op::Rotate { degrees: -0.01, sampling }, "Rotate 0.0°"),
            (Op::ShearX { factor: -0.004, sampling }, "ShearX 0.00"),
            (Op::Posterize { bits: 4 }, "Posterize 4 bits"),
            (Op::Posterize { bits: 1 }, "Posterize 1 bit"),
            (Op::Solarize { threshold: 128 }, "Solarize from 128"),
            (Op::Color { factor: 0.555 }, "Color 0.56"),
            (Op::TranslateY { share: -0.12345, sampling }, "TranslateY -12.3 %"),
            (Op::GaussianBlur { radius: 1.26 }, "GaussianBlur 1.3 px"),
            (Op::Hue { shift: -0.1 }, "Hue -36.0°"),
            (Op::AutoContrast, "AutoContrast"),
        ] {
            assert_eq!(op.to_string(), text);
        }
    }
}
