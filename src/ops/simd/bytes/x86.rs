//! The loops over bytes with AVX2, and one with AVX-512 VBMI.

use super::super::x86::{Avx2, Avx512};
use super::{Bytes, MixBlock, StripWeights};
use std::arch::x86_64::*;

/// The loops over bytes are the same for both sets: more than 256 bits would need AVX-512BW, and their cost is in the
/// loads.
macro_rules! bytes_with_avx2 {
    ($vector:ty $(, $more:item)*) => {
        impl Bytes for $vector {
            $($more)*
            #[inline(always)]
            unsafe fn weigh_bytes(weights: [i16; 4], taps: [*const u8; 4], to: *mut u8, n: usize) {
                // SAFETY: the caller's promise, here and in every method below.
                unsafe { weigh_bytes(weights, taps, to, n) }
            }
            #[inline(always)]
            unsafe fn weigh_strip(
                weights: &StripWeights,
                from: *const u8,
                stride: usize,
                to: *mut u8,
                to_stride: usize,
                rows: usize,
            ) {
                // SAFETY: as above.
                unsafe { weigh_strip(weights, from, stride, to, to_stride, rows) }
            }
            #[inline(always)]
            unsafe fn mix_block<const TWO_ROWS: bool>(
                block: &MixBlock,
                from: *const u8,
                stride: usize,
                to: *mut u8,
            ) {
                // SAFETY: as above.
                unsafe { mix_block::<TWO_ROWS>(block, from, stride, to) }
            }
            #[inline(always)]
            unsafe fn grey(from: *const u8, to: *mut u8, n: usize) {
                // SAFETY: as above.
                unsafe { grey(from, to, n) }
            }
            #[inline(always)]
            unsafe fn luma_sum(from: *const u8, n: usize) -> u64 {
                // SAFETY: as above.
                unsafe { luma_sum(from, n) }
            }
        }
    };
}
bytes_with_avx2!(Avx2);
bytes_with_avx2!(
    Avx512,
    #[inline(always)]
    unsafe fn look_up(tables: &[[u8; 256]; 3], image: &mut [u8]) {
        // Younger than the rest of the set: asked here, which costs one load, and not worth a level of its own.
        if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vbmi") {
            // SAFETY: the processor was just asked.
            unsafe { look_up_vbmi(tables, image) }
        } else {
            // SAFETY: the caller's promise.
            unsafe { Rest::look_up(tables, image) }
        }
    }
);

/// Tables in registers: 128 entries are one permutation of two registers, and the highest bit of a value chooses one of
/// two such.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn look_up_vbmi(tables: &[[u8; 256]; 3], image: &mut [u8]) {
    // SAFETY: the loads lie in the tables' 256 bytes.
    let load = |c: usize, quarter: usize| unsafe { _mm512_loadu_si512(tables[c].as_ptr().add(64 * quarter).cast()) };
    let (r, g, b) = (
        [load(0, 0), load(0, 1), load(0, 2), load(0, 3)],
        [load(1, 0), load(1, 1), load(1, 2), load(1, 3)],
        [load(2, 0), load(2, 1), load(2, 2), load(2, 3)],
    );
    // Every third byte from the first, second or third on.
    let every_third: [u64; 3] = std::array::from_fn(|start| (start..64).step_by(3).fold(0, |bits, i| bits | 1 << i));
    let len = image.len();
    for (at, part) in (0..len).step_by(64).zip(image.chunks_mut(64)) {
        let here = u64::MAX >> (64 - part.len());
        // The first green and blue byte; 64 is one more than a multiple of three.
        let (green, blue) = (every_third[(4 - at % 3) % 3], every_third[(5 - at % 3) % 3]);
        // SAFETY: `here` has a bit for each byte of the part, and no other is read or written.
        let v = unsafe { _mm512_maskz_loadu_epi8(here, part.as_ptr().cast()) };
        let high = _mm512_movepi8_mask(v);
        let low_half = _mm512_permutex2var_epi8(r[0], v, r[1]);
        let low_half = _mm512_mask_mov_epi8(low_half, green, _mm512_permutex2var_epi8(g[0], v, g[1]));
        let low_half = _mm512_mask_mov_epi8(low_half, blue, _mm512_permutex2var_epi8(b[0], v, b[1]));
        let high_half = _mm512_permutex2var_epi8(r[2], v, r[3]);
        let high_half = _mm512_mask_mov_epi8(high_half, green, _mm512_permutex2var_epi8(g[2], v, g[3]));
        let high_half = _mm512_mask_mov_epi8(high_half, blue, _mm512_permutex2var_epi8(b[2], v, b[3]));
        let out = _mm512_mask_mov_epi8(low_half, high, high_half);
        // SAFETY: as above.
        unsafe { _mm512_mask_storeu_epi8(part.as_mut_ptr().cast(), here, out) };
    }
}

/// Plain loops, for what is left over.
struct Rest;

impl Bytes for Rest {}

