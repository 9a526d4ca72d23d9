//! The transforms and the colour conversion by NEON, which is part of aarch64. All give the integers of the plain versions.
//!
//! Tested in an emulator and not timed, so that at full scale libjpeg-turbo, which has NEON too, still decodes there. Rows are
//! upsampled by the plain loops: the compiler makes vectors of them.

use super::idct::*;
use super::scaled::WEIGHTS;
use std::arch::aarch64::*;

const CONST_BITS: i32 = 13;
const PASS1_BITS: i32 = 2;
const FIRST: i32 = CONST_BITS - PASS1_BITS;
const SECOND: i32 = CONST_BITS + PASS1_BITS + 3;

/// Sum of products.
#[inline]
#[target_feature(enable = "neon")]
fn products(a: int16x4_t, first: i32, b: int16x4_t, second: i32) -> int32x4_t {
    vmlal_n_s16(vmull_n_s16(a, first as i16), b, second as i16)
}

/// The sum and the difference of `even` and `odd`, rounded for `SHIFT` bits to go.
#[inline]
#[target_feature(enable = "neon")]
fn both<const SHIFT: i32>(even: [int32x4_t; 2], odd: [int32x4_t; 2]) -> [int16x8_t; 2] {
    let narrow = |halves: [int32x4_t; 2]| {
        let [low, high] = halves.map(|half| vqmovn_s32(vrshrq_n_s32::<SHIFT>(half)));
        vcombine_s16(low, high)
    };
    [
        narrow([vaddq_s32(even[0], odd[0]), vaddq_s32(even[1], odd[1])]),
        narrow([vsubq_s32(even[0], odd[0]), vsubq_s32(even[1], odd[1])]),
    ]
}

/// As the plain pass of [`super::idct`], down eight columns at once. Sums of two products take the place of shared ones,
/// which gives the same integers.
#[inline]
#[target_feature(enable = "neon")]
fn pass<const SHIFT: i32>(v: [int16x8_t; 8]) -> [int16x8_t; 8] {
    let z = (vaddq_s16(v[7], v[3]), vaddq_s16(v[5], v[1]));
    let half = |v: [int16x4_t; 8], z: (int16x4_t, int16x4_t)| {
        let even3 = products(v[2], F0_541 + F0_765, v[6], F0_541);
        let even2 = products(v[2], F0_541, v[6], F0_541 - F1_847);
        let (even0, even1) = (products(v[0], 8192, v[4], 8192), products(v[0], 8192, v[4], -8192));
        let even = [vaddq_s32(even0, even3), vaddq_s32(even1, even2), vsubq_s32(even1, even2), vsubq_s32(even0, even3)];
        let z3 = products(z.0, F1_175 - F1_961, z.1, F1_175);
        let z4 = products(z.0, F1_175, z.1, F1_175 - F0_390);
        let odd = [
            vaddq_s32(products(v[7], -F0_899, v[1], F1_501 - F0_899), z4),
            vaddq_s32(products(v[5], -F2_562, v[3], F3_072 - F2_562), z3),
            vaddq_s32(products(v[5], F2_053 - F2_562, v[3], -F2_562), z4),
            vaddq_s32(products(v[7], F0_298 - F0_899, v[1], -F0_899), z3),
        ];
        (even, odd)
    };
    let (even_low, odd_low) = half(v.map(|v| vget_low_s16(v)), (vget_low_s16(z.0), vget_low_s16(z.1)));
    let (even_high, odd_high) = half(v.map(|v| vget_high_s16(v)), (vget_high_s16(z.0), vget_high_s16(z.1)));
    let mut out = v;
    for i in 0..4 {
        [out[i], out[7 - i]] = both::<SHIFT>([even_low[i], even_high[i]], [odd_low[i], odd_high[i]]);
    }
    out
}

#[inline]
#[target_feature(enable = "neon")]
fn transpose(v: [int16x8_t; 8]) -> [int16x8_t; 8] {
    let pair = |a: int16x8_t, b: int16x8_t| {
        let wide = |v: int16x8_t| vreinterpretq_s32_s16(v);
        [wide(vtrn1q_s16(a, b)), wide(vtrn2q_s16(a, b))]
    };
    let four = |a: [int32x4_t; 2], b: [int32x4_t; 2]| {
        let wide = |v: int32x4_t| vreinterpretq_s64_s32(v);
        [
            wide(vtrn1q_s32(a[0], b[0])),
            wide(vtrn1q_s32(a[1], b[1])),
            wide(vtrn2q_s32(a[0], b[0])),
            wide(vtrn2q_s32(a[1], b[1])),
        ]
    };
    let near = four(pair(v[0], v[1]), pair(v[2], v[3]));
    let far = four(pair(v[4], v[5]), pair(v[6], v[7]));
    std::array::from_fn(|i| {
        let (near, far) = (near[i % 4], far[i % 4]);
        vreinterpretq_s16_s64(if i < 4 { vtrn1q_s64(near, far) } else { vtrn2q_s64(near, far) })
    })
}

