//! Random erasing on the planes of a batch.
//!
//! Twin: `shaders/erase.wgsl`. Reference: [`Erasures::erase`].

use crate::erase::{Erasures, Fill};
use crate::gpu::kernel::{Kernel, kernel, params};
use crate::ops::erase::spread;
use crate::shape::{Rect, Size};

params! {
    /// One box.
    pub(super) struct Params {
        first: u32, width: u32, height: u32, x: u32, y: u32, columns: u32, rows: u32, later: u32, noise: u32, key_k: u32,
        key_l: u32, red: f32, green: f32, blue: f32,
    }
}

/// Boxes of values or slots, `(3, H, W)` in normalised units, in place.
///
/// Tolerance: 1e-5. The polynomials' last digits depend on what a device fuses, and a square root may be off by 3 units in the last
/// place; values are below 5.8. Colours are exact.
pub(super) static ERASE: Kernel = kernel!("erase", Params, [Write]);

/// The boxes of one image, whose planes begin at word `first`. They lie in it.
pub(super) fn params(erasures: &Erasures, first: u32, size: Size) -> impl Iterator<Item = Params> {
    (1..).zip(erasures.iter()).map(move |(number, erasure)| {
        let Rect { x, y, width: columns, height: rows } = erasure.rect;
        let later = erasures.len() as u32 - number;
        let place =
            Params { first, width: size.width, height: size.height, x, y, columns, rows, later, ..Params::default() };
        match erasure.fill {
            Fill::Color([red, green, blue]) => Params { red, green, blue, ..place },
            Fill::Noise { key } => {
                let [key_k, key_l] = spread(key);
                Params { noise: 1, key_k, key_l, ..place }
            }
        }
    })
}

impl Params {
    /// Workgroups.
    pub(super) fn groups(&self) -> u64 {
        (3 * u64::from(self.rows.div_ceil(2)) * u64::from(self.columns)).div_ceil(256)
    }
}
