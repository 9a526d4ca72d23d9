//! What is searched, and one trial of it.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// What is searched, and at which price.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Side of the images at the end of the run, in pixels.
    pub base: u32,
    /// Bands to choose from, in pixels, each at most `base`; the base is one whether it is given or not.
    pub candidates: Vec<u32>,
    /// RandAugment's magnitude in each stage, `0..=10`. Their number is that of the stages, 2 or more.
    pub magnitudes: Vec<f64>,
    /// Budget of the whole run, in equivalent epochs: passes over the training images at the base size.
    pub epochs: f64,
    /// Compute of the fine-tuning before a trial is scored, as a share of the run's: above 0, and at most a stage's, so that it
    /// ends within the run.
    pub fine_tune: f64,
}

impl Plan {
    /// Refuses a plan that nothing could be found by.
    ///
    /// # Errors
    /// [`Error::Config`] names the field, what it holds and what is allowed.
    pub fn check(&self) -> Result<()> {
        let refuse = |what: &str, reason: String| Err(Error::config(format!("search.{what}"), reason));
        if let Some(band) = self.candidates.iter().find(|&&band| band == 0 || band > self.base) {
            return refuse("candidates", format!("{band}: expected 1 to the base size, {}", self.base));
        }
        if self.candidates.iter().all(|&band| band == self.base) {
            let reason =
                format!("none below the base size, {}: there is nothing to search; give --candidates", self.base);
            return refuse("candidates", reason);
        }
        let stages = self.stages();
        if stages < 2 {
            return refuse("stages", format!("{stages}: expected 2 or more, since the last one is at the base size"));
        }
        if let Some(magnitude) = self.magnitudes.iter().find(|magnitude| !(0.0..=10.0).contains(*magnitude)) {
            return refuse("magnitudes", format!("{magnitude}: expected 0 to 10"));
        }
        if !(self.epochs.is_finite() && self.epochs > 0.0) {
            return refuse("epochs", format!("{}: expected a finite number above 0", self.epochs));
        }
        let most = 1.0 / stages as f64;
        if !(self.fine_tune > 0.0 && self.fine_tune <= most) {
            let reason = format!(
                "{}: expected a share of the run's compute above 0 and at most {most:.4}, that of one of {stages} stages",
                self.fine_tune
            );
            return refuse("fine_tune", reason);
        }
        Ok(())
    }

    /// Number of stages.
    pub fn stages(&self) -> usize {
        self.magnitudes.len()
    }

    /// Share of the run's compute at which a stage begins, `0..=1`; for the number of stages it is 1.
    pub fn begin(&self, stage: usize) -> f64 {
        stage as f64 / self.stages() as f64
    }

    /// Trials that the search makes at most: each candidate in each stage but the last.
    pub fn most_trials(&self) -> usize {
        self.candidates.len() * (self.stages() - 1)
    }

    /// Compute of a trial in equivalent epochs: a stage's and that of the fine-tuning.
    pub fn trial_compute(&self) -> f64 {
        self.epochs * (self.begin(1) + self.fine_tune)
    }

    /// Compute that the search takes at most, in equivalent epochs. It is below `|candidates| (C + N delta)`
    /// (`efficienttrain.md` §4 \[recall\]) by the last stage, which is not searched.
    pub fn most_compute(&self) -> f64 {
        self.most_trials() as f64 * self.trial_compute()
    }

    pub(super) fn trial(&self, before: &[u32], band: u32) -> Trial {
        let stage = before.len();
        Trial {
            stage,
            bands: [before, &[band]].concat(),
            start: self.begin(stage),
            end: self.begin(stage + 1),
            magnitude: self.magnitudes[stage],
            base: self.base,
            fine_tune: self.fine_tune,
            epochs: self.epochs,
        }
    }
}

/// One stage at one band, after the stages that are decided.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Trial {
    /// Index of the stage, from 0.
    pub stage: usize,
    /// Bands of the stages up to this one, in pixels; the last one is the trial's own. They tell a trial from all others of
    /// the search.
    pub bands: Vec<u32>,
    /// Share of the run's compute at which the stage begins.
    pub start: f64,
    /// Share at which it ends, and the fine-tuning begins.
    pub end: f64,
    /// RandAugment's magnitude.
    pub magnitude: f64,
    /// Side of the images that it is fine-tuned and scored with, in pixels.
    pub base: u32,
    /// Share of the run's compute that the fine-tuning takes.
    pub fine_tune: f64,
    /// Budget of the whole run, in equivalent epochs.
    pub epochs: f64,
}

impl Trial {
    /// Side of its images in pixels.
    pub fn band(&self) -> u32 {
        *self.bands.last().expect("a trial has a band")
    }

    /// Bands of the stages before: the trial that it goes on from.
    pub fn before(&self) -> &[u32] {
        &self.bands[..self.stage]
    }

    /// Compute of its training, in equivalent epochs.
    pub fn compute(&self) -> f64 {
        self.epochs * (self.end - self.start)
    }

    /// Compute of its fine-tuning, in equivalent epochs.
    pub fn extra(&self) -> f64 {
        self.epochs * self.fine_tune
    }
}
