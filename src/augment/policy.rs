//! Augmentation policies: which operations an image gets, and how strong.
//!
//! A policy is a string, and its drawing a pure function of a [`Draw`]. The order of the numbers drawn is part of what a
//! seed means and stays as it is told here:
//!
//! - `rand-...`: all choices of operations; then, operation by operation: whether it is applied, and if so the noise of
//!   its magnitude, its sign, its radius, its sampling.
//! - `original`, `v0`, `3a` and their like: the sub-policy; then operation by operation as above.
//! - `ta_wide`: the operation, its magnitude, its sign, its sampling.
//!
//! Numbers that an operation has no use for are not drawn.

mod auto;
mod operator;
mod rand;
mod three;
mod token;
mod trivial;

use super::interpolation::Interpolation;
use super::op::{Op, Ops, Sampling};
use crate::error::{Error, Result};
use crate::nearest;
use crate::rng::Draw;
use crate::shape::Size;
use auto::{Auto, Table};
use rand::Rand;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The policies there are, with a line about each. A setting is added behind a dash: `rand-m9-mstd0.5-inc1`.
pub const NAMES: [(&str, &str); 7] = [
    (
        "rand",
        "RandAugment: n of 15 operations, each applied with probability p; settings m, n, mstd, mmax, p, inc, w, t",
    ),
    ("original", "AutoAugment: one of the paper's 25 pairs of operations; setting mstd"),
    ("originalr", "AutoAugment of the paper, posterizing more at a higher magnitude; setting mstd"),
    ("v0", "AutoAugment: the 25 pairs of the EfficientNet code, one of which makes black images; setting mstd"),
    ("v0r", "AutoAugment of the EfficientNet code, posterizing more at a higher magnitude; setting mstd"),
    ("3a", "3-Augment of DeiT III: grey, solarized or blurred; setting mstd"),
    ("ta_wide", "TrivialAugmentWide: one of 14 operations at one of 31 magnitudes; no settings"),
];

/// An augmentation policy, written as timm writes it: see [`NAMES`].
///
/// ```
/// # fn main() -> bandfeed::Result<()> {
/// let policy: bandfeed::augment::Policy = "rand-m9-mstd0.5-inc1".parse()?;
/// assert_eq!(policy.magnitude(), Some(9.0));
/// assert_eq!(policy.to_string(), "rand-m9-mstd0.5-inc1");
/// # Ok(())
/// # }
/// ```
///
/// `Display` gives the canonical form: settings in timm's usual order, those at their defaults left out. Serde reads and
/// writes the string.
///
/// # `rand`
/// RandAugment of timm (`randaugment.md` §1, §2). Every setting once, in any order:
///
/// | setting | meaning | default |
/// |---|---|---|
/// | `m` | mean magnitude, at least 0 | the schedule's stage |
/// | `n` | operations chosen, `1..=`[`Ops::CAPACITY`] | 2 |
/// | `p` | chance that a chosen operation is applied | 0.5 |
/// | `mstd` | standard deviation of the magnitude's noise; above 100: uniform from 0 to the mean | 0 |
/// | `mmax` | magnitudes are clipped to `0..=mmax`, above 0 | 10 |
/// | `inc` | operations whose strength grows with the magnitude | off |
/// | `w0` | weighted choice without replacement (timm up to 0.6) | uniform, with replacement |
/// | `t` | other operations: `tweights`, `t3aw` weighted and without replacement, `t3a` uniform | the 15 |
///
/// - **`inc0` is increasing.** Any number after `inc` turns it on, as in timm. A bare `inc`, which timm ignores, is an error.
/// - Without `inc`, magnitude 0 is strong: Posterize keeps 0 bits, which is a black image, Solarize inverts everything, the
///   blends have a factor of 0.1.
/// - A mean above the upper bound is clipped to it: `rand-m15` is `rand-m10`. Raise `mmax` with it.
/// - Noise is clipped, not rounded. At M = 0 half of the applications have a magnitude above 0, and AutoContrast,
///   Equalize, Invert and Posterize act as ever (`randaugment.md` §4): it is not "no augmentation".
///
/// # `original`, `originalr`, `v0`, `v0r`
/// AutoAugment as in timm; `augment` is another name for `original`. `mstd` adds normal noise to the tables' magnitudes,
/// clipped to `0..=10`.
///
/// # `3a`
/// 3-Augment of DeiT III: grey, solarized from 128 on, or blurred by a radius uniform in 0.1 to 2 px, each for a third of
/// the images. DeiT's code and timm's agree on that; `3a-mstd0.5` is timm's alone. The recipe's colour jitter is apart
/// ([`Jitter`](super::Jitter)).
///
/// # `ta_wide`
/// TrivialAugmentWide of torchvision 0.29; `trivial` is another name. There the default sampling is nearest and the fill
/// black; here both are the caller's settings, for this policy as for the others.
///
/// # Differences from timm
/// - `m` and `mmax` may have a fraction; timm takes whole numbers.
/// - `mmax0`, which in timm means 10, is an error, as are settings that timm passes over in silence: a setting without a
///   number, a set of operations that does not exist, a setting given twice.
/// - timm's magnitude without `m` is 10; here it is whatever the caller draws with, which is a schedule's magnitude.
/// - 0 bits of Posterize are a black image, as with Pillow up to 12 ([`Op::Posterize`](super::Op::Posterize)).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Policy(Family);

