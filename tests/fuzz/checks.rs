//! What must hold for any bytes. Each check takes raw bytes: from a fuzzer (`targets`), or from `tests/fuzz.rs`.

use bandfeed::DecodeError;
use bandfeed::decode::{Decoder, Format, Limits};
use bandfeed::packed::{Coefficients, Record, Shard, pack};
use bandfeed::shape::{Rect, Size};
use std::sync::atomic::{AtomicU64, Ordering};

fn limits() -> Limits {
    Limits { max_pixels: 1 << 20, max_scans: 32 }
}

fn decoder() -> Decoder {
    Decoder::new(limits()).expect("the limits are in range").with_own_decoder()
}

/// A record decodes to the same pixels or the same kind of error in every way, and what it holds can be written as a JPEG of
/// these pixels. Its checksums are set right first, so that what lies behind them is reached.
pub(crate) fn record(data: &[u8]) {
    let mut bytes = data.to_vec();
    repair(&mut bytes);
    let Ok(header) = decoder().header(&bytes) else { return };
    if header.format != Format::Packed {
        return;
    }
    let record = Record::open(&bytes, &limits()).expect("the header was read");
    let mut ways = [decoder(), decoder().without_avx512(), decoder().without_vectors()];
    let whole: Vec<_> = ways.iter_mut().map(|way| way.decode(&bytes)).collect();
    assert!(whole.windows(2).all(|w| w[0] == w[1]), "the ways differ");
    let part = |side: u32| Rect { x: side / 3, y: side / 4, width: (side / 2).max(1), height: 1 };
    let region = Rect { height: header.size.height.div_ceil(2), y: 0, ..part(header.size.width) };
    for need in [1, 2, 9, 31] {
        let mut decode = |way: &mut Decoder| {
            let patch = way.decode_region(&bytes, &header, region, Size::square(need));
            patch.map(|patch| (patch.scale, patch.pixels.to_vec())).map_err(|_| ())
        };
        let parts: Vec<_> = ways.iter_mut().map(&mut decode).collect();
        assert!(parts.windows(2).all(|w| w[0] == w[1]), "the ways differ");
    }
    if let Ok(coefficients) = record.coefficients()
        && let Ok(jpeg) = coefficients.to_jpeg()
        && let Ok(again) = Coefficients::from_jpeg(&jpeg, &limits())
    {
        assert!(again.components == coefficients.components, "the JPEG has other coefficients");
        // A head may say another colour or orientation than the segments do.
        if again == coefficients
            && let (Ok(record), Ok(jpeg)) = (&whole[0], decoder().decode(&jpeg))
        {
            assert!(*record == jpeg, "the JPEG has other pixels");
        }
    }
}

/// Where the own decoder makes pixels of a file, libjpeg-turbo makes the same of it and has nothing to say; and a packed file has
/// them too.
pub(crate) fn jpeg(data: &[u8]) {
    let mut own = decoder();
    let pixels = own.decode(data);
    let turbo = decoder().without_own_decoder().decode(data);
    let is_jpeg = Format::of(data) == Some(Format::Jpeg);
    if own.own_decodes() > 0 && is_jpeg {
        let turbo = turbo.as_ref().expect("libjpeg-turbo reads what the own decoder reads");
        assert_eq!(turbo.warning, None, "libjpeg-turbo warns of what the own decoder reads");
    }
    assert!(pixels == turbo, "the decoders differ");
    if !is_jpeg {
        return;
    }
    let packed = pack(data, "x.jpg", 0, &limits()).expect("the file is small");
    let again = decoder().decode(&packed.bytes);
    match (&again, &pixels) {
        (Ok(again), Ok(pixels)) => assert!(again.data == pixels.data, "packing changed the pixels"),
        (Err(DecodeError::Limit { .. }), _) | (_, Err(DecodeError::Limit { .. })) => {}
        _ => assert_eq!(again.is_ok(), pixels.is_ok(), "packing made or mended an error"),
    }
}

