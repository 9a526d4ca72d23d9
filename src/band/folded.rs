//! The row operator of the Fourier band crop with a quarter of its multiplications.
//!
//! `R[i, n]` depends on the phase `t = i/B - n/N` alone (half-pixel grid: with half a sample added to both), which gives it
//! two symmetries:
//!
//! - It is even in `t`: mirroring input and output together changes nothing.
//! - With N and B even, shifting by half of each changes nothing (`t` stays the same modulo 1).
//!
//! So sums and differences of the four samples that these exchange (two, for odd sizes) are mapped to sums and
//! differences of the outputs, each kind by itself: even and odd frequencies, cosines and sines. Four matrices of a
//! quarter of the rows and a quarter of the columns replace one. Additions on the way in and out are few beside that.
//!
//! It works on panels: [`PANEL`] independent columns side by side.

use crate::ops::separable::PANEL;
use crate::ops::simd::{Kernel, Level, Vector};
use crate::shape::Grid;

/// Rows of a matrix that the inner loop computes together.
const ROWS: usize = 8;

/// `R` for one (B, N, grid), folded by its symmetries.
#[derive(Debug, Clone)]
pub(crate) struct Folded {
    /// Both sizes are even, so that the half shift is used.
    halved: bool,
    input: Mirror,
    output: Mirror,
    parts: Vec<Part>,
    /// Part and row of the checkerboard's vector, which is one more output (see [`super::fourier`]).
    checker: Option<(usize, usize)>,
}

/// Which samples of an axis a reflection exchanges. With the half shift, an axis is its first half, and the samples are
/// either sums (class 0) or differences (class 1) with the second half; a difference changes its sign when the
/// reflection carries it over the half.
#[derive(Debug, Clone)]
struct Mirror {
    /// Length of the axis: all samples, or half of them.
    len: usize,
    pairs: Vec<(usize, usize)>,
    /// Samples that stay in place.
    fixed: Vec<Fixed>,
}

#[derive(Debug, Clone, Copy)]
struct Fixed {
    at: usize,
    /// In the class of differences the reflection changes its sign.
    turns: bool,
}

impl Mirror {
    fn new(samples: usize, halved: bool, grid: Grid) -> Self {
        let len = if halved { samples / 2 } else { samples };
        let partner = |n: usize| match grid {
            Grid::Paper => (len - n) % len,
            Grid::HalfPixel => len - 1 - n,
        };
        let pairs = (0..len).map(|n| (n, partner(n))).filter(|(n, p)| n < p).collect();
        let stays_at_zero = |n: usize| n == 0 && grid == Grid::Paper;
        let fixed = (0..len).filter(|n| partner(*n) == *n).map(|at| Fixed { at, turns: !stays_at_zero(at) }).collect();
        Self { len, pairs, fixed }
    }

    /// Fixed samples that belong to the even or the odd part of a class.
    fn fixed(&self, class: usize, odd: bool) -> impl Iterator<Item = usize> + '_ {
        self.fixed.iter().filter(move |f| (class == 1 && f.turns) == odd).map(|f| f.at)
    }

    /// The sample that stands for each row of a part: one of each pair, then the fixed ones.
    fn representatives(&self, class: usize, odd: bool) -> Vec<usize> {
        self.pairs.iter().map(|(n, _)| *n).chain(self.fixed(class, odd)).collect()
    }
}

/// One matrix: the even or odd part of one class.
#[derive(Debug, Clone)]
struct Part {
    inputs: usize,
    outputs: usize,
    /// `values[(block * inputs + n) * ROWS + r]` is the entry of row `block * ROWS + r`; missing rows are 0.
    values: Vec<f32>,
}

