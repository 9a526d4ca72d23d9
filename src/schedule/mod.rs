//! A schedule: share of compute consumed -> [`Stage`].
//!
//! ```text
//!  Options ─► constant | efficient_train | efficient_train_pp | auto_prog | released | a TOML table ─► Schedule
//!                                                      share of compute consumed ─► at ─► Stage
//! ```
//!
//! # The clock
//! A schedule runs on the **share of the run's compute consumed**, from 0 to 1, never on epochs or steps. One image at
//! band B costs `(B / base)^2` ([`Stage::cost`]), so a stage of a tenth of the compute shows 5.4 times the images at
//! B = 96 that it shows at 224. The whole budget is [`Options::epochs`], **always in equivalent epochs**: passes over
//! the data set at the base size that would cost the same. The passes that the data set is really given are
//! [`Schedule::image_epochs`], and are more wherever a stage is smaller than the base.
//!
//! Where a schedule grows the model, an image costs `depth / full depth` of that: the whole model at the base size is 1.
//! A schedule whose sizes are chosen while training ([`Schedule::searched`]) counts images instead, each as much.
//!
//! # Sources
//! `efficienttrain.md` §2 (EfficientTrain) and §3 (EfficientTrain++), both \[code\]; §3.1 for [`released`], §3.2 for
//! [`learning_rate`]; `autoprog.md` §2 \[code\] for [`auto_prog`]. What each built-in row is: [`ModelRow`], [`Schedule::efficient_train`].

pub mod auto_prog;
mod efficient_train;
mod growth;
pub mod learning_rate;
mod options;
pub mod released;
mod search;
mod stage;
mod table;

pub use auto_prog::{Prog, TokensBy};
pub use efficient_train::{ModelRow, published_bands};
pub use growth::{Depth, Growth, Shrink};
pub use learning_rate::LearningRate;
pub use options::{EarlyBatch, Options};
pub use search::{Candidate, GrowthStage, Search, SearchCost};
pub use stage::{Stage, StageReplay};

use crate::error::{Error, Result};
use crate::nearest;
use crate::shape::BandCrop;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Names that [`Schedule::named`] knows, beside paths to TOML tables.
pub const NAMES: [&str; 6] = [
    "constant",
    "efficient_train",
    "efficient_train_pp",
    "efficient_train_pp_deit",
    "efficient_train_pp_convnext",
    "auto_prog",
];

/// Two shares of compute closer than this are one moment: sums of a run's costs end a few roundings beside a
/// boundary. It is about the share of one image in a run of 200 epochs of ImageNet, far below one batch.
pub(crate) const SAME_MOMENT: f64 = 1e-9;

fn check_sizes(base: u32, patch: u32) -> Result<()> {
    /// No image side beyond this is decoded by any decoder here; it also keeps products of sides far from overflow.
    const LARGEST: u32 = 1 << 16;
    if patch == 0 {
        return Err(Error::config("schedule.patch", "0: expected at least 1"));
    }
    if base == 0 || base > LARGEST || !base.is_multiple_of(patch) {
        let reason = format!("{base}: expected a multiple of the patch side {patch}, at most {LARGEST}");
        return Err(Error::config("schedule.base", reason));
    }
    Ok(())
}

fn check_epochs(epochs: f64) -> Result<()> {
    if epochs.is_finite() && epochs > 0.0 {
        return Ok(());
    }
    Err(Error::config("schedule.epochs", format!("{epochs}: expected a finite number above 0")))
}

/// To twelve decimals for shares below 1, fewer for large numbers: at most 15 digits. Such numbers are short in a table,
/// and survive readers of JSON that are a rounding off beyond that (`serde_json` is by default). A share moves by at
/// most 5e-13, a thousandth of an image in a run of 200 epochs of ImageNet.
fn short(value: f64) -> f64 {
    let unit = if value < 1.0 { 1e12 } else { 1e9 };
    let scaled = (value * unit).round();
    if scaled < 1e15 { scaled / unit } else { value }
}

/// The stages of a run, in order, and its budget of compute. A plain value: it holds no position.
///
/// Serialised (by serde, in any format) it has the form of its TOML table: see [`Schedule::from_toml`].
///
/// ```
/// use bandfeed::schedule::{Options, Schedule};
/// let schedule = Schedule::named("efficient_train_pp", &Options::default())?;
/// let bands = [0.0, 0.3, 0.6].map(|progress| schedule.at(progress).band);
/// assert_eq!(bands, [96, 160, 224]);
/// # Ok::<(), bandfeed::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "table::Table", try_from = "table::Table")]
pub struct Schedule {
    name: String,
    patch: u32,
    epochs: f64,
    /// Never empty; each starts where the one before ends, from 0 to 1; all have the same base.
    stages: Vec<Stage>,
    /// Where it is set, the clock counts images.
    search: Option<Search>,
}

