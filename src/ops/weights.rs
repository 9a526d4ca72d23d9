//! Resampling as a banded matrix: which source samples each output sample reads, and with what weight.

use crate::shape::Filter;

impl Filter {
    /// Half-width of the filter in output samples, before it is widened for a reduction.
    pub(crate) fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos3 => 3.0,
        }
    }

    /// The filter's value at distance `x`, not normalised.
    pub(crate) fn weight(self, x: f64) -> f64 {
        let x = x.abs();
        match self {
            Self::Bilinear => (1.0 - x).max(0.0),
            // Keys' cubic, a = -1/2.
            Self::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5,
            Self::Lanczos3 if x < 3.0 => sinc(x) * sinc(x / 3.0),
            Self::Bicubic | Self::Lanczos3 => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * std::f64::consts::PI;
    x.sin() / x
}

/// One axis of a resize: `outputs` samples of pitch `scale` from coordinate `origin` of an axis of `input` samples.
///
/// Output `i` is centred on `origin + (i + 1/2) * scale`, where sample `n` covers `n..n + 1`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Axis {
    pub(crate) input: usize,
    pub(crate) origin: f64,
    pub(crate) scale: f64,
    pub(crate) outputs: usize,
}

impl Axis {
    /// The whole of `input` samples to `outputs`.
    pub(crate) fn whole(input: usize, outputs: usize) -> Self {
        Self { input, origin: 0.0, scale: input as f64 / outputs as f64, outputs }
    }
}

/// A matrix with one short run of values in each row. Memory is kept from one use to the next.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bands {
    starts: Vec<usize>,
    lens: Vec<usize>,
    /// Distance between two rows in `values`.
    pitch: usize,
    values: Vec<f64>,
}

impl Bands {
    /// Number of outputs.
    pub(crate) fn rows(&self) -> usize {
        self.starts.len()
    }

    /// First source sample of row `i`, and the weights from there on.
    pub(crate) fn row(&self, i: usize) -> (usize, &[f64]) {
        (self.starts[i], &self.values[i * self.pitch..][..self.lens[i]])
    }

    fn clear(&mut self, rows: usize, pitch: usize) {
        self.starts.clear();
        self.lens.clear();
        self.pitch = pitch;
        self.values.clear();
        self.values.resize(rows * pitch, 0.0);
    }

    /// Antialiased resampling as Pillow does it: the filter is widened by the reduction, cut off at the ends of the
    /// axis, and normalised to sum 1.
    pub(crate) fn resample(&mut self, filter: Filter, axis: Axis) {
        let widen = axis.scale.max(1.0);
        let support = filter.support() * widen;
        let narrow = 1.0 / widen;
        self.clear(axis.outputs, support.ceil() as usize * 2 + 1);
        for i in 0..axis.outputs {
            let center = axis.origin + (i as f64 + 0.5) * axis.scale;
            let first = ((center - support + 0.5).max(0.0) as usize).min(axis.input - 1);
            let last = ((center + support + 0.5) as usize).min(axis.input).clamp(first + 1, first + self.pitch);
            let row = &mut self.values[i * self.pitch..][..last - first];
            let mut sum = 0.0;
            for (n, w) in row.iter_mut().enumerate() {
                *w = filter.weight(((first + n) as f64 - center + 0.5) * narrow);
                sum += *w;
            }
            row.iter_mut().for_each(|w| *w /= sum);
            // The ends of the widened filter are often exactly zero: do not read those samples.
            let skip = row.iter().take_while(|w| **w == 0.0).count();
            let len = row.len() - skip - row[skip..].iter().rev().take_while(|w| **w == 0.0).count();
            row.copy_within(skip..skip + len, 0);
            self.starts.push(first + skip);
            self.lens.push(len);
        }
    }

    /// The matrix product `outer * inner`: `inner` is applied first.
    pub(crate) fn compose(&mut self, outer: &Self, inner: &Self) {
        // Not simply the first tap's start and the last tap's end: zeros at the ends of a row are left out, so runs of
        // neighbours need not start and end in order.
        let run = |i: usize| {
            let (start, weights) = outer.row(i);
            let taps = start..start + weights.len();
            let first = taps.clone().map(|n| inner.starts[n]).min().unwrap_or(0);
            (first, taps.map(|n| inner.starts[n] + inner.lens[n]).max().unwrap_or(first))
        };
        let pitch = (0..outer.rows()).map(|i| run(i).1 - run(i).0).max().unwrap_or(0);
        self.clear(outer.rows(), pitch);
        for i in 0..outer.rows() {
            let (first, end) = run(i);
            let row = &mut self.values[i * pitch..][..end - first];
            let (start, weights) = outer.row(i);
            for (k, w) in weights.iter().enumerate() {
                let (at, taps) = inner.row(start + k);
                for (sum, tap) in row[at - first..].iter_mut().zip(taps) {
                    *sum += w * tap;
                }
            }
            self.starts.push(first);
            self.lens.push(end - first);
        }
    }
}

