//! The best Huffman code of at most 16 bits for counted symbols, by the procedure of ITU-T T.81 annex K.2.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A code: how many codes there are of each length `1..=16`, and the symbols in the order of their codes (T.81 C).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) counts: [u8; 16],
    pub(super) symbols: Vec<u8>,
    /// By symbol: its code and the code's length, 0 for none.
    codes: [(u16, u8); 256],
}

/// Longest code that a JPEG may have.
const LONGEST: usize = 16;
/// More than a tree over any number of coefficients that fits into memory is high.
const HIGHEST: usize = 96;

impl Code {
    /// The code for symbols that occur `frequencies` times. A scan needs one even if nothing occurs.
    pub(super) fn best(frequencies: &[u64; 256]) -> Self {
        // One more symbol takes the place of the code of all ones, which must stay free.
        let mut leaves: Vec<(u64, Option<u8>)> = vec![(1, None)];
        leaves.extend((0..=255).map(|s| (frequencies[usize::from(s)], Some(s))).filter(|leaf| leaf.0 > 0));
        if leaves.len() == 1 {
            leaves.push((1, Some(0)));
        }
        let lengths = lengths(leaves.iter().map(|leaf| leaf.0));
        let mut counts = [0_usize; HIGHEST];
        for length in lengths {
            counts[length] += 1;
        }
        limit(&mut counts);
        // The free code is the last of the longest.
        if let Some(longest) = counts.iter_mut().rev().find(|n| **n > 0) {
            *longest -= 1;
        }
        let mut symbols: Vec<u8> = leaves.into_iter().filter_map(|leaf| leaf.1).collect();
        symbols.sort_by_key(|&symbol| Reverse(frequencies[usize::from(symbol)]));
        let mut codes = [(0, 0); 256];
        let (mut code, mut rest) = (0_u16, symbols.iter());
        for (length, &count) in counts.iter().enumerate().take(LONGEST + 1).skip(1) {
            for &symbol in rest.by_ref().take(count) {
                codes[usize::from(symbol)] = (code, length as u8);
                code += 1;
            }
            code <<= 1;
        }
        let counts = std::array::from_fn(|i| counts[i + 1] as u8);
        Self { counts, symbols, codes }
    }

    /// A symbol's code, in its low bits, and its length.
    pub(super) fn code(&self, symbol: u8) -> (u16, u8) {
        let code = self.codes[usize::from(symbol)];
        debug_assert!(code.1 > 0, "the symbol {symbol} was counted");
        code
    }
}

/// Depth of each leaf in Huffman's tree.
fn lengths(weights: impl Iterator<Item = u64>) -> Vec<usize> {
    let mut nodes: BinaryHeap<Reverse<(u64, usize)>> = weights.zip(0..).map(Reverse).collect();
    let leaves = nodes.len();
    let mut parents = vec![0; 2 * leaves - 1];
    let mut next = leaves;
    while let (Some(Reverse(a)), Some(Reverse(b))) = (nodes.pop(), nodes.pop()) {
        parents[a.1] = next;
        parents[b.1] = next;
        nodes.push(Reverse((a.0 + b.0, next)));
        next += 1;
        if nodes.len() == 1 {
            break;
        }
    }
    // Parents come after their children, the root last.
    let mut depths = vec![0; parents.len()];
    for node in (0..parents.len() - 1).rev() {
        depths[node] = depths[parents[node]] + 1;
    }
    depths.truncate(leaves);
    depths
}

/// Shortens codes of more than 16 bits (figure K.3): of two such siblings one takes the place of their common beginning, and
/// the other becomes the sibling of a shorter code.
fn limit(counts: &mut [usize; HIGHEST]) {
    for length in (LONGEST + 1..HIGHEST).rev() {
        while counts[length] > 0 {
            let Some(shorter) = (1..length - 1).rev().find(|&l| counts[l] > 0) else { break };
            counts[length] -= 2;
            counts[length - 1] += 1;
            counts[shorter + 1] += 2;
            counts[shorter] -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits that the symbols take.
    fn cost(code: &Code, frequencies: &[u64; 256]) -> u64 {
        frequencies.iter().zip(&code.codes).map(|(n, code)| n * u64::from(code.1)).sum()
    }

    fn check(code: &Code) {
        let codes: Vec<_> = code.symbols.iter().map(|&s| code.code(s)).collect();
        for (i, a) in codes.iter().enumerate() {
            assert!((1..=16).contains(&a.1) && u32::from(a.0) + 1 < 1 << a.1, "{a:?} is no code of ones");
            for b in &codes[i + 1..] {
                assert_ne!(a.0, b.0 >> (b.1 - a.1), "{a:?} is no beginning of {b:?}");
            }
        }
        assert_eq!(code.counts.iter().map(|&n| usize::from(n)).sum::<usize>(), code.symbols.len());
    }

    #[test]
    fn four_even_symbols_and_the_free_code_take_two_and_three_bits() {
        let mut frequencies = [0; 256];
        frequencies[3..7].fill(10);
        let code = Code::best(&frequencies);
        assert_eq!(code.counts[..4], [0, 3, 1, 0]);
        assert_eq!(cost(&code, &frequencies), 90);
        check(&code);
    }

    #[test]
    fn steep_frequencies_are_held_to_sixteen_bits() {
        let mut frequencies = [0; 256];
        let (mut a, mut b) = (1_u64, 1_u64);
        for frequency in frequencies.iter_mut().take(60) {
            *frequency = a;
            (a, b) = (b, a + b);
        }
        let code = Code::best(&frequencies);
        assert_eq!(code.symbols.len(), 60);
        assert_eq!(code.symbols[0], 59, "the most frequent first");
        check(&code);
    }

    #[test]
    fn all_symbols_and_none_have_a_code() {
        check(&Code::best(&[1; 256]));
        let none = Code::best(&[0; 256]);
        assert_eq!((none.counts[0], &none.symbols[..]), (1, &[0][..]));
        check(&none);
    }
}
