//! `bandfeed train`: the bundled trainer on the bundled loader.

use super::fit::Fit;
use super::live::{self, Live, LiveArgs, Subject};
use super::machine::Machine;
use super::report;
use super::transform::{self, Transform};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::loader::{BadFile, Loader, OnBadFile, State};
use crate::recipe::{Preset, Recipe, TrainPreset};
use crate::schedule::{LearningRate, Schedule, Stage};
use crate::source::{self, Source};
use crate::train::{self, AdamWConfig, Checkpoints, Device, Pass, Run, Summary, TrainConfig, Trainer, VitConfig};
use burn::module::Module;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Train a vision transformer under a schedule.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Training images: a folder of class folders, or WebDataset shards (`train-{000..099}.tar`).
    #[arg(long, value_name = "SOURCE")]
    train: String,
    /// Validation images, in the same form and with the same classes.
    #[arg(long, value_name = "SOURCE")]
    val: Option<String>,
    /// Model, optimiser, transform and schedule in one word: plain, deit_tiny, deit_small, efficienttrain_pp_deit_small, or the path of a .toml recipe.
    /// Options given here take the place of what it says.
    #[arg(long, default_value = "plain", value_name = "NAME")]
    recipe: String,
    /// constant, efficient_train, efficient_train_pp, efficient_train_pp_deit, efficient_train_pp_convnext, or the path of a
    /// .toml table [default: the recipe's].
    #[arg(long, value_name = "NAME")]
    schedule: Option<String>,
    /// Folder for log, curves and checkpoints.
    #[arg(long, default_value = "bandfeed-run", value_name = "FOLDER")]
    out: PathBuf,
    /// Go on with the run in the folder.
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    fit: Fit,
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    optimizer: Optimizer,
    #[command(flatten)]
    transform: Transform,
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    live: LiveArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct Model {
    /// DeiT's sizes: tiny (192 wide, 12 deep, 3 heads), small (384, 12, 6), base (768, 12, 12) [default: the recipe's].
    #[arg(long, value_parser = ["tiny", "small", "base"])]
    model: Option<String>,
    /// Width, in place of the model's own.
    #[arg(long)]
    dim: Option<usize>,
    /// Number of blocks, in place of the model's own.
    #[arg(long)]
    depth: Option<usize>,
    /// Attention heads, in place of the model's own; they divide the width.
    #[arg(long)]
    heads: Option<usize>,
    /// Chance that the last block is left out for an image; earlier blocks in proportion [default: the recipe's].
    #[arg(long)]
    drop_path: Option<f64>,
}

