//! Accuracy and loss over a validation set.

use super::gradient;
use super::loss::Hits;
use super::report::{EmaReport, EvalReport};
use super::trainer::Trainer;
use super::vit::Vit;
use crate::batch::Batch;
use crate::error::{Error, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Top-1, top-5 and mean cross-entropy of `trainer`'s model over `pass`, and of each running mean of its weights. Models
/// are interpolated to each batch's band on copies, and compute in f32; the trainer stays as it is.
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
    let own: Vec<Vit> = std::iter::once(trainer.model.clone())
        .chain((0..config.ema.len()).filter_map(|i| trainer.averaged(i)))
        .collect();
    let (mut models, mut sums, mut images) = (own.clone(), vec![(0.0, Hits::default()); own.len()], 0);
    for batch in pass {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let batch = batch?;
        if models[0].band() != batch.stage.band {
            let grid = config.model.grid(batch.stage.band)?;
            models = own.iter().map(|model| model.clone().resized(grid)).collect();
        }
        for (model, (loss, hits)) in models.iter().zip(&mut sums) {
            let (l, h) = gradient::score(model, config, &trainer.workers, &batch, None)?;
            *loss += l;
            hits.top1 += h.top1;
            hits.top5 += h.top5;
        }
        images += batch.len();
    }
    if images == 0 {
        return Err(Error::config("validation", "the validation set gave no image"));
    }
    let share = |n: usize| n as f64 / images as f64;
    let top5 = |hits: Hits| (config.model.classes > 5).then_some(share(hits.top5));
    let (loss, hits) = sums[0];
    let averages = config.ema.iter().zip(&sums[1..]);
    Ok(Some(EvalReport {
        epoch: trainer.epoch,
        step: trainer.step,
        band: models[0].band(),
        images,
        top1: share(hits.top1),
        top5: top5(hits),
        loss: loss / images as f64,
        seconds: start.elapsed().as_secs_f64(),
        ema: averages
            .map(|(&decay, &(loss, hits))| EmaReport {
                decay,
                top1: share(hits.top1),
                top5: top5(hits),
                loss: loss / images as f64,
            })
            .collect(),
    }))
}
