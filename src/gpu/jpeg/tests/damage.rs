//! What the kernel says of files that are not sound.

use super::*;
use crate::decode::SeekPoint;
use crate::error::DecodeError;

/// Decodes whole files. What the kernel takes for sound is what libjpeg-turbo reads without a warning, and what it does not the
/// CPU's own decoder leaves to libjpeg-turbo as well.
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

/// A gray JPEG of so many blocks, with these bits, spaces aside, and ones behind them. DC: `0` of no bits, `10` of 11; AC: `0` of
/// one bit without a run, `10` end of block, `110` sixteen zeros, `1110` of one bit after fifteen zeros, `11110` of 11 bits.
fn made_up(blocks: (u8, u8), bits: &str) -> Vec<u8> {
    let mut jpeg = vec![0xff, 0xd8, 0xff, 0xdb, 0, 67, 0];
    jpeg.extend([1; 64]);
    jpeg.extend([0xff, 0xc0, 0, 11, 8, 0, 8 * blocks.1, 0, 8 * blocks.0, 1, 1, 0x11, 0]);
    for (class, codes, symbols) in [(0, 2, &[0, 11][..]), (0x10, 5, &[1, 0, 0xf0, 0xf1, 11])] {
        jpeg.extend([0xff, 0xc4, 0, 19 + codes, class]);
        jpeg.extend((0..16).map(|length| u8::from(length < codes)));
        jpeg.extend(symbols);
    }
    jpeg.extend([0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0]);
    let bits: Vec<u8> = bits.bytes().filter(|b| *b != b' ').map(|b| b - b'0').collect();
    for byte in bits.chunks(8) {
        let byte = (0..8).fold(0, |value, at| value << 1 | byte.get(at).unwrap_or(&1));
        jpeg.extend(if byte == 0xff { &[0xff, 0][..] } else { std::slice::from_ref(&byte) });
    }
    jpeg.extend([0xff, 0xd9]);
    jpeg
}

#[test]
fn made_up_streams_have_their_status() {
    let empty = |blocks: usize| "0 10".repeat(blocks);
    let large = "10 11111111111 10".repeat(16);
    let long_run = "0 110 110 110 1110 1 ";
    let cases = [
        ("sound", (8, 1), empty(8), 0),
        ("a block as padding", (7, 1), empty(8), 0),
        ("a byte too many", (8, 1), empty(8) + "11111111", BAD_END),
        ("a block too few", (8, 1), empty(7), BAD_CODE),
        ("more blocks than there should be", (10, 4), empty(43), BAD_END),
        ("the largest DC", (16, 1), large.clone(), 0),
        ("a larger DC", (17, 1), large + "10 11111111111 10", BAD_DC),
        ("a run to the end of the block", (1, 1), "0 110 110 ".to_owned() + &"0 1".repeat(15) + "1110 1", 0),
        ("zeros to the end of the block", (1, 1), "0 110 110 110 ".to_owned() + &"0 1".repeat(15), 0),
        ("a run beyond the end of the block", (2, 1), long_run.to_owned() + &empty(1), BAD_CODE),
        ("the same in a row that is not needed", (25, 3), long_run.to_owned() + &empty(74), BAD_CODE),
        ("an AC coefficient of 11 bits", (1, 1), "0 11110 11111111111 10".to_owned(), BAD_CODE),
    ];
    let mut stager = short(64);
    let samples = cases.each_ref().map(|(_, blocks, bits, _)| {
        let last = Rect { x: 0, y: 8 * u32::from(blocks.1) - 8, width: 8 * u32::from(blocks.0), height: 8 };
        stage(&mut stager, &made_up(*blocks, bits), Some((last, 8)), None).expect("the header is sound")
    });
    for ((what, .., status), got) in cases.iter().zip(launch(&samples)) {
        assert_eq!(got.0, *status, "{what}");
    }
    let jpeg = made_up((7, 1), &empty(8));
    let grid = SeekGrid { units: (7, 1), steps: (4, 1), columns: 2 };
    let samples = [12, 15].map(|position| {
        let points = [0, position].map(|position| SeekPoint { position, predicted: [0; 3] });
        let points = SeekPoints::new(grid, points.to_vec()).expect("there are two");
        stage(&mut stager, &jpeg, None, Some(&points)).expect("the header is sound")
    });
    assert_eq!([0, 1].map(|sample: usize| launch(&samples)[sample].0), [0, BAD_END], "a seek point a block too late");
}
