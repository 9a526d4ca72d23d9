//! `bandfeed search` as a person runs it, on generated images.
#![cfg(feature = "train")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn bandfeed(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bandfeed")).args(words).output().expect("the program starts")
}

fn done(words: &[&str]) -> String {
    let output = bandfeed(words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn refused(words: &[&str]) -> String {
    let output = bandfeed(words);
    assert!(!output.status.success(), "{words:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// 96 training images and 24 to score by, and a run file for them.
struct Case {
    folder: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data =
            bandfeed::demo_data::DemoData { train_per_class: 8, val_per_class: 2, side: 64, ..Default::default() };
        data.write(folder.path().join("data")).unwrap();
        let case = Self { folder };
        let text = format!(
            "[source]\ntrain = '{}'\nval = '{}'\n[run]\nseed = 5\n[loader]\nprefetch = 2\n\
             [train]\ndim = 16\ndepth = 1\nheads = 2\nlr = 0.004\n\
             [schedule]\nbase = 64\npatch = 16\nepochs = 2.0\nbatch_size = 8\n\
             [transform]\naugment = 'rand-mstd0.5-inc1'\n",
            case.path("data/train"),
            case.path("data/val"),
        );
        std::fs::write(case.path("own.toml"), text).unwrap();
        case
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("temporary paths are text").to_owned()
    }

    /// A search into `out`, with more words.
    fn words<'a>(&self, own: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let stages = if more.contains(&"--stages") { &[][..] } else { &["--stages", "3"] };
        [&["search", "--config", own, "--out", out, "--fine-tune", "0.1"][..], stages, more].concat()
    }

    fn record(&self, out: &str) -> Value {
        serde_json::from_str(&std::fs::read_to_string(Path::new(out).join("search.json")).unwrap()).unwrap()
    }

    /// What was decided and why, without times.
    fn trials(&self, out: &str) -> Vec<Value> {
        let mut trials = self.record(out)["trials"].as_array().unwrap().clone();
        trials.iter_mut().for_each(|trial| drop(trial.as_object_mut().unwrap().remove("seconds")));
        trials
    }
}

/// Losses by step, of the stages before `stage`.
fn losses(run: &str, stage: u64) -> Vec<f64> {
    let text = std::fs::read_to_string(Path::new(run).join("log.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let steps = lines.filter(|line| line["event"] == "step" && line["stage"].as_u64().unwrap() < stage);
    steps.map(|line| line["loss"].as_f64().unwrap()).collect()
}

/// The losses of all steps in a checkpoint of safetensors: 8 bytes of the header's length, the header as JSON, the data.
fn losses_in(checkpoint: &[u8]) -> Vec<f32> {
    let length = u64::from_le_bytes(checkpoint[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&checkpoint[8..8 + length]).unwrap();
    let place = |end: usize| header["history.losses"]["data_offsets"][end].as_u64().unwrap() as usize + 8 + length;
    checkpoint[place(0)..place(1)].chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
}

/// Checkpoints of the search in `out`.
fn checkpoints(out: &str) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(Path::new(out).join("checkpoints")).unwrap();
    folder.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn the_schedule_found_is_one_that_train_takes() {
    let case = Case::new();
    let (own, out, val) = (case.path("own.toml"), case.path("search"), case.path("data/val"));
    // Candidates of the base alone would be nothing to search; one band below it, so that both stages are decided.
    let table = done(&case.words(&own, &out, &["--val", &val, "--candidates", "32"]));
    let record = case.record(&out);
    let trials = record["trials"].as_array().unwrap();
    let bands: Vec<u64> = record["bands"].as_array().unwrap().iter().map(|band| band.as_u64().unwrap()).collect();
    assert_eq!((bands.len(), bands[2]), (3, 64));
    let tried = if bands[0] == 64 { 2 } else { 4 };
    assert_eq!(trials.len(), tried, "a first stage at the base leaves nothing to decide");
    assert_eq!(table.lines().filter(|line| line.ends_with('*')).count(), tried / 2, "{table}");
    // Each trial has a third of 2 equivalent epochs, and a tenth more to score it; batches go over both ends.
    let computes: Vec<f64> = trials.iter().map(|trial| trial["compute"].as_f64().unwrap()).collect();
    let batch = 8.0 / 96.0;
    for compute in &computes {
        assert!((compute - (2.0 / 3.0 + 0.2)).abs() <= 2.0 * batch, "{computes:?}");
    }
    assert!((record["cost"]["compute"].as_f64().unwrap() - computes.iter().sum::<f64>()).abs() < 1e-9);
    assert!(record["hold_out"].is_null() && record["scored_by"].as_str().unwrap().contains("24 images"), "{record}");
    assert!(checkpoints(&out).is_empty(), "nobody asks for them again");
    assert!(image::open(Path::new(&out).join("search.png")).is_ok());

    let (found, run) = (format!("{out}/found.toml"), case.path("run"));
    let text = std::fs::read_to_string(&found).unwrap();
    assert!(text.starts_with("# Found by `bandfeed search`") && text.contains("name = \"found\""), "{text}");
    done(&["train", "--config", &own, "--schedule", &found, "--out", &run]);
    assert!(losses(&run, 3).len() > losses(&run, 2).len());

    // The same again is refused, and so is the folder of a run.
    assert!(refused(&case.words(&own, &out, &[])).contains("a search is there already; go on with --resume"));
    assert!(refused(&case.words(&own, &run, &[])).contains("a training run is there"));
}

#[test]
fn without_images_to_score_by_some_of_the_training_images_are_held_out() {
    let case = Case::new();
    let (own, out) = (case.path("own.toml"), case.path("search"));
    let output = bandfeed(&case.words(&own, &out, &["--stages", "2", "--hold-out", "0.25"]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("the run file's validation images are not used"), "{said}");
    assert!(said.contains("24 training images held out (0.25 of each class)"), "{said}");
    let record = case.record(&out);
    assert_eq!(record["hold_out"], 0.25);
    assert_eq!(record["plan"]["candidates"], serde_json::json!([32, 48, 64]), "the published ones, fitted");
    assert_eq!(record["identity"]["data"]["images"], 72);
}

#[test]
fn a_search_that_is_killed_goes_on_to_the_same_table_and_is_the_way_that_train_goes() {
    let case = Case::new();
    let (own, whole, broken) = (case.path("own.toml"), case.path("whole"), case.path("broken"));
    let val = case.path("data/val");
    let more = ["--val", &val, "--candidates", "16,32,48", "--stages", "4"];
    done(&case.words(&own, &whole, &[&more[..], &["--threads", "1", "--workers", "1"]].concat()));

    // Killed as soon as the second stage is decided: within the first trial of the third.
    let early = case.trials(&whole).iter().filter(|trial| trial["stage"].as_u64().unwrap() < 2).count();
    let words = case.words(&own, &broken, &[&more[..], &["--threads", "2", "--workers", "3"]].concat());
    let mut process = Command::new(env!("CARGO_BIN_EXE_bandfeed"))
        .args(&words)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let patience = Instant::now();
    let made = || {
        let text = std::fs::read_to_string(Path::new(&broken).join("search.json")).ok()?;
        serde_json::from_str::<Value>(&text).ok()?["trials"].as_array().map(Vec::len)
    };
    while made().unwrap_or(0) < early && process.try_wait().unwrap().is_none() {
        assert!(patience.elapsed() < Duration::from_secs(300), "no trial in five minutes");
        std::thread::sleep(Duration::from_millis(2));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    let before = case.trials(&broken);
    assert!(before.len() < case.trials(&whole).len(), "it was to be killed on the way: {} trials", before.len());
    assert_eq!(before[..], case.trials(&whole)[..before.len()]);

    let band = case.record(&whole)["bands"][1].as_u64().unwrap();
    let begin = std::fs::read(Path::new(&broken).join(format!("checkpoints/stage-2-band-{band}.safetensors"))).unwrap();

    let message = refused(&["search", "--out", &broken, "--resume", "--fine-tune", "0.2"]);
    assert!(message.contains("a search with search.fine_tune = 0.1, but this one has 0.2"), "{message}");
    done(&["search", "--out", &broken, "--resume"]);
    assert_eq!(case.trials(&broken), case.trials(&whole));
    let found = |out: &str| {
        let text = std::fs::read_to_string(Path::new(out).join("found.toml")).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(found(&broken), found(&whole));

    // With images of its own to score by, the search trains on those that the run does.
    let run = case.path("run");
    done(&["train", "--config", &own, "--schedule", &format!("{whole}/found.toml"), "--out", &run]);
    let of_the_run: Vec<f32> = losses(&run, 2).into_iter().map(|loss| loss as f32).collect();
    assert!(of_the_run.len() > 2 * 3);
    assert_eq!(losses_in(&begin), of_the_run);
}

#[test]
fn what_cannot_be_searched_is_refused_before_anything_is_trained() {
    let case = Case::new();
    let (own, out) = (case.path("own.toml"), case.path("search"));
    for (more, says) in [
        (&["--candidates", "40"][..], "--candidates: 40: expected multiples of the patch side, 16"),
        (&["--candidates", "128"], "search.candidates: 128: expected 1 to the base size, 64"),
        (&["--fine-tune", "0.5"], "search.fine_tune: 0.5: "),
        (&["--stages", "1"], "--stages: 1: "),
        (&["--magnitudes", "9"], "--magnitudes: [9.0]: "),
        (&["--epochs", "0.1"], "--epochs: 0.1 equivalent epochs of 84 images"),
        (&["--hold-out", "0.01"], "--hold-out: 0.01 of 96 images: "),
        (&["--set", "schedule.replay=twofold"], "schedule.replay: twofold: "),
        (&["--resume"], "there is no search to go on with"),
    ] {
        let words: Vec<&str> =
            ["search", "--config", &own, "--out", &out].into_iter().chain(more.iter().copied()).collect();
        let message = refused(&words);
        assert!(message.contains(says), "{more:?}: {message}");
    }
    assert!(!Path::new(&out).exists(), "nothing is written");
}
