//! The options that fit a schedule to a run, for every command that takes a schedule.

use super::prog::ProgArgs;
use crate::recipe::SchedulePreset;
use crate::schedule::{EarlyBatch, Schedule, released::Reuse};
use crate::{BandCrop, Error, Result};

/// How a schedule is fitted to a run; shared by every command that takes a schedule.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Schedule")]
pub struct Fit {
    /// Side of the images at the end of training, in pixels [default: the recipe's, or 224].
    #[arg(long, value_name = "PIXELS")]
    pub base: Option<u32>,
    /// Every band is a multiple of this: the patch side, or the model's stride [default: the recipe's, or 16].
    #[arg(long, value_name = "PIXELS")]
    pub patch: Option<u32>,
    /// Budget in equivalent epochs: the compute of this many passes at the base size [default: the recipe's, or 200].
    #[arg(long, value_name = "E", conflicts_with = "image_epochs")]
    pub epochs: Option<f64>,
    /// Budget in passes over the data at whatever size: EfficientTrain's nominal epochs T.
    #[arg(long, value_name = "T")]
    pub image_epochs: Option<f64>,
    /// Images behind one optimiser step, on each rank [default: the recipe's, or 256]. With --step-batch, the most images at
    /// the base size that the trainer holds at a time.
    #[arg(long, value_name = "N")]
    pub batch_size: Option<usize>,
    /// Images behind one optimiser step in every stage, made of as large batches as fit: a band B allows (base / B)^2 times
    /// --batch-size, the rest is accumulated [default: the recipe's, or --batch-size].
    #[arg(long, value_name = "N")]
    pub step_batch: Option<usize>,
    /// Make the batches of stages at the base size in this many parts [default: the recipe's, or 1].
    #[arg(long, value_name = "N")]
    pub base_parts: Option<usize>,
    /// How the band is cut: fourier, fourier-half-pixel or lanczos [default: the schedule's own].
    #[arg(long)]
    pub crop: Option<BandCrop>,
    /// Use decoded images several times while the band is small, as EfficientTrain++'s scripts for weak processors do: off,
    /// twofold, or fourfold (four times at the smallest band, twice at the next) [default: the recipe's, or off].
    #[arg(long, value_name = "TIMES")]
    pub replay: Option<Reuse>,
    /// Up to four times larger batches while the band is small: off, root-rate (learning rate times the root of the ratio) or
    /// same-rate [default: the recipe's, or off].
    #[arg(long, value_name = "RULE")]
    pub early_batch: Option<EarlyBatch>,
    /// Round stages to whole epochs as EfficientTrain++'s released scripts do.
    #[arg(long, conflicts_with = "image_epochs")]
    pub released: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a flattened group's documentation would replace the command's")]
    pub prog: ProgArgs,
}

impl From<&SchedulePreset> for Fit {
    /// The settings as options.
    fn from(preset: &SchedulePreset) -> Self {
        let SchedulePreset {
            base, patch, epochs, batch_size, step_batch, base_parts, crop, replay, early_batch, ..
        } = *preset;
        let released = preset.released;
        Self {
            base,
            patch,
            epochs,
            image_epochs: None,
            batch_size,
            step_batch,
            base_parts,
            crop,
            replay,
            early_batch,
            released,
            prog: ProgArgs::from(preset),
        }
    }
}

impl Fit {
    /// The schedule of this name or path, fitted to the options given, and where they are silent to `recipe`'s.
    ///
    /// # Errors
    /// As [`Schedule::named`]; [`Error::Config`] also if a TOML table says otherwise than an option, or if `released` is
    /// asked of a schedule that has no released form.
    pub fn schedule(&self, name: &str, recipe: &SchedulePreset) -> Result<Schedule> {
        self.prog.check(name)?;
        let preset = self.over(name, recipe);
        if name.ends_with(".toml") {
            self.agrees_with(name, &SchedulePreset { step_batch: None, ..preset.clone() }.schedule()?)?;
        }
        let schedule = preset.schedule()?;
        match self.image_epochs {
            Some(epochs) => schedule.with_image_epochs(epochs),
            None => Ok(schedule),
        }
    }

    /// The options given, and where they are silent `recipe`'s.
    pub(super) fn over(&self, name: &str, recipe: &SchedulePreset) -> SchedulePreset {
        let mut recipe = recipe.clone();
        recipe.rename(Some(name));
        SchedulePreset {
            base: self.base.or(recipe.base),
            patch: self.patch.or(recipe.patch),
            batch_size: self.batch_size.or(recipe.batch_size),
            step_batch: self.step_batch.or(recipe.step_batch),
            base_parts: self.base_parts.or(recipe.base_parts),
            epochs: self.epochs.or(recipe.epochs),
            crop: self.crop.or(recipe.crop),
            replay: self.replay.or(recipe.replay),
            early_batch: self.early_batch.or(recipe.early_batch),
            // A budget in passes is for the exact form.
            released: self.released || (recipe.released && self.image_epochs.is_none()),
            prog: self.prog.over(recipe.prog),
            search: self.prog.search_over(recipe.search, name),
            name: recipe.name,
        }
    }

