//! Rows of samples to rows of pixels: libjpeg's triangle filter for chroma and its colour conversions, bit for bit.

use crate::decode::jpeg::under_black;

/// Sums of a chroma column, one or two rows of it, with a neighbour on both sides, to twice as many samples: three parts
/// of the nearer and one of the further. `shift` bits go, rounded up in every other column ("ordered dither").
#[inline(always)]
pub(super) fn widen(sums: &[i16], shift: u32, to: &mut [u8]) {
    let half = 1 << (shift - 1);
    // One row: 1 and 2 are added before the shift by 2; two rows: 8 and 7 before that by 4.
    let (left, right) = if shift == 2 { (half - 1, half) } else { (half, half - 1) };
    let to = to.as_chunks_mut::<2>().0;
    let count = to.len();
    let (before, at, after) = (&sums[..count], &sums[1..][..count], &sums[2..][..count]);
    for i in 0..count {
        let near = 3 * at[i];
        to[i] = [((near + before[i] + left) >> shift) as u8, ((near + after[i] + right) >> shift) as u8];
    }
}

/// Three parts of the nearer chroma row and one of the further.
#[inline(always)]
pub(super) fn add_rows(near: &[u8], far: &[u8], sums: &mut [i16]) {
    for ((sum, near), far) in sums.iter_mut().zip(near).zip(far) {
        *sum = 3 * i16::from(*near) + i16::from(*far);
    }
}

/// A chroma row between two, where there are as many columns as in the image.
#[inline(always)]
pub(super) fn blend_rows(near: &[u8], far: &[u8], bias: i16, to: &mut [u8]) {
    for ((to, near), far) in to.iter_mut().zip(near).zip(far) {
        *to = ((3 * i16::from(*near) + i16::from(*far) + bias) >> 2) as u8;
    }
}

/// Each sample N times.
#[inline(always)]
pub(super) fn repeat<const N: usize>(samples: &[u8], to: &mut [u8]) {
    for (to, sample) in to.as_chunks_mut::<N>().0.iter_mut().zip(samples) {
        *to = [*sample; N];
    }
}

/// Gray to RGB.
#[inline(always)]
pub(super) fn gray(y: &[u8], to: &mut [u8]) {
    for (to, y) in to.as_chunks_mut::<3>().0.iter_mut().zip(y) {
        *to = [*y; 3];
    }
}

/// Planes of red, green and blue to RGB.
#[inline(always)]
pub(super) fn rgb(red: &[u8], green: &[u8], blue: &[u8], to: &mut [u8]) {
    for (((to, red), green), blue) in to.as_chunks_mut::<3>().0.iter_mut().zip(red).zip(green).zip(blue) {
        *to = [*red, *green, *blue];
    }
}

/// Puts black over three inks: `to` holds their complement where `mask` is 255, and themselves where it is 0.
#[inline(always)]
pub(super) fn inks(black: &[u8], mask: u8, to: &mut [u8]) {
    for (to, black) in to.as_chunks_mut::<3>().0.iter_mut().zip(black) {
        *to = to.map(|ink| under_black(ink ^ mask, *black));
    }
}

