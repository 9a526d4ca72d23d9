//! Batches of many images with many operations at once, against the CPU.

use super::rounds::{Pass, Placed, rounds};
use super::stage::stage;
use super::*;
use crate::augment::{Augmenter, Op, Sampling, reference};
use crate::gpu::device::{HEAD_PITCH, HEADS, Launch, STORAGE};
use crate::gpu::kernel::Head;
use crate::gpu::memory::Buffer;
use crate::gpu::testing::{SENTINEL, device};
use crate::rng::{Draw, Purpose};
use crate::shape::Size;
use std::collections::BTreeMap;

const FILL: [u8; 3] = [124, 116, 104];
const SAMPLINGS: [Sampling; 3] = [Sampling::Nearest, Sampling::Bilinear, Sampling::Bicubic];

/// An image with its operations.
#[derive(Clone)]
struct Sample {
    size: Size,
    pixels: Vec<u8>,
    ops: Vec<Op>,
}

/// Words between two areas, which nothing may write.
const GAP: usize = 3;

/// Augments all samples as one batch, in one submission.
///
/// # Panics
/// If a sample is not for the device, or anything but the areas is written, or anything in those of a sample without steps.
fn augment(samples: &[Sample]) -> Vec<Vec<u8>> {
    let device = device();
    let upload = |words: &[u32], usage| {
        let buffer = device.buffer(4 * words.len() as u64, usage).unwrap();
        let mut filled = words.to_vec();
        filled.resize(buffer.size() as usize / 4, SENTINEL);
        device.upload(&buffer, bytemuck::cast_slice(&filled));
        buffer
    };
    // Words that are no sample's, so that a base left out is seen.
    let mut words = vec![SENTINEL; 5];
    let (mut images, mut staged) = (vec![SENTINEL; GAP], Vec::new());
    for sample in samples {
        let mut own = Vec::new();
        let one = stage(&sample.ops, sample.size, FILL, &mut own).unwrap().expect("it is for the device");
        let base = words.len() as u32;
        words.extend(own);
        let ping = images.len() as u32;
        images.extend(sample.pixels.as_chunks().0.iter().map(|[r, g, b]| u32::from_le_bytes([*r, *g, *b, 0])));
        images.extend([SENTINEL; GAP]);
        let pong = images.len() as u32;
        images.extend(vec![SENTINEL; sample.pixels.len() / 3 + GAP]);
        staged.push((one, base, [ping, pong]));
    }
    let placed = |base: u32| -> Vec<Placed<'_>> {
        staged.iter().map(|(staged, own, areas)| Placed { staged, base: base + own, areas: *areas }).collect()
    };
    // Entries of each kind begin at a multiple of their length.
    let counts = rounds(&placed(0));
    let steps = counts.steps.len() * Params::FIELDS.len();
    let blurs_at = steps.next_multiple_of(BlurParams::FIELDS.len());
    let start = blurs_at + counts.blurs.len() * BlurParams::FIELDS.len();
    let rounds = rounds(&placed(start as u32));
    let mut input: Vec<u32> = bytemuck::cast_slice(&rounds.steps).to_vec();
    input.resize(blurs_at, SENTINEL);
    input.extend_from_slice(bytemuck::cast_slice(&rounds.blurs));
    input.extend(words);
    let mut heads = vec![0u32; rounds.passes.len().max(1) * HEAD_PITCH as usize / 4];
    for (pass, words) in rounds.passes.iter().zip(heads.chunks_exact_mut(HEAD_PITCH as usize / 4)) {
        let before = if std::ptr::eq(pass.kernel, &AUGMENT_BLUR) { blurs_at / BlurParams::FIELDS.len() } else { 0 };
        let head = Head { first: before as u32 + pass.first, count: pass.count, a: pass.a, b: 0 };
        words[..4].copy_from_slice(bytemuck::cast_slice(&[head]));
    }
    let (heads, input) = (upload(&heads, HEADS), upload(&input, STORAGE));
    let stats = upload(&vec![0; rounds.stats_words as usize + GAP], STORAGE);
    let buffer = upload(&images, STORAGE);
    let launch = |(at, pass): (usize, &Pass)| {
        let all: [&Buffer; 2] = [&buffer, &stats];
        let buffers = all[..pass.kernel.buffers.len()].to_vec();
        Launch { kernel: pass.kernel, head: at as u32 * HEAD_PITCH, buffers, grid: pass.grid }
    };
    let launches: Vec<_> = rounds.passes.iter().enumerate().map(launch).collect();
    let (raw, queue) = device.raw();
    let mut encoder = raw.create_command_encoder(&Default::default());
    device.encode(&mut encoder, &heads, &input, &launches, None).unwrap();
    queue.submit([encoder.finish()]);

    let sums: Vec<u32> = bytemuck::pod_collect_to_vec(&device.download(&stats, stats.size()).unwrap());
    let (_, behind) = sums.split_at(rounds.stats_words as usize);
    assert!(behind.iter().enumerate().all(|(i, v)| *v == if i < GAP { 0 } else { SENTINEL }), "writes behind the sums");
    let got: Vec<u32> = bytemuck::pod_collect_to_vec(&device.download(&buffer, buffer.size()).unwrap());
    assert!(got[images.len()..].iter().all(|word| *word == SENTINEL), "writes behind the images");
    let mut results = Vec::new();
    for (sample, (staged, _, areas)) in samples.iter().zip(&staged) {
        let n = sample.pixels.len() / 3;
        for area in areas.map(|area| area as usize) {
            let gaps = [&got[area - GAP..area], &got[area + n..area + n + GAP]];
            assert!(gaps.concat().iter().all(|word| *word == SENTINEL), "{:?} writes beside an area", sample.ops);
        }
        if staged.rounds() == 0 {
            assert_eq!(got[areas[1] as usize..][..n], images[areas[1] as usize..][..n], "{:?}", sample.ops);
        }
        let result = &got[areas[staged.area()] as usize..][..n];
        assert!(result.iter().all(|word| *word < 1 << 24), "{:?} of {:?}: no RGBX", sample.ops, sample.size);
        results.push(result.iter().flat_map(|word| word.to_le_bytes().into_iter().take(3)).collect());
    }
    results
}

