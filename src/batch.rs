//! What the loader hands over: images, labels, and the stage that made them.

use crate::error::{Error, Result};
#[cfg(feature = "wgpu")]
use crate::gpu::DeviceImages;
use crate::mix::{Mixing, soft_targets};
use crate::schedule::Stage;
use std::sync::{Arc, Mutex};

/// N images at one size with their labels, and the [`Stage`] that made them.
#[derive(Debug)]
#[non_exhaustive]
pub struct Batch {
    /// Pixels, `(N, 3, B, B)` f32, red green blue, normalised by the recipe's mean and standard deviation.
    pub images: Images,
    /// Class index of each image, `N` values; of a mixed image that of its own part ([`Batch::soft_targets`]).
    pub labels: Vec<u32>,
    /// The stage that made the batch.
    pub stage: Stage,
    /// Pass over the data set that the batch belongs to, from 0.
    pub epoch: u64,
    /// Number of the batch in the run, from 0, on every rank the same.
    pub step: u64,
    /// Share of the run's compute consumed before this batch, `0..1`: the schedule's clock.
    pub progress: f64,
    /// Index of each image in the source, `N` values.
    pub indices: Vec<u32>,
    /// How many of the images, the first ones, were made for this batch; the others come from the replay buffer.
    pub fresh: usize,
    /// RandAugment's mean magnitude in this batch, `0..=10`, whether or not the recipe has a policy that follows it.
    pub magnitude: f64,
    /// How images were mixed by Mixup and CutMix; `None` where they were not.
    pub mixing: Option<Mixing>,
}

impl Batch {
    /// A batch made by other means than a loader: one label for each image, in order, at the start of a run. Set
    /// `epoch`, `step`, `progress` and `indices` (0, 1, …) afterwards where they matter.
    ///
    /// # Errors
    /// [`Error::Config`] if there is not one label for each image.
    pub fn new(images: Images, labels: Vec<u32>, stage: Stage) -> Result<Self> {
        let n = images.shape[0];
        if labels.len() != n {
            return Err(Error::config("labels", format!("{} labels for {n} images", labels.len())));
        }
        let indices = (0..n as u32).collect();
        let magnitude = stage.magnitude;
        Ok(Self { images, labels, stage, epoch: 0, step: 0, progress: 0.0, indices, fresh: n, magnitude, mixing: None })
    }

    /// What to train towards: `(N, classes)`, rows that sum to 1. `smoothing` is spread evenly over all classes, the rest is on
    /// the image's label, and on its partner's by their shares where it is mixed (`randaugment.md` §3).
    ///
    /// # Errors
    /// [`Error::Config`] if a label is no class, or if smoothing is not in `0..=1`.
    pub fn soft_targets(&self, classes: usize, smoothing: f64) -> Result<Vec<f32>> {
        soft_targets(&self.labels, self.mixing.as_ref(), classes, smoothing)
    }

    /// Number of images: N.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether every sample of the batch was skipped.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// A dense `(N, 3, B, B)` tensor, in host memory as f32, or on the device of the engine that made it. Its memory goes back to
/// the loader when it is dropped.
#[derive(Debug)]
pub struct Images {
    data: Data,
    shape: [usize; 4],
}

/// Where the values are.
#[derive(Debug)]
enum Data {
    Host {
        values: Vec<f32>,
        pool: Option<Arc<Pool>>,
    },
    #[cfg(feature = "wgpu")]
    Device(Box<DeviceImages>),
}

impl Images {
    pub(crate) fn new(values: Vec<f32>, shape: [usize; 4], pool: Arc<Pool>) -> Self {
        debug_assert_eq!(values.len(), shape.iter().product::<usize>());
        Self { data: Data::Host { values, pool: Some(pool) }, shape }
    }

    #[cfg(feature = "wgpu")]
    pub(crate) fn on(device: DeviceImages, shape: [usize; 4]) -> Self {
        Self { data: Data::Device(Box::new(device)), shape }
    }

    /// Values of the caller's own, whose memory goes back to nobody.
    ///
    /// # Errors
    /// [`Error::Config`] if `data` does not hold as many values as `shape` says.
    pub fn from_vec(data: Vec<f32>, shape: [usize; 4]) -> Result<Self> {
        if data.len() != shape.iter().product::<usize>() {
            return Err(Error::config("images", format!("{} values for a shape of {shape:?}", data.len())));
        }
        Ok(Self { data: Data::Host { values: data, pool: None }, shape })
    }

    /// `[N, 3, B, B]`.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// All values, image by image, plane by plane, row by row.
    ///
    /// # Panics
    /// If they are on a device (`on_device`): nothing is copied unless the caller says so, by `download`.
    pub fn as_slice(&self) -> &[f32] {
        match &self.data {
            Data::Host { values, .. } => values,
            #[cfg(feature = "wgpu")]
            Data::Device(_) => panic!("these images are on a device; call `download` first"),
        }
    }

    /// The same, to change them where they are.
    ///
    /// # Panics
    /// As [`Images::as_slice`].
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        match &mut self.data {
            Data::Host { values, .. } => values,
            #[cfg(feature = "wgpu")]
            Data::Device(_) => panic!("these images are on a device; call `download` first"),
        }
    }

    /// The memory itself, for those who keep it: it does not go back to the loader.
    ///
    /// # Panics
    /// As [`Images::as_slice`].
    pub fn into_vec(mut self) -> Vec<f32> {
        match &mut self.data {
            Data::Host { values, pool } => {
                *pool = None;
                std::mem::take(values)
            }
            #[cfg(feature = "wgpu")]
            Data::Device(_) => panic!("these images are on a device; call `download` first"),
        }
    }

    /// The images where they are on a device: those of an engine that was told to leave them there
    /// ([`crate::engine::Wgpu::output`]).
    #[cfg(feature = "wgpu")]
    pub fn on_device(&self) -> Option<&DeviceImages> {
        match &self.data {
            Data::Device(images) => Some(images),
            Data::Host { .. } => None,
        }
    }

    /// The same images in host memory, as f32: a copy if they are on a device, else they themselves. Blocks until the device has
    /// made them.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    #[cfg(feature = "wgpu")]
    pub fn download(self) -> Result<Self> {
        match self.on_device() {
            None => Ok(self),
            Some(images) => Self::from_vec(images.values(self.shape.iter().product())?, self.shape),
        }
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        match &mut self.data {
            Data::Host { values, pool: Some(pool) } => pool.give(std::mem::take(values)),
            Data::Host { pool: None, .. } => {}
            #[cfg(feature = "wgpu")]
            Data::Device(_) => {}
        }
    }
}

/// Batch memory on its way back from the consumer.
#[derive(Debug)]
pub(crate) struct Pool {
    free: Mutex<Vec<Vec<f32>>>,
    keep: usize,
}

impl Pool {
    /// A pool that keeps at most `keep` buffers.
    pub(crate) fn new(keep: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::default(), keep })
    }

    /// A buffer of `len` values, of any content.
    pub(crate) fn take(&self, len: usize) -> Vec<f32> {
        let mut data = self.free.lock().expect("no user of the pool panics").pop().unwrap_or_default();
        if data.capacity() < len {
            data = Vec::with_capacity(len);
        }
        data.resize(len, 0.0);
        data
    }

    fn give(&self, data: Vec<f32>) {
        let mut free = self.free.lock().expect("no user of the pool panics");
        if free.len() < self.keep {
            free.push(data);
        }
    }
}
