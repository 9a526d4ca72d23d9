//! The CPU engine: one worker runs one sample's whole plan, in cache, straight into its slot of the batch.
//!
//! Decoding is told the crop and the size it is needed at, so that it may skip rows, columns and scale ([`crate::decode`]);
//! what follows is [`crate::ops::Renderer`].

use super::host::HostCanvas;
use super::{Canvas, Encoded, Engine, Kept, Made, SampleError, Worker};
use crate::batch::Pool;
use crate::decode::{Decoder, Fidelity, Header, Limits, SCALE_MARGIN, Seek, SeekPoints, scale_for};
use crate::error::{Error, Result};
use crate::ops::{Renderer, Resizer, Rgb8, View};
use crate::plan::SamplePlan;
use crate::recipe::AugmentAt;
use crate::shape::{Filter, Rect, Size};
use half::f16;
use half::slice::HalfFloatSliceExt;
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
    /// are made. For experts: users choose by [`crate::Recipe::fidelity`], and an exact plan is exact at any margin.
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
        let (renderer, resizer) = (Renderer::new(), Resizer::new());
        Ok(Box::new(CpuWorker { decoder, points: SeekPoints::default(), strict: self.strict, renderer, resizer }))
    }

    fn scale(&self, plan: &SamplePlan) -> u8 {
        scale_for(plan.crop.region.size(), resolution(plan), self.scale_margin)
    }

    fn begin(&self, samples: usize, side: u32) -> Result<Box<dyn Canvas>> {
        Ok(Box::new(HostCanvas::new(samples, side, &self.pool)))
    }
}

struct CpuWorker {
    decoder: Decoder,
    /// Those of the file at hand.
    points: SeekPoints,
    strict: bool,
    renderer: Renderer,
    resizer: Resizer,
}

/// Finished values of a sample, for [`Worker::put`].
struct KeptValues(Box<[f16]>);

fn own(canvas: &dyn Canvas) -> &HostCanvas {
    let canvas: &dyn Any = canvas;
    canvas.downcast_ref().expect("the canvas is of the worker's own engine")
}

impl Worker for CpuWorker {
    fn run(
        &mut self,
        file: Encoded<'_>,
        plan: &mut dyn FnMut(Size) -> Result<SamplePlan>,
        canvas: &dyn Canvas,
        slot: usize,
    ) -> Result<Made, SampleError> {
        let start = Instant::now();
        let decoding = tracing::trace_span!("decode").entered();
        let (bytes, sought) = (file.bytes, unpack(file, self.strict, &mut self.points));
        let header = self.decoder.header(bytes).map_err(SampleError::Image)?;
        let plan = plan(header.size).map_err(SampleError::Setup)?;
        let points = (sought == Seek::Used).then_some(&self.points);
        let patch = self
            .decoder
            .decode_region_from(bytes, &header, plan.crop.region, resolution(&plan), points)
            .map_err(SampleError::Image)?;
        drop(decoding);
        let decoded = Instant::now();
        let (warning, bytes) = (patch.warning.map(str::to_owned), patch.bytes);
        let view = View { pixels: patch.pixels, stride: patch.stride, size: patch.size };
        self.renderer.render(view, patch.area, &plan, &mut own(canvas).slot(slot)).map_err(SampleError::Setup)?;
        let seek = if sought == Seek::Used { self.decoder.seek() } else { sought };
        Ok(Made { warning, bytes, seek, ..self.made(start, decoded) })
    }

    fn keep(&mut self, canvas: &dyn Canvas, slot: usize) -> Result<Kept> {
        let mut slot = own(canvas).slot(slot);
        let mut values = vec![f16::ZERO; slot.len()].into_boxed_slice();
        values.convert_from_f32_slice(&slot);
        values.convert_to_f32_slice(&mut slot);
        Ok(Kept::new(KeptValues(values)))
    }

    fn put(&mut self, kept: &Kept, canvas: &dyn Canvas, slot: usize) -> Result<()> {
        let mut slot = own(canvas).slot(slot);
        match kept.get::<KeptValues>() {
            Some(KeptValues(values)) if values.len() == slot.len() => values.convert_to_f32_slice(&mut slot),
            _ => return Err(Error::config("replay", "what was kept is not of this engine and stage")),
        }
        Ok(())
    }

    fn run_keeping(
        &mut self,
        file: Encoded<'_>,
        plan: &mut dyn FnMut(Size) -> Result<SamplePlan>,
        canvas: &dyn Canvas,
        slot: usize,
        side: u32,
    ) -> Result<(Made, Kept), SampleError> {
        let start = Instant::now();
        let decoding = tracing::trace_span!("decode").entered();
        let header = self.decoder.header(file.bytes).map_err(SampleError::Image)?;
        let reduced = reduce(&mut self.decoder, &mut self.resizer, file.bytes, &header, plan, side)?;
        drop(decoding);
        let Reduced { image, plan, warning, bytes, decoded } = reduced;
        // Not from the decoder's pixels: a use must not depend on being the first one.
        self.renderer.render_region(image.view(), &plan, &mut own(canvas).slot(slot)).map_err(SampleError::Setup)?;
        Ok((Made { warning, bytes, ..self.made(start, decoded) }, Kept::new(image)))
    }

