//! JPEGs of all kinds: from coefficients that a Huffman kernel would have written, or the host has.

use super::super::picture::{Picture, Wanted};
use super::super::stage::Staged;
use super::{SCALES, Sample, at_scale, check, decoder, expected, regions, words_of};
use crate::decode::{Limits, Process};
use crate::packed::samples::{self, Filling};
use crate::packed::{Coefficients, Colour};
use crate::shape::{Rect, Size};
use turbojpeg::Subsamp;

/// The sample that a sequential JPEG becomes; its coefficients come from the host if `here`.
pub(super) fn sample(name: &str, bytes: &[u8], wanted: &Wanted, here: bool) -> Sample {
    let header = decoder().header(bytes).unwrap();
    let coefficients = Coefficients::from_jpeg(bytes, &Limits::default()).unwrap();
    let picture = Picture::of_jpeg(bytes, &header, wanted).unwrap();
    assert_eq!(picture.colour, coefficients.colour, "{name}");
    let (expected, area) = expected(bytes, &header, wanted);
    let name = format!("{name}, {wanted:?}, at {}/8", picture.scale);
    let mut words = vec![7; 3];
    let steps: Vec<_> = coefficients.components.iter().map(|component| component.steps.map(i32::from)).collect();
    // The last component first, as if it came in the first scan.
    let lens: Vec<_> = picture.parts.iter().map(|part| part.coefficient_words() as u32).collect();
    let places = (0..lens.len()).map(|i| lens[i + 1..].iter().sum());
    let staged = if here {
        Staged::decoded_here(picture, &coefficients, &mut words)
    } else {
        Staged::decoded_there(picture, steps.iter().zip(places), &mut words)
    };
    assert!(expected.is_none() || staged.area == area, "{name}: {:?}, not {area:?}", staged.area);
    Sample { name, staged, words, written: Some(coefficients), expected }
}

fn all_of(name: &str, bytes: &[u8], samples: &mut Vec<Sample>) {
    let size = decoder().header(bytes).unwrap().size;
    for region in regions(size) {
        for wanted in SCALES.into_iter().filter_map(|scale| at_scale(region, scale)) {
            let here = samples.len().is_multiple_of(3);
            samples.push(sample(name, bytes, &wanted, here));
        }
    }
}

#[test]
fn jpegs_of_all_samplings_at_all_scales_are_the_cpu_s() {
    let sizes = [(1, 1), (1, 40), (33, 1), (8, 8), (17, 16), (97, 61), (130, 75)];
    let samplings = [Subsamp::None, Subsamp::Sub2x1, Subsamp::Sub2x2, Subsamp::Sub1x2, Subsamp::Sub4x1, Subsamp::Gray];
    for subsamp in samplings {
        let mut samples = Vec::new();
        for (width, height) in sizes {
            let bytes = samples::jpeg(width, height, subsamp, false);
            all_of(&format!("{width}x{height} {subsamp:?}"), &bytes, &mut samples);
        }
        assert!(samples.iter().all(|sample| sample.expected.is_some()), "{subsamp:?}: all are the own decoder's");
        check(&samples);
    }
}

#[test]
fn each_orientation_turns_the_window() {
    let mut samples = Vec::new();
    let jpeg = samples::jpeg(61, 43, Subsamp::Sub2x2, false);
    for value in 1..=8 {
        all_of(&format!("orientation {value}"), &samples::with_orientation(&jpeg, value), &mut samples);
    }
    check(&samples);
}

fn adobe(transform: u8) -> Vec<u8> {
    [&[0xff, 0xee, 0, 14][..], b"Adobe", &[0, 100, 0, 0, 0, 0, transform]].concat()
}

/// Made-up files with these factors and this colour.
pub(super) fn made_up(size: (u32, u32), sampling: &[(u8, u8)], colour: Colour, filling: Filling) -> Vec<u8> {
    let mut made = samples::coefficients(5, size, sampling, filling);
    made.colour = colour;
    made.metadata = match colour {
        Colour::Gray | Colour::YCbCr => Vec::new(),
        Colour::Rgb | Colour::Cmyk => adobe(0),
        Colour::Ycck => adobe(2),
    };
    if filling == Filling::Sparse {
        for component in &mut made.components {
            component.steps = component.steps.map(|step| 1 + step % 7);
        }
    }
    made.to_jpeg().unwrap()
}

#[test]
fn colours_and_odd_factors_are_the_cpu_s() {
    let cases: [(&[(u8, u8)], Colour); 10] = [
        (&[(1, 1); 3], Colour::Rgb),
        (&[(2, 2), (1, 1), (1, 1)], Colour::Rgb),
        (&[(1, 1); 4], Colour::Cmyk),
        (&[(2, 2), (1, 1), (1, 1), (2, 2)], Colour::Ycck),
        (&[(2, 1), (1, 1), (1, 1), (2, 1)], Colour::Cmyk),
        (&[(3, 1), (1, 1), (1, 1)], Colour::YCbCr),
        (&[(1, 4), (1, 1), (1, 2)], Colour::YCbCr),
        (&[(4, 1), (2, 1), (1, 1)], Colour::YCbCr),
        (&[(2, 2), (1, 2), (2, 1)], Colour::YCbCr),
        (&[(2, 2)], Colour::Gray),
    ];
    for (sampling, colour) in cases {
        let mut samples = Vec::new();
        for size in [(9, 7), (75, 66)] {
            let bytes = made_up(size, sampling, colour, Filling::Sparse);
            all_of(&format!("{size:?} {sampling:?} {colour:?}"), &bytes, &mut samples);
        }
        assert!(samples.iter().filter(|sample| sample.expected.is_some()).count() >= samples.len() / 2, "{sampling:?}");
        check(&samples);
    }
}

