use super::*;
use crate::train::{TrainConfig, VitConfig};
use std::io::{Read, Write};
use std::sync::Arc;

/// A run that is about to begin, with all there is to report to.
fn live(folder: &Path, policy: Option<&str>) -> Live {
    let (source, _) = crate::demo_data::DemoData { train_per_class: 1, ..Default::default() }.generate().unwrap();
    let options = crate::schedule::Options { batch_size: 4, ..Default::default() };
    let schedule = Schedule::constant(&options).unwrap();
    let recipe = Recipe { augment: policy.map(|policy| policy.parse().unwrap()), ..Recipe::default() };
    let model = VitConfig { dim: 12, depth: 1, ..VitConfig::tiny(3) };
    let trainer = Trainer::new(TrainConfig::new(model), 32, 1, &burn::tensor::Device::flex()).unwrap();
    let loader = crate::Loader::builder(Arc::new(source), schedule.clone()).workers(1).build().unwrap();
    let report = ReportConfig { metrics: Some("0".parse().unwrap()), ..ReportConfig::default() };
    let subject = Subject {
        schedule: &schedule,
        recipe: &recipe,
        classes: &[],
        validation: None,
        trainer: &trainer,
        meter: loader.meter(),
    };
    Live::open(folder, &report, subject).unwrap()
}

fn report(step: u64, skipped: bool) -> StepReport {
    StepReport {
        step,
        epoch: 0,
        progress: 0.1,
        stage: 0,
        band: 32,
        loss: 2.0,
        learning_rate: 0.1,
        grad_norm: if skipped { 0.0 } else { 1.5 },
        skipped,
        images: 4,
        fresh: 4,
        depth: 2,
        tokens: 4,
        flops: 1e6,
        search: false,
        magnitude: 7.5,
        wait: Duration::from_millis(1),
        compute: Duration::from_millis(9),
    }
}

/// What is in the log so far.
fn log(folder: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(folder.join("log.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn served(live: &Live) -> String {
    let mut stream = std::net::TcpStream::connect(live.exporter.as_ref().unwrap().address()).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// How often `tag` stands in the TensorBoard files.
fn shown(folder: &Path, tag: &str) -> usize {
    let files = std::fs::read_dir(folder.join("tensorboard")).unwrap();
    let count = |bytes: Vec<u8>| bytes.windows(tag.len()).filter(|part| *part == tag.as_bytes()).count();
    files.map(|file| count(std::fs::read(file.unwrap().path()).unwrap())).sum()
}

#[test]
fn all_steps_are_in_the_files_before_a_checkpoint_has_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut live = live(folder.path(), None);
    live.step(&report(0, false));
    assert!(log(folder.path()).is_empty(), "the log is buffered");
    live.saving();
    assert_eq!(log(folder.path()).len(), 1);
    assert_eq!(shown(folder.path(), "train/loss"), 1);
    assert_eq!(live.close().unwrap().steps, 1);
}

#[test]
fn a_step_that_changed_nothing_is_told_and_has_no_norm() {
    let folder = tempfile::tempdir().unwrap();
    let mut live = live(folder.path(), None);
    live.step(&report(0, false));
    live.step(&report(1, true));
    let text = served(&live);
    assert!(text.contains("\nbandfeed_skipped_steps_total 1"), "{text}");
    assert!(text.contains("\nbandfeed_gradient_norm 1.5\n"), "{text}");
    // Blocks, patches and operations are the last step's, their sum both steps': a step that changed nothing was computed.
    let figures = ["depth_blocks 2.0", "tokens 4.0", "step_flops 1000000.0", "flops_total 2000000.0"];
    for figure in figures {
        assert!(text.contains(&format!("\nbandfeed_{figure}\n")), "{figure}: {text}");
    }
    live.close().unwrap();
    let log = log(folder.path());
    assert!(log[0].get("skipped").is_none() && log[1]["skipped"] == true, "{log:?}");
    assert_eq!((shown(folder.path(), "train/loss"), shown(folder.path(), "train/grad_norm")), (2, 1));
    let events = read(&folder.path().join("log.jsonl")).unwrap();
    assert!(matches!(events[..], [Event::Step { skipped: false, .. }, Event::Step { skipped: true, .. }]));
}

#[test]
fn a_choice_stays_in_the_files_of_a_run_that_goes_on_right_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut live = live(folder.path(), None);
    (0..5).for_each(|step| live.step(&report(step, false)));
    let told = serde_json::json!({
        "step": 5, "progress": 0.1, "begin": 0.0, "stage": 0, "candidates": [{ "side": 32, "depth": 2 }],
        "losses": [["NaN"], [1.5]], "costs": [1.0], "exponent": -0.5, "chosen": 0, "seconds": 2.0, "flops": 1e9,
    });
    live.searched(&serde_json::from_value(told).unwrap());
    live.close().unwrap();
    let recipe = Recipe::default();
    let sheets = Sheets { mean: recipe.mean, std: recipe.std, folder: folder.path().join("sheets") };
    Board::open(&folder.path().join("tensorboard"), 5, sheets).unwrap().close().unwrap();
    assert_eq!((shown(folder.path(), "train/loss"), shown(folder.path(), "search/depth")), (5, 1));
    Log::open(folder.path(), 5).unwrap().close().unwrap();
    let events = read(&folder.path().join("log.jsonl")).unwrap();
    assert!(matches!(events.last(), Some(Event::Search { report }) if report.losses[0][0].is_nan()), "{events:?}");
}

#[test]
fn a_magnitude_is_told_where_the_policy_follows_one() {
    for (policy, told) in [(None, false), (Some("trivial"), false), (Some("rand-mstd0.5-inc1"), true)] {
        let folder = tempfile::tempdir().unwrap();
        let mut live = live(folder.path(), policy);
        live.step(&report(0, false));
        assert_eq!(served(&live).contains("\nbandfeed_magnitude 7.5"), told, "{policy:?}");
        assert_eq!(served(&live).contains("bandfeed_magnitude"), told, "{policy:?}");
        live.close().unwrap();
        let expected = if told { Some(&serde_json::json!(7.5)) } else { None };
        assert_eq!(log(folder.path())[0].get("magnitude"), expected, "{policy:?}");
    }
}

#[test]
fn a_port_alone_is_this_machines_own() {
    let parse = |text: &str| text.parse::<Endpoint>().map(|endpoint| endpoint.to_string());
    assert_eq!(parse("9100").unwrap(), "127.0.0.1:9100");
    assert_eq!(parse("0.0.0.0:9100").unwrap(), "0.0.0.0:9100");
    assert_eq!(parse("[::1]:80").unwrap(), "[::1]:80");
    for bad in ["", "99999", "host", "10.0.0.1", ":80"] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}
