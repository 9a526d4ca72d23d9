//! The schedule and transform that are looked at, and the command that follows.

use super::Args;
use super::advice::Replay;
use crate::cli::fit::Fit;
use crate::loader::Loader;
use crate::recipe::Preset;
use crate::schedule::released::Reuse;
use crate::{Schedule, Source, Stage};
use std::sync::Arc;

/// The schedule and the transform that are looked at.
pub(super) struct Plan<'a> {
    pub(super) args: &'a Args,
    pub(super) preset: Preset,
    pub(super) name: String,
    pub(super) schedule: Schedule,
    pub(super) cores: usize,
}

impl Plan<'_> {
    /// The first stage of each band, smallest band first.
    pub(super) fn bands(&self) -> Vec<&Stage> {
        let mut stages: Vec<&Stage> = self.schedule.stages().iter().collect();
        stages.sort_by_key(|stage| stage.band);
        stages.dedup_by_key(|stage| stage.band);
        stages
    }

    pub(super) fn about(&self) -> String {
        let bands: Vec<String> = self.bands().iter().map(|stage| stage.band.to_string()).collect();
        format!("{}: bands of {} px, base {} px", self.schedule.name(), bands.join(", "), self.schedule.base())
    }

    /// This schedule with a replay, where it knows one by name and none is asked for.
    fn with_replay(&self, reuse: Reuse) -> Option<Schedule> {
        if self.args.fit.replay.is_some() || self.schedule.stages().iter().any(|stage| stage.replay.is_on()) {
            return None;
        }
        let fit = Fit { replay: Some(reuse), ..self.args.fit.clone() };
        fit.schedule(&self.name, &self.preset.schedule).ok()
    }

    /// Fewest uses of an image in the stages of a band.
    fn times(schedule: &Schedule, band: u32) -> u32 {
        schedule.stages().iter().filter(|s| s.band == band).map(|s| s.replay.times).min().unwrap_or(1)
    }

    /// The numbers of uses that replays have at a band.
    pub(super) fn replay_times(&self, band: u32) -> Vec<u32> {
        let mut times: Vec<u32> = [Reuse::Twofold, Reuse::Fourfold]
            .into_iter()
            .filter_map(|reuse| self.with_replay(reuse))
            .map(|schedule| Self::times(&schedule, band))
            .filter(|&times| times > 1)
            .collect();
        times.dedup();
        times
    }

    pub(super) fn replays(&self, source: &Arc<dyn Source>) -> Vec<Replay> {
        let with = |reuse: Reuse| {
            let schedule = self.with_replay(reuse)?;
            let times = self.bands().iter().map(|stage| Self::times(&schedule, stage.band)).collect();
            let loader =
                Loader::builder(source.clone(), schedule).recipe(self.preset.transform.clone()).workers(1).build();
            Some(Replay { reuse, memory: loader.ok()?.memory().replay, times })
        };
        [Reuse::Twofold, Reuse::Fourfold].into_iter().filter_map(with).collect()
    }

    /// `bandfeed train` with what was asked of the doctor and what it advises.
    pub(super) fn command(&self, advised: Vec<String>) -> Vec<String> {
        let source = self.args.source.as_deref().unwrap_or("SOURCE");
        let mut words: Vec<String> = ["bandfeed", "train", "--train", source].map(str::to_owned).into();
        let mut given = |option: &str, value: Option<String>| {
            words.extend(value.map(|value| [option.to_owned(), value]).into_iter().flatten());
        };
        given("--recipe", self.args.recipe.clone());
        let recipe = self.args.recipe.as_ref().map(|_| self.preset.schedule.name.as_str());
        given("--schedule", Some(self.name.clone()).filter(|name| Some(name.as_str()) != recipe));
        let Fit {
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
            prog,
        } = &self.args.fit;
        given("--base", base.map(|v| v.to_string()));
        given("--patch", patch.map(|v| v.to_string()));
        given("--epochs", epochs.map(|v| v.to_string()));
        given("--image-epochs", image_epochs.map(|v| v.to_string()));
        given("--batch-size", batch_size.map(|v| v.to_string()));
        given("--step-batch", step_batch.map(|v| v.to_string()));
        given("--base-parts", base_parts.map(|v| v.to_string()));
        given("--crop", crop.map(|v| v.to_string()));
        given("--replay", replay.map(|v| v.to_string()));
        given("--early-batch", early_batch.map(|v| v.to_string()));
        for (option, value) in prog.given() {
            given(option, value);
        }
        words.extend(released.then(|| "--released".to_owned()));
        words.extend(advised);
        words
    }
}

