//! What a stage says of the model and of the strength of augmentation: the growth of AutoProg and of user tables.

use super::Stage;
use serde::{Deserialize, Serialize};

/// What a stage says beside band and magnitude (`autoprog.md` §2). A stage that says nothing ([`Growth::NONE`]) leaves
/// model and recipe as they are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Growth {
    /// Blocks of the model; `None` is the whole model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<Depth>,
    /// The trainer makes images of the band smaller before the model sees them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shrink: Option<Shrink>,
    /// Chance that the last block's branches are dropped, in place of the model's, `0..1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop_path: Option<f64>,
    /// Whether a policy that follows the stages' magnitude runs at all: magnitude 0 alone is not "no augmentation".
    pub augment: bool,
    /// Chance of random erasing in place of the recipe's, `0..=1`. Where the recipe does not erase, nothing is erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub erasing: Option<f64>,
    /// Share of the image's area that a random crop covers in place of the recipe's: low and high, in `(0, 1]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<[f64; 2]>,
    /// A search is under way: `depth` is a supernet's, and each step trains a part of it drawn at random.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub search: bool,
}

/// How much of a model there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Depth {
    /// Blocks of the model in this stage, at least 1.
    pub blocks: u32,
    /// Blocks of the whole model, which is that of the last stage.
    pub full: u32,
}

/// How images of the band become smaller ones on the trainer's side, which saves the model's work and none of the
/// loader's (`autoprog.md` §8.12). Both hold the side of the square that the model sees, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shrink {
    /// Bilinear without antialiasing, PyTorch's `align_corners=False`: what AutoProg's released code does.
    Resize(u32),
    /// Fewer and larger patches over the whole of the image, whose embedding is the small patch's stretched over them.
    /// That is the same as averaging the area behind each of the smaller image's pixels.
    Patch(u32),
}

impl Shrink {
    /// Side of the images that the model sees, in pixels.
    pub const fn side(self) -> u32 {
        match self {
            Self::Resize(side) | Self::Patch(side) => side,
        }
    }
}

impl Growth {
    /// Nothing said.
    pub const NONE: Self =
        Self { depth: None, shrink: None, drop_path: None, augment: true, erasing: None, scale: None, search: false };

    pub(super) fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

impl Default for Growth {
    fn default() -> Self {
        Self::NONE
    }
}

impl Stage {
    /// Side of the images that the model sees, in pixels: the band, unless the trainer shrinks it.
    pub fn side(&self) -> u32 {
        self.growth.shrink.map_or(self.band, Shrink::side)
    }

    /// Whether its growth can be; the key and why not.
    pub(crate) fn check_growth(&self) -> std::result::Result<(), (&'static str, String)> {
        let Growth { depth, shrink, drop_path, erasing, scale, .. } = self.growth;
        if let Some(Depth { blocks, full }) = depth.filter(|d| d.blocks == 0 || d.blocks > d.full) {
            return Err(("depth", format!("{blocks}: expected 1 to {full}, the blocks of the last stage")));
        }
        if let Some(side) = shrink.map(Shrink::side).filter(|side| *side == 0 || *side > self.band) {
            return Err(("resize", format!("{side}: expected 1 to the band, {}", self.band)));
        }
        if let Some(chance) = drop_path.filter(|chance| !(0.0..1.0).contains(chance)) {
            return Err(("drop_path", format!("{chance}: expected a chance in 0..1")));
        }
        if let Some(chance) = erasing.filter(|chance| !(0.0..=1.0).contains(chance)) {
            return Err(("erasing", format!("{chance}: expected a chance in 0..=1")));
        }
        if let Some([low, high]) = scale.filter(|[low, high]| !(*low > 0.0 && low <= high && *high <= 1.0)) {
            return Err(("scale", format!("[{low}, {high}]: expected 0 < low <= high <= 1")));
        }
        Ok(())
    }
}
