//! JPEGs to pixels on one core: this crate, from the files and from packed records, beside libjpeg-turbo and zune-jpeg;
//! whole images and crops.
//!
//! Not by criterion: on a shared machine the ways must alternate. Images are taken in groups, and each group is decoded in
//! every way before the next; the time of a way is the sum over groups of the median over rounds. `imagenet-200` is used
//! where the shared data folder is at hand, `BANDFEED_JPEGS` may name another tar. Crops are those of a random resized crop,
//! 42 % of the area on average; zune-jpeg has none. Whatever is exact is compared with libjpeg-turbo's pixels before.
//!
//! Instructions, which a busy machine does not change: `-- --once WAY FILES` decodes the first so many files once, in one way
//! and in the function `once`. The program's path is in the last line of `cargo bench --no-run --bench decoders`.
//! ```text
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect='*decoders::once*' PROGRAM --once whole 40
//! ```

#[path = "../tests/jpeg_fixtures/mod.rs"]
mod jpeg_fixtures;

use bandfeed::decode::{Decoder, Header, Limits};
use bandfeed::packed::pack;
use bandfeed::shape::{Rect, Size};
use jpeg_fixtures::{Random, jpeg, resized_crop, shared_data, tar_jpegs};
use std::hint::black_box;
use std::time::Instant;
use turbojpeg::Subsamp;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

const ROUNDS: usize = 7;
const GROUP: usize = 20;

struct Case {
    bytes: Vec<u8>,
    record: Vec<u8>,
    header: Header,
    region: Rect,
}

/// Its name for `--once`, what it is, and the decoding of one file.
struct Way {
    name: String,
    what: String,
    run: Box<dyn FnMut(&Case)>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let tar = std::env::var_os("BANDFEED_JPEGS").map(Into::into).or_else(|| shared_data("imagenet-200.tar"));
    let files = match &tar {
        Some(tar) => tar_jpegs(tar).into_iter().map(|(_, bytes)| bytes).collect(),
        None => vec![jpeg(500, 375, Subsamp::None, false), jpeg(500, 375, Subsamp::Sub2x2, false)],
    };
    let mut random = Random(7);
    let case = |bytes: Vec<u8>| {
        let header = decoder().header(&bytes).expect("the header is sound");
        let region = resized_crop(&mut random, header.size);
        let record = pack(&bytes, "", 0, &Limits::default()).expect("the file is small").bytes;
        Case { bytes, record, header, region }
    };
    let cases: Vec<Case> = files.into_iter().map(case).collect();
    let mut ways = ways();
    if let Some(at) = arguments.iter().position(|argument| argument == "--once") {
        let name = arguments.get(at + 1).map(String::as_str).unwrap_or_default();
        let names: Vec<&str> = ways.iter().map(|way| way.name.as_str()).collect();
        let index = names.iter().position(|&n| n == name).unwrap_or_else(|| panic!("--once takes one of {names:?}"));
        let count = arguments.get(at + 2).and_then(|count| count.parse().ok()).unwrap_or(cases.len());
        let cases = &cases[..count.min(cases.len())];
        once(&mut ways[index], cases);
        println!("{} files, {} pixels", cases.len(), cases.iter().map(|case| case.header.size.pixels()).sum::<u64>());
        return;
    }
    verify(&cases);
    let mut times = vec![vec![vec![0.0; ROUNDS]; cases.len().div_ceil(GROUP)]; ways.len()];
    for round in 0..=ROUNDS {
        for (group, cases) in cases.chunks(GROUP).enumerate() {
            for (way, times) in ways.iter_mut().zip(&mut times) {
                let start = Instant::now();
                once(way, cases);
                // The first round warms up.
                if round > 0 {
                    times[group][round - 1] = start.elapsed().as_secs_f64();
                }
            }
        }
    }
    let count = cases.len() as f64;
    println!("{count} files, one thread, median of {ROUNDS} rounds, the ways alternate every {GROUP} files\n");
    println!("{:<20} {:<56} {:>9} {:>10}", "--once", "", "ms/image", "images/s");
    for (way, times) in ways.iter().zip(&mut times) {
        let seconds: f64 = times.iter_mut().map(|rounds| median(rounds)).sum();
        println!("{:<20} {:<56} {:>9.3} {:>10.0}", way.name, way.what, seconds * 1e3 / count, count / seconds);
    }
}

#[inline(never)]
fn once(way: &mut Way, cases: &[Case]) {
    cases.iter().for_each(&mut way.run);
}

fn decoder() -> Decoder {
    Decoder::new(Limits::default()).expect("the limits are in range")
}

