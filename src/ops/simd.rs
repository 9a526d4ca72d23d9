//! Vectors of f32 for the inner loops, and the choice of instruction set at run time.
//!
//! A [`Kernel`] is written once over a [`Vector`]; [`Level::run`] compiles it for every level and enters the best one
//! that the processor has. A level changes results only by rounding (fused multiply-add); worker count and tiling do
//! not change them at all.

mod bytes;

pub(crate) use bytes::{Bytes, MixBlock, ONE, StripWeights};

/// One computation, generic over the vector type. `run` must be `#[inline(always)]`, so that it is compiled with the
/// instruction set of the function that [`Level::run`] enters.
pub(crate) trait Kernel {
    /// Runs the computation.
    ///
    /// # Safety
    /// The processor must have the instructions of `V`.
    unsafe fn run<V: Vector>(self);
}

/// The instruction set in use. A value exists only for sets that this processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Level(Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    Plain,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// The best level of this processor.
    pub(crate) fn detect() -> Self {
        static BEST: std::sync::OnceLock<Level> = std::sync::OnceLock::new();
        *BEST.get_or_init(|| *Self::available().last().expect("the plain level is always there"))
    }

    /// Every level of this processor, slowest first.
    pub(crate) fn available() -> Vec<Self> {
        let mut levels = vec![Self(Set::Plain)];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            levels.push(Self(Set::Avx2));
            if is_x86_feature_detected!("avx512f") {
                levels.push(Self(Set::Avx512));
            }
        }
        levels
    }

    /// Runs `kernel` at this level.
    pub(crate) fn run<K: Kernel>(self, kernel: K) {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        fn avx2<K: Kernel>(kernel: K) {
            // SAFETY: this function may only be entered where AVX2 and FMA exist.
            unsafe { kernel.run::<x86::Avx2>() }
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,avx512f")]
        fn avx512<K: Kernel>(kernel: K) {
            // SAFETY: this function may only be entered where AVX-512F, AVX2 and FMA exist.
            unsafe { kernel.run::<x86::Avx512>() }
        }
        match self.0 {
            // SAFETY: the plain vector needs no special instructions.
            Set::Plain => unsafe { kernel.run::<Plain>() },
            // SAFETY: `Level` is made by `available` only, which has asked the processor.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { avx2(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => unsafe { avx512(kernel) },
        }
    }
}

/// `LANES` values of f32 that are computed together.
///
/// # Safety of the methods
/// All of them need a processor with the type's instructions; the loads and stores need `LANES` readable or writable
/// values at the pointer, of any alignment.
#[allow(clippy::missing_safety_doc, reason = "said once for the trait, above")]
pub(crate) trait Vector: Copy + Bytes {
    /// Values in a vector.
    const LANES: usize;
    /// One lane with the same rounding, for what is left over at the end of a row.
    type Single: Vector;

    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    /// Bytes as values 0..=255.
    unsafe fn load_bytes(from: *const u8) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    /// `self * factor + addend`, rounded once where the set has a fused instruction.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
    unsafe fn clamp(self, low: Self, high: Self) -> Self;
    /// 8 x 8 values at `from` (rows `from_stride` apart), mapped by `post`, to `to` with rows and columns exchanged.
    unsafe fn transpose8(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize, post: Post);
    /// `sum_k w[k] * from[3 k + c]` for three channels `c`, modulo 2^32, with the weights as [`PixelWeights`].
    /// Reads `12 * weights.len() + 4` bytes.
    #[inline(always)]
    unsafe fn weigh_pixels(weights: &[PixelWeights], from: *const u8) -> [i32; 3] {
        let mut sums = [0i32; 3];
        for (group, weights) in weights.iter().enumerate() {
            for k in 0..4 {
                let weight = weights.get(k);
                for (c, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: the caller's promise.
                    let byte = unsafe { *from.add(12 * group + 3 * k + c) };
                    *sum = sum.wrapping_add(weight.wrapping_mul(i32::from(byte)));
                }
            }
        }
        sums
    }
}

/// Four integer weights for four neighbouring RGB pixels, laid out for products of pairs of 16 bits: each weight is split
/// as `high * 2^11 + low`, and lane `8 (k / 2) + 2 c + k % 2` of both halves belongs to pixel `k` and channel `c` (the
/// fourth channel is not there).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(32))]
pub(crate) struct PixelWeights {
    high: [i16; 16],
    low: [i16; 16],
}

impl PixelWeights {
    const LOW_BITS: u32 = 11;

