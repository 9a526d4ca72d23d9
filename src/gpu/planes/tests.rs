//! Pixels of the kernels against those of the CPU's decoder, bit for bit.

mod damage;
mod files;
mod records;

use super::batch::{Batch, Place, place};
use super::picture::Wanted;
use super::stage::{Source, Staged};
use super::{BANDS, IDCT, PIXELS};
use crate::decode::{Decoder, Format, Header, Limits, Patch, SCALE_MARGIN, Seek, scale_for};
use crate::gpu::kernel::Kernel;
use crate::gpu::testing::{Case, SENTINEL, garbage, input_start, run};
use crate::packed::Coefficients;
use crate::shape::{Rect, Size};
use bytemuck::Pod;

const SCALES: [u8; 6] = [8, 6, 4, 3, 2, 1];

/// A staged sample with its words, and what a Huffman kernel would write of it.
struct Sample {
    name: String,
    staged: Staged,
    words: Vec<u32>,
    written: Option<Coefficients>,
    /// Dense RGBX pixels by the CPU, where it has them of its own.
    expected: Option<Vec<u32>>,
}

/// The upright pixels of each sample, and the samples' status.
fn launch(samples: &[Sample]) -> (Vec<Vec<u32>>, Vec<u32>) {
    let staged: Vec<&Staged> = samples.iter().map(|sample| &sample.staged).collect();
    let (places, sizes) = place(&staged).expect("these are small");
    let batch = |first: u32| {
        let mut base = first;
        let bases = samples.iter().map(|sample| {
            base += sample.words.len() as u32;
            base - sample.words.len() as u32
        });
        Batch::new(samples.iter().zip(&places).zip(bases).map(|((sample, place), base)| (&sample.staged, place, base)))
    };
    let input: Vec<u32> = samples.iter().flat_map(|sample| sample.words.iter().copied()).collect();
    let mut coefficients = garbage(sizes.coefficients as usize);
    for (sample, place) in samples.iter().zip(&places) {
        let Source::Coefficients { picture, coefficients: to, is_from_host: false, .. } = &sample.staged.source else {
            continue;
        };
        let written = sample.written.as_ref().expect("somebody has to write them");
        let mut words = Vec::new();
        let here = Staged::decoded_here(picture.clone(), written, &mut words);
        let Source::Coefficients { coefficients: from, .. } = here.source else { panic!("{here:?}") };
        for ((part, from), to) in picture.parts.iter().zip(from).zip(to) {
            let len = part.coefficient_words() as usize;
            coefficients[(place.coefficients + to) as usize..][..len].copy_from_slice(&words[from as usize..][..len]);
        }
    }
    let mut planes = garbage(sizes.planes as usize);
    let mut status = vec![0; samples.len()];

    let counted = batch(0);
    let made = batch(input_start(&counted.idct));
    if !made.idct.is_empty() {
        let buffers = [coefficients, planes, status];
        let mut after = kernel(&IDCT, &made.idct, &input, &buffers, made.idct_grid);
        (status, planes) = (after.remove(2), after.remove(1));
    }
    let made = batch(input_start(&counted.bands));
    if !made.bands.is_empty() {
        let mut after = kernel(&BANDS, &made.bands, &input, &[planes, status], made.bands_grid);
        (status, planes) = (after.remove(1), after.remove(0));
    }
    let made = batch(input_start(&counted.pixels));
    let buffers = [planes, garbage(sizes.pixels as usize)];
    let all = kernel(&PIXELS, &made.pixels, &input, &buffers, made.pixels_grid).remove(1);
    let of = |(sample, place): (&Sample, &Place)| {
        all[place.pixels as usize..][..sample.staged.pixel_words() as usize].to_vec()
    };
    (samples.iter().zip(&places).map(of).collect(), status)
}

fn kernel<P: Pod>(
    kernel: &'static Kernel,
    params: &[P],
    input: &[u32],
    buffers: &[Vec<u32>],
    grid: [u32; 3],
) -> Vec<Vec<u32>> {
    run(Case { kernel, params, input, a: 0, b: 0, buffers, grid })
}

