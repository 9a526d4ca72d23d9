//! Rotation, shear and translation: Pillow's `Image.transform(AFFINE)`, fast.
//!
//! An output pixel's centre is mapped to the input. Outside `[0, width) x [0, height)` is fill, decided in f64 exactly as
//! Pillow does; inside, neighbours beyond the border are the border's. The whole number and the rest of a coordinate say
//! which pixels are read and with which weights:
//!
//! - shear and translation along x have one rest for a whole row, so a row is four products of contiguous bytes;
//! - shear along y has one rest for a column, translation along y one for all rows;
//! - rotation has its own for every pixel ([`turn`]).
//!
//! Weights along x (and y, but for rotation) are integers of 2^-14 whose sum is exactly 1, so that flat areas stay. Three of
//! the four are off by 2^-15 at most, and the fourth by what makes up for them: 3 * 2^-15 * 255, or 0.03 grey levels, in a
//! value. The truncation at the end can then give a neighbouring grey level and no other.

mod nearest;
mod turn;

use super::op::{Op, Sampling};
use crate::ops::simd::{Kernel, Level, ONE, StripWeights, Vector};
use crate::shape::Size;
use std::ops::Range;

/// Bytes behind the pixels of an output that a kernel may overwrite.
pub(super) const SLACK: usize = 64;

/// Largest side that the fast kernels take; their coordinates have 16 bits before the point.
pub(crate) const LARGEST_SIDE: u32 = 32767;

/// Output to input: `u = a x + b y + c`, `v = d x + e y + f`, at pixel centres.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Matrix(pub(crate) [f64; 6]);

impl Matrix {
    /// The input coordinate of output pixel (x, y).
    #[inline(always)]
    pub(super) fn at(&self, x: usize, y: usize) -> (f64, f64) {
        let [a, b, c, d, e, f] = self.0;
        let (x, y) = (x as f64 + 0.5, y as f64 + 0.5);
        (a * x + b * y + c, d * x + e * y + f)
    }

    /// As integers of 2^-16, with the half pixel in the offsets: how Pillow finds the nearest pixel, unless a corner of the
    /// output falls too far away.
    pub(crate) fn fixed(&self, size: Size) -> Option<[i64; 6]> {
        let [a, b, c, d, e, f] = self.0;
        let (w, h) = (f64::from(size.width), f64::from(size.height));
        let near = |x: f64, y: f64| (x * a + y * b + c).abs() < 32768.0 && (x * d + y * e + f).abs() < 32768.0;
        if ![(0.0, 0.0), (w, h), (0.0, h), (w, 0.0)].into_iter().all(|(x, y)| near(x, y)) {
            return None;
        }
        let offsets = [c + a * 0.5 + b * 0.5, f + d * 0.5 + e * 0.5];
        Some([a, b, offsets[0], d, e, offsets[1]].map(|v| (v * 65536.0 + 0.5).floor() as i64))
    }

    /// The columns of row `y` that read inside the image.
    pub(crate) fn inside(&self, size: Size, y: usize) -> Range<usize> {
        let n = size.width as usize;
        let across = within(n, self.0[0], size.width, |x| self.at(x, y).0);
        let down = within(n, self.0[3], size.height, |x| self.at(x, y).1);
        meet(across, down)
    }
}

/// What two ranges share, with an end not before its start.
fn meet(a: Range<usize>, b: Range<usize>) -> Range<usize> {
    let start = a.start.max(b.start);
    start..a.end.min(b.end).max(start)
}

/// The `x` below `n` for which `0 <= value(x) < limit`. `value` is monotone, since f64 rounds monotonely, and rises by about
/// `slope` from one `x` to the next.
fn within(n: usize, slope: f64, limit: u32, value: impl Fn(usize) -> f64) -> Range<usize> {
    let (start, limit) = (value(0), f64::from(limit));
    let [low, high] = [(0.0 - start) / slope, (limit - start) / slope];
    if slope >= 0.0 {
        first(n, low, |x| value(x) >= 0.0)..first(n, high, |x| value(x) >= limit)
    } else {
        first(n, high, |x| value(x) < limit)..first(n, low, |x| value(x) < 0.0)
    }
}

/// The first `x` for which `holds`, else `n`, where all after the first hold too. Looked for around `guess`.
fn first(n: usize, guess: f64, holds: impl Fn(usize) -> bool) -> usize {
    let mut x = (guess as usize).min(n);
    while x > 0 && holds(x - 1) {
        x -= 1;
    }
    while x < n && !holds(x) {
        x += 1;
    }
    x
}

