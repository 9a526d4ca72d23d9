//! The CPU engine: one worker runs one sample's whole plan, in cache, straight into its slot of the batch.
//!
//! Decoding is told the crop and the size it is needed at, so that it may skip rows, columns and scale ([`crate::decode`]);
//! what follows is [`crate::ops::Renderer`].

use super::host::HostCanvas;
use super::{Canvas, Engine, Made, SampleError, Worker};
use crate::batch::Pool;
use crate::decode::{Decoder, Limits, SCALE_MARGIN};
use crate::error::Result;
use crate::ops::{Renderer, View};
use crate::plan::SamplePlan;
use crate::shape::Size;
use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

/// The CPU engine. Needs nothing but the machine's cores.
#[derive(Debug, Clone)]
pub struct Cpu {
    limits: Limits,
    scale_margin: f64,
    strict: bool,
    pool: Arc<Pool>,
}

impl Cpu {
    /// Batches whose memory is kept for the next one. A consumer that holds one batch at a time gives one back for each it takes.
    pub(crate) const RETURNED: usize = 1;

    /// An engine whose decoders keep to these limits.
    pub fn new(limits: Limits) -> Self {
        Self { limits, scale_margin: SCALE_MARGIN, strict: false, pool: Pool::new(Self::RETURNED) }
    }

    /// When JPEGs are decoded at a reduced scale: see [`Decoder::scale_margin`]. Below 1 it is refused where the workers
    /// are made.
    pub fn scale_margin(mut self, margin: f64) -> Self {
        self.scale_margin = margin;
        self
    }

    /// Refuse images that the decoder has a warning about: see [`Decoder::strict`]. Otherwise they are used, and listed by
    /// `Loader::damaged_files`.
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }
}

impl Default for Cpu {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Engine for Cpu {
    fn name(&self) -> &str {
        "cpu"
    }

    fn worker(&self) -> Result<Box<dyn Worker>> {
        let decoder = Decoder::new(self.limits.clone())?.scale_margin(self.scale_margin)?.strict(self.strict);
        Ok(Box::new(CpuWorker { decoder, renderer: Renderer::new() }))
    }

    fn begin(&self, samples: usize, side: u32) -> Result<Box<dyn Canvas>> {
        Ok(Box::new(HostCanvas::new(samples, side, &self.pool)))
    }
}

struct CpuWorker {
    decoder: Decoder,
    renderer: Renderer,
}

impl Worker for CpuWorker {
    fn run(
        &mut self,
        bytes: &[u8],
        plan: &mut dyn FnMut(Size) -> Result<SamplePlan>,
        canvas: &dyn Canvas,
        slot: usize,
    ) -> Result<Made, SampleError> {
        let canvas: &dyn Any = canvas;
        let canvas: &HostCanvas = canvas.downcast_ref().expect("the canvas is of the worker's own engine");
        let start = Instant::now();
        let header = self.decoder.header(bytes).map_err(SampleError::Image)?;
        let plan = plan(header.size).map_err(SampleError::Setup)?;
        let patch = self
            .decoder
            .decode_region(bytes, &header, plan.crop.region, resolution(&plan))
            .map_err(SampleError::Image)?;
        let decoded = Instant::now();
        let warning = patch.warning.map(str::to_owned);
        let view = View { pixels: patch.pixels, stride: patch.stride, size: patch.size };
        self.renderer.render(view, patch.area, &plan, &mut canvas.slot(slot)).map_err(SampleError::Setup)?;
        Ok(Made { decode: decoded - start, render: decoded.elapsed(), warning })
    }
}

/// The size that the plan's region has on the output's grid of pixels: the window of the crop's grid becomes the output. The
/// plain path is for those who want the released code's pixels: there the region is needed as it is.
fn resolution(plan: &SamplePlan) -> Size {
    let crop = &plan.crop;
    if !plan.fuse {
        return crop.region.size();
    }
    let scaled = |grid: u32, window: u32| {
        let side = (u64::from(grid) * u64::from(plan.output())).div_ceil(u64::from(window));
        u32::try_from(side).unwrap_or(u32::MAX)
    };
    Size::new(scaled(crop.grid.width, crop.window.width), scaled(crop.grid.height, crop.window.height))
}
