//! AutoAugment on ImageNet (Cubuk et al. 2019, arXiv 1805.09501), in the four variants that timm has.
//!
//! One of 25 sub-policies is chosen uniformly; its two operations follow each other, each applied with its own
//! probability at its own magnitude. `original` is the paper's; `v0` is that of the EfficientNet code for TPUs, for which
//! there is no paper. An `r` at the end posterizes as the research code does: the bits dropped grow with the magnitude. All
//! other operations have the maps without `Increasing`.

use super::operator::{MAX, Noise, Operator, Operator::*, Step};
use super::three;
use super::token::{self, Token};
use crate::augment::interpolation::Interpolation;
use crate::augment::op::Ops;
use crate::error::Result;
use crate::rng::Draw;
use std::fmt;

/// Operation, probability and magnitude.
type Entry = (Operator, f64, f64);

/// The paper's sub-policies. Some occur twice, as they do there.
const ORIGINAL: [[Entry; 2]; 25] = [
    [(PosterizeOriginal, 0.4, 8.0), (Rotate, 0.6, 9.0)],
    [(Solarize, 0.6, 5.0), (AutoContrast, 0.6, 5.0)],
    [(Equalize, 0.8, 8.0), (Equalize, 0.6, 3.0)],
    [(PosterizeOriginal, 0.6, 7.0), (PosterizeOriginal, 0.6, 6.0)],
    [(Equalize, 0.4, 7.0), (Solarize, 0.2, 4.0)],
    [(Equalize, 0.4, 4.0), (Rotate, 0.8, 8.0)],
    [(Solarize, 0.6, 3.0), (Equalize, 0.6, 7.0)],
    [(PosterizeOriginal, 0.8, 5.0), (Equalize, 1.0, 2.0)],
    [(Rotate, 0.2, 3.0), (Solarize, 0.6, 8.0)],
    [(Equalize, 0.6, 8.0), (PosterizeOriginal, 0.4, 6.0)],
    [(Rotate, 0.8, 8.0), (Color, 0.4, 0.0)],
    [(Rotate, 0.4, 9.0), (Equalize, 0.6, 2.0)],
    [(Equalize, 0.0, 7.0), (Equalize, 0.8, 8.0)],
    [(Invert, 0.6, 4.0), (Equalize, 1.0, 8.0)],
    [(Color, 0.6, 4.0), (Contrast, 1.0, 8.0)],
    [(Rotate, 0.8, 8.0), (Color, 1.0, 2.0)],
    [(Color, 0.8, 8.0), (Solarize, 0.8, 7.0)],
    [(Sharpness, 0.4, 7.0), (Invert, 0.6, 8.0)],
    [(ShearX, 0.6, 5.0), (Equalize, 1.0, 9.0)],
    [(Color, 0.4, 0.0), (Equalize, 0.6, 3.0)],
    [(Equalize, 0.4, 7.0), (Solarize, 0.2, 4.0)],
    [(Solarize, 0.6, 5.0), (AutoContrast, 0.6, 5.0)],
    [(Invert, 0.6, 4.0), (Equalize, 1.0, 8.0)],
    [(Color, 0.6, 4.0), (Contrast, 1.0, 8.0)],
    [(Equalize, 0.8, 8.0), (Equalize, 0.6, 3.0)],
];

/// The sub-policies of the EfficientNet code.
const V0: [[Entry; 2]; 25] = [
    [(Equalize, 0.8, 1.0), (ShearY, 0.8, 4.0)],
    [(Color, 0.4, 9.0), (Equalize, 0.6, 3.0)],
    [(Color, 0.4, 1.0), (Rotate, 0.6, 8.0)],
    [(Solarize, 0.8, 3.0), (Equalize, 0.4, 7.0)],
    [(Solarize, 0.4, 2.0), (Solarize, 0.6, 2.0)],
    [(Color, 0.2, 0.0), (Equalize, 0.8, 8.0)],
    [(Equalize, 0.4, 8.0), (SolarizeAdd, 0.8, 3.0)],
    [(ShearX, 0.2, 9.0), (Rotate, 0.6, 8.0)],
    [(Color, 0.6, 1.0), (Equalize, 1.0, 2.0)],
    [(Invert, 0.4, 9.0), (Rotate, 0.6, 0.0)],
    [(Equalize, 1.0, 9.0), (ShearY, 0.6, 3.0)],
    [(Color, 0.4, 7.0), (Equalize, 0.6, 0.0)],
    [(Posterize, 0.4, 6.0), (AutoContrast, 0.4, 7.0)],
    [(Solarize, 0.6, 8.0), (Color, 0.6, 9.0)],
    [(Solarize, 0.2, 4.0), (Rotate, 0.8, 9.0)],
    [(Rotate, 1.0, 7.0), (TranslateYRel, 0.8, 9.0)],
    [(ShearX, 0.0, 0.0), (Solarize, 0.8, 4.0)],
    [(ShearY, 0.8, 0.0), (Color, 0.6, 4.0)],
    [(Color, 1.0, 0.0), (Rotate, 0.6, 2.0)],
    [(Equalize, 0.8, 4.0), (Equalize, 0.0, 8.0)],
    [(Equalize, 1.0, 4.0), (AutoContrast, 0.6, 2.0)],
    [(ShearY, 0.4, 7.0), (SolarizeAdd, 0.6, 7.0)],
    // Keeps trunc(0.8) = 0 bits: a black image, in timm too. `v0r` keeps 4.
    [(Posterize, 0.8, 2.0), (Solarize, 0.6, 10.0)],
    [(Solarize, 0.6, 8.0), (Equalize, 0.6, 1.0)],
    [(Color, 0.8, 6.0), (Rotate, 0.4, 5.0)],
];

