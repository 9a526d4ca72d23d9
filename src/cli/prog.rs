//! The options of `auto_prog`.

use crate::recipe::SchedulePreset;
#[cfg(feature = "train")]
use crate::schedule::Schedule;
use crate::schedule::{Prog, Search, SearchCost, TokensBy};
use crate::{Error, Result};

/// What `auto_prog` is made of; `[schedule.prog]` of a run file has all of it.
#[derive(Debug, Clone, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Growth (auto_prog)")]
pub struct ProgArgs {
    /// Stages of as many images each [default: 4].
    #[arg(long, value_name = "K")]
    pub num_stages: Option<usize>,
    /// Blocks of the whole model [default: 12; when training, the model's].
    #[arg(long, value_name = "N")]
    pub layers: Option<u32>,
    /// First resolution relative to the base [default: 0.5].
    #[arg(long, value_name = "SCALE")]
    pub r_scale: Option<f64>,
    /// First depth relative to the whole model's [default: 0.5].
    #[arg(long, value_name = "SCALE")]
    pub l_scale: Option<f64>,
    /// First RandAugment magnitude relative to the last, 9; where it comes to 0, RandAugment is off [default: 0.5].
    #[arg(long, value_name = "SCALE", allow_negative_numbers = true)]
    pub aa_scale: Option<f64>,
    /// First chance of drop path relative to the last, 0.1 [default: 0].
    #[arg(long, value_name = "SCALE", allow_negative_numbers = true)]
    pub dp_scale: Option<f64>,
    /// First chance of random erasing relative to the last, 0.25 [default: 0].
    #[arg(long, value_name = "SCALE", allow_negative_numbers = true)]
    pub re_scale: Option<f64>,
    /// How tokens grow: band (the loader makes smaller images), resize (the trainer makes whole images smaller) or patch (larger
    /// patches of whole images) [default: band].
    #[arg(long, value_name = "WAY")]
    pub tokens_by: Option<TokensBy>,
    /// Search depth and resolution of each stage while training, for so many passes over the data at its begin: AutoProg. The budget
    /// is then in passes. Under efficient_train and the like depth is searched, and grows with the band [default: no search].
    #[arg(long, value_name = "PASSES")]
    pub search_epochs: Option<f64>,
    /// Training images by which the search compares [default: 1024].
    #[arg(long, value_name = "IMAGES")]
    pub search_probe: Option<usize>,
    /// What a candidate costs: time, as measured, or flops, by which one seed always chooses the same [default: time].
    #[arg(long, value_name = "WHAT")]
    pub search_cost: Option<SearchCost>,
    /// Whether resolution is searched beside depth [default: true with auto_prog].
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set)]
    pub search_tokens: Option<bool>,
}

impl From<&SchedulePreset> for ProgArgs {
    fn from(preset: &SchedulePreset) -> Self {
        let search = preset.search;
        let none = Self {
            search_epochs: search.map(|search| search.epochs),
            search_probe: search.map(|search| search.probe),
            search_cost: search.map(|search| search.cost),
            search_tokens: search.map(|search| search.tokens),
            ..Self::default()
        };
        let Some(prog) = preset.prog else { return none };
        Self {
            num_stages: Some(prog.num_stages),
            layers: Some(prog.depth),
            r_scale: Some(prog.r_scale),
            l_scale: Some(prog.l_scale),
            aa_scale: Some(prog.aa_scale),
            dp_scale: Some(prog.dp_scale),
            re_scale: Some(prog.re_scale),
            tokens_by: Some(prog.tokens_by),
            ..none
        }
    }
}

impl ProgArgs {
    /// The options given, and where they are silent `prog`'s; `None` if nobody says anything.
    pub(super) fn over(&self, prog: Option<Prog>) -> Option<Prog> {
        if self.sizes() == Self::default() {
            return prog;
        }
        let own = prog.unwrap_or_default();
        Some(Prog {
            num_stages: self.num_stages.unwrap_or(own.num_stages),
            depth: self.layers.unwrap_or(own.depth),
            r_scale: self.r_scale.unwrap_or(own.r_scale),
            l_scale: self.l_scale.unwrap_or(own.l_scale),
            aa_scale: self.aa_scale.unwrap_or(own.aa_scale),
            dp_scale: self.dp_scale.unwrap_or(own.dp_scale),
            re_scale: self.re_scale.unwrap_or(own.re_scale),
            tokens_by: self.tokens_by.unwrap_or(own.tokens_by),
            ..own
        })
    }

    /// The options of the schedule itself: all but the search's.
    fn sizes(&self) -> Self {
        Self { search_epochs: None, search_probe: None, search_cost: None, search_tokens: None, ..self.clone() }
    }

    /// The same of the search.
    pub(super) fn search_over(&self, search: Option<Search>, schedule: &str) -> Option<Search> {
        if *self == self.sizes() {
            return search;
        }
        let own = search.unwrap_or(Search { tokens: is_auto_prog(schedule), ..Search::default() });
        Some(Search {
            epochs: self.search_epochs.unwrap_or(own.epochs),
            probe: self.search_probe.unwrap_or(own.probe),
            cost: self.search_cost.unwrap_or(own.cost),
            tokens: self.search_tokens.unwrap_or(own.tokens),
        })
    }

    /// Says how deep the model is where nobody does and the schedule must know: `blocks`, the model's.
    #[cfg(feature = "train")]
    pub(super) fn fill_depth(&self, schedule: &mut SchedulePreset, blocks: u32) {
        let name = schedule.name.as_str();
        let searched = schedule.search.is_some() || *self != self.sizes();
        let grows = is_auto_prog(name) || (!name.ends_with(".toml") && (self.l_scale.is_some() || searched));
        if self.layers.is_none() && (grows || schedule.prog.is_some()) {
            schedule.prog.get_or_insert_default().depth = blocks;
        }
    }