    /// Up to four weights, each between -2^26 and 2^26; missing ones are 0.
    pub(crate) fn new(weights: &[i32]) -> Self {
        let mut out = Self { high: [0; 16], low: [0; 16] };
        for (k, weight) in weights.iter().enumerate() {
            for c in 0..4 {
                let lane = 8 * (k / 2) + 2 * c + k % 2;
                out.high[lane] = (weight >> Self::LOW_BITS) as i16;
                out.low[lane] = (weight & ((1 << Self::LOW_BITS) - 1)) as i16;
            }
        }
        out
    }

    fn get(&self, k: usize) -> i32 {
        let lane = 8 * (k / 2) + k % 2;
        (i32::from(self.high[lane]) << Self::LOW_BITS) + i32::from(self.low[lane])
    }
}

/// Last step of a value: `clamp(v, low, high) * scale + offset`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Post {
    pub(crate) low: f32,
    pub(crate) high: f32,
    pub(crate) scale: f32,
    pub(crate) offset: f32,
}

impl Post {
    /// Changes nothing.
    pub(crate) const NONE: Self = Self { low: f32::NEG_INFINITY, high: f32::INFINITY, scale: 1.0, offset: 0.0 };

    /// For one value.
    ///
    /// # Safety
    /// As for [`Vector`].
    #[inline(always)]
    pub(crate) unsafe fn apply<V: Vector>(self, v: V) -> V {
        // SAFETY: the caller's promise.
        unsafe { v.clamp(V::splat(self.low), V::splat(self.high)).mul_add(V::splat(self.scale), V::splat(self.offset)) }
    }
}

/// A single value; `FUSED` says whether multiply-add rounds once.
#[derive(Clone, Copy)]
pub(crate) struct Single<const FUSED: bool>(f32);

impl<const FUSED: bool> Bytes for Single<FUSED> {}

impl<const FUSED: bool> Vector for Single<FUSED> {
    const LANES: usize = 1;
    type Single = Self;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self(value)
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { *from })
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> Self {
        // SAFETY: the caller's promise.
        Self(f32::from(unsafe { *from }))
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { *to = self.0 }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        Self(if FUSED { self.0.mul_add(factor.0, addend.0) } else { self.0 * factor.0 + addend.0 })
    }
    #[inline(always)]
    unsafe fn clamp(self, low: Self, high: Self) -> Self {
        Self(self.0.max(low.0).min(high.0))
    }
    #[inline(always)]
    unsafe fn transpose8(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize, post: Post) {
        for row in 0..8 {
            for column in 0..8 {
                // SAFETY: the caller's promise: both blocks are 8 x 8.
                unsafe {
                    let v = post.apply(Self::load(from.add(row * from_stride + column)));
                    v.store(to.add(column * to_stride + row));
                }
            }
        }
    }
}

/// Eight values in whatever registers the target has: LLVM vectorises the loops.
#[derive(Clone, Copy)]
pub(crate) struct Plain([f32; 8]);

impl Bytes for Plain {}

