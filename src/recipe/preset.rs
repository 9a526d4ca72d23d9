//! Whole training recipes as data: transform, schedule and trainer settings in one TOML file.

use super::Recipe;
use crate::error::{Error, Result};
use crate::nearest;
use crate::schedule::{EarlyBatch, ModelRow, Options, Prog, Schedule, Search, released};
use crate::shape::BandCrop;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The recipes that come with the crate, `recipes/*.toml`: names and contents.
const BUILT_IN: [(&str, &str); 5] = [
    ("plain", include_str!("../../recipes/plain.toml")),
    ("deit_tiny", include_str!("../../recipes/deit_tiny.toml")),
    ("deit_small", include_str!("../../recipes/deit_small.toml")),
    ("efficienttrain_pp_deit_small", include_str!("../../recipes/efficienttrain_pp_deit_small.toml")),
    ("auto_prog_deit_small", include_str!("../../recipes/auto_prog_deit_small.toml")),
];

/// A training recipe: what to do to the images, under which schedule, with which settings of the trainer.
///
/// ```
/// use bandfeed::recipe::Preset;
/// let preset = Preset::named("efficienttrain_pp_deit_small")?;
/// assert_eq!(preset.transform.augment.unwrap().to_string(), "rand-mstd0.5-inc1");
/// assert_eq!((preset.schedule.batch_size, preset.train.lr), (Some(512), 4e-3));
/// # Ok::<(), bandfeed::Error>(())
/// ```
///
/// As a file it is TOML with the tables `[transform]` (the fields of [`Recipe`], with `[transform.jitter]`,
/// `[transform.erasing]` and `[transform.mix]`), `[schedule]` ([`SchedulePreset`]) and `[train]` ([`TrainPreset`]); what is
/// left out has its default. `[transform.erasing]` and `[transform.mix]` turn these on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// What it is called.
    #[serde(default)]
    pub name: String,
    /// What it is for, in a sentence.
    #[serde(default)]
    pub about: String,
    /// The image transform.
    #[serde(default)]
    pub transform: Recipe,
    /// The schedule.
    #[serde(default)]
    pub schedule: SchedulePreset,
    /// The trainer.
    #[serde(default)]
    pub train: TrainPreset,
}

/// Which schedule, and what it is fitted to; what is `None` is as in [`Options::default`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SchedulePreset {
    /// A name that [`Schedule::named`] knows, or the path of a TOML table, from the working directory.
    pub name: String,
    /// [`Options::base`], in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<u32>,
    /// [`Options::patch`], in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<u32>,
    /// [`Options::epochs`]: the budget in equivalent epochs; where the schedule is searched, in passes over the data. Where depth
    /// grows with the band and is not searched, it is the budget before that, since stages keep their images
    /// ([`Schedule::deepening`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// The budget in passes over the data, of whatever schedule comes of the other settings ([`Schedule::with_image_epochs`]);
    /// not with `epochs` or `released`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_epochs: Option<f64>,
    /// [`Options::batch_size`], on each rank.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
    /// [`Options::step_batch`], on each rank.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_batch: Option<usize>,
    /// [`Options::base_parts`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_parts: Option<usize>,
    /// [`Options::crop`]: `fourier`, `fourier-half-pixel` or `lanczos`.
    #[serde(skip_serializing_if = "Option::is_none", with = "word")]
    pub crop: Option<BandCrop>,
    /// [`Options::replay`]: `off`, `twofold` or `fourfold`.
    #[serde(skip_serializing_if = "Option::is_none", with = "word")]
    pub replay: Option<released::Reuse>,
    /// [`Options::early_batch`]: `off`, `root-rate` or `same-rate`.
    #[serde(skip_serializing_if = "Option::is_none", with = "word")]
    pub early_batch: Option<EarlyBatch>,
    /// Stages rounded to whole epochs, as EfficientTrain++'s released scripts do ([`Schedule::released`]).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub released: bool,
    /// [`Options::prog`]: what `auto_prog` is made of. Under another built-in schedule its `depth` and `l_scale` say how depth grows
    /// with the band ([`Schedule::deepening`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prog: Option<Prog>,
    /// AutoProg's search ([`Schedule::searched`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<Search>,
}

