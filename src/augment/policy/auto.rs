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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::op::Op;
    use crate::rng::Purpose;

    fn draw_at(auto: &Auto, position: u64) -> Ops {
        let (mut draw, mut ops) = (Draw::at(4, 0, position, Purpose::Augment), Ops::NONE);
        auto.draw(Interpolation::Nearest, &mut draw, &mut ops).unwrap();
        ops
    }

    #[test]
    fn tables_have_the_sums_of_the_published_ones() {
        // Column sums, counted apart from the tables above, catch a slip in any one number.
        let sums = |table: &[[Entry; 2]; 25]| {
            let all = || table.iter().flatten();
            (all().map(|entry| (10.0 * entry.1).round()).sum::<f64>(), all().map(|entry| entry.2).sum::<f64>())
        };
        assert_eq!(sums(&ORIGINAL), (310.0, 287.0));
        assert_eq!(sums(&V0), (298.0, 240.0));
    }

    #[test]
    fn sub_policies_are_uniform_and_their_probabilities_hold() {
        let auto = Auto { table: Table::Original, noise: Noise::None };
        let mut chosen = [0f64; 25];
        let (mut rotations, mut contrasts) = (0f64, 0f64);
        for position in 0..100_000 {
            let mut draw = Draw::at(4, 0, position, Purpose::Augment);
            chosen[draw.below(25) as usize] += 1.0;
            let ops = draw_at(&auto, position);
            for op in ops.iter() {
                rotations += f64::from(u8::from(matches!(op, Op::Rotate { degrees, .. } if degrees.abs() == 27.0)));
                contrasts += f64::from(u8::from(matches!(op, Op::Contrast { factor } if *factor == 1.54)));
            }
        }
        let chi: f64 = chosen.iter().map(|n| (n - 4e3).powi(2) / 4e3).sum();
        // The 0.1 % point for 24 degrees of freedom.
        assert!(chi < 51.2, "{chosen:?}");
        // Rotation at 9: sub-policies 1 and 12, with 0.6 and 0.4. Contrast at 8: 15 and 24, with 1 each.
        for (count, expected) in [(rotations, 1.0 / 25.0), (contrasts, 2.0 / 25.0)] {
            assert!((count / 1e5 - expected).abs() < 0.0035, "{count} of 100000, not {expected}");
        }
    }

    #[test]
    fn each_step_of_a_sub_policy_is_applied_with_its_own_probability() {
        // Sub-policy 8 of v0: ShearX at 9 with 0.2, then a rotation at 8 with 0.6; no other sub-policy shears along x.
        let auto = Auto { table: Table::V0, noise: Noise::None };
        let mut counts = [[0f64; 2]; 2];
        let mut total = 0f64;
        for position in 0..100_000 {
            if Draw::at(4, 0, position, Purpose::Augment).below(25) == 7 {
                let ops = draw_at(&auto, position);
                let sheared = usize::from(matches!(ops.first(), Some(Op::ShearX { .. })));
                let rotated = usize::from(matches!(ops.last(), Some(Op::Rotate { .. })));
                counts[sheared][rotated] += 1.0;
                total += 1.0;
            }
        }
        let expected = [[0.8 * 0.4, 0.8 * 0.6], [0.2 * 0.4, 0.2 * 0.6]];
        let pairs = counts.iter().flatten().zip(expected.iter().flatten());
        let chi: f64 = pairs.map(|(n, p)| (n - total * p).powi(2) / (total * p)).sum();
        // The 0.1 % point for 3 degrees of freedom.
        assert!(chi < 16.3, "{counts:?}");
    }

    #[test]
    fn the_variants_differ_in_posterize() {
        let bits = |table, index: usize| {
            let step = Table::steps(table, index)
                .find(|step| matches!(step.operator, Posterize | PosterizeIncreasing | PosterizeOriginal));
            let step = step.unwrap();
            let mut draw = Draw::at(0, 0, 0, Purpose::Augment);
            step.operator.draw(step.magnitude, Interpolation::Nearest, &mut draw)
        };
        // Magnitude 8 in sub-policy 1 of the paper; 2 in sub-policy 23 of v0, the black one.
        assert_eq!(bits(Table::Original, 0), Op::Posterize { bits: 7 });
        assert_eq!(bits(Table::OriginalResearch, 0), Op::Posterize { bits: 1 });
        assert_eq!(bits(Table::V0, 22), Op::Posterize { bits: 0 });
        assert_eq!(bits(Table::V0Research, 22), Op::Posterize { bits: 4 });
    }

    #[test]
    fn three_augment_gives_every_image_one_of_three() {
        let auto = Auto { table: Table::ThreeAugment, noise: Noise::None };
        let (mut counts, mut radii) = ([0f64; 3], Vec::new());
        for position in 0..30_000 {
            let ops = draw_at(&auto, position);
            match *ops.as_slice() {
                [Op::Grayscale] => counts[0] += 1.0,
                [Op::Solarize { threshold: 128 }] => counts[1] += 1.0,
                [Op::GaussianBlur { radius }] => {
                    counts[2] += 1.0;
                    radii.push(f64::from(radius));
                }
                ref other => panic!("{other:?}"),
            }
        }
        // The 0.1 % point for 2 degrees of freedom.
        assert!(counts.iter().map(|n| (n - 1e4).powi(2) / 1e4).sum::<f64>() < 13.8, "{counts:?}");
        let mean = radii.iter().sum::<f64>() / counts[2];
        assert!((mean - 1.05).abs() < 0.022 && radii.iter().all(|radius| (0.1..=2.0).contains(radius)), "{mean}");
    }

    #[test]
    fn noise_moves_the_magnitudes_of_a_table() {
        let auto = Auto { table: Table::ThreeAugment, noise: Noise::Normal(0.5) };
        let drawn: Vec<Op> = (0..3000).flat_map(|position| draw_at(&auto, position).to_vec()).collect();
        let share = |test: fn(&Op) -> bool| drawn.iter().filter(|op| test(op)).count() as f64 / 3000.0;
        // A magnitude of 10 with noise is clipped to 10 half of the time.
        assert!((share(|op| matches!(op, Op::Grayscale)) - 1.0 / 6.0).abs() < 0.03);
        assert!((share(|op| matches!(op, Op::Color { .. })) - 1.0 / 6.0).abs() < 0.03);
        assert!(share(|op| matches!(op, Op::Solarize { threshold: 128 })) < 0.05);
    }
}
