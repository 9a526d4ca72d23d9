//! The threads that make samples, and the batch in the making that they share.

use super::bad_files::{OnBadFile, Report};
use super::counters::Sums;
use super::cursor::Step;
use super::order::Shuffle;
use crate::engine::{SampleError, Worker};
use crate::error::Error;
use crate::plan::{self, SampleKey};
use crate::recipe::Recipe;
use crate::rng::{Draw, Purpose};
use crate::source::Source;
use crossbeam::channel::{Receiver, Sender, bounded};
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// How many other samples are tried in place of a bad one before the batch fails.
const SUBSTITUTES: usize = 16;

/// One sample to make: a slot of a batch.
pub(super) struct Task {
    pub(super) job: Arc<Job>,
    pub(super) slot: usize,
}

/// A batch in the making. Each slot is written by one task; the last one to end sends `done`.
pub(super) struct Job {
    pub(super) step: Step,
    /// `None` in evaluation: samples in the source's order.
    pub(super) shuffle: Option<Arc<Shuffle>>,
    pub(super) slot_len: usize,
    /// Set when nobody wants the batch any more.
    pub(super) cancelled: AtomicBool,
    slots: Slots,
    remaining: AtomicUsize,
    done: Sender<()>,
    finished: Receiver<()>,
}

/// The batch's memory and what became of each slot.
struct Slots {
    pixels: UnsafeCell<Vec<f32>>,
    /// Start of `pixels`' memory, taken once so that tasks never touch the vector itself.
    base: *mut f32,
    outcomes: Box<[UnsafeCell<Option<Outcome>>]>,
}

// SAFETY: a slot's pixels and outcome are touched by the one task that was queued for it, and by the consumer only after
// `done` was received, which happens after every task of the job has ended (the counter's AcqRel orders the two).
unsafe impl Sync for Slots {}
// SAFETY: `base` points into `pixels`, which moves with it; nothing here is tied to a thread.
unsafe impl Send for Slots {}

/// What became of a slot.
#[derive(Debug)]
pub(super) enum Outcome {
    Made {
        index: u32,
        label: u32,
    },
    Skipped,
    Failed(Error),
    /// A panic's message.
    Panicked(String),
}

impl Job {
    pub(super) fn new(step: Step, shuffle: Option<Arc<Shuffle>>, slot_len: usize, mut memory: Vec<f32>) -> Self {
        let samples = step.positions.len();
        assert_eq!(memory.len(), samples * slot_len, "the batch's memory fits its samples");
        let (done, finished) = bounded(1);
        Self {
            step,
            shuffle,
            slot_len,
            cancelled: AtomicBool::new(false),
            slots: Slots {
                base: memory.as_mut_ptr(),
                pixels: UnsafeCell::new(memory),
                outcomes: (0..samples).map(|_| UnsafeCell::new(None)).collect(),
            },
            remaining: AtomicUsize::new(samples),
            done,
            finished,
        }
    }

    /// Blocks until every slot has its outcome.
    pub(super) fn wait(&self) {
        self.finished.recv().expect("the job holds a sender itself");
    }

    pub(super) fn is_finished(&self) -> bool {
        !self.finished.is_empty()
    }

    /// The pixels and outcomes of a job that [`Job::wait`] returned for, to be called once.
    pub(super) fn take(&self) -> (Vec<f32>, Vec<Outcome>) {
        assert_eq!(self.remaining.load(Ordering::Acquire), 0, "a batch is taken after its last sample");
        // SAFETY: no task of this job is left (asserted above), so nothing else touches the slots.
        let pixels = unsafe { std::mem::take(&mut *self.slots.pixels.get()) };
        let outcome = |cell: &UnsafeCell<Option<Outcome>>| {
            // SAFETY: as above.
            unsafe { (*cell.get()).take() }.expect("every slot has an outcome, and a batch is taken once")
        };
        (pixels, self.slots.outcomes.iter().map(outcome).collect())
    }

