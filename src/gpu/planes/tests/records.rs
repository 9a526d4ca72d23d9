//! Packed records.

use super::super::picture::Wanted;
use super::super::stage::Staged;
use super::files::made_up;
use super::{SCALES, Sample, at_scale, check, decoder, expected, regions};
use crate::decode::Limits;
use crate::error::DecodeError;
use crate::packed::samples::{self, Filling};
use crate::packed::{Colour, Record, TileDecoder, pack};
use crate::shape::Rect;
use turbojpeg::Subsamp;

/// The sample that a record becomes; `None` where the CPU goes by the JPEG.
pub(super) fn sample(name: &str, bytes: &[u8], wanted: &Wanted) -> Result<Option<Sample>, DecodeError> {
    let limits = Limits::default();
    let header = decoder().header(bytes)?;
    let record = Record::open(bytes, &limits)?;
    let mut words = vec![9; 2];
    let staged = Staged::record(&record, &header, wanted, false, &mut TileDecoder::new(), &mut words)?;
    let Some(staged) = staged else { return Ok(None) };
    let name = format!("{name}, {wanted:?}");
    Ok(Some(Sample { name, staged, words, written: None, expected: None }))
}

pub(super) fn record(jpeg: &[u8]) -> Vec<u8> {
    let packed = pack(jpeg, "key", 0, &Limits::default()).unwrap();
    assert_eq!(packed.stored, None);
    packed.bytes
}

fn all_of(name: &str, bytes: &[u8], samples: &mut Vec<Sample>) {
    let header = decoder().header(bytes).unwrap();
    for region in regions(header.size) {
        for wanted in SCALES.into_iter().filter_map(|scale| at_scale(region, scale)) {
            let (pixels, area) = expected(bytes, &header, &wanted);
            match sample(name, bytes, &wanted).unwrap() {
                Some(sample) => {
                    assert!(pixels.is_none() || sample.staged.area == area, "{}: {area:?}", sample.name);
                    samples.push(Sample { expected: pixels, ..sample });
                }
                None => assert_eq!(pixels, None, "{name}"),
            }
        }
    }
}

#[test]
fn records_at_all_scales_are_the_cpu_s() {
    let sizes = [(1, 1), (1, 40), (33, 1), (64, 32), (65, 33), (97, 61), (150, 139)];
    for subsamp in [Subsamp::None, Subsamp::Sub2x1, Subsamp::Sub2x2, Subsamp::Sub1x2, Subsamp::Gray] {
        let mut samples = Vec::new();
        for (width, height) in sizes {
            let bytes = record(&samples::jpeg(width, height, subsamp, width == 97));
            all_of(&format!("{width}x{height} {subsamp:?}"), &bytes, &mut samples);
        }
        check(&samples);
    }
}

#[test]
fn records_of_all_colours_and_turns_are_the_cpu_s() {
    let mut samples = Vec::new();
    let cases: [(&[(u8, u8)], Colour); 5] = [
        (&[(1, 1); 3], Colour::Rgb),
        (&[(1, 1); 4], Colour::Cmyk),
        (&[(2, 2), (1, 1), (1, 1), (2, 2)], Colour::Ycck),
        (&[(4, 1), (2, 1), (1, 1)], Colour::YCbCr),
        (&[(2, 2)], Colour::Gray),
    ];
    for (sampling, colour) in cases {
        let bytes = record(&made_up((75, 66), sampling, colour, Filling::Sparse));
        all_of(&format!("{sampling:?} {colour:?}"), &bytes, &mut samples);
    }
    let jpeg = samples::jpeg(61, 43, Subsamp::Sub2x2, false);
    for value in [2, 3, 5, 6, 8] {
        let bytes = record(&samples::with_orientation(&jpeg, value));
        all_of(&format!("orientation {value}"), &bytes, &mut samples);
    }
    check(&samples);
}

/// Large values with long codes and all parameters; some of them out of range.
#[test]
fn records_of_large_values_are_the_cpu_s_or_told() {
    let mut samples = Vec::new();
    for filling in [Filling::Single, Filling::Extreme, Filling::Dense, Filling::Zero] {
        for size in [(8, 8), (16, 24), (70, 40)] {
            let bytes = record(&made_up(size, &[(1, 1)], Colour::Gray, filling));
            all_of(&format!("{size:?} {filling:?}"), &bytes, &mut samples);
        }
    }
    for (at, size) in [0, 1, 9, 27].into_iter().flat_map(|at| [1500, 2101, 4090, 4100, 5701, 15_001].map(|s| (at, s))) {
        let mut made = samples::coefficients(1, (24, 24), &[(1, 1)], Filling::Zero);
        made.metadata.clear();
        made.components[0].steps = [2; 64];
        made.components[0].values[64 * 4 + at] = -size;
        all_of(&format!("{size} at {at}"), &record(&made.to_jpeg().unwrap()), &mut samples);
    }
    let refused = samples.iter().filter(|sample| sample.expected.is_none()).count();
    assert!(refused > 10 && samples.len() - refused > 40, "{refused} of {}", samples.len());
    check(&samples);
}

#[test]
fn packed_photos_are_the_cpu_s() {
    let mut samples = Vec::new();
    for jpeg in super::photos() {
        let bytes = record(&jpeg);
        let header = decoder().header(&bytes).unwrap();
        let size = header.size;
        let region = Rect { x: 31, y: 17, width: 200.min(size.width - 40), height: 180.min(size.height - 30) };
        for wanted in [8, 3, 2].into_iter().filter_map(|scale| at_scale(region, scale)) {
            let sample = sample("a photo", &bytes, &wanted).unwrap().expect("photos are in range");
            samples.push(Sample { expected: expected(&bytes, &header, &wanted).0, ..sample });
        }
    }
    check(&samples);
}
