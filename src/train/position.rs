//! Position embeddings on another grid, for when the band and with it the number of patches changes.

/// `table`: a class-token row and then `from * from` grid rows, each of `dim` values, row-major. Returns the table for
/// a grid of `to * to`: bilinear with PyTorch's `align_corners=False` rule, the class-token row bit for bit
/// (`efficienttrain.md` §3.4). Output point `i` sits at `(i + 1/2) from / to - 1/2`, clamped to the grid.
///
/// # Panics
/// If `table` does not hold `(1 + from * from) * dim` values.
pub fn resize(table: &[f32], dim: usize, from: usize, to: usize) -> Vec<f32> {
    assert_eq!(table.len(), (1 + from * from) * dim, "a class-token row and a {from}x{from} grid of {dim} values");
    if from == to {
        return table.to_vec();
    }
    let (class_token, grid) = table.split_at(dim);
    let taps: Vec<Taps> = (0..to).map(|i| Taps::at(i, from, to)).collect();
    let mut out = Vec::with_capacity((1 + to * to) * dim);
    out.extend_from_slice(class_token);
    for y in &taps {
        for x in &taps {
            let point = |row: usize, column: usize| &grid[(row * from + column) * dim..][..dim];
            let (a, b) = (point(y.low, x.low), point(y.low, x.high));
            let (c, d) = (point(y.high, x.low), point(y.high, x.high));
            out.extend((0..dim).map(|i| {
                let top = a[i] * (1.0 - x.weight) + b[i] * x.weight;
                let bottom = c[i] * (1.0 - x.weight) + d[i] * x.weight;
                top * (1.0 - y.weight) + bottom * y.weight
            }));
        }
    }
    out
}

/// The two grid points that an output point lies between, and the share of the higher one.
struct Taps {
    low: usize,
    high: usize,
    weight: f32,
}

impl Taps {
    fn at(i: usize, from: usize, to: usize) -> Self {
        let place = ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
        let low = (place as usize).min(from - 1);
        Self { low, high: (low + 1).min(from - 1), weight: (place - low as f64) as f32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_points_become_four_as_in_pytorch() {
        // F.interpolate(tensor([[0, 1], [2, 3]]), 4, mode="bilinear", align_corners=False), worked by hand:
        // places are -0.25 -> 0, 0.25, 0.75, 1.25 -> 1 (clamped by the missing neighbour).
        let table = [9.0, 0.0, 1.0, 2.0, 3.0];
        let expected = [
            9.0, //
            0.0, 0.25, 0.75, 1.0, //
            0.5, 0.75, 1.25, 1.5, //
            1.5, 1.75, 2.25, 2.5, //
            2.0, 2.25, 2.75, 3.0,
        ];
        assert_eq!(resize(&table, 1, 2, 4), expected);
    }

    #[test]
    fn three_points_become_two_without_antialiasing() {
        // Places are 0.25 and 1.75: bilinear interpolation reads two neighbours, however far the points move apart.
        let table = [-1.0, 0.0, 1.0, 4.0, 8.0, 9.0, 12.0, 0.0, 1.0, 4.0];
        let row = |a: f32, b: f32, c: f32| [0.75 * a + 0.25 * b, 0.25 * b + 0.75 * c];
        let (top, middle, bottom) = (row(0.0, 1.0, 4.0), row(8.0, 9.0, 12.0), row(0.0, 1.0, 4.0));
        let column = |i: usize| [0.75 * top[i] + 0.25 * middle[i], 0.25 * middle[i] + 0.75 * bottom[i]];
        let expected = [-1.0, column(0)[0], column(1)[0], column(0)[1], column(1)[1]];
        assert_eq!(resize(&table, 1, 3, 2), expected);
    }

    #[test]
    fn a_ramp_stays_a_ramp_inside_and_every_channel_is_its_own() {
        let (from, to, dim) = (6, 10, 2);
        let mut table = vec![f32::MIN_POSITIVE / 2.0, -0.0];
        for y in 0..from {
            for x in 0..from {
                table.extend([x as f32, 10.0 * y as f32]);
            }
        }
        let out = resize(&table, dim, from, to);
        assert_eq!(out.len(), (1 + to * to) * dim);
        assert!(out.iter().zip(&table).take(dim).all(|(a, b)| a.to_bits() == b.to_bits()), "class token");
        for y in 0..to {
            for x in 0..to {
                let place = |i: usize| ((i as f32 + 0.5) * 0.6 - 0.5).clamp(0.0, 5.0);
                let point = &out[dim + (y * to + x) * dim..][..dim];
                assert!((point[0] - place(x)).abs() < 1e-5 && (point[1] - 10.0 * place(y)).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn the_same_grid_keeps_every_bit() {
        let table: Vec<f32> = (0..10).map(|i| (i as f32).sin()).collect();
        assert_eq!(resize(&table, 1, 3, 3), table);
    }
}