fn ways() -> Vec<Way> {
    let mut ways = Vec::new();
    let mut way = |name: &str, what: &str, run: Box<dyn FnMut(&Case)>| {
        ways.push(Way { name: name.into(), what: what.into(), run });
    };
    let whole = |mut decoder: Decoder| -> Box<dyn FnMut(&Case)> {
        Box::new(move |case| drop(black_box(decoder.decode(&case.bytes).expect("the image is sound"))))
    };
    let whole_record = |mut decoder: Decoder| -> Box<dyn FnMut(&Case)> {
        Box::new(move |case| drop(black_box(decoder.decode(&case.record).expect("the image is sound"))))
    };
    let crop_record = |need: u32, mut decoder: Decoder| -> Box<dyn FnMut(&Case)> {
        Box::new(move |case| {
            let patch = decoder.decode_region(&case.record, &case.header, case.region, Size::square(need));
            black_box(patch.expect("the image is sound").pixels);
        })
    };
    let crop = |need: u32, margin: f64, decoder: Decoder| -> Box<dyn FnMut(&Case)> {
        let mut decoder = decoder.scale_margin(margin).expect("the margin is in range");
        Box::new(move |case| {
            let patch = decoder.decode_region(&case.bytes, &case.header, case.region, Size::square(need));
            black_box(patch.expect("the image is sound").pixels);
        })
    };
    way("whole", "whole, own decoder", whole(decoder()));
    way("whole-libjpeg", "whole, libjpeg-turbo", whole(decoder().without_own_decoder()));
    way("whole-zune", "whole, zune-jpeg", Box::new(|case| drop(black_box(zune(&case.bytes)))));
    way("whole-packed", "whole, packed", whole_record(decoder()));
    way("whole-packed-avx2", "whole, packed, without AVX-512", whole_record(decoder().without_avx512()));
    way("crop", "crop, own decoder", crop(u32::MAX, 1.0, decoder()));
    way("crop-libjpeg", "crop, libjpeg-turbo", crop(u32::MAX, 1.0, decoder().without_own_decoder()));
    for need in [224, 160, 96] {
        let margin = bandfeed::decode::SCALE_MARGIN;
        let what = format!("crop at the scale for {need} x {need}, own decoder");
        way(&format!("crop-{need}"), &what, crop(need, margin, decoder()));
        let what = "the same without vector instructions, 8/8 by libjpeg-turbo";
        way(&format!("crop-{need}-plain"), what, crop(need, margin, decoder().without_vectors()));
        let what = format!("crop at the scale for {need} x {need}, libjpeg-turbo");
        way(&format!("crop-{need}-libjpeg"), &what, crop(need, margin, decoder().without_own_decoder()));
        let what = format!("crop at the scale for {need} x {need}, packed");
        way(&format!("crop-{need}-packed"), &what, crop_record(need, decoder()));
        let what = "the same without AVX-512";
        way(&format!("crop-{need}-packed-avx2"), what, crop_record(need, decoder().without_avx512()));
        let what = "the same without vector instructions";
        way(&format!("crop-{need}-packed-plain"), what, crop_record(need, decoder().without_vectors()));
    }
    ways
}

/// RGB8 pixels.
fn zune(bytes: &[u8]) -> Vec<u8> {
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
    JpegDecoder::new_with_options(ZCursor::new(bytes), options).decode().expect("the image is sound")
}

/// The pixels must be right before their speed is of interest.
fn verify(cases: &[Case]) {
    let (mut own, mut packed, mut libjpeg) = (decoder(), decoder(), decoder().without_own_decoder());
    let (mut sum, mut count, mut largest) = (0, 0, 0);
    for case in cases {
        let expected = libjpeg.decode_stored(&case.bytes, &case.header).expect("the image is sound").data;
        let own = own.decode_stored(&case.bytes, &case.header).expect("the image is sound").data;
        assert!(own == expected, "other pixels than libjpeg's");
        let packed = packed.decode_stored(&case.record, &case.header).expect("the record is sound").data;
        assert!(packed == expected, "other pixels of the record than libjpeg's of the file");
        let zune = zune(&case.bytes);
        assert_eq!(zune.len(), expected.len());
        for (a, b) in zune.iter().zip(&expected) {
            sum += u64::from(a.abs_diff(*b));
            largest = largest.max(a.abs_diff(*b));
        }
        count += expected.len();
    }
    println!("{} of {} files by the own decoder, to libjpeg-turbo's pixels", own.own_decodes(), cases.len());
    println!("zune-jpeg's differ by {:.3} on average and {largest} at most", sum as f64 / count as f64);
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