impl Folded {
    /// Folds `matrix`, `(band, size)` row-major, and the checkerboard's vector of an even band.
    pub(crate) fn new(matrix: &[f64], checker: Option<&[f64]>, band: usize, size: usize, grid: Grid) -> Self {
        let halved = band.is_multiple_of(2) && size.is_multiple_of(2);
        let (input, output) = (Mirror::new(size, halved, grid), Mirror::new(band, halved, grid));
        let mut parts = Vec::new();
        // The vector is a wave of B/2 periods, a sine on the papers' grid and a cosine on the other, so it lives in one
        // part alone: half of the samples on, it repeats for even B/2 and changes its sign for odd.
        let checker = checker.map(|vector| {
            let class = if halved { band / 2 % 2 } else { 0 };
            (vector, 2 * class + usize::from(grid == Grid::Paper))
        });
        for class in 0..if halved { 2 } else { 1 } {
            // What row `i` of the class reads from sample `n` of the class.
            let entry = |i: usize, n: usize| {
                let first = matrix[i * size + n];
                match (halved, class) {
                    (false, _) => first,
                    (true, 0) => (first + matrix[(i + output.len) * size + n]) / 2.0,
                    (true, _) => (first - matrix[(i + output.len) * size + n]) / 2.0,
                }
            };
            for odd in [false, true] {
                // +1 or -1: how a reflected output enters this part.
                let sign = if odd == (class == 1) { 1.0 } else { -1.0 };
                let (rows, columns) = (output.representatives(class, odd), input.representatives(class, odd));
                let vector = checker.and_then(|(vector, part)| (part == parts.len()).then_some(vector));
                let outputs = rows.len() + usize::from(vector.is_some());
                let mut values = vec![0.0; outputs.next_multiple_of(ROWS) * columns.len()];
                let place = |r: usize, c: usize| (r / ROWS * columns.len() + c) * ROWS + r % ROWS;
                for (r, i) in rows.iter().enumerate() {
                    let reflected = output.pairs.get(r).map(|(_, p)| *p);
                    for (c, n) in columns.iter().enumerate() {
                        let value = match reflected {
                            Some(p) => (entry(*i, *n) + sign * entry(p, *n)) / 2.0,
                            None => entry(*i, *n),
                        };
                        values[place(r, c)] = value as f32;
                    }
                }
                if let Some(vector) = vector {
                    for (c, n) in columns.iter().enumerate() {
                        values[place(rows.len(), c)] = vector[*n] as f32;
                    }
                }
                parts.push(Part { inputs: columns.len(), outputs, values });
            }
        }
        let checker = checker.map(|(_, part)| (part, parts[part].outputs - 1));
        Self { halved, input, output, parts, checker }
    }

    fn size(&self) -> usize {
        self.input.len * if self.halved { 2 } else { 1 }
    }

    fn band(&self) -> usize {
        self.output.len * if self.halved { 2 } else { 1 }
    }

    /// `dst = R src`: N rows of [`PANEL`] values, `src_stride` apart, to B rows, `dst_stride` apart. `scratch` is memory of
    /// any length. With `checker`, the product of the checkerboard's vector with `src` is written there, [`PANEL`] values;
    /// zeros for an odd band.
    pub(crate) fn run(
        &self,
        level: Level,
        (src, src_stride): (&[f32], usize),
        scratch: &mut Vec<f32>,
        (dst, dst_stride): (&mut [f32], usize),
        checker: Option<&mut [f32]>,
    ) {
        let padded = |part: &Part| part.outputs.next_multiple_of(ROWS) * PANEL;
        let len = self.size() * PANEL + self.parts.iter().map(padded).sum::<usize>();
        if scratch.len() < len {
            scratch.resize(len, 0.0);
        }
        assert!(src_stride >= PANEL && src.len() >= (self.size() - 1) * src_stride + PANEL);
        assert!(dst_stride >= PANEL && dst.len() >= (self.band() - 1) * dst_stride + PANEL);
        let (folded, results) = scratch.split_at_mut(self.size() * PANEL);
        level.run(Run { operator: self, src, src_stride, folded, results, dst, dst_stride });
        if let Some(to) = checker {
            match self.checker {
                Some((part, row)) => {
                    let at = self.parts[..part].iter().map(padded).sum::<usize>() + row * PANEL;
                    to.copy_from_slice(&results[at..at + PANEL]);
                }
                None => to.fill(0.0),
            }
        }
    }
}

