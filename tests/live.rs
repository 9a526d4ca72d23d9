//! What a run reports while it goes on: TensorBoard files, figures for Prometheus, the log, traces.
#![cfg(all(feature = "cli", feature = "train"))]

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn bandfeed(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bandfeed"));
    command.args(words).env_remove("BANDFEED_LOG");
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A small data set and a folder for a run.
struct Run {
    folder: tempfile::TempDir,
}

impl Run {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = bandfeed::demo_data::DemoData {
            train_per_class: 12,
            val_per_class: 2,
            side: 64,
            ..bandfeed::demo_data::DemoData::default()
        };
        data.write(folder.path().join("data")).unwrap();
        Self { folder }
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// `bandfeed train`, with more words behind it.
    fn command(&self, more: &[&str]) -> Command {
        let path = |name: &str| self.folder.path().join(name).to_str().unwrap().to_owned();
        let (train, val, out) = (path("data/train"), path("data/val"), path("run"));
        let mut words = vec!["train", "--train", &train, "--val", &val, "--out", &out];
        words.extend("--schedule efficient_train_pp_deit --base 64 --patch 8 --batch-size 24".split(' '));
        words.extend("--dim 24 --depth 2 --heads 3 --seed 4 --augment rand-mstd0.5-inc1 --erase 0.25".split(' '));
        words.extend("--workers 2".split(' '));
        if !more.contains(&"--epochs") {
            words.extend(["--epochs", "4"]);
        }
        words.extend(more);
        bandfeed(&words)
    }

    fn succeed(&self, more: &[&str]) -> Output {
        let output = self.command(more).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        output
    }

    fn log(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(self.out().join("log.jsonl")).unwrap();
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn steps(&self) -> Vec<Value> {
        self.log().into_iter().filter(|event| event["event"] == "step").collect()
    }

    fn event_files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.out().join("tensorboard")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

/// The records of an event file, each after its two checksums are found right.
fn records(path: &Path) -> Vec<Vec<u8>> {
    let crc = |bytes: &[u8]| {
        // CRC-32C bit by bit, and TensorFlow's mask.
        let crc = bytes.iter().fold(!0u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
        });
        (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
    };
    let bytes = std::fs::read(path).unwrap();
    let (mut rest, mut records) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        assert_eq!(word(8), crc(&rest[..8]), "the length of record {}", records.len());
        let data = &rest[12..12 + length];
        assert_eq!(word(12 + length), crc(data), "the data of record {}", records.len());
        records.push(data.to_vec());
        rest = &rest[16 + length..];
    }
    records
}

#[test]
fn a_run_leaves_whole_event_files_a_split_log_and_contact_sheets() {
    let run = Run::new();
    let output = run.succeed(&[]);
    let files = run.event_files();
    assert_eq!(files.len(), 1);
    let records = records(&files[0]);
    let steps = run.steps();
    assert!(steps.len() > 20 && records.len() > steps.len());
    let holds = |record: &[u8], word: &str| record.windows(word.len()).any(|w| w == word.as_bytes());
    let count = |word: &str| records.iter().filter(|record| holds(record, word)).count();
    assert_eq!(count("train/loss"), steps.len());
    assert_eq!(count("brain.Event:2"), 1);
    let stages = steps.iter().map(|s| s["stage"].as_u64()).collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!(count("input/contact_sheet"), stages);
    assert_eq!(std::fs::read_dir(run.out().join("sheets")).unwrap().count(), stages);

    // The time of the loader's workers is told apart, and adds up to what two workers have.
    let sum = |part: &str| steps.iter().map(|s| s["input"][part].as_f64().unwrap()).sum::<f64>();
    for part in ["read", "decode", "augment", "band", "idle"] {
        assert!(sum(part) > 0.0, "{part}");
    }
    assert_eq!(sum("upload"), 0.0);
    #[cfg(target_os = "linux")]
    assert!(steps[0]["memory"].as_u64().unwrap() > 1 << 20);

    let summary: Value =
        serde_json::from_str(&std::fs::read_to_string(run.out().join("summary.json")).unwrap()).unwrap();
    assert!(summary["stages"].is_array() && summary["evaluations"].is_array(), "{summary}");
    let share = summary["reporting"]["share"].as_f64().unwrap();
    assert!((0.0..0.5).contains(&share), "{share}");
    assert!(summary["input"]["augment"].as_f64().unwrap() > 0.0);
    assert_eq!(summary["reporting"]["steps"].as_u64(), Some(steps.len() as u64));
    let said = text(&output.stdout);
    assert!(said.contains("to augment") && said.contains("workers idled"), "{said}");

    // Over already: this time the loader made nothing, and nothing is said of it.
    let said = text(&run.succeed(&["--resume"]).stdout);
    assert!(said.contains("of the training time spent waiting.\n") && !said.contains("were decoded"), "{said}");
}

#[test]
fn tensorboard_files_can_be_left_out() {
    let run = Run::new();
    run.succeed(&["--no-tensorboard"]);
    assert!(!run.out().join("tensorboard").exists() && !run.out().join("sheets").exists());
    assert!(run.steps().len() > 20);
}

#[test]
fn figures_are_served_while_a_run_goes_on() {
    let run = Run::new();
    // Long enough to be asked, and ended when it was.
    let mut child = run
        .command(&["--metrics", "0", "--epochs", "400"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = said.by_ref().map(|line| line.unwrap()).find(|line| line.starts_with("metrics ")).unwrap();
    let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    assert!(address.starts_with("127.0.0.1:"), "{line}");
    let keep_reading = std::thread::spawn(move || said.count());
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    // A caller that says nothing is there all the while.
    let silent = TcpStream::connect(&address).unwrap();
    let figure = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap_or_default();
        line.parse::<f64>().unwrap_or(f64::NAN)
    };
    let begin = std::time::Instant::now();
    let mut before = 0.0;
    loop {
        assert!(begin.elapsed().as_secs() < 60, "the run did not get on");
        let text = ask("/metrics");
        assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
        let images = figure(&text, "bandfeed_images_total");
        if before > 0.0 && images > before {
            assert!(figure(&text, "bandfeed_band_pixels") >= 8.0, "{text}");
            assert!(figure(&text, "bandfeed_loss") > 0.0, "{text}");
            assert!(figure(&text, r#"bandfeed_input_seconds_total{part="decode"}"#) > 0.0, "{text}");
            assert!(figure(&text, r#"bandfeed_input_seconds_total{part="augment"}"#) > 0.0, "{text}");
            break;
        }
        before = images;
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(ask("/").starts_with("HTTP/1.1 404"));
    drop(silent);
    child.kill().unwrap();
    child.wait().unwrap();
    keep_reading.join().unwrap();
    // Killed outright: what was written is readable up to where it ends.
    assert_eq!(run.event_files().len(), 1);
}

#[test]
fn a_port_that_is_taken_is_told_before_training() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = Run::new().command(&["--metrics", &port]).output().unwrap();
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains(&format!("127.0.0.1:{port}")), "{said}");
}

/// Spans by thread's name, from a trace that must be whole JSON with every span closed on its own thread.
fn spans(path: &Path) -> BTreeMap<String, BTreeMap<String, usize>> {
    let trace: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let (mut names, mut open, mut spans) = (BTreeMap::new(), BTreeMap::<u64, Vec<String>>::new(), BTreeMap::new());
    for entry in &trace {
        let (thread, name) = (entry["tid"].as_u64().unwrap(), entry["name"].as_str().unwrap().to_owned());
        match entry["ph"].as_str().unwrap() {
            "M" => drop(names.insert(thread, entry["args"]["name"].as_str().unwrap().to_owned())),
            "B" => open.entry(thread).or_default().push(name),
            "E" => {
                assert_eq!(open.get_mut(&thread).unwrap().pop().as_ref(), Some(&name));
                let thread: &mut BTreeMap<String, usize> = spans.entry(names[&thread].clone()).or_default();
                *thread.entry(name).or_default() += 1;
            }
            other => assert_eq!(other, "i", "{entry}"),
        }
    }
    spans
}

#[test]
fn a_trace_shows_what_each_thread_does() {
    let run = Run::new();
    let path = run.folder.path().join("trace.json");
    run.succeed(&["--trace", path.to_str().unwrap()]);
    let spans = spans(&path);
    let images: usize = run.steps().iter().map(|s| s["fresh"].as_u64().unwrap() as usize).sum();
    for part in ["read", "decode", "band", "augment"] {
        let of_workers = |name: &str| spans.get(name).and_then(|thread| thread.get(part)).copied().unwrap_or(0);
        let count = of_workers("bandfeed-0") + of_workers("bandfeed-1");
        // Some images are not augmented, and those of the validation set are decoded as well.
        assert!(count > images / 4, "{part}: {count} of {images}\n{spans:?}");
    }
    let main = &spans["main"];
    for part in ["batch", "mix", "gradient", "update", "evaluate", "checkpoint"] {
        assert!(main.get(part).copied().unwrap_or(0) > 0, "{part}: {main:?}");
    }
}

#[test]
fn any_command_can_be_traced_and_a_bad_path_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    let output = bandfeed(&["schedule", "--trace", path.to_str().unwrap(), "constant"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let trace: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert!(trace.iter().all(|entry| entry["ph"] == "M"), "a schedule has no spans: {trace:?}");
    let missing = folder.path().join("none/trace.json");
    let output = bandfeed(&["--trace", missing.to_str().unwrap(), "schedule", "constant"]).output().unwrap();
    assert!(!output.status.success() && text(&output.stderr).contains("none/trace.json"));
}

/// Interrupts a long run in its first stage, some time after its first step.
#[cfg(unix)]
fn interrupt(run: &Run, more: &[&str]) {
    let words = [&["--epochs", "400"], more].concat();
    let mut child = run.command(&words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    said.by_ref().find(|line| line.as_ref().unwrap().starts_with("stage ")).unwrap().unwrap();
    let keep_reading = std::thread::spawn(move || said.count());
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    keep_reading.join().unwrap();
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_ends_its_trace() {
    let run = Run::new();
    let path = run.folder.path().join("trace.json");
    interrupt(&run, &["--trace", path.to_str().unwrap()]);
    assert!(spans(&path).contains_key("bandfeed-0"));
}

#[cfg(unix)]
#[test]
fn a_sheet_of_a_stages_first_images_stays_when_the_run_goes_on() {
    let run = Run::new();
    let sheet = run.out().join("sheets/stage-01.png");
    interrupt(&run, &[]);
    let first = std::fs::read(&sheet).unwrap();
    interrupt(&run, &["--resume"]);
    assert!(std::fs::read(&sheet).unwrap() == first);
    // Without one, there is a sheet of the images at hand, which are others.
    std::fs::remove_file(&sheet).unwrap();
    interrupt(&run, &["--resume"]);
    assert!(std::fs::read(&sheet).unwrap() != first);
}

/// What TensorBoard's own reader finds in a run's event files.
fn by_tensorboard(run: &Run) -> Value {
    let python = std::env::var_os("BANDFEED_PYTHON").expect("BANDFEED_PYTHON names a Python that has tensorboard");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/read_events.py");
    let output = Command::new(python).arg(script).arg(run.out().join("tensorboard")).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
#[ignore = "needs Python with tensorboard"]
fn tensorboard_reads_what_the_log_says() {
    let run = Run::new();
    run.succeed(&[]);
    let (events, log) = (by_tensorboard(&run), run.log());
    assert_eq!(events["file_version"], 2.0);
    // Files hold 32-bit floats.
    let scalars = |tag: &str| -> Vec<(u64, f32)> {
        let points = events["scalars"][tag].as_array().unwrap_or_else(|| panic!("no {tag} in {}", events["scalars"]));
        points.iter().map(|p| (p[0].as_u64().unwrap(), p[1].as_f64().unwrap() as f32)).collect()
    };
    let single = |value: &Value| value.as_f64().unwrap() as f32;
    let steps = run.steps();
    for (tag, field) in [
        ("train/loss", "loss"),
        ("train/learning_rate", "learning_rate"),
        ("train/grad_norm", "grad_norm"),
        ("schedule/band", "band"),
        ("schedule/magnitude", "magnitude"),
        ("schedule/progress", "progress"),
    ] {
        let expected: Vec<(u64, f32)> =
            steps.iter().map(|s| (s["step"].as_u64().unwrap(), single(&s[field]))).collect();
        assert_eq!(scalars(tag), expected, "{tag}");
    }
    let speed: Vec<f32> = scalars("train/images_per_second").iter().map(|p| p.1).collect();
    for (speed, step) in speed.iter().zip(&steps) {
        let number = |field: &str| step[field].as_f64().unwrap();
        let expected = number("images") / (number("wait") + number("compute"));
        assert!((f64::from(*speed) / expected - 1.0).abs() < 1e-4, "{speed} {expected}");
    }
    for part in ["wait", "read", "decode", "augment", "band", "idle"] {
        let shares = scalars(&format!("input/{part}_share"));
        assert!(!shares.is_empty() && shares.iter().all(|(_, share)| (0.0..=1.0).contains(share)), "{part}");
    }
    let passes: Vec<&Value> = log.iter().filter(|event| event["event"] == "evaluation").collect();
    assert!(passes.len() > 2);
    for (tag, field) in [("eval/top1", "top1"), ("eval/top5", "top5"), ("eval/loss", "loss")] {
        let expected: Vec<(u64, f32)> =
            passes.iter().map(|e| (e["step"].as_u64().unwrap() - 1, single(&e[field]))).collect();
        assert_eq!(scalars(tag), expected, "{tag}");
    }
    // Seconds since 1970, in order.
    let times: Vec<f64> =
        events["scalars"]["train/loss"].as_array().unwrap().iter().map(|p| p[2].as_f64().unwrap()).collect();
    assert!(times[0] > 1.7e9 && times.windows(2).all(|w| w[0] <= w[1]));

    let histograms = events["histograms"].as_object().unwrap();
    assert!(histograms.contains_key("parameters/blocks.0") && histograms.contains_key("parameters/blocks.1"));
    // 24 wide, 4 x as wide inside: 12 D^2 weights; 4 D + 9 D of biases and norms.
    let block = &histograms["parameters/blocks.1"][0];
    assert_eq!((block[1].as_f64(), block[2].as_f64()), (Some(7224.0), Some(7224.0)), "{block}");
    assert!(block[3].as_f64() < Some(0.0) && block[4].as_f64() > Some(0.0), "{block}");

    let sheets = events["images"]["input/contact_sheet"].as_array().unwrap();
    let mut starts: Vec<u64> = Vec::new();
    for pair in std::iter::once(None).chain(steps.iter().map(Some)).collect::<Vec<_>>().windows(2) {
        let stage = |step: Option<&Value>| step.map(|s| s["stage"].clone());
        if stage(pair[0]) != stage(pair[1]) {
            starts.push(pair[1].unwrap()["step"].as_u64().unwrap());
        }
    }
    assert_eq!(sheets.iter().map(|s| s[0].as_u64().unwrap()).collect::<Vec<_>>(), starts);
    assert!(sheets.iter().all(|sheet| sheet[1] == sheet[2] && sheet[1][0].as_u64() > Some(500)), "{sheets:?}");
}

#[cfg(unix)]
#[test]
#[ignore = "needs Python with tensorboard"]
fn steps_that_a_resumed_run_takes_again_stand_once() {
    let run = Run::new();
    let last = run.out().join("checkpoints/last.safetensors");
    let mut child = run.command(&[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Killed some steps after a checkpoint.
    while !last.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it was over before it could be killed");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    child.kill().unwrap();
    child.wait().unwrap();
    run.succeed(&["--resume"]);
    assert_eq!(run.event_files().len(), 2);
    let events = by_tensorboard(&run);
    let losses: Vec<u64> =
        events["scalars"]["train/loss"].as_array().unwrap().iter().map(|p| p[0].as_u64().unwrap()).collect();
    let expected: Vec<u64> = run.steps().iter().map(|s| s["step"].as_u64().unwrap()).collect();
    assert_eq!(losses, expected);
}
