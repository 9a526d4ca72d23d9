//! The program as a person runs it: train, kill, go on; decode; schedule; bench.
#![cfg(feature = "cli")]

use std::path::Path;
use std::process::{Command, Output};

fn bandfeed(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bandfeed"));
    command.args(words);
    command
}

fn run(words: &[&str]) -> Output {
    bandfeed(words).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

fn demo_folder(per_class: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let data = bandfeed::demo_data::DemoData {
        train_per_class: per_class,
        val_per_class: 2,
        side: 64,
        ..bandfeed::demo_data::DemoData::default()
    };
    data.write(folder.path()).unwrap();
    folder
}

#[cfg(all(feature = "train", unix))]
mod training {
    use super::*;
    use std::process::{Child, Stdio};
    use std::time::{Duration, Instant};

    fn words<'a>(train: &'a str, val: &'a str, out: &'a str) -> Vec<&'a str> {
        vec![
            "train",
            "--train",
            train,
            "--val",
            val,
            "--out",
            out,
            "--schedule",
            "efficient_train_pp_deit",
            "--base",
            "64",
            "--patch",
            "8",
            "--batch-size",
            "24",
            "--epochs",
            "12",
            "--dim",
            "48",
            "--depth",
            "3",
            "--heads",
            "3",
            "--seed",
            "4",
            // All that a recipe can have: nothing of it may change when a run goes on.
            "--augment",
            "rand-mstd0.5-inc1",
            "--erase",
            "0.25",
            "--mixup",
            "0.8",
            "--cutmix",
            "1",
            "--replay",
            "fourfold",
        ]
    }

    /// Each step's number and loss, as written.
    fn losses(out: &Path) -> Vec<(u64, String)> {
        let log = std::fs::read_to_string(out.join("log.jsonl")).unwrap();
        let events = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        events
            .filter(|event| event["event"] == "step")
            .map(|event| (event["step"].as_u64().unwrap(), event["loss"].to_string()))
            .collect()
    }

    fn signal(child: &Child, name: &str) {
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Waits until `done` holds or the child has ended; a minute is far beyond what either takes.
    fn wait_for(child: &mut Child, done: impl Fn() -> bool) {
        let start = Instant::now();
        while !done() && child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < Duration::from_secs(60), "nothing happened for a minute");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn a_run_that_is_killed_and_interrupted_goes_on_with_the_same_losses() {
        let data = demo_folder(12);
        let (train, val) = (data.path().join("train"), data.path().join("val"));
        let outs = tempfile::tempdir().unwrap();
        let (whole, broken) = (outs.path().join("whole"), outs.path().join("broken"));

        let output = run(&words(path(&train), path(&val), path(&whole)));
        assert!(output.status.success(), "{}", text(&output.stderr));
        let stdout = text(&output.stdout);
        assert!(stdout.contains("final  top-1") && stdout.contains("waiting for input"), "{stdout}");
        for file in ["curves.png", "curves.svg", "summary.json", "run.json", "log.jsonl"] {
            assert!(whole.join(file).metadata().unwrap().len() > 100, "{file}");
        }

        let last = broken.join("checkpoints/last.safetensors");
        let start = |words: &[&str]| bandfeed(words).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        // Killed outright once there is a checkpoint.
        let mut child = start(&words(path(&train), path(&val), path(&broken)));
        wait_for(&mut child, || last.exists());
        signal(&child, "-KILL");
        child.wait().unwrap();
        // Started again without --resume it refuses to overwrite the run.
        let refused = run(&words(path(&train), path(&val), path(&broken)));
        assert!(!refused.status.success() && text(&refused.stderr).contains("--resume"), "{}", text(&refused.stderr));
        // Interrupted as by Ctrl-C, it saves the step it is at.
        let mut resumed = words(path(&train), path(&val), path(&broken));
        resumed.push("--resume");
        let saved = last.metadata().unwrap().modified().unwrap();
        let mut child = start(&resumed);
        wait_for(&mut child, || last.metadata().is_ok_and(|m| m.modified().unwrap() != saved));
        signal(&child, "-INT");
        let status = child.wait().unwrap();
        assert!(status.success() || status.code() == Some(130), "{status}");
        // And to its end.
        let output = run(&resumed);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("going on after step"), "{}", text(&output.stderr));

        let (expected, got) = (losses(&whole), losses(&broken));
        assert!(expected.len() > 40);
        assert_eq!(got, expected);
    }

    #[test]
    fn a_checkpoint_of_another_run_is_refused() {
        let data = demo_folder(3);
        let (train, val) = (data.path().join("train"), data.path().join("val"));
        let out = data.path().join("run");
        let mut first = words(path(&train), path(&val), path(&out));
        let epochs = first.iter().position(|w| *w == "12").unwrap();
        first[epochs] = "1";
        assert!(run(&first).status.success());
        let mut other = first.clone();
        other.extend(["--resume", "--lr", "0.5"]);
        let output = run(&other);
        assert!(!output.status.success() && text(&output.stderr).contains("learning_rate"), "{}", text(&output.stderr));
    }

    #[test]
    fn strange_validation_classes_are_refused_by_name() {
        let data = demo_folder(3);
        let (train, val) = (data.path().join("train"), data.path().join("val"));
        std::fs::rename(val.join("disc"), val.join("dish")).unwrap();
        let output = run(&words(path(&train), path(&val), path(&data.path().join("run"))));
        assert!(!output.status.success() && text(&output.stderr).contains("dish"), "{}", text(&output.stderr));
    }
}

