//! Engines execute a [`SamplePlan`]: encoded bytes in, normalised pixels of the stage's band out.
//!
//! The plan holds every random number, so that all engines make the same pixels from it. The loader knows an engine only by
//! this interface; the plan, the loader and the trainer do not change when an engine is added.

mod cpu;

pub use cpu::Cpu;

use crate::error::{DecodeError, Error};
use crate::plan::SamplePlan;
use crate::shape::Size;
use std::time::Duration;

/// Something that makes pixels from encoded images. Shared by the loader's threads, each of which asks for a [`Worker`].
pub trait Engine: Send + Sync {
    /// Name for logs and tables, for example `cpu`.
    fn name(&self) -> &str;

    /// The part that one thread works with: decoder, scratch memory, cached tables.
    ///
    /// # Errors
    /// [`Error::Config`] if the engine cannot be set up.
    fn worker(&self) -> Result<Box<dyn Worker>, Error>;
}

/// One thread's share of an engine.
pub trait Worker: Send {
    /// Makes one sample: reads the header, asks `plan` what to do with an image of that size (after EXIF orientation), and
    /// writes `(3, B, B)` normalised f32 into `out`.
    ///
    /// # Errors
    /// [`SampleError::Image`] if the image is at fault, [`SampleError::Setup`] if the plan or the output is.
    fn run(
        &mut self,
        bytes: &[u8],
        plan: &mut dyn FnMut(Size) -> Result<SamplePlan, Error>,
        out: &mut [f32],
    ) -> Result<Made, SampleError>;
}

/// A sample that was made: the time it took, by part, and what the decoder remarked.
#[derive(Debug, Clone, Default)]
pub struct Made {
    /// Header and pixels from bytes.
    pub decode: Duration,
    /// Crop, flip, band crop and normalisation: one pass where they are fused, so one figure.
    pub render: Duration,
    /// What is wrong with the file, where an image could be made all the same.
    pub warning: Option<String>,
}

/// Why a sample was not made.
#[derive(Debug)]
pub enum SampleError {
    /// The image cannot be decoded: the loader's bad-file policy decides.
    Image(DecodeError),
    /// The plan or the buffers are wrong: always an error.
    Setup(Error),
}
