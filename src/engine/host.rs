//! A batch in the making in host memory: threads write their slots side by side.

use super::Canvas;
use crate::batch::{Images, Pool};
use crate::error::Result;
use crate::mix::Mixing;
use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// `(samples, 3, side, side)` f32 in one allocation, each sample behind a lock of its own.
pub(super) struct HostCanvas {
    pixels: UnsafeCell<Vec<f32>>,
    /// Start of `pixels`' memory, taken once, so that slots never touch the vector itself.
    start: *mut f32,
    busy: Box<[AtomicBool]>,
    side: usize,
    pool: Arc<Pool>,
}

// SAFETY: `start` points into `pixels`' heap memory, which stays where it is when the canvas moves.
unsafe impl Send for HostCanvas {}
// SAFETY: shared access reaches `pixels` only through `slot`, whose locks keep each part to one thread at a time.
unsafe impl Sync for HostCanvas {}

impl HostCanvas {
    pub(super) fn new(samples: usize, side: u32, pool: &Arc<Pool>) -> Self {
        let side = side as usize;
        let mut pixels = pool.take(samples * 3 * side * side);
        Self {
            start: pixels.as_mut_ptr(),
            pixels: UnsafeCell::new(pixels),
            busy: (0..samples).map(|_| AtomicBool::new(false)).collect(),
            side,
            pool: pool.clone(),
        }
    }

    fn slot_len(&self) -> usize {
        3 * self.side * self.side
    }

    /// The values of one sample, `(3, side, side)`.
    ///
    /// # Panics
    /// If the slot is in use, or is none of this canvas's.
    pub(super) fn slot(&self, slot: usize) -> Slot<'_> {
        let busy = &self.busy[slot];
        assert!(!busy.swap(true, Ordering::Acquire), "slot {slot} is worked on by another thread");
        let len = self.slot_len();
        // SAFETY: there are `busy.len()` runs of `len` values; they do not overlap, and the flag just taken keeps this one to
        // the returned guard.
        let values = unsafe { std::slice::from_raw_parts_mut(self.start.add(slot * len), len) };
        Slot { values, busy }
    }
}

/// A slot, until it is dropped.
pub(super) struct Slot<'a> {
    values: &'a mut [f32],
    busy: &'a AtomicBool,
}

impl Deref for Slot<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.values
    }
}

impl DerefMut for Slot<'_> {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.values
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.busy.store(false, Ordering::Release);
    }
}

impl Canvas for HostCanvas {
    fn finish(self: Box<Self>, made: &[usize], mixing: Option<&Mixing>) -> Result<Images> {
        let (len, side, pool) = (self.slot_len(), self.side, self.pool.clone());
        let mut pixels = self.pixels.into_inner();
        for (to, &from) in made.iter().enumerate() {
            if from != to {
                pixels.copy_within(from * len..(from + 1) * len, to * len);
            }
        }
        pixels.truncate(made.len() * len);
        if let Some(mixing) = mixing {
            mixing.apply(&mut pixels)?;
        }
        Ok(Images::new(pixels, [made.len(), 3, side, side], pool))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_slots_are_closed_up() {
        let canvas = HostCanvas::new(4, 1, &Pool::new(1));
        for slot in [3, 0, 2, 1] {
            canvas.slot(slot).fill(slot as f32);
        }
        let images = Box::new(canvas).finish(&[0, 2, 3], None).unwrap();
        assert_eq!(images.shape(), [3, 3, 1, 1]);
        assert_eq!(images.as_slice(), [0.0, 0.0, 0.0, 2.0, 2.0, 2.0, 3.0, 3.0, 3.0]);
    }

    #[test]
    #[should_panic(expected = "slot 1 is worked on")]
    fn a_slot_has_one_owner_at_a_time() {
        let canvas = HostCanvas::new(2, 1, &Pool::new(1));
        drop(canvas.slot(1));
        let _first = canvas.slot(1);
        canvas.slot(1);
    }

    #[test]
    fn threads_write_side_by_side() {
        let canvas = HostCanvas::new(64, 5, &Pool::new(1));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let canvas = &canvas;
                scope.spawn(move || {
                    for slot in (thread..64).step_by(4) {
                        canvas.slot(slot).fill(slot as f32);
                    }
                });
            }
        });
        let images = Box::new(canvas).finish(&(0..64).collect::<Vec<_>>(), None).unwrap();
        assert!(images.as_slice().chunks_exact(75).enumerate().all(|(i, s)| s.iter().all(|&v| v == i as f32)));
    }
}