/// Launches them as one batch and compares with what the CPU made.
fn check(samples: &[Sample]) {
    if samples.is_empty() {
        return;
    }
    let (pixels, status) = launch(samples);
    for ((sample, pixels), status) in samples.iter().zip(&pixels).zip(status) {
        let Some(expected) = &sample.expected else {
            assert_ne!(status, 0, "{}: the CPU leaves it to libjpeg", sample.name);
            continue;
        };
        assert_eq!(status, 0, "{}", sample.name);
        assert_same(sample, pixels, expected);
    }
}

fn assert_same(sample: &Sample, pixels: &[u32], expected: &[u32]) {
    assert_eq!(pixels.len(), expected.len(), "{}", sample.name);
    if let Some(at) = (0..pixels.len()).find(|&at| pixels[at] != expected[at]) {
        let width = sample.staged.size.width as usize;
        let differ = (0..pixels.len()).filter(|&at| pixels[at] != expected[at]).count();
        let (x, y, got, expected) = (at % width, at / width, pixels[at], expected[at]);
        let name = &sample.name;
        assert_ne!(got, SENTINEL, "{name}: pixel ({x}, {y}) was not written");
        panic!("{name}: pixel ({x}, {y}) is {got:#08x}, not {expected:#08x}; {differ} of {} differ", pixels.len());
    }
}

fn words_of(patch: &Patch) -> Vec<u32> {
    let mut words = Vec::new();
    _ = Staged::pixels(patch, &mut words);
    words
}

fn decoder() -> Decoder {
    Decoder::new(Limits::default()).unwrap().with_own_decoder()
}

/// What the CPU makes of the file without libjpeg, and of a record without writing its JPEG; and where the region lies.
fn expected(bytes: &[u8], header: &Header, wanted: &Wanted) -> (Option<Vec<u32>>, [f64; 4]) {
    let mut decoder = decoder().scale_margin(wanted.margin).unwrap();
    let patch = decoder.decode_region(bytes, header, wanted.region, wanted.need).expect("it decodes");
    let (words, area, bytes_read) = (words_of(&patch), patch.area, patch.bytes);
    assert_eq!(decoder.seek(), Seek::Unused);
    let is_own = decoder.own_decodes() == 1 && (header.format == Format::Jpeg || bytes_read < bytes.len() as u64);
    (is_own.then_some(words), area)
}

/// A request for the region that is decoded at this scale, if there is one.
fn at_scale(region: Rect, scale: u8) -> Option<Wanted> {
    let side = region.width.min(region.height);
    let need =
        (1..=side).rev().map(Size::square).find(|need| scale_for(region.size(), *need, SCALE_MARGIN) == scale)?;
    Some(Wanted { region, need, margin: SCALE_MARGIN })
}

/// The whole, an inner rectangle at odd places, a corner and a single pixel.
fn regions(size: Size) -> Vec<Rect> {
    let Size { width, height } = size;
    let inner = Rect { x: width / 5, y: height / 3, width: width - width / 3, height: height - height / 2 };
    let corner = Rect { x: width / 2, y: height / 2, width: width - width / 2, height: height - height / 2 };
    let pixel = Rect { x: width - 1, y: height / 2, width: 1, height: 1 };
    vec![Rect::whole(size), inner, corner, pixel]
}

/// Some photos; none where the data is not there.
fn photos() -> Vec<Vec<u8>> {
    let mut photos = Vec::new();
    for (name, step, count) in [("imagenette96-val", 97, 8), ("imagenet-200", 41, 4)] {
        let path = format!("../shared/data/{name}.tar");
        match std::fs::read(&path) {
            Ok(archive) => photos.extend(jpegs_of(&archive).into_iter().step_by(step).take(count).map(<[u8]>::to_vec)),
            Err(_) => eprintln!("no {path}: not run"),
        }
    }
    photos
}

/// The JPEGs of a tar archive.
fn jpegs_of(archive: &[u8]) -> Vec<&[u8]> {
    let (mut at, mut files) = (0, Vec::new());
    while let Some(header) = archive.get(at..at + 512) {
        let digits = std::str::from_utf8(&header[124..135]).unwrap_or_default();
        let Ok(len) = usize::from_str_radix(digits.trim_matches(['\0', ' ']), 8) else { break };
        let file = &archive[at + 512..at + 512 + len];
        if file.starts_with(&[0xff, 0xd8]) {
            files.push(file);
        }
        at += 512 + len.next_multiple_of(512);
    }
    files
}
