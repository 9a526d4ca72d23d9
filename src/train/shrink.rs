//! Images made smaller on the trainer's device ([`Shrink`]): two products with one matrix.

use crate::schedule::Shrink;
use burn::tensor::{Device, Tensor, TensorData};

/// `(N, C, B, B)` to `(N, C, r, r)`.
pub(super) fn shrink(images: Tensor<4>, by: Shrink) -> Tensor<4> {
    let [n, c, _, from] = images.dims();
    let to = by.side() as usize;
    let weights = weights(by, from, &images.device());
    let columns = images.reshape([n * c * from, from]).matmul(weights.clone()).reshape([n * c, from, to]);
    let rows = columns.swap_dims(1, 2).reshape([n * c * to, from]).matmul(weights).reshape([n * c, to, to]);
    rows.swap_dims(1, 2).reshape([n, c, to, to])
}

/// `(B, r)`: how much of each pixel of a line is in each of the smaller line.
fn weights(by: Shrink, from: usize, device: &Device) -> Tensor<2> {
    let to = by.side() as usize;
    let mut values = vec![0.0f32; from * to];
    let scale = from as f64 / to as f64;
    for i in 0..to {
        let mut add = |pixel: usize, weight: f64| values[pixel * to + i] += weight as f32;
        match by {
            Shrink::Resize(_) => {
                let place = ((i as f64 + 0.5) * scale - 0.5).max(0.0);
                let low = (place as usize).min(from - 1);
                let share = place - low as f64;
                add(low, 1.0 - share);
                add((low + 1).min(from - 1), share);
            }
            Shrink::Patch(_) => {
                let (start, end) = (i as f64 * scale, (i + 1) as f64 * scale);
                for pixel in start as usize..(end.ceil() as usize).min(from) {
                    let covered = end.min(pixel as f64 + 1.0) - start.max(pixel as f64);
                    add(pixel, covered.max(0.0) / scale);
                }
            }
        }
    }
    Tensor::from_data(TensorData::new(values, [from, to]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shrunk(values: &[f32], side: usize, by: Shrink) -> Vec<f32> {
        let data = TensorData::new(values.to_vec(), [1, 1, side, side]);
        shrink(Tensor::from_data(data, &Device::flex()), by).into_data().try_to_vec().unwrap()
    }

    #[test]
    fn bilinear_is_pytorchs_without_antialiasing() {
        // F.interpolate(x, 2, mode="bilinear") of 5 pixels, by hand: places 0.75 and 3.25.
        let image: Vec<f32> = (0..25).map(|i| ((i / 5) * (i / 5)) as f32 + 10.0 * (i % 5) as f32).collect();
        let row = |y: f32| [y + 7.5, y + 32.5];
        // Rows are squares: 0.25 * 0 + 0.75 * 1, and 0.75 * 9 + 0.25 * 16.
        let expected = [row(0.75), row(10.75)].concat();
        let got = shrunk(&image, 5, Shrink::Resize(2));
        assert!(got.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{got:?} {expected:?}");
    }

    #[test]
    fn a_larger_patch_with_a_stretched_embedding_is_the_mean_of_areas() {
        // One patch of 2 x 2 over a 3 x 3 image: each weight covers 1.5 x 1.5 pixels.
        let image: Vec<f32> = (0..9).map(|i| ((i * 7) % 5) as f32).collect();
        let kernel = [0.5f32, -1.0, 2.0, 0.25];
        let cover = [[1.0, 0.5, 0.0], [0.0, 0.5, 1.0f32]];
        let mut stretched = 0.0;
        for (y, rows) in cover.iter().enumerate() {
            for (x, columns) in cover.iter().enumerate() {
                for (i, pixel) in image.iter().enumerate() {
                    stretched += kernel[2 * y + x] / 2.25 * rows[i / 3] * columns[i % 3] * pixel;
                }
            }
        }
        let small = shrunk(&image, 3, Shrink::Patch(2));
        let embedded: f32 = small.iter().zip(kernel).map(|(a, b)| a * b).sum();
        assert!((embedded - stretched).abs() < 1e-5, "{embedded} {stretched}");
        assert!(shrunk(&[3.5; 49], 7, Shrink::Patch(3)).iter().all(|v| (v - 3.5).abs() < 1e-5));
    }
}
