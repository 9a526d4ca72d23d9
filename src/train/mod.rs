//! The bundled trainer: a vision transformer that follows the schedule's stages, on burn.
//!
//! ```text
//! Feed ─► Batch ─► gradient (chunks, in parallel) ─► AdamW ─► Vit
//!           │                                          ▲
//!           ├─ the stage's band changed: interpolate position embedding and its moments
//!           └─ the stage's depth changed: grow blocks, running means and moments
//! ```
//!
//! [`Trainer`] holds what a step changes; [`fit()`] is the loop; [`Watch`] sees what happens; a checkpoint
//! ([`Trainer::save`]) is one safetensors file from which a run goes on with the same losses, bit for bit.
//! Batches come from a [`Feed`], so the trainer knows no loader.

mod block;
mod checkpoint;
mod config;
pub mod curriculum;
mod ema;
mod evaluate;
mod feed;
mod fit;
mod flops;
#[cfg(test)]
mod golden;
mod gradient;
mod growth;
mod loss;
mod names;
mod nonfinite;
mod optimizer;
pub mod position;
mod precision;
mod predict;
mod report;
mod safetensors;
mod search;
mod shrink;
mod timm;
mod trainer;
mod vit;
mod weights;

use crate::batch::Batch;
use crate::error::Result;
use crate::schedule::Stage;
use serde::{Serialize, de::DeserializeOwned};

pub use block::{Block, Branch, DropPath, LayerScale};
pub use burn::tensor::Device;
pub use config::{AdamWConfig, DropPathRule, Precision, TrainConfig, VitConfig};
pub use evaluate::evaluate;
pub use fit::{Checkpoints, Run, fit};
pub use gradient::Gradients;
pub use growth::{
    Grow, GrowthConfig, GrowthMoments, MoGrow, Origin, Sources, deepen, extract, nested, sources, volo_split,
};
pub use nonfinite::{NonFinite, SuspectBatch, SuspectImage};
pub use optimizer::AdamW;
pub use predict::Predictor;
pub use report::{EmaReport, EvalReport, GrowthReport, History, SearchReport, StageTotal, StepReport, Summary, Watch};
pub use search::{AutoProg, Choice, Measured, Steer, choose, fit_with_search};
pub use trainer::Trainer;
pub use vit::Vit;
pub use weights::{About, Init, Weights};

/// Where training batches come from: a loader, or anything that can say where it is.
pub trait Feed {
    /// Where to go on: what [`Feed::state`] gives and the feed's own way of resuming takes.
    type State: Serialize + DeserializeOwned + Clone;

    /// The next batch, or `None` at the end of the run.
    fn next_batch(&mut self) -> Option<Result<Batch>>;

    /// The state from which the batches after the last one handed out come again.
    fn state(&self) -> Self::State;

    /// What a person can find an image by, from its index in [`Batch::indices`]; `None` if the feed has no names.
    fn name(&self, _index: u32) -> Option<String> {
        None
    }

    /// Names of the classes by label; none if the feed has no names.
    fn classes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// One pass over a validation set.
pub type Pass<'a> = Box<dyn Iterator<Item = Result<Batch>> + 'a>;

/// Images to measure a model by. A closure from stage to pass will do.
pub trait Validation {
    /// Starts a pass over the whole set at the stage's band, without augmentation.
    ///
    /// # Errors
    /// Whatever keeps it from starting.
    fn pass(&mut self, stage: &Stage) -> Result<Pass<'_>>;
}

impl<F: FnMut(&Stage) -> Result<Pass<'static>>> Validation for F {
    fn pass(&mut self, stage: &Stage) -> Result<Pass<'_>> {
        self(stage)
    }
}
