//! The inner loops of a separable linear map over interleaved RGB bytes.
//!
//! Rows are combined first, while the pixels of a row lie side by side in memory. The result is transposed in panels
//! of [`PANEL`] rows, so that the second pass, over columns, again runs along contiguous memory: a panel holds one
//! value of each of its rows for every column and channel. The last write transposes back and normalises.
//!
//! Fast because: every access is contiguous and in vectors; a panel stays in the second-level cache from its first
//! pass to its last; where the runs of weights are long, four rows share each load and its conversion from bytes.

use super::View;
use super::simd::{Kernel, Level, Post, Vector};
use super::weights::Packed;

/// Output rows that are worked on together, from the pass over rows to the last write. The vectors of every level
/// divide it.
pub(crate) const PANEL: usize = 32;

/// Vectors that one inner loop keeps per row of a panel.
const VECTORS: usize = 2;

/// Combines rows of bytes: `dst[i][x] = sum_k w[i][k] src[start_i + k][x]` for the groups `runs` of `weights` and the
/// byte columns `first_column..first_column + columns`.
pub(crate) struct Rows<'a> {
    pub(crate) src: View<'a>,
    pub(crate) weights: &'a Packed,
    pub(crate) runs: std::ops::Range<usize>,
    pub(crate) first_column: usize,
    pub(crate) columns: usize,
    pub(crate) dst: &'a mut [f32],
    pub(crate) dst_stride: usize,
}

impl Rows<'_> {
    /// Runs at `level`.
    pub(crate) fn run(self, level: Level) {
        let last_row = (self.runs.end * self.weights.group).min(self.weights.rows);
        let rows = last_row.saturating_sub(self.runs.start * self.weights.group);
        if rows == 0 || self.columns == 0 {
            return;
        }
        let src = &self.src;
        assert!(self.weights.end <= src.size.height as usize, "weights end inside the image");
        assert!(self.first_column + self.columns <= 3 * src.size.width as usize, "columns lie inside the image");
        assert!(src.holds_its_pixels(), "the view was checked");
        assert!(self.columns <= self.dst_stride && self.dst.len() >= (rows - 1) * self.dst_stride + self.columns);
        level.run(self);
    }

    /// One tile: `ROWS` output rows by `COLUMNS` vectors.
    ///
    /// # Safety
    /// The processor has `V`; the tile lies inside source and destination; `live <= ROWS` rows may be written.
    #[inline(always)]
    unsafe fn tile<V: Vector, const ROWS: usize, const COLUMNS: usize>(
        src: *const u8,
        stride: usize,
        weights: &[f32],
        dst: *mut f32,
        dst_stride: usize,
        live: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [[V::splat(0.0); COLUMNS]; ROWS];
            let mut row = src;
            for weights in weights.chunks_exact(ROWS) {
                let mut pixels = [V::splat(0.0); COLUMNS];
                for (v, pixels) in pixels.iter_mut().enumerate() {
                    *pixels = V::load_bytes(row.add(v * V::LANES));
                }
                for (sums, weight) in sums.iter_mut().zip(weights) {
                    let weight = V::splat(*weight);
                    for (sum, pixels) in sums.iter_mut().zip(pixels) {
                        *sum = pixels.mul_add(weight, *sum);
                    }
                }
                row = row.wrapping_add(stride);
            }
            for (r, sums) in sums.iter().enumerate() {
                if r < live {
                    for (v, sum) in sums.iter().enumerate() {
                        sum.store(dst.add(r * dst_stride + v * V::LANES));
                    }
                }
            }
        }
    }

    /// # Safety
    /// The processor has `V`, and `run` has checked the lengths.
    #[inline(always)]
    unsafe fn group<V: Vector, const ROWS: usize>(self) {
        let first_row = self.runs.start * ROWS;
        for (g, run) in self.weights.runs[self.runs.clone()].iter().enumerate() {
            let weights = &self.weights.values[run.at..][..run.len * ROWS];
            let live = ROWS.min(self.weights.rows - first_row - g * ROWS);
            let (columns, stride, dst_stride) = (self.columns, self.src.stride, self.dst_stride);
            // SAFETY: `run.start + run.len <= height`, and column offsets stay below `columns`.
            unsafe {
                let src = self.src.pixels.as_ptr().add(run.start * stride + self.first_column);
                let dst = self.dst.as_mut_ptr().add(g * ROWS * dst_stride);
                let mut x = 0;
                while x + 4 * V::LANES <= columns {
                    Self::tile::<V, ROWS, 4>(src.add(x), stride, weights, dst.add(x), dst_stride, live);
                    x += 4 * V::LANES;
                }
                while x + 2 * V::LANES <= columns {
                    Self::tile::<V, ROWS, 2>(src.add(x), stride, weights, dst.add(x), dst_stride, live);
                    x += 2 * V::LANES;
                }
                while x + V::LANES <= columns {
                    Self::tile::<V, ROWS, 1>(src.add(x), stride, weights, dst.add(x), dst_stride, live);
                    x += V::LANES;
                }
                if x < columns && columns >= V::LANES {
                    // The rest overlaps the tile before it: the same values are written twice.
                    x = columns - V::LANES;
                    Self::tile::<V, ROWS, 1>(src.add(x), stride, weights, dst.add(x), dst_stride, live);
                    x = columns;
                }
                while x < columns {
                    Self::tile::<V::Single, ROWS, 1>(src.add(x), stride, weights, dst.add(x), dst_stride, live);
                    x += 1;
                }
            }
        }
    }
}

