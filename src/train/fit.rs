//! The training loop.

use super::checkpoint;
use super::evaluate::evaluate_until;
use super::gradient::Gradients;
use super::nonfinite::{NonFinite, SuspectBatch};
use super::report::{EvalReport, GrowthReport, StepReport, Summary, Watch};
use super::trainer::Trainer;
use super::{Feed, Validation};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::schedule::Stage;
use serde::Serialize;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Where and when checkpoints are written: besides the rules here, before and after each evaluation, when the run is
/// asked to stop, when the feed fails, and at the end. `last.safetensors` is the newest, `best.safetensors` that of the best
/// evaluation: the highest top-1 of the model or of a running mean of its weights.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    /// The folder, made if it is not there.
    pub folder: PathBuf,
    /// Steps between two checkpoints.
    pub every_steps: Option<u64>,
    /// Time between two checkpoints.
    pub every: Option<Duration>,
}

impl Checkpoints {
    /// Checkpoints in `folder` at least every ten minutes.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), every_steps: None, every: Some(Duration::from_secs(600)) }
    }

    /// The newest checkpoint.
    pub fn last(&self) -> PathBuf {
        self.folder.join("last.safetensors")
    }

    /// The record of a step whose loss or gradient was not finite ([`NonFinite`]).
    pub fn nonfinite(&self) -> PathBuf {
        self.folder.join("nonfinite.json")
    }

    /// The checkpoint of the best evaluation.
    pub fn best(&self) -> PathBuf {
        self.folder.join("best.safetensors")
    }
}

/// What a run may do besides learning.
pub struct Run<'a> {
    /// Asked for a pass at the end of each epoch, at the current band, and for one at the base size in the end.
    pub validation: Option<&'a mut dyn Validation>,
    /// Whether and where to save.
    pub checkpoints: Option<Checkpoints>,
    /// Set it from anywhere, for example a Ctrl-C handler: the run saves after the step at hand and returns. A pass over
    /// the validation set is given up at its next batch, and made anew when the run goes on.
    pub stop: &'a AtomicBool,
    /// Sees what happens.
    pub watch: &'a mut dyn Watch,
}

/// Trains until `feed` ends:
///
/// ```text
/// for each batch of the schedule's stage
///     if the band changed: interpolate position embedding and its moments
///     if the depth changed: grow the model, its running means and moments (TrainConfig::growth)
///     gradient <- gradient + d loss(batch)                  (stage.accumulate times)
///     model    <- AdamW(model, gradient, rate(compute consumed) * stage.rate_scale)
///     at the end of an epoch: save, evaluate at the current band, save
/// evaluate at the base size, save
/// ```
///
/// A step also ends where the stage changes in anything, be it by the schedule, by hand or by a search, and where the epoch ends. To
/// go on with a run, give the trainer and the feed that [`Trainer::load`] and its state make.
///
/// The rate is that of the share of compute consumed *before* the step, as in the released scripts
/// (`efficienttrain.md` §3.2): with a warm-up, the first step of a run has rate 0. It fills the optimiser's moments and
/// moves no weight.
///
/// # Errors
/// Whatever feed, validation and checkpoints yield; [`crate::Error::Training`] if loss or gradient is not finite: where
/// there are checkpoints, [`Checkpoints::nonfinite`] then tells which images it was and how to make them again. If any of
/// these fail, all steps taken before have been saved.
pub fn fit<F: Feed>(trainer: &mut Trainer, feed: &mut F, run: Run<'_>) -> Result<Summary> {
    steered(trainer, feed, run, |_, _, _, _| Ok(Turn::Stay))
}

/// What [`steered`] is to do with the next batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// As before.
    Stay,
    /// It is of another stage, which the feed was told. No step may be open.
    Stage,
    /// To end the step at hand first, and to ask again.
    EndStep,
}

