//! The options that change a recipe's image transform, for every command that makes images; and the transform in a line.

use crate::augment::{Interpolation, Policy};
use crate::decode::Fidelity;
use crate::erase::{EraseAt, Erasing};
use crate::mix::{Mix, MixMode};
use crate::recipe::{AugmentAt, Magnitude, ReplayMode};
use crate::shape::Filter;
use crate::{Error, Recipe, Result};

/// Changes to a recipe's transform.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Transform, in place of the recipe's")]
pub(crate) struct Transform {
    /// Augmentation policy as timm writes it (rand-m9-mstd0.5-inc1, original, v0, 3a, ta_wide), or none. A rand policy without
    /// m follows the schedule's magnitudes.
    #[arg(long, value_name = "POLICY")]
    augment: Option<String>,
    /// Magnitude of a rand policy: stage, staircase, linear (0 to m over the run) or policy (its m throughout).
    #[arg(long, value_name = "RULE")]
    magnitude: Option<Magnitude>,
    /// Augment at the base size before the band is cut (base), or on the band, which is faster (band).
    #[arg(long, value_name = "SIZE")]
    augment_at: Option<AugmentAt>,
    /// Between pixels, in geometric operations: nearest, bilinear, bicubic or random (bilinear or bicubic).
    #[arg(long, value_name = "NAME")]
    interpolation: Option<Interpolation>,
    /// Share of images with an erased box; 0 turns erasing off.
    #[arg(long, value_name = "SHARE")]
    erase: Option<f64>,
    /// Mixup's alpha; 0 turns it off.
    #[arg(long, value_name = "ALPHA")]
    mixup: Option<f64>,
    /// CutMix's alpha; 0 turns it off.
    #[arg(long, value_name = "ALPHA")]
    cutmix: Option<f64>,
    /// Mix alike in the whole batch (batch), by pairs (pair), or each image by itself (elem).
    #[arg(long, value_name = "MODE")]
    mix_mode: Option<MixMode>,
    /// How often each image of an epoch comes, side by side (DeiT: 3).
    #[arg(long, value_name = "N")]
    repeats: Option<u32>,
    /// What a replay buffer keeps: repeat (finished images) or reaugment (decoded ones, augmented anew).
    #[arg(long, value_name = "WHAT")]
    replay_mode: Option<ReplayMode>,
    /// Resampling filter of the crops: bilinear, bicubic or lanczos3.
    #[arg(long)]
    pub(crate) filter: Option<Filter>,
    /// Smallest share of the image that a random crop covers.
    #[arg(long)]
    min_scale: Option<f64>,
    /// Run crop and band crop one after the other in 8 bits, as the released code does.
    #[arg(long)]
    no_fuse: bool,
}

/// The mode that images are decoded in: apart from [`Transform`], since `bandfeed inspect --fidelity` compares them.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Transform, in place of the recipe's")]
pub(crate) struct Decoding {
    /// Decode JPEGs at a reduced scale where it hardly shows (fast), or always as a whole (exact). `bandfeed inspect --fidelity`
    /// measures the difference.
    #[arg(long, value_name = "MODE")]
    fidelity: Option<Fidelity>,
}

impl Decoding {
    /// `recipe` with the mode that was given.
    pub(crate) fn apply(&self, recipe: Recipe) -> Recipe {
        Recipe { fidelity: self.fidelity.unwrap_or(recipe.fidelity), ..recipe }
    }
}

impl Transform {
    /// `recipe` with the options that were given.
    ///
    /// # Errors
    /// [`Error::Config`] for a policy that is not known, and for values that no image could be made with.
    pub(crate) fn apply(&self, mut recipe: Recipe) -> Result<Recipe> {
        if let Some(augment) = &self.augment {
            recipe.augment = match augment.as_str() {
                "none" => None,
                policy => Some(policy.parse::<Policy>()?),
            };
        }
        if let Some(probability) = self.erase {
            let erasing = recipe.erasing.unwrap_or_default();
            recipe.erasing = (probability != 0.0).then_some(Erasing { probability, ..erasing });
        }
        if self.mixup.is_some() || self.cutmix.is_some() {
            let off = Mix { mixup: 0.0, cutmix: 0.0, ..Mix::default() };
            let own = recipe.mix.unwrap_or(off);
            let mix = Mix { mixup: self.mixup.unwrap_or(own.mixup), cutmix: self.cutmix.unwrap_or(own.cutmix), ..own };
            recipe.mix = (mix.mixup != 0.0 || mix.cutmix != 0.0).then_some(mix);
        }
        if let Some(mode) = self.mix_mode {
            let Some(mix) = &mut recipe.mix else {
                return Err(Error::config("--mix-mode", "nothing is mixed; give --mixup or --cutmix, too"));
            };
            mix.mode = mode;
        }
        let Self { magnitude, augment_at, interpolation, repeats, replay_mode, filter, min_scale, .. } = *self;
        recipe.magnitude = magnitude.unwrap_or(recipe.magnitude);
        recipe.augment_at = augment_at.unwrap_or(recipe.augment_at);
        recipe.interpolation = interpolation.unwrap_or(recipe.interpolation);
        recipe.repeats = repeats.unwrap_or(recipe.repeats);
        recipe.replay = replay_mode.unwrap_or(recipe.replay);
        recipe.filter = filter.unwrap_or(recipe.filter);
        recipe.scale[0] = min_scale.unwrap_or(recipe.scale[0]);
        recipe.fuse &= !self.no_fuse;
        recipe.check()?;
        Ok(recipe)
    }
}

