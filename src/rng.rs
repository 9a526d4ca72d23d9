//! Counter-based randomness: every number is a pure function of (seed, epoch, sample, purpose, count).
//!
//! A [`Draw`] is a stream of numbers for one purpose of one sample. Nothing is shared between threads or samples,
//! so one worker and sixteen draw the same numbers, and any batch can be made again from its position alone.

/// What a stream is drawn for. A purpose of its own keeps a new use of randomness from changing the old ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Purpose {
    /// Order of the samples in an epoch.
    Order = 1,
    /// Crop rectangle.
    Crop = 2,
    /// Horizontal flip.
    Flip = 3,
    /// Which sample stands in for an unreadable one.
    Substitute = 4,
    /// Operations of an augmentation policy.
    Augment = 5,
    /// Colour jitter, grayscale, blur, solarize.
    Jitter = 6,
    /// Boxes and noise of random erasing.
    Erase = 7,
    /// Mixup and CutMix of a batch.
    Mix = 8,
    /// Which samples of the replay buffer come again.
    Replay = 9,
    /// An image of the demonstration data set.
    Demo = 64,
    /// First weights of a model's tensor.
    #[cfg(feature = "train")]
    Weights = 32,
    /// Which branches of a model a sample skips.
    #[cfg(feature = "train")]
    DropPath = 33,
    /// Which part of a supernet a step trains.
    #[cfg(feature = "train")]
    Search = 34,
}

/// A stream of random numbers for one purpose of one sample.
#[derive(Debug, Clone)]
pub(crate) struct Draw {
    key: u64,
    count: u64,
}

/// The finaliser of MurmurHash3 in Stafford's variant 13, as used by SplitMix64: a bijection of 64-bit words.
pub(crate) const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// SplitMix64's increment: 2^64 over the golden ratio, odd.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Draw {
    /// The stream of `purpose` for sample `position` of `epoch`.
    pub(crate) const fn at(seed: u64, epoch: u64, position: u64, purpose: Purpose) -> Self {
        let mut key = mix(seed.wrapping_add(GOLDEN));
        key = mix(key ^ epoch.wrapping_mul(GOLDEN).wrapping_add(1));
        key = mix(key ^ position.wrapping_mul(GOLDEN).wrapping_add(2));
        key = mix(key ^ (purpose as u64).wrapping_mul(GOLDEN).wrapping_add(3));
        Self { key, count: 0 }
    }

    /// 64 uniform bits.
    pub(crate) const fn bits(&mut self) -> u64 {
        self.count += 1;
        mix(self.key.wrapping_add(self.count.wrapping_mul(GOLDEN)))
    }

    /// Uniform in `[0, 1)`, 53 bits.
    pub(crate) const fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `[low, high)`.
    pub(crate) const fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform in `0..bound`, without bias worth speaking of (2^-64 relative). `bound` must not be 0.
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        ((self.bits() as u128 * bound as u128) >> 64) as u64
    }

    /// Standard normal: mean 0, standard deviation 1 (Box and Muller 1958).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Gamma distributed with this shape, above 0, and scale 1 (Marsaglia and Tsang 2000).
    fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            return self.gamma(shape + 1.0) * (1.0 - self.unit()).powf(shape.recip());
        }
        let d = shape - 1.0 / 3.0;
        let c = (9.0 * d).sqrt().recip();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && (1.0 - self.unit()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    /// Beta distributed, in `0..=1`; both parameters above 0.
    pub(crate) fn beta(&mut self, a: f64, b: f64) -> f64 {
        let (x, y) = (self.gamma(a), self.gamma(b));
        // Both are 0 only where the parameters are so small that all the weight lies on the ends.
        if x + y > 0.0 { x / (x + y) } else { f64::from(self.chance(a / (a + b))) }
    }

    /// `true` with this probability.
    pub(crate) const fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_depends_on_every_coordinate() {
        let base = Draw::at(1, 2, 3, Purpose::Crop).bits();
        assert_eq!(base, Draw::at(1, 2, 3, Purpose::Crop).bits());
        assert_ne!(base, Draw::at(2, 2, 3, Purpose::Crop).bits());
        assert_ne!(base, Draw::at(1, 3, 3, Purpose::Crop).bits());
        assert_ne!(base, Draw::at(1, 2, 4, Purpose::Crop).bits());
        assert_ne!(base, Draw::at(1, 2, 3, Purpose::Flip).bits());
    }

    #[test]
    fn unit_draws_are_uniform() {
        // 10 bins of 100 000 draws over many streams: chi-square with 9 degrees of freedom, 27.9 is the 0.1 % point.
        let mut bins = [0f64; 10];
        for position in 0..10_000 {
            let mut draw = Draw::at(7, 0, position, Purpose::Crop);
            for _ in 0..10 {
                bins[(draw.unit() * 10.0) as usize] += 1.0;
            }
        }
        let chi: f64 = bins.iter().map(|n| (n - 10_000.0).powi(2) / 10_000.0).sum();
        assert!(chi < 27.9, "chi-square {chi}: {bins:?}");
    }

    /// Mean and variance of 100 000 draws.
    fn moments(purpose: Purpose, mut next: impl FnMut(&mut Draw) -> f64) -> (f64, f64) {
        let mut draw = Draw::at(11, 0, 0, purpose);
        let values: Vec<f64> = (0..100_000).map(|_| next(&mut draw)).collect();
        let mean = values.iter().sum::<f64>() / 1e5;
        (mean, values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 1e5)
    }

    #[test]
    fn normal_draws_have_the_shares_of_the_bell() {
        let (mean, variance) = moments(Purpose::Augment, Draw::normal);
        // Standard errors 0.0032 and 0.0045.
        assert!(mean.abs() < 0.015 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        for (bound, below) in [(-1.0, 0.158_655), (0.0, 0.5), (0.5, 0.691_462), (2.0, 0.977_250)] {
            let share = moments(Purpose::Augment, |draw| f64::from(draw.normal() < bound)).0;
            assert!((share - below).abs() < 0.007, "P(x < {bound}): {share}, not {below}");
        }
    }

    #[test]
    fn beta_draws_have_the_mean_and_variance_of_their_parameters() {
        for (a, b) in [(0.8f64, 0.8f64), (1.0, 1.0), (0.2, 0.2), (3.0, 1.5)] {
            let (mean, variance) = moments(Purpose::Mix, |draw| draw.beta(a, b));
            let (expected, spread) = (a / (a + b), a * b / ((a + b).powi(2) * (a + b + 1.0)));
            assert!((mean - expected).abs() < 0.006, "Beta({a}, {b}): mean {mean}, not {expected}");
            assert!((variance / spread - 1.0).abs() < 0.03, "Beta({a}, {b}): variance {variance}, not {spread}");
        }
        // Beta(1, 1) is uniform: a quarter lies below a quarter.
        let quarter = moments(Purpose::Mix, |draw| f64::from(draw.beta(1.0, 1.0) < 0.25)).0;
        assert!((quarter - 0.25).abs() < 0.007, "{quarter}");
    }

    #[test]
    fn below_reaches_both_ends_and_no_further() {
        let mut draw = Draw::at(1, 0, 0, Purpose::Order);
        let seen: Vec<u64> = (0..1000).map(|_| draw.below(3)).collect();
        assert!((0..3).all(|v| seen.contains(&v)) && seen.iter().all(|&v| v < 3));
    }
}
