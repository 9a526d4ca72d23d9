use super::*;
use crate::decode::{Decoder, Limits};
use crate::error::DecodeError;
use crate::packed::samples::{self, Filling};
use crate::packed::{Coefficients, Tile, bands_for};
use crate::rng::{Draw, Purpose};
use crate::shape::Rect;
use turbojpeg::Subsamp;

fn packed(file: &[u8]) -> Vec<u8> {
    let packed = pack(file, "a/b.jpg", 3, &Limits::default()).unwrap();
    assert_eq!(packed.stored, None);
    packed.bytes
}

fn open(bytes: &[u8]) -> Record<'_> {
    Record::open(bytes, &Limits::default()).expect("an own record opens")
}

#[test]
fn a_jpeg_comes_back_with_its_coefficients_metadata_and_pixels() {
    let kinds = [Subsamp::None, Subsamp::Sub2x2, Subsamp::Sub2x1, Subsamp::Sub1x2, Subsamp::Sub4x1, Subsamp::Gray];
    for (kind, progressive) in kinds.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let jpeg = samples::with_orientation(&samples::jpeg(211, 147, kind, progressive), 8);
        let bytes = packed(&jpeg);
        let record = open(&bytes);
        assert_eq!(record.head().len, bytes.len() as u64);
        assert_eq!((record.head().key.as_str(), record.head().label), ("a/b.jpg", 3));
        assert_eq!(record.head().original_len, jpeg.len() as u64);
        assert_eq!(record.image().unwrap().orientation.to_exif(), 8);
        let coefficients = record.coefficients().unwrap();
        assert_eq!(coefficients, Coefficients::from_jpeg(&jpeg, &Limits::default()).unwrap());
        let mut decoder = Decoder::new(Limits::default()).unwrap();
        let again = coefficients.to_jpeg().unwrap();
        assert_eq!(decoder.decode(&again).unwrap(), decoder.decode(&jpeg).unwrap(), "{kind:?}");
        assert!(matches!(record.stored(), Err(DecodeError::Unsupported { .. })));
    }
}

#[test]
fn made_up_coefficients_of_all_kinds_come_back() {
    for sampling in [vec![(2, 2)], vec![(1, 1), (1, 1), (1, 1)], vec![(3, 1), (1, 2), (4, 4), (1, 1)]] {
        for filling in [Filling::Zero, Filling::Sparse, Filling::Dense, Filling::Single, Filling::Extreme] {
            for size in [(1, 1), (9, 70), (300, 41)] {
                let coefficients = samples::coefficients(5, size, &sampling, filling);
                let bytes = packed(&coefficients.to_jpeg().unwrap());
                assert!(open(&bytes).coefficients().unwrap() == coefficients, "{sampling:?} {filling:?} {size:?}");
            }
        }
    }
}

#[test]
fn what_is_no_whole_jpeg_is_stored_as_it_is() {
    let cut = samples::jpeg(60, 60, Subsamp::None, false);
    for file in [&b"GIF89a"[..], b"", &cut[..900]] {
        let packed = pack(file, "", 0, &Limits::default()).unwrap();
        assert!(packed.stored.is_some());
        let record = open(&packed.bytes);
        assert_eq!((record.stored().unwrap(), record.metadata().unwrap()), (file, &[][..]));
        assert_eq!(record.prefix_len(1), packed.bytes.len() as u64);
        assert!(matches!(record.coefficients(), Err(DecodeError::Unsupported { .. })));
    }
}

/// All tiles of a component that touch `blocks`, the rings below `rings`.
fn tiles(record: &Record, component: usize, rings: u8, blocks: Rect) -> (Vec<(u32, u32, Tile)>, Touched) {
    let mut tiles = Vec::new();
    let touched = TileDecoder::new()
        .decode(record, component, rings, blocks, |column, row, tile| tiles.push((column, row, tile.clone())))
        .expect("the tiles are sound");
    (tiles, touched)
}

