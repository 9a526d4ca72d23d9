//! What happens to an image between decoding and the batch, apart from the band: crop, flip, augmentation, normalisation,
//! erasing; and to the batch: mixing, replay.

mod preset;

pub use preset::{Preset, SchedulePreset, TrainPreset};

use crate::augment::{Interpolation, Jitter, Ops, Policy};
use crate::decode::Fidelity;
use crate::erase::Erasing;
use crate::error::{Error, Result};
use crate::mix::Mix;
use crate::schedule::{Schedule, Stage};
use crate::shape::Filter;
use serde::{Deserialize, Serialize};

/// Mean of ImageNet's pixels by channel (red, green, blue), in `0..=1`.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// [`IMAGENET_MEAN`] in 8 bits: what the papers fill with (`randaugment.md` §2).
pub const IMAGENET_FILL: [u8; 3] = [124, 116, 104];
/// Standard deviation of ImageNet's pixels by channel, in `0..=1`.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// What a replay buffer keeps of an image (`efficienttrain.md` §5; a schedule's stages say whether there is one).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayMode {
    /// The finished values as 16-bit floats, as released: crop and augmentation come again, mixing is new.
    #[default]
    Repeat,
    /// Decoded pixels: each use has a crop and an augmentation of its own. Takes more memory and time than `Repeat`, and less
    /// time than decoding anew. Files are decoded as a whole, and images of more pixels than three squares of the size that
    /// evaluation looks at (256 for 224: 0.2 megapixels) are reduced to that, for all of their uses, the first among them.
    Reaugment,
}

impl std::str::FromStr for ReplayMode {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "repeat" => Ok(Self::Repeat),
            "reaugment" => Ok(Self::Reaugment),
            _ => Err(Error::config("replay mode", format!("`{s}` is not known; use repeat or reaugment"))),
        }
    }
}

/// How strong RandAugment is, over a run. Only `rand` policies follow it ([`Policy::follows_magnitude`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Magnitude {
    /// The stage's, with its fraction. If the policy says an `m`, it must be that of the schedule's last stage.
    #[default]
    Stage,
    /// The stage's without its fraction, as the released code must take it (`randaugment.md` §4).
    Staircase,
    /// From 0 linearly over the run's compute to the policy's `m`, or without one to the last stage's: the paper's ramp
    /// (`randaugment.md` §4 \[recall\]).
    Linear,
    /// The policy's `m`, whatever the stage says.
    Policy,
}

impl std::str::FromStr for Magnitude {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "stage" => Ok(Self::Stage),
            "staircase" => Ok(Self::Staircase),
            "linear" => Ok(Self::Linear),
            "policy" => Ok(Self::Policy),
            _ => Err(Error::config("magnitude", format!("`{s}` is not known; use stage, staircase, linear or policy"))),
        }
    }
}

/// At which size the 8-bit augmentation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AugmentAt {
    /// At the base size, before the band is cut: the papers' order (`low-frequency-crop.md` §4).
    #[default]
    Base,
    /// On the band, for processors that cannot keep up: the image is cropped and cut to B in one step and augmented there.
    ///
    /// # Deviation
    /// Angles, shears and shares of the size mean the same at any size, and blur radii are scaled by B/base. What differs: the
    /// cubic interpolation of geometric operations and the 3 x 3 kernel of Sharpness act on pixels that are `base / B` times
    /// larger; histograms (AutoContrast, Equalize) and the mean of Contrast are those of the small image; posterizing and the
    /// other look-ups come after the low-pass, so that their edges keep frequencies above the band; a Fourier band is
    /// clamped to 8 bits. Erasing comes after the band, also where it is published before it (`EraseAt::Published` with a
    /// Fourier band).
    Band,
}

impl std::str::FromStr for AugmentAt {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "base" => Ok(Self::Base),
            "band" => Ok(Self::Band),
            _ => Err(Error::config("augment_at", format!("`{s}` is not known; use base or band"))),
        }
    }
}