/// [`Bands`] as f32 for the inner loops: rows in groups that share one run of source samples.
#[derive(Debug, Clone, Default)]
pub(crate) struct Packed {
    /// Rows in a group: 1 or [`Packed::WIDE`].
    pub(crate) group: usize,
    pub(crate) rows: usize,
    /// First source sample that any row reads.
    pub(crate) start: usize,
    /// One more than the last source sample that any row reads.
    pub(crate) end: usize,
    pub(crate) runs: Vec<Run>,
    /// `values[run.at + k * group + g]` is the weight of source `run.start + k` in row `g` of the group.
    pub(crate) values: Vec<f32>,
}

/// Source samples of one group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) start: usize,
    pub(crate) len: usize,
    pub(crate) at: usize,
}

impl Packed {
    /// Rows that share their loads where the runs are long.
    pub(crate) const WIDE: usize = 4;

    /// Takes over `bands`, `group` rows at a time.
    pub(crate) fn pack(&mut self, bands: &Bands, group: usize) {
        self.group = group;
        self.rows = bands.rows();
        self.runs.clear();
        self.values.clear();
        for first in (0..bands.rows()).step_by(group) {
            let rows = first..(first + group).min(bands.rows());
            let start = rows.clone().map(|i| bands.starts[i]).min().unwrap_or(0);
            let end = rows.clone().map(|i| bands.starts[i] + bands.lens[i]).max().unwrap_or(0);
            let at = self.values.len();
            self.values.resize(at + (end - start) * group, 0.0);
            for i in rows {
                let (from, weights) = bands.row(i);
                for (k, w) in weights.iter().enumerate() {
                    self.values[at + (from - start + k) * group + i - first] = *w as f32;
                }
            }
            self.runs.push(Run { start, len: end - start, at });
        }
        self.start = self.runs.iter().map(|r| r.start).min().unwrap_or(0);
        self.end = self.runs.iter().map(|r| r.start + r.len).max().unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bands(filter: Filter, axis: Axis) -> Bands {
        let mut bands = Bands::default();
        bands.resample(filter, axis);
        bands
    }

    fn dense(bands: &Bands, input: usize) -> Vec<Vec<f64>> {
        (0..bands.rows())
            .map(|i| {
                let (start, weights) = bands.row(i);
                let mut row = vec![0.0; input];
                row[start..start + weights.len()].copy_from_slice(weights);
                row
            })
            .collect()
    }

    const FILTERS: [Filter; 3] = [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos3];

    #[test]
    fn every_row_sums_to_one_and_stays_inside_the_axis() {
        for filter in FILTERS {
            for (input, outputs) in [(1, 1), (1, 9), (2, 1), (7, 5), (5, 7), (400, 224), (375, 3), (9, 300)] {
                let axis = Axis::whole(input, outputs);
                for i in 0..outputs {
                    let bands = bands(filter, axis);
                    let (start, weights) = bands.row(i);
                    assert!(start + weights.len() <= input, "{filter:?} {input}->{outputs} row {i}");
                    assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{filter:?} {input}->{outputs} row {i}");
                }
            }
        }
    }

    #[test]
    fn halving_with_the_triangle_reads_four_samples_as_1_3_3_1() {
        let bands = bands(Filter::Bilinear, Axis::whole(8, 4));
        assert_eq!(bands.row(1), (1, &[0.125, 0.375, 0.375, 0.125][..]));
        // At the edge the sample outside is left out and the rest is normalised: 3, 3, 1.
        let (start, weights) = bands.row(0);
        assert_eq!(start, 0);
        for (got, expected) in weights.iter().zip([3.0 / 7.0, 3.0 / 7.0, 1.0 / 7.0]) {
            assert!((got - expected).abs() < 1e-15);
        }
    }

    #[test]
    fn a_composition_equals_the_product_of_the_dense_matrices() {
        for filter in FILTERS {
            let (inner, outer) = (bands(filter, Axis::whole(37, 24)), bands(Filter::Lanczos3, Axis::whole(24, 10)));
            let mut product = Bands::default();
            product.compose(&outer, &inner);
            let (a, b, c) = (dense(&outer, 24), dense(&inner, 37), dense(&product, 37));
            for i in 0..10 {
                for n in 0..37 {
                    let expected: f64 = (0..24).map(|k| a[i][k] * b[k][n]).sum();
                    assert!((c[i][n] - expected).abs() < 1e-15, "{filter:?} row {i} column {n}");
                }
            }
        }
    }

    #[test]
    fn packing_keeps_every_weight() {
        let bands = bands(Filter::Bicubic, Axis::whole(40, 23));
        for group in [1, Packed::WIDE] {
            let mut packed = Packed::default();
            packed.pack(&bands, group);
            let expected = dense(&bands, 40);
            for (i, row) in expected.iter().enumerate() {
                let run = packed.runs[i / group];
                for (n, w) in row.iter().enumerate() {
                    let got = (n >= run.start && n < run.start + run.len)
                        .then(|| packed.values[run.at + (n - run.start) * group + i % group]);
                    assert_eq!(got.unwrap_or(0.0), *w as f32, "group {group} row {i} column {n}");
                }
            }
        }
    }
}
