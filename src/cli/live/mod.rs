//! What a person sees of a training run while it goes on: the terminal, a log in JSON lines, TensorBoard files, figures for
//! Prometheus; and at its end the curves and the timeline of its growth.
//!
//! ```text
//!               ┌─► terminal        lines drawn anew, ten times a second
//!  Watch ─► Live├─► log             log.jsonl
//!    │          ├─► tensorboard     event files and contact sheets, by a thread of their own
//!  Meter        └─► metrics         GET /metrics, by a thread of its own
//! ```
//!
//! What all that costs the training thread is measured as it goes ([`Cost`]).

mod contact_sheet;
mod curves;
mod event_file;
mod input;
mod log;
mod metrics;
mod parameters;
mod standing;
mod tensorboard;
mod terminal;
mod timeline;
mod usage;

pub(crate) use contact_sheet::pixels;
pub(crate) use curves::curves;
pub(crate) use input::Input;
pub(crate) use log::{Event, read};
pub(crate) use timeline::timeline;

use super::config::ReportConfig;
use super::{cores, machine};
use crate::batch::Batch;
use crate::error::Result;
use crate::loader::{Counters, Meter};
use crate::recipe::Recipe;
use crate::schedule::{Schedule, Stage};
use crate::train::{EmaReport, EvalReport, GrowthReport, SearchReport, StageTotal, StepReport, Trainer, Watch};
use contact_sheet::Images;
use log::Log;
use metrics::Exporter;
use serde::{Deserialize, Serialize};
use standing::Standing;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tensorboard::{Board, Scalars, Sheets};
use terminal::Terminal;
use usage::Sampler;

/// Where a run is reported to, besides the terminal and the log.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Reporting")]
pub(crate) struct LiveArgs {
    /// Write no TensorBoard files and contact sheets; otherwise they are in the folder's `tensorboard` and `sheets`.
    #[arg(long)]
    no_tensorboard: bool,
    /// Serve figures for Prometheus at http://127.0.0.1:PORT/metrics while the run goes on; 0 picks a port. With an address
    /// (0.0.0.0:9100) others can reach it, too.
    #[arg(long, value_name = "[ADDRESS:]PORT")]
    metrics: Option<Endpoint>,
}

impl LiveArgs {
    /// Puts what was given in the place of what `report` says.
    pub(crate) fn apply(&self, report: &mut ReportConfig) {
        report.tensorboard &= !self.no_tensorboard;
        report.metrics = self.metrics.or(report.metrics);
    }
}

/// An address to listen on: a port alone is this machine's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Endpoint(SocketAddr);

impl TryFrom<String> for Endpoint {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.to_string()
    }
}

impl std::str::FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let own = text.parse().map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let address = own.or_else(|_| text.parse::<SocketAddr>());
        address
            .map(Self)
            .map_err(|_| "expected a port, or a numeric address and a port such as 0.0.0.0:9100".to_owned())
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The run that is reported.
pub(crate) struct Subject<'a> {
    pub(crate) schedule: &'a Schedule,
    pub(crate) recipe: &'a Recipe,
    pub(crate) classes: &'a [String],
    /// Images of the validation set.
    pub(crate) validation: Option<usize>,
    /// As it begins, or goes on.
    pub(crate) trainer: &'a Trainer,
    /// Of the training images' loader.
    pub(crate) meter: Meter,
}

/// What reporting took.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Cost {
    /// Optimiser steps that this process took: 0 where it went on with a run that was over.
    pub(crate) steps: u64,
    /// Seconds of the training thread.
    pub(crate) seconds: f64,
    /// The same as a share of this process's training, `0..=1`.
    pub(crate) share: f64,
    /// Seconds that the thread for TensorBoard's files was at work beside it.
    pub(crate) tensorboard_seconds: f64,
}

