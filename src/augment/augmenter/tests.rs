//! The fast kernels against the reference, at every level; and properties.

use super::super::reference::tests::{FILL, all_records, fnv, noise};
use super::super::{Op, Sampling, reference};
use super::*;

/// Greatest difference, and how many values differ.
fn difference(a: &[u8], b: &[u8]) -> (u8, usize) {
    assert_eq!(a.len(), b.len());
    let greatest = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
    (greatest, a.iter().zip(b).filter(|(a, b)| a != b).count())
}

/// Grey levels that the fast kernel may be off.
fn tolerance(op: Op) -> u8 {
    match op {
        Op::Rotate { sampling, .. }
        | Op::ShearX { sampling, .. }
        | Op::ShearY { sampling, .. }
        | Op::TranslateX { sampling, .. }
        | Op::TranslateY { sampling, .. } => u8::from(sampling != Sampling::Nearest),
        _ => 0,
    }
}

fn compare(augmenter: &mut Augmenter, pixels: &[u8], size: Size, op: Op, wanted: &[u8]) -> usize {
    let mut image = pixels.to_vec();
    augmenter.apply(&mut image, size, &[op], FILL).unwrap();
    let (greatest, differ) = difference(&image, wanted);
    let first = image.iter().zip(wanted).position(|(a, b)| a != b);
    assert!(
        greatest <= tolerance(op),
        "{op:?} of {size:?} at {:?}: {differ} values differ, by up to {greatest}, first at {first:?}",
        augmenter.level
    );
    differ
}

#[test]
fn every_level_equals_the_reference() {
    let (mut values, mut off) = (0, 0);
    for (record, inputs) in all_records() {
        for input in &inputs {
            for case in &record.cases {
                let op = case.op();
                let wanted = reference::apply(&input.pixels, input.size, &[op], FILL).unwrap();
                for level in Level::available() {
                    let mut augmenter = Augmenter::at(level);
                    let differ = compare(&mut augmenter, &input.pixels, input.size, op, &wanted);
                    if tolerance(op) > 0 {
                        values += wanted.len();
                        off += differ;
                    }
                }
            }
        }
    }
    // Rounded weights: about one value in fifty on photos.
    assert!(off * 30 < values, "{off} of {values} interpolated values are a grey level off");
    eprintln!("{off} of {values} interpolated values are a grey level off");
}

#[test]
fn every_size_equals_the_reference() {
    let ops = every_op(0.37);
    for width in (1..=24).chain([53, 64, 67]) {
        for height in [1, 2, 3, 4, 9, 18] {
            let size = Size::new(width, height);
            let pixels = noise(size, width * 100 + height);
            for op in &ops {
                let wanted = reference::apply(&pixels, size, &[*op], FILL).unwrap();
                for level in Level::available() {
                    compare(&mut Augmenter::at(level), &pixels, size, *op, &wanted);
                }
            }
        }
    }
}

/// Every operation, with arguments that grow with `share`.
fn every_op(share: f64) -> Vec<Op> {
    let factor = 1.0 + share as f32;
    let mut ops = vec![
        Op::AutoContrast,
        Op::Equalize,
        Op::Invert,
        Op::Posterize { bits: 3 },
        Op::Solarize { threshold: 100 },
        Op::SolarizeAdd { add: 77 },
        Op::Color { factor },
        Op::Contrast { factor },
        Op::Brightness { factor },
        Op::Sharpness { factor },
        Op::Grayscale,
        Op::GaussianBlur { radius: 3.0 * share as f32 },
        Op::GaussianBlur { radius: 40.0 * share as f32 },
        Op::Hue { shift: share },
    ];
    for sampling in [Sampling::Nearest, Sampling::Bilinear, Sampling::Bicubic] {
        for sign in [-1.0, 1.0] {
            ops.extend([
                Op::Rotate { degrees: 90.0 * share * sign, sampling },
                Op::ShearX { factor: share * sign, sampling },
                Op::ShearY { factor: share * sign, sampling },
                Op::TranslateX { share: share * sign, sampling },
                Op::TranslateY { share: share * sign, sampling },
            ]);
        }
    }
    ops
}

#[test]
fn identity_arguments_leave_the_image() {
    let size = Size::new(31, 20);
    let pixels = noise(size, 5);
    let mut ops = vec![
        Op::Color { factor: 1.0 },
        Op::Contrast { factor: 1.0 },
        Op::Brightness { factor: 1.0 },
        Op::Sharpness { factor: 1.0 },
        Op::Posterize { bits: 8 },
        Op::Solarize { threshold: 256 },
        Op::SolarizeAdd { add: 0 },
        Op::GaussianBlur { radius: 0.0 },
    ];
    for sampling in [Sampling::Nearest, Sampling::Bilinear, Sampling::Bicubic] {
        ops.extend([
            Op::Rotate { degrees: 0.0, sampling },
            Op::Rotate { degrees: -720.0, sampling },
            Op::ShearX { factor: 0.0, sampling },
            Op::ShearY { factor: -0.0, sampling },
            Op::TranslateX { share: 0.0, sampling },
            Op::TranslateY { share: 0.0, sampling },
        ]);
    }
    for op in ops {
        let mut image = pixels.clone();
        Augmenter::new().apply(&mut image, size, &[op], FILL).unwrap();
        assert_eq!(image, pixels, "{op:?}");
    }
}

