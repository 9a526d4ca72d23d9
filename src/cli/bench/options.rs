//! What the four commands take: the source, the bands or stages, the machine's share, and where the figures go.

use super::super::transform::{Decoding, Transform};
use super::cache::Cache;
use super::report::Kind;
use crate::decode::SCALE_MARGIN;
use crate::engine::DeviceName;
use crate::recipe::{Magnitude, Preset};
use crate::schedule::{Options, Schedule, StageReplay};
use crate::{BandCrop, Error, Recipe, Result, Stage};
use std::path::{Path, PathBuf};
use std::str::FromStr;

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Common {
    /// Folder of class folders, WebDataset shards (`data/train-{000..009}.tar`), or packed records.
    pub(super) source: String,
    /// Where the side index is, if not beside the source: what `bandfeed index --out` was given. A path that is not there goes
    /// without.
    #[arg(long, value_name = "PATH")]
    pub(super) index: Option<PathBuf>,
    /// Bands to measure, in pixels [default: those of the schedule's stages].
    #[arg(long, value_delimiter = ',', alias = "sizes", conflicts_with = "stages")]
    bands: Vec<u32>,
    /// Stages of the schedule to measure, each with its own band, magnitude, crop and replay: all, or numbers from 1 (1,3-6).
    #[arg(long, value_name = "LIST")]
    stages: Option<Stages>,
    /// Schedule whose stages are measured: a name that `bandfeed schedule` knows, or a .toml table.
    #[arg(long, default_value = "efficient_train_pp_deit", value_name = "NAME")]
    schedule: String,
    /// Size of the random resized crop that the bands are cut from; a band of this size is not cut.
    #[arg(long, default_value_t = 224)]
    pub(super) base: u32,
    /// Worker threads; several values make a row each [default: the machine's cores].
    #[arg(long, value_delimiter = ',')]
    workers: Vec<usize>,
    /// What runs the plans: cpu, wgpu (a GPU), wgpu:NAME or auto. A software adapter's times say nothing of a GPU.
    #[arg(long, default_value = "cpu", alias = "engine", value_name = "DEVICE")]
    pub(super) device: DeviceName,
    /// Whether the source's files are in the system's page cache: warm (as they come; read beforehand with both), cold (evicted
    /// before each window, which ends after one pass), or both, a row each.
    #[arg(long, value_enum, default_value_t = CacheChoice::Warm, value_name = "STATE")]
    pub(super) cache: CacheChoice,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 3.0, value_parser = super::super::seconds)]
    pub(super) seconds: f64,
    /// Rounds over all rows; the median over the rounds is shown.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seed of order and augmentation.
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub(super) json: bool,
    /// Write the JSON object to this file, besides what is printed.
    #[arg(long, value_name = "FILE.json")]
    pub(super) out: Option<PathBuf>,
    /// Draw images/s over the band into this file and an .svg beside it.
    #[arg(long, value_name = "FILE.png")]
    pub(super) plot: Option<PathBuf>,
    /// Compare with an earlier JSON object of the same command, row by row.
    #[arg(long, value_name = "FILE.json")]
    pub(super) against: Option<PathBuf>,
    /// Fail where a row's images/s are below this many times the earlier ones; spreads are not looked at.
    #[arg(long, value_name = "RATIO", requires = "against", value_parser = super::super::positive)]
    pub(super) fail_below: Option<f64>,
}

/// What images are made of: shared by the commands that plan samples.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Making {
    /// Recipe whose transform is measured: plain, deit_tiny, deit_small, efficienttrain_pp_deit_small,
    /// auto_prog_deit_small, or a .toml recipe.
    #[arg(long, default_value = "plain", value_name = "NAME")]
    pub(super) recipe: String,
    /// RandAugment's mean magnitude at bands given by number, where the policy has no m.
    #[arg(long, default_value_t = 9.0, value_name = "M")]
    stage_magnitude: f64,
    #[command(flatten)]
    transform: Transform,
    #[command(flatten)]
    decoding: Decoding,
    /// Decoded pixels to keep for each pixel needed, where a JPEG is decoded at a reduced scale; less is faster and blurs
    /// (`bandfeed::decode::SCALE_MARGIN`). Not looked at where the fidelity is exact.
    #[arg(long, default_value_t = SCALE_MARGIN, value_parser = super::super::positive)]
    pub(super) scale_margin: f64,
}

