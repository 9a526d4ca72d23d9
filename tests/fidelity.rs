//! Fast and exact decoding: which pixels each gives, in which settings it is said, and what `bandfeed inspect --fidelity` finds.

mod loader_fixtures;

use bandfeed::decode::Fidelity;
use bandfeed::demo_data::DemoData;
use bandfeed::engine::Cpu;
use bandfeed::loader::Loader;
use bandfeed::recipe::ReplayMode;
use bandfeed::schedule::{Schedule, StageReplay};
use bandfeed::{BandCrop, Recipe, Stage};
use loader_fixtures::{Plain, all, source};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

fn bandfeed(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bandfeed")).args(words).output().expect("the program starts")
}

fn done(words: &[&str]) -> Value {
    let output = bandfeed(words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// Images of 256 x 256 pixels, far more than a small band needs.
fn pictures() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let data = DemoData { train_per_class: 2, val_per_class: 1, side: 256, ..DemoData::default() };
    data.write(folder.path()).unwrap();
    folder
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

/// The pictures have some 40 pixels a side, and the stage needs 8.
fn stage() -> Stage {
    Stage::fixed(16, 8, BandCrop::Lanczos, 8)
}

fn recipe(fidelity: Fidelity) -> Recipe {
    Recipe { fidelity, scale: [0.8, 1.0], ..Recipe::default() }
}

/// The first batches of training at a stage.
fn batches(stage: Stage, recipe: Recipe, engine: Cpu) -> Vec<Plain> {
    let builder = Loader::builder(source(24), Schedule::fixed(stage)).recipe(recipe).engine(Arc::new(engine));
    builder.build().unwrap().take(4).map(|batch| batch.unwrap().into()).collect()
}

#[test]
fn exact_batches_have_the_pixels_of_a_full_decode() {
    let full = || Cpu::default().scale_margin(f64::INFINITY);
    let mut kept = stage();
    kept.replay = StageReplay { times: 2, capacity: 2 };
    let anew = |fidelity| Recipe { replay: ReplayMode::Reaugment, ..recipe(fidelity) };
    for (stage, fast, exact) in [
        (stage(), recipe(Fidelity::Fast), recipe(Fidelity::Exact)),
        // Decoded for a buffer, as a whole.
        (kept, anew(Fidelity::Fast), anew(Fidelity::Exact)),
    ] {
        let expected = batches(stage.clone(), fast.clone(), full());
        assert!(batches(stage.clone(), exact.clone(), Cpu::default()) == expected, "{:?}", stage.replay);
        // A margin is for the fast mode.
        assert!(batches(stage.clone(), exact, Cpu::default().scale_margin(1.0)) == expected, "{:?}", stage.replay);
        if !stage.replay.is_on() {
            assert!(batches(stage, fast, Cpu::default()) != expected, "the fast pixels are others");
        }
    }
}

#[test]
fn evaluation_is_exact_in_both_modes() {
    let of = |fidelity| {
        let builder = Loader::evaluation(source(16), stage()).recipe(recipe(fidelity));
        all(builder.build().unwrap())
    };
    let full = Loader::evaluation(source(16), stage()).recipe(recipe(Fidelity::Fast));
    let full = all(full.engine(Arc::new(Cpu::default().scale_margin(f64::INFINITY))).build().unwrap());
    assert!(of(Fidelity::Fast) == full && of(Fidelity::Exact) == full);
}

/// Share of the samples of a row that are decoded at less than 8/8.
fn scaled(row: &Value) -> f64 {
    let shares: Vec<f64> = row["share_at"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{shares:?}");
    1.0 - shares[5]
}

#[test]
fn inspect_tells_how_many_are_scaled_and_how_far_they_are_off() {
    let folder = pictures();
    let train = folder.path().join("train");
    let words = ["inspect", text(&train), "--fidelity", "--base", "128", "--patch", "16", "--samples", "60", "--json"];
    let found = done(&words);
    let rows = found["stages"].as_array().unwrap();
    let of = |key: &str| rows.iter().map(|row| row[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("band"), [48, 96, 112, 128]);
    assert_eq!(rows[0]["stages"], serde_json::json!([1, 2]), "stages of one band make the same pixels");
    assert_eq!(of("images"), [60; 4]);
    // All crops of 77 pixels or more can do without the highest coefficients at 48, and none of 256 at 128.
    assert!(scaled(&rows[0]) > 0.8 && scaled(&rows[0]) < 1.0, "{}", rows[0]);
    assert_eq!((scaled(&rows[3]), &rows[3]["psnr_median"], &rows[3]["max_error"]), (0.0, &Value::Null, &0.0.into()));
    let [median, low, most] = ["psnr_median", "psnr_5th", "max_error"].map(|key| rows[0][key].as_f64().unwrap());
    assert!(median > low && low > 35.0 && median < 70.0, "{median} / {low} dB");
    assert!(most > 0.5 && most < 40.0, "{most} grey levels");
    assert_eq!(done(&words), found, "the same again");

    // What the recipe makes fewer of: the plain path is never scaled.
    let plain = done(&[&words[..], &["--recipe", "plain", "--schedule", "constant", "--no-fuse"]].concat());
    assert_eq!((scaled(&plain["stages"][0]), plain["stages"].as_array().unwrap().len()), (0.0, 1));
    let output = bandfeed(&words[..words.len() - 1]);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(table.contains("1-2") && table.contains("at 4/8") && table.contains("max error"), "{table}");
}

#[test]
fn inspect_needs_images_to_compare_and_does_nothing_else_then() {
    let folder = pictures();
    let train = folder.path().join("train");
    let refused = |words: &[&str], part: &str| {
        let output = bandfeed(&[&["inspect", "--fidelity"], words].concat());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(part), "{words:?}: {told}");
    };
    refused(&[], "SOURCE");
    refused(&["--recipe", "plain"], "SOURCE");
    for option in ["--toml", "--decode"] {
        refused(&[text(&train), option], "cannot be used with");
    }
    refused(&[text(&train), "--out", "x"], "cannot be used with");
    refused(&[text(&train), "--tile", "64"], "--recipe");
    let output = bandfeed(&["inspect", text(&train), "--recipe", "plain", "--json"]);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("--json: "), "{output:?}");
}

#[test]
fn a_bench_of_exact_decoding_says_so() {
    let folder = pictures();
    let (train, out) = (folder.path().join("train"), folder.path().join("bench.json"));
    let words = ["--bands", "32", "--seconds", "0.1", "--rounds", "1", "--workers", "1", "--fidelity", "exact"];
    for command in [&["loader", "--batch-size", "8"][..], &["decode"]] {
        let output = bandfeed(&[&["bench"], command, &[text(&train), "--out", text(&out)], &words[..]].concat());
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("never scaled") && said.contains("exact decoding"), "{said}");
        let report: Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
        assert_eq!(report["recipe"]["fidelity"], "exact");
    }
}

#[cfg(feature = "train")]
#[test]
fn a_run_keeps_its_mode_and_does_not_go_on_in_another() {
    let folder = pictures();
    let [train, out] = ["train", "run"].map(|name| folder.path().join(name));
    let shape = ["--dim", "16", "--depth", "1", "--heads", "2", "--base", "32", "--patch", "8", "--batch-size", "8"];
    let run = ["train", "--train", text(&train), "--out", text(&out), "--epochs", "0.4", "--fidelity", "exact"];
    done(&[&run[..], &shape].concat());
    let resolved: toml::Table = std::fs::read_to_string(out.join("run.toml")).unwrap().parse().unwrap();
    assert_eq!(resolved["transform"]["fidelity"].as_str(), Some("exact"));
    for other in [&["--fidelity", "fast"][..], &["--set", "transform.fidelity=fast"]] {
        let output = bandfeed(&[&["train", "--out", text(&out), "--resume"], other].concat());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains("fidelity"), "{told}");
    }
    done(&["train", "--out", text(&out), "--resume"]);
}
