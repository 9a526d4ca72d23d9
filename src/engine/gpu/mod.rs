//! The GPU engine: whole batches on a device through Vulkan, Metal or DX12.
//!
//! ```text
//! workers:  bytes ─► header, plan, tables ─► Staged ─┐ one for each slot, no device touched
//!                                                    ▼
//! the worker that ends a batch: one copy over the bus, then a fixed number of launches, one submission
//!   huffman ─► idct ─┐
//!   bands ───────────┼─► pixels ─► resample ─► [augment rounds] ─► fourier | resample | normalize ─► erase ─► mix ─► images
//!   host's pixels ───┘
//! consumer:  waits for a word of status for each image; images stay on the device, or are copied to the host
//! ```
//!
//! A file whose entropy-coded data a shader finds damaged is decoded by the CPU engine's decoder instead, which decides what
//! becomes of it: pixels with a remark, or an error for the bad-file policy. Its batch-mates are not touched.

mod canvas;
mod worker;

use super::{Canvas, Engine, EngineOptions, LaunchTime, Traffic, Worker};
use crate::batch::Pool;
use crate::decode::{Decoder, scale_for};
use crate::error::Result;
use crate::gpu::render::Tables;
use crate::gpu::{AdapterReport, Device, Timing};
use crate::plan::SamplePlan;
use canvas::GpuCanvas;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where a batch's images are when it is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Output {
    /// In host memory, f32: what every consumer can read.
    #[default]
    Host,
    /// On the device, f32: [`crate::Images::on_device`].
    Device,
    /// On the device, f16.
    DeviceHalf,
}

/// The engine on a GPU. See [`crate::gpu::adapters`] for what there is.
#[derive(Clone)]
pub struct Wgpu {
    device: Device,
    name: Arc<str>,
    options: EngineOptions,
    output: Output,
    shared: Arc<Shared>,
}

/// What all batches of an engine share.
struct Shared {
    pool: Arc<Pool>,
    /// Memory of inputs that were submitted.
    words: Mutex<Vec<Vec<u32>>>,
    /// Weights and matrices of the stages.
    tables: Mutex<Tables>,
    /// While times are asked for.
    timing: Mutex<Option<Timing>>,
    batches: AtomicU64,
    images: AtomicU64,
    launches: AtomicU64,
    uploaded: AtomicU64,
    downloaded: AtomicU64,
    refused: AtomicU64,
    largest: AtomicU64,
}

impl Shared {
    fn timing(&self) -> MutexGuard<'_, Option<Timing>> {
        self.timing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wgpu {
    /// An engine on this device, with images in host memory.
    ///
    /// # Errors
    /// [`crate::Error::Config`] for options that cannot work.
    pub fn new(device: Device, options: &EngineOptions) -> Result<Self> {
        Decoder::new(options.limits.clone())?.scale_margin(options.scale_margin)?;
        device.prepare(crate::gpu::kernels())?;
        let AdapterReport { name, .. } = device.report();
        Ok(Self {
            name: format!("wgpu:{name}").into(),
            device,
            options: options.clone(),
            output: Output::Host,
            shared: Arc::new(Shared {
                pool: Pool::new(super::Cpu::RETURNED),
                words: Mutex::default(),
                tables: Mutex::default(),
                timing: Mutex::default(),
                batches: AtomicU64::new(0),
                images: AtomicU64::new(0),
                launches: AtomicU64::new(0),
                uploaded: AtomicU64::new(0),
                downloaded: AtomicU64::new(0),
                refused: AtomicU64::new(0),
                largest: AtomicU64::new(0),
            }),
        })
    }

    /// Where the images are to be. Default: [`Output::Host`].
    pub fn output(mut self, output: Output) -> Self {
        self.output = output;
        self
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    fn decoder(&self) -> Result<Decoder> {
        let EngineOptions { limits, scale_margin, strict } = &self.options;
        Ok(Decoder::new(limits.clone())?.scale_margin(*scale_margin)?.strict(*strict))
    }
}

impl std::fmt::Debug for Wgpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wgpu").field("name", &self.name).field("output", &self.output).finish_non_exhaustive()
    }
}

impl Engine for Wgpu {
    fn name(&self) -> &str {
        &self.name
    }

    fn worker(&self) -> Result<Box<dyn Worker>> {
        self.device.ask()?;
        Ok(Box::new(worker::GpuWorker::new(self.decoder()?, self.options.clone(), self.device.largest_buffer())))
    }

    fn scale(&self, plan: &SamplePlan) -> u8 {
        scale_for(plan.crop.region.size(), super::cpu::resolution(plan), self.options.scale_margin)
    }

    fn traffic(&self) -> Option<Traffic> {
        let Shared { batches, images, launches, uploaded, downloaded, refused, largest, .. } = &*self.shared;
        Some(Traffic {
            batches: batches.load(Relaxed),
            images: images.load(Relaxed),
            launches: launches.load(Relaxed),
            most_launches: largest.load(Relaxed),
            uploaded: uploaded.load(Relaxed),
            downloaded: downloaded.load(Relaxed),
            refused: refused.load(Relaxed),
        })
    }

    fn time_launches(&self) {
        if self.device.report().has_timestamps {
            self.shared.timing().get_or_insert_default();
        }
    }

    fn launch_times(&self) -> Result<Vec<LaunchTime>> {
        let mut timing = self.shared.timing();
        timing.as_mut().map_or_else(|| Ok(Vec::new()), |timing| timing.times(&self.device))
    }

    fn begin(&self, samples: usize, side: u32) -> Result<Box<dyn Canvas>> {
        self.device.check()?;
        Ok(Box::new(GpuCanvas::new(self.clone(), samples, side)))
    }
}
