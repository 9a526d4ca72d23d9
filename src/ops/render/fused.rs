//! The fused path: crop, flip, band crop and normalisation as one linear map.

use super::super::separable::{Columns, PANEL, Rows, Transpose};
use super::super::simd::{Level, Post};
use super::super::weights::{Axis, Bands, Packed};
use super::{Job, Renderer, room};
use crate::band::fourier::subtract_checkerboard;
use crate::error::Result;
use crate::shape::{Filter, Grid};

impl Renderer {
    /// Resize, flip, Lanczos band if there is one, and normalise as one map.
    pub(super) fn fused_resize(&mut self, job: Job<'_>, lanczos: bool) -> Result<()> {
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