impl Default for SchedulePreset {
    fn default() -> Self {
        Self {
            name: "constant".into(),
            base: None,
            patch: None,
            epochs: None,
            image_epochs: None,
            batch_size: None,
            step_batch: None,
            base_parts: None,
            crop: None,
            replay: None,
            early_batch: None,
            released: false,
            prog: None,
            search: None,
        }
    }
}

/// Optional settings that are one word.
mod word {
    use serde::{Deserialize, Deserializer, Serializer, de};
    use std::fmt::Display;
    use std::str::FromStr;

    pub(super) fn serialize<T: Display, S: Serializer>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.collect_str(value),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err = crate::Error>,
        D: Deserializer<'de>,
    {
        String::deserialize(from)?.parse().map(Some).map_err(de::Error::custom)
    }
}

impl SchedulePreset {
    /// What the schedule is fitted to.
    pub fn options(&self) -> Options {
        let standard = Options::default();
        Options {
            base: self.base.unwrap_or(standard.base),
            patch: self.patch.unwrap_or(standard.patch),
            epochs: self.epochs.unwrap_or(standard.epochs),
            batch_size: self.batch_size.unwrap_or(standard.batch_size),
            base_parts: self.base_parts.unwrap_or(standard.base_parts),
            crop: self.crop.or(standard.crop),
            replay: self.replay.unwrap_or(standard.replay),
            early_batch: self.early_batch.unwrap_or(standard.early_batch),
            step_batch: self.step_batch.or(standard.step_batch),
            prog: self.prog.unwrap_or(standard.prog),
        }
    }

    /// Another schedule in place of this one, which takes its settings over but for those that belong to one schedule: the
    /// crop, the released form, growth and search, and where the other is a table, which says them itself, budget and batches, too. `None`
    /// and the schedule's own name change nothing.
    pub fn rename(&mut self, name: Option<&str>) {
        let Some(name) = name.filter(|name| *name != self.name) else { return };
        *self = Self { name: name.to_owned(), crop: None, released: false, prog: None, search: None, ..self.clone() };
        if name.ends_with(".toml") {
            let Self { base, patch, batch_size, .. } = *self;
            // These three hold where the table is silent.
            *self = Self { name: name.to_owned(), base, patch, batch_size, ..Self::default() };
        }
    }

    /// Says of a table what the table says, `schedule` being its reading, so that a record of the run is true.
    #[cfg(all(feature = "cli", feature = "train"))]
    pub(crate) fn record(&mut self, schedule: &Schedule) {
        if self.name.ends_with(".toml") {
            let (first, rest) = schedule.stages().split_first().expect("a schedule has stages");
            let batch = first.effective_batch();
            self.batch_size = rest.iter().all(|stage| stage.effective_batch() == batch).then_some(batch);
            (self.base, self.patch) = (Some(schedule.base()), Some(schedule.patch()));
            (self.epochs, self.image_epochs) = (Some(schedule.epochs()), None);
        }
    }

    /// The table of this path as it is, but for what it is silent about: base, patch and batches.
    #[cfg(feature = "cli")]
    pub(crate) fn table(&self) -> Result<Schedule> {
        let Self { base, patch, batch_size, .. } = *self;
        let options = Self { base, patch, batch_size, ..Self::default() }.options();
        Schedule::named_for_any_budget(&self.name, &options)
    }

