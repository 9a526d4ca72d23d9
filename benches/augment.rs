//! Every operation of the augmentation on one RGB image in memory, on one core. Each is compared with the reference, which
//! equals Pillow, before it is timed.
//!
//! The image is the one that the operation made in the round before, put back by a copy that is timed as `copy`.

use bandfeed::Size;
use bandfeed::augment::{Augmenter, Op, Sampling, reference};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

const FILL: [u8; 3] = [124, 116, 104];

/// With RandAugment's arguments at magnitude 9, and those of the usual colour jitter and blur.
fn operations() -> Vec<(&'static str, Op)> {
    let (nearest, bilinear, sampling) = (Sampling::Nearest, Sampling::Bilinear, Sampling::Bicubic);
    vec![
        ("auto_contrast", Op::AutoContrast),
        ("equalize", Op::Equalize),
        ("invert", Op::Invert),
        ("posterize", Op::Posterize { bits: 1 }),
        ("solarize", Op::Solarize { threshold: 26 }),
        ("solarize_add", Op::SolarizeAdd { add: 99 }),
        ("color", Op::Color { factor: 1.81 }),
        ("contrast", Op::Contrast { factor: 1.81 }),
        ("brightness", Op::Brightness { factor: 1.81 }),
        ("sharpness", Op::Sharpness { factor: 1.81 }),
        ("shear_x", Op::ShearX { factor: 0.27, sampling }),
        ("shear_y", Op::ShearY { factor: 0.27, sampling }),
        ("translate_x", Op::TranslateX { share: 0.101, sampling }),
        ("translate_y", Op::TranslateY { share: 0.101, sampling }),
        ("rotate", Op::Rotate { degrees: 27.0, sampling }),
        ("rotate_3", Op::Rotate { degrees: 3.0, sampling }),
        ("rotate_bilinear", Op::Rotate { degrees: 27.0, sampling: bilinear }),
        ("rotate_nearest", Op::Rotate { degrees: 27.0, sampling: nearest }),
        ("shear_x_nearest", Op::ShearX { factor: 0.27, sampling: nearest }),
        ("shear_y_nearest", Op::ShearY { factor: 0.27, sampling: nearest }),
        ("grayscale", Op::Grayscale),
        ("gaussian_blur", Op::GaussianBlur { radius: 1.5 }),
        ("gaussian_blur_8", Op::GaussianBlur { radius: 8.0 }),
        ("hue", Op::Hue { shift: 0.08 }),
    ]
}

fn picture(side: u32) -> Vec<u8> {
    let wave = |at: u32, p: f64| (f64::from(at % side) / p).sin() * (f64::from(at / side) / p).cos();
    let mut noise = 1u32;
    (0..side * side)
        .flat_map(|at| [11.0, 17.0, 23.0].map(|p| wave(at, p)))
        .map(|v| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (127.5 + 90.0 * v + f64::from(noise >> 28)) as u8
        })
        .collect()
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("augment");
    group.throughput(Throughput::Elements(1));
    for side in [224, 96] {
        let (size, original) = (Size::square(side), picture(side));
        let (mut augmenter, mut image) = (Augmenter::new(), original.clone());
        group
            .bench_function(BenchmarkId::new("copy", side), |b| b.iter(|| image.copy_from_slice(black_box(&original))));
        for (name, op) in operations() {
            image.copy_from_slice(&original);
            augmenter.apply(&mut image, size, &[op], FILL).unwrap();
            let wanted = reference::apply(&original, size, &[op], FILL).unwrap();
            let off = image.iter().zip(&wanted).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(off <= Some(1), "{name} differs by {off:?} grey levels");
            group.bench_function(BenchmarkId::new(name, side), |b| {
                b.iter(|| {
                    image.copy_from_slice(black_box(&original));
                    augmenter.apply(&mut image, size, &[op], FILL).unwrap();
                })
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(std::time::Duration::from_millis(100))
        .measurement_time(std::time::Duration::from_millis(400));
    targets = bench
}
criterion_main!(benches);
