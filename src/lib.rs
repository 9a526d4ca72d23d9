//! bandfeed: a training-data loader for vision whose cost falls with the frequency band.

pub mod band;
pub mod batch;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod decode;
pub mod demo_data;
pub mod engine;
pub mod error;
pub mod loader;
pub mod ops;
pub mod plan;
pub mod recipe;
mod rng;
pub mod schedule;
pub mod shape;
pub mod source;
#[cfg(feature = "train")]
pub mod train;

pub use batch::{Batch, Images};
pub use error::{DecodeError, Error, Result};
pub use recipe::Recipe;
pub use schedule::Stage;
pub use shape::{BandCrop, Filter, Grid, Rect, Size};
pub use source::Source;
