//! One sample's plan, from pixels to normalised planes.

use super::View;
use super::normalize::{affine, normalize};
use super::resize::{Resizer, fit_area};
use super::separable::{Columns, PANEL, Rows, Transpose};
use super::simd::{Level, Post};
use super::weights::{Axis, Bands, Packed};
use crate::band::fourier::{self, Memory, Operator, subtract_checkerboard};
use crate::error::{Error, Result};
use crate::plan::{BandPlan, SamplePlan};
use crate::shape::{BandCrop, Filter, Grid, Rect, Size};
use std::collections::HashMap;
use std::sync::Arc;

/// Runs plans: resized crop, flip, band crop, normalise. One for each worker.
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
#[derive(Debug)]
pub struct Renderer {
    level: Level,
    plain: Plain,
    lanczos: HashMap<(usize, usize), Bands>,
    fourier: HashMap<(u32, u32, Grid), Arc<Operator>>,
    rows: Weights,
    columns: Weights,
    buffers: Buffers,
}

/// Memory of the plain path.
#[derive(Debug, Default)]
struct Plain {
    resizer: Resizer,
    base: Vec<u8>,
    cut: Vec<u8>,
    planes: Vec<f32>,
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
            fourier: HashMap::new(),
            rows: Weights::default(),
            columns: Weights::default(),
            buffers: Buffers::default(),
        }
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
    /// grid, a Fourier band is larger than the window, a band is 0, or `out` has another length.
    pub fn render(&mut self, src: View<'_>, area: [f64; 4], plan: &SamplePlan, out: &mut [f32]) -> Result<()> {
        src.check()?;
        let [x, y, width, height] = fit_area(area, src.size)?;
        let (grid, window) = (plan.crop.grid, plan.crop.window);
        if !window.is_inside(grid) {
            return Err(Error::config(
                "crop.window",
                format!("{window:?} does not lie in {}x{}", grid.width, grid.height),
            ));
        }
        let output = plan.band.map_or(window.size(), |b| Size::square(b.band));
        if let Some(BandPlan { band, crop }) = plan.band {
            let limit = if crop == BandCrop::Lanczos { u32::MAX } else { window.width.min(window.height) };
            if band == 0 || band > limit {
                return Err(Error::config("band", format!("{band} of {}x{}", window.width, window.height)));
            }
        }
        if out.len() as u64 != 3 * output.pixels() {
            return Err(Error::config(
                "output",
                format!("{} values: expected 3x{}x{}", out.len(), output.height, output.width),
            ));
        }
        let axis = |start: f64, length: f64, input: u32, grid: u32, first: u32, outputs: u32| {
            let scale = length / f64::from(grid);
            let origin = start + scale * f64::from(first);
            Axis { input: input as usize, origin, scale, outputs: outputs as usize }
        };
        let job = Job {
            src,
            vertical: axis(y, height, src.size.height, grid.height, window.y, window.height),
            horizontal: axis(x, width, src.size.width, grid.width, window.x, window.width),
            filter: plan.crop.filter,
            flip: plan.flip,
            post: affine(plan.mean, plan.std),
            out,
            output,
        };
        match plan.band {
            _ if !plan.fuse => self.step_by_step(job, plan),
            Some(BandPlan { band, crop: BandCrop::Fourier { grid } }) => self.fused_fourier(job, band, grid),
            Some(BandPlan { crop: BandCrop::Lanczos, .. }) => self.fused_resize(job, true),
            None => self.fused_resize(job, false),
        }
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

    /// The plain path.
    fn step_by_step(&mut self, job: Job<'_>, plan: &SamplePlan) -> Result<()> {
        let Plain { resizer, base, cut, .. } = &mut self.plain;
        let Axis { origin: y, scale: sy, .. } = job.vertical;
        let Axis { origin: x, scale: sx, .. } = job.horizontal;
        let window = plan.crop.window.size();
        let area = [x, y, sx * f64::from(window.width), sy * f64::from(window.height)];
        resizer.resize(job.src, area, window, job.filter, base)?;
        let whole = [0.0, 0.0, f64::from(window.width), f64::from(window.height)];
        match plan.band {
            None => normalize(View::packed(base, window), job.flip, plan.mean, plan.std, job.out),
            Some(BandPlan { crop: BandCrop::Lanczos, .. }) => {
                if job.flip {
                    mirror(base, window);
                }
                resizer.resize(View::packed(base, window), whole, job.output, Filter::Lanczos3, cut)?;
                normalize(View::packed(cut, job.output), false, plan.mean, plan.std, job.out)
            }
            Some(BandPlan { band, crop: BandCrop::Fourier { grid } }) => {
                let rows = self.operator(band, job.vertical.outputs, grid)?;
                let columns = self.operator(band, job.horizontal.outputs, grid)?;
                let Plain { base, planes, memory, .. } = &mut self.plain;
                let planes = room(planes, 3 * window.pixels() as usize);
                normalize(View::packed(base, window), job.flip, plan.mean, plan.std, planes)?;
                fourier::crop(self.level, &rows, &columns, planes, job.out, memory);
                Ok(())
            }
        }
    }

    /// Resize, flip, Lanczos band if there is one, and normalise as one map.
    fn fused_resize(&mut self, job: Job<'_>, lanczos: bool) -> Result<()> {
        let Self { level, rows: vertical, columns: horizontal, buffers, .. } = self;
        let (height, width) = (job.output.height as usize, job.output.width as usize);
        let mut outer = |axis: Axis, outputs: usize| {
            self.lanczos.entry((axis.outputs, outputs)).or_insert_with(|| {
                let mut bands = Bands::default();
                bands.resample(Filter::Lanczos3, Axis::whole(axis.outputs, outputs));
                bands
            });
        };
        if lanczos {
            outer(job.vertical, height);
            outer(job.horizontal, width);
        }
        vertical.prepare(
            job.filter,
            job.vertical,
            self.lanczos.get(&(job.vertical.outputs, height)).filter(|_| lanczos),
            0,
        );
        horizontal.prepare(
            job.filter,
            job.horizontal,
            self.lanczos.get(&(job.horizontal.outputs, width)).filter(|_| lanczos),
            1,
        );
        let (vertical, horizontal) = (&vertical.packed, &horizontal.packed);

        let read = 3 * (horizontal.end - horizontal.start);
        let stride = read.next_multiple_of(8);
        let rows = room(&mut buffers.rows, PANEL * stride);
        let panel = room(&mut buffers.panel, stride * PANEL);
        let columns = room(&mut buffers.columns, 3 * width * PANEL);
        for first in (0..height).step_by(PANEL) {
            let live = PANEL.min(height - first);
            let runs = first / vertical.group..(first + live).div_ceil(vertical.group);
            let (src, first_column) = (job.src, 3 * horizontal.start);
            Rows { src, weights: vertical, runs, first_column, columns: read, dst: rows, dst_stride: stride }
                .run(*level);
            to_panel(*level, rows, stride, live, panel);
            Columns { panel, first: horizontal.start, weights: horizontal, mirror: job.flip, dst: columns }.run(*level);
            for (c, (plane, out)) in
                columns.chunks_exact(width * PANEL).zip(job.out.chunks_exact_mut(height * width)).enumerate()
            {
                let post = Post { low: 0.0, high: 255.0, ..job.post[c] };
                let dst = &mut out[first * width..];
                Transpose { src: plane, src_stride: PANEL, rows: width, columns: live, dst, dst_stride: width, post }
                    .run(*level);
            }
        }
        Ok(())
    }

    /// Resize, flip, Fourier band and normalise, in f32 throughout. The resize is banded and the band crop is dense,
    /// so they are kept apart: over rows, both run on one tile of columns that stays in the first-level cache; over
    /// columns, both run on one panel.
    fn fused_fourier(&mut self, job: Job<'_>, band: u32, grid: Grid) -> Result<()> {
        let row_operator = self.operator(band, job.vertical.outputs, grid)?;
        let column_operator = self.operator(band, job.horizontal.outputs, grid)?;
        let Self { level, rows: vertical, columns: horizontal, buffers, .. } = self;
        vertical.prepare(job.filter, job.vertical, None, 0);
        horizontal.prepare(job.filter, job.horizontal, None, 1);
        let (vertical, horizontal) = (&vertical.packed, &horizontal.packed);
        let (base_height, base_width, side) = (row_operator.size, column_operator.size, band as usize);

        let read = 3 * (horizontal.end - horizontal.start);
        let stride = read.next_multiple_of(PANEL);
        let rows = room(&mut buffers.rows, side.next_multiple_of(PANEL) * stride);
        let panel = room(&mut buffers.panel, stride * PANEL);
        let columns = room(&mut buffers.columns, 3 * base_width * PANEL);
        let tile = room(&mut buffers.tile, base_height.max(side) * PANEL);
        let checker = room(&mut buffers.checker, stride);
        for x in (0..read).step_by(PANEL) {
            let (src, first_column, live) = (job.src, 3 * horizontal.start + x, PANEL.min(read - x));
            let runs = 0..vertical.runs.len();
            Rows { src, weights: vertical, runs, first_column, columns: live, dst: tile, dst_stride: PANEL }
                .run(*level);
            let product = Some(&mut checker[x..x + PANEL]);
            row_operator.folded.run(*level, (tile, PANEL), &mut buffers.fold, (&mut rows[x..], stride), product);
        }
        for first in (0..side).step_by(PANEL) {
            let live = PANEL.min(side - first);
            to_panel(*level, &rows[first * stride..], stride, live, panel);
            Columns { panel, first: horizontal.start, weights: horizontal, mirror: job.flip, dst: columns }.run(*level);
            for (c, (plane, out)) in
                columns.chunks_exact(base_width * PANEL).zip(job.out.chunks_exact_mut(side * side)).enumerate()
            {
                column_operator.folded.run(*level, (plane, PANEL), &mut buffers.fold, (&mut *tile, PANEL), None);
                let (dst, post) = (&mut out[first * side..], job.post[c]);
                Transpose { src: tile, src_stride: PANEL, rows: side, columns: live, dst, dst_stride: side, post }
                    .run(*level);
            }
        }
        if let Some(s) = &column_operator.checker {
            let sigma = checker_sums(checker, s, horizontal, job.flip);
            for (c, out) in job.out.chunks_exact_mut(side * side).enumerate() {
                let sigma = sigma[c] / (base_height * base_width) as f64;
                subtract_checkerboard(out, side, (sigma * f64::from(job.post[c].scale)) as f32);
            }
        }
        Ok(())
    }
}

