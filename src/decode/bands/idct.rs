//! Inverse DCT of a tile, 32 blocks at once: each block in a lane of its own, so that nothing is turned between the two
//! passes. Samples are those of the transforms in `baseline`, bit for bit: there for M = 8 libjpeg's, columns first, and for
//! smaller M rows first.

use super::lanes::Lanes;
use crate::decode::baseline::{idct as islow, scaled};
use crate::packed::{LANES, Tile};

/// Samples of a tile: by row and column in the block, then by lane.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(super) struct Samples(pub(super) [[[u8; LANES]; 8]; 8]);

impl Samples {
    pub(super) fn new() -> Self {
        Self([[[0; LANES]; 8]; 8])
    }
}

const FIRST: i32 = 11;
const SECOND: i32 = 18;

/// Transforms the low M x M coefficients of `tile`, which are quantised by `steps`. Lanes whose sum of magnitudes is above what
/// vectors compute in range are done one by one; `None` where one is above all that is computed here.
#[inline(always)]
pub(super) fn idct<L: Lanes, const M: usize>(
    tile: &Tile,
    steps: &[u16; 64],
    largest_sum: u32,
    active: u32,
    samples: &mut Samples,
) -> Option<()> {
    let is_safe = largest_sum <= if M == 8 { islow::SAFE_SUM } else { scaled::SAFE_SUM };
    let mut is_above = false;
    for first in (0..LANES).step_by(L::COUNT) {
        let mut sums = L::zero();
        let mut between = [[L::zero(); M]; M];
        // Columns of the first pass: along `v` for M = 8, along `u` else.
        for (a, between) in between.iter_mut().enumerate() {
            let mut line = [L::zero(); M];
            for (b, value) in line.iter_mut().enumerate() {
                let place = if M == 8 { 8 * b + a } else { 8 * a + b };
                *value = L::load(&tile.values[place], first).times(steps[place] as i16);
                if !is_safe {
                    sums = value.add_magnitudes(sums);
                }
            }
            *between = pass::<L, M, FIRST>(line);
        }
        // Up to here what is between the passes fits 16 bits; the samples of M = 8 are looked at.
        is_above |= !is_safe && sums.any_above(scaled::SAFE_SUM as u16);
        let mut range = L::zero();
        for c in 0..M {
            let mut line = [L::zero(); M];
            for (value, between) in line.iter_mut().zip(&between) {
                *value = between[c];
            }
            let line = pass::<L, M, SECOND>(line);
            for (d, value) in line.into_iter().enumerate() {
                let (y, x) = if M == 8 { (c, d) } else { (d, c) };
                if M == 8 && !is_safe {
                    range = value.add_range(range);
                }
                value.store_samples(&mut samples.0[y][x], first);
            }
        }
        is_above |= range.any_above(1023);
    }
    if is_above { one_by_one::<M>(tile, steps, active, samples) } else { Some(()) }
}

/// One dimension: M values to M, times 8192 and rounded for SHIFT bits to go.
#[inline(always)]
fn pass<L: Lanes, const M: usize, const SHIFT: i32>(v: [L; M]) -> [L; M] {
    let half = L::every(1 << (SHIFT - 1));
    let mut out = [L::zero(); M];
    if M == 8 {
        let v = [v[0], v[1 % M], v[2 % M], v[3 % M], v[4 % M], v[5 % M], v[6 % M], v[7 % M]];
        let [even, odd] = islow_halves(v, half);
        for x in 0..4 {
            out[x] = L::narrow::<SHIFT>(L::sum(even[x], odd[x]));
            out[7 - x] = L::narrow::<SHIFT>(L::difference(even[x], odd[x]));
        }
        return out;
    }
    for x in 0..M.div_ceil(2) {
        let even = L::sum(weigh::<L, M>(&v, 0, x), half);
        if M == 1 {
            out[x] = L::narrow::<SHIFT>(even);
            continue;
        }
        // The odd ones count the other way from the other end.
        let odd = weigh::<L, M>(&v, 1, x);
        (out[M - 1 - x], out[x]) =
            (L::narrow::<SHIFT>(L::difference(even, odd)), L::narrow::<SHIFT>(L::sum(even, odd)));
    }
    out
}

