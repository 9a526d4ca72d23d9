//! One sample's plan, from pixels to normalised planes.

mod fused;
mod steps;

use super::View;
use super::erase::erase;
use super::normalize::affine;
use super::resize::{Resizer, fit_area};
use super::simd::{Level, Post};
use super::weights::{Axis, Bands, Packed};
use crate::augment::Augmenter;
use crate::band::fourier::{Memory, Operator};
use crate::error::{Error, Result};
use crate::plan::{BandPlan, SamplePlan};
use crate::recipe::AugmentAt;
use crate::shape::{BandCrop, Filter, Grid, Rect, Size};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Runs plans: resized crop, flip, augmentation, band crop, normalise, erase. One for each worker.
///
/// It keeps its buffers, and the tables of every band that it has met, so that a warm renderer takes no memory for an
/// image.
///
/// # Plain and fused
/// The plain path runs the steps in the order and with the types of the released code (`low-frequency-crop.md` §4):
/// 8-bit resize, 8-bit flip, then either 8-bit Lanczos band and normalise, or normalise and f32 Fourier band.
///
/// The fused path composes the steps into one linear map for each axis, in f32. It leaves out the rounding to 8 bits
/// after each axis of each resize, and the clamping of overshoot that goes with it; where the last step is a resize its
/// result is still clamped to `0..=255`. So it equals the plain path without rounding (to 1e-5), and differs from the
/// 8-bit path by at most 1.5 grey levels, 0.3 in the mean, where nothing overshoots. Where a filter overshoots black or
/// white, the clamps in the middle are missing. Largest difference at any pixel of 200 photos and of two training crops of
/// each, 224 -> 96, in grey levels:
///
/// | crop's filter | no band | Lanczos band | Fourier band |
/// |---|---|---|---|
/// | bilinear | 1.0 | 13.0 | 1.0 |
/// | bicubic | 20.9 | 21.9 | 31.5 |
/// | Lanczos-3 | 36.2 | 25.9 | 56.3 |
///
/// and the mean is 0.13 to 0.32 in all of them (made by `cargo test --release --test render -- --nocapture on_photos`). A caller who needs the released code's bytes takes the plain path.
///
/// # Augmentation
/// Operations need pixels of 8 bits. A plan that has some is fused up to them, to pixels rounded once, and from them on; one
/// that has none (a quarter of the images under RandAugment) is fused as a whole.
#[derive(Debug)]
pub struct Renderer {
    level: Level,
    plain: Plain,
    lanczos: HashMap<(usize, usize), Bands>,
    /// Weights of Lanczos bands of 8-bit images, by size before, size after and group.
    bands: HashMap<(u32, u32, usize), Arc<Packed>>,
    fourier: HashMap<(u32, u32, Grid), Arc<Operator>>,
    rows: Weights,
    columns: Weights,
    buffers: Buffers,
    augmenter: Augmenter,
    /// The 8-bit pixels of a plan that is taken step by step.
    image: Vec<u8>,
    /// Values on their way to or from `image`: `(3, H, W)`.
    planes: Vec<f32>,
    /// A panel's rows on their way to `image`: `(3, rows, W)`.
    strip: Vec<f32>,
    /// What the last plan's augmentation and erasing took.
    augment: Duration,
}

/// Memory of the plain path.
#[derive(Debug, Default)]
struct Plain {
    resizer: Resizer,
    /// An image before or after its 8-bit band.
    cut: Vec<u8>,
    memory: Memory,
}

/// Tables of one axis.
#[derive(Debug, Default)]
struct Weights {
    filter: Bands,
    composed: Bands,
    packed: Packed,
}

/// Memory of the fused path.
#[derive(Debug, Default)]
struct Buffers {
    /// Output rows over source columns.
    rows: Vec<f32>,
    /// The same for one panel, transposed: `(columns, 3, PANEL)`.
    panel: Vec<f32>,
    /// After the pass over columns: `(3, columns, PANEL)`.
    columns: Vec<f32>,
    /// A panel on its way through a Fourier operator.
    tile: Vec<f32>,
    fold: Vec<f32>,
    /// `s_H^T X` over source columns: the first half of the checkerboard term.
    checker: Vec<f32>,
}

