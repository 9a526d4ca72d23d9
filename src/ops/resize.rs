//! Antialiased resize of 8-bit pixels, bit for bit as Pillow does it.
//!
//! Pillow's arithmetic: weights as integers of 2^-22, sums in 32-bit integers, columns first, rounding to 8 bits and
//! clamping after each axis. A resize with other arithmetic flips roundings, here and there by two grey levels, and one
//! that combines rows first clamps overshoot at another place, which shows by many: up to 21 on photos.
//!
//! Columns are combined first always, as in Pillow up to 12. Pillow 13 combines rows first for some tall images.

use super::simd::{Kernel, Level, PixelWeights, Vector};
use super::weights::{Axis, Bands};
use super::{Rgb8, View};
use crate::error::{Error, Result};
use crate::shape::{Filter, Size};

/// Bits of a weight behind the point: 8 bits of the pixel and 2 of overshoot leave 22 of 32.
const PRECISION: u32 = 32 - 8 - 2;

/// Resizes the part `area` = `[x, y, width, height]` of `src` to `to`; RGB8 in, RGB8 out.
///
/// The filter is widened by the reduction (antialiasing) and reads pixels of `src` outside `area` where it reaches
/// over its border: Pillow's `Image.resize(to, filter, box)`, whose output (version 12) it equals.
///
/// # Errors
/// [`Error::Config`] if `src` does not hold its pixels, `area` does not lie in it, or `to` is empty or more than memory
/// can address. Nothing is allocated then.
pub fn resize(src: View<'_>, area: [f64; 4], to: Size, filter: Filter) -> Result<Rgb8> {
    let mut out = Rgb8 { pixels: Vec::new(), size: to };
    Resizer::new().resize(src, area, to, filter, &mut out.pixels)?;
    Ok(out)
}

/// [`resize`] with memory that is kept from one image to the next.
#[derive(Debug)]
pub struct Resizer {
    level: Level,
    columns: Fixed,
    rows: Fixed,
    /// The columns' weights once more, four at a time, and where each output's begin.
    groups: Vec<PixelWeights>,
    group_starts: Vec<usize>,
    /// Source rows, resized along their length.
    middle: Vec<u8>,
}

impl Default for Resizer {
    fn default() -> Self {
        Self::new()
    }
}

impl Resizer {
    /// No memory is taken before the first image.
    pub fn new() -> Self {
        Self::at(Level::detect())
    }

    pub(crate) fn at(level: Level) -> Self {
        Self {
            level,
            columns: Fixed::default(),
            rows: Fixed::default(),
            groups: Vec::new(),
            group_starts: Vec::new(),
            middle: Vec::new(),
        }
    }

    /// As [`resize`], into `out`, whose length becomes `3 * to.width * to.height`.
    ///
    /// # Errors
    /// As [`resize`].
    pub fn resize(&mut self, src: View<'_>, area: [f64; 4], to: Size, filter: Filter, out: &mut Vec<u8>) -> Result<()> {
        src.check()?;
        if to.pixels() == 0 {
            return Err(Error::config("resize", format!("to {}x{}: expected at least one pixel", to.width, to.height)));
        }
        // The result, and the rows of the source at its width.
        for rows in [to.height, src.size.height] {
            let bytes = (3 * u64::from(to.width)).checked_mul(rows.into());
            if bytes.is_none_or(|bytes| bytes > isize::MAX as u64) {
                let Size { width, height } = to;
                return Err(Error::config(
                    "resize",
                    format!("to {width}x{height}: more bytes than memory can address"),
                ));
            }
        }
        let [columns, rows] = axes(src.size, area, to)?;
        self.columns.prepare(filter, columns);
        self.rows.prepare(filter, rows);
        self.groups.clear();
        self.group_starts.clear();
        for i in 0..self.columns.bands.rows() {
            self.group_starts.push(self.groups.len());
            self.groups.extend(self.columns.row(i).1.chunks(4).map(PixelWeights::new));
        }
        self.group_starts.push(self.groups.len());
        let (first, end) = self.rows.reach();
        let row = 3 * to.width as usize;
        if self.middle.len() < row * (end - first) {
            self.middle.resize(row * (end - first), 0);
        }
        out.resize(row * to.height as usize, 0);
        let middle = &mut self.middle[..row * (end - first)];
        let (groups, group_starts) = (&self.groups, &self.group_starts);
        self.level.run(AlongRows { src, first, weights: &self.columns, groups, group_starts, dst: middle });
        self.level.run(AcrossRows { src: middle, first, row, weights: &self.rows, dst: out });
        Ok(())
    }
}

/// Weights of one axis as integers.
#[derive(Debug, Default)]
struct Fixed {
    bands: Bands,
    /// Weights of row `i` from `starts[i]` to `starts[i + 1]`.
    starts: Vec<usize>,
    values: Vec<i32>,
}

impl Fixed {
    fn prepare(&mut self, filter: Filter, axis: Axis) {
        self.bands.resample(filter, axis);
        self.starts.clear();
        self.values.clear();
        self.starts.push(0);
        for i in 0..self.bands.rows() {
            let (_, weights) = self.bands.row(i);
            self.values.extend(weights.iter().map(|w| fixed(*w)));
            self.starts.push(self.values.len());
        }
    }

    /// First source sample of row `i`, and its weights.
    fn row(&self, i: usize) -> (usize, &[i32]) {
        (self.bands.row(i).0, &self.values[self.starts[i]..self.starts[i + 1]])
    }

