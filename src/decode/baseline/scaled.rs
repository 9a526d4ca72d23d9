//! The inverse DCT of a block's low M x M coefficients to M x M samples: the block at M/8 of its size, for M of 1, 2, 3, 4, 6.
//!
//! The low square is taken for the coefficients of an M-point DCT:
//!
//! `sample(x, y) = 1/8 sum over u, v < M of w(u, x) w(v, y) F(u, v)`, `w(0, x) = 1`, `w(u, x) = sqrt(2) cos((2x + 1) u pi / 2M)`
//!
//! so that a flat block keeps its value and sample `i` lies at `(i + 1/2) 8/M` of the block's pixels. What is above the new
//! limit is left out and nothing below is weakened, where the 4/8 and 2/8 of libjpeg-turbo are close to box averages.
//!
//! Integers: weights of 13 bits, two more bits between the passes, rows first. Below [`SAFE_SUM`] a sample is within 0.76 of
//! the real-valued sum, and so within 1 of its rounding: 0.5 from the last rounding, at most 0.13 from the one between the
//! passes, at most 0.13 from the weights.

/// Sum of absolute coefficients up to which the values between the passes, `4 sqrt(2)` times as large, fit in 16 bits.
pub(crate) const SAFE_SUM: u32 = 5700;
/// Sum up to which [`plain`] computes in range: `4 sqrt(2)` by `8192 sqrt(2)` of it fit in 32 bits.
pub(crate) const LARGEST_SUM: u32 = 30_000;

const CONST_BITS: u32 = 13;
const PASS1_BITS: u32 = 2;

/// Where the coefficients of a block go that are not of its low square: a place that no transform reads.
const NOWHERE: u8 = 63;

/// Zigzag order to places in a block at M/8, by M. At 8/8 rows of coefficients; else columns, so that rows are transformed
/// first, and [`NOWHERE`].
pub(super) const PLACES: [[u8; 64]; 9] = {
    let mut places = [[NOWHERE; 64]; 9];
    let mut m = 1;
    while m <= 8 {
        let mut k = 0;
        while k < 64 {
            let (u, v) = (super::bits::ZIGZAG[k] % 8, super::bits::ZIGZAG[k] / 8);
            if m == 8 {
                places[m][k] = super::bits::ZIGZAG[k];
            } else if u < m as u8 && v < m as u8 {
                places[m][k] = 8 * u + v;
            }
            k += 1;
        }
        m += 1;
    }
    places
};

/// Whether the coefficient `k` of the zigzag order is one of the low M x M.
pub(super) fn is_low(k: usize, m: usize) -> bool {
    m == 8 || PLACES[m][k] != NOWHERE
}

/// Place in the zigzag order of the last coefficient of the low M x M: in the corner.
pub(super) const fn last(m: usize) -> u32 {
    let mut k = 0;
    while super::bits::ZIGZAG[k] as usize != 9 * (m - 1) {
        k += 1;
    }
    k as u32
}

/// `w(u, x)` in 1 / 8192, by M.
pub(in crate::decode) const WEIGHTS: [[[i32; 8]; 8]; 9] = {
    /// `8192 sqrt(2) cos(k pi / 24)`.
    const COSINES: [i32; 13] = [11585, 11486, 11190, 10703, 10033, 9191, 8192, 7053, 5793, 4433, 2998, 1512, 0];
    let mut weights = [[[0; 8]; 8]; 9];
    let mut i = 0;
    while i < 5 {
        let m = [1, 2, 3, 4, 6][i];
        let mut u = 0;
        while u < m {
            let mut x = 0;
            while x < m {
                let k = (2 * x + 1) * u * (12 / m) % 48;
                let k = if k > 24 { 48 - k } else { k };
                weights[m][u][x] = match u {
                    0 => 8192,
                    _ if k > 12 => -COSINES[24 - k],
                    _ => COSINES[k],
                };
                x += 1;
            }
            u += 1;
        }
        i += 1;
    }
    weights
};

/// One dimension: M inputs to M outputs, times 8192 and rounded for `shift` bits to go.
#[inline(always)]
fn pass<const M: usize>(v: [i32; M], shift: u32) -> [i32; M] {
    let half = 1 << (shift - 1);
    let mut out = [0; M];
    for x in 0..M.div_ceil(2) {
        let sum = |first: usize| -> i32 { (first..M).step_by(2).map(|u| v[u] * WEIGHTS[M][u][x]).sum() };
        // The odd ones count the other way from the other end.
        let (even, odd) = (sum(0) + half, sum(1));
        (out[M - 1 - x], out[x]) = ((even - odd) >> shift, (even + odd) >> shift);
    }
    out
}

