//! What a step of training changes, and the step.

use super::config::TrainConfig;
use super::gradient::{self, Gradients, Workers};
use super::optimizer::AdamW;
use super::position;
use super::report::History;
use super::vit::Vit;
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::schedule::Stage;
use burn::tensor::{Device, Tensor, TensorData};

/// Model, optimiser and how far they have come.
#[derive(Debug)]
pub struct Trainer {
    pub(super) config: TrainConfig,
    pub(super) model: Vit,
    pub(super) optimizer: AdamW,
    pub(super) workers: Workers,
    pub(super) step: u64,
    pub(super) epoch: u64,
    /// The stage of the last batch.
    pub(super) stage: Option<Stage>,
    pub(super) history: History,
}

impl Trainer {
    /// A new run, whose first batches have images of `band` pixels. `threads` CPU threads compute gradients; their
    /// number changes no result.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting cannot work.
    pub fn new(config: TrainConfig, band: u32, threads: usize, device: &Device) -> Result<Self> {
        config.check()?;
        Ok(Self {
            model: Vit::new(&config.model, band, config.seed, device)?,
            optimizer: AdamW::new(config.optimizer.clone()),
            workers: Workers::new(threads)?,
            step: 0,
            epoch: 0,
            stage: None,
            history: History::default(),
            config,
        })
    }

    /// The settings.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// The model.
    pub fn model(&self) -> &Vit {
        &self.model
    }

    /// Optimiser steps taken.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// What the run has been through.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Gets ready for images of `band` pixels: the position embedding and both of its moments are interpolated from
    /// their present grid, the class token's row stays bit for bit (`efficienttrain.md` §3.4).
    ///
    /// # Errors
    /// [`Error::Config`] if `band` is no multiple of the patch.
    pub fn set_band(&mut self, band: u32) -> Result<()> {
        let to = self.config.model.grid(band)?;
        let from = self.config.model.grid(self.model.band())?;
        if from == to {
            return Ok(());
        }
        let dim = self.config.model.dim;
        self.optimizer.reshape(self.model.position.id, |moment| {
            let device = moment.device();
            let table = moment.into_data().try_to_vec::<f32>().expect("moments are f32");
            let table = position::resize(&table, dim, from, to);
            let len = table.len();
            Tensor::from_data(TensorData::new(table, [len]), &device)
        });
        self.model = self.model.clone().resized(to);
        Ok(())
    }

    /// Gradient of the losses of `batch`, to be summed with those of the other batches of a step. `place` is the number
    /// of images of the step before this batch.
    ///
    /// # Errors
    /// [`Error::Training`] if the loss is not finite; [`Error::Config`] if labels or size do not fit the model.
    pub fn gradient(&self, batch: &Batch, place: usize) -> Result<Gradients> {
        let gradients = gradient::of_batch(&self.model, &self.config, &self.workers, batch, self.step, place)?;
        if !gradients.loss.is_finite() {
            return Err(Error::Training {
                step: self.step,
                reason: format!("the loss is {} in batch {} of images {:?}", gradients.loss, batch.step, batch.indices),
            });
        }
        Ok(gradients)
    }

    /// Takes one optimiser step at `rate` and returns the gradient's global norm before clipping.
    ///
    /// # Errors
    /// [`Error::Training`] if that norm is not finite.
    pub fn update(&mut self, gradients: Gradients, rate: f64) -> Result<f64> {
        let norm = self.optimizer.step(&mut self.model, gradients, rate, self.step)?;
        self.step += 1;
        Ok(norm)
    }
}
