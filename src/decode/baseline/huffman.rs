//! Tables for decoding Huffman codes, and a store of those that were built.

/// A code as a file defines it: number of codes of each length `1..=16`, symbols in the order of their codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spec<'a> {
    pub(super) counts: &'a [u8; 16],
    pub(super) symbols: &'a [u8],
}

/// Bits that a look-up sees. Of ImageNet's codes 99 % and more are that short, and two tables leave room in a 32 KiB cache.
pub(super) const LOOK_BITS: u32 = 10;
/// Bits that a look-up of several symbols sees.
pub(super) const CHAIN_BITS: u32 = 11;
/// Most bits that one step of [`Table::chain`] takes: two steps fit into what a refill gives.
const CHAIN_TAKES: u32 = 28;

/// A symbol: bits of code and magnitude together, how far it moves in the block, bits of the code, bits of the magnitude.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Symbol(u32);

impl Symbol {
    /// A code that is too long for the table or does not exist.
    const NONE: Self = Self(0);
    /// [`Self::step`] of an end of block.
    pub(super) const END: u32 = 128;

    /// F.2.2: run and size of an AC coefficient, the size alone of a DC difference. `None` for sizes that 8-bit samples
    /// do not have.
    fn new(code_bits: u32, symbol: u8, is_dc: bool) -> Option<Self> {
        let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        let largest = if is_dc { 11 } else { 10 };
        let step = match (run, size) {
            (15, 0) => 16,
            (_, 0) => Self::END,
            _ => run + 1,
        };
        let is_known = size <= largest && (!is_dc || run == 0);
        is_known.then_some(Self((code_bits + size) | (step << 8) | (code_bits << 16) | (size << 24)))
    }

    #[inline(always)]
    pub(super) fn is_none(self) -> bool {
        self.0 == 0
    }
    /// Bits to take.
    #[inline(always)]
    pub(super) fn takes(self) -> u32 {
        self.0 & 0xff
    }
    /// Coefficients to move on, zeros included.
    #[inline(always)]
    pub(super) fn step(self) -> u32 {
        self.0 >> 8 & 0xff
    }
    #[inline(always)]
    pub(super) fn code_bits(self) -> u32 {
        self.0 >> 16 & 0xff
    }
    #[inline(always)]
    pub(super) fn size(self) -> u32 {
        self.0 >> 24
    }
}

/// Several symbols whose values are of no interest: bits to take and coefficients to move on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chain(u16);

impl Chain {
    /// Added to the step where the last symbol ends the block.
    pub(super) const END: u32 = 256;
    /// The first symbol is not in the table: a step that leads nowhere.
    const NONE: Self = Self(128 << 6);

    #[inline(always)]
    pub(super) fn takes(self) -> u32 {
        u32::from(self.0) & 63
    }
    #[inline(always)]
    pub(super) fn step(self) -> u32 {
        u32::from(self.0) >> 6
    }
}

/// A Huffman code made ready for decoding.
pub(super) struct Table {
    counts: [u8; 16],
    symbols: [u8; 256],
    is_dc: bool,
    used: u64,
    /// By the next [`LOOK_BITS`] bits.
    pub(super) look: [Symbol; 1 << LOOK_BITS],
    /// By the next [`CHAIN_BITS`] bits: as many symbols as have their codes in these. Empty until it is asked for.
    pub(super) chain: Vec<Chain>,
    /// By length: the first 16 bits of what comes after the last code of that length.
    ends: [u32; 17],
    /// By length: index of the symbol of the code 0, were there one.
    offsets: [i32; 17],
}

impl Table {
    const fn empty() -> Self {
        Self {
            counts: [0; 16],
            symbols: [0; 256],
            is_dc: false,
            used: 0,
            look: [Symbol::NONE; 1 << LOOK_BITS],
            chain: Vec::new(),
            ends: [0; 17],
            offsets: [0; 17],
        }
    }

