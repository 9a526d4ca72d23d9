//! TrivialAugmentWide (Müller and Hutter 2021, arXiv 2103.10158) as torchvision has it.
//!
//! One of 14 operations, uniformly, always applied, at one of 31 magnitudes, uniformly. There is nothing to tune, and no
//! magnitude of a schedule is followed.

use super::operator::{bits, short, threshold};
use crate::augment::interpolation::Interpolation;
use crate::augment::op::{Op, Ops};
use crate::error::Result;
use crate::rng::Draw;
use crate::shape::Size;

/// Magnitudes of an operation.
const BINS: u64 = 31;
const LAST: u64 = BINS - 1;

/// torchvision's names. Identity, AutoContrast and Equalize have no magnitude.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Identity,
    /// ±0 to 0.99.
    ShearX,
    ShearY,
    /// ±0 to 32 pixels, truncated to whole ones, whatever the image's size.
    TranslateX,
    TranslateY,
    /// ±0 to 135 degrees.
    Rotate,
    /// Factor 1 ± 0 to 0.99, as the other three blends.
    Brightness,
    Color,
    Contrast,
    Sharpness,
    /// Keeps 8 down to 2 bits.
    Posterize,
    /// Threshold 255 down to 0. At 255 the value 255 alone is inverted, so that bin 0 is not the identity.
    Solarize,
    AutoContrast,
    Equalize,
}

use Operator::*;

const OPERATORS: [Operator; 14] = [
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
];

/// The value of a bin on a line from 0 to `high`.
fn line(high: f64, bin: u64) -> f64 {
    high * bin as f64 / LAST as f64
}

/// Whole pixels of a translation. Bin 15 is 16 pixels; torchvision's single precision gives 15 for it where `linspace` runs
/// with fused vector instructions, and 16 where it does not.
const fn pixels(bin: u64) -> u64 {
    32 * bin / LAST
}

/// `8 - round(bin / 5)`, whose rounding never meets a half.
const fn kept(bin: u64) -> u8 {
    8 - ((bin + 2) / 5) as u8
}

/// Thresholds go down by 8.5. A value `v` is inverted if `v >= threshold`; for whole `v` that is the threshold rounded up.
const fn solarized_from(bin: u64) -> u16 {
    ((510 - 17 * bin).div_ceil(2)) as u16
}

impl Operator {
    fn is_signed(self) -> bool {
        !matches!(self, Identity | Posterize | Solarize | AutoContrast | Equalize)
    }

    /// The operation at a bin, in `0..BINS`; nothing for the identity. Draws the sampling of a geometric one.
    fn op(self, bin: u64, negative: bool, size: Size, interpolation: Interpolation, draw: &mut Draw) -> Option<Op> {
        let signed = |value: f64| if negative { -value } else { value };
        let shear = signed(line(0.99, bin));
        // torchvision's positive translation moves the content right or down, `Op`'s left or up.
        let moved = |side: u32| -signed(pixels(bin) as f64) / f64::from(side.max(1));
        let factor = (1.0 + shear) as f32;
        Some(match self {
            Identity => return None,
            ShearX => Op::ShearX { factor: shear, sampling: interpolation.draw(draw) },
            ShearY => Op::ShearY { factor: shear, sampling: interpolation.draw(draw) },
            TranslateX => Op::TranslateX { share: moved(size.width), sampling: interpolation.draw(draw) },
            TranslateY => Op::TranslateY { share: moved(size.height), sampling: interpolation.draw(draw) },
            Rotate => Op::Rotate { degrees: signed(line(135.0, bin)), sampling: interpolation.draw(draw) },
            Brightness => Op::Brightness { factor },
            Color => Op::Color { factor },
            Contrast => Op::Contrast { factor },
            Sharpness => Op::Sharpness { factor },
            Posterize => Op::Posterize { bits: kept(bin) },
            Solarize => Op::Solarize { threshold: solarized_from(bin) },
            AutoContrast => Op::AutoContrast,
            Equalize => Op::Equalize,
        })
    }

    /// The range of arguments, for people.
    fn describe(self) -> String {
        match self {
            Identity => "nothing".into(),
            ShearX | ShearY => "±0 to 0.99".into(),
            TranslateX | TranslateY => format!("±0 to {} px", pixels(LAST)),
            Rotate => "±0 to 135°".into(),
            Brightness | Color | Contrast | Sharpness => format!("factor {} to {}", short(0.01), short(1.99)),
            Posterize => format!("{} down to {}", bits(kept(0)), kept(LAST)),
            Solarize => format!("{} down to {}", threshold(solarized_from(0)), solarized_from(LAST)),
            AutoContrast | Equalize => "whole effect".into(),
        }
    }
}