/// The matrix of Pillow's `Image.rotate`, whose sine and cosine are rounded to 15 decimals.
pub(crate) fn rotation(degrees: f64, size: Size) -> Matrix {
    let angle = -degrees.rem_euclid(360.0).to_radians();
    let (sin, cos) = (round_15(angle.sin()), round_15(angle.cos()));
    let (a, b, d, e) = (cos, sin, round_15(-angle.sin()), cos);
    let (x, y) = (f64::from(size.width) / 2.0, f64::from(size.height) / 2.0);
    Matrix([a, b, a * -x + b * -y + x, d, e, d * -x + e * -y + y])
}

/// `v` to 15 decimals, the nearest f64 to the nearest decimal number: Python's `round`.
fn round_15(v: f64) -> f64 {
    use std::io::Write;
    // Of a magnitude of at most 1: a sign and 17 digits.
    let mut text = [0u8; 32];
    let mut rest = text.as_mut_slice();
    let written = write!(rest, "{v:.15}").map(|()| 32 - rest.len());
    let digits = written.ok().and_then(|len| std::str::from_utf8(&text[..len]).ok());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(v)
}

/// Quarter turns counter-clockwise, where Pillow only moves pixels: whole ones, and odd ones of a square.
pub(crate) fn quarter_turns(degrees: f64, size: Size) -> Option<u32> {
    let degrees = degrees.rem_euclid(360.0);
    match degrees {
        0.0 => Some(0),
        180.0 => Some(2),
        90.0 if size.width == size.height => Some(1),
        270.0 if size.width == size.height => Some(3),
        _ => None,
    }
}

/// A geometric operation on one image.
struct Job<'a> {
    level: Level,
    matrix: Matrix,
    sampling: Sampling,
    size: Size,
    src: &'a [u8],
    /// As long as `src` and [`SLACK`] more.
    dst: &'a mut [u8],
    /// A row of the fill colour.
    fill: &'a [u8],
}

impl Job<'_> {
    fn row(&self) -> usize {
        3 * self.size.width as usize
    }

    /// Fills what is not `inside` in row `y`.
    fn fill_outside(&mut self, y: usize, inside: &Range<usize>) {
        let (row, at) = (self.row(), y * self.row());
        let (start, end) = (3 * inside.start, 3 * inside.end);
        self.dst[at..at + start].copy_from_slice(&self.fill[..start]);
        self.dst[at + end..at + row].copy_from_slice(&self.fill[end..]);
    }
}

/// A coordinate less one half, as the pixel before it and the integer weights of the four around.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Phase {
    base: i64,
    weights: [i16; 4],
}

/// Reads one pixel as it is.
const COPY: [i16; 4] = [0, ONE, 0, 0];

impl Phase {
    fn of(shift: f64, sampling: Sampling) -> Self {
        let base = shift.floor();
        let d = shift - base;
        let whole = |w: f64| (w * f64::from(ONE)).round() as i16;
        let (first, third, fourth) = match sampling {
            Sampling::Nearest => (0, 0, 0),
            Sampling::Bilinear => (0, whole(d), 0),
            Sampling::Bicubic => {
                let rest = 1.0 - d;
                (whole(-d * rest * rest), whole(d + d * d - d * d * d), whole(-d * d * rest))
            }
        };
        Self { base: base as i64, weights: [first, ONE - first - third - fourth, third, fourth] }
    }
}

/// Geometry with the memory that it needs from one image to the next.
#[derive(Debug, Default)]
pub(super) struct Affine {
    /// The image with two more pixels on every side, or a row of it.
    padded: Vec<u8>,
    fill: Vec<u8>,
    strip: Vec<u8>,
    columns: Vec<i64>,
}

impl Affine {
    /// Where its memory lies.
    #[cfg(test)]
    pub(super) fn memory(&self) -> [*const u8; 4] {
        [self.padded.as_ptr(), self.fill.as_ptr(), self.strip.as_ptr(), self.columns.as_ptr().cast()]
    }

