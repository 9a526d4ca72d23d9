//! Huffman codes as the kernel reads them.

use crate::decode::baseline::outline::Code;

/// Words of a code: 1 for DC and 0 for AC; by length `1..=16`, two in a word, the first 16 bits of what comes after the last code
/// of that length; by length, four in a word, the index of the symbol of the code 0, were there one, modulo 256; the symbols.
#[cfg(test)]
pub(super) const CODE_WORDS: usize = 1 + 8 + 4 + 64;

/// The codes of a scan, each of them once.
#[derive(Default)]
pub(super) struct Codes<'a> {
    found: Vec<(Code<'a>, bool)>,
}

impl<'a> Codes<'a> {
    /// The number of this code.
    pub(super) fn find(&mut self, code: Code<'a>, is_dc: bool) -> u32 {
        let found = self.found.iter().position(|found| *found == (code, is_dc));
        found.unwrap_or_else(|| {
            self.found.push((code, is_dc));
            self.found.len() - 1
        }) as u32
    }

    pub(super) fn count(&self) -> u32 {
        self.found.len() as u32
    }

    /// Appends all of them; `None` for one that libjpeg refuses.
    pub(super) fn write(&self, words: &mut Vec<u32>) -> Option<()> {
        self.found.iter().try_for_each(|(code, is_dc)| write(*code, *is_dc, words))
    }
}

fn write(Code { counts, symbols }: Code, is_dc: bool, words: &mut Vec<u32>) -> Option<()> {
    // As in the CPU's table: a DC difference has no run, and no code is all ones (C.2).
    if is_dc && symbols.iter().any(|&s| s > 15) {
        return None;
    }
    let (mut ends, mut offsets) = ([0_u16; 16], [0_u8; 16]);
    let (mut code, mut index) = (0_u32, 0_u32);
    for (length, &count) in (1..=16_u32).zip(counts) {
        offsets[length as usize - 1] = index.wrapping_sub(code) as u8;
        code += u32::from(count);
        index += u32::from(count);
        if code >= 1 << length {
            return None;
        }
        ends[length as usize - 1] = (code << (16 - length)) as u16;
        code <<= 1;
    }
    let mut bytes = [0; 256];
    bytes.get_mut(..symbols.len())?.copy_from_slice(symbols);
    words.push(is_dc.into());
    words.extend(ends.as_chunks::<2>().0.iter().map(|[low, high]| u32::from(*low) | u32::from(*high) << 16));
    words.extend(offsets.as_chunks::<4>().0.iter().map(|four| u32::from_le_bytes(*four)));
    words.extend(bytes.as_chunks::<4>().0.iter().map(|four| u32::from_le_bytes(*four)));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The codes 0, 10, 110, and of ten bits 11 1000 0000.
    const COUNTS: [u8; 16] = [1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];

    #[test]
    fn a_code_is_written_as_the_kernel_reads_it() {
        let mut codes = Codes::default();
        let code = Code { counts: &COUNTS, symbols: &[3, 1, 2, 0xf0] };
        assert_eq!([codes.find(code, false), codes.find(code, true), codes.find(code, false)], [0, 1, 0]);
        let mut words = Vec::new();
        assert_eq!(codes.write(&mut words), None, "no DC difference has 240 bits");
        words.clear();
        codes.found.pop();
        codes.write(&mut words).unwrap();
        assert_eq!(words.len(), CODE_WORDS);
        assert_eq!(
            words[..3],
            [0, 0xc000_8000, 0xe000_e000],
            "AC; after 0 and 10; after 110 and with none of four bits"
        );
        assert_eq!(words[5], 0xe040_e000, "after those of nine bits and of ten");
        // Of ten bits: 3 less than 0b11_1000_0000.
        assert_eq!(words[9 + 2].to_le_bytes()[1], 3_u8.wrapping_sub(0x80));
        assert_eq!(words[13], u32::from_le_bytes([3, 1, 2, 0xf0]));
    }

    #[test]
    fn codes_that_libjpeg_refuses_are_refused() {
        let write = |counts: [u8; 16], symbols: &[u8]| write(Code { counts: &counts, symbols }, true, &mut Vec::new());
        let mut counts = [0; 16];
        counts[0] = 2;
        assert_eq!(write(counts, &[0, 1]), None, "a code of ones only");
        counts[0] = 1;
        assert!(write(counts, &[0]).is_some());
        counts[1] = 5;
        assert_eq!(write(counts, &[0, 1, 2, 3, 4, 5]), None, "more codes than there are");
    }
}
