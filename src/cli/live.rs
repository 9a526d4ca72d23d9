//! What a person sees of a training run: a progress line, a log in JSON lines, and the curves at the end.

use super::chart::{At, Chart, Panel, Reference, Series, Style};
use crate::error::{Error, Result};
use crate::schedule::{Schedule, Stage};
use crate::train::{EvalReport, StepReport, Watch};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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
        loss: f64,
        learning_rate: f64,
        grad_norm: f64,
        images: usize,
        /// Images that were decoded for it; absent in logs of older versions.
        #[serde(default)]
        fresh: usize,
        /// RandAugment's mean magnitude; absent in logs of older versions.
        #[serde(default)]
        magnitude: f64,
        /// Seconds spent waiting for input.
        wait: f64,
        /// Seconds spent on gradient and update.
        compute: f64,
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
    fn step(&self) -> u64 {
        match self {
            Self::Step { step, .. } => *step,
            // A pass after `step` steps belongs to the last of them.
            Self::Evaluation { report, .. } => report.step.saturating_sub(1),
        }
    }
}

/// Shows a run on the terminal and writes its log.
pub(crate) struct Live {
    bar: ProgressBar,
    /// Without a terminal there is no bar, and a line now and then takes its place.
    plain: Option<Instant>,
    log: BufWriter<File>,
    path: PathBuf,
    stages: usize,
    /// Images of the validation set.
    validation: Option<usize>,
    stage: Option<Stage>,
    /// RandAugment's magnitude in the last step, where the policy follows one.
    magnitude: Option<f64>,
    follows_magnitude: bool,
    start: Instant,
    /// Share of compute at the first step of this process.
    from: Option<f64>,
    progress: f64,
    recent: VecDeque<(usize, f64, f64)>,
    loss: Option<f64>,
    failed: Option<Error>,
}

/// Between two lines where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(10);
/// Steps that the shown rate is averaged over.
const RECENT: usize = 30;

impl Live {
    /// Opens the log in `folder`. Lines from step `done` on are dropped: the run will write them again.
    pub(crate) fn open(folder: &Path, schedule: &Schedule, done: u64, validation: Option<usize>) -> Result<Self> {
        let path = folder.join("log.jsonl");
        let kept: Vec<Event> = match path.exists() {
            true => read(&path)?.into_iter().filter(|e| e.step() < done).collect(),
            false => Vec::new(),
        };
        // Whole under another name before the old one goes: a run that dies here keeps its log.
        let new = folder.join("log.jsonl.new");
        let mut log = BufWriter::new(File::create(&new).map_err(Error::io(&new))?);
        for event in &kept {
            line(&mut log, event).map_err(Error::io(&new))?;
        }
        log.flush().map_err(Error::io(&new))?;
        std::fs::rename(&new, &path).map_err(Error::io(&path))?;
        let terminal = std::io::stderr().is_terminal();
        // In thousandths of the compute: a step at a large band counts for more.
        let bar = if terminal { ProgressBar::new(1000) } else { ProgressBar::hidden() };
        bar.set_style(ProgressStyle::with_template("{bar:24} {msg}").expect("the template names bar and msg"));
        Ok(Self {
            bar,
            plain: (!terminal).then(Instant::now),
            log,
            path,
            stages: schedule.stages().len(),
            validation,
            stage: None,
            magnitude: None,
            follows_magnitude: false,
            start: Instant::now(),
            from: None,
            progress: 0.0,
            recent: VecDeque::new(),
            loss: None,
            failed: None,
        })
    }

    /// Shows RandAugment's magnitude, too.
    pub(crate) fn with_magnitude(self, follows_magnitude: bool) -> Self {
        Self { follows_magnitude, ..self }
    }

    /// Ends the progress line and writes what is left of the log.
    ///
    /// # Errors
    /// [`Error::Io`] if the log could not be written, now or earlier.
    pub(crate) fn close(mut self) -> Result<()> {
        self.bar.finish_and_clear();
        self.log.flush().map_err(Error::io(&self.path))?;
        self.failed.map_or(Ok(()), Err)
    }