struct Run<'a> {
    operator: &'a Folded,
    src: &'a [f32],
    src_stride: usize,
    /// `(N, PANEL)`: the parts' inputs, one after the other.
    folded: &'a mut [f32],
    /// The parts' outputs, one after the other, each padded to a multiple of [`ROWS`].
    results: &'a mut [f32],
    dst: &'a mut [f32],
    dst_stride: usize,
}

impl Run<'_> {
    /// Samples to the parts' inputs.
    ///
    /// # Safety
    /// The processor has `V`; `Folded::run` has checked the lengths.
    #[inline(always)]
    unsafe fn fold<V: Vector>(&mut self) {
        let Folded { halved, input, parts, .. } = self.operator;
        let (src, stride) = (self.src.as_ptr(), self.src_stride);
        let half = input.len * stride;
        let even = self.folded.as_mut_ptr();
        // SAFETY: sample numbers are below N, and the parts' inputs together are N rows.
        unsafe {
            let odd = even.add(parts[0].inputs * PANEL);
            if !halved {
                for (p, (a, b)) in input.pairs.iter().enumerate() {
                    for lane in (0..PANEL).step_by(V::LANES) {
                        let (a, b) = (V::load(src.add(a * stride + lane)), V::load(src.add(b * stride + lane)));
                        a.add(b).store(even.add(p * PANEL + lane));
                        a.sub(b).store(odd.add(p * PANEL + lane));
                    }
                }
                for (f, fixed) in input.fixed.iter().enumerate() {
                    for lane in (0..PANEL).step_by(V::LANES) {
                        V::load(src.add(fixed.at * stride + lane))
                            .store(even.add((input.pairs.len() + f) * PANEL + lane));
                    }
                }
                return;
            }
            let even2 = odd.add(parts[1].inputs * PANEL);
            let odd2 = even2.add(parts[2].inputs * PANEL);
            for (p, (a, b)) in input.pairs.iter().enumerate() {
                for lane in (0..PANEL).step_by(V::LANES) {
                    let (at_a, at_b) = (src.add(a * stride + lane), src.add(b * stride + lane));
                    let (a, a2) = (V::load(at_a), V::load(at_a.add(half)));
                    let (b, b2) = (V::load(at_b), V::load(at_b.add(half)));
                    let (sum_a, sum_b, difference_a, difference_b) = (a.add(a2), b.add(b2), a.sub(a2), b.sub(b2));
                    let to = p * PANEL + lane;
                    sum_a.add(sum_b).store(even.add(to));
                    sum_a.sub(sum_b).store(odd.add(to));
                    // The reflection carries a difference over the half, which changes its sign.
                    difference_a.sub(difference_b).store(even2.add(to));
                    difference_a.add(difference_b).store(odd2.add(to));
                }
            }
            let (mut next_even2, mut next_odd2) = (input.pairs.len(), input.pairs.len());
            for (f, fixed) in input.fixed.iter().enumerate() {
                let to2 = if fixed.turns {
                    next_odd2 += 1;
                    odd2.add((next_odd2 - 1) * PANEL)
                } else {
                    next_even2 += 1;
                    even2.add((next_even2 - 1) * PANEL)
                };
                for lane in (0..PANEL).step_by(V::LANES) {
                    let at = src.add(fixed.at * stride + lane);
                    let (a, a2) = (V::load(at), V::load(at.add(half)));
                    a.add(a2).store(even.add((input.pairs.len() + f) * PANEL + lane));
                    a.sub(a2).store(to2.add(lane));
                }
            }
        }
    }

    /// [`ROWS`] outputs of a part, `VECTORS` vectors wide.
    ///
    /// # Safety
    /// The processor has `V`; `src` has a row of `PANEL` values for each [`ROWS`] `values`, `dst` has [`ROWS`] rows.
    #[inline(always)]
    unsafe fn block<V: Vector, const VECTORS: usize>(src: *const f32, values: &[f32], dst: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe {
            for lane in (0..PANEL).step_by(VECTORS * V::LANES) {
                let mut sums = [[V::splat(0.0); VECTORS]; ROWS];
                let mut from = src.add(lane);
                for values in values.as_chunks::<ROWS>().0 {
                    let mut inputs = [V::splat(0.0); VECTORS];
                    for (v, input) in inputs.iter_mut().enumerate() {
                        *input = V::load(from.add(v * V::LANES));
                    }
                    for (sums, value) in sums.iter_mut().zip(values) {
                        let value = V::splat(*value);
                        for (sum, input) in sums.iter_mut().zip(inputs) {
                            *sum = input.mul_add(value, *sum);
                        }
                    }
                    from = from.wrapping_add(PANEL);
                }
                for (r, sums) in sums.iter().enumerate() {
                    for (v, sum) in sums.iter().enumerate() {
                        sum.store(dst.add(r * PANEL + lane + v * V::LANES));
                    }
                }
            }
        }
    }

    /// The parts' outputs to the operator's.
    ///
    /// # Safety
    /// As for [`Run::fold`].
    #[inline(always)]
    unsafe fn unfold<V: Vector>(&mut self) {
        let Folded { halved, output, parts, .. } = self.operator;
        let even = self.results.as_ptr();
        let (dst, stride) = (self.dst.as_mut_ptr(), self.dst_stride);
        let half = output.len * stride;
        let padded = |p: usize| parts[p].outputs.next_multiple_of(ROWS) * PANEL;
        // SAFETY: output numbers are below B, and `results` holds the padded outputs of all parts.
        unsafe {
            let odd = even.add(padded(0));
            if !halved {
                for (p, (a, b)) in output.pairs.iter().enumerate() {
                    for lane in (0..PANEL).step_by(V::LANES) {
                        let (e, o) = (V::load(even.add(p * PANEL + lane)), V::load(odd.add(p * PANEL + lane)));
                        e.add(o).store(dst.add(a * stride + lane));
                        e.sub(o).store(dst.add(b * stride + lane));
                    }
                }
                for (f, fixed) in output.fixed.iter().enumerate() {
                    for lane in (0..PANEL).step_by(V::LANES) {
                        V::load(even.add((output.pairs.len() + f) * PANEL + lane))
                            .store(dst.add(fixed.at * stride + lane));
                    }
                }
                return;
            }
            let even2 = odd.add(padded(1));
            let odd2 = even2.add(padded(2));
            for (p, (a, b)) in output.pairs.iter().enumerate() {
                for lane in (0..PANEL).step_by(V::LANES) {
                    let at = p * PANEL + lane;
                    let (e, o) = (V::load(even.add(at)), V::load(odd.add(at)));
                    let (e2, o2) = (V::load(even2.add(at)), V::load(odd2.add(at)));
                    let (sum_a, sum_b, difference_a, difference_b) = (e.add(o), e.sub(o), e2.add(o2), o2.sub(e2));
                    let (to_a, to_b) = (dst.add(a * stride + lane), dst.add(b * stride + lane));
                    sum_a.add(difference_a).store(to_a);
                    sum_a.sub(difference_a).store(to_a.add(half));
                    sum_b.add(difference_b).store(to_b);
                    sum_b.sub(difference_b).store(to_b.add(half));
                }
            }
            let (mut next_even2, mut next_odd2) = (output.pairs.len(), output.pairs.len());
            for (f, fixed) in output.fixed.iter().enumerate() {
                let from2 = if fixed.turns {
                    next_odd2 += 1;
                    odd2.add((next_odd2 - 1) * PANEL)
                } else {
                    next_even2 += 1;
                    even2.add((next_even2 - 1) * PANEL)
                };
                for lane in (0..PANEL).step_by(V::LANES) {
                    let sum = V::load(even.add((output.pairs.len() + f) * PANEL + lane));
                    let difference = V::load(from2.add(lane));
                    let to = dst.add(fixed.at * stride + lane);
                    sum.add(difference).store(to);
                    sum.sub(difference).store(to.add(half));
                }
            }
        }
    }
}

