//! Coefficients of a component to chunks.

use super::bits::Writer;
use super::{BANDS, LANES, Tile, Tiling, places_of};
use crate::packed::coefficients::Component;

/// Price of one more unary level beside its bits, in bits: each costs a step of decoding. Files are 1 % larger than at 0,
/// and a few per cent faster to decode.
const LEVEL_PRICE: u32 = 4;
/// Price of a bit plane beside its bits.
const PLANE_PRICE: u32 = 2;

/// Largest Rice parameter.
pub(super) const LARGEST_PARAMETER: u8 = 15;

/// The chunks of one component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Encoded {
    /// By place: the Rice parameter that most tiles are near.
    pub(crate) bases: [u8; 64],
    pub(crate) bands: [Chunks; BANDS],
}

/// The chunks of one band of one component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chunks {
    /// Bytes of each tile's chunk; 0 where all coefficients are 0.
    pub(crate) lengths: Vec<u32>,
    pub(crate) payload: Vec<u8>,
}

/// Encodes a component.
pub(crate) fn encode(component: &Component) -> Encoded {
    #[cfg(target_arch = "x86_64")]
    if let Some(lanes) = super::x86::EncodeLanes::detect() {
        return super::x86::encode(component, lanes);
    }
    encode_with(component, Plain)
}

/// What encoding does to 32 lanes at once.
pub(super) trait Lanes: Copy {
    /// One bit for each lane of at least `level`.
    fn at_least(self, values: &[u16; LANES], level: u16) -> u32;
    /// The given bit of each lane.
    fn plane(self, values: &[u16; LANES], bit: u32) -> u32;
    /// The bits of `mask` at the places of the bits of `of`, next to each other.
    fn compact(self, mask: u32, of: u32) -> u32;
}

/// Without vector instructions.
#[derive(Clone, Copy)]
struct Plain;

impl Lanes for Plain {
    fn at_least(self, values: &[u16; LANES], level: u16) -> u32 {
        values.iter().rev().fold(0, |mask, &value| mask << 1 | u32::from(value >= level))
    }

    fn plane(self, values: &[u16; LANES], bit: u32) -> u32 {
        values.iter().rev().fold(0, |mask, &value| mask << 1 | u32::from(value) >> bit & 1)
    }

    fn compact(self, mask: u32, of: u32) -> u32 {
        let mut rest = of;
        let mut compact = 0;
        for at in 0..of.count_ones() {
            compact |= (mask >> rest.trailing_zeros() & 1) << at;
            rest &= rest - 1;
        }
        compact
    }
}

/// A parameter of a place that is 0 in all lanes.
const ALL_ZERO: u8 = u8::MAX;

#[inline(always)]
pub(super) fn encode_with(component: &Component, lanes: impl Lanes) -> Encoded {
    let tiling = Tiling::new(component.blocks);
    let mut tile = Tile::default();
    let mut parameters = vec![[ALL_ZERO; 64]; tiling.count()];
    let mut counts = [[0_u32; 16]; 64];
    let mut chosen = parameters.iter_mut();
    for_each_tile(component, tiling, &mut tile, |tile, active| {
        let Some(chosen) = chosen.next() else { return };
        for (place, values) in tile.values.iter().enumerate() {
            if let Some(parameter) = parameter(&values.map(i16::unsigned_abs), active.count_ones()) {
                counts[place][usize::from(parameter)] += 1;
                chosen[place] = parameter;
            }
        }
    });
    let bases = counts.map(|counts| base(&counts));
    let mut bands: [Chunks; BANDS] = Default::default();
    let mut chosen = parameters.iter();
    for_each_tile(component, tiling, &mut tile, |tile, active| {
        let Some(chosen) = chosen.next() else { return };
        for (band, chunks) in bands.iter_mut().enumerate() {
            let start = chunks.payload.len();
            write_chunk(tile, active, places_of(band), chosen, &bases, lanes, &mut chunks.payload);
            chunks.lengths.push((chunks.payload.len() - start) as u32);
        }
    });
    Encoded { bases, bands }
}

/// Gives each tile with its DC predicted, and its active lanes. Lanes that are not active are 0.
#[inline(always)]
fn for_each_tile(component: &Component, tiling: Tiling, tile: &mut Tile, mut take: impl FnMut(&Tile, u32)) {
    for (row, column) in (0..tiling.rows).flat_map(|row| (0..tiling.columns).map(move |column| (row, column))) {
        let (columns, rows) = tiling.blocks_of(column, row);
        if columns.len() * rows.len() < LANES {
            *tile = Tile::default();
        }
        for (y, block_row) in rows.enumerate() {
            for (x, block_column) in columns.clone().enumerate() {
                let lane = 8 * y + x;
                let block = component.block(block_column, block_row);
                for (values, &value) in tile.values.iter_mut().zip(block) {
                    values[lane] = value;
                }
            }
        }
        let active = tiling.active(column, row);
        predict(&mut tile.values[0], active);
        take(tile, active);
    }
}

/// Leaves of each DC the difference to the block on its left, in the first column to the one above, modulo 2^16.
fn predict(dc: &mut [i16; LANES], active: u32) {
    let original = *dc;
    for lane in (1..LANES).filter(|lane| active >> lane & 1 == 1) {
        let before = if lane % 8 > 0 { lane - 1 } else { lane - 8 };
        dc[lane] = original[lane].wrapping_sub(original[before]);
    }
}