/// `--cache`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum CacheChoice {
    Warm,
    Cold,
    Both,
}

impl CacheChoice {
    pub(super) fn states(self) -> &'static [Cache] {
        match self {
            Self::Warm => &[Cache::Warm],
            Self::Cold => &[Cache::Cold],
            Self::Both => &[Cache::Warm, Cache::Cold],
        }
    }
}

/// `--stages`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stages {
    All,
    /// From 1.
    Numbers(Vec<usize>),
}

impl FromStr for Stages {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        let number = |word: &str| word.parse::<usize>().ok().filter(|number| (1..=1000).contains(number));
        let mut numbers = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (number(first), number(last)) {
                (Some(first), Some(last)) if first <= last => numbers.extend(first..=last),
                _ => return Err(format!("`{part}`: expected all, or numbers from 1, as in 1,3-6")),
            }
        }
        Ok(Self::Numbers(numbers))
    }
}

/// A band or stage to measure, as the loader takes it.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Number of the schedule's stage, from 1; `None` for a band given by number.
    pub(super) number: Option<usize>,
    /// With RandAugment's magnitude as it is in the middle of the stage.
    pub(super) stage: Stage,
}

/// What the options beside `--bands` and `--stages` say of a stage.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) batch_size: usize,
    /// `None` is the stage's own, and Lanczos for bands.
    pub(super) crop: Option<BandCrop>,
    pub(super) patch: u32,
}

/// As schedules have it: no decoder here makes a larger image.
const LARGEST_BASE: u32 = 1 << 16;

/// Refuses a file that could not be written later. What is in it stays, and none is left behind where there was none.
fn writable(path: &Path) -> Result<()> {
    let there = path.symlink_metadata().is_ok();
    std::fs::OpenOptions::new().append(true).create(true).open(path).map_err(Error::io(path))?;
    if there { Ok(()) } else { std::fs::remove_file(path).map_err(Error::io(path)) }
}

impl Common {
    pub(super) fn rounds(&self) -> u64 {
        self.rounds.max(1) as u64
    }

    pub(super) fn workers(&self) -> Vec<usize> {
        if self.workers.is_empty() { vec![super::super::cores()] } else { self.workers.clone() }
    }