impl Kernel for Rows<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // SAFETY: the caller's promise; `Rows::run` has checked the lengths.
        unsafe {
            match self.weights.group {
                1 => self.group::<V, 1>(),
                Packed::WIDE => self.group::<V, { Packed::WIDE }>(),
                other => unreachable!("weights are packed by 1 or {}, not {other}", Packed::WIDE),
            }
        }
    }
}

/// Combines columns of a panel: `dst[c][i] = sum_k w[i][k] panel[start_i + k][c]` for three interleaved channels `c`.
///
/// `panel` is `(columns, 3, PANEL)` for the columns from `first` on, `dst` is `(3, outputs, PANEL)`. With `mirror`, output `i` is written at
/// `outputs - 1 - i`. The weights must be packed singly.
pub(crate) struct Columns<'a> {
    pub(crate) panel: &'a [f32],
    pub(crate) first: usize,
    pub(crate) weights: &'a Packed,
    pub(crate) mirror: bool,
    pub(crate) dst: &'a mut [f32],
}

impl Columns<'_> {
    /// Runs at `level`.
    pub(crate) fn run(self, level: Level) {
        assert_eq!(self.weights.group, 1, "the pass over columns takes rows one by one");
        assert!(self.first <= self.weights.start && self.panel.len() >= (self.weights.end - self.first) * 3 * PANEL);
        assert!(self.dst.len() >= 3 * self.weights.rows * PANEL);
        level.run(self);
    }
}

impl Kernel for Columns<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let outputs = self.weights.rows;
        for (i, run) in self.weights.runs.iter().enumerate() {
            let weights = &self.weights.values[run.at..][..run.len];
            let to = if self.mirror { outputs - 1 - i } else { i };
            for lane in (0..PANEL).step_by(VECTORS * V::LANES) {
                // SAFETY: `Columns::run` has checked both lengths against the weights.
                unsafe {
                    let mut sums = [[V::splat(0.0); VECTORS]; 3];
                    let mut from = self.panel.as_ptr().add((run.start - self.first) * 3 * PANEL + lane);
                    for weight in weights {
                        let weight = V::splat(*weight);
                        for (c, sums) in sums.iter_mut().enumerate() {
                            for (v, sum) in sums.iter_mut().enumerate() {
                                *sum = V::load(from.add(c * PANEL + v * V::LANES)).mul_add(weight, *sum);
                            }
                        }
                        from = from.wrapping_add(3 * PANEL);
                    }
                    for (c, sums) in sums.iter().enumerate() {
                        for (v, sum) in sums.iter().enumerate() {
                            sum.store(self.dst.as_mut_ptr().add((c * outputs + to) * PANEL + lane + v * V::LANES));
                        }
                    }
                }
            }
        }
    }
}

/// `dst[c][r] = post(src[r][c])` for `rows` by `columns` values.
pub(crate) struct Transpose<'a> {
    pub(crate) src: &'a [f32],
    pub(crate) src_stride: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) dst: &'a mut [f32],
    pub(crate) dst_stride: usize,
    pub(crate) post: Post,
}

impl Transpose<'_> {
    /// Runs at `level`.
    pub(crate) fn run(self, level: Level) {
        if self.rows == 0 || self.columns == 0 {
            return;
        }
        assert!(self.columns <= self.src_stride && self.rows <= self.dst_stride);
        assert!(self.src.len() >= (self.rows - 1) * self.src_stride + self.columns);
        assert!(self.dst.len() >= (self.columns - 1) * self.dst_stride + self.rows);
        level.run(self);
    }
}

