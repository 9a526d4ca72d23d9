//! RandAugment (Cubuk et al. 2020, arXiv 1909.13719) as timm has it: `rand-m9-mstd0.5-inc1` and its like.
//!
//! `n` operations are chosen of a list, uniformly and with replacement, and each is applied with probability `p`
//! (`randaugment.md` §1). With weights, no operation is chosen twice.

use super::operator::{MAX, Noise, Operator, Operator::*, Step, short};
use super::token::{self, Token};
use crate::augment::interpolation::Interpolation;
use crate::augment::op::Ops;
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