    /// A table is never overruled in silence. Its budget is the exception: that belongs to the run.
    pub(super) fn agrees_with(&self, path: &str, schedule: &Schedule) -> Result<()> {
        let stages = schedule.stages();
        let differs =
            |option: &str, found: String| Err(Error::config(option, format!("{path} says {found}; change it there")));
        if self.base.is_some_and(|base| base != schedule.base()) {
            return differs("--base", schedule.base().to_string());
        }
        if self.patch.is_some_and(|patch| patch != schedule.patch()) {
            return differs("--patch", schedule.patch().to_string());
        }
        if let Some(stage) = stages.iter().find(|s| self.batch_size.is_some_and(|size| size != s.effective_batch())) {
            return differs("--batch-size", format!("{} in stage {}", stage.effective_batch(), stage.index));
        }
        if let Some(stage) = stages.iter().find(|s| self.crop.is_some_and(|crop| crop != s.crop)) {
            return differs("--crop", format!("{} in stage {}", stage.crop, stage.index));
        }
        if self.step_batch.is_some() {
            return differs("--step-batch", "batch_size and accumulate by stage".into());
        }
        if self.base_parts.is_some() {
            return differs("--base-parts", "batch_size and accumulate by stage".into());
        }
        if self.replay.is_some() {
            return differs("--replay", "replay and replay_capacity by stage".into());
        }
        if self.early_batch.is_some() {
            return differs("--early-batch", "batch_size and rate_scale by stage".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        name: String,
        #[command(flatten)]
        fit: Fit,
    }

    fn schedule(words: &[&str]) -> Result<Schedule> {
        let program = Program::try_parse_from(std::iter::once(&"program").chain(words)).expect("valid arguments");
        program.fit.schedule(&program.name, &SchedulePreset::default())
    }

    #[test]
    fn options_reach_the_schedule() {
        let fitted = schedule(&[
            "efficient_train",
            "--base",
            "64",
            "--patch",
            "8",
            "--batch-size",
            "32",
            "--base-parts",
            "2",
            "--crop",
            "lanczos",
            "--image-epochs",
            "10",
        ])
        .expect("valid");
        assert_eq!((fitted.base(), fitted.patch(), fitted.stages()[4].batch_size), (64, 8, 16));
        assert_eq!(fitted.stages()[0].crop, BandCrop::Lanczos);
        assert!((fitted.image_epochs() - 10.0).abs() < 1e-6);
        assert_eq!(schedule(&["constant", "--epochs", "3"]).expect("valid").epochs(), 3.0);
    }

    #[test]
    fn released_form_exists_for_the_rows_of_efficient_train_pp_only() {
        let fitted = schedule(&["efficient_train_pp_deit", "--released"]).expect("valid");
        assert!((fitted.image_epochs() - 469.0).abs() < 1e-6);
        let error = schedule(&["efficient_train", "--released"]).expect_err("no such form").to_string();
        assert!(error.starts_with("released: ") && error.contains("efficient_train_pp_convnext"), "{error}");
    }

    #[test]
    fn a_table_is_not_overruled_in_silence_but_takes_the_run_s_budget() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("own.toml");
        let text = "base = 64\npatch = 16\ncrop = 'lanczos'\nepochs = 5.0\nbatch_size = 8\nstage = [{ until = 1, band = 32, magnitude = 1 }]";
        std::fs::write(&path, text).expect("written");
        let name = path.to_str().expect("a plain name");
        assert_eq!(schedule(&[name]).expect("valid").epochs(), 5.0);
        assert_eq!(schedule(&[name, "--epochs", "9", "--base", "64"]).expect("valid").epochs(), 9.0);
        for (option, value) in [
            ("--base", "96"),
            ("--patch", "8"),
            ("--batch-size", "16"),
            ("--crop", "fourier"),
            ("--step-batch", "8"),
            ("--base-parts", "1"),
            ("--replay", "off"),
            ("--early-batch", "off"),
        ] {
            let error = schedule(&[name, option, value]).expect_err("the table differs").to_string();
            assert!(error.starts_with(&format!("{option}: ")) && error.contains(name), "{error}");
        }
    }
}
