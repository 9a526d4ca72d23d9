//! Decoding a JPEG: whole, a region, a region at the scale of what it is resampled to, and the header alone.
//!
//! Ids are `case/set`. A round decodes every image of the set once with a fixed crop rectangle each; throughput is in
//! images. `imagenet-200` is used where the shared data folder is at hand. The baseline is the `turbojpeg` crate, for regions
//! our own use of libjpeg (`region-libjpeg`). `region-for-96` is decoded at the scale that 96 x 96 pixels need,
//! `region-for-96-libjpeg` at libjpeg's, `region-for-96-unscaled` at full scale.

#[path = "../tests/jpeg_fixtures/mod.rs"]
mod jpeg_fixtures;

use bandfeed::decode::{Decoder, Header, Limits};
use bandfeed::shape::{Rect, Size};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jpeg_fixtures::{Random, jpeg, shared_data, tar_jpegs};
use std::hint::black_box;
use turbojpeg::Subsamp;

struct Case {
    bytes: Vec<u8>,
    header: Header,
    region: Rect,
}

/// Each file with the rectangle of a random resized crop: 8 to 100 % of the area, aspect 3/4 to 4/3, about 42 % on
/// average.
fn cases(decoder: &mut Decoder, files: Vec<Vec<u8>>) -> Vec<Case> {
    let mut random = Random(7);
    let mut uniform =
        move |low: f64, high: f64| low + (high - low) * (random.next() >> 11) as f64 / (1u64 << 53) as f64;
    files
        .into_iter()
        .map(|bytes| {
            let header = decoder.header(&bytes).expect("the header is sound");
            let size = header.size;
            let region = loop {
                let area = size.pixels() as f64 * uniform(0.08, 1.0);
                let aspect = uniform(0.75f64.ln(), (4.0 / 3.0f64).ln()).exp();
                let (width, height) = ((area * aspect).sqrt() as u32, (area / aspect).sqrt() as u32);
                if (1..=size.width).contains(&width) && (1..=size.height).contains(&height) {
                    let x = (uniform(0.0, 1.0) * f64::from(size.width - width + 1)) as u32;
                    let y = (uniform(0.0, 1.0) * f64::from(size.height - height + 1)) as u32;
                    break Rect { x, y, width, height };
                }
            };
            Case { bytes, header, region }
        })
        .collect()
}

/// A region must be the whole image's pixels before its speed is of interest.
fn verify(decoder: &mut Decoder, cases: &[Case]) {
    for case in cases {
        let image = decoder.decode(&case.bytes).expect("the image is sound");
        let Rect { x, y, width, .. } = case.region;
        let patch = decoder.decode_region(&case.bytes, &case.header, case.region, case.region.size());
        let patch = patch.expect("the image is sound");
        let row = 3 * width as usize;
        for (i, got) in patch.pixels.chunks(patch.stride).enumerate() {
            let start = ((y as usize + i) * image.size.width as usize + x as usize) * 3;
            assert_eq!(got[..row], image.data[start..][..row], "row {i} of {:?}", case.region);
        }
    }
}

fn decode(c: &mut Criterion) {
    let mut decoder = Decoder::new(Limits::default()).expect("the limits are in range");
    let mut libjpeg = Decoder::new(Limits::default()).expect("the limits are in range").without_own_decoder();
    let exact = Decoder::new(Limits::default()).expect("the limits are in range").scale_margin(f64::INFINITY);
    let mut exact = exact.expect("an infinite margin scales nothing");
    let own = [Subsamp::None, Subsamp::Sub2x2].map(|s| jpeg(500, 375, s, false));
    let mut sets = vec![("own-500x375", own.to_vec())];
    if let Some(tar) = shared_data("imagenet-200.tar") {
        sets.push(("imagenet-200", tar_jpegs(&tar).into_iter().map(|(_, bytes)| bytes).collect()));
    }
    for (set, files) in sets {
        let cases = cases(&mut decoder, files);
        verify(&mut decoder, &cases);
        let bytes = cases.iter().map(|case| case.bytes.len() as u64).sum();
        for (unit, throughput) in
            [("decode", Throughput::Elements(cases.len() as u64)), ("decode-bytes", Throughput::Bytes(bytes))]
        {
            let mut group = c.benchmark_group(unit);
            group.throughput(throughput).sample_size(10);
            group.bench_function(format!("whole/{set}"), |b| {
                b.iter(|| {
                    for case in &cases {
                        black_box(decoder.decode(&case.bytes).expect("the image is sound"));
                    }
                });
            });
            if unit == "decode-bytes" {
                continue;
            }
            group.bench_function(format!("whole-turbojpeg/{set}"), |b| {
                b.iter(|| {
                    for case in &cases {
                        let image = turbojpeg::decompress(&case.bytes, turbojpeg::PixelFormat::RGB);
                        black_box(image.expect("the image is sound"));
                    }
                });
            });
            group.bench_function(format!("header/{set}"), |b| {
                b.iter(|| {
                    for case in &cases {
                        black_box(decoder.header(&case.bytes).expect("the header is sound"));
                    }
                });
            });
            for need in [u32::MAX, 224, 160, 96] {
                let name = if need == u32::MAX { "region".into() } else { format!("region-for-{need}") };
                for (by, decoder) in [("", &mut decoder), ("-libjpeg", &mut libjpeg), ("-unscaled", &mut exact)] {
                    if need == u32::MAX && by == "-unscaled" {
                        continue;
                    }
                    group.bench_function(format!("{name}{by}/{set}"), |b| {
                        b.iter(|| {
                            for case in &cases {
                                let patch =
                                    decoder.decode_region(&case.bytes, &case.header, case.region, Size::square(need));
                                black_box(patch.expect("the image is sound").pixels);
                            }
                        });
                    });
                }
            }
        }
    }
}

criterion_group!(benches, decode);
criterion_main!(benches);
