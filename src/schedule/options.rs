//! What a built-in schedule is fitted to.

use super::auto_prog::Prog;
use super::{check_epochs, check_sizes, released};
use crate::error::{Error, Result};
use crate::shape::BandCrop;

/// What a built-in schedule is fitted to, and what a TOML table takes where it is silent.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Side of the images at the end of training, in pixels; a multiple of `patch`. The papers use 224.
    pub base: u32,
    /// Every band is a multiple of this, in pixels: the patch side of a plain vision transformer (16), or the total
    /// stride of a hierarchical or convolutional model (32 for Swin, ConvNeXt, ResNet; `low-frequency-crop.md` §4).
    pub patch: u32,
    /// Images behind one optimiser step on each rank, the same in every stage (`efficienttrain.md` §9 row 8) unless
    /// `early_batch` says otherwise.
    /// The papers use 4096 over all ranks together.
    pub batch_size: usize,
    /// Images behind one optimiser step on each rank, the same in every stage, made in as few and as large batches as fit:
    /// `batch_size` is then the most images at the base size that the trainer holds at a time, so that a stage of band B
    /// holds up to `batch_size * (base / B)^2`. Each stage takes the largest divisor of `step_batch` that fits as its batch
    /// and accumulates the others; one that would fill less than half of what fits is refused. With `early_batch` the steps
    /// of small bands are larger by its rule. A stage that replays images cannot accumulate (a step's images would come
    /// from several states of the buffer): there the whole step must fit. Not with `base_parts`, which says the
    /// same for the base size alone. `None` has steps of `batch_size` images.
    pub step_batch: Option<usize>,
    /// In stages at the base size the batch is made in this many parts, each of `batch_size / base_parts` images, whose
    /// gradients are summed; it must divide `batch_size`. With 2 it is what EfficientTrain's script does (half the
    /// batch and twice the accumulation at 224) and EfficientTrain++'s for Swin-T and CSWin-T; its scripts for
    /// larger models split at 160 already (`efficienttrain.md` §3.3), which a TOML table can say.
    pub base_parts: usize,
    /// The budget E in **equivalent epochs**: the compute of this many passes over the data set at the base size.
    /// Finite and above 0. EfficientTrain is published with a nominal length T, counted in passes; T = 300 is a budget
    /// of 195.9 here. [`Schedule::with_image_epochs`](super::Schedule::with_image_epochs) sets a budget by T.
    pub epochs: f64,
    /// How the band is cut; `None` is the schedule's own: the papers' Fourier crop for `efficient_train`, Lanczos for
    /// the others.
    pub crop: Option<BandCrop>,
    /// Which stages of EfficientTrain++ use their images several times. The other schedules have no published replay: they
    /// refuse any but [`released::Reuse::Off`]; a TOML table says it by stage.
    pub replay: released::Reuse,
    /// Larger batches where the band is small.
    pub early_batch: EarlyBatch,
    /// What `auto_prog` is made of; the other schedules do not look at it.
    pub prog: Prog,
}

/// "Early large batch": stages of a small band leave many accelerators half empty, so they get larger batches.
///
/// **Own design** (`efficienttrain.md` §6: the paper has the effect, its released code has not the rule): the batch of a
/// stage is `batch_size * clamp(floor((base / band)^2), 1, 4)`, four times at 96 of 224 and once from 160 on. The samples
/// stay the same, so there are as many times fewer steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EarlyBatch {
    /// The same batch in every stage.
    #[default]
    Off,
    /// Larger batches, and the learning rate times the square root of the ratio, as for AdamW and LAMB.
    RootRate,
    /// Larger batches at the learning rate of the others.
    SameRate,
}

impl EarlyBatch {
    /// How many times the batch is taken at this band.
    pub(super) fn times(self, band: u32, base: u32) -> usize {
        if self == Self::Off {
            return 1;
        }
        let (band, base) = (u64::from(band), u64::from(base));
        ((base * base) / (band * band)).clamp(1, 4) as usize
    }

    pub(super) fn rate_scale(self, times: usize) -> f64 {
        if self == Self::RootRate { (times as f64).sqrt() } else { 1.0 }
    }
}

impl std::fmt::Display for EarlyBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::RootRate => "root-rate",
            Self::SameRate => "same-rate",
        })
    }
}

impl std::str::FromStr for EarlyBatch {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "off" => Ok(Self::Off),
            "root-rate" => Ok(Self::RootRate),
            "same-rate" => Ok(Self::SameRate),
            _ => Err(Error::config("early batch", format!("`{s}` is not known; use off, root-rate or same-rate"))),
        }
    }
}

