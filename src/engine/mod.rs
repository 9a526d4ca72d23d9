//! Engines execute a [`SamplePlan`]: encoded bytes in, normalised pixels of the stage's band out.
//!
//! The plan holds every random number, so that all engines make the same pixels from it. The loader knows an engine only by
//! these three traits, which ask nothing about where the pixels are: the engine owns the batch in the making ([`Canvas`]).
//! The CPU engine finishes a sample in [`Worker::run`]. An engine that works on whole batches stages the sample's bytes and plan
//! there, and makes its few launches in [`Canvas::submit`].

mod choice;
mod cpu;
#[cfg(feature = "wgpu")]
mod gpu;
mod host;

pub use choice::{DeviceName, EngineOptions, Engines};
pub use cpu::Cpu;
#[cfg(feature = "cli")]
pub(crate) use cpu::resolution;
#[cfg(feature = "wgpu")]
pub use gpu::{Output, Wgpu};

use crate::batch::Images;
use crate::decode::Seek;
use crate::error::{DecodeError, Error, Result};
use crate::index::Entry;
use crate::mix::Mixing;
use crate::plan::SamplePlan;
use crate::shape::Size;
use std::any::Any;
use std::time::Duration;

/// What an engine's device has done since the engine was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Traffic {
    /// Batches that were submitted.
    pub batches: u64,
    /// Their images.
    pub images: u64,
    /// Launches of all of them.
    pub launches: u64,
    /// Most launches of one submission: a batch is one, unless it is larger than a buffer, or has files that the device refused.
    pub most_launches: u64,
    /// Bytes from host to device.
    pub uploaded: u64,
    /// Bytes from device to host: a word of status for each image, and the images where they are wanted on the host.
    pub downloaded: u64,
    /// Images that the device found damaged, and the CPU decoded.
    pub refused: u64,
}

impl Traffic {
    /// What was added between `earlier` and this.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            batches: self.batches - earlier.batches,
            images: self.images - earlier.images,
            launches: self.launches - earlier.launches,
            most_launches: self.most_launches,
            uploaded: self.uploaded - earlier.uploaded,
            downloaded: self.downloaded - earlier.downloaded,
            refused: self.refused - earlier.refused,
        }
    }
}

/// Time that a device spent on one of its programs.
#[derive(Debug, Clone, PartialEq)]
pub struct LaunchTime {
    /// The program's name: the stem of its file in `shaders/`.
    pub name: &'static str,
    /// Number of launches.
    pub launches: u64,
    /// Seconds, all of them together.
    pub seconds: f64,
}

/// Something that makes batches from encoded images. Shared by the loader's threads, each of which asks for a [`Worker`].
pub trait Engine: Send + Sync {
    /// Name for logs and tables, for example `cpu`.
    fn name(&self) -> &str;

    /// The part that one thread works with: decoder, scratch memory, cached tables.
    ///
    /// # Errors
    /// [`Error::Config`] if the engine cannot be set up.
    fn worker(&self) -> Result<Box<dyn Worker>>;

    /// M of the scale M/8 that a sample of this plan will be decoded at: tells a source what to read ahead.
    fn scale(&self, plan: &SamplePlan) -> u8 {
        let _ = plan;
        8
    }

    /// What went to the device and back; `None` for an engine without one.
    fn traffic(&self) -> Option<Traffic> {
        None
    }

    /// From now on takes the time of each launch, where the device can tell it.
    fn time_launches(&self) {}

    /// Times since [`Engine::time_launches`], in the order of their names. Waits for the device.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    fn launch_times(&self) -> Result<Vec<LaunchTime>> {
        Ok(Vec::new())
    }

    /// Room for a batch of `samples` images of `side` by `side` pixels.
    ///
    /// # Errors
    /// Whatever keeps the engine from having that memory.
    fn begin(&self, samples: usize, side: u32) -> Result<Box<dyn Canvas>>;
}

/// A batch in the making: one slot for each sample.
pub trait Canvas: Any + Send + Sync {
    /// Starts what can be done once every slot's [`Worker::run`] has returned: the slots in `made` hold samples. Called on the
    /// thread that ended the last of them, and once more after slots that were [`Canvas::refused`] were run again. The time it
    /// took is counted as upload.
    ///
    /// # Errors
    /// Whatever a device meets.
    fn submit(&self, made: &[usize], mixing: Option<&Mixing>) -> Result<Duration> {
        let _ = (made, mixing);
        Ok(Duration::ZERO)
    }

    /// Slots whose images the device found damaged, after [`Canvas::submit`]: each is run again, and must be made without the
    /// device then, so that what becomes of a damaged file is decided by one decoder. Blocks until the device has told.
    ///
    /// # Errors
    /// As [`Canvas::submit`].
    fn refused(&self) -> Result<Vec<usize>> {
        Ok(Vec::new())
    }

    /// The batch, of the slots in `made` (increasing), in that order, mixed as `mixing` says: the same as at the last
    /// [`Canvas::submit`]. Called once, when no slot is refused any more.
    ///
    /// # Errors
    /// Whatever an engine meets that does its work here.
    fn finish(self: Box<Self>, made: &[usize], mixing: Option<&Mixing>) -> Result<Images>;
}