/// Grey levels that an operation may be off.
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

fn noise(size: Size, seed: u64) -> Vec<u8> {
    let mut draw = Draw::at(seed, 0, 0, Purpose::Augment);
    (0..3 * size.pixels()).map(|_| draw.bits() as u8).collect()
}

/// Noise; values that rise to the right and downwards; two values; flat black and white.
fn contents(size: Size, seed: u64) -> Vec<Vec<u8>> {
    let width = size.width as usize;
    let of = |f: &dyn Fn(usize, usize, usize) -> usize| {
        (0..3 * size.pixels() as usize).map(|i| f(i / 3 % width, i / 3 / width, i % 3) as u8).collect::<Vec<u8>>()
    };
    vec![
        noise(size, seed),
        of(&|x, y, c| (7 * x + 3 * y + 40 * c).min(220) + 10),
        of(&|x, y, c| if (x / 2 + y / 3 + c) % 2 == 0 { 3 } else { 251 }),
        of(&|x, y, _| if x == width / 2 && y == 0 { 255 } else { 0 }),
        of(&|_, _, _| 255),
    ]
}

const SIZES: [(u32, u32); 12] =
    [(1, 1), (1, 7), (9, 1), (2, 2), (3, 3), (5, 4), (31, 33), (33, 17), (32, 32), (64, 8), (65, 31), (101, 67)];

/// All operations, with ordinary arguments and at their extremes.
fn every_op() -> Vec<Op> {
    let mut ops = vec![Op::AutoContrast, Op::Equalize, Op::Invert, Op::Grayscale];
    ops.extend([0, 1, 5, 8].map(|bits| Op::Posterize { bits }));
    ops.extend([0, 100, 255, 256].map(|threshold| Op::Solarize { threshold }));
    ops.extend([0, 77, 255].map(|add| Op::SolarizeAdd { add }));
    for factor in [0.0, 0.1, 0.547_713_4, 1.0, 1.9, -1.7, 30.3, 1e-30, 3e38] {
        ops.extend([
            Op::Color { factor },
            Op::Contrast { factor },
            Op::Brightness { factor },
            Op::Sharpness { factor },
        ]);
    }
    ops.extend([0.0, 0.1, 0.6, 1.3, 2.0, 11.0, 4096.0].map(|radius| Op::GaussianBlur { radius }));
    ops.extend([-0.5, -0.1, 0.0, 0.077, 0.5].map(|shift| Op::Hue { shift }));
    for sampling in SAMPLINGS {
        ops.extend([0.0, 27.0, -13.7, 45.0, 90.0, 180.0, 270.0, 1e-14].map(|degrees| Op::Rotate { degrees, sampling }));
        ops.extend([0.27, -0.3, 1.0, -1.6].map(|factor| Op::ShearX { factor, sampling }));
        ops.extend([0.27, -0.3, 1.0, -1.6].map(|factor| Op::ShearY { factor, sampling }));
        ops.extend([0.405, -0.45, 0.5, 1.0, -3.0, 0.25].map(|share| Op::TranslateX { share, sampling }));
        ops.extend([0.405, -0.45, 0.5, 1.0, -3.0, 0.25].map(|share| Op::TranslateY { share, sampling }));
    }
    ops
}

