//! A file of many records: records one after another, then their index.
//!
//! The bands of one image lie together (record-major). A loader draws images in random order, and so reads one short range
//! for an image; all images' first bands next to each other would be five ranges for it, and could not be written without
//! holding a whole shard. What that order would save, the later bands of images that a small stage reads past, a reader
//! of single ranges does not read here either.
//!
//! `docs/packed-records.md` gives the bytes.

mod read;
#[cfg(test)]
mod tests;
mod write;

use crate::partial::FRAME;
pub use read::{Entry, Shard};
pub use write::ShardWriter;

/// Which shard of a data set a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Number of the shard, from 0.
    pub number: u32,
    /// Shards of the data set.
    pub of: u32,
    /// Index in the data set of the shard's first sample.
    pub first: u64,
}

/// What larger images were reduced to before they were packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reduced {
    /// Pixels of their longer side, at least 1.
    pub max_side: u32,
    /// JPEG quality that they were encoded with, `1..=100`.
    pub quality: u8,
}

/// First bytes of a file.
const MAGIC: [u8; 8] = *b"BFSHARD\0";
/// First bytes of its footer.
const FOOTER_MAGIC: [u8; 8] = *b"BFINDEX\0";
const VERSION: u32 = 1;
/// Bytes of an entry of the index.
const ENTRY: usize = 56;
/// Kinds of entries: of a file as it was, of an image with a component of half its resolution along both axes; 0 for others.
const STORED: u8 = 1;
const QUARTER_CHROMA: u8 = 2;
/// Records start at a multiple of this.
const ALIGN: u64 = 8;
/// The index starts at a multiple of this: a page.
const PAGE: u64 = 4096;
