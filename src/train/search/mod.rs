//! AutoProg: the size of the model in each stage, searched while training (CVPR 2022; `autoprog.md` §4 \[code\]).
//!
//! ```text
//! stage k ─► grow to the largest candidate: a supernet
//!              ─► each step trains a part of it (side and depth drawn alike on all ranks)
//!              ─► in the search's last pass: loss of every part over a frozen probe, five times
//!              ─► fit loss against cost, choose, keep the chosen part ─► the rest of the stage
//! ```
//!
//! Parts nest ([`super::nested`]): a deeper one has every block of a shallower one, and all share their weights. The last stage
//! is the whole model, without a search.
//!
//! # Differences from the released code (`autoprog.md` §8)
//! - The probe is the same images in the same form at every look, not mixed; losses are without stochastic depth.
//! - One nesting for search and choice, from the depth before the growth, whatever the smallest candidate is.
//! - A stage with one candidate is not searched, and its images are trained on.
//! - One pass of search is enough to choose by; depths may lie apart by any factor.
//! - A chosen part that is the whole supernet stays as it was trained, and is not set back to the running mean.
//! - The rate follows the clock and is never put off; moments are carried or dropped as at any growth.
//! - [`SearchCost::Flops`] makes the choice a function of the seed.

mod choice;

pub use choice::{Choice, Measured, choose};

use super::config::VitConfig;
use super::fit::{Run, Turn, steered};
use super::gradient::{self, Gradients};
use super::growth::nested;
use super::position;
use super::report::{SearchReport, Summary, Watch};
use super::trainer::Trainer;
use super::vit::Vit;
use super::{Feed, Validation};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::rng::{Draw, Purpose};
use crate::schedule::{Candidate, SAME_MOMENT, Schedule, SearchCost, Shrink, Stage};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// A feed that can be told its stage, and is before each batch.
pub trait Steer: Feed {
    /// Share of the run consumed by the batches handed out, `0..=1`.
    fn progress(&self) -> f64;

    /// The stage that it was last told, if it still holds.
    fn stage_by_hand(&self) -> Option<&Stage>;

    /// The stage of the next batch and those after it. No sample may be lost or repeated by that.
    ///
    /// # Errors
    /// [`Error::Config`] if no batch of that stage can be made.
    fn set_stage(&mut self, stage: Stage) -> Result<()>;
}

/// What a search needs besides a run.
pub struct AutoProg<'a> {
    /// The schedule, which is [`Schedule::searched`].
    pub schedule: &'a Schedule,
    /// Training images to compare candidates by, in the form of the stage asked for: not mixed, and at every pass the same. Of a
    /// pass only [`crate::schedule::Search::probe`] images are taken, in whole batches.
    pub probe: &'a mut dyn Validation,
}

/// [`super::fit()`] with AutoProg's search. The trainer is one of [`Trainer::for_schedule`] or, to go on, of [`Trainer::load`]: a
/// checkpoint knows where the search is, and the run goes on as if nothing had been.
///
/// The search's passes are the stage's own, so the images of the run are as many as without; looking at candidates comes on top
/// and is told by [`SearchReport`].
///
/// # Errors
/// As [`super::fit()`]; [`Error::Config`] if the schedule is not searched.
pub fn fit_with_search<F: Steer>(
    trainer: &mut Trainer,
    feed: &mut F,
    run: Run<'_>,
    mut search: AutoProg<'_>,
) -> Result<Summary> {
    if search.schedule.search().is_none() {
        let reason = format!("the schedule `{}` is not searched; use fit", search.schedule.name());
        return Err(Error::config("schedule.search", reason));
    }
    steered(trainer, feed, run, |trainer, feed, watch, is_open| search.steer(trainer, feed, watch, is_open))
}

/// Where a search is: what a run needs to go on in its middle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct SearchState {
    /// Number of the growth stage.
    stage: usize,
    /// Share of the run at which it began.
    begin: f64,
    /// Blocks that every candidate has.
    before: usize,
    candidates: Vec<Candidate>,
    /// How images become those of each candidate where they are larger. None in checkpoints of older versions, which resize.
    #[serde(default)]
    shrink: Vec<Shrink>,
    /// Looks that were due until now.
    due: usize,
    /// Mean loss of each candidate, at each look.
    #[serde(with = "super::nonfinite::rows")]
    losses: Vec<Vec<f64>>,
    costs: Vec<f64>,
    chosen: Option<Candidate>,
    /// What looking took.
    seconds: f64,
    flops: f64,
}

