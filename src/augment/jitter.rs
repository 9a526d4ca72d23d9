//! Colour jitter, grayscale, blur and solarization, each with a probability of its own.

use super::op::{Op, Ops};
use crate::error::{Error, Result};
use crate::rng::Draw;
use serde::{Deserialize, Serialize};

/// Strengths of torchvision's `ColorJitter`. At 0, which is the default, a part is absent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColorJitter {
    /// The factor is uniform in `max(0, 1 - brightness)..=1 + brightness`; at least 0.
    pub brightness: f64,
    /// As `brightness`.
    pub contrast: f64,
    /// As `brightness`, of the blend with grey ([`Op::Color`]).
    pub saturation: f64,
    /// The shift is uniform in `-hue..=hue`, shares of a full turn; `0..=0.5`.
    pub hue: f64,
}

impl ColorJitter {
    /// Refuses strengths that have no meaning.
    ///
    /// # Errors
    /// [`Error::Config`] names the field, what it holds and what is allowed.
    pub fn check(&self) -> Result<()> {
        for (name, value) in
            [("brightness", self.brightness), ("contrast", self.contrast), ("saturation", self.saturation)]
        {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(invalid(&format!("color.{name}"), format!("{value}: expected a number of at least 0")));
            }
        }
        if !(0.0..=0.5).contains(&self.hue) {
            return Err(invalid("color.hue", format!("{}: expected a share of a turn in 0..=0.5", self.hue)));
        }
        Ok(())
    }

    /// Draws seven numbers, always: three for the order, then the place of each part in its range.
    fn draw(&self, draw: &mut Draw) -> [Option<Op>; 4] {
        // Fisher and Yates, from the end.
        let mut order = [0, 1, 2, 3];
        for last in (1..order.len()).rev() {
            order.swap(last, draw.below(last as u64 + 1) as usize);
        }
        let factor =
            |strength: f64, unit: f64| ((1.0 - strength).max(0.0) * (1.0 - unit) + (1.0 + strength) * unit) as f32;
        let units = [draw.unit(), draw.unit(), draw.unit(), draw.unit()];
        let parts = [
            (self.brightness, Op::Brightness { factor: factor(self.brightness, units[0]) }),
            (self.contrast, Op::Contrast { factor: factor(self.contrast, units[1]) }),
            (self.saturation, Op::Color { factor: factor(self.saturation, units[2]) }),
            (self.hue, Op::Hue { shift: self.hue * (2.0 * units[3] - 1.0) }),
        ];
        order.map(|part| {
            let (strength, op) = parts[part];
            (strength > 0.0).then_some(op)
        })
    }
}

/// A blur that some images get.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Blur {
    /// Share of images, `0..=1`.
    pub probability: f64,
    /// Standard deviation in pixels, uniform between these two; above 0.
    pub radius: [f64; 2],
}

impl Default for Blur {
    /// Off; radius 0.1 to 2.
    fn default() -> Self {
        Self { probability: 0.0, radius: [0.1, 2.0] }
    }
}

/// A solarization that some images get.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Solarize {
    /// Share of images, `0..=1`.
    pub probability: f64,
    /// Least value that is inverted, `0..=256`.
    pub threshold: u16,
}

impl Default for Solarize {
    /// Off; from 128 on.
    fn default() -> Self {
        Self { probability: 0.0, threshold: 128 }
    }
}

/// Colour jitter, then grayscale, then blur, then solarization; each for its own share of the images. By default none.
///
/// timm's `color_jitter`, `color_jitter_prob`, `grayscale_prob` and `gaussian_blur_prob` in the order of its
/// `transforms_imagenet_train`, and solarization as in BYOL.
///
/// # Differences from timm
/// The blur is Pillow's ([`Op::GaussianBlur`]), which DeiT III uses; timm's `gaussian_blur_prob` blurs by torchvision's
/// kernel of 23 taps, with a standard deviation from the same range. timm drops its colour jitter when there is a policy
/// other than `3a` (`randaugment.md` §3: "configured but inert"); here the jitter is what the fields say.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Jitter {
    /// Strengths of the colour jitter.
    pub color: ColorJitter,
    /// Share of images whose colours are jittered, `0..=1`.
    pub color_probability: f64,
    /// Share of images that become grey, `0..=1`.
    pub grayscale: f64,
    /// Gaussian blur.
    pub blur: Blur,
    /// Solarization.
    pub solarize: Solarize,
}

impl Default for Jitter {
    fn default() -> Self {
        Self {
            color: ColorJitter::default(),
            color_probability: 1.0,
            grayscale: 0.0,
            blur: Blur::default(),
            solarize: Solarize::default(),
        }
    }
}

impl Jitter {
    /// Refuses values that have no meaning.
    ///
    /// # Errors
    /// [`Error::Config`] names the field, what it holds and what is allowed.
    pub fn check(&self) -> Result<()> {
        self.color.check()?;
        for (name, value) in [
            ("color_probability", self.color_probability),
            ("grayscale", self.grayscale),
            ("blur.probability", self.blur.probability),
            ("solarize.probability", self.solarize.probability),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return Err(invalid(name, format!("{value}: expected a chance in 0..=1")));
            }
        }
        let [low, high] = self.blur.radius;
        if !(low > 0.0 && low <= high && high.is_finite()) {
            return Err(invalid("blur.radius", format!("{:?}: expected 0 < low <= high", self.blur.radius)));
        }
        if self.solarize.threshold > 256 {
            return Err(invalid("solarize.threshold", format!("{}: expected 0..=256", self.solarize.threshold)));
        }
        Ok(())
    }

    /// Most operations that one image can get.
    pub fn most(&self) -> usize {
        let ColorJitter { brightness, contrast, saturation, hue } = self.color;
        let colors = [brightness, contrast, saturation, hue].into_iter().filter(|strength| *strength > 0.0).count();
        let others = [self.grayscale, self.blur.probability, self.solarize.probability];
        (if self.color_probability > 0.0 { colors } else { 0 })
            + others.into_iter().filter(|probability| *probability > 0.0).count()
    }

    /// Adds the operations of one image.
    ///
    /// Draws twelve numbers, always: whether colours are jittered, three for their order, the places of brightness, contrast,
    /// saturation and hue; whether grey; whether blurred, and the radius; whether solarized. So each part of an image stays
    /// as it is when the settings of another change.
    ///
    /// # Errors
    /// [`Error::Config`] if the list is full.
    pub(crate) fn draw(&self, draw: &mut Draw, ops: &mut Ops) -> Result<()> {
        let jittered = draw.chance(self.color_probability);
        let colors = self.color.draw(draw);
        if jittered {
            colors.into_iter().flatten().try_for_each(|op| ops.push(op))?;
        }
        if draw.chance(self.grayscale) {
            ops.push(Op::Grayscale)?;
        }
        let blurred = draw.chance(self.blur.probability);
        let radius = draw.uniform(self.blur.radius[0], self.blur.radius[1]) as f32;
        if blurred {
            ops.push(Op::GaussianBlur { radius })?;
        }
        if draw.chance(self.solarize.probability) {
            ops.push(Op::Solarize { threshold: self.solarize.threshold })?;
        }
        Ok(())
    }
}

fn invalid(field: &str, reason: String) -> Error {
    Error::config(format!("jitter.{field}"), reason)
}