/// The inputs `first`, `first + 2` and so on, weighed for the output `x`. No closure: it would be compiled for processors
/// without the lanes' instructions.
#[inline(always)]
fn weigh<L: Lanes, const M: usize>(v: &[L; M], first: usize, x: usize) -> L::Wide {
    let weight = &scaled::WEIGHTS[M];
    let mut sum = L::every(0);
    let mut u = first;
    while u < M {
        sum = L::sum(
            sum,
            if u + 2 < M {
                L::products(v[u], v[u + 2], weight[u][x] as i16, weight[u + 2][x] as i16)
            } else {
                L::products(v[u], L::zero(), weight[u][x] as i16, 0)
            },
        );
        u += 4;
    }
    sum
}

/// The even and the odd part of libjpeg's transform of eight values; `half` is added to the even one. Sums of two products take
/// the place of shared ones, which gives the same integers.
#[inline(always)]
fn islow_halves<L: Lanes>(v: [L; 8], half: L::Wide) -> [[L::Wide; 4]; 2] {
    use islow::{F0_298, F0_390, F0_541, F0_765, F0_899, F1_175, F1_501, F1_847, F1_961, F2_053, F2_562, F3_072};
    #[inline(always)]
    fn products<L: Lanes>(a: L, b: L, of_a: i32, of_b: i32) -> L::Wide {
        L::products(a, b, of_a as i16, of_b as i16)
    }
    let even3 = products(v[2], v[6], F0_541 + F0_765, F0_541);
    let even2 = products(v[2], v[6], F0_541, F0_541 - F1_847);
    let even0 = L::sum(products(v[0], v[4], 8192, 8192), half);
    let even1 = L::sum(products(v[0], v[4], 8192, -8192), half);
    let even = [L::sum(even0, even3), L::sum(even1, even2), L::difference(even1, even2), L::difference(even0, even3)];
    let (z3, z4) = (v[7].plus(v[3]), v[5].plus(v[1]));
    let (odd3, odd4) = (products(z3, z4, F1_175 - F1_961, F1_175), products(z3, z4, F1_175, F1_175 - F0_390));
    let odd = [
        L::sum(products(v[7], v[1], -F0_899, F1_501 - F0_899), odd4),
        L::sum(products(v[5], v[3], -F2_562, F3_072 - F2_562), odd3),
        L::sum(products(v[5], v[3], F2_053 - F2_562, -F2_562), odd4),
        L::sum(products(v[7], v[1], F0_298 - F0_899, -F0_899), odd3),
    ];
    [even, odd]
}

/// The lanes that are above the vectors' range.
#[cold]
#[inline(never)]
fn one_by_one<const M: usize>(tile: &Tile, steps: &[u16; 64], active: u32, samples: &mut Samples) -> Option<()> {
    let largest = if M == 8 { islow::LARGEST_SUM } else { scaled::LARGEST_SUM };
    for lane in (0..LANES).filter(|lane| active >> lane & 1 == 1) {
        let (mut block, mut sum) = ([0_i16; 64], 0_u32);
        for (v, u) in (0..M).flat_map(|v| (0..M).map(move |u| (v, u))) {
            let value = i32::from(tile.values[8 * v + u][lane]) * i32::from(steps[8 * v + u]);
            sum = sum.saturating_add(value.unsigned_abs());
            block[if M == 8 { 8 * v + u } else { 8 * u + v }] = value as i16;
        }
        if sum <= if M == 8 { islow::SAFE_SUM } else { scaled::SAFE_SUM } {
            continue;
        }
        let mut to = [0; 64];
        if sum > largest {
            return None;
        }
        if M < 8 {
            scaled::plain::<M>(&block, &mut to, 8);
        } else if !islow::checked(&block, &mut to, 8) {
            return None;
        }
        for (y, x) in (0..M).flat_map(|y| (0..M).map(move |x| (y, x))) {
            samples.0[y][x][lane] = to[8 * y + x];
        }
    }
    Some(())
}
