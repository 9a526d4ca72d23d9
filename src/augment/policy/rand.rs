//! RandAugment (Cubuk et al. 2020, arXiv 1909.13719) as timm has it: `rand-m9-mstd0.5-inc1` and its like.
//!
//! `n` operations are chosen of a list, uniformly and with replacement, and each is applied with probability `p`
//! (`randaugment.md` §1). With weights, no operation is chosen twice.

use super::operator::{MAX, Noise, Operator, Operator::*, Step, short};
use super::token::{self, Token};
use crate::augment::interpolation::Interpolation;
use crate::augment::op::{Op, Ops, Sampling};
use crate::error::Result;
use crate::nearest;
use crate::rng::Draw;
use std::fmt;

/// Without `inc`: the maps of the TPU code, some of which are weaker at a higher magnitude.
const PLAIN: [Operator; 15] = [
    AutoContrast,
    Equalize,
    Invert,
    Rotate,
    Posterize,
    Solarize,
    SolarizeAdd,
    Color,
    Contrast,
    Brightness,
    Sharpness,
    ShearX,
    ShearY,
    TranslateXRel,
    TranslateYRel,
];

/// With `inc`: every map grows with the magnitude. In the order of [`PLAIN`].
const INCREASING: [Operator; 15] = [
    AutoContrast,
    Equalize,
    Invert,
    Rotate,
    PosterizeIncreasing,
    SolarizeIncreasing,
    SolarizeAdd,
    ColorIncreasing,
    ContrastIncreasing,
    BrightnessIncreasing,
    SharpnessIncreasing,
    ShearX,
    ShearY,
    TranslateXRel,
    TranslateYRel,
];

/// `w0` of timm up to 0.6: weights of the two lists above. Neither Invert nor Posterize.
const WEIGHTS_0: [f64; 15] =
    [0.025, 0.005, 0.0, 0.3, 0.0, 0.005, 0.005, 0.025, 0.005, 0.005, 0.025, 0.2, 0.2, 0.1, 0.1];

/// `tweights`, the weights of later versions, always of the increasing list.
const WEIGHTS: [f64; 15] = [0.25, 0.05, 0.05, 3.0, 0.05, 0.05, 0.05, 0.25, 0.05, 0.05, 0.25, 2.0, 2.0, 1.0, 1.0];

/// `t3a`: operations like those of 3-Augment, uniform and with replacement.
const THREE: [Operator; 3] = [SolarizeIncreasing, Desaturate, GaussianBlur];

/// `t3aw`: mostly those three.
const WEIGHTED_THREE: [Operator; 14] = [
    SolarizeIncreasing,
    Desaturate,
    GaussianBlur,
    Rotate,
    ShearX,
    ShearY,
    PosterizeIncreasing,
    AutoContrast,
    ColorIncreasing,
    SharpnessIncreasing,
    ContrastIncreasing,
    BrightnessIncreasing,
    Equalize,
    Invert,
];
const WEIGHTS_THREE: [f64; 14] = [6.0, 6.0, 6.0, 3.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];

const KEYS: [&str; 8] = ["m", "n", "mstd", "mmax", "p", "inc", "w", "t"];
const SETS: [&str; 3] = ["weights", "3a", "3aw"];

/// Above this, `mstd` means a uniform magnitude.
const UNIFORM_ABOVE: f64 = 100.0;

/// Which list the operations are chosen of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    /// All 15 alike.
    Uniform,
    /// `w0`.
    Weights0,
    /// `tweights`.
    Weights,
    /// `t3a`.
    Three,
    /// `t3aw`.
    WeightedThree,
}

/// `rand-...`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rand {
    /// Of the policy itself.
    pub(super) magnitude: Option<f64>,
    /// Operations chosen for each image, `1..=Ops::CAPACITY`.
    pub(super) count: usize,
    probability: f64,
    noise: Noise,
    /// Upper bound of magnitudes, if it is not [`MAX`].
    max: Option<f64>,
    increasing: bool,
    choice: Choice,
}

