//! Inner loops over RGB bytes that LLVM does not vectorise well by itself: products of 16 bits summed in pairs, and gathers of
//! whole pixels.
//!
//! The methods' bodies are the plain version, which every other one equals: exactly for the integer ones, up to the
//! rounding of a fused multiply-add for [`Bytes::mix_block`].

/// A weight of 1 as an integer: 14 bits behind the point, so that it fits 16 with its sign.
pub(crate) const ONE: i16 = 1 << 14;

/// Four neighbouring samples' integer weights for each of 16 bytes, in pairs.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
pub(crate) struct StripWeights {
    first: [[i16; 2]; 16],
    last: [[i16; 2]; 16],
}

impl StripWeights {
    /// All 0.
    pub(crate) const ZERO: Self = Self { first: [[0; 2]; 16], last: [[0; 2]; 16] };

    /// The weights of RGB pixel `at` (below 5) of the strip.
    pub(crate) fn set_pixel(&mut self, at: usize, [a, b, c, d]: [i16; 4]) {
        self.first[3 * at..3 * at + 3].fill([a, b]);
        self.last[3 * at..3 * at + 3].fill([c, d]);
    }
}

/// Where 16 output pixels read, and their weights: four by four neighbours each.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
pub(crate) struct MixBlock {
    /// Bytes from the start to the upper left neighbour.
    pub(crate) offsets: [u32; 16],
    /// Weights of the columns, integers of [`ONE`]: two in each word, the left one in the low half.
    pub(crate) columns: [[u32; 16]; 2],
    /// Weights of the rows.
    pub(crate) rows: [[f32; 16]; 4],
}

impl MixBlock {
    /// Bytes that [`Bytes::mix_block`] writes.
    pub(crate) const WRITTEN: usize = 3 * 16 + 4;
    /// Bytes that it reads from a row's first neighbour on.
    pub(crate) const READ: usize = 16;
    /// Added before the truncation. In flat areas the exact sum is a whole number, which the roundings of f32 may miss
    /// from below.
    const NUDGE: f32 = 1.0 / 1024.0;
}

/// Loops over bytes.
///
/// # Safety of the methods
/// All of them need a processor with the type's instructions, and readable or writable bytes as each one says.
#[allow(clippy::missing_safety_doc, reason = "said once for the trait, above")]
pub(crate) trait Bytes {
    /// `to[i] = clamp(sum_k weights[k] * taps[k][i] >> 14)`. The weights' sum is [`ONE`]. Reads and writes `n` bytes;
    /// `to` overlaps no tap.
    #[inline(always)]
    unsafe fn weigh_bytes(weights: [i16; 4], taps: [*const u8; 4], to: *mut u8, n: usize) {
        for i in 0..n {
            // SAFETY: the caller's promise.
            unsafe { *to.add(i) = weighed(weights, taps.map(|tap| *tap.add(i))) }
        }
    }

    /// [`Bytes::weigh_bytes`] downwards, 16 bytes in each of `rows` rows, with weights for each byte: row `y` reads 16
    /// bytes at rows `y .. y + 4` of `from` and writes 16 at row `y` of `to`.
    #[inline(always)]
    unsafe fn weigh_strip(
        weights: &StripWeights,
        from: *const u8,
        stride: usize,
        to: *mut u8,
        to_stride: usize,
        rows: usize,
    ) {
        for y in 0..rows {
            for i in 0..16 {
                let ([a, b], [c, d]) = (weights.first[i], weights.last[i]);
                // SAFETY: the caller's promise.
                unsafe {
                    let taps = std::array::from_fn(|k| *from.add((y + k) * stride + i));
                    *to.add(y * to_stride + i) = weighed([a, b, c, d], taps);
                }
            }
        }
    }

    /// 16 RGB pixels, each the sum of its 4 x 4 neighbours (its rows 1 and 2 only, if `TWO_ROWS`), clamped and truncated.
    /// Reads [`MixBlock::READ`] bytes at each neighbour row, writes [`MixBlock::WRITTEN`] bytes.
    #[inline(always)]
    unsafe fn mix_block<const TWO_ROWS: bool>(block: &MixBlock, from: *const u8, stride: usize, to: *mut u8) {
        let rows = if TWO_ROWS { 1..3 } else { 0..4 };
        for i in 0..16 {
            let [first, last] = block.columns.map(|words| words[i]);
            let weights = [first as i16, (first >> 16) as i16, last as i16, (last >> 16) as i16];
            let mut sums = [MixBlock::NUDGE; 3];
            for k in rows.clone() {
                for (c, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: the caller's promise.
                    let row: i32 = (0..4)
                        .map(|x| {
                            let byte = unsafe { *from.add(block.offsets[i] as usize + k * stride + 3 * x + c) };
                            i32::from(weights[x]) * i32::from(byte)
                        })
                        .sum();
                    *sum += block.rows[k][i] * row as f32;
                }
            }
            for (c, sum) in sums.into_iter().enumerate() {
                // SAFETY: the caller's promise.
                unsafe { *to.add(3 * i + c) = (sum as i32).clamp(0, 255) as u8 }
            }
        }
    }

