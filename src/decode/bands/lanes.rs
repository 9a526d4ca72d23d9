//! Vectors of 16-bit values, one for each block: what the transforms are written in.

/// 16-bit values of some of a tile's blocks.
///
/// Its functions are inlined into one that has the instructions it needs.
pub(super) trait Lanes: Copy {
    /// 32-bit values of the same blocks.
    type Wide: Copy;
    /// Number of blocks; divides 32.
    const COUNT: usize;

    /// The values from `first` on.
    fn load(from: &[i16; 32], first: usize) -> Self;
    fn zero() -> Self;
    /// The low 16 bits of the products.
    fn times(self, factor: i16) -> Self;
    fn plus(self, other: Self) -> Self;
    /// `a * of_a + b * of_b`.
    fn products(a: Self, b: Self, of_a: i16, of_b: i16) -> Self::Wide;
    fn sum(a: Self::Wide, b: Self::Wide) -> Self::Wide;
    fn difference(a: Self::Wide, b: Self::Wide) -> Self::Wide;
    fn every(value: i32) -> Self::Wide;
    /// Shifted right, and held to 16 bits.
    fn narrow<const SHIFT: i32>(wide: Self::Wide) -> Self;
    /// Held to 8 bits, plus 128, to the bytes from `first` on.
    fn store_samples(self, to: &mut [u8; 32], first: usize);
    /// Magnitudes added to `sums`, held to 16 bits.
    fn add_magnitudes(self, sums: Self) -> Self;
    /// 512 more of each value, its bits put to those of `bits`: above 1023 where a value is not in -512..=511.
    fn add_range(self, bits: Self) -> Self;
    /// Whether a value, taken for one without a sign, is above `limit`.
    fn any_above(self, limit: u16) -> bool;
}

/// Eight blocks with nothing that a processor may lack. Compilers make vectors of it.
#[derive(Clone, Copy)]
pub(super) struct Plain([i16; 8]);

impl Lanes for Plain {
    type Wide = [i32; 8];
    const COUNT: usize = 8;