/// A command as a shell reads it: an option and its value stay on one line of at most 100 characters.
pub(super) fn shell(words: &[String]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,+".contains(c);
    let quoted = |word: &String| match word.chars().all(plain) && !word.is_empty() {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    };
    let mut lines = vec![String::from("  ")];
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let mut part = quoted(word);
        if word.starts_with("--")
            && let Some(value) = words.next_if(|next| !next.starts_with("--"))
        {
            part += &format!(" {}", quoted(value));
        }
        let line = lines.last_mut().expect("there is always one");
        if line.chars().count() + 1 + part.chars().count() > 98 {
            line.push_str(" \\");
            lines.push(format!("      {part}"));
        } else {
            line.push_str(if line.trim().is_empty() { "" } else { " " });
            line.push_str(&part);
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::SchedulePreset;
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn a_command_can_be_pasted() {
        let words = ["bandfeed", "train", "--train", "my data/train-{0..9}.tar", "--released", "--replay", "twofold"];
        let words = words.map(str::to_owned);
        assert_eq!(shell(&words), "  bandfeed train --train 'my data/train-{0..9}.tar' --released --replay twofold");
        let long: Vec<String> = (0..40).map(|i| format!("--option-{i}")).collect();
        let text = shell(&long);
        assert!(text.lines().all(|line| line.len() <= 100) && text.lines().count() > 3, "{text}");
        assert_eq!(text.replace("\\\n", " ").split_whitespace().count(), 40);
    }

    #[test]
    fn the_command_repeats_what_was_asked_for() {
        let command = |words: &[&str]| {
            let args = Program::try_parse_from(std::iter::once(&"doctor").chain(words)).unwrap().args;
            let plan = Plan {
                preset: Preset::named(args.recipe.as_deref().unwrap_or("plain")).unwrap(),
                name: "efficient_train_pp_deit".into(),
                schedule: args.fit.schedule("efficient_train_pp_deit", &SchedulePreset::default()).unwrap(),
                cores: 1,
                args: &args,
            };
            plan.command(vec!["--workers".into(), "3".into()]).join(" ")
        };
        assert_eq!(
            command(&["data", "--base", "96", "--patch", "8"]),
            "bandfeed train --train data --schedule efficient_train_pp_deit --base 96 --patch 8 --workers 3"
        );
        assert_eq!(
            command(&["--recipe", "efficienttrain_pp_deit_small", "--replay", "twofold"]),
            "bandfeed train --train SOURCE --recipe efficienttrain_pp_deit_small --replay twofold --workers 3"
        );
    }

    #[test]
    fn replays_are_those_that_the_schedule_knows() {
        let args = Program::try_parse_from(["doctor"]).unwrap().args;
        let plan = |name: &str| Plan {
            preset: Preset::named("plain").unwrap(),
            name: name.into(),
            schedule: args.fit.schedule(name, &SchedulePreset::default()).unwrap(),
            cores: 1,
            args: &args,
        };
        let known = plan("efficient_train_pp_deit");
        let bands: Vec<u32> = known.bands().iter().map(|stage| stage.band).collect();
        assert!(bands.is_sorted() && bands.last() == Some(&224));
        assert_eq!(
            known.replay_times(bands[0]).last(),
            Some(&Plan::times(&known.with_replay(Reuse::Fourfold).unwrap(), bands[0]))
        );
        assert_eq!(known.replay_times(224), [0; 0]);
        assert_eq!(plan("efficient_train").replay_times(96), [0; 0]);
    }
}