#[derive(Debug, Clone, PartialEq)]
enum Family {
    Rand(Rand),
    Auto(Auto),
    Trivial,
}

impl Policy {
    /// The policy's own magnitude: `m` of `rand`, if it is there.
    pub fn magnitude(&self) -> Option<f64> {
        match &self.0 {
            Family::Rand(rand) => rand.magnitude,
            Family::Auto(_) | Family::Trivial => None,
        }
    }

    /// The policy without an `m` of its own: one that follows the schedule's magnitudes, if it follows any.
    #[must_use]
    pub fn without_magnitude(mut self) -> Self {
        if let Family::Rand(rand) = &mut self.0 {
            rand.magnitude = None;
        }
        self
    }

    /// Whether a magnitude from outside changes anything: only for `rand`. The others have their own, fixed or drawn.
    pub fn follows_magnitude(&self) -> bool {
        matches!(self.0, Family::Rand(_))
    }

    /// Most operations that one image can get.
    pub fn most(&self) -> usize {
        match &self.0 {
            Family::Rand(rand) => rand.count,
            Family::Auto(auto) => auto.most(),
            Family::Trivial => 1,
        }
    }

    /// What can be drawn, without noise: pairs of a name and, for people, its argument. One for each operation of `rand` (at
    /// `magnitude`, clipped as ever) and `ta_wide`, or for each sub-policy.
    pub fn describe(&self, magnitude: f64) -> Vec<(String, String)> {
        match &self.0 {
            Family::Rand(rand) => rand.describe(magnitude),
            Family::Auto(auto) => auto.describe(),
            Family::Trivial => trivial::describe(),
        }
    }

    /// Each operation of a `rand` policy at its full strength at `magnitude`, without noise and to the positive side: for
    /// pictures and tests. Empty for the other policies, whose magnitudes are their own.
    pub fn strongest(&self, magnitude: f64, sampling: Sampling) -> Vec<(String, Op)> {
        match &self.0 {
            Family::Rand(rand) => rand.strongest(magnitude, sampling),
            Family::Auto(_) | Family::Trivial => Vec::new(),
        }
    }

    /// The operations of one image with their final arguments, in the order of their application.
    ///
    /// `magnitude` is the mean magnitude, at least 0, where the policy follows it; `size` the image that the operations will
    /// run on, for translations by pixels.
    ///
    /// # Errors
    /// [`Error::Config`] for a magnitude that is negative or not finite.
    pub(crate) fn draw(&self, draw: &mut Draw, magnitude: f64, sampling: Interpolation, size: Size) -> Result<Ops> {
        let mut ops = Ops::NONE;
        match &self.0 {
            Family::Rand(_) if !(magnitude >= 0.0 && magnitude.is_finite()) => {
                let reason = format!("`{self}`: magnitude {magnitude}: expected a number of at least 0");
                return Err(Error::config("augment", reason));
            }
            Family::Rand(rand) => rand.draw(magnitude, sampling, draw, &mut ops)?,
            Family::Auto(auto) => auto.draw(sampling, draw, &mut ops)?,
            Family::Trivial => trivial::draw(sampling, size, draw, &mut ops)?,
        }
        Ok(ops)
    }
}

impl FromStr for Policy {
    type Err = Error;

    /// # Errors
    /// [`Error::Config`] names the setting, what was found and what is allowed, with the nearest known name.
    fn from_str(text: &str) -> Result<Self> {
        let mut tokens = text.split('-');
        let name = tokens.next().unwrap_or_default();
        if let Some(table) = Table::named(name) {
            return Ok(Self(Family::Auto(Auto::parse(text, table, tokens)?)));
        }
        match name {
            "rand" => Ok(Self(Family::Rand(Rand::parse(text, tokens)?))),
            "ta_wide" | "trivial" => {
                token::all(text, name, &[], tokens)?;
                Ok(Self(Family::Trivial))
            }
            unknown => {
                let hint = nearest::hint(unknown, NAMES.map(|(name, _)| name).into_iter().chain(["trivial"]));
                let names = NAMES.map(|(name, _)| name).join(", ");
                let reason = format!("`{text}`: policy `{unknown}` is not known{hint}; use one of {names}");
                Err(Error::config("augment", reason))
            }
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Family::Rand(rand) => rand.fmt(f),
            Family::Auto(auto) => auto.fmt(f),
            Family::Trivial => f.write_str("ta_wide"),
        }
    }
}