/// [`fit`], with `steer` asked before each batch; its last argument is whether a step is open, whose batches are summed and which
/// is not taken yet.
pub(super) fn steered<F: Feed>(
    trainer: &mut Trainer,
    feed: &mut F,
    run: Run<'_>,
    mut steer: impl FnMut(&mut Trainer, &mut F, &mut dyn Watch, bool) -> Result<Turn>,
) -> Result<Summary> {
    let saved = (Instant::now(), trainer.step);
    let classes = feed.classes();
    if !classes.is_empty() {
        trainer.classes = classes;
    }
    let mut fit = Fit { trainer, run, step: None, announced: false, saved, kept: None };
    // Where the batches of the step at hand begin.
    let mut begin = feed.state();
    fit.mend_best(&begin)?;
    loop {
        if fit.step.is_some() || !fit.run.stop.load(Ordering::Relaxed) {
            match steer(fit.trainer, feed, fit.run.watch, fit.step.is_some()) {
                Ok(Turn::Stay) => {}
                Ok(Turn::Stage) => fit.announced = false,
                Ok(Turn::EndStep) => {
                    fit.update(feed, &begin)?;
                    continue;
                }
                Err(error) => {
                    let here = if fit.step.is_some() { begin } else { feed.state() };
                    return Err(fit.failed(&here, error));
                }
            }
        }
        let here = feed.state();
        if fit.step.is_none() {
            begin = here.clone();
            if fit.run.stop.load(Ordering::Relaxed) {
                fit.save(&here)?;
                return Ok(fit.summary(true));
            }
            if fit.is_time_to_save() {
                fit.save(&here)?;
            }
        }
        let start = Instant::now();
        let next = tracing::debug_span!("batch").in_scope(|| feed.next_batch().transpose());
        let batch = match next {
            Ok(batch) => batch,
            Err(error) => return Err(fit.failed(&begin, error)),
        };
        let wait = start.elapsed();

        if fit.step.as_ref().is_some_and(|step| !step.takes(batch.as_ref())) {
            fit.update(feed, &begin)?;
            begin = here.clone();
        }
        let Some(batch) = batch else {
            let stopped = fit.finish(&here)?.is_break();
            return Ok(fit.summary(stopped));
        };
        if batch.epoch != fit.trainer.epoch {
            if fit.end_epoch(&here)?.is_break() {
                return Ok(fit.summary(true));
            }
            fit.trainer.epoch = batch.epoch;
        }
        if let Err(error) = fit.trainer.check_stage(&batch.stage) {
            return Err(fit.failed(&begin, error));
        }
        fit.begin_stage(&batch)?;
        fit.run.watch.batch(&batch, fit.trainer);
        fit.learn(&batch, wait, feed, &begin)?;
    }
}

struct Fit<'a, 'b> {
    trainer: &'a mut Trainer,
    run: Run<'b>,
    step: Option<Step>,
    /// Whether the watch knows of the trainer's stage.
    announced: bool,
    /// When the last checkpoint was written, and at which step.
    saved: (Instant, u64),
    /// The step that this call wrote the last checkpoint at.
    kept: Option<u64>,
}

/// An optimiser step whose batches are being summed.
struct Step {
    gradients: Gradients,
    /// What is to be told of the batches should something not be finite.
    batches: Vec<SuspectBatch>,
    fresh: usize,
    magnitude: f64,
    stage: Stage,
    epoch: u64,
    progress: f64,
    wait: Duration,
    compute: Duration,
}

impl Step {
    fn takes(&self, batch: Option<&Batch>) -> bool {
        batch.is_some_and(|b| b.stage == self.stage && b.epoch == self.epoch)
    }
}

impl Fit<'_, '_> {
    /// The error that a run ends with, when what was learnt has been saved. The weights are as they were at `here`, where the step
    /// at hand begins. Should saving fail too, `error` was first.
    fn failed<S: Serialize>(&mut self, here: &S, error: Error) -> Error {
        if self.trainer.step > 0 {
            let _ = self.keep(here);
        }
        error
    }

    fn begin_stage(&mut self, batch: &Batch) -> Result<()> {
        let stage = &batch.stage;
        if !self.announced || self.trainer.stage.as_ref() != Some(stage) {
            self.trainer.set_band(stage.side())?;
            self.run.watch.stage(stage);
            if self.trainer.depth_in(stage) != self.trainer.depth() {
                self.grow(batch)?;
            }
            self.trainer.stage = Some(stage.clone());
            self.announced = true;
        }
        Ok(())
    }

    /// Grows the model to the depth of the batch's stage, and tells what that did to the batch's loss.
    fn grow(&mut self, batch: &Batch) -> Result<()> {
        let trainer = &mut *self.trainer;
        let _span = tracing::debug_span!("grow", step = trainer.step).entered();
        let (before, loss_before) = (trainer.depth(), trainer.plain_loss(batch)?);
        trainer.grow(trainer.depth_in(&batch.stage))?;
        let report = GrowthReport {
            step: trainer.step,
            progress: batch.progress,
            stage: batch.stage.index,
            before,
            after: trainer.depth(),
            mogrow: trainer.config.growth.mogrow,
            loss_before,
            loss_after: trainer.plain_loss(batch)?,
        };
        self.run.watch.grown(&report);
        trainer.history.growths.push(report);
        Ok(())
    }

