//! `bandfeed bench` as a person runs it: each kind's rows, reports through files, comparisons, pictures, refusals.
#![cfg(feature = "cli")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn run(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bandfeed")).args(words).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Pictures of 64 pixels, three of each class, in a folder of class folders.
fn demo_folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let data = bandfeed::demo_data::DemoData {
        train_per_class: 3,
        val_per_class: 2,
        side: 64,
        ..bandfeed::demo_data::DemoData::default()
    };
    data.write(folder.path()).unwrap();
    let train = folder.path().join("train");
    (folder, train)
}

/// Runs one kind on small images in one short round.
fn bench(kind: &str, source: &Path, more: &[&str]) -> Output {
    let small = ["--base", "64", "--bands", "32,64", "--workers", "1", "--seconds", "0.05", "--rounds", "1"];
    let mut words = vec!["bench", kind, source.to_str().unwrap()];
    words.extend(small);
    words.extend(more);
    run(&words)
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_str(&text(&output.stdout)).unwrap()
}

/// Each row's fields of these names, as one word.
fn keys(report: &Value, names: &[&str]) -> Vec<String> {
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let row = |row: &Value| names.iter().map(|name| word(&row[name])).collect::<Vec<_>>().join(" ");
    report["rows"].as_array().unwrap().iter().map(row).collect()
}

fn rates_are_sound(report: &Value) {
    for row in report["rows"].as_array().unwrap() {
        let [low, median, high] = ["min", "images_per_second", "max"].map(|name| row[name].as_f64().unwrap());
        assert!(0.0 < low && low <= median && median <= high, "{row}");
    }
    assert_eq!(report["format"], "bandfeed bench 1");
    assert!(report["date"].as_str().unwrap().ends_with(" UTC"));
    assert!(report["machine"]["cpu"].is_string() && report["machine"]["simd"].is_string());
}

#[test]
fn decode_has_whole_images_and_the_regions_of_each_band_by_decoder() {
    let (_folder, train) = demo_folder();
    let report = json(&bench("decode", &train, &["--json", "--decoder", "both"]));
    rates_are_sound(&report);
    assert_eq!(report["kind"], "decode");
    let expected = ["null own", "32 own", "64 own", "null libjpeg-turbo", "32 libjpeg-turbo", "64 libjpeg-turbo"];
    assert_eq!(keys(&report, &["band", "decoder"]), expected);
    for row in report["rows"].as_array().unwrap() {
        assert!(row["megapixels_per_second"].as_f64().unwrap() > 0.0 && row["decode_ms"].as_f64().unwrap() > 0.0);
        assert!(row["megabytes_per_second"].as_f64().unwrap() > 0.0);
        if row["decoder"] == "libjpeg-turbo" {
            assert_eq!(row["own_share"], 0.0);
        }
    }
    let one = json(&bench("decode", &train, &["--json", "--decoder", "own"]));
    assert_eq!(keys(&one, &["decoder"]), ["own"; 3]);
}

#[test]
fn crop_has_a_row_for_each_band_and_kind_of_crop_with_the_recipe_s_augmentations() {
    let (_folder, train) = demo_folder();
    let report = json(&bench("crop", &train, &["--json", "--samples", "4", "--batch-size", "4"]));
    rates_are_sound(&report);
    assert_eq!(keys(&report, &["band", "crop"]), ["32 lanczos", "32 fourier", "64 none"]);
    assert!(report["rows"][0]["decode_ms"].is_null() && report["rows"][0]["render_ms"].as_f64().unwrap() > 0.0);
    let deit = ["--samples", "4", "--crop", "lanczos", "--recipe", "deit_small"];
    let output = bench("crop", &train, &deit);
    let shown = text(&output.stdout);
    assert!(output.status.success() && shown.contains("rand-m9") && shown.contains("erasing"), "{shown}");
    let refused = bench("crop", &train, &["--cache", "cold"]);
    assert!(!refused.status.success() && text(&refused.stderr).contains("reads no files"), "{}", text(&refused.stderr));
}

#[test]
fn loader_prints_a_table_with_its_machine_settings_and_needed_rates() {
    let (_folder, train) = demo_folder();
    let output = bench("loader", &train, &["--batch-size", "4"]);
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for part in ["bandfeed 0", " UTC", "cpu engine", "batches of 4", "lanczos band crop", "4.00x", "(64/band)^2"] {
        assert!(shown.contains(part), "`{part}`: {shown}");
    }
    assert!(!shown.contains("resident: share"), "nobody asked about the page cache: {shown}");
}

