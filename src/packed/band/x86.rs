//! 32 lanes in AVX2 and AVX-512 registers. A mask moves between its compact form and lanes by BMI2's PDEP and PEXT.

use super::bits::peek;
use super::decode::{Band, Path, ends, parameter};
use super::encode::{Encoded, Lanes, encode_with};
use super::{LANES, Tile};
use crate::packed::coefficients::Component;
use std::arch::x86_64::*;

/// Whether PDEP is an instruction and not a loop in microcode, as it is on AMD's first two Zen generations (family 17h), where it
/// takes time for every bit. Not measured on such a processor.
pub(super) fn has_fast_deposit() -> bool {
    const AMD: [u32; 3] = [u32::from_le_bytes(*b"Auth"), u32::from_le_bytes(*b"enti"), u32::from_le_bytes(*b"cAMD")];
    let vendor = __cpuid(0);
    let signature = __cpuid(1).eax;
    let (family, extended) = (signature >> 8 & 15, signature >> 20 & 255);
    let is_amd = [vendor.ebx, vendor.edx, vendor.ecx] == AMD;
    !(is_amd && family == 15 && extended <= 8)
}

/// AVX2 and BMI2 for encoding; exists where the processor has them.
#[derive(Clone, Copy)]
pub(super) struct EncodeLanes(());

impl EncodeLanes {
    pub(super) fn detect() -> Option<Self> {
        let has_all = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("popcnt");
        has_all.then_some(Self(()))
    }
}

pub(super) fn encode(component: &Component, lanes: EncodeLanes) -> Encoded {
    // SAFETY: `lanes` exists, so the processor has these instructions.
    unsafe { encode_avx2(component, lanes) }
}

#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
fn encode_avx2(component: &Component, lanes: EncodeLanes) -> Encoded {
    encode_with(component, lanes)
}

impl Lanes for EncodeLanes {
    #[inline(always)]
    fn at_least(self, values: &[u16; LANES], level: u16) -> u32 {
        // SAFETY: `self` exists, so the processor has these instructions.
        unsafe { at_least(values, level) }
    }

    #[inline(always)]
    fn plane(self, values: &[u16; LANES], bit: u32) -> u32 {
        // SAFETY: as above.
        unsafe { plane(values, bit) }
    }

    #[inline(always)]
    fn compact(self, mask: u32, of: u32) -> u32 {
        // SAFETY: as above.
        unsafe { compact(mask, of) }
    }
}

/// The highest bit of each lane.
#[inline]
#[target_feature(enable = "avx2")]
fn highest_bits(low: __m256i, high: __m256i) -> u32 {
    // Packing keeps signs, and interleaves the halves of its operands.
    let bytes = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi16(low, high));
    _mm256_movemask_epi8(bytes) as u32
}

#[inline]
#[target_feature(enable = "avx2")]
fn at_least(values: &[u16; LANES], level: u16) -> u32 {
    let [low, high]: [__m256i; 2] = bytemuck::cast(*values);
    let level = _mm256_set1_epi16(level as i16);
    let reaches = |v| _mm256_cmpeq_epi16(_mm256_max_epu16(v, level), v);
    highest_bits(reaches(low), reaches(high))
}

#[inline]
#[target_feature(enable = "avx2")]
fn plane(values: &[u16; LANES], bit: u32) -> u32 {
    let [low, high]: [__m256i; 2] = bytemuck::cast(*values);
    let shift = _mm_cvtsi32_si128(15 - bit as i32);
    highest_bits(_mm256_sll_epi16(low, shift), _mm256_sll_epi16(high, shift))
}

#[inline]
#[target_feature(enable = "bmi2")]
fn compact(mask: u32, of: u32) -> u32 {
    _pext_u32(mask, of)
}

/// Decodes a chunk that is not empty. `band.path` is one that [`Path::available`] gave.
#[inline]
pub(super) fn decode(band: Band, bytes: &[u8], active: u32, tile: &mut Tile) -> Option<()> {
    // SAFETY: paths come from `Path::available`, which asked the processor.
    unsafe {
        match band.path {
            Path::Avx512 => decode_avx512(bytes, band.places, band.bases, active, tile),
            _ => decode_avx2(bytes, band.places, band.bases, active, tile),
        }
    }
}

