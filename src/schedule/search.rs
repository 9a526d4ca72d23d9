//! What AutoProg searches through: which sub-networks a stage of growth may choose from (`autoprog.md` §4 \[code\]).
//!
//! ```text
//! schedule ─► growth stages: its stages, or runs of one size ─► candidates (side, depth) of each ─► the chosen one
//! ```
//!
//! A schedule that is searched ([`Schedule::searched`]) runs on the share of **images**, not of compute: what an image will
//! cost nobody knows before the search. Its stages say where growth stages begin and how strong augmentation is there; the
//! sides and depths among them are the values to choose from. [`crate::train::fit_with_search`] does the rest.

#[cfg(feature = "train")]
use super::Shrink;
use super::auto_prog::to_multiple;
use super::{Depth, Schedule, Stage, short};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// What a candidate's cost is taken to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SearchCost {
    /// The measured time of a step, as released. Two runs of one seed may choose differently.
    #[default]
    Time,
    /// Floating-point operations: one seed, one choice.
    Flops,
}

/// How a schedule is searched.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Search {
    /// Passes over the data, of each growth stage's own, that train the supernet before the stage chooses; above 0 and less
    /// than any growth stage but the last has. The losses of the last pass count.
    pub epochs: f64,
    /// Training images by which candidates are compared, on each rank; at least 1. The released code takes 50 batches.
    pub probe: usize,
    /// What a candidate costs.
    pub cost: SearchCost,
    /// Whether the side is chosen too. Otherwise each stage has its own, and only depth is chosen.
    pub tokens: bool,
}

impl Default for Search {
    /// Two passes, as the released script has it, and 1024 images.
    fn default() -> Self {
        Self { epochs: 2.0, probe: 1024, cost: SearchCost::Time, tokens: true }
    }
}

/// A sub-network that a growth stage may be trained with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Candidate {
    /// Side of the images that the model sees, in pixels.
    pub side: u32,
    /// Blocks of the model.
    pub depth: u32,
}

impl std::fmt::Display for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} px, {} blocks", self.side, self.depth)
    }
}

/// A stage of growth: a stage of the schedule, or several of one size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GrowthStage {
    /// Side that the schedule itself has here, in pixels.
    pub side: u32,
    /// Blocks that it has here.
    pub depth: u32,
    /// Share of the run at which it starts.
    pub start: f64,
    /// Share of the run at which it ends.
    pub end: f64,
}

impl Schedule {
    /// How the schedule is searched, if it is.
    pub fn search(&self) -> Option<&Search> {
        self.search.as_ref()
    }