    /// `op` from `src` to `dst`, which is as long and [`SLACK`] longer. No side is above [`LARGEST_SIDE`], and `op` is
    /// geometric.
    pub(super) fn run(&mut self, level: Level, op: Op, src: &[u8], size: Size, fill: [u8; 3], dst: &mut [u8]) {
        let (w, h) = (f64::from(size.width), f64::from(size.height));
        let (matrix, sampling) = match op {
            Op::Rotate { degrees, sampling } => {
                if let Some(quarters) = quarter_turns(degrees, size) {
                    return turn::quarters(quarters, src, size, dst);
                }
                (rotation(degrees, size), sampling)
            }
            Op::ShearX { factor, sampling } => (Matrix([1., factor, 0., 0., 1., 0.]), sampling),
            Op::ShearY { factor, sampling } => (Matrix([1., 0., 0., factor, 1., 0.]), sampling),
            Op::TranslateX { share, sampling } => (Matrix([1., 0., share * w, 0., 1., 0.]), sampling),
            Op::TranslateY { share, sampling } => (Matrix([1., 0., 0., 0., 1., share * h]), sampling),
            _ => unreachable!("the augmenter gives geometric operations only"),
        };
        self.fill.clear();
        self.fill.extend(fill.iter().cycle().take(3 * size.width as usize));
        let mut job = Job { level, matrix, sampling, size, src, dst, fill: &self.fill };
        if sampling == Sampling::Nearest {
            return nearest::run(&mut job, &mut self.columns, &mut self.padded, &mut self.strip);
        }
        let [_, _, c, _, _, f] = matrix.0;
        match op {
            Op::ShearX { .. } | Op::TranslateX { .. } => {
                let b = matrix.0[1];
                let phase = |y: usize| Phase::of(b * (y as f64 + 0.5) + c, sampling);
                along_rows(&mut job, &mut self.padded, phase, |y| matrix.inside(size, y));
            }
            Op::ShearY { .. } => {
                let d = matrix.0[3];
                let phase = |x: usize| Phase::of(d * (x as f64 + 0.5) + f, sampling);
                down_columns(&mut job, &mut self.padded, &mut self.strip, phase, |y| matrix.inside(size, y));
            }
            Op::TranslateY { .. } => down_rows(&mut job, Phase::of(f, sampling)),
            _ => {
                pad(src, size, &mut self.padded);
                turn::turn(&mut job, &self.padded);
            }
        }
    }
}

/// Copies an image and repeats its border two pixels wide. Row `y`, pixel `x` is then at row `y + 2`, pixel `x + 2` of a
/// picture four pixels wider; [`SLACK`] bytes follow.
fn pad(src: &[u8], size: Size, padded: &mut Vec<u8>) {
    let (row, rows) = (3 * size.width as usize, size.height as usize);
    let stride = row + 12;
    padded.resize(stride * (rows + 4) + SLACK, 0);
    for (src, dst) in src.chunks_exact(row).zip(padded[2 * stride..].chunks_exact_mut(stride)) {
        pad_row(src, dst);
    }
    for (from, to) in [(2, 0), (2, 1), (rows + 1, rows + 2), (rows + 1, rows + 3)] {
        padded.copy_within(from * stride..(from + 1) * stride, to * stride);
    }
}

/// Copies a row and repeats its first and last pixel twice.
#[inline(always)]
fn pad_row(src: &[u8], dst: &mut [u8]) {
    let row = src.len();
    dst[6..][..row].copy_from_slice(src);
    for at in [0, 3] {
        dst[at..at + 3].copy_from_slice(&src[..3]);
        dst[row + 6 + at..][..3].copy_from_slice(&src[row - 3..]);
    }
}

/// Four taps at the same place of four slices of equal length, to a slice of that length.
struct Weigh<'a> {
    weights: [i16; 4],
    taps: [&'a [u8]; 4],
    to: &'a mut [u8],
}

impl Kernel for Weigh<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let n = self.to.len();
        if self.weights == COPY {
            return self.to.copy_from_slice(self.taps[1]);
        }
        assert!(self.taps.iter().all(|tap| tap.len() == n), "a tap has another length than the output");
        // SAFETY: the caller's promise; the lengths were just compared, and `to` is borrowed alone.
        unsafe { V::weigh_bytes(self.weights, self.taps.map(<[u8]>::as_ptr), self.to.as_mut_ptr(), n) }
    }
}

