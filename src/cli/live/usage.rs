//! What the run takes of the machine.

use super::super::machine;
use std::time::{Duration, Instant};

/// A look at the process. Fields are `None` where the system does not tell.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// Resident memory in bytes.
    pub(super) memory: Option<u64>,
    /// The largest that it has been.
    pub(super) peak: Option<u64>,
    /// Cores at work, since the look before.
    pub(super) cores: Option<f64>,
}

/// Looks at the process now and then: reading the system's tables takes some tens of microseconds.
pub(super) struct Sampler {
    last: Option<Instant>,
    cpu: Option<f64>,
    pub(super) usage: Usage,
}

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

impl Sampler {
    pub(super) fn new() -> Self {
        Self { last: None, cpu: None, usage: Usage::default() }
    }

    /// Whether the figures are new.
    pub(super) fn look(&mut self) -> bool {
        if self.last.is_some_and(|last| last.elapsed() < EVERY) {
            return false;
        }
        let (now, cpu) = (Instant::now(), machine::cpu_seconds());
        let cores = match (self.last, self.cpu, cpu) {
            (Some(last), Some(before), Some(after)) => Some((after - before) / (now - last).as_secs_f64()),
            _ => None,
        };
        self.usage = Usage { memory: machine::memory(), peak: machine::peak_memory(), cores };
        (self.last, self.cpu) = (Some(now), cpu);
        true
    }
}
