//! `bandfeed search`: a curriculum for a data set and a model, found by training ([`crate::train::curriculum`]).

mod found;
mod record;
mod setup;
mod trainings;

use super::config::{ConfigArgs, RunConfig};
use super::train::{Input, Model, Optimizer};
use super::transform::{Decoding, Transform};
use crate::BandCrop;
use crate::error::{Error, Result};
use crate::schedule::{Options, published_bands, released::Reuse};
use crate::train::curriculum::{Plan, Search};
use record::Record;
use setup::{Measure, Setup};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use trainings::Trainings;

/// The resolved settings, beside the search.
const SETTINGS_FILE: &str = "search.toml";
/// Every trial, and what was decided.
const RECORD_FILE: &str = "search.json";
/// The schedule.
const FOUND_FILE: &str = "found.toml";
/// What the schedule is called.
const FOUND: &str = "found";

/// Published schedules change at fifths of the compute, so five stages can say them all; half as many trials as with the
/// published ten, each twice as long.
const STAGES: usize = 5;
/// A quarter of a stage.
const FINE_TUNE: f64 = 0.05;
const MAGNITUDES: [f64; 2] = [0.0, 9.0];
const HOLD_OUT: f64 = 0.1;

/// Find a curriculum of bands for a data set and a model: EfficientTrain++'s search, stage by stage under a fixed budget. Each
/// stage is trained at each candidate band from where the stage before ended; what scores best after a short fine-tuning at the
/// base size stays. Ends with a schedule for `bandfeed train --schedule`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Training images: a folder of class folders, or WebDataset shards (`train-{000..099}.tar`).
    #[arg(long, value_name = "SOURCE", required_unless_present_any = ["config", "resume", "set"])]
    train: Option<String>,
    /// Images to score by, in the same form and with the same classes; not those that the final model will be judged by. A run
    /// file's are not taken [default: a share of the training images is held out].
    #[arg(long, value_name = "SOURCE", conflicts_with = "hold_out")]
    val: Option<String>,
    /// Where the side indices of both are, if not beside them: the folder that `bandfeed index --out` was given.
    #[arg(long, value_name = "PATH")]
    index: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Folder for the schedule found, the record and checkpoints.
    #[arg(long, value_name = "FOLDER", default_value = "bandfeed-search")]
    out: PathBuf,
    /// Go on with the search in the folder. With no other option than --out, its settings are those of its search.toml.
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    search: Searching,
    #[command(flatten)]
    budget: Budget,
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    optimizer: Optimizer,
    #[command(flatten)]
    transform: Transform,
    #[command(flatten)]
    decoding: Decoding,
    #[command(flatten)]
    input: Input,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Search")]
struct Searching {
    /// Bands to choose from, in pixels, multiples of the patch, as 32,48,64; the base is always one [default: 96, 128, 160, 192
    /// and 224 of 224, fitted to base and patch].
    #[arg(long, value_name = "BANDS", value_delimiter = ',')]
    candidates: Option<Vec<u32>>,
    /// Stages of equal compute; the last one is at the base. EfficientTrain++ has 10 [default: 5].
    #[arg(long, value_name = "N")]
    stages: Option<usize>,
    /// Compute of the fine-tuning before a trial is scored, as a share of the whole run's; at most a stage's [default: 0.05].
    #[arg(long, value_name = "SHARE")]
    fine_tune: Option<f64>,
    /// RandAugment's magnitude in the first and in the last stage, 0 to 10; in equal steps between [default: 0,9].
    #[arg(long, value_name = "FROM,TO", value_delimiter = ',', num_args = 1..=2)]
    magnitudes: Option<Vec<f64>>,
    /// Share of each class of the training images that is kept back to score by [default: 0.1].
    #[arg(long, value_name = "SHARE")]
    hold_out: Option<f64>,
}

