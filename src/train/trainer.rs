//! What a step of training changes, and the step.

use super::config::{Precision, TrainConfig, VitConfig};
use super::ema::{self, Ema};
use super::gradient::{self, Gradients, Place, Workers};
use super::growth::{self, Grow, GrowthMoments, MoGrow, Sources, carry};
use super::names::parameters;
use super::optimizer::AdamW;
use super::position;
use super::precision::LossScale;
use super::report::History;
use super::search::SearchState;
use super::vit::Vit;
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::rng::mix;
use crate::schedule::{Schedule, Shrink, Stage};
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
    /// Where AutoProg's search is, if there is one.
    pub(super) search: Option<SearchState>,
    pub(super) history: History,
}

impl Trainer {
    /// A new run, whose first batches have images of `band` pixels. `threads` CPU threads compute gradients; their
    /// number changes no result.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting cannot work.
    pub fn new(config: TrainConfig, band: u32, threads: usize, device: &Device) -> Result<Self> {
        let depth = config.model.depth;
        Self::of_depth(config, depth, band, threads, device)
    }

    /// A new run under `schedule`: at the size and depth of its first stage or, where that is searched, of its supernet; it then
    /// goes on with [`super::fit_with_search`].
    ///
    /// # Errors
    /// [`Error::Config`] if a setting cannot work, or if the schedule grows to another depth than the model's, needs a
    /// running mean of the weights to grow from where none is kept, or grows a model whose first layers are frozen.
    pub fn for_schedule(config: TrainConfig, schedule: &Schedule, threads: usize, device: &Device) -> Result<Self> {
        let first = &schedule.stages()[0];
        let (mut depth, mut side) = (config.model.depth, first.side());
        if let Some(own) = first.growth.depth {
            depth = own.blocks as usize;
            let refuse = |what: &str, reason: String| Err(Error::config(what, reason));
            if own.full as usize != config.model.depth {
                let reason = format!("{} blocks, but the schedule's last stage has {}", config.model.depth, own.full);
                return refuse("model.depth", reason);
            }
            let grows = own.blocks < own.full;
            if grows && config.freeze > 0 {
                let reason = format!("{}: the layers of a model that grows are not frozen", config.freeze);
                return refuse("freeze", reason);
            }
            let mogrow = config.growth.mogrow;
            if grows && mogrow.needs_mean() && config.ema.is_empty() {
                let reason = "none, but new blocks come from a running mean of the weights; give a decay, such as 0.999, or \
                              mogrow copy";
                return refuse("ema", reason.into());
            }
        }
        if schedule.search().is_some() {
            let supernet = schedule.supernet(first, &schedule.candidates(0, None));
            (depth, side) = (supernet.growth.depth.map_or(depth, |own| own.blocks as usize), supernet.side());
        }
        Self::of_depth(config, depth, side, threads, device)
    }