impl Kernel for Run<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(mut self) {
        // SAFETY: the caller's promise; `Folded::run` has checked the lengths. The blocks of a part write
        // `outputs.next_multiple_of(ROWS)` rows, which is what `results` has for it.
        unsafe {
            self.fold::<V>();
            let (mut src, mut dst) = (self.folded.as_ptr(), self.results.as_mut_ptr());
            for part in &self.operator.parts {
                for block in 0..part.outputs.div_ceil(ROWS) {
                    let values = &part.values[block * part.inputs * ROWS..][..part.inputs * ROWS];
                    // 16 sums fit the 32 registers of AVX-512, 8 the 16 registers of the others.
                    if V::LANES == 16 {
                        Self::block::<V, 2>(src, values, dst);
                    } else {
                        Self::block::<V, 1>(src, values, dst);
                    }
                    dst = dst.add(ROWS * PANEL);
                }
                src = src.add(part.inputs * PANEL);
            }
            self.unfold::<V>();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::band::{fourier, matrix};

    #[test]
    fn the_folded_operator_equals_its_matrix_for_every_parity_grid_and_level() {
        let mut draw = crate::rng::Draw::at(3, 0, 0, crate::rng::Purpose::Crop);
        let sizes =
            [(1, 1), (1, 2), (2, 2), (1, 5), (2, 3), (3, 4), (4, 6), (5, 10), (6, 10), (6, 12), (8, 12), (7, 7)];
        for (band, size) in sizes.into_iter().chain([(10, 10), (13, 27), (16, 33), (17, 34), (96, 224), (95, 224)]) {
            for grid in [Grid::Paper, Grid::HalfPixel] {
                let dense = matrix(band, size, grid).unwrap();
                let (b, n) = (band as usize, size as usize);
                let checker: Option<Vec<f64>> = (b % 2 == 0).then(|| fourier::checker(band, size, grid).unwrap());
                let folded = Folded::new(&dense, checker.as_deref(), b, n, grid);
                let panel: Vec<f32> = (0..n * PANEL).map(|_| draw.uniform(-1.0, 1.0) as f32).collect();
                for level in Level::available() {
                    let stride = PANEL + 3;
                    let mut dst = vec![f32::NAN; b * stride];
                    let mut product = [f32::NAN; PANEL];
                    folded.run(level, (&panel, PANEL), &mut Vec::new(), (&mut dst, stride), Some(&mut product));
                    for i in 0..b {
                        for lane in 0..PANEL {
                            let expected: f64 =
                                (0..n).map(|s| dense[i * n + s] * f64::from(panel[s * PANEL + lane])).sum();
                            let got = f64::from(dst[i * stride + lane]);
                            assert!(
                                (got - expected).abs() <= 2e-6,
                                "{level:?} {grid:?} {size}->{band} ({i}, {lane}): {got}, not {expected}"
                            );
                        }
                        assert!(dst[i * stride + PANEL..(i + 1) * stride].iter().all(|v| v.is_nan()), "gap written");
                    }
                    for (lane, got) in product.into_iter().enumerate() {
                        let expected: f64 = checker.as_ref().map_or(0.0, |s| {
                            s.iter().zip(panel[lane..].iter().step_by(PANEL)).map(|(s, v)| s * f64::from(*v)).sum()
                        });
                        assert!(
                            (f64::from(got) - expected).abs() <= 1e-4,
                            "{level:?} {grid:?} {size}->{band} checkerboard {lane}: {got}, not {expected}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn even_sizes_need_a_quarter_of_the_multiplications() {
        let folded = Folded::new(&matrix(96, 224, Grid::Paper).unwrap(), None, 96, 224, Grid::Paper);
        let products: usize = folded.parts.iter().map(|p| p.inputs * p.outputs).sum();
        // 25 x 57 + 23 x 55 + 2 (24 x 56): a quarter, and two for the samples that the reflection leaves in place.
        assert_eq!(products, 96 * 224 / 4 + 2);
    }
}