    /// Adds a batch to the step, and takes the step if it has all of its batches. The step's first batch comes from
    /// `begin`.
    fn learn<F: Feed>(&mut self, batch: &Batch, wait: Duration, feed: &F, begin: &F::State) -> Result<()> {
        let start = Instant::now();
        let step = self.step.get_or_insert_with(|| Step {
            gradients: Gradients::default(),
            batches: Vec::new(),
            fresh: 0,
            magnitude: batch.magnitude,
            stage: batch.stage.clone(),
            epoch: batch.epoch,
            progress: batch.progress,
            wait: Duration::ZERO,
            compute: Duration::ZERO,
        });
        let span = tracing::debug_span!("gradient", step = self.trainer.step, band = batch.stage.band).entered();
        let gradients = match batch.is_empty() {
            true => Gradients::default(),
            false => self.trainer.any_gradient(batch, step.gradients.images())?,
        };
        drop(span);
        step.batches.push(SuspectBatch::new(batch, gradients.losses()));
        let finite = gradients.loss.is_finite();
        step.gradients.add(gradients);
        step.fresh += batch.fresh;
        step.wait += wait;
        step.compute += start.elapsed();
        if !finite {
            let step = self.step.take().expect("it was put there just now");
            let what =
                format!("the loss is {} in batch {} of images {:?}", step.gradients.loss, batch.step, batch.indices);
            let loss = step.gradients.mean_loss();
            return Err(self.not_finite(step, loss, None, what, feed, begin));
        }
        if step.batches.len() >= step.stage.accumulate {
            self.update(feed, begin)?;
        }
        Ok(())
    }

    fn update<F: Feed>(&mut self, feed: &F, begin: &F::State) -> Result<()> {
        let Some(mut step) = self.step.take().filter(|step| step.gradients.images() > 0) else { return Ok(()) };
        let start = Instant::now();
        let (loss, images) = (step.gradients.mean_loss(), step.gradients.images());
        let learning_rate = self.learning_rate(&step);
        let (depth, side) = self.trainer.size_in(&step.stage)?;
        let updating = tracing::debug_span!("update", step = self.trainer.step).entered();
        let grad_norm = match self.trainer.advance(std::mem::take(&mut step.gradients), learning_rate) {
            Ok(norm) => norm,
            Err(norm) => {
                let what = format!("the gradient's norm is {norm}");
                return Err(self.not_finite(step, loss, Some(norm), what, feed, begin));
            }
        };
        drop(updating);
        let shape = &self.trainer.config.model;
        let tokens = shape.grid(side)?.pow(2);
        let report = StepReport {
            step: self.trainer.step - 1,
            epoch: step.epoch,
            progress: step.progress,
            stage: step.stage.index,
            band: step.stage.band,
            loss,
            learning_rate,
            grad_norm: if grad_norm.is_finite() { grad_norm } else { 0.0 },
            skipped: !grad_norm.is_finite(),
            images,
            fresh: step.fresh,
            depth,
            tokens,
            flops: shape.training_flops(depth, tokens) * images as f64,
            search: step.stage.growth.search,
            magnitude: step.magnitude,
            wait: step.wait,
            compute: step.compute + start.elapsed(),
        };
        self.trainer.history.add(&report);
        self.run.watch.step(&report);
        Ok(())
    }

    fn learning_rate(&self, step: &Step) -> f64 {
        self.trainer.config.learning_rate.at(step.progress) * step.stage.rate_scale
    }

    /// Saves the weights, which are those before `step`, writes down what is known of the step, and returns what the run
    /// ends with.
    fn not_finite<F: Feed>(
        &mut self,
        mut step: Step,
        loss: f64,
        grad_norm: Option<f64>,
        what: String,
        feed: &F,
        begin: &F::State,
    ) -> Error {
        let number = self.trainer.step;
        let Some(checkpoints) = self.run.checkpoints.clone() else {
            return Error::Training { step: number, reason: what };
        };
        // Should saving fail too, the record is worth having all the same.
        let saved = number > 0 && self.keep(begin).is_ok();
        for image in step.batches.iter_mut().flat_map(|batch| &mut batch.images) {
            image.name = feed.name(image.index);
        }
        let record = NonFinite {
            step: number,
            epoch: step.epoch,
            progress: step.progress,
            learning_rate: self.learning_rate(&step),
            stage: step.stage,
            seed: self.trainer.config.seed,
            loss,
            grad_norm,
            batches: step.batches,
            checkpoint: saved.then(|| checkpoints.last()),
            feed: begin.clone(),
        };
        let path = checkpoints.nonfinite();
        let reason = match record.write(&path) {
            Ok(()) => format!(
                "{what}; {} has the loss of each of the step's images and the state to make them again from \
                 (bandfeed::train::NonFinite)",
                path.display()
            ),
            Err(error) => format!("{what}; no record of it could be written: {error}"),
        };
        Error::Training { step: number, reason }
    }

