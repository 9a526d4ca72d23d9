//! The bound on a loader's memory, told before any of it is taken.

use super::replay;
use crate::engine::{Cpu, Kept};
use crate::plan;
use crate::recipe::{Recipe, ReplayMode};
use crate::schedule::Stage;
use serde::Serialize;

/// Memory that a loader takes for batches and replay, in bytes, in host memory and as the CPU engine keeps them. Not counted: a
/// device's memory, and what is staged for it (about the files' bytes, also of what an engine on a device replays); each worker's decoder (at most twice its largest image, for
/// photos of 500 x 375 about a megabyte) and what the source holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BatchMemory {
    /// One batch at the largest stage.
    pub batch: u64,
    /// Batches that exist at the same time: those made ahead, one with the consumer, one on its way back.
    pub batches: u64,
    /// What the replay buffer holds at most, over all stages: for each image its values in 16-bit floats
    /// ([`ReplayMode::Repeat`]) or its pixels ([`Kept::most_pixels`], [`ReplayMode::Reaugment`]). 0 without replay.
    pub replay: u64,
    /// The bound: `batch * batches + replay`.
    pub total: u64,
}

/// The bound over these stages, each with the share of the compute that it may last. `images` is the whole run's budget on one
/// rank, in images of the base size.
pub(super) fn bound<'a>(
    stages: impl Iterator<Item = (&'a Stage, f64)>,
    images: f64,
    prefetch: usize,
    recipe: &Recipe,
) -> BatchMemory {
    let (mut batch, mut replay) = (0, 0);
    for (stage, share) in stages {
        let values = stage.batch_size as u64 * 3 * u64::from(stage.band).pow(2);
        batch = batch.max(values * size_of::<f32>() as u64);
        if stage.replay.is_on() {
            replay = replay.max(of_replay(stage, share * images, prefetch, recipe));
        }
    }
    let batches = (prefetch + 1 + Cpu::RETURNED) as u64;
    BatchMemory { batch, batches, replay, total: batch * batches + replay }
}

fn of_replay(stage: &Stage, budget: f64, prefetch: usize, recipe: &Recipe) -> u64 {
    let image = match recipe.replay {
        ReplayMode::Repeat => 3 * u64::from(stage.band).pow(2) * size_of::<half::f16>() as u64,
        ReplayMode::Reaugment => 3 * Kept::most_pixels(plan::evaluation_side(stage, recipe)),
    };
    // Besides those in the buffer there are those that batches under way were planned with; and of all together no more than
    // the stage has images, but for its last batch.
    let fresh = stage.fresh() as u64;
    let held = replay::most_images(stage) + (prefetch + 1) as u64 * fresh;
    let decoded = (budget * stage.load()).ceil() as u64;
    image * held.min(decoded + fresh)
}