impl SearchState {
    /// Index of the part of the supernet that this step trains: side and depth uniform, and independent of each other.
    fn draw(&self, seed: u64, step: u64) -> usize {
        let mut draw = Draw::at(seed, self.stage as u64, step, Purpose::Search);
        // All sides with all depths, in the order of sides.
        let depths = self.candidates.iter().filter(|c| c.side == self.candidates[0].side).count();
        let sides = self.candidates.len() / depths;
        let (side, depth) = (draw.below(sides as u64) as usize, draw.below(depths as u64) as usize);
        side * depths + depth
    }
}

/// A part of the supernet.
pub(super) struct Part {
    size: Candidate,
    kept: Vec<usize>,
    /// How images of the stage become the part's.
    shrink: Option<Shrink>,
}

impl AutoProg<'_> {
    /// Looks, chooses and tells the feed its stage, where it is time to: a function of the feed's progress, wherever the steps
    /// begin and end. Looking is no reason to end a step; its weights are those that the step began with.
    fn steer<F: Steer>(
        &mut self,
        trainer: &mut Trainer,
        feed: &mut F,
        watch: &mut dyn Watch,
        is_open: bool,
    ) -> Result<Turn> {
        let progress = feed.progress();
        let stages = self.schedule.growth_stages();
        let here = stages.partition_point(|stage| progress >= stage.end - SAME_MOMENT);
        // Looks that are due by now, and whether it is time to choose.
        let (mut due, mut is_over) = (None, false);
        if let Some(state) = trainer.search.as_ref().filter(|state| state.chosen.is_none()) {
            let moments = self.moments(state);
            let passed = moments.iter().filter(|&&moment| progress >= moment - SAME_MOMENT).count();
            // A stage that is over without a choice gets it now: the end of its search came with the same batch, or the search had
            // begun late by as much.
            is_over = passed == moments.len() || state.stage != here;
            due = (passed > state.due || (is_over && passed < moments.len())).then_some(passed);
        }
        let is_new = here < stages.len() && trainer.search.as_ref().is_none_or(|state| state.stage != here);
        if is_open && (is_over || is_new) {
            return Ok(Turn::EndStep);
        }
        if let Some(due) = due {
            self.look(trainer, due)?;
        }
        if is_over {
            self.decide(trainer, progress, watch)?;
        }
        if here == stages.len() {
            return Ok(Turn::Stay);
        }
        if is_new {
            trainer.search = Some(self.begin(trainer, here, progress));
        }
        let state = trainer.search.as_ref().expect("it was made just now, or before");
        let own = self.schedule.at(progress);
        let stage = match state.chosen {
            Some(chosen) => self.schedule.sub_network(own, chosen),
            None => self.schedule.supernet(own, &state.candidates),
        };
        if feed.stage_by_hand() == Some(&stage) {
            return Ok(Turn::Stay);
        }
        if is_open {
            return Ok(Turn::EndStep);
        }
        feed.set_stage(stage)?;
        Ok(Turn::Stage)
    }

    fn begin(&self, trainer: &Trainer, stage: usize, progress: f64) -> SearchState {
        let before = trainer.search.as_ref().and_then(|state| state.chosen);
        let candidates = self.schedule.candidates(stage, before);
        let fewest = candidates.iter().map(|c| c.depth).min().expect("there is one at least");
        SearchState {
            stage,
            begin: progress,
            before: before.map_or(fewest as usize, |before| before.depth as usize),
            chosen: (candidates.len() == 1).then(|| candidates[0]),
            shrink: candidates.iter().map(|size| self.schedule.shrink_to(size.side)).collect(),
            candidates,
            due: 0,
            losses: Vec::new(),
            costs: Vec::new(),
            seconds: 0.0,
            flops: 0.0,
        }
    }

    /// Shares of the run at which to look: the begin and the quarters of the search's last pass, but never before it has begun.
    fn moments(&self, state: &SearchState) -> Vec<f64> {
        let search = self.schedule.search().expect("it was checked");
        let (all, last) = (search.epochs / self.schedule.epochs(), search.epochs.min(1.0) / self.schedule.epochs());
        let moments = (0..=4).map(|quarter| state.begin + all - last * (1.0 - f64::from(quarter) / 4.0));
        moments.filter(|moment| *moment > state.begin + SAME_MOMENT).collect()
    }

    /// Adds the loss of every candidate over the probe, in the fastest running mean of the weights; at the first look their cost.
    /// `due` looks are then done.
    fn look(&mut self, trainer: &mut Trainer, due: usize) -> Result<()> {
        let _span = tracing::debug_span!("search", step = trainer.step).entered();
        let clock = Instant::now();
        let search = *self.schedule.search().expect("it was checked");
        let mut state = trainer.search.clone().expect("a search is under way");
        state.due = due;
        // The same form at every look, should the schedule have several stages within the search.
        let start = self.schedule.growth_stages()[state.stage].start;
        let stage = self.schedule.supernet(self.schedule.at(start), &state.candidates);
        let fastest = (0..trainer.emas.len()).min_by(|&a, &b| trainer.config.ema[a].total_cmp(&trainer.config.ema[b]));
        let model = fastest.and_then(|index| trainer.averaged(index)).unwrap_or_else(|| trainer.model.clone());
        let config = &trainer.config;
        let parts: Vec<(Part, Vit)> = (0..state.candidates.len())
            .map(|index| {
                let part = trainer.part(&state, &stage, index);
                let grid = config.model.grid(part.size.side)?;
                let net = model.part(&part.kept, grid);
                Ok((part, net))
            })
            .collect::<Result<_>>()?;
        let flops = |size: Candidate, images: usize| work(&config.model, size) * images as f64;
        let (mut sums, mut images) = (vec![0.0; parts.len()], 0);
        for batch in self.probe.pass(&stage)? {
            let batch = batch?;
            for ((part, model), sum) in parts.iter().zip(&mut sums) {
                *sum += gradient::score(model, config, &trainer.workers, &batch, part.shrink)?.0;
                state.flops += flops(part.size, batch.len()) / 3.0;
            }
            if state.costs.is_empty() && !batch.is_empty() {
                state.costs = match search.cost {
                    SearchCost::Flops => parts.iter().map(|(part, _)| work(&config.model, part.size)).collect(),
                    SearchCost::Time => {
                        let steps = (REPEATS * batch.len()) as f64;
                        state.flops += parts.iter().map(|(part, _)| flops(part.size, 1) * steps).sum::<f64>();
                        times(trainer, &parts, &batch)?
                    }
                };
            }
            images += batch.len();
            if images >= search.probe {
                break;
            }
        }
        if images == 0 {
            return Err(Error::config("search.probe", "the probe gave no image"));
        }
        state.losses.push(sums.into_iter().map(|sum| sum / images as f64).collect());
        state.seconds += clock.elapsed().as_secs_f64();
        trainer.search = Some(state);
        Ok(())
    }

    /// The schedule's stage at this share of the run, which is in a growth stage or has just left it.
    fn stage_in(&self, number: usize, progress: f64) -> &Stage {
        let end = self.schedule.growth_stages()[number].end;
        self.schedule.at(progress.min(end - 2.0 * SAME_MOMENT))
    }

    /// Makes the choice by what was seen, and the model the chosen part.
    fn decide(&self, trainer: &mut Trainer, progress: f64, watch: &mut dyn Watch) -> Result<()> {
        let state = trainer.search.as_ref().expect("a search is under way");
        let report = report(state, trainer.step, progress)?;
        let choice = report.choice();
        let stage = self.schedule.sub_network(self.stage_in(state.stage, progress), choice);
        trainer.extract(nested(state.before, trainer.depth(), choice.depth as usize))?;
        trainer.search.as_mut().expect("a search is under way").chosen = Some(choice);
        // An evaluation that comes before the next batch is of the network as it is now.
        trainer.set_band(stage.side())?;
        trainer.stage = Some(stage);
        watch.searched(&report);
        trainer.history.searches.push(report);
        Ok(())
    }
}

