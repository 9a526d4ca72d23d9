//! The band crop as the papers define it, in its exact real matrix form.

use super::folded::Folded;
use crate::error::{Error, Result};
use crate::ops::separable::{PANEL, Transpose};
use crate::ops::simd::{Level, Post};
use crate::shape::{Grid, Size};
use std::f64::consts::PI;
use std::ops::{AddAssign, Neg, SubAssign};

/// Crops one plane `(H, W)` to its low-frequency `(bh, bw)`: `size` and `band` give the two.
///
/// For many planes of one size make a [`Fourier`] once.
///
/// # Errors
/// [`Error::Config`] if a band is 0 or larger than its axis, or `plane` is not `H * W` long. Nothing is allocated then.
pub fn fourier(plane: &[f32], size: Size, band: Size, grid: Grid) -> Result<Vec<f32>> {
    check_bands(band, size)?;
    if plane.len() as u64 != size.pixels() {
        let (len, Size { width, height }) = (plane.len(), size);
        return Err(Error::config("band crop", format!("{len} values: expected a plane of {height}x{width}")));
    }
    let mut out = vec![0.0; band.pixels() as usize];
    Fourier::new(size, band, grid)?.apply(plane, &mut out)?;
    Ok(out)
}

/// The row operator `R` of `low-frequency-crop.md` §2, `(band, size)` row-major, in f64.
///
/// `R[i, n] = sin(pi B t) / (N tan(pi t))` for even B and `sin(pi B t) / (N sin(pi t))` for odd B, `B / N` at integer
/// `t`, with `t = i/B - n/N` on [`Grid::Paper`] and `t = (i + 1/2)/B - (n + 1/2)/N` on [`Grid::HalfPixel`]. The second
/// is the same cropped spectrum, each frequency `k` turned by `exp(j pi k (1/B - 1/N))`. Rows sum to 1.
///
/// # Errors
/// [`Error::Config`] if `band` is 0 or larger than `size`.
pub fn matrix(band: u32, size: u32, grid: Grid) -> Result<Vec<f64>> {
    check_band(band, size)?;
    let (b, n) = (i64::from(band), i64::from(size));
    Ok((0..b).flat_map(|i| (0..n).map(move |s| entry(b, n, i, s, grid))).collect())
}

/// The phase `t = p / (2BN)` is kept as an integer and folded into `-1/2 <= t < 1/2`, so that no digit is lost in it.
fn entry(b: i64, n: i64, i: i64, s: i64, grid: Grid) -> f64 {
    let p = match grid {
        Grid::Paper => 2 * (i * n - s * b),
        Grid::HalfPixel => (2 * i + 1) * n - (2 * s + 1) * b,
    };
    let p = (p + b * n).rem_euclid(2 * b * n) - b * n;
    if p == 0 {
        return b as f64 / n as f64;
    }
    let t = PI * p as f64 / (2 * b * n) as f64;
    let numerator = (PI * p.rem_euclid(4 * n) as f64 / (2 * n) as f64).sin();
    numerator / (n as f64 * if b % 2 == 0 { t.tan() } else { t.sin() })
}

/// The vector whose products with rows and columns give the checkerboard term, for an even band.
///
/// The unpaired frequency `-B/2` leaves the imaginary row operator `(-1)^i s[n] / N` up to sign, with
/// `s[n] = sin(pi B n / N)` on the papers' grid and `cos(pi B (n + 1/2) / N)` on the resizers'. Its product over both
/// axes is real: `(-1)^(i+j) (s_H^T X s_W) / (H W)`, to be subtracted.
pub(crate) fn checker(band: u32, size: u32, grid: Grid) -> Option<Vec<f64>> {
    let (b, n) = (i64::from(band), i64::from(size));
    let phase = |p: i64| PI * p.rem_euclid(4 * n) as f64 / (2 * n) as f64;
    band.is_multiple_of(2).then(|| match grid {
        Grid::Paper => (0..n).map(|s| phase(2 * b * s).sin()).collect(),
        Grid::HalfPixel => (0..n).map(|s| phase(b * (2 * s + 1)).cos()).collect(),
    })
}