/// A shard opens or says why not, and every record of one that opens can be asked for.
pub(crate) fn shard(data: &[u8]) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("bandfeed-fuzz-{}-{number}.bands", std::process::id()));
    let mut bytes = data.to_vec();
    repair_shard(&mut bytes);
    std::fs::write(&path, &bytes).expect("the temporary folder is writable");
    if let Ok(shard) = Shard::open(&path) {
        for index in 0..shard.len() {
            let (bytes, entry) = (shard.bytes(index), shard.entry(index));
            assert_eq!(bytes.len() as u64, entry.len);
            for rings in 1..=8 {
                let range = entry.range(rings);
                assert!(range.end >= range.start && range.end <= entry.offset + entry.len, "{range:?}");
            }
            let _ = (shard.key(index), shard.name(index), shard.verify(index, &limits()));
        }
    }
    std::fs::remove_file(&path).expect("the file is there");
}

fn crc(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).to_le_bytes()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?) as usize)
}

/// Sets the checksums of a record right, as far as its head can be read (docs/packed-records.md).
pub(crate) fn repair(bytes: &mut [u8]) {
    if let Some(head) = u32_at(bytes, 8).filter(|&len| (80..=bytes.len()).contains(&len)) {
        if bytes[6] == 0 {
            let _ = repair_bands(bytes, head);
        }
        let sum = crc(&bytes[..head - 4]);
        bytes[head - 4..head].copy_from_slice(&sum);
    }
}

fn repair_bands(bytes: &mut [u8], head: usize) -> Option<()> {
    let (components, tables) = (usize::from(*bytes.get(60)?), *bytes.get(62)?);
    let mut at = 76 + usize::from(u16::from_le_bytes([*bytes.get(64)?, *bytes.get(65)?]));
    for _ in 0..tables.min(4) {
        at += if *bytes.get(at)? == 1 { 129 } else { 65 };
    }
    at += 40 * components;
    let (width, height) = (u16::from_le_bytes([bytes[56], bytes[57]]), u16::from_le_bytes([bytes[58], bytes[59]]));
    let factors: Vec<(usize, usize)> = (0..components)
        .map(|c| bytes.get(at - 40 * (components - c) + 1).map(|f| (usize::from(f >> 4), usize::from(f & 15))))
        .collect::<Option<_>>()?;
    let largest = factors.iter().fold((1, 1), |l, f| (l.0.max(f.0), l.1.max(f.1)));
    let mut section = head;
    for _ in 0..5 {
        let (mut index, mut payload) = (0, 0);
        for (c, factor) in factors.iter().enumerate() {
            let entry = at + 8 + 5 * c;
            let blocks = |side: u16, factor: usize, largest: usize| (usize::from(side) * factor).div_ceil(8 * largest);
            let columns = blocks(width, factor.0, largest.0).div_ceil(8);
            let rows = blocks(height, factor.1, largest.1).div_ceil(4);
            index += (columns * rows * usize::from(*bytes.get(entry + 4)?)).div_ceil(8);
            payload += u32_at(bytes, entry)?;
        }
        let sums = [section..section + index, section + index..section + index + payload].map(|part| bytes.get(part));
        let [index_sum, payload_sum] = [crc(sums[0]?), crc(sums[1]?)];
        bytes.get_mut(at..at + 4)?.copy_from_slice(&index_sum);
        bytes.get_mut(at + 4..at + 8)?.copy_from_slice(&payload_sum);
        at += 8 + 5 * components;
        section = (section + index + payload + 8).next_multiple_of(4);
    }
    Some(())
}

/// Sets the checksums of a shard's head, footer and index right.
pub(crate) fn repair_shard(bytes: &mut [u8]) {
    let Some(footer) = bytes.len().checked_sub(64).filter(|&at| at >= 64) else { return };
    let index = u32_at(bytes, footer + 16).and_then(|start| bytes.get(start..footer)).map(crc);
    if let Some(sum) = index {
        bytes[footer + 52..footer + 56].copy_from_slice(&sum);
    }
    for at in [0, footer] {
        let sum = crc(&bytes[at..at + 60]);
        bytes[at + 60..at + 64].copy_from_slice(&sum);
    }
}
