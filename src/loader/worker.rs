//! The threads that make samples, and the batch in the making that they share.

use super::bad_files::{OnBadFile, Report};
use super::counters::Sums;
use super::cursor::Step;
use super::order::Shuffle;
use crate::engine::{Canvas, SampleError, Worker};
use crate::error::{Error, Result};
use crate::plan::{self, SampleKey, SamplePlan};
use crate::recipe::Recipe;
use crate::rng::{Draw, Purpose};
use crate::shape::Size;
use crate::source::Source;
use crossbeam::channel::{Receiver, Sender, bounded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;

/// How many other samples are tried in place of a bad one before the batch fails.
const SUBSTITUTES: usize = 16;

/// Samples are made inside `catch_unwind`, and nothing else that holds a lock can panic.
const LOCK: &str = "nobody panics with this lock held";

/// One sample to make: a slot of a batch.
pub(super) struct Task {
    pub(super) job: Arc<Job>,
    pub(super) slot: usize,
}

/// A batch in the making. The last of its tasks to end sends `done`.
pub(super) struct Job {
    pub(super) step: Step,
    /// `None` in evaluation: samples in the source's order.
    shuffle: Option<Arc<Shuffle>>,
    /// Set when nobody wants the batch any more.
    cancelled: AtomicBool,
    /// Empty once the batch was taken.
    canvas: RwLock<Option<Box<dyn Canvas>>>,
    outcomes: Mutex<Vec<Option<Outcome>>>,
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
    pub(super) fn new(step: Step, shuffle: Option<Arc<Shuffle>>, canvas: Box<dyn Canvas>) -> Self {
        let samples = step.positions.len();
        assert!(samples > 0, "the cursor makes no empty batch");
        let (done, finished) = bounded(1);
        Self {
            step,
            shuffle,
            cancelled: AtomicBool::new(false),
            canvas: RwLock::new(Some(canvas)),
            outcomes: Mutex::new((0..samples).map(|_| None).collect()),
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

    pub(super) fn is_finished(&self) -> bool {
        !self.finished.is_empty()
    }

    /// Canvas and outcomes, once, of a job that [`Job::wait`] returned for.
    pub(super) fn take(&self) -> (Box<dyn Canvas>, Vec<Outcome>) {
        assert_eq!(self.remaining.load(Ordering::Acquire), 0, "a batch is taken after its last sample");
        let canvas = self.canvas.write().expect(LOCK).take().expect("a batch is taken once");
        let outcomes = std::mem::take(&mut *self.outcomes.lock().expect(LOCK));
        (canvas, outcomes.into_iter().map(|outcome| outcome.expect("every slot has ended")).collect())
    }

    fn end(&self, slot: usize, outcome: Outcome) {
        self.outcomes.lock().expect(LOCK)[slot] = Some(outcome);
        if self.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.send(()).expect("the job holds a receiver itself");
        }
    }
}

/// What all workers of a loader share.
pub(super) struct Shop {
    pub(super) source: Arc<dyn Source>,
    pub(super) recipe: Recipe,
    pub(super) seed: u64,
    pub(super) evaluate: bool,
    pub(super) on_bad_file: OnBadFile,
    pub(super) bad_files: Report,
    pub(super) damaged_files: Report,
    pub(super) sums: Sums,
}

/// Whose fault it is that there is no sample.
enum Fault {
    /// The file's: the bad-file policy decides.
    File(Error),
    /// The run's: always an error.
    Setup(Error),
}

impl Shop {
    /// Makes samples until the queue is closed.
    pub(super) fn work(&self, engine: &mut dyn Worker, tasks: &Receiver<Task>) {
        let mut buffer = Vec::new();
        loop {
            let idle = Instant::now();
            let Ok(Task { job, slot }) = tasks.recv() else { return };
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
            job.end(slot, outcome);
        }
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
        let len = self.source.len() as u64;
        let Step { epoch, ref stage, ref positions, .. } = job.step;
        let key = SampleKey { seed: self.seed, epoch, position: positions[slot] };
        let place = key.position % len;
        let mut index = job.shuffle.as_ref().map_or(place, |s| s.sample(place)) as u32;
        let mut others = Draw::at(self.seed, epoch, key.position, Purpose::Substitute);
        for tried in 0.. {
            *at = Some(index);
            let _span = tracing::trace_span!("sample", index, slot, step = job.step.number).entered();
            let made = self.try_sample(engine, index, canvas, slot, buffer, &mut |size| {
                if self.evaluate {
                    plan::eval(stage, &self.recipe, size)
                } else {
                    plan::train(key, stage, &self.recipe, size)
                }
            });
            let error = match made {
                Ok(()) => return Outcome::Made { index, label: self.source.label(index as usize) },
                Err(Fault::Setup(error)) => return Outcome::Failed(error),
                Err(Fault::File(error)) => error,
            };
            self.bad_files.add(index, self.source.name(index as usize), reason(&error));
            match self.on_bad_file {
                OnBadFile::Skip => return Outcome::Skipped(error),
                OnBadFile::Substitute if tried < SUBSTITUTES => index = others.below(len) as u32,
                OnBadFile::Fail | OnBadFile::Substitute => return Outcome::Failed(error),
            }
        }
        unreachable!("the loop returns after {SUBSTITUTES} substitutes")
    }

    fn try_sample(
        &self,
        engine: &mut dyn Worker,
        index: u32,
        canvas: &dyn Canvas,
        slot: usize,
        buffer: &mut Vec<u8>,
        plan: &mut dyn FnMut(Size) -> Result<SamplePlan>,
    ) -> Result<(), Fault> {
        let start = Instant::now();
        let bytes = self.source.read(index as usize, buffer).map_err(Fault::File)?;
        let read = start.elapsed();
        match engine.run(bytes, plan, canvas, slot) {
            Ok(made) => {
                self.sums.sample(bytes.len(), read, &made);
                if let Some(warning) = made.warning {
                    self.damaged_files.add(index, self.source.name(index as usize), warning);
                }
                Ok(())
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
