//! The order of the samples in an epoch: a permutation that is computed, not stored.

use crate::rng::{Draw, Purpose};

/// Which image is where in an epoch.
pub(super) struct Order {
    /// `None` in evaluation: samples in the source's order.
    seed: Option<u64>,
    len: u64,
    repeats: u64,
    /// The shuffle of the epoch asked for last.
    shuffle: Option<(u64, Shuffle)>,
}

impl Order {
    /// The order that `seed` shuffles, or the source's own; each image comes `repeats` times side by side.
    pub(super) fn new(seed: Option<u64>, len: u64, repeats: u64) -> Self {
        Self { seed, len, repeats, shuffle: None }
    }

    /// The index in the source of a place in an epoch; places from the source's length on are the epoch's first again.
    pub(super) fn index(&mut self, epoch: u64, position: u64) -> u32 {
        let place = position % self.len / self.repeats;
        let Some(seed) = self.seed else { return place as u32 };
        if self.shuffle.as_ref().is_none_or(|(of, _)| *of != epoch) {
            self.shuffle = Some((epoch, Shuffle::new(seed, epoch, self.len)));
        }
        let (_, shuffle) = self.shuffle.as_ref().expect("it was just made");
        shuffle.sample(place) as u32
    }
}

/// A permutation of `0..len`, drawn for one seed and epoch.
///
/// A Feistel network over the next power of four, with cycle walking: outputs outside the range are fed in again. No memory,
/// any position at once, for every `len`.
#[derive(Debug, Clone)]
pub(crate) struct Shuffle {
    len: u64,
    half_bits: u32,
    keys: [u64; Shuffle::ROUNDS],
}

impl Shuffle {
    /// Four rounds give a pseudo-random permutation by theory (Luby and Rackoff); six leave room for a weak round function.
    const ROUNDS: usize = 6;
    /// Small domains have few distinct networks: never below 2^8 positions.
    const MIN_HALF_BITS: u32 = 4;

    pub(crate) fn new(seed: u64, epoch: u64, len: u64) -> Self {
        let mut draw = Draw::at(seed, epoch, 0, Purpose::Order);
        let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
        Self { len, half_bits: bits.div_ceil(2).max(Self::MIN_HALF_BITS), keys: std::array::from_fn(|_| draw.bits()) }
    }

    /// The sample at `position`, below `len`.
    pub(crate) fn sample(&self, position: u64) -> u64 {
        debug_assert!(position < self.len);
        let mut value = self.network(position);
        while value >= self.len {
            value = self.network(value);
        }
        value
    }

    fn network(&self, value: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (crate::rng::mix(right ^ key) & mask));
        }
        (left << self.half_bits) | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_comes_once_for_any_length() {
        for len in [1, 2, 3, 5, 16, 17, 255, 256, 257, 1000, 65_537] {
            let order = Shuffle::new(3, 1, len);
            let mut seen = vec![false; len as usize];
            for position in 0..len {
                let sample = order.sample(position) as usize;
                assert!(!seen[sample], "length {len}: sample {sample} twice");
                seen[sample] = true;
            }
        }
    }

    #[test]
    fn epochs_and_seeds_have_orders_of_their_own() {
        let order = |seed, epoch| -> Vec<u64> {
            let shuffle = Shuffle::new(seed, epoch, 100);
            (0..100).map(|p| shuffle.sample(p)).collect()
        };
        assert_eq!(order(1, 0), order(1, 0));
        assert_ne!(order(1, 0), order(1, 1));
        assert_ne!(order(1, 0), order(2, 0));
        assert_ne!(order(1, 0), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn each_sample_is_equally_likely_at_each_place() {
        // 5 x 5 table over 20 000 seeds; 16 degrees of freedom, 39.3 is the 0.1 % point of chi-square.
        let mut table = [[0f64; 5]; 5];
        for seed in 0..20_000 {
            let order = Shuffle::new(seed, 0, 5);
            for position in 0..5 {
                table[position as usize][order.sample(position) as usize] += 1.0;
            }
        }
        let chi: f64 = table.iter().flatten().map(|n| (n - 4000.0).powi(2) / 4000.0).sum();
        assert!(chi < 39.3, "chi-square {chi}: {table:?}");
    }
}