    fn print(&self, text: &str) {
        if self.plain.is_some() { eprintln!("{text}") } else { self.bar.println(text) }
    }

    fn write(&mut self, event: &Event) {
        if let Err(error) = line(&mut self.log, event) {
            self.failed = self.failed.take().or(Some(Error::Io { path: self.path.clone(), source: error }));
        }
    }

    fn message(&self) -> String {
        let (mut images, mut wait, mut compute) = (0, 0.0, 0.0);
        for (n, w, c) in &self.recent {
            (images, wait, compute) = (images + n, wait + w, compute + c);
        }
        let seconds: f64 = (wait + compute).max(1e-9);
        let stage = self
            .stage
            .as_ref()
            .map_or(String::new(), |s| format!("stage {}/{} band {}", s.index + 1, self.stages, s.band));
        let magnitude = self.magnitude.map_or(String::new(), |m| format!(" m {m:.1}"));
        format!(
            "{:3.0} % | {stage}{magnitude} | loss {:.3} | {:.0} images/s | waiting for input {:.1} % | ETA {}",
            self.progress * 100.0,
            self.loss.unwrap_or(f64::NAN),
            images as f64 / seconds,
            wait / seconds * 100.0,
            self.eta()
        )
    }

    /// By share of compute: a step costs as its band does.
    fn eta(&self) -> String {
        let done = self.progress - self.from.unwrap_or(self.progress);
        if done <= 0.0 {
            return "-".to_owned();
        }
        let left = self.start.elapsed().as_secs_f64() / done * (1.0 - self.progress);
        format!("{}:{:02}", left as u64 / 60, left as u64 % 60)
    }
}

impl Watch for Live {
    fn stage(&mut self, stage: &Stage) {
        self.print(&format!(
            "stage {}/{}: {:.0} to {:.0} % of the compute, band {} ({}), batches of {}{}",
            stage.index + 1,
            self.stages,
            stage.start * 100.0,
            stage.end * 100.0,
            stage.band,
            if stage.band == stage.base { "the whole image".to_owned() } else { stage.crop.to_string() },
            stage.batch_size,
            match stage.replay.is_on() {
                true => format!(", {} of them new", stage.fresh()),
                false => String::new(),
            }
        ));
        self.stage = Some(stage.clone());
        self.recent.clear();
    }

    fn step(&mut self, r: &StepReport) {
        let (wait, compute) = (r.wait.as_secs_f64(), r.compute.as_secs_f64());
        self.from.get_or_insert(r.progress);
        self.progress = r.progress;
        self.magnitude = self.follows_magnitude.then_some(r.magnitude);
        // An average over about as many steps as the rate's.
        let weight = 2.0 / (RECENT + 1) as f64;
        self.loss = Some(self.loss.map_or(r.loss, |mean| mean + weight * (r.loss - mean)));
        self.recent.push_back((r.images, wait, compute));
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        self.write(&Event::Step {
            step: r.step,
            epoch: r.epoch,
            progress: r.progress,
            stage: r.stage,
            band: r.band,
            loss: r.loss,
            learning_rate: r.learning_rate,
            grad_norm: r.grad_norm,
            images: r.images,
            fresh: r.fresh,
            magnitude: r.magnitude,
            wait,
            compute,
        });
        let message = self.message();
        match &mut self.plain {
            None => {
                self.bar.set_message(message);
                self.bar.set_position((r.progress * 1000.0) as u64);
            }
            Some(last) if last.elapsed() >= PLAIN_EVERY => {
                *last = Instant::now();
                eprintln!("step {:5} {message}", r.step);
            }
            Some(_) => {}
        }
    }

    fn evaluated(&mut self, report: &EvalReport) {
        let top5 = report.top5.map_or(String::new(), |v| format!(", top-5 {:.1} %", v * 100.0));
        let missing = match self.validation {
            Some(all) if report.images < all => format!(", {} of {all} images", report.images),
            _ => String::new(),
        };
        self.print(&format!(
            "epoch {:3}: validation top-1 {:.1} %{top5}, loss {:.3}, at {} px{missing} ({:.1} s)",
            report.epoch,
            report.top1 * 100.0,
            report.loss,
            report.band,
            report.seconds
        ));
        self.write(&Event::Evaluation { progress: self.progress, report: report.clone() });
    }

