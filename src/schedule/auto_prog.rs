//! AutoProg's schedule set by hand (CVPR 2022; `autoprog.md` §2 \[code\]): depth, tokens and regularisation grow together.
//!
//! Every quantity is `linspace(scale, 1, K) * max` over the K stages, rounded as the released code rounds it
//! ([`Prog::rows`]). Stages have as many images each.
//!
//! # Differences from the released code
//! - The clock is the share of compute, which counts depth: an image costs `l r² / (L R²)`. A stage lasts exactly a K-th
//!   of the images; the released starts ([`Prog::starts`]) are cut to whole epochs, which is the same where K divides T.
//! - Learning rate and warm-up go by that clock too, without a jump and without the ten epochs of cool-down. So the rate is
//!   never put off by `search-epochs` after a growth (`autoprog.md` §8.7).
//! - Tokens grow by the band crop, so that the loader's work shrinks as well; [`TokensBy::Resize`] is what was released.
//! - Other sizes than 224: resolutions are multiples of two patches (32 of 16, as released) where the base is one, else of
//!   one patch.
//! - Heads do not grow: the released search refuses it, and its scripts leave it at 1.
//! - One stage is the whole model (numpy's `linspace` would give the smallest).

use super::{Depth, Growth, Options, Row, Schedule, Shrink, StageReplay, short};
use crate::error::{Error, Result};
use crate::shape::BandCrop;
use serde::{Deserialize, Serialize};

/// By what means a stage has fewer tokens than the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokensBy {
    /// The loader's band crop.
    #[default]
    Band,
    /// [`Shrink::Resize`] of whole images.
    Resize,
    /// [`Shrink::Patch`] of whole images.
    Patch,
}

/// The options of `auto_prog`, with the names of the released script and its values as the default.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prog {
    /// K, at least 1 and at most 100.
    pub num_stages: usize,
    /// Blocks of the whole model: 12 of DeiT, 18 of VOLO-D1.
    pub depth: u32,
    /// First resolution relative to the base, above 0, at most 1.
    pub r_scale: f64,
    /// First depth relative to `depth`, above 0, at most 1.
    pub l_scale: f64,
    /// First magnitude relative to `max_magnitude`, at most 1. Below 0 the first stages have none.
    pub aa_scale: f64,
    /// The same of the drop path's chance.
    pub dp_scale: f64,
    /// The same of the chance of random erasing.
    pub re_scale: f64,
    /// The same of both ends of `max_scale`; where both are 1 the recipe's range holds.
    pub resize_scale: [f64; 2],
    /// RandAugment's magnitude in the last stage, 0 to 10.
    pub max_magnitude: f64,
    /// Chance of dropping the last block in the last stage, `0..1`.
    pub max_drop_path: f64,
    /// Chance of random erasing in the last stage, `0..=1`.
    pub max_erasing: f64,
    /// Share of the image's area that a crop of the last stage covers.
    pub max_scale: [f64; 2],
    /// How tokens grow.
    pub tokens_by: TokensBy,
}

impl Default for Prog {
    fn default() -> Self {
        Self {
            num_stages: 4,
            depth: 12,
            r_scale: 0.5,
            l_scale: 0.5,
            aa_scale: 0.5,
            dp_scale: 0.0,
            re_scale: 0.0,
            resize_scale: [1.0, 1.0],
            max_magnitude: 9.0,
            max_drop_path: 0.1,
            max_erasing: 0.25,
            max_scale: [0.08, 1.0],
            tokens_by: TokensBy::Band,
        }
    }
}

/// One stage, before it is fitted to a schedule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProgRow {
    /// Side of the images that the model sees, in pixels: r.
    pub resolution: u32,
    /// Blocks: l.
    pub layers: u32,
    /// RandAugment's magnitude, whole; 0 is no RandAugment.
    pub magnitude: f64,
    /// Chance of dropping the last block.
    pub drop_path: f64,
    /// Chance of random erasing.
    pub random_erase: f64,
    /// Crop's share of the area.
    pub scale: [f64; 2],
}

impl Prog {
    /// The options that the released parser has where its script says nothing.
    pub fn parser_defaults() -> Self {
        Self { aa_scale: 0.0, dp_scale: -0.5, re_scale: -0.5, ..Self::default() }
    }

    /// The stages for images of `base` pixels, whose resolutions are multiples of `unit`: 224 and 32 as released.
    pub fn rows(&self, base: u32, unit: u32) -> Vec<ProgRow> {
        let value = |scale: f64, i: usize| linspace(scale, 1.0, self.num_stages, i);
        let not_negative = |v: f64| v.max(0.0);
        let row = |i: usize| ProgRow {
            resolution: (to_multiple(value(self.r_scale, i) * f64::from(base), unit)).min(base),
            layers: to_multiple(value(self.l_scale, i) * f64::from(self.depth), 1).min(self.depth),
            magnitude: not_negative(value(self.aa_scale, i) * self.max_magnitude).round_ties_even(),
            drop_path: not_negative(value(self.dp_scale, i) * self.max_drop_path),
            random_erase: not_negative(value(self.re_scale, i) * self.max_erasing),
            scale: [0, 1].map(|end| not_negative(value(self.resize_scale[end], i) * self.max_scale[end])),
        };
        (0..self.num_stages).map(row).collect()
    }