fn check_band(band: u32, size: u32) -> Result<()> {
    if band == 0 || band > size {
        return Err(Error::config("band", format!("{band} of {size} samples: expected 1..={size}")));
    }
    Ok(())
}

fn check_bands(band: Size, size: Size) -> Result<()> {
    check_band(band.height, size.height)?;
    check_band(band.width, size.width)
}

/// One axis: everything that depends on (band, size, grid) alone.
#[derive(Debug, Clone)]
pub(crate) struct Operator {
    pub(crate) band: usize,
    pub(crate) size: usize,
    pub(crate) matrix: Vec<f64>,
    pub(crate) checker: Option<Vec<f64>>,
    pub(crate) folded: Folded,
}

impl Operator {
    pub(crate) fn new(band: u32, size: u32, grid: Grid) -> Result<Self> {
        let matrix = matrix(band, size, grid)?;
        let checker = checker(band, size, grid);
        let (b, n) = (band as usize, size as usize);
        let folded = Folded::new(&matrix, checker.as_deref(), b, n, grid);
        Ok(Self { band: b, size: n, checker, matrix, folded })
    }
}

/// The Fourier band crop of planes of one size, with its matrices and memory: `(H, W) -> (bh, bw)`.
///
/// `Y = R_h X R_w^T`, and where both bands are even also `- sigma C` with `C[i, j] = (-1)^(i+j)` and
/// `sigma = (s_H^T X s_W) / (H W)` (`low-frequency-crop.md` §2). This equals the real part of the inverse transform of
/// the cropped spectrum, times `bh bw / (H W)`, exactly: no clamp, no rounding, overshoot is kept. Linear, and a
/// constant plane stays as it is, so it commutes with a normalisation by channel.
#[derive(Debug)]
pub struct Fourier {
    rows: Operator,
    columns: Operator,
    level: Level,
    dense: Option<[Vec<f32>; 2]>,
    memory: Memory,
}

/// Buffers that are kept from one plane to the next.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    panel: Vec<f32>,
    middle: Vec<f32>,
    fold: Vec<f32>,
    product: Vec<f32>,
}

impl Fourier {
    /// For planes of `size`, cut to `band`, on `grid`.
    ///
    /// # Errors
    /// [`Error::Config`] if a band is 0 or larger than its axis. Nothing is allocated then.
    pub fn new(size: Size, band: Size, grid: Grid) -> Result<Self> {
        check_bands(band, size)?;
        Ok(Self {
            rows: Operator::new(band.height, size.height, grid)?,
            columns: Operator::new(band.width, size.width, grid)?,
            level: Level::detect(),
            dense: None,
            memory: Memory::default(),
        })
    }

    /// For square planes: side `size`, cut to side `band`.
    ///
    /// # Errors
    /// As [`Fourier::new`].
    pub fn square(size: u32, band: u32, grid: Grid) -> Result<Self> {
        Self::new(Size::square(size), Size::square(band), grid)
    }

    /// Crops `(H, W)` f32 planes that follow one another to `(bh, bw)` planes, by the matrices' symmetries: a quarter of
    /// the multiplications of [`Fourier::apply_dense`] where sizes are even, half otherwise.
    ///
    /// # Errors
    /// [`Error::Config`] if `planes` is not a whole number of planes or `out` does not hold as many.
    pub fn apply(&mut self, planes: &[f32], out: &mut [f32]) -> Result<()> {
        self.check_lengths(planes.len(), out.len())?;
        crop(self.level, &self.rows, &self.columns, planes, out, &mut self.memory);
        Ok(())
    }