    /// Refuses what would fail after the measurement.
    ///
    /// # Errors
    /// [`Error::Config`] for no worker, a plot that is no .png, or a folder that is not there; [`Error::Io`] for a file
    /// that cannot be written.
    pub(super) fn check(&self, kind: Kind) -> Result<()> {
        if self.device != DeviceName::Cpu && matches!(kind, Kind::Decode | Kind::Crop) {
            let reason =
                format!("{}: this measures parts of the cpu engine; take `bench loader` for devices", self.device);
            return Err(Error::config("--device", reason));
        }
        if self.workers.contains(&0) {
            return Err(Error::config("--workers", "0: expected at least 1"));
        }
        if self.plot.as_ref().is_some_and(|path| path.extension().is_none_or(|e| !e.eq_ignore_ascii_case("png"))) {
            return Err(Error::config("--plot", "expected a name that ends in .png; an .svg is written beside it"));
        }
        for (option, path) in [("--out", &self.out), ("--plot", &self.plot)] {
            let folder = path.as_deref().and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty());
            if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
                return Err(Error::config(option, format!("there is no folder {}", folder.display())));
            }
        }
        let svg = self.plot.as_ref().map(|path| path.with_extension("svg"));
        [&self.out, &self.plot, &svg].into_iter().flatten().try_for_each(|path| writable(path))?;
        if self.cache != CacheChoice::Warm { super::cache::supported() } else { Ok(()) }
    }

    /// The schedule, where the rows have more of it than their bands.
    pub(super) fn schedule_of_stages(&self) -> Option<String> {
        self.stages.as_ref().map(|_| self.schedule.clone())
    }

    /// The bands or stages to measure.
    ///
    /// # Errors
    /// [`Error::Config`] for a schedule that does not fit, or a stage that it does not have.
    pub(super) fn targets(&self, making: &Making, recipe: &Recipe, shape: Shape) -> Result<Vec<Target>> {
        let Shape { batch_size, crop, patch } = shape;
        if self.base == 0 || self.base > LARGEST_BASE {
            return Err(Error::config("--base", format!("{}: expected 1 to {LARGEST_BASE}", self.base)));
        }
        if let Some(band) = self.bands.iter().find(|&&band| band == 0 || band > self.base) {
            let reason = format!("{band}: expected 1 to the base size, {}", self.base);
            return Err(Error::config("--bands", reason));
        }
        let schedule = || Schedule::named(&self.schedule, &Options { base: self.base, patch, ..Options::default() });
        let Some(stages) = &self.stages else {
            let mut bands = self.bands.clone();
            if bands.is_empty() {
                bands = schedule()?.stages().iter().map(|stage| stage.band).collect();
                bands.dedup();
            }
            let own = recipe.augment.as_ref().and_then(|policy| policy.magnitude());
            let target = |band| {
                let mut stage = Stage::fixed(self.base, band, crop.unwrap_or(BandCrop::Lanczos), batch_size);
                stage.magnitude = own.unwrap_or(making.stage_magnitude);
                Target { number: None, stage }
            };
            return Ok(bands.into_iter().map(target).collect());
        };
        let schedule = schedule()?;
        let (there, last) = (schedule.stages().len(), schedule.at(1.0).magnitude);
        let numbers = match stages {
            Stages::All => (1..=there).collect(),
            Stages::Numbers(numbers) => numbers.clone(),
        };
        let target = |number: usize| {
            let Some(stage) = schedule.stages().get(number - 1) else {
                let reason = format!("{number}: `{}` has {there} stages", schedule.name());
                return Err(Error::config("--stages", reason));
            };
            let mut stage = Stage { batch_size, accumulate: 1, crop: crop.unwrap_or(stage.crop), ..stage.clone() };
            stage.magnitude = recipe.magnitude_at(&stage, last, 0.5 * (stage.start + stage.end));
            Ok(Target { number: Some(number), stage })
        };
        numbers.into_iter().map(target).collect()
    }
}

impl Making {
    /// The recipe's transform with the options given.
    ///
    /// # Errors
    /// As [`Preset::named`] and [`Transform::apply`].
    pub(super) fn recipe(&self) -> Result<Recipe> {
        Ok(self.decoding.apply(self.transform.apply(Preset::named(&self.recipe)?.transform)?))
    }
}

/// `recipe` for a loader whose one stage has the magnitude to use, whatever rule made it ([`Target::stage`]).
pub(crate) fn at_own_magnitude(recipe: &Recipe) -> Recipe {
    let mut recipe = recipe.clone();
    if recipe.augment.as_ref().is_some_and(|policy| policy.follows_magnitude()) {
        recipe.augment = recipe.augment.map(|policy| policy.without_magnitude());
        recipe.magnitude = Magnitude::Stage;
    }
    recipe
}

/// RandAugment's magnitude at the target; `None` where the recipe has no policy that follows one.
pub(super) fn magnitude(recipe: &Recipe, target: &Target) -> Option<f64> {
    recipe.augment.as_ref().filter(|policy| policy.follows_magnitude()).map(|_| target.stage.magnitude)
}

