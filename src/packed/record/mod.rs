//! One image as a record: a head, five bands, the metadata. Or the file as it was, where it has no coefficients here.
//!
//! `docs/packed-records.md` gives the bytes. A record needs nothing from outside of it; a prefix of it that ends with a band
//! decodes as far as that band.

mod head;
mod read;
#[cfg(test)]
mod tests;
mod tiles;
mod write;

pub use read::Record;
pub use tiles::{TileDecoder, Touched};
pub use write::{Packed, pack, pack_reduced};

use super::band::{BANDS, Tiling};
use super::coefficients::Colour;
use crate::decode::Orientation;
use crate::shape::Size;
use std::ops::Range;

/// What a record says of its image and of the file that it was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// The sample's name in its data set, for example `n01440764/n01440764_18.JPEG`.
    pub key: String,
    /// Class index.
    pub label: u32,
    /// Bytes of the original file.
    pub original_len: u64,
    /// SHA-256 of the original file.
    pub original_sha256: [u8; 32],
    /// Whether the image is the original's reduced and encoded again: what is unpacked is that, and not the original.
    pub is_reduced: bool,
    /// The image, where the record holds its coefficients in bands. `None` where it holds the original file: not a JPEG, or one
    /// that cannot be carried without loss.
    pub image: Option<Image>,
    /// Bytes of the whole record.
    pub(crate) len: u64,
    /// Where the metadata or the original file is, and its checksum.
    pub(crate) tail: (Range<u64>, u32),
}

/// The frame of an image in bands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Image {
    /// Columns and rows as stored, before `orientation`.
    pub size: Size,
    /// How the stored pixels are turned.
    pub orientation: Orientation,
    /// What the components are.
    pub colour: Colour,
    /// 1, 3 or 4 of them.
    pub components: Vec<Plane>,
    pub(crate) bands: [Section; BANDS],
}

/// What is to be known of a component before its coefficients.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plane {
    /// Identifier in the JPEG's frame header.
    pub id: u8,
    /// Horizontal and vertical sampling factor, `1..=4`.
    pub sampling: (u8, u8),
    /// Quantisation steps by place, `8 * v + u`.
    pub steps: [u16; 64],
    /// Columns and rows of blocks.
    pub blocks: Size,
    /// Largest sum, over the blocks, of a block's dequantised magnitudes: below 32768 they all fit into `i16`, and it
    /// tells how wide the arithmetic of an inverse DCT must be.
    pub largest_sum: u32,
    pub(crate) bases: [u8; 64],
    /// By band.
    pub(crate) chunks: [ChunkTable; BANDS],
}

impl Image {
    /// Whether a component has half of the image's resolution along both axes, as chroma mostly has.
    pub(crate) fn has_quarter_chroma(&self) -> bool {
        let largest =
            self.components.iter().fold((1, 1), |l: (u8, u8), c| (l.0.max(c.sampling.0), l.1.max(c.sampling.1)));
        self.components.iter().any(|c| (2 * c.sampling.0, 2 * c.sampling.1) == largest)
    }
}

impl Plane {
    /// One bit for each lane of the tile in `column` and `row` that has a block.
    pub(crate) fn active(&self, column: u32, row: u32) -> u32 {
        Tiling::new(self.blocks).active(column, row)
    }
}

/// Where the chunks of one band of one component are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ChunkTable {
    /// Bits of each length.
    pub(crate) width: u32,
    /// The lengths.
    pub(crate) index: Range<u64>,
    pub(crate) payload: Range<u64>,
}

/// Where one band is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) index: Range<u64>,
    pub(crate) index_crc: u32,
    pub(crate) payload: Range<u64>,
    pub(crate) payload_crc: u32,
    /// After the zeros that follow the payload.
    pub(crate) end: u64,
}