    /// [`Fourier::apply`] by two general matrix products in f32, without symmetries: slower, and independent of them.
    ///
    /// # Errors
    /// As [`Fourier::apply`].
    pub fn apply_dense(&mut self, planes: &[f32], out: &mut [f32]) -> Result<()> {
        self.check_lengths(planes.len(), out.len())?;
        let Self { rows, columns, dense, memory: Memory { middle, .. }, .. } = self;
        let [left, right] = dense.get_or_insert_with(|| {
            [&*rows, &*columns].map(|operator| operator.matrix.iter().map(|v| *v as f32).collect())
        });
        dense_products([rows, columns], [left, right], planes, out, middle);
        Ok(())
    }

    /// [`Fourier::apply`] in f64 throughout, for checks: within 1e-13 of the transform for values of order 1.
    ///
    /// # Errors
    /// As [`Fourier::apply`].
    pub fn apply_f64(&self, planes: &[f64], out: &mut [f64]) -> Result<()> {
        self.check_lengths(planes.len(), out.len())?;
        let axes = [&self.rows, &self.columns];
        dense_products(axes, axes.map(|axis| &axis.matrix[..]), planes, out, &mut Vec::new());
        Ok(())
    }

    fn check_lengths(&self, planes: usize, out: usize) -> Result<()> {
        let (size, band) = (self.rows.size * self.columns.size, self.rows.band * self.columns.band);
        if !planes.is_multiple_of(size) || !out.is_multiple_of(band) || planes / size != out / band {
            let (h, w, bh, bw) = (self.rows.size, self.columns.size, self.rows.band, self.columns.band);
            return Err(Error::config(
                "band crop",
                format!("{planes} values to {out}: expected planes of {h}x{w} and as many of {bh}x{bw}"),
            ));
        }
        Ok(())
    }
}

/// matrixmultiply's product: rows, inner length and columns; `alpha`; matrix, row and column stride of both factors, with
/// `beta` before those of the result.
type Gemm<T> =
    unsafe fn(usize, usize, usize, T, *const T, isize, isize, *const T, isize, isize, T, *mut T, isize, isize);

/// f32 and f64, for [`dense_products`].
trait Float: Copy + Neg<Output = Self> + AddAssign + SubAssign + Into<f64> {
    const ZERO: Self;
    const ONE: Self;
    const GEMM: Gemm<Self>;
    fn from_f64(value: f64) -> Self;
}

impl Float for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const GEMM: Gemm<Self> = matrixmultiply::sgemm;
    fn from_f64(value: f64) -> Self {
        value as Self
    }
}

impl Float for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const GEMM: Gemm<Self> = matrixmultiply::dgemm;
    fn from_f64(value: f64) -> Self {
        value
    }
}

/// `left X right^T` less the checkerboard term, plane by plane; `middle` is memory. The lengths of the planes are the
/// caller's to check.
fn dense_products<T: Float>(
    [rows, columns]: [&Operator; 2],
    [left, right]: [&[T]; 2],
    planes: &[T],
    out: &mut [T],
    middle: &mut Vec<T>,
) {
    let (h, w, bh, bw) = (rows.size, columns.size, rows.band, columns.band);
    assert!(left.len() == bh * h && right.len() == bw * w, "the matrices are those of the axes");
    middle.resize(middle.len().max(bh * w), T::ZERO);
    for (plane, out) in planes.chunks_exact(h * w).zip(out.chunks_exact_mut(bh * bw)) {
        let (l, x, r, m, y) = (left.as_ptr(), plane.as_ptr(), right.as_ptr(), middle.as_mut_ptr(), out.as_mut_ptr());
        let [row_h, row_w, row_bw] = [h, w, bw].map(|row| row as isize);
        // SAFETY: the matrices are (bh, h), (h, w), (bh, w) and (bw, w), (bh, bw), and each slice is that long.
        unsafe {
            T::GEMM(bh, h, w, T::ONE, l, row_h, 1, x, row_w, 1, T::ZERO, m, row_w, 1);
            T::GEMM(bh, w, bw, T::ONE, m, row_w, 1, r, 1, row_w, T::ZERO, y, row_bw, 1);
        }
        if let Some(sigma) = sigma(rows, columns, plane) {
            subtract_checkerboard(out, bw, T::from_f64(sigma));
        }
    }
}

