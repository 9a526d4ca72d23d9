//! Bytes to normalised planes.
//!
//! Twin: `shaders/normalize.wgsl`. Reference: [`normalize`](crate::ops::normalize()).

use crate::gpu::kernel::{Kernel, kernel, params};

params! {
    /// One image.
    pub(super) struct Params {
        first: u32, pixels: u32, destination: u32, to: u32, scale_red: f32, scale_green: f32, scale_blue: f32, offset_red: f32,
        offset_green: f32, offset_blue: f32,
    }
}

/// Images `(H, W)` RGBX to values or slots `(3, H, W)`.
///
/// Tolerance: one unit in the last place of the product or the offset, whichever is larger: a device may fuse product and sum.
pub(super) static NORMALIZE: Kernel = kernel!("normalize", Params, [Read, Write, Write]);

scaled!(Params);

impl Params {
    /// Workgroups.
    pub(super) fn groups(&self) -> u64 {
        u64::from(self.pixels.div_ceil(256))
    }
}
