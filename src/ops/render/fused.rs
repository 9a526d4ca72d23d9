//! The fused path: crop, flip, band crop and normalisation as one linear map.

use super::super::View;
use super::super::separable::{Columns, PANEL, Rows, Transpose};
use super::super::simd::{Level, Post};
use super::super::weights::{Axis, Bands, Packed};
use super::steps::to_bytes;
use super::{Buffers, Job, Renderer, Weights, room};
use crate::band::fourier::subtract_checkerboard;
use crate::error::Result;
use crate::shape::{Filter, Grid, Size};
use std::sync::Arc;

impl Renderer {
    /// Resize, flip, Lanczos band if there is one, and normalise as one map.
    pub(super) fn fused_resize(&mut self, job: Job<'_>, lanczos: bool) {
        self.prepare(&job, lanczos);
        let Self { level, rows, columns, buffers, .. } = self;
        let Job { src, flip, post, out, output, .. } = job;
        let map = Map { src, flip, output, vertical: &rows.packed, horizontal: &columns.packed };
        map.run(*level, buffers, planes(*level, post, output, out));
    }

    /// The same to interleaved bytes, rounded, and not normalised. `image` becomes as long as the output.
    pub(super) fn fused_bytes(&mut self, job: Job<'_>, lanczos: bool, image: &mut Vec<u8>) {
        self.prepare(&job, lanczos);
        let Self { level, rows, columns, buffers, strip, .. } = self;
        let Job { src, flip, output, .. } = job;
        let width = output.width as usize;
        image.resize(3 * output.pixels() as usize, 0);
        let map = Map { src, flip, output, vertical: &rows.packed, horizontal: &columns.packed };
        map.run(*level, buffers, |first, live, columns| {
            // A panel's rows at a time: they are in the cache when they are read again.
            let strip = room(strip, 3 * live * width);
            let size = Size { height: live as u32, ..output };
            planes(*level, [Post::NONE; 3], size, strip)(0, live, columns);
            to_bytes(*level, strip, &mut image[3 * first * width..][..3 * live * width]);
        });
    }

    /// A whole image of bytes to its Lanczos band, normalised, with weights that are made once for each size.
    pub(super) fn fused_lanczos(&mut self, src: View<'_>, post: [Post; 3], output: Size, out: &mut [f32]) {
        let mut weights = |input: u32, outputs: u32, group| {
            let packed = self.bands.entry((input, outputs, group)).or_insert_with(|| {
                let mut weights = Weights::default();
                weights.prepare(Filter::Lanczos3, Axis::whole(input as usize, outputs as usize), None, group);
                Arc::new(weights.packed)
            });
            Arc::clone(packed)
        };
        let (rows, columns) = (weights(src.size.height, output.height, 0), weights(src.size.width, output.width, 1));
        let map = Map { src, flip: false, output, vertical: &rows, horizontal: &columns };
        map.run(self.level, &mut self.buffers, planes(self.level, post, output, out));
    }

    /// The weights of both axes.
    fn prepare(&mut self, job: &Job<'_>, lanczos: bool) {
        let Self { rows, columns, lanczos: outers, .. } = self;
        for (weights, axis, outputs, group) in
            [(rows, job.vertical, job.output.height, 0), (columns, job.horizontal, job.output.width, 1)]
        {
            let outer = lanczos.then(|| {
                &*outers.entry((axis.outputs, outputs as usize)).or_insert_with(|| {
                    let mut bands = Bands::default();
                    bands.resample(Filter::Lanczos3, Axis::whole(axis.outputs, outputs as usize));
                    bands
                })
            });
            weights.prepare(job.filter, axis, outer, group);
        }
    }

    /// Resize, flip, Fourier band and normalise, in f32 throughout. The resize is banded and the band crop is dense,
    /// so they are kept apart: over rows, both run on one tile of columns that stays in the first-level cache; over
    /// columns, both run on one panel.
    pub(super) fn fused_fourier(&mut self, job: Job<'_>, band: u32, grid: Grid) -> Result<()> {
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

/// One separable map with the weights of its axes.
struct Map<'a> {
    src: View<'a>,
    flip: bool,
    output: Size,
    vertical: &'a Packed,
    horizontal: &'a Packed,
}

impl Map<'_> {
    /// A panel of output rows at a time: `write` gets the panel's first row, its number of rows, and its values as
    /// `(3, width, PANEL)`.
    fn run(self, level: Level, buffers: &mut Buffers, mut write: impl FnMut(usize, usize, &[f32])) {
        let Self { src, flip: mirror, output, vertical, horizontal } = self;
        let (height, width) = (output.height as usize, output.width as usize);
        let read = 3 * (horizontal.end - horizontal.start);
        let stride = read.next_multiple_of(8);
        let rows = room(&mut buffers.rows, PANEL * stride);
        let panel = room(&mut buffers.panel, stride * PANEL);
        let columns = room(&mut buffers.columns, 3 * width * PANEL);
        for first in (0..height).step_by(PANEL) {
            let live = PANEL.min(height - first);
            let runs = first / vertical.group..(first + live).div_ceil(vertical.group);
            let first_column = 3 * horizontal.start;
            Rows { src, weights: vertical, runs, first_column, columns: read, dst: rows, dst_stride: stride }
                .run(level);
            to_panel(level, rows, stride, live, panel);
            Columns { panel, first: horizontal.start, weights: horizontal, mirror, dst: columns }.run(level);
            write(first, live, columns);
        }
    }
}

/// Writes panels into planes `(3, H, W)` of this size, clamped to pixels and normalised.
fn planes(level: Level, post: [Post; 3], size: Size, out: &mut [f32]) -> impl FnMut(usize, usize, &[f32]) {
    let (width, plane) = (size.width as usize, size.pixels() as usize);
    move |first, live, columns| {
        for (c, (src, out)) in columns.chunks_exact(width * PANEL).zip(out.chunks_exact_mut(plane)).enumerate() {
            let post = Post { low: 0.0, high: 255.0, ..post[c] };
            let dst = &mut out[first * width..];
            Transpose { src, src_stride: PANEL, rows: width, columns: live, dst, dst_stride: width, post }.run(level);
        }
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
