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
