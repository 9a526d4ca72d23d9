//! Antialiased resize of 8-bit pixels, as Pillow does it.

use super::{Rgb8, View};
use crate::error::{Error, Result};
use crate::shape::{Filter, Size};
use fast_image_resize as fir;

/// Resizes the part `area` = `[x, y, width, height]` of `src` to `to`; RGB8 in, RGB8 out.
///
/// The filter is widened by the reduction (antialiasing) and reads pixels of `src` outside `area` where it reaches
/// over its border: Pillow's `Image.resize(size, filter, box)`. Columns are combined first, then rows, with rounding
/// to 8 bits and clamping after each. It differs from Pillow by one grey level at most.
///
/// # Errors
/// [`Error::Config`] if `src` does not hold its pixels, `area` does not lie in it or `to` is empty.
pub fn resize(src: View<'_>, area: [f64; 4], to: Size, filter: Filter) -> Result<Rgb8> {
    let mut out = Rgb8 { pixels: Vec::new(), size: to };
    Resizer::new().resize(src, area, to, filter, &mut out.pixels)?;
    Ok(out)
}

/// [`resize`] with memory that is kept from one image to the next.
#[derive(Debug, Default)]
pub struct Resizer {
    fir: fir::Resizer,
    middle: Vec<u8>,
}

impl Resizer {
    /// No memory is taken before the first image.
    pub fn new() -> Self {
        Self::default()
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
        let [x, y, width, height] = fit_area(area, src.size)?;
        let (first, last) = reach(y, height, src.size.height, to.height, filter);
        let middle_size = Size::new(to.width, last - first);
        let row = 3 * to.width as usize;
        fit(&mut self.middle, row * middle_size.height as usize);
        fit(out, row * to.height as usize);

        // Two calls instead of one: alone, the library combines rows first and so clamps overshoot at another point
        // than Pillow, which shows by many grey levels at saturated edges.
        let algorithm = fir::ResizeAlg::Convolution(match filter {
            Filter::Bilinear => fir::FilterType::Bilinear,
            Filter::Bicubic => fir::FilterType::CatmullRom,
            Filter::Lanczos3 => fir::FilterType::Lanczos3,
        });
        let options = fir::ResizeOptions::new().resize_alg(algorithm);
        let columns = options.crop(x, f64::from(first), width, f64::from(last - first));
        one_pass(&mut self.fir, src, middle_size, &mut self.middle, &columns)?;
        let rows = options.crop(0.0, y - f64::from(first), f64::from(to.width), height);
        one_pass(&mut self.fir, View::packed(&self.middle, middle_size), to, out, &rows)
    }
}

/// Sets the length; memory is taken only if the buffer has never been as long.
fn fit(buffer: &mut Vec<u8>, len: usize) {
    if buffer.len() < len {
        buffer.resize(len, 0);
    } else {
        buffer.truncate(len);
    }
}

fn one_pass(
    resizer: &mut fir::Resizer,
    src: View<'_>,
    to: Size,
    out: &mut [u8],
    options: &fir::ResizeOptions,
) -> Result<()> {
    let mut out = fir::images::TypedImage::<fir::pixels::U8x3>::from_buffer(to.width, to.height, out)
        .map_err(|e| Error::config("resize", e.to_string()))?;
    resizer.resize_typed(&Strided(src), &mut out, options).map_err(|e| Error::config("resize", e.to_string()))
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

/// First and one-past-last source sample that any output of an axis may read.
fn reach(start: f64, length: f64, input: u32, outputs: u32, filter: Filter) -> (u32, u32) {
    let scale = length / f64::from(outputs);
    let support = filter.support() * scale.max(1.0);
    let first = (start + 0.5 * scale - support).floor().clamp(0.0, f64::from(input - 1)) as u32;
    let last = (start + length - 0.5 * scale + support).ceil().clamp(f64::from(first + 1), f64::from(input)) as u32;
    (first, last)
}

/// A [`View`] as the resize library sees images.
struct Strided<'a>(View<'a>);

// SAFETY: `row` gives `3 * width` bytes, which are `width` pixels.
unsafe impl fir::ImageView for Strided<'_> {
    type Pixel = fir::pixels::U8x3;

    fn width(&self) -> u32 {
        self.0.size.width
    }

    fn height(&self) -> u32 {
        self.0.size.height
    }

    fn iter_rows(&self, start_row: u32) -> impl Iterator<Item = &[Self::Pixel]> {
        (start_row..self.0.size.height).map(|y| {
            let row = self.0.row(y as usize);
            // SAFETY: `U8x3` is `repr(C)` around `[u8; 3]` and nothing else: size 3, alignment 1, any bytes valid.
            unsafe { std::slice::from_raw_parts(row.as_ptr().cast(), row.len() / 3) }
        })
    }
}
const _: () = assert!(size_of::<fir::pixels::U8x3>() == 3 && align_of::<fir::pixels::U8x3>() == 1);