/// Reports a run.
pub(crate) struct Live {
    terminal: Terminal,
    log: Log,
    board: Option<Board>,
    exporter: Option<Exporter>,
    standing: Standing,
    sampler: Sampler,
    meter: Meter,
    /// The loader's counters after the last step.
    before: Counters,
    classes: Vec<String>,
    /// Images of the validation set.
    validation: Option<usize>,
    /// The stage's contact sheet is still to be made.
    sheet_due: bool,
    /// Where the contact sheets go.
    sheets: PathBuf,
    /// Optimiser steps of this process.
    steps: u64,
    begun: Instant,
    spent: Duration,
}

impl Live {
    /// Opens the log and the TensorBoard files in `folder`, and the endpoint. What they hold of steps that the run will take
    /// again is dropped.
    pub(crate) fn open(folder: &Path, report: &ReportConfig, subject: Subject<'_>) -> Result<Self> {
        let Subject { schedule, recipe, classes, validation, trainer, meter } = subject;
        let follows_magnitude = recipe.augment.as_ref().is_some_and(|policy| policy.follows_magnitude());
        let log = Log::open(folder, trainer.steps())?;
        let sheets = folder.join("sheets");
        let board = match !report.tensorboard {
            true => None,
            false => {
                let sheets = Sheets { mean: recipe.mean, std: recipe.std, folder: sheets.clone() };
                Some(Board::open(&folder.join("tensorboard"), trainer.steps(), sheets)?)
            }
        };
        let exporter = report.metrics.map(|at| Exporter::start(at, meter.clone())).transpose()?;
        if let Some(exporter) = &exporter {
            eprintln!("metrics    http://{}/metrics", exporter.address());
        }
        Ok(Self {
            terminal: Terminal::new(cores()),
            log,
            board,
            exporter,
            standing: Standing::new(schedule, trainer.history(), follows_magnitude),
            sampler: Sampler::new(),
            before: meter.counters(),
            meter,
            classes: classes.to_vec(),
            validation,
            sheet_due: false,
            sheets,
            steps: 0,
            begun: Instant::now(),
            spent: Duration::ZERO,
        })
    }

    /// Ends the moving lines and writes what is left.
    ///
    /// # Errors
    /// [`crate::Error::Io`] if log or TensorBoard files could not be written, now or earlier.
    pub(crate) fn close(self) -> Result<Cost> {
        self.terminal.close();
        let (spent, whole) = (self.spent.as_secs_f64(), self.begun.elapsed().as_secs_f64());
        // Both are closed, whatever becomes of the first.
        let log = self.log.close();
        let board = self.board.map(Board::close).transpose();
        log?;
        let tensorboard_seconds = board?.map_or(0.0, |busy| busy.as_secs_f64());
        let share = spent / whole.max(f64::MIN_POSITIVE);
        let cost = Cost { steps: self.steps, seconds: spent, share, tensorboard_seconds };
        tracing::debug!(?cost, "reporting");
        Ok(cost)
    }

    /// Runs `work` and adds its time to the cost.
    fn costing(&mut self, work: impl FnOnce(&mut Self)) {
        let start = Instant::now();
        work(self);
        self.spent += start.elapsed();
    }

    fn begin(&mut self, stage: &Stage) {
        self.terminal.print(&format!(
            "stage {}/{}: {:.0} to {:.0} % of the {}, band {} ({}){}{}, batches of {}{}",
            stage.index + 1,
            self.standing.segments.len(),
            stage.start * 100.0,
            stage.end * 100.0,
            self.standing.clock,
            stage.band,
            if stage.band == stage.base { "the whole image".to_owned() } else { stage.crop.to_string() },
            match stage.growth.depth {
                Some(depth) if stage.growth.search => format!(", a supernet of {} blocks", depth.blocks),
                Some(depth) => format!(", {} of {} blocks", depth.blocks, depth.full),
                None => String::new(),
            },
            match stage.growth.shrink {
                Some(shrink) => format!(", made smaller to {} by the trainer", shrink.side()),
                None => String::new(),
            },
            stage.batch_size,
            match stage.replay.is_on() {
                true => format!(", {} of them new", stage.fresh()),
                false => String::new(),
            }
        ));
        self.standing.begin(stage);
        self.sheet_due = true;
    }

