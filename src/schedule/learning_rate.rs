//! The learning rate over a run: linear warm-up, then half a cosine.
//!
//! [`LearningRate`] is a function of the share of compute, so it is continuous whatever the bands do.
//! [`ReleasedLearningRate`] is what the released scripts compute per iteration, jumps included.

use super::released::ReleasedStage;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// Learning rate by share of compute consumed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LearningRate {
    /// Rate at the end of the warm-up.
    pub peak: f64,
    /// Rate at the end of the run; at most `peak`.
    pub min: f64,
    /// Share of the compute over which the rate rises linearly from 0 to `peak`, `0..1`.
    pub warmup: f64,
}

impl Default for LearningRate {
    /// The papers' values for batches of 4096: peak 4e-3, min 1e-6 (`efficienttrain.md` §3.2, §3.3); warm-up over the
    /// first fifth of the compute, as the DeiT script has it (§3.1).
    fn default() -> Self {
        Self { peak: 4e-3, min: 1e-6, warmup: 0.2 }
    }
}

impl LearningRate {
    /// Refuses values that make no rate.
    ///
    /// # Errors
    /// [`Error::Config`] names the field, what it holds and what is allowed.
    pub fn check(&self) -> Result<()> {
        if !(self.peak.is_finite() && self.peak > 0.0) {
            return Err(Error::config("learning_rate.peak", format!("{}: expected a number above 0", self.peak)));
        }
        if !(0.0..=self.peak).contains(&self.min) {
            let reason = format!("{}: expected 0 to the peak, {}", self.min, self.peak);
            return Err(Error::config("learning_rate.min", reason));
        }
        if !(0.0..1.0).contains(&self.warmup) {
            let reason = format!("{}: expected a share of the compute from 0 to below 1", self.warmup);
            return Err(Error::config("learning_rate.warmup", reason));
        }
        Ok(())
    }

    /// The rate after this share of the compute; progress outside `0..=1` is clamped.
    ///
    /// At 0 with a warm-up it is 0: a trainer that wants no idle first step asks for the middle or the end of the step.
    pub fn at(&self, progress: f64) -> f64 {
        let progress = progress.clamp(0.0, 1.0);
        if progress < self.warmup {
            return self.peak * progress / self.warmup;
        }
        half_cosine(self.peak, self.min, (progress - self.warmup) / (1.0 - self.warmup))
    }
}

/// Learning rate by iteration, as the released scripts compute it (`efficienttrain.md` §3.2 \[code\]).
///
/// Each stage lays the whole curve over its own epochs, of which it runs a part. The warm-up of models other than DeiT
/// is 20 epochs of whatever band the stage has, so the rest of the curve shifts, and **the rate jumps up when B
/// changes**: for E = 200 from 0.003674 to 0.003765 (96 to 160) and from 0.001516 to 0.001653 (160 to 224).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReleasedLearningRate {
    /// Rate at the end of the warm-up.
    pub peak: f64,
    /// The cosine's other end, which the last iteration does not quite reach.
    pub min: f64,
    /// Optimiser steps in one epoch, the same for every band: 312 for ImageNet in batches of 4096.
    pub steps_per_epoch: u64,
}

impl ReleasedLearningRate {
    /// The rate in `iteration` of `stage`'s own count: `start_epoch * steps_per_epoch` is the stage's first. Beyond the
    /// curve's end it is `min`.
    pub fn at(&self, stage: &ReleasedStage, iteration: u64) -> f64 {
        let warmup = u64::from(stage.warmup_epochs) * self.steps_per_epoch;
        if iteration < warmup {
            // The scripts' grid holds both ends: the last warm-up iteration is at the peak, and so is the next one.
            return self.peak * iteration as f64 / warmup.saturating_sub(1).max(1) as f64;
        }
        let length = (u64::from(stage.schedule_epochs) * self.steps_per_epoch).saturating_sub(warmup);
        let done = iteration - warmup;
        if done >= length { self.min } else { half_cosine(self.peak, self.min, done as f64 / length as f64) }
    }
}

/// From `peak` at 0 down to `min` at 1.
fn half_cosine(peak: f64, min: f64, share: f64) -> f64 {
    min + 0.5 * (peak - min) * (1.0 + (PI * share).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_rises_from_zero_to_the_peak_and_falls_to_the_minimum() {
        let rate = LearningRate { peak: 1.0, min: 0.1, warmup: 0.25 };
        assert_eq!(rate.at(0.0), 0.0);
        assert_eq!(rate.at(0.125), 0.5);
        assert_eq!(rate.at(0.25), 1.0);
        // Half of the cosine's way: the mean of both ends.
        assert!((rate.at(0.625) - 0.55).abs() < 1e-12);
        assert!((rate.at(1.0) - 0.1).abs() < 1e-12);
        assert_eq!((rate.at(-1.0), rate.at(7.0)), (rate.at(0.0), rate.at(1.0)));
    }

    #[test]
    fn rate_without_warmup_starts_at_the_peak() {
        let rate = LearningRate { warmup: 0.0, ..LearningRate::default() };
        assert_eq!(rate.at(0.0), rate.peak);
    }

    #[test]
    fn values_that_make_no_rate_are_refused_by_name() {
        for (rate, field) in [
            (LearningRate { peak: 0.0, ..Default::default() }, "peak"),
            (LearningRate { peak: f64::NAN, ..Default::default() }, "peak"),
            (LearningRate { min: 1.0, ..Default::default() }, "min"),
            (LearningRate { warmup: 1.0, ..Default::default() }, "warmup"),
        ] {
            let message = rate.check().expect_err("refused").to_string();
            assert!(message.starts_with(&format!("learning_rate.{field}:")), "{message}");
        }
        LearningRate::default().check().expect("the papers' values work");
    }
}
