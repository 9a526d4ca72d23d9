//! `bandfeed train`: the bundled trainer on the bundled loader.

use super::config::{ConfigArgs, LoaderConfig, Output, RunConfig};
use super::fit::Fit;
use super::live::{self, Live, LiveArgs, Subject};
use super::machine::Machine;
use super::report;
use super::transform::{self, Transform};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::loader::{BadFile, Loader, OnBadFile, State};
use crate::recipe::{Recipe, TrainPreset};
use crate::schedule::{LearningRate, Schedule, Stage};
use crate::source::{self, Source};
use crate::train::{
    self, AdamWConfig, Checkpoints, Device, DropPathRule, Pass, Precision, Run, Summary, TrainConfig, Trainer,
    VitConfig,
};
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
    #[arg(long, value_name = "SOURCE", required_unless_present_any = ["config", "resume", "set"])]
    train: Option<String>,
    /// Validation images, in the same form and with the same classes.
    #[arg(long, value_name = "SOURCE")]
    val: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
    /// constant, efficient_train, efficient_train_pp, efficient_train_pp_deit, efficient_train_pp_convnext, or the path of a
    /// .toml table [default: the recipe's].
    #[arg(long, value_name = "NAME")]
    schedule: Option<String>,
    /// Folder for log, curves and checkpoints [default: the run file's, or bandfeed-run].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Go on with the run in the folder. With no other option than --out, its settings are those of its run.toml.
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
    /// How that chance goes over the blocks: linear or uniform.
    #[arg(long, value_name = "RULE")]
    drop_path_rule: Option<DropPathRule>,
    /// Scale each branch of a block by a learnt vector that begins at this value (LayerScale).
    #[arg(long, value_name = "VALUE")]
    layer_scale: Option<f64>,
    /// Begin with the weights of this file: timm's names (.safetensors), or a checkpoint of bandfeed's. Positions are
    /// interpolated; a head for another number of classes is made anew.
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// Leave the first N layers as they are: 1 is the embedding, each further one a block.
    #[arg(long, value_name = "N")]
    freeze: Option<usize>,
    /// What forward and backward passes compute in: f32, bf16 or f16, where the backend has it.
    #[arg(long)]
    precision: Option<Precision>,
}