/// Transforms a block, laid out by [`PLACES`], of which the sum of absolute coefficients is at most [`LARGEST_SUM`], to `to`,
/// rows `stride` apart.
#[inline(always)]
pub(in crate::decode) fn plain<const M: usize>(block: &[i16; 64], to: &mut [u8], stride: usize) {
    let rows: [[i32; M]; M] =
        std::array::from_fn(|v| pass(std::array::from_fn(|u| block[8 * u + v].into()), CONST_BITS - PASS1_BITS));
    for x in 0..M {
        let samples = pass(rows.map(|row| row[x]), CONST_BITS + PASS1_BITS + 3);
        for (y, sample) in samples.into_iter().enumerate() {
            to[y * stride + x] = (sample + 128).clamp(0, 255) as u8;
        }
    }
}

/// By SSE2, which is part of x86-64; where there are more than four lanes, by AVX2 if that is there.
#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use super::*;
    use std::arch::x86_64::*;

    /// The weights of the inputs `u` and `u + 2` for the output `x`, as pairs of 16 bits.
    #[inline(always)]
    const fn factors(m: usize, u: usize, x: usize) -> i32 {
        let second = if u + 2 < m { WEIGHTS[m][u + 2][x] } else { 0 };
        (WEIGHTS[m][u][x] as u16 as u32 | (second as u16 as u32) << 16) as i32
    }

    /// As the plain `pass`, for eight lanes at once, of which the first M matter.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn pass<const M: usize, const SHIFT: i32>(v: [__m128i; M]) -> [__m128i; M] {
        let zero = _mm_setzero_si128();
        // Inputs `first`, `first + 2` and so on, weighed for the output `x`: lanes 0 to 3, and from there on.
        let sum = |first: usize, x: usize| {
            let mut sums = [zero; 2];
            for u in (first..M).step_by(4) {
                let (a, b) = (v[u], if u + 2 < M { v[u + 2] } else { zero });
                let factors = _mm_set1_epi32(factors(M, u, x));
                sums[0] = _mm_add_epi32(sums[0], _mm_madd_epi16(_mm_unpacklo_epi16(a, b), factors));
                if M > 4 {
                    sums[1] = _mm_add_epi32(sums[1], _mm_madd_epi16(_mm_unpackhi_epi16(a, b), factors));
                }
            }
            sums
        };
        let half = _mm_set1_epi32(1 << (SHIFT - 1));
        let mut out = [zero; M];
        for x in 0..M.div_ceil(2) {
            // The odd ones count the other way from the other end.
            let (even, odd) = (sum(0, x).map(|sum| _mm_add_epi32(sum, half)), sum(1, x));
            let pack = |of: [__m128i; 2]| {
                let [low, high] = of.map(|sum| _mm_srai_epi32::<SHIFT>(sum));
                _mm_packs_epi32(low, high)
            };
            out[M - 1 - x] = pack([0, 1].map(|i| _mm_sub_epi32(even[i], odd[i])));
            out[x] = pack([0, 1].map(|i| _mm_add_epi32(even[i], odd[i])));
        }
        out
    }

    /// The same by AVX2.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn wide_pass<const M: usize, const SHIFT: i32>(v: [__m128i; M]) -> [__m128i; M] {
        let sum = |first: usize, x: usize| {
            let mut sum = _mm256_setzero_si256();
            for u in (first..M).step_by(4) {
                let (a, b) = (v[u], if u + 2 < M { v[u + 2] } else { _mm_setzero_si128() });
                let pairs = _mm256_set_m128i(_mm_unpackhi_epi16(a, b), _mm_unpacklo_epi16(a, b));
                sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi32(factors(M, u, x))));
            }
            sum
        };
        let half = _mm256_set1_epi32(1 << (SHIFT - 1));
        let mut out = [_mm_setzero_si128(); M];
        for x in 0..M.div_ceil(2) {
            let (even, odd) = (_mm256_add_epi32(sum(0, x), half), sum(1, x));
            let plus = _mm256_srai_epi32::<SHIFT>(_mm256_add_epi32(even, odd));
            let minus = _mm256_srai_epi32::<SHIFT>(_mm256_sub_epi32(even, odd));
            let both = _mm256_permute4x64_epi64::<0xd8>(_mm256_packs_epi32(plus, minus));
            out[M - 1 - x] = _mm256_extracti128_si256::<1>(both);
            out[x] = _mm256_castsi256_si128(both);
        }
        out
    }

    /// Lane `i` of vector `k` to lane `k` of vector `i`, of the first M.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn transpose<const M: usize>(v: [__m128i; M]) -> [__m128i; M] {
        let at = |k: usize| if k < M { v[k] } else { _mm_setzero_si128() };
        let (a, b) = (_mm_unpacklo_epi16(at(0), at(2)), _mm_unpacklo_epi16(at(1), at(3)));
        let (c, d) = (_mm_unpacklo_epi16(at(4), at(6)), _mm_unpacklo_epi16(at(5), at(7)));
        // Lanes 0 and 1, 2 and 3 of the vectors 0 to 3, and of the vectors 4 to 7.
        let near = [_mm_unpacklo_epi16(a, b), _mm_unpackhi_epi16(a, b)];
        let far = [_mm_unpacklo_epi16(c, d), _mm_unpackhi_epi16(c, d)];
        let (e, f) = (_mm_unpackhi_epi16(at(0), at(2)), _mm_unpackhi_epi16(at(1), at(3)));
        let (g, h) = (_mm_unpackhi_epi16(at(4), at(6)), _mm_unpackhi_epi16(at(5), at(7)));
        let pairs = [
            (near[0], far[0]),
            (near[1], far[1]),
            (_mm_unpacklo_epi16(e, f), _mm_unpacklo_epi16(g, h)),
            (_mm_unpackhi_epi16(e, f), _mm_unpackhi_epi16(g, h)),
        ];
        let mut out = [_mm_setzero_si128(); M];
        for (i, out) in out.iter_mut().enumerate() {
            let (near, far) = pairs[i / 2];
            *out = if i % 2 == 0 { _mm_unpacklo_epi64(near, far) } else { _mm_unpackhi_epi64(near, far) };
        }
        out
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn load<const M: usize>(block: &[i16; 64]) -> [__m128i; M] {
        let mut columns = [_mm_setzero_si128(); M];
        for (column, values) in columns.iter_mut().zip(block.as_chunks::<8>().0) {
            // SAFETY: eight values of 16 bits are read, as many as there are.
            *column = unsafe { _mm_loadu_si128(values.as_ptr().cast()) };
        }
        columns
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn store<const M: usize>(rows: [__m128i; M], to: &mut [u8], stride: usize) {
        let to = &mut to[..(M - 1) * stride + M];
        for (y, row) in rows.into_iter().enumerate() {
            let samples = _mm_xor_si128(_mm_packs_epi16(row, row), _mm_set1_epi8(-128));
            let samples = _mm_cvtsi128_si64(samples).to_le_bytes();
            to[y * stride..][..M].copy_from_slice(&samples[..M]);
        }
    }

    const FIRST: i32 = (CONST_BITS - PASS1_BITS) as i32;
    const SECOND: i32 = (CONST_BITS + PASS1_BITS + 3) as i32;

    /// As [`plain`] for a sum of at most [`SAFE_SUM`].
    #[inline]
    #[target_feature(enable = "sse2")]
    pub(in super::super) fn idct<const M: usize>(block: &[i16; 64], to: &mut [u8], stride: usize) {
        store(pass::<M, SECOND>(transpose(pass::<M, FIRST>(load(block)))), to, stride);
    }

    /// The same by AVX2.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn wide_idct<const M: usize>(block: &[i16; 64], to: &mut [u8], stride: usize) {
        store(wide_pass::<M, SECOND>(transpose(wide_pass::<M, FIRST>(load(block)))), to, stride);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(m: usize, u: usize, x: usize) -> f64 {
        let angle = ((2 * x + 1) * u) as f64 * std::f64::consts::PI / (2 * m) as f64;
        if u == 0 { 1.0 } else { std::f64::consts::SQRT_2 * angle.cos() }
    }

    /// The definition. `block` is in rows of coefficients.
    fn exact<const M: usize>(block: &[i16; 64]) -> [[f64; M]; M] {
        std::array::from_fn(|y| {
            std::array::from_fn(|x| {
                let term = |k: usize| weight(M, k % M, x) * weight(M, k / M, y) * f64::from(block[k / M * 8 + k % M]);
                (0..M * M).map(term).sum::<f64>() / 8.0 + 128.0
            })
        })
    }

    /// The block, in rows of coefficients, as the transforms want it.
    fn placed<const M: usize>(block: &[i16; 64]) -> [i16; 64] {
        let mut placed = [0; 64];
        for k in 0..64 {
            placed[usize::from(PLACES[M][k])] = block[usize::from(super::super::bits::ZIGZAG[k])];
        }
        placed
    }

    /// What the transform makes of `block`, by both ways where both are there, the sum of its low square being safe.
    fn samples<const M: usize>(block: &[i16; 64]) -> [[u8; M]; M] {
        const STRIDE: usize = 10;
        let placed = placed::<M>(block);
        let mut to = [7; 8 * STRIDE];
        plain::<M>(&placed, &mut to, STRIDE);
        #[cfg(target_arch = "x86_64")]
        {
            let mut vector = [7; 8 * STRIDE];
            // SAFETY: x86-64 has SSE2.
            unsafe { x86::idct::<M>(&placed, &mut vector, STRIDE) };
            assert_eq!(to, vector, "{M}/8 of {block:?}");
            if is_x86_feature_detected!("avx2") {
                let mut vector = [7; 8 * STRIDE];
                // SAFETY: the processor has AVX2.
                unsafe { x86::wide_idct::<M>(&placed, &mut vector, STRIDE) };
                assert_eq!(to, vector, "{M}/8 of {block:?}");
            } else {
                eprintln!("no AVX2 here: not run");
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            let mut vector = [7; 8 * STRIDE];
            // SAFETY: aarch64 has NEON.
            unsafe { crate::decode::baseline::neon::scaled::<M>(&placed, &mut vector, STRIDE) };
            assert_eq!(to, vector, "{M}/8 of {block:?}");
        }
        let is_written = |i: usize| i / STRIDE < M && i % STRIDE < M;
        assert!(to.iter().enumerate().all(|(i, &v)| is_written(i) || v == 7), "{M}/8 stays in its square");
        std::array::from_fn(|y| std::array::from_fn(|x| to[y * STRIDE + x]))
    }

    /// Blocks of every density, the sums of absolute coefficients at most [`SAFE_SUM`], and often just that.
    fn blocks() -> impl Iterator<Item = [i16; 64]> {
        let mut state = 3_u64;
        let mut random = move |below: u32| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((state >> 33) as u32) % below
        };
        (0..6000).map(move |case| {
            let mut block = [0_i16; 64];
            let mut left = SAFE_SUM;
            for _ in 0..=case % 48 {
                let largest = [20, 200, left][case % 3].min(left);
                let size = if random(4) == 0 { largest } else { random(largest + 1) };
                // Mostly in the low corner.
                let at = [random(64), random(4) * 8 + random(4)][random(2) as usize] as usize;
                if block[at] == 0 {
                    block[at] = if random(2) == 0 { size as i16 } else { -(size as i16) };
                    left -= size;
                }
            }
            block
        })
    }

    fn check<const M: usize>() {
        for block in blocks() {
            let (samples, exact) = (samples::<M>(&block), exact::<M>(&block));
            for (sample, exact) in samples.as_flattened().iter().zip(exact.as_flattened()) {
                let exact = exact.clamp(0.0, 255.0);
                let sample = f64::from(*sample);
                assert!((sample - exact).abs() <= 0.76, "{M}/8: {sample} and not {exact}: {block:?}");
                assert!((sample - exact.round()).abs() <= 1.0);
            }
        }
    }

    #[test]
    fn the_transform_is_the_definition_to_a_grey_level() {
        check::<1>();
        check::<2>();
        check::<3>();
        check::<4>();
        check::<6>();
    }

    #[test]
    fn the_weights_are_those_of_the_cosine() {
        for m in [1, 2, 3, 4, 6] {
            for (u, x) in (0..m).flat_map(|u| (0..m).map(move |x| (u, x))) {
                assert_eq!(WEIGHTS[m][u][x], (8192.0 * weight(m, u, x)).round() as i32, "{m}, {u}, {x}");
            }
        }
    }

    #[test]
    fn the_last_coefficient_is_in_the_corner_of_the_square() {
        assert_eq!([1, 2, 3, 4, 6, 8].map(last), [0, 4, 12, 24, 51, 63]);
        for m in [1, 2, 3, 4, 6, 8] {
            assert_eq!((0..64).filter(|&k| is_low(k, m)).count(), m * m);
            assert!((last(m) as usize + 1..64).all(|k| !is_low(k, m)), "{m}: nothing comes after it");
        }
    }

    /// A wave below the new limit keeps its height: a box average would weaken this one by a tenth.
    #[test]
    fn a_low_wave_is_sampled_and_not_averaged() {
        let mut block = [0; 64];
        block[2] = 400;
        let wave = |x: f64| 400.0 * std::f64::consts::SQRT_2 / 8.0 * (2.0 * std::f64::consts::PI * x / 8.0).cos();
        for row in samples::<4>(&block) {
            for (x, sample) in row.into_iter().enumerate() {
                // The centre of the sample among the block's eight pixels.
                let expected = 128.0 + wave((x as f64 + 0.5) * 2.0);
                assert!((f64::from(sample) - expected).abs() <= 0.76, "{sample} and not {expected}");
            }
        }
    }

    #[test]
    fn the_largest_sums_do_not_overflow() {
        for at in [0, 1, 9, 18, 27, 45] {
            for sign in [1, -1] {
                let mut block = [0; 64];
                block[at] = sign * LARGEST_SUM as i16;
                let mut to = [0; 64];
                plain::<6>(&placed::<6>(&block), &mut to, 8);
                let exact = exact::<6>(&block);
                for (y, x) in (0..6).flat_map(|y| (0..6).map(move |x| (y, x))) {
                    let (sample, exact) = (f64::from(to[8 * y + x]), exact[y][x].clamp(0.0, 255.0));
                    assert!((sample - exact).abs() < 2.0, "{at}: {sample} and not {exact}");
                }
            }
        }
    }
}
