//! Chunks to coefficients: the reference, and the choice of the fastest that the processor has.

use super::bits::peek;
use super::encode::LARGEST_PARAMETER;
use super::{LANES, Tile};

/// A way to decode a chunk; all give the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// Bit by bit.
    Plain,
    /// 32 lanes in words and arrays, for any processor.
    Portable,
    /// AVX2 and BMI2.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 BW and BMI2.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Path {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "AVX-512",
        }
    }

    /// All that this processor has, the fastest last.
    pub(crate) fn available() -> Vec<Self> {
        let mut paths = vec![Self::Plain, Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            let has_bmi = is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("bmi2");
            if has_bmi
                && super::x86::has_fast_deposit()
                && is_x86_feature_detected!("popcnt")
                && is_x86_feature_detected!("avx2")
            {
                paths.push(Self::Avx2);
                if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
                    paths.push(Self::Avx512);
                }
            }
        }
        paths
    }
}

/// What the chunks of one band of a component have in common.
#[derive(Clone, Copy)]
pub(crate) struct Band<'a> {
    pub(crate) path: Path,
    pub(crate) places: &'static [u8],
    pub(crate) bases: &'a [u8; 64],
}

/// Bytes that must follow a chunk, of any content.
pub(crate) const SLACK: usize = 8;

impl Band<'_> {
    /// Decodes a chunk to the band's places of the tile. `bytes` is the chunk and [`SLACK`] bytes more; an empty chunk is all
    /// zeros. In lanes that are not active the result is of no meaning, but the same in every way.
    ///
    /// `None` where the chunk is not sound: it asks for more bits than it has, leaves some, or has a bad parameter. Whatever
    /// its content, no more bits are looked at than it has, and the work is at most a step for each.
    pub(crate) fn decode(self, bytes: &[u8], active: u32, tile: &mut Tile) -> Option<()> {
        if bytes.len() <= SLACK {
            for &place in self.places {
                tile.values[usize::from(place)] = [0; LANES];
            }
        } else {
            match self.path {
                Path::Plain => plain(bytes, self.places, self.bases, active, tile)?,
                Path::Portable => portable(bytes, self.places, self.bases, active, tile)?,
                #[cfg(target_arch = "x86_64")]
                Path::Avx2 | Path::Avx512 => super::x86::decode(self, bytes, active, tile)?,
            }
        }
        if self.places.first() == Some(&0) {
            sum_up(&mut tile.values[0]);
        }
        Some(())
    }
}

/// Undoes the prediction of the DC: down the first column, then along each row.
fn sum_up(dc: &mut [i16; LANES]) {
    for lane in [8, 16, 24] {
        dc[lane] = dc[lane].wrapping_add(dc[lane - 8]);
    }
    for row in dc.as_chunks_mut::<8>().0 {
        for column in 1..8 {
            row[column] = row[column].wrapping_add(row[column - 1]);
        }
    }
}

/// The Rice parameter in the low bits of `bits`, and how many bits it takes. `None` for one that there is not.
#[inline(always)]
pub(super) fn parameter(bits: u64, base: u8) -> Option<(u32, usize)> {
    let parameter = match bits & 3 {
        0 => base,
        1 => base.wrapping_sub(1),
        2 => base + 1,
        _ => return Some(((bits >> 2) as u32 & 15, 6)),
    };
    (parameter <= LARGEST_PARAMETER).then_some((parameter.into(), 2))
}

/// Whether a chunk ends where its bits do, and with zeros.
#[inline(always)]
pub(super) fn ends(bytes: &[u8], bit: usize) -> Option<()> {
    let rest = (8 * (bytes.len() - SLACK)).checked_sub(bit).filter(|rest| *rest < 8)?;
    (peek(bytes, bit)? & ((1 << rest) - 1) == 0).then_some(())
}

/// The low bits of `bits` at the places of the ones of `among`: what PDEP does.
#[inline(always)]
fn deposit(bits: u32, among: u32) -> u32 {
    if among == u32::MAX {
        return bits;
    }
    let (mut rest, mut bits, mut mask) = (among, bits, 0);
    while rest != 0 {
        let lowest = rest & rest.wrapping_neg();
        mask |= lowest & (bits & 1).wrapping_neg();
        bits >>= 1;
        rest ^= lowest;
    }
    mask
}

/// Adds `what` to the lanes of `mask`. Compilers make vectors of it.
#[inline(always)]
fn add(magnitudes: &mut [u16; LANES], mask: u32, what: u16) {
    for (half, mask) in magnitudes.as_chunks_mut::<16>().0.iter_mut().zip([mask as u16, (mask >> 16) as u16]) {
        for (lane, magnitude) in half.iter_mut().enumerate() {
            let bit = 1 << lane;
            *magnitude = magnitude.wrapping_add(if mask & bit == bit { what } else { 0 });
        }
    }
}

