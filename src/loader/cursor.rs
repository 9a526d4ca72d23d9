//! Which samples make the next batch, under which stage: pure arithmetic over the schedule, the data set's length and the ranks.

use super::replay::ReplayStart;
use super::state::{Override, State};
use super::{EpochEnd, Shard};
use crate::error::{Error, Result};
use crate::schedule::{Depth, SAME_MOMENT, Schedule, Stage};

/// The fixed facts of a run that the sequence of batches follows from.
#[derive(Debug, Clone)]
pub(super) struct Course {
    pub(super) schedule: Schedule,
    pub(super) len: u64,
    pub(super) shard: Shard,
    pub(super) epoch_end: EpochEnd,
    /// One pass over the data, whatever the schedule's budget.
    pub(super) single_pass: bool,
}

/// One batch to make, on this rank.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) number: u64,
    pub(super) epoch: u64,
    pub(super) progress: f64,
    pub(super) stage: Stage,
    /// Places of the new images in the epoch's order. From [`Course::len`] on they stand for the epoch's first samples again
    /// (padding).
    pub(super) positions: Vec<u64>,
}

impl Course {
    /// Refuses a course that would never give a batch.
    pub(super) fn check(&self) -> Result<()> {
        let Shard { rank, world } = self.shard;
        if rank >= world {
            return Err(Error::config(
                "shard",
                format!("rank {rank} of {world}: the rank must be below the world size"),
            ));
        }
        for stage in self.schedule.stages() {
            self.check_stage(stage)?;
        }
        Ok(())
    }

    pub(super) fn check_stage(&self, stage: &Stage) -> Result<()> {
        let Stage { band, base, batch_size, accumulate, .. } = *stage;
        let refuse = |what: &str, reason: String| Err(Error::config(what, reason));
        if batch_size == 0 || accumulate == 0 {
            return refuse(
                "batch_size",
                format!("{batch_size}, accumulated {accumulate} times: expected at least 1 of each"),
            );
        }
        if let Err(reason) = stage.check_replay() {
            return refuse("stage.replay", reason);
        }
        if band == 0 || band > base {
            return refuse("stage.band", format!("{band}: expected 1 to the base size, {base}"));
        }
        if let Err((key, reason)) = stage.check_growth() {
            return refuse(&format!("stage.{key}"), reason);
        }
        if let Some(Depth { full, .. }) = stage.growth.depth.filter(|depth| Some(depth.full) != self.schedule.depth()) {
            let own = self.schedule.depth().map_or("says nothing of depth".to_owned(), |own| format!("ends at {own}"));
            return refuse("stage.depth", format!("of a model of {full} blocks, but the schedule {own}"));
        }
        let (global, world, len, fresh) = (self.global_batch(stage), self.shard.world, self.len, stage.fresh());
        if self.epoch_end == EpochEnd::Drop && global > len {
            let reason = format!(
                "{fresh} images on each of {world} ranks, but the data set has {len}: no batch would be full; use a \
                 smaller batch (or, from Rust, EpochEnd::Pad)"
            );
            return refuse("batch_size", reason);
        }
        Ok(())
    }

    /// Refuses a state that no run over this course can have reached.
    pub(super) fn check_state(&self, state: &State) -> Result<()> {
        if state.samples != self.len || state.position > self.len {
            let State { samples, position, .. } = state;
            let reason = format!("the state is at {position} of {samples} samples, this run has {}", self.len);
            return Err(Error::config("resume", reason));
        }
        if let Some(start) = &state.replay {
            if start.position > self.len || start.step > state.step || start.consumed > state.consumed {
                let reason = format!(
                    "its replay buffer begins at step {} and sample {} of {}, after the state's own step {}",
                    start.step, start.position, self.len, state.step
                );
                return Err(Error::config("resume", reason));
            }
            self.check_stage(&start.stage)?;
        }
        state.overrides.iter().filter_map(|o| o.stage.as_ref()).try_for_each(|stage| self.check_stage(stage))
    }

    /// New images of a batch over all ranks.
    fn global_batch(&self, stage: &Stage) -> u64 {
        stage.fresh() as u64 * u64::from(self.shard.world)
    }

    /// Images of an epoch that are handed out at the base size's batch; with [`EpochEnd::Drop`] the rest of each epoch is left.
    fn usable(&self) -> u64 {
        let last = self.schedule.stages().last().expect("a schedule has stages");
        match self.epoch_end {
            EpochEnd::Drop => self.len - self.len % self.global_batch(last),
            EpochEnd::Pad => self.len.next_multiple_of(u64::from(self.shard.world)),
        }
    }