/// Times of a step that a candidate's is the median of.
const REPEATS: usize = 3;

/// Seconds of a gradient of each part, in turns, so that what else the machine does is in all of them.
fn times(trainer: &Trainer, parts: &[(Part, Vit)], batch: &Batch) -> Result<Vec<f64>> {
    let mut seconds = vec![Vec::new(); parts.len()];
    for _ in 0..REPEATS {
        for ((part, model), seconds) in parts.iter().zip(&mut seconds) {
            let start = Instant::now();
            trainer.gradient_of(model, batch, part.shrink, 0)?;
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    let median = |mut seconds: Vec<f64>| {
        seconds.sort_by(f64::total_cmp);
        seconds[seconds.len() / 2]
    };
    Ok(seconds.into_iter().map(median).collect())
}

/// Operations of a training step for one image.
fn work(model: &VitConfig, size: Candidate) -> f64 {
    model.training_flops(size.depth as usize, (size.side as usize / model.patch).pow(2))
}

fn report(state: &SearchState, step: u64, progress: f64) -> Result<SearchReport> {
    let measured = Measured { costs: state.costs.clone(), losses: SearchReport::means(&state.losses) };
    let Choice { chosen, exponent } = choose(&[measured])?;
    Ok(SearchReport {
        step,
        progress,
        begin: state.begin,
        stage: state.stage,
        candidates: state.candidates.clone(),
        losses: state.losses.clone(),
        costs: state.costs.clone(),
        exponent,
        chosen,
        seconds: state.seconds,
        flops: state.flops,
    })
}

impl Trainer {
    /// What the step at hand trains of the supernet; `None` in a stage without one.
    ///
    /// # Errors
    /// As [`Trainer::check_stage`].
    pub(super) fn part_in(&self, stage: &Stage) -> Result<Option<Part>> {
        self.check_stage(stage)?;
        let state = self.search.as_ref().filter(|_| stage.growth.search);
        Ok(state.map(|state| self.part(state, stage, state.draw(self.config.seed, self.step))))
    }

    /// Refuses a batch of a search that is over.
    ///
    /// # Errors
    /// [`Error::Config`]: the feed has handed out a batch that it had made before it was told its stage.
    pub(super) fn check_stage(&self, stage: &Stage) -> Result<()> {
        let Some(state) = self.search.as_ref().filter(|_| stage.growth.search) else { return Ok(()) };
        let deepest = state.candidates.iter().map(|size| size.depth).max();
        if state.chosen.is_some() || stage.growth.depth.map(|depth| depth.blocks) != deepest {
            let reason = "a batch of a search that is over; a feed that is told a stage drops the batches that it has made ahead";
            return Err(Error::config("stage.search", reason));
        }
        Ok(())
    }

    /// Blocks, and side of the images in pixels, that the step at hand trains.
    pub(super) fn size_in(&self, stage: &Stage) -> Result<(usize, u32)> {
        Ok(match self.part_in(stage)? {
            Some(part) => (part.size.depth as usize, part.size.side),
            None => (self.depth(), stage.side()),
        })
    }

    /// The part of this index among the candidates.
    fn part(&self, state: &SearchState, stage: &Stage, index: usize) -> Part {
        let size = state.candidates[index];
        let kept = nested(state.before, self.depth(), size.depth as usize);
        Part {
            size,
            kept,
            shrink: (size.side != stage.band)
                .then(|| state.shrink.get(index).copied().unwrap_or(Shrink::Resize(size.side))),
        }
    }

    /// The gradient of a part, as one of the whole model: of the position embedding by way of its interpolation.
    pub(super) fn gradient_of_part(&self, part: &Part, batch: &Batch, place: usize) -> Result<Gradients> {
        let shape = &self.config.model;
        let (own, grid) = (shape.grid(self.model.band())?, shape.grid(part.size.side)?);
        let model = self.model.part(&part.kept, grid);
        let mut gradients = self.gradient_of(&model, batch, part.shrink, place)?;
        if grid != own
            && let Some(gradient) = gradients.tensors.remove(&self.model.position.id)
        {
            let gradient = spread(gradient, shape.dim, own, grid);
            gradients.tensors.insert(self.model.position.id, gradient);
        }
        Ok(gradients)
    }
}

/// The gradient of a position embedding on a grid of `from` from that of its interpolation to `to`: the transpose of a linear
/// map.
fn spread(gradient: Tensor<1>, dim: usize, from: usize, to: usize) -> Tensor<1> {
    let (rows, points) = (1 + to * to, 1 + from * from);
    let mut identity = vec![0.0f32; points * points];
    for i in 0..points {
        identity[i * points + i] = 1.0;
    }
    let map = TensorData::new(position::resize(&identity, points, from, to), [rows, points]);
    let map = Tensor::<2>::from_data(map, &gradient.device());
    map.transpose().matmul(gradient.reshape([rows, dim])).reshape([points * dim])
}

#[cfg(test)]
mod tests;
