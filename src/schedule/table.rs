//! A schedule as a TOML table: reading with checks of every row, and writing.

use super::released::Reuse;
use super::{
    Depth, EarlyBatch, Growth, Options, SAME_MOMENT, Schedule, Search, Shrink, Stage, StageReplay, check_epochs,
    check_sizes, short,
};
use crate::error::{Error, Result};
use crate::nearest;
use crate::shape::BandCrop;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use toml::de::{DeTable, DeValue};

const KEYS: [&str; 8] = ["name", "base", "patch", "epochs", "batch_size", "crop", "search", "stage"];
const STAGE_KEYS: [&str; 16] = [
    "until",
    "band",
    "magnitude",
    "crop",
    "batch_size",
    "accumulate",
    "replay",
    "replay_capacity",
    "rate_scale",
    "depth",
    "resize",
    "patch_resize",
    "drop_path",
    "augment",
    "erasing",
    "scale",
];

/// The document; see [`Schedule::from_toml`] for the keys.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epochs: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crop: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    search: Option<Search>,
    stage: Vec<StageRow>,
}

/// One `[[stage]]`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StageRow {
    until: f64,
    band: u32,
    magnitude: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    crop: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accumulate: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay_capacity: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_scale: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    depth: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resize: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_resize: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drop_path: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    augment: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    erasing: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scale: Option<[f64; 2]>,
}

impl StageRow {
    /// `full` is the depth of the last stage; a stage that says none has that.
    fn growth(&self, full: Option<u32>) -> Growth {
        let shrink = self.resize.map(Shrink::Resize).or(self.patch_resize.map(Shrink::Patch));
        Growth {
            depth: full.map(|full| Depth { blocks: self.depth.unwrap_or(full), full }),
            shrink,
            drop_path: self.drop_path.map(short),
            augment: self.augment.unwrap_or(true),
            erasing: self.erasing.map(short),
            scale: self.scale.map(|ends| ends.map(short)),
            search: false,
        }
    }
}

impl Schedule {
    /// A user's schedule.
    ///
    /// ```toml
    /// name = "two-steps"      # optional
    /// base = 224              # these four are optional: where the table is silent, `options` holds,
    /// patch = 16              # where it is not, the table holds
    /// epochs = 100.0
    /// batch_size = 256        # images in a batch of every stage that does not say otherwise
    /// crop = "lanczos"        # optional: fourier, fourier-half-pixel or lanczos
    ///
    /// [[stage]]               # at least one, in order
    /// until = 0.4             # share of the compute at which the stage ends; the last one is 1
    /// band = 128              # pixels: a multiple of patch, at most base; not scaled
    /// magnitude = 4           # RandAugment's, 0 to 10
    ///
    /// [[stage]]
    /// until = 1
    /// band = 224
    /// magnitude = 9
    /// batch_size = 128        # optional in a stage: batch_size, accumulate (1), crop, and
    /// accumulate = 2          # rate_scale (1): the learning rate is multiplied by it
    /// ```
    ///
    /// A stage whose images are used several times has `replay = 4` (the mean uses; it divides `batch_size`) and
    /// `replay_capacity = 1920` (batches' worth of new images in the buffer).
    ///
    /// A schedule that grows the model says in its last stage `depth = 12`, the blocks of the whole model, and in earlier ones
    /// fewer; a stage that says none has them all. Any stage may say `drop_path` (in place of the model's), `augment = false`
    /// (no policy that follows the magnitude), `erasing` and `scale` (in place of the recipe's chance and crop), and `resize`
    /// or `patch_resize`: the side that the trainer brings images of the band to ([`Shrink`]), a multiple of the patch.
    ///
    /// With a table `[search]` (the fields of [`Search`]) depth and side of the stages are what AutoProg's search chooses from, and
    /// `until` and `epochs` count images ([`Schedule::searched`]).
    ///
    /// Without a `crop` anywhere it is `options.crop`, else Lanczos. `options.base_parts` does not apply: a table says
    /// `batch_size` and `accumulate` itself; and `options.replay`,
    /// `options.early_batch` and `options.step_batch` are refused.
    ///
    /// # Errors
    /// [`Error::Config`] names the line of a syntax error, of a value of the wrong kind and of an unknown key (with the
    /// nearest known one), and the stage and key of a value out of range.
    pub fn from_toml(text: &str, options: &Options) -> Result<Self> {
        let schedule = read(text, options, "table", "schedule")?;
        schedule.check_search_fits()?;
        Ok(schedule)
    }

