//! A schedule: share of compute consumed -> [`Stage`].

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
}

impl Stage {
    /// Compute of one image relative to one at the base size: `(band / base)^2`.
    pub fn cost(&self) -> f64 {
        (f64::from(self.band) / f64::from(self.base)).powi(2)
    }
}
