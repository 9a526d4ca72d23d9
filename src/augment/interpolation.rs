//! Which sampling the geometric operations of a policy get.

use super::op::Sampling;
use crate::error::{Error, Result};
use crate::nearest;
use crate::rng::Draw;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How the geometric operations of a policy read between pixels: always alike, or drawn for each.
///
/// EfficientTrain trains with `bicubic`, AutoProg and timm's default are `random` (`randaugment.md` §2), torchvision's
/// TrivialAugmentWide has `nearest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// [`Sampling::Nearest`].
    Nearest,
    /// [`Sampling::Bilinear`].
    Bilinear,
    /// [`Sampling::Bicubic`].
    #[default]
    Bicubic,
    /// Bilinear or bicubic with equal chance, for each operation anew.
    Random,
}

impl Interpolation {
    const ALL: [Self; 4] = [Self::Nearest, Self::Bilinear, Self::Bicubic, Self::Random];

    const fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
            Self::Random => "random",
        }
    }

    /// The sampling of one operation. One draw for `Random`, none for the others.
    pub(super) fn draw(self, draw: &mut Draw) -> Sampling {
        match self {
            Self::Nearest => Sampling::Nearest,
            Self::Bilinear => Sampling::Bilinear,
            Self::Bicubic => Sampling::Bicubic,
            Self::Random if draw.chance(0.5) => Sampling::Bilinear,
            Self::Random => Sampling::Bicubic,
        }
    }
}

impl fmt::Display for Interpolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Interpolation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            let hint = nearest::hint(text, Self::ALL.map(Self::name));
            let names = Self::ALL.map(Self::name).join(", ");
            Error::config("interpolation", format!("`{text}` is not known{hint}; use one of {names}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    #[test]
    fn names_are_read_as_they_are_written() {
        for kind in Interpolation::ALL {
            assert_eq!(kind.to_string().parse::<Interpolation>().unwrap(), kind);
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
        let message = "bicubik".parse::<Interpolation>().unwrap_err().to_string();
        assert_eq!(
            message,
            "interpolation: `bicubik` is not known (did you mean `bicubic`?); use one of nearest, bilinear, bicubic, random"
        );
    }

    #[test]
    fn only_random_draws_and_it_draws_bilinear_and_bicubic_alike() {
        let mut draw = Draw::at(1, 0, 0, Purpose::Augment);
        let before = draw.clone().bits();
        for kind in [Interpolation::Nearest, Interpolation::Bilinear, Interpolation::Bicubic] {
            kind.draw(&mut draw);
        }
        assert_eq!(draw.clone().bits(), before);
        let drawn: Vec<Sampling> = (0..10_000).map(|_| Interpolation::Random.draw(&mut draw)).collect();
        let bilinear = drawn.iter().filter(|&&s| s == Sampling::Bilinear).count();
        // Four standard errors are 200.
        assert!((4800..5200).contains(&bilinear) && !drawn.contains(&Sampling::Nearest), "{bilinear} of 10000");
    }
}