impl Model {
    fn config(&self, recipe: &TrainPreset, classes: usize, patch: u32) -> Result<VitConfig> {
        let mut config = match self.model.as_deref().unwrap_or(&recipe.model) {
            "tiny" => VitConfig::tiny(classes),
            "small" => VitConfig::small(classes),
            "base" => VitConfig::base(classes),
            other => {
                return Err(Error::config("train.model", format!("`{other}` is not known; use tiny, small or base")));
            }
        };
        config.patch = patch as usize;
        config.dim = self.dim.unwrap_or(config.dim);
        config.depth = self.depth.unwrap_or(config.depth);
        config.heads = self.heads.unwrap_or(config.heads);
        config.drop_path = self.drop_path.unwrap_or(recipe.drop_path);
        Ok(config)
    }
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Optimiser")]
pub(crate) struct Optimizer {
    /// Peak learning rate [default: the recipe's, as all of these].
    #[arg(long)]
    lr: Option<f64>,
    /// Learning rate at the end.
    #[arg(long)]
    min_lr: Option<f64>,
    /// Share of the compute spent warming up.
    #[arg(long)]
    warmup: Option<f64>,
    /// AdamW's weight decay, on weight matrices.
    #[arg(long)]
    weight_decay: Option<f64>,
    /// Largest global norm of the gradient; 0 leaves it alone.
    #[arg(long)]
    clip: Option<f64>,
    /// Label smoothing.
    #[arg(long)]
    smoothing: Option<f64>,
    /// Seed of weights, order, augmentation and stochastic depth.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads that compute gradients [default: the machine's cores]. Their number changes no result.
    #[arg(long)]
    threads: Option<usize>,
    /// Minutes between two checkpoints, besides those at the end of each epoch.
    #[arg(long, default_value_t = 10.0, value_parser = minutes)]
    checkpoint_minutes: f64,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Input")]
pub(crate) struct Input {
    /// Loader threads [default: the machine's cores]. Their number changes no result.
    #[arg(long)]
    workers: Option<usize>,
    /// Batches made ahead.
    #[arg(long, default_value_t = 4)]
    prefetch: usize,
    /// What to do about files that cannot be decoded: fail, skip or substitute (another sample takes the place).
    #[arg(long, default_value = "substitute")]
    on_bad_file: OnBadFile,
    /// Most megabytes for batches and the replay buffer together; a run that may need more does not start [default: three
    /// quarters of the memory that is free].
    #[arg(long, value_name = "MB", value_parser = super::positive)]
    memory_limit: Option<f64>,
}

/// Minutes above 0, at most a year.
fn minutes(text: &str) -> std::result::Result<f64, String> {
    super::positive(text).map(|minutes| minutes.min(365.0 * 24.0 * 60.0))
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let train = source::open(&args.train)?;
    let val = args.val.as_deref().map(source::open).transpose()?;
    let preset = Preset::named(&args.recipe)?;
    let name = args.schedule.as_deref().unwrap_or(&preset.schedule.name);
    let schedule = args.fit.schedule(name, &preset.schedule)?;
    let (own, recipe) = (&args.optimizer, &preset.train);
    let clip = own.clip.unwrap_or(recipe.clip);
    let config = TrainConfig {
        optimizer: AdamWConfig {
            weight_decay: own.weight_decay.unwrap_or(recipe.weight_decay),
            clip: (clip > 0.0).then_some(clip),
            ..AdamWConfig::default()
        },
        learning_rate: LearningRate {
            peak: own.lr.unwrap_or(recipe.lr),
            min: own.min_lr.unwrap_or(recipe.min_lr),
            warmup: own.warmup.unwrap_or_else(|| recipe.warmup_under(&schedule)),
        },
        label_smoothing: own.smoothing.unwrap_or(recipe.label_smoothing),
        seed: own.seed,
        ..TrainConfig::new(args.model.config(recipe, train.classes().len(), schedule.patch())?)
    };
    if let Some(meant) = recipe.lr_batch.filter(|_| own.lr.is_none()) {
        let steps = schedule.stages().last().map_or(meant, Stage::effective_batch);
        if steps != meant {
            eprintln!(
                "note: the recipe's learning rate, {}, is meant for steps of {meant} images; this run's have {steps} (--lr, --batch-size)",
                recipe.lr
            );
        }
    }
    let recipe = args.transform.apply(preset.transform)?;
    let job = Job {
        name: short(&args.train),
        train,
        val,
        schedule,
        recipe,
        config,
        out: args.out.clone(),
        resume: args.resume,
        threads: args.optimizer.threads.unwrap_or_else(super::cores),
        workers: args.input.workers.unwrap_or_else(super::cores),
        prefetch: args.input.prefetch,
        on_bad_file: args.input.on_bad_file,
        memory_limit: args.input.memory_limit.map(|mb| (mb * 1e6) as u64).or_else(super::machine::memory_budget),
        checkpoint_every: Duration::from_secs_f64(args.optimizer.checkpoint_minutes * 60.0),
        live: args.live.clone(),
    };
    job.run()
}

/// A training run, whoever asked for it.
pub(super) struct Job {
    /// What the training data is called in titles.
    pub(super) name: String,
    pub(super) train: Arc<dyn Source>,
    pub(super) val: Option<Arc<dyn Source>>,
    pub(super) schedule: Schedule,
    pub(super) recipe: Recipe,
    pub(super) config: TrainConfig,
    pub(super) out: PathBuf,
    pub(super) resume: bool,
    pub(super) threads: usize,
    pub(super) workers: usize,
    pub(super) prefetch: usize,
    pub(super) on_bad_file: OnBadFile,
    /// Bytes; `None` where the system does not tell what is free.
    pub(super) memory_limit: Option<u64>,
    pub(super) checkpoint_every: Duration,
    pub(super) live: LiveArgs,
}

/// The run's settings as they are written beside it.
#[derive(Serialize)]
struct Record<'a> {
    machine: Machine,
    data: &'a str,
    train: String,
    val: Option<String>,
    workers: usize,
    threads: usize,
    prefetch: usize,
    schedule: &'a Schedule,
    recipe: &'a Recipe,
    config: &'a TrainConfig,
}

impl Job {
    pub(super) fn run(mut self) -> Result<ExitCode> {
        self.check_classes()?;
        self.config.data = self.identity();
        std::fs::create_dir_all(&self.out).map_err(Error::io(&self.out))?;
        let checkpoints =
            Checkpoints { every: Some(self.checkpoint_every), ..Checkpoints::new(self.out.join("checkpoints")) };
        let (mut trainer, state) = self.trainer(&checkpoints)?;
        let mut loader = self.loader(state)?;
        self.announce(&loader, &trainer)?;

        let stop = stop_on_interrupt()?;
        let subject = Subject {
            schedule: &self.schedule,
            recipe: &self.recipe,
            classes: self.train.classes(),
            validation: self.val.as_ref().map(|val| val.len()),
            trainer: &trainer,
            meter: loader.meter(),
        };
        let mut live = Live::open(&self.out, &self.live, subject)?;
        let bad_in_validation = Arc::new(Mutex::new(Vec::new()));
        let mut validation = self.val.as_ref().map(|val| {
            let (val, recipe, workers, on_bad_file) = (val.clone(), &self.recipe, self.workers, self.on_bad_file);
            let bad_files = bad_in_validation.clone();
            move |stage: &Stage| -> Result<Pass<'static>> {
                // A substitute would count a picture twice: bad files are left out of an evaluation.
                let policy = if on_bad_file == OnBadFile::Fail { OnBadFile::Fail } else { OnBadFile::Skip };
                let builder = Loader::evaluation(val.clone(), stage.clone()).recipe(recipe.clone());
                let loader = builder.workers(workers).on_bad_file(policy).build()?;
                Ok(Box::new(Watched { loader, bad_files: bad_files.clone() }))
            }
        });
        let run = Run {
            validation: validation.as_mut().map(|v| v as &mut dyn train::Validation),
            checkpoints: Some(checkpoints),
            stop,
            watch: &mut live,
        };
        let result = train::fit(&mut trainer, &mut loader, run);
        let closed = live.close();
        let summary = result?;
        let cost = closed?;
        if summary.stopped {
            eprintln!("stopped after step {}; go on with the same command and --resume", summary.steps);
            return Ok(ExitCode::from(130));
        }
        self.report(&summary, &loader, cost)?;
        let bad_files = bad_in_validation.lock().expect("a pass does not panic with the list in hand");
        report::files("of the validation images gave no image and are not in the accuracy", &bad_files);
        Ok(ExitCode::SUCCESS)
    }