/// The image transform of training and evaluation.
///
/// Training is `randaugment.md` §3: random resized crop to the base size, horizontal flip, augmentation policy and jitter on
/// 8-bit pixels, band, normalise, erase; then mixing of the batch. Everything beyond crop and flip is off by default.
/// Evaluation is resize of the shorter side and centre crop (`low-frequency-crop.md` §4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// Share of the image's area that a random crop covers: low and high, in `(0, 1]`.
    pub scale: [f64; 2],
    /// Width over height of a random crop: low and high, drawn log-uniformly.
    pub ratio: [f64; 2],
    /// Chance of a horizontal flip, `0..=1`.
    pub flip: f64,
    /// Resampling filter of the crop, in training and in evaluation.
    pub filter: Filter,
    /// Evaluation resizes the shorter side to `int(size / eval_crop_ratio)` before the centre crop, `(0, 1]`.
    pub eval_crop_ratio: f64,
    /// Subtracted from each channel after scaling to `0..=1`.
    pub mean: [f32; 3],
    /// Each channel is divided by this after the subtraction.
    pub std: [f32; 3],
    /// Whether training samples are decoded at a reduced scale where that hardly shows. Evaluation is always exact.
    pub fidelity: Fidelity,
    /// Run crop, flip and band crop of training samples as one linear map, and decode them as `fidelity` says. It
    /// leaves out the rounding to 8 bits, and the clamping of overshoot, between the steps; what that changes is told
    /// at [`crate::ops::Renderer`]. `false` gives the released code's pixels, always of a full decode, and costs more.
    pub fuse: bool,
    /// The augmentation policy, for example `rand-m9-mstd0.5-inc1`; see [`Policy`] for what there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub augment: Option<Policy>,
    /// How strong the policy is over the run.
    pub magnitude: Magnitude,
    /// At which size policy and jitter run.
    pub augment_at: AugmentAt,
    /// How the policy's geometric operations read between pixels.
    pub interpolation: Interpolation,
    /// What geometric operations put where there is no image: red, green, blue. The default is ImageNet's mean.
    pub fill: [u8; 3],
    /// Colour jitter, grayscale, blur, solarization; after the policy.
    pub jitter: Jitter,
    /// Random erasing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub erasing: Option<Erasing>,
    /// Mixup and CutMix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mix: Option<Mix>,
    /// How often each image of an epoch comes, each time with augmentations of its own, side by side in the order (and so, with
    /// several ranks, on different ranks): DeiT's repeated augmentation, which has 3. An epoch is as long as before and has as
    /// many times fewer images. At least 1.
    pub repeats: u32,
    /// What comes again where a stage replays images.
    pub replay: ReplayMode,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            scale: [0.08, 1.0],
            ratio: [3.0 / 4.0, 4.0 / 3.0],
            flip: 0.5,
            filter: Filter::Bicubic,
            eval_crop_ratio: 0.875,
            mean: IMAGENET_MEAN,
            std: IMAGENET_STD,
            fidelity: Fidelity::Fast,
            fuse: true,
            augment: None,
            magnitude: Magnitude::Stage,
            augment_at: AugmentAt::Base,
            interpolation: Interpolation::Bicubic,
            fill: IMAGENET_FILL,
            jitter: Jitter::default(),
            erasing: None,
            mix: None,
            repeats: 1,
            replay: ReplayMode::Repeat,
        }
    }
}

impl Recipe {
    /// Refuses values that no image could be made with.
    ///
    /// # Errors
    /// [`Error::Config`] names the field, what it holds and what is allowed.
    pub fn check(&self) -> Result<()> {
        let unit = |v: f64| v > 0.0 && v <= 1.0;
        let [low, high] = self.scale;
        if !(unit(low) && unit(high) && low <= high) {
            return Err(Error::config("recipe.scale", format!("{:?}: expected 0 < low <= high <= 1", self.scale)));
        }
        let [low, high] = self.ratio;
        if !(low > 0.0 && high.is_finite() && low <= high) {
            return Err(Error::config("recipe.ratio", format!("{:?}: expected 0 < low <= high", self.ratio)));
        }
        if !(0.0..=1.0).contains(&self.flip) {
            return Err(Error::config("recipe.flip", format!("{}: expected a chance in 0..=1", self.flip)));
        }
        if !unit(self.eval_crop_ratio) {
            return Err(Error::config("recipe.eval_crop_ratio", format!("{}: expected (0, 1]", self.eval_crop_ratio)));
        }
        self.jitter.check()?;
        self.erasing.iter().try_for_each(Erasing::check)?;
        self.mix.iter().try_for_each(Mix::check)?;
        let most = self.augment.as_ref().map_or(0, Policy::most) + self.jitter.most();
        if most > Ops::CAPACITY {
            let reason =
                format!("up to {most} operations an image, jitter included; at most {} are kept", Ops::CAPACITY);
            return Err(Error::config("recipe.augment", reason));
        }
        if self.magnitude == Magnitude::Policy
            && self.augment.as_ref().is_some_and(|p| p.follows_magnitude() && p.magnitude().is_none())
        {
            let reason = "the policy's own, but it has no m; write rand-m9-..., or use stage, staircase or linear";
            return Err(Error::config("recipe.magnitude", reason));
        }
        if self.repeats == 0 {
            return Err(Error::config("recipe.repeats", "0: expected at least 1"));
        }
        if !self.mean.iter().all(|v| v.is_finite()) {
            return Err(Error::config("recipe.mean", format!("{:?}: expected finite numbers", self.mean)));
        }
        if !self.std.iter().all(|v| v.is_finite() && *v > 0.0) {
            return Err(Error::config("recipe.std", format!("{:?}: expected finite numbers above 0", self.std)));
        }
        Ok(())
    }

    /// Refuses a policy whose magnitude the schedule would overrule in silence.
    ///
    /// # Errors
    /// [`Error::Config`] with both.
    pub fn check_schedule(&self, schedule: &Schedule) -> Result<()> {
        let Some(policy) = self.augment.as_ref().filter(|policy| policy.follows_magnitude()) else { return Ok(()) };
        let last = schedule.stages().last().expect("a schedule has stages").magnitude;
        match (self.magnitude, policy.magnitude()) {
            (Magnitude::Stage | Magnitude::Staircase, Some(own)) if own != last => {
                let reason = format!(
                    "`{policy}` says m{own}, but the stages of `{}` end at {last}; leave the m out to follow them, use \
                     magnitude `policy` to keep it throughout, or `linear` to rise to it",
                    schedule.name()
                );
                Err(Error::config("recipe.augment", reason))
            }
            _ => Ok(()),
        }
    }

    /// RandAugment's mean magnitude in a batch of `stage`, of a schedule whose last stage has `last`, after this share of the
    /// compute.
    pub fn magnitude_at(&self, stage: &Stage, last: f64, progress: f64) -> f64 {
        let own = self.augment.as_ref().and_then(Policy::magnitude);
        match self.magnitude {
            Magnitude::Stage => stage.magnitude,
            Magnitude::Staircase => stage.magnitude.floor(),
            Magnitude::Linear => own.unwrap_or(last) * progress.clamp(0.0, 1.0),
            Magnitude::Policy => own.unwrap_or(stage.magnitude),
        }
    }
}
