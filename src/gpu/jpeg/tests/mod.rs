//! The kernel against libjpeg-turbo's coefficients, and against the CPU's own decoder for what is damage.

mod damage;

use super::*;
use crate::decode::baseline::Baseline;
use crate::decode::{Decoder, Limits, SeekGrid, SeekPoints};
use crate::gpu::testing::{Case, assert_equal, input_start, run};
use crate::packed::Coefficients;
use crate::packed::samples::{self, Filling};
use crate::rng::{Draw, Purpose};
use std::path::{Path, PathBuf};
use turbojpeg::{Compressor, Image, PixelFormat, Subsamp, raw};

const SAMPLINGS: [Subsamp; 7] =
    [Subsamp::None, Subsamp::Sub2x1, Subsamp::Sub2x2, Subsamp::Sub1x2, Subsamp::Sub4x1, Subsamp::Sub1x4, Subsamp::Gray];

/// A stager for so short subsequences that they fall out of step in small images.
fn short(length: u32) -> Stager {
    Stager { length, rounds: 256, ..Stager::default() }
}

/// What the header says; `None` if it is not sound.
fn read_frame(jpeg: &[u8]) -> Option<Frame> {
    Decoder::new(Limits::default()).expect("libjpeg-turbo starts").header(jpeg).ok()?.frame
}

fn frame(jpeg: &[u8]) -> Frame {
    read_frame(jpeg).expect("the header is sound")
}

/// A file of a batch: what was made of it, and the words for it.
struct Sample {
    staged: Staged,
    words: Vec<u32>,
}

fn stage(stager: &mut Stager, jpeg: &[u8], part: Option<(Rect, u8)>, seek: Option<&SeekPoints>) -> Option<Sample> {
    let frame = frame(jpeg);
    // Something of another's comes first.
    let mut words = vec![7; 3];
    let staged = stager.stage(jpeg, &frame, part.unwrap_or((Rect::whole(frame.size), 8)), seek, &mut words);
    assert!(staged.is_some() || words == [7; 3]);
    Some(Sample { staged: staged?, words })
}

fn whole(stager: &mut Stager, jpeg: &[u8]) -> Sample {
    stage(stager, jpeg, None, None).expect("the file is plain")
}

/// Runs a batch in one launch: the status of each sample, and its coefficients.
fn launch(samples: &[Sample]) -> Vec<(u32, Vec<u32>)> {
    let scans: usize = samples.iter().map(|sample| sample.staged.scans.len()).sum();
    let (mut input, mut params, mut coefficients) = (Vec::new(), Vec::new(), 0);
    let start = input_start(&vec![Params::default(); scans]);
    for (image, sample) in (0..).zip(samples) {
        params.extend(sample.staged.params(image, start + input.len() as u32, coefficients));
        input.extend(&sample.words);
        coefficients += sample.staged.coefficient_words;
    }
    let buffers = [vec![0; coefficients as usize], vec![0; samples.len()]];
    let case =
        Case { kernel: &HUFFMAN, params: &params, input: &input, a: 0, b: 0, buffers: &buffers, grid: grid(scans) };
    let [all, status] = run(case).try_into().expect("two buffers");
    let mut rest = &all[..];
    let own = |(sample, status): (&Sample, u32)| {
        let (own, others) = rest.split_at(sample.staged.coefficient_words as usize);
        rest = others;
        (status, own.to_vec())
    };
    samples.iter().zip(status).map(own).collect()
}

/// What libjpeg-turbo finds, laid out as the kernel does.
fn expected(staged: &Staged, coefficients: &Coefficients) -> Vec<u32> {
    let mut words = vec![0; staged.coefficient_words as usize];
    for (of, component) in staged.components.iter().zip(&coefficients.components) {
        let BlockRect { x, y, width, height } = of.rect;
        let places = (y..y + height).flat_map(|row| (x..x + width).map(move |column| (row, column)));
        let own = &mut words[of.coefficients as usize..][..of.rect.words() as usize];
        for (to, (row, column)) in own.as_chunks_mut::<32>().0.iter_mut().zip(places) {
            let block = component.block(column, row);
            let is_low = |at: usize| at % 8 < of.scale as usize && at / 8 < of.scale as usize;
            let value = |at: usize| if is_low(at) { u32::from(block[at] as u16) } else { 0 };
            *to = std::array::from_fn(|at| value(2 * at) | value(2 * at + 1) << 16);
        }
        assert_eq!(of.steps, component.steps.map(i32::from));
    }
    words
}