    fn saved(&mut self, path: &Path) {
        tracing::info!(path = %path.display(), "checkpoint");
        // What a checkpoint says is done must be in the log as well.
        if let Err(error) = self.log.flush() {
            self.failed = self.failed.take().or(Some(Error::Io { path: self.path.clone(), source: error }));
        }
    }
}

fn line(log: &mut impl Write, event: &Event) -> std::io::Result<()> {
    serde_json::to_writer(&mut *log, event)?;
    log.write_all(b"\n")
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
        match serde_json::from_str(text) {
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

/// Loss, accuracy, band and speed over share of compute.
pub(crate) fn curves(title: &str, events: &[Event], schedule: &Schedule) -> Chart {
    let (mut loss, mut rate, mut wait) = (Vec::new(), Vec::new(), Vec::new());
    let (mut top1, mut window) = (Vec::new(), Vec::new());
    for event in events {
        match event {
            Event::Step { progress, loss: l, images, wait: w, compute, stage, .. } => {
                let x = progress * 100.0;
                loss.push((x, *l));
                window.push((x, *stage, *images as f64, *w, w + compute));
            }
            Event::Evaluation { progress, report, .. } => top1.push((progress * 100.0, report.top1 * 100.0)),
        }
    }
    // Speed and waiting by stage: one step of a chart for each.
    for part in window.chunk_by(|a, b| a.1 == b.1) {
        let sum = |f: fn(&(f64, usize, f64, f64, f64)) -> f64| part.iter().map(f).sum::<f64>();
        let seconds = sum(|s| s.4).max(1e-9);
        rate.push((part[0].0, sum(|s| s.2) / seconds));
        wait.push((part[0].0, sum(|s| s.3) / seconds * 100.0));
    }
    for steps in [&mut rate, &mut wait] {
        if let Some(&(_, last)) = steps.last() {
            steps.push((100.0, last));
        }
    }
    let mut band: Vec<(f64, f64)> = schedule.stages().iter().map(|s| (s.start * 100.0, f64::from(s.band))).collect();
    band.extend(schedule.stages().last().map(|s| (100.0, f64::from(s.band))));
    let changes: Vec<Reference> = schedule
        .stages()
        .windows(2)
        .filter(|w| w[0].band != w[1].band)
        .map(|w| Reference { name: String::new(), at: At::X(w[1].start * 100.0) })
        .collect();
    let panel = |y_label: &str, series: Vec<Series>| Panel {
        y_label: y_label.into(),
        series,
        references: changes.clone(),
        x_range: Some((0.0, 100.0)),
        height: 200,
        ..Panel::default()
    };
    let smooth = smoothed(&loss);
    Chart {
        title: title.into(),
        subtitle: "dashed: the band grows".into(),
        panels: vec![
            panel(
                "training loss",
                vec![
                    Series { color: Some(1), ..Series::new("each step", Style::Line, loss) },
                    Series { color: Some(0), ..Series::new("mean of 20 steps", Style::Line, smooth) },
                ],
            ),
            panel(
                "top-1, %",
                vec![
                    Series::new("validation at the stage's band", Style::Line, top1.clone()),
                    Series { color: Some(0), ..Series::new("", Style::Points, top1) },
                ],
            ),
            panel("band, pixels", vec![Series::new("", Style::Step, band)]),
            Panel { from_zero: true, ..panel("images/s", vec![Series::new("", Style::Step, rate)]) },
            Panel {
                x_label: "share of the run's compute, %".into(),
                from_zero: true,
                ..panel("waiting for input, %", vec![Series::new("", Style::Step, wait)])
            },
        ],
    }
}

/// The mean of the last 20 values at each.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    const STEPS: usize = 20;
    (0..points.len())
        .map(|i| {
            let part = &points[i.saturating_sub(STEPS - 1)..=i];
            (points[i].0, part.iter().map(|p| p.1).sum::<f64>() / part.len() as f64)
        })
        .collect()
}
