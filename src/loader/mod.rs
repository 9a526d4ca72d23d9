//! The loader: an iterator of batches, made ahead of the consumer by worker threads, each with the stage that made it.
//!
//! ```text
//! cursor (schedule, order, ranks) -> job of N slots -> workers: read, plan, engine -> batch, in order
//! ```
//!
//! Which samples make which batch, and every random number, follow from (seed, schedule, data set, ranks) alone: one worker or
//! sixteen give the same bytes, and [`Loader::state`] is enough to go on anywhere in an epoch.

mod bad_files;
mod builder;
mod counters;
mod cursor;
mod memory;
mod order;
pub mod replay;
mod state;
mod worker;

pub use bad_files::{BadFile, OnBadFile};
pub use builder::LoaderBuilder;
pub use counters::{Counters, Meter};
pub use memory::BatchMemory;
pub use state::{Override, State};

use crate::batch::Batch;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::plan::{self, SampleKey};
use crate::recipe::ReplayMode;
use crate::schedule::{Schedule, Stage, StageReplay};
use crate::source::Source;
use crossbeam::channel::{Receiver, Sender};
use cursor::{Course, Step};
use order::Order;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use worker::{Job, Outcome, Shop, Slot, Task};

/// Which part of every global batch is this process's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// This process, `0..world`.
    pub rank: u32,
    /// Number of processes.
    pub world: u32,
}

impl Default for Shard {
    fn default() -> Self {
        Self { rank: 0, world: 1 }
    }
}

/// What happens where an epoch's samples do not fill a batch on every rank. Either way all ranks make as many batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EpochEnd {
    /// The samples left over are left out of this epoch. Every batch is full; the next epoch's order leaves out others.
    #[default]
    Drop,
    /// The last batch is smaller, and the epoch's first samples fill it up to the same number on every rank. On one rank
    /// nothing is repeated.
    Pad,
}

/// What happens to batches made ahead when the stage is set by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pending {
    /// They are handed out first; the new stage begins after them.
    UseUp,
    /// They are thrown away, and their samples are made again under the new stage.
    Drop,
}

/// An iterator of [`Batch`]es under a [`Schedule`], made ahead by worker threads. Built by [`Loader::builder`].
///
/// After an error the iterator can be asked for the next batch; only a worker's panic ends it.
pub struct Loader {
    course: Course,
    shop: Arc<Shop>,
    engine: Arc<dyn Engine>,
    /// The engine that goes on if a device fails, until it does.
    fallback: Option<Arc<dyn Engine>>,
    order: Order,
    /// RandAugment's magnitude at the end of the schedule.
    last_magnitude: f64,
    /// The replay buffer, as of `planned`.
    replay: replay::Buffer,
    prefetch: usize,
    memory_limit: Option<u64>,
    jobs: VecDeque<Arc<Job>>,
    /// After the last batch handed out.
    delivered: State,
    /// After the last batch in `jobs`.
    planned: State,
    /// There until the loader is dropped.
    crew: Option<Crew>,
    workers: usize,
    /// Batches of nothing but skipped samples, up to now without another between.
    empty: usize,
    broken: bool,
}

/// The threads that make samples, and their queues.
struct Crew {
    tasks: Sender<Task>,
    /// For taking back what nobody wants any more.
    waiting: Receiver<Task>,
    /// The samples to make again for the batch that is handed out next.
    urgent: Sender<Task>,
    threads: Vec<JoinHandle<()>>,
}

impl Crew {
    fn start(shop: &Arc<Shop>, engine: &dyn Engine, workers: usize) -> Result<Self> {
        let (tasks, waiting) = crossbeam::channel::unbounded::<Task>();
        let (urgent, first) = crossbeam::channel::unbounded::<Task>();
        let mut threads = Vec::with_capacity(workers);
        for number in 0..workers {
            let (shop, first, queue) = (shop.clone(), first.clone(), waiting.clone());
            let mut engine = engine.worker()?;
            let thread = std::thread::Builder::new()
                .name(format!("bandfeed-{number}"))
                .spawn(move || shop.work(&mut *engine, &first, &queue))
                .map_err(|e| {
                    Error::config("workers", format!("thread {number} of {workers} cannot be started: {e}"))
                })?;
            threads.push(thread);
        }
        Ok(Self { tasks, waiting, urgent, threads })
    }

