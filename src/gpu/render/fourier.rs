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
/// Tolerance of the two together: sums of f32 in another order than the CPU's, with or without fused products. Normalised values of
/// axes up to 224 are within 2e-5 of the CPU's, of which `low-frequency-crop.md` §2 has 3e-6 for f32 products alone.
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

#[cfg(test)]
mod tests {
    use super::super::resample::{IMAGES, SLOTS};
    use super::super::tables::Tables;
    use super::*;
    use crate::band::Fourier;
    use crate::gpu::testing::{Case, SENTINEL, assert_close, garbage, input_start, run};
    use crate::ops::simd::Post;
    use crate::rng::{Draw, Purpose};
    use crate::shape::Size;

    /// Height, width and band of planes.
    const SIZES: [[u32; 3]; 9] = [
        [1, 1, 1],
        [2, 2, 2],
        [7, 5, 4],
        [8, 8, 5],
        [33, 31, 31],
        [32, 64, 32],
        [65, 40, 33],
        [47, 129, 34],
        [120, 90, 66],
    ];

    /// The expected planes, of values in `low..high`, and what the kernels make of them: scaled, in slots or images.
    fn launch(destination: u32, [low, high]: [f32; 2], grid: Grid) -> (Vec<u32>, Vec<f64>) {
        let mut draw = Draw::at(5, 0, 0, Purpose::Crop);
        let (mut input, mut values, mut expected, mut entries) = (vec![SENTINEL], vec![], vec![], vec![]);
        let (mut middle, mut to, mut tables) = (3, 0, Tables::default());
        let start = input_start(&[Params::default(); SIZES.len()]);
        for [height, width, band] in SIZES {
            let size = Size { width, height };
            let planes: Vec<f32> = (0..3 * size.pixels())
                .map(|_| low + (high - low) * (draw.bits() >> 40) as f32 / 16_777_216.0)
                .collect();
            let exact: Vec<f64> = planes.iter().map(|v| f64::from(*v)).collect();
            let mut out = vec![0.0; 3 * (band * band) as usize];
            Fourier::new(size, Size::square(band), grid).unwrap().apply_f64(&exact, &mut out).unwrap();
            let [column_table, row_table] = super::tables(width, height, band, grid).map(|key| {
                let at = start + input.len() as u32;
                input.extend_from_slice(&tables.get(key).unwrap());
                at
            });
            let first = values.len() as u32;
            let params = Params {
                height,
                width,
                band,
                row_table,
                column_table,
                first,
                middle,
                destination,
                to,
                ..Params::default()
            };
            let post = |scale, offset| Post { scale, offset, ..Post::NONE };
            let post = [post(1.0, 0.0), post(0.5, 1.0), post(-2.0, 0.25)];
            entries.push(params.scaled(if destination == SLOTS { post } else { [Post::NONE; 3] }));
            if destination == SLOTS {
                for (plane, post) in out.chunks_exact_mut((band * band) as usize).zip(post) {
                    plane.iter_mut().for_each(|v| *v = *v * f64::from(post.scale) + f64::from(post.offset));
                }
            }
            values.extend(planes);
            middle += 3 * (band + 1) * width;
            to += band * band * if destination == SLOTS { 3 } else { 1 };
            expected.append(&mut out);
        }
        let groups = |pass: usize| entries.iter().map(|params| params.groups()[pass]).max().unwrap() as u32;
        let grid = |pass| [groups(pass), 1, entries.len() as u32];
        fn case<'a>(
            kernel: &'static Kernel,
            params: &'a [Params],
            input: &'a [u32],
            buffers: &'a [Vec<u32>],
            grid: [u32; 3],
        ) -> Case<'a, Params> {
            Case { kernel, params, input, a: 0, b: 0, buffers, grid }
        }
        let buffers = [bytemuck::cast_slice(&values).to_vec(), garbage(middle as usize)];
        let middle = run(case(&ROWS, &entries, &input, &buffers, grid(0))).swap_remove(1);
        let (images, slots) = if destination == SLOTS { (0, to) } else { (to, 0) };
        let buffers = [middle, garbage(images as usize), garbage(slots as usize)];
        let mut results = run(case(&COLUMNS, &entries, &input, &buffers, grid(1)));
        (results.swap_remove(if destination == SLOTS { 2 } else { 1 }), expected)
    }

    #[test]
    fn bands_of_every_size_are_those_of_the_transform() {
        for grid in [Grid::Paper, Grid::HalfPixel] {
            let (got, expected) = launch(SLOTS, [-1.5, 1.5], grid);
            let expected: Vec<f32> = expected.iter().map(|v| *v as f32).collect();
            assert_close("slots", bytemuck::cast_slice(&got), &expected, 1e-5);
        }
    }

    #[test]
    fn bytes_are_clamped_and_rounded_and_lie_in_one_word() {
        let (got, expected) = launch(IMAGES, [-20.0, 280.0], Grid::Paper);
        let (mut at, mut planes) = (0, &expected[..]);
        for [height, width, band] in SIZES {
            let plane = (band * band) as usize;
            for n in 0..plane {
                let word = got[at + n];
                assert_eq!(word >> 24, 0);
                for c in 0..3 {
                    let (byte, value) = ((word >> (8 * c) & 255) as f64, planes[c * plane + n].clamp(0.0, 255.0));
                    // Half a level, and what f32 is off.
                    assert!(
                        (byte - value).abs() <= 0.501,
                        "{height}x{width} to {band}, pixel {n}, {c}: {byte}, not {value}"
                    );
                }
            }
            at += plane;
            planes = &planes[3 * plane..];
        }
    }
}