/// Which sub-policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Original,
    OriginalResearch,
    V0,
    V0Research,
    ThreeAugment,
}

impl Table {
    const ALL: [Self; 5] = [Self::Original, Self::OriginalResearch, Self::V0, Self::V0Research, Self::ThreeAugment];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Original => "original",
            Self::OriginalResearch => "originalr",
            Self::V0 => "v0",
            Self::V0Research => "v0r",
            Self::ThreeAugment => "3a",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        // The policy that people mean by "AutoAugment" is the paper's.
        let name = if name == "augment" { "original" } else { name };
        Self::ALL.into_iter().find(|table| table.name() == name)
    }

    fn len(self) -> usize {
        match self {
            Self::Original | Self::OriginalResearch => ORIGINAL.len(),
            Self::V0 | Self::V0Research => V0.len(),
            Self::ThreeAugment => three::OPERATORS.len(),
        }
    }

    /// The steps of sub-policy `index`, which is below [`Table::len`].
    fn steps(self, index: usize) -> impl Iterator<Item = Step> {
        let entries: &'static [Entry] = match self {
            Self::Original | Self::OriginalResearch => &ORIGINAL[index],
            Self::V0 | Self::V0Research => &V0[index],
            Self::ThreeAugment => std::slice::from_ref(&three::OPERATORS[index]),
        };
        entries.iter().map(move |&(operator, probability, magnitude)| {
            let operator = match (self, operator) {
                (Self::OriginalResearch, PosterizeOriginal) | (Self::V0Research, Posterize) => PosterizeIncreasing,
                _ => operator,
            };
            Step { operator, probability, magnitude }
        })
    }
}

/// `original`, `originalr`, `v0`, `v0r` or `3a`, with `-mstd` if wanted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Auto {
    table: Table,
    noise: Noise,
}

impl Auto {
    /// Reads what follows the name in `text`.
    pub(super) fn parse<'a>(text: &'a str, table: Table, tokens: impl Iterator<Item = &'a str>) -> Result<Self> {
        let mut auto = Self { table, noise: Noise::None };
        for token in token::all(text, table.name(), &["mstd"], tokens)? {
            // The one name that `all` lets pass. timm does not read above 100 as uniform here, but as a wide bell.
            let std = Token::not_negative(&token)?;
            auto.noise = if std > 0.0 { Noise::Normal(std) } else { Noise::None };
        }
        Ok(auto)
    }

    /// The sub-policy, then its steps in order ([`Step::draw`]).
    pub(super) fn draw(&self, interpolation: Interpolation, draw: &mut Draw, ops: &mut Ops) -> Result<()> {
        let chosen = draw.below(self.table.len() as u64) as usize;
        self.table.steps(chosen).try_for_each(|step| step.draw(self.noise, MAX, interpolation, draw, ops))
    }

    /// Most operations of one image.
    pub(super) fn most(&self) -> usize {
        self.table.steps(0).count()
    }

    pub(super) fn describe(&self) -> Vec<(String, String)> {
        let step = |step: Step| {
            let argument = step.operator.describe(step.magnitude);
            format!("{} with {}, {argument}", step.operator.name(), step.probability)
        };
        (0..self.table.len())
            .map(|i| (format!("sub-policy {}", i + 1), self.table.steps(i).map(step).collect::<Vec<_>>().join("; ")))
            .collect()
    }
}

impl fmt::Display for Auto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.table.name())?;
        match self.noise {
            Noise::Normal(std) => write!(f, "-mstd{std}"),
            Noise::None | Noise::Uniform => Ok(()),
        }
    }
}