    /// Closes the queues and waits for what is worked on at this moment.
    fn end(self) {
        let Self { tasks, waiting, urgent, threads } = self;
        while waiting.try_recv().is_ok() {}
        drop((tasks, waiting, urgent));
        for thread in threads {
            // A worker catches its samples' panics; one that died all the same has nothing left to tell.
            let _ = thread.join();
        }
    }
}

const CREW: &str = "the crew is there until the loader is dropped";

/// Empty batches in a row that are an error in spite of [`OnBadFile::Skip`]: a disk that is gone, say.
const EMPTY_IN_A_ROW: usize = 3;

impl Loader {
    /// A loader for training on `source` under `schedule`: shuffled, augmented by the recipe, until the schedule's budget is
    /// consumed.
    pub fn builder(source: Arc<dyn Source>, schedule: Schedule) -> LoaderBuilder {
        LoaderBuilder::new(source, schedule, false)
    }

    /// A loader for one pass over `source` in its order, with the evaluation transform at the stage's band. The last batch
    /// may be smaller. Nothing is replayed, whatever the stage says.
    pub fn evaluation(source: Arc<dyn Source>, stage: Stage) -> LoaderBuilder {
        let stage = Stage { replay: StageReplay::OFF, accumulate: 1, ..stage };
        LoaderBuilder::new(source, Schedule::fixed(stage), true)
    }

    fn start(builder: LoaderBuilder) -> Result<Self> {
        let LoaderBuilder { source, schedule, evaluate, recipe, seed, workers, prefetch, .. } = builder;
        recipe.check()?;
        if !evaluate {
            recipe.check_schedule(&schedule)?;
        }
        for (what, n) in [("workers", workers), ("prefetch", prefetch)] {
            if n == 0 {
                return Err(Error::config(what, "0: expected at least 1"));
            }
        }
        let len = source.len() as u64;
        if len == 0 || len > u64::from(u32::MAX) {
            return Err(Error::config("source", format!("{len} samples: expected 1 to {}", u32::MAX)));
        }
        let course =
            Course { schedule, len, shard: builder.shard, epoch_end: builder.epoch_end, single_pass: evaluate };
        course.check()?;
        let repeats = if evaluate { 1 } else { u64::from(recipe.repeats) };
        let mut order = Order::new((!evaluate).then_some(seed), len, repeats);
        let state = builder.resume.unwrap_or_else(|| State::start(seed, len));
        course.check_state(&state)?;
        check_seed(&state, seed)?;
        let last_magnitude = course.schedule.stages().last().expect("a schedule has stages").magnitude;
        let replay = replay::Buffer::default().rebuilt(
            &course,
            &state,
            &|stage, progress| recipe.magnitude_at(stage, last_magnitude, progress),
            &mut |epoch, position| order.index(epoch, position),
        );
        let shop = Arc::new(Shop {
            source,
            recipe,
            seed,
            evaluate,
            shard: builder.shard,
            on_bad_file: builder.on_bad_file,
            bad_files: Default::default(),
            damaged_files: Default::default(),
            sums: Default::default(),
        });
        let (mut engine, mut fallback) = (builder.engine, builder.fallback);
        let crew = match (Crew::start(&shop, &*engine, workers), fallback.take()) {
            (Err(error @ Error::Device { .. }), Some(other)) => {
                // Its device failed before, under another loader.
                tracing::warn!("{error}; the {} engine is taken", other.name());
                engine = other;
                Crew::start(&shop, &*engine, workers)?
            }
            (crew, other) => {
                fallback = other;
                crew?
            }
        };
        let loader = Self {
            last_magnitude,
            course,
            shop,
            engine,
            fallback,
            order,
            replay,
            prefetch,
            memory_limit: builder.memory_limit,
            jobs: VecDeque::with_capacity(prefetch),
            delivered: state.clone(),
            planned: state,
            crew: Some(crew),
            workers,
            empty: 0,
            broken: false,
        };
        loader.check_memory(None)?;
        Ok(loader)
    }

