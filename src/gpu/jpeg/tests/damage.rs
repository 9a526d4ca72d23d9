//! What the kernel says of files that are not sound.

use super::*;
use crate::error::DecodeError;

/// Decodes whole files. What the kernel takes for sound is what libjpeg-turbo reads without a warning, and what it does not the CPU's
/// own decoder leaves to libjpeg-turbo as well.
fn assert_found_or_harmless(files: &[Vec<u8>], samples: &[Sample]) -> Vec<(u32, Vec<u32>)> {
    let found = launch(samples);
    for ((jpeg, sample), got) in files.iter().zip(samples).zip(&found) {
        if got.0 == 0 {
            match Coefficients::from_jpeg(jpeg, &Limits::default()) {
                Ok(_) => assert_decoded("a damaged file", jpeg, sample, got),
                // What is odd besides the codes and the data, as a quantisation step of 0.
                Err(error) => assert!(matches!(error, DecodeError::Unsupported { .. }), "{error}"),
            }
        } else {
            let frame = frame(jpeg);
            let part = (Rect::whole(frame.size), 8);
            let accepted = Baseline::new().decode(jpeg, &frame, part, None, &mut Vec::new());
            assert_eq!(accepted, None, "{}: nothing is wrong with this file", got.0);
        }
    }
    found
}

#[test]
fn wrong_seek_points_are_found() {
    let jpeg = noisy((201, 135), PixelFormat::RGB, Subsamp::Sub2x2, 80);
    let other = noisy((201, 135), PixelFormat::RGB, Subsamp::Sub2x2, 78);
    let points = |jpeg: &[u8]| Baseline::new().seek_points(jpeg, &frame(jpeg)).expect("the file is plain");
    let right = points(&jpeg);
    let mut wrong = vec![points(&other)];
    for (shift, dc) in [(1, 0), (0, 1)] {
        let mut moved = right.points().to_vec();
        moved[20].position += shift;
        moved[20].predicted[1] += dc;
        wrong.push(SeekPoints::new(*right.grid(), moved).expect("as many as before"));
    }
    let mut stager = short(64);
    let mut samples: Vec<_> = wrong.iter().filter_map(|points| stage(&mut stager, &jpeg, None, Some(points))).collect();
    assert!(samples.len() >= 2, "no worker sees these");
    samples.push(stage(&mut stager, &jpeg, None, Some(&right)).expect("the points are right"));
    let mut got = launch(&samples);
    assert_decoded(
        "the right points",
        &jpeg,
        &samples.pop().expect("it is the last"),
        &got.pop().expect("it is the last"),
    );
    assert!(got.iter().all(|(status, _)| *status != 0));
    assert_eq!(got.last().map(|(status, _)| *status), Some(BAD_POINT), "the DC predictor alone is wrong");
}

#[test]
fn a_damaged_file_is_told_and_its_batch_mates_are_exact() {
    let jpeg = noisy((67, 45), PixelFormat::RGB, Subsamp::Sub2x2, 80);
    let scan = jpeg.windows(2).position(|pair| pair == [0xff, 0xda]).expect("there is a scan") + 14;
    let mut stager = short(128);
    let cut = [&jpeg[..jpeg.len() / 2], &[0xff, 0xd9]].concat();
    let longer = [&jpeg[..jpeg.len() - 2], &[0, 0xff, 0xd9]].concat();
    let mut flipped = jpeg.clone();
    flipped[scan..scan + 40].fill(0x55);
    let ones = [&jpeg[..scan], &[0xff, 0].repeat(400), &[0xff, 0xd9]].concat();
    let zeros = [&jpeg[..scan], &[0; 800], &[0xff, 0xd9]].concat();
    let files = [&jpeg, &cut, &jpeg, &longer, &flipped, &ones, &zeros, &jpeg];
    let samples = files.map(|file| whole(&mut stager, file));
    for (at, (got, sample)) in launch(&samples).iter().zip(&samples).enumerate() {
        if files[at] == &jpeg {
            assert_decoded("a mate", &jpeg, sample, got);
        } else {
            assert_ne!(got.0, 0, "file {at}");
        }
    }
    assert!(stage(&mut stager, &jpeg[..jpeg.len() - 2], None, None).is_none(), "it has no end");
    assert!(stage(&mut stager, &samples::jpeg(67, 45, Subsamp::None, true), None, None).is_none(), "progressive");
}

