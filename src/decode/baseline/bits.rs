//! The entropy-coded data, bit by bit and block by block (ITU-T T.81 F.2.2).

use super::huffman::{CHAIN_BITS, Chain, LOOK_BITS, Symbol, Table};
use super::scaled;

/// Zigzag order to rows (T.81 figure A.6).
pub(super) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// A reader of bits. After a refill there are at least 56, zeros after a marker or the end of the data.
#[derive(Clone, Copy)]
pub(super) struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    /// The next bits, from the highest on. Below the `count`th may lie the start of the following byte.
    bits: u64,
    count: u32,
    /// How many of the bits were made up.
    made_up: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, bits: 0, count: 0, made_up: 0 }
    }

    /// A reader that begins at the bit `position` of the data as it is stored.
    pub(super) fn at(data: &'a [u8], position: u32) -> Self {
        let mut bits = Self { at: position as usize / 8, ..Self::new(data) };
        if !position.is_multiple_of(8) {
            bits.refill();
            bits.take(position % 8);
        }
        bits
    }

    /// The bit that is next, counted in the data as it is stored; `None` past the end, or where it does not fit.
    pub(super) fn position(&self) -> Option<u32> {
        let mut left = self.count.checked_sub(self.made_up)?;
        let mut at = self.at;
        // Back over the bytes that are not begun, and then over the one that is. A zero after 0xff is no byte of the data.
        while left > 0 {
            at = at.checked_sub(if self.data[..at].ends_with(&[0xff, 0]) { 2 } else { 1 })?;
            if left < 8 {
                return u32::try_from(8 * at as u64 + 8 - u64::from(left)).ok();
            }
            left -= 8;
        }
        u32::try_from(8 * at as u64).ok()
    }

    #[inline(always)]
    pub(super) fn refill(&mut self) {
        const ONES: u64 = 0x0101_0101_0101_0101;
        if let Some(next) = self.data.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_be_bytes(*next);
            // A byte 0xff is a zero byte of the complement.
            if (!word).wrapping_sub(ONES) & word & (ONES << 7) == 0 {
                // At a marker, the only place where there are more than 63 bits, the first byte is 0xff.
                self.bits |= word >> (self.count & 63);
                self.at += ((63 - self.count) >> 3) as usize;
                self.count |= 56;
                return;
            }
        }
        self.refill_bytes();
    }

    #[inline(never)]
    fn refill_bytes(&mut self) {
        while self.count < 56 {
            let byte = match self.data.get(self.at..) {
                Some([0xff, 0, ..]) => {
                    self.at += 2;
                    0xff
                }
                Some([byte, ..]) if *byte != 0xff => {
                    self.at += 1;
                    *byte
                }
                _ => {
                    self.count += 64;
                    self.made_up += 64;
                    return;
                }
            };
            self.bits |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// Whether bits were taken that are not in the file.
    pub(super) fn is_overrun(&self) -> bool {
        self.count < self.made_up
    }

    /// What comes after the data, from a marker on, which has to be next: within the byte that was begun nothing else may
    /// follow.
    pub(super) fn rest(&mut self) -> Option<&'a [u8]> {
        self.refill_bytes();
        let left = self.count.checked_sub(self.made_up)?;
        (self.made_up > 0 && left < 8).then(|| self.data.get(self.at..)).flatten()
    }

    /// Goes past `marker`, which has to be next.
    pub(super) fn pass_marker(&mut self, marker: u8) -> Option<()> {
        let is_next = self.rest()?.starts_with(&[0xff, marker]);
        *self = Self { at: self.at + 2, ..Self::new(self.data) };
        is_next.then_some(())
    }

    /// Whether the data ends soon without a marker. libjpeg warns of that where it has not yet used the last bytes.
    pub(super) fn is_near_bare_end(&self) -> bool {
        /// More than libjpeg reads ahead.
        const AHEAD: usize = 32;
        let rest = &self.data[self.at.min(self.data.len())..];
        let has_marker = || rest.windows(2).any(|pair| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff));
        rest.len() < AHEAD && !has_marker()
    }

    #[inline(always)]
    fn take(&mut self, count: u32) {
        self.bits <<= count & 63;
        self.count -= count;
    }

    /// The symbol that is next, and the bits that follow its code.
    #[inline(always)]
    fn symbol(&mut self, table: &Table) -> Option<(Symbol, u64)> {
        let mut symbol = table.look[(self.bits >> (64 - LOOK_BITS)) as usize];
        if symbol.is_none() {
            symbol = table.long(self.bits)?;
        }
        let magnitude = self.bits << (symbol.code_bits() & 63);
        self.take(symbol.takes());
        Some((symbol, magnitude))
    }

    /// Takes the DC difference, leaving at least 29 bits of those that a refill gives.
    #[inline(always)]
    fn difference(&mut self, table: &Table) -> Option<i32> {
        self.refill();
        let (symbol, magnitude) = self.symbol(table)?;
        Some(extend(magnitude, symbol.size()))
    }

    /// Reads the low M x M coefficients of a block into `block`, zeros but for the place that nothing reads. They are
    /// dequantised, `steps` being zero for the others, and put where [`scaled::PLACES`] says; but the first is returned as
    /// a difference, with the sum of the others' absolute values.
    ///
    /// A coefficient takes at most 26 bits, so a refill serves for two. What comes after the square's last is passed over.
    #[inline(always)]
    pub(super) fn block<const M: usize>(
        &mut self,
        dc: &Table,
        ac: &Table,
        steps: &[i32; 64],
        block: &mut [i16; 64],
    ) -> Option<(i32, u32)> {
        if M == 1 {
            return Some((self.skip_block(dc, ac)?, 0));
        }
        let last = const { scaled::last(M) };
        let difference = self.difference(dc)?;
        let (mut at, mut sum) = (0_u32, 0_u32);
        macro_rules! coefficient {
            () => {
                let (symbol, magnitude) = self.symbol(ac)?;
                at += symbol.step();
                if at > last {
                    break;
                }
                let value = extend(magnitude, symbol.size()) * steps[at as usize];
                sum += value.unsigned_abs();
                block[usize::from(scaled::PLACES[M][at as usize] & 63)] = value as i16;
                if at == last {
                    break;
                }
            };
        }
        loop {
            coefficient!();
            self.refill();
            coefficient!();
        }
        if M < 8 {
            if at < 63 {
                self.refill();
                self.skip_rest(ac, at)?;
            }
            return Some((difference, sum));
        }
        // Past the end without an end of block: a run that is too long.
        (at <= 63 || at >= Symbol::END).then_some((difference, sum))
    }

    /// Goes past a block; gives its DC difference.
    #[inline(always)]
    pub(super) fn skip_block(&mut self, dc: &Table, ac: &Table) -> Option<i32> {
        let difference = self.difference(dc)?;
        self.skip_rest(ac, 0)?;
        Some(difference)
    }

    /// Goes past the coefficients of a block that come after `at`, which is below 63. There are 28 bits or more.
    #[inline(always)]
    fn skip_rest(&mut self, ac: &Table, mut at: u32) -> Option<()> {
        let chains: &[Chain; 1 << CHAIN_BITS] = ac.chain.first_chunk()?;
        macro_rules! chain {
            () => {
                let chain = chains[(self.bits >> (64 - CHAIN_BITS)) as usize];
                let next = at + chain.step();
                if next < 63 {
                    self.take(chain.takes());
                    at = next;
                } else if next == 63 || (Chain::END..Chain::END + 63).contains(&next) {
                    self.take(chain.takes());
                    break;
                } else {
                    // The block may end before the chain does.
                    at += self.symbol(ac)?.0.step();
                    if at >= 63 {
                        break;
                    }
                }
            };
        }
        loop {
            chain!();
            self.refill();
            chain!();
        }
        Some(())
    }
}

/// F.2.2.1, EXTEND: the value of `size` magnitude bits, which are the highest of `bits`.
#[inline(always)]
fn extend(bits: u64, size: u32) -> i32 {
    let value = (bits >> 1 >> (63 - (size & 63))) as i32;
    let is_negative = !((bits as i64 >> 63) as i32);
    value - (is_negative & ((1 << (size & 31)) - 1))
}
