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
                    let row: i32 = (0..4)
                        .map(|x| {
                            // SAFETY: the caller's promise.
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
mod x86;

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
