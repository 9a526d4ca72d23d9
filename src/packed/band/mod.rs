//! The band coder: 32 blocks at a time, in lanes, ring by ring.
//!
//! The coefficient of frequencies `u` and `v` lies in the ring `max(u, v)`. Rings are grouped in five bands, so that an
//! inverse DCT of M x M samples needs the first bands only. A tile is 8 x 4 blocks of one component: 32 lanes. What is coded
//! of one tile in one band is a chunk, a string of bits of its own: mostly masks of one bit for each lane, so that a vector
//! unit or a GPU's warp takes all blocks of the tile one step further at once. `docs/packed-records.md` has the bits.
//!
//! [`decode`] is the reference; `x86.rs` does the same with vectors.

pub(super) mod bits;
pub(super) mod decode;
pub(super) mod encode;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::packed::coefficients::ZIGZAG;
use crate::shape::Size;
use std::ops::Range;

/// Bands of a record.
pub const BANDS: usize = 5;

/// Rings of each band, by the first and the one after the last.
const RINGS: [(u8, u8); BANDS] = [(0, 2), (2, 3), (3, 4), (4, 6), (6, 8)];

/// Blocks of a tile.
pub const LANES: usize = 32;

/// Columns of blocks in a tile.
pub(crate) const TILE_WIDTH: u32 = 8;
/// Rows of blocks in a tile.
pub(crate) const TILE_HEIGHT: u32 = 4;

/// Number of bands that hold all rings below `rings`, which is in `1..=8`.
///
/// ```
/// # use bandfeed::packed::bands_for;
/// assert_eq!([1, 2, 3, 4, 5, 6, 7, 8].map(bands_for), [1, 1, 2, 3, 4, 4, 5, 5]);
/// ```
///
/// # Panics
/// If `rings` is not in `1..=8`.
pub fn bands_for(rings: u8) -> usize {
    assert!((1..=8).contains(&rings), "{rings} rings, there are 1 to 8");
    1 + RINGS.iter().take_while(|band| band.1 < rings).count()
}

/// All 64 places in the order of the record: band by band, ring by ring, in a ring as in the zigzag.
pub(crate) const PLACES: [u8; 64] = places();

const fn places() -> [u8; 64] {
    let mut places = [0; 64];
    let (mut count, mut ring) = (0, 0);
    while ring < 8 {
        let mut at = 0;
        while at < 64 {
            let (v, u) = (ZIGZAG[at] / 8, ZIGZAG[at] % 8);
            if (if u > v { u } else { v }) == ring {
                places[count] = ZIGZAG[at];
                count += 1;
            }
            at += 1;
        }
        ring += 1;
    }
    places
}

/// The places (`8 * v + u`) of a band in their order; at most 28.
pub(super) fn places_of(band: usize) -> &'static [u8] {
    let (first, end) = RINGS[band];
    &PLACES[usize::from(first).pow(2)..usize::from(end).pow(2)]
}

/// Coefficients of a tile, as an inverse DCT of 32 blocks at once takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Tile {
    /// By place, `8 * v + u` for the vertical frequency `v` and the horizontal `u`, then by lane. The lane of a block is
    /// `8 * row + column`, counted in the tile.
    pub values: [[i16; LANES]; 64],
}

impl Default for Tile {
    fn default() -> Self {
        Self { values: [[0; LANES]; 64] }
    }
}

impl Tile {
    /// Multiplies by the quantisation steps, held to 16 bits: exact where the component's `largest_sum` is below 32768.
    /// Touches the rings below `rings` only.
    pub fn dequantise(&mut self, steps: &[u16; 64], rings: u8) {
        for &place in &PLACES[..usize::from(rings).pow(2)] {
            let step = i32::from(steps[usize::from(place)]);
            for value in &mut self.values[usize::from(place)] {
                // A step has 16 bits and a value 15 and a sign: no overflow.
                *value = (i32::from(*value) * step).clamp(i16::MIN.into(), i16::MAX.into()) as i16;
            }
        }
    }
}

/// How a component's blocks lie in tiles, row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tiling {
    pub(super) blocks: Size,
    pub(super) columns: u32,
    pub(super) rows: u32,
}

impl Tiling {
    pub(super) fn new(blocks: Size) -> Self {
        Self { blocks, columns: blocks.width.div_ceil(TILE_WIDTH), rows: blocks.height.div_ceil(TILE_HEIGHT) }
    }

    pub(super) fn count(self) -> usize {
        self.columns as usize * self.rows as usize
    }

    /// Blocks of the tile that exist, as columns and rows of the component.
    pub(super) fn blocks_of(self, column: u32, row: u32) -> (Range<u32>, Range<u32>) {
        let (x, y) = (column * TILE_WIDTH, row * TILE_HEIGHT);
        (x..(x + TILE_WIDTH).min(self.blocks.width), y..(y + TILE_HEIGHT).min(self.blocks.height))
    }

    /// One bit for each lane that has a block.
    pub(super) fn active(self, column: u32, row: u32) -> u32 {
        let (x, y) = self.blocks_of(column, row);
        let line = (1 << x.len()) - 1;
        (0..y.len()).fold(0, |mask, y| mask | line << (TILE_WIDTH as usize * y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_in_one_band_and_bands_have_squares() {
        let mut seen = [0; 64];
        for (band, rings) in RINGS.iter().enumerate() {
            for &place in places_of(band) {
                let ring = (place / 8).max(place % 8);
                assert!((rings.0..rings.1).contains(&ring));
                seen[usize::from(place)] += 1;
            }
        }
        assert_eq!(seen, [1; 64]);
        assert_eq!(places_of(0), [0, 1, 8, 9]);
        assert_eq!(places_of(1), [16, 2, 10, 17, 18]);
        assert_eq!(places_of(2), [3, 24, 25, 11, 19, 26, 27]);
        // As docs/packed-records.md lists them.
        assert_eq!(places_of(3)[..6], [32, 4, 12, 33, 34, 20]);
        assert_eq!(places_of(4)[10..16], [46, 53, 54, 7, 56, 57]);
    }

    #[test]
    fn lanes_without_a_block_are_not_active() {
        let tiling = Tiling::new(Size::new(11, 6));
        assert_eq!((tiling.columns, tiling.rows, tiling.count()), (2, 2, 4));
        assert_eq!(tiling.active(0, 0), u32::MAX);
        assert_eq!(tiling.active(1, 0), 0x0707_0707);
        assert_eq!(tiling.active(0, 1), 0xffff);
        assert_eq!(tiling.active(1, 1), 0x0707);
    }

    #[test]
    fn dequantising_stops_at_the_ends_of_sixteen_bits() {
        let mut tile = Tile::default();
        tile.values[0][3] = -7;
        tile.values[9][0] = 32767;
        tile.values[10][0] = 5;
        tile.dequantise(&[9; 64], 2);
        assert_eq!((tile.values[0][3], tile.values[9][0], tile.values[10][0]), (-63, i16::MAX, 5));
        tile.values[0][0] = -32768;
        tile.dequantise(&[65535; 64], 1);
        assert_eq!(tile.values[0][0], i16::MIN);
    }
}
