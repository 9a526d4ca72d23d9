//! The program packs a data set, goes on after an interruption, says what it made, and gives the files back.
#![cfg(feature = "cli")]

mod jpeg_fixtures;

use bandfeed::decode::{Decoder, Limits};
use bandfeed::ops::{View, resize};
use bandfeed::packed::Shard;
use bandfeed::{Filter, Size, source};
use jpeg_fixtures::{hex_sha256, jpeg, with_orientation};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use turbojpeg::Subsamp;

fn run(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bandfeed")).args(words).output().expect("the program starts")
}

/// What it printed, if it succeeded.
fn stdout(words: &[&str]) -> String {
    let output = run(words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What it complained of.
fn stderr(words: &[&str]) -> String {
    let output = run(words);
    assert!(!output.status.success(), "{words:?} must fail");
    String::from_utf8(output.stderr).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

struct Data {
    folder: tempfile::TempDir,
    /// Class folders with 60 JPEGs, one of which is cut short, and a PNG.
    train: PathBuf,
    packed: PathBuf,
}

fn data() -> Data {
    let folder = tempfile::tempdir().unwrap();
    let demo = bandfeed::demo_data::DemoData { train_per_class: 5, val_per_class: 1, side: 64, ..Default::default() };
    demo.write(folder.path()).unwrap();
    let (train, packed) = (folder.path().join("train"), folder.path().join("packed"));
    let class = std::fs::read_dir(&train).unwrap().map(|entry| entry.unwrap().path()).min().unwrap();
    image::RgbImage::from_fn(9, 7, |x, y| image::Rgb([x as u8, y as u8, 0])).save(class.join("9.png")).unwrap();
    let mut jpeg = std::fs::read(class.join("0001.jpg")).unwrap();
    jpeg.truncate(jpeg.len() / 2);
    std::fs::write(class.join("0001.jpg"), jpeg).unwrap();
    Data { folder, train, packed }
}

#[test]
fn a_data_set_is_packed_and_comes_back_with_its_pixels() {
    let Data { folder, train, packed } = data();
    let summary = stdout(&["pack", text(&train), "-o", text(&packed), "--shard-size", "16", "--verify"]);
    assert!(summary.contains("61 images packed") && summary.contains("1 stored as it is: "), "{summary}");
    assert!(summary.contains("pixels as the originals'"), "{summary}");
    let names: Vec<_> = std::fs::read_dir(&packed).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 4, "{names:?}");

    let again = folder.path().join("again");
    stdout(&["unpack", text(&packed), "-o", text(&again)]);
    let (before, after) = (source::open(text(&train)).unwrap(), source::open(text(&again)).unwrap());
    assert_eq!((before.len(), before.classes()), (after.len(), after.classes()));
    let mut decoder = Decoder::new(Limits::default()).unwrap();
    let (mut one, mut other) = (Vec::new(), Vec::new());
    let mut differ = 0;
    for index in 0..before.len() {
        let name = before.name(index);
        let name = Path::new(&name).strip_prefix(&train).unwrap();
        assert_eq!(Path::new(&after.name(index)), again.join(name));
        let (a, b) = (before.read(index, &mut one).unwrap(), after.read(index, &mut other).unwrap());
        assert_eq!(decoder.decode(a).unwrap(), decoder.decode(b).unwrap(), "{}", name.display());
        differ += u32::from(a != b);
    }
    assert_eq!(differ, 59, "the PNG and the damaged JPEG are the same files");
    let error = stderr(&["unpack", text(&packed), "-o", text(&again)]);
    assert!(error.contains("is there already"), "{error}");
}

#[test]
fn any_number_of_workers_makes_the_same_shards_and_finished_ones_are_kept() {
    let Data { folder, train, packed } = data();
    let pack = |out: &Path, workers: &str| {
        stdout(&["pack", text(&train), "-o", text(out), "--shard-size", "20", "--workers", workers])
    };
    pack(&packed, "1");
    let other = folder.path().join("other");
    pack(&other, "3");
    let shard = |out: &Path, number: u32| out.join(format!("shard-{number:05}.bands"));
    for number in 0..4 {
        assert_eq!(std::fs::read(shard(&packed, number)).unwrap(), std::fs::read(shard(&other, number)).unwrap());
    }
    // As if it had been interrupted in the second shard.
    let made = std::fs::metadata(shard(&packed, 0)).unwrap().modified().unwrap();
    std::fs::remove_file(shard(&packed, 1)).unwrap();
    std::fs::write(packed.join("shard-00001.bands.partial"), b"half").unwrap();
    let summary = pack(&packed, "2");
    assert!(summary.contains("3 shards were there") && summary.contains("20 images packed"), "{summary}");
    assert_eq!(std::fs::metadata(shard(&packed, 0)).unwrap().modified().unwrap(), made);
    assert_eq!(std::fs::read(shard(&packed, 1)).unwrap(), std::fs::read(shard(&other, 1)).unwrap());
    assert!(!packed.join("shard-00001.bands.partial").exists());

    // Shards of another size, or of another data set, are not taken for this run's.
    let error = stderr(&["pack", text(&train), "-o", text(&packed), "--shard-size", "19"]);
    assert!(error.contains("shard-00000.bands") && error.contains("another size"), "{error}");
    let error = stderr(&["pack", text(&train), "-o", text(&packed), "--shard-size", "40"]);
    assert!(error.contains("shard-00002.bands"), "{error}");
}

#[test]
fn damage_is_named_by_shard_record_and_place() {
    let Data { folder: _folder, train, packed } = data();
    stdout(&["pack", text(&train), "-o", text(&packed)]);
    let shard = packed.join("shard-00000.bands");
    let lines = stdout(&["info", text(&packed), "--records", "--json"]);
    let line: serde_json::Value = serde_json::from_str(lines.lines().nth(7).unwrap()).unwrap();
    let (key, offset) = (line["key"].as_str().unwrap(), line["offset"].as_u64().unwrap());
    let prefix = line["prefix_bytes"][4].as_u64().unwrap();
    let mut bytes = std::fs::read(&shard).unwrap();
    bytes[(offset + prefix / 2) as usize] ^= 4;
    std::fs::write(&shard, bytes).unwrap();

    let expected = format!("shard-00000.bands#{key} (record 7, byte {offset})");
    let output = run(&["info", text(&packed), "--verify"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains(&expected));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 records are damaged"));
    let error = stderr(&["pack", text(&train), "-o", text(&packed)]);
    assert!(error.contains(&expected), "{error}");
    let error = stderr(&["info", text(&train)]);
    assert!(error.contains("no shard of packed records"), "{error}");
}

#[test]
fn info_says_what_each_band_needs() {
    let Data { folder: _folder, train, packed } = data();
    stdout(&["pack", text(&train), "-o", text(&packed), "--shard-size", "16"]);
    let table = stdout(&["info", text(&packed), "--verify"]);
    assert!(table.contains("rings < 4") && table.contains("every checksum is right"), "{table}");
    let lines = stdout(&["info", text(&packed.join("shard-00000.bands")), "--json", "--verify"]);
    let line: serde_json::Value = serde_json::from_str(lines.trim()).unwrap();
    assert_eq!((&line["records"], &line["of"], &line["damaged"]), (&16.into(), &4.into(), &0.into()));
    assert_eq!(line["stored"], 2);
    let prefix: Vec<f64> = serde_json::from_value(line["prefix_bytes"].clone()).unwrap();
    assert!(prefix.windows(2).all(|w| w[0] < w[1]) && prefix[4] * 14.0 < line["bytes"].as_f64().unwrap(), "{prefix:?}");
}

/// Two classes of pictures of several sizes and kinds, some larger than 100 pixels.
fn mixed_sizes() -> Data {
    let folder = tempfile::tempdir().unwrap();
    let (train, packed) = (folder.path().join("train"), folder.path().join("packed"));
    let mut cut = jpeg(170, 130, Subsamp::Sub2x2, false);
    cut.truncate(cut.len() / 2);
    let files = [
        ("a/cut.jpg", cut),
        ("a/gray.jpg", jpeg(150, 150, Subsamp::Gray, false)),
        ("a/just.jpg", jpeg(100, 60, Subsamp::Sub2x2, true)),
        ("a/turned.jpg", with_orientation(&jpeg(203, 120, Subsamp::Sub2x1, false), 6)),
        ("b/wide.jpg", jpeg(240, 33, Subsamp::None, true)),
    ];
    for class in ["a", "b"] {
        std::fs::create_dir_all(train.join(class)).unwrap();
    }
    for (name, bytes) in files {
        std::fs::write(train.join(name), bytes).unwrap();
    }
    let picture = |width, height| image::RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 90]));
    picture(90, 120).save(train.join("b/large.png")).unwrap();
    picture(20, 10).save(train.join("b/small.png")).unwrap();
    Data { folder, train, packed }
}