/// `a` and `b` alternately, as words.
///
/// # Safety
/// AVX2.
#[inline(always)]
unsafe fn pairs(a: __m256i, b: __m256i) -> [__m256i; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let zero = _mm256_setzero_si256();
        let (low, high) = (_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b));
        [
            _mm256_unpacklo_epi8(low, zero),
            _mm256_unpackhi_epi8(low, zero),
            _mm256_unpacklo_epi8(high, zero),
            _mm256_unpackhi_epi8(high, zero),
        ]
    }
}

/// # Safety
/// AVX2, and as for [`Bytes::weigh_bytes`].
#[inline(always)]
unsafe fn weigh_bytes(weights: [i16; 4], taps: [*const u8; 4], to: *mut u8, n: usize) {
    const STEP: usize = 32;
    // SAFETY: the caller's promise: every step reads and writes 32 bytes that end at `n` at the latest.
    unsafe {
        if n < STEP {
            return Rest::weigh_bytes(weights, taps, to, n);
        }
        let word = |a: i16, b: i16| _mm256_set1_epi32(i32::from(a as u16) | i32::from(b) << 16);
        let (first, last) = (word(weights[0], weights[1]), word(weights[2], weights[3]));
        let mut i = 0;
        loop {
            let tap = |k: usize| _mm256_loadu_si256(taps[k].add(i).cast());
            let (ab, cd) = (pairs(tap(0), tap(1)), pairs(tap(2), tap(3)));
            let sum = |q: usize| {
                let sum = _mm256_add_epi32(_mm256_madd_epi16(ab[q], first), _mm256_madd_epi16(cd[q], last));
                _mm256_srai_epi32::<14>(sum)
            };
            let (low, high) = (_mm256_packs_epi32(sum(0), sum(1)), _mm256_packs_epi32(sum(2), sum(3)));
            _mm256_storeu_si256(to.add(i).cast(), _mm256_packus_epi16(low, high));
            if i + STEP >= n {
                return;
            }
            // The last step overlaps the one before it: the same bytes are written twice.
            i = (i + STEP).min(n - STEP);
        }
    }
}

/// # Safety
/// AVX2, and as for [`Bytes::weigh_strip`].
#[inline(always)]
unsafe fn weigh_strip(
    weights: &StripWeights,
    from: *const u8,
    stride: usize,
    to: *mut u8,
    to_stride: usize,
    rows: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let load = |at: &[[i16; 2]; 16], half: usize| _mm256_load_si256(at.as_ptr().add(8 * half).cast());
        let (first, last) = (&weights.first, &weights.last);
        let (first, last) = ([load(first, 0), load(first, 1)], [load(last, 0), load(last, 1)]);
        let row = |y: usize| _mm_loadu_si128(from.add(y * stride).cast());
        let (mut a, mut b, mut c) = (row(0), row(1), row(2));
        for y in 0..rows {
            let d = row(y + 3);
            let sum = |ab: __m128i, cd: __m128i, half: usize| {
                let (ab, cd) = (_mm256_cvtepu8_epi16(ab), _mm256_cvtepu8_epi16(cd));
                let sum = _mm256_add_epi32(_mm256_madd_epi16(ab, first[half]), _mm256_madd_epi16(cd, last[half]));
                _mm256_srai_epi32::<14>(sum)
            };
            let low = sum(_mm_unpacklo_epi8(a, b), _mm_unpacklo_epi8(c, d), 0);
            let high = sum(_mm_unpackhi_epi8(a, b), _mm_unpackhi_epi8(c, d), 1);
            // Quarters 0 2 1 3, put in order before the last packing.
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(low, high));
            let bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(to.add(y * to_stride).cast(), bytes);
            (a, b, c) = (b, c, d);
        }
    }
}

/// One row's four neighbours as words, weighed with those of the columns and summed in pairs, times the row's weight.
///
/// # Safety
/// AVX2, and 16 readable bytes.
#[inline(always)]
unsafe fn mix_row(from: *const u8, columns: __m256i) -> __m256 {
    // SAFETY: the caller's promise.
    unsafe {
        // r0 r1 g0 g1 b0 b1 . .  in the low half, r2 r3 g2 g3 b2 b3 . .  in the high one, as words.
        let words = _mm256_setr_epi8(
            0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, 6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1,
            -1, -1, -1,
        );
        let row = _mm256_broadcastsi128_si256(_mm_loadu_si128(from.cast()));
        _mm256_cvtepi32_ps(_mm256_madd_epi16(_mm256_shuffle_epi8(row, words), columns))
    }
}

