//! A curriculum of bands for data and a model of your own: EfficientTrain++'s search, stage by stage under a fixed budget.
//!
//! ```text
//! checkpoint <- first weights
//! for each stage but the last                                       the last one is at the base
//!     for each candidate band, from that of the stage before on
//!         trial <- train(checkpoint, the stage's compute at the band)
//!         score <- accuracy(fine-tune(copy of the trial, at the base, rate -> 0, a fixed extra compute))
//!     band, checkpoint <- those of the best trial, before its fine-tuning
//! ```
//!
//! All stages take the same compute, so a small band is no cheaper: it shows more images. Greater is a greater score; of equal
//! ones the smaller loss, and of equal losses the smaller band. Once only the base is left the rest is settled, and nothing
//! more is trained.
//!
//! [`Search`] is the algorithm and knows no trainer: it says which trial comes next and is told how it ended. [`Trials`] is
//! what trains and scores; `bandfeed search` does it with the bundled loader and trainer.
//!
//! # Source
//! `efficienttrain.md` §4 \[recall\]: **a reconstruction**. That EfficientTrain++ has a search of its own on an axis of fixed
//! compute is known; its pseudo-code was put together from memory, not transcribed. Number of stages, extra compute and the
//! fine-tuning's rate are not known; the defaults of `bandfeed search` are our own.
//!
//! # Example
//! A toy whose "model" is one number. A band of 32 teaches fast, up to 2; one of 64 slower, up to 5; 96, the base, slowest and
//! for ever:
//!
//! ```
//! use bandfeed::train::curriculum::{Plan, Score, Search, Trial, Trials};
//! use std::collections::BTreeMap;
//!
//! /// What was learnt, by the bands it was learnt with.
//! #[derive(Default)]
//! struct Toy(BTreeMap<Vec<u32>, f64>);
//!
//! impl Trials for Toy {
//!     fn train(&mut self, trial: &Trial) -> bandfeed::Result<Option<f64>> {
//!         let known = self.0.get(trial.before()).copied().unwrap_or(0.0);
//!         let (gain, most) = match trial.band() { 32 => (2.0, 2.0), 64 => (1.5, 5.0), _ => (1.0, f64::INFINITY) };
//!         self.0.insert(trial.bands.clone(), known.max(most.min(known + gain)));
//!         Ok(Some(trial.compute()))
//!     }
//!
//!     fn score(&mut self, trial: &Trial) -> bandfeed::Result<Option<Score>> {
//!         let learnt = self.0[&trial.bands];
//!         Ok(Some(Score { top1: learnt / 10.0, loss: 10.0 - learnt, compute: trial.extra() }))
//!     }
//! }
//!
//! let plan = Plan { base: 96, candidates: vec![32, 64], magnitudes: vec![0.0, 3.0, 6.0, 9.0], epochs: 8.0, fine_tune: 0.05 };
//! let mut search = Search::new(plan)?;
//! assert!(search.run(&mut Toy::default())?);
//! assert_eq!(search.bands(), Some(vec![32, 64, 64, 96]));
//! # Ok::<(), bandfeed::Error>(())
//! ```

mod plan;

pub use plan::{Plan, Trial};

use super::nonfinite::number;
use super::trainer::Trainer;
use crate::error::{Error, Result};
use crate::schedule::LearningRate;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// What a trial is worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Share of the validation images that the fine-tuned copy has right, `0..=1`; any other measure that is better the
    /// greater it is will do.
    pub top1: f64,
    /// Mean loss of the same images, which decides between equal scores.
    pub loss: f64,
    /// Compute of the fine-tuning, in equivalent epochs.
    pub compute: f64,
}

/// Trains and scores trials: the part of a search that belongs to a model and a trainer.
///
/// Both must be functions of the trial (and of what never changes, such as data and seed): a search that goes on relies on it.
pub trait Trials {
    /// Goes on from the end of the trial with the bands [`Trial::before`] (from the first weights if there are none), whose
    /// result was kept: trains from [`Trial::start`] to [`Trial::end`] of the run's compute at [`Trial::band`], with the rate
    /// of the whole run, and keeps the result. Gives the compute that it took, in equivalent epochs; `None` if it was asked
    /// to stop, in which case the trial is made again when the search goes on.
    ///
    /// # Errors
    /// [`Error::Training`] if it diverged: the search goes on without the trial. Any other error ends the search.
    fn train(&mut self, trial: &Trial) -> Result<Option<f64>>;