/// Blocks far out of range are libjpeg's to judge: the status says so just where the CPU gives up.
#[test]
fn blocks_out_of_range_are_told_where_the_cpu_tells_them() {
    let mut samples = Vec::new();
    for filling in [Filling::Single, Filling::Extreme, Filling::Dense, Filling::Zero] {
        for size in [(8, 8), (16, 24), (70, 40)] {
            for colour in [Colour::Gray, Colour::YCbCr] {
                let sampling = vec![(1, 1); colour.components()];
                let bytes = made_up(size, &sampling, colour, filling);
                all_of(&format!("{size:?} {filling:?} {colour:?}"), &bytes, &mut samples);
            }
        }
    }
    // One block with sums from small to the largest, of one coefficient and of two.
    for (at, size) in [0, 1, 9, 27].into_iter().flat_map(|at| [51, 70, 130, 137, 170, 190, 900, 1001].map(|s| (at, s)))
    {
        for sign in [1, -1] {
            let mut made = samples::coefficients(1, (24, 24), &[(1, 1)], Filling::Zero);
            made.metadata.clear();
            made.components[0].steps = [30; 64];
            made.components[0].values[64 * 4 + at] = sign * size;
            made.components[0].values[64 * 4 + 8] = size / 4;
            all_of(&format!("{} at {at}", sign * size), &made.to_jpeg().unwrap(), &mut samples);
        }
    }
    // Codes of larger values may be what the CPU gives up at: those are not for the transform to tell.
    samples.retain(|sample| sample.expected.is_some() || sample.written.iter().all(is_small));
    let refused = samples.iter().filter(|sample| sample.expected.is_none()).count();
    assert!(refused > 20 && samples.len() - refused > 40, "{refused} of {}", samples.len());
    check(&samples);
}

fn is_small(coefficients: &Coefficients) -> bool {
    coefficients.components.iter().flat_map(|component| &component.values).all(|value| value.unsigned_abs() < 1024)
}

#[test]
fn a_progressive_file_at_full_scale_is_libjpeg_s() {
    let bytes = samples::jpeg(75, 50, Subsamp::Sub2x2, true);
    let header = decoder().header(&bytes).unwrap();
    assert_eq!(header.frame.unwrap().process, Process::Progressive);
    let coefficients = Coefficients::from_jpeg(&bytes, &Limits::default()).unwrap();
    let mut samples = Vec::new();
    for region in regions(header.size) {
        let wanted = Wanted { region, need: region.size(), margin: f64::INFINITY };
        let picture = Picture::of_other_jpeg(&header, coefficients.colour, &wanted).unwrap();
        let mut words = Vec::new();
        let staged = Staged::decoded_here(picture, &coefficients, &mut words);
        let mut decoder = decoder();
        let patch = decoder.decode_region(&bytes, &header, region, region.size()).unwrap();
        assert_eq!((patch.area, patch.size), (staged.area, staged.size));
        let (name, expected) = (format!("progressive, {region:?}"), Some(words_of(&patch)));
        samples.push(Sample { name, staged, words, written: None, expected });
    }
    check(&samples);
    let need = Size::square(2);
    let wanted = Wanted { region: Rect::whole(header.size), need, margin: 1.5 };
    assert_eq!(Picture::of_jpeg(&bytes, &header, &wanted), None, "it is not sequential");
    assert_eq!(Picture::of_other_jpeg(&header, coefficients.colour, &wanted), None, "libjpeg scales");
}

#[test]
fn pixels_from_the_host_lie_beside_those_of_kernels() {
    let bytes = samples::jpeg(61, 43, Subsamp::Sub2x1, false);
    let header = decoder().header(&bytes).unwrap();
    let mut samples = Vec::new();
    for region in regions(header.size) {
        let mut decoder = decoder();
        let patch = decoder.decode_region(&bytes, &header, region, region.size()).unwrap();
        let mut words = vec![1; 5];
        let staged = Staged::pixels(&patch, &mut words);
        let (name, expected) = (format!("from the host, {region:?}"), Some(words_of(&patch)));
        samples.push(Sample { name, staged, words, written: None, expected });
        samples.push(sample("its like", &bytes, &at_scale(region, 8).unwrap(), false));
    }
    check(&samples);
}

/// Photos, where the data is there.
#[test]
fn photos_are_the_cpu_s() {
    let mut samples = Vec::new();
    for bytes in super::photos() {
        let size = decoder().header(&bytes).unwrap().size;
        let region = Rect { x: 5, y: 3, width: 200.min(size.width - 9), height: 180.min(size.height - 5) };
        for wanted in [8, 4, 2].into_iter().filter_map(|scale| at_scale(region, scale)) {
            samples.push(sample("a photo", &bytes, &wanted, false));
        }
    }
    check(&samples);
}
