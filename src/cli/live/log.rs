//! The log of a run, in JSON lines.

use super::input::Input;
use crate::error::{Error, Result};
use crate::train::{EvalReport, GrowthReport, SearchReport};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// One line of the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// An optimiser step.
    Step {
        step: u64,
        epoch: u64,
        /// Share of compute before the step.
        progress: f64,
        stage: usize,
        band: u32,
        /// Finite, as `grad_norm` is: a run ends where they are not.
        loss: f64,
        learning_rate: f64,
        /// 0 in a step that was skipped.
        grad_norm: f64,
        /// The step changed no weight: a gradient in half precision overflowed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        skipped: bool,
        images: usize,
        /// Images that were decoded for it; absent in logs of older versions.
        #[serde(default)]
        fresh: usize,
        /// Blocks of the model, patches of an image, and floating-point operations of the step, forwards and backwards; absent
        /// in logs of older versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        depth: Option<usize>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tokens: Option<usize>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        flops: Option<f64>,
        /// The step trained a part of a supernet.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        search: bool,
        /// RandAugment's mean magnitude, where the policy follows one; older versions wrote it everywhere.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        magnitude: Option<f64>,
        /// Seconds spent waiting for input.
        wait: f64,
        /// Seconds spent on gradient and update.
        compute: f64,
        /// What the loader did since the step before; absent in logs of older versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<Input>,
        /// Resident memory in bytes, looked at once a second.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        memory: Option<u64>,
    },
    /// The model has grown, before the step of this number.
    Growth {
        #[serde(flatten)]
        report: GrowthReport,
    },
    /// AutoProg's search has chosen, before the step of this number.
    Search {
        #[serde(flatten)]
        report: SearchReport,
    },
    /// A pass over the validation set.
    Evaluation {
        /// Share of compute at that moment.
        progress: f64,
        #[serde(flatten)]
        report: EvalReport,
    },
}

impl Event {
    /// The step that it belongs to.
    fn step(&self) -> u64 {
        match self {
            Self::Step { step, .. } => *step,
            Self::Growth { report } => report.step,
            // A run goes on after the choice: its checkpoint of this step has it.
            Self::Search { report } => report.step.saturating_sub(1),
            // A pass after `step` steps belongs to the last of them.
            Self::Evaluation { report, .. } => report.step.saturating_sub(1),
        }
    }
}

/// The log being written.
pub(super) struct Log {
    out: BufWriter<File>,
    path: PathBuf,
    failed: Option<Error>,
}

impl Log {
    /// Opens the log in `folder`. Lines from step `done` on are dropped: the run will write them again.
    pub(super) fn open(folder: &Path, done: u64) -> Result<Self> {
        let path = folder.join("log.jsonl");
        let kept: Vec<Event> = match path.exists() {
            true => read(&path)?.into_iter().filter(|e| e.step() < done).collect(),
            false => Vec::new(),
        };
        // Whole under another name before the old one goes: a run that dies here keeps its log.
        let new = folder.join("log.jsonl.new");
        let mut out = BufWriter::new(File::create(&new).map_err(Error::io(&new))?);
        for event in &kept {
            line(&mut out, event).map_err(Error::io(&new))?;
        }
        out.flush().map_err(Error::io(&new))?;
        std::fs::rename(&new, &path).map_err(Error::io(&path))?;
        Ok(Self { out, path, failed: None })
    }

    /// Adds a line; an error is told by [`Log::close`].
    pub(super) fn write(&mut self, event: &Event) {
        if let Err(error) = line(&mut self.out, event) {
            self.fail(error);
        }
    }

    pub(super) fn flush(&mut self) {
        if let Err(error) = self.out.flush() {
            self.fail(error);
        }
    }

    fn fail(&mut self, source: std::io::Error) {
        self.failed = self.failed.take().or(Some(Error::Io { path: self.path.clone(), source }));
    }

    /// # Errors
    /// [`Error::Io`] if the log could not be written, now or earlier.
    pub(super) fn close(mut self) -> Result<()> {
        self.flush();
        self.failed.map_or(Ok(()), Err)
    }
}

fn line(log: &mut impl Write, event: &Event) -> std::io::Result<()> {
    serde_json::to_writer(&mut *log, event)?;
    log.write_all(b"\n")
}

