//! Accuracy and loss over a validation set.

use super::gradient;
use super::loss::Hits;
use super::report::EvalReport;
use super::trainer::Trainer;
use super::vit::Vit;
use crate::batch::Batch;
use crate::error::{Error, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Top-1, top-5 and mean cross-entropy of `trainer`'s model over `pass`. The model is interpolated to each batch's band
/// on a copy; the trainer stays as it is.
///
/// # Errors
/// Whatever the pass yields; [`Error::Config`] if it is empty or does not fit the model.
pub fn evaluate(trainer: &Trainer, pass: impl Iterator<Item = Result<Batch>>) -> Result<EvalReport> {
    let report = evaluate_until(trainer, pass, &AtomicBool::new(false))?;
    Ok(report.expect("a pass that nobody stops comes to its end"))
}

/// [`evaluate`], given up with `None` at the first batch after `stop` is set.
pub(super) fn evaluate_until(
    trainer: &Trainer,
    pass: impl Iterator<Item = Result<Batch>>,
    stop: &AtomicBool,
) -> Result<Option<EvalReport>> {
    let start = Instant::now();
    let config = &trainer.config;
    let mut model: Vit = trainer.model.clone();
    let (mut loss, mut hits, mut images) = (0.0, Hits::default(), 0);
    for batch in pass {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let batch = batch?;
        if model.band() != batch.stage.band {
            model = trainer.model.clone().resized(config.model.grid(batch.stage.band)?);
        }
        let (l, h) = gradient::score(&model, config, &trainer.workers, &batch)?;
        loss += l;
        hits.top1 += h.top1;
        hits.top5 += h.top5;
        images += batch.len();
    }
    if images == 0 {
        return Err(Error::config("validation", "the validation set gave no image"));
    }
    let share = |n: usize| n as f64 / images as f64;
    Ok(Some(EvalReport {
        epoch: trainer.epoch,
        step: trainer.step,
        band: model.band(),
        images,
        top1: share(hits.top1),
        top5: (config.model.classes > 5).then_some(share(hits.top5)),
        loss: loss / images as f64,
        seconds: start.elapsed().as_secs_f64(),
    }))
}
