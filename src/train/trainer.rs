//! What a step of training changes, and the step.

use super::config::{Precision, TrainConfig};
use super::ema::{self, Ema};
use super::gradient::{self, Gradients, Workers};
use super::optimizer::AdamW;
use super::position;
use super::precision::LossScale;
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
    /// One for each decay of the settings.
    pub(super) emas: Vec<Ema>,
    /// Of use in half precision only.
    pub(super) loss_scale: LossScale,
    /// Names of the classes, where the data has told them.
    pub(super) classes: Vec<String>,
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
        config.precision.check(device)?;
        Ok(Self {
            model: Vit::new(&config.model, band, config.seed, device)?,
            optimizer: AdamW::new(config.optimizer.clone()),
            emas: vec![Ema::default(); config.ema.len()],
            loss_scale: LossScale::default(),
            classes: Vec::new(),
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

    /// A copy of the model with the `index`-th running mean of the weights ([`TrainConfig::ema`]) in place of its own;
    /// `None` if there is no such mean, or before the first step.
    pub fn averaged(&self, index: usize) -> Option<Vit> {
        self.emas.get(index).filter(|ema| !ema.tensors.is_empty()).map(|ema| ema.put(&self.model))
    }

    /// Names of the classes, in the order of the head's outputs; empty if nobody has told them. [`super::fit()`] takes them
    /// from its feed, and checkpoints keep them.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Optimiser steps taken.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// What the run has been through.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Gets ready for images of `band` pixels: the position embedding, both of its moments and its running means are
    /// interpolated from their present grid, the class token's row stays bit for bit (`efficienttrain.md` §3.4).
    ///
    /// # Errors
    /// [`Error::Config`] if `band` is no multiple of the patch.
    pub fn set_band(&mut self, band: u32) -> Result<()> {
        let to = self.config.model.grid(band)?;
        let from = self.config.model.grid(self.model.band())?;
        if from == to {
            return Ok(());
        }
        let (dim, id) = (self.config.model.dim, self.model.position.id);
        let resized = |flat: Tensor<1>| {
            let device = flat.device();
            let table = flat.into_data().try_to_vec::<f32>().expect("moments and means are f32");
            let table = position::resize(&table, dim, from, to);
            let len = table.len();
            Tensor::from_data(TensorData::new(table, [len]), &device)
        };
        self.optimizer.reshape(id, resized);
        for ema in &mut self.emas {
            if let Some(mean) = ema.tensors.remove(&id) {
                ema.tensors.insert(id, resized(mean));
            }
        }
        self.model = self.model.clone().resized(to);
        Ok(())
    }

    /// Gradient of the losses of `batch`, to be summed with those of the other batches of a step. `place` is the number
    /// of images of the step before this batch.
    ///
    /// # Errors
    /// [`Error::Training`] if the loss is not finite; [`Error::Config`] if labels or size do not fit the model.
    pub fn gradient(&self, batch: &Batch, place: usize) -> Result<Gradients> {
        let gradients = self.any_gradient(batch, place)?;
        if !gradients.loss.is_finite() {
            return Err(Error::Training {
                step: self.step,
                reason: format!("the loss is {} in batch {} of images {:?}", gradients.loss, batch.step, batch.indices),
            });
        }
        Ok(gradients)
    }

    /// [`Trainer::gradient`], whatever the loss is.
    pub(super) fn any_gradient(&self, batch: &Batch, place: usize) -> Result<Gradients> {
        let scale = if self.config.precision == Precision::F16 { self.loss_scale.factor } else { 1.0 };
        gradient::of_batch(&self.model, &self.config, &self.workers, batch, self.step, place, scale)
    }

    /// Takes one optimiser step at `rate`, brings the running means up to date and returns the gradient's global norm
    /// before clipping. In half precision a norm that is not finite lowers the loss scale and changes nothing else: the
    /// step counts, and infinity is returned.
    ///
    /// # Errors
    /// [`Error::Training`] if that norm is not finite, in half precision only if no loss scale helps.
    pub fn update(&mut self, gradients: Gradients, rate: f64) -> Result<f64> {
        let step = self.step;
        self.advance(gradients, rate)
            .map_err(|norm| Error::Training { step, reason: format!("the gradient's norm is {norm}") })
    }

    /// [`Trainer::update`], with the norm as the error.
    pub(super) fn advance(&mut self, gradients: Gradients, rate: f64) -> std::result::Result<f64, f64> {
        let half = self.config.precision == Precision::F16;
        let norm = match self.optimizer.advance(&mut self.model, gradients, rate) {
            Err(_) if half && self.loss_scale.overflowed() => {
                self.step += 1;
                return Ok(f64::INFINITY);
            }
            result => result?,
        };
        if half {
            self.loss_scale.good();
        }
        self.step += 1;
        for (ema, &decay) in self.emas.iter_mut().zip(&self.config.ema) {
            ema.update(&self.model, ema::decay(decay, self.config.ema_warmup, self.step));
        }
        Ok(norm)
    }
}
