//! The operations of timm's lists: their maps from magnitude to argument, their signs, and the noise of the magnitude.
//!
//! Levels run from 0 to 10; `f = level / 10` (`randaugment.md` §2). "±" is a sign that is drawn with equal chances.

use crate::augment::interpolation::Interpolation;
use crate::augment::op::{Op, Ops};
use crate::error::Result;
use crate::rng::Draw;

/// The scale of magnitudes, and their upper bound if a policy has no other.
pub(super) const MAX: f64 = 10.0;

/// Standard deviation of the blur of `GaussianBlur` and `GaussianBlurRand`: least and greatest, in pixels.
const RADIUS: [f64; 2] = [0.1, 2.0];

/// An operation and its map from magnitude to argument. The names are timm's.
///
/// Three maps each of Posterize and Solarize, two of the blends: without `Increasing`, a higher magnitude may be weaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    /// No argument: the whole effect at every magnitude, as [`Operator::Equalize`] and [`Operator::Invert`].
    AutoContrast,
    Equalize,
    Invert,
    /// ±30 f degrees.
    Rotate,
    /// Keeps `trunc(4 f)` bits: 0 bits, a black image, below magnitude 2.5.
    Posterize,
    /// Keeps `4 - trunc(4 f)` bits.
    PosterizeIncreasing,
    /// Keeps `4 + trunc(4 f)` bits.
    PosterizeOriginal,
    /// From `trunc(256 f)` on.
    Solarize,
    /// From `256 - trunc(256 f)` on.
    SolarizeIncreasing,
    /// Adds `trunc(110 f)`, at most 128.
    SolarizeAdd,
    /// Factor `0.1 + 1.8 f`: the identity is at magnitude 5, and there is no sign. The other blends alike.
    Color,
    /// Factor `1 ± 0.9 f`, at least 0.1. The other increasing blends alike.
    ColorIncreasing,
    Contrast,
    ContrastIncreasing,
    Brightness,
    BrightnessIncreasing,
    Sharpness,
    SharpnessIncreasing,
    /// ±0.3 f.
    ShearX,
    ShearY,
    /// ±0.45 f of the width.
    TranslateXRel,
    /// ±0.45 f of the height.
    TranslateYRel,
    /// Blend with grey by a factor of `0.5 - 0.5 f`: half of the colour at magnitude 0, none at 10.
    Desaturate,
    /// Radius `0.1 + 1.9 f`.
    GaussianBlur,
    /// Radius uniform between 0.1 and `2 f`.
    GaussianBlurRand,
}

use Operator::*;

fn share(level: f64) -> f64 {
    level / MAX
}

fn rotate(level: f64) -> f64 {
    share(level) * 30.0
}

fn shear(level: f64) -> f64 {
    share(level) * 0.3
}

fn translate(level: f64) -> f64 {
    share(level) * 0.45
}

/// How far an increasing blend goes from 1, to either side.
fn enhance(level: f64) -> f64 {
    share(level) * 0.9
}

fn solarize_add(level: f64) -> u8 {
    (share(level) * 110.0).min(128.0) as u8
}

impl Operator {
    /// Whether a sign is drawn.
    fn is_signed(self) -> bool {
        matches!(
            self,
            Rotate
                | ColorIncreasing
                | ContrastIncreasing
                | BrightnessIncreasing
                | SharpnessIncreasing
                | ShearX
                | ShearY
                | TranslateXRel
                | TranslateYRel
        )
    }

    /// Bits that a posterization keeps.
    fn bits(self, level: f64) -> u8 {
        let dropped = (share(level) * 4.0) as i64;
        let bits = match self {
            PosterizeIncreasing => 4 - dropped,
            PosterizeOriginal => 4 + dropped,
            _ => dropped,
        };
        bits.clamp(0, 8) as u8
    }

    /// Least value that a solarization inverts.
    fn threshold(self, level: f64) -> u16 {
        let threshold = (share(level) * 256.0).min(256.0) as u16;
        if self == SolarizeIncreasing { 256 - threshold } else { threshold }
    }

    /// Factor of a blend, with the sign where it has one.
    fn factor(self, level: f64, negative: bool) -> f64 {
        if self == Desaturate {
            // timm's form, to the last bit: the share of grey, clamped, then its complement.
            return 1.0 - (0.5 + 0.5 * share(level)).clamp(0.5, 1.0);
        }
        if !self.is_signed() {
            return share(level) * 1.8 + 0.1;
        }
        let away = enhance(level);
        (1.0 + if negative { -away } else { away }).max(0.1)
    }

    /// Blur radius, or the upper end of its range, in pixels.
    fn radius(self, level: f64) -> f64 {
        let share = share(level).clamp(0.0, 1.0);
        if self == GaussianBlurRand { RADIUS[1] * share } else { RADIUS[0] + (RADIUS[1] - RADIUS[0]) * share }
    }

