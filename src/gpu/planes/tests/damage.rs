//! Damaged records.

use super::super::stage::Source;
use super::super::{BAD_CHUNK, OUT_OF_RANGE};
use super::records::{record, sample};
use super::{Sample, assert_same, at_scale, decoder, expected, launch, words_of};
use crate::decode::Limits;
use crate::packed::samples::{self, Filling};
use crate::packed::{Colour, Record};
use crate::rng::{Draw, Purpose};
use crate::shape::Rect;
use turbojpeg::Subsamp;

#[test]
fn damaged_chunks_are_told_where_the_cpu_tells_them_and_mates_are_exact() {
    let bytes = record(&samples::jpeg(80, 66, Subsamp::Sub2x2, false));
    let header = decoder().header(&bytes).unwrap();
    let region = Rect { x: 3, y: 9, width: 70, height: 50 };
    let head = u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as u64;
    let mut draw = Draw::at(4, 0, 0, Purpose::Demo);
    let mut samples = Vec::new();
    for round in 0..150 {
        let wanted = at_scale(region, [8, 4, 2][round % 3]).unwrap();
        let mut damaged = bytes.clone();
        for _ in 0..draw.below(4) {
            let at = head + draw.below(bytes.len() as u64 - head);
            damaged[at as usize] = draw.bits() as u8;
        }
        // An index that is damaged never comes to the device.
        let Ok(Some(sample)) = sample(&format!("round {round}"), &damaged, &wanted) else { continue };
        let decoded = decoder().decode_region(&damaged, &header, region, wanted.need).map(|patch| words_of(&patch));
        samples.push((sample, decoded));
        let whole = super::records::sample("its mate", &bytes, &wanted).unwrap().unwrap();
        let expected = expected(&bytes, &header, &wanted).0.expect("it is sound");
        samples.push((whole, Ok(expected)));
    }
    let (samples, decoded): (Vec<Sample>, Vec<_>) = samples.into_iter().unzip();
    let (pixels, status) = launch(&samples);
    let mut told = 0;
    for (((sample, pixels), status), decoded) in samples.iter().zip(&pixels).zip(status).zip(decoded) {
        match decoded {
            Ok(decoded) if status == 0 => assert_same(sample, pixels, &decoded),
            // A block that grew beyond what the head says is told here.
            Ok(_) => assert!(status == OUT_OF_RANGE && sample.name.starts_with("round"), "{}: {status}", sample.name),
            Err(error) => {
                told += 1;
                assert_ne!(status, 0, "{}: {error}", sample.name);
            }
        }
    }
    assert!(told > 20 && samples.len() > 150, "{told} of {}", samples.len());
}

/// A record of a single tile with blocks that have these values at place 9, and the place of its only chunk, of three bytes.
fn of_three_bytes(values: &[i16]) -> (Vec<u8>, usize) {
    let mut made = samples::coefficients(1, (8 * values.len() as u32, 8), &[(1, 1)], Filling::Zero);
    made.metadata.clear();
    made.components[0].steps = [16; 64];
    for (block, value) in values.iter().enumerate() {
        made.components[0].values[64 * block + 9] = *value;
    }
    let bytes = record(&made.to_jpeg().unwrap());
    let record = Record::open(&bytes, &Limits::default()).unwrap();
    let image = record.image().unwrap();
    assert_eq!(image.colour, Colour::Gray);
    let chunk = image.components[0].chunks[0].payload.clone();
    assert_eq!(chunk.end - chunk.start, 3);
    (bytes.clone(), chunk.start as usize)
}

#[test]
fn any_bytes_of_a_chunk_are_judged_as_by_the_cpu() {
    let (bytes, at) = of_three_bytes(&[9, 0, -6]);
    let wanted = at_scale(Rect { x: 0, y: 0, width: 24, height: 8 }, 8).unwrap();
    let header = decoder().header(&bytes).unwrap();
    let mut draw = Draw::at(6, 0, 0, Purpose::Demo);
    let mut samples = Vec::new();
    let mut decoded = Vec::new();
    for round in 0..1500 {
        let mut any = bytes.clone();
        let last = if round % 3 == 0 { 0 } else { draw.bits() as u8 >> draw.below(8) };
        // Mostly a single coded place: else few chunks would end in time.
        let first = if round % 5 == 0 { draw.bits() as u8 } else { draw.bits() as u8 & 0xf0 | 1 << draw.below(4) };
        any[at..at + 3].copy_from_slice(&[first, draw.bits() as u8, last]);
        samples.push(sample(&format!("{:x?}", &any[at..at + 3]), &any, &wanted).unwrap().expect("the head is sound"));
        decoded.push(decoder().decode_region(&any, &header, wanted.region, wanted.need).map(|patch| words_of(&patch)));
    }
    let sound = decoded.iter().filter(|decoded| decoded.is_ok()).count();
    assert!(sound > 100 && sound < 1400, "{sound}");
    let (pixels, status) = launch(&samples);
    for (((sample, pixels), status), decoded) in samples.iter().zip(&pixels).zip(status).zip(decoded) {
        match decoded {
            Ok(decoded) if status == 0 => assert_same(sample, pixels, &decoded),
            Ok(_) => assert_eq!(status, OUT_OF_RANGE, "{}", sample.name),
            Err(error) => assert_eq!(status & BAD_CHUNK, BAD_CHUNK, "{}: {error}", sample.name),
        }
    }
}

#[test]
fn a_parameter_above_the_largest_is_told() {
    let (mut bytes, at) = of_three_bytes(&[1000]);
    let wanted = at_scale(Rect { x: 0, y: 0, width: 8, height: 8 }, 8).unwrap();
    // One more than the base of the first place, then zeros: in the level, and in as many planes as the parameter says.
    bytes[at..at + 3].copy_from_slice(&[0x21, 0, 0]);
    let with_base = |base: u32| {
        let mut sample = sample("a base", &bytes, &wanted).unwrap().unwrap();
        let Source::Record { bands, .. } = &sample.staged.source else { panic!("it is a record") };
        let entry = &mut sample.words[bands[0].order as usize];
        *entry = *entry & !(15 << 16) | base << 16;
        sample
    };
    let (_, status) = launch(&[with_base(15), with_base(14)]);
    assert_eq!([status[0] & BAD_CHUNK, status[1]], [BAD_CHUNK, 0], "16, which also has its bits, and 15");
}