#[test]
fn too_few_rounds_are_told() {
    let jpeg = noisy((67, 45), PixelFormat::RGB, Subsamp::Sub2x2, 90);
    let few = whole(&mut Stager { rounds: 0, ..short(64) }, &jpeg);
    let enough = whole(&mut short(64), &jpeg);
    let got = launch(&[few, enough]);
    assert_eq!([got[0].0, got[1].0], [NOT_IN_STEP, 0]);
}

#[test]
fn random_damage_is_found_or_harmless() {
    let files = [
        noisy((67, 45), PixelFormat::RGB, Subsamp::Sub2x2, 70),
        noisy((67, 45), PixelFormat::RGB, Subsamp::None, 31),
        restarting((67, 45), Subsamp::Sub2x1, 4),
        samples::coefficients(5, (71, 53), &[(4, 4), (1, 1), (2, 1)], Filling::Sparse)
            .to_jpeg()
            .expect("values have codes"),
    ];
    let mut draw = Draw::at(3, 0, 0, Purpose::Demo);
    let mut stager = short(96);
    let (mut damaged, mut samples) = (Vec::new(), Vec::new());
    for round in 0..400 {
        let mut jpeg = files[round % files.len()].clone();
        let codes = jpeg.windows(2).position(|pair| pair == [0xff, 0xc4]).expect("there are codes");
        for _ in 0..1 + draw.below(3) {
            let at = codes + draw.below((jpeg.len() - codes) as u64) as usize;
            match draw.below(4) {
                0 => jpeg[at] ^= 1 << draw.below(8),
                1 => jpeg[at] = draw.bits() as u8,
                2 => _ = jpeg.remove(at),
                _ => jpeg.insert(at, draw.bits() as u8),
            }
        }
        if read_frame(&jpeg).is_none() {
            continue;
        }
        if let Some(sample) = stage(&mut stager, &jpeg, None, None) {
            samples.push(sample);
            damaged.push(jpeg);
        }
    }
    let got = assert_found_or_harmless(&damaged, &samples);
    let sound = got.iter().filter(|(status, _)| *status == 0).count();
    assert!((20..got.len() - 20).contains(&sound), "{sound} of {} are sound", got.len());
}

/// Files that were made to break decoders.
#[test]
fn hostile_files_are_found_or_harmless() {
    let Some(folder) = shared_data("hostile") else { return };
    let mut stager = short(256);
    let (mut files, mut samples) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder).expect("the folder opens") {
        let jpeg = std::fs::read(entry.expect("the entry is there").path()).expect("the file opens");
        let is_small = |frame: &Frame| frame.size.pixels() < 1_000_000;
        if !read_frame(&jpeg).is_some_and(|frame| is_small(&frame)) {
            continue;
        }
        if let Some(sample) = stage(&mut stager, &jpeg, None, None) {
            samples.push(sample);
            files.push(jpeg);
        }
    }
    assert!(!samples.is_empty());
    assert_found_or_harmless(&files, &samples);
}

/// As the CPU's own decoder, of a scan with pixels below the window.
#[test]
fn what_comes_after_the_window_is_not_looked_at() {
    let window = Rect { x: 0, y: 0, width: 160, height: 8 };
    let mut stager = short(96);
    for (jpeg, is_restarting) in [
        (noisy((160, 240), PixelFormat::RGB, Subsamp::Sub2x2, 90), false),
        (restarting((160, 240), Subsamp::Sub2x2, 10), true),
    ] {
        let mut damaged = jpeg.clone();
        let end = damaged.len();
        damaged[end - 30..end - 2].fill(0x55);
        let samples =
            [&jpeg, &damaged].map(|file| stage(&mut stager, file, Some((window, 8)), None).expect("it is read"));
        let of = &samples[0].staged.scans[0];
        assert!(is_restarting || of.subsequences > 512, "there are chunks after that of the window");
        assert!(of.interval_count == 1 || of.interval_count == 2, "{} intervals", of.interval_count);
        for (sample, got) in samples.iter().zip(launch(&samples)) {
            assert_decoded("damage below", &jpeg, sample, &got);
        }
        let all = whole(&mut stager, &damaged);
        assert_ne!(launch(&[all])[0].0, 0, "the whole is damaged");
    }
}
