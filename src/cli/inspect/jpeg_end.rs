//! Whether a JPEG was cut short, told without decoding it.

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const RST0: u8 = 0xd0;
const RST7: u8 = 0xd7;
const TEM: u8 = 0x01;

/// Whether the image has its end-of-image marker. Segments are skipped by their lengths, so that a thumbnail's end does not count;
/// what follows the image's own end (a second picture, a film, padding) is not looked at.
pub(super) fn is_ended(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(2..).unwrap_or_default();
    // Within a scan's data 0xff is followed by 0 or by a restart marker.
    while let Some(at) = rest.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff)) {
        let marker = rest[at + 1];
        rest = &rest[at + 2..];
        match marker {
            EOI => return true,
            SOI | TEM | RST0..=RST7 => {}
            _ => {
                let Some(&[high, low]) = rest.first_chunk() else { return false };
                let length = usize::from(u16::from_be_bytes([high, low])).max(2);
                rest = rest.get(length..).unwrap_or_default();
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thumbnail in an APP1 segment, a progressive's second table, and two scans with a stuffed byte and a restart.
    fn cut() -> Vec<u8> {
        let thumbnail = [0xff, 0xe1, 0, 10, 0xff, 0xd8, 0xff, 0xda, 1, 2, 0xff, 0xd9];
        let scan = [0xff, 0xda, 0, 4, 1, 2, 3, 0xff, 0, 4, 0xff, 0xd3, 5];
        let table = [0xff, 0xff, 0xc4, 0, 4, 0xff, 0xd9];
        [&[0xff, 0xd8], &thumbnail[..], &scan, &table, &scan].concat()
    }

    #[test]
    fn a_jpeg_without_its_end_is_seen_and_an_end_within_a_segment_does_not_count() {
        let cut = cut();
        assert!((0..=cut.len()).all(|len| !is_ended(&cut[..len])));
        assert!(!is_ended(&[&cut[..], &[0xff]].concat()));
        assert!(is_ended(&[&cut[..], &[0xff, 0xd9]].concat()));
    }

    #[test]
    fn what_follows_the_end_is_not_looked_at() {
        for trailing in [&[0xff, 0xda, 0, 3][..], &[0xff, 0xd8, 0xff, 0xe1, 0xff, 0xff], &[0; 9]] {
            assert!(is_ended(&[&cut()[..], &[0xff, 0xd9], trailing].concat()));
        }
    }
}