/// All ones in the lanes of the mask.
#[inline]
#[target_feature(enable = "avx2")]
fn spread(mask: u32) -> [__m256i; 2] {
    let bits = _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, i16::MIN);
    let half = |mask: u32| _mm256_cmpeq_epi16(_mm256_and_si256(_mm256_set1_epi16(mask as i16), bits), bits);
    [half(mask), half(mask >> 16)]
}

#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
fn decode_avx2(bytes: &[u8], places: &[u8], bases: &[u8; 64], active: u32, tile: &mut Tile) -> Option<()> {
    let mut coded = peek(bytes, 0)?;
    let mut at = places.len();
    let lanes = active.count_ones() as usize;
    let zero = _mm256_setzero_si256();
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
        let mut among = _pdep_u32((bits >> taken) as u32, active);
        at += taken + lanes;
        let mut nonzero = among;
        let (mut low, mut high) = (zero, zero);
        while among != 0 {
            let ones = spread(among);
            low = _mm256_sub_epi16(low, ones[0]);
            high = _mm256_sub_epi16(high, ones[1]);
            let count = among.count_ones() as usize;
            among = _pdep_u32(peek(bytes, at)? as u32, among);
            at += count;
        }
        let shift = _mm_cvtsi32_si128(k as i32);
        low = _mm256_sll_epi16(low, shift);
        high = _mm256_sll_epi16(high, shift);
        for plane in 0..k {
            let mask = _pdep_u32(peek(bytes, at)? as u32, active);
            at += lanes;
            nonzero |= mask;
            let ones = spread(mask);
            let bit = _mm256_set1_epi16(1 << plane);
            low = _mm256_or_si256(low, _mm256_and_si256(ones[0], bit));
            high = _mm256_or_si256(high, _mm256_and_si256(ones[1], bit));
        }
        let negative = _pdep_u32(peek(bytes, at)? as u32, nonzero);
        at += nonzero.count_ones() as usize;
        let ones = spread(negative);
        low = _mm256_sub_epi16(_mm256_xor_si256(low, ones[0]), ones[0]);
        high = _mm256_sub_epi16(_mm256_xor_si256(high, ones[1]), ones[1]);
        *values = bytemuck::cast([low, high]);
    }
    ends(bytes, at)
}

#[target_feature(enable = "avx512f,avx512bw,avx2,bmi1,bmi2,popcnt")]
fn decode_avx512(bytes: &[u8], places: &[u8], bases: &[u8; 64], active: u32, tile: &mut Tile) -> Option<()> {
    let mut coded = peek(bytes, 0)?;
    let mut at = places.len();
    let lanes = active.count_ones() as usize;
    let one = _mm512_set1_epi16(1);
    let zero = _mm512_setzero_si512();
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
        let mut among = _pdep_u32((bits >> taken) as u32, active);
        at += taken + lanes;
        let mut nonzero = among;
        let mut sum = zero;
        while among != 0 {
            sum = _mm512_mask_add_epi16(sum, among, sum, one);
            let count = among.count_ones() as usize;
            among = _pdep_u32(peek(bytes, at)? as u32, among);
            at += count;
        }
        sum = _mm512_sll_epi16(sum, _mm_cvtsi32_si128(k as i32));
        let mut bit = one;
        for _ in 0..k {
            let mask = _pdep_u32(peek(bytes, at)? as u32, active);
            at += lanes;
            nonzero |= mask;
            sum = _mm512_mask_add_epi16(sum, mask, sum, bit);
            bit = _mm512_add_epi16(bit, bit);
        }
        let negative = _pdep_u32(peek(bytes, at)? as u32, nonzero);
        at += nonzero.count_ones() as usize;
        let signed = _mm512_mask_sub_epi16(sum, negative, zero, sum);
        // SAFETY: both are 64 bytes, of which any content is allowed.
        *values = unsafe { std::mem::transmute::<__m512i, [i16; LANES]>(signed) };
    }
    ends(bytes, at)
}
