//! A whole run as one TOML file: a recipe, and with it the images, the loader and where the results go.
//!
//! ```text
//! recipe (built in, or a file) ◄ run file (--config) ◄ --set key=value ◄ options    later ones win, key by key
//! ```
//!
//! Every recipe is a run file that says nothing of the images. Paths are taken from the working directory.

use super::fit::Fit;
use super::live::Endpoint;
use crate::engine::DeviceName;
use crate::error::{Error, Result};
use crate::loader::OnBadFile;
use crate::recipe::{Preset, Recipe, SchedulePreset, TrainPreset};
use serde::{Deserialize, Serialize, de::IntoDeserializer};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The tables of a run file. What is left out is as the recipe has it, or has its default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RunConfig {
    /// What the run is called in titles; else its recipe's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// What it is for, in a sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) about: String,
    /// The recipe that the tables below change: a name, or the path of a file. A resolved file has none, since it says all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) recipe: Option<String>,
    pub(crate) source: SourceConfig,
    pub(crate) run: Output,
    pub(crate) loader: LoaderConfig,
    pub(crate) report: ReportConfig,
    pub(crate) train: TrainPreset,
    pub(crate) schedule: SchedulePreset,
    pub(crate) transform: Recipe,
}

/// `[source]`: the images.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SourceConfig {
    /// A folder of class folders, or WebDataset shards (`train-{000..099}.tar`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) train: Option<String>,
    /// Validation images, in the same form and with the same classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) val: Option<String>,
    /// Where their side indices are, if not beside them: a folder (`bandfeed index --out`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<PathBuf>,
}

/// `[run]`: where it goes, and what decides its random numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Output {
    /// Folder for log, curves and checkpoints.
    pub(crate) out: PathBuf,
    /// Seed of weights, order, augmentation and stochastic depth.
    pub(crate) seed: u64,
    /// Threads that compute gradients; left out, the machine's cores. Their number changes no result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) threads: Option<usize>,
    /// Minutes between two checkpoints, besides those at the end of each epoch.
    pub(crate) checkpoint_minutes: f64,
}

impl Default for Output {
    fn default() -> Self {
        Self { out: "bandfeed-run".into(), seed: 0, threads: None, checkpoint_minutes: 10.0 }
    }
}

/// `[loader]`: nothing here changes a pixel, but for `on_bad_file`, and `device` within the engines' tolerance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LoaderConfig {
    /// What makes the batches: `cpu`, `wgpu`, `wgpu:NAME` or `auto`.
    pub(crate) device: DeviceName,
    /// Threads; left out, the machine's cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) workers: Option<usize>,
    /// Batches made ahead.
    pub(crate) prefetch: usize,
    /// `fail`, `skip` or `substitute`.
    pub(crate) on_bad_file: OnBadFile,
    /// Most megabytes for batches and replay; left out, three quarters of the memory that is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory_limit_mb: Option<f64>,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self {
            device: DeviceName::Cpu,
            workers: None,
            prefetch: 4,
            on_bad_file: OnBadFile::Substitute,
            memory_limit_mb: None,
        }
    }
}

/// `[report]`: where a run is reported to, besides the terminal and the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ReportConfig {
    /// TensorBoard files and contact sheets.
    pub(crate) tensorboard: bool,
    /// Where Prometheus finds figures; left out, nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metrics: Option<Endpoint>,
}

impl Default for ReportConfig {
    fn default() -> Self {
        Self { tensorboard: true, metrics: None }
    }
}

/// Where a run's settings come from.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ConfigArgs {
    /// A whole run as a TOML file: tables [source], [run], [loader], [report], [train], [schedule] and
    /// [transform], and `recipe` for what
    /// they leave out. Options given here take the place of what it says.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Model, optimiser, transform and schedule in one word: plain, deit_tiny, deit_small, efficienttrain_pp_deit_small,
    /// auto_prog_deit_small, or the path of a .toml recipe [default: the run file's, or plain].
    #[arg(long, value_name = "NAME")]
    pub(crate) recipe: Option<String>,
    /// Any key of a run file, as `train.weight_decay=0.1`; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