/// Draws in this order: the operation; the bin, unless it has none; the sign, if it has one; the sampling, if it is
/// geometric and random.
pub(super) fn draw(interpolation: Interpolation, size: Size, draw: &mut Draw, ops: &mut Ops) -> Result<()> {
    let operator = OPERATORS[draw.below(OPERATORS.len() as u64) as usize];
    let bin = if matches!(operator, Identity | AutoContrast | Equalize) { 0 } else { draw.below(BINS) };
    let negative = operator.is_signed() && draw.chance(0.5);
    operator.op(bin, negative, size, interpolation, draw).map_or(Ok(()), |op| ops.push(op))
}

pub(super) fn describe() -> Vec<(String, String)> {
    OPERATORS.iter().map(|operator| (format!("{operator:?}"), operator.describe())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    #[test]
    fn bins_are_torchvisions() {
        // Printed by torchvision 0.29's formulas, without vector instructions.
        let whole_pixels = [
            0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29,
            30, 32,
        ];
        let bits = [8, 8, 8, 7, 7, 7, 7, 7, 6, 6, 6, 6, 6, 5, 5, 5, 5, 5, 4, 4, 4, 4, 4, 3, 3, 3, 3, 3, 2, 2, 2];
        let thresholds = [
            255, 247, 238, 230, 221, 213, 204, 196, 187, 179, 170, 162, 153, 145, 136, 128, 119, 111, 102, 94, 85, 77,
            68, 60, 51, 43, 34, 26, 17, 9, 0,
        ];
        for bin in 0..BINS {
            let index = bin as usize;
            assert_eq!((pixels(bin), kept(bin)), (whole_pixels[index], bits[index]), "bin {bin}");
            assert_eq!(solarized_from(bin), thresholds[index], "bin {bin}");
        }
        assert!((line(0.99, 5) - 0.165).abs() < 1e-15 && line(135.0, 3) == 13.5 && line(135.0, LAST) == 135.0);
    }

    #[test]
    fn a_translation_is_in_pixels_and_torchvisions_direction() {
        let mut draw = Draw::at(0, 0, 0, Purpose::Augment);
        let size = Size::new(100, 50);
        let mut at =
            |operator: Operator, negative| operator.op(LAST, negative, size, Interpolation::Nearest, &mut draw);
        assert!(matches!(at(TranslateX, false), Some(Op::TranslateX { share: -0.32, .. })));
        assert!(matches!(at(TranslateX, true), Some(Op::TranslateX { share: 0.32, .. })));
        assert!(matches!(at(TranslateY, true), Some(Op::TranslateY { share: 0.64, .. })));
        assert_eq!(at(Brightness, true), Some(Op::Brightness { factor: 0.01 }));
        assert_eq!(at(Identity, false), None);
    }

    #[test]
    fn operations_bins_and_signs_are_uniform() {
        let (mut operators, mut bins) = ([0f64; 14], [0f64; BINS as usize]);
        let mut negative = 0;
        for position in 0..100_000 {
            let mut ops = Ops::NONE;
            let mut stream = Draw::at(5, 0, position, Purpose::Augment);
            draw(Interpolation::Bilinear, Size::square(224), &mut stream, &mut ops).unwrap();
            let index = match ops.first() {
                None => 0,
                Some(Op::ShearX { .. }) => 1,
                Some(Op::ShearY { .. }) => 2,
                Some(Op::TranslateX { .. }) => 3,
                Some(Op::TranslateY { .. }) => 4,
                Some(Op::Rotate { degrees, .. }) => {
                    bins[(degrees.abs() / 4.5).round() as usize] += 1.0;
                    negative += usize::from(*degrees < 0.0);
                    5
                }
                Some(Op::Brightness { .. }) => 6,
                Some(Op::Color { .. }) => 7,
                Some(Op::Contrast { .. }) => 8,
                Some(Op::Sharpness { .. }) => 9,
                Some(Op::Posterize { .. }) => 10,
                Some(Op::Solarize { .. }) => 11,
                Some(Op::AutoContrast) => 12,
                Some(Op::Equalize) => 13,
                Some(other) => panic!("{other:?}"),
            };
            operators[index] += 1.0;
            assert!(ops.len() <= 1);
        }
        let chi = |counts: &[f64]| {
            let expected = counts.iter().sum::<f64>() / counts.len() as f64;
            counts.iter().map(|n| (n - expected).powi(2) / expected).sum::<f64>()
        };
        // The 0.1 % points for 13 and 30 degrees of freedom.
        assert!(chi(&operators) < 34.5, "{operators:?}");
        assert!(chi(&bins) < 59.7, "{bins:?}");
        // 30 of 31 bins have a sign; a standard error is 0.006.
        let share = f64::from(negative as u32) / operators[5];
        assert!((share - 15.0 / 31.0).abs() < 0.024, "{share}");
    }
}