/// At least `len` values of any finite content.
fn room(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

impl Weights {
    /// Packs the filter, or `outer` after the filter, `group` rows at a time; 0 picks what is faster for bytes.
    fn prepare(&mut self, filter: Filter, axis: Axis, outer: Option<&Bands>, group: usize) {
        self.filter.resample(filter, axis);
        let bands = match outer {
            Some(outer) => {
                self.composed.compose(outer, &self.filter);
                &self.composed
            }
            None => &self.filter,
        };
        let longest = (0..bands.rows()).map(|i| bands.row(i).1.len()).max().unwrap_or(0);
        let group = match group {
            0 if longest >= LONG_RUN => Packed::WIDE,
            0 => 1,
            group => group,
        };
        self.packed.pack(bands, group);
    }
}

/// Taps from which on rows of bytes are combined four at a time: then their runs overlap enough to pay for the zeros
/// that make them one. Measured at 400 x 300: 20 % of the whole gained with 32 taps (Lanczos band 96), 10 % lost with 8.
const LONG_RUN: usize = 10;

/// What `render` has checked and worked out.
struct Job<'a> {
    src: View<'a>,
    /// Axes of the resize to the plan's window.
    vertical: Axis,
    horizontal: Axis,
    filter: Filter,
    flip: bool,
    post: [Post; 3],
    out: &'a mut [f32],
    output: Size,
}

impl Job<'_> {
    /// The part of the source that becomes the window.
    fn area(&self) -> [f64; 4] {
        area([self.horizontal, self.vertical])
    }
}

/// The part of an image that these columns and rows come from.
pub(crate) fn area([x, y]: [Axis; 2]) -> [f64; 4] {
    [x.origin, y.origin, x.scale * x.outputs as f64, y.scale * y.outputs as f64]
}

impl Default for Renderer {
    fn default() -> Self {
        Self::new()
    }
}

impl Renderer {
    /// An empty one: memory is taken as images come.
    pub fn new() -> Self {
        Self::at(Level::detect())
    }

    fn at(level: Level) -> Self {
        Self {
            level,
            plain: Plain { resizer: Resizer::at(level), ..Plain::default() },
            lanczos: HashMap::new(),
            bands: HashMap::new(),
            fourier: HashMap::new(),
            rows: Weights::default(),
            columns: Weights::default(),
            buffers: Buffers::default(),
            augmenter: Augmenter::at(level),
            image: Vec::new(),
            planes: Vec::new(),
            strip: Vec::new(),
            augment: Duration::ZERO,
        }
    }

    /// How much of the last [`Renderer::render`] was spent on operations on 8-bit pixels and on erasing.
    pub(crate) fn augment_time(&self) -> Duration {
        self.augment
    }

    /// [`Renderer::render`] on an image that is there as a whole, at full scale: the plan's region is cut out of it.
    ///
    /// # Errors
    /// As [`Renderer::render`]; [`Error::Config`] also if the region does not lie in the image.
    pub fn render_region(&mut self, src: View<'_>, plan: &SamplePlan, out: &mut [f32]) -> Result<()> {
        src.check()?;
        let Rect { x, y, width, height } = plan.crop.region;
        if !plan.crop.region.is_inside(src.size) {
            let reason = format!("{:?} does not lie in {}x{}", plan.crop.region, src.size.width, src.size.height);
            return Err(Error::config("crop.region", reason));
        }
        let pixels = &src.pixels[y as usize * src.stride + 3 * x as usize..];
        let view = View { pixels, size: plan.crop.region.size(), ..src };
        self.render(view, [0.0, 0.0, f64::from(width), f64::from(height)], plan, out)
    }