/// The transform in a line: what is done to images, in its order.
pub(super) fn describe(recipe: &Recipe) -> String {
    let mut parts =
        vec![format!("{:?} crop of {:.2} to {:.2} of the area", recipe.filter, recipe.scale[0], recipe.scale[1])];
    if recipe.fidelity == Fidelity::Exact {
        parts.insert(0, "exact decoding".into());
    }
    if recipe.flip > 0.0 {
        parts.push("flip".into());
    }
    if let Some(policy) = &recipe.augment {
        let mut text = policy.to_string();
        if policy.follows_magnitude() {
            text += match recipe.magnitude {
                Magnitude::Stage => " (the stage's magnitude)",
                Magnitude::Staircase => " (the stage's magnitude, whole)",
                Magnitude::Linear => " (magnitude rising from 0)",
                Magnitude::Policy => "",
            };
        }
        parts.push(text);
    }
    if recipe.jitter.most() > 0 {
        parts.push("jitter".into());
    }
    if recipe.augment_at == AugmentAt::Band && (recipe.augment.is_some() || recipe.jitter.most() > 0) {
        parts.push("augmented on the band".into());
    }
    if let Some(erasing) = &recipe.erasing {
        let place = if erasing.at == EraseAt::Band { " after the band" } else { "" };
        parts.push(format!("erasing {}{place}", erasing.probability));
    }
    if let Some(mix) = &recipe.mix {
        let mode = match mix.mode {
            MixMode::Batch => "",
            MixMode::Pair => " by pairs",
            MixMode::Elem => " by images",
        };
        parts.push(format!("Mixup {}, CutMix {}{mode}", mix.mixup, mix.cutmix));
    }
    if recipe.repeats > 1 {
        parts.push(format!("each image {} times", recipe.repeats));
    }
    if recipe.replay == ReplayMode::Reaugment {
        parts.push("replays augmented anew".into());
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        transform: Transform,
    }

    fn apply(words: &[&str], recipe: Recipe) -> Result<Recipe> {
        let program = Program::try_parse_from(std::iter::once(&"program").chain(words)).expect("valid arguments");
        program.transform.apply(recipe)
    }

    #[test]
    fn options_take_the_place_of_what_the_recipe_says() {
        let deit = crate::recipe::Preset::named("deit_small").unwrap().transform;
        assert_eq!(apply(&[], deit.clone()).unwrap(), deit);
        let own = apply(
            &["--augment", "ta_wide", "--erase", "0.5", "--cutmix", "0", "--mix-mode", "elem", "--no-fuse"],
            deit.clone(),
        )
        .unwrap();
        assert_eq!(own.augment.unwrap().to_string(), "ta_wide");
        assert_eq!(own.erasing.unwrap().probability, 0.5);
        let mix = own.mix.unwrap();
        assert_eq!((mix.mixup, mix.cutmix, mix.mode), (0.8, 0.0, MixMode::Elem));
        assert!(!own.fuse);
        let bare =
            apply(&["--augment", "none", "--erase", "0", "--mixup", "0", "--cutmix", "0", "--repeats", "1"], deit);
        let Recipe { augment, erasing, mix, repeats, .. } = bare.unwrap();
        assert_eq!((augment, erasing, mix, repeats), (None, None, None, 1));
    }

    #[test]
    fn options_that_cannot_work_are_refused_by_name() {
        let refused = |words: &[&str]| apply(words, Recipe::default()).unwrap_err().to_string();
        assert!(refused(&["--mix-mode", "pair"]).starts_with("--mix-mode"));
        assert!(refused(&["--augment", "rand-q3"]).starts_with("augment"));
        assert!(refused(&["--erase", "2"]).contains("probability"));
        assert!(refused(&["--augment", "rand-mstd0.5", "--magnitude", "policy"]).contains("no m"));
    }
}
