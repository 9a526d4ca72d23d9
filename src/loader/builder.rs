//! Settings of a loader.

use super::{EpochEnd, Loader, OnBadFile, Shard, State};
use crate::engine::{Cpu, Engine, Engines};
use crate::error::Result;
use crate::recipe::Recipe;
use crate::schedule::Schedule;
use crate::source::Source;
use std::sync::Arc;

/// Settings of a [`Loader`]; made by [`Loader::builder`] and [`Loader::evaluation`].
#[must_use = "call `build` to start the loader"]
pub struct LoaderBuilder {
    pub(super) source: Arc<dyn Source>,
    pub(super) schedule: Schedule,
    pub(super) evaluate: bool,
    pub(super) recipe: Recipe,
    pub(super) seed: u64,
    pub(super) workers: usize,
    pub(super) prefetch: usize,
    pub(super) shard: Shard,
    pub(super) epoch_end: EpochEnd,
    pub(super) on_bad_file: OnBadFile,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) fallback: Option<Arc<dyn Engine>>,
    pub(super) memory_limit: Option<u64>,
    pub(super) resume: Option<State>,
}

/// Batches made ahead unless told otherwise: enough to ride out one slow sample in each, few enough to stay small.
const PREFETCH: usize = 4;

impl LoaderBuilder {
    pub(super) fn new(source: Arc<dyn Source>, schedule: Schedule, evaluate: bool) -> Self {
        Self {
            source,
            schedule,
            evaluate,
            recipe: Recipe::default(),
            seed: 0,
            workers: std::thread::available_parallelism().map_or(1, Into::into),
            prefetch: PREFETCH,
            shard: Shard::default(),
            epoch_end: if evaluate { EpochEnd::Pad } else { EpochEnd::Drop },
            on_bad_file: OnBadFile::default(),
            engine: Arc::new(Cpu::default()),
            fallback: None,
            memory_limit: None,
            resume: None,
        }
    }

    /// The image transform. Default: [`Recipe::default`].
    pub fn recipe(mut self, recipe: Recipe) -> Self {
        self.recipe = recipe;
        self
    }

    /// The seed of the samples' order and of every augmentation. Default 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Worker threads, at least 1. Default: as many as the process may run at once. The batches do not depend on it.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Batches made ahead of the consumer, at least 1. Default 4. Memory grows with it: see [`Loader::memory`].
    pub fn prefetch(mut self, prefetch: usize) -> Self {
        self.prefetch = prefetch;
        self
    }

    /// This process's rank and the number of processes. Default: rank 0 of 1.
    pub fn shard(mut self, rank: u32, world: u32) -> Self {
        self.shard = Shard { rank, world };
        self
    }

    /// What happens to the samples that do not fill a batch at an epoch's end. Default: drop in training, pad in evaluation.
    pub fn epoch_end(mut self, epoch_end: EpochEnd) -> Self {
        self.epoch_end = epoch_end;
        self
    }

    /// What happens to files that cannot be read or decoded. Default: the batch is an error that names the file.
    pub fn on_bad_file(mut self, on_bad_file: OnBadFile) -> Self {
        self.on_bad_file = on_bad_file;
        self
    }

    /// The engine. Default: [`Cpu`] with the decoder's default limits.
    pub fn engine(mut self, engine: Arc<dyn Engine>) -> Self {
        self.engine = engine;
        self
    }

    /// The engine that goes on, from the same batch, if the first one's device fails ([`crate::Error::Device`]): the loader warns
    /// by a tracing event and makes that batch and those after it anew. They are where that engine puts them: in host memory, of the CPU
    /// engine. Default: none, and the failure is the caller's error.
    pub fn fallback(mut self, engine: Arc<dyn Engine>) -> Self {
        self.fallback = Some(engine);
        self
    }

    /// The engines that [`crate::engine::DeviceName::open`] gives.
    pub fn engines(mut self, engines: Engines) -> Self {
        let Engines { engine, fallback } = engines;
        (self.engine, self.fallback) = (engine, fallback);
        self
    }

    /// Refuses to start if batches and replay buffer may need more than this many bytes ([`Loader::memory`]). Default: no limit.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Goes on where `state` was taken.
    pub fn resume(mut self, state: State) -> Self {
        self.resume = Some(state);
        self
    }

    /// Starts the workers. Nothing is read before the first call of `next`.
    ///
    /// # Errors
    /// [`crate::Error::Config`] names a setting that cannot work: no worker, a rank outside the world, a batch larger than
    /// the data set, a recipe or a resumed state that does not fit.
    pub fn build(self) -> Result<Loader> {
        Loader::start(self)
    }
}
