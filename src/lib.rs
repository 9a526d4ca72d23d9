//! bandfeed: a training-data loader for vision whose cost falls with the frequency band.
//!
//! ```text
//!              schedule (share of compute -> Stage: band, magnitude, batch size ...)      seed
//!                          │ asked once for each batch; the answer travels with it          │
//!  source ──► order ──► [ plan: one SamplePlan for each image, every random number drawn here ]
//!    │                     │
//!    └─ bytes ─► decode ─► resized crop ─► flip ─► augment ─► band crop ─► normalise ─► erase ─► [replay] ─► mix
//!               └───────── run by one Engine: cpu | wgpu ─────────┘                                       │
//!                                                             your loop | train  ◄── Batch (N, 3, B, B) ◄──┘
//! ```
//!
//! [`loader::Loader`] is the iterator; everything else is a part that can be used alone. [`recipe::Preset`] is a whole training
//! recipe by name; `docs/recipes.md` tells what recipes can say.
//!
//! ```
//! use bandfeed::demo_data::DemoData;
//! use bandfeed::loader::Loader;
//! use bandfeed::schedule::{Options, Schedule};
//! use std::sync::Arc;
//!
//! # fn main() -> bandfeed::Result<()> {
//! // A drawn data set, to run anywhere; `bandfeed::source::open("data/train")?` opens a folder or a tar shard.
//! let (train, _) = DemoData { train_per_class: 4, ..DemoData::default() }.generate()?;
//! // The ten stages of EfficientTrain++, fitted to 96 px images, patches of 8 and the compute of two passes.
//! let options = Options { base: 96, patch: 8, batch_size: 16, epochs: 2.0, ..Options::default() };
//! let schedule = Schedule::named("efficient_train_pp_deit", &options)?;
//!
//! for batch in Loader::builder(Arc::new(train), schedule).seed(1).build()? {
//!     let batch = batch?;
//!     let side = batch.stage.band as usize;
//!     assert_eq!(batch.images.shape(), [batch.len(), 3, side, side]);
//!     // images.as_slice(): f32, normalised; labels: Vec<u32>
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//! `cli` (default) is the `bandfeed` program. `wgpu` (default) is the engine on a GPU; it needs no driver to build. `train` is the bundled vision-transformer trainer, which needs burn;
//! without it burn is not built. A user of the loader alone takes `default-features = false`.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(all(doctest, feature = "wgpu"))]
#[doc = include_str!("../docs/gpu.md")]
struct GpuGuide;

pub mod error;
pub mod shape;

mod nearest;
mod partial;
mod rng;

pub mod plan;
pub mod recipe;
pub mod schedule;

pub mod source;

pub mod decode;
pub mod index;
pub mod packed;

pub mod augment;
pub mod band;
pub mod erase;
pub mod mix;
pub mod ops;

#[cfg(feature = "wgpu")]
pub mod gpu;

pub mod engine;

pub mod batch;
pub mod loader;

#[cfg(feature = "train")]
pub mod train;

pub mod demo_data;

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;

pub use batch::{Batch, Images};
pub use error::{DecodeError, Error, Result};
pub use loader::Loader;
pub use recipe::Recipe;
pub use schedule::{Schedule, Stage};
pub use shape::{BandCrop, Filter, Grid, Rect, Size};
pub use source::Source;
