//! Separable resampling of 8-bit images, by f32 or by Pillow's integers.
//!
//! Twin: `shaders/resample.wgsl`. References: the fused path of [`Renderer`](crate::ops::Renderer), and
//! [`Resizer`](crate::ops::Resizer).

use super::tables::{Direction, Key};
use crate::gpu::kernel::{Kernel, kernel, params};

params! {
    /// One image.
    pub(super) struct Params {
        source: u32, first: u32, stride: u32, width: u32, height: u32, columns: u32, rows: u32, column_table: u32,
        row_table: u32, fixed: u32, mirror: u32, limit: u32, destination: u32, to: u32, scale_red: f32, scale_green: f32,
        scale_blue: f32, offset_red: f32, offset_green: f32, offset_blue: f32,
    }
}

/// Pixels and images `(H, W)` RGBX to images, or to values and slots `(3, H, W)` f32.
///
/// Tolerance: integers are exact. In f32 the columns are summed before the rows, the other way round than on the CPU, and products and
/// sums may be fused: within 5e-4 grey levels for up to 130 taps along an axis (2^-24 of 255, times the taps).
pub(super) static RESAMPLE: Kernel = kernel!("resample", Params, [Read, Write, Write, Write]);

/// Where a result goes to, in the numbers of all kernels here.
pub(super) const SLOTS: u32 = 0;
pub(super) const VALUES: u32 = 1;
pub(super) const IMAGES: u32 = 2;

/// What becomes of values in f32.
pub(super) const AS_THEY_ARE: u32 = 0;
pub(super) const CLAMPED: u32 = 1;
pub(super) const ROUNDED: u32 = 2;

scaled!(Params);

impl Params {
    /// Workgroups.
    pub(super) fn groups(&self) -> u64 {
        u64::from(self.columns.div_ceil(32)) * u64::from(self.rows.div_ceil(32))
    }
}

/// The tables of a Lanczos band: columns, rows.
pub(super) fn lanczos(width: u32, height: u32, band: u32, integer: bool) -> [Key; 2] {
    let key = |direction, size| Key::Lanczos { direction, size, band, integer };
    [key(Direction::Columns, width), key(Direction::Rows, height)]
}
