//! `bandfeed inspect`: the report on a data set, the sheets, and the page that holds both.
#![cfg(feature = "cli")]

use bandfeed::demo_data::DemoData;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};

fn run(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bandfeed")).args(words).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

/// A JPEG of slopes and a chequer, so that its scan has some length.
fn jpeg(width: usize, height: usize, subsamp: Subsamp, progressive: bool) -> Vec<u8> {
    let pixels: Vec<u8> = (0..width * height)
        .flat_map(|at| {
            let (x, y) = (at % width, at / width);
            [x * 255 / width, y * 255 / height, (x / 3 + y / 5) % 2 * 200].map(|v| v as u8)
        })
        .collect();
    let image = Image { pixels: &pixels[..], width, pitch: 3 * width, height, format: PixelFormat::RGB };
    let mut compressor = Compressor::new().unwrap();
    compressor.set_quality(90).unwrap();
    compressor.set_subsamp(subsamp).unwrap();
    compressor.set_progressive(progressive).unwrap();
    compressor.compress_to_vec(image).unwrap()
}

/// `jpeg` with an EXIF block that says this orientation.
fn oriented(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = vec![0xff, 0xe1, 0, 34];
    exif.extend(b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0");
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    assert_eq!(exif.len(), 36);
    [&jpeg[..2], &exif, &jpeg[2..]].concat()
}

/// Two classes, one with an awkward name: a progressive, a gray, a turned, a truncated file, a PNG, and what is no image.
fn mixed_bag() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let class = |name: &str| {
        let class = folder.path().join(name);
        std::fs::create_dir(&class).unwrap();
        class
    };
    let (plain, evil) = (class("plain"), class("<b>"));
    let common = jpeg(320, 240, Subsamp::Sub2x2, false);
    for name in ["a.jpg", "b.jpg", "c.jpg"] {
        std::fs::write(plain.join(name), &common).unwrap();
    }
    std::fs::write(plain.join("progressive.jpg"), jpeg(300, 400, Subsamp::None, true)).unwrap();
    std::fs::write(plain.join("gray.jpg"), jpeg(100, 90, Subsamp::Gray, false)).unwrap();
    std::fs::write(plain.join("turned.jpg"), oriented(&common, 6)).unwrap();
    std::fs::write(plain.join("cut.jpg"), &common[..common.len() * 2 / 3]).unwrap();
    std::fs::write(evil.join("page.jpg"), "<html>404</html>").unwrap();
    std::fs::write(evil.join("empty.jpg"), "").unwrap();
    image::RgbImage::new(50, 60).save(evil.join("dot.png")).unwrap();
    std::fs::write(evil.join("notes.txt"), "not counted").unwrap();
    folder
}

fn report(words: &[&str]) -> Value {
    let output = run(&[&["inspect"], words, &["--json"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn the_report_counts_what_is_there_and_names_what_is_wrong() {
    let folder = mixed_bag();
    let found = report(&[path(folder.path())]);
    assert_eq!((&found["images"], &found["readable"]), (&10.into(), &8.into()));
    assert_eq!(found["formats"], serde_json::json!({ "JPEG": 7, "PNG": 1 }));
    let jpeg = &found["jpeg"];
    assert_eq!(jpeg["processes"], serde_json::json!({ "sequential": 6, "progressive": 1 }));
    assert_eq!(jpeg["subsampling"], serde_json::json!({ "4:2:0": 5, "4:4:4": 1 }));
    assert_eq!(jpeg["color_spaces"], serde_json::json!({ "YCbCr": 6, "gray": 1 }));
    assert_eq!(found["orientations"], serde_json::json!({ "1": 7, "6": 1 }));
    let classes = serde_json::json!([{ "name": "<b>", "images": 3 }, { "name": "plain", "images": 7 }]);
    assert_eq!(found["classes"], classes);
    // The turned one is 240 wide and 320 high.
    assert_eq!(found["width"], serde_json::json!({ "min": 50, "median": 320, "max": 320 }));
    assert_eq!(found["height"], serde_json::json!({ "min": 60, "median": 240, "max": 400 }));
    assert_eq!(found["below_base"], serde_json::json!({ "side": 224, "images": 2 }));
    let names = |list: &str| -> Vec<String> {
        let files = found[list]["files"].as_array().unwrap();
        files.iter().map(|f| f["name"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()).collect()
    };
    assert_eq!(names("unreadable"), ["empty.jpg", "page.jpg"]);
    assert_eq!(names("damaged"), ["cut.jpg"]);
    let notes = found["notes"].to_string();
    for part in ["2 files give no image", "1 file is damaged", "progressive", "base size 224", "`plain` has 2.3 times"]
    {
        assert!(notes.contains(part), "{part}: {notes}");
    }
    let smaller = report(&[path(folder.path()), "--base", "64"]);
    assert_eq!(smaller["below_base"], serde_json::json!({ "side": 64, "images": 1 }));
}

#[test]
fn decoding_finds_damage_within_the_data() {
    let folder = mixed_bag();
    // Its end is there, a part of its scan is not.
    let whole = jpeg(320, 240, Subsamp::Sub2x2, false);
    let hole = [&whole[..whole.len() / 2], &whole[whole.len() - 2..]].concat();
    std::fs::write(folder.path().join("plain/hole.jpg"), hole).unwrap();
    let damaged = |words: &[&str]| {
        let found = report(&[&[path(folder.path())], words].concat());
        let files = found["damaged"]["files"].as_array().unwrap().len();
        (files, found["decoded"].clone(), found["own_decoder"].is_u64())
    };
    assert_eq!(damaged(&[]), (1, false.into(), false));
    assert_eq!(damaged(&["--decode"]), (2, true.into(), true));
}

#[test]
fn the_terminal_gets_the_report_in_words_and_a_bad_source_is_an_error() {
    let folder = mixed_bag();
    let output = run(&["inspect", path(folder.path())]);
    assert!(output.status.success());
    let words = text(&output.stdout);
    for part in [
        "10 images in 2 classes",
        "JPEG (7), PNG (1)",
        "4:2:0 (5), 4:4:4 (1)",
        "EXIF 1 (7), EXIF 6 (1)",
        "2 files give no image",
        "empty.jpg: ",
        "note: ",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
    let missing = run(&["inspect", path(&folder.path().join("nothing"))]);
    assert!(!missing.status.success() && text(&missing.stderr).contains("does not exist"));
}

#[test]
fn tars_are_reported_as_folders_are() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shard.tar");
    let mut tar = tar::Builder::new(std::fs::File::create(&file).unwrap());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    add("0.jpg", &jpeg(64, 48, Subsamp::Sub2x1, false));
    add("0.cls", b"0");
    add("1.jpg", b"no image");
    add("1.cls", b"1");
    tar.finish().unwrap();
    drop(tar);
    let found = report(&[path(&file)]);
    assert_eq!((&found["images"], &found["readable"]), (&2.into(), &1.into()));
    assert_eq!(found["jpeg"]["subsampling"], serde_json::json!({ "4:2:2": 1 }));
}

/// No reference to anything outside of the page, and no script.
fn assert_is_self_contained(html: &str) {
    assert!(!html.contains("://") && !html.contains("<script") && !html.contains("<link") && !html.contains("url("));
    let sources: Vec<&str> = html.split("src=").skip(1).map(|rest| &rest[..23]).collect();
    assert!(sources.iter().all(|source| source.starts_with("\"data:image/png;base64,")), "{sources:?}");
    for tag in ["figure", "table", "ul", "pre", "details"] {
        let (open, close) = (html.matches(&format!("<{tag}")).count(), html.matches(&format!("</{tag}>")).count());
        assert_eq!(open, close, "{tag}");
    }
}

#[test]
fn the_page_of_a_data_set_stands_alone_and_a_class_name_is_no_markup() {
    let (folder, out) = (mixed_bag(), tempfile::tempdir().unwrap());
    let output = run(&["inspect", path(folder.path()), "--out", path(out.path())]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let html = std::fs::read_to_string(out.path().join("inspect.html")).unwrap();
    assert_is_self_contained(&html);
    assert!(html.contains("<td>&lt;b&gt;</td>") && !html.contains("<b>"));
    let file: Value = serde_json::from_slice(&std::fs::read(out.path().join("dataset.json")).unwrap()).unwrap();
    assert_eq!(file, report(&[path(folder.path())]));
}

#[test]
fn a_recipe_on_images_makes_every_sheet_and_puts_them_on_the_page() {
    let (data, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let demo = DemoData { train_per_class: 2, val_per_class: 1, side: 64, ..DemoData::default() };
    demo.write(data.path()).unwrap();
    let train = data.path().join("train");
    let words = ["inspect", path(&train), "--recipe", "efficienttrain_pp_deit_small", "--base", "64", "--patch", "8"];
    let output = run(&[&words[..], &["--samples", "2", "--tile", "48", "--out", path(out.path())]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let html = std::fs::read_to_string(out.path().join("inspect.html")).unwrap();
    assert_is_self_contained(&html);
    let mut sizes = Vec::new();
    for file in ["samples.png", "mixed.png", "stages.png", "operations.png"] {
        let bytes = std::fs::read(out.path().join(file)).unwrap();
        let sheet = image::load_from_memory(&bytes).unwrap().into_rgb8();
        let colors: std::collections::HashSet<_> = sheet.pixels().collect();
        assert!(colors.len() > 500, "{file}: {} colours", colors.len());
        sizes.push((bytes.len(), sheet.width()));
    }
    assert_eq!(html.matches("<img alt=\"").count(), 4);
    // All of them whole: base64 has four letters for three bytes.
    assert!(html.len() > sizes.iter().map(|(len, _)| len).sum::<usize>() * 4 / 3);
    assert!(sizes.iter().all(|(_, width)| *width <= 2200), "{sizes:?}");
    assert!(html.contains("24 images in 12 classes") && html.contains("RandAugment"));
    assert!(text(&output.stdout).contains("24 images in 12 classes"));
}

#[test]
fn a_recipe_that_does_not_mix_has_no_sheet_of_mixed_batches() {
    let out = tempfile::tempdir().unwrap();
    let words = ["inspect", "--recipe", "plain", "--base", "64", "--patch", "8", "--samples", "1", "--tile", "32"];
    let output = run(&[&words[..], &["--out", path(out.path())]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut files: Vec<String> =
        std::fs::read_dir(out.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    assert_eq!(files, ["inspect.html", "samples.png", "stages.png"]);
}

#[test]
fn an_option_that_would_do_nothing_is_refused_by_name() {
    let folder = mixed_bag();
    let source = path(folder.path());
    let out = tempfile::tempdir().unwrap();
    let out = path(out.path());
    let alone: [&[&str]; 15] = [
        &["--epochs", "3"],
        &["--image-epochs", "3"],
        &["--batch-size", "8"],
        &["--patch", "8"],
        &["--released"],
        &["--schedule", "constant"],
        &["--augment", "ta_wide"],
        &["--erase", "0.5"],
        &["--min-scale", "0.5"],
        &["--no-fuse"],
        &["--samples", "4"],
        &["--tile", "112"],
        &["--seed", "0"],
        &["--toml"],
        &["--replay", "off"],
    ];
    let refused = |words: &[&str], part: &str| {
        let output = run(&[&["inspect"], words].concat());
        let told = text(&output.stderr);
        assert!(!output.status.success() && told.contains(part), "{words:?}: {told}");
        assert!(output.stdout.is_empty(), "{words:?}");
    };
    for words in alone {
        // A recipe as TOML has no images, which is told first.
        let part = if words == ["--toml"] { "cannot be used with" } else { "--recipe" };
        refused(&[&[source, "--out", out], words].concat(), part);
        refused(words, "--recipe");
    }
    for words in &alone[10..13] {
        refused(&[&["--recipe", "plain"], *words].concat(), "--out");
    }
    for words in [&[source][..], &[source, "--decode"], &["--out", out]] {
        refused(&[&["--recipe", "plain", "--toml"], words].concat(), "cannot be used with");
    }
    refused(&["--out", out], "--out: ");
    refused(&["--base", "64"], "--base: ");
    assert!(run(&["inspect", source, "--base", "64"]).status.success());
    assert!(run(&["inspect", "--recipe", "plain", "--epochs", "3", "--augment", "ta_wide"]).status.success());
}

#[test]
fn what_follows_a_jpeg_s_end_is_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let class = folder.path().join("a");
    std::fs::create_dir(&class).unwrap();
    let whole = jpeg(64, 48, Subsamp::Sub2x2, false);
    std::fs::write(class.join("trailing.jpg"), [&whole[..], &[7, 0xff, 0xda, 1, 2, 3]].concat()).unwrap();
    std::fs::write(class.join("progressive.jpg"), jpeg(64, 48, Subsamp::Sub2x2, true)).unwrap();
    std::fs::write(class.join("cut.jpg"), &whole[..whole.len() - 2]).unwrap();
    let damaged = report(&[path(folder.path())])["damaged"]["files"].clone();
    let names: Vec<&str> = damaged.as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap()).collect();
    assert!(matches!(names[..], [name] if name.ends_with("cut.jpg")), "{names:?}");
}

#[cfg(unix)]
#[test]
fn a_bad_file_leaves_the_sheets_whole_and_without_any_image_the_page_says_why() {
    let (data, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let class = data.path().join("a");
    std::fs::create_dir(&class).unwrap();
    std::fs::write(class.join("0.jpg"), "no image").unwrap();
    std::os::unix::fs::symlink("nowhere", class.join("1.jpg")).unwrap();
    let inspect = || {
        let words = ["inspect", path(data.path()), "--recipe", "deit_small", "--base", "64", "--patch", "8"];
        let output = run(&[&words[..], &["--samples", "2", "--tile", "32", "--out", path(out.path())]].concat());
        (output, std::fs::read_to_string(out.path().join("inspect.html")).unwrap())
    };
    let (output, html) = inspect();
    assert!(!output.status.success() && text(&output.stderr).contains(".jpg"), "{}", text(&output.stderr));
    assert_is_self_contained(&html);
    assert!(html.matches("It could not be made: ").count() >= 2 && html.contains("2 files give no image"), "{html}");
    for name in ["2.jpg", "3.jpg", "4.jpg"] {
        std::fs::write(class.join(name), jpeg(90, 80, Subsamp::Sub2x2, false)).unwrap();
    }
    let (output, html) = inspect();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!((html.matches("<img alt=\"").count(), html.matches("It could not").count()), (4, 0));
}

#[cfg(unix)]
#[test]
fn a_name_cannot_command_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let class = folder.path().join("a\u{1b}[31mb\u{9b}2Jc");
    std::fs::create_dir(&class).unwrap();
    std::fs::write(class.join("x\n\u{7f}y.jpg"), "no image").unwrap();
    std::fs::create_dir(folder.path().join("other")).unwrap();
    for n in 0..3 {
        let name = folder.path().join(format!("other/{n}.jpg"));
        std::fs::write(name, jpeg(32, 32, Subsamp::Sub2x2, false)).unwrap();
    }
    let is_raw = |c: char| c.is_control() && c != '\n';
    let words = text(&run(&["inspect", path(folder.path())]).stdout);
    assert!(!words.contains(is_raw), "{words:?}");
    for part in ["\\u{1b}[31mb\\u{9b}2Jc", "x\\n\\u{7f}y.jpg", "note: Classes are uneven"] {
        assert!(words.contains(part), "{part}: {words}");
    }
    let json = text(&run(&["inspect", path(folder.path()), "--json"]).stdout);
    assert!(!json.contains(is_raw), "{json:?}");
    let found: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(found["classes"][0]["name"], "a\u{1b}[31mb\u{9b}2Jc");
}
