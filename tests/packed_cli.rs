//! The program packs a data set, goes on after an interruption, says what it made, and gives the files back.
#![cfg(feature = "cli")]

use bandfeed::decode::{Decoder, Limits};
use bandfeed::source;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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