    /// The schedule. Of a TOML table all but the budget is the table's own: that belongs to the run.
    ///
    /// # Errors
    /// As [`Schedule::named`]; [`Error::Config`] also if `released` is asked of a schedule that has no released form, if there are
    /// two budgets, or if a table has a search that is another.
    pub fn schedule(&self) -> Result<Schedule> {
        if self.image_epochs.is_some() && (self.epochs.is_some() || self.released) {
            let reason = match self.released {
                true => "released stages are rounded to whole epochs of their own; give the budget as epochs",
                false => "there is a budget in epochs as well; give one of them",
            };
            return Err(Error::config("schedule.image_epochs", reason));
        }
        let options = self.options();
        let mut schedule = Schedule::named_for_any_budget(&self.name, &options)?;
        let table = self.name.ends_with(".toml");
        if self.released {
            schedule = Schedule::released(ModelRow::of_schedule(schedule.name())?, &options)?;
        }
        if let Some(prog) = self.prog.filter(|_| !table && schedule.name() != "auto_prog") {
            schedule = schedule.deepening(prog.depth, prog.l_scale)?;
        }
        if let Some((own, other)) = schedule.search().zip(self.search.as_ref()).filter(|(own, other)| own != other) {
            let name = &self.name;
            let reason = format!("{other}, but {name} has a [search] with {own}; change it there");
            return Err(Error::config("schedule.search", reason));
        }
        match self.search.filter(|_| schedule.search().is_none()) {
            Some(search) => {
                // A table's own budget holds where nobody gives another.
                let own = if table { schedule.epochs() } else { options.epochs };
                schedule.searched_for(search, self.image_epochs.or(self.epochs).unwrap_or(own))
            }
            None => match (self.image_epochs, self.epochs.filter(|_| table)) {
                (Some(passes), _) => schedule.with_image_epochs(passes),
                (None, Some(epochs)) => schedule.with_epochs(epochs),
                (None, None) => schedule.check_search_fits().map(|()| schedule),
            },
        }
    }
}

/// Settings of the bundled trainer, or of another that reads them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainPreset {
    /// DeiT's size: `tiny`, `small` or `base`.
    pub model: String,
    /// Width, in place of the model's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dim: Option<usize>,
    /// Number of blocks, in place of the model's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// Attention heads, in place of the model's own; they divide the width.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heads: Option<usize>,
    /// Chance that the last block is left out for an image; the other blocks' is as `drop_path_rule` says.
    pub drop_path: f64,
    /// `linear` (earlier blocks in proportion) or `uniform` (all alike).
    pub drop_path_rule: String,
    /// First value of the vectors that scale each branch of a block (LayerScale, timm's `init_values`); left out, there are
    /// none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer_scale: Option<f64>,
    /// File of weights to begin with: timm's names, or one of bandfeed's checkpoints. From the working directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
    /// The first layers that stay as they are: 1 is the embedding, each further one a block.
    pub freeze: usize,
    /// Where the weights of new blocks come from, where the schedule grows the model: `new_only`, `all`, `copy`, `random` or
    /// `zero`.
    #[serde(skip_serializing_if = "is_new_only")]
    pub mogrow: String,
    /// What becomes of the optimiser's moments then: `carry` or `drop`.
    #[serde(skip_serializing_if = "is_carry")]
    pub growth_moments: String,
    /// `f32`, `bf16` or `f16`: what forward and backward passes compute in.
    pub precision: String,
    /// Peak learning rate.
    pub lr: f64,
    /// Images of an optimiser step over all ranks that `lr` is meant for, where that is known. Nothing is scaled by it; the
    /// bundled trainer, which has one rank, says where its steps differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr_batch: Option<usize>,
    /// Learning rate at the end.
    pub min_lr: f64,
    /// Share of the compute spent warming up, `0..1`; `None` is 0.2 under `efficient_train_pp_deit`, as published, and 0.1
    /// under other schedules ([`TrainPreset::warmup_under`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup: Option<f64>,
    /// The rate of a layer is multiplied by this to the power of the layers above it; 1 is one rate for all.
    pub layer_decay: f64,
    /// AdamW's decays of the means of gradients and of their squares, `0..1`.
    pub betas: [f64; 2],
    /// Added to the root of AdamW's mean square.
    pub epsilon: f64,
    /// AdamW's weight decay, on weight matrices.
    pub weight_decay: f64,
    /// Largest global norm of the gradient; 0 leaves it alone.
    pub clip: f64,
    /// Share of the target spread evenly over all classes, `0..1`.
    pub label_smoothing: f64,
    /// Decays of the running means of the weights that are kept and evaluated beside the model; none by default.
    pub ema: Vec<f64>,
    /// Lower decays at the beginning of a run, by timm's rule.
    pub ema_warmup: bool,
}

fn is_new_only(word: &str) -> bool {
    word == "new_only"
}

fn is_carry(word: &str) -> bool {
    word == "carry"
}

