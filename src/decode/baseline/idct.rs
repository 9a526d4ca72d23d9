//! The inverse DCT of libjpeg's `JDCT_ISLOW`, bit for bit: Loeffler, Ligtenberg and Moschytz's algorithm in integers,
//! columns first, constants of 13 bits, two more bits between the passes.

/// Sum of absolute coefficients up to which no sample leaves -512..=511 before it is limited, and every intermediate
/// value fits where the vector version keeps it: a coefficient weighs at most 1.3871^2 / 8 = 0.2405.
pub(crate) const SAFE_SUM: u32 = 2100;
/// Sum up to which [`checked`] computes in range.
pub(crate) const LARGEST_SUM: u32 = 32_767;

const CONST_BITS: u32 = 13;
const PASS1_BITS: u32 = 2;

// Constants in 1 / 8192.
pub(in crate::decode) const F0_298: i32 = 2446;
pub(in crate::decode) const F0_390: i32 = 3196;
pub(in crate::decode) const F0_541: i32 = 4433;
pub(in crate::decode) const F0_765: i32 = 6270;
pub(in crate::decode) const F0_899: i32 = 7373;
pub(in crate::decode) const F1_175: i32 = 9633;
pub(in crate::decode) const F1_501: i32 = 12299;
pub(in crate::decode) const F1_847: i32 = 15137;
pub(in crate::decode) const F1_961: i32 = 16069;
pub(in crate::decode) const F2_053: i32 = 16819;
pub(in crate::decode) const F2_562: i32 = 20995;
pub(in crate::decode) const F3_072: i32 = 25172;

/// One dimension: eight inputs to eight outputs, times 8192 and rounded for `shift` bits to go.
#[inline(always)]
fn pass(v: [i64; 8], shift: u32) -> [i64; 8] {
    let f = i64::from;
    let z1 = (v[2] + v[6]) * f(F0_541);
    let (even2, even3) = (z1 - v[6] * f(F1_847), z1 + v[2] * f(F0_765));
    let (even0, even1) = ((v[0] + v[4]) << CONST_BITS, (v[0] - v[4]) << CONST_BITS);
    let even = [even0 + even3, even1 + even2, even1 - even2, even0 - even3];
    let z5 = (v[7] + v[3] + v[5] + v[1]) * f(F1_175);
    let (z1, z2) = ((v[7] + v[1]) * -f(F0_899), (v[5] + v[3]) * -f(F2_562));
    let (z3, z4) = (z5 - (v[7] + v[3]) * f(F1_961), z5 - (v[5] + v[1]) * f(F0_390));
    let odd = [
        v[1] * f(F1_501) + z1 + z4,
        v[3] * f(F3_072) + z2 + z3,
        v[5] * f(F2_053) + z2 + z4,
        v[7] * f(F0_298) + z1 + z3,
    ];
    let half = 1 << (shift - 1);
    std::array::from_fn(|i| {
        let sum = if i < 4 { even[i] + odd[i] } else { even[7 - i] - odd[7 - i] };
        (sum + half) >> shift
    })
}

/// Transforms a block of which the sum of absolute coefficients is at most [`LARGEST_SUM`], to `to`, rows `stride` apart.
///
/// `false` where a value is so far out of range that libjpeg's result depends on whether it uses SIMD.
pub(in crate::decode) fn checked(block: &[i16; 64], to: &mut [u8], stride: usize) -> bool {
    let mut between = [[0_i64; 8]; 8];
    let mut is_fit = true;
    for column in 0..8 {
        let values = pass(std::array::from_fn(|row| block[8 * row + column].into()), CONST_BITS - PASS1_BITS);
        for (row, value) in between.iter_mut().zip(values) {
            is_fit &= i16::try_from(value).is_ok();
            row[column] = value;
        }
    }
    for (row, values) in between.into_iter().enumerate() {
        // The vector version of libjpeg adds these in 16 bits.
        let sums = [values[0] + values[4], values[0] - values[4], values[7] + values[3], values[5] + values[1]];
        is_fit &= sums.into_iter().all(|sum| i16::try_from(sum).is_ok());
        let samples = pass(values, CONST_BITS + PASS1_BITS + 3);
        for (to, sample) in to[row * stride..][..8].iter_mut().zip(samples) {
            is_fit &= (-512..512).contains(&sample);
            *to = (sample + 128).clamp(0, 255) as u8;
        }
    }
    is_fit
}

