//! Samples by lane to samples in rows.

use super::idct::Samples;
use crate::packed::{LANES, TILE_HEIGHT, TILE_WIDTH};

/// Writes the M x M samples of each of a tile's blocks to `to`, which begins with the tile's first sample and has rows `stride`
/// apart, each at least 8 M bytes long.
#[inline(always)]
pub(super) fn plain<const M: usize>(samples: &Samples, to: &mut [u8], stride: usize) {
    let width = TILE_WIDTH as usize;
    for row in 0..TILE_HEIGHT as usize {
        for y in 0..M {
            let line = &mut to[(row * M + y) * stride..][..width * M];
            for (column, block) in line.as_chunks_mut::<M>().0.iter_mut().enumerate() {
                for (x, sample) in block.iter_mut().enumerate() {
                    *sample = samples.0[y][x][width * row + column];
                }
            }
        }
    }
}

const _: () = assert!(LANES == 32 && TILE_WIDTH == 8 && TILE_HEIGHT == 4);

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use super::Samples;
    use std::arch::x86_64::*;

    /// Which byte of two columns of a row of blocks (eight samples each) goes where: by M, by 16 bytes of the row that is
    /// written, by pair of columns.
    const PLACES: [[[[u8; 16]; 4]; 4]; 9] = {
        let mut places = [[[[0x80; 16]; 4]; 4]; 9];
        let mut m = 1;
        while m <= 8 {
            let mut at = 0;
            while at < 8 * m {
                let (x, column) = (at % m, at / m);
                places[m][at / 16][x / 2][at % 16] = (8 * (x % 2) + column) as u8;
                at += 1;
            }
            m += 1;
        }
        places
    };

    /// As [`super::plain`].
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn avx2<const M: usize>(samples: &Samples, to: &mut [u8], stride: usize) {
        for y in 0..M {
            let column = |x: usize| {
                let samples = &samples.0[y][x.min(M - 1)];
                // SAFETY: 32 bytes are read, as many as there are.
                unsafe { _mm256_loadu_si256(samples.as_ptr().cast()) }
            };
            let columns: [_; 4] = std::array::from_fn(|k| (column(2 * k), column(2 * k + 1)));
            // Rows of blocks 0 and 2, and 1 and 3.
            let pairs =
                [columns.map(|(a, b)| _mm256_unpacklo_epi64(a, b)), columns.map(|(a, b)| _mm256_unpackhi_epi64(a, b))];
            for (odd, pairs) in pairs.iter().enumerate() {
                let rows = [odd, odd + 2].map(|row| (row * M + y) * stride);
                for part in 0..(8 * M).div_ceil(16) {
                    let mut bytes = _mm256_setzero_si256();
                    for k in 0..M.div_ceil(2) {
                        // SAFETY: 16 bytes are read, as many as there are.
                        let places = unsafe { _mm_loadu_si128(PLACES[M][part][k].as_ptr().cast()) };
                        let places = _mm256_broadcastsi128_si256(places);
                        bytes = _mm256_or_si256(bytes, _mm256_shuffle_epi8(pairs[k], places));
                    }
                    let halves = [_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes)];
                    for (row, half) in rows.into_iter().zip(halves) {
                        let to = &mut to[row + 16 * part..];
                        if 8 * M - 16 * part >= 16 {
                            let to = to.first_chunk_mut::<16>().expect("the row is that long");
                            // SAFETY: 16 bytes are written, as many as there are.
                            unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), half) };
                        } else {
                            to[..8].copy_from_slice(&_mm_cvtsi128_si64(half).to_le_bytes());
                        }
                    }
                }
            }
        }
    }
}