#[inline]
#[target_feature(enable = "neon")]
fn load(block: &[i16; 64]) -> [int16x8_t; 8] {
    std::array::from_fn(|i| {
        // SAFETY: eight values of 16 bits are read, as many as there are: `i` is below 8.
        unsafe { vld1q_s16(block.as_ptr().add(8 * i)) }
    })
}

/// The first M samples of M rows.
#[inline]
#[target_feature(enable = "neon")]
fn store<const M: usize>(rows: [int16x8_t; M], to: &mut [u8], stride: usize) {
    let to = &mut to[..(M - 1) * stride + M];
    for (y, row) in rows.into_iter().enumerate() {
        let samples = veor_u8(vreinterpret_u8_s8(vqmovn_s16(row)), vdup_n_u8(128));
        let samples = vget_lane_u64::<0>(vreinterpret_u64_u8(samples)).to_le_bytes();
        to[y * stride..][..M].copy_from_slice(&samples[..M]);
    }
}

/// As [`checked`] for a sum of at most [`SAFE_SUM`].
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn idct(block: &[i16; 64], to: &mut [u8], stride: usize) {
    store(transpose(pass::<SECOND>(transpose(pass::<FIRST>(load(block))))), to, stride);
}

/// As the plain pass of [`super::scaled`], for eight lanes at once, of which the first M matter.
#[inline]
#[target_feature(enable = "neon")]
fn scaled_pass<const M: usize, const SHIFT: i32>(v: [int16x8_t; 8]) -> [int16x8_t; 8] {
    let mut out = v;
    for x in 0..M.div_ceil(2) {
        let mut sums = [[vdupq_n_s32(0); 2]; 2];
        for u in 0..M {
            let (sum, weight) = (&mut sums[u % 2], WEIGHTS[M][u][x] as i16);
            sum[0] = vmlal_n_s16(sum[0], vget_low_s16(v[u]), weight);
            if M > 4 {
                sum[1] = vmlal_n_s16(sum[1], vget_high_s16(v[u]), weight);
            }
        }
        // The odd ones count the other way from the other end. In the middle there are none.
        let [plus, minus] = both::<SHIFT>(sums[0], sums[1]);
        (out[M - 1 - x], out[x]) = (minus, plus);
    }
    out
}

/// As [`super::scaled::plain`] for a sum of at most [`super::scaled::SAFE_SUM`].
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn scaled<const M: usize>(block: &[i16; 64], to: &mut [u8], stride: usize) {
    let rows = scaled_pass::<M, SECOND>(transpose(scaled_pass::<M, FIRST>(load(block))));
    store::<M>(std::array::from_fn(|y| rows[y]), to, stride);
}

/// As [`super::rows::color`].
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn color(y: &[u8], cb: &[u8], cr: &[u8], to: &mut [u8]) {
    let (pixels, rest) = to.as_chunks_mut::<24>();
    let (ys, y_rest) = y.as_chunks::<8>();
    let (cbs, cb_rest) = cb.as_chunks::<8>();
    let (crs, cr_rest) = cr.as_chunks::<8>();
    for (((to, y), cb), cr) in pixels.iter_mut().zip(ys).zip(cbs).zip(crs) {
        let [red, green, blue] = eight(y, cb, cr);
        // SAFETY: 24 bytes are written, as many as there are.
        unsafe { vst3_u8(to.as_mut_ptr(), uint8x8x3_t(red, green, blue)) };
    }
    super::rows::color(y_rest, cb_rest, cr_rest, rest);
}

/// Red, green and blue of eight pixels. Factors outside of 16 bits are split: 1.402 = 1 + 0.402, 1.772 = 2 - 0.228,
/// -0.71414 = 0.28586 - 1.
#[inline]
#[target_feature(enable = "neon")]
fn eight(y: &[u8; 8], cb: &[u8; 8], cr: &[u8; 8]) -> [uint8x8_t; 3] {
    let load = |from: &[u8; 8]| {
        // SAFETY: eight bytes are read, as many as there are.
        vreinterpretq_s16_u16(vmovl_u8(unsafe { vld1_u8(from.as_ptr()) }))
    };
    let center = vdupq_n_s16(128);
    let (y, cb, cr) = (load(y), vsubq_s16(load(cb), center), vsubq_s16(load(cr), center));
    // A high product of twice the value, half of it rounded, is the product rounded.
    let scaled = |value, factor| vrshrq_n_s16::<1>(vqdmulhq_n_s16(value, factor));
    let red = vaddq_s16(vaddq_s16(y, cr), scaled(cr, 26345));
    let blue = vaddq_s16(vaddq_s16(y, vaddq_s16(cb, cb)), scaled(cb, -14942));
    let green = |cb, cr| vrshrn_n_s32::<16>(products(cb, -22554, cr, 18734));
    let green = vcombine_s16(green(vget_low_s16(cb), vget_low_s16(cr)), green(vget_high_s16(cb), vget_high_s16(cr)));
    let green = vaddq_s16(y, vsubq_s16(green, cr));
    [red, green, blue].map(|v| vqmovun_s16(v))
}
