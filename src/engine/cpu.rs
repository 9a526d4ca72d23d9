//! The CPU engine: one worker runs one sample's whole plan, in cache, straight into its slot of the batch.
//!
//! Decoding is told the crop and the size it is needed at, so that it may skip rows, columns and scale ([`crate::decode`]);
//! what follows is [`crate::ops::Renderer`].

use super::{Engine, Made, SampleError, Worker};
use crate::decode::{Decoder, Limits, SCALE_MARGIN};
use crate::error::Error;
use crate::ops::{Renderer, View};
use crate::plan::SamplePlan;
use crate::shape::Size;
use std::time::Instant;

/// The CPU engine. Needs nothing but the machine's cores.
#[derive(Debug, Clone)]
pub struct Cpu {
    limits: Limits,
    scale_margin: f64,
    strict: bool,
}

impl Cpu {
    /// An engine whose decoders keep to these limits.
    pub fn new(limits: Limits) -> Self {
        Self { limits, scale_margin: SCALE_MARGIN, strict: false }
    }

    /// When JPEGs are decoded at a reduced scale: see [`Decoder::scale_margin`].
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

    fn worker(&self) -> Result<Box<dyn Worker>, Error> {
        let decoder = Decoder::new(self.limits.clone())?.scale_margin(self.scale_margin).strict(self.strict);
        Ok(Box::new(CpuWorker { decoder, renderer: Renderer::new() }))
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
        plan: &mut dyn FnMut(Size) -> Result<SamplePlan, Error>,
        out: &mut [f32],
    ) -> Result<Made, SampleError> {
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
        self.renderer.render(view, patch.area, &plan, out).map_err(SampleError::Setup)?;
        Ok(Made { decode: decoded - start, render: decoded.elapsed(), warning })
    }
}

/// The size that the plan's region has on the output's grid of pixels: the window of the crop's grid becomes the output.
fn resolution(plan: &SamplePlan) -> Size {
    let crop = &plan.crop;
    let scaled = |grid: u32, window: u32| (grid * plan.output()).div_ceil(window);
    Size::new(scaled(crop.grid.width, crop.window.width), scaled(crop.grid.height, crop.window.height))
}