    /// The schedule as a TOML table that [`Schedule::from_toml`] reads back to an equal schedule, whatever its options.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a schedule holds numbers and words, which TOML can write")
    }
}

/// Reads `text`; whether the budget is enough for a search is left to the caller. `default_name` is for a table without a name;
/// `origin` (a path) is named in errors.
pub(super) fn read(text: &str, options: &Options, default_name: &str, origin: &str) -> Result<Schedule> {
    let refused = |error: toml::de::Error| Error::in_toml(origin, text, &error);
    let document = DeTable::parse(text).map_err(refused)?;
    if let Some((span, reason)) = unknown_key(document.get_ref()) {
        return Err(Error::config(Error::toml_place(origin, text, Some(span)), reason));
    }
    let table: Table = toml::from_str(text).map_err(refused)?;
    schedule(table, options, default_name)
}

/// The first key that no schedule has: where it stands, and what it may have been meant for.
fn unknown_key(document: &DeTable<'_>) -> Option<(Range<usize>, String)> {
    let check = |table: &DeTable<'_>, known: &[&str], place: &str| {
        let key = table.keys().find(|key| !known.contains(&key.get_ref().as_ref()))?;
        let hint = nearest::hint(key.get_ref(), known.iter().copied());
        let known = known.join(", ");
        Some((key.span(), format!("unknown key `{}`{hint}; {place} has {known}", key.get_ref())))
    };
    check(document, &KEYS, "a schedule").or_else(|| {
        let stages = document.get("stage")?.get_ref().as_array()?;
        let mut tables = stages.iter().filter_map(|stage| match stage.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => None,
        });
        tables.find_map(|stage| check(stage, &STAGE_KEYS, "a stage"))
    })
}

fn schedule(table: Table, options: &Options, default_name: &str) -> Result<Schedule> {
    if options.replay != Reuse::Off {
        let reason = format!("{}: a table says `replay` and `replay_capacity` by stage", options.replay);
        return Err(Error::config("schedule.replay", reason));
    }
    if options.early_batch != EarlyBatch::Off {
        let reason = format!("{}: a table says `batch_size` and `rate_scale` by stage", options.early_batch);
        return Err(Error::config("schedule.early_batch", reason));
    }
    if let Some(step) = options.step_batch {
        let reason = format!("{step}: a table says `batch_size` and `accumulate` by stage");
        return Err(Error::config("schedule.step_batch", reason));
    }
    let (base, patch) = (table.base.unwrap_or(options.base), table.patch.unwrap_or(options.patch));
    let epochs = table.epochs.unwrap_or(options.epochs);
    check_sizes(base, patch)?;
    check_epochs(epochs)?;
    let batch_size = table.batch_size.unwrap_or(options.batch_size);
    let crop = match &table.crop {
        Some(word) => parse_crop(word, "schedule.crop")?,
        None => options.crop.unwrap_or(BandCrop::Lanczos),
    };
    let Some(last) = table.stage.len().checked_sub(1) else {
        return Err(Error::config("schedule.stage", "none: expected at least one [[stage]]"));
    };
    let full = table.stage[last].depth;
    let (mut start, mut depth) = (0.0, 0);
    let mut stages = Vec::with_capacity(table.stage.len());
    for (index, row) in table.stage.iter().enumerate() {
        let refuse = |key: &str, reason: String| Err(Error::config(format!("schedule.stage[{index}].{key}"), reason));
        let mut end = short(row.until);
        if index == last {
            if (end - 1.0).abs() > SAME_MOMENT {
                return refuse("until", format!("{end}: the last stage ends at 1"));
            }
            end = 1.0;
        }
        // Written so that NaN is refused; a stage shorter than the clock's tolerance would never be seen.
        if !(end - start > SAME_MOMENT && end <= 1.0) {
            return refuse(
                "until",
                format!("{end}: expected more than {start}, where the stage starts, and at most 1"),
            );
        }
        if row.band == 0 || row.band > base || !row.band.is_multiple_of(patch) {
            return refuse(
                "band",
                format!("{}: expected a multiple of the patch side {patch}, at most the base size {base}", row.band),
            );
        }
        if !(0.0..=10.0).contains(&row.magnitude) {
            return refuse("magnitude", format!("{}: expected 0 to 10", row.magnitude));
        }
        let (batch_size, accumulate) = (row.batch_size.unwrap_or(batch_size), row.accumulate.unwrap_or(1));
        for (key, value) in [("batch_size", batch_size), ("accumulate", accumulate)] {
            if value == 0 {
                return refuse(key, "0: expected at least 1".into());
            }
        }
        let crop = match &row.crop {
            Some(word) => parse_crop(word, format!("schedule.stage[{index}].crop"))?,
            None => crop,
        };
        let times = row.replay.unwrap_or(1);
        if row.replay_capacity.is_none() && times > 1 {
            return refuse(
                "replay_capacity",
                "not given: expected the batches' worth of new images in the buffer".into(),
            );
        }
        if row.replay_capacity.is_some() && times <= 1 {
            return refuse(
                "replay_capacity",
                "given without `replay` of 2 or more: nothing would be in the buffer".into(),
            );
        }
        let rate_scale = short(row.rate_scale.unwrap_or(1.0));
        if !(rate_scale.is_finite() && rate_scale > 0.0) {
            return refuse("rate_scale", format!("{rate_scale}: expected a number above 0"));
        }
        if let (Some(given), None) = (row.depth, full) {
            return refuse(
                "depth",
                format!("{given}: the last stage says none; give it the blocks of the whole model"),
            );
        }
        if row.resize.is_some() && row.patch_resize.is_some() {
            return refuse("patch_resize", "given with `resize`: an image is made smaller once".into());
        }
        let growth = row.growth(full);
        let blocks = growth.depth.map_or(0, |depth| depth.blocks);
        if blocks < depth {
            return refuse("depth", format!("{blocks}: expected at least {depth}, since a model does not shrink"));
        }
        depth = blocks;
        if let Some(side) = growth.shrink.map(Shrink::side).filter(|side| !side.is_multiple_of(patch)) {
            return refuse("resize", format!("{side}: expected a multiple of the patch side {patch}"));
        }
        let stage = Stage {
            index,
            start,
            end,
            band: row.band,
            base,
            crop,
            magnitude: short(row.magnitude),
            batch_size,
            accumulate,
            replay: StageReplay { times, capacity: row.replay_capacity.unwrap_or(StageReplay::OFF.capacity) },
            rate_scale,
            growth,
        };
        if let Err((key, reason)) = stage.check_growth() {
            return refuse(key, reason);
        }
        if let Err(reason) = stage.check_replay() {
            return refuse("replay", reason);
        }
        stages.push(stage);
        start = end;
    }
    let name = table.name.unwrap_or_else(|| default_name.to_owned());
    let schedule = Schedule { name, patch, epochs, stages, search: table.search };
    schedule.check_search()?;
    Ok(schedule)
}

