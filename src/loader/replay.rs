//! The replay buffer: decoded images that come again while the band is small (`efficienttrain.md` §5 \[code\]).
//!
//! A batch of a stage with ρ > 1 has `batch_size / ρ` new images, which are split into [`CHUNKS`] chunks and appended to a
//! first-in first-out list; then as many chunks as the batch lacks are drawn from the whole list, uniformly, with
//! replacement, the new ones among them. The list is emptied where the stage changes. Each rank has its own.
//!
//! What a batch consists of is decided here, before anything is decoded, and follows from the seed alone. So the buffer
//! need not be saved: a run that goes on knows which images were in it, and an image that is drawn before it is there
//! again is made again, from the same plan. `replay_resumes_with_the_same_batches` in `tests/replay.rs` holds it to that.
//!
//! # Differences from the released code
//! The released buffer is lost when a run stops. Where a batch's new images do not fill 32 chunks evenly, chunks differ by
//! one image, and the last one drawn is cut so that the batch is full.

use super::State;
use super::cursor::{Course, Step};
use crate::engine::Kept;
use crate::plan::SampleKey;
use crate::rng::{Draw, Purpose};
use crate::schedule::Stage;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

/// Chunks that the new images of a batch are split into, at most.
pub const CHUNKS: usize = 32;

/// Where the buffer of the stage at hand began: all that must be known to fill it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayStart {
    /// The stage whose images it holds.
    pub stage: Stage,
    /// Pass over the data set.
    pub epoch: u64,
    /// Samples of that epoch handed out before, over all ranks.
    pub position: u64,
    /// Batches handed out before.
    pub step: u64,
    /// Compute consumed before.
    pub consumed: u64,
}

/// An image in the buffer. It is made by whichever of its uses a worker reaches first; the others wait for it.
pub(super) struct Entry {
    /// Index in the source, before any substitution.
    pub(super) index: u32,
    pub(super) key: SampleKey,
    /// RandAugment's mean magnitude in the batch that it was new in.
    pub(super) magnitude: f64,
    /// `None` until it is made.
    pub(super) kept: Mutex<Option<KeptSample>>,
}

pub(super) struct KeptSample {
    /// Index in the source of the image that it is of.
    pub(super) index: u32,
    pub(super) label: u32,
    pub(super) kept: Kept,
}

type Chunk = Box<[Arc<Entry>]>;

/// The list of chunks, at the loader's point of planning.
#[derive(Default)]
pub(super) struct Buffer {
    stage: Option<Stage>,
    chunks: VecDeque<Chunk>,
}

impl Buffer {
    /// The images of a batch: the new ones, then those drawn.
    ///
    /// `index` gives the source's index of a place in an epoch.
    pub(super) fn plan(
        &mut self,
        step: &Step,
        magnitude: f64,
        seed: u64,
        rank: u32,
        index: &mut dyn FnMut(u64, u64) -> u32,
    ) -> Vec<Arc<Entry>> {
        let mut images = self.insert(step, magnitude, seed, index);
        let size = images.len() * step.stage.replay.times as usize;
        let mut draw = Draw::at(seed, step.number, u64::from(rank), Purpose::Replay);
        while images.len() < size {
            let chunk = &self.chunks[draw.below(self.chunks.len() as u64) as usize];
            images.extend(chunk.iter().take(size - images.len()).cloned());
        }
        images
    }

    /// Appends a batch's new images and drops what is over the capacity.
    fn insert(
        &mut self,
        step: &Step,
        magnitude: f64,
        seed: u64,
        index: &mut dyn FnMut(u64, u64) -> u32,
    ) -> Vec<Arc<Entry>> {
        if self.stage.as_ref() != Some(&step.stage) {
            self.chunks.clear();
            self.stage = Some(step.stage.clone());
        }
        let entry = |&position: &u64| {
            let key = SampleKey { seed, epoch: step.epoch, position, replay: 0 };
            let index = index(step.epoch, position);
            Arc::new(Entry { index, key, magnitude, kept: Mutex::new(None) })
        };
        let images: Vec<_> = step.positions.iter().map(entry).collect();
        let (n, chunks) = (images.len(), chunks_of(step));
        for k in 0..chunks {
            self.chunks.push_back(images[k * n / chunks..(k + 1) * n / chunks].into());
        }
        let capacity = capacity(&step.stage);
        while self.chunks.len() > capacity {
            self.chunks.pop_front();
        }
        images
    }

    /// The buffer as it was after `state`, filled from the places that the course went through. Images that this buffer
    /// has already are taken over.
    pub(super) fn rebuilt(
        &self,
        course: &Course,
        state: &State,
        magnitude: &dyn Fn(&Stage, f64) -> f64,
        index: &mut dyn FnMut(u64, u64) -> u32,
    ) -> Self {
        let mut buffer = Self::default();
        let Some(start) = state.replay.clone() else { return buffer };
        let ReplayStart { stage, epoch, position, step, consumed } = start.clone();
        let mut at = State { epoch, position, step, consumed, replay: Some(start), ..state.clone() };
        // Only the last batches are still in it: as many as fill the capacity.
        let (mut steps, mut chunks, capacity) = (VecDeque::new(), 0, capacity(&stage));
        while at.step < state.step
            && let Some((step, after)) = course.next(&at)
        {
            chunks += chunks_of(&step);
            steps.push_back(step);
            while let Some(first) = steps.front()
                && chunks - chunks_of(first) >= capacity
            {
                chunks -= chunks_of(first);
                steps.pop_front();
            }
            at = after;
        }
        for step in &steps {
            buffer.insert(step, magnitude(&step.stage, step.progress), state.seed, index);
        }
        buffer.stage = Some(stage);
        let known: HashMap<_, _> = self.entries().map(|entry| (entry.key, entry)).collect();
        for chunk in &mut buffer.chunks {
            for entry in chunk {
                if let Some(known) = known.get(&entry.key) {
                    *entry = Arc::clone(known);
                }
            }
        }
        buffer
    }

    fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }
}

/// Chunks that the new images of a batch are split into.
fn chunks_of(step: &Step) -> usize {
    CHUNKS.min(step.positions.len())
}

/// Chunks that the buffer of a stage holds at most.
fn capacity(stage: &Stage) -> usize {
    stage.replay.capacity as usize * CHUNKS.min(stage.fresh()).max(1)
}

/// Images that the buffer of a stage holds at most.
pub(super) fn most_images(stage: &Stage) -> u64 {
    u64::from(stage.replay.capacity) * stage.fresh() as u64
}