/// The cheapest Rice parameter for these magnitudes; `None` if all are 0.
#[inline(always)]
fn parameter(magnitudes: &[u16; LANES], active: u32) -> Option<u8> {
    let all = magnitudes.iter().fold(0, |all, m| all | m);
    let bits = (16 - all.leading_zeros()) as u8;
    if bits == 0 {
        return None;
    }
    let largest = magnitudes.iter().fold(0, |largest, &m| m.max(largest));
    let mut best = (u32::MAX, 0);
    for k in 0..=bits.min(LARGEST_PARAMETER) {
        let unary: u32 = magnitudes.iter().map(|&m| u32::from(m >> k)).sum();
        let price = LEVEL_PRICE * u32::from(largest >> k) + PLANE_PRICE * u32::from(k);
        best = best.min((unary + active * u32::from(k) + price, k));
    }
    Some(best.1)
}

/// The base from which most parameters are at most one away, since these are coded in 2 bits and others in 6.
fn base(counts: &[u32; 16]) -> u8 {
    let near = |base: &u8| {
        let at = usize::from(*base);
        let count: u32 = counts[at.saturating_sub(1)..(at + 2).min(16)].iter().sum();
        (count, counts[at])
    };
    // Of equals the first.
    (0..=LARGEST_PARAMETER).rev().max_by_key(near).unwrap_or(0)
}

/// Appends the chunk of one band of one tile; nothing if it is all 0.
#[inline(always)]
fn write_chunk(
    tile: &Tile,
    active: u32,
    places: &[u8],
    parameters: &[u8; 64],
    bases: &[u8; 64],
    lanes: impl Lanes,
    payload: &mut Vec<u8>,
) {
    let is_coded = |place: &u8| parameters[usize::from(*place)] != ALL_ZERO;
    let coded = places.iter().rev().fold(0, |mask, place| mask << 1 | u32::from(is_coded(place)));
    if coded == 0 {
        return;
    }
    let mut bits = Writer::new(payload);
    bits.put(coded, places.len() as u32);
    let count = active.count_ones();
    for &place in places.iter().filter(|place| is_coded(place)) {
        let (place, k) = (usize::from(place), parameters[usize::from(place)]);
        match i16::from(k) - i16::from(bases[place]) {
            0 => bits.put(0, 2),
            -1 => bits.put(1, 2),
            1 => bits.put(2, 2),
            _ => bits.put(3 | u32::from(k) << 2, 6),
        }
        let values = &tile.values[place];
        let magnitudes = values.map(i16::unsigned_abs);
        let levels = magnitudes.map(|m| m >> k);
        let (mut among, mut level) = (active, 1);
        while among != 0 {
            let reached = lanes.at_least(&levels, level);
            bits.put(lanes.compact(reached, among), among.count_ones());
            among = reached;
            level += 1;
        }
        for plane in 0..u32::from(k) {
            bits.put(lanes.compact(lanes.plane(&magnitudes, plane), active), count);
        }
        let nonzero = lanes.at_least(&magnitudes, 1);
        let negative = lanes.plane(&values.map(|v| v as u16), 15);
        bits.put(lanes.compact(negative, nonzero), nonzero.count_ones());
    }
    bits.finish();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packed::samples::{self, Filling};

    /// One place in one band: its bits by hand.
    #[test]
    fn a_chunk_has_the_bits_of_the_format() {
        let mut coefficients = samples::coefficients(1, (24, 8), &[(1, 1)], Filling::Zero);
        // Three blocks; place 9 is the last of the four of band 0.
        for (block, value) in coefficients.components[0].values.as_chunks_mut::<64>().0.iter_mut().zip([2, 0, -1]) {
            block[9] = value;
        }
        let encoded = encode_with(&coefficients.components[0], Plain);
        assert_eq!(encoded.bands[0].lengths, [2]);
        assert_eq!(encoded.bands[1].lengths, [0]);
        assert_eq!(encoded.bases[9], 1);
        // Coded places 0001, parameter as the base 00, at least 2: 100, of these at least 4: 0, odd 001, negative 01.
        let bits = [0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1];
        let bytes = bits.iter().enumerate().fold([0; 2], |mut bytes: [u8; 2], (i, bit)| {
            bytes[i / 8] |= bit << (i % 8);
            bytes
        });
        assert_eq!(encoded.bands[0].payload, bytes);
    }

    #[test]
    fn the_base_is_near_most_parameters() {
        let mut counts = [0; 16];
        (counts[2], counts[4], counts[9]) = (5, 5, 8);
        assert_eq!(base(&counts), 3);
        assert_eq!(base(&[0; 16]), 0);
        counts[15] = 30;
        assert_eq!(base(&counts), 15);
    }

    #[test]
    fn vectors_encode_to_the_same_bytes() {
        for filling in [Filling::Zero, Filling::Sparse, Filling::Dense, Filling::Single, Filling::Extreme] {
            for component in samples::coefficients(3, (141, 93), &[(2, 2), (1, 1), (1, 2)], filling).components {
                assert_eq!(encode(&component), encode_with(&component, Plain), "{filling:?}");
            }
        }
    }
}