    /// Refuses more than the limit, with `new` among the stages.
    fn check_memory(&self, new: Option<&Stage>) -> Result<()> {
        let memory = self.memory_with(new);
        let Some(limit) = self.memory_limit.filter(|&limit| memory.total > limit) else { return Ok(()) };
        let mb = |bytes: u64| format!("{:.1} MB", bytes as f64 * 1e-6);
        let (batches, replay) = (mb(memory.total - memory.replay), mb(memory.replay));
        let reason = format!(
            "batches need up to {batches} and the replay buffer {replay}, the limit is {}; use a smaller replay_capacity, \
             replay less often, or make fewer batches ahead",
            mb(limit)
        );
        Err(Error::config("memory", reason))
    }

    /// Where the loader stands after the last batch handed out. Batches made ahead do not count.
    pub fn state(&self) -> State {
        self.delivered.clone()
    }

    /// The schedule.
    pub fn schedule(&self) -> &Schedule {
        &self.course.schedule
    }

    /// The source.
    pub fn source(&self) -> &Arc<dyn Source> {
        &self.shop.source
    }

    /// The engine's name.
    pub fn engine(&self) -> &str {
        self.engine.name()
    }

    /// Sets the stage by hand, or with `None` gives the choice back to the schedule. The sequence of samples stays the one
    /// that the seed defines, with none lost or repeated; only their form changes.
    ///
    /// # Errors
    /// [`Error::Config`] if no batch of that stage can be made, or if it may need more memory than the limit.
    pub fn set_stage(&mut self, stage: Option<Stage>, pending: Pending) -> Result<()> {
        if let Some(stage) = &stage {
            self.course.check_stage(stage)?;
            self.check_memory(Some(stage))?;
        }
        if pending == Pending::Drop {
            self.cancel();
            self.plan_from(self.delivered.clone());
        }
        let from_step = self.planned.step;
        for state in [&mut self.planned, &mut self.delivered] {
            state.overrides.retain(|o| o.from_step < from_step);
            state.overrides.push(Override { from_step, stage: stage.clone() });
        }
        Ok(())
    }

    /// The stage set by hand that the next batch is made under; `None` where the schedule says it.
    pub fn stage_by_hand(&self) -> Option<&Stage> {
        self.delivered.overrides.iter().rev().find(|o| o.from_step <= self.delivered.step)?.stage.as_ref()
    }

    /// Goes to another place of the same run, as [`LoaderBuilder::resume`] does in another process. Batches made ahead are
    /// thrown away; the workers and the counters stay.
    ///
    /// # Errors
    /// [`Error::Config`] if the state is of another seed or data set; the loader then stays where it is.
    pub fn go_to(&mut self, state: State) -> Result<()> {
        self.course.check_state(&state)?;
        check_seed(&state, self.shop.seed)?;
        self.cancel();
        self.empty = 0;
        self.delivered = state.clone();
        self.plan_from(state);
        Ok(())
    }

    /// Plans anew from `state` on: what was planned is cancelled.
    fn plan_from(&mut self, state: State) {
        self.planned = state;
        let Self { replay, course, planned, order, shop, last_magnitude, .. } = self;
        *replay = replay.rebuilt(
            course,
            planned,
            &|stage, progress| shop.recipe.magnitude_at(stage, *last_magnitude, progress),
            &mut |epoch, position| order.index(epoch, position),
        );
    }