impl ConfigArgs {
    /// The settings before options.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be read; [`Error::Config`] names file and line of a mistake, and for a key that is not
    /// known the nearest one.
    pub(crate) fn resolve(&self) -> Result<RunConfig> {
        let mut own = Table::new();
        if let Some(path) = &self.config {
            let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
            own = parsed(&text, &path.display().to_string())?;
        }
        for setting in &self.set {
            let setting = parsed(&as_toml(setting)?, &format!("--set {setting}"))?;
            drop_budget(&mut own, &setting);
            merge(&mut own, setting);
        }
        let said = own.get("recipe").and_then(Value::as_str).map(str::to_owned);
        let mut preset = Preset::named(self.recipe.as_deref().or(said.as_deref()).unwrap_or("plain"))?;
        let word = |table: &str, key: &str| own.get(table)?.as_table()?.get(key)?.as_str();
        preset.schedule.rename(word("schedule", "name"));
        if let Some(model) = word("train", "model") {
            preset.train.resize(model);
        }
        if own.get("train").and_then(|train| train.get("lr")).is_some() {
            // The number of images that the recipe's rate is meant for says nothing of this one.
            preset.train.lr_batch = None;
        }
        if let Some(schedule) = own.get("schedule") {
            let own = SchedulePreset::deserialize(schedule.clone().into_deserializer())
                .map_err(|error| Error::config("schedule", error.to_string()))?;
            agree(&own, &preset.schedule.name)?;
        }
        let mut all = Table::try_from(&preset).expect("a recipe holds numbers and words, which TOML can write");
        drop_budget(&mut all, &own);
        merge(&mut all, own);
        all.remove("recipe");
        let config = RunConfig::deserialize(Value::Table(all).into_deserializer())
            .map_err(|error| Error::config("configuration", error.to_string()))?;
        config.check()?;
        Ok(config)
    }
}

impl RunConfig {
    /// The recipe in it.
    #[cfg(test)]
    fn preset(&self) -> Preset {
        let Self { name, about, transform, schedule, train, .. } = self.clone();
        Preset { name, about, transform, schedule, train }
    }

    /// Refuses what no run could work with.
    ///
    /// # Errors
    /// [`Error::Config`] names the key.
    pub(crate) fn check(&self) -> Result<()> {
        self.transform.check()?;
        self.schedule.options().check()?;
        if i64::try_from(self.run.seed).is_err() {
            let reason = format!("{}: expected at most {}, the largest number of a TOML file", self.run.seed, i64::MAX);
            return Err(Error::config("run.seed", reason));
        }
        let minutes = self.run.checkpoint_minutes;
        if !(minutes.is_finite() && minutes > 0.0) {
            return Err(Error::config("run.checkpoint_minutes", format!("{minutes}: expected a number above 0")));
        }
        match self.loader.memory_limit_mb {
            Some(mb) if !(mb.is_finite() && mb > 0.0) => {
                Err(Error::config("loader.memory_limit_mb", format!("{mb}: expected a number above 0")))
            }
            _ => Ok(()),
        }
    }

    /// Writes the whole run to `path`, in a form from which [`ConfigArgs::resolve`] makes the same one.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Config`] for paths that are no text.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let again = "Again: bandfeed train --config THIS --out ELSEWHERE; go on: bandfeed train --out HERE --resume";
        self.write_for("a run", again, path)
    }

    /// [`RunConfig::write`] for something else than a training run, with a line that says what can be done with the file.
    pub(super) fn write_for(&self, what: &str, uses: &str, path: &Path) -> Result<()> {
        let text = format!(
            "# Settings of {what} of bandfeed {}, with all that files and options said.\n# {uses}\n\n{}",
            env!("CARGO_PKG_VERSION"),
            toml::to_string(self)
                .map_err(|error| Error::config("run file", format!("it cannot be written: {error}")))?
        );
        std::fs::write(path, text).map_err(Error::io(path))
    }
}

/// Refuses settings of a schedule that is a table saying otherwise: one of the two would be ignored.
fn agree(own: &SchedulePreset, name: &str) -> Result<()> {
    if !name.ends_with(".toml") {
        return Ok(());
    }
    let table = SchedulePreset { name: name.to_owned(), ..own.clone() }.table()?;
    Fit::from(own).agrees_with(name, &table).map_err(|error| match error {
        Error::Config { what, reason } => {
            Error::config(format!("schedule.{}", what.trim_start_matches("--").replace('-', "_")), reason)
        }
        other => other,
    })
}

