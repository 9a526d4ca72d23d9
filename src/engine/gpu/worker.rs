//! A worker's half: one file read, its plan made, and all that the device needs of it put into words.

use super::canvas::GpuCanvas;
use crate::decode::{Decoder, Format, Header, Patch, Process, Seek, SeekPoints, libjpeg_scale_for};
use crate::engine::cpu::{reduce, resolution, unpack};
use crate::engine::{Canvas, Encoded, EngineOptions, Kept, Made, SampleError, Worker};
use crate::error::{DecodeError, Error, Result};
use crate::gpu::{augment, jpeg, planes, render};
use crate::ops::{Renderer, Resizer, Rgb8, View};
use crate::packed::{Coefficients, Record, TileDecoder};
use crate::plan::SamplePlan;
use crate::shape::{Rect, Size};
use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

/// A sample that is ready for the device. Offsets count from its first word.
pub(super) struct Sample {
    pub(super) words: Vec<u32>,
    pub(super) form: Form,
    /// Side of the output.
    pub(super) side: u32,
}

/// What the device has to do.
pub(super) enum Form {
    /// This.
    Made(Box<Work>),
    /// Nothing: its `(3, B, B)` f32 values are the words.
    Finished,
}

/// One sample's way from bytes to values.
pub(super) struct Work {
    /// Where the pixels come from.
    pub(super) pixels: planes::Staged,
    /// Of a file whose codes the device reads.
    pub(super) codes: Option<jpeg::Staged>,
    pub(super) render: render::Staged,
    pub(super) augment: Option<augment::Staged>,
}

/// Words for what a sample has beside its file or pixels: tables and weights.
const ROOM: usize = 6000;

pub(super) struct GpuWorker {
    decoder: Decoder,
    options: EngineOptions,
    points: SeekPoints,
    codes: jpeg::Stager,
    tiles: TileDecoder,
    resizer: Resizer,
    rest: Rest,
}

/// What follows the decoding.
struct Rest {
    /// Most pixels of a sample: no part of it is more than a buffer can be, by far.
    most_pixels: u64,
    stager: render::Stager,
    renderer: Renderer,
}

fn own(canvas: &dyn Canvas) -> &GpuCanvas {
    let canvas: &dyn Any = canvas;
    canvas.downcast_ref().expect("the canvas is of the worker's own engine")
}

impl GpuWorker {
    pub(super) fn new(decoder: Decoder, options: EngineOptions, largest_buffer: u64) -> Self {
        Self {
            decoder,
            options,
            points: SeekPoints::default(),
            codes: jpeg::Stager::default(),
            tiles: TileDecoder::default(),
            resizer: Resizer::new(),
            // Coefficients of three components take six bytes a pixel.
            rest: Rest {
                most_pixels: largest_buffer / 8,
                stager: render::Stager::default(),
                renderer: Renderer::new(),
            },
        }
    }

    /// Reads a file as far as the CPU has to. `None` where the device cannot decode it, or must not.
    fn undecoded(
        &mut self,
        file: Encoded<'_>,
        header: &Header,
        plan: &SamplePlan,
        made: &mut Made,
        words: &mut Vec<u32>,
    ) -> Result<Option<(planes::Staged, Option<jpeg::Staged>)>, DecodeError> {
        let wanted =
            planes::Wanted { region: plan.crop.region, need: resolution(plan), margin: self.options.scale_margin };
        match header.format {
            Format::Packed => {
                let record = Record::open(file.bytes, &self.options.limits)?;
                if record.image().is_none() {
                    return Ok(None);
                }
                let staged =
                    planes::Staged::record(&record, header, &wanted, self.options.strict, &mut self.tiles, words)?;
                made.bytes = 4 * words.len() as u64;
                Ok(staged.map(|staged| (staged, None)))
            }
            // A strict decoder reads all of a file, and the device only what it needs.
            Format::Jpeg if !self.options.strict => Ok(self.jpeg(file, header, &wanted, made, words)),
            _ => Ok(None),
        }
    }

