//! Where a loader stands: enough to go on in another process as if nothing had happened.

use super::replay::ReplayStart;
use crate::schedule::Stage;
use serde::{Deserialize, Serialize};

/// The place of a [`super::Loader`] after a batch. Integers, and stages where there is need of them, so that writing and
/// reading it loses nothing.
///
/// It belongs to one data set, seed, schedule, recipe and world size. [`super::LoaderBuilder::resume`] checks seed and number of
/// samples; that the rest is the same is the caller's part (the bundled trainer keeps them in its checkpoints).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The run's seed.
    pub seed: u64,
    /// Samples in the data set.
    pub samples: u64,
    /// Pass over the data set, from 0.
    pub epoch: u64,
    /// Samples of this epoch handed out, over all ranks; those that come again from a replay buffer are not counted.
    pub position: u64,
    /// Batches handed out.
    pub step: u64,
    /// Compute consumed over all ranks, in pixels that the model sees: the sum of images times their side squared; under a
    /// schedule that grows the model, times its blocks; under one that is searched every image counts as one of the whole model.
    pub consumed: u64,
    /// Stages set by hand, in the order of their first steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Override>,
    /// Where the replay buffer of the stage at hand began; `None` in a stage without replay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayStart>,
}

/// From a step on, a stage set by hand, or the schedule's own again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// First step it holds for.
    pub from_step: u64,
    /// The stage; `None` gives the choice back to the schedule.
    pub stage: Option<Stage>,
}

impl State {
    pub(super) fn start(seed: u64, samples: u64) -> Self {
        Self { seed, samples, epoch: 0, position: 0, step: 0, consumed: 0, overrides: Vec::new(), replay: None }
    }
}
