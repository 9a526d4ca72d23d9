//! The Fourier band crop as two matrix products.
//!
//! Twins: `shaders/fourier_rows.wgsl`, `shaders/fourier_columns.wgsl`. Reference: [`Fourier::apply_dense`](crate::band::Fourier).

use super::tables::{Direction, Key};
use crate::gpu::kernel::{Kernel, kernel, params};
use crate::shape::Grid;

params! {
    /// One image, for both kernels.
    pub(super) struct Params {
        height: u32, width: u32, band: u32, row_table: u32, column_table: u32, first: u32, middle: u32, destination: u32,
        to: u32, scale_red: f32, scale_green: f32, scale_blue: f32, offset_red: f32, offset_green: f32, offset_blue: f32,
    }
}

/// Values `(3, H, W)` to `(3, B + 1, W)`.
///
/// Tolerance of the two together: sums of f32 in another order than the CPU's, with or without fused products. For values of order 1 and
/// axes of 224 within 1e-5, which is three times what `low-frequency-crop.md` §2 measures for f32 products; it grows with the
/// values.
pub(super) static ROWS: Kernel = kernel!("fourier_rows", Params, [Read, Write]);

/// `(3, B + 1, W)` to slots `(3, B, B)`, or to images `(B, B)` RGBX: clamped and rounded, halves up.
pub(super) static COLUMNS: Kernel = kernel!("fourier_columns", Params, [Read, Write, Write]);

/// Values of a tile, down and across.
const TILE: [u32; 2] = [32, 64];

scaled!(Params);

impl Params {
    /// Workgroups of [`ROWS`] and of [`COLUMNS`].
    pub(super) fn groups(&self) -> [u64; 2] {
        [self.width, self.band]
            .map(|width| 3 * u64::from(self.band.div_ceil(TILE[0])) * u64::from(width.div_ceil(TILE[1])))
    }
}

/// The tables of both axes: columns, rows.
pub(super) fn tables(width: u32, height: u32, band: u32, grid: Grid) -> [Key; 2] {
    let key = |direction, size| Key::Fourier { direction, size, band, grid };
    [key(Direction::Columns, width), key(Direction::Rows, height)]
}
