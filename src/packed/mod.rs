//! Packed records: JPEGs coded anew, without loss, so that a small band reads a short prefix and decodes fast.
//!
//! Nothing of an image changes: a record holds the very coefficients that the JPEG held, and gives them back. What changes is
//! their order and their code. A JPEG is one string of Huffman codes, of which all must be read to know any. A record has the
//! low frequencies of the whole image first, each 32 blocks on their own, in a code that vector instructions read.
//!
//! ```text
//!  JPEG ──► Coefficients ──► pack: Record ──► ShardWriter ──► shard of records ──► Shard
//!                 ▲                │                                                 │
//!  JPEG ◄── to_jpeg ◄──────────────┴── coefficients · TileDecoder (rings, blocks) ◄──┘
//! ```
//!
//! [`pack`] makes a record of a file and [`Record`] reads it; [`TileDecoder`] is for engines. [`ShardWriter`] and [`Shard`]
//! keep many records in a file. `docs/packed-records.md` gives every byte.
//!
//! ```
//! use bandfeed::decode::Limits;
//! use bandfeed::packed::{Record, TileDecoder, pack};
//! use bandfeed::shape::Rect;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limits = Limits::default();
//! let packed = pack(&std::fs::read("tests/data/photo.jpg")?, "photo.jpg", 0, &limits)?;
//! let record = Record::open(&packed.bytes, &limits)?;
//! let luma = &record.image().expect("a JPEG is packed").components[0];
//!
//! // A quarter of the image, for an inverse DCT of 2 x 2 samples a block.
//! let quarter = Rect { x: 0, y: 0, width: luma.blocks.width.div_ceil(2), height: luma.blocks.height.div_ceil(2) };
//! let (mut decoder, mut brightness) = (TileDecoder::new(), 0);
//! let touched = decoder.decode(&record, 0, 2, quarter, |_column, _row, tile| {
//!     tile.dequantise(&luma.steps, 2);
//!     brightness += tile.values[0].iter().map(|&dc| i64::from(dc)).sum::<i64>();
//! })?;
//! assert!(touched.payload < packed.bytes.len() as u64 / 8);
//! # Ok(())
//! # }
//! ```
//!
//! A "band" is a group of rings here, of which there are [`BANDS`]; elsewhere it is the side B of what a stage keeps. To keep M
//! of the 8 frequencies along a side of each block takes the rings below M, which [`bands_for`] M bands hold.

mod band;
mod coefficients;
mod jpeg;
mod record;
#[cfg(test)]
pub(crate) mod samples;
mod shard;

#[cfg(feature = "wgpu")]
pub(crate) use band::PLACES;
pub use band::{BANDS, LANES, Tile, bands_for};
pub(crate) use band::{TILE_HEIGHT, TILE_WIDTH};
pub use coefficients::{Coefficients, Colour, Component};
pub use record::{Head, Image, Packed, Plane, Record, TileDecoder, Touched, pack, pack_reduced};
pub use shard::{Entry, Place, Reduced, Shard, ShardWriter};