    /// Scores the trial that was just trained: fine-tunes a copy at the base size over [`Trial::fine_tune`] of the run's
    /// compute, the rate going to 0, and measures it on images that nothing is trained on.
    ///
    /// # Errors
    /// As [`Trials::train`].
    fn score(&mut self, trial: &Trial) -> Result<Option<Score>>;

    /// A trial is over, and `search` knows of it: the place to write it down and to let go of results that
    /// [`Search::needed`] does not name.
    ///
    /// # Errors
    /// Any; it ends the search.
    fn finished(&mut self, _search: &Search, _finished: &Finished) -> Result<()> {
        Ok(())
    }
}

/// A trial that is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// Index of the stage, from 0.
    pub stage: usize,
    /// Side of its images in pixels.
    pub band: u32,
    /// As [`Score::top1`]; 0 if it diverged.
    pub top1: f64,
    /// As [`Score::loss`]; infinite if it diverged.
    #[serde(with = "number")]
    pub loss: f64,
    /// Compute that training and fine-tuning took, in equivalent epochs; of a trial that diverged the whole it was meant to
    /// take.
    pub compute: f64,
    /// Time that both took, scoring included.
    pub seconds: f64,
    /// Why it is out of the choice: loss or gradient was not finite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diverged: Option<String>,
}

impl Finished {
    /// Whether it is the better of two trials of a stage; `other` has the smaller band.
    fn beats(&self, other: &Self) -> bool {
        // What is no number is worse than any.
        let loss = |finished: &Self| if finished.loss.is_nan() { f64::INFINITY } else { finished.loss };
        match self.top1.total_cmp(&other.top1) {
            std::cmp::Ordering::Equal => loss(self) < loss(other),
            order => order.is_gt(),
        }
    }
}

/// A search and how far it has come. Everything it decides follows from the plan and the trials told, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    plan: Plan,
    finished: Vec<Finished>,
    /// Bands of the stages that are decided.
    chosen: Vec<u32>,
}

impl Search {
    /// A search at its beginning.
    ///
    /// # Errors
    /// As [`Plan::check`].
    pub fn new(mut plan: Plan) -> Result<Self> {
        plan.candidates.push(plan.base);
        plan.candidates.sort_unstable();
        plan.candidates.dedup();
        plan.check()?;
        let mut search = Self { plan, finished: Vec::new(), chosen: Vec::new() };
        search.settle();
        Ok(search)
    }

    /// What is searched, with the base among the candidates, from the smallest to the largest.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The trials told, in their order.
    pub fn finished(&self) -> &[Finished] {
        &self.finished
    }

    /// The trial to make next; `None` at the end.
    pub fn next_trial(&self) -> Option<Trial> {
        let stage = self.chosen.len();
        if stage == self.plan.stages() {
            return None;
        }
        let made = self.of_stage(stage).count();
        let band = self.open(stage).nth(made)?;
        Some(self.plan.trial(&self.chosen, band))
    }

    /// Takes the outcome of the trial that [`Search::next_trial`] gave. Telling a new search the trials of an earlier one
    /// brings it to where that was.
    ///
    /// # Errors
    /// [`Error::Config`] if it is another trial's; [`Error::Training`] if it was the last of its stage and all diverged.
    pub fn tell(&mut self, finished: Finished) -> Result<()> {
        let Some(next) = self.next_trial() else {
            return Err(Error::config("search", "it is at its end, but was told of another trial"));
        };
        let of = |stage: usize, band: u32| format!("stage {} at {band} px", stage + 1);
        if (finished.stage, finished.band) != (next.stage, next.band()) {
            let (told, next) = (of(finished.stage, finished.band), of(next.stage, next.band()));
            return Err(Error::config("search", format!("it was told of {told}, but the next trial is {next}")));
        }
        self.finished.push(finished);
        if self.of_stage(next.stage).count() == self.open(next.stage).count() {
            let Some(best) = self.best(next.stage) else {
                let reason = format!("every trial of stage {} diverged; lower the learning rate", next.stage + 1);
                return Err(Error::Training { step: 0, reason });
            };
            self.chosen.push(best.band);
            self.settle();
        }
        Ok(())
    }

