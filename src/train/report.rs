//! What a run tells while it goes on, and at its end.

use super::growth::MoGrow;
use super::nonfinite::number;
use super::trainer::Trainer;
use crate::batch::Batch;
use crate::schedule::{Candidate, Stage};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// One optimiser step.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StepReport {
    /// Number of the step in the run, from 0.
    pub step: u64,
    /// Pass over the data set, from 0.
    pub epoch: u64,
    /// Share of the run's compute consumed before the step, `0..1`.
    pub progress: f64,
    /// Index of the stage.
    pub stage: usize,
    /// Side of the images in pixels.
    pub band: u32,
    /// Mean training loss of the step's images, with smoothed labels.
    pub loss: f64,
    /// Learning rate: that of `progress`, so 0 in the first step of a run with a warm-up.
    pub learning_rate: f64,
    /// Global norm of the mean gradient, before clipping; 0 in a step that was left out.
    pub grad_norm: f64,
    /// Whether the step changed no weight, because a gradient in half precision overflowed and the loss scale was
    /// lowered ([`super::Precision::F16`]).
    pub skipped: bool,
    /// Images of the step.
    pub images: usize,
    /// How many of them were decoded for it; the others came from the replay buffer.
    pub fresh: usize,
    /// Blocks of the model.
    pub depth: usize,
    /// Patches of an image as the model sees it.
    pub tokens: usize,
    /// Floating-point operations of the step, forwards and backwards ([`super::VitConfig::training_flops`]).
    pub flops: f64,
    /// Whether the step trained a part of a supernet; depth and tokens are the part's.
    pub search: bool,
    /// RandAugment's mean magnitude in the step's first batch.
    pub magnitude: f64,
    /// Time spent waiting for the step's batches.
    pub wait: Duration,
    /// Time spent on gradient and update.
    pub compute: Duration,
}

/// One pass over the validation set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EvalReport {
    /// The epoch that had just ended, from 0.
    pub epoch: u64,
    /// Optimiser steps taken before.
    pub step: u64,
    /// Side of the images in pixels.
    pub band: u32,
    /// Images of the pass.
    pub images: usize,
    /// Share of images whose label got the best score, `0..=1`.
    pub top1: f64,
    /// Share of images whose label was among the five best; `None` with five classes or fewer.
    pub top5: Option<f64>,
    /// Mean cross-entropy, labels not smoothed; not finite if the model's weights have run away.
    #[serde(with = "number")]
    pub loss: f64,
    /// Time of the pass in seconds, loading included.
    pub seconds: f64,
    /// The same of each running mean of the weights, in the order of [`super::TrainConfig::ema`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ema: Vec<EmaReport>,
}

impl EvalReport {
    /// The highest top-1 accuracy of the model and its running means.
    pub fn best_top1(&self) -> f64 {
        self.ema.iter().fold(self.top1, |best, ema| best.max(ema.top1))
    }
}

/// What a running mean of the weights is worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EmaReport {
    /// Its decay.
    pub decay: f64,
    /// As [`EvalReport::top1`].
    pub top1: f64,
    /// As [`EvalReport::top5`].
    pub top5: Option<f64>,
    /// As [`EvalReport::loss`].
    #[serde(with = "number")]
    pub loss: f64,
}

/// One growth of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GrowthReport {
    /// Number of the step that comes next, from 0.
    pub step: u64,
    /// Share of the run's compute consumed before it, `0..1`.
    pub progress: f64,
    /// Index of the stage that begins.
    pub stage: usize,
    /// Blocks before.
    pub before: usize,
    /// Blocks after.
    pub after: usize,
    /// Where the weights come from.
    pub mogrow: MoGrow,
    /// Mean cross-entropy of the stage's first batch at the stage's resolution, labels not smoothed and nothing dropped, in
    /// the model before; `None` if the batch is empty.
    pub loss_before: Option<f64>,
    /// The same in the model after.
    pub loss_after: Option<f64>,
}

/// One decision of AutoProg's search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SearchReport {
    /// Number of the step that comes next, from 0.
    pub step: u64,
    /// Share of the run's images consumed before it, `0..1`.
    pub progress: f64,
    /// Share of the run's images at which the supernet began.
    pub begin: f64,
    /// Number of the growth stage that chose, from 0.
    pub stage: usize,
    /// What it could choose from.
    pub candidates: Vec<Candidate>,
    /// Mean cross-entropy of each candidate over the probe, at each look in the search's last pass.
    #[serde(with = "super::nonfinite::rows")]
    pub losses: Vec<Vec<f64>>,
    /// What a step of each candidate costs: seconds of a batch, or floating-point operations of an image.
    pub costs: Vec<f64>,
    /// Exponent b of the fit, loss = a cost^b.
    pub exponent: f64,
    /// Index of the choice.
    pub chosen: usize,
    /// Seconds spent looking at candidates, besides the supernet's training.
    pub seconds: f64,
    /// Floating-point operations of that.
    pub flops: f64,
}

impl SearchReport {
    /// The choice.
    pub fn choice(&self) -> Candidate {
        self.candidates[self.chosen]
    }

    /// Mean loss of each candidate over all looks, by which it was chosen.
    pub fn mean_losses(&self) -> Vec<f64> {
        Self::means(&self.losses)
    }

    pub(super) fn means(looks: &[Vec<f64>]) -> Vec<f64> {
        let count = looks.first().map_or(0, Vec::len);
        (0..count).map(|i| looks.iter().map(|look| look[i]).sum::<f64>() / looks.len() as f64).collect()
    }
}