    fn is(&self, spec: Spec, is_dc: bool) -> bool {
        self.used > 0
            && self.is_dc == is_dc
            && self.counts == *spec.counts
            && self.symbols[..spec.symbols.len()] == *spec.symbols
    }

    /// Builds the table; `None` for what libjpeg refuses. The table is then no longer what it was.
    fn build(&mut self, spec: Spec, is_dc: bool) -> Option<()> {
        self.used = 0;
        self.counts = *spec.counts;
        self.symbols[..spec.symbols.len()].copy_from_slice(spec.symbols);
        self.is_dc = is_dc;
        self.look.fill(Symbol::NONE);
        self.chain.clear();
        if is_dc && spec.symbols.iter().any(|&s| s > 15) {
            return None;
        }
        let (mut code, mut index) = (0_u32, 0_usize);
        for length in 1..=16_u32 {
            let count = u32::from(spec.counts[length as usize - 1]);
            self.offsets[length as usize] = index as i32 - code as i32;
            for _ in 0..count {
                if length <= LOOK_BITS {
                    let symbol = Symbol::new(length, *spec.symbols.get(index)?, is_dc).unwrap_or(Symbol::NONE);
                    let first = (code << (LOOK_BITS - length)) as usize;
                    self.look.get_mut(first..first + (1 << (LOOK_BITS - length)))?.fill(symbol);
                }
                code += 1;
                index += 1;
            }
            // No code is all ones (C.2).
            if code >= 1 << length {
                return None;
            }
            self.ends[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Some(())
    }

    fn build_chain(&mut self) {
        self.chain.reserve_exact(1 << CHAIN_BITS);
        for window in 0..1_u32 << CHAIN_BITS {
            let (mut takes, mut step) = (0, 0);
            loop {
                let rest = window << takes & ((1 << CHAIN_BITS) - 1);
                let symbol = self.look[(rest >> (CHAIN_BITS - LOOK_BITS)) as usize];
                // Past the window there are zeros: a code that reaches there was not seen.
                if symbol.is_none() || takes + symbol.code_bits() > CHAIN_BITS || takes + symbol.takes() > CHAIN_TAKES {
                    break;
                }
                takes += symbol.takes();
                if symbol.step() == Symbol::END {
                    step += Chain::END;
                    break;
                }
                step += symbol.step();
                if takes >= CHAIN_BITS {
                    break;
                }
            }
            self.chain.push(if takes == 0 { Chain::NONE } else { Chain((takes | step << 6) as u16) });
        }
    }

    /// The symbol at the start of `bits` where [`Table::look`] has none; `None` for a bad code or size.
    #[cold]
    pub(super) fn long(&self, bits: u64) -> Option<Symbol> {
        let code = (bits >> 48) as u32;
        let length = (1..=16).find(|&length| code < self.ends[length as usize])?;
        let index = self.offsets[length as usize] + (code >> (16 - length)) as i32;
        Symbol::new(length, self.symbols[index as usize & 255], self.is_dc)
    }
}

/// Tables that were built, since most files share a few.
pub(super) struct Tables {
    tables: Vec<Table>,
    clock: u64,
}

/// More than one image uses: two for each of four components.
const TABLES: usize = 12;

impl Tables {
    pub(super) fn new() -> Self {
        Self { tables: Vec::new(), clock: 0 }
    }

    /// The index of the table for this code, which stays until [`TABLES`] others were asked for; `None` for a bad code.
    pub(super) fn find(&mut self, spec: Spec, is_dc: bool, has_chain: bool) -> Option<usize> {
        if self.tables.is_empty() {
            self.tables.resize_with(TABLES, Table::empty);
        }
        self.clock += 1;
        let index = match self.tables.iter().position(|table| table.is(spec, is_dc)) {
            Some(index) => index,
            None => {
                let index = (0..TABLES).min_by_key(|&i| self.tables[i].used)?;
                self.tables[index].build(spec, is_dc)?;
                index
            }
        };
        let table = &mut self.tables[index];
        table.used = self.clock;
        if has_chain && table.chain.is_empty() {
            table.build_chain();
        }
        Some(index)
    }

    pub(super) fn get(&self, index: usize) -> &Table {
        &self.tables[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The codes 00, 01, 100, 101, 110, 1110 and, of 12 bits, 1111 0000 0000.
    const COUNTS: [u8; 16] = [0, 2, 3, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    const SYMBOLS: [u8; 7] = [0x01, 0x00, 0x12, 0xf0, 0x3a, 0x0b, 0x05];
    const SPEC: Spec = Spec { counts: &COUNTS, symbols: &SYMBOLS };

    #[test]
    fn each_code_gives_its_symbol() {
        let mut tables = Tables::new();
        let index = tables.find(SPEC, false, true).expect("the code is sound");
        let table = tables.get(index);
        let fields = |s: Symbol| [s.code_bits(), s.takes(), s.step(), s.size()];
        assert_eq!(fields(table.look[0]), [2, 3, 1, 1]);
        assert_eq!(fields(table.look[0b01 << 8 | 0xff]), [2, 2, Symbol::END, 0]);
        assert_eq!(fields(table.look[0b100 << 7]), [3, 5, 2, 2]);
        assert_eq!(fields(table.look[0b101 << 7]), [3, 3, 16, 0]);
        assert_eq!(fields(table.look[0b110 << 7]), [3, 13, 4, 10]);
        assert!(table.look[0b1110 << 6].is_none(), "a size of 11 is left to libjpeg");
        assert!(table.look[0b1111 << 6].is_none(), "longer than the table");
        assert_eq!(table.long(0xf00 << 52).map(fields), Some([12, 17, 1, 5]));
        assert_eq!(table.long(0xf01 << 52), None, "there is no such code");
        assert_eq!(table.long(0b1110 << 60), None);
    }

    #[test]
    fn a_chain_takes_the_symbols_whose_codes_it_sees() {
        let mut tables = Tables::new();
        let index = tables.find(SPEC, false, true).expect("the code is sound");
        let chain = |window: usize| (tables.get(index).chain[window].takes(), tables.get(index).chain[window].step());
        assert_eq!(chain(0b001_0010_0101), (11, 3 + Chain::END), "three ones, then the end");
        assert_eq!(chain(0b101_1010_1111), (8, 32 + Chain::END));
        assert_eq!(chain(0b110 << 8), (13, 4), "the magnitude reaches past what is seen");
        assert_eq!(chain(0b1111_0000), (3, 1), "the second code is not seen whole");
        assert_eq!(chain(0b1110 << 7), (0, 128));
    }

    #[test]
    fn codes_that_libjpeg_refuses_are_refused() {
        let mut tables = Tables::new();
        let mut find = |counts: [u8; 16], symbols: &[u8], is_dc: bool| {
            tables.find(Spec { counts: &counts, symbols }, is_dc, false).is_some()
        };
        let mut counts = [0; 16];
        counts[0] = 2;
        assert!(!find(counts, &[0, 1], true), "a code of ones only");
        counts[0] = 1;
        assert!(find(counts, &[0], true));
        assert!(!find(counts, &[16], true), "no DC difference has 16 bits");
        counts[1] = 5;
        assert!(!find(counts, &[0, 1, 2, 3, 4, 5], true), "more codes than there are");
    }

    #[test]
    fn a_table_stays_while_others_come() {
        let mut tables = Tables::new();
        let first = tables.find(SPEC, false, true);
        for symbol in 0..11 {
            let mut symbols = SYMBOLS;
            symbols[0] = symbol + 1;
            assert_ne!(tables.find(Spec { counts: &COUNTS, symbols: &symbols }, true, false), first);
            assert_eq!(tables.find(SPEC, false, true), first);
        }
    }
}