/// One line. Where a loss was no number, older versions wrote `null`: that is read as NaN.
fn parse(text: &str) -> serde_json::Result<Event> {
    let error = match serde_json::from_str(text) {
        Ok(event) => return Ok(event),
        Err(error) => error,
    };
    let Ok(mut line) = serde_json::from_str::<Value>(text) else { return Err(error) };
    let own = replace_null(&mut line);
    let means: Vec<bool> = match line.get_mut("ema").and_then(Value::as_array_mut) {
        Some(means) => means.iter_mut().map(replace_null).collect(),
        None => Vec::new(),
    };
    let mut event = serde_json::from_value(line).map_err(|_| error)?;
    match &mut event {
        Event::Step { loss, .. } if own => *loss = f64::NAN,
        Event::Step { .. } | Event::Growth { .. } | Event::Search { .. } => {}
        Event::Evaluation { report, .. } => {
            if own {
                report.loss = f64::NAN;
            }
            report.ema.iter_mut().zip(means).filter(|(_, null)| *null).for_each(|(ema, _)| ema.loss = f64::NAN);
        }
    }
    Ok(event)
}

/// Puts 0 in the place of a loss that is null, and tells whether it was.
fn replace_null(of: &mut Value) -> bool {
    let Some(loss) = of.get_mut("loss").filter(|loss| loss.is_null()) else { return false };
    *loss = 0.into();
    true
}

/// Reads a log. A last line without its end, as a killed run leaves it, is dropped.
pub(crate) fn read(path: &Path) -> Result<Vec<Event>> {
    let lines: Vec<String> = BufReader::new(File::open(path).map_err(Error::io(path))?)
        .lines()
        .collect::<std::io::Result<_>>()
        .map_err(Error::io(path))?;
    let last = lines.len().saturating_sub(1);
    let mut events = Vec::with_capacity(lines.len());
    for (number, text) in lines.iter().enumerate() {
        match parse(text) {
            Ok(event) => events.push(event),
            Err(_) if number == last => {}
            Err(error) => {
                let reason = format!(
                    "line {} is no log line of bandfeed ({error}); mend it, or move the file away to start a new log",
                    number + 1
                );
                return Err(Error::Checkpoint { path: path.to_owned(), reason });
            }
        }
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_older_versions_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let old = r#"{"event":"step","step":3,"epoch":0,"progress":0.1,"stage":0,"band":48,"loss":2.0,"learning_rate":0.1,"grad_norm":1.0,"images":8,"wait":0.1,"compute":0.2}"#;
        std::fs::write(&path, format!("{old}\n{{\"event\":\"st")).unwrap();
        let events = read(&path).unwrap();
        assert!(matches!(events[..], [Event::Step { step: 3, input: None, memory: None, .. }]), "{events:?}");
    }

    #[test]
    fn a_loss_that_is_null_is_nan_and_nothing_else_may_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let pass = r#"{"event":"evaluation","progress":0.5,"epoch":0,"step":7,"band":8,"images":4,"top1":0.25,"top5":null,"loss":null,"seconds":1.0,"ema":[{"decay":0.9,"top1":0.5,"top5":null,"loss":2.0},{"decay":0.99,"top1":0.5,"top5":null,"loss":null}]}"#;
        std::fs::write(&path, format!("{pass}\n{pass}\n")).unwrap();
        let events = read(&path).unwrap();
        assert_eq!(events.len(), 2);
        let Event::Evaluation { report, .. } = &events[0] else { panic!("{events:?}") };
        assert!(report.loss.is_nan() && report.ema[0].loss == 2.0 && report.ema[1].loss.is_nan(), "{report:?}");
        std::fs::write(&path, format!("{}\n{pass}\n", pass.replace("\"top1\":0.25", "\"top1\":null"))).unwrap();
        assert!(read(&path).is_err());
    }

    #[test]
    fn steps_that_will_come_again_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(folder.path(), 0).unwrap();
        let input = Some(Input { decode: 0.5, idle: 0.25, ..Input::default() });
        for step in 0..5 {
            log.write(&Event::Step {
                step,
                epoch: 0,
                progress: 0.0,
                stage: 0,
                band: 8,
                loss: 1.0,
                learning_rate: 0.1,
                grad_norm: 1.0,
                skipped: false,
                images: 4,
                fresh: 4,
                depth: Some(12),
                tokens: Some(1),
                flops: Some(1e9),
                search: false,
                magnitude: None,
                wait: 0.0,
                compute: 1.0,
                input,
                memory: None,
            });
        }
        log.close().unwrap();
        Log::open(folder.path(), 3).unwrap().close().unwrap();
        let events = read(&folder.path().join("log.jsonl")).unwrap();
        assert_eq!(events.len(), 3);
        assert!(matches!(events[2], Event::Step { step: 2, input: kept, .. } if kept == input));
    }
}