impl Model {
    pub(super) fn apply(&self, train: &mut TrainPreset) {
        if let Some(model) = &self.model {
            // What was said of another size does not belong to this one.
            *train = TrainPreset { model: model.clone(), dim: None, depth: None, heads: None, ..train.clone() };
        }
        train.dim = self.dim.or(train.dim);
        train.depth = self.depth.or(train.depth);
        train.heads = self.heads.or(train.heads);
        train.drop_path = self.drop_path.unwrap_or(train.drop_path);
        if let Some(rule) = self.drop_path_rule {
            train.drop_path_rule = rule.to_string();
        }
        train.layer_scale = self.layer_scale.or(train.layer_scale);
        train.init = self.init.clone().or(train.init.take());
        train.freeze = self.freeze.unwrap_or(train.freeze);
        if let Some(precision) = self.precision {
            train.precision = precision.to_string();
        }
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
    /// Multiply a layer's rate by this to the power of the layers above it.
    #[arg(long)]
    layer_decay: Option<f64>,
    /// Label smoothing.
    #[arg(long)]
    smoothing: Option<f64>,
    /// Keep running means of the weights with these decays, evaluated beside the model, as 0.999,0.9999.
    #[arg(long, value_delimiter = ',', value_name = "DECAY")]
    ema: Option<Vec<f64>>,
    /// Lower decays at the beginning of a run, by timm's rule.
    #[arg(long)]
    ema_warmup: bool,
    /// Seed of weights, order, augmentation and stochastic depth [default: 0].
    #[arg(long)]
    seed: Option<u64>,
    /// Threads that compute gradients [default: the machine's cores]. Their number changes no result.
    #[arg(long)]
    threads: Option<usize>,
    /// Minutes between two checkpoints, besides those at the end of each epoch [default: 10].
    #[arg(long, value_parser = minutes)]
    checkpoint_minutes: Option<f64>,
}

impl Optimizer {
    fn apply(&self, config: &mut RunConfig) {
        let (train, run) = (&mut config.train, &mut config.run);
        if let Some(lr) = self.lr {
            // The number of images that the recipe's rate is meant for says nothing of this one.
            (train.lr, train.lr_batch) = (lr, None);
        }
        train.min_lr = self.min_lr.unwrap_or(train.min_lr);
        train.warmup = self.warmup.or(train.warmup);
        train.weight_decay = self.weight_decay.unwrap_or(train.weight_decay);
        train.clip = self.clip.unwrap_or(train.clip);
        train.layer_decay = self.layer_decay.unwrap_or(train.layer_decay);
        train.label_smoothing = self.smoothing.unwrap_or(train.label_smoothing);
        train.ema = self.ema.clone().unwrap_or(std::mem::take(&mut train.ema));
        train.ema_warmup |= self.ema_warmup;
        run.seed = self.seed.unwrap_or(run.seed);
        run.threads = self.threads.or(run.threads);
        run.checkpoint_minutes = self.checkpoint_minutes.unwrap_or(run.checkpoint_minutes);
    }
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Input")]
pub(crate) struct Input {
    /// Loader threads [default: the machine's cores]. Their number changes no result.
    #[arg(long)]
    workers: Option<usize>,
    /// Batches made ahead [default: 4].
    #[arg(long)]
    prefetch: Option<usize>,
    /// What to do about files that cannot be decoded: fail, skip or substitute (another sample takes the place) [default:
    /// substitute].
    #[arg(long)]
    on_bad_file: Option<OnBadFile>,
    /// Most megabytes for batches and the replay buffer together; a run that may need more does not start [default: three
    /// quarters of the memory that is free].
    #[arg(long, value_name = "MB", value_parser = super::positive)]
    memory_limit: Option<f64>,
}

impl Input {
    fn apply(&self, loader: &mut LoaderConfig) {
        loader.workers = self.workers.or(loader.workers);
        loader.prefetch = self.prefetch.unwrap_or(loader.prefetch);
        loader.on_bad_file = self.on_bad_file.unwrap_or(loader.on_bad_file);
        loader.memory_limit_mb = self.memory_limit.or(loader.memory_limit_mb);
    }
}

/// Minutes above 0, at most a year.
fn minutes(text: &str) -> std::result::Result<f64, String> {
    super::positive(text).map(|minutes| minutes.min(365.0 * 24.0 * 60.0))
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut config = args.resolve()?;
    let schedule = args.fit.schedule(&config.schedule.name.clone(), &config.schedule)?;
    config.schedule = args.fit.over(&config.schedule.name, &config.schedule);
    if args.fit.image_epochs.is_some() {
        config.schedule.epochs = Some(schedule.epochs());
    }
    Job::new(config, schedule, args.live.clone(), args.resume)?.run()
}

impl Args {
    /// Files and options together, but for the options of the schedule.
    fn resolve(&self) -> Result<RunConfig> {
        let mut files = self.config.clone();
        if self.resume && files.config.is_none() && files.recipe.is_none() && self.train.is_none() {
            let out = self.out.clone().unwrap_or_else(|| Output::default().out);
            files.config = Some(out.join(RUN_FILE));
        }
        let mut config = files.resolve()?;
        config.source.train = self.train.clone().or(config.source.train);
        config.source.val = self.val.clone().or(config.source.val);
        config.run.out = self.out.clone().unwrap_or(config.run.out);
        config.schedule.rename(self.schedule.as_deref());
        self.model.apply(&mut config.train);
        self.optimizer.apply(&mut config);
        self.input.apply(&mut config.loader);
        config.transform = self.transform.apply(config.transform)?;
        Ok(config)
    }
}

/// The resolved settings, beside the run.
const RUN_FILE: &str = "run.toml";

/// The trainer's settings in a run file, for images in patches of this side and this share of the compute spent warming up.
pub(super) fn train_config(preset: &TrainPreset, patch: u32, warmup: f64, classes: usize) -> Result<TrainConfig> {
    let own = match preset.model.as_str() {
        "tiny" => VitConfig::tiny(classes),
        "small" => VitConfig::small(classes),
        "base" => VitConfig::base(classes),
        other => return Err(Error::config("train.model", format!("`{other}` is not known; use tiny, small or base"))),
    };
    let model = VitConfig {
        patch: patch as usize,
        dim: preset.dim.unwrap_or(own.dim),
        depth: preset.depth.unwrap_or(own.depth),
        heads: preset.heads.unwrap_or(own.heads),
        drop_path: preset.drop_path,
        drop_path_rule: preset.drop_path_rule.parse()?,
        layer_scale: preset.layer_scale,
        ..own
    };
    let [beta1, beta2] = preset.betas;
    Ok(TrainConfig {
        optimizer: AdamWConfig {
            weight_decay: preset.weight_decay,
            clip: (preset.clip > 0.0).then_some(preset.clip),
            layer_decay: preset.layer_decay,
            beta1,
            beta2,
            epsilon: preset.epsilon,
        },
        learning_rate: LearningRate { peak: preset.lr, min: preset.min_lr, warmup },
        label_smoothing: preset.label_smoothing,
        ema: preset.ema.clone(),
        ema_warmup: preset.ema_warmup,
        freeze: preset.freeze,
        precision: preset.precision.parse()?,
        ..TrainConfig::new(model)
    })
}

/// A training run, whoever asked for it.
pub(super) struct Job {
    /// What it was made from.
    settings: RunConfig,
    /// What the training data is called in titles.
    name: String,
    train: Arc<dyn Source>,
    val: Option<Arc<dyn Source>>,
    schedule: Schedule,
    recipe: Recipe,
    config: TrainConfig,
    out: PathBuf,
    resume: bool,
    threads: usize,
    workers: usize,
    prefetch: usize,
    on_bad_file: OnBadFile,
    /// Bytes; `None` where the system does not tell what is free.
    memory_limit: Option<u64>,
    checkpoint_every: Duration,
    live: LiveArgs,
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
    /// The run of these settings, whose schedule is `schedule`.
    ///
    /// # Errors
    /// Whatever the sources meet; [`Error::Config`] if no training images are named, or for an unknown model.
    pub(super) fn new(settings: RunConfig, schedule: Schedule, live: LiveArgs, resume: bool) -> Result<Self> {
        let Some(name) = &settings.source.train else {
            let reason = "no training images are named; give --train, or train in the [source] of the run file";
            return Err(Error::config("source.train", reason));
        };
        let train = source::open(name)?;
        let val = settings.source.val.as_deref().map(source::open).transpose()?;
        let (preset, loader, run) = (&settings.train, &settings.loader, &settings.run);
        let config = train_config(preset, schedule.patch(), preset.warmup_under(&schedule), train.classes().len())?;
        if let Some(meant) = preset.lr_batch {
            let steps = schedule.stages().last().map_or(meant, Stage::effective_batch);
            if steps != meant {
                eprintln!(
                    "note: the recipe's learning rate, {}, is meant for steps of {meant} images; this run's have {steps} \
                     (--lr, --batch-size)",
                    preset.lr
                );
            }
        }
        Ok(Self {
            name: short(name),
            config: TrainConfig { seed: run.seed, ..config },
            recipe: settings.transform.clone(),
            out: run.out.clone(),
            threads: run.threads.unwrap_or_else(super::cores),
            checkpoint_every: Duration::from_secs_f64(run.checkpoint_minutes * 60.0),
            workers: loader.workers.unwrap_or_else(super::cores),
            prefetch: loader.prefetch,
            on_bad_file: loader.on_bad_file,
            memory_limit: loader.memory_limit_mb.map(|mb| (mb * 1e6) as u64).or_else(super::machine::memory_budget),
            train,
            val,
            schedule,
            live,
            resume,
            settings,
        })
    }

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
        self.settings.write(&self.out.join(RUN_FILE))?;
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
