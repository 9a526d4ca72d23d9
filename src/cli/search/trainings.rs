//! Trials on the bundled loader and trainer.

use super::super::job::stop_on_interrupt;
use super::super::report;
use super::record::Record;
use super::setup::Setup;
use super::{RECORD_FILE, found};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::loader::{BadFile, Loader, State};
use crate::schedule::LearningRate;
use crate::train::curriculum::{Finished, Score, Search, Trial, Trials};
use crate::train::{self, Feed, Run, StepReport, Summary, Trainer, Watch};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(super) struct Trainings<'a> {
    setup: &'a Setup,
    /// Of the checkpoints.
    folder: PathBuf,
    record: PathBuf,
    stop: &'static AtomicBool,
    /// The trial that was trained, where its training ended.
    current: Option<(Trainer, Loader)>,
    bad_files: BadFiles,
}

/// Files that gave no image, by name: of the images trained on, and of those scored by.
#[derive(Default)]
struct BadFiles([BTreeMap<String, BadFile>; 2]);

impl BadFiles {
    fn add(&mut self, part: usize, loader: &Loader) {
        self.0[part].extend(loader.bad_files().into_iter().map(|file| (file.name.clone(), file)));
    }
}

impl<'a> Trainings<'a> {
    /// Writes the record, as far as the search has come, and throws away what a killed process left.
    pub(super) fn new(setup: &'a Setup, out: &Path, search: &Search) -> Result<Self> {
        let stop = stop_on_interrupt("ending after this step; the trial at hand is made again with --resume")?;
        let (folder, record) = (out.join("checkpoints"), out.join(RECORD_FILE));
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        let trainings = Self { setup, folder, record, stop, current: None, bad_files: BadFiles::default() };
        Record::new(setup, search).write(&trainings.record)?;
        trainings.tidy(search)?;
        Ok(trainings)
    }

    /// Lists files that gave no image.
    pub(super) fn close(self) {
        let list = |files: BTreeMap<String, BadFile>| files.into_values().collect::<Vec<_>>();
        let [trained, scored] = self.bad_files.0;
        report::files("gave no image", &list(trained));
        report::files("of the images to score by gave no image and are not in the accuracy", &list(scored));
    }

    /// Where the result of the trial with these bands is kept.
    fn path(&self, bands: &[u32]) -> PathBuf {
        self.folder.join(name(bands))
    }

    /// Removes the results that nobody will ask for again.
    fn tidy(&self, search: &Search) -> Result<()> {
        let needed: BTreeSet<String> = search.needed().iter().map(|bands| name(bands)).collect();
        let io = || Error::io(&self.folder);
        for entry in std::fs::read_dir(&self.folder).map_err(io())? {
            let path = entry.map_err(io())?.path();
            let own = path.file_name().and_then(|name| name.to_str()).filter(|name| name.starts_with("stage-"));
            if own.is_some_and(|name| !needed.contains(name)) {
                std::fs::remove_file(&path).map_err(Error::io(&path))?;
            }
        }
        Ok(())
    }

    fn fit(&self, trainer: &mut Trainer, feed: &mut Leg<'_>, what: String) -> Result<Summary> {
        let mut pulse = Pulse { what, last: Instant::now() };
        let run = Run { validation: None, checkpoints: None, stop: self.stop, watch: &mut pulse };
        train::fit(trainer, feed, run)
    }
}

/// Of the checkpoint of the trial with these bands. A stage has one for each band, since those before are decided.
fn name(bands: &[u32]) -> String {
    format!("stage-{}-band-{}.safetensors", bands.len(), bands.last().expect("a trial has a band"))
}

