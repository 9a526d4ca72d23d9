//! The CPU engine: one worker runs one sample's whole plan, in cache, straight into its slot of the batch.
//!
//! Decoding is told the crop and the size it is needed at, so that it may skip rows, columns and scale ([`crate::decode`]);
//! what follows is [`crate::ops::Renderer`].

use super::{Engine, SampleError, Spent, Worker};
use crate::decode::{Decoder, Options};
use crate::error::Error;
use crate::ops::{Renderer, View};
use crate::plan::SamplePlan;
use crate::shape::Size;
use std::time::Instant;

/// The CPU engine. Needs nothing but the machine's cores.
#[derive(Debug, Clone, Default)]
pub struct Cpu {
    options: Options,
}

impl Cpu {
    /// An engine whose decoders keep to these options.
    pub fn new(options: Options) -> Self {
        Self { options }
    }
}

impl Engine for Cpu {
    fn name(&self) -> &str {
        "cpu"
    }

    fn worker(&self) -> Result<Box<dyn Worker>, Error> {
        Ok(Box::new(CpuWorker { decoder: Decoder::new(self.options.clone())?, renderer: Renderer::new() }))
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
    ) -> Result<Spent, SampleError> {
        let start = Instant::now();
        let header = self.decoder.header(bytes).map_err(SampleError::Image)?;
        let plan = plan(header.size).map_err(SampleError::Setup)?;
        let patch = self
            .decoder
            .decode_region(bytes, &header, plan.crop.region, resolution(&plan))
            .map_err(SampleError::Image)?;
        let decoded = Instant::now();
        let view = View { pixels: patch.pixels, stride: patch.stride, size: patch.size };
        self.renderer.render(view, patch.area, &plan, out).map_err(SampleError::Setup)?;
        Ok(Spent { decode: decoded - start, render: decoded.elapsed() })
    }
}

/// The size that the plan's region has on the output's grid of pixels: the window of the crop's grid becomes the output.
fn resolution(plan: &SamplePlan) -> Size {
    let crop = &plan.crop;
    let scaled = |grid: u32, window: u32| (grid * plan.output()).div_ceil(window);
    Size::new(scaled(crop.grid.width, crop.window.width), scaled(crop.grid.height, crop.window.height))
}