/// A sample's file, as a worker gets it.
#[derive(Debug, Clone, Copy)]
pub struct Encoded<'a> {
    /// The file.
    pub bytes: &'a [u8],
    /// What a side index knows of it. Not yet compared with the bytes.
    pub entry: Option<Entry<'a>>,
}

impl<'a> From<&'a [u8]> for Encoded<'a> {
    /// Without a side index.
    fn from(bytes: &'a [u8]) -> Self {
        Self { bytes, entry: None }
    }
}

/// One thread's share of an engine.
pub trait Worker: Send {
    /// Makes one sample: reads the header, asks `plan` what to do with an image of that size (after EXIF orientation), and
    /// puts `(3, B, B)` normalised values into `slot` of a canvas of the same engine. A slot may be run again if it failed.
    ///
    /// # Errors
    /// [`SampleError::Image`] if the image is at fault, [`SampleError::Setup`] if the plan or the canvas is.
    fn run(
        &mut self,
        file: Encoded<'_>,
        plan: &mut dyn FnMut(Size) -> Result<SamplePlan>,
        canvas: &dyn Canvas,
        slot: usize,
    ) -> Result<Made, SampleError>;

    /// A copy of a slot that was made, in 16-bit floats, for [`Worker::put`]. The slot's own values become the rounded ones, so
    /// that its first use and later ones are equal.
    ///
    /// # Errors
    /// [`Error::Config`] if the engine has no replay.
    fn keep(&mut self, canvas: &dyn Canvas, slot: usize) -> Result<Kept> {
        let _ = (canvas, slot);
        Err(no_replay())
    }

    /// Puts a kept copy into a slot of a canvas of the same side.
    ///
    /// # Errors
    /// [`Error::Config`] if the engine has no replay.
    fn put(&mut self, kept: &Kept, canvas: &dyn Canvas, slot: usize) -> Result<()> {
        let _ = (kept, canvas, slot);
        Err(no_replay())
    }

    /// Decodes the whole image, reduces it, if it has more, to [`Kept::most_pixels`] of `side`, and makes the sample from that as
    /// [`Worker::rerun`] does for later uses. `plan` is asked for the reduced size.
    ///
    /// # Errors
    /// As [`Worker::run`].
    fn run_keeping(
        &mut self,
        file: Encoded<'_>,
        plan: &mut dyn FnMut(Size) -> Result<SamplePlan>,
        canvas: &dyn Canvas,
        slot: usize,
        side: u32,
    ) -> Result<(Made, Kept), SampleError> {
        let _ = (file, plan, canvas, slot, side);
        Err(SampleError::Setup(no_replay()))
    }

    /// Makes a sample from kept pixels.
    ///
    /// # Errors
    /// [`SampleError::Setup`] if plan, canvas or engine is at fault.
    fn rerun(
        &mut self,
        kept: &Kept,
        plan: &mut dyn FnMut(Size) -> Result<SamplePlan>,
        canvas: &dyn Canvas,
        slot: usize,
    ) -> Result<Made, SampleError> {
        let _ = (kept, plan, canvas, slot);
        Err(SampleError::Setup(no_replay()))
    }
}

fn no_replay() -> Error {
    Error::config("replay", "this engine keeps no images; use the CPU engine, or a schedule without replay")
}

/// What an engine keeps of a sample for later batches. Only the engine that made it can read it.
pub struct Kept(Box<dyn Any + Send + Sync>);

impl Kept {
    /// Wraps an engine's own form.
    pub fn new(form: impl Any + Send + Sync) -> Self {
        Self(Box::new(form))
    }

    /// The engine's own form, if it is this one.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }

    /// Most pixels of an image that is kept to be augmented anew: three squares of `side`, the size that evaluation looks at.
    /// That is 500 x 393 for a side of 256: most of ImageNet's photos are kept as they are.
    pub const fn most_pixels(side: u32) -> u64 {
        3 * side as u64 * side as u64
    }
}

/// A sample that was made: the time it took, by part, and what the decoder remarked.
#[derive(Debug, Clone, Default)]
pub struct Made {
    /// Header and pixels from bytes.
    pub decode: Duration,
    /// Operations on 8-bit pixels (policy, jitter) and erasing.
    pub augment: Duration,
    /// Resized crop, flip, band crop and normalisation: one linear map where they are fused, so one figure.
    pub band: Duration,
    /// Copies to the device. Zero for the CPU engine, which writes where the batch is.
    pub upload: Duration,
    /// Encoded bytes that were looked at.
    pub bytes: u64,
    /// What use the side index was.
    pub seek: Seek,
    /// What is wrong with the file, where an image could be made all the same.
    pub warning: Option<String>,
}

impl Made {
    /// All that came after decoding.
    pub fn render(&self) -> Duration {
        self.augment + self.band + self.upload
    }
}

/// Why a sample was not made.
#[derive(Debug)]
pub enum SampleError {
    /// The image cannot be decoded: the loader's bad-file policy decides.
    Image(DecodeError),
    /// The plan or the buffers are wrong: always an error.
    Setup(Error),
}