/// Takes a budget out of `under` where `over` has one in another unit: the run has one.
fn drop_budget(under: &mut Table, over: &Table) {
    let Some(over) = over.get("schedule").and_then(Value::as_table) else { return };
    let Some(under) = under.get_mut("schedule").and_then(Value::as_table_mut) else { return };
    for (key, others) in [("epochs", &["image_epochs"][..]), ("image_epochs", &["epochs", "released"])] {
        if over.contains_key(key) {
            others.iter().for_each(|other| drop(under.remove(*other)));
        }
    }
}

/// The keys of a run file, each of which is known.
fn parsed(text: &str, origin: &str) -> Result<Table> {
    let in_toml = |error: toml::de::Error| Error::in_toml(origin, text, &error);
    toml::from_str::<RunConfig>(text).map_err(in_toml)?;
    toml::from_str(text).map_err(in_toml)
}

/// `key=value` as a line of TOML. A value that is none, such as `fourier` or `data/train`, is a string.
fn as_toml(setting: &str) -> Result<String> {
    let Some((key, value)) = setting.split_once('=') else {
        return Err(Error::config(format!("--set {setting}"), "expected KEY=VALUE, as train.weight_decay=0.1"));
    };
    let (key, value) = (key.trim(), value.trim());
    let line = format!("{key} = {value}");
    Ok(match toml::from_str::<Table>(&line) {
        Ok(_) => line,
        Err(_) => format!("{key} = {}", Value::from(value)),
    })
}