    #[inline(always)]
    fn load(from: &[i16; 32], first: usize) -> Self {
        Self(std::array::from_fn(|i| from[first + i]))
    }
    #[inline(always)]
    fn zero() -> Self {
        Self([0; 8])
    }
    #[inline(always)]
    fn times(self, factor: i16) -> Self {
        Self(self.0.map(|v| v.wrapping_mul(factor)))
    }
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].wrapping_add(other.0[i])))
    }
    #[inline(always)]
    fn products(a: Self, b: Self, of_a: i16, of_b: i16) -> [i32; 8] {
        // Below 2^30 each.
        std::array::from_fn(|i| i32::from(a.0[i]) * i32::from(of_a) + i32::from(b.0[i]) * i32::from(of_b))
    }
    #[inline(always)]
    fn sum(a: [i32; 8], b: [i32; 8]) -> [i32; 8] {
        std::array::from_fn(|i| a[i].wrapping_add(b[i]))
    }
    #[inline(always)]
    fn difference(a: [i32; 8], b: [i32; 8]) -> [i32; 8] {
        std::array::from_fn(|i| a[i].wrapping_sub(b[i]))
    }
    #[inline(always)]
    fn every(value: i32) -> [i32; 8] {
        [value; 8]
    }
    #[inline(always)]
    fn narrow<const SHIFT: i32>(wide: [i32; 8]) -> Self {
        Self(wide.map(|v| (v >> SHIFT).clamp(i16::MIN.into(), i16::MAX.into()) as i16))
    }
    #[inline(always)]
    fn store_samples(self, to: &mut [u8; 32], first: usize) {
        for (to, v) in to[first..].iter_mut().zip(self.0) {
            *to = (v.clamp(-128, 127) + 128) as u8;
        }
    }
    #[inline(always)]
    fn add_magnitudes(self, sums: Self) -> Self {
        Self(std::array::from_fn(|i| (sums.0[i] as u16).saturating_add(self.0[i].unsigned_abs()) as i16))
    }
    #[inline(always)]
    fn add_range(self, bits: Self) -> Self {
        Self(std::array::from_fn(|i| bits.0[i] | self.0[i].wrapping_add(512)))
    }
    #[inline(always)]
    fn any_above(self, limit: u16) -> bool {
        self.0.iter().any(|&v| v as u16 > limit)
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use super::Lanes;
    use std::arch::x86_64::*;

    /// Two factors for pairs of 16-bit values.
    #[inline(always)]
    const fn pair(first: i16, second: i16) -> i32 {
        (first as u16 as u32 | (second as u16 as u32) << 16) as i32
    }

    /// Sixteen blocks by AVX2. Only to be used where the processor has it.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx2(__m256i);

    /// Thirty-two blocks by AVX-512 BW. Only to be used where the processor has it.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512(__m512i);

    // SAFETY, for all of both: the instructions are there, as the types ask; loads and stores are of arrays of that size.
    impl Lanes for Avx2 {
        type Wide = [__m256i; 2];
        const COUNT: usize = 16;

        #[inline(always)]
        fn load(from: &[i16; 32], first: usize) -> Self {
            let from: &[i16; 16] = from[first..][..16].first_chunk().expect("sixteen values");
            // SAFETY: see above.
            Self(unsafe { _mm256_loadu_si256(from.as_ptr().cast()) })
        }
        #[inline(always)]
        fn zero() -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm256_setzero_si256() })
        }
        #[inline(always)]
        fn times(self, factor: i16) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm256_mullo_epi16(self.0, _mm256_set1_epi16(factor)) })
        }
        #[inline(always)]
        fn plus(self, other: Self) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm256_add_epi16(self.0, other.0) })
        }
        #[inline(always)]
        fn products(a: Self, b: Self, of_a: i16, of_b: i16) -> [__m256i; 2] {
            // SAFETY: see above.
            unsafe {
                let factors = _mm256_set1_epi32(pair(of_a, of_b));
                let (low, high) = (_mm256_unpacklo_epi16(a.0, b.0), _mm256_unpackhi_epi16(a.0, b.0));
                [_mm256_madd_epi16(low, factors), _mm256_madd_epi16(high, factors)]
            }
        }
        #[inline(always)]
        fn sum(a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
            // SAFETY: see above.
            unsafe { [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])] }
        }
        #[inline(always)]
        fn difference(a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
            // SAFETY: see above.
            unsafe { [_mm256_sub_epi32(a[0], b[0]), _mm256_sub_epi32(a[1], b[1])] }
        }
        #[inline(always)]
        fn every(value: i32) -> [__m256i; 2] {
            // SAFETY: see above.
            unsafe { [_mm256_set1_epi32(value); 2] }
        }
        #[inline(always)]
        fn narrow<const SHIFT: i32>(wide: [__m256i; 2]) -> Self {
            // SAFETY: see above.
            Self(unsafe {
                _mm256_packs_epi32(_mm256_srai_epi32::<SHIFT>(wide[0]), _mm256_srai_epi32::<SHIFT>(wide[1]))
            })
        }
        #[inline(always)]
        fn store_samples(self, to: &mut [u8; 32], first: usize) {
            let to: &mut [u8; 16] = to[first..][..16].first_chunk_mut().expect("sixteen bytes");
            // SAFETY: see above.
            unsafe {
                let bytes = _mm256_xor_si256(_mm256_packs_epi16(self.0, self.0), _mm256_set1_epi8(-128));
                let bytes = _mm256_castsi256_si128(_mm256_permute4x64_epi64::<0x08>(bytes));
                _mm_storeu_si128(to.as_mut_ptr().cast(), bytes);
            }
        }
        #[inline(always)]
        fn add_magnitudes(self, sums: Self) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm256_adds_epu16(sums.0, _mm256_abs_epi16(self.0)) })
        }
        #[inline(always)]
        fn add_range(self, bits: Self) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm256_or_si256(bits.0, _mm256_add_epi16(self.0, _mm256_set1_epi16(512))) })
        }
        #[inline(always)]
        fn any_above(self, limit: u16) -> bool {
            // SAFETY: see above.
            unsafe {
                let above = _mm256_subs_epu16(self.0, _mm256_set1_epi16(limit as i16));
                _mm256_testz_si256(above, above) == 0
            }
        }
    }

    impl Lanes for Avx512 {
        type Wide = [__m512i; 2];
        const COUNT: usize = 32;

        #[inline(always)]
        fn load(from: &[i16; 32], _first: usize) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_loadu_si512(from.as_ptr().cast()) })
        }
        #[inline(always)]
        fn zero() -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_setzero_si512() })
        }
        #[inline(always)]
        fn times(self, factor: i16) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_mullo_epi16(self.0, _mm512_set1_epi16(factor)) })
        }
        #[inline(always)]
        fn plus(self, other: Self) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_add_epi16(self.0, other.0) })
        }
        #[inline(always)]
        fn products(a: Self, b: Self, of_a: i16, of_b: i16) -> [__m512i; 2] {
            // SAFETY: see above.
            unsafe {
                let factors = _mm512_set1_epi32(pair(of_a, of_b));
                let (low, high) = (_mm512_unpacklo_epi16(a.0, b.0), _mm512_unpackhi_epi16(a.0, b.0));
                [_mm512_madd_epi16(low, factors), _mm512_madd_epi16(high, factors)]
            }
        }
        #[inline(always)]
        fn sum(a: [__m512i; 2], b: [__m512i; 2]) -> [__m512i; 2] {
            // SAFETY: see above.
            unsafe { [_mm512_add_epi32(a[0], b[0]), _mm512_add_epi32(a[1], b[1])] }
        }
        #[inline(always)]
        fn difference(a: [__m512i; 2], b: [__m512i; 2]) -> [__m512i; 2] {
            // SAFETY: see above.
            unsafe { [_mm512_sub_epi32(a[0], b[0]), _mm512_sub_epi32(a[1], b[1])] }
        }
        #[inline(always)]
        fn every(value: i32) -> [__m512i; 2] {
            // SAFETY: see above.
            unsafe { [_mm512_set1_epi32(value); 2] }
        }
        #[inline(always)]
        fn narrow<const SHIFT: i32>(wide: [__m512i; 2]) -> Self {
            const { assert!(SHIFT == 11 || SHIFT == 18) };
            // SAFETY: see above.
            Self(unsafe {
                if SHIFT == 11 {
                    _mm512_packs_epi32(_mm512_srai_epi32::<11>(wide[0]), _mm512_srai_epi32::<11>(wide[1]))
                } else {
                    _mm512_packs_epi32(_mm512_srai_epi32::<18>(wide[0]), _mm512_srai_epi32::<18>(wide[1]))
                }
            })
        }
        #[inline(always)]
        fn store_samples(self, to: &mut [u8; 32], _first: usize) {
            // SAFETY: see above.
            unsafe {
                let bytes = _mm256_xor_si256(_mm512_cvtsepi16_epi8(self.0), _mm256_set1_epi8(-128));
                _mm256_storeu_si256(to.as_mut_ptr().cast(), bytes);
            }
        }
        #[inline(always)]
        fn add_magnitudes(self, sums: Self) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_adds_epu16(sums.0, _mm512_abs_epi16(self.0)) })
        }
        #[inline(always)]
        fn add_range(self, bits: Self) -> Self {
            // SAFETY: see above.
            Self(unsafe { _mm512_or_si512(bits.0, _mm512_add_epi16(self.0, _mm512_set1_epi16(512))) })
        }
        #[inline(always)]
        fn any_above(self, limit: u16) -> bool {
            // SAFETY: see above.
            unsafe { _mm512_cmpgt_epu16_mask(self.0, _mm512_set1_epi16(limit as i16)) != 0 }
        }
    }
}
