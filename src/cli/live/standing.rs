//! Where a run stands: what the terminal shows and the exporter serves.

use super::input::Input;
use crate::schedule::{Schedule, Stage};
use crate::train::{EvalReport, History, StepReport};
use std::collections::VecDeque;
use std::time::Instant;

/// Steps that rates and shares are averaged over.
const RECENT: usize = 30;

pub(super) struct Standing {
    /// What shares of the run are shares of: its compute, or where sizes are searched its images.
    pub(super) clock: &'static str,
    /// Start and end of each stage in shares of the run, and its band.
    pub(super) segments: Vec<(f64, f64, u32)>,
    pub(super) stage: Option<Stage>,
    /// Of the last step, from 0.
    pub(super) step: u64,
    pub(super) epoch: u64,
    /// Share of the run before the last step.
    pub(super) progress: f64,
    /// RandAugment's magnitude in the last step, where the policy follows one.
    pub(super) magnitude: Option<f64>,
    pub(super) follows_magnitude: bool,
    /// A running mean.
    pub(super) loss: Option<f64>,
    /// The last pass over the validation set, and the best one: of the model or of a running mean of its weights.
    pub(super) top1: Option<f64>,
    pub(super) best: Option<f64>,
    begun: Instant,
    /// Share of the run at the first step of this process.
    from: Option<f64>,
    recent: VecDeque<Recent>,
}

/// One step.
#[derive(Debug, Clone, Copy, Default)]
struct Recent {
    images: usize,
    wait: f64,
    compute: f64,
    input: Input,
}

/// The last steps of the stage together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lately {
    pub(super) images_per_second: f64,
    /// Share of the trainer's time spent waiting for batches, `0..=1`.
    pub(super) wait: f64,
    pub(super) input: Input,
}

impl Standing {
    pub(super) fn new(schedule: &Schedule, history: &History, follows_magnitude: bool) -> Self {
        Self {
            clock: schedule.clock(),
            segments: schedule.stages().iter().map(|s| (s.start, s.end, s.band)).collect(),
            stage: None,
            step: 0,
            epoch: 0,
            progress: 0.0,
            magnitude: None,
            follows_magnitude,
            loss: None,
            top1: history.last().map(|e| e.top1),
            best: history.best().map(EvalReport::best_top1),
            begun: Instant::now(),
            from: None,
            recent: VecDeque::with_capacity(RECENT + 1),
        }
    }

    pub(super) fn begin(&mut self, stage: &Stage) {
        self.stage = Some(stage.clone());
        self.recent.clear();
    }

    pub(super) fn step(&mut self, r: &StepReport, input: Input) {
        self.from.get_or_insert(r.progress);
        (self.step, self.epoch, self.progress) = (r.step, r.epoch, r.progress);
        self.magnitude = self.follows_magnitude.then_some(r.magnitude);
        // An average over about as many steps as the rate's.
        let weight = 2.0 / (RECENT + 1) as f64;
        self.loss = Some(self.loss.map_or(r.loss, |mean| mean + weight * (r.loss - mean)));
        let (wait, compute) = (r.wait.as_secs_f64(), r.compute.as_secs_f64());
        self.push(r.images, wait, compute, input);
    }

    /// Adds a step to the averages.
    pub(super) fn push(&mut self, images: usize, wait: f64, compute: f64, input: Input) {
        self.recent.push_back(Recent { images, wait, compute, input });
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }

    pub(super) fn evaluated(&mut self, report: &EvalReport) {
        self.top1 = Some(report.top1);
        let top1 = report.best_top1();
        self.best = Some(self.best.map_or(top1, |best| best.max(top1)));
    }

    pub(super) fn lately(&self) -> Lately {
        let (mut images, mut wait, mut compute, mut input) = (0, 0.0, 0.0, Input::default());
        for step in &self.recent {
            images += step.images;
            wait += step.wait;
            compute += step.compute;
            input.add(&step.input);
        }
        let seconds: f64 = (wait + compute).max(1e-9);
        Lately { images_per_second: images as f64 / seconds, wait: wait / seconds, input }
    }

    /// By share of compute: a step costs as its band does. Where images are counted it is too early at first.
    pub(super) fn eta(&self) -> String {
        let done = self.progress - self.from.unwrap_or(self.progress);
        if done <= 0.0 {
            return "-".to_owned();
        }
        let left = (self.begun.elapsed().as_secs_f64() / done * (1.0 - self.progress)) as u64;
        match left / 3600 {
            0 => format!("{}:{:02}", left / 60, left % 60),
            hours => format!("{hours}:{:02}:{:02}", left / 60 % 60, left % 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_of_the_model_or_of_a_mean_of_its_weights() {
        let pass = |top1: f64, mean: f64| -> EvalReport {
            let ema = serde_json::json!([{ "decay": 0.9, "top1": mean, "top5": null, "loss": 1.0 }]);
            serde_json::from_value(serde_json::json!({
                "epoch": 0, "step": 7, "band": 8, "images": 4, "top1": top1, "top5": null, "loss": 1.0, "seconds": 1.0,
                "ema": ema,
            }))
            .unwrap()
        };
        let schedule = Schedule::constant(&crate::schedule::Options::default()).unwrap();
        let history = History { evaluations: vec![pass(0.25, 0.5), pass(0.375, 0.25)], ..History::default() };
        let mut standing = Standing::new(&schedule, &history, false);
        assert_eq!((standing.top1, standing.best), (Some(0.375), Some(0.5)));
        standing.evaluated(&pass(0.5, 0.625));
        assert_eq!((standing.top1, standing.best), (Some(0.5), Some(0.625)));
    }
}
