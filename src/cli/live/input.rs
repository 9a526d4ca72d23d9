//! Who waits for whom: the loader's time by part, and the trainer's.

use crate::loader::Counters;
use serde::{Deserialize, Serialize};

/// What the loader's threads did, in seconds summed over its workers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Input {
    /// Encoded bytes from the source. A memory-mapped source reads while it decodes.
    pub(crate) read: f64,
    pub(crate) decode: f64,
    /// Operations on 8-bit pixels, and erasing.
    pub(crate) augment: f64,
    /// Crop, flip, band crop, normalisation: one linear map where they are fused.
    pub(crate) band: f64,
    /// To the device; 0 on the CPU.
    pub(crate) upload: f64,
    /// Mixing and closing up of whole batches: the trainer's thread, so part of its waiting.
    pub(crate) mix: f64,
    /// Workers with nothing to do: the trainer is slower than they are.
    pub(crate) idle: f64,
}

impl From<Counters> for Input {
    fn from(c: Counters) -> Self {
        Self {
            read: c.read,
            decode: c.decode,
            augment: c.augment,
            band: c.band,
            upload: c.upload,
            mix: c.finish,
            idle: c.wait_for_consumer,
        }
    }
}

impl Input {
    /// The workers' parts and their names, in the order in which an image goes through them; then idling.
    pub(crate) fn parts(&self) -> [(&'static str, f64); 6] {
        [
            ("read", self.read),
            ("decode", self.decode),
            ("augment", self.augment),
            ("band", self.band),
            ("upload", self.upload),
            ("idle", self.idle),
        ]
    }

    /// The workers' time in all.
    pub(crate) fn total(&self) -> f64 {
        self.parts().iter().map(|(_, seconds)| seconds).sum()
    }

    /// Each part's share of the workers' time, `0..=1`; `None` where they did nothing.
    pub(crate) fn shares(&self) -> Option<[(&'static str, f64); 6]> {
        let total = self.total();
        (total > 0.0).then(|| self.parts().map(|(name, seconds)| (name, seconds / total)))
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.read += other.read;
        self.decode += other.decode;
        self.augment += other.augment;
        self.band += other.band;
        self.upload += other.upload;
        self.mix += other.mix;
        self.idle += other.idle;
    }

    /// The work that takes most of the workers' time, and its share of their working time.
    pub(crate) fn largest(&self) -> Option<(&'static str, f64)> {
        let busy = self.total() - self.idle;
        let work = self.parts().into_iter().filter(|(name, _)| *name != "idle");
        work.max_by(|a, b| a.1.total_cmp(&b.1)).filter(|_| busy > 0.0).map(|(name, seconds)| (name, seconds / busy))
    }
}

/// Waiting below this share of the trainer's time is nothing to act on.
const SELDOM: f64 = 0.02;
/// And from this on the model is not the bottleneck.
const OFTEN: f64 = 0.2;

/// One phrase: who is the bottleneck. `wait` is the share of the trainer's time spent waiting for batches.
pub(crate) fn bottleneck(wait: f64, input: &Input) -> String {
    let idle = input.idle / input.total().max(f64::MIN_POSITIVE);
    let what = match input.largest() {
        Some((part, share)) => format!(": {part} is {:.0} % of its work", share * 100.0),
        None => String::new(),
    };
    match wait {
        w if w < SELDOM => "the model; the loader keeps up".to_owned(),
        w if w < OFTEN => format!("the model, now and then the loader{what}"),
        // Batches come late though the workers have time: what is left is one thread's work, or too short a queue.
        _ if idle > 0.5 => "neither: workers idle as well; make more batches ahead (--prefetch)".to_owned(),
        _ => format!("the loader{what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bottleneck_is_named() {
        let input = Input { read: 0.1, decode: 3.0, augment: 2.0, band: 1.0, idle: 0.5, ..Input::default() };
        assert!(bottleneck(0.01, &input).starts_with("the model;"));
        assert!(bottleneck(0.1, &input).contains("now and then the loader: decode"));
        assert_eq!(bottleneck(0.6, &input), "the loader: decode is 49 % of its work");
        let augmented = Input { augment: 5.0, ..input };
        assert!(bottleneck(0.6, &augmented).contains("augment is"));
        assert!(bottleneck(0.6, &Input { idle: 30.0, ..input }).starts_with("neither"));
        assert_eq!(bottleneck(0.6, &Input::default()), "the loader");
    }

    #[test]
    fn shares_sum_to_one_and_mixing_is_not_the_workers() {
        let input = Input { decode: 3.0, idle: 1.0, mix: 50.0, ..Input::default() };
        let shares = input.shares().unwrap();
        assert!((shares.iter().map(|s| s.1).sum::<f64>() - 1.0).abs() < 1e-12);
        assert_eq!(shares[1], ("decode", 0.75));
        assert_eq!(Input::default().shares(), None);
    }
}
