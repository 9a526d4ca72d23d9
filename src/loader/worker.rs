//! The threads that make samples, and the batch in the making that they share.

use super::Shard;
use super::bad_files::{OnBadFile, Report};
use super::counters::Sums;
use super::cursor::Step;
use super::replay::{Entry, KeptSample};
use crate::engine::{Canvas, Encoded, Kept, Made, SampleError, Worker};
use crate::error::{Error, Result};
use crate::mix::Mixing;
use crate::plan::{self, SampleKey, SamplePlan};
use crate::recipe::{Recipe, ReplayMode};
use crate::rng::{Draw, Purpose};
use crate::shape::Size;
use crate::source::Source;
use crossbeam::channel::{Receiver, Select, Sender, bounded, select_biased};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

/// How many other samples are tried in place of a bad one before the batch fails.
const SUBSTITUTES: usize = 16;

/// Samples are made inside `catch_unwind`, and nothing else that holds a lock can panic.
const LOCK: &str = "nobody panics with this lock held";

/// One sample to make: a slot of a batch.
pub(super) struct Task {
    pub(super) job: Arc<Job>,
    pub(super) slot: usize,
}

/// What is to be made in one slot.
pub(super) struct Slot {
    /// Index in the source.
    pub(super) index: u32,
    pub(super) key: SampleKey,
    /// RandAugment's mean magnitude.
    pub(super) magnitude: f64,
    /// Its place in the replay buffer, in stages that have one.
    pub(super) entry: Option<Arc<Entry>>,
}

/// A batch in the making. The last of its tasks to end sends `done`.
pub(super) struct Job {
    pub(super) step: Step,
    slots: Vec<Slot>,
    /// Set when nobody wants the batch any more.
    cancelled: AtomicBool,
    /// Empty once the batch was taken.
    canvas: RwLock<Option<Box<dyn Canvas>>>,
    outcomes: Mutex<Vec<Option<Outcome>>>,
    /// What the batch was submitted with, or why it could not be.
    submitted: Mutex<Result<Option<Mixing>>>,
    /// Slots that the device refused: their samples are made without it, and what is kept of them is not used.
    refused: Mutex<Vec<usize>>,
    remaining: AtomicUsize,
    done: Sender<()>,
    finished: Receiver<()>,
}

/// What became of a slot.
#[derive(Debug)]
pub(super) enum Outcome {
    Made {
        index: u32,
        label: u32,
    },
    /// A bad file that is left out.
    Skipped(Error),
    Cancelled,
    Failed(Error),
    /// A panic's message.
    Panicked(String),
}

impl Job {
    pub(super) fn new(step: Step, slots: Vec<Slot>, canvas: Box<dyn Canvas>) -> Self {
        let samples = slots.len();
        assert!(samples > 0, "the cursor makes no empty batch");
        let (done, finished) = bounded(1);
        Self {
            step,
            slots,
            cancelled: AtomicBool::new(false),
            canvas: RwLock::new(Some(canvas)),
            outcomes: Mutex::new((0..samples).map(|_| None).collect()),
            submitted: Mutex::new(Ok(None)),
            refused: Mutex::default(),
            remaining: AtomicUsize::new(samples),
            done,
            finished,
        }
    }

    /// Tells the tasks that nobody wants the batch any more.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Blocks until every slot has its outcome.
    pub(super) fn wait(&self) {
        self.finished.recv().expect("the job holds a sender itself");
    }

    /// Blocks until every slot has its outcome, or `timeout` is over; whether they have.
    pub(super) fn wait_timeout(&self, timeout: Duration) -> bool {
        let mut select = Select::new();
        select.recv(&self.finished);
        // The message stays where it is: it is for `wait`.
        select.ready_timeout(timeout).is_ok()
    }

    pub(super) fn is_finished(&self) -> bool {
        !self.finished.is_empty()
    }