    /// What shares of the run are shares of, in a word.
    #[cfg(feature = "cli")]
    pub(crate) fn clock(&self) -> &'static str {
        if self.search.is_some() { "images" } else { "compute" }
    }

    /// The schedule's stages of growth, to be chosen by `search` while training. The schedule then counts images: stages keep
    /// their shares of the images, and [`Schedule::epochs`], whose number stays, is passes over the data.
    ///
    /// # Errors
    /// [`Error::Config`] if the schedule says nothing of depth or has no stage to choose in, if a value of `search` cannot
    /// work, or if a growth stage is too short for it.
    pub fn searched(self, search: Search) -> Result<Self> {
        let passes = self.epochs;
        self.searched_for(search, passes)
    }

    /// [`Schedule::searched`], with this many passes over the data.
    pub(crate) fn searched_for(mut self, search: Search, passes: f64) -> Result<Self> {
        if self.depth().is_none() {
            let reason =
                format!("the schedule `{}` says nothing of depth; use auto_prog, or give --l-scale", self.name);
            return Err(Error::config("schedule.search", reason));
        }
        if self.search.is_none() {
            let images: Vec<f64> = self.stage_image_epochs().collect();
            // Shares of compute are rounded themselves: a quarter of the images is a quarter.
            lay_out(&mut self.stages, &images, |share| (share * 1e9).round() / 1e9);
        }
        self.search = Some(search);
        self.check_search()?;
        self.with_epochs(passes)
    }

    /// Refuses a search that could not be made, whatever the budget.
    pub(super) fn check_search(&self) -> Result<()> {
        let Some(search) = self.search else { return Ok(()) };
        if self.depth().is_none() {
            return Err(Error::config("schedule.search", "the last stage says nothing of depth"));
        }
        let refuse = |key: &str, reason: String| Err(Error::config(format!("schedule.search.{key}"), reason));
        if !(search.epochs.is_finite() && search.epochs > 0.0) {
            return refuse("epochs", format!("{}: expected a finite number above 0", search.epochs));
        }
        if search.probe == 0 {
            return refuse("probe", "0: expected at least 1 image".into());
        }
        let stages = self.growth_stages();
        let choice =
            |stage: &GrowthStage| stage.depth != stages[0].depth || (search.tokens && stage.side != stages[0].side);
        let Some(last) = stages.last().filter(|_| stages.iter().any(choice)) else {
            let one = if search.tokens { "size and depth" } else { "depth" };
            let reason = format!("all stages have one {one}, so there is nothing to choose; use smaller scales");
            return Err(Error::config("schedule.search", reason));
        };
        if last.depth != self.depth().unwrap_or(last.depth) || last.side != self.stages.last().map_or(0, Stage::side) {
            return Err(Error::config("schedule.search", "the last stage is not the whole model"));
        }
        Ok(())
    }

    /// Refuses a search that the budget is too small for.
    pub(crate) fn check_search_fits(&self) -> Result<()> {
        let Some(search) = self.search else { return Ok(()) };
        let stages = self.growth_stages();
        let before = &stages[..stages.len() - 1];
        let shortest = before.iter().map(|stage| (stage.end - stage.start) * self.epochs).fold(f64::INFINITY, f64::min);
        if search.epochs >= shortest {
            let reason = format!(
                "{} passes over the data, but the shortest growth stage has {shortest:.2}; search for less, or train longer",
                search.epochs
            );
            return Err(Error::config("schedule.search.epochs", reason));
        }
        Ok(())
    }

    /// A schedule that says nothing of depth, with depth that grows wherever its side changes: in equal steps from `l_scale` of
    /// `depth` blocks to all of them, rounded as [`super::Prog`] rounds. Each stage has as many images as before, so the budget
    /// of compute falls. For EfficientTrain++ with AutoProg's growth; a combination of our own.
    ///
    /// # Errors
    /// [`Error::Config`] if it has depth already, if its side never changes, or if a value cannot work.
    pub fn deepening(mut self, depth: u32, l_scale: f64) -> Result<Self> {
        let refuse = |key: &str, reason: String| Err(Error::config(format!("schedule.prog.{key}"), reason));
        if self.depth().is_some() {
            return refuse("l_scale", format!("the schedule `{}` has depths of its own", self.name));
        }
        if depth == 0 || !(l_scale > 0.0 && l_scale <= 1.0) {
            return refuse(
                "l_scale",
                format!("{l_scale} of {depth} blocks: expected above 0, at most 1 of at least 1"),
            );
        }
        let sides: Vec<u32> = self.stages.iter().map(Stage::side).collect();
        let changes = sides.windows(2).filter(|pair| pair[0] != pair[1]).count();
        if changes == 0 {
            return refuse("l_scale", format!("the schedule `{}` has one size only: nowhere to grow", self.name));
        }
        let mut group = 0;
        for (index, stage) in self.stages.iter_mut().enumerate() {
            group += usize::from(index > 0 && sides[index] != sides[index - 1]);
            let scale = if group == changes { 1.0 } else { l_scale + (1.0 - l_scale) * group as f64 / changes as f64 };
            let blocks = to_multiple(scale * f64::from(depth), 1).min(depth);
            stage.growth.depth = Some(Depth { blocks, full: depth });
        }
        // Shares of compute from what stages had, each image of which now costs less.
        let compute: Vec<f64> = self
            .stages
            .iter()
            .map(|stage| stage.share() * f64::from(stage.growth.depth.map_or(depth, |d| d.blocks)) / f64::from(depth))
            .collect();
        let all = lay_out(&mut self.stages, &compute, short);
        self.epochs = short(self.epochs * all);
        Ok(self)
    }

    /// The stages of growth, in order: what the search chooses for. The last one is the whole model. Where the side is chosen too
    /// each of the schedule's stages is one, otherwise each run of stages with one side and depth.
    pub fn growth_stages(&self) -> Vec<GrowthStage> {
        let each = self.search.is_some_and(|search| search.tokens);
        let mut all: Vec<GrowthStage> = Vec::new();
        for stage in &self.stages {
            let (side, depth) = (stage.side(), stage.growth.depth.map_or(0, |depth| depth.blocks));
            match all.last_mut().filter(|last| !each && (last.side, last.depth) == (side, depth)) {
                Some(last) => last.end = stage.end,
                None => all.push(GrowthStage { side, depth, start: stage.start, end: stage.end }),
            }
        }
        all
    }

    /// What the growth stage of this number may be trained with, `before` being what the one before was: all of its sides with
    /// all of its depths, in order. One candidate is no choice; the last stage has one, the whole model.
    ///
    /// The first stage has the smallest, the middle and the largest of sides and depths; later ones the side as it is and the
    /// next, and up to three depths from the next one on, so that depth grows until it is whole (§4.1).
    pub fn candidates(&self, stage: usize, before: Option<Candidate>) -> Vec<Candidate> {
        let stages = self.growth_stages();
        let last = stages[stages.len() - 1];
        if stage + 1 >= stages.len() {
            return vec![Candidate { side: last.side, depth: last.depth }];
        }
        let sorted = |value: fn(&GrowthStage) -> u32| {
            let mut values: Vec<u32> = stages.iter().map(value).collect();
            values.sort_unstable();
            values.dedup();
            values
        };
        let spread = |values: &[u32]| {
            let mut three = vec![values[0], values[values.len() / 2], values[values.len() - 1]];
            three.dedup();
            three
        };
        let (sides, depths) = (sorted(|stage| stage.side), sorted(|stage| stage.depth));
        let from = |values: &[u32], own: u32| values.partition_point(|&value| value < own).min(values.len() - 1);
        let (sides, depths) = match before {
            None => (spread(&sides), spread(&depths)),
            Some(Candidate { side, depth }) => {
                let (own, deeper) = (from(&sides, side), depths.partition_point(|&value| value <= depth));
                let deeper = deeper.min(depths.len() - 1);
                (sides[own..].iter().take(2).copied().collect(), depths[deeper..].iter().take(3).copied().collect())
            }
        };
        let sides = if self.search.is_some_and(|search| search.tokens) { sides } else { vec![stages[stage].side] };
        sides.iter().flat_map(|&side| depths.iter().map(move |&depth| Candidate { side, depth })).collect()
    }

    /// `stage` with the size of `candidate`: band, batch and the trainer's own shrinking are those of the schedule's stage of
    /// that side; strength of augmentation stays.
    pub fn sub_network(&self, stage: &Stage, candidate: Candidate) -> Stage {
        let own = std::iter::once(stage).chain(&self.stages).find(|own| own.side() == candidate.side);
        let Stage { band, crop, batch_size, accumulate, replay, rate_scale, .. } = *own.unwrap_or(stage);
        let mut growth = stage.growth;
        growth.shrink = own.and_then(|own| own.growth.shrink);
        growth.depth = self.depth().map(|full| Depth { blocks: candidate.depth, full });
        Stage { band, crop, batch_size, accumulate, replay, rate_scale, growth, ..stage.clone() }
    }

    /// `stage` while its supernet is trained: the size of the largest of `candidates`, and the last stage's strength of
    /// augmentation (§4.3).
    pub fn supernet(&self, stage: &Stage, candidates: &[Candidate]) -> Stage {
        let side = candidates.iter().map(|c| c.side).max().unwrap_or(stage.side());
        let depth = candidates.iter().map(|c| c.depth).max().unwrap_or(1);
        let last = &self.stages[self.stages.len() - 1];
        let mut growth = last.growth;
        growth.search = true;
        let strong = Stage { magnitude: last.magnitude, growth, ..stage.clone() };
        self.sub_network(&strong, Candidate { side, depth })
    }
}