/// Sums over the steps of one stage: those with its index and band, since stages set by hand may share an index.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StageTotal {
    /// Index of the stage.
    pub stage: usize,
    /// Side of the images in pixels.
    pub band: u32,
    /// Optimiser steps.
    pub steps: u64,
    /// Images.
    pub images: u64,
    /// How many of them were decoded; the others came from the replay buffer.
    #[serde(default)]
    pub fresh: u64,
    /// Seconds spent waiting for batches.
    pub wait: f64,
    /// Seconds spent on gradients and updates.
    pub compute: f64,
    /// Sum of the images' losses.
    pub loss: f64,
    /// Blocks of the model in the last of the steps; 0 in checkpoints of older versions, as the two below.
    #[serde(default)]
    pub depth: usize,
    /// Patches of an image.
    #[serde(default)]
    pub tokens: usize,
    /// Floating-point operations of the steps.
    #[serde(default)]
    pub flops: f64,
    /// Whether these are the steps of a supernet, of which each trains a part; depth and tokens are then the largest part's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub search: bool,
}

impl StageTotal {
    /// Seconds in all: waiting and computing. Evaluation and checkpoints are not among them.
    pub fn wall(&self) -> f64 {
        self.wait + self.compute
    }

    /// Share of the time spent waiting for batches, `0..=1`.
    pub fn wait_share(&self) -> f64 {
        self.wait / self.wall().max(f64::MIN_POSITIVE)
    }

    /// Images a second.
    pub fn images_per_second(&self) -> f64 {
        self.images as f64 / self.wall().max(f64::MIN_POSITIVE)
    }

    /// Mean loss of an image.
    pub fn mean_loss(&self) -> f64 {
        self.loss / (self.images as f64).max(1.0)
    }
}

/// What a run has been through, kept in its checkpoints.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct History {
    /// Mean training loss of each optimiser step.
    #[serde(skip)]
    pub losses: Vec<f32>,
    /// Sums by stage, in the order in which the stages first came.
    pub stages: Vec<StageTotal>,
    /// Passes over the validation set, one at the end of each epoch.
    pub evaluations: Vec<EvalReport>,
    /// The pass at the base size after the last step.
    pub finished: Option<EvalReport>,
    /// Each growth of the model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub growths: Vec<GrowthReport>,
    /// Each decision of AutoProg's search.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub searches: Vec<SearchReport>,
}

impl History {
    pub(super) fn add(&mut self, report: &StepReport) {
        self.losses.push(report.loss as f32);
        let key = (report.stage, report.band, report.search);
        let own = |s: &StageTotal| (s.stage, s.band, s.search) == key;
        let place = self.stages.iter().position(own).unwrap_or_else(|| {
            self.stages.push(StageTotal { stage: key.0, band: key.1, search: key.2, ..StageTotal::default() });
            self.stages.len() - 1
        });
        let total = &mut self.stages[place];
        total.steps += 1;
        total.images += report.images as u64;
        total.fresh += report.fresh as u64;
        total.wait += report.wait.as_secs_f64();
        total.compute += report.compute.as_secs_f64();
        total.loss += report.loss * report.images as f64;
        (total.depth, total.tokens) = match key.2 {
            true => (total.depth.max(report.depth), total.tokens.max(report.tokens)),
            false => (report.depth, report.tokens),
        };
        total.flops += report.flops;
    }

    /// The pass with the highest top-1 accuracy, be it the model's or a running mean's, and the first of equals.
    pub fn best(&self) -> Option<&EvalReport> {
        let all = self.evaluations.iter().chain(&self.finished);
        all.reduce(|a, b| if b.best_top1() > a.best_top1() { b } else { a })
    }

    /// The latest pass.
    pub fn last(&self) -> Option<&EvalReport> {
        self.finished.as_ref().or(self.evaluations.last())
    }
}

/// How a call of [`super::fit()`] ended.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Summary {
    /// Optimiser steps since the start of the run.
    pub steps: u64,
    /// Whether the run was asked to stop before its end.
    pub stopped: bool,
    /// The whole run, from its first start on.
    pub history: History,
}

/// Sees a run go on. Every method does nothing unless it is written.
pub trait Watch {
    /// A stage begins: before its first step, also when a run goes on in its middle.
    fn stage(&mut self, _stage: &Stage) {}
    /// The model has grown, at the begin of a stage.
    fn grown(&mut self, _report: &GrowthReport) {}
    /// AutoProg's search has chosen.
    fn searched(&mut self, _report: &SearchReport) {}
    /// A batch is about to be learnt from.
    fn batch(&mut self, _batch: &Batch, _trainer: &Trainer) {}
    /// A step was taken.
    fn step(&mut self, _report: &StepReport) {}
    /// The last step of an epoch was taken; if there is a validation set, its pass comes next.
    fn epoch(&mut self, _trainer: &Trainer) {}
    /// A pass over the validation set is over.
    fn evaluated(&mut self, _report: &EvalReport) {}
    /// A checkpoint is about to be written. A run that is killed after that goes on from the checkpoint and tells none of
    /// these steps and passes again: what was told until now must be on disk when this returns.
    fn saving(&mut self) {}
    /// A checkpoint was written, and copied if it is the best.
    fn saved(&mut self, _path: &Path) {}
}

/// Sees nothing.
impl Watch for () {}