    /// Runs `plan` on `src` and writes `(3, B, B)` f32, red green blue, normalised by the plan's mean and standard
    /// deviation, into `out`. Without a band the output has the size of `plan.crop.window`.
    ///
    /// `area` = `[x, y, width, height]` is the plan's `crop.region` in the coordinates of `src`; it may be fractional
    /// after a scaled decode. `src` should hold the pixels that the region touches and no others: what it holds beside
    /// the region is read where a filter reaches that far.
    ///
    /// # Errors
    /// [`Error::Config`] if `src` does not hold its pixels, `area` does not lie in it, the window does not lie in the
    /// grid, a Fourier band is larger than the window, a band is 0, boxes are to be erased before a band that is not a Fourier
    /// band or is cut before the augmentation, or `out` has another length; and as [`Augmenter::apply`].
    pub fn render(&mut self, src: View<'_>, area: [f64; 4], plan: &SamplePlan, out: &mut [f32]) -> Result<()> {
        src.check()?;
        let Fit { vertical, horizontal, output } = fit(plan, src.size, area)?;
        if out.len() as u64 != 3 * output.pixels() {
            return Err(Error::config(
                "output",
                format!("{} values: expected 3x{}x{}", out.len(), output.height, output.width),
            ));
        }
        let job = Job {
            src,
            vertical,
            horizontal,
            filter: plan.crop.filter,
            flip: plan.flip,
            post: affine(plan.mean, plan.std),
            out: &mut *out,
            output,
        };
        self.augment = Duration::ZERO;
        {
            let _span = tracing::trace_span!("band").entered();
            match plan.band {
                _ if plan.has_steps() || !plan.fuse => self.step_by_step(job, plan)?,
                Some(BandPlan { band, crop: BandCrop::Fourier { grid } }) => self.fused_fourier(job, band, grid)?,
                Some(BandPlan { crop: BandCrop::Lanczos, .. }) => self.fused_resize(job, true),
                None => self.fused_resize(job, false),
            }
        }
        if !plan.erase_before_band && !plan.erasures.is_empty() {
            let (level, erasures) = (self.level, &plan.erasures);
            self.augmenting(|_| {
                erase(level, erasures, out, output);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Runs `work` and adds its time to the augmentation's.
    fn augmenting(&mut self, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let _span = tracing::trace_span!("augment").entered();
        let start = Instant::now();
        let result = work(self);
        self.augment += start.elapsed();
        result
    }

    fn operator(&mut self, band: u32, size: usize, grid: Grid) -> Result<Arc<Operator>> {
        let size = size as u32;
        if let Some(operator) = self.fourier.get(&(band, size, grid)) {
            return Ok(Arc::clone(operator));
        }
        let operator = Arc::new(Operator::new(band, size, grid)?);
        self.fourier.insert((band, size, grid), Arc::clone(&operator));
        Ok(operator)
    }
}

/// A plan on pixels that it can be run on.
pub(crate) struct Fit {
    /// Axes of the resize to the plan's window.
    pub(crate) vertical: Axis,
    pub(crate) horizontal: Axis,
    pub(crate) output: Size,
}

/// Whether `plan` can be run on pixels of this size, of which `area` is its region.
///
/// # Errors
/// As [`Renderer::render`], but for the lengths of pixels and output.
pub(crate) fn fit(plan: &SamplePlan, size: Size, area: [f64; 4]) -> Result<Fit> {
    let [x, y, width, height] = fit_area(area, size)?;
    let (grid, window) = (plan.crop.grid, plan.crop.window);
    if !window.is_inside(grid) {
        return Err(Error::config("crop.window", format!("{window:?} does not lie in {}x{}", grid.width, grid.height)));
    }
    let output = plan.band.map_or(window.size(), |b| Size::square(b.band));
    if let Some(BandPlan { band, crop }) = plan.band {
        let limit = if crop == BandCrop::Lanczos { u32::MAX } else { window.width.min(window.height) };
        if band == 0 || band > limit {
            return Err(Error::config("band", format!("{band} of {}x{}", window.width, window.height)));
        }
    }
    let cut_later = plan.band.is_some_and(|b| b.crop != BandCrop::Lanczos) && plan.augment_at == AugmentAt::Base;
    if plan.erase_before_band && !plan.erasures.is_empty() && !cut_later {
        let reason = "boxes before the band, but no Fourier band is cut from normalised values";
        return Err(Error::config("erase_before_band", reason));
    }
    let axis = |start: f64, length: f64, input: u32, grid: u32, first: u32, outputs: u32| {
        let scale = length / f64::from(grid);
        let origin = start + scale * f64::from(first);
        Axis { input: input as usize, origin, scale, outputs: outputs as usize }
    };
    Ok(Fit {
        vertical: axis(y, height, size.height, grid.height, window.y, window.height),
        horizontal: axis(x, width, size.width, grid.width, window.x, window.width),
        output,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::ResizedCrop;
    use crate::shape::Rect;

    #[test]
    fn every_level_gives_the_same_picture() {
        let mut draw = crate::rng::Draw::at(9, 0, 0, crate::rng::Purpose::Crop);
        let size = Size::new(97, 71);
        let pixels: Vec<u8> = (0..3 * size.pixels()).map(|_| draw.bits() as u8).collect();
        let bands = [None, Some(BandCrop::Lanczos), Some(BandCrop::FOURIER)];
        for (fuse, band) in [true, false].into_iter().flat_map(|fuse| bands.map(|band| (fuse, band))) {
            let base = Size::square(60);
            let (region, window) = (Rect::whole(size), Rect::whole(base));
            let plan = SamplePlan {
                flip: true,
                band: band.map(|crop| BandPlan { band: 34, crop }),
                fuse,
                mean: [0.5; 3],
                std: [0.25; 3],
                ..SamplePlan::new(ResizedCrop { region, grid: base, window, filter: Filter::Bicubic })
            };
            let render = |level| {
                let mut out = vec![f32::NAN; 3 * (plan.output() as usize).pow(2)];
                let mut renderer = Renderer::at(level);
                renderer.render(View::packed(&pixels, size), [0.0, 0.0, 97.0, 71.0], &plan, &mut out).unwrap();
                out
            };
            let expected = render(Level::available()[0]);
            for level in Level::available() {
                for (at, (a, b)) in render(level).iter().zip(&expected).enumerate() {
                    assert!((a - b).abs() <= 1e-5, "{level:?} fuse {fuse} {band:?}: value {at} is {a}, not {b}");
                }
            }
        }
    }
}