#[test]
fn stages_are_measured_by_their_number_with_the_schedule_s_bands() {
    let (_folder, train) = demo_folder();
    let words = ["bench", "loader", train.to_str().unwrap(), "--base", "64", "--stages", "1,10", "--schedule"];
    let words = [&words[..], &["efficient_train_pp", "--workers", "1", "--seconds", "0.02", "--rounds", "1"]].concat();
    let report = json(&run(&[&words[..], &["--batch-size", "4", "--json"]].concat()));
    assert_eq!(keys(&report, &["stage", "band"]), ["1 32", "10 64"]);
    let refused = run(&[&words[..], &["--bands", "32"]].concat());
    assert!(text(&refused.stderr).contains("cannot be used with"), "{}", text(&refused.stderr));
}

#[test]
fn cold_rows_tell_what_was_resident_or_are_refused_with_the_reason() {
    let (_folder, train) = demo_folder();
    let output = bench("loader", &train, &["--batch-size", "4", "--cache", "both", "--json"]);
    if !cfg!(target_os = "linux") {
        assert!(!output.status.success() && text(&output.stderr).contains("Linux"), "{}", text(&output.stderr));
        return;
    }
    let report = json(&output);
    rates_are_sound(&report);
    assert_eq!(keys(&report, &["band", "cache"]), ["32 warm", "64 warm", "32 cold", "64 cold"]);
    let rows = report["rows"].as_array().unwrap();
    assert!(rows[..2].iter().all(|row| row["resident"] == 1.0), "{report}");
    for row in &rows[2..] {
        assert!((0.0..=1.0).contains(&row["resident"].as_f64().unwrap()), "{row}");
        // One pass at most: the second would come from memory.
        assert!(row["images"].as_u64().unwrap() <= report["images"].as_u64().unwrap(), "{row}");
    }
    let shown = text(&bench("decode", &train, &["--cache", "cold", "--decoder", "own"]).stdout);
    assert!(shown.contains("cold") && shown.contains("resident: share"), "{shown}");
}

#[test]
fn a_report_goes_through_a_file_and_can_be_compared_with() {
    let (folder, train) = demo_folder();
    let out = folder.path().join("report.json");
    let out_word = out.to_str().unwrap();
    let first = json(&bench("loader", &train, &["--batch-size", "4", "--json", "--out", out_word]));
    assert_eq!(first, serde_json::from_str::<Value>(&std::fs::read_to_string(&out).unwrap()).unwrap());

    let output = bench("loader", &train, &["--batch-size", "4", "--against", out_word]);
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for part in ["against ", "now/then", "32 px, lanczos, 1 worker, warm", "64 px, lanczos, 1 worker, warm"] {
        assert!(shown.contains(part), "`{part}`: {shown}");
    }
    assert!(!shown.contains("warning:"), "{shown}");

    // Another batch size, one band that is new, and rates that no machine has.
    let mut fast = first;
    for row in fast["rows"].as_array_mut().unwrap() {
        for name in ["images_per_second", "min", "max"] {
            row[name] = 1e12.into();
        }
    }
    std::fs::write(&out, fast.to_string()).unwrap();
    let more = ["--batch-size", "2", "--against", out_word, "--json"];
    let output = bench("loader", &train, &more);
    let compared = text(&output.stderr);
    json(&output);
    for part in ["slower", "warning: not measured alike: batch size: 4 then, 2 now"] {
        assert!(compared.contains(part), "`{part}`: {compared}");
    }
    let failed = bench("loader", &train, &[&more[..], &["--fail-below", "0.5"]].concat());
    assert_eq!(failed.status.code(), Some(1));
    assert!(text(&failed.stderr).contains("below 0.5x: 32 px"), "{}", text(&failed.stderr));
    assert!(!failed.stdout.is_empty(), "the report is made all the same");
}

#[test]
fn what_cannot_be_compared_with_is_refused_before_anything_is_measured() {
    let (folder, train) = demo_folder();
    let path = folder.path().join("other.json");
    let refused = |content: &str| {
        std::fs::write(&path, content).unwrap();
        let output = bench("crop", &train, &["--against", path.to_str().unwrap()]);
        assert!(!output.status.success() && output.stdout.is_empty(), "{}", text(&output.stdout));
        text(&output.stderr)
    };
    assert!(refused("{\"rows\": []}").contains("is no report of bandfeed bench"));
    assert!(refused("a table").contains("is no report of bandfeed bench"));
    let loader = text(&bench("loader", &train, &["--batch-size", "4", "--json"]).stdout);
    assert!(refused(&loader).contains("report of `bandfeed bench loader`, this is `bandfeed bench crop`"));
}