#[test]
fn every_operation_is_the_cpu_s() {
    let mut samples = Vec::new();
    for (seed, (width, height)) in (0..).zip(SIZES) {
        let size = Size::new(width, height);
        let pixels = contents(size, seed);
        for (i, op) in every_op().into_iter().enumerate() {
            // Of larger images the noise and one of the others.
            let picked = |k: &usize| size.pixels() < 100 || *k == 0 || *k == 1 + i % 4;
            samples.extend((0..pixels.len()).filter(picked).map(|k| Sample {
                size,
                pixels: pixels[k].clone(),
                ops: vec![op],
            }));
        }
    }
    let results = augment(&samples);
    let mut differences = BTreeMap::<String, (u8, usize, usize)>::new();
    for (sample, result) in samples.iter().zip(&results) {
        let op = sample.ops[0];
        let mut expected = sample.pixels.clone();
        Augmenter::new().apply(&mut expected, sample.size, &sample.ops, FILL).unwrap();
        let compare = |expected: &[u8]| {
            let greatest = result.iter().zip(expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
            let first = result.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(0);
            assert!(
                greatest <= tolerance(op),
                "{op:?} of {:?}: value {first} is {}, not {}; off by up to {greatest}",
                sample.size,
                result[first],
                expected[first]
            );
            greatest
        };
        compare(&expected);
        if tolerance(op) > 0 {
            let exact = reference::apply(&sample.pixels, sample.size, &sample.ops, FILL).unwrap();
            let greatest = compare(&exact);
            let name = format!("{op:?}");
            let words: Vec<&str> = name.split([' ', ',']).collect();
            let entry = differences.entry(format!("{} {}", words[0], words[words.len() - 2])).or_default();
            entry.0 = entry.0.max(greatest);
            entry.1 += result.iter().zip(&exact).filter(|(a, b)| a != b).count();
            entry.2 += exact.len();
        }
    }
    for (name, (greatest, differ, values)) in differences {
        eprintln!("{name}: up to {greatest}, {differ} of {values} values differ from the reference");
        assert!(differ * 50 < values, "{name}: {differ} of {values} values differ");
    }
}

/// Any operation that is exact, with any argument.
fn drawn(draw: &mut Draw) -> Op {
    let sampling = Sampling::Nearest;
    let factor = draw.uniform(-1.0, 3.0) as f32;
    let share = draw.uniform(-0.6, 0.6);
    match draw.below(18) {
        0 => Op::AutoContrast,
        1 => Op::Equalize,
        2 => Op::Invert,
        3 => Op::Rotate { degrees: 180.0 * share, sampling },
        4 => Op::Posterize { bits: draw.below(9) as u8 },
        5 => Op::Solarize { threshold: draw.below(257) as u16 },
        6 => Op::SolarizeAdd { add: draw.below(256) as u8 },
        7 => Op::Color { factor },
        8 => Op::Contrast { factor },
        9 => Op::Brightness { factor },
        10 => Op::Sharpness { factor },
        11 => Op::ShearX { factor: share, sampling },
        12 => Op::ShearY { factor: share, sampling },
        13 => Op::TranslateX { share, sampling },
        14 => Op::TranslateY { share, sampling },
        15 => Op::Grayscale,
        16 => Op::GaussianBlur { radius: 4.0 * share.abs() as f32 },
        _ => Op::Hue { shift: share.clamp(-0.5, 0.5) },
    }
}

#[test]
fn images_with_lists_of_different_lengths_go_together() {
    let mut draw = Draw::at(11, 0, 0, Purpose::Augment);
    let mut samples = Vec::new();
    for i in 0..200u32 {
        let size = Size::new(1 + draw.below(70) as u32, 1 + draw.below(40) as u32);
        let ops = (0..i % 9).map(|_| drawn(&mut draw)).collect();
        samples.push(Sample { size, pixels: noise(size, i.into()), ops });
    }
    for (sample, result) in samples.iter().zip(augment(&samples)) {
        let mut expected = sample.pixels.clone();
        Augmenter::new().apply(&mut expected, sample.size, &sample.ops, FILL).unwrap();
        assert!(result == expected, "{:?} of {:?}", sample.ops, sample.size);
    }
}

#[test]
fn blurs_share_two_launches() {
    let (size, blur) = (Size::new(50, 40), Op::GaussianBlur { radius: 1.5 });
    let lists = [vec![blur], vec![Op::Equalize, Op::Grayscale, blur, Op::Invert], vec![], vec![Op::Invert; 3]];
    let staged = lists.map(|ops| stage(&ops, size, FILL, &mut Vec::new()).unwrap().unwrap());
    let placed: Vec<_> = staged.iter().map(|staged| Placed { staged, base: 0, areas: [0, 2000] }).collect();
    let passes = rounds(&placed).passes;
    let told: Vec<_> = passes.iter().map(|pass| (pass.kernel.stem, pass.count, pass.a, pass.grid)).collect();
    let expected = [
        ("augment_stats", 1, 0, [1, 1, 1]),
        ("augment_apply", 2, 0, [2, 2, 2]),
        ("augment_apply", 1, 0, [2, 2, 1]),
        ("augment_blur", 2, 0, [3, 1, 2]),
        ("augment_blur", 2, 1, [4, 1, 2]),
        ("augment_apply", 1, 0, [2, 2, 1]),
    ];
    assert_eq!(told, expected);
}

#[test]
fn coordinates_are_as_fine_in_long_images() {
    let mut samples = Vec::new();
    for size in [Size::new(1999, 4), Size::new(4, 1999)] {
        for sampling in SAMPLINGS {
            let ops = [
                Op::Rotate { degrees: 0.3, sampling },
                Op::ShearX { factor: 0.913_7, sampling },
                Op::ShearY { factor: -0.003_14, sampling },
                Op::TranslateX { share: -0.370_13, sampling },
            ];
            samples.extend(ops.map(|op| Sample { size, pixels: noise(size, 3), ops: vec![op] }));
        }
    }
    for (sample, result) in samples.iter().zip(augment(&samples)) {
        let exact = reference::apply(&sample.pixels, sample.size, &sample.ops, FILL).unwrap();
        let greatest = result.iter().zip(&exact).map(|(a, b)| a.abs_diff(*b)).max();
        let differ = result.iter().zip(&exact).filter(|(a, b)| a != b).count();
        let is_near = greatest <= Some(tolerance(sample.ops[0])) && differ * 500 < exact.len();
        assert!(is_near, "{:?} of {:?}: {differ} differ, by up to {greatest:?}", sample.ops, sample.size);
    }
}

#[test]
fn a_batch_without_operations_takes_no_launch() {
    let size = Size::new(9, 4);
    let identities = vec![Op::Posterize { bits: 8 }, Op::Brightness { factor: 1.0 }, Op::GaussianBlur { radius: 0.0 }];
    let samples =
        [vec![], identities, vec![Op::Invert, Op::Invert]].map(|ops| Sample { size, pixels: noise(size, 1), ops });
    assert_eq!(augment(&samples), vec![noise(size, 1); 3]);
    let staged = stage(&samples[1].ops, size, FILL, &mut Vec::new()).unwrap().unwrap();
    assert!(rounds(&[Placed { staged: &staged, base: 0, areas: [0, 36] }; 2]).passes.is_empty());
}

#[test]
fn every_range_is_stretched_as_in_f64() {
    // Each image has three of the ranges, one for each channel, and all values of these.
    let size = Size::square(16);
    let ranges: Vec<(u8, u8)> = (0..=255).flat_map(|low| (low..=255).map(move |high| (low, high))).collect();
    let samples: Vec<Sample> = ranges
        .chunks(3)
        .map(|ranges| {
            let of = |i: usize| {
                let (low, high) = ranges[i % 3 % ranges.len()];
                ((i / 3) as u8).clamp(low, high)
            };
            Sample { size, pixels: (0..3 * 256).map(of).collect(), ops: vec![Op::AutoContrast] }
        })
        .collect();
    let mut augmenter = Augmenter::new();
    for (sample, result) in samples.iter().zip(augment(&samples)) {
        let mut expected = sample.pixels.clone();
        augmenter.apply(&mut expected, size, &sample.ops, FILL).unwrap();
        let first = (0..result.len()).find(|&i| result[i] != expected[i]);
        let told = first.map(|i| (i / 3, sample.pixels[i % 3], result[i], expected[i]));
        assert_eq!(told, None, "value, least, got, expected");
    }
}

#[test]
fn hues_turn_as_in_f32_and_f64() {
    // All shares of two channels in the third, thinned out; each channel the greatest and the least.
    let size = Size::new(512, 256);
    let colors = (0..size.pixels() as u32).flat_map(|i| {
        let (a, b) = (i as u8, (i >> 8) as u8);
        let c = (i / 255 * 37) as u8;
        let pixel = [a, b, c];
        let shift = (i >> 16) as usize + usize::from(b % 3);
        [pixel[shift % 3], pixel[(shift + 1) % 3], pixel[(shift + 2) % 3]]
    });
    let pixels: Vec<u8> = colors.collect();
    let samples = [-0.5, 0.0, 0.1].map(|shift| Sample { size, pixels: pixels.clone(), ops: vec![Op::Hue { shift }] });
    for (sample, result) in samples.iter().zip(augment(&samples)) {
        let mut expected = pixels.clone();
        Augmenter::new().apply(&mut expected, size, &sample.ops, FILL).unwrap();
        let first = (0..result.len() / 3).find(|i| result[3 * i..][..3] != expected[3 * i..][..3]);
        let told = first.map(|i| (&pixels[3 * i..][..3], &result[3 * i..][..3], &expected[3 * i..][..3]));
        assert_eq!(told, None, "{:?}: pixel, got, expected", sample.ops);
    }
}

#[test]
fn lines_of_any_length_are_blurred() {
    let mut samples = Vec::new();
    for length in [1, 2, 127, 128, 129, 255, 257, 512, 513, 1024, 1025, 2047, 2048] {
        for (i, radius) in [0.3, 2.0, 9.5, 700.0].into_iter().enumerate() {
            let size = Size::new(length, 1 + i as u32);
            let size = if i % 2 == 0 { size } else { size.transposed() };
            samples.push(Sample { size, pixels: noise(size, length.into()), ops: vec![Op::GaussianBlur { radius }] });
        }
    }
    for (sample, result) in samples.iter().zip(augment(&samples)) {
        let mut expected = sample.pixels.clone();
        Augmenter::new().apply(&mut expected, sample.size, &sample.ops, FILL).unwrap();
        assert!(result == expected, "{:?} of {:?}", sample.ops, sample.size);
    }
}

#[test]
fn points_become_one_table_and_what_is_too_large_is_left_to_the_cpu() {
    let (size, mut words) = (Size::new(30, 20), vec![1, 2]);
    let ops = [Op::Invert, Op::Brightness { factor: 0.5 }, Op::Equalize, Op::Posterize { bits: 2 }];
    let staged = stage(&ops, size, FILL, &mut words).unwrap().unwrap();
    assert_eq!((staged.rounds(), staged.area(), words.len()), (3, 1, 2 + 2 * 64));
    assert_eq!(words[2..4], [0x7e7e_7f7f, 0x7c7c_7d7d]);
    let far = Op::ShearX { factor: 40_000.0, sampling: Sampling::Nearest };
    let blur = Op::GaussianBlur { radius: 1.0 };
    for (size, ops) in [
        (size, [Op::Invert, far]),
        (Size::new(LONGEST_LINE + 1, 2), [Op::Invert, blur]),
        (Size::new(1, LONGEST_LINE + 1), [Op::Invert, blur]),
        (Size::new(4097, 4096), [Op::Invert, Op::Equalize]),
        (Size::new(32768, 1), [Op::Invert, Op::Equalize]),
    ] {
        words.truncate(2);
        assert_eq!(stage(&ops, size, FILL, &mut words).unwrap(), None, "{ops:?} of {size:?}");
        assert_eq!(words, [1, 2]);
    }
    let wrong = Op::Color { factor: f32::NAN };
    assert!(stage(&[wrong], size, FILL, &mut words).unwrap_err().to_string().contains("Color"));
}