impl Schedule {
    /// How the trainer brings larger images to `side` pixels: as the schedule's stage of that side does, where one does, and
    /// otherwise by resizing.
    #[cfg(feature = "train")]
    pub(crate) fn shrink_to(&self, side: u32) -> Shrink {
        let own = self.stages.iter().filter(|stage| stage.side() == side).find_map(|stage| stage.growth.shrink);
        own.unwrap_or(Shrink::Resize(side))
    }
}

/// Gives stages shares of the run in proportion to `amounts`, the last one ending at exactly 1; returns the amounts' sum.
fn lay_out(stages: &mut [Stage], amounts: &[f64], round: impl Fn(f64) -> f64) -> f64 {
    let all: f64 = amounts.iter().sum();
    let (mut used, mut start, last) = (0.0, 0.0, stages.len() - 1);
    for (index, (stage, amount)) in stages.iter_mut().zip(amounts).enumerate() {
        used += amount;
        (stage.start, stage.end) = (start, if index == last { 1.0 } else { round(used / all) });
        start = stage.end;
    }
    all
}

impl std::fmt::Display for Search {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { epochs, probe, cost, tokens } = self;
        write!(f, "epochs {epochs}, probe {probe}, cost {cost}, tokens {tokens}")
    }
}

impl std::fmt::Display for SearchCost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Time => "time",
            Self::Flops => "flops",
        })
    }
}