impl Schedule {
    /// One stage at the base size with RandAugment's usual magnitude 9: training without a curriculum.
    ///
    /// # Errors
    /// As [`Options::check`].
    pub fn constant(options: &Options) -> Result<Self> {
        options.no_replay("constant")?;
        let row =
            Row { compute: 1.0, band: options.base, magnitude: 9.0, replay: StageReplay::OFF, growth: Growth::NONE };
        Self::build("constant", options, BandCrop::Lanczos, &[row])
    }

    /// One stage for everything, for evaluation or a benchmark: `stage` with index 0 and the whole of the compute.
    ///
    /// The budget is 1 equivalent epoch. The stage's other values are taken as they are.
    pub fn fixed(stage: Stage) -> Self {
        let stage = Stage { index: 0, start: 0.0, end: 1.0, ..stage };
        Self { name: "fixed".into(), patch: 1, epochs: 1.0, stages: vec![stage], search: None }
    }

    /// The schedule of this name, fitted to `options`: one of [`NAMES`] (`-` may stand for `_`), or the path of a TOML
    /// table, which ends in `.toml` ([`Schedule::from_toml`]; a table without a name is called after its file).
    ///
    /// # Errors
    /// [`Error::Config`] for an unknown name, with the names there are and the nearest one, and for options or a table
    /// that cannot work; [`Error::Io`] if the table cannot be read.
    pub fn named(name: &str, options: &Options) -> Result<Self> {
        let schedule = Self::named_for_any_budget(name, options)?;
        schedule.check_search_fits()?;
        Ok(schedule)
    }