impl Default for TrainPreset {
    fn default() -> Self {
        Self {
            model: "tiny".into(),
            dim: None,
            depth: None,
            heads: None,
            drop_path: 0.1,
            drop_path_rule: "linear".into(),
            layer_scale: None,
            init: None,
            freeze: 0,
            mogrow: "new_only".into(),
            growth_moments: "carry".into(),
            precision: "f32".into(),
            lr: 1e-3,
            lr_batch: None,
            min_lr: 1e-6,
            warmup: None,
            layer_decay: 1.0,
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            weight_decay: 0.05,
            clip: 5.0,
            label_smoothing: 0.1,
            ema: Vec::new(),
            ema_warmup: false,
        }
    }
}

impl TrainPreset {
    /// Another of DeiT's sizes in place of this one: what was said of this one's shape does not belong to it.
    #[cfg(all(feature = "cli", feature = "train"))]
    pub(crate) fn resize(&mut self, model: &str) {
        if model != self.model {
            *self = Self { model: model.to_owned(), dim: None, depth: None, heads: None, ..self.clone() };
        }
    }

    /// Blocks of the model.
    ///
    /// # Errors
    /// [`Error::Config`] for an unknown model.
    #[cfg(all(feature = "cli", feature = "train"))]
    pub(crate) fn depth(&self) -> Result<usize> {
        let own = match self.model.as_str() {
            "tiny" | "small" | "base" => 12,
            other => {
                return Err(Error::config("train.model", format!("`{other}` is not known; use tiny, small or base")));
            }
        };
        Ok(self.depth.unwrap_or(own))
    }

    /// The share of the compute spent warming up under this schedule.
    pub fn warmup_under(&self, schedule: &Schedule) -> f64 {
        let own = if schedule.name().starts_with("efficient_train_pp_deit") { 0.2 } else { 0.1 };
        self.warmup.unwrap_or(own)
    }
}

impl Preset {
    /// Names and descriptions of the recipes that come with the crate.
    pub fn names() -> impl Iterator<Item = (&'static str, String)> {
        BUILT_IN.into_iter().map(|(name, text)| {
            let preset = Self::from_toml(text, name).expect("the built-in recipes are tested");
            (name, preset.about)
        })
    }

    /// The recipe of this name (`-` may stand for `_`), or of the TOML file at this path, which ends in `.toml`.
    ///
    /// # Errors
    /// [`Error::Config`] for an unknown name, with the names there are and the nearest one, and for a transform or options of the
    /// schedule that cannot work;
    /// [`Error::Io`] if the file cannot be read.
    pub fn named(name: &str) -> Result<Self> {
        let path = Path::new(name);
        if path.extension().is_some_and(|extension| extension == "toml") {
            let mut preset = Self::from_toml(&std::fs::read_to_string(path).map_err(Error::io(path))?, name)?;
            if preset.name.is_empty() {
                preset.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            }
            return Ok(preset);
        }
        let wanted = name.replace('-', "_");
        match BUILT_IN.iter().find(|(name, _)| *name == wanted) {
            Some((name, text)) => Self::from_toml(text, name),
            None => {
                let names = BUILT_IN.map(|(name, _)| name);
                let (hint, names) = (nearest::hint(&wanted, names), names.join(", "));
                let reason = format!("`{name}` is not known{hint}; use {names}, or the path of a .toml file");
                Err(Error::config("recipe", reason))
            }
        }
    }