fn assert_decoded(what: &str, jpeg: &[u8], sample: &Sample, (status, got): &(u32, Vec<u32>)) {
    let coefficients = Coefficients::from_jpeg(jpeg, &Limits::default()).expect("libjpeg-turbo reads it");
    assert_eq!(*status, 0, "{what}: status");
    assert_equal(what, got, &expected(&sample.staged, &coefficients));
}

/// Decodes whole files in one launch.
fn assert_all_decoded(stager: &mut Stager, files: &[(String, Vec<u8>)]) {
    let samples: Vec<_> = files.iter().map(|(_, jpeg)| whole(stager, jpeg)).collect();
    for (((what, jpeg), sample), got) in files.iter().zip(&samples).zip(launch(&samples)) {
        assert_decoded(what, jpeg, sample, &got);
    }
}

/// A JPEG of noise over slopes, of RGB or of four inks.
fn noisy(size: (usize, usize), format: PixelFormat, sampling: Subsamp, quality: i32) -> Vec<u8> {
    let (width, height) = size;
    let mut draw = Draw::at(quality as u64, 0, width as u64, Purpose::Demo);
    let channels = format.size();
    let value = |i: usize, noise: u64| (i / channels % width + i / (channels * width) + noise as usize) as u8;
    let pixels: Vec<u8> = (0..channels * width * height).map(|i| value(i, draw.below(60))).collect();
    let mut compressor = Compressor::new().expect("libjpeg-turbo starts");
    compressor.set_quality(quality).expect("the quality is in range");
    compressor.set_subsamp(sampling).expect("the sampling is known");
    compressor.set_optimize(quality % 2 == 1).expect("own codes are known");
    compressor
        .compress_to_vec(Image { pixels: &pixels[..], width, pitch: channels * width, height, format })
        .expect("a picture compresses")
}

/// As [`noisy`], of RGB, with restart markers every so many units.
fn restarting(size: (usize, usize), sampling: Subsamp, units: i32) -> Vec<u8> {
    let (width, height) = size;
    let mut draw = Draw::at(1, 0, units as u64, Purpose::Demo);
    let pixels: Vec<u8> = (0..3 * width * height).map(|i| (i / 3 % width + draw.below(90) as usize) as u8).collect();
    let parameters = [
        (raw::TJPARAM_TJPARAM_QUALITY, 85),
        (raw::TJPARAM_TJPARAM_SUBSAMP, sampling as i32),
        (raw::TJPARAM_TJPARAM_RESTARTBLOCKS, units),
    ];
    let (mut output, mut length) = (std::ptr::null_mut(), 0);
    // SAFETY: the pixels are as many as the size says, and TurboJPEG allocates the output, which is copied and freed.
    unsafe {
        let handle = raw::tj3Init(raw::TJINIT_TJINIT_COMPRESS as i32);
        for (parameter, value) in parameters {
            assert_eq!(raw::tj3Set(handle, parameter as i32, value), 0);
        }
        let (width, height, format) = (width as i32, height as i32, PixelFormat::RGB as i32);
        let code =
            raw::tj3Compress8(handle, pixels.as_ptr(), width, 0, height, format, &raw mut output, &raw mut length);
        assert_eq!(code, 0);
        let jpeg = std::slice::from_raw_parts(output, length as usize).to_vec();
        raw::tj3Free(output.cast());
        raw::tj3Destroy(handle);
        jpeg
    }
}

