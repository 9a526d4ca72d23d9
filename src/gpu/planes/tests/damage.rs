//! Damaged records.

use super::records::{record, sample};
use super::{Sample, assert_same, at_scale, decoder, expected, launch, words_of};
use crate::packed::samples;
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
            Ok(_) => assert!(status == 0x21 && sample.name.starts_with("round"), "{}: {status}", sample.name),
            Err(error) => {
                told += 1;
                assert_ne!(status, 0, "{}: {error}", sample.name);
            }
        }
    }
    assert!(told > 20 && samples.len() > 150, "{told} of {}", samples.len());
}