    /// Slots to make again, of a job that [`Job::wait`] returned for: the device found their files damaged. Blocks until it has
    /// told.
    pub(super) fn refused(&self) -> Result<Vec<usize>> {
        if self.submitted.lock().expect(LOCK).is_err() {
            // Nothing that was not submitted is refused; why it was not is told where the batch is taken.
            return Ok(Vec::new());
        }
        let canvas = self.canvas.read().expect(LOCK);
        let refused = canvas.as_deref().expect("a batch is asked before it is taken").refused()?;
        if !refused.is_empty() {
            let mut outcomes = self.outcomes.lock().expect(LOCK);
            refused.iter().for_each(|&slot| outcomes[slot] = None);
            while self.finished.try_recv().is_ok() {}
            *self.refused.lock().expect(LOCK) = refused.clone();
            self.remaining.store(refused.len(), Ordering::Release);
        }
        Ok(refused)
    }

    /// Canvas, outcomes and mixing, once, of a job that [`Job::wait`] returned for.
    ///
    /// # Errors
    /// Why the batch could not be submitted.
    pub(super) fn take(&self) -> (Box<dyn Canvas>, Vec<Outcome>, Result<Option<Mixing>>) {
        assert_eq!(self.remaining.load(Ordering::Acquire), 0, "a batch is taken after its last sample");
        let canvas = self.canvas.write().expect(LOCK).take().expect("a batch is taken once");
        let outcomes = std::mem::take(&mut *self.outcomes.lock().expect(LOCK));
        let submitted = std::mem::replace(&mut *self.submitted.lock().expect(LOCK), Ok(None));
        (canvas, outcomes.into_iter().map(|outcome| outcome.expect("every slot has ended")).collect(), submitted)
    }

    /// Whether it was the last one.
    fn end(&self, slot: usize, outcome: Outcome) -> bool {
        self.outcomes.lock().expect(LOCK)[slot] = Some(outcome);
        self.remaining.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Slots with a sample, if nothing keeps the batch from being made.
    fn made(&self) -> Option<Vec<usize>> {
        let outcomes = self.outcomes.lock().expect(LOCK);
        let mut made = Vec::with_capacity(outcomes.len());
        for (slot, outcome) in outcomes.iter().enumerate() {
            match outcome {
                Some(Outcome::Made { .. }) => made.push(slot),
                Some(Outcome::Skipped(_)) => {}
                _ => return None,
            }
        }
        Some(made)
    }
}

/// What all workers of a loader share.
pub(super) struct Shop {
    pub(super) source: Arc<dyn Source>,
    pub(super) recipe: Recipe,
    pub(super) seed: u64,
    pub(super) evaluate: bool,
    pub(super) shard: Shard,
    pub(super) on_bad_file: OnBadFile,
    pub(super) bad_files: Report,
    pub(super) damaged_files: Report,
    pub(super) sums: Arc<Sums>,
}

/// What is kept of a sample for the replay buffer.
#[derive(Clone, Copy)]
enum Keep {
    Nothing,
    /// The finished values.
    Values,
    /// The decoded pixels, for this side ([`Kept::most_pixels`]).
    Pixels(u32),
}

/// Whose fault it is that there is no sample.
enum Fault {
    /// The file's: the bad-file policy decides.
    File(Error),
    /// The run's: always an error.
    Setup(Error),
}

impl Shop {
    /// Makes samples until the queues are closed; those of `urgent`, which a consumer waits for, before others.
    pub(super) fn work(&self, engine: &mut dyn Worker, urgent: &Receiver<Task>, tasks: &Receiver<Task>) {
        let mut buffer = Vec::new();
        loop {
            let idle = Instant::now();
            let task = select_biased! {
                recv(urgent) -> task => task,
                recv(tasks) -> task => task,
            };
            let Ok(Task { job, slot }) = task else { return };
            self.sums.idle(idle.elapsed());
            let outcome = if job.cancelled.load(Ordering::Relaxed) {
                Outcome::Cancelled
            } else {
                let canvas = job.canvas.read().expect(LOCK);
                let canvas = canvas.as_deref().expect("the canvas is there until every slot has ended");
                let mut at = None;
                catch_unwind(AssertUnwindSafe(|| self.sample(engine, &job, slot, canvas, &mut at, &mut buffer)))
                    .unwrap_or_else(|panic| Outcome::Panicked(self.panic(at, &*panic)))
            };
            if job.end(slot, outcome) {
                if !job.cancelled.load(Ordering::Relaxed) {
                    let submitted = catch_unwind(AssertUnwindSafe(|| self.submit(&job)));
                    let submitted = submitted.unwrap_or_else(|panic| Err(Error::Worker { message: message(&*panic) }));
                    *job.submitted.lock().expect(LOCK) = submitted;
                }
                job.done.send(()).expect("the job holds a receiver itself");
            }
        }
    }

