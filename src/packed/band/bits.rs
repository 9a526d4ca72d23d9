//! Strings of bits: the first is the lowest bit of the first byte.

/// Appends bits to bytes.
pub(in crate::packed) struct Writer<'a> {
    bytes: &'a mut Vec<u8>,
    waiting: u64,
    count: u32,
}

impl<'a> Writer<'a> {
    pub(in crate::packed) fn new(bytes: &'a mut Vec<u8>) -> Self {
        Self { bytes, waiting: 0, count: 0 }
    }

    /// Writes the low `count` bits, at most 32; the others must be 0.
    #[inline(always)]
    pub(in crate::packed) fn put(&mut self, bits: u32, count: u32) {
        self.waiting |= u64::from(bits) << self.count;
        self.count += count;
        if self.count >= 32 {
            self.bytes.extend_from_slice(&(self.waiting as u32).to_le_bytes());
            self.waiting >>= 32;
            self.count -= 32;
        }
    }

    /// Fills the last byte with zeros.
    pub(in crate::packed) fn finish(self) {
        let rest = self.count.div_ceil(8) as usize;
        self.bytes.extend_from_slice(&self.waiting.to_le_bytes()[..rest]);
    }
}

/// At least 57 bits from `bit` on. `None` past the end: there must be 8 bytes from the bit's own.
#[inline(always)]
pub(in crate::packed) fn peek(bytes: &[u8], bit: usize) -> Option<u64> {
    let word = bytes.get(bit >> 3..)?.first_chunk()?;
    Some(u64::from_le_bytes(*word) >> (bit & 7))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_seen() {
        let mut bytes = vec![0xee];
        let mut writer = Writer::new(&mut bytes);
        let pieces = [(1, 1), (0, 3), (0xdead_beef, 32), (5, 7), (u32::MAX, 32), (0, 0), (1, 2)];
        for (bits, count) in pieces {
            writer.put(bits, count);
        }
        writer.finish();
        assert_eq!(bytes.len(), 1 + 77_usize.div_ceil(8));
        bytes.extend([0; 8]);
        let mut at = 8;
        for (bits, count) in pieces {
            assert_eq!(peek(&bytes, at).unwrap() & ((1 << count) - 1), u64::from(bits));
            at += count as usize;
        }
        assert!(peek(&bytes, 8 * bytes.len() - 64).is_some());
        assert_eq!(peek(&bytes, 8 * bytes.len() - 56), None);
        assert_eq!(peek(&bytes, usize::MAX), None);
    }
}