/// `(s_H^T X s_W) / (H W)` in f64, where both bands are even.
fn sigma<T: Float>(rows: &Operator, columns: &Operator, plane: &[T]) -> Option<f64> {
    let (s_h, s_w) = (rows.checker.as_ref()?, columns.checker.as_ref()?);
    let sum: f64 = plane
        .chunks_exact(columns.size)
        .zip(s_h)
        .map(|(row, s)| s * row.iter().zip(s_w).map(|(v, s)| (*v).into() * s).sum::<f64>())
        .sum();
    Some(sum / (rows.size * columns.size) as f64)
}

/// `out[i][j] -= (-1)^(i+j) sigma` for rows of `width`.
pub(crate) fn subtract_checkerboard<T>(out: &mut [T], width: usize, sigma: T)
where
    T: Copy + Neg<Output = T> + AddAssign + SubAssign,
{
    for (i, row) in out.chunks_exact_mut(width).enumerate() {
        let first = if i % 2 == 0 { sigma } else { -sigma };
        let (pairs, rest) = row.as_chunks_mut::<2>();
        for [a, b] in pairs {
            *a -= first;
            *b += first;
        }
        rest.iter_mut().for_each(|v| *v -= first);
    }
}

/// The band crop of f32 planes that follow one another; the lengths are the caller's to check.
pub(crate) fn crop(
    level: Level,
    rows: &Operator,
    columns: &Operator,
    planes: &[f32],
    out: &mut [f32],
    memory: &mut Memory,
) {
    let (size, band) = (rows.size * columns.size, rows.band * columns.band);
    for (plane, out) in planes.chunks_exact(size).zip(out.chunks_exact_mut(band)) {
        crop_plane(level, rows, columns, plane, out, memory);
    }
}

/// One plane, in panels of columns and then of rows.
fn crop_plane(level: Level, rows: &Operator, columns: &Operator, plane: &[f32], out: &mut [f32], memory: &mut Memory) {
    let Memory { panel, middle, fold, product } = memory;
    let (h, w, bh, bw) = (rows.size, columns.size, rows.band, columns.band);
    let stride = bh.next_multiple_of(PANEL);
    let cut = bh.max(bw) * PANEL;
    let products = w.next_multiple_of(PANEL);
    panel.resize(panel.len().max(h * PANEL), 0.0);
    middle.resize(middle.len().max(cut + w * stride), 0.0);
    product.resize(product.len().max(products), 0.0);
    // `transposed` is (w, bh): its rows are columns of the plane.
    let (cut, transposed) = middle.split_at_mut(cut);
    let transpose = |src: &[f32], rows, columns, dst: &mut [f32], dst_stride| {
        Transpose { src, src_stride: PANEL, rows, columns, dst, dst_stride, post: Post::NONE }.run(level);
    };
    for x in (0..w).step_by(PANEL) {
        let live = PANEL.min(w - x);
        let src = if live == PANEL {
            (&plane[x..], w)
        } else {
            for (row, from) in panel.chunks_exact_mut(PANEL).zip(plane.chunks_exact(w)) {
                row[..live].copy_from_slice(&from[x..x + live]);
            }
            (&panel[..], PANEL)
        };
        rows.folded.run(level, src, fold, (&mut *cut, PANEL), Some(&mut product[x..x + PANEL]));
        transpose(cut, bh, live, &mut transposed[x * stride..], stride);
    }
    for y in (0..bh).step_by(PANEL) {
        columns.folded.run(level, (&transposed[y..], stride), fold, (&mut *cut, PANEL), None);
        transpose(cut, bw, PANEL.min(bh - y), &mut out[y * bw..], bw);
    }
    if let (Some(_), Some(s)) = (&rows.checker, &columns.checker) {
        let sigma: f64 = s.iter().zip(&*product).map(|(s, v)| s * f64::from(*v)).sum();
        subtract_checkerboard(out, bw, (sigma / (h * w) as f64) as f32);
    }
}