    /// The run's whole compute, in pixels of the band over all ranks; where the model grows, times its blocks. Where its size is
    /// searched, every image counts as one of the whole model.
    pub(super) fn budget(&self) -> f64 {
        let base = f64::from(self.schedule.stages().last().expect("a schedule has stages").base);
        self.schedule.epochs() * self.usable() as f64 * base * base * f64::from(self.schedule.depth().unwrap_or(1))
    }

    /// Compute of one image, in the unit of [`Course::budget`].
    fn cost(&self, stage: &Stage) -> u64 {
        let whole = self.schedule.depth();
        let (side, blocks) = match self.schedule.search() {
            Some(_) => (stage.base, whole),
            None => (stage.side(), stage.growth.depth.map(|depth| depth.blocks).or(whole)),
        };
        u64::from(side).pow(2) * u64::from(blocks.unwrap_or(1))
    }

    /// The step after `state`, and the state after that step; `None` when the run is over.
    pub(super) fn next(&self, state: &State) -> Option<(Step, State)> {
        let Turn { stage, progress, from, to } = self.turn(state)?;
        let Shard { rank, world } = self.shard;
        let step = Step {
            number: from.step,
            epoch: from.epoch,
            progress: progress.min(1.0),
            positions: (from.position + u64::from(rank)..)
                .step_by(world as usize)
                .take(self.samples(&from, stage))
                .collect(),
            stage: stage.clone(),
        };
        Some((step, to))
    }

    /// Batches on the way from `state` to the run's end, by stage index.
    pub(super) fn remaining(&self, state: &State) -> Vec<u64> {
        let mut steps = vec![0; self.schedule.stages().len()];
        let mut state = state.clone();
        while let Some(turn) = self.turn(&state) {
            if let Some(count) = steps.get_mut(turn.stage.index) {
                *count += 1;
            }
            state = turn.to;
        }
        steps
    }

    /// Batches on the way from `state` to the first one that does not begin before `progress`, and the state there.
    pub(super) fn walk(&self, mut state: State, progress: f64) -> (u64, State) {
        let mut steps = 0;
        while let Some(turn) = self.turn(&state)
            && turn.progress < progress - SAME_MOMENT
        {
            steps += 1;
            state = turn.to;
        }
        (steps, state)
    }

    /// Share of the run's compute that is consumed at `state`.
    pub(super) fn progress(&self, state: &State) -> f64 {
        state.consumed as f64 / self.budget()
    }

    fn turn<'a>(&'a self, state: &'a State) -> Option<Turn<'a>> {
        let progress = self.progress(state);
        // A run ends where its budget is met but for f64's rounding, which is far below one image.
        if !self.single_pass && progress >= 1.0 - 1e-12 {
            return None;
        }
        let stage = match state.overrides.iter().rev().find(|o| o.from_step <= state.step) {
            Some(Override { stage: Some(stage), .. }) => stage,
            _ => self.schedule.at(progress),
        };
        let mut from = state.clone();
        let remaining = self.len - from.position;
        if remaining == 0 || (self.epoch_end == EpochEnd::Drop && remaining < self.global_batch(stage)) {
            if self.single_pass {
                return None;
            }
            from.epoch += 1;
            from.position = 0;
        }
        let samples = self.samples(&from, stage) as u64 * u64::from(self.shard.world);
        let mut to = from.clone();
        to.step += 1;
        to.position = (from.position + samples).min(self.len);
        to.consumed += samples * u64::from(stage.replay.times) * self.cost(stage);
        to.replay = stage.replay.is_on().then(|| match from.replay.take() {
            Some(start) if start.stage == *stage => start,
            _ => {
                let State { epoch, position, step, consumed, .. } = from;
                ReplayStart { stage: stage.clone(), epoch, position, step, consumed }
            }
        });
        Some(Turn { stage, progress, from, to })
    }

    /// New images of the batch at `from` on each rank.
    fn samples(&self, from: &State, stage: &Stage) -> usize {
        let left = (self.len - from.position).div_ceil(u64::from(self.shard.world));
        left.min(stage.fresh() as u64) as usize
    }
}

/// One turn of the cursor: the batch under `stage` that takes it from one state to the next.
struct Turn<'a> {
    stage: &'a Stage,
    progress: f64,
    from: State,
    to: State,
}
