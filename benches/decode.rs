//! Decoding a JPEG: whole, a region, a region at the scale of what it is resampled to, and the header alone.
//!
//! Ids are `case/set`. A round decodes every image of the set once with a fixed crop rectangle each; throughput is in
//! images. `imagenet-200` is used where the shared data folder is at hand. The baseline is the `turbojpeg` crate, for regions
//! our own use of libjpeg (`region-libjpeg`). `region-for-96-index` has a side index, whose check and unpacking count
//! (`index-check`). `region-for-96` is decoded at the scale that 96 x 96 pixels need,
//! `region-for-96-libjpeg` at libjpeg's, `region-for-96-unscaled` at full scale.

#[path = "../tests/jpeg_fixtures/mod.rs"]
mod jpeg_fixtures;

use bandfeed::decode::{Decoder, Header, Limits, SeekPoints};
use bandfeed::index::{self, Entry, Indexable};
use bandfeed::shape::{Rect, Size};
use bandfeed::source;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jpeg_fixtures::{Random, jpeg, shared_data, tar_jpegs};
use std::hint::black_box;
use std::sync::Arc;
use tempfile::TempDir;
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

/// The files in a folder, with an index beside them. A region by it must be the region without it.
fn indexed(cases: &[Case]) -> (TempDir, Arc<dyn Indexable>) {
    let folder = tempfile::tempdir().expect("there is room for the files");
    std::fs::create_dir(folder.path().join("class")).expect("the folder is writable");
    for (i, case) in cases.iter().enumerate() {
        std::fs::write(folder.path().join(format!("class/{i:05}.jpg")), &case.bytes)
            .expect("there is room for the files");
    }
    let open =
        || source::open_with_index(folder.path().to_str().expect("the path is text"), None).expect("it is sound");
    index::build(&*open(), false, &Limits::default(), &|_| ()).expect("the folder is writable");
    let source = open();
    let (mut with, mut without, mut points) = (new(), new(), SeekPoints::default());
    for (i, case) in cases.iter().enumerate() {
        let entry = source.seek_entry(i).expect("it was indexed");
        let points = unpack(&entry, &case.bytes, &mut points);
        for need in [Size::square(u32::MAX), Size::square(96)] {
            let sought = with.decode_region_from(&case.bytes, &case.header, case.region, need, points);
            let whole = without.decode_region(&case.bytes, &case.header, case.region, need);
            assert!(sought == whole, "{:?} of image {i}", case.region);
        }
    }
    (folder, source)
}

/// What the loader does before it decodes by an index.
fn unpack<'a>(entry: &Entry, bytes: &[u8], points: &'a mut SeekPoints) -> Option<&'a SeekPoints> {
    assert!(entry.is_of(bytes), "the file has not changed");
    entry.unpack(points).expect("the index is whole").then_some(points)
}

fn new() -> Decoder {
    Decoder::new(Limits::default()).expect("the limits are in range")
}

fn decode(c: &mut Criterion) {
    let (mut decoder, mut libjpeg) = (new(), new().without_own_decoder());
    let exact = new().scale_margin(f64::INFINITY);
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
            let (_folder, source) = indexed(&cases);
            let entries: Vec<Entry> = (0..cases.len()).map(|i| source.seek_entry(i).expect("it was indexed")).collect();
            let mut points = SeekPoints::default();
            group.bench_function(format!("index-check/{set}"), |b| {
                b.iter(|| {
                    cases
                        .iter()
                        .zip(&entries)
                        .for_each(|(case, entry)| _ = black_box(unpack(entry, &case.bytes, &mut points)))
                });
            });
            for need in [u32::MAX, 224, 160, 96] {
                let name = if need == u32::MAX { "region".into() } else { format!("region-for-{need}") };
                if need != u32::MAX {
                    group.bench_function(format!("{name}-index/{set}"), |b| {
                        b.iter(|| {
                            for (Case { bytes, header, region }, entry) in cases.iter().zip(&entries) {
                                let points = unpack(entry, bytes, &mut points);
                                let patch =
                                    decoder.decode_region_from(bytes, header, *region, Size::square(need), points);
                                black_box(patch.expect("the image is sound").pixels);
                            }
                        });
                    });
                }
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