    fn jpeg(
        &mut self,
        file: Encoded<'_>,
        header: &Header,
        wanted: &planes::Wanted,
        made: &mut Made,
        words: &mut Vec<u32>,
    ) -> Option<(planes::Staged, Option<jpeg::Staged>)> {
        let frame = header.frame.as_ref()?;
        made.bytes = file.bytes.len() as u64;
        if frame.process == Process::Sequential {
            let picture = planes::Picture::of_jpeg(file.bytes, header, wanted)?;
            let region = (picture.window, picture.scale);
            made.seek = unpack(file, false, &mut self.points);
            let points = (made.seek == Seek::Used).then_some(&self.points);
            let mut codes = self.codes.stage(file.bytes, frame, region, points, words);
            if codes.is_none() && points.is_some() {
                made.seek = Seek::Wrong;
                codes = self.codes.stage(file.bytes, frame, region, None, words);
            }
            let codes = codes?;
            let same = |(part, component): (&planes::Part, &jpeg::Component)| {
                let Rect { x, y, width, height } = part.blocks;
                part.side == component.scale && component.rect == jpeg::BlockRect { x, y, width, height }
            };
            if codes.components.len() != picture.parts.len() || !picture.parts.iter().zip(&codes.components).all(same) {
                return None;
            }
            let components = codes.components.iter().map(|component| (&component.steps, component.coefficients));
            let staged = planes::Staged::decoded_there(picture, components, words);
            return Some((staged, Some(codes)));
        }
        // Of other processes libjpeg reads the codes; at full scale the rest is the same, and at a reduced one it has transforms of
        // its own. What it refuses or complains about is decided where it makes the pixels.
        if libjpeg_scale_for(wanted.region.size(), wanted.need, wanted.margin) != 8 {
            return None;
        }
        let coefficients = Coefficients::from_jpeg(file.bytes, &self.options.limits).ok()?;
        let picture = planes::Picture::of_other_jpeg(header, coefficients.colour, wanted)?;
        Some((planes::Staged::decoded_here(picture, &coefficients, words), None))
    }

    /// Stages a file: on the device's account if it may, else with the pixels that the CPU decodes.
    fn stage(
        &mut self,
        file: Encoded<'_>,
        header: &Header,
        plan: &SamplePlan,
        may_decode_there: bool,
        made: &mut Made,
    ) -> Result<Sample, SampleError> {
        if may_decode_there {
            let mut words = Vec::with_capacity(file.bytes.len() / 4 + ROOM);
            let undecoded = self.undecoded(file, header, plan, made, &mut words).map_err(SampleError::Image)?;
            if let Some((pixels, codes)) = undecoded {
                let sample = self.rest.rendered(pixels, codes, plan, words).map_err(SampleError::Setup)?;
                if let Some(sample) = sample {
                    return Ok(sample);
                }
            }
            *made = Made::default();
        }
        let sought = unpack(file, self.options.strict, &mut self.points);
        let points = (sought == Seek::Used).then_some(&self.points);
        let (decoder, rest) = (&mut self.decoder, &mut self.rest);
        let patch = decoder.decode_region_from(file.bytes, header, plan.crop.region, resolution(plan), points);
        let patch = patch.map_err(SampleError::Image)?;
        made.warning = patch.warning.map(str::to_owned);
        made.bytes = patch.bytes;
        let sample = rest.of_pixels(&patch, plan).map_err(SampleError::Setup)?;
        made.seek = if sought == Seek::Used { self.decoder.seek() } else { sought };
        Ok(sample)
    }

    /// Stages the plan's region of kept pixels.
    fn of_image(&mut self, image: &Rgb8, plan: &SamplePlan) -> Result<Sample> {
        let Rect { x, y, width, height } = plan.crop.region;
        if !plan.crop.region.is_inside(image.size) {
            let Size { width, height } = image.size;
            return Err(Error::config(
                "crop.region",
                format!("{:?} does not lie in {width}x{height}", plan.crop.region),
            ));
        }
        let stride = 3 * image.size.width as usize;
        let patch = Patch {
            pixels: &image.pixels[y as usize * stride + 3 * x as usize..],
            stride,
            size: plan.crop.region.size(),
            area: [0.0, 0.0, f64::from(width), f64::from(height)],
            scale: 8,
            bytes: 0,
            warning: None,
        };
        self.rest.of_pixels(&patch, plan)
    }
}