    /// Goes on with the fallback engine from `state` on, after the engine's device failed.
    fn fall_back(&mut self, state: State, reason: &Error) -> Result<()> {
        let engine = self.fallback.take().expect("it is asked before");
        tracing::warn!("{reason}; the {} engine goes on", engine.name());
        self.cancel();
        if let Some(crew) = self.crew.take() {
            crew.end();
        }
        self.crew = Some(Crew::start(&self.shop, &*engine, self.workers)?);
        self.engine = engine;
        self.delivered = state.clone();
        // What the replay buffer holds is of the other engine.
        self.replay = replay::Buffer::default();
        self.plan_from(state);
        Ok(())
    }

    /// Batches still to come on this rank, by stage index. Stages set by hand are taken as they stand.
    pub fn remaining_steps(&self) -> Vec<u64> {
        self.course.remaining(&self.delivered)
    }

    /// Batches still to come on this rank that begin before this share of the run's compute. Stages set by hand are taken as
    /// they stand.
    pub fn steps_before(&self, progress: f64) -> u64 {
        self.steps_between(&self.delivered, progress)
    }

    /// The same from another place of the run.
    pub fn steps_between(&self, state: &State, progress: f64) -> u64 {
        self.course.walk(state.clone(), progress).0
    }

    /// Where the run stands when this share of its compute is first consumed, with no stage set by hand: for
    /// [`Loader::go_to`].
    pub fn state_at(&self, progress: f64) -> State {
        self.course.walk(State::start(self.shop.seed, self.course.len), progress).1
    }

    /// Share of the run's compute consumed by the batches handed out, `0..=1`.
    pub fn progress(&self) -> f64 {
        self.course.progress(&self.delivered).min(1.0)
    }

    /// Waits for the batch that [`Iterator::next`] will give, at most for `timeout`: whether `next` has no worker to wait for
    /// any more, since the batch is made or the run is over. For callers that have to look at something else in between.
    pub fn wait(&mut self, timeout: Duration) -> bool {
        // What keeps it from being planned is told by `next`.
        if self.broken || self.plan_ahead().is_err() {
            return true;
        }
        let Some(job) = self.jobs.front() else { return true };
        if job.is_finished() {
            return true;
        }
        let start = Instant::now();
        let is_made = job.wait_timeout(timeout);
        self.shop.sums.starved(start.elapsed());
        is_made
    }

    /// Where the time went since the loader was built.
    pub fn counters(&self) -> Counters {
        self.shop.sums.read()
    }

    /// A reader of the counters, to keep at hand while the loader is iterated.
    pub fn meter(&self) -> Meter {
        Meter::new(self.shop.sums.clone(), self.workers)
    }

    /// Files that gave no image so far, by index.
    pub fn bad_files(&self) -> Vec<BadFile> {
        self.shop.bad_files.list()
    }

    /// Files that are damaged but gave an image all the same, with the decoder's remark.
    pub fn damaged_files(&self) -> Vec<BadFile> {
        self.shop.damaged_files.list()
    }

    /// Memory for batches and replay, at the largest stage of the schedule and of those set by hand.
    pub fn memory(&self) -> BatchMemory {
        self.memory_with(None)
    }

    fn memory_with(&self, new: Option<&Stage>) -> BatchMemory {
        let own = self.course.schedule.stages().iter().map(|stage| (stage, stage.share()));
        // How long a stage set by hand will last nobody knows.
        let by_hand = self.planned.overrides.iter().filter_map(|o| o.stage.as_ref()).chain(new);
        let images = self.course.schedule.epochs() * self.course.len as f64 / f64::from(self.course.shard.world);
        memory::bound(own.chain(by_hand.map(|stage| (stage, 1.0))), images, self.prefetch, &self.shop.recipe)
    }