    fn check_classes(&self) -> Result<()> {
        let Some(val) = &self.val else { return Ok(()) };
        let (ours, theirs) = (self.train.classes(), val.classes());
        // The longer of tar shards' numbered classes may be the validation's only by mistake; a prefix is no mistake.
        if ours.len() >= theirs.len() && ours.iter().zip(theirs).all(|(a, b)| a == b) {
            return Ok(());
        }
        let missing = |of: &[String], among: &[String]| of.iter().find(|name| !among.contains(name)).cloned();
        let reason = match (missing(theirs, ours), missing(ours, theirs)) {
            (Some(name), _) => format!("class `{name}` is not among the {} classes of the training images", ours.len()),
            (None, Some(name)) => {
                format!("class `{name}` of the training images is missing; add at least one image of it")
            }
            (None, None) => "the classes are the training images', but in another order".to_owned(),
        };
        Err(Error::config("val", reason))
    }

    /// What tells two runs apart besides the model: a checkpoint of another run is refused by it. The place of the files is not
    /// in it, nor what is done about bad ones: both may change when a run goes on.
    fn identity(&self) -> String {
        let classes = fnv(self.train.classes().iter().flat_map(|name| name.bytes().chain([0])));
        let labels = fnv((0..self.train.len()).flat_map(|i| self.train.label(i).to_le_bytes()));
        serde_json::json!({
            "classes": format!("{classes:016x}"),
            "labels": format!("{labels:016x}"),
            "images": self.train.len(),
            "schedule": self.schedule,
            "recipe": self.recipe,
        })
        .to_string()
    }

    fn trainer(&self, checkpoints: &Checkpoints) -> Result<(Trainer, Option<State>)> {
        let last = checkpoints.last();
        if !self.resume {
            if last.exists() {
                let reason = "a run is there already; go on with --resume, or choose another --out";
                return Err(Error::Checkpoint { path: last, reason: reason.into() });
            }
            let band = self.schedule.stages()[0].band;
            return Ok((Trainer::new(self.config.clone(), band, self.threads, &Device::flex())?, None));
        }
        if !last.exists() {
            let reason = "there is no checkpoint to go on from; leave out --resume to start a run";
            return Err(Error::Checkpoint { path: last, reason: reason.into() });
        }
        let (trainer, state) = Trainer::load(&last, self.config.clone(), self.threads, &Device::flex())?;
        Ok((trainer, Some(state)))
    }

    fn loader(&self, state: Option<State>) -> Result<Loader> {
        let mut builder = Loader::builder(self.train.clone(), self.schedule.clone())
            .recipe(self.recipe.clone())
            .seed(self.config.seed)
            .workers(self.workers)
            .prefetch(self.prefetch)
            .on_bad_file(self.on_bad_file);
        if let Some(limit) = self.memory_limit {
            builder = builder.memory_limit(limit);
        }
        if let Some(state) = state {
            builder = builder.resume(state);
        }
        builder.build()
    }