impl Rand {
    /// Reads what follows `rand` in `text`.
    pub(super) fn parse<'a>(text: &'a str, tokens: impl Iterator<Item = &'a str>) -> Result<Self> {
        let mut rand = Self {
            magnitude: None,
            count: 2,
            probability: 0.5,
            noise: Noise::None,
            max: None,
            increasing: false,
            choice: Choice::Uniform,
        };
        for token in token::all(text, "rand", &KEYS, tokens)? {
            match token.key {
                "m" => rand.magnitude = Some(token.not_negative()?),
                "n" => {
                    let most = Ops::CAPACITY;
                    let count = token.value.parse().ok().filter(|n| (1..=most).contains(n));
                    rand.count = count.ok_or_else(|| {
                        token.error(format!("found `{}`, expected a whole number in 1..={most}", token.value))
                    })?;
                }
                "mstd" => {
                    rand.noise = match token.not_negative()? {
                        0.0 => Noise::None,
                        std if std > UNIFORM_ABOVE => Noise::Uniform,
                        std => Noise::Normal(std),
                    };
                }
                "mmax" => {
                    let max = token.number("a number above 0", |value| value > 0.0)?;
                    rand.max = (max != MAX).then_some(max);
                }
                "p" => rand.probability = token.number("a chance in 0..=1", |value| (0.0..=1.0).contains(&value))?,
                "inc" => {
                    token.number("a number; every number means increasing, even 0", |_| true)?;
                    rand.increasing = true;
                }
                "w" if token.value == "0" => rand.choose(Choice::Weights0, &token)?,
                "w" => return Err(token.error(format!("found `{}`, expected 0, the only set of weights", token.value))),
                _ => {
                    let choice = match token.value {
                        "weights" => Choice::Weights,
                        "3a" => Choice::Three,
                        "3aw" => Choice::WeightedThree,
                        unknown => {
                            let hint = nearest::hint(unknown, SETS);
                            let names = SETS.join(", ");
                            return Err(token.error(format!("`{unknown}` is no set{hint}; use one of {names}")));
                        }
                    };
                    rand.choose(choice, &token)?;
                }
            }
        }
        Ok(rand)
    }

    fn choose(&mut self, choice: Choice, token: &Token<'_>) -> Result<()> {
        if self.choice != Choice::Uniform {
            return Err(token.error("`w` and `t` exclude each other"));
        }
        self.choice = choice;
        Ok(())
    }

    /// The operations, and their weights unless all are alike.
    fn operators(&self) -> (&'static [Operator], Option<&'static [f64]>) {
        let list: &'static [Operator] = if self.increasing { &INCREASING } else { &PLAIN };
        match self.choice {
            Choice::Uniform => (list, None),
            Choice::Weights0 => (list, Some(&WEIGHTS_0)),
            Choice::Weights => (&INCREASING, Some(&WEIGHTS)),
            Choice::Three => (&THREE, None),
            Choice::WeightedThree => (&WEIGHTED_THREE, Some(&WEIGHTS_THREE)),
        }
    }

    fn max(&self) -> f64 {
        self.max.unwrap_or(MAX)
    }

    /// All choices first, one draw each; then the steps in order ([`Step::draw`]).
    pub(super) fn draw(
        &self,
        magnitude: f64,
        interpolation: Interpolation,
        draw: &mut Draw,
        ops: &mut Ops,
    ) -> Result<()> {
        let (operators, weights) = self.operators();
        let mut taken = 0;
        let mut chosen = [Invert; Ops::CAPACITY];
        for place in &mut chosen[..self.count] {
            let index = match weights {
                None => draw.below(operators.len() as u64) as usize,
                Some(weights) => untaken(weights, &mut taken, draw),
            };
            *place = operators[index];
        }
        chosen[..self.count].iter().try_for_each(|&operator| {
            let step = Step { operator, probability: self.probability, magnitude };
            step.draw(self.noise, self.max(), interpolation, draw, ops)
        })
    }

    pub(super) fn strongest(&self, magnitude: f64, sampling: Sampling) -> Vec<(String, Op)> {
        let level = magnitude.clamp(0.0, self.max());
        let (operators, _) = self.operators();
        operators.iter().map(|operator| (operator.name(), operator.strongest(level, sampling))).collect()
    }

    pub(super) fn describe(&self, magnitude: f64) -> Vec<(String, String)> {
        let level = magnitude.clamp(0.0, self.max());
        let (operators, weights) = self.operators();
        let total: f64 = weights.map_or(1.0, |weights| weights.iter().sum());
        let row = |(index, operator): (usize, &Operator)| {
            let argument = operator.describe(level);
            let argument = match weights {
                None => argument,
                Some(weights) => format!("{argument}; weight {} %", short(100.0 * weights[index] / total)),
            };
            (operator.name(), argument)
        };
        operators.iter().enumerate().map(row).collect()
    }
}

/// An index by weight among those whose bit in `taken` is not set, which it sets.
fn untaken(weights: &[f64], taken: &mut u32, draw: &mut Draw) -> usize {
    let left = |index: usize| if *taken & (1 << index) == 0 { weights[index] } else { 0.0 };
    let total: f64 = (0..weights.len()).map(left).sum();
    let mut place = draw.uniform(0.0, total);
    let mut chosen = 0;
    // Ends at the last index with weight even if the subtractions round past it.
    for index in (0..weights.len()).filter(|&index| left(index) > 0.0) {
        chosen = index;
        if place < left(index) {
            break;
        }
        place -= left(index);
    }
    *taken |= 1 << chosen;
    chosen
}

