//! From coefficients, or packed records, to planes of samples, and from those to pixels.
//!
//! ```text
//! coefficients (Huffman kernel, or from the host) ──idct──► planes ──┐
//! chunks of packed records ────────────────────────bands──► planes ──┴─pixels──► upright RGBX pixels of the window
//! pixels that the CPU decoded ─────────────────────────────────────────pixels──►
//! ```
//!
//! A worker *stages* a sample: [`Picture`] says which window at which scale it is, as [`crate::decode::Decoder::decode_region_from`]
//! would decode it, and [`stage`] appends what the kernels read to the sample's words. Of a whole batch [`batch`] gives each
//! sample its place in the buffers and makes the kernels' parameters: three launches, or fewer.
//!
//! Pixels are the CPU's, bit for bit, at every scale. Where the CPU would leave an image to libjpeg, or refuse it, the sample's word
//! in `status` is not 0 after the launches, its pixels are of no meaning, and the CPU has to decide.

mod batch;
mod picture;
mod stage;
#[cfg(test)]
mod tests;

pub(crate) use batch::{Batch, Place, Sizes, place};
pub(crate) use picture::{Part, Picture, Wanted};
pub(crate) use stage::Staged;

use super::kernel::{Access, Kernel, kernel, params};

params! {
    /// One component of one sample whose coefficients are at hand.
    pub(crate) struct IdctParams {
        first_group: u32, sample: u32, coefficients: u32, from_host: u32, steps: u32, plane: u32, side: u32, limit: u32, width: u32, height: u32,
    }
}

params! {
    /// One component of one sample that is a packed record.
    pub(crate) struct BandsParams {
        first_group: u32, sample: u32, base: u32, order: u32, chunks: u32, plane: u32, side: u32, limit: u32, columns: u32, rows: u32,
        first_column: u32, first_row: u32, width: u32, height: u32,
    }
}

params! {
    /// One component of one sample; there are four for each sample.
    pub(crate) struct PixelsParams {
        first_group: u32, colour: u32, turn: u32, left: u32, top: u32, width: u32, height: u32, to: u32, stride: u32, plane: u32,
        plane_stride: u32, first_x: u32, first_y: u32, plane_width: u32, plane_height: u32, columns: u32, rows: u32,
        across: u32, down: u32, is_smooth: u32,
    }
}

/// Bit of a word of `status`: a block is out of the range that the CPU's own decoder computes in.
pub(crate) const OUT_OF_RANGE: u32 = 32;
/// A chunk of a packed record is damaged.
pub(crate) const BAD_CHUNK: u32 = 64;

/// A shader with the transform behind it.
macro_rules! with_transform {
    ($stem:literal) => {
        concat!(
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $stem, ".wgsl")),
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/transform.wgsl"))
        )
    };
}

/// Reads the coefficients, writes the planes and the status. Exact.
pub(crate) static IDCT: Kernel = Kernel {
    stem: "idct",
    source: with_transform!("idct"),
    fields: IdctParams::FIELDS,
    buffers: &[Access::Read, Access::Write, Access::Write],
};

/// Writes the planes and the status. Exact.
pub(crate) static BANDS: Kernel = Kernel {
    stem: "bands",
    source: with_transform!("bands"),
    fields: BandsParams::FIELDS,
    buffers: &[Access::Write, Access::Write],
};

/// Reads the planes, writes the pixels. Exact.
pub(crate) static PIXELS: Kernel = kernel!("pixels", PixelsParams, [Read, Write]);

/// The kernels here.
pub(crate) const KERNELS: &[&Kernel] = &[&IDCT, &BANDS, &PIXELS];