fn parse_crop(word: &str, key: impl Into<String>) -> Result<BandCrop> {
    word.parse().map_err(|error: Error| match error {
        Error::Config { reason, .. } => Error::config(key, reason),
        other => other,
    })
}

impl TryFrom<Table> for Schedule {
    type Error = Error;

    fn try_from(table: Table) -> Result<Self> {
        let schedule = schedule(table, &Options::default(), "table")?;
        schedule.check_search_fits()?;
        Ok(schedule)
    }
}

impl From<Schedule> for Table {
    fn from(schedule: Schedule) -> Self {
        let shared_crop = schedule.stages.iter().all(|stage| stage.crop == schedule.stages[0].crop);
        let row = |stage: &Stage| StageRow {
            until: stage.end,
            band: stage.band,
            magnitude: stage.magnitude,
            crop: (!shared_crop).then(|| stage.crop.to_string()),
            batch_size: Some(stage.batch_size),
            accumulate: (stage.accumulate != 1).then_some(stage.accumulate),
            replay: stage.replay.is_on().then_some(stage.replay.times),
            replay_capacity: stage.replay.is_on().then_some(stage.replay.capacity),
            rate_scale: (stage.rate_scale != 1.0).then_some(stage.rate_scale),
            depth: stage.growth.depth.map(|depth| depth.blocks),
            resize: stage.growth.shrink.and_then(|s| if let Shrink::Resize(side) = s { Some(side) } else { None }),
            patch_resize: stage.growth.shrink.and_then(|s| if let Shrink::Patch(side) = s { Some(side) } else { None }),
            drop_path: stage.growth.drop_path,
            augment: (!stage.growth.augment).then_some(false),
            erasing: stage.growth.erasing,
            scale: stage.growth.scale,
        };
        Self {
            base: Some(schedule.base()),
            patch: Some(schedule.patch),
            epochs: Some(schedule.epochs),
            batch_size: None,
            crop: shared_crop.then(|| schedule.stages[0].crop.to_string()),
            search: schedule.search,
            stage: schedule.stages.iter().map(row).collect(),
            name: Some(schedule.name),
        }
    }
}