    fn take_step(&mut self, r: &StepReport) {
        let counters = self.meter.counters();
        let input = Input::from(counters.since(&self.before));
        self.before = counters;
        let (wait, compute) = (r.wait.as_secs_f64(), r.compute.as_secs_f64());
        self.steps += 1;
        self.standing.step(r, input);
        let looked = self.sampler.look();
        let usage = self.sampler.usage;
        self.log.write(&Event::Step {
            step: r.step,
            epoch: r.epoch,
            progress: r.progress,
            stage: r.stage,
            band: r.band,
            loss: r.loss,
            learning_rate: r.learning_rate,
            grad_norm: r.grad_norm,
            skipped: r.skipped,
            images: r.images,
            fresh: r.fresh,
            depth: Some(r.depth),
            tokens: Some(r.tokens),
            flops: Some(r.flops),
            search: r.search,
            magnitude: self.standing.magnitude,
            wait,
            compute,
            input: Some(input),
            memory: usage.memory.filter(|_| looked),
        });
        if let Some(board) = &self.board {
            let seconds = (wait + compute).max(f64::MIN_POSITIVE);
            let mut scalars = Scalars::default()
                .with("train/loss", r.loss)
                .with("train/learning_rate", r.learning_rate)
                .maybe("train/grad_norm", (!r.skipped).then_some(r.grad_norm))
                .with("train/images_per_second", r.images as f64 / seconds)
                .with("schedule/band", f64::from(r.band))
                .with("schedule/progress", r.progress)
                .with("model/depth", r.depth as f64)
                .with("model/tokens", r.tokens as f64)
                .with("model/flops", r.flops)
                .maybe("schedule/magnitude", self.standing.magnitude)
                .with("input/wait_share", wait / seconds);
            for (name, share) in input.shares().into_iter().flatten() {
                scalars = scalars.with(format!("input/{name}_share"), share);
            }
            if looked {
                scalars = scalars
                    .maybe("system/memory_bytes", usage.memory.map(|bytes| bytes as f64))
                    .maybe("system/cores_busy", usage.cores);
            }
            board.scalars(r.step, scalars);
        }
        if let Some(exporter) = &self.exporter {
            exporter.step(r, self.standing.magnitude);
        }
        self.terminal.show(&self.standing, &usage);
    }

    fn tell_growth(&mut self, r: &GrowthReport) {
        let losses = match (r.loss_before, r.loss_after) {
            (Some(before), Some(after)) => format!(": loss {before:.3} before, {after:.3} after"),
            _ => String::new(),
        };
        self.terminal.print(&format!("grown from {} to {} blocks ({}){losses}", r.before, r.after, r.mogrow));
        self.log.write(&Event::Growth { report: r.clone() });
        if let Some(board) = &self.board {
            let scalars =
                Scalars::default().maybe("growth/loss_before", r.loss_before).maybe("growth/loss_after", r.loss_after);
            board.scalars(r.step, scalars);
        }
    }

    fn tell_search(&mut self, r: &SearchReport) {
        self.terminal.print(&format!("searched {:.0} to {:.0} % of the images:", r.begin * 100.0, r.progress * 100.0));
        for line in super::report::candidates(r).lines() {
            self.terminal.print(line);
        }
        self.log.write(&Event::Search { report: r.clone() });
        if let Some(board) = &self.board {
            let choice = r.choice();
            let scalars = Scalars::default()
                .with("search/depth", f64::from(choice.depth))
                .with("search/side", f64::from(choice.side))
                .with("search/exponent", r.exponent)
                .with("search/seconds", r.seconds);
            board.scalars(last_step(r.step), scalars);
        }
    }

