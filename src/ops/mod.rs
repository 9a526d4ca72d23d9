//! From decoded pixels to normalised planes: resize, flip, band crop, normalise.
//!
//! ```text
//! bytes ─► resize ─► flip ─► [lanczos band] ─► normalise ─► [fourier band] ─► (3, B, B) f32
//! ```
//!
//! [`Renderer`] runs the whole of it for one sample, step by step or fused into one linear map; [`resize`],
//! [`normalize`] and [`crate::band`] are the steps alone.

pub(crate) mod erase;
mod mix;
pub(crate) mod normalize;
pub(crate) mod render;
pub(crate) mod resize;
pub(crate) mod separable;
pub(crate) mod simd;
pub(crate) mod weights;

pub use normalize::normalize;
pub use render::Renderer;
pub use resize::{Resizer, resize};

use crate::error::{Error, Result};
use crate::shape::Size;

/// RGB8 pixels, interleaved, with a row stride: what a decoder gives.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Bytes: red, green, blue of the first pixel, then of the one to its right. Row `y` starts at `y * stride`.
    pub pixels: &'a [u8],
    /// Bytes from one row to the next, at least `3 * size.width`.
    pub stride: usize,
    /// Columns and rows.
    pub size: Size,
}

impl<'a> View<'a> {
    /// Pixels without gaps between rows. Whether `pixels` holds `size` is checked where the view is used.
    pub fn packed(pixels: &'a [u8], size: Size) -> Self {
        Self { pixels, stride: 3 * size.width as usize, size }
    }

    /// Refuses a view that is empty or does not hold its pixels.
    ///
    /// # Errors
    /// [`Error::Config`] with the bytes there are and the bytes there should be.
    pub fn check(&self) -> Result<()> {
        not_empty(self.size)?;
        let Size { width, height } = self.size;
        if !self.holds_its_pixels() {
            let (len, stride) = (self.pixels.len(), self.stride);
            return Err(Error::config(
                "pixels",
                format!("{len} bytes with a stride of {stride} do not hold {width}x{height} RGB pixels"),
            ));
        }
        Ok(())
    }

    pub(crate) fn holds_its_pixels(&self) -> bool {
        let row = 3 * self.size.width as usize;
        let before_last = (self.size.height as usize - 1).checked_mul(self.stride);
        self.stride >= row && before_last.and_then(|n| n.checked_add(row)).is_some_and(|n| n <= self.pixels.len())
    }

    /// The bytes of row `y`.
    pub(crate) fn row(&self, y: usize) -> &'a [u8] {
        &self.pixels[y * self.stride..][..3 * self.size.width as usize]
    }
}

/// Refuses an image without pixels.
///
/// # Errors
/// [`Error::Config`] with its size.
pub(crate) fn not_empty(size: Size) -> Result<()> {
    if size.pixels() == 0 {
        let Size { width, height } = size;
        return Err(Error::config("pixels", format!("{width}x{height}: expected at least one pixel")));
    }
    Ok(())
}

/// RGB8 pixels, interleaved, without gaps: what a resize gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb8 {
    /// `height * width * 3` bytes.
    pub pixels: Vec<u8>,
    /// Columns and rows.
    pub size: Size,
}

impl Rgb8 {
    /// The pixels as a view.
    pub fn view(&self) -> View<'_> {
        View::packed(&self.pixels, self.size)
    }
}