    /// Evaluates at the current band and saves, unless a checkpoint taken in between has seen it done. Breaks if the run
    /// is asked to stop on the way, with all saved but the evaluation.
    fn end_epoch<S: Serialize>(&mut self, here: &S) -> Result<ControlFlow<()>> {
        let done = self.trainer.history.evaluations.last().is_some_and(|e| e.step == self.trainer.step);
        if done || self.trainer.step == 0 {
            return Ok(ControlFlow::Continue(()));
        }
        self.keep(here)?;
        self.run.watch.epoch(self.trainer);
        if let Some(stage) = self.trainer.stage.clone()
            && self.run.validation.is_some()
        {
            let Some(report) = self.evaluate(&stage)? else { return Ok(ControlFlow::Break(())) };
            self.trainer.history.evaluations.push(report);
            self.save(here)?;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Ends the last epoch and evaluates at the base size. Breaks as [`Fit::end_epoch`] does.
    fn finish<S: Serialize>(&mut self, here: &S) -> Result<ControlFlow<()>> {
        if self.trainer.history.finished.is_some() || self.trainer.step == 0 {
            return Ok(ControlFlow::Continue(()));
        }
        if self.end_epoch(here)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        if let Some(stage) = self.trainer.stage.clone()
            && self.run.validation.is_some()
        {
            let base = Stage { band: stage.base, ..stage };
            let same = |e: &&EvalReport| e.step == self.trainer.step && e.band == base.band;
            let same = self.trainer.history.evaluations.last().filter(same).cloned();
            let report = if same.is_some() { same } else { self.evaluate(&base)? };
            let Some(report) = report else { return Ok(ControlFlow::Break(())) };
            self.trainer.history.finished = Some(report);
        }
        self.save(here)?;
        Ok(ControlFlow::Continue(()))
    }

    /// `None` without a validation set, and if the run is asked to stop before the pass is over.
    fn evaluate(&mut self, stage: &Stage) -> Result<Option<EvalReport>> {
        let stop = self.run.stop;
        let Some(validation) = self.run.validation.as_mut().filter(|_| !stop.load(Ordering::Relaxed)) else {
            return Ok(None);
        };
        let _span = tracing::debug_span!("evaluate", band = stage.band).entered();
        let report = evaluate_until(self.trainer, validation.pass(stage)?, stop)?;
        if let Some(report) = &report {
            self.run.watch.evaluated(report);
        }
        Ok(report)
    }

    fn is_time_to_save(&self) -> bool {
        let Some(checkpoints) = &self.run.checkpoints else { return false };
        let (when, step) = self.saved;
        let new = self.trainer.step - step;
        let by_time = |time| new > 0 && when.elapsed() >= time;
        checkpoints.every_steps.is_some_and(|n| new >= n.max(1)) || checkpoints.every.is_some_and(by_time)
    }

    /// Saves, unless this call has saved after the last step already.
    fn keep<S: Serialize>(&mut self, here: &S) -> Result<()> {
        if self.kept == Some(self.trainer.step) { Ok(()) } else { self.save(here) }
    }

    fn save<S: Serialize>(&mut self, here: &S) -> Result<()> {
        let Some(checkpoints) = &self.run.checkpoints else { return Ok(()) };
        let path = checkpoints.last();
        let _span = tracing::debug_span!("checkpoint", step = self.trainer.step).entered();
        self.run.watch.saving();
        self.trainer.save(&path, here)?;
        self.saved = (Instant::now(), self.trainer.step);
        self.kept = Some(self.trainer.step);
        if self.is_best() {
            checkpoint::copy(&path, &checkpoints.best())?;
        }
        self.run.watch.saved(&path);
        Ok(())
    }

    fn is_best(&self) -> bool {
        self.trainer.history.best().is_some_and(|best| best.step == self.trainer.step)
    }

    /// Writes the best checkpoint if the run was killed before it could be copied from the last.
    fn mend_best<S: Serialize>(&self, here: &S) -> Result<()> {
        let Some(checkpoints) = self.run.checkpoints.as_ref().filter(|_| self.is_best()) else { return Ok(()) };
        let path = checkpoints.best();
        let there = path.exists() && checkpoint::step(&path).is_ok_and(|step| step == self.trainer.step);
        if there { Ok(()) } else { self.trainer.save(&path, here) }
    }

    fn summary(&self, stopped: bool) -> Summary {
        Summary { steps: self.trainer.step, stopped, history: self.trainer.history.clone() }
    }
}
