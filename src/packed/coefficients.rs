//! The quantised DCT coefficients of an image: what a JPEG holds under its entropy code.

use crate::decode::Orientation;
use crate::shape::Size;

/// What the components of a JPEG mean, as libjpeg tells it from the markers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Colour {
    /// One component.
    Gray,
    /// Luma and two colour differences, the common kind.
    YCbCr,
    /// Red, green and blue.
    Rgb,
    /// Four inks.
    Cmyk,
    /// Four inks, the first three as luma and colour differences.
    Ycck,
}

impl Colour {
    /// Number of components.
    pub const fn components(self) -> usize {
        match self {
            Self::Gray => 1,
            Self::YCbCr | Self::Rgb => 3,
            Self::Cmyk | Self::Ycck => 4,
        }
    }
}

/// The coefficients of one component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Identifier in the JPEG's frame header.
    pub id: u8,
    /// Horizontal and vertical sampling factor, `1..=4`.
    pub sampling: (u8, u8),
    /// Quantisation steps, `1..=65535`: vertical frequency `v` and horizontal frequency `u` at `8 * v + u`.
    pub steps: [u16; 64],
    /// Columns and rows of blocks that hold samples of the image. Blocks that only fill up a minimum coded unit are not kept.
    pub blocks: Size,
    /// 64 values a block, ordered as `steps`; blocks row by row.
    pub values: Vec<i16>,
}

/// The quantised coefficients of a JPEG, and what else it takes to write a JPEG of the same pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coefficients {
    /// Columns and rows as stored, before `orientation`.
    pub size: Size,
    /// How the stored pixels are turned.
    pub orientation: Orientation,
    /// What the components are.
    pub colour: Colour,
    /// 1, 3 or 4 of them.
    pub components: Vec<Component>,
    /// Application and comment segments that came before the first scan, in order, each with its marker and length.
    pub metadata: Vec<u8>,
}

/// Columns and rows of blocks of a component with factors `sampling` where the largest factors are `largest`
/// (ITU-T T.81 A.1.1).
pub(crate) fn blocks(size: Size, sampling: (u8, u8), largest: (u8, u8)) -> Size {
    let side = |len: u32, factor: u8, largest: u8| (len * u32::from(factor)).div_ceil(8 * u32::from(largest));
    Size::new(side(size.width, sampling.0, largest.0), side(size.height, sampling.1, largest.1))
}

impl Component {
    /// The 64 coefficients of the block in `column` and `row`.
    ///
    /// # Panics
    /// If there is no such block.
    pub fn block(&self, column: u32, row: u32) -> &[i16; 64] {
        assert!(column < self.blocks.width && row < self.blocks.height, "block {column}, {row} of {:?}", self.blocks);
        let index = row as usize * self.blocks.width as usize + column as usize;
        &self.values.as_chunks::<64>().0[index]
    }

    /// Largest sum, over the blocks, of a block's dequantised magnitudes. No step of an inverse DCT without its scale
    /// factors goes beyond it, so it tells which arithmetic is wide enough.
    pub(crate) fn largest_sum(&self) -> u32 {
        let sum = |block: &[i16; 64]| {
            block.iter().zip(&self.steps).map(|(v, s)| u64::from(v.unsigned_abs()) * u64::from(*s)).sum::<u64>()
        };
        let largest = self.values.as_chunks::<64>().0.iter().map(sum).max().unwrap_or(0);
        u32::try_from(largest).unwrap_or(u32::MAX)
    }
}

impl Coefficients {
    /// Largest horizontal and vertical sampling factor.
    pub fn largest_sampling(&self) -> (u8, u8) {
        let factors = self.components.iter().map(|c| c.sampling);
        factors.fold((1, 1), |largest, f| (largest.0.max(f.0), largest.1.max(f.1)))
    }
}

/// Column and row frequency order of ITU-T T.81 figure A.6: entry `i` is the place, in `8 * v + u`, of the i-th coefficient
/// of the zigzag.
pub(crate) const ZIGZAG: [u8; 64] = zigzag();

/// Walks the diagonals, downwards on odd ones.
const fn zigzag() -> [u8; 64] {
    let mut order = [0; 64];
    let (mut at, mut diagonal) = (0, 0);
    while diagonal < 15 {
        let mut step = 0;
        while step <= diagonal {
            let (v, u) = if diagonal % 2 == 1 { (step, diagonal - step) } else { (diagonal - step, step) };
            if v < 8 && u < 8 {
                order[at] = 8 * v + u;
                at += 1;
            }
            step += 1;
        }
        diagonal += 1;
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zigzag_starts_and_ends_as_in_the_standard() {
        assert_eq!(ZIGZAG[..16], [0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5]);
        assert_eq!(ZIGZAG[60..], [47, 55, 62, 63].map(|n| n));
        let mut seen = ZIGZAG.to_vec();
        seen.sort_unstable();
        assert!(seen.iter().copied().eq(0..64), "each place once");
    }

    #[test]
    fn blocks_are_counted_by_the_components_own_samples() {
        assert_eq!(blocks(Size::new(17, 8), (2, 2), (2, 2)), Size::new(3, 1));
        assert_eq!(blocks(Size::new(17, 8), (1, 1), (2, 2)), Size::new(2, 1));
        assert_eq!(blocks(Size::new(1, 33), (1, 2), (3, 2)), Size::new(1, 5));
    }
}
