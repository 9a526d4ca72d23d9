//! Packed records decode to the pixels of the JPEGs they are of, by every way and at every scale, and a loader makes the same
//! batches of either.

mod jpeg_fixtures;

use bandfeed::decode::{Decoder, Format, Limits, Patch};
use bandfeed::loader::Loader;
use bandfeed::packed::{Place, Shard, ShardWriter, pack};
use bandfeed::schedule::{Options, Schedule};
use bandfeed::shape::{Rect, Size};
use bandfeed::source::{self, Memory, Packed, Source};
use jpeg_fixtures::{Random, jpeg, manifest, picture, rectangle, shared_data, tar_jpegs, with_orientation};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};

fn decoder() -> Decoder {
    Decoder::new(Limits::default()).expect("the limits are in range").with_own_decoder()
}

/// Decoders whose ways through a record differ: with the fastest instructions, and with none.
fn ways() -> [(&'static str, Decoder); 2] {
    [("vectors", decoder()), ("plain", decoder().without_vectors())]
}

fn record(bytes: &[u8], name: &str) -> Vec<u8> {
    pack(bytes, name, 0, &Limits::default()).expect("the name is short").bytes
}

fn rows<'a>(patch: &'a Patch<'a>) -> impl Iterator<Item = &'a [u8]> {
    patch.pixels.chunks(patch.stride).map(|row| &row[..3 * patch.size.width as usize])
}

/// Regions of the record at every scale against the JPEG's. Gives the bytes that were looked at, of the record and in all.
fn compare(name: &str, bytes: &[u8], regions: usize, random: &mut Random) -> [u64; 2] {
    let record = record(bytes, name);
    let mut sums = [0, 0];
    let mut reference = decoder();
    let header = reference.header(bytes).expect("the JPEG is sound");
    reference.decode(bytes).expect("the JPEG is sound");
    let is_foreign = reference.own_decodes() == 0;
    let regions: Vec<Rect> =
        std::iter::once(Rect::whole(header.size)).chain((0..regions).map(|_| rectangle(random, header.size))).collect();
    for (way, mut decoder) in ways() {
        let of_record = decoder.header(&record).expect("the record is sound");
        assert_eq!((of_record.size, of_record.orientation), (header.size, header.orientation), "{name}");
        assert_eq!(decoder.decode(&record), reference.decode(bytes), "{name}: {way}: whole");
        for &region in &regions {
            for part in [1, 2, 3, 4, 6, 12, 30] {
                let need = Size::new(region.width.div_ceil(part), region.height.div_ceil(part));
                let expected = reference.decode_region(bytes, &header, region, need).expect("the JPEG is sound");
                let patch = decoder.decode_region(&record, &of_record, region, need).expect("the record is sound");
                // What the own decoder does not read is scaled by libjpeg, in another way.
                if is_foreign && (patch.scale < 8 || expected.scale < 8) {
                    continue;
                }
                let of = |patch: &Patch| (patch.size, patch.scale, patch.area);
                assert_eq!(of(&patch), of(&expected), "{name}: {way}: {region:?} for {need:?}");
                let same = rows(&patch).zip(rows(&expected)).position(|(a, b)| a != b);
                assert_eq!(same, None, "{name}: {way}: {region:?} for {need:?} at {}/8: row", patch.scale);
                sums = [sums[0] + patch.bytes, sums[1] + record.len() as u64];
                assert!(patch.bytes <= record.len() as u64, "{name}");
            }
        }
    }
    sums
}

fn compress(pixels: &[u8], width: usize, subsamp: Subsamp, quality: i32) -> Vec<u8> {
    let mut compressor = Compressor::new().expect("libjpeg-turbo starts");
    compressor.set_quality(quality).expect("the quality is in range");
    compressor.set_subsamp(subsamp).expect("the sampling is known");
    let height = pixels.len() / 3 / width;
    let image = Image { pixels, width, pitch: 3 * width, height, format: PixelFormat::RGB };
    compressor.compress_to_vec(image).expect("a picture compresses")
}

const SAMPLINGS: [Subsamp; 6] =
    [Subsamp::None, Subsamp::Sub2x1, Subsamp::Sub2x2, Subsamp::Sub1x2, Subsamp::Sub4x1, Subsamp::Gray];

#[test]
fn a_record_has_the_pixels_of_its_jpeg() {
    let mut random = Random(3);
    for subsamp in SAMPLINGS {
        for (width, height) in [(1, 1), (4, 5), (5, 17), (64, 32), (97, 61), (131, 203)] {
            for progressive in [false, true] {
                let bytes = jpeg(width, height, subsamp, progressive);
                compare(&format!("{subsamp:?} {width}x{height} {progressive}"), &bytes, 3, &mut random);
            }
        }
    }
}

#[test]
fn turned_images_are_turned() {
    for value in 2..=8 {
        let bytes = with_orientation(&jpeg(90, 41, Subsamp::Sub2x2, false), value);
        compare(&format!("orientation {value}"), &bytes, 6, &mut Random(value.into()));
    }
}

/// Sums of magnitudes beyond what vectors compute in 16 bits.
#[test]
fn blocks_of_the_largest_contrast_have_the_same_pixels() {
    let mut random = Random(8);
    for step in [1, 2, 3, 8, 16] {
        // Black and white, in stripes, checks and noise.
        let value = |x: usize, y: usize, noise: u64| match step {
            1 => (x + y).is_multiple_of(2),
            16 => noise.is_multiple_of(2),
            _ => (x / step + y / step).is_multiple_of(2),
        };
        let mut noise = || random.next();
        let pixels: Vec<u8> =
            (0..96 * 64).flat_map(|i| [if value(i % 96, i / 96, noise()) { 255 } else { 0 }; 3]).collect();
        for quality in [30, 100] {
            let bytes = compress(&pixels, 96, Subsamp::None, quality);
            compare(&format!("step {step} at {quality}"), &bytes, 4, &mut Random(step as u64));
        }
    }
}

#[test]
fn files_that_are_no_jpeg_are_read_from_their_records() {
    let mut png = std::io::Cursor::new(Vec::new());
    let pixels = image::RgbImage::from_raw(23, 11, picture(23, 11)).unwrap();
    pixels.write_to(&mut png, image::ImageFormat::Png).unwrap();
    let (png, mut decoder) = (png.into_inner(), decoder());
    let record = record(&png, "a.png");
    let header = decoder.header(&record).unwrap();
    assert_eq!((header.format, header.size), (Format::Png, Size::new(23, 11)));
    assert_eq!(decoder.decode(&record).unwrap(), decoder.decode(&png).unwrap());
    let region = Rect { x: 3, y: 2, width: 9, height: 5 };
    let patch = decoder.decode_region(&record, &header, region, region.size()).unwrap();
    assert_eq!(patch.pixels[..3], picture(23, 11)[3 * (2 * 23 + 3)..][..3]);
    // A record of a record is nobody's work but a fool's.
    let twice = self::record(&record, "twice");
    assert!(decoder.header(&twice).unwrap_err().to_string().contains("a packed record in a packed record"));
}

#[test]
fn a_small_need_looks_at_few_of_the_bytes() {
    let bytes = jpeg(500, 375, Subsamp::None, false);
    let record = record(&bytes, "large");
    let mut decoder = decoder();
    let header = decoder.header(&record).unwrap();
    let mut looked_at = |region: Rect, need: u32| {
        decoder.decode_region(&record, &header, region, Size::square(need)).unwrap().bytes as f64 / record.len() as f64
    };
    let whole = Rect::whole(header.size);
    let quarter = Rect { x: 128, y: 64, width: 250, height: 187 };
    let parts = [looked_at(whole, 375), looked_at(whole, 180), looked_at(whole, 96), looked_at(quarter, 187)];
    assert!(parts[0] > 0.98 && parts[0] <= 1.0, "{parts:?}");
    assert!(parts[1] < 0.9 && parts[2] < 0.7 && parts[2] < 0.8 * parts[1], "{parts:?}");
    assert!(parts[3] < 0.5, "{parts:?}");
}

#[test]
fn damage_is_an_error_or_other_pixels_and_nothing_worse() {
    let record = record(&jpeg(97, 61, Subsamp::Sub2x2, false), "hurt");
    let mut random = Random(5);
    let (mut decoder, mut strict) = (decoder(), decoder().strict(true));
    let good = decoder.decode(&record).unwrap();
    let (mut refused, mut changed) = (0, 0);
    for _ in 0..3000 {
        let mut bytes = record.clone();
        let at = random.between(4, bytes.len() as u32 - 1) as usize;
        bytes[at] ^= 1 << random.between(0, 7);
        // Whole, every checksum is looked at; of a region's bands only where the decoder is strict.
        if let Ok(pixels) = decoder.decode(&bytes) {
            assert!(pixels == good, "a flip at byte {at}");
        } else {
            refused += 1;
        }
        let whole = Rect::whole(good.size);
        let region = |decoder: &mut Decoder| {
            let header = decoder.header(&bytes)?;
            decoder.decode_region(&bytes, &header, whole, good.size).map(|patch| patch.pixels == good.data)
        };
        if region(&mut decoder) == Ok(false) {
            changed += 1;
            let error = region(&mut strict).unwrap_err().to_string();
            assert!(error.contains("checksum"), "{error}");
        }
    }
    assert!(refused > 100 && changed > 100, "{refused} refused, {changed} changed");
    for len in 0..record.len() - 8 {
        let cut = decoder.header(&record[..len]).and_then(|header| {
            decoder.decode_region(&record[..len], &header, Rect::whole(header.size), header.size).map(|_| ())
        });
        assert!(cut.is_err() || len > record.len() - 60, "{len} of {}", record.len());
    }
}

#[test]
fn the_conformance_files_have_the_same_pixels() {
    let Some(folder) = shared_data("jpeg-conformance") else { return };
    let mut packed = 0;
    for (row, bytes) in manifest(&folder) {
        let name = &row["file"];
        let sound = decoder().decode(&bytes).is_ok_and(|pixels| pixels.warning.is_none());
        // Those with damage are stored and give it back; others are of the kinds that this test is about.
        let made = pack(&bytes, name, 0, &Limits::default()).unwrap();
        let again = decoder().decode(&made.bytes);
        assert_eq!(again.is_ok(), decoder().decode(&bytes).is_ok(), "{name}");
        if sound && made.stored.is_none() && bytes.len() < 200_000 {
            compare(name, &bytes, 2, &mut Random(1));
            packed += 1;
        }
    }
    assert!(packed > 50, "{packed}");
}

#[test]
fn photos_have_the_same_pixels() {
    let Some(tar) = shared_data("imagenet-200.tar") else { return };
    let (mut random, mut bytes) = (Random(2), [0, 0]);
    for (name, file) in tar_jpegs(&tar).into_iter().take(40) {
        let [looked_at, all] = compare(&name, &file, 1, &mut random);
        bytes = [bytes[0] + looked_at, bytes[1] + all];
    }
    assert!(bytes[0] < bytes[1] / 2, "{bytes:?}");
}

struct Shards {
    folder: tempfile::TempDir,
    paths: Vec<PathBuf>,
}

/// Pictures of three classes in shards of five, one of them a file that is no image.
fn shards(files: &[(Vec<u8>, u32)]) -> Shards {
    let folder = tempfile::tempdir().unwrap();
    let classes: Vec<String> = (0..3).map(|class| class.to_string()).collect();
    let chunks: Vec<_> = files.chunks(5).collect();
    let mut paths = Vec::new();
    for (number, chunk) in chunks.iter().enumerate() {
        let path = folder.path().join(format!("shard-{number:05}.bands"));
        let place = Place { number: number as u32, of: chunks.len() as u32, first: 5 * number as u64 };
        let mut writer = ShardWriter::create(&path, &place).unwrap();
        for (i, (bytes, label)) in chunk.iter().enumerate() {
            let key = format!("{label}/{}.jpg", 5 * number + i);
            writer.push(&pack(bytes, &key, *label, &Limits::default()).unwrap().bytes).unwrap();
        }
        writer.finish(&classes).unwrap();
        paths.push(path);
    }
    Shards { folder, paths }
}

fn files() -> Vec<(Vec<u8>, u32)> {
    let file = |i: u32| (jpeg(120 + 7 * i, 90 + 5 * i, SAMPLINGS[i as usize % 6], false), i % 3);
    let mut files: Vec<_> = (0..12).map(file).collect();
    let mut png = std::io::Cursor::new(Vec::new());
    let pixels = image::RgbImage::from_raw(40, 30, picture(40, 30)).unwrap();
    pixels.write_to(&mut png, image::ImageFormat::Png).unwrap();
    files.push((png.into_inner(), 1));
    files
}

fn batches(source: Arc<dyn Source>) -> Vec<(Vec<f32>, Vec<u32>)> {
    let options = Options { base: 96, patch: 8, batch_size: 6, epochs: 3.0, ..Options::default() };
    let schedule = Schedule::named("efficient_train_pp_deit", &options).unwrap();
    let loader = Loader::builder(source, schedule).seed(4).build().unwrap();
    let plain = |batch: bandfeed::Result<bandfeed::Batch>| {
        let batch = batch.unwrap();
        (batch.images.as_slice().to_vec(), batch.labels)
    };
    loader.map(plain).collect()
}

#[test]
fn a_loader_makes_the_same_batches_of_a_packed_data_set() {
    let files = files();
    let Shards { folder, .. } = shards(&files);
    let packed = source::open(folder.path().to_str().unwrap()).unwrap();
    assert_eq!((packed.len(), packed.label(4), packed.classes().len()), (13, 1, 3));
    assert!(packed.describe().contains("1 of them as files, packed in 3 shards"), "{}", packed.describe());
    let classes = packed.classes().to_vec();
    let memory = Memory::new(files, classes).unwrap();
    assert!(batches(packed) == batches(Arc::new(memory)));
}

#[test]
fn shards_that_do_not_belong_together_are_refused() {
    let Shards { folder, paths } = shards(&files());
    let open = |what: &str| source::open(folder.path().join(what).to_str().unwrap());
    let fail = |result: bandfeed::Result<Arc<dyn Source>>| result.map(|_| ()).unwrap_err().to_string();
    assert_eq!(open("shard-{00001..00002}.bands").unwrap().len(), 8);
    assert_eq!(open("shard-00002.bands").unwrap().len(), 3);
    assert_eq!(open("*.bands").unwrap().len(), 13);
    let error = fail(open("shard-{00000,00002}.bands"));
    assert!(error.contains("shard 1, with sample 5, is missing"), "{error}");
    let twice: Vec<PathBuf> = vec![paths[0].clone(), paths[0].clone()];
    let error = Packed::open_paths(&twice).unwrap_err().to_string();
    assert!(error.contains("is shard 0, which is named twice"), "{error}");
    std::fs::remove_file(&paths[2]).unwrap();
    let error = fail(open(""));
    assert!(error.contains("shards 0 to 1 of 3") && error.contains("bandfeed pack"), "{error}");
    std::fs::write(&paths[2], b"BFSHARD").unwrap();
    let error = fail(open(""));
    assert!(error.contains("shard-00002.bands") && error.contains("too short"), "{error}");
}

/// A record whose head is flipped: the file is named.
#[test]
fn a_damaged_record_is_named_with_its_shard_and_place() {
    let Shards { folder: _folder, paths } = shards(&files());
    let offset = Shard::open(&paths[1]).unwrap().entry(2).offset;
    let mut bytes = std::fs::read(&paths[1]).unwrap();
    bytes[offset as usize + 20] ^= 1;
    std::fs::write(&paths[1], bytes).unwrap();
    let source = source::open(name(&paths[1])).unwrap();
    let schedule = Schedule::named(
        "efficient_train_pp_deit",
        &Options { base: 96, patch: 8, batch_size: 4, ..Options::default() },
    );
    let error = Loader::builder(source, schedule.unwrap()).build().unwrap().find_map(Result::err).unwrap().to_string();
    assert!(error.contains("shard-00001.bands#") && error.contains(&format!("record 2, byte {offset}")), "{error}");
    assert!(error.contains("checksum"), "{error}");
}

fn name(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}