    /// Hands a batch whose samples are staged to the engine.
    fn submit(&self, job: &Job) -> Result<Option<Mixing>> {
        let Some(made) = job.made() else { return Ok(None) };
        let Step { number, ref stage, .. } = job.step;
        let mut draw = Draw::at(self.seed, number, u64::from(self.shard.rank), Purpose::Mix);
        let mix = self.recipe.mix.as_ref().filter(|_| !self.evaluate);
        let mixing = mix.and_then(|mix| mix.draw(&mut draw, made.len(), stage.band));
        let _span = tracing::debug_span!("submit", step = number).entered();
        let canvas = job.canvas.read().expect(LOCK);
        let canvas = canvas.as_deref().expect("the canvas is there until the batch is taken");
        self.sums.uploaded(canvas.submit(&made, mixing.as_ref())?);
        Ok(mixing)
    }

    /// `at` is told the sample at hand, for whoever has to report a panic.
    fn sample(
        &self,
        engine: &mut dyn Worker,
        job: &Job,
        slot: usize,
        canvas: &dyn Canvas,
        at: &mut Option<u32>,
        buffer: &mut Vec<u8>,
    ) -> Outcome {
        let Slot { index, key, magnitude, ref entry } = job.slots[slot];
        let stage = &job.step.stage;
        let mut plan = |size: Size| {
            if self.evaluate {
                plan::eval(stage, &self.recipe, size)
            } else {
                plan::train(key, stage, magnitude, &self.recipe, size)
            }
        };
        let mode = self.recipe.replay;
        let made = match entry {
            None => self
                .first(engine, job, (index, key), slot, canvas, at, buffer, &mut plan, Keep::Nothing)
                .map(|(index, label, _)| (index, label)),
            Some(entry) => {
                // Whoever comes first makes it; the others wait here, and are spared the work. A panic on the way leaves an
                // entry that is not made, as if nobody had come.
                let mut kept = entry.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if job.refused.lock().expect(LOCK).contains(&slot) {
                    *kept = None;
                }
                if let Some(sample) = &*kept {
                    *at = Some(sample.index);
                    let _span = tracing::trace_span!("replay", index = sample.index, slot).entered();
                    let again = match mode {
                        ReplayMode::Repeat => engine.put(&sample.kept, canvas, slot).map(|()| Made::default()),
                        ReplayMode::Reaugment => match engine.rerun(&sample.kept, &mut plan, canvas, slot) {
                            Ok(made) => Ok(made),
                            Err(SampleError::Setup(error)) => Err(error),
                            Err(SampleError::Image(error)) => Err(error.named(self.source.name(sample.index as usize))),
                        },
                    };
                    return match again {
                        Ok(made) => {
                            self.sums.replayed(&made);
                            Outcome::Made { index: sample.index, label: sample.label }
                        }
                        Err(error) => Outcome::Failed(error),
                    };
                }
                let keep = match mode {
                    ReplayMode::Repeat => Keep::Values,
                    ReplayMode::Reaugment => Keep::Pixels(plan::evaluation_side(stage, &self.recipe)),
                };
                let own = (entry.index, entry.key);
                let made = self.first(engine, job, own, slot, canvas, at, buffer, &mut plan, keep);
                made.map(|(index, label, form)| {
                    *kept = form.map(|form| KeptSample { index, label, kept: form });
                    (index, label)
                })
            }
        };
        match made {
            Ok((index, label)) => Outcome::Made { index, label },
            Err(outcome) => outcome,
        }
    }