#[test]
fn a_flat_image_stays_flat_under_interpolation() {
    let size = Size::new(40, 30);
    for grey in [0, 1, 77, 254, 255] {
        for level in Level::available() {
            for op in every_op(0.3).into_iter().filter(|op| tolerance(*op) > 0) {
                let mut image = vec![grey; 3 * size.pixels() as usize];
                Augmenter::at(level).apply(&mut image, size, &[op], [grey; 3]).unwrap();
                assert!(image.iter().all(|v| *v == grey), "{op:?} of {grey} at {level:?}");
            }
        }
    }
}

#[test]
fn memory_of_another_size_does_not_show() {
    let mut augmenter = Augmenter::new();
    let sizes = [(40, 30), (7, 50), (1, 1), (64, 64), (3, 2), (50, 7)];
    for share in [0.1, 0.4] {
        for (width, height) in sizes {
            let size = Size::new(width, height);
            let pixels = noise(size, 9);
            for op in every_op(share) {
                let (mut warm, mut fresh) = (pixels.clone(), pixels.clone());
                augmenter.apply(&mut warm, size, &[op], FILL).unwrap();
                Augmenter::new().apply(&mut fresh, size, &[op], FILL).unwrap();
                assert_eq!(fnv(&warm), fnv(&fresh), "{op:?} of {size:?}");
            }
        }
    }
}

#[test]
fn a_warm_augmenter_takes_no_memory() {
    let size = Size::new(60, 41);
    let (mut augmenter, mut image) = (Augmenter::new(), noise(size, 2));
    let mut rounds = Vec::new();
    for _ in 0..3 {
        for op in every_op(0.2) {
            augmenter.apply(&mut image, size, &[op], FILL).unwrap();
        }
        // Which of the two is the image depends on the number of exchanges.
        let mut pictures = [&image, &augmenter.spare].map(|bytes| (bytes.as_ptr(), bytes.capacity()));
        pictures.sort();
        rounds.push((pictures, augmenter.sums.as_ptr(), augmenter.affine.memory(), augmenter.blur.memory()));
    }
    assert_eq!(rounds[1], rounds[2]);
}

#[test]
fn operations_follow_one_another() {
    let size = Size::new(33, 21);
    let (mut image, pixels) = (noise(size, 3), noise(size, 3));
    let ops =
        [Op::Invert, Op::Sharpness { factor: 1.5 }, Op::GaussianBlur { radius: 1.0 }, Op::Grayscale, Op::Equalize];
    Augmenter::new().apply(&mut image, size, &ops, FILL).unwrap();
    assert_eq!(image, reference::apply(&pixels, size, &ops, FILL).unwrap());
}

#[test]
fn extreme_arguments_do_not_panic() {
    for (width, height) in [(1, 1), (1, 5), (6, 1), (17, 12)] {
        let size = Size::new(width, height);
        let pixels = noise(size, 11);
        for share in [1e-300, 1e-17, 1e-7, 0.5, 1.0, 33.0, 32768.0, 1e9, 1e18, 1e300, f64::MAX] {
            for level in Level::available() {
                let mut augmenter = Augmenter::at(level);
                for op in every_op(share) {
                    let mut image = pixels.clone();
                    if augmenter.apply(&mut image, size, &[op], FILL).is_ok() && share < 1e18 {
                        let wanted = reference::apply(&pixels, size, &[op], FILL).unwrap();
                        assert!(difference(&image, &wanted).0 <= tolerance(op), "{op:?} of {size:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn hue_equals_the_reference_on_many_colours() {
    let colours: Vec<u8> =
        (0..1u32 << 24).step_by(197).flat_map(|v| [v as u8, (v >> 8) as u8, (v >> 16) as u8]).collect();
    let size = Size::new((colours.len() / 3) as u32, 1);
    for shift in [-0.5, 0.0, 0.11, 0.5] {
        let wanted = reference::apply(&colours, size, &[Op::Hue { shift }], FILL).unwrap();
        compare(&mut Augmenter::new(), &colours, size, Op::Hue { shift }, &wanted);
    }
}

#[test]
fn sharpness_rounds_every_sum_to_nearest() {
    for sum in 0..=13 * 255u32 {
        assert_eq!(((sum + 6) * 5042) >> 16, (sum as f64 / 13.0 + 0.5) as u32, "{sum}");
    }
}

#[test]
fn wrong_sizes_and_arguments_are_errors() {
    let mut augmenter = Augmenter::new();
    for (bytes, size) in [(0, Size::new(0, 0)), (3, Size::new(2, 1)), (11, Size::new(2, 2)), (13, Size::new(2, 2))] {
        let mut image = vec![1; bytes];
        assert!(matches!(augmenter.apply(&mut image, size, &[Op::Invert], FILL), Err(Error::Config { .. })));
        assert_eq!(image, vec![1; bytes]);
    }
    let sampling = Sampling::Bicubic;
    for op in [
        Op::Color { factor: f32::NAN },
        Op::Brightness { factor: f32::INFINITY },
        Op::Posterize { bits: 9 },
        Op::Solarize { threshold: 257 },
        Op::GaussianBlur { radius: -1.0 },
        Op::GaussianBlur { radius: f32::NAN },
        Op::Hue { shift: 0.6 },
        Op::Rotate { degrees: f64::NAN, sampling },
        Op::ShearX { factor: f64::INFINITY, sampling },
    ] {
        let mut image = vec![1; 3];
        let out = augmenter.apply(&mut image, Size::new(1, 1), &[Op::Invert, op], FILL);
        assert!(matches!(out, Err(Error::Config { .. })), "{op:?}");
        assert_eq!(image, [1; 3]);
    }
}
