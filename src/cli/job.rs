//! A training run: sources, loader, trainer and reports put together from a run's settings.

use super::config::{ConfigArgs, RunConfig};
use super::live::{self, Live, Subject};
use super::loaders::Loaders;
use super::machine::Machine;
use super::report;
use super::transform;
use crate::augment::Policy;
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::loader::{BadFile, Loader, State};
use crate::recipe::{Magnitude, Recipe, TrainPreset};
use crate::schedule::{LearningRate, Schedule, Stage, StageReplay};
use crate::source::Source;
use crate::train::{
    self, AdamWConfig, AutoProg, Checkpoints, Device, GrowthConfig, Init, Pass, Run, Summary, TrainConfig, Trainer,
    VitConfig,
};
use burn::module::Module;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The resolved settings, beside the run.
pub(super) const RUN_FILE: &str = "run.toml";

/// A training run, whoever asked for it.
pub(super) struct Job {
    /// What it was made from.
    settings: RunConfig,
    /// What the training data is called in titles.
    name: String,
    train: Arc<dyn Source>,
    val: Option<Arc<dyn Source>>,
    schedule: Schedule,
    loaders: Loaders,
    config: TrainConfig,
    out: PathBuf,
    resume: bool,
    threads: usize,
    checkpoint_every: Duration,
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
    pub(super) fn new(settings: RunConfig, schedule: Schedule, resume: bool) -> Result<Self> {
        let Some(name) = &settings.source.train else {
            let reason = "no training images are named; give --train, or train in the [source] of the run file";
            return Err(Error::config("source.train", reason));
        };
        let open = |spec: &str| super::open(spec, settings.source.index.as_deref());
        let train = open(name)?;
        let val = settings.source.val.as_deref().map(open).transpose()?;
        let (preset, run) = (&settings.train, &settings.run);
        let mut config = train_config(preset, schedule.patch(), preset.warmup_under(&schedule), train.classes().len())?;
        if schedule.depth().is_some() && config.growth.mogrow.needs_mean() && config.ema.is_empty() {
            config.ema.push(super::prog::decay_to_grow_from(&schedule, train.len() as u64));
        }
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
            out: run.out.clone(),
            threads: run.threads.unwrap_or_else(super::cores),
            checkpoint_every: Duration::from_secs_f64(run.checkpoint_minutes * 60.0),
            loaders: Loaders::new(&settings)?,
            train,
            val,
            schedule,
            resume,
            settings,
        })
    }

    pub(super) fn run(mut self) -> Result<ExitCode> {
        self.settings.check()?;
        self.check_classes()?;
        self.config.data = self.identity();
        std::fs::create_dir_all(&self.out).map_err(Error::io(&self.out))?;
        let checkpoints = Checkpoints { every: Some(self.checkpoint_every), ..checkpoints_of(&self.out) };
        let (mut trainer, state) = self.trainer(&checkpoints)?;
        let mut loader = self.loader(state)?;
        let before = trainer.steps();
        self.announce(&loader, &trainer)?;

        let stop = stop_on_interrupt("ending after this step, with a checkpoint")?;
        let subject = Subject {
            schedule: &self.schedule,
            recipe: &self.loaders.recipe,
            classes: self.train.classes(),
            validation: self.val.as_ref().map(|val| val.len()),
            trainer: &trainer,
            meter: loader.meter(),
        };
        let mut live = Live::open(&self.out, &self.settings.report, subject)?;
        let bad_in_validation = Arc::new(Mutex::new(Vec::new()));
        let mut validation = self.val.as_ref().map(|val| {
            let (loaders, bad_files) = (&self.loaders, bad_in_validation.clone());
            move |stage: &Stage| -> Result<Pass<'static>> {
                Ok(Box::new(Watched { loader: loaders.validation(val, stage)?, bad_files: bad_files.clone() }))
            }
        });
        let run = Run {
            validation: validation.as_mut().map(|v| v as &mut dyn train::Validation),
            checkpoints: Some(checkpoints),
            stop,
            watch: &mut live,
        };
        let result = match self.schedule.search() {
            Some(_) => {
                let mut probe = |stage: &Stage| self.probe(stage);
                let search = AutoProg { schedule: &self.schedule, probe: &mut probe };
                train::fit_with_search(&mut trainer, &mut loader, run, search)
            }
            None => train::fit(&mut trainer, &mut loader, run),
        };
        let closed = live.close();
        let summary = result?;
        let cost = closed?;
        if summary.stopped {
            eprintln!("stopped after step {}; go on with the same command and --resume", summary.steps);
            return Ok(ExitCode::from(130));
        }
        self.report(&summary, &loader, (summary.steps > before).then_some(cost))?;
        let bad_files = bad_in_validation.lock().expect("a pass does not panic with the list in hand");
        report::files("of the validation images gave no image and are not in the accuracy", &bad_files);
        Ok(ExitCode::SUCCESS)
    }

    fn check_classes(&self) -> Result<()> {
        let Some(val) = &self.val else { return Ok(()) };
        same_classes(self.train.classes(), val.classes())
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
            "recipe": self.loaders.recipe,
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
            let config = self.config.clone();
            let mut trainer = Trainer::for_schedule(config, &self.schedule, self.threads, &Device::flex())?;
            if let Some(path) = &self.settings.train.init {
                trainer.set_classes(self.train.classes().to_vec());
                let Init { other_classes, interpolated_from, .. } = trainer.init_from(path, None)?;
                eprintln!("weights    {}", path.display());
                if let Some(classes) = other_classes {
                    eprintln!("           but for the head, which is of {classes} other classes and begins anew");
                }
                if let Some(side) = interpolated_from {
                    eprintln!(
                        "           positions interpolated from images of {side} px to {}",
                        trainer.model().band()
                    );
                }
            }
            return Ok((trainer, None));
        }
        self.check_goes_on()?;
        if !last.exists() {
            let reason = "there is no checkpoint to go on from; leave out --resume to start a run";
            return Err(Error::Checkpoint { path: last, reason: reason.into() });
        }
        let (trainer, state) = Trainer::load(&last, self.config.clone(), self.threads, &Device::flex())?;
        Ok((trainer, Some(state)))
    }

    /// Refuses weights to begin with that are not those that the run began with, and says if the validation images are others.
    fn check_goes_on(&self) -> Result<()> {
        let file = self.out.join(RUN_FILE);
        if !file.exists() {
            return Ok(());
        }
        let before = ConfigArgs { config: Some(file), ..ConfigArgs::default() }.resolve()?;
        if self.settings.train.init != before.train.init {
            let reason = "a run that goes on has its weights; leave it out, or choose another --out";
            return Err(Error::config("train.init", reason));
        }
        let (before, now) = (before.source.val, &self.settings.source.val);
        if before != *now {
            let name = |val: &Option<String>| val.clone().unwrap_or_else(|| "none".to_owned());
            eprintln!("note: validation images were {}, now {}", name(&before), name(now));
        }
        Ok(())
    }

    /// The loader of the training images, from `state` on.
    pub(super) fn loader(&self, state: Option<State>) -> Result<Loader> {
        self.loaders.training(&self.train, self.schedule.clone(), state)
    }

    /// Training images to compare candidates by: in an order of their own, not mixed, the same at every pass.
    fn probe(&self, stage: &Stage) -> Result<Pass<'static>> {
        const ORDER: u64 = 0x7072_6f62_6500_0000;
        // One strength wherever in the run the images are looked at: that of its end.
        let last = self.schedule.stages().last().expect("a schedule has stages").magnitude;
        let own = &self.loaders.recipe;
        let magnitude = own.magnitude_at(stage, last, 1.0);
        let mut stage = Stage { replay: StageReplay::OFF, accumulate: 1, magnitude, ..stage.clone() };
        stage.growth.augment |= !matches!(own.magnitude, Magnitude::Stage | Magnitude::Staircase);
        let recipe = Recipe {
            mix: None,
            repeats: 1,
            magnitude: Magnitude::Stage,
            augment: own.augment.clone().map(Policy::without_magnitude),
            ..own.clone()
        };
        let loaders = self.loaders.with(recipe, self.config.seed ^ ORDER);
        Ok(Box::new(loaders.training(&self.train, Schedule::fixed(stage), None)?))
    }

    /// Says what is about to happen, and writes it beside the run.
    fn announce(&self, loader: &Loader, trainer: &Trainer) -> Result<()> {
        let record = Record {
            machine: Machine::this(),
            data: &self.name,
            train: self.train.describe(),
            val: self.val.as_ref().map(|v| v.describe()),
            workers: self.loaders.workers,
            threads: self.threads,
            prefetch: self.loaders.prefetch,
            schedule: &self.schedule,
            recipe: &self.loaders.recipe,
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
        if trainer.depth() < model.depth {
            eprintln!("           for now {} of the {} blocks", trainer.depth(), model.depth);
        }
        eprintln!(
            "schedule   {}: {}{:.1} passes over the images",
            self.schedule.name(),
            match self.schedule.search() {
                Some(_) => "searched while training, ".to_owned(),
                None => format!("{} equivalent epochs at {} px, ", self.schedule.epochs(), self.schedule.base()),
            },
            self.schedule.image_epochs()
        );
        eprintln!(
            "loader     {} engine, {} workers, at most {:.0} MB of batches{}; output in {}",
            loader.engine(),
            self.loaders.workers,
            (memory.total - memory.replay) as f64 * 1e-6,
            match memory.replay {
                0 => String::new(),
                bytes => format!(" and {:.0} MB of replay", bytes as f64 * 1e-6),
            },
            self.out.display()
        );
        eprintln!("transform  {}", transform::describe(&self.loaders.recipe));
        if self.schedule.depth().is_some() {
            let GrowthConfig { mogrow, moments } = self.config.growth;
            eprintln!("growth     {mogrow}, moments: {moments}, running means {:?}", self.config.ema);
            eprintln!("\n{}", super::schedule::table(&self.schedule, Some(self.train.len() as u64)));
        }
        if trainer.steps() > 0 {
            eprintln!("going on after step {}", trainer.steps());
        }
        Ok(())
    }

    /// The summary on the terminal, the curves, and the timeline of what grew. Without a cost, as of a run that was at its end
    /// already, what earlier processes wrote of the loader stays.
    fn report(&self, summary: &Summary, loader: &Loader, cost: Option<live::Cost>) -> Result<()> {
        let events = live::read(&self.out.join("log.jsonl"))?;
        let title = format!("{}: {} for {} epochs", self.name, self.schedule.name(), self.schedule.epochs());
        let chart = live::curves(&title, &events, &self.schedule);
        let path = |ending: &str| self.out.join(format!("curves.{ending}"));
        chart.write_png(&path("png"))?;
        chart.write_svg(&path("svg"))?;
        let growth = live::timeline(&title, &events, self.schedule.patch());
        if let Some(chart) = &growth {
            chart.write_png(&self.out.join("growth.png"))?;
            chart.write_svg(&self.out.join("growth.svg"))?;
        }
        let history = &summary.history;
        if let Some(reporting) = cost {
            let file = report::File { history, input: loader.counters(), reporting };
            let text = serde_json::to_string_pretty(&file).expect("a history is plain data");
            write(&self.out.join("summary.json"), &text)?;
        }
        println!("\n{}", report::stage_table(history, &self.schedule));
        if let Some(last) = history.last() {
            println!("final  top-1 {:.2} % at {} px, after step {}", last.top1 * 100.0, last.band, last.step);
            for ema in &last.ema {
                println!("       top-1 {:.2} % of the weights' mean with decay {}", ema.top1 * 100.0, ema.decay);
            }
        }
        if let Some(best) = history.best() {
            println!("best   top-1 {:.2} % at {} px, after step {}", best.best_top1() * 100.0, best.band, best.step);
        }
        println!("{}", report::bottleneck(history, &loader.counters()));
        report::files("gave no image", &loader.bad_files());
        report::files("are damaged and were used as far as they go", &loader.damaged_files());
        println!("curves: {}", path("png").display());
        if growth.is_some() {
            println!("growth: {}", self.out.join("growth.png").display());
        }
        Ok(())
    }
}