/// As the vector code, with nothing that a processor may lack.
fn portable(bytes: &[u8], places: &[u8], bases: &[u8; 64], active: u32, tile: &mut Tile) -> Option<()> {
    let mut coded = peek(bytes, 0)?;
    let mut at = places.len();
    let lanes = active.count_ones() as usize;
    for &place in places {
        let values = &mut tile.values[usize::from(place & 63)];
        let is_coded = coded & 1 == 1;
        coded >>= 1;
        if !is_coded {
            *values = [0; LANES];
            continue;
        }
        let bits = peek(bytes, at)?;
        let (k, taken) = parameter(bits, bases[usize::from(place & 63)])?;
        let mut among = deposit((bits >> taken) as u32, active);
        at += taken + lanes;
        let mut nonzero = among;
        let mut magnitudes = [0; LANES];
        while among != 0 {
            add(&mut magnitudes, among, 1 << k);
            let count = among.count_ones() as usize;
            among = deposit(peek(bytes, at)? as u32, among);
            at += count;
        }
        for plane in 0..k {
            let mask = deposit(peek(bytes, at)? as u32, active);
            at += lanes;
            nonzero |= mask;
            add(&mut magnitudes, mask, 1 << plane);
        }
        let negative = deposit(peek(bytes, at)? as u32, nonzero);
        at += nonzero.count_ones() as usize;
        for (lane, (value, magnitude)) in values.iter_mut().zip(magnitudes).enumerate() {
            let sign = ((negative >> lane & 1) as i16).wrapping_neg();
            *value = (magnitude as i16 ^ sign).wrapping_sub(sign);
        }
    }
    ends(bytes, at)
}

/// Bit by bit.
fn plain(bytes: &[u8], places: &[u8], bases: &[u8; 64], active: u32, tile: &mut Tile) -> Option<()> {
    let end = 8 * (bytes.len() - SLACK);
    let mut at = 0;
    let mut bit = || {
        let bit = (at < end).then(|| u32::from(bytes[at / 8] >> (at % 8) & 1));
        at += 1;
        bit
    };
    // The bits of a mask are those of its lanes that are in `among`.
    let mask = |among: u32, bit: &mut dyn FnMut() -> Option<u32>| {
        let lanes = (0..32).filter(|lane| among >> lane & 1 == 1);
        lanes.into_iter().try_fold(0_u32, |mask, lane| Some(mask | bit()? << lane))
    };
    let coded = mask((1 << places.len()) - 1, &mut bit)?;
    for (i, &place) in places.iter().enumerate() {
        let values = &mut tile.values[usize::from(place)];
        *values = [0; LANES];
        if coded >> i & 1 == 0 {
            continue;
        }
        let code = mask(3, &mut bit)?;
        let code = if code == 3 { code | mask(15, &mut bit)? << 2 } else { code };
        let (k, _) = parameter(code.into(), bases[usize::from(place)])?;
        let mut magnitudes = [0_u16; LANES];
        let mut add = |mask: u32, what: u16| {
            for (lane, magnitude) in magnitudes.iter_mut().enumerate() {
                *magnitude = magnitude.wrapping_add(what * (mask >> lane & 1) as u16);
            }
        };
        let mut among = mask(active, &mut bit)?;
        let mut nonzero = among;
        while among != 0 {
            add(among, 1 << k);
            among = mask(among, &mut bit)?;
        }
        for plane in 0..k {
            let ones = mask(active, &mut bit)?;
            add(ones, 1 << plane);
            nonzero |= ones;
        }
        let negative = mask(nonzero, &mut bit)?;
        for (lane, (value, magnitude)) in values.iter_mut().zip(magnitudes).enumerate() {
            let magnitude = magnitude as i16;
            *value = if negative >> lane & 1 == 1 { magnitude.wrapping_neg() } else { magnitude };
        }
    }
    ends(bytes, at)
}

#[cfg(test)]
mod tests {
    use super::super::encode::{Encoded, encode};
    use super::super::{BANDS, Tiling, places_of};
    use super::*;
    use crate::packed::coefficients::Component;
    use crate::packed::samples::{self, Filling};
    use crate::rng::{Draw, Purpose};

    /// Decodes all bands of all tiles and gives the blocks.
    fn decode(encoded: &Encoded, component: &Component, path: Path) -> Vec<i16> {
        let tiling = Tiling::new(component.blocks);
        let mut values = vec![0; component.values.len()];
        let mut tiles = vec![Tile::default(); tiling.count()];
        for (band, chunks) in encoded.bands.iter().enumerate() {
            let mut payload = chunks.payload.clone();
            payload.extend([0xff; SLACK]);
            let (mut start, mut lengths) = (0, chunks.lengths.iter());
            for (i, tile) in tiles.iter_mut().enumerate() {
                let len = *lengths.next().unwrap() as usize;
                let active = tiling.active(i as u32 % tiling.columns, i as u32 / tiling.columns);
                let band = Band { path, places: places_of(band), bases: &encoded.bases };
                band.decode(&payload[start..start + len + SLACK], active, tile).expect("an own chunk is sound");
                start += len;
            }
        }
        let width = component.blocks.width as usize;
        for (i, tile) in tiles.iter().enumerate() {
            let (columns, rows) = tiling.blocks_of(i as u32 % tiling.columns, i as u32 / tiling.columns);
            for (y, row) in rows.enumerate() {
                for (x, column) in columns.clone().enumerate() {
                    let block = row as usize * width + column as usize;
                    for place in 0..64 {
                        values[64 * block + place] = tile.values[place][8 * y + x];
                    }
                }
            }
        }
        values
    }