impl TryFrom<String> for Policy {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Policy> for String {
    fn from(policy: Policy) -> Self {
        policy.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    fn policy(text: &str) -> Policy {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    fn draw_at(policy: &Policy, magnitude: f64, position: u64) -> Ops {
        let mut draw = Draw::at(2, 3, position, Purpose::Augment);
        policy.draw(&mut draw, magnitude, Interpolation::Random, Size::new(224, 160)).unwrap()
    }

    #[test]
    fn policies_are_written_as_they_are_read() {
        for text in [
            "rand",
            "rand-m9-mstd0.5-inc1",
            "rand-m9-n3-mstd0.5-mmax15-p0.7-inc1-tweights",
            "rand-m4.5-w0",
            "rand-m0-mstd101-t3a",
            "rand-n12-p1-t3aw",
            "original",
            "originalr-mstd0.5",
            "v0",
            "v0r-mstd1",
            "3a",
            "3a-mstd0.5",
            "ta_wide",
        ] {
            assert_eq!(policy(text).to_string(), text);
            assert_eq!(policy(&policy(text).to_string()), policy(text));
        }
        for (written, canonical) in [
            ("rand-inc0-mstd0.50-m9", "rand-m9-mstd0.5-inc1"),
            ("rand-n2-p0.5-mmax10-mstd0", "rand"),
            ("rand-mstd1000", "rand-mstd101"),
            ("augment", "original"),
            ("v0-mstd0", "v0"),
            ("trivial", "ta_wide"),
        ] {
            assert_eq!(policy(written).to_string(), canonical);
            assert_eq!(policy(written), policy(canonical));
        }
    }

    #[test]
    fn a_recipe_holds_a_policy_as_a_string() {
        #[derive(Debug, Serialize, Deserialize)]
        struct Holder {
            augment: Policy,
        }
        let text = "augment = \"rand-m9-mstd0.5-inc1\"\n";
        let holder: Holder = toml::from_str(text).unwrap();
        assert_eq!(toml::to_string(&holder).unwrap(), text);
        let error = toml::from_str::<Holder>("augment = \"rand-m9x\"").unwrap_err().to_string();
        assert!(error.contains("found `9x`"), "{error}");
    }

    #[test]
    fn errors_name_the_setting_what_was_found_and_what_is_allowed() {
        let takes = "rand takes m, n, mstd, mmax, p, inc, w, t";
        for (text, expected) in [
            ("rnd-m9", "policy `rnd` is not known (did you mean `rand`?); use one of rand, original,"),
            ("", "policy `` is not known"),
            ("rand-m9-mst0.5", &format!("`mst0.5`: not known (did you mean `mstd`?); {takes}")),
            ("rand--m9", &format!("``: not known; {takes}")),
            ("rand-m9-inc", "`inc`: `inc` needs a value, as in `inc1`"),
            ("rand-m-1", "`m`: `m` needs a value, as in `m9`"),
            ("rand-m9x", "`m9x`: found `9x`, expected a number of at least 0"),
            ("rand-n0", "`n0`: found `0`, expected a whole number in 1..=12"),
            ("rand-n2.5", "`n2.5`: found `2.5`, expected a whole number in 1..=12"),
            ("rand-p1.5", "`p1.5`: found `1.5`, expected a chance in 0..=1"),
            ("rand-mmax0", "`mmax0`: found `0`, expected a number above 0"),
            ("rand-m9-m5", "`m5`: `m` is given twice"),
            ("rand-w1", "`w1`: found `1`, expected 0, the only set of weights"),
            ("rand-tweight", "`tweight`: `weight` is no set (did you mean `weights`?); use one of weights, 3a, 3aw"),
            ("rand-t3a-w0", "`w0`: `w` and `t` exclude each other"),
            ("original-m9", "`m9`: not known; original takes mstd"),
            ("v0-mstd0.5x", "`mstd0.5x`: found `0.5x`, expected a number of at least 0"),
            ("ta_wide-m9", "`m9`: not known; ta_wide takes no settings"),
        ] {
            let error = text.parse::<Policy>().unwrap_err();
            assert!(matches!(error, Error::Config { .. }));
            let message = error.to_string();
            assert!(message.starts_with(&format!("augment: `{text}`: ")) && message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_policy_tells_its_magnitude_and_whether_it_follows_one() {
        assert_eq!(policy("rand-m9").magnitude(), Some(9.0));
        assert_eq!(policy("rand-m2.5").magnitude(), Some(2.5));
        assert_eq!(policy("rand-n3").magnitude(), None);
        for (name, _) in NAMES {
            assert_eq!(policy(name).follows_magnitude(), name == "rand", "{name}");
            assert_eq!(policy(name).to_string(), name);
        }
        for magnitude in [-1.0, f64::NAN, f64::INFINITY] {
            let mut draw = Draw::at(0, 0, 0, Purpose::Augment);
            let drawn = policy("rand").draw(&mut draw, magnitude, Interpolation::Nearest, Size::square(8));
            assert!(drawn.unwrap_err().to_string().contains("expected a number of at least 0"));
        }
    }

    #[test]
    fn a_draw_comes_again_for_its_key_and_no_image_gets_more_than_told() {
        for text in ["rand-m9-mstd0.5-inc1", "rand-n12-p1-t3aw", "original", "v0r-mstd0.5", "3a", "ta_wide"] {
            let policy = policy(text);
            let drawn: Vec<Ops> = (0..2000).map(|position| draw_at(&policy, 9.0, position)).collect();
            let again: Vec<Ops> = (0..2000).map(|position| draw_at(&policy, 9.0, position)).collect();
            assert!(drawn == again && drawn[0..1000] != drawn[1000..2000], "{text}");
            assert_eq!(drawn.iter().map(|ops| ops.len()).max(), Some(policy.most()), "{text}");
        }
    }

    #[test]
    fn what_a_seed_draws_stays_the_same() {
        // Written down once, from this code: a change here changes every run that is resumed or repeated.
        for (text, expected) in [
            (
                "rand-m9-n4-inc1",
                "[[], [Rotate { degrees: 27.0, sampling: Bicubic }, Solarize { threshold: 26 }, Sharpness \
             { factor: 0.19 }], [Brightness { factor: 0.19 }]]",
            ),
            (
                "v0",
                "[[Posterize { bits: 0 }, Solarize { threshold: 256 }], [Equalize], [Rotate { degrees: \
             21.0, sampling: Bicubic }, TranslateY { share: -0.405, sampling: Bicubic }]]",
            ),
            ("3a", "[[GaussianBlur { radius: 0.8717766 }], [Solarize { threshold: 128 }], [Grayscale]]"),
            (
                "ta_wide",
                "[[AutoContrast], [TranslateX { share: -0.049107142857142856, sampling: Bilinear }], \
             [Contrast { factor: 1.495 }]]",
            ),
        ] {
            let drawn: Vec<_> = (0..3).map(|position| draw_at(&policy(text), 9.0, position).to_vec()).collect();
            assert_eq!(format!("{drawn:?}"), expected, "{text}");
        }
    }

    #[test]
    fn descriptions_give_the_arguments_without_noise() {
        let rows = policy("rand-m9-mstd0.5-inc1").describe(9.0);
        assert_eq!(rows.len(), 15);
        for (name, argument) in [
            ("Invert", "whole effect at every magnitude"),
            ("Rotate", "±27°"),
            ("PosterizeIncreasing", "keeps 1 bit"),
            ("SolarizeIncreasing", "inverts from 26"),
            ("SolarizeAdd", "adds 99 below 128"),
            ("ColorIncreasing", "factor 0.19 or 1.81"),
            ("ShearX", "±0.27"),
            ("TranslateYRel", "±0.405 of the height"),
        ] {
            assert!(rows.contains(&(name.into(), argument.into())), "{name}: {rows:?}");
        }
        // Clipped as when drawn.
        assert_eq!(policy("rand-inc1").describe(20.0), policy("rand-inc1").describe(10.0));
        assert_eq!(policy("rand").describe(0.0)[4], ("Posterize".into(), "keeps 0 bits: black".into()));
        let black = (
            "sub-policy 23".into(),
            "Posterize with 0.8, keeps 0 bits: black; Solarize with 0.6, inverts nothing".into(),
        );
        assert_eq!(policy("v0").describe(9.0)[22], black);
        assert_eq!(policy("rand-tweights").describe(1.0)[3].1, "±3°; weight 29.703 %");
        assert_eq!(policy("ta_wide").describe(0.0).len(), 14);
        assert_eq!(policy("3a").describe(0.0)[2].1, "GaussianBlurRand with 1, radius 0.1 to 2 px");
    }
}