#[test]
fn a_prefix_has_the_low_rings_of_the_whole() {
    let bytes = packed(&samples::jpeg(211, 147, Subsamp::Sub2x2, false));
    let whole = open(&bytes);
    for rings in 1..=8 {
        let len = whole.prefix_len(rings) as usize;
        let prefix = open(&bytes[..len]);
        prefix.verify(rings).unwrap();
        for component in 0..3 {
            let all = Rect::whole(whole.image().unwrap().components[component].blocks);
            let low = tiles(&prefix, component, rings, all).0;
            for (low, full) in low.iter().zip(tiles(&whole, component, 8, all).0) {
                assert_eq!((low.0, low.1), (full.0, full.1));
                for place in (0..64).filter(|p| p / 8 < usize::from(rings) && p % 8 < usize::from(rings)) {
                    assert_eq!(low.2.values[place], full.2.values[place], "{rings} rings, place {place}");
                }
            }
            // One byte less is an error, and more rings too.
            let short = open(&bytes[..len - 1]);
            assert!(TileDecoder::new().decode(&short, component, rings, all, |_, _, _| {}).is_err());
        }
    }
    let bands: Vec<u64> = [1, 3, 4, 6, 8].map(|rings| whole.prefix_len(rings)).into();
    assert!(bands.windows(2).all(|w| w[0] < w[1]), "{bands:?}");
}

#[test]
fn a_rectangle_gives_its_tiles_and_looks_at_no_others() {
    let mut bytes = packed(&samples::jpeg(300, 200, Subsamp::None, false));
    let whole = open(&bytes);
    let blocks = whole.image().unwrap().components[1].blocks;
    let (all, everything) = tiles(&whole, 1, 8, Rect::whole(blocks));
    let payload: u64 =
        whole.image().unwrap().components[1].chunks.iter().map(|c| c.payload.end - c.payload.start).sum();
    assert_eq!(everything.payload, payload);

    let rectangle = Rect { x: 7, y: 3, width: 10, height: 5 };
    let (some, touched) = tiles(&whole, 1, 3, rectangle);
    let places: Vec<_> = some.iter().map(|t| (t.0, t.1)).collect();
    assert_eq!(places, [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]);
    for tile in &some {
        let full = all.iter().find(|t| (t.0, t.1) == (tile.0, tile.1)).unwrap();
        for place in [0, 1, 2, 8, 9, 10, 16, 17, 18] {
            assert_eq!(tile.2.values[place], full.2.values[place]);
        }
    }
    assert!(touched.payload * 3 < payload, "{touched:?} of {payload}");

    // Whatever else there is in the payload is destroyed, and nothing changes.
    let mut kept = vec![false; bytes.len()];
    {
        let whole = open(&bytes);
        let image = whole.image().unwrap();
        let mut starts = TileDecoder::new();
        starts.decode(&whole, 1, 8, Rect::whole(blocks), |_, _, _| {}).unwrap();
        for (band, section) in image.bands.iter().enumerate() {
            kept[section.index.start as usize..section.index.end as usize].fill(true);
            if band < bands_for(3) {
                let start = image.components[1].chunks[band].payload.start;
                for (column, row) in &places {
                    let tile = (row * blocks.width.div_ceil(8) + column) as usize;
                    let chunk = start + starts.starts[band][tile]..start + starts.starts[band][tile + 1];
                    kept[chunk.start as usize..chunk.end as usize].fill(true);
                }
            }
        }
        kept[..image.bands[0].index.start as usize].fill(true);
    }
    for (byte, kept) in bytes.iter_mut().zip(kept) {
        if !kept {
            *byte = !*byte;
        }
    }
    let (again, _) = tiles(&open(&bytes), 1, 3, rectangle);
    for (a, b) in again.iter().zip(&some) {
        for place in [0, 1, 2, 8, 9, 10, 16, 17, 18] {
            assert_eq!(a.2.values[place], b.2.values[place]);
        }
    }
    assert!(open(&bytes).verify(8).is_err());
}