    /// The options that were given, as a command has them.
    pub(super) fn given(&self) -> [(&'static str, Option<String>); 12] {
        let number = |value: Option<f64>| value.map(|value| value.to_string());
        [
            ("--num-stages", self.num_stages.map(|value| value.to_string())),
            ("--layers", self.layers.map(|value| value.to_string())),
            ("--r-scale", number(self.r_scale)),
            ("--l-scale", number(self.l_scale)),
            ("--aa-scale", number(self.aa_scale)),
            ("--dp-scale", number(self.dp_scale)),
            ("--re-scale", number(self.re_scale)),
            ("--tokens-by", self.tokens_by.map(|value| value.to_string())),
            ("--search-epochs", number(self.search_epochs)),
            ("--search-probe", self.search_probe.map(|value| value.to_string())),
            ("--search-cost", self.search_cost.map(|value| value.to_string())),
            ("--search-tokens", self.search_tokens.map(|value| value.to_string())),
        ]
    }

    /// Refuses options of growth with a schedule that does not look at them.
    pub(super) fn check(&self, name: &str) -> Result<()> {
        let sizes = self.sizes();
        let refuse = |reason: String| Err(Error::config("schedule.prog", reason));
        if name.ends_with(".toml") && sizes != Self::default() {
            return refuse(format!("options of growth are given, but {name} says depth by stage; change it there"));
        }
        let depth_only = Self { layers: sizes.layers, l_scale: sizes.l_scale, ..Self::default() };
        if is_auto_prog(name) || sizes == depth_only {
            return Ok(());
        }
        refuse(format!(
            "these options of growth are for auto_prog; `{name}` takes --l-scale, --layers and those of the search"
        ))
    }
}

/// Whether this is the schedule whose options these are.
pub(super) fn is_auto_prog(name: &str) -> bool {
    name.replace('-', "_") == "auto_prog"
}

/// The decay of a running mean to grow from where none is given: over a fiftieth of the run's steps, as the slowest of the
/// published means is over 2 of 100 epochs (`autoprog.md` §3), to two digits.
#[cfg(feature = "train")]
pub(super) fn decay_to_grow_from(schedule: &Schedule, images: u64) -> f64 {
    let images = schedule.images(images).into_iter().zip(schedule.stages());
    let steps: f64 = images.map(|(n, stage)| n as f64 / stage.effective_batch() as f64).sum();
    let share = (50.0 / steps).clamp(1e-6, 0.5);
    let unit = 10f64.powf(share.log10().floor() - 1.0);
    // Written as a person would: 0.998, not what is left of it in binary.
    format!("{:.8}", 1.0 - (share / unit).round() * unit).parse().expect("it was a number")
}

#[cfg(test)]
mod tests {
    use super::super::fit::Fit;
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        name: String,
        #[command(flatten)]
        fit: Fit,
    }

    #[test]
    fn options_reach_the_schedule_and_are_refused_by_others() {
        let schedule = |words: &[&str]| {
            let program = Program::try_parse_from(std::iter::once(&"program").chain(words)).expect("valid arguments");
            program.fit.schedule(&program.name, &SchedulePreset::default())
        };
        let words = ["auto-prog", "--layers", "18", "--num-stages", "2", "--aa-scale", "-1", "--tokens-by", "resize"];
        let fitted = schedule(&words).expect("valid");
        assert_eq!((fitted.stages().len(), fitted.depth()), (2, Some(18)));
        let first = &fitted.stages()[0];
        assert_eq!((first.band, first.side(), first.growth.augment), (224, 128, false));
        let error = schedule(&["constant", "--layers", "18"]).expect_err("constant does not grow").to_string();
        assert!(error.starts_with("schedule.prog.l_scale: ") && error.contains("nowhere to grow"), "{error}");
        let error = schedule(&["efficient_train", "--r-scale", "0.5"]).expect_err("its bands are its own").to_string();
        assert!(error.starts_with("schedule.prog: "), "{error}");
        let deep = schedule(&["efficient_train", "--layers", "8", "--l-scale", "0.5"]).expect("valid");
        assert_eq!((deep.depth(), deep.stages()[0].growth.depth.map(|d| d.blocks)), (Some(8), Some(4)));
        let words = ["auto_prog", "--epochs", "40", "--search-epochs", "3", "--search-cost", "flops"];
        let expected = Search { epochs: 3.0, cost: SearchCost::Flops, ..Search::default() };
        assert_eq!(schedule(&words).expect("valid").search(), Some(&expected));
        let words = ["efficient_train_pp", "--l-scale", "0.5", "--search-probe", "64", "--image-epochs", "50"];
        let searched = schedule(&words).expect("valid");
        assert_eq!(searched.search(), Some(&Search { probe: 64, tokens: false, ..Search::default() }));
        assert_eq!(searched.epochs(), 50.0);
        assert!((searched.image_epochs() - 50.0).abs() < 1e-9);
    }

    #[cfg(feature = "train")]
    #[test]
    fn the_mean_to_grow_from_is_over_a_fiftieth_of_the_run() {
        let decay = |images, epochs| {
            let options = crate::schedule::Options { batch_size: 100, epochs, ..Default::default() };
            decay_to_grow_from(&Schedule::auto_prog(&options).unwrap().with_image_epochs(epochs).unwrap(), images)
        };
        // 12800 images in batches of 100 for 100 epochs: 12800 steps, 256 of them.
        assert_eq!(decay(12_800, 100.0), 0.9961);
        assert_eq!(decay(100, 10.0), 0.5);
    }
}