    /// The luma of `n` RGB pixels, three times each: `3 n` bytes to `3 n` bytes, which do not overlap.
    #[inline(always)]
    unsafe fn grey(from: *const u8, to: *mut u8, n: usize) {
        for i in 0..n {
            // SAFETY: the caller's promise.
            unsafe { to.add(3 * i).cast::<[u8; 3]>().write([luma(*from.add(3 * i).cast()); 3]) }
        }
    }

    /// The sum of the luma of `n` RGB pixels.
    #[inline(always)]
    unsafe fn luma_sum(from: *const u8, n: usize) -> u64 {
        // SAFETY: the caller's promise.
        (0..n).map(|i| u64::from(luma(unsafe { *from.add(3 * i).cast() }))).sum()
    }

    /// Replaces every value by its channel's table's entry. Whole pixels.
    #[inline(always)]
    unsafe fn look_up(tables: &[[u8; 256]; 3], image: &mut [u8]) {
        let [red, green, blue] = tables;
        for [r, g, b] in image.as_chunks_mut::<3>().0 {
            *r = red[usize::from(*r)];
            *g = green[usize::from(*g)];
            *b = blue[usize::from(*b)];
        }
    }
}

/// `(19595 R + 38470 G + 7471 B + 32768) >> 16`: ITU-R 601 luma as Pillow rounds it.
#[inline(always)]
fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((19595 * u32::from(r) + 38470 * u32::from(g) + 7471 * u32::from(b) + 32768) >> 16) as u8
}

#[inline(always)]
fn weighed(weights: [i16; 4], taps: [u8; 4]) -> u8 {
    let sum: i32 = weights.iter().zip(taps).map(|(weight, tap)| i32::from(*weight) * i32::from(tap)).sum();
    (sum >> 14).clamp(0, 255) as u8
}

#[cfg(target_arch = "x86_64")]
mod x86 {
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
        let load =
            |c: usize, quarter: usize| unsafe { _mm512_loadu_si512(tables[c].as_ptr().add(64 * quarter).cast()) };
        let (r, g, b) = (
            [load(0, 0), load(0, 1), load(0, 2), load(0, 3)],
            [load(1, 0), load(1, 1), load(1, 2), load(1, 3)],
            [load(2, 0), load(2, 1), load(2, 2), load(2, 3)],
        );
        // Every third byte from the first, second or third on.
        let every_third: [u64; 3] =
            std::array::from_fn(|start| (start..64).step_by(3).fold(0, |bits, i| bits | 1 << i));
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
                0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, 6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1,
                -1, -1, -1, -1,
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
            let (red_green, green_blue) =
                (_mm256_set1_epi32(19235 << 16 | 19595), _mm256_set1_epi32(7471 << 16 | 19235));
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
}

#[cfg(test)]
mod tests {
    use super::super::{Kernel, Level, Vector};
    use super::*;

    struct All<'a> {
        from: &'a [u8],
        out: &'a mut Vec<u8>,
    }

    impl Kernel for All<'_> {
        #[inline(always)]
        unsafe fn run<V: Vector>(self) {
            let weights = [-1234, 14000, 4000, -382];
            let mut strip = StripWeights::ZERO;
            for at in 0..5 {
                strip.set_pixel(at, [-(at as i16) * 300, 9000, 7384 + 500 * at as i16, -(at as i16) * 200]);
            }
            for n in [0, 1, 2, 5, 9, 10, 11, 31, 32, 33, 50, 64, 65, 90] {
                let (mut weighed, mut grey) = (vec![7; n], vec![7; 3 * n]);
                let taps = [0, 3, 60, 90].map(|at| self.from[at..][..n].as_ptr());
                // SAFETY: the caller's promise, and all of these hold `n` bytes or pixels; the strips hold their rows.
                unsafe {
                    V::weigh_bytes(weights, taps, weighed.as_mut_ptr(), n);
                    V::grey(self.from.as_ptr(), grey.as_mut_ptr(), n);
                    self.out.extend(V::luma_sum(self.from.as_ptr(), n).to_le_bytes());
                    let mut narrow = vec![0; 16 * (n / 10)];
                    V::weigh_strip(
                        &strip,
                        self.from[..16 * (n / 10 + 3)].as_ptr(),
                        16,
                        narrow.as_mut_ptr(),
                        16,
                        n / 10,
                    );
                    self.out.extend(narrow);
                }
                let mut looked_up = self.from[..3 * n].to_vec();
                let tables = [3, 5, 7].map(|k| std::array::from_fn(|v| (v * k + 1) as u8));
                // SAFETY: the caller's promise.
                unsafe { V::look_up(&tables, &mut looked_up) };
                self.out.extend(looked_up);
                self.out.extend(weighed);
                self.out.extend(grey);
            }
        }
    }

    #[test]
    fn every_level_gives_the_same_bytes() {
        let from: Vec<u8> = (0..300u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let outputs: Vec<Vec<u8>> = Level::available()
            .into_iter()
            .map(|level| {
                let mut out = Vec::new();
                level.run(All { from: &from, out: &mut out });
                out
            })
            .collect();
        assert!(outputs[0].iter().any(|v| *v > 0));
        for out in &outputs[1..] {
            assert_eq!(out, &outputs[0]);
        }
    }
}