#[test]
fn a_plot_is_a_png_and_an_svg_with_the_needed_line() {
    let (folder, train) = demo_folder();
    let png = folder.path().join("plot.png");
    let output = bench("loader", &train, &["--batch-size", "4", "--plot", png.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(std::fs::read(&png).unwrap().starts_with(b"\x89PNG\r\n\x1a\n"));
    let svg = std::fs::read_to_string(png.with_extension("svg")).unwrap();
    for part in ["<svg ", "needed to keep the trainer busy", "Loader, train", "side of the band", " UTC"] {
        assert!(svg.contains(part), "`{part}` is missing");
    }
}

#[test]
fn mistakes_are_refused_with_what_there_is() {
    let (folder, train) = demo_folder();
    let nowhere = folder.path().join("none").join("plot.png");
    for (words, hint) in [
        (&["--engine", "gpu"][..], "use cpu, wgpu, wgpu:NAME or auto"),
        (&["--cache", "icy"], "[possible values: warm, cold, both]"),
        (&["--plot", "plot.jpg"], "ends in .png"),
        (&["--plot", nowhere.to_str().unwrap()], "there is no folder"),
        (&["--out", folder.path().to_str().unwrap()], "directory"),
        (&["--bands", "32", "--base", "0"], "--base: 0"),
        (&["--bands", "300"], "--bands: 300"),
        (&["--seconds", "1e30"], "at most a day"),
        (&["--workers", "0"], "--workers: 0"),
        (&["--fail-below", "0.9"], "--against"),
        (&["--recipe", "deit_smal"], "deit_small"),
    ] {
        let mut all = vec!["bench", "decode", train.to_str().unwrap(), "--rounds", "1"];
        if !words.contains(&"--seconds") {
            all.extend(["--seconds", "0.05"]);
        }
        all.extend(words);
        let output = run(&all);
        let error = text(&output.stderr);
        assert!(!output.status.success() && error.contains(hint) && output.stdout.is_empty(), "{words:?}: {error}");
    }
}

#[test]
fn a_source_of_damaged_files_is_an_error_and_some_damaged_files_are_counted() {
    let (_folder, train) = demo_folder();
    let files: Vec<PathBuf> = std::fs::read_dir(&train)
        .unwrap()
        .flat_map(|class| std::fs::read_dir(class.unwrap().path()).unwrap())
        .map(|file| file.unwrap().path())
        .collect();
    std::fs::write(&files[0], "no image").unwrap();
    let report = json(&bench("decode", &train, &["--json", "--decoder", "own"]));
    assert_eq!(report["bad_files"], 1);
    for file in &files {
        std::fs::write(file, "no image").unwrap();
    }
    for kind in ["decode", "crop"] {
        let output = bench(kind, &train, &[]);
        let error = text(&output.stderr);
        assert!(!output.status.success() && error.contains("no image"), "{kind}: {error}");
    }
}

#[cfg(feature = "train")]
#[test]
fn train_measures_model_loader_and_both_and_says_who_waits() {
    let (folder, train) = demo_folder();
    let out = folder.path().join("report.json");
    let model = ["--dim", "16", "--depth", "1", "--heads", "2", "--batch-size", "4", "--steps", "2"];
    let output = bench("train", &train, &[&model[..], &["--out", out.to_str().unwrap()]].concat());
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(shown.contains("bottleneck") && shown.contains("waiting"), "{shown}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    rates_are_sound(&report);
    let expected = ["32 model", "32 loader", "32 both", "64 model", "64 loader", "64 both"];
    assert_eq!(keys(&report, &["band", "part"]), expected);
    assert_eq!(report["model"]["dim"], 16);
    for row in report["rows"].as_array().unwrap() {
        let wait = row["wait_share"].as_f64();
        match row["part"].as_str().unwrap() {
            // Two steps of four images.
            "both" => assert!((0.0..=1.0).contains(&wait.unwrap()) && row["images"] == 8, "{row}"),
            "model" => assert!(row["images"] == 8 && row["cache"].is_null(), "{row}"),
            _ => assert!(wait.is_none(), "{row}"),
        }
    }
    let refused = bench("train", &train, &["--patch", "24"]);
    assert!(text(&refused.stderr).contains("24"), "{}", text(&refused.stderr));
    let refused = bench("train", &train, &["--init", "weights.safetensors"]);
    assert!(text(&refused.stderr).contains("--init: bench train begins with"), "{}", text(&refused.stderr));
}

#[cfg(not(feature = "train"))]
#[test]
fn train_says_which_build_has_it() {
    let output = run(&["bench", "train", "anything", "--steps", "2"]);
    assert!(!output.status.success() && text(&output.stderr).contains("--features train"));
}