    /// Says what is about to happen, and writes it beside the run.
    fn announce(&self, loader: &Loader, trainer: &Trainer) -> Result<()> {
        let record = Record {
            machine: Machine::this(),
            data: &self.name,
            train: self.train.describe(),
            val: self.val.as_ref().map(|v| v.describe()),
            workers: self.workers,
            threads: self.threads,
            prefetch: self.prefetch,
            schedule: &self.schedule,
            recipe: &self.recipe,
            config: &self.config,
        };
        write(&self.out.join("run.json"), &serde_json::to_string_pretty(&record).expect("settings are plain data"))?;
        let (model, memory) = (&self.config.model, loader.memory());
        eprintln!("{}", record.machine);
        eprintln!("training   {}", record.train);
        if let Some(val) = &record.val {
            eprintln!("validation {val}");
        }
        eprintln!(
            "model      ViT, {} wide, {} deep, {} heads, patch {}: {:.2} M parameters",
            model.dim,
            model.depth,
            model.heads,
            model.patch,
            trainer.model().num_params() as f64 * 1e-6
        );
        eprintln!(
            "schedule   {}: {} equivalent epochs at {} px, {:.1} passes over the images",
            self.schedule.name(),
            self.schedule.epochs(),
            self.schedule.base(),
            self.schedule.image_epochs()
        );
        eprintln!(
            "loader     {} engine, {} workers, at most {:.0} MB of batches{}; output in {}",
            loader.engine(),
            self.workers,
            (memory.total - memory.replay) as f64 * 1e-6,
            match memory.replay {
                0 => String::new(),
                bytes => format!(" and {:.0} MB of replay", bytes as f64 * 1e-6),
            },
            self.out.display()
        );
        eprintln!("transform  {}", transform::describe(&self.recipe));
        if trainer.steps() > 0 {
            eprintln!("going on after step {}", trainer.steps());
        }
        Ok(())
    }

    /// The summary on the terminal, and the curves.
    fn report(&self, summary: &Summary, loader: &Loader, cost: live::Cost) -> Result<()> {
        let events = live::read(&self.out.join("log.jsonl"))?;
        let title = format!("{}: {} for {} epochs", self.name, self.schedule.name(), self.schedule.epochs());
        let chart = live::curves(&title, &events, &self.schedule);
        let path = |ending: &str| self.out.join(format!("curves.{ending}"));
        chart.write_png(&path("png"))?;
        chart.write_svg(&path("svg"))?;
        let history = &summary.history;
        write(
            &self.out.join("summary.json"),
            &serde_json::to_string_pretty(&report::File { history, input: loader.counters(), reporting: cost })
                .expect("a history is plain data"),
        )?;
        println!("\n{}", report::stage_table(history, &self.schedule));
        if let Some(last) = history.last() {
            println!("final  top-1 {:.2} % at {} px, after step {}", last.top1 * 100.0, last.band, last.step);
        }
        if let Some(best) = history.best() {
            println!("best   top-1 {:.2} % at {} px, after step {}", best.top1 * 100.0, best.band, best.step);
        }
        println!("{}", report::bottleneck(history, &loader.counters()));
        report::files("gave no image", &loader.bad_files());
        report::files("are damaged and were used as far as they go", &loader.damaged_files());
        println!("curves: {}", path("png").display());
        Ok(())
    }
}

/// A pass over the validation set that leaves word of its bad files.
struct Watched {
    loader: Loader,
    bad_files: Arc<Mutex<Vec<BadFile>>>,
}

impl Iterator for Watched {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        self.loader.next()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Ok(mut bad_files) = self.bad_files.lock() {
            *bad_files = self.loader.bad_files();
        }
    }
}

/// The last part of a path or pattern: what a title has room for.
fn short(source: &str) -> String {
    let trimmed = source.trim_end_matches('/');
    trimmed.rsplit('/').next().unwrap_or(trimmed).to_owned()
}

/// FNV-1a, 64 bits.
fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(Error::io(path))
}

/// A flag that the first Ctrl-C (or a termination signal) sets; the second ends the process.
fn stop_on_interrupt() -> Result<&'static AtomicBool> {
    static STOP: AtomicBool = AtomicBool::new(false);
    static ONCE: std::sync::Once = std::sync::Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| {
        result = ctrlc::set_handler(|| {
            if STOP.swap(true, Ordering::Relaxed) {
                super::trace::finish();
                std::process::exit(130);
            }
            eprintln!("\nending after this step, with a checkpoint; once more ends at once");
        });
    });
    result.map_err(|e| Error::config("signals", format!("Ctrl-C cannot be caught: {e}")))?;
    Ok(&STOP)
}