#[test]
fn every_sampling_and_size_gives_libjpegs_coefficients() {
    let mut files = Vec::new();
    for sampling in SAMPLINGS {
        for size in [(1, 1), (8, 8), (9, 1), (1, 17), (67, 45)] {
            files.push((format!("{sampling:?} {size:?}"), samples::jpeg(size.0, size.1, sampling, false)));
        }
    }
    for (sampling, quality) in [(Subsamp::None, 3), (Subsamp::Sub2x2, 50), (Subsamp::Sub2x2, 100), (Subsamp::Gray, 99)]
    {
        let jpeg = noisy((113, 71), PixelFormat::RGB, sampling, quality);
        files.push((format!("{sampling:?}, quality {quality}"), jpeg));
    }
    for sampling in [Subsamp::None, Subsamp::Sub2x2] {
        files.push((format!("CMYK {sampling:?}"), noisy((43, 27), PixelFormat::CMYK, sampling, 80)));
    }
    for length in [64, 160, SUBSEQUENCE_BITS] {
        assert_all_decoded(&mut short(length), &files);
    }
}

#[test]
fn more_subsequences_than_lanes_follow_one_another() {
    let mut files = Vec::new();
    for quality in [92, 95] {
        files.push((format!("quality {quality}"), noisy((160, 120), PixelFormat::RGB, Subsamp::Sub2x2, quality)));
    }
    let mut stager = short(96);
    assert!(whole(&mut stager, &files[0].1).staged.scans[0].subsequences > 3 * 256);
    assert_all_decoded(&mut stager, &files);
    let jpeg = restarting((160, 120), Subsamp::Sub2x2, 7);
    assert_all_decoded(&mut stager, &[("restarting".to_owned(), jpeg)]);
}

#[test]
fn restart_markers_begin_anew() {
    let mut files = Vec::new();
    for (sampling, units) in SAMPLINGS.into_iter().zip([1, 2, 3, 5, 8, 1000, 1]) {
        files.push((format!("{sampling:?}, every {units}"), restarting((93, 61), sampling, units)));
    }
    for length in [64, 512] {
        assert_all_decoded(&mut short(length), &files);
    }
    let (_, mut jpeg) = files.swap_remove(0);
    let marker = jpeg.windows(2).position(|pair| pair == [0xff, 0xd3]).expect("there are more than four intervals");
    jpeg[marker + 1] = 0xd4;
    assert!(stage(&mut short(64), &jpeg, None, None).is_none(), "another marker than is due");
}

#[test]
fn several_scans_and_any_magnitude_are_read() {
    let mut files = Vec::new();
    for (sampling, filling) in [
        (&[(4, 4), (1, 1), (2, 1)][..], Filling::Sparse),
        (&[(4, 2), (2, 2), (1, 1)], Filling::Dense),
        (&[(2, 2), (1, 1), (1, 1)], Filling::Dense),
        (&[(1, 1), (1, 1), (1, 1), (1, 1)], Filling::Sparse),
        (&[(4, 1), (1, 1), (2, 1), (4, 1)], Filling::Dense),
        (&[(2, 3)], Filling::Dense),
        (&[(1, 1)], Filling::Zero),
    ] {
        let coefficients = samples::coefficients(5, (71, 53), sampling, filling);
        files.push((format!("{sampling:?} {filling:?}"), coefficients.to_jpeg().expect("all values have codes")));
    }
    let mut stager = short(128);
    assert_eq!(whole(&mut stager, &files[0].1).staged.scans.len(), 3);
    assert_all_decoded(&mut stager, &files);
}

#[test]
fn what_a_window_needs_is_read_at_every_scale() {
    let jpegs = [Subsamp::Sub2x2, Subsamp::None].map(|sampling| samples::jpeg(133, 95, sampling, false));
    let mut stager = short(128);
    let (mut decoded, mut samples) = (Vec::new(), Vec::new());
    for (jpeg, scale) in jpegs.iter().flat_map(|jpeg| [1, 2, 3, 4, 6, 8].map(|scale| (jpeg, scale))) {
        let side = |side: u32| side * u32::from(scale) / 8;
        for window in [(50, 40, 31, 9), (0, 0, 8, 8), (125, 90, 8, 5), (0, 70, 133, 25)] {
            let window = Rect {
                x: side(window.0),
                y: side(window.1),
                width: side(window.2).max(1),
                height: side(window.3).max(1),
            };
            samples.push(stage(&mut stager, jpeg, Some((window, scale)), None).expect("the file is plain"));
            decoded.push((format!("{window:?} at {scale}/8"), jpeg));
        }
    }
    assert_eq!(samples[20].staged.components[0].rect, BlockRect { x: 6, y: 4, width: 6, height: 4 });
    assert_eq!(samples[20].staged.components[2].rect, BlockRect { x: 3, y: 2, width: 3, height: 2 });
    for (((what, jpeg), sample), got) in decoded.iter().zip(&samples).zip(launch(&samples)) {
        assert_decoded(what, jpeg, sample, &got);
    }
}