/// Puts the keys of `over` in place of those of `under`, table by table.
fn merge(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => merge(under, over),
            (_, value) => drop(under.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settings from a run file of this text and these `--set`s.
    fn resolve(text: &str, set: &[&str]) -> Result<RunConfig> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        std::fs::write(&path, text).unwrap();
        let set = set.iter().map(|s| (*s).to_owned()).collect();
        ConfigArgs { config: Some(path), recipe: None, set }.resolve()
    }

    #[test]
    fn a_file_changes_its_recipe_key_by_key_and_settings_change_the_file() {
        let text = "recipe = 'deit_small'\n[source]\ntrain = 'a'\n[transform.mix]\nmixup = 0.2\n[train]\nlr = 0.002";
        let config =
            resolve(text, &["train.lr=0.003", "schedule.crop=fourier", "source.val=data/val-{0..3}.tar"]).unwrap();
        let deit = Preset::named("deit_small").unwrap();
        assert_eq!(config.train, TrainPreset { lr: 3e-3, lr_batch: None, ..deit.train });
        let (mix, own) = (config.transform.mix.unwrap(), deit.transform.mix.unwrap());
        assert_eq!((mix.mixup, mix.cutmix, mix.switch), (0.2, own.cutmix, own.switch));
        assert_eq!(config.transform.augment, deit.transform.augment);
        assert_eq!(config.schedule.crop, Some(crate::BandCrop::FOURIER));
        let SourceConfig { train, val, .. } = config.source;
        assert_eq!((train.as_deref(), val.as_deref()), (Some("a"), Some("data/val-{0..3}.tar")));
    }

    #[test]
    fn what_belongs_to_another_schedule_model_or_rate_is_not_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("own.toml");
        std::fs::write(
            &table,
            "base = 64\npatch = 16\nepochs = 5.0\nstage = [{ until = 1, band = 32, magnitude = 1 }]",
        )
        .unwrap();
        let table = table.to_str().unwrap();
        let name = format!("schedule.name={table}");
        let config =
            resolve("recipe = 'efficienttrain_pp_deit_small'", &[&name, "train.lr=0.1", "train.model=tiny"]).unwrap();
        let schedule = config.schedule.schedule().unwrap();
        assert_eq!((schedule.epochs(), schedule.base(), schedule.stages()[0].effective_batch()), (5.0, 64, 512));
        assert_eq!((config.train.lr_batch, config.train.model.as_str()), (None, "tiny"));
        let mut recorded = config.schedule.clone();
        recorded.record(&schedule);
        assert_eq!((recorded.base, recorded.batch_size, recorded.epochs), (Some(64), Some(512), Some(5.0)));
        let error = resolve("", &[&name, "schedule.base=96"]).unwrap_err().to_string();
        assert!(error.starts_with("schedule.base: ") && error.contains("says 64"), "{error}");
        assert!(resolve("", &[&name, "schedule.base=64", "schedule.batch_size=8", "schedule.epochs=2.0"]).is_ok());
        let released = ["schedule.name=efficient_train"];
        assert!(!resolve("[schedule]\nname = 'efficient_train_pp'", &released).unwrap().schedule.released);
        assert!(resolve("", &["run.seed=9223372036854775807"]).is_ok());
    }

    #[test]
    fn the_plain_recipe_says_nothing_that_a_resolved_file_could_miss() {
        // Files that name no recipe lie on top of it, and a resolved file leaves out what is not there.
        let plain = Preset::named("plain").unwrap();
        let schedule = SchedulePreset { name: plain.schedule.name.clone(), ..SchedulePreset::default() };
        assert_eq!(
            (plain.transform, plain.schedule, plain.train),
            (Recipe::default(), schedule, TrainPreset::default())
        );
    }

    #[test]
    fn a_recipe_is_a_run_file_and_a_resolved_file_resolves_to_itself() {
        for (name, _) in Preset::names() {
            let preset = Preset::named(name).unwrap();
            let config = resolve(&preset.to_toml(), &["source.train=x", "run.seed=7", "loader.workers=3"]).unwrap();
            assert_eq!(config.preset(), preset);
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("run.toml");
            config.write(&path).unwrap();
            let again = ConfigArgs { config: Some(path), ..ConfigArgs::default() }.resolve().unwrap();
            assert_eq!(again, config);
        }
    }

    #[test]
    fn a_budget_takes_the_place_of_one_in_another_unit() {
        let resolve = |text: &str, set: &[&str]| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("run.toml");
            std::fs::write(&path, text).unwrap();
            let set = set.iter().map(|s| (*s).to_owned()).collect();
            let schedule = ConfigArgs { config: Some(path), recipe: None, set }.resolve().unwrap().schedule;
            (schedule.epochs, schedule.image_epochs)
        };
        let recipe = "recipe = 'auto_prog_deit_small'\n";
        assert_eq!(resolve(recipe, &[]), (None, Some(100.0)));
        let file = format!("{recipe}[schedule]\nepochs = 5.0\n");
        assert_eq!(resolve(&file, &[]), (Some(5.0), None));
        assert_eq!(resolve(&file, &["schedule.image_epochs=7.0"]), (None, Some(7.0)));
        assert_eq!(resolve(recipe, &["schedule.image_epochs=7.0", "schedule.epochs=2.0"]), (Some(2.0), None));
    }

    #[test]
    fn unknown_keys_are_refused_with_their_place_and_the_nearest_one() {
        let refused = |text: &str, set: &[&str]| resolve(text, set).unwrap_err().to_string();
        let message = refused("[source]\ntrain = 'a'\n[trian]\nlr = 1", &[]);
        assert!(message.contains("run.toml, line 3") && message.contains("did you mean `train`?"), "{message}");
        let message = refused("[train]\nweight_dekay = 1", &[]);
        assert!(message.contains("line 2") && message.contains("did you mean `weight_decay`?"), "{message}");
        let message = refused("", &["loader.wokers=2"]);
        assert!(message.starts_with("--set loader.wokers=2") && message.contains("`workers`?"), "{message}");
        assert!(refused("", &["train.lr"]).contains("expected KEY=VALUE"));
        assert!(refused("", &["train.lr=fast"]).contains("invalid type"));
        assert!(refused("recipe = 'deit_smal'", &[]).contains("did you mean `deit_small`?"));
        assert!(refused("[run]\ncheckpoint_minutes = 0", &[]).starts_with("run.checkpoint_minutes"));
        assert!(refused("[transform]\nflip = 2", &[]).starts_with("recipe.flip"));
    }
}