/// Where a run has its checkpoints.
pub(super) fn checkpoints_of(out: &Path) -> Checkpoints {
    Checkpoints::new(out.join("checkpoints"))
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
pub(super) fn short(source: &str) -> String {
    let trimmed = source.trim_end_matches('/');
    trimmed.rsplit('/').next().unwrap_or(trimmed).to_owned()
}

/// Refuses validation images whose classes are not the training images'.
pub(super) fn same_classes(ours: &[String], theirs: &[String]) -> Result<()> {
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

/// FNV-1a, 64 bits.
pub(super) fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(Error::io(path))
}

/// A flag that the first Ctrl-C (or a termination signal) sets, which prints `answer`; the second ends the process.
pub(super) fn stop_on_interrupt(answer: &'static str) -> Result<&'static AtomicBool> {
    static STOP: AtomicBool = AtomicBool::new(false);
    static ONCE: std::sync::Once = std::sync::Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| {
        result = ctrlc::set_handler(move || {
            if STOP.swap(true, Ordering::Relaxed) {
                super::trace::finish();
                std::process::exit(130);
            }
            eprintln!("\n{answer}; once more ends at once");
        });
    });
    result.map_err(|e| Error::config("signals", format!("Ctrl-C cannot be caught: {e}")))?;
    Ok(&STOP)
}

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
        growth: GrowthConfig { mogrow: preset.mogrow.parse()?, moments: preset.growth_moments.parse()? },
        ..TrainConfig::new(model)
    })
}
