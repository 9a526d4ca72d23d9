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

#[cfg(test)]
mod tests {
    use super::super::resample::{SLOTS, VALUES};
    use super::*;
    use crate::gpu::testing::{Case, SENTINEL, assert_close, garbage, run};
    use crate::ops::normalize::affine;
    use crate::ops::{View, normalize};
    use crate::shape::Size;

    #[test]
    fn every_byte_of_every_channel_becomes_the_cpu_s_value() {
        let (mut images, mut params, mut expected) = (vec![SENTINEL], Vec::new(), [vec![], vec![]]);
        for (n, pixels) in [1u32, 255, 256, 257, 600].into_iter().enumerate() {
            let bytes: Vec<u8> =
                (0..3 * pixels).map(|i| (i / 3 * [1, 3, 7][i as usize % 3] + n as u32) as u8).collect();
            let (mean, std) = ([0.1 * n as f32, 0.4, 0.9], [0.2, 0.3 + 0.1 * n as f32, 1.0]);
            let mut values = vec![0.0; bytes.len()];
            normalize(View::packed(&bytes, Size::new(pixels, 1)), false, mean, std, &mut values).unwrap();
            let destination = [SLOTS, VALUES][n % 2];
            let to = &mut expected[n % 2];
            to.push(f32::from_bits(SENTINEL));
            let place =
                Params { first: images.len() as u32, pixels, destination, to: to.len() as u32, ..Params::default() };
            params.push(place.scaled(affine(mean, std)));
            to.append(&mut values);
            images.extend(bytes.as_chunks::<3>().0.iter().map(|[r, g, b]| u32::from_le_bytes([*r, *g, *b, 0])));
        }
        let groups = params.iter().map(Params::groups).max().unwrap() as u32;
        let buffers = [images, garbage(expected[1].len()), garbage(expected[0].len())];
        let grid = [groups, 1, params.len() as u32];
        let case = Case { kernel: &NORMALIZE, params: &params, input: &[], a: 0, b: 0, buffers: &buffers, grid };
        let got = run(case);
        // Values are up to 5: half a unit in the last place is 2.4e-7.
        assert_close("slots", bytemuck::cast_slice(&got[2]), &expected[0], 5e-7);
        assert_close("values", bytemuck::cast_slice(&got[1]), &expected[1], 5e-7);
    }
}
