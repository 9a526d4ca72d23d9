//! Where the time goes: one counter for each part, so that a user sees who is the bottleneck.

use crate::decode::Seek;
use crate::engine::Made;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Running sums, shared by all threads of a loader.
#[derive(Debug, Default)]
pub(super) struct Sums {
    images: AtomicU64,
    sought: AtomicU64,
    stale: AtomicU64,
    replayed: AtomicU64,
    bytes: AtomicU64,
    read: AtomicU64,
    decode: AtomicU64,
    augment: AtomicU64,
    band: AtomicU64,
    upload: AtomicU64,
    finish: AtomicU64,
    wait_for_consumer: AtomicU64,
    wait_for_producer: AtomicU64,
}

fn add(sum: &AtomicU64, time: Duration) {
    sum.fetch_add(time.as_nanos() as u64, Relaxed);
}

fn seconds(sum: &AtomicU64) -> f64 {
    sum.load(Relaxed) as f64 * 1e-9
}

impl Sums {
    /// Counts a sample; whether it is the first for which the side index was stale.
    pub(super) fn sample(&self, read: Duration, made: &Made) -> bool {
        self.images.fetch_add(1, Relaxed);
        self.bytes.fetch_add(made.bytes, Relaxed);
        add(&self.read, read);
        add(&self.decode, made.decode);
        self.rendered(made);
        match made.seek {
            Seek::Unused => false,
            Seek::Used => {
                self.sought.fetch_add(1, Relaxed);
                false
            }
            Seek::Wrong => self.stale.fetch_add(1, Relaxed) == 0,
        }
    }

    pub(super) fn replayed(&self, made: &Made) {
        self.replayed.fetch_add(1, Relaxed);
        self.rendered(made);
    }

    fn rendered(&self, made: &Made) {
        add(&self.augment, made.augment);
        add(&self.band, made.band);
        self.uploaded(made.upload);
    }

    pub(super) fn uploaded(&self, time: Duration) {
        if !time.is_zero() {
            add(&self.upload, time);
        }
    }

    pub(super) fn finished(&self, time: Duration) {
        add(&self.finish, time);
    }

    pub(super) fn idle(&self, time: Duration) {
        add(&self.wait_for_consumer, time);
    }

    pub(super) fn starved(&self, time: Duration) {
        add(&self.wait_for_producer, time);
    }

    pub(super) fn read(&self) -> Counters {
        Counters {
            images: self.images.load(Relaxed),
            sought: self.sought.load(Relaxed),
            stale: self.stale.load(Relaxed),
            replayed: self.replayed.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            read: seconds(&self.read),
            decode: seconds(&self.decode),
            augment: seconds(&self.augment),
            band: seconds(&self.band),
            upload: seconds(&self.upload),
            finish: seconds(&self.finish),
            wait_for_consumer: seconds(&self.wait_for_consumer),
            wait_for_producer: seconds(&self.wait_for_producer),
        }
    }
}

/// What a loader has done since it was built. Times are seconds, summed over its workers unless said otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Counters {
    /// Images made from their files.
    pub images: u64,
    /// Those of them that were decoded with the help of a side index.
    pub sought: u64,
    /// Those of them that the side index does not fit: they were decoded without it.
    pub stale: u64,
    /// Images that came from the replay buffer.
    pub replayed: u64,
    /// Encoded bytes of the images made from their files that were looked at: of packed records a part.
    pub bytes: u64,
    /// Reading encoded bytes. A memory-mapped source reads while it decodes, so this is near 0 for it.
    pub read: f64,
    /// Headers and pixels from bytes.
    pub decode: f64,
    /// Operations on 8-bit pixels (policy, jitter) and erasing.
    pub augment: f64,
    /// Resized crop, flip, band crop, normalisation and the write into the batch. Where they are fused they are one linear map,
    /// which cannot be told apart.
    pub band: f64,
    /// Copies to the device, and its launches. 0 for the CPU engine, which writes where the batch is.
    pub upload: f64,
    /// Mixing and closing up of whole batches, or waiting for the device, on the consumer's thread (one thread's time).
    pub finish: f64,
    /// Workers with nothing to do: all the batches that may be made ahead are made, or their last samples are under way with
    /// other workers. Most of the time of a loader that waits for its consumer.
    pub wait_for_consumer: f64,
    /// The consumer waiting for a batch (one thread's time): the input is the bottleneck.
    pub wait_for_producer: f64,
}

impl Counters {
    /// All that comes after decoding: augmentation, band and upload.
    pub fn render(&self) -> f64 {
        self.augment + self.band + self.upload
    }

    /// What was added between `earlier` and this.
    pub fn since(&self, earlier: &Self) -> Self {
        self.with(earlier, u64::wrapping_sub, |a, b| a - b)
    }

    /// The sum of two.
    pub fn plus(&self, other: &Self) -> Self {
        self.with(other, u64::wrapping_add, |a, b| a + b)
    }

    fn with(&self, other: &Self, count: fn(u64, u64) -> u64, time: fn(f64, f64) -> f64) -> Self {
        Self {
            images: count(self.images, other.images),
            sought: count(self.sought, other.sought),
            stale: count(self.stale, other.stale),
            replayed: count(self.replayed, other.replayed),
            bytes: count(self.bytes, other.bytes),
            read: time(self.read, other.read),
            decode: time(self.decode, other.decode),
            augment: time(self.augment, other.augment),
            band: time(self.band, other.band),
            upload: time(self.upload, other.upload),
            finish: time(self.finish, other.finish),
            wait_for_consumer: time(self.wait_for_consumer, other.wait_for_consumer),
            wait_for_producer: time(self.wait_for_producer, other.wait_for_producer),
        }
    }
}

/// Reads a loader's counters from anywhere, also while the loader is lent out or when it is gone. From
/// [`super::Loader::meter`].
#[derive(Debug, Clone)]
pub struct Meter {
    sums: Arc<Sums>,
    workers: usize,
}

impl Meter {
    pub(super) fn new(sums: Arc<Sums>, workers: usize) -> Self {
        Self { sums, workers }
    }

    /// Where the time went since the loader was built.
    pub fn counters(&self) -> Counters {
        self.sums.read()
    }

    /// The loader's worker threads.
    pub fn workers(&self) -> usize {
        self.workers
    }
}