/// Transforms a block whose only coefficient is the first, to M x M samples.
#[inline(always)]
pub(super) fn flat<const M: usize>(first: i32, to: &mut [u8], stride: usize) {
    let sample = ((((first << PASS1_BITS) + (1 << (PASS1_BITS + 2))) >> (PASS1_BITS + 3)) + 128).clamp(0, 255) as u8;
    for row in 0..M {
        to[row * stride..][..M].fill(sample);
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use super::*;
    use std::arch::x86_64::*;

    /// Two factors for pairs of 16-bit values.
    #[inline(always)]
    fn pair(first: i32, second: i32) -> i32 {
        (first as u16 as u32 | (second as u16 as u32) << 16) as i32
    }

    /// The values of two rows side by side: eight pairs.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn pairs(a: __m128i, b: __m128i) -> __m256i {
        _mm256_set_m128i(_mm_unpackhi_epi16(a, b), _mm_unpacklo_epi16(a, b))
    }

    /// As the plain `pass`, down eight columns at once. Sums of two products take the place of shared ones, which gives
    /// the same integers.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn pass<const SHIFT: i32>(v: [__m128i; 8]) -> [__m128i; 8] {
        let products = |pairs, first, second| _mm256_madd_epi16(pairs, _mm256_set1_epi32(pair(first, second)));
        let (v26, v04) = (pairs(v[2], v[6]), pairs(v[0], v[4]));
        let even3 = products(v26, F0_541 + F0_765, F0_541);
        let even2 = products(v26, F0_541, F0_541 - F1_847);
        let (even0, even1) = (products(v04, 8192, 8192), products(v04, 8192, -8192));
        let even = [
            _mm256_add_epi32(even0, even3),
            _mm256_add_epi32(even1, even2),
            _mm256_sub_epi32(even1, even2),
            _mm256_sub_epi32(even0, even3),
        ];
        let z34 = pairs(_mm_add_epi16(v[7], v[3]), _mm_add_epi16(v[5], v[1]));
        let z3 = products(z34, F1_175 - F1_961, F1_175);
        let z4 = products(z34, F1_175, F1_175 - F0_390);
        let (v71, v53) = (pairs(v[7], v[1]), pairs(v[5], v[3]));
        let odd = [
            _mm256_add_epi32(products(v71, -F0_899, F1_501 - F0_899), z4),
            _mm256_add_epi32(products(v53, -F2_562, F3_072 - F2_562), z3),
            _mm256_add_epi32(products(v53, F2_053 - F2_562, -F2_562), z4),
            _mm256_add_epi32(products(v71, F0_298 - F0_899, -F0_899), z3),
        ];
        let half = _mm256_set1_epi32(1 << (SHIFT - 1));
        let mut out = [_mm_setzero_si128(); 8];
        for i in 0..4 {
            let even = _mm256_add_epi32(even[i], half);
            let sum = _mm256_srai_epi32::<SHIFT>(_mm256_add_epi32(even, odd[i]));
            let difference = _mm256_srai_epi32::<SHIFT>(_mm256_sub_epi32(even, odd[i]));
            let both = _mm256_permute4x64_epi64::<0xd8>(_mm256_packs_epi32(sum, difference));
            out[i] = _mm256_castsi256_si128(both);
            out[7 - i] = _mm256_extracti128_si256::<1>(both);
        }
        out
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn transpose(v: [__m128i; 8]) -> [__m128i; 8] {
        let (a, b) = (_mm_unpacklo_epi16(v[0], v[4]), _mm_unpackhi_epi16(v[0], v[4]));
        let (c, d) = (_mm_unpacklo_epi16(v[1], v[5]), _mm_unpackhi_epi16(v[1], v[5]));
        let (e, f) = (_mm_unpacklo_epi16(v[2], v[6]), _mm_unpackhi_epi16(v[2], v[6]));
        let (g, h) = (_mm_unpacklo_epi16(v[3], v[7]), _mm_unpackhi_epi16(v[3], v[7]));
        let (ae, af) = (_mm_unpacklo_epi16(a, e), _mm_unpackhi_epi16(a, e));
        let (bf, bg) = (_mm_unpacklo_epi16(b, f), _mm_unpackhi_epi16(b, f));
        let (cg, ch) = (_mm_unpacklo_epi16(c, g), _mm_unpackhi_epi16(c, g));
        let (dh, di) = (_mm_unpacklo_epi16(d, h), _mm_unpackhi_epi16(d, h));
        [
            _mm_unpacklo_epi16(ae, cg),
            _mm_unpackhi_epi16(ae, cg),
            _mm_unpacklo_epi16(af, ch),
            _mm_unpackhi_epi16(af, ch),
            _mm_unpacklo_epi16(bf, dh),
            _mm_unpackhi_epi16(bf, dh),
            _mm_unpacklo_epi16(bg, di),
            _mm_unpackhi_epi16(bg, di),
        ]
    }

    /// As [`checked`] for a sum of at most [`SAFE_SUM`].
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn idct(block: &[i16; 64], to: &mut [u8], stride: usize) {
        let mut rows = [_mm_setzero_si128(); 8];
        for (row, values) in rows.iter_mut().zip(block.as_chunks::<8>().0) {
            // SAFETY: eight values of 16 bits are read, as many as there are.
            *row = unsafe { _mm_loadu_si128(values.as_ptr().cast()) };
        }
        let columns = transpose(pass::<{ (CONST_BITS - PASS1_BITS) as i32 }>(rows));
        let rows = transpose(pass::<{ (CONST_BITS + PASS1_BITS + 3) as i32 }>(columns));
        let to = &mut to[..7 * stride + 8];
        for i in 0..4 {
            let two = _mm_xor_si128(_mm_packs_epi16(rows[2 * i], rows[2 * i + 1]), _mm_set1_epi8(-128));
            let two = [_mm_cvtsi128_si64(two), _mm_extract_epi64::<1>(two)];
            for (k, row) in two.into_iter().enumerate() {
                to[(2 * i + k) * stride..][..8].copy_from_slice(&row.to_le_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of every density, with sums up to `largest`.
    fn blocks(largest: u32) -> impl Iterator<Item = [i16; 64]> {
        let mut state = 1_u64;
        let mut random = move |below: u32| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((state >> 33) as u32) % below
        };
        (0..4000).map(move |case| {
            let mut block = [0_i16; 64];
            let mut left = largest;
            for _ in 0..=case % 64 {
                let bits = random(12);
                let size = random(left.min(1 << bits).max(1) + 1);
                let at = random(64) as usize;
                let value = if random(2) == 0 { size as i16 } else { -(size as i16) };
                left = left + u32::from(block[at].unsigned_abs()) - size.min(left);
                block[at] = if size <= left { value } else { 0 };
                let sum: u32 = block.iter().map(|v| u32::from(v.unsigned_abs())).sum();
                left = largest - sum.min(largest);
            }
            block
        })
    }

    /// The definition (T.81 A.3.3), without the rounding in between.
    fn exact(block: &[i16; 64]) -> [f64; 64] {
        let scale = |k: usize| if k == 0 { 0.5_f64.sqrt() } else { 1.0 };
        let cosine = |x: usize, u: usize| ((2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / 16.0).cos();
        std::array::from_fn(|i| {
            let (y, x) = (i / 8, i % 8);
            let term =
                |k: usize| scale(k / 8) * scale(k % 8) * f64::from(block[k]) * cosine(y, k / 8) * cosine(x, k % 8);
            (0..64).map(term).sum::<f64>() / 4.0 + 128.0
        })
    }

    #[test]
    fn the_transform_is_the_definition_rounded() {
        for block in blocks(SAFE_SUM) {
            let mut samples = [0; 64];
            assert!(checked(&block, &mut samples, 8), "{block:?}");
            for (sample, exact) in samples.into_iter().zip(exact(&block)) {
                assert!((f64::from(sample) - exact.clamp(0.0, 255.0)).abs() < 0.8, "{sample} and not {exact}");
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_vector_transform_is_the_plain_one() {
        if !is_x86_feature_detected!("avx2") {
            eprintln!("no AVX2 here: not run");
            return;
        }
        for block in blocks(SAFE_SUM) {
            let (mut plain, mut vector) = ([0; 80], [0; 80]);
            assert!(checked(&block, &mut plain, 10));
            // SAFETY: the processor has AVX2.
            unsafe { x86::idct(&block, &mut vector, 10) };
            assert_eq!(plain, vector, "{block:?}");
        }
    }

    #[cfg(target_arch = "aarch64")]
    #[test]
    fn the_neon_transform_is_the_plain_one() {
        for block in blocks(SAFE_SUM) {
            let (mut plain, mut vector) = ([0; 80], [0; 80]);
            assert!(checked(&block, &mut plain, 10));
            // SAFETY: aarch64 has NEON.
            unsafe { crate::decode::baseline::neon::idct(&block, &mut vector, 10) };
            assert_eq!(plain, vector, "{block:?}");
        }
    }

    #[test]
    fn a_flat_block_is_one_sample_everywhere() {
        for first in -2000..2000_i16 {
            let (mut plain, mut short, mut block) = ([0; 64], [0; 64], [0; 64]);
            block[0] = first;
            assert!(checked(&block, &mut plain, 8));
            flat::<8>(first.into(), &mut short, 8);
            assert_eq!(plain, short, "{first}");
        }
    }

    #[test]
    fn values_far_out_of_range_are_told() {
        let mut block = [0; 64];
        block[0] = 4090;
        assert!(checked(&block, &mut [0; 64], 8));
        block[0] = 4100;
        assert!(!checked(&block, &mut [0; 64], 8), "512 and more");
    }
}
