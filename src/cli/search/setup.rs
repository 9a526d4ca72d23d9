//! What all trials of a search have in common: images, settings, and the loaders and trainers made of them.

use super::super::config::RunConfig;
use super::super::job::{fnv, same_classes, train_config};
use super::super::loaders::Loaders;
use super::super::machine::Machine;
use super::super::{cores, open, transform};
use super::FOUND;
use crate::error::{Error, Result};
use crate::loader::{Loader, State};
use crate::schedule::{Options, Schedule, Stage};
use crate::source::{Source, Subset};
use crate::train::curriculum::{Plan, Search};
use crate::train::{Device, TrainConfig, Trainer};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// The images that trials are scored by.
pub(super) enum Measure {
    /// Of their own.
    Source(String),
    /// This share of each class of the training images.
    HoldOut(f64),
}

pub(super) struct Setup {
    pub(super) settings: RunConfig,
    pub(super) machine: Machine,
    /// The training images as they were named.
    pub(super) data: String,
    pub(super) plan: Plan,
    options: Options,
    train: Arc<dyn Source>,
    val: Arc<dyn Source>,
    pub(super) hold_out: Option<f64>,
    loaders: Loaders,
    pub(super) config: TrainConfig,
    /// What tells two searches apart, by name: the record and the checkpoints of another one are refused.
    pub(super) identity: Value,
    threads: usize,
}

impl Setup {
    /// # Errors
    /// Whatever the sources meet; [`Error::Config`] if no training images are named, if the images to score by are none or of
    /// other classes, for a setting that cannot work, and if a stage would not hold a single step.
    pub(super) fn new(settings: RunConfig, options: Options, plan: &Plan, measure: Measure) -> Result<Self> {
        let Some(data) = settings.source.train.clone() else {
            let reason = "no training images are named; give --train, or train in the [source] of the run file";
            return Err(Error::config("source.train", reason));
        };
        let index = settings.source.index.as_deref();
        let all = open(&data, index)?;
        let (train, val, hold_out): (Arc<dyn Source>, Arc<dyn Source>, _) = match measure {
            Measure::Source(val) => {
                let val = open(&val, index)?;
                same_classes(all.classes(), val.classes())?;
                (all, val, None)
            }
            Measure::HoldOut(share) => {
                let (train, val) = Subset::split(&all, share, settings.run.seed).map_err(|error| {
                    Error::config("--hold-out", format!("{share} of {} images: {error}", all.len()))
                })?;
                (Arc::new(train), Arc::new(val), Some(share))
            }
        };
        let base_only = schedule(plan, &options, &[])?;
        let preset = &settings.train;
        let warmup = preset.warmup_under(&base_only);
        let config = train_config(preset, options.patch, warmup, train.classes().len())?;
        let mut config = TrainConfig { seed: settings.run.seed, ..config };
        config.check()?;

        let last = base_only.stages().last().expect("a plan has stages");
        let steps = options.epochs * train.len() as f64 / last.effective_batch() as f64 / plan.stages() as f64;
        if steps < 1.0 {
            let reason = format!(
                "{} equivalent epochs of {} images in {} stages are {steps:.2} steps of {} images each: a stage must hold a \
                 step; use a larger budget, fewer --stages or a smaller --batch-size",
                options.epochs,
                train.len(),
                plan.stages(),
                last.effective_batch()
            );
            return Err(Error::config("--epochs", reason));
        }

        let hash = |bytes: u64| format!("{bytes:016x}");
        let labels = |source: &dyn Source| hash(fnv((0..source.len()).flat_map(|i| source.label(i).to_le_bytes())));
        let facts = json!({
            "classes": hash(fnv(train.classes().iter().flat_map(|name| name.bytes().chain([0])))),
            "images": train.len(),
            "labels": labels(&*train),
            "scored_by_images": val.len(),
            "scored_by_labels": labels(&*val),
            "hold_out": hold_out,
            "recipe": settings.transform,
            "schedule": base_only,
            "init": preset.init,
        });
        config.data = json!({ "search": plan, "data": facts }).to_string();
        let identity =
            json!({ "search": plan, "data": facts, "config": TrainConfig { data: String::new(), ..config.clone() } });
        Ok(Self {
            machine: Machine::this(),
            data,
            plan: plan.clone(),
            options,
            train,
            val,
            hold_out,
            loaders: Loaders::new(&settings)?,
            config,
            identity,
            threads: settings.run.threads.unwrap_or_else(cores),
            settings,
        })
    }