/// Output row `y` is input row `y` from pixel `base` on, weighed.
fn along_rows(
    job: &mut Job<'_>,
    line: &mut Vec<u8>,
    phase: impl Fn(usize) -> Phase,
    inside: impl Fn(usize) -> Range<usize>,
) {
    let row = job.row();
    line.resize(row + 12, 0);
    for y in 0..job.size.height as usize {
        let inside = inside(y);
        if !inside.is_empty() {
            let Phase { base, weights } = phase(y);
            pad_row(&job.src[y * row..][..row], line);
            // The tap before pixel `base`, in a row that begins two pixels early.
            let at = 3 * (inside.start as i64 + base + 1) as usize;
            let n = 3 * inside.len();
            let taps = std::array::from_fn(|k| &line[at + 3 * k..][..n]);
            job.level.run(Weigh { weights, taps, to: &mut job.dst[y * row + 3 * inside.start..][..n] });
        }
        job.fill_outside(y, &inside);
    }
}

/// Output row `y` is input row `y + base`, weighed.
fn down_rows(job: &mut Job<'_>, Phase { base, weights }: Phase) {
    let (row, rows) = (job.row(), job.size.height as i64);
    for y in 0..rows as usize {
        let inside = job.matrix.inside(job.size, y);
        if !inside.is_empty() {
            let src = job.src;
            let taps = std::array::from_fn(|k| {
                let from = (y as i64 + base + k as i64 - 1).clamp(0, rows - 1) as usize;
                &src[from * row..][..row]
            });
            job.level.run(Weigh { weights, taps, to: &mut job.dst[y * row..][..row] });
        }
        job.fill_outside(y, &inside);
    }
}

/// Output column `x` is input column `x` from row `base` on, weighed; 16 bytes of neighbouring columns that read the same
/// rows are done together, from top to bottom.
fn down_columns(
    job: &mut Job<'_>,
    padded: &mut Vec<u8>,
    aside: &mut Vec<u8>,
    phase: impl Fn(usize) -> Phase,
    inside: impl Fn(usize) -> Range<usize>,
) {
    /// Whole pixels in 16 bytes.
    const WIDTH: usize = 5;
    let (row, rows, width) = (job.row(), job.size.height as i64, job.size.width as usize);
    pad(job.src, job.size, padded);
    aside.resize(16 * rows as usize, 0);
    let mut x = 0;
    while x < width {
        let Phase { base, mut weights } = phase(x);
        let mut strip = StripWeights::ZERO;
        let mut columns = 0;
        loop {
            strip.set_pixel(columns, weights);
            columns += 1;
            if columns == WIDTH || x + columns == width {
                break;
            }
            let next = phase(x + columns);
            if next.base != base {
                break;
            }
            weights = next.weights;
        }
        // Rows that read inside the image for any rest of the coordinate.
        let first = (-1 - base.min(rows)).clamp(0, rows) as usize;
        let end = (rows - base.max(-rows)).clamp(0, rows) as usize;
        if first < end {
            let from = &padded[(first as i64 + base + 1) as usize * (row + 12) + 3 * (x + 2)..];
            let at = first * row + 3 * x;
            // Stores of 16 bytes: what they write too much is overwritten by the strips to the right, but behind the last
            // column lies the next row's first, which is done.
            let fits = 3 * x + 16 <= row;
            let (to, to_stride) = if fits { (&mut job.dst[at..], row) } else { (&mut aside[..], 16) };
            job.level.run(Strip { weights: &strip, from, stride: row + 12, to, to_stride, rows: end - first });
            if !fits {
                let n = 3 * columns;
                for (y, bytes) in aside.as_chunks::<16>().0[..end - first].iter().enumerate() {
                    job.dst[at + y * row..][..n].copy_from_slice(&bytes[..n]);
                }
            }
        }
        x += columns;
    }
    for y in 0..rows as usize {
        job.fill_outside(y, &inside(y));
    }
}

/// [`crate::ops::simd::Bytes::weigh_strip`] on slices.
struct Strip<'a> {
    weights: &'a StripWeights,
    from: &'a [u8],
    stride: usize,
    to: &'a mut [u8],
    to_stride: usize,
    rows: usize,
}

impl Kernel for Strip<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { weights, from, stride, to, to_stride, rows } = self;
        assert!(rows > 0 && from.len() >= (rows + 2) * stride + 16 && to.len() >= (rows - 1) * to_stride + 16);
        // SAFETY: the caller's promise; the lengths were just compared, and `to` is borrowed alone.
        unsafe { V::weigh_strip(weights, from.as_ptr(), stride, to.as_mut_ptr(), to_stride, rows) }
    }
}