impl Rest {
    /// The sample of pixels in host memory, of which `area` is the plan's region.
    fn of_pixels(&mut self, patch: &Patch<'_>, plan: &SamplePlan) -> Result<Sample> {
        let mut words = Vec::with_capacity(patch.size.pixels() as usize + ROOM);
        let pixels = planes::Staged::pixels(patch, &mut words);
        match self.rendered(pixels, None, plan, words)? {
            Some(sample) => Ok(sample),
            None => {
                // What a shader cannot do the CPU does.
                let mut values = vec![0.0f32; 3 * (plan.output() as usize).pow(2)];
                let view = View { pixels: patch.pixels, stride: patch.stride, size: patch.size };
                self.renderer.render(view, patch.area, plan, &mut values)?;
                let words = values.into_iter().map(f32::to_bits).collect();
                Ok(Sample { words, form: Form::Finished, side: plan.output() })
            }
        }
    }

    /// Adds what follows the decoding; `None` where the device cannot do that.
    fn rendered(
        &mut self,
        pixels: planes::Staged,
        codes: Option<jpeg::Staged>,
        plan: &SamplePlan,
        mut words: Vec<u32>,
    ) -> Result<Option<Sample>> {
        if pixels.size.pixels() > self.most_pixels {
            return Ok(None);
        }
        let render = self.stager.stage(plan, pixels.size, pixels.area, &mut words)?;
        let augment = match plan.ops.is_empty() {
            true => None,
            false => {
                let staged = augment::stage(&plan.ops, render.augmented(), plan.fill, &mut words)?;
                let Some(staged) = staged else { return Ok(None) };
                Some(staged)
            }
        };
        let form = Form::Made(Box::new(Work { pixels, codes, render, augment }));
        Ok(Some(Sample { words, form, side: plan.output() }))
    }
}

impl Worker for GpuWorker {
    fn run(
        &mut self,
        file: Encoded<'_>,
        plan: &mut dyn FnMut(Size) -> Result<SamplePlan>,
        canvas: &dyn Canvas,
        slot: usize,
    ) -> Result<Made, SampleError> {
        let (start, canvas) = (Instant::now(), own(canvas));
        let header = self.decoder.header(file.bytes).map_err(SampleError::Image)?;
        let plan = plan(header.size).map_err(SampleError::Setup)?;
        let mut made = Made::default();
        let sample = self.stage(file, &header, &plan, canvas.may_decode(slot), &mut made)?;
        canvas.put(slot, Arc::new(sample)).map_err(SampleError::Setup)?;
        Ok(Made { decode: start.elapsed(), ..made })
    }

    /// What is kept is the staged sample: made again from the same bytes and plan, it is the same.
    fn keep(&mut self, canvas: &dyn Canvas, slot: usize) -> Result<Kept> {
        Ok(Kept::new(own(canvas).staged(slot)?))
    }

    fn put(&mut self, kept: &Kept, canvas: &dyn Canvas, slot: usize) -> Result<()> {
        match kept.get::<Arc<Sample>>() {
            Some(sample) => own(canvas).put(slot, sample.clone()),
            None => Err(Error::config("replay", "what was kept is not of this engine and stage")),
        }
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
        let header = self.decoder.header(file.bytes).map_err(SampleError::Image)?;
        let reduced = reduce(&mut self.decoder, &mut self.resizer, file.bytes, &header, plan, side)?;
        let sample = self.of_image(&reduced.image, &reduced.plan).map_err(SampleError::Setup)?;
        own(canvas).put(slot, Arc::new(sample)).map_err(SampleError::Setup)?;
        let made = Made { decode: start.elapsed(), warning: reduced.warning, bytes: reduced.bytes, ..Made::default() };
        Ok((made, Kept::new(reduced.image)))
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
        let sample = self.of_image(image, &plan).map_err(SampleError::Setup)?;
        own(canvas).put(slot, Arc::new(sample)).map_err(SampleError::Setup)?;
        Ok(Made { band: start.elapsed(), ..Made::default() })
    }
}