impl Kernel for Transpose<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let (even_rows, even_columns) = (self.rows / 8 * 8, self.columns / 8 * 8);
        let (src, dst) = (self.src.as_ptr(), self.dst.as_mut_ptr());
        // SAFETY: `Transpose::run` has checked both lengths; blocks and single values lie below `rows` and `columns`.
        unsafe {
            for c in (0..even_columns).step_by(8) {
                for r in (0..even_rows).step_by(8) {
                    let (from, to) = (src.add(r * self.src_stride + c), dst.add(c * self.dst_stride + r));
                    V::transpose8(from, self.src_stride, to, self.dst_stride, self.post);
                }
            }
            for c in 0..self.columns {
                let first = if c < even_columns { even_rows } else { 0 };
                for r in first..self.rows {
                    let v = V::Single::load(src.add(r * self.src_stride + c));
                    self.post.apply(v).store(dst.add(c * self.dst_stride + r));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::weights::{Axis, Bands};
    use super::*;
    use crate::shape::{Filter, Size};

    fn noise(len: usize) -> Vec<u8> {
        let mut draw = crate::rng::Draw::at(5, 0, 0, crate::rng::Purpose::Crop);
        (0..len).map(|_| draw.bits() as u8).collect()
    }

    fn packed(input: usize, outputs: usize, group: usize) -> (Bands, Packed) {
        let (mut bands, mut packed) = (Bands::default(), Packed::default());
        bands.resample(Filter::Bicubic, Axis::whole(input, outputs));
        packed.pack(&bands, group);
        (bands, packed)
    }

    #[test]
    fn rows_are_combined_at_every_level_width_and_group_and_nothing_else_is_written() {
        for level in Level::available() {
            for (width, height, outputs) in [(1, 1, 1), (2, 5, 3), (5, 1, 4), (6, 9, 7), (23, 30, 13), (50, 8, 20)] {
                for group in [1, Packed::WIDE] {
                    let (bands, weights) = packed(height, outputs, group);
                    let (stride, columns) = (3 * width + 2, 3 * width);
                    let pixels = noise(stride * height);
                    let src = View { pixels: &pixels, stride, size: Size::new(width as u32, height as u32) };
                    let mut dst = vec![f32::NAN; outputs * (columns + 1)];
                    let runs = 0..weights.runs.len();
                    let weights = &weights;
                    Rows { src, weights, runs, first_column: 0, columns, dst: &mut dst, dst_stride: columns + 1 }
                        .run(level);
                    for i in 0..outputs {
                        let (start, row) = bands.row(i);
                        for x in 0..columns {
                            let expected: f64 =
                                (0..).zip(row).map(|(k, w)| w * f64::from(pixels[(start + k) * stride + x])).sum();
                            let got = f64::from(dst[i * (columns + 1) + x]);
                            assert!(
                                (got - expected).abs() <= 1e-4,
                                "{level:?} {width}x{height}->{outputs} by {group}, ({i}, {x}): {got}, not {expected}"
                            );
                        }
                        assert!(dst[i * (columns + 1) + columns].is_nan(), "{level:?}: column after the last written");
                    }
                }
            }
        }
    }

    #[test]
    fn columns_are_combined_and_mirrored() {
        for level in Level::available() {
            for mirror in [false, true] {
                let (bands, weights) = packed(11, 6, 1);
                let panel: Vec<f32> = noise(11 * 3 * PANEL).into_iter().map(f32::from).collect();
                let mut dst = vec![f32::NAN; 3 * 6 * PANEL];
                Columns { panel: &panel, first: 0, weights: &weights, mirror, dst: &mut dst }.run(level);
                for (c, i, lane) in (0..3).flat_map(|c| (0..6).flat_map(move |i| (0..PANEL).map(move |l| (c, i, l)))) {
                    let (start, row) = bands.row(if mirror { 5 - i } else { i });
                    let expected: f64 =
                        (0..).zip(row).map(|(k, w)| w * f64::from(panel[((start + k) * 3 + c) * PANEL + lane])).sum();
                    let got = f64::from(dst[(c * 6 + i) * PANEL + lane]);
                    assert!((got - expected).abs() <= 1e-4, "{level:?} ({c}, {i}, {lane}): {got}, not {expected}");
                }
            }
        }
    }

    #[test]
    fn a_transpose_moves_every_value_and_writes_no_other() {
        let post = Post { low: 10.0, high: 200.0, scale: 0.5, offset: -3.0 };
        for level in Level::available() {
            for (rows, columns) in [(1, 1), (8, 8), (7, 9), (16, 8), (17, 31), (32, 5)] {
                let src: Vec<f32> = noise(rows * (columns + 2)).into_iter().map(f32::from).collect();
                let mut dst = vec![f32::NAN; columns * (rows + 1)];
                let (src_stride, dst_stride) = (columns + 2, rows + 1);
                Transpose { src: &src, src_stride, rows, columns, dst: &mut dst, dst_stride, post }.run(level);
                for c in 0..columns {
                    for r in 0..rows {
                        let expected = src[r * src_stride + c].clamp(10.0, 200.0) * 0.5 - 3.0;
                        assert_eq!(dst[c * dst_stride + r], expected, "{level:?} {rows}x{columns} ({r}, {c})");
                    }
                    assert!(dst[c * dst_stride + rows].is_nan(), "{level:?}: row after the last written");
                }
            }
        }
    }
}