    /// A recipe from its text; `origin` is named in errors.
    ///
    /// # Errors
    /// [`Error::Config`] names the line of a syntax error, of a value of the wrong kind and of an unknown key (with the
    /// nearest known one), and the field of a value out of range.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self> {
        let preset: Self = toml::from_str(text).map_err(|error| Error::in_toml(origin, text, &error))?;
        preset.transform.check()?;
        preset.schedule.options().check()?;
        Ok(preset)
    }

    /// The recipe as TOML that [`Preset::from_toml`] reads back to an equal one.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a recipe holds numbers and words, which TOML can write")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Magnitude;

    #[test]
    fn every_recipe_is_called_by_its_name_has_a_schedule_and_comes_back_from_its_toml() {
        for (name, about) in Preset::names() {
            let preset = Preset::named(&name.replace('_', "-")).unwrap();
            assert_eq!((preset.name.as_str(), preset.about.as_str()), (name, about.as_str()));
            let schedule = preset.schedule.schedule().unwrap();
            preset.transform.check_schedule(&schedule).unwrap();
            assert_eq!(Preset::from_toml(&preset.to_toml(), name).unwrap(), preset);
        }
    }

    #[test]
    fn the_efficienttrain_recipe_is_the_published_one() {
        let preset = Preset::named("efficienttrain_pp_deit_small").unwrap();
        let schedule = preset.schedule.schedule().unwrap();
        // efficienttrain.md §3.3: 512, 512, 256 x 2 images on each of 8 GPUs.
        let batches = [0, 2, 8].map(|i| (schedule.stages()[i].batch_size, schedule.stages()[i].accumulate));
        assert_eq!(batches, [(512, 1), (512, 1), (256, 2)]);
        let magnitude = |progress| preset.transform.magnitude_at(schedule.at(progress), 9.0, progress);
        assert_eq!([0.0, 0.05, 0.15, 0.95].map(magnitude), [0.0, 0.0, 1.0, 9.0]);
        let (erasing, mix) = (preset.transform.erasing.unwrap(), preset.transform.mix.unwrap());
        assert_eq!((erasing.probability, mix.mixup, mix.cutmix, mix.switch), (0.25, 0.8, 1.0, 0.5));
        assert_eq!(preset.transform.magnitude, Magnitude::Staircase);
    }

    #[test]
    fn the_autoprog_recipe_is_the_specified_mapping_to_deit() {
        let preset = Preset::named("auto_prog_deit_small").unwrap();
        let schedule = preset.schedule.schedule().unwrap();
        // autoprog.md §5, at its end, and §2 for the strengths.
        let stages = schedule.stages().iter().map(|stage| (stage.band, stage.growth.depth.unwrap().blocks));
        assert_eq!(stages.collect::<Vec<_>>(), [(128, 6), (160, 8), (192, 10), (224, 12)]);
        let magnitude = |stage: &crate::Stage| preset.transform.magnitude_at(stage, 9.0, stage.start);
        assert_eq!(schedule.stages().iter().map(magnitude).collect::<Vec<_>>(), [4.0, 6.0, 7.0, 9.0]);
        for (i, stage) in schedule.stages().iter().enumerate() {
            let share = i as f64 / 3.0;
            assert!((stage.growth.drop_path.unwrap() - 0.1 * share).abs() < 1e-9, "{i}");
            assert!((stage.growth.erasing.unwrap() - 0.25 * share).abs() < 1e-9, "{i}");
            assert_eq!((stage.growth.shrink, stage.effective_batch()), (None, 1024), "{i}");
        }
        assert!((schedule.image_epochs() - 100.0).abs() < 1e-5, "{}", schedule.image_epochs());
        // Five passes, as a share of the compute.
        let five = schedule.stages()[0].end / 5.0;
        assert!((preset.train.warmup.unwrap() - five).abs() < 1e-4, "{five}");
        let mix = preset.transform.mix.unwrap();
        assert_eq!((mix.mixup, mix.cutmix, preset.transform.repeats), (0.8, 1.0, 3));
        assert_eq!((preset.train.mogrow.as_str(), &preset.train.ema[..]), ("new_only", &[0.9996][..]));
        #[cfg(all(feature = "cli", feature = "train"))]
        assert_eq!(preset.train.depth().unwrap() as u32, schedule.depth().unwrap());
    }

    #[test]
    fn mistakes_are_named_with_their_line_and_the_nearest_key() {
        let refused = |text: &str| Preset::from_toml(text, "own.toml").unwrap_err().to_string();
        let message = refused("[transform]\nflip = 0.5\nagument = 'rand-m9'");
        assert!(message.starts_with("own.toml, line 3: unknown field `agument`"), "{message}");
        assert!(message.contains("did you mean `augment`?"), "{message}");
        assert!(refused("[transform]\naugment = 'rnd-m9'").contains("own.toml, line 2"));
        assert!(refused("[schedule]\ncrop = 'box'").contains("use fourier"));
        assert!(refused("[transform.mix]\nmixup = -1").contains("recipe.mix.mixup"));
        let message = Preset::named("deit_smal").unwrap_err().to_string();
        assert!(message.contains("did you mean `deit_small`?"), "{message}");
        assert!(matches!(Preset::named("no/such/file.toml"), Err(Error::Io { .. })));
    }
}