impl Vector for Plain {
    const LANES: usize = 8;
    type Single = Single<false>;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 8])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { from.cast::<[f32; 8]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { from.cast::<[u8; 8]>().read_unaligned() }.map(f32::from))
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] + other.0[i]))
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] - other.0[i]))
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] * factor.0[i] + addend.0[i]))
    }
    #[inline(always)]
    unsafe fn clamp(self, low: Self, high: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].max(low.0[i]).min(high.0[i])))
    }
    #[inline(always)]
    unsafe fn transpose8(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize, post: Post) {
        // SAFETY: the caller's promise is the same.
        unsafe { Single::<false>::transpose8(from, from_stride, to, to_stride, post) }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{PixelWeights, Post, Single, Vector};
    use std::arch::x86_64::*;

    /// 256 bits.
    #[derive(Clone, Copy)]
    pub(super) struct Avx2(__m256);

    /// 512 bits.
    #[derive(Clone, Copy)]
    pub(super) struct Avx512(__m512);

    /// Four values at `from` in the low half, four values 4 rows below in the high half: the exchange of halves that a
    /// transpose needs is then done by the loads.
    ///
    /// # Safety
    /// AVX2 and FMA, and 4 readable values at both places.
    #[inline(always)]
    unsafe fn rows_apart_by_4(from: *const f32, stride: usize, post: Post) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe {
            let low = _mm256_castps128_ps256(_mm_loadu_ps(from));
            post.apply(Avx2(_mm256_insertf128_ps::<1>(low, _mm_loadu_ps(from.add(4 * stride))))).0
        }
    }

    /// # Safety
    /// AVX2, and as for [`Vector::weigh_pixels`].
    #[inline(always)]
    unsafe fn weigh_pixels(weights: &[PixelWeights], from: *const u8) -> [i32; 3] {
        // SAFETY: the caller's promise; 16 bytes are read for each four pixels.
        unsafe {
            // r0 r1 g0 g1 b0 b1 . .  r2 r3 g2 g3 b2 b3 . .
            let pairs = _mm_setr_epi8(0, 3, 1, 4, 2, 5, -1, -1, 6, 9, 7, 10, 8, 11, -1, -1);
            let (mut high, mut low) = (_mm256_setzero_si256(), _mm256_setzero_si256());
            for (group, weights) in weights.iter().enumerate() {
                let pixels = _mm_shuffle_epi8(_mm_loadu_si128(from.add(12 * group).cast()), pairs);
                let pixels = _mm256_cvtepu8_epi16(pixels);
                let weight = _mm256_load_si256(weights.high.as_ptr().cast());
                high = _mm256_add_epi32(high, _mm256_madd_epi16(pixels, weight));
                let weight = _mm256_load_si256(weights.low.as_ptr().cast());
                low = _mm256_add_epi32(low, _mm256_madd_epi16(pixels, weight));
            }
            let sums = _mm256_add_epi32(_mm256_slli_epi32::<{ PixelWeights::LOW_BITS as i32 }>(high), low);
            let sums = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
            [_mm_cvtsi128_si32(sums), _mm_extract_epi32::<1>(sums), _mm_extract_epi32::<2>(sums)]
        }
    }

    impl Vector for Avx2 {
        const LANES: usize = 8;
        type Single = Single<true>;

        #[inline(always)]
        unsafe fn weigh_pixels(weights: &[PixelWeights], from: *const u8) -> [i32; 3] {
            // SAFETY: the caller's promise.
            unsafe { weigh_pixels(weights, from) }
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: the caller's promise, here and in every method below.
            Self(unsafe { _mm256_set1_ps(value) })
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm256_loadu_ps(from) })
        }
        #[inline(always)]
        unsafe fn load_bytes(from: *const u8) -> Self {
            // SAFETY: as above; 8 bytes are read.
            Self(unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()))) })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: as above.
            unsafe { _mm256_storeu_ps(to, self.0) }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm256_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm256_sub_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm256_fmadd_ps(self.0, factor.0, addend.0) })
        }
        #[inline(always)]
        unsafe fn clamp(self, low: Self, high: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm256_min_ps(_mm256_max_ps(self.0, low.0), high.0) })
        }
        #[inline(always)]
        unsafe fn transpose8(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize, post: Post) {
            // SAFETY: as above; the caller promises 8 rows of 8 values on both sides.
            unsafe {
                for column in [0, 4] {
                    let a = rows_apart_by_4(from.add(column), from_stride, post);
                    let b = rows_apart_by_4(from.add(from_stride + column), from_stride, post);
                    let c = rows_apart_by_4(from.add(2 * from_stride + column), from_stride, post);
                    let d = rows_apart_by_4(from.add(3 * from_stride + column), from_stride, post);
                    let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
                    let (ab2, cd2) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
                    _mm256_storeu_ps(to.add(column * to_stride), _mm256_shuffle_ps::<0x44>(ab, cd));
                    _mm256_storeu_ps(to.add((column + 1) * to_stride), _mm256_shuffle_ps::<0xee>(ab, cd));
                    _mm256_storeu_ps(to.add((column + 2) * to_stride), _mm256_shuffle_ps::<0x44>(ab2, cd2));
                    _mm256_storeu_ps(to.add((column + 3) * to_stride), _mm256_shuffle_ps::<0xee>(ab2, cd2));
                }
            }
        }
    }

    impl Vector for Avx512 {
        const LANES: usize = 16;
        type Single = Single<true>;

        #[inline(always)]
        unsafe fn weigh_pixels(weights: &[PixelWeights], from: *const u8) -> [i32; 3] {
            // SAFETY: the caller's promise.
            unsafe { weigh_pixels(weights, from) }
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: the caller's promise, here and in every method below.
            Self(unsafe { _mm512_set1_ps(value) })
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_loadu_ps(from) })
        }
        #[inline(always)]
        unsafe fn load_bytes(from: *const u8) -> Self {
            // SAFETY: as above; 16 bytes are read.
            Self(unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()))) })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: as above.
            unsafe { _mm512_storeu_ps(to, self.0) }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_sub_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, addend.0) })
        }
        #[inline(always)]
        unsafe fn clamp(self, low: Self, high: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_min_ps(_mm512_max_ps(self.0, low.0), high.0) })
        }
        #[inline(always)]
        unsafe fn transpose8(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize, post: Post) {
            // SAFETY: as above; every processor with AVX-512 has AVX2.
            unsafe { Avx2::transpose8(from, from_stride, to, to_stride, post) }
        }
    }
}