impl Default for Options {
    /// 224 pixels in patches of 16, batches of 256 in one part, 200 equivalent epochs (EfficientTrain++'s 1.5x budget).
    fn default() -> Self {
        Self {
            base: 224,
            patch: 16,
            batch_size: 256,
            step_batch: None,
            base_parts: 1,
            epochs: 200.0,
            crop: None,
            replay: released::Reuse::Off,
            early_batch: EarlyBatch::Off,
            prog: Prog::default(),
        }
    }
}

impl Options {
    /// Refuses values that no schedule could be made with.
    ///
    /// # Errors
    /// [`Error::Config`] names the option, what it holds and what is allowed.
    pub fn check(&self) -> Result<()> {
        check_sizes(self.base, self.patch)?;
        check_epochs(self.epochs)?;
        if self.batch_size == 0 {
            return Err(Error::config("schedule.batch_size", "0: expected at least 1"));
        }
        if self.base_parts == 0 || !self.batch_size.is_multiple_of(self.base_parts) {
            let reason = format!("{}: expected a divisor of batch_size, {}", self.base_parts, self.batch_size);
            return Err(Error::config("schedule.base_parts", reason));
        }
        if self.step_batch == Some(0) {
            return Err(Error::config("schedule.step_batch", "0: expected at least 1"));
        }
        if self.step_batch.is_some() && self.base_parts != 1 {
            let reason =
                format!("given with base_parts of {}; leave that out: step_batch cuts steps to fit", self.base_parts);
            return Err(Error::config("schedule.step_batch", reason));
        }
        Ok(())
    }
}

impl Options {
    /// Images of a batch and batches of a step in a stage of this band, whose images are used `uses` times.
    pub(super) fn batches(&self, band: u32, uses: u32) -> Result<(usize, usize)> {
        let times = self.early_batch.times(band, self.base);
        let Some(step) = self.step_batch else {
            let parts = if band == self.base { self.base_parts } else { 1 };
            return Ok((self.batch_size * times / parts, parts));
        };
        let refuse = |reason: String| Err(Error::config("schedule.step_batch", reason));
        let step = step.saturating_mul(times);
        let most = self.most(step, band);
        if uses > 1 && most < step {
            return refuse(format!(
                "{step}: at {band} px at most {most} images fit, and steps whose images are used {uses} times cannot be \
                 accumulated; use a larger batch_size, smaller steps, or no replay"
            ));
        }
        let batch = (1..=most).rev().find(|batch| step.is_multiple_of(*batch)).unwrap_or(1);
        if 2 * batch < most {
            let such_as = self.larger_step().map_or(String::new(), |step| format!(", such as {step}"));
            return refuse(format!(
                "{step}: at {band} px at most {most} images fit, but its largest divisor below that is {batch}; use a number \
                 with more divisors{such_as}"
            ));
        }
        Ok((batch, step / batch))
    }

    /// The images at `band` that a batch of a step of `step` may have.
    fn most(&self, step: usize, band: u32) -> usize {
        let square = |side: u32| u128::from(side) * u128::from(side);
        let most = self.batch_size as u128 * square(self.base) / square(band);
        usize::try_from(most).unwrap_or(usize::MAX).min(step)
    }

    /// The nearest larger `step_batch` that can be cut at every band there may be; every power of two can. `None` with
    /// replay, where a larger step may not fit, and where the search would be long.
    fn larger_step(&self) -> Option<usize> {
        const LARGEST: usize = 1 << 24;
        let least = self.step_batch.filter(|&step| step < LARGEST && self.replay == released::Reuse::Off)?;
        let bands = || (1..=self.base / self.patch).map(|patches| patches * self.patch);
        let fits = |step: usize| {
            let divisors = |step: usize| {
                let small = (1..=step.isqrt()).filter(move |d| step.is_multiple_of(*d));
                let mut all: Vec<usize> = small.flat_map(|d| [d, step / d]).collect();
                all.sort_unstable();
                all
            };
            let mut of: [Vec<usize>; 5] = Default::default();
            bands().all(|band| {
                let times = self.early_batch.times(band, self.base);
                let step = step * times;
                let divisors = match &mut of[times] {
                    known if known.is_empty() => {
                        *known = divisors(step);
                        known
                    }
                    known => known,
                };
                let most = self.most(step, band);
                let below = divisors.partition_point(|&d| d <= most);
                below > 0 && 2 * divisors[below - 1] >= most
            })
        };
        (least + 1..=2 * least).find(|&step| fits(step))
    }

    /// For schedules whose replay nobody has published.
    pub(super) fn no_replay(&self, name: &str) -> Result<()> {
        if self.replay == released::Reuse::Off {
            return Ok(());
        }
        let reason = format!(
            "`{name}` has no published replay; use efficient_train_pp, or a .toml table with `replay` by stage"
        );
        Err(Error::config("schedule.replay", reason))
    }
}