    /// Queues batches until `prefetch` are under way.
    fn plan_ahead(&mut self) -> Result<()> {
        while self.jobs.len() < self.prefetch {
            let Some((step, after)) = self.course.next(&self.planned) else { break };
            let samples = step.positions.len() * step.stage.replay.times as usize;
            // First, since it may fail, and what follows must happen once.
            let canvas = self.engine.begin(samples, step.stage.band)?;
            let slots = self.slots(&step);
            assert_eq!(slots.len(), samples, "a batch is as large as its stage says");
            self.planned = after;
            self.read_ahead(&step, &slots);
            let job = Arc::new(Job::new(step, slots, canvas));
            let tasks = &self.crew.as_ref().expect(CREW).tasks;
            for slot in 0..samples {
                tasks.send(Task { job: job.clone(), slot }).expect("the loader holds a receiver itself");
            }
            self.jobs.push_back(job);
        }
        Ok(())
    }

    /// Tells the source which samples of a batch will be read, and how much of each.
    ///
    /// The batches before it are still in the making: so the disk works on all samples of a batch at once.
    fn read_ahead(&self, step: &Step, slots: &[Slot]) {
        let Shop { source, recipe, evaluate, .. } = &*self.shop;
        let reads_whole = recipe.replay == ReplayMode::Reaugment;
        // Images that come again were read before.
        for Slot { index, key, magnitude, entry } in &slots[..step.positions.len()] {
            let index = *index as usize;
            let plan = match source.size(index) {
                Some(size) if *evaluate => plan::eval(&step.stage, recipe, size).ok(),
                Some(size) if entry.is_none() || !reads_whole => {
                    plan::train(*key, &step.stage, *magnitude, recipe, size).ok()
                }
                _ => None,
            };
            source.prefetch(index, plan.map_or(8, |plan| self.engine.scale(&plan)));
        }
    }

    /// What a batch consists of: its new images, and those that come again.
    fn slots(&mut self, step: &Step) -> Vec<Slot> {
        let (seed, magnitude) = (self.shop.seed, self.magnitude(&step.stage, step.progress));
        let order = &mut self.order;
        let mut index = |epoch, position| order.index(epoch, position);
        if !step.stage.replay.is_on() {
            self.replay = replay::Buffer::default();
            let slot = |&position: &u64| {
                let key = SampleKey { seed, epoch: step.epoch, position, replay: 0 };
                Slot { index: index(step.epoch, position), key, magnitude, entry: None }
            };
            return step.positions.iter().map(slot).collect();
        }
        let fresh = step.positions.len();
        let entries = self.replay.plan(step, magnitude, seed, self.course.shard.rank, &mut index);
        let slots = entries.into_iter().enumerate().map(|(slot, entry)| {
            let (mut key, mut own) = (entry.key, entry.magnitude);
            if slot >= fresh && self.shop.recipe.replay == ReplayMode::Reaugment {
                // A number that no other use of an image has: its step and slot.
                key.replay = 1 + step.number * step.stage.batch_size as u64 + slot as u64;
                own = magnitude;
            }
            Slot { index: entry.index, key, magnitude: own, entry: Some(entry) }
        });
        slots.collect()
    }

    /// Gives up the batches made ahead, and their memory but for samples that are worked on at this moment.
    fn cancel(&mut self) {
        for job in self.jobs.drain(..) {
            job.cancel();
        }
        if let Some(crew) = &self.crew {
            while crew.waiting.try_recv().is_ok() {}
        }
    }

    fn magnitude(&self, stage: &Stage, progress: f64) -> f64 {
        self.shop.recipe.magnitude_at(stage, self.last_magnitude, progress)
    }

    /// Has made again what the device refused of a job that is done.
    fn settle(&self, job: &Arc<Job>) -> Result<()> {
        let refused = job.refused()?;
        if refused.is_empty() {
            return Ok(());
        }
        let urgent = &self.crew.as_ref().expect(CREW).urgent;
        for slot in refused {
            urgent.send(Task { job: job.clone(), slot }).expect("a worker waits for it, and holds a receiver");
        }
        job.wait();
        match job.refused()?.first() {
            None => Ok(()),
            Some(slot) => Err(Error::Worker { message: format!("slot {slot} was refused twice") }),
        }
    }