#[test]
fn decode_tells_what_became_of_each_file() {
    let data = demo_folder(1);
    let bad = data.path().join("bad.jpg");
    std::fs::write(&bad, b"<html>404</html>").unwrap();
    let output = run(&["decode", "--json", path(&data.path().join("train")), path(&bad), "no-such-file.jpg"]);
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<serde_json::Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 14);
    let decoded = lines.iter().filter(|l| l["outcome"] == "decode").count();
    assert_eq!(decoded, 12);
    assert!(lines.iter().filter(|l| l["outcome"] == "decode").all(|l| {
        l["sha256"].as_str().unwrap().len() == 64
            && l["width"].as_u64().unwrap() > 0
            && l["sha256"] == l["sha256_stored"]
    }));
    assert!(lines.iter().any(|l| l["outcome"] == "corrupt" && l["file"].as_str().unwrap().ends_with("bad.jpg")));
    assert!(lines.iter().any(|l| l["file"] == "no-such-file.jpg" && l["error"].is_string()));
}

#[test]
fn bench_loader_prints_one_row_for_each_band_and_worker_count() {
    let data = demo_folder(3);
    let output = run(&[
        "bench",
        "loader",
        path(&data.path().join("train")),
        "--base",
        "64",
        "--bands",
        "32,64",
        "--workers",
        "1,2",
        "--batch-size",
        "8",
        "--seconds",
        "0.05",
        "--rounds",
        "1",
        "--json",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let keys: Vec<(u64, u64)> =
        rows.iter().map(|r| (r["band"].as_u64().unwrap(), r["workers"].as_u64().unwrap())).collect();
    assert_eq!(keys, [(32, 1), (64, 1), (32, 2), (64, 2)]);
    assert!(rows.iter().all(|r| r["images_per_second"].as_f64().unwrap() > 0.0));
}

#[test]
fn mistakes_are_answered_with_what_to_do() {
    for (words, hint) in [
        (&["bench", "loader", "no-such-folder"][..], "does not exist"),
        (&["schedule", "efficent_train"], "efficient_train"),
        (&["bench", "loader", ".", "--crop", "furier"], "fourier"),
    ] {
        let output = run(words);
        assert!(!output.status.success() && text(&output.stderr).contains(hint), "{words:?}: {}", text(&output.stderr));
    }
}

#[test]
fn inspect_lists_recipes_and_policies_and_says_what_one_does() {
    let list = text(&run(&["inspect"]).stdout);
    for name in ["plain", "deit_small", "efficienttrain_pp_deit_small", "auto_prog_deit_small", "ta_wide"] {
        assert!(list.lines().any(|line| line.starts_with(name)), "{name}: {list}");
    }
    let words = text(&run(&["inspect", "--recipe", "efficienttrain_pp_deit_small"]).stdout);
    for part in ["Mixup 0.8", "erasing 0.25", "469.0 passes", "rate 0.004", "keeps 1 bit", "at magnitude 0"] {
        assert!(words.contains(part), "{part}: {words}");
    }
    let refused = run(&["inspect", "--recipe", "deit_smal"]);
    assert!(!refused.status.success() && text(&refused.stderr).contains("did you mean `deit_small`?"));
}

#[test]
fn a_recipe_printed_as_toml_is_a_recipe_with_the_options_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("own.toml");
    let options = [
        "--augment",
        "ta_wide",
        "--erase",
        "0",
        "--cutmix",
        "0.5",
        "--augment-at",
        "band",
        "--repeats",
        "2",
        "--image-epochs",
        "50",
        "--batch-size",
        "64",
        "--crop",
        "fourier",
        "--replay",
        "twofold",
        "--early-batch",
        "root-rate",
    ];
    let mut words = vec!["inspect", "--recipe", "efficienttrain_pp_deit_small", "--toml"];
    words.extend(options);
    let first = run(&words);
    assert!(first.status.success(), "{}", text(&first.stderr));
    std::fs::write(&file, &first.stdout).unwrap();
    let again = run(&["inspect", "--recipe", path(&file), "--toml"]);
    assert_eq!(text(&again.stdout), text(&first.stdout), "{}", text(&again.stderr));
    let toml: toml::Table = toml::from_str(&text(&first.stdout)).unwrap();
    assert_eq!(toml["transform"]["augment"].as_str(), Some("ta_wide"));
    assert!(toml["transform"].get("erasing").is_none());
    let schedule = &toml["schedule"];
    assert_eq!((schedule["replay"].as_str(), schedule["early_batch"].as_str()), (Some("twofold"), Some("root-rate")));
    assert!(schedule.get("epochs").is_none() && schedule["image_epochs"].as_float() == Some(50.0), "{schedule}");
    // 50 passes of 469 are 21.3 of 200 equivalent epochs.
    let options = bandfeed::schedule::Options { epochs: 21.3, ..Default::default() };
    let passes = bandfeed::Schedule::named("efficient_train_pp_deit", &options).unwrap().image_epochs();
    assert!((passes - 50.0).abs() < 0.1, "{passes}");
}

#[test]
fn inspect_draws_its_sheets() {
    let (data, out) = (demo_folder(2), tempfile::tempdir().unwrap());
    let train = data.path().join("train");
    let words = ["inspect", path(&train), "--recipe", "efficienttrain_pp_deit_small", "--base", "64", "--patch", "8"];
    let output = run(&[&words[..], &["--tile", "32", "--out", path(out.path())]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    for (file, rows) in [("stages.png", 10), ("operations.png", 15)] {
        let sheet = image::open(out.path().join(file)).unwrap().into_rgb8();
        assert!(sheet.height() > rows * 32 && sheet.width() >= 720, "{file}: {:?}", sheet.dimensions());
        let colors: std::collections::HashSet<_> = sheet.pixels().collect();
        assert!(colors.len() > 1000, "{file}: {} colours", colors.len());
    }
}