    #[test]
    fn every_way_gives_back_the_coefficients() {
        for size in [(1, 1), (8, 8), (65, 33), (200, 131)] {
            for filling in [Filling::Zero, Filling::Sparse, Filling::Dense, Filling::Single, Filling::Extreme] {
                for mut component in samples::coefficients(7, size, &[(2, 2), (1, 1), (2, 1)], filling).components {
                    if filling == Filling::Extreme {
                        component.values[0] = i16::MIN;
                        component.values[63] = i16::MIN;
                    }
                    let encoded = encode(&component);
                    for path in Path::available() {
                        assert!(
                            decode(&encoded, &component, path) == component.values,
                            "{size:?} {filling:?} {path:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_chunk_ends_where_its_bits_do() {
        // The chunk that the encoder's test makes: 2, 0, -1 at place 9 of the three blocks.
        let mut bases = [0; 64];
        bases[9] = 1;
        for path in Path::available() {
            let band = Band { path, places: places_of(0), bases: &bases };
            let decode = |chunk: &[u8]| {
                let mut tile = Tile::default();
                band.decode(&[chunk, &[0; SLACK]].concat(), 7, &mut tile).map(|()| tile.values[9])
            };
            let values = decode(&[0x48, 0x50]).unwrap();
            assert_eq!((&values[..3], &values[3..]), (&[2, 0, -1][..], &[0; 29][..]), "{path:?}");
            assert_eq!(decode(&[0x48, 0xd0]), None, "{path:?}: the last bit is of no use and must be 0");
            assert_eq!(decode(&[0x48, 0x50, 0]), None, "{path:?}: a byte too many");
            assert_eq!(decode(&[0x48]), None, "{path:?}: a byte too few");
            // One less than a base of 0 and of 1; one more than a base of 15 and of 0, for which the planes follow.
            for (chunk, base, is_sound) in
                [([0x18, 0], 0, false), ([0x18, 0], 1, true), ([0x28, 0], 15, false), ([0x28, 0], 0, true)]
            {
                let band = Band { path, places: places_of(0), bases: &[base; 64] };
                let bytes = [&chunk[..], &[0; SLACK]].concat();
                let decoded = band.decode(&bytes, 7, &mut Tile::default());
                assert_eq!(decoded.is_some(), is_sound, "{path:?} {chunk:?} {base}");
            }
        }
    }

    #[test]
    fn no_chunk_panics_and_every_way_says_the_same_of_it() {
        let component = &samples::coefficients(9, (61, 29), &[(1, 1)], Filling::Sparse).components[0];
        let encoded = encode(component);
        let active = Tiling::new(component.blocks).active(0, 0);
        let mut draw = Draw::at(1, 0, 0, Purpose::Demo);
        let (mut sound, mut refused) = (0, 0);
        let mut check = |bytes: &[u8], band: usize| {
            let results: Vec<_> = Path::available()
                .into_iter()
                .map(|path| {
                    let mut tile = Tile::default();
                    let band = Band { path, places: places_of(band), bases: &encoded.bases };
                    band.decode(bytes, active, &mut tile).map(|()| tile)
                })
                .collect();
            assert!(results.windows(2).all(|w| w[0] == w[1]), "{bytes:x?}");
            if results[0].is_some() { sound += 1 } else { refused += 1 }
        };
        for band in 0..BANDS {
            let len = encoded.bands[band].lengths[0] as usize;
            let mut chunk = encoded.bands[band].payload[..len].to_vec();
            chunk.extend([0xff; SLACK]);
            check(&chunk, band);
            for bit in 0..8 * len {
                chunk[bit / 8] ^= 1 << (bit % 8);
                check(&chunk, band);
                chunk[bit / 8] ^= 1 << (bit % 8);
            }
            for cut in 0..=len {
                check(&chunk[len - cut..], band);
                check(&[&chunk[..cut], &[0; SLACK]].concat(), band);
            }
            for _ in 0..2000 {
                let noise: Vec<u8> = (0..SLACK + 1 + draw.below(40) as usize).map(|_| draw.bits() as u8).collect();
                check(&noise, band);
            }
            check(&[0xff; 70_000], band);
        }
        assert!(sound > 1000 && refused > 5000, "{sound} sound, {refused} refused");
    }
}