/// YCbCr to RGB: the JFIF matrix with 16 fraction bits, rounded.
#[inline(always)]
pub(super) fn color(y: &[u8], cb: &[u8], cr: &[u8], to: &mut [u8]) {
    for (((to, y), cb), cr) in to.as_chunks_mut::<3>().0.iter_mut().zip(y).zip(cb).zip(cr) {
        let (y, cb, cr) = (i32::from(*y), i32::from(*cb) - 128, i32::from(*cr) - 128);
        let rounded = |sum: i32| (sum + (1 << 15)) >> 16;
        *to = [y + rounded(91881 * cr), y + rounded(-22554 * cb - 46802 * cr), y + rounded(116130 * cb)]
            .map(|v| v.clamp(0, 255) as u8);
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    /// Where byte `16 * part + i` of 16 interleaved pixels finds channel `channel`: an index, or 0x80 for none.
    const fn places(part: usize, channel: usize) -> [u8; 16] {
        let mut places = [0x80; 16];
        let mut i = 0;
        while i < 16 {
            if (16 * part + i) % 3 == channel {
                places[i] = ((16 * part + i) / 3) as u8;
            }
            i += 1;
        }
        places
    }
    const PLACES: [[[u8; 16]; 3]; 3] = [
        [places(0, 0), places(0, 1), places(0, 2)],
        [places(1, 0), places(1, 1), places(1, 2)],
        [places(2, 0), places(2, 1), places(2, 2)],
    ];

    /// As [`super::color`].
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn color(y: &[u8], cb: &[u8], cr: &[u8], to: &mut [u8]) {
        let (pixels, rest) = to.as_chunks_mut::<48>();
        let (ys, y_rest) = y.as_chunks::<16>();
        let (cbs, cb_rest) = cb.as_chunks::<16>();
        let (crs, cr_rest) = cr.as_chunks::<16>();
        for (((to, y), cb), cr) in pixels.iter_mut().zip(ys).zip(cbs).zip(crs) {
            let rgb = sixteen(y, cb, cr);
            for (part, to) in to.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let mut bytes = _mm_setzero_si128();
                for (channel, values) in rgb.into_iter().enumerate() {
                    // SAFETY: 16 bytes are read, as many as there are.
                    let places = unsafe { _mm_loadu_si128(PLACES[part][channel].as_ptr().cast()) };
                    bytes = _mm_or_si128(bytes, _mm_shuffle_epi8(values, places));
                }
                // SAFETY: 16 bytes are written, as many as there are.
                unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), bytes) };
            }
        }
        super::color(y_rest, cb_rest, cr_rest, rest);
    }

    /// Red, green and blue of 16 pixels. Factors outside of 16 bits are split: 1.402 = 1 + 0.402, 1.772 = 2 - 0.228,
    /// -0.71414 = 0.28586 - 1.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn sixteen(y: &[u8; 16], cb: &[u8; 16], cr: &[u8; 16]) -> [__m128i; 3] {
        let load = |from: &[u8; 16]| {
            // SAFETY: 16 bytes are read, as many as there are.
            _mm256_cvtepu8_epi16(unsafe { _mm_loadu_si128(from.as_ptr().cast()) })
        };
        let center = _mm256_set1_epi16(128);
        let (y, cb, cr) = (load(y), _mm256_sub_epi16(load(cb), center), _mm256_sub_epi16(load(cr), center));
        // A high product of twice the value, half of it rounded, is the product rounded.
        let scaled = |value, factor| {
            let double = _mm256_mulhi_epi16(_mm256_add_epi16(value, value), _mm256_set1_epi16(factor));
            _mm256_srai_epi16::<1>(_mm256_add_epi16(double, _mm256_set1_epi16(1)))
        };
        let red = _mm256_add_epi16(_mm256_add_epi16(y, cr), scaled(cr, 26345));
        let blue = _mm256_add_epi16(_mm256_add_epi16(y, _mm256_add_epi16(cb, cb)), scaled(cb, -14942));
        let factors = _mm256_set1_epi32((-22554_i16 as u16 as u32 | 18734 << 16) as i32);
        let products = |pairs| {
            let sums = _mm256_add_epi32(_mm256_madd_epi16(pairs, factors), _mm256_set1_epi32(1 << 15));
            _mm256_srai_epi32::<16>(sums)
        };
        let green =
            _mm256_packs_epi32(products(_mm256_unpacklo_epi16(cb, cr)), products(_mm256_unpackhi_epi16(cb, cr)));
        let green = _mm256_add_epi16(y, _mm256_sub_epi16(green, cr));
        [red, green, blue].map(|v| _mm_packus_epi16(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_vector_conversion_is_the_plain_one_for_every_colour() {
        if !is_x86_feature_detected!("avx2") {
            eprintln!("no AVX2 here: not run");
            return;
        }
        let ramp: Vec<u8> = (0..=255).chain(0..9).collect();
        let (mut plain, mut vector) = (vec![0; 3 * ramp.len()], vec![0; 3 * ramp.len()]);
        for cb in 0..=255 {
            for y in (0..=255).step_by(15) {
                let (y, cb) = (vec![y; ramp.len()], vec![cb; ramp.len()]);
                color(&y, &cb, &ramp, &mut plain);
                // SAFETY: the processor has AVX2.
                unsafe { x86::color(&y, &cb, &ramp, &mut vector) };
                assert_eq!(plain, vector);
            }
        }
    }

    #[cfg(target_arch = "aarch64")]
    #[test]
    fn the_neon_conversion_is_the_plain_one_for_every_colour() {
        let ramp: Vec<u8> = (0..=255).chain(0..9).collect();
        let (mut plain, mut vector) = (vec![0; 3 * ramp.len()], vec![0; 3 * ramp.len()]);
        for cb in 0..=255 {
            for y in (0..=255).step_by(15) {
                let (y, cb) = (vec![y; ramp.len()], vec![cb; ramp.len()]);
                color(&y, &cb, &ramp, &mut plain);
                // SAFETY: aarch64 has NEON.
                unsafe { crate::decode::baseline::neon::color(&y, &cb, &ramp, &mut vector) };
                assert_eq!(plain, vector);
            }
        }
    }

    #[test]
    fn a_widened_row_is_three_parts_to_one() {
        let widened = |sums: &[i16], shift| {
            let mut to = [0; 4];
            widen(sums, shift, &mut to);
            to.map(i32::from)
        };
        let one_row = [(60 + 10 + 1) / 4, (60 + 50 + 2) / 4, (150 + 20 + 1) / 4, (150 + 90 + 2) / 4];
        assert_eq!(widened(&[10, 20, 50, 90], 2), one_row);
        let two_rows = [(240 + 40 + 8) / 16, (240 + 200 + 7) / 16, (600 + 80 + 8) / 16, (600 + 360 + 7) / 16];
        assert_eq!(widened(&[40, 80, 200, 360], 4), two_rows);
    }
}
