//! A whole run from one file: files, settings and options together, the resolved file, and going on from it.
#![cfg(feature = "train")]

use std::path::Path;
use std::process::{Command, Output};

fn bandfeed(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bandfeed")).args(words).output().expect("the program starts")
}

fn done(words: &[&str]) {
    let output = bandfeed(words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn refused(words: &[&str]) -> String {
    let output = bandfeed(words);
    assert!(!output.status.success(), "{words:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Demo images, and a run file for them.
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
             [train]\ndim = 16\ndepth = 1\nheads = 2\nlr = 0.002\n\
             [schedule]\nname = 'efficient_train_pp_deit'\nbase = 64\npatch = 8\nepochs = 2.0\nbatch_size = 16\n\
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

    /// Losses by step.
    fn losses(&self, run: &str) -> Vec<String> {
        let text = std::fs::read_to_string(Path::new(&self.path(run)).join("log.jsonl")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter(|line| line["event"] == "step").map(|line| line["loss"].to_string()).collect()
    }
}

#[test]
fn a_resolved_file_makes_the_same_run_again() {
    let case = Case::new();
    let (own, first) = (case.path("own.toml"), case.path("first"));
    done(&["train", "--config", &own, "--set", "train.label_smoothing=0.2", "--lr", "0.003", "--out", &first]);
    let resolved = std::fs::read_to_string(case.path("first/run.toml")).unwrap();
    let table: toml::Table = toml::from_str(&resolved).unwrap();
    let number = |table: &toml::Table, name: &str, key: &str| table[name][key].as_float();
    assert_eq!(number(&table, "train", "lr"), Some(0.003), "an option beats the file");
    assert_eq!(number(&table, "train", "label_smoothing"), Some(0.2), "so does --set");
    assert_eq!(number(&table, "train", "weight_decay"), Some(0.05), "what nobody said is there, too");
    assert_eq!(table["run"]["seed"].as_integer(), Some(5));

    let again = case.path("again");
    done(&["train", "--config", &case.path("first/run.toml"), "--out", &again]);
    assert_eq!(case.losses("again"), case.losses("first"));
    assert!(case.losses("first").len() > 3);
    done(&["train", "--config", &own, "--out", &case.path("plain")]);
    assert_ne!(case.losses("plain"), case.losses("first"), "the options did change the run");
}

#[test]
fn a_run_goes_on_with_nothing_but_its_folder() {
    let case = Case::new();
    let out = case.path("run");
    done(&["train", "--config", &case.path("own.toml"), "--out", &out]);
    let before = case.losses("run");
    // At its end there is nothing left to do; that it is known as this run is the point.
    done(&["train", "--out", &out, "--resume"]);
    assert_eq!(case.losses("run"), before);
    let message = refused(&["train", "--out", &out, "--resume", "--set", "run.seed=6"]);
    assert!(message.contains("seed = 5") && message.contains("has 6"), "{message}");
}

#[test]
fn a_run_whose_depth_grows_for_so_many_passes_goes_on_and_can_be_made_again() {
    let case = Case::new();
    let own = case.path("own.toml");
    let searched = &["--search-epochs", "0.3", "--search-probe", "8", "--search-cost", "flops"][..];
    for (name, words) in [("deepened", &["--l-scale", "0.5"][..]), ("searched", searched)] {
        let (out, again) = (case.path(name), case.path(&format!("{name}-again")));
        let train = ["train", "--config", &own, "--depth", "2", "--image-epochs", "4", "--out", &out];
        done(&[&train, words].concat());
        let before = case.losses(name);
        done(&["train", "--out", &out, "--resume"]);
        assert_eq!(case.losses(name), before);
        done(&["train", "--config", &case.path(&format!("{name}/run.toml")), "--out", &again]);
        assert_eq!(case.losses(&format!("{name}-again")), before);
    }
}

#[test]
fn mistakes_name_the_file_the_line_and_the_nearest_key() {
    let case = Case::new();
    let bad = case.path("bad.toml");
    std::fs::write(&bad, "[schedule]\nbatchsize = 4\n").unwrap();
    let message = refused(&["train", "--config", &bad]);
    assert!(message.contains("bad.toml, line 2") && message.contains("did you mean `batch_size`?"), "{message}");
    let message = refused(&["train", "--set", "train.lr=0.1"]);
    assert!(message.contains("source.train") && message.contains("--train"), "{message}");
    let message = refused(&["train", "--config", &case.path("none.toml")]);
    assert!(message.contains("none.toml"), "{message}");
}

#[test]
fn a_step_that_is_not_finite_is_named_and_its_images_come_again() {
    let case = Case::new();
    let out = case.path("run");
    let own = case.path("own.toml");
    let message = refused(&["train", "--config", &own, "--out", &out, "--lr", "1e30", "--warmup", "0", "--clip", "0"]);
    assert!(message.contains("nonfinite.json"), "{message}");
    let record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(case.path("run/checkpoints/nonfinite.json")).unwrap()).unwrap();
    let images = record["batches"][0]["images"].as_array().unwrap();
    assert_eq!(images.len(), 16);

    let replayed = bandfeed(&["replay", &out]);
    let text = String::from_utf8_lossy(&replayed.stdout);
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
    for image in images {
        assert!(text.contains(image["name"].as_str().unwrap()), "{text}");
    }
    let picture = image::open(case.path("run/nonfinite.png")).unwrap();
    assert!(picture.width() > 700 && picture.height() > 200);
    // Other data cannot pass for the run's.
    let toml = std::fs::read_to_string(case.path("run/run.toml")).unwrap();
    std::fs::write(case.path("run/run.toml"), toml.replace("data/train", "data/val")).unwrap();
    let message = refused(&["replay", &out]);
    assert!(message.contains("samples, this run has"), "{message}");
}

#[test]
fn a_run_begins_with_the_weights_of_another() {
    let case = Case::new();
    let (own, first) = (case.path("own.toml"), case.path("first"));
    done(&["train", "--config", &own, "--out", &first, "--ema", "0.9"]);
    let weights = case.path("first/checkpoints/last.safetensors");
    let run = |out: &str, more: &[&str]| {
        let out = case.path(out);
        let output = bandfeed(&[&["train", "--config", &own, "--out", &out, "--init", &weights], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = run("second", &[]);
    assert!(said.contains("positions interpolated from images of 64 px to 24"), "{said}");
    // The first step sees the very images of the first run, with weights that know them.
    let first = |run: &str| case.losses(run)[0].parse::<f64>().unwrap();
    assert!(first("second") < first("first"), "{} {}", first("second"), first("first"));
    let message = refused(&["train", "--config", &own, "--out", &case.path("x"), "--init", &weights, "--depth", "2"]);
    assert!(message.contains("depth"), "{message}");
}