    /// [`Schedule::named`], also of a table whose own budget is too small for its search: a run may have another.
    pub(crate) fn named_for_any_budget(name: &str, options: &Options) -> Result<Self> {
        let path = Path::new(name);
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
            let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            return table::read(&text, options, stem.as_deref().unwrap_or("table"), name);
        }
        match name.replace('-', "_").as_str() {
            "constant" => Self::constant(options),
            "efficient_train" => Self::efficient_train(options),
            "efficient_train_pp" => Self::efficient_train_pp(ModelRow::General, options),
            "efficient_train_pp_deit" => Self::efficient_train_pp(ModelRow::Deit, options),
            "efficient_train_pp_convnext" => Self::efficient_train_pp(ModelRow::ConvNext, options),
            "auto_prog" => Self::auto_prog(options),
            unknown => {
                let nearest = nearest::hint(unknown, NAMES);
                let names = NAMES.join(", ");
                let reason = format!("`{name}` is not known{nearest}; use {names}, or the path of a .toml table");
                Err(Error::config("schedule", reason))
            }
        }
    }

    /// The name: one of [`NAMES`], a table's own, or `fixed`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The budget in equivalent epochs ([`Options::epochs`]).
    pub fn epochs(&self) -> f64 {
        self.epochs
    }

    /// Side of the images at the base size, in pixels.
    pub fn base(&self) -> u32 {
        self.stages[0].base
    }

    /// What every band is a multiple of, in pixels ([`Options::patch`]).
    pub fn patch(&self) -> u32 {
        self.patch
    }

    /// Blocks of the whole model; `None` if the schedule says nothing of depth.
    pub fn depth(&self) -> Option<u32> {
        self.stages.last().and_then(|stage| stage.growth.depth).map(|depth| depth.full)
    }

    /// The stages in order; at least one. Each starts where the one before ends, from 0 to 1.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// The stage that holds after this share of the run's compute: the one with `start <= progress < end`.
    ///
    /// Below 0 (and for NaN) it is the first, from 1 on the last. A progress within 1e-9 below a boundary counts as at
    /// it, so that a sum of costs that fell short by rounding still changes stage.
    pub fn at(&self, progress: f64) -> &Stage {
        let after = self.stages.partition_point(|stage| progress >= stage.end - SAME_MOMENT);
        &self.stages[after.min(self.stages.len() - 1)]
    }

    /// Images that each stage trains on over a data set of `dataset_len` images, over all ranks, to the nearest image;
    /// those that come again from a replay buffer are counted each time.
    pub fn images(&self, dataset_len: u64) -> Vec<u64> {
        self.stage_image_epochs().map(|epochs| (epochs * dataset_len as f64).round() as u64).collect()
    }

    /// Passes over the data set in each stage, counted by the images trained on: [`Schedule::images`] over its length.
    pub fn stage_image_epochs(&self) -> impl Iterator<Item = f64> {
        self.stages.iter().map(|stage| stage.share() * self.epochs * self.images_per_clock(stage))
    }

    /// Passes over the data set that are decoded in the whole run: [`Schedule::image_epochs`] less what is replayed
    /// (`efficienttrain.md` §5, last column of the table of loads).
    pub fn decoded_epochs(&self) -> f64 {
        let times = |stage: &Stage| f64::from(stage.replay.times);
        self.stages.iter().map(|stage| stage.share() * self.epochs * self.images_per_clock(stage) / times(stage)).sum()
    }

    /// Images in a stage for one at the base size, by what the clock counts.
    fn images_per_clock(&self, stage: &Stage) -> f64 {
        if self.search.is_some() { 1.0 } else { stage.images_per_compute() }
    }

    /// Passes over the data set in the whole run: the nominal length T of EfficientTrain, 454 for EfficientTrain++
    /// with E = 200 and the general row.
    pub fn image_epochs(&self) -> f64 {
        self.stage_image_epochs().sum()
    }

    /// Mean compute of an image relative to one at the base size, `0..=1`: 0.653 for EfficientTrain
    /// (`efficienttrain.md` §2). The budget in equivalent epochs is this times [`Schedule::image_epochs`].
    pub fn relative_compute(&self) -> f64 {
        self.epochs / self.image_epochs()
    }

    /// The same stages with a budget of `epochs` equivalent epochs; passes over the data set where the schedule is searched.
    ///
    /// # Errors
    /// [`Error::Config`] if `epochs` is not a finite number above 0, or too few for the schedule's search.
    pub fn with_epochs(mut self, epochs: f64) -> Result<Self> {
        check_epochs(epochs)?;
        self.epochs = epochs;
        self.check_search_fits()?;
        Ok(self)
    }

    /// The same stages with the budget under which the data set is passed over `epochs` times: EfficientTrain as
    /// published, with its T.
    ///
    /// ```
    /// # use bandfeed::schedule::{Options, Schedule};
    /// let schedule = Schedule::efficient_train(&Options::default())?.with_image_epochs(300.0)?;
    /// assert!((schedule.epochs() - 195.918).abs() < 1e-3);
    /// # Ok::<(), bandfeed::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Schedule::with_epochs`].
    pub fn with_image_epochs(self, epochs: f64) -> Result<Self> {
        check_epochs(epochs)?;
        let relative = self.relative_compute();
        self.with_epochs(short(epochs * relative))
    }

    /// Stages that use these amounts of compute (any unit), batches as [`Options`] say, the last one ending at exactly 1.
    fn build(name: &str, options: &Options, own_crop: BandCrop, rows: &[Row]) -> Result<Self> {
        options.check()?;
        let total: f64 = rows.iter().map(|row| row.compute).sum();
        let mut used = 0.0;
        let mut start = 0.0;
        let mut stages = Vec::with_capacity(rows.len());
        for (index, row) in rows.iter().enumerate() {
            used += row.compute;
            let end = if index + 1 == rows.len() { 1.0 } else { short(used / total) };
            // What the model sees is what fills a device's memory.
            let side = row.growth.shrink.map_or(row.band, Shrink::side);
            let (batch_size, accumulate) = options.batches(side, row.replay.times)?;
            let times = options.early_batch.times(side, options.base);
            let stage = Stage {
                index,
                start,
                end,
                band: row.band,
                base: options.base,
                crop: options.crop.unwrap_or(own_crop),
                magnitude: row.magnitude,
                batch_size,
                accumulate,
                replay: row.replay,
                rate_scale: short(options.early_batch.rate_scale(times)),
                growth: row.growth,
            };
            stage.check_replay().map_err(|reason| Error::config(format!("schedule.stage[{index}].replay"), reason))?;
            stages.push(stage);
            start = end;
        }
        Ok(Self { name: name.into(), patch: options.patch, epochs: options.epochs, stages, search: None })
    }
}

/// What a built-in schedule says of a stage.
struct Row {
    /// Compute that it uses, in any unit.
    compute: f64,
    /// Side of its images in pixels.
    band: u32,
    /// RandAugment's magnitude.
    magnitude: f64,
    /// Uses of its images.
    replay: StageReplay,
    /// What it says of the model.
    growth: Growth,
}
