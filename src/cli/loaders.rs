//! How the loaders of a run are made, whatever they load: training images, a search's probe, validation images.

use super::config::RunConfig;
use super::{cores, machine};
use crate::engine::{EngineOptions, Engines};
use crate::error::Result;
use crate::loader::{Loader, OnBadFile, State};
use crate::recipe::Recipe;
use crate::schedule::{Schedule, Stage};
use crate::source::Source;
use std::sync::Arc;

/// What a run's loaders have in common.
#[derive(Clone)]
pub(super) struct Loaders {
    pub(super) recipe: Recipe,
    seed: u64,
    engines: Engines,
    pub(super) workers: usize,
    pub(super) prefetch: usize,
    on_bad_file: OnBadFile,
    /// Bytes of each of them; `None` where the system does not tell what is free.
    memory_limit: Option<u64>,
}

impl Loaders {
    /// # Errors
    /// As [`crate::engine::DeviceName::open`].
    pub(super) fn new(settings: &RunConfig) -> Result<Self> {
        let loader = &settings.loader;
        Ok(Self {
            recipe: settings.transform.clone(),
            seed: settings.run.seed,
            engines: loader.device.open(&EngineOptions::default())?,
            workers: loader.workers.unwrap_or_else(cores),
            prefetch: loader.prefetch,
            on_bad_file: loader.on_bad_file,
            memory_limit: loader.memory_limit_mb.map(|mb| (mb * 1e6) as u64).or_else(machine::memory_budget),
        })
    }

    /// The same for another recipe and seed.
    pub(super) fn with(&self, recipe: Recipe, seed: u64) -> Self {
        Self { recipe, seed, ..self.clone() }
    }

    /// The loader of training images under `schedule`, from `state` on.
    pub(super) fn training(
        &self,
        source: &Arc<dyn Source>,
        schedule: Schedule,
        state: Option<State>,
    ) -> Result<Loader> {
        let mut builder = Loader::builder(source.clone(), schedule)
            .recipe(self.recipe.clone())
            .seed(self.seed)
            .engines(self.engines.clone())
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

    /// One pass over validation images, in the form of `stage`.
    pub(super) fn validation(&self, source: &Arc<dyn Source>, stage: &Stage) -> Result<Loader> {
        // A substitute would count a picture twice: bad files are left out of an evaluation.
        let policy = if self.on_bad_file == OnBadFile::Fail { OnBadFile::Fail } else { OnBadFile::Skip };
        let builder = Loader::evaluation(source.clone(), stage.clone()).recipe(self.recipe.clone());
        builder.engines(self.engines.clone()).workers(self.workers).on_bad_file(policy).build()
    }
}
