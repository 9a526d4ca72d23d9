//! One row of a schedule.

use super::growth::{Depth, Growth};
use crate::shape::BandCrop;
use serde::{Deserialize, Serialize};

/// One row of a schedule: what the loader makes while it holds, and what the model must be ready for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stage {
    /// Place in the schedule, from 0.
    pub index: usize,
    /// Share of the run's compute at which it starts, `0..1`.
    pub start: f64,
    /// Share of the run's compute at which it ends, `0..=1`.
    pub end: f64,
    /// Side of the batch's images in pixels: B. At most `base`.
    pub band: u32,
    /// Side of the image that the band is cut from: the size of the last stage (224 in the papers).
    pub base: u32,
    /// How the band is cut; nothing is cut where `band == base`.
    pub crop: BandCrop,
    /// RandAugment's mean magnitude, `0..=10`.
    pub magnitude: f64,
    /// Images in a batch, on each rank.
    pub batch_size: usize,
    /// Batches whose gradients are summed before an optimiser step.
    pub accumulate: usize,
    /// How often a decoded image is used.
    #[serde(default)]
    pub replay: StageReplay,
    /// The learning rate is multiplied by this: 1 unless the batch is larger than at the base size
    /// ([`Options::early_batch`](super::Options::early_batch)).
    #[serde(default = "one")]
    pub rate_scale: f64,
    /// What it says of the model, and of the strength of augmentation besides the magnitude.
    #[serde(default, skip_serializing_if = "Growth::is_none")]
    pub growth: Growth,
}

fn one() -> f64 {
    1.0
}

/// The replay buffer of a stage (`efficienttrain.md` §5 \[code\]; `loader::replay` has the rules).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageReplay {
    /// Mean uses of a decoded image, ρ: a batch has `batch_size / times` new images, and the rest come from the buffer.
    /// 1 is no replay.
    pub times: u32,
    /// Capacity of the buffer in batches' worth of new images, each `batch_size / times`; at least 1.
    pub capacity: u32,
}

impl StageReplay {
    /// No replay.
    pub const OFF: Self = Self { times: 1, capacity: 1 };

    /// Whether images are used more than once.
    pub const fn is_on(self) -> bool {
        self.times > 1
    }
}

impl Default for StageReplay {
    fn default() -> Self {
        Self::OFF
    }
}

impl Stage {
    /// A stage on its own, for [`Schedule::fixed`](super::Schedule::fixed) or a loader whose stage is set by hand: the whole of the compute, batches of
    /// `batch_size` not accumulated, RandAugment's usual magnitude 9.
    pub fn fixed(base: u32, band: u32, crop: BandCrop, batch_size: usize) -> Self {
        Self {
            index: 0,
            start: 0.0,
            end: 1.0,
            band,
            base,
            crop,
            magnitude: 9.0,
            batch_size,
            accumulate: 1,
            replay: StageReplay::OFF,
            rate_scale: 1.0,
            growth: Growth::NONE,
        }
    }

    /// Compute of one image relative to one at the base size in the whole model: `(side / base)^2`, the side being what the
    /// model sees ([`Stage::side`]), and where the model grows `blocks / full` of that.
    pub fn cost(&self) -> f64 {
        let area = (f64::from(self.side()) / f64::from(self.base)).powi(2);
        match self.growth.depth {
            Some(Depth { blocks, full }) => area * (f64::from(blocks) / f64::from(full)),
            None => area,
        }
    }

    /// Images that training uses per unit of compute, relative to a run at the base size: `(base / band)^2`, 5.44 at 96 of 224.
    pub fn images_per_compute(&self) -> f64 {
        self.cost().recip()
    }

    /// Images that the loader must decode per unit of compute, relative to a run at the base size without replay:
    /// `(base / band)^2 / ρ` (`efficienttrain.md` §5, the table of loads).
    pub fn load(&self) -> f64 {
        self.images_per_compute() / f64::from(self.replay.times)
    }

    /// Images of a batch that are new, on each rank: `batch_size / ρ`.
    pub fn fresh(&self) -> usize {
        self.batch_size / self.replay.times.max(1) as usize
    }

    /// Share of the run's compute that it uses, `0..=1`.
    pub fn share(&self) -> f64 {
        self.end - self.start
    }

    /// Images behind one optimiser step on each rank: `batch_size * accumulate`.
    pub fn effective_batch(&self) -> usize {
        self.batch_size.saturating_mul(self.accumulate)
    }
}

impl Stage {
    /// Whether its batches can be made of new and replayed images; why not.
    pub(crate) fn check_replay(&self) -> std::result::Result<(), String> {
        let Self { batch_size, accumulate, replay: StageReplay { times, capacity }, .. } = *self;
        if times == 0 || capacity == 0 {
            return Err(format!("{times} times from a buffer of {capacity} batches: expected at least 1 of each"));
        }
        if times > 1 && !batch_size.is_multiple_of(times as usize) {
            return Err(format!("{times} times: expected a divisor of the batch size, {batch_size}"));
        }
        if times > 1 && accumulate > 1 {
            return Err(format!("{times} times with batches accumulated {accumulate} times: expected no accumulation"));
        }
        Ok(())
    }
}