    /// First and one-past-last source sample of all rows.
    fn reach(&self) -> (usize, usize) {
        let rows = || (0..self.bands.rows()).map(|i| self.bands.row(i));
        let first = rows().map(|(start, _)| start).min().unwrap_or(0);
        (first, rows().map(|(start, weights)| start + weights.len()).max().unwrap_or(0))
    }
}

/// A weight as an integer.
pub(crate) fn fixed(weight: f64) -> i32 {
    (weight * f64::from(1 << PRECISION)).round() as i32
}

/// Columns and rows of a resize of `area`, which lies in `src`, to `to`.
///
/// # Errors
/// As [`fit_area`].
pub(crate) fn axes(src: Size, area: [f64; 4], to: Size) -> Result<[Axis; 2]> {
    let [x, y, width, height] = fit_area(area, src)?;
    let axis = |input: u32, origin, length, outputs: u32| Axis {
        input: input as usize,
        origin,
        scale: length / f64::from(outputs),
        outputs: outputs as usize,
    };
    Ok([axis(src.width, x, width, to.width), axis(src.height, y, height, to.height)])
}

/// A sum to a byte. Its start value is one half.
#[inline(always)]
fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (PRECISION - 1);

/// Resizes rows along their length: source rows from `first` on, as many as `dst` holds.
struct AlongRows<'a> {
    src: View<'a>,
    first: usize,
    weights: &'a Fixed,
    groups: &'a [PixelWeights],
    group_starts: &'a [usize],
    dst: &'a mut [u8],
}

impl Kernel for AlongRows<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let row = 3 * self.weights.bands.rows();
        for (y, dst) in self.dst.chunks_exact_mut(row).enumerate() {
            let src = &self.src.pixels[(self.first + y) * self.src.stride..];
            for (i, out) in dst.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                let (start, weights) = self.weights.row(i);
                let pixels = &src[3 * start..];
                let groups = &self.groups[self.group_starts[i]..self.group_starts[i + 1]];
                // Near the end of the image whole groups of pixels are not there.
                let sums = if pixels.len() >= 12 * groups.len() + 4 {
                    // SAFETY: the caller's promise, and the length was just asked.
                    unsafe { V::weigh_pixels(groups, pixels.as_ptr()) }
                } else {
                    std::array::from_fn(|c| {
                        let channel = pixels.iter().skip(c).step_by(3);
                        weights.iter().zip(channel).map(|(weight, byte)| weight * i32::from(*byte)).sum()
                    })
                };
                for c in 0..3 {
                    out[c] = to_byte(HALF + sums[c]);
                }
            }
        }
    }
}

/// Combines rows of `row` bytes. The first row of `src` is source row `first`.
struct AcrossRows<'a> {
    src: &'a [u8],
    first: usize,
    row: usize,
    weights: &'a Fixed,
    dst: &'a mut [u8],
}

impl AcrossRows<'_> {
    /// `N` bytes of one output row.
    #[inline(always)]
    fn tile<const N: usize>(src: &[u8], row: usize, weights: &[i32], dst: &mut [u8; N]) {
        let mut sums = [HALF; N];
        for (weight, row) in weights.iter().zip(src.chunks(row)) {
            let bytes: &[u8; N] = row.first_chunk().expect("a tile lies inside its row");
            for n in 0..N {
                sums[n] += weight * i32::from(bytes[n]);
            }
        }
        for n in 0..N {
            dst[n] = to_byte(sums[n]);
        }
    }
}

impl Kernel for AcrossRows<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        const TILE: usize = 32;
        let row = self.row;
        for (i, dst) in self.dst.chunks_exact_mut(row).enumerate() {
            let (start, weights) = self.weights.row(i);
            let src = &self.src[(start - self.first) * row..][..weights.len() * row];
            let mut x = 0;
            while x < row {
                if let Some(tile) = dst[x..].first_chunk_mut::<TILE>() {
                    Self::tile(&src[x..], row, weights, tile);
                    x += TILE;
                } else if let Some(tile) = dst.last_chunk_mut::<TILE>() {
                    // The rest overlaps the tile before it: the same bytes are written twice.
                    Self::tile(&src[row - TILE..], row, weights, tile);
                    x = row;
                } else {
                    Self::tile(&src[x..], row, weights, std::array::from_mut(&mut dst[x]));
                    x += 1;
                }
            }
        }
    }
}

/// `area` if it lies in an image of this size, without the rounding errors that put its end past the border.
///
/// # Errors
/// [`Error::Config`] with both.
pub(crate) fn fit_area(area: [f64; 4], size: Size) -> Result<[f64; 4]> {
    // A millionth of a pixel: far above the rounding of a scaled rectangle, far below anything that can be seen.
    const SLACK: f64 = 1e-6;
    let fits = |start: f64, length: f64, limit: u32| {
        start >= -SLACK && length > 0.0 && start + length <= f64::from(limit) + SLACK
    };
    let [x, y, width, height] = area;
    if !(fits(x, width, size.width) && fits(y, height, size.height)) {
        return Err(Error::config(
            "area",
            format!("{width}x{height} at ({x}, {y}) does not lie in {}x{} pixels", size.width, size.height),
        ));
    }
    let (x, y) = (x.max(0.0), y.max(0.0));
    Ok([x, y, width.min(f64::from(size.width) - x), height.min(f64::from(size.height) - y)])
}