impl std::str::FromStr for SearchCost {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "time" => Ok(Self::Time),
            "flops" => Ok(Self::Flops),
            _ => Err(Error::config("search_cost", format!("`{s}` is not known; use time or flops"))),
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "train")]
    use super::super::TokensBy;
    use super::super::{Options, Prog};
    use super::*;

    fn volo(search: Search) -> Schedule {
        let options = Options { prog: Prog { depth: 18, ..Prog::default() }, epochs: 100.0, ..Options::default() };
        Schedule::auto_prog(&options).unwrap().searched(search).unwrap()
    }

    fn sizes(candidates: &[Candidate]) -> (Vec<u32>, Vec<u32>) {
        let set = |value: fn(&Candidate) -> u32| {
            let mut all: Vec<u32> = candidates.iter().map(value).collect();
            all.sort_unstable();
            all.dedup();
            all
        };
        let (sides, depths) = (set(|c| c.side), set(|c| c.depth));
        assert_eq!(candidates.len(), sides.len() * depths.len());
        (sides, depths)
    }

    #[test]
    fn candidates_are_the_published_ones() {
        let schedule = volo(Search::default());
        assert_eq!(sizes(&schedule.candidates(0, None)), (vec![128, 192, 224], vec![9, 15, 18]));
        let after = |stage, side, depth| sizes(&schedule.candidates(stage, Some(Candidate { side, depth })));
        assert_eq!(after(1, 128, 9), (vec![128, 160], vec![12, 15, 18]));
        assert_eq!(after(1, 192, 15), (vec![192, 224], vec![18]));
        assert_eq!(after(2, 224, 12), (vec![224], vec![15, 18]));
        assert_eq!(after(2, 160, 18), (vec![160, 192], vec![18]));
        assert_eq!(after(3, 128, 9), (vec![224], vec![18]));
        let depth_only = volo(Search { tokens: false, ..Search::default() });
        assert_eq!(sizes(&depth_only.candidates(0, None)), (vec![128], vec![9, 15, 18]));
        let before = Candidate { side: 128, depth: 9 };
        assert_eq!(sizes(&depth_only.candidates(1, Some(before))), (vec![160], vec![12, 15, 18]));
    }

    #[test]
    fn a_searched_schedule_counts_images() {
        let schedule = volo(Search::default());
        assert_eq!(schedule.stages().iter().map(|s| s.end).collect::<Vec<_>>(), [0.25, 0.5, 0.75, 1.0]);
        assert_eq!(schedule.images(1000), [25_000; 4]);
        assert_eq!((schedule.epochs(), schedule.image_epochs()), (100.0, 100.0));
        assert_eq!(schedule.decoded_epochs(), 100.0);
        assert_eq!(schedule.clone().with_image_epochs(40.0).unwrap().epochs(), 40.0);
        let read = Schedule::from_toml(&schedule.to_toml(), &Options::default()).unwrap();
        assert_eq!(read, schedule);
    }

    #[test]
    fn depth_grows_with_the_bands_of_efficient_train_and_stages_keep_their_images() {
        let plain = Schedule::named("efficient_train_pp", &Options::default()).unwrap();
        let deep = plain.clone().deepening(8, 0.5).unwrap();
        let depths: Vec<u32> = deep.stages().iter().map(|s| s.growth.depth.unwrap().blocks).collect();
        assert_eq!(depths, [4, 4, 6, 6, 6, 6, 8, 8, 8, 8]);
        for (a, b) in plain.images(1_000_000).into_iter().zip(deep.images(1_000_000)) {
            assert!(a.abs_diff(b) <= 1, "{a} {b}");
        }
        // 0.2 x 4/8 + 0.4 x 6/8 + 0.4 of the budget.
        assert!((deep.epochs() - 0.8 * plain.epochs()).abs() < 1e-6);
        let searched = deep.clone().searched(Search { tokens: false, ..Search::default() }).unwrap();
        assert_eq!(searched.growth_stages().len(), 3);
        let share = plain.images(1_000_000)[0] as f64 / plain.images(1_000_000).iter().sum::<u64>() as f64;
        assert!((searched.stages()[0].end - share).abs() < 1e-6);
        let error = deep.deepening(8, 0.5).unwrap_err().to_string();
        assert!(error.contains("has depths of its own"), "{error}");
        let constant = Schedule::constant(&Options::default()).unwrap();
        assert!(constant.deepening(8, 0.5).unwrap_err().to_string().contains("nowhere to grow"));
    }

    #[test]
    fn a_stage_of_the_search_has_the_largest_size_and_the_last_strength() {
        let schedule = volo(Search::default());
        let candidates = schedule.candidates(1, Some(Candidate { side: 128, depth: 9 }));
        let first = &schedule.stages()[1];
        let stage = schedule.supernet(first, &candidates);
        assert_eq!((stage.index, stage.band, stage.growth.depth.unwrap().blocks), (1, 160, 18));
        assert_eq!((stage.magnitude, stage.growth.drop_path, stage.growth.search), (9.0, Some(0.1), true));
        let chosen = schedule.sub_network(first, Candidate { side: 128, depth: 12 });
        assert_eq!((chosen.band, chosen.growth.depth.unwrap().blocks, chosen.growth.search), (128, 12, false));
        assert_eq!((chosen.magnitude, chosen.growth.drop_path), (first.magnitude, first.growth.drop_path));
        #[cfg(feature = "train")]
        for (by, expected) in [
            (TokensBy::Band, Shrink::Resize(128)),
            (TokensBy::Resize, Shrink::Resize(128)),
            (TokensBy::Patch, Shrink::Patch(128)),
        ] {
            let prog = Prog { depth: 18, tokens_by: by, ..Prog::default() };
            let options = Options { prog, epochs: 100.0, ..Options::default() };
            let schedule = Schedule::auto_prog(&options).unwrap().searched(Search::default()).unwrap();
            assert_eq!(schedule.shrink_to(128), expected, "{by}");
        }
    }

    #[test]
    fn what_cannot_be_searched_is_refused() {
        let auto = |epochs| Schedule::auto_prog(&Options { epochs, ..Options::default() }).unwrap();
        let refused = |schedule: Schedule, search| schedule.searched(search).unwrap_err().to_string();
        let error = refused(auto(8.0), Search::default());
        assert!(error.contains("search.epochs: 2 passes") && error.contains("has 2.00"), "{error}");
        assert!(refused(auto(9.0), Search { epochs: 0.0, ..Search::default() }).contains("above 0"));
        assert!(refused(auto(9.0), Search { probe: 0, ..Search::default() }).contains("at least 1 image"));
        let plain = Schedule::named("efficient_train_pp", &Options::default()).unwrap();
        assert!(refused(plain, Search::default()).contains("nothing of depth"));
        let prog = Prog { r_scale: 1.0, l_scale: 1.0, ..Prog::default() };
        let flat = Schedule::auto_prog(&Options { prog, ..Options::default() }).unwrap();
        assert!(refused(flat, Search::default()).contains("nothing to choose"));
        let wide = Prog { l_scale: 1.0, ..Prog::default() };
        let wide = Schedule::auto_prog(&Options { prog: wide, ..Options::default() }).unwrap();
        assert!(wide.clone().searched(Search::default()).is_ok());
        assert!(refused(wide, Search { tokens: false, ..Search::default() }).contains("all stages have one depth"));
    }
}