impl fmt::Display for Rand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rand")?;
        if let Some(magnitude) = self.magnitude {
            write!(f, "-m{magnitude}")?;
        }
        if self.count != 2 {
            write!(f, "-n{}", self.count)?;
        }
        match self.noise {
            Noise::None => {}
            Noise::Normal(std) => write!(f, "-mstd{std}")?,
            Noise::Uniform => write!(f, "-mstd{}", UNIFORM_ABOVE + 1.0)?,
        }
        if let Some(max) = self.max {
            write!(f, "-mmax{max}")?;
        }
        if self.probability != 0.5 {
            write!(f, "-p{}", self.probability)?;
        }
        if self.increasing {
            f.write_str("-inc1")?;
        }
        f.write_str(match self.choice {
            Choice::Uniform => "",
            Choice::Weights0 => "-w0",
            Choice::Weights => "-tweights",
            Choice::Three => "-t3a",
            Choice::WeightedThree => "-t3aw",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::op::Op;
    use crate::rng::Purpose;

    fn rand(text: &str) -> Rand {
        Rand::parse(text, text.split('-').skip(1)).unwrap()
    }

    fn draw_at(rand: &Rand, magnitude: f64, position: u64) -> Ops {
        let (mut draw, mut ops) = (Draw::at(9, 1, position, Purpose::Augment), Ops::NONE);
        rand.draw(magnitude, Interpolation::Bicubic, &mut draw, &mut ops).unwrap();
        ops
    }

    /// Place in the list of 15.
    fn index(op: &Op) -> usize {
        match op {
            Op::AutoContrast => 0,
            Op::Equalize => 1,
            Op::Invert => 2,
            Op::Rotate { .. } => 3,
            Op::Posterize { .. } => 4,
            Op::Solarize { .. } => 5,
            Op::SolarizeAdd { .. } => 6,
            Op::Color { .. } => 7,
            Op::Contrast { .. } => 8,
            Op::Brightness { .. } => 9,
            Op::Sharpness { .. } => 10,
            Op::ShearX { .. } => 11,
            Op::ShearY { .. } => 12,
            Op::TranslateX { .. } => 13,
            Op::TranslateY { .. } => 14,
            other => panic!("{other:?} is not in the list"),
        }
    }

    fn chi_square(counts: &[f64], expected: impl Fn(usize) -> f64) -> f64 {
        counts.iter().enumerate().map(|(i, n)| (n - expected(i)).powi(2) / expected(i)).sum()
    }

    #[test]
    fn two_operations_of_fifteen_are_drawn_with_replacement_and_applied_half_of_the_time() {
        // Statement 3 of randaugment.md §5.
        let policy = rand("rand-m9-mstd0.5-inc1");
        let (mut lengths, mut single, mut pairs) = ([0f64; 3], [0f64; 15], [0f64; 225]);
        for position in 0..100_000 {
            let ops = draw_at(&policy, 9.0, position);
            lengths[ops.len()] += 1.0;
            match *ops.as_slice() {
                [ref op] => single[index(op)] += 1.0,
                [ref first, ref second] => pairs[15 * index(first) + index(second)] += 1.0,
                _ => {}
            }
        }
        // The 0.1 % points for 2, 14 and 224 degrees of freedom. An image passes untouched with probability a quarter.
        assert!(chi_square(&lengths, |i| [25e3, 50e3, 25e3][i]) < 13.8, "{lengths:?}");
        assert!(chi_square(&single, |_| lengths[1] / 15.0) < 36.1, "{single:?}");
        // All ordered pairs alike, the 15 of equals among them: independent choices, with replacement.
        assert!(chi_square(&pairs, |_| lengths[2] / 225.0) < 294.0, "{pairs:?}");
        // Probability 1 and another n.
        let policy = rand("rand-n5-p1");
        assert!((0..100).all(|position| draw_at(&policy, 5.0, position).len() == 5));
    }

    #[test]
    fn at_magnitude_zero_some_operations_act_as_ever() {
        // Statement 5, and §4: two chances of 1/15 * 1/2 each.
        let policy = rand("rand-m0-mstd0.5-inc1");
        let (mut invert, mut posterize, mut whole, mut strong, images) = (0u32, 0u32, 0u32, 0u32, 200_000u32);
        let (mut applied, mut above) = (0u32, 0u32);
        for position in 0..u64::from(images) {
            let ops = draw_at(&policy, 0.0, position);
            let has = |test: fn(&Op) -> bool| u32::from(ops.iter().any(test));
            invert += has(|op| matches!(op, Op::Invert));
            posterize += has(|op| matches!(op, Op::Posterize { bits: 4 }));
            whole += has(|op| matches!(op, Op::Invert | Op::AutoContrast | Op::Equalize));
            strong += has(|op| matches!(op, Op::Invert | Op::AutoContrast | Op::Equalize | Op::Posterize { .. }));
            for op in ops.iter() {
                if let Op::Rotate { degrees, .. } = op {
                    (applied, above) = (applied + 1, above + u32::from(*degrees != 0.0));
                }
            }
        }
        for (name, count, each) in
            [("invert", invert, 1.0), ("posterize", posterize, 1.0), ("whole", whole, 3.0), ("strong", strong, 4.0)]
        {
            let (found, expected) = (f64::from(count) / f64::from(images), 1.0 - (1.0 - each / 30.0f64).powi(2));
            // Four standard errors of the largest share are 0.4 %, of the first two 0.22 %.
            let allowed = if each == 1.0 { 0.003 } else { 0.004 };
            assert!((found - expected).abs() < allowed, "{name}: {found}, not {expected}");
        }
        // Noise about 0 is positive half of the time: a rotation by more than nothing.
        let share = f64::from(above) / f64::from(applied);
        assert!((share - 0.5).abs() < 0.02, "{share}");
    }

    #[test]
    fn posterize_can_keep_no_bits_at_magnitude_nine() {
        let policy = rand("rand-m9-mstd0.5-inc1");
        let mut bits = [0f64; 9];
        for op in (0..100_000).flat_map(|position| draw_at(&policy, 9.0, position).to_vec()) {
            if let Op::Posterize { bits: kept } = op {
                bits[usize::from(kept)] += 1.0;
            }
        }
        let total: f64 = bits.iter().sum();
        // P(N(9, 0.5) >= 10) = 2.275 %, with a standard error of 0.18 %; P(< 7.5) = 0.135 % keeps 2 bits.
        assert!((bits[0] / total - 0.022_75).abs() < 0.007, "{bits:?}");
        assert!(bits[1] / total > 0.96 && bits[2] / total < 0.005, "{bits:?}");
        assert_eq!(bits[3..].iter().sum::<f64>(), 0.0);
    }

    #[test]
    fn weighted_choices_are_without_replacement() {
        // p_i + sum over j of p_j p_i / (1 - p_j): the chance that i is one of two.
        for (policy, weights) in [("rand-m5-p1-w0-inc1", WEIGHTS_0), ("rand-m5-p1-tweights", WEIGHTS)] {
            let total: f64 = weights.iter().sum();
            let p = weights.map(|weight| weight / total);
            let mut counts = [0f64; 15];
            let rand = rand(policy);
            for position in 0..20_000 {
                let ops = draw_at(&rand, 5.0, position);
                assert_ne!(index(&ops[0]), index(&ops[1]), "{policy}");
                ops.iter().for_each(|op| counts[index(op)] += 1.0);
            }
            for i in 0..15 {
                let second: f64 = (0..15).filter(|&j| j != i).map(|j| p[j] * p[i] / (1.0 - p[j])).sum();
                let (found, expected) = (counts[i] / 2e4, p[i] + second);
                assert!((found - expected).abs() < 0.015, "{policy} {i}: {found}, not {expected}");
            }
            if policy.contains("w0") {
                assert_eq!((counts[2], counts[4]), (0.0, 0.0), "neither Invert nor Posterize");
            }
        }
        // As many as there may be: each only once.
        let ops = draw_at(&rand("rand-m5-p1-n12-t3aw"), 5.0, 0);
        assert!(ops.iter().enumerate().all(|(i, op)| !ops[..i].contains(op)) && ops.len() == Ops::CAPACITY);
    }

    #[test]
    fn sets_hold_their_operations() {
        let drawn = |text: &str, test: fn(&Op) -> bool| {
            let rand = rand(text);
            (0..200).all(|position| draw_at(&rand, 8.0, position).iter().all(test))
        };
        assert!(drawn("rand-p1-t3a", |op| matches!(
            op,
            Op::Solarize { threshold: 52 } | Op::Color { .. } | Op::GaussianBlur { .. }
        )));
        assert!(drawn("rand-p1", |op| !matches!(op, Op::Posterize { bits } if *bits != 3)));
        assert!(drawn("rand-p1-inc0", |op| !matches!(op, Op::Posterize { bits } if *bits != 1)));
    }

    #[test]
    fn the_order_of_the_numbers_is_choices_then_operation_by_operation() {
        let policy = rand("rand-m9-mstd0.5-inc1");
        for position in 0..200 {
            let mut draw = Draw::at(9, 1, position, Purpose::Augment);
            let chosen = [draw.below(15), draw.below(15)].map(|index| INCREASING[index as usize]);
            let mut expected = Ops::NONE;
            for operator in chosen {
                if draw.chance(0.5) {
                    let level = (9.0 + 0.5 * draw.normal()).clamp(0.0, 10.0);
                    expected.push(operator.draw(level, Interpolation::Bicubic, &mut draw)).unwrap();
                }
            }
            assert_eq!(draw_at(&policy, 9.0, position), expected, "{position}");
        }
    }
}
