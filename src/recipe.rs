//! What happens to an image between decoding and the batch, apart from the band: crop, flip, normalisation.

use crate::error::{Error, Result};
use crate::shape::Filter;
use serde::{Deserialize, Serialize};

/// Mean of ImageNet's pixels by channel (red, green, blue), in `0..=1`.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of ImageNet's pixels by channel, in `0..=1`.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// What a replay buffer keeps of an image (`efficienttrain.md` §5; a schedule's stages say whether there is one).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayMode {
    /// The finished values as 16-bit floats, as released: crop and augmentation come again, mixing is new.
    #[default]
    Repeat,
    /// Decoded pixels, reduced to the size that evaluation looks at: each use has a crop and an augmentation of its own.
    /// Takes more memory and time than `Repeat`, and less time than decoding.
    Reaugment,
}

/// The image transform of training and evaluation.
///
/// Training is `randaugment.md` §3 steps 1, 2, 5 and 6: random resized crop to the base size, horizontal flip,
/// scale to `0..=1`, normalise. Evaluation is resize of the shorter side and centre crop (`low-frequency-crop.md` §4).
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
    /// Run crop, flip and band crop of training samples as one linear map, and decode at a reduced scale where that keeps
    /// enough. It leaves out the rounding to 8 bits, and the clamping of overshoot, between the steps; what that changes is
    /// told at [`crate::ops::Renderer`]. `false` gives the released code's pixels, and costs more.
    pub fuse: bool,
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
            fuse: true,
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
}