#[test]
fn larger_images_are_reduced_upright_and_all_others_stay_as_they_are() {
    let Data { folder, train, packed } = mixed_sizes();
    let summary = stdout(&["pack", text(&train), "-o", text(&packed), "--max-side", "100", "--verify"]);
    assert!(summary.contains("4 of 7 reduced to 100 pixels on the longer side, at quality 95"), "{summary}");
    assert!(summary.contains("originals', or as theirs reduced"), "{summary}");
    let again = folder.path().join("again");
    stdout(&["unpack", text(&packed), "-o", text(&again)]);

    let shard = Shard::open(packed.join("shard-00000.bands")).unwrap();
    let mut decoder = Decoder::new(Limits::default()).unwrap();
    let mut sizes = Vec::new();
    for index in 0..shard.len() {
        let key = shard.key(index);
        let [before, after] = [&train, &again].map(|folder| std::fs::read(folder.join(key)).unwrap());
        let record = shard.record(index, &Limits::default()).unwrap();
        let head = record.head();
        let hash: String = head.original_sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((hash, head.original_len), (hex_sha256(&before), before.len() as u64), "{key}");
        if !head.is_reduced {
            assert_eq!(decoder.decode(&before).unwrap(), decoder.decode(&after).unwrap(), "{key}");
            continue;
        }
        let (before, after) = (decoder.decode(&before).unwrap(), decoder.decode(&after).unwrap());
        let Size { width, height } = before.size;
        let view = View { pixels: &before.data, stride: 3 * width as usize, size: before.size };
        let whole = [0.0, 0.0, f64::from(width), f64::from(height)];
        let expected = resize(view, whole, after.size, Filter::Lanczos3).unwrap();
        let sum: u64 = expected.pixels.iter().zip(&after.data).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let mean = sum as f64 / expected.pixels.len() as f64;
        assert!(mean < 4.0, "{key}: {mean} grey levels in the mean");
        sizes.push((key.to_owned(), after.size));
    }
    let expected =
        [("a/gray.jpg", 100, 100), ("a/turned.jpg", 59, 100), ("b/large.png", 75, 100), ("b/wide.jpg", 100, 14)];
    assert_eq!(sizes, expected.map(|(key, width, height)| (key.to_owned(), Size::new(width, height))));

    let lines = stdout(&["info", text(&packed), "--records", "--json"]);
    let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().filter(|line| line["reduced"] == true).count(), 4);
    let line: serde_json::Value = serde_json::from_str(stdout(&["info", text(&packed), "--json"]).trim()).unwrap();
    assert_eq!((&line["max_side"], &line["quality"], &line["stored"]), (&100.into(), &95.into(), &2.into()));
    assert!(stdout(&["info", text(&packed), "--records"]).contains("59x100, reduced"));
}