impl Trials for Trainings<'_> {
    fn train(&mut self, trial: &Trial) -> Result<Option<f64>> {
        self.current = None;
        let schedule = self.setup.schedule(&trial.bands)?;
        let (mut trainer, state) = match trial.before() {
            [] => (self.setup.first(&schedule)?, None),
            before => {
                let (trainer, state) = self.setup.load(&self.path(before))?;
                (trainer, Some(state))
            }
        };
        let mut loader = self.setup.loader(schedule, state)?;
        let from = loader.progress();
        let what = format!("stage {}, {} px", trial.stage + 1, trial.band());
        let mut leg = Leg { loader: &mut loader, part: Part::Stage(trial.stage) };
        let summary = self.fit(&mut trainer, &mut leg, what);
        self.bad_files.add(0, &loader);
        if summary?.stopped {
            return Ok(None);
        }
        trainer.save(&self.path(&trial.bands), &loader.state())?;
        let compute = (loader.progress() - from) * trial.epochs;
        self.current = Some((trainer, loader));
        Ok(Some(compute))
    }

    fn score(&mut self, trial: &Trial) -> Result<Option<Score>> {
        // What was trained is on disk: this is the copy.
        let (mut trainer, mut loader) = self.current.take().expect("a trial is trained before it is scored");
        let from = loader.progress();
        let peak = self.setup.config.learning_rate.at(from);
        trainer.set_learning_rate(LearningRate { peak, min: 0.0, warmup: 0.0 })?;
        let what = format!("stage {}, {} px, fine-tuning", trial.stage + 1, trial.band());
        let mut leg = Leg { loader: &mut loader, part: Part::Span { from, length: trial.fine_tune } };
        let summary = self.fit(&mut trainer, &mut leg, what);
        self.bad_files.add(0, &loader);
        if summary?.stopped {
            return Ok(None);
        }
        let compute = (loader.progress() - from) * trial.epochs;
        let base = loader.schedule().stages().last().expect("a schedule has stages").clone();
        drop(loader);

        let mut pass = self.setup.validation(&base)?;
        let stop = self.stop;
        let measured = train::evaluate(&trainer, pass.by_ref().take_while(|_| !stop.load(Ordering::Relaxed)));
        self.bad_files.add(1, &pass);
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let measured = measured?;
        Ok(Some(Score { top1: measured.top1, loss: measured.loss, compute }))
    }

    fn finished(&mut self, search: &Search, finished: &Finished) -> Result<()> {
        // The record first: a checkpoint that it needs is never gone, should the process be killed in between.
        Record::new(self.setup, search).write(&self.record)?;
        self.tidy(search)?;
        eprintln!("{}", found::line(search, finished));
        Ok(())
    }
}

/// A part of a run as a feed. Its end is known before a batch is asked for.
struct Leg<'a> {
    loader: &'a mut Loader,
    part: Part,
}

enum Part {
    /// Until the schedule leaves this stage.
    Stage(usize),
    /// So much of the run's compute from there on, with a clock of its own that goes from 0 to 1.
    Span { from: f64, length: f64 },
}

impl Feed for Leg<'_> {
    type State = State;

    fn next_batch(&mut self) -> Option<Result<Batch>> {
        /// Far below the share of one image.
        const ROUNDING: f64 = 1e-12;
        let progress = self.loader.progress();
        match self.part {
            Part::Stage(stage) => {
                let here = self.loader.schedule().at(progress).index;
                // At the run's end `at` stays in the last stage, and the loader ends by itself.
                if here > stage { None } else { self.loader.next() }
            }
            Part::Span { from, length } => {
                if progress - from >= length - ROUNDING {
                    return None;
                }
                let batch = self.loader.next()?;
                Some(batch.map(|batch| Batch { progress: ((batch.progress - from) / length).clamp(0.0, 1.0), ..batch }))
            }
        }
    }

    fn state(&self) -> State {
        self.loader.state()
    }

    fn name(&self, index: u32) -> Option<String> {
        Feed::name(&*self.loader, index)
    }

    fn classes(&self) -> Vec<String> {
        Feed::classes(&*self.loader)
    }
}

/// A sign of life during long trials.
struct Pulse {
    what: String,
    last: Instant,
}

impl Watch for Pulse {
    fn step(&mut self, report: &StepReport) {
        const EVERY: Duration = Duration::from_secs(60);
        if self.last.elapsed() >= EVERY {
            self.last = Instant::now();
            eprintln!("           {}: step {}, loss {:.3}", self.what, report.step, report.loss);
        }
    }
}