    /// Makes trials until the end. Whether it came there; it did not if the trials were asked to stop.
    ///
    /// # Errors
    /// Whatever the trials yield but [`Error::Training`], and as [`Search::tell`].
    pub fn run(&mut self, trials: &mut impl Trials) -> Result<bool> {
        while let Some(trial) = self.next_trial() {
            let start = Instant::now();
            let (stage, band) = (trial.stage, trial.band());
            let result = trials.train(&trial).and_then(|trained| {
                let Some(trained) = trained else { return Ok(None) };
                Ok(trials.score(&trial)?.map(|score| Score { compute: trained + score.compute, ..score }))
            });
            let (score, diverged) = match result {
                Ok(None) => return Ok(false),
                Ok(Some(score)) => (score, None),
                Err(Error::Training { reason, .. }) => {
                    let compute = trial.compute() + trial.extra();
                    (Score { top1: 0.0, loss: f64::INFINITY, compute }, Some(reason))
                }
                Err(error) => return Err(error),
            };
            let Score { top1, loss, compute } = score;
            let seconds = start.elapsed().as_secs_f64();
            let finished = Finished { stage, band, top1, loss, compute, seconds, diverged };
            self.tell(finished.clone())?;
            trials.finished(self, &finished)?;
        }
        Ok(true)
    }

    /// The bands found, one for each stage; `None` before the end.
    pub fn bands(&self) -> Option<Vec<u32>> {
        (self.chosen.len() == self.plan.stages()).then(|| self.chosen.clone())
    }

    /// The trial that the choice of a stage fell on, or would fall on with the trials made so far. `None` if there is none,
    /// as in stages that were settled without.
    pub fn best(&self, stage: usize) -> Option<&Finished> {
        let all = self.of_stage(stage).filter(|finished| finished.diverged.is_none());
        all.reduce(|best, next| if next.beats(best) { next } else { best })
    }

    /// The trials whose results may be asked for again, each by its stage and its bands: where the stage at hand begins, and
    /// where it may end. None at the end.
    pub fn needed(&self) -> Vec<Vec<u32>> {
        if self.chosen.len() == self.plan.stages() {
            return Vec::new();
        }
        let here = (!self.chosen.is_empty()).then(|| self.chosen.clone());
        let best = self.best(self.chosen.len()).map(|best| [&self.chosen[..], &[best.band]].concat());
        here.into_iter().chain(best).collect()
    }

    /// Compute of the trials made, in equivalent epochs.
    pub fn spent(&self) -> f64 {
        self.finished.iter().map(|finished| finished.compute).sum()
    }

    /// Trials still to come at most: each stage may yet be decided for the smallest band that is open.
    pub fn most_left(&self) -> usize {
        let stage = self.chosen.len();
        let searched = self.plan.stages() - 1;
        if stage >= searched {
            return 0;
        }
        let open = self.open(stage).count();
        open * (searched - stage) - self.of_stage(stage).count()
    }

    fn of_stage(&self, stage: usize) -> impl Iterator<Item = &Finished> {
        self.finished.iter().filter(move |finished| finished.stage == stage)
    }

    /// Candidates of the stage that is decided next.
    fn open(&self, stage: usize) -> impl Iterator<Item = u32> {
        let least = stage.checked_sub(1).map_or(0, |before| self.chosen[before]);
        self.plan.candidates.iter().copied().filter(move |&band| band >= least)
    }

    /// Goes past stages that are at the base whatever a trial would say.
    fn settle(&mut self) {
        let stages = self.plan.stages();
        while self.chosen.len() < stages
            && (self.chosen.len() + 1 == stages || self.open(self.chosen.len()).count() == 1)
        {
            self.chosen.push(self.plan.base);
        }
    }
}

impl Trainer {
    /// Another learning rate for the steps to come, as for a fine-tuning. A checkpoint written from now on belongs to a run
    /// with this rate.
    ///
    /// # Errors
    /// As [`LearningRate::check`].
    pub fn set_learning_rate(&mut self, rate: LearningRate) -> Result<()> {
        rate.check()?;
        self.config.learning_rate = rate;
        Ok(())
    }
}