#[test]
fn seek_points_make_it_shorter() {
    let jpegs = [
        noisy((201, 135), PixelFormat::RGB, Subsamp::Sub2x2, 80),
        noisy((201, 135), PixelFormat::RGB, Subsamp::Gray, 81),
        restarting((201, 135), Subsamp::Sub2x2, 5),
        restarting((201, 135), Subsamp::None, 1),
    ];
    let mut stager = short(512);
    let (mut decoded, mut samples) = (Vec::new(), Vec::new());
    for jpeg in &jpegs {
        let frame = frame(jpeg);
        let all = Baseline::new().seek_points(jpeg, &frame).expect("the file is plain");
        let units = all.grid().units;
        for steps in [(1, 1), (3, 1), (4, 2), (units.0, 1), (units.0, units.1)] {
            let grid = SeekGrid { units, steps, columns: units.0.div_ceil(steps.0) };
            let points = all.thinned(grid).expect("there is a point for each unit");
            for window in [Rect::whole(frame.size), Rect { x: 90, y: 50, width: 40, height: 30 }] {
                let sample = stage(&mut stager, jpeg, Some((window, 8)), Some(&points)).expect("the points are right");
                decoded.push((format!("{steps:?} of {units:?}, {window:?}"), jpeg));
                samples.push(sample);
            }
        }
    }
    let lengths = [0, 1].map(|sample: usize| samples[sample].words.len());
    assert!(3 * lengths[1] < lengths[0], "a window of a twentieth takes {lengths:?} words");
    for (((what, jpeg), sample), got) in decoded.iter().zip(&samples).zip(launch(&samples)) {
        assert_decoded(what, jpeg, sample, &got);
    }
}

fn shared_data(what: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(what);
    if !path.exists() {
        eprintln!("{what} is not at hand: own files only");
        return None;
    }
    Some(path)
}

#[test]
fn conformance_files_give_libjpegs_coefficients() {
    let Some(folder) = shared_data("jpeg-conformance") else { return };
    let (mut files, mut left) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder).expect("the folder opens") {
        let path = entry.expect("the entry is there").path();
        let jpeg = std::fs::read(&path).expect("the file opens");
        let name = path.file_name().expect("it has a name").to_string_lossy().into_owned();
        let Some(frame) = read_frame(&jpeg) else { continue };
        if frame.size.pixels() > 100_000 {
            continue;
        }
        let part = (Rect::whole(frame.size), 8);
        let is_read = Baseline::new().decode(&jpeg, &frame, part, None, &mut Vec::new()).is_some();
        if is_read {
            files.push((name, jpeg));
        } else if stage(&mut short(512), &jpeg, None, None).is_some() {
            left.push(name);
        }
    }
    assert!(files.len() > 80, "{} files", files.len());
    assert_all_decoded(&mut short(512), &files);
    eprintln!("{} files; the CPU's own decoder leaves {left:?}", files.len());
}

#[test]
fn photographs_give_libjpegs_coefficients() {
    let Some(path) = shared_data("imagenet-200.tar") else { return };
    let mut archive = tar::Archive::new(std::fs::File::open(path).expect("the archive opens"));
    let mut files = Vec::new();
    for entry in archive.entries().expect("the archive is a tar file") {
        let mut entry = entry.expect("the entry is whole");
        let name = entry.path().expect("the name is a path").to_string_lossy().into_owned();
        let mut jpeg = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut jpeg).expect("the entry is whole");
        let is_plain = jpeg.starts_with(&[0xff, 0xd8]) && stage(&mut Stager::default(), &jpeg, None, None).is_some();
        if is_plain && jpeg.len() > 20_000 {
            files.push((name, jpeg));
        }
        if files.len() == 4 {
            break;
        }
    }
    assert_all_decoded(&mut Stager::default(), &files);
}