    fn rerun(
        &mut self,
        kept: &Kept,
        plan: &mut dyn FnMut(Size) -> Result<SamplePlan>,
        canvas: &dyn Canvas,
        slot: usize,
    ) -> Result<Made, SampleError> {
        let start = Instant::now();
        let Some(image) = kept.get::<Rgb8>() else {
            return Err(SampleError::Setup(Error::config("replay", "what was kept is not of this engine")));
        };
        let plan = plan(image.size).map_err(SampleError::Setup)?;
        self.renderer.render_region(image.view(), &plan, &mut own(canvas).slot(slot)).map_err(SampleError::Setup)?;
        Ok(self.made(start, start))
    }
}

impl CpuWorker {
    /// The times of a sample that was just rendered.
    fn made(&self, start: Instant, decoded: Instant) -> Made {
        let augment = self.renderer.augment_time();
        let band = decoded.elapsed().saturating_sub(augment);
        Made { decode: decoded - start, augment, band, ..Made::default() }
    }
}

/// Unpacks a file's seek points, if there are any and they are of these bytes; a strict decoder has no use for them.
pub(super) fn unpack(file: Encoded<'_>, strict: bool, points: &mut SeekPoints) -> Seek {
    let Some(entry) = file.entry.filter(|entry| entry.has_points() && !strict) else { return Seek::Unused };
    match entry.is_of(file.bytes) && entry.unpack(points) == Ok(true) {
        true => Seek::Used,
        false => Seek::Wrong,
    }
}

/// An image as it is kept to be augmented anew, and the plan of its first use.
pub(super) struct Reduced {
    pub(super) image: Rgb8,
    pub(super) plan: SamplePlan,
    pub(super) warning: Option<String>,
    pub(super) bytes: u64,
    /// When its pixels were there, before they were reduced.
    pub(super) decoded: Instant,
}

/// Decodes the whole image, and reduces it to [`Kept::most_pixels`] of `side`; `plan` is asked for the reduced size.
pub(super) fn reduce(
    decoder: &mut Decoder,
    resizer: &mut Resizer,
    bytes: &[u8],
    header: &Header,
    plan: &mut dyn FnMut(Size) -> Result<SamplePlan>,
    side: u32,
) -> Result<Reduced, SampleError> {
    let size = reduced(header.size, side);
    let plan = plan(size).map_err(SampleError::Setup)?;
    let (whole, needed) = (Rect::whole(header.size), if may_scale(&plan) { size } else { header.size });
    // All of it is needed: a side index has nothing to jump over.
    let patch = decoder.decode_region(bytes, header, whole, needed).map_err(SampleError::Image)?;
    let decoded = Instant::now();
    let (warning, bytes) = (patch.warning.map(str::to_owned), patch.bytes);
    let view = View { pixels: patch.pixels, stride: patch.stride, size: patch.size };
    let mut image = Rgb8 { pixels: Vec::new(), size };
    if view.size == size {
        image.pixels.reserve_exact(3 * size.pixels() as usize);
        (0..size.height as usize).for_each(|y| image.pixels.extend_from_slice(view.row(y)));
    } else {
        let pixels = &mut image.pixels;
        resizer.resize(view, patch.area, size, Filter::Bicubic, pixels).map_err(SampleError::Setup)?;
    }
    Ok(Reduced { image, plan, warning, bytes, decoded })
}

/// The size that an image is kept at: its own, or that of [`Kept::most_pixels`].
fn reduced(size: Size, side: u32) -> Size {
    let most = Kept::most_pixels(side);
    if size.pixels() <= most {
        return size;
    }
    let scale = (most as f64 / size.pixels() as f64).sqrt();
    // Rounded down, since the bound on memory is one; and a side of one pixel leaves the other all of them.
    let scaled = |length: u32| ((f64::from(length) * scale) as u32).max(1);
    let (width, height) = (scaled(size.width), scaled(size.height));
    let rest = |other: u32| u32::try_from(most / u64::from(other)).unwrap_or(u32::MAX);
    if width < height { Size::new(width, height.min(rest(width))) } else { Size::new(width.min(rest(height)), height) }
}

/// Whether the plan lets its image be decoded at a reduced scale. Where it does not, all pixels are needed.
fn may_scale(plan: &SamplePlan) -> bool {
    plan.fuse && plan.fidelity == Fidelity::Fast
}

/// The size that the plan's region has on the output's grid of pixels: the window of the crop's grid becomes the output, or stays
/// as it is where it is augmented first. The region is needed as it is where the plan is exact, and on the plain path,
/// which is for those who want the released code's pixels.
pub(crate) fn resolution(plan: &SamplePlan) -> Size {
    let crop = &plan.crop;
    if !may_scale(plan) {
        return crop.region.size();
    }
    let at_base = plan.has_steps() && plan.augment_at == AugmentAt::Base;
    let scaled = |grid: u32, window: u32| {
        let output = if at_base { window } else { plan.output() };
        let side = (u64::from(grid) * u64::from(output)).div_ceil(u64::from(window));
        u32::try_from(side).unwrap_or(u32::MAX)
    };
    Size::new(scaled(crop.grid.width, crop.window.width), scaled(crop.grid.height, crop.window.height))
}