    /// First epoch of each stage in a released run of `epochs`: whole ones.
    pub fn starts(&self, epochs: u32) -> Vec<u32> {
        (0..self.num_stages).map(|i| linspace(0.0, f64::from(epochs), self.num_stages + 1, i) as u32).collect()
    }

    /// Refuses values that no schedule could be made with.
    ///
    /// # Errors
    /// [`Error::Config`] names the option, what it holds and what is allowed.
    pub fn check(&self) -> Result<()> {
        let share = |v: f64| v > 0.0 && v <= 1.0;
        // Below -1000 a ramp has one stage of strength anyway; it keeps products finite.
        let ramp = |v: f64| (-1000.0..=1.0).contains(&v);
        let stages = self.num_stages as f64;
        let fields = [
            ("num_stages", stages, (1.0..=100.0).contains(&stages), "1 to 100"),
            ("depth", f64::from(self.depth), self.depth > 0, "at least 1"),
            ("r_scale", self.r_scale, share(self.r_scale), "above 0, at most 1"),
            ("l_scale", self.l_scale, share(self.l_scale), "above 0, at most 1"),
            ("aa_scale", self.aa_scale, ramp(self.aa_scale), "-1000 to 1"),
            ("dp_scale", self.dp_scale, ramp(self.dp_scale), "-1000 to 1"),
            ("re_scale", self.re_scale, ramp(self.re_scale), "-1000 to 1"),
            ("resize_scale[0]", self.resize_scale[0], share(self.resize_scale[0]), "above 0, at most 1"),
            ("resize_scale[1]", self.resize_scale[1], share(self.resize_scale[1]), "above 0, at most 1"),
            ("max_magnitude", self.max_magnitude, (0.0..=10.0).contains(&self.max_magnitude), "0 to 10"),
            ("max_drop_path", self.max_drop_path, (0.0..1.0).contains(&self.max_drop_path), "a chance in 0..1"),
            ("max_erasing", self.max_erasing, (0.0..=1.0).contains(&self.max_erasing), "a chance in 0..=1"),
        ];
        match fields.iter().find(|(_, _, fits, _)| !fits) {
            Some((name, value, _, allowed)) => {
                Err(Error::config(format!("schedule.prog.{name}"), format!("{value}: expected {allowed}")))
            }
            None => Ok(()),
        }
    }
}

/// numpy's `linspace(start, stop, count)[i]`, with its order of operations; of one value, `stop`.
fn linspace(start: f64, stop: f64, count: usize, i: usize) -> f64 {
    if i + 1 >= count {
        return stop;
    }
    let step = (stop - start) / (count - 1) as f64;
    i as f64 * step + start
}

/// The released `make_divisible`: to the nearest multiple of `unit`, at least one, and one more where more than a tenth
/// was lost.
pub(crate) fn to_multiple(value: f64, unit: u32) -> u32 {
    let rounded = ((value + f64::from(unit) / 2.0) as u32 / unit * unit).max(unit);
    if f64::from(rounded) < 0.9 * value { rounded + unit } else { rounded }
}

impl Schedule {
    /// AutoProg's schedule set by hand: the module's head has what it is and how it differs from the released one.
    ///
    /// Stages end with the whole model. [`Growth`] has what it says besides band and magnitude.
    ///
    /// # Errors
    /// As [`Options::check`] and [`Prog::check`].
    pub fn auto_prog(options: &Options) -> Result<Self> {
        options.check()?;
        options.no_replay("auto_prog")?;
        let prog = &options.prog;
        prog.check()?;
        let unit = if options.base.is_multiple_of(2 * options.patch) { 2 * options.patch } else { options.patch };
        let shrinks = |side: u32| match prog.tokens_by {
            TokensBy::Resize if side < options.base => Some(Shrink::Resize(side)),
            TokensBy::Patch if side < options.base => Some(Shrink::Patch(side)),
            _ => None,
        };
        let rows: Vec<Row> = prog
            .rows(options.base, unit)
            .into_iter()
            .map(|row| {
                let shrink = shrinks(row.resolution);
                Row {
                    // As many images in each stage, so compute goes with depth and area: an integer, free of rounding.
                    compute: f64::from(row.layers) * f64::from(row.resolution).powi(2),
                    band: if shrink.is_some() { options.base } else { row.resolution.min(options.base) },
                    magnitude: row.magnitude,
                    replay: StageReplay::OFF,
                    growth: Growth {
                        depth: Some(Depth { blocks: row.layers, full: prog.depth }),
                        shrink,
                        drop_path: Some(short(row.drop_path)),
                        augment: row.magnitude > 0.0,
                        erasing: Some(short(row.random_erase)),
                        scale: (prog.resize_scale != [1.0, 1.0]).then(|| row.scale.map(short)),
                        search: false,
                    },
                }
            })
            .collect();
        Self::build("auto_prog", options, BandCrop::Lanczos, &rows)
    }
}

impl std::fmt::Display for TokensBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Band => "band",
            Self::Resize => "resize",
            Self::Patch => "patch",
        })
    }
}

impl std::str::FromStr for TokensBy {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "band" => Ok(Self::Band),
            "resize" => Ok(Self::Resize),
            "patch" => Ok(Self::Patch),
            _ => Err(Error::config("tokens_by", format!("`{s}` is not known; use band, resize or patch"))),
        }
    }
}
