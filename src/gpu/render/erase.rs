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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::erase::Erasure;
    use crate::gpu::testing::{Case, SENTINEL, assert_close, run};

    #[test]
    fn boxes_are_filled_as_on_the_cpu_and_nothing_else_is_touched() {
        let rect = |x, y, width, height| Rect { x, y, width, height };
        let noise = |key, rect| Erasure { rect, fill: Fill::Noise { key } };
        let color = |rect| Erasure { rect, fill: Fill::Color([1.5, -0.5, 0.25]) };
        let cases = [
            (Size::new(1, 1), vec![noise(3, rect(0, 0, 1, 1))]),
            (Size::new(41, 37), vec![noise(u64::MAX, rect(0, 0, 41, 37))]),
            (
                Size::new(37, 41),
                vec![noise(9 << 33, rect(36, 40, 1, 1)), color(rect(0, 3, 37, 1)), noise(5, rect(1, 4, 1, 37))],
            ),
            // Each overlaps those before it.
            (
                Size::new(64, 33),
                vec![
                    noise(1, rect(2, 1, 40, 30)),
                    noise(2, rect(10, 5, 33, 17)),
                    color(rect(12, 6, 20, 20)),
                    noise(4, rect(30, 0, 9, 33)),
                ],
            ),
            (Size::new(16, 16), vec![noise(0, rect(0, 0, 16, 16)), noise(0, rect(0, 0, 16, 16))]),
        ];
        let (mut planes, mut expected, mut entries) = (vec![], vec![], Vec::new());
        for (n, (size, boxes)) in cases.iter().enumerate() {
            let erasures = Erasures::try_from(&boxes[..]).unwrap();
            entries.extend(params(&erasures, planes.len() as u32, *size));
            let mut image: Vec<f32> = (0..3 * size.pixels()).map(|i| (i % 17 + n as u64) as f32 * 0.25).collect();
            planes.extend_from_slice(&image);
            erasures.erase(&mut image, *size).unwrap();
            expected.append(&mut image);
            planes.push(f32::from_bits(SENTINEL));
            expected.push(f32::from_bits(SENTINEL));
        }
        let groups = entries.iter().map(Params::groups).max().unwrap() as u32;
        let buffers = [bytemuck::cast_slice(&planes).to_vec()];
        let grid = [groups, 1, entries.len() as u32];
        let case = Case { kernel: &ERASE, params: &entries, input: &[], a: 0, b: 0, buffers: &buffers, grid };
        let got = run(case);
        assert_close("planes", bytemuck::cast_slice(&got[0]), &expected, 1e-5);
    }
}
