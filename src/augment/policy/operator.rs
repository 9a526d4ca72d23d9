//! The operations of timm's lists: their maps from magnitude to argument, their signs, and the noise of the magnitude.
//!
//! Levels run from 0 to 10; `f = level / 10` (`randaugment.md` §2). "±" is a sign that is drawn with equal chances.

use crate::augment::interpolation::Interpolation;
use crate::augment::op::{Op, Ops, Sampling};
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
        let radius = match self {
            GaussianBlurRand => draw.uniform(RADIUS[0], self.radius(level)),
            _ => self.radius(level),
        };
        let sampling = if self.is_geometric() { interpolation.draw(draw) } else { Sampling::default() };
        self.at(level, negative, radius, sampling)
    }

    /// The operation at its full strength at `level`, to the positive side where it has a sign.
    pub(super) fn strongest(self, level: f64, sampling: Sampling) -> Op {
        self.at(level, false, self.radius(level), sampling)
    }

    fn is_geometric(self) -> bool {
        matches!(self, Rotate | ShearX | ShearY | TranslateXRel | TranslateYRel)
    }

    fn at(self, level: f64, negative: bool, radius: f64, sampling: Sampling) -> Op {
        let signed = |value: f64| if negative { -value } else { value };
        let factor = || self.factor(level, negative) as f32;
        match self {
            AutoContrast => Op::AutoContrast,
            Equalize => Op::Equalize,
            Invert => Op::Invert,
            Rotate => Op::Rotate { degrees: signed(rotate(level)), sampling },
            Posterize | PosterizeIncreasing | PosterizeOriginal => Op::Posterize { bits: self.bits(level) },
            Solarize | SolarizeIncreasing => Op::Solarize { threshold: self.threshold(level) },
            SolarizeAdd => Op::SolarizeAdd { add: solarize_add(level) },
            // A blend with no share of the image is the grey image.
            Desaturate if factor() == 0.0 => Op::Grayscale,
            Color | ColorIncreasing | Desaturate => Op::Color { factor: factor() },
            Contrast | ContrastIncreasing => Op::Contrast { factor: factor() },
            Brightness | BrightnessIncreasing => Op::Brightness { factor: factor() },
            Sharpness | SharpnessIncreasing => Op::Sharpness { factor: factor() },
            ShearX => Op::ShearX { factor: signed(shear(level)), sampling },
            ShearY => Op::ShearY { factor: signed(shear(level)), sampling },
            TranslateXRel => Op::TranslateX { share: signed(translate(level)), sampling },
            TranslateYRel => Op::TranslateY { share: signed(translate(level)), sampling },
            GaussianBlur | GaussianBlurRand => Op::GaussianBlur { radius: radius as f32 },
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::op::Sampling;
    use crate::rng::Purpose;

    fn stream(position: u64) -> Draw {
        Draw::at(3, 0, position, Purpose::Augment)
    }

    /// The operation at a level for each of two signs, if it has one.
    fn both(operator: Operator, level: f64) -> [Op; 2] {
        let at = |negative| {
            let mut draw = (0..).map(stream).find(|draw| draw.clone().chance(0.5) == negative).unwrap();
            operator.draw(level, Interpolation::Bicubic, &mut draw)
        };
        [at(false), at(true)]
    }

    #[test]
    fn levels_equal_the_table_of_integer_magnitudes() {
        // Statement 1 of randaugment.md §5, in the released code's order of operations, to the last bit.
        let degrees = [0.0, 3.0, 6.0, 9.0, 12.0, 15.0, 18.0, 21.0, 24.0, 27.0, 30.0];
        let bits = [4, 4, 4, 3, 3, 2, 2, 2, 1, 1, 0];
        let thresholds = [256, 231, 205, 180, 154, 128, 103, 77, 52, 26, 0];
        let adds = [0, 11, 22, 33, 44, 55, 66, 77, 88, 99, 110];
        let blends = [
            0.0,
            0.09000000000000001,
            0.18000000000000002,
            0.27,
            0.36000000000000004,
            0.45,
            0.54,
            0.63,
            0.7200000000000001,
            0.81,
            0.9,
        ];
        let shears = [0.0, 0.03, 0.06, 0.09, 0.12, 0.15, 0.18, 0.21, 0.24, 0.27, 0.3];
        let shares = [
            0.0,
            0.045000000000000005,
            0.09000000000000001,
            0.135,
            0.18000000000000002,
            0.225,
            0.27,
            0.315,
            0.36000000000000004,
            0.405,
            0.45,
        ];
        let sampling = Sampling::Bicubic;
        for m in 0..=10 {
            let level = m as f64;
            assert_eq!(
                both(Rotate, level),
                [degrees[m], -degrees[m]].map(|degrees| Op::Rotate { degrees, sampling }),
                "{m}"
            );
            assert_eq!(both(PosterizeIncreasing, level)[0], Op::Posterize { bits: bits[m] }, "{m}");
            assert_eq!(both(SolarizeIncreasing, level)[0], Op::Solarize { threshold: thresholds[m] }, "{m}");
            assert_eq!(both(SolarizeAdd, level)[0], Op::SolarizeAdd { add: adds[m] }, "{m}");
            assert_eq!(enhance(level), blends[m], "{m}");
            let factors = [1.0 + blends[m], 1.0 - blends[m]].map(|factor| factor as f32);
            assert_eq!(both(ColorIncreasing, level), factors.map(|factor| Op::Color { factor }), "{m}");
            assert_eq!(both(ContrastIncreasing, level), factors.map(|factor| Op::Contrast { factor }), "{m}");
            assert_eq!(both(BrightnessIncreasing, level), factors.map(|factor| Op::Brightness { factor }), "{m}");
            assert_eq!(both(SharpnessIncreasing, level), factors.map(|factor| Op::Sharpness { factor }), "{m}");
            let shear = [shears[m], -shears[m]];
            assert_eq!(both(ShearX, level), shear.map(|factor| Op::ShearX { factor, sampling }), "{m}");
            assert_eq!(both(ShearY, level), shear.map(|factor| Op::ShearY { factor, sampling }), "{m}");
            let share = [shares[m], -shares[m]];
            assert_eq!(both(TranslateXRel, level), share.map(|share| Op::TranslateX { share, sampling }), "{m}");
            assert_eq!(both(TranslateYRel, level), share.map(|share| Op::TranslateY { share, sampling }), "{m}");
        }
    }

    #[test]
    fn maps_that_do_not_increase_equal_worked_values() {
        let at = |operator: Operator, level| operator.draw(level, Interpolation::Nearest, &mut stream(0));
        for (level, plain, original) in [(0.0, 0, 4), (2.0, 0, 4), (2.5, 1, 5), (5.0, 2, 6), (9.0, 3, 7), (10.0, 4, 8)]
        {
            assert_eq!(at(Posterize, level), Op::Posterize { bits: plain }, "{level}");
            assert_eq!(at(PosterizeOriginal, level), Op::Posterize { bits: original }, "{level}");
        }
        for (level, threshold) in [(0.0, 0), (2.0, 51), (5.0, 128), (9.0, 230), (10.0, 256)] {
            assert_eq!(at(Solarize, level), Op::Solarize { threshold }, "{level}");
        }
        for (level, factor) in [(0.0, 0.1), (5.0, 1.0), (9.0, 1.72), (10.0, 1.9)] {
            assert_eq!(at(Color, level), Op::Color { factor }, "{level}");
            assert_eq!(at(Sharpness, level), Op::Sharpness { factor }, "{level}");
        }
        assert_eq!(at(Desaturate, 10.0), Op::Grayscale);
        assert_eq!(at(Desaturate, 0.0), Op::Color { factor: 0.5 });
        assert_eq!(at(Desaturate, 4.0), Op::Color { factor: 0.3 });
        assert_eq!(at(GaussianBlur, 0.0), Op::GaussianBlur { radius: 0.1 });
        assert_eq!(at(GaussianBlur, 10.0), Op::GaussianBlur { radius: 2.0 });
    }

    #[test]
    fn arguments_stay_in_range_at_magnitudes_beyond_ten() {
        let at = |operator: Operator, level| both(operator, level);
        for level in [12.5, 25.0, 1e12] {
            assert_eq!(at(PosterizeIncreasing, level)[0], Op::Posterize { bits: 0 });
            assert_eq!(at(SolarizeIncreasing, level)[0], Op::Solarize { threshold: 0 });
            assert_eq!(at(ColorIncreasing, level)[1], Op::Color { factor: 0.1 });
            assert_eq!(at(GaussianBlur, level)[0], Op::GaussianBlur { radius: 2.0 });
        }
        assert_eq!(at(SolarizeAdd, 1e12)[0], Op::SolarizeAdd { add: 128 });
        assert_eq!(at(Posterize, 1e12)[0], Op::Posterize { bits: 8 });
        assert_eq!(at(PosterizeOriginal, 1e12)[0], Op::Posterize { bits: 8 });
    }

    #[test]
    fn signs_are_symmetric_and_sampling_comes_after_them() {
        // Statement 6: each sign half of the time. A standard error is 50.
        for operator in [Rotate, ColorIncreasing, SharpnessIncreasing, ShearX, ShearY, TranslateXRel, TranslateYRel] {
            let negative = (0..10_000)
                .filter(|&position| match operator.draw(9.0, Interpolation::Random, &mut stream(position)) {
                    Op::Rotate { degrees: value, .. }
                    | Op::ShearX { factor: value, .. }
                    | Op::ShearY { factor: value, .. }
                    | Op::TranslateX { share: value, .. }
                    | Op::TranslateY { share: value, .. } => value < 0.0,
                    Op::Color { factor } | Op::Sharpness { factor } => factor < 1.0,
                    other => panic!("{other:?}"),
                })
                .count();
            assert!((4800..5200).contains(&negative), "{operator:?}: {negative} of 10000");
        }
        for position in 0..20 {
            let mut draw = stream(position);
            let negative = draw.chance(0.5);
            let sampling = Interpolation::Random.draw(&mut draw);
            let degrees = if negative { -27.0 } else { 27.0 };
            let mut again = stream(position);
            assert_eq!(Rotate.draw(9.0, Interpolation::Random, &mut again), Op::Rotate { degrees, sampling });
            assert_eq!(again.bits(), draw.bits());
        }
    }

    /// Mean and standard deviation of 100 000 magnitudes, and the share that meets `when`.
    fn moments(noise: Noise, mean: f64, max: f64, when: impl Fn(f64) -> bool) -> [f64; 3] {
        let mut draw = stream(0);
        let levels: Vec<f64> = (0..100_000).map(|_| noise.draw(mean, max, &mut draw)).collect();
        let average = levels.iter().sum::<f64>() / 1e5;
        let variance = levels.iter().map(|level| (level - average).powi(2)).sum::<f64>() / 1e5;
        [average, variance.sqrt(), levels.iter().filter(|level| when(**level)).count() as f64 / 1e5]
    }

    #[test]
    fn noise_has_the_moments_of_a_clipped_bell_and_is_not_rounded() {
        // Statement 4: mean, standard deviation and P(level at the bound) of a normal clipped to 0..=max, in closed form.
        for (mean, max, expected) in [
            (0.0, 10.0, [0.199_471, 0.291_910, 0.5]),
            (5.0, 10.0, [5.0, 0.5, 0.0]),
            (9.0, 10.0, [8.995_755, 0.489_948, 0.022_750]),
            (10.0, 10.0, [9.800_529, 0.291_910, 0.5]),
            (12.0, 15.0, [12.0, 0.5, 0.0]),
        ] {
            let found = moments(Noise::Normal(0.5), mean, max, |level| level == 0.0 || level == max);
            for (found, expected) in found.iter().zip(expected) {
                // Four standard errors or more: 0.0016 of the mean, 0.0011 of the deviation, 0.0016 of a half.
                assert!((found - expected).abs() < 0.0065, "N({mean}, 0.5) to {max}: {found}, not {expected}");
            }
        }
        let at_ten = moments(Noise::Normal(0.5), 9.0, 10.0, |level| level == 10.0)[2];
        assert!((at_ten - 0.022_75).abs() < 0.002, "{at_ten}");
        let whole = moments(Noise::Normal(0.5), 5.0, 10.0, |level| level.fract() == 0.0)[2];
        assert_eq!(whole, 0.0);
    }

    #[test]
    fn other_noises_are_none_and_uniform() {
        assert_eq!(moments(Noise::None, 4.5, 10.0, |level| level == 4.5)[2], 1.0);
        assert_eq!(moments(Noise::None, 15.0, 10.0, |level| level == 10.0)[2], 1.0);
        let [mean, deviation, low] = moments(Noise::Uniform, 8.0, 10.0, |level| level < 2.0);
        assert!((mean - 4.0).abs() < 0.03 && (deviation - 8.0 / 12f64.sqrt()).abs() < 0.02, "{mean} {deviation}");
        assert!((low - 0.25).abs() < 0.006, "{low}");
    }

    #[test]
    fn numbers_for_people_have_no_trailing_zeros() {
        assert_eq!([0.0, 27.0, 0.405, 0.18999999, 10.0].map(short), ["0", "27", "0.405", "0.19", "10"]);
    }
}