#[test]
fn a_shard_of_other_options_is_not_taken_for_a_finished_one() {
    let Data { folder, train, packed } = mixed_sizes();
    let pack = |out: &Path, more: &[&str]| run(&[&["pack", text(&train), "-o", text(out)], more].concat());
    let done = |out: &Path, more: &[&str]| {
        let output = pack(out, more);
        assert!(output.status.success(), "{more:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let refused = |out: &Path, more: &[&str], part: &str| {
        let output = pack(out, more);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(part), "{more:?}: {told}");
    };
    let options = ["--max-side", "100", "--quality", "80"];
    done(&packed, &options);
    assert!(done(&packed, &[&options[..], &["--verify"]].concat()).contains("1 shard was there"));
    refused(
        &packed,
        &["--max-side", "100"],
        "with --max-side 100 --quality 80, and this run is with --max-side 100 --quality 95",
    );
    refused(&packed, &["--max-side", "99", "--quality", "80"], "this run is with --max-side 99");
    refused(&packed, &[], "and this run is without --max-side");
    // Nothing is larger than this, and still the next run could not tell.
    let whole = folder.path().join("whole");
    assert!(done(&whole, &["--max-side", "1000"]).contains("0 of 7 reduced"));
    refused(&whole, &[], "with --max-side 1000");
    refused(&whole, &["--quality", "80"], "--max-side");
    let other = folder.path().join("other");
    done(&other, &[&options[..], &["--workers", "3"]].concat());
    let shard = "shard-00000.bands";
    assert_eq!(std::fs::read(packed.join(shard)).unwrap(), std::fs::read(other.join(shard)).unwrap());
}

#[test]
fn packed_records_are_not_packed_again() {
    let Data { folder, train, packed } = data();
    stdout(&["pack", text(&train), "-o", text(&packed)]);
    let again = folder.path().join("again");
    let error = stderr(&["pack", text(&packed), "-o", text(&again)]);
    assert!(error.contains("packed already") && error.contains("unpack"), "{error}");
    assert!(!again.exists());
    let error = stderr(&["index", text(&packed)]);
    assert!(error.contains("needs no side index"), "{error}");
}

#[test]
fn a_file_that_has_changed_is_not_taken_for_the_one_that_was_packed() {
    let Data { folder: _folder, train, packed } = data();
    stdout(&["pack", text(&train), "-o", text(&packed)]);
    let class = std::fs::read_dir(&train).unwrap().map(|entry| entry.unwrap().path()).min().unwrap();
    let (first, second) = (class.join("0002.jpg"), class.join("0003.jpg"));
    std::fs::copy(&second, &first).unwrap();
    let error = stderr(&["pack", text(&train), "-o", text(&packed)]);
    assert!(error.contains("0002.jpg has changed") && error.contains("remove it"), "{error}");
}