    /// The schedule with these bands first, and all further stages at the base.
    pub(super) fn schedule(&self, bands: &[u32]) -> Result<Schedule> {
        schedule(&self.plan, &self.options, bands)
    }

    /// A trainer before its first step under `schedule`.
    pub(super) fn first(&self, schedule: &Schedule) -> Result<Trainer> {
        let mut trainer = Trainer::for_schedule(self.config.clone(), schedule, self.threads, &Device::flex())?;
        if let Some(path) = &self.settings.train.init {
            trainer.set_classes(self.train.classes().to_vec());
            trainer.init_from(path, None)?;
        }
        Ok(trainer)
    }

    /// The trainer of a trial that was kept at `path`, and where its loader stood.
    pub(super) fn load(&self, path: &Path) -> Result<(Trainer, State)> {
        Trainer::load(path, self.config.clone(), self.threads, &Device::flex())
    }

    /// The loader of the training images from `state` on.
    pub(super) fn loader(&self, schedule: Schedule, state: Option<State>) -> Result<Loader> {
        self.loaders.training(&self.train, schedule, state)
    }

    /// One pass over the images to score by.
    pub(super) fn validation(&self, stage: &Stage) -> Result<Loader> {
        self.loaders.validation(&self.val, stage)
    }

    /// What the score is of, in a few words.
    pub(super) fn scored_by(&self) -> String {
        let images = self.val.len();
        match (&self.hold_out, &self.settings.source.val) {
            (Some(share), _) => format!("{images} training images held out ({share} of each class)"),
            (None, Some(name)) => format!("the {images} images of {name}"),
            (None, None) => unreachable!("images to score by are held out or named"),
        }
    }

    /// Says what is about to happen and what it will cost.
    pub(super) fn announce(&self, search: &Search, out: &Path) {
        let (plan, model) = (search.plan(), &self.config.model);
        eprintln!("{}", self.machine);
        eprintln!("training   {}", self.train.describe());
        eprintln!("scored by  {}", self.scored_by());
        eprintln!(
            "model      ViT, {} wide, {} deep, {} heads, patch {}",
            model.dim, model.depth, model.heads, model.patch
        );
        eprintln!("transform  {}", transform::describe(&self.loaders.recipe));
        eprintln!(
            "search     {} stages of {:.2} equivalent epochs, bands {:?}, each trial fine-tuned for {:.2}; output in {}",
            plan.stages(),
            plan.epochs * plan.begin(1),
            plan.candidates,
            plan.epochs * plan.fine_tune,
            out.display()
        );
        eprintln!(
            "cost       at most {} trials, {:.1} equivalent epochs: {:.1} times the {} of the run itself",
            plan.most_trials(),
            plan.most_compute(),
            plan.most_compute() / plan.epochs,
            plan.epochs
        );
        if !search.finished().is_empty() {
            let (trials, left) = (search.finished().len(), search.most_left());
            eprintln!("going on after {trials} trials, {:.1} equivalent epochs; at most {left} more", search.spent());
        }
    }
}

fn schedule(plan: &Plan, options: &Options, bands: &[u32]) -> Result<Schedule> {
    let bands: Vec<u32> = bands.iter().copied().chain(std::iter::repeat(plan.base)).take(plan.stages()).collect();
    Schedule::equal_compute(FOUND, &bands, &plan.magnitudes, options)
}