/// The target's replay, unless the command line has its own; 1 is none.
pub(super) fn replay(target: &Target, times: Option<u32>, capacity: u32) -> StageReplay {
    match times {
        None => target.stage.replay,
        Some(1) => StageReplay::OFF,
        Some(times) => StageReplay { times, capacity },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        making: Making,
    }

    fn targets(words: &[&str]) -> Result<Vec<Target>> {
        let words = ["program", "source"].into_iter().chain(words.iter().copied());
        let program = Program::try_parse_from(words).expect("valid arguments");
        let recipe = program.making.recipe()?;
        program.common.targets(&program.making, &recipe, Shape { batch_size: 8, crop: None, patch: 16 })
    }

    #[test]
    fn bands_are_the_schedule_s_unless_they_are_given() {
        let bands = |words: &[&str]| targets(words).unwrap().iter().map(|t| t.stage.band).collect::<Vec<_>>();
        assert_eq!(bands(&[]), [96, 160, 192, 224]);
        assert_eq!(bands(&["--sizes", "64,32"]), [64, 32]);
        assert_eq!(bands(&["--schedule", "efficient_train"]), [160, 192, 224]);
    }

    #[test]
    fn stages_come_with_their_number_magnitude_and_crop() {
        let of = |words: &[&str]| {
            let target = |t: &Target| (t.number.unwrap(), t.stage.band, t.stage.magnitude, t.stage.crop);
            targets(words).unwrap().iter().map(target).collect::<Vec<_>>()
        };
        let lanczos = BandCrop::Lanczos;
        assert_eq!(of(&["--stages", "1,3-4"]), [(1, 96, 0.0, lanczos), (3, 160, 2.0, lanczos), (4, 160, 3.0, lanczos)]);
        assert_eq!(of(&["--stages", "all"]).len(), 10);
        assert_eq!(of(&["--stages", "1", "--schedule", "efficient_train"])[0].3, BandCrop::FOURIER);
        // The paper's ramp, in the middle of the first of ten stages.
        let linear = of(&["--stages", "1", "--augment", "rand-m9-mstd0.5-inc1", "--magnitude", "linear"]);
        assert!((linear[0].2 - 0.45).abs() < 1e-9, "{linear:?}");
    }

    #[test]
    fn stages_that_are_not_there_are_refused() {
        let error = targets(&["--stages", "11"]).unwrap_err().to_string();
        assert!(error.contains("--stages: 11") && error.contains("has 10 stages"), "{error}");
        for list in ["", "0", "3-1", "two", "1,,2"] {
            assert!(list.parse::<Stages>().is_err(), "`{list}`");
        }
    }

    #[test]
    fn bands_that_no_loader_makes_are_refused() {
        for (words, part) in [
            (&["--bands", "32", "--base", "0"][..], "--base: 0: expected 1 to"),
            (&["--bands", "32,0"], "--bands: 0: expected 1 to the base size, 224"),
            (&["--bands", "300"], "--bands: 300: expected 1 to the base size, 224"),
        ] {
            let error = targets(words).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_stage_s_own_replay_can_be_turned_off() {
        let mut target = targets(&["--bands", "96"]).unwrap().remove(0);
        target.stage.replay = StageReplay { times: 4, capacity: 9 };
        let of = |times| replay(&target, times, 16);
        let expected =
            [StageReplay { times: 4, capacity: 9 }, StageReplay::OFF, StageReplay { times: 2, capacity: 16 }];
        assert_eq!([of(None), of(Some(1)), of(Some(2))], expected);
    }

    #[test]
    fn a_policy_follows_the_measured_magnitude_whatever_its_own_rule() {
        let recipe = Recipe {
            augment: Some("rand-m9-mstd0.5-inc1".parse().unwrap()),
            magnitude: Magnitude::Linear,
            ..Recipe::default()
        };
        let mut stage = Stage::fixed(224, 96, BandCrop::Lanczos, 8);
        stage.magnitude = 4.5;
        let measured = at_own_magnitude(&recipe);
        assert_eq!(measured.magnitude_at(&stage, 9.0, 0.0), 4.5);
        measured.check_schedule(&Schedule::fixed(stage)).expect("no magnitude of its own contradicts the stage's");
    }
}