    /// Makes a sample from its file, or from another where the bad-file policy says so: its index, its label and what was kept.
    #[expect(clippy::too_many_arguments, reason = "one call's worth of a worker's state, borrowed apart")]
    fn first(
        &self,
        engine: &mut dyn Worker,
        job: &Job,
        (mut index, key): (u32, SampleKey),
        slot: usize,
        canvas: &dyn Canvas,
        at: &mut Option<u32>,
        buffer: &mut Vec<u8>,
        plan: &mut dyn FnMut(Size) -> Result<SamplePlan>,
        keep: Keep,
    ) -> Result<(u32, u32, Option<Kept>), Outcome> {
        let mut others = Draw::at(self.seed, key.epoch, key.position, Purpose::Substitute);
        for tried in 0.. {
            *at = Some(index);
            let _span = tracing::trace_span!("sample", index, slot, step = job.step.number).entered();
            let error = match self.try_sample(engine, index, canvas, slot, buffer, plan, keep) {
                Ok(kept) => return Ok((index, self.source.label(index as usize), kept)),
                Err(Fault::Setup(error)) => return Err(Outcome::Failed(error)),
                Err(Fault::File(error)) => error,
            };
            self.bad_files.add(index, self.source.name(index as usize), reason(&error));
            match self.on_bad_file {
                OnBadFile::Skip => return Err(Outcome::Skipped(error)),
                OnBadFile::Substitute if tried < SUBSTITUTES => {
                    index = others.below(self.source.len() as u64) as u32;
                }
                OnBadFile::Fail | OnBadFile::Substitute => return Err(Outcome::Failed(error)),
            }
        }
        unreachable!("the loop returns after {SUBSTITUTES} substitutes")
    }

    #[expect(clippy::too_many_arguments, reason = "as `first`")]
    fn try_sample(
        &self,
        engine: &mut dyn Worker,
        index: u32,
        canvas: &dyn Canvas,
        slot: usize,
        buffer: &mut Vec<u8>,
        plan: &mut dyn FnMut(Size) -> Result<SamplePlan>,
        keep: Keep,
    ) -> Result<Option<Kept>, Fault> {
        let start = Instant::now();
        let reading = tracing::trace_span!("read").entered();
        let bytes = self.source.read(index as usize, buffer).map_err(Fault::File)?;
        let file = Encoded { bytes, entry: self.source.seek_entry(index as usize) };
        drop(reading);
        let read = start.elapsed();
        let made = match keep {
            Keep::Nothing | Keep::Values => engine.run(file, plan, canvas, slot).map(|made| (made, None)),
            Keep::Pixels(side) => {
                engine.run_keeping(file, plan, canvas, slot, side).map(|(made, kept)| (made, Some(kept)))
            }
        };
        match made {
            Ok((made, mut kept)) => {
                let is_first_stale = self.sums.sample(read, &made);
                if is_first_stale {
                    let name = self.source.name(index as usize);
                    tracing::warn!(
                        file = %name,
                        "the side index does not fit this file; it and others like it are decoded without. Run `bandfeed index \
                         --anew`"
                    );
                }
                if let Some(warning) = made.warning {
                    self.damaged_files.add(index, self.source.name(index as usize), warning);
                }
                if matches!(keep, Keep::Values) {
                    kept = Some(engine.keep(canvas, slot).map_err(Fault::Setup)?);
                }
                Ok(kept)
            }
            Err(SampleError::Image(error)) => Err(Fault::File(error.named(self.source.name(index as usize)))),
            Err(SampleError::Setup(error)) => Err(Fault::Setup(error)),
        }
    }

    fn panic(&self, index: Option<u32>, panic: &(dyn std::any::Any + Send)) -> String {
        let message = message(panic);
        // The source's own `name` may be what panicked.
        let name = index.and_then(|i| catch_unwind(AssertUnwindSafe(|| self.source.name(i as usize))).ok());
        match name {
            Some(name) => format!("{name}: {message}"),
            None => message,
        }
    }
}

/// The reason without the name, which stands beside it in a report.
fn reason(error: &Error) -> String {
    match error {
        Error::Decode { source, .. } => source.to_string(),
        Error::Io { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