    /// The operation with its argument at `level`, which is at least 0.
    ///
    /// Draws in this order, each only where it is needed: sign, radius ([`Operator::GaussianBlurRand`]), sampling
    /// (geometric operations under [`Interpolation::Random`]).
    pub(super) fn draw(self, level: f64, interpolation: Interpolation, draw: &mut Draw) -> Op {
        let negative = self.is_signed() && draw.chance(0.5);
        let signed = |value: f64| if negative { -value } else { value };
        let factor = || self.factor(level, negative) as f32;
        match self {
            AutoContrast => Op::AutoContrast,
            Equalize => Op::Equalize,
            Invert => Op::Invert,
            Rotate => Op::Rotate { degrees: signed(rotate(level)), sampling: interpolation.draw(draw) },
            Posterize | PosterizeIncreasing | PosterizeOriginal => Op::Posterize { bits: self.bits(level) },
            Solarize | SolarizeIncreasing => Op::Solarize { threshold: self.threshold(level) },
            SolarizeAdd => Op::SolarizeAdd { add: solarize_add(level) },
            // A blend with no share of the image is the grey image.
            Desaturate if factor() == 0.0 => Op::Grayscale,
            Color | ColorIncreasing | Desaturate => Op::Color { factor: factor() },
            Contrast | ContrastIncreasing => Op::Contrast { factor: factor() },
            Brightness | BrightnessIncreasing => Op::Brightness { factor: factor() },
            Sharpness | SharpnessIncreasing => Op::Sharpness { factor: factor() },
            ShearX => Op::ShearX { factor: signed(shear(level)), sampling: interpolation.draw(draw) },
            ShearY => Op::ShearY { factor: signed(shear(level)), sampling: interpolation.draw(draw) },
            TranslateXRel => Op::TranslateX { share: signed(translate(level)), sampling: interpolation.draw(draw) },
            TranslateYRel => Op::TranslateY { share: signed(translate(level)), sampling: interpolation.draw(draw) },
            GaussianBlur => Op::GaussianBlur { radius: self.radius(level) as f32 },
            GaussianBlurRand => Op::GaussianBlur { radius: draw.uniform(RADIUS[0], self.radius(level)) as f32 },
        }
    }

    /// timm's name.
    pub(super) fn name(self) -> String {
        format!("{self:?}")
    }

    /// The argument at `level`, for people.
    pub(super) fn describe(self, level: f64) -> String {
        match self {
            AutoContrast | Equalize | Invert => "whole effect at every magnitude".into(),
            Rotate => format!("±{}°", short(rotate(level))),
            Posterize | PosterizeIncreasing | PosterizeOriginal => bits(self.bits(level)),
            Solarize | SolarizeIncreasing => threshold(self.threshold(level)),
            SolarizeAdd => format!("adds {} below 128", solarize_add(level)),
            Desaturate if self.factor(level, false) == 0.0 => "grey".into(),
            Color | Contrast | Brightness | Sharpness | Desaturate => {
                format!("factor {}", short(self.factor(level, false)))
            }
            ColorIncreasing | ContrastIncreasing | BrightnessIncreasing | SharpnessIncreasing => {
                format!("factor {} or {}", short(self.factor(level, true)), short(self.factor(level, false)))
            }
            ShearX | ShearY => format!("±{}", short(shear(level))),
            TranslateXRel => format!("±{} of the width", short(translate(level))),
            TranslateYRel => format!("±{} of the height", short(translate(level))),
            GaussianBlur => format!("radius {} px", short(self.radius(level))),
            GaussianBlurRand => format!("radius {} to {} px", short(RADIUS[0]), short(self.radius(level))),
        }
    }
}

/// Bits kept, for people.
pub(super) fn bits(bits: u8) -> String {
    match bits {
        0 => "keeps 0 bits: black".into(),
        1 => "keeps 1 bit".into(),
        _ => format!("keeps {bits} bits"),
    }
}

/// A solarization's threshold, for people.
pub(super) fn threshold(threshold: u16) -> String {
    if threshold > 255 { "inverts nothing".into() } else { format!("inverts from {threshold}") }
}

/// A number with at most four decimals, without trailing zeros.
pub(super) fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').into()
}

/// How the magnitude of one application is drawn about its mean (`randaugment.md` §1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Noise {
    /// The mean itself.
    None,
    /// Normal with this standard deviation, above 0.
    Normal(f64),
    /// Uniform from 0 to the mean.
    Uniform,
}

impl Noise {
    /// A magnitude in `0..=max`, not rounded. Draws a normal number (two of the stream), a uniform one, or none.
    pub(super) fn draw(self, mean: f64, max: f64, draw: &mut Draw) -> f64 {
        let level = match self {
            Self::None => mean,
            Self::Normal(std) => mean + std * draw.normal(),
            Self::Uniform => draw.uniform(0.0, mean),
        };
        level.clamp(0.0, max)
    }
}

/// An operation of a list, with its probability and mean magnitude.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) operator: Operator,
    pub(super) probability: f64,
    pub(super) magnitude: f64,
}

impl Step {
    /// Adds the operation, or nothing. Draws whether it is applied (always), and if it is: the noise of the magnitude (for
    /// operations without argument too), then as [`Operator::draw`].
    pub(super) fn draw(
        self,
        noise: Noise,
        max: f64,
        interpolation: Interpolation,
        draw: &mut Draw,
        ops: &mut Ops,
    ) -> Result<()> {
        if !draw.chance(self.probability) {
            return Ok(());
        }
        let level = noise.draw(self.magnitude, max, draw);
        ops.push(self.operator.draw(level, interpolation, draw))
    }
}
