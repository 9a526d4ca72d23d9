//! Colour jitter, grayscale, blur and solarization, each with a probability of its own.

use super::blur::LARGEST_RADIUS;
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
        let most = f64::from(LARGEST_RADIUS);
        if !(low > 0.0 && low <= high && high <= most) {
            let reason = format!("{:?}: expected 0 < low <= high <= {most}", self.blur.radius);
            return Err(invalid("blur.radius", reason));
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
    Error::config(format!("recipe.jitter.{field}"), reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    fn draw_at(jitter: &Jitter, position: u64) -> Ops {
        let (mut draw, mut ops) = (Draw::at(6, 0, position, Purpose::Jitter), Ops::NONE);
        jitter.draw(&mut draw, &mut ops).unwrap();
        ops
    }

    fn all() -> Jitter {
        Jitter {
            color: ColorJitter { brightness: 0.4, contrast: 1.5, saturation: 0.3, hue: 0.1 },
            color_probability: 0.8,
            grayscale: 0.2,
            blur: Blur { probability: 0.5, ..Blur::default() },
            solarize: Solarize { probability: 0.1, threshold: 130 },
        }
    }

    #[test]
    fn by_default_nothing_is_done() {
        let none = Jitter::default();
        none.check().unwrap();
        assert_eq!(none.most(), 0);
        assert!((0..100).all(|position| draw_at(&none, position).is_empty()));
    }

    #[test]
    fn parts_have_their_probabilities_and_their_order() {
        let jitter = all();
        jitter.check().unwrap();
        assert_eq!(jitter.most(), 7);
        let mut counts = [0f64; 4];
        for position in 0..20_000 {
            let ops = draw_at(&jitter, position);
            let part = |op: &Op| match op {
                Op::Grayscale => 1,
                Op::GaussianBlur { radius } if (0.1..=2.0).contains(radius) => 2,
                Op::Solarize { threshold: 130 } => 3,
                _ => 0,
            };
            assert!(ops.is_sorted_by_key(part), "{ops:?}");
            for (place, count) in counts.iter_mut().enumerate() {
                *count += f64::from(u8::from(ops.iter().any(|op| part(op) == place)));
            }
        }
        for (count, expected) in counts.iter().zip([0.8, 0.2, 0.5, 0.1]) {
            assert!((count / 2e4 - expected).abs() < 0.015, "{counts:?}");
        }
    }

    #[test]
    fn colours_are_in_their_ranges_and_in_every_order() {
        let jitter = Jitter { color: all().color, ..Jitter::default() };
        let mut orders = std::collections::BTreeMap::new();
        let mut sums = [0f64; 4];
        for position in 0..24_000 {
            let mut order = 0;
            for op in draw_at(&jitter, position).iter() {
                let (part, value, range) = match *op {
                    Op::Brightness { factor } => (0, f64::from(factor), 0.6..1.4001),
                    Op::Contrast { factor } => (1, f64::from(factor), 0.0..2.5001),
                    Op::Color { factor } => (2, f64::from(factor), 0.6999..1.3001),
                    Op::Hue { shift } => (3, shift, -0.1..0.1),
                    ref other => panic!("{other:?}"),
                };
                assert!(range.contains(&value), "{op:?}");
                sums[part] += value;
                order = 10 * order + part;
            }
            *orders.entry(order).or_insert(0f64) += 1.0;
        }
        // 24 orders; the 0.1 % point for 23 degrees of freedom.
        let chi: f64 = orders.values().map(|n| (n - 1e3).powi(2) / 1e3).sum();
        assert!(orders.len() == 24 && chi < 49.7, "{orders:?}");
        // The middles of the ranges; contrast runs from 0 to 2.5.
        for (sum, middle) in sums.iter().zip([1.0, 1.25, 1.0, 0.0]) {
            assert!((sum / 24e3 - middle).abs() < 0.02, "{sums:?}");
        }
    }

    #[test]
    fn a_part_does_not_change_with_the_settings_of_another() {
        let (with, without) = (all(), Jitter { color: ColorJitter::default(), grayscale: 0.9, ..all() });
        let blur = |jitter: &Jitter, position| {
            let ops = draw_at(jitter, position);
            ops.iter().copied().find(|op| matches!(op, Op::GaussianBlur { .. }))
        };
        assert!((0..200).all(|position| blur(&with, position) == blur(&without, position)));
    }

    #[test]
    fn what_a_seed_draws_stays_the_same() {
        // Written down once, from this code: a change here changes every run that is resumed or repeated.
        let drawn: Vec<_> = (0..2).map(|position| draw_at(&all(), position).to_vec()).collect();
        let expected = "[[Color { factor: 1.2758555 }, Brightness { factor: 0.6554735 }, Contrast { factor: \
             1.2428696 }, Hue { shift: 0.07800979029227373 }, GaussianBlur { radius: 1.882333 }], \
             [Color { factor: 1.1817625 }, Hue { shift: -0.006732743413635434 }, Contrast { factor: \
             0.9940057 }, Brightness { factor: 1.0832529 }, GaussianBlur { radius: 1.5089775 }]]";
        assert_eq!(format!("{drawn:?}"), expected);
    }

    #[test]
    fn values_without_a_meaning_are_refused_by_name() {
        let color = |color| Jitter { color, ..Jitter::default() };
        for (jitter, expected) in [
            (color(ColorJitter { brightness: -0.1, ..ColorJitter::default() }), "recipe.jitter.color.brightness: -0.1"),
            (color(ColorJitter { contrast: f64::NAN, ..ColorJitter::default() }), "recipe.jitter.color.contrast: NaN"),
            (
                color(ColorJitter { hue: 0.6, ..ColorJitter::default() }),
                "recipe.jitter.color.hue: 0.6: expected a share",
            ),
            (Jitter { grayscale: 1.1, ..all() }, "recipe.jitter.grayscale: 1.1: expected a chance in 0..=1"),
            (
                Jitter { blur: Blur { probability: 1.0, radius: [0.0, 1.0] }, ..all() },
                "recipe.jitter.blur.radius: [0.0, 1.0]: expected 0 < low <= high",
            ),
            (
                Jitter { solarize: Solarize { probability: 1.0, threshold: 257 }, ..all() },
                "recipe.jitter.solarize.threshold: 257: expected 0..=256",
            ),
        ] {
            let message = jitter.check().unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn a_recipe_gives_only_what_it_changes() {
        let jitter: Jitter = toml::from_str("grayscale = 0.1\n[color]\nbrightness = 0.3\n").unwrap();
        let color = ColorJitter { brightness: 0.3, ..ColorJitter::default() };
        assert_eq!(jitter, Jitter { color, grayscale: 0.1, ..Jitter::default() });
        assert!(toml::from_str::<Jitter>("greyscale = 0.1").unwrap_err().to_string().contains("greyscale"));
    }
}
