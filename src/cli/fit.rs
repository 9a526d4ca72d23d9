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
    /// Budget in passes over the data at whatever size: EfficientTrain's nominal epochs T [default: the recipe's].
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
            base,
            patch,
            epochs,
            image_epochs,
            batch_size,
            step_batch,
            base_parts,
            crop,
            replay,
            early_batch,
            ..
        } = *preset;
        let released = preset.released;
        Self {
            base,
            patch,
            epochs,
            image_epochs,
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
        self.resolve(name, recipe).map(|(_, schedule)| schedule)
    }

    /// [`Fit::schedule`], with the settings that make it.
    pub(super) fn resolve(&self, name: &str, recipe: &SchedulePreset) -> Result<(SchedulePreset, Schedule)> {
        self.prog.check(name)?;
        let mut recipe = recipe.clone();
        recipe.rename(Some(name));
        if name.ends_with(".toml") {
            let table = self.over(&recipe).table()?;
            self.agrees_with(name, &table)?;
            // What the options say of the search is said of the table's.
            recipe.search = recipe.search.or(table.search().copied());
        }
        let preset = self.over(&recipe);
        let schedule = preset.schedule()?;
        Ok((preset, schedule))
    }

    /// The options given, and where they are silent `recipe`'s.
    fn over(&self, recipe: &SchedulePreset) -> SchedulePreset {
        let recipe = recipe.clone();
        SchedulePreset {
            base: self.base.or(recipe.base),
            patch: self.patch.or(recipe.patch),
            batch_size: self.batch_size.or(recipe.batch_size),
            step_batch: self.step_batch.or(recipe.step_batch),
            base_parts: self.base_parts.or(recipe.base_parts),
            // Each is a budget: one that is given takes the place of whichever the recipe has.
            epochs: self.epochs.or(recipe.epochs.filter(|_| self.image_epochs.is_none())),
            image_epochs: self.image_epochs.or(recipe.image_epochs.filter(|_| self.epochs.is_none())),
            crop: self.crop.or(recipe.crop),
            replay: self.replay.or(recipe.replay),
            early_batch: self.early_batch.or(recipe.early_batch),
            // A budget in passes is for the exact form.
            released: self.released || (recipe.released && self.image_epochs.is_none()),
            prog: self.prog.over(recipe.prog),
            search: self.prog.search_over(recipe.search, &recipe.name),
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
    fn the_settings_of_a_schedule_make_it_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("own.toml");
        // Its own budget is too small for its search; that of a run is not.
        let stage =
            |until: f64, depth: u32| format!("[[stage]]\nuntil = {until}\nband = 64\nmagnitude = 1\ndepth = {depth}\n");
        let text =
            format!("base = 64\npatch = 16\nepochs = 20\n[search]\nepochs = 60\n{}{}", stage(0.5, 2), stage(1.0, 4));
        std::fs::write(&path, text).expect("written");
        let table = path.to_str().expect("a plain name").to_owned();
        assert!(
            schedule(&[&table]).expect_err("too small").to_string().contains("the shortest growth stage has 10.00")
        );
        for words in [
            &["constant", "--image-epochs", "3"][..],
            &["efficient_train_pp", "--layers", "8", "--l-scale", "0.5", "--epochs", "40"],
            &["efficient_train_pp", "--layers", "8", "--l-scale", "0.5", "--image-epochs", "50"],
            &["efficient_train_pp", "--layers", "8", "--l-scale", "0.5", "--search-epochs", "1", "--epochs", "50"],
            &[
                "efficient_train_pp",
                "--layers",
                "8",
                "--l-scale",
                "0.5",
                "--search-epochs",
                "1",
                "--image-epochs",
                "50",
            ],
            // Of 200 epochs, which is what nobody said, the first stage would have too few.
            &["auto_prog", "--search-epochs", "60", "--image-epochs", "300"],
            &["auto_prog", "--search-epochs", "2", "--epochs", "100"],
            &[&table, "--epochs", "400"],
            &[&table, "--image-epochs", "400"],
            &[&table, "--image-epochs", "400", "--search-epochs", "60"],
        ] {
            let program = Program::try_parse_from(std::iter::once(&"program").chain(words)).expect("valid arguments");
            let (settings, made) = program
                .fit
                .resolve(&program.name, &SchedulePreset::default())
                .unwrap_or_else(|e| panic!("{words:?}: {e}"));
            let mut written = settings.clone();
            written.record(&made);
            let text = toml::to_string(&written).expect("numbers and words");
            let read: SchedulePreset = toml::from_str(&text).expect("it was written");
            let (again, the_same) = Fit::default().resolve(&read.name, &read).expect("it was valid");
            assert_eq!((again, &the_same), (written, &made), "{words:?}");
            let searched = made.search().is_some();
            for (option, passes) in [("--image-epochs", made.image_epochs()), ("--epochs", made.epochs())] {
                let given = words.iter().position(|word| *word == option).map(|at| words[at + 1]);
                if let Some(given) = given.filter(|_| option == "--image-epochs" || searched) {
                    let given: f64 = given.parse().expect("a number");
                    assert!((passes - given).abs() < 1e-6, "{words:?}: {passes} passes");
                }
            }
        }
        let recipe = crate::recipe::Preset::named("auto_prog_deit_small").expect("built in").schedule;
        let schedule = |words: &[&str]| {
            let program = Program::try_parse_from([&["program", "auto_prog"], words].concat()).expect("valid");
            program.fit.schedule(&program.name, &recipe)
        };
        for words in [&[][..], &["--search-epochs", "2"]] {
            assert!((schedule(words).expect("valid").image_epochs() - 100.0).abs() < 1e-6);
        }
        assert_eq!(schedule(&["--epochs", "7"]).expect("a budget for a budget").epochs(), 7.0);
        let released = schedule(&["--released"]).expect_err("the recipe has a budget in passes").to_string();
        assert!(released.starts_with("schedule.image_epochs: released"), "{released}");
        let both = SchedulePreset { epochs: Some(3.0), image_epochs: Some(3.0), ..SchedulePreset::default() };
        assert!(both.schedule().unwrap_err().to_string().starts_with("schedule.image_epochs: "));
    }

    #[test]
    fn a_table_s_search_is_not_overruled_in_silence() {
        let folder = tempfile::tempdir().expect("a folder");
        let stages = "[[stage]]\nuntil = 0.5\nband = 64\nmagnitude = 1\ndepth = 2\n\
                      [[stage]]\nuntil = 1\nband = 64\nmagnitude = 1\ndepth = 4\n";
        let head = "base = 64\npatch = 16\ncrop = 'lanczos'\nepochs = 9.0\nbatch_size = 8\n";
        let write = |name: &str, search: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, format!("{head}{search}{stages}")).expect("written");
            path.to_str().expect("a plain name").to_owned()
        };
        let plain = write("plain.toml", "");
        let search = schedule(&[&plain, "--search-epochs", "1"]).expect("valid").search().copied();
        assert_eq!(search.map(|search| (search.epochs, search.probe)), Some((1.0, 1024)));
        let own = write("own.toml", "[search]\nepochs = 1.5\nprobe = 64\ncost = 'flops'\n");
        let expected = schedule(&[&own]).expect("valid");
        assert_eq!(expected.search().map(|search| (search.epochs, search.probe)), Some((1.5, 64)));
        // What the table says too may be said.
        let same = schedule(&[&own, "--search-cost", "flops", "--epochs", "9"]).expect("valid");
        assert_eq!(same, expected);
        let error = schedule(&[&own, "--search-epochs", "1"]).expect_err("the table differs").to_string();
        assert!(
            error.contains("epochs 1, probe 64") && error.contains("own.toml has a [search] with epochs 1.5"),
            "{error}"
        );
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