/// The first `live` rows of `rows`, transposed.
fn to_panel(level: Level, rows: &[f32], stride: usize, live: usize, panel: &mut [f32]) {
    // Whole blocks of 8: what lies in the lanes beyond `live` is never written out.
    let live = live.next_multiple_of(8);
    let post = Post::NONE;
    Transpose { src: rows, src_stride: stride, rows: live, columns: stride, dst: panel, dst_stride: PANEL, post }
        .run(level);
}

/// `sum_j s[j] x[j]` by channel, where `x` is `checker` after the pass over columns.
fn checker_sums(checker: &[f32], s: &[f64], horizontal: &Packed, flip: bool) -> [f64; 3] {
    let mut sums = [0.0; 3];
    for (j, run) in horizontal.runs.iter().enumerate() {
        let s = s[if flip { s.len() - 1 - j } else { j }];
        let from = &checker[3 * (run.start - horizontal.start)..];
        let mut pixel = [0.0; 3];
        for (weight, v) in horizontal.values[run.at..][..run.len].iter().zip(from.as_chunks::<3>().0) {
            for c in 0..3 {
                pixel[c] += weight * v[c];
            }
        }
        for c in 0..3 {
            sums[c] += s * f64::from(pixel[c]);
        }
    }
    sums
}

/// Mirrors every row left to right.
fn mirror(pixels: &mut [u8], size: Size) {
    for row in pixels.chunks_exact_mut(3 * size.width as usize) {
        row.as_chunks_mut::<3>().0.reverse();
    }
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
                crop: ResizedCrop { region, grid: base, window, filter: Filter::Bicubic },
                flip: true,
                band: band.map(|crop| BandPlan { band: 34, crop }),
                fuse,
                mean: [0.5; 3],
                std: [0.25; 3],
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