    /// A new run with only the first `depth` blocks of what there will be.
    pub(super) fn of_depth(
        config: TrainConfig,
        depth: usize,
        band: u32,
        threads: usize,
        device: &Device,
    ) -> Result<Self> {
        config.check()?;
        config.precision.check(device)?;
        let shape = VitConfig { depth, ..config.model.clone() };
        Ok(Self {
            model: Vit::new(&shape, band, config.seed, device)?,
            optimizer: AdamW::new(config.optimizer.clone()),
            emas: vec![Ema::default(); config.ema.len()],
            loss_scale: LossScale::default(),
            classes: Vec::new(),
            workers: Workers::new(threads)?,
            step: 0,
            epoch: 0,
            stage: None,
            search: None,
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

    /// Blocks of the model as it is: those of the settings, unless it has still to grow.
    pub fn depth(&self) -> usize {
        self.model.blocks.len()
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

    /// Grows the model to `depth` blocks as [`TrainConfig::growth`] says. Each running mean grows from itself, whichever the
    /// weights come from; where new blocks are random or zero it begins anew with them. Before the first step, where there is
    /// no mean yet, the weights stand for it.
    ///
    /// # Errors
    /// [`Error::Config`] if it would shrink or become larger than the settings' model, if there is no mean to grow from, or if
    /// layers are frozen, whose numbers would change.
    pub fn grow(&mut self, depth: usize) -> Result<()> {
        let (own, full) = (self.depth(), self.config.model.depth);
        if depth == own {
            return Ok(());
        }
        if depth < own || depth > full {
            let reason =
                format!("{depth} blocks: expected {own}, which the model has, to {full}, those of the whole one");
            return Err(Error::config("stage.depth", reason));
        }
        if self.config.freeze > 0 {
            return Err(Error::config("freeze", "the layers of a model that grows are not frozen"));
        }
        let by = self.config.growth.mogrow;
        let slowest = (0..self.emas.len()).max_by(|&a, &b| self.config.ema[a].total_cmp(&self.config.ema[b]));
        let mean = slowest.map(|index| self.averaged(index).unwrap_or_else(|| self.model.clone()));
        // A function of run and step, so that a run that goes on draws the same.
        let seed = mix(self.config.seed ^ mix(self.step + 1));
        let map = Sources::new(&self.model.groups(), &[depth])?;
        self.transplant(mean.as_ref(), &map, by, seed)
    }

    /// Keeps only these blocks of the model, with what belongs to them; the moments as [`TrainConfig::growth`] says. Where all are
    /// kept nothing changes, the moments included.
    pub(super) fn extract(&mut self, kept: Vec<usize>) -> Result<()> {
        if kept.len() == self.depth() {
            return Ok(());
        }
        let map = Sources::kept(&self.model.groups(), &[kept])?;
        self.transplant(None, &map, MoGrow::Copy, 0)
    }

    /// Another model in place of the own one, as `map` says, and with it moments and running means.
    fn transplant(&mut self, mean: Option<&Vit>, map: &Sources, by: MoGrow, seed: u64) -> Result<()> {
        let grown = growth::transplant(&self.model, mean, map, by, seed)?;
        let (before, after) = (parameters(&self.model), parameters(&grown));
        let device = self.model.position.val().device();
        let moments = std::mem::take(&mut self.optimizer.moments);
        if self.config.growth.moments == GrowthMoments::Carry {
            let old = before.iter().filter_map(|(name, (id, _))| Some((name.clone(), moments.get(id)?.clone())));
            let new = carry(map, by, &old.collect(), after.keys().cloned(), |_| None);
            self.optimizer.moments = new.into_iter().map(|(name, moments)| (after[&name].0, moments)).collect();
        }
        for ema in self.emas.iter_mut().filter(|ema| !ema.tensors.is_empty()) {
            let old = before.iter().filter_map(|(name, (id, _))| Some((name.clone(), ema.tensors.get(id)?.clone())));
            let own = |name: &str| {
                let values = after[name].1.values.clone();
                let len = values.len();
                Some(Tensor::from_data(TensorData::new(values, [len]), &device))
            };
            let new = carry(map, by, &old.collect(), after.keys().cloned(), own);
            ema.tensors = new.into_iter().map(|(name, mean)| (after[&name].0, mean)).collect();
        }
        self.model = grown;
        Ok(())
    }

    /// Blocks that the model has in this stage.
    pub(super) fn depth_in(&self, stage: &Stage) -> usize {
        stage.growth.depth.map_or(self.config.model.depth, |depth| depth.blocks as usize)
    }

    /// Mean cross-entropy of a batch as training shows it, labels not smoothed and nothing dropped.
    pub(super) fn plain_loss(&self, batch: &Batch) -> Result<Option<f64>> {
        if batch.is_empty() {
            return Ok(None);
        }
        let shrink = batch.stage.growth.shrink;
        let (loss, _) = gradient::score(&self.model, &self.config, &self.workers, batch, shrink)?;
        Ok(Some(loss / batch.len() as f64))
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
        if let Some(part) = self.part_in(&batch.stage)? {
            return self.gradient_of_part(&part, batch, place);
        }
        self.gradient_of(&self.model, batch, batch.stage.growth.shrink, place)
    }

    /// The gradient of `model`, which is the own one or a part of it.
    pub(super) fn gradient_of(
        &self,
        model: &Vit,
        batch: &Batch,
        shrink: Option<Shrink>,
        place: usize,
    ) -> Result<Gradients> {
        let scale = if self.config.precision == Precision::F16 { self.loss_scale.factor } else { 1.0 };
        gradient::of_batch(model, &self.config, &self.workers, batch, shrink, Place { step: self.step, place }, scale)
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