/// Red, green, blue and 0 of pixel `i` of a block, as whole numbers that are not clamped yet.
///
/// # Safety
/// AVX2 and FMA, and as for [`Bytes::mix_block`].
#[inline(always)]
unsafe fn mix_pixel<const TWO_ROWS: bool>(block: &MixBlock, i: usize, from: *const u8, stride: usize) -> __m128i {
    // SAFETY: the caller's promise.
    unsafe {
        let place = from.add(block.offsets[i] as usize);
        let first = _mm256_set1_epi32(block.columns[0][i] as i32);
        let last = _mm256_set1_epi32(block.columns[1][i] as i32);
        let columns = _mm256_blend_epi32::<0b1111_0000>(first, last);
        let [top, upper, lower, bottom] = &block.rows;
        let mut sum = _mm256_mul_ps(mix_row(place.add(stride), columns), _mm256_set1_ps(upper[i]));
        sum = _mm256_fmadd_ps(mix_row(place.add(2 * stride), columns), _mm256_set1_ps(lower[i]), sum);
        if !TWO_ROWS {
            sum = _mm256_fmadd_ps(mix_row(place, columns), _mm256_set1_ps(top[i]), sum);
            sum = _mm256_fmadd_ps(mix_row(place.add(3 * stride), columns), _mm256_set1_ps(bottom[i]), sum);
        }
        let sum = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
        _mm_cvttps_epi32(_mm_add_ps(sum, _mm_set1_ps(MixBlock::NUDGE)))
    }
}

/// # Safety
/// AVX2 and FMA, and as for [`Bytes::mix_block`].
#[inline(always)]
unsafe fn mix_block<const TWO_ROWS: bool>(block: &MixBlock, from: *const u8, stride: usize, to: *mut u8) {
    // SAFETY: the caller's promise; each neighbour row is read by one load of 16 bytes, and the four stores of 16
    // bytes lie 12 bytes apart.
    unsafe {
        let close_up = _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
        for q in 0..4 {
            let a = mix_pixel::<TWO_ROWS>(block, 4 * q, from, stride);
            let b = mix_pixel::<TWO_ROWS>(block, 4 * q + 1, from, stride);
            let c = mix_pixel::<TWO_ROWS>(block, 4 * q + 2, from, stride);
            let d = mix_pixel::<TWO_ROWS>(block, 4 * q + 3, from, stride);
            let words = _mm_packus_epi16(_mm_packs_epi32(a, b), _mm_packs_epi32(c, d));
            _mm_storeu_si128(to.add(12 * q).cast(), _mm_shuffle_epi8(words, close_up));
        }
    }
}

/// Luma of eight pixels, four in each half.
///
/// # Safety
/// AVX2, and 28 readable bytes.
#[inline(always)]
unsafe fn luma8(from: *const u8) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let low = _mm_loadu_si128(from.cast());
        let both = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), _mm_loadu_si128(from.add(12).cast()));
        let words = |second: i8| {
            let of = |k: i8| (3 * k + second, 3 * k + second + 1);
            let ((a0, a1), (b0, b1), (c0, c1), (d0, d1)) = (of(0), of(1), of(2), of(3));
            let half = _mm_setr_epi8(a0, -1, a1, -1, b0, -1, b1, -1, c0, -1, c1, -1, d0, -1, d1, -1);
            _mm256_shuffle_epi8(both, _mm256_broadcastsi128_si256(half))
        };
        // Green's weight does not fit 16 bits with a sign: half of it is taken with red, half with blue.
        let (red_green, green_blue) = (_mm256_set1_epi32(19235 << 16 | 19595), _mm256_set1_epi32(7471 << 16 | 19235));
        let sum = _mm256_add_epi32(_mm256_madd_epi16(words(0), red_green), _mm256_madd_epi16(words(1), green_blue));
        _mm256_srli_epi32::<16>(_mm256_add_epi32(sum, _mm256_set1_epi32(32768)))
    }
}

/// Pixels of which all the bytes that [`luma8`] and its stores touch are there: 8, and 2 for the 4 bytes more.
const LUMA_REACH: usize = 10;

/// # Safety
/// AVX2, and as for [`Bytes::grey`].
#[inline(always)]
unsafe fn grey(from: *const u8, to: *mut u8, n: usize) {
    // SAFETY: the caller's promise; the 4 bytes behind the 8 pixels that the stores touch are written later.
    unsafe {
        let thrice = _mm_setr_epi8(0, 0, 0, 4, 4, 4, 8, 8, 8, 12, 12, 12, -1, -1, -1, -1);
        let mut i = 0;
        while i + LUMA_REACH <= n {
            let grey = _mm256_shuffle_epi8(luma8(from.add(3 * i)), _mm256_broadcastsi128_si256(thrice));
            let to = to.add(3 * i);
            _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(grey));
            _mm_storeu_si128(to.add(12).cast(), _mm256_extracti128_si256::<1>(grey));
            i += 8;
        }
        Rest::grey(from.add(3 * i), to.add(3 * i), n - i);
    }
}

/// # Safety
/// AVX2, and as for [`Bytes::luma_sum`].
#[inline(always)]
unsafe fn luma_sum(from: *const u8, n: usize) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        let mut i = 0;
        let mut sums = _mm256_setzero_si256();
        while i + LUMA_REACH <= n {
            // Four sums of 64 bits: of the bytes' differences to 0.
            let sum = _mm256_sad_epu8(luma8(from.add(3 * i)), _mm256_setzero_si256());
            sums = _mm256_add_epi64(sums, sum);
            i += 8;
        }
        let mut lanes = [0u64; 4];
        _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sums);
        lanes.iter().sum::<u64>() + Rest::luma_sum(from.add(3 * i), n - i)
    }
}