    /// The batch of a job that is done; slots that were skipped are closed up.
    fn collect(&mut self, job: &Arc<Job>) -> Result<Batch> {
        let start = Instant::now();
        self.settle(job)?;
        let (canvas, outcomes, submitted) = job.take();
        let (mut made, mut labels, mut indices) = (Vec::new(), Vec::new(), Vec::new());
        let (mut failure, mut skipped) = (None, None);
        for (slot, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Outcome::Made { index, label } => {
                    made.push(slot);
                    labels.push(label);
                    indices.push(index);
                }
                Outcome::Skipped(error) => skipped = skipped.or(Some(error)),
                Outcome::Cancelled => {}
                Outcome::Failed(error) => failure = failure.or(Some(error)),
                Outcome::Panicked(message) => {
                    self.broken = true;
                    failure = Some(Error::Worker { message });
                }
            }
        }
        // One small batch may hold bad files only; where several in a row do, more is wrong than a file.
        self.empty = if made.is_empty() { self.empty + 1 } else { 0 };
        if self.empty >= EMPTY_IN_A_ROW {
            failure = failure.or(skipped);
        }
        if let Some(error) = failure {
            return Err(error);
        }
        let Step { number, epoch, progress, ref stage, ref positions } = job.step;
        let fresh = made.partition_point(|&slot| slot < positions.len());
        let mixing = submitted?;
        let _span = tracing::debug_span!("mix", step = number).entered();
        let images = canvas.finish(&made, mixing.as_ref())?;
        self.shop.sums.finished(start.elapsed());
        Ok(Batch {
            images,
            labels,
            stage: stage.clone(),
            epoch,
            step: number,
            progress,
            indices,
            fresh,
            magnitude: self.magnitude(stage, progress),
            mixing,
        })
    }
}

/// Refuses the state of a run in another order.
fn check_seed(state: &State, seed: u64) -> Result<()> {
    if state.seed == seed {
        return Ok(());
    }
    Err(Error::config("resume", format!("the state is of seed {}, this run has seed {seed}", state.seed)))
}

impl Iterator for Loader {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let before = self.delivered.clone();
        match self.next_batch() {
            Some(Err(error @ Error::Device { .. })) if self.fallback.is_some() => {
                if let Err(error) = self.fall_back(before, &error) {
                    self.broken = true;
                    return Some(Err(error));
                }
                self.broken = false;
                self.next_batch()
            }
            batch => batch,
        }
    }
}

impl Loader {
    fn next_batch(&mut self) -> Option<Result<Batch>> {
        if self.broken {
            return None;
        }
        if let Err(error) = self.plan_ahead() {
            self.broken = true;
            return Some(Err(error));
        }
        let job = self.jobs.pop_front()?;
        if !job.is_finished() {
            let start = Instant::now();
            let _span = tracing::debug_span!("wait_for_batch", step = job.step.number).entered();
            job.wait();
            self.shop.sums.starved(start.elapsed());
        }
        let (_, after) = self.course.next(&self.delivered).expect("the batch was planned from this state");
        debug_assert_eq!(after.step, job.step.number + 1);
        self.delivered = after;
        let batch = self.collect(&job);
        // What keeps the engine from beginning another batch is told by the next call.
        let _ = self.plan_ahead();
        Some(batch)
    }
}

impl std::iter::FusedIterator for Loader {}

impl Drop for Loader {
    fn drop(&mut self) {
        self.cancel();
        if let Some(crew) = self.crew.take() {
            crew.end();
        }
    }
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader")
            .field("engine", &self.engine.name())
            .field("workers", &self.workers)
            .field("prefetch", &self.prefetch)
            .field("state", &self.delivered)
            .finish_non_exhaustive()
    }
}