    /// The pixels of one slot.
    ///
    /// # Safety
    /// Only the task of that slot may call this, and only before it ends.
    #[expect(clippy::mut_from_ref, reason = "slots are disjoint parts of one allocation, each with one owner")]
    unsafe fn slot(&self, slot: usize) -> &mut [f32] {
        // SAFETY: the memory holds one run of `slot_len` values for each slot (asserted in `new`), runs do not overlap, and the
        // caller owns this one.
        unsafe { std::slice::from_raw_parts_mut(self.slots.base.add(slot * self.slot_len), self.slot_len) }
    }

    /// Ends the task of `slot`.
    ///
    /// # Safety
    /// Called once for each slot, by its task.
    unsafe fn end(&self, slot: usize, outcome: Outcome) {
        // SAFETY: this task owns the slot until the counter falls.
        unsafe { *self.slots.outcomes[slot].get() = Some(outcome) };
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

impl Shop {
    /// Makes samples until the queue is closed.
    pub(super) fn work(&self, engine: &mut dyn Worker, tasks: &Receiver<Task>) {
        let mut buffer = Vec::new();
        loop {
            let idle = Instant::now();
            let Ok(Task { job, slot }) = tasks.recv() else { return };
            self.sums.idle(idle.elapsed());
            let outcome = if job.cancelled.load(Ordering::Relaxed) {
                Outcome::Skipped
            } else {
                // SAFETY: this is the task of `slot`, which ends below.
                let pixels = unsafe { job.slot(slot) };
                catch_unwind(AssertUnwindSafe(|| self.sample(engine, &job, slot, pixels, &mut buffer)))
                    .unwrap_or_else(|panic| Outcome::Panicked(message(&*panic)))
            };
            // SAFETY: each slot is queued once, so it ends once; `pixels` is not used any more.
            unsafe { job.end(slot, outcome) };
        }
    }

    fn sample(
        &self,
        engine: &mut dyn Worker,
        job: &Job,
        slot: usize,
        pixels: &mut [f32],
        buffer: &mut Vec<u8>,
    ) -> Outcome {
        let len = self.source.len() as u64;
        let Step { epoch, ref stage, ref positions, .. } = job.step;
        let key = SampleKey { seed: self.seed, epoch, position: positions[slot] };
        let place = key.position % len;
        let mut index = job.shuffle.as_ref().map_or(place, |s| s.sample(place)) as u32;
        let mut others = Draw::at(self.seed, epoch, key.position, Purpose::Substitute);
        for tried in 0.. {
            let error = match self.try_sample(engine, index, pixels, buffer, &mut |size| {
                if self.evaluate {
                    plan::eval(stage, &self.recipe, size)
                } else {
                    plan::train(key, stage, &self.recipe, size)
                }
            }) {
                Ok(()) => return Outcome::Made { index, label: self.source.label(index as usize) },
                Err(Fault::Setup(error)) => return Outcome::Failed(error),
                Err(Fault::File(error)) => error,
            };
            self.bad_files.add(index, self.source.name(index as usize), error_reason(&error));
            match self.on_bad_file {
                OnBadFile::Skip => return Outcome::Skipped,
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
        pixels: &mut [f32],
        buffer: &mut Vec<u8>,
        plan: &mut dyn FnMut(crate::Size) -> crate::Result<plan::SamplePlan>,
    ) -> Result<(), Fault> {
        let start = Instant::now();
        let bytes = self.source.read(index as usize, buffer).map_err(Fault::File)?;
        let read = start.elapsed();
        match engine.run(bytes, plan, pixels) {
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
}

/// Whose fault it is that there is no sample.
enum Fault {
    /// The file's: the bad-file policy decides.
    File(Error),
    /// The run's: always an error.
    Setup(Error),
}

/// The reason without the name, which stands beside it in a report.
fn error_reason(error: &Error) -> String {
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