/// What of a schedule is given, not found.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Schedule")]
struct Budget {
    /// Side of the images at the end of training, in pixels [default: the recipe's, or 224].
    #[arg(long, value_name = "PIXELS")]
    base: Option<u32>,
    /// Every band is a multiple of this: the patch side [default: the recipe's, or 16].
    #[arg(long, value_name = "PIXELS")]
    patch: Option<u32>,
    /// Budget, in equivalent epochs, of the run that a schedule is searched for; the search takes several times that [default:
    /// the recipe's, or 200].
    #[arg(long, value_name = "E")]
    epochs: Option<f64>,
    /// Images behind one optimiser step [default: the recipe's, or 256]. With --step-batch, the most images at the base size that
    /// the trainer holds at a time.
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Images behind one optimiser step in every stage, made of as large batches as fit [default: the recipe's, or --batch-size].
    #[arg(long, value_name = "N")]
    step_batch: Option<usize>,
    /// How the band is cut: fourier, fourier-half-pixel or lanczos [default: the recipe's, or lanczos].
    #[arg(long)]
    crop: Option<BandCrop>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let out = args.out.as_path();
    let before = if args.resume { Some(Record::read(&out.join(RECORD_FILE))?) } else { None };
    if before.is_none() {
        refuse_used(out)?;
    }
    let (settings, options) = args.resolve()?;
    let plan = args.search.plan(&options, before.as_ref().map(|record| &record.plan))?;
    let mut search = Search::new(plan)?;
    let measure = match (&settings.source.val, &before) {
        (Some(val), _) => Measure::Source(val.clone()),
        (None, Some(before)) => Measure::HoldOut(args.search.hold_out.or(before.hold_out).unwrap_or(HOLD_OUT)),
        (None, None) => Measure::HoldOut(args.search.hold_out.unwrap_or(HOLD_OUT)),
    };
    let setup = Setup::new(settings, options, search.plan(), measure)?;
    if let Some(before) = &before {
        before.check_is_of(&setup.identity, &out.join(RECORD_FILE))?;
        for finished in &before.trials {
            search.tell(finished.clone())?;
        }
    }
    std::fs::create_dir_all(out).map_err(Error::io(out))?;
    let uses = "Go on with the search: bandfeed search --out HERE --resume";
    setup.settings.write_for("a search", uses, &out.join(SETTINGS_FILE))?;

    setup.announce(&search, out);
    let mut trainings = Trainings::new(&setup, out, &search)?;
    if !search.run(&mut trainings)? {
        eprintln!("stopped after {} trials; go on with the same command and --resume", search.finished().len());
        return Ok(ExitCode::from(130));
    }
    trainings.close();
    found::report(&setup, &search, out)?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses a folder with a search or a run in it.
fn refuse_used(out: &Path) -> Result<()> {
    let there = |name: &str| out.join(name).exists();
    if there(RECORD_FILE) || there(FOUND_FILE) {
        let reason = "a search is there already; go on with --resume, or choose another --out";
        return Err(Error::Checkpoint { path: out.to_owned(), reason: reason.into() });
    }
    if there(super::job::RUN_FILE) {
        let reason = "a training run is there; choose another --out";
        return Err(Error::Checkpoint { path: out.to_owned(), reason: reason.into() });
    }
    Ok(())
}

impl Args {
    /// Files and options together, and what the schedules of all trials have in common.
    fn resolve(&self) -> Result<(RunConfig, Options)> {
        let mut files = self.config.clone();
        let own = self.resume && files.config.is_none() && files.recipe.is_none() && self.train.is_none();
        if own {
            files.config = Some(self.out.join(SETTINGS_FILE));
        }
        let mut config = files.resolve()?;
        config.source.train = self.train.clone().or(config.source.train);
        config.source.index = self.index.clone().or(config.source.index);
        if !own && self.val.is_none() && config.source.val.is_some() {
            eprintln!("note: the run file's validation images are not used; give --val to score by them");
        }
        // A run file's images are what the final model is judged by: to choose by them must be said.
        config.source.val = self.val.clone().or(config.source.val.filter(|_| own && self.search.hold_out.is_none()));
        config.run.out = self.out.clone();
        self.model.apply(&mut config.train);
        self.optimizer.apply(&mut config);
        self.input.apply(&mut config.loader);
        config.transform = self.decoding.apply(self.transform.apply(config.transform)?);
        let schedule = &mut config.schedule;
        // Growth of the model is neither searched for here nor trained.
        schedule.search = None;
        let is_table = schedule.name.ends_with(".toml");
        if schedule.image_epochs.is_some() || is_table {
            // The budget of a search is compute: what the passes cost under the schedule that they are of.
            let theirs = schedule.schedule()?;
            if theirs.search().is_some() && self.budget.epochs.is_none() {
                let reason =
                    format!("{} counts images, not compute; give --epochs, in equivalent epochs", schedule.name);
                return Err(Error::config("schedule.search", reason));
            }
            (schedule.epochs, schedule.image_epochs) = (Some(theirs.epochs()), None);
            if is_table {
                schedule.record(&theirs);
                schedule.rename(Some("constant"));
            }
        }
        // The form of the schedule is what is searched; the settings say what all trials have in common.
        (schedule.name, schedule.released) = ("constant".into(), false);
        schedule.prog = None;
        let own = &self.budget;
        schedule.base = own.base.or(schedule.base);
        schedule.patch = own.patch.or(schedule.patch);
        schedule.epochs = own.epochs.or(schedule.epochs);
        schedule.batch_size = own.batch_size.or(schedule.batch_size);
        schedule.step_batch = own.step_batch.or(schedule.step_batch);
        schedule.crop = own.crop.or(schedule.crop);
        let options = schedule.options();
        if options.replay != Reuse::Off {
            let reason = format!("{}: a search has none; give --set schedule.replay=off", options.replay);
            return Err(Error::config("schedule.replay", reason));
        }
        config.check()?;
        Ok((config, options))
    }
}

impl Searching {
    /// The plan by the options given, where they are silent by that of the search to go on with, else by the defaults.
    fn plan(&self, options: &Options, before: Option<&Plan>) -> Result<Plan> {
        let candidates = match (&self.candidates, before) {
            (Some(own), _) => own.clone(),
            (None, Some(before)) => before.candidates.clone(),
            (None, None) => published_bands(options)?,
        };
        let patch = options.patch;
        if let Some(band) = candidates.iter().find(|band| !band.is_multiple_of(patch)) {
            let reason = format!("{band}: expected multiples of the patch side, {patch}");
            return Err(Error::config("--candidates", reason));
        }
        let stages = self.stages.or(before.map(Plan::stages)).unwrap_or(STAGES);
        // Also keeps what is made of the number from being as large as a mistyped one.
        if !(2..=1000).contains(&stages) {
            return Err(Error::config("--stages", format!("{stages}: expected 2 to 1000")));
        }
        let [from, to] = match (&self.magnitudes, before) {
            (Some(own), _) => <[f64; 2]>::try_from(own.as_slice()).map_err(|_| {
                Error::config("--magnitudes", format!("{own:?}: expected that of the first stage and the last, as 0,9"))
            })?,
            (None, Some(before)) => [before.magnitudes[0], *before.magnitudes.last().expect("checked when written")],
            (None, None) => MAGNITUDES,
        };
        let magnitude = |stage: usize| from + (to - from) * stage as f64 / (stages - 1) as f64;
        Ok(Plan {
            base: options.base,
            candidates,
            magnitudes: (0..stages).map(magnitude).collect(),
            epochs: options.epochs,
            fine_tune: self
                .fine_tune
                .or(before.map(|before| before.fine_tune))
                .unwrap_or(FINE_TUNE.min(1.0 / stages as f64)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn a_budget_in_passes_is_what_they_cost() {
        let epochs = |words: &[&str]| {
            let all = [&["program", "--train", "images", "--recipe", "auto_prog_deit_small"], words].concat();
            let (config, options) =
                Program::try_parse_from(all).expect("valid arguments").args.resolve().expect("valid");
            assert_eq!((config.schedule.epochs, config.schedule.image_epochs), (Some(options.epochs), None));
            options.epochs
        };
        assert!((epochs(&[]) - 52.891).abs() < 1e-3);
        assert_eq!(epochs(&["--epochs", "7"]), 7.0);
    }
}
