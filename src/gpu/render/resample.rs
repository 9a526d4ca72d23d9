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

#[cfg(test)]
mod tests {
    use super::super::tables::{column_table, row_table};
    use super::*;
    use crate::gpu::testing::{Case, SENTINEL, assert_close, assert_equal, garbage, input_start, run};
    use crate::ops::resize::axes;
    use crate::ops::weights::Bands;
    use crate::ops::{View, resize};
    use crate::rng::{Draw, Purpose};
    use crate::shape::{Filter, Size};

    /// From, to, area of it, filter.
    type Resize = (Size, Size, [f64; 4], Filter);

    fn resizes() -> Vec<Resize> {
        let whole = |width: u32, height: u32, columns, rows, filter| {
            let area = [0.0, 0.0, f64::from(width), f64::from(height)];
            (Size::new(width, height), Size::new(columns, rows), area, filter)
        };
        vec![
            whole(1, 1, 1, 1, Filter::Bilinear),
            whole(1, 1, 33, 2, Filter::Lanczos3),
            whole(40, 1, 7, 3, Filter::Bicubic),
            whole(1, 70, 3, 31, Filter::Lanczos3),
            whole(32, 32, 32, 32, Filter::Bilinear),
            whole(31, 33, 33, 31, Filter::Bicubic),
            whole(60, 47, 65, 34, Filter::Lanczos3),
            whole(200, 100, 9, 5, Filter::Lanczos3),
            (Size::new(64, 50), Size::new(40, 37), [3.5, 2.25, 57.1, 40.0], Filter::Bicubic),
        ]
    }

    fn image(size: Size, seed: u64) -> Vec<u8> {
        let mut draw = Draw::at(seed, 1, 0, Purpose::Crop);
        // Half of the bytes are black or white: sums overshoot.
        let byte = |bits: u64| if bits & 1 == 0 { (bits >> 8) as u8 } else { 0u8.wrapping_sub((bits >> 1 & 1) as u8) };
        (0..3 * size.pixels()).map(|_| byte(draw.bits())).collect()
    }

    fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
        bytes.as_chunks::<3>().0.iter().map(|[r, g, b]| u32::from_le_bytes([*r, *g, *b, 0]))
    }

    /// An entry, the bytes of its image, and the resize that it is.
    type Entry = (Params, Vec<u8>, Resize);

    /// All resizes in one launch. Returns the buffers, and the entries.
    fn launch(change: impl Fn(usize, Params) -> Params) -> (Vec<Vec<u32>>, Vec<Entry>) {
        let (mut input, mut pixels, mut made) = (vec![SENTINEL; 3], vec![SENTINEL; 2], Vec::new());
        let start = input_start(&vec![Params::default(); resizes().len()]);
        let mut next = 5;
        for (n, resize) in resizes().into_iter().enumerate() {
            let (from, to, area, filter) = resize;
            let bytes = image(from, n as u64);
            let stride = from.width + n as u32 % 3;
            let params = Params {
                first: pixels.len() as u32,
                stride,
                width: from.width,
                height: from.height,
                columns: to.width,
                rows: to.height,
                mirror: (n % 2 == 1).into(),
                to: next,
                ..Params::default()
            };
            let params = change(n, params);
            next += 3 * to.pixels() as u32;
            for row in bytes.chunks_exact(3 * from.width as usize) {
                pixels.extend(words(row));
                pixels.resize(pixels.len() + (stride - from.width) as usize, SENTINEL);
            }
            let [columns, rows] = axes(from, area, to).unwrap();
            let mut bands = Bands::default();
            bands.resample(filter, columns);
            let column_at = start + input.len() as u32;
            column_table(&bands, params.fixed == 1, &mut input);
            bands.resample(filter, rows);
            let row_at = start + input.len() as u32;
            row_table(&bands, params.fixed == 1, &mut input);
            made.push((Params { column_table: column_at, row_table: row_at, ..params }, bytes, resize));
        }
        let params: Vec<Params> = made.iter().map(|(params, ..)| *params).collect();
        let source = params[0].source;
        // Images that are read from `images` lie behind the results.
        let mut images = garbage(next as usize);
        let mut params = params;
        if source == 1 {
            params.iter_mut().for_each(|params| params.first += next);
            images.append(&mut pixels.clone());
        }
        let buffers = [pixels, images, garbage(next as usize), garbage(next as usize)];
        let groups = params.iter().map(Params::groups).max().unwrap() as u32;
        let grid = [groups + 1, 1, params.len() as u32];
        let case = Case { kernel: &RESAMPLE, params: &params, input: &input, a: 0, b: 0, buffers: &buffers, grid };
        (run(case), made)
    }

    fn mirrored(pixels: &[u8], size: Size, mirror: bool) -> Vec<u8> {
        let rows = pixels.chunks_exact(3 * size.width as usize);
        rows.flat_map(|row| {
            let mut row = row.as_chunks::<3>().0.to_vec();
            if mirror {
                row.reverse();
            }
            row
        })
        .flatten()
        .collect()
    }

    #[test]
    fn integers_give_pillow_s_bytes_in_every_size() {
        for source in [0, 1] {
            let (buffers, made) = launch(|_, params| Params { fixed: 1, source, destination: IMAGES, ..params });
            let mut expected = garbage(buffers[1].len());
            for (params, bytes, (from, to, area, filter)) in made {
                let result = resize(View::packed(&bytes, from), area, to, filter).unwrap();
                let result = mirrored(&result.pixels, to, params.mirror == 1);
                let at = params.to as usize;
                expected[at..at + to.pixels() as usize].copy_from_slice(&words(&result).collect::<Vec<_>>());
            }
            let results = expected.len() - if source == 1 { buffers[0].len() } else { 0 };
            assert_equal("images", &buffers[1][..results], &expected[..results]);
        }
    }

    #[test]
    fn sums_in_f32_are_clamped_or_not_and_scaled_and_go_where_they_are_sent() {
        let post = [(0.5, 1.0), (0.25, -2.0), (2.0, 0.125)];
        let change = |n: usize, params: Params| Params {
            limit: n as u32 % 3,
            destination: [VALUES, SLOTS][n / 3 % 2],
            scale_red: post[0].0,
            offset_red: post[0].1,
            scale_green: post[1].0,
            offset_green: post[1].1,
            scale_blue: post[2].0,
            offset_blue: post[2].1,
            ..params
        };
        let (buffers, made) = launch(change);
        let untouched = f32::from_bits(SENTINEL);
        let mut expected = [vec![untouched; buffers[2].len()], vec![untouched; buffers[3].len()]];
        for (params, bytes, (from, to, area, filter)) in made {
            let axes = axes(from, area, to).unwrap();
            let [columns, rows] = axes.map(|axis| {
                let mut bands = Bands::default();
                bands.resample(filter, axis);
                bands
            });
            for (y, x) in (0..to.height as usize).flat_map(|y| (0..to.width as usize).map(move |x| (y, x))) {
                let (top, vertical) = rows.row(y);
                let (left, horizontal) = columns.row(x);
                for c in 0..3 {
                    let byte =
                        |row: usize, column: usize| bytes[3 * ((top + row) * from.width as usize + left + column) + c];
                    let sum: f64 = (0..vertical.len())
                        .flat_map(|row| (0..horizontal.len()).map(move |column| (row, column)))
                        .map(|(row, column)| vertical[row] * horizontal[column] * f64::from(byte(row, column)))
                        .sum();
                    let sum = match params.limit {
                        AS_THEY_ARE => sum,
                        CLAMPED => sum.clamp(0.0, 255.0),
                        _ => (sum.clamp(0.0, 255.0) + 0.5).floor(),
                    };
                    let x = if params.mirror == 1 { to.width as usize - 1 - x } else { x };
                    let at = params.to as usize + (c * to.height as usize + y) * to.width as usize + x;
                    let value = sum * f64::from(post[c].0) + f64::from(post[c].1);
                    expected[usize::from(params.destination == SLOTS)][at] = value as f32;
                }
            }
        }
        assert_close("values", bytemuck::cast_slice(&buffers[2]), &expected[0], 2.0 * 5e-4);
        assert_close("slots", bytemuck::cast_slice(&buffers[3]), &expected[1], 2.0 * 5e-4);
    }
}