    fn tell_evaluation(&mut self, report: &EvalReport) {
        let top5 = report.top5.map_or(String::new(), |v| format!(", top-5 {:.1} %", v * 100.0));
        let missing = match self.validation {
            Some(all) if report.images < all => format!(", {} of {all} images", report.images),
            _ => String::new(),
        };
        let means: String =
            report.ema.iter().map(|ema| format!(", mean {}: {:.1} %", ema.decay, ema.top1 * 100.0)).collect();
        self.terminal.print(&format!(
            "epoch {:3}: validation top-1 {:.1} %{top5}{means}, loss {:.3}, at {} px{missing} ({:.1} s)",
            report.epoch,
            report.top1 * 100.0,
            report.loss,
            report.band,
            report.seconds
        ));
        self.standing.evaluated(report);
        self.log.write(&Event::Evaluation { progress: self.standing.progress, report: report.clone() });
        if let Some(board) = &self.board {
            let mut scalars = Scalars::default()
                .with("eval/top1", report.top1)
                .maybe("eval/top5", report.top5)
                .with("eval/loss", report.loss)
                .with("eval/band", f64::from(report.band));
            for EmaReport { decay, top1, top5, loss, .. } in &report.ema {
                let tag = |what: &str| format!("eval/ema_{decay}/{what}");
                scalars = scalars.with(tag("top1"), *top1).maybe(&tag("top5"), *top5).with(tag("loss"), *loss);
            }
            board.scalars(last_step(report.step), scalars);
        }
        if let Some(exporter) = &self.exporter {
            exporter.evaluated(report);
        }
    }
}

/// The step that something after `steps` steps belongs to: the last of them, in TensorBoard as in the log. A run that goes on
/// there takes back the steps from `steps` on, and keeps it.
fn last_step(steps: u64) -> u64 {
    steps.saturating_sub(1)
}

impl Watch for Live {
    fn stage(&mut self, stage: &Stage) {
        self.costing(|live| live.begin(stage));
    }

    fn searched(&mut self, report: &SearchReport) {
        self.costing(|live| live.tell_search(report));
    }

    fn grown(&mut self, report: &GrowthReport) {
        self.costing(|live| live.tell_growth(report));
    }

    fn batch(&mut self, batch: &Batch, trainer: &Trainer) {
        if !self.sheet_due {
            return;
        }
        self.costing(|live| {
            let Some(board) = &live.board else { return };
            let magnitude = live.standing.follows_magnitude.then_some(batch.magnitude);
            // Where a run goes on in the middle of a stage, these are not its first images.
            let key = (batch.stage.index, batch.stage.band, batch.stage.growth.search);
            let same = |total: &&StageTotal| (total.stage, total.band, total.search) == key;
            let first = trainer.history().stages.iter().find(same).is_none_or(|total| total.steps == 0);
            let Some(images) = Images::of(batch, trainer.steps(), first, &live.classes, magnitude) else { return };
            if first || !live.sheets.join(images.name()).exists() {
                board.sheet(images);
            }
            live.sheet_due = false;
        });
    }

    fn step(&mut self, report: &StepReport) {
        self.costing(|live| live.take_step(report));
    }

    fn epoch(&mut self, trainer: &Trainer) {
        self.costing(|live| {
            if let Some(board) = &live.board {
                board.histograms(last_step(trainer.steps()), parameters::by_block(trainer.model()));
            }
        });
    }

    fn evaluated(&mut self, report: &EvalReport) {
        self.costing(|live| live.tell_evaluation(report));
    }

    fn saving(&mut self) {
        self.costing(|live| {
            // What a checkpoint says is done must be in the log as well, and before: a run killed right after it goes on from there.
            live.log.flush();
            if let Some(board) = &live.board {
                board.flush();
            }
        });
    }

    fn saved(&mut self, path: &Path) {
        tracing::info!(path = %path.display(), "checkpoint");
    }
}

#[cfg(test)]
mod tests;
