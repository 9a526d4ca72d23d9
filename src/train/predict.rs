//! Scores of images by a model alone.

use super::config::TrainConfig;
use super::gradient::{self, Workers};
use super::vit::Vit;
use super::weights::Weights;
use crate::batch::Batch;
use crate::error::Result;

/// A model that gives scores, at whatever band the images have.
#[derive(Debug)]
pub struct Predictor {
    weights: Weights,
    /// At the band of the last batch.
    model: Vit,
    chunk: usize,
    workers: Workers,
}

impl Predictor {
    /// `threads` CPU threads compute; their number changes no score.
    ///
    /// # Errors
    /// [`crate::Error::Config`] if the system gives no threads.
    pub fn new(weights: Weights, threads: usize) -> Result<Self> {
        let chunk = TrainConfig::new(weights.config.clone()).chunk;
        Ok(Self { model: weights.model.clone(), weights, chunk, workers: Workers::new(threads)? })
    }

    /// The model's weights, at their own band.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Scores of a batch before softmax, f32: `classes` for each image, row by row. The position embedding is interpolated
    /// to the batch's band from the weights' own.
    ///
    /// # Errors
    /// [`crate::Error::Config`] if the band is no multiple of the patch.
    pub fn scores(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        if self.model.band() != batch.stage.band {
            let grid = self.weights.config.grid(batch.stage.band)?;
            self.model = self.weights.model.clone().resized(grid);
        }
        gradient::scores(&self.model, self.chunk, &self.workers, batch)
    }
}