#[test]
fn every_bit_that_is_flipped_is_found() {
    let jpeg = samples::with_orientation(&samples::jpeg(40, 24, Subsamp::Sub2x2, false), 3);
    let mut bytes = packed(&jpeg);
    let expected = open(&bytes).coefficients().unwrap();
    let image = open(&bytes).image().unwrap().clone();
    let mut decoder = TileDecoder::new();
    for bit in 0..8 * bytes.len() {
        bytes[bit / 8] ^= 1 << (bit % 8);
        // The zeros after a payload are of no meaning.
        let at = bit as u64 / 8;
        let is_slack = image.bands.iter().any(|band| (band.payload.end..band.end).contains(&at));
        match Record::open(&bytes, &Limits::default()) {
            Err(_) => {}
            Ok(record) => {
                let read = record.coefficients();
                assert_eq!(read.is_ok(), is_slack, "bit {bit}");
                assert!(!is_slack || read.as_ref() == Ok(&expected));
                // Without the check of the payload there may be other values, but nothing worse.
                for component in 0..3 {
                    let all = Rect::whole(image.components[component].blocks);
                    _ = decoder.decode(&record, component, 8, all, |_, _, _| {});
                }
            }
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn every_cut_is_found() {
    let bytes = packed(&samples::with_orientation(&samples::jpeg(40, 24, Subsamp::None, false), 3));
    for len in 0..bytes.len() {
        let read = Record::open(&bytes[..len], &Limits::default()).and_then(|record| record.coefficients());
        assert!(matches!(read, Err(DecodeError::Corrupt { .. })), "{len} of {} bytes", bytes.len());
    }
    let stored = pack(b"GIF89a", "k", 1, &Limits::default()).unwrap().bytes;
    for len in 0..stored.len() {
        let cut = &stored[..len];
        assert!(Record::open(cut, &Limits::default()).is_err_and(|_| true) || open(cut).stored().is_err(), "{len}");
    }
}

/// Heads that have their checksum and lie.
#[test]
fn a_head_that_lies_is_refused_or_bounded() {
    let bytes = packed(&samples::jpeg(40, 24, Subsamp::Sub2x2, false));
    let head_len = u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
    let mut draw = Draw::at(2, 0, 0, Purpose::Demo);
    let mut decoder = TileDecoder::new();
    let (mut refused, mut read) = (0, 0);
    for round in 0..20_000 {
        let mut lying = bytes.clone();
        for _ in 0..1 + draw.below(3) {
            let at = if round % 2 == 0 { 6 + draw.below(90) } else { draw.below(head_len as u64 - 4) };
            lying[at as usize] = draw.bits() as u8;
        }
        let sum = crc32c::crc32c(&lying[..head_len - 4]).to_le_bytes();
        lying[head_len - 4..head_len].copy_from_slice(&sum);
        let Ok(record) = Record::open(&lying, &Limits { max_pixels: 1 << 20, ..Limits::default() }) else {
            refused += 1;
            continue;
        };
        let Some(image) = record.image() else { continue };
        for (component, plane) in image.components.iter().enumerate() {
            let ended = decoder.decode(&record, component, 8, Rect::whole(plane.blocks), |_, _, _| {});
            read += u32::from(ended.is_ok());
        }
        _ = record.coefficients();
    }
    assert!(refused > 1000 && read > 1000, "{refused} refused, {read} components read");
    let limits = Limits { max_pixels: 40 * 24 - 1, ..Limits::default() };
    assert!(matches!(Record::open(&bytes, &limits), Err(DecodeError::Limit { .. })));
}

#[test]
fn vectors_and_the_reference_give_the_same_tiles() {
    let bytes = packed(&samples::jpeg(211, 147, Subsamp::Sub2x1, false));
    let record = open(&bytes);
    for component in 0..3 {
        let all = Rect::whole(record.image().unwrap().components[component].blocks);
        let mut decoders = TileDecoder::all().into_iter();
        let tiles = |decoder: &mut TileDecoder| {
            let mut tiles = Vec::new();
            decoder.decode(&record, component, 8, all, |_, _, tile| tiles.push(tile.clone())).unwrap();
            tiles
        };
        let plain = tiles(&mut decoders.next().unwrap().1);
        assert!(decoders.all(|(_, mut decoder)| tiles(&mut decoder) == plain));
    }
}
