//! What to do with this machine: rules from measured facts to options of `bandfeed train`, and why.
//!
//! Nothing here asks the system, so every rule is tested with machines that nobody has at hand.

use super::page::{Line, count, size};
use crate::cli::machine::mount::Place;
use crate::schedule::released::Reuse;

/// What the rules look at.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Facts {
    /// Threads of this process that can run at once.
    pub(super) cores: usize,
    /// Other programs took the cores while it was measured.
    pub(super) busy: bool,
    /// Bytes that may still be taken; `None` where the system does not tell.
    pub(super) memory_free: Option<u64>,
    /// Bytes of the schedule's largest batch.
    pub(super) batch: u64,
    /// Batches in memory beside those made ahead.
    pub(super) batches_beside: u64,
    pub(super) data: Option<Data>,
    /// Images a second that the trainer takes at the base size.
    pub(super) wanted: Option<f64>,
    /// Side of the images at the end of training.
    pub(super) base: u32,
    /// Images a second by workers, fewest workers first; all at one band.
    pub(super) scaling: Vec<(usize, f64)>,
    /// Smallest first. Empty where nothing was measured.
    pub(super) bands: Vec<Band>,
    /// Those that the schedule knows, weakest first.
    pub(super) replays: Vec<Replay>,
}

/// The data set.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Data {
    /// A file for each image.
    pub(super) folder: bool,
    pub(super) bytes: u64,
    pub(super) place: Option<Place>,
    pub(super) rotational: Option<bool>,
    /// Images a second that the storage gives when they are not in memory.
    pub(super) cold: Option<f64>,
    /// Share of the workers' time that went into opening and reading files which were in memory.
    pub(super) read_share: f64,
    /// Share of the images that are progressive JPEGs.
    pub(super) progressive: f64,
}

/// What the loader makes of one band with all cores, in images a second.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Band {
    pub(super) band: u32,
    pub(super) rate: f64,
    /// Augmented on the band; measured only where the rate falls short.
    pub(super) on_band: Option<f64>,
    /// With this many uses of each decoded image, likewise.
    pub(super) replayed: Vec<(u32, f64)>,
}

/// A replay that the schedule could have.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Replay {
    pub(super) reuse: Reuse,
    /// Bytes of its buffer at most.
    pub(super) memory: u64,
    /// Fewest uses of an image in the stages of each band, in the order of [`Facts::bands`].
    pub(super) times: Vec<u32>,
}

/// What to do, why, and as options.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Advice {
    pub(super) lines: Vec<Line>,
    pub(super) options: Vec<String>,
}

impl Advice {
    fn option(&mut self, name: &str, value: impl ToString) {
        self.options.extend([name.to_owned(), value.to_string()]);
    }
}

pub(super) fn advise(facts: &Facts) -> Advice {
    let mut advice = Advice::default();
    workers(facts, &mut advice);
    let left = memory(facts, &mut advice);
    feeding(facts, left, &mut advice);
    storage(facts, &mut advice);
    advice
}

impl Facts {
    /// Images a second that the storage is asked for at most: the loader asks for no more than it can make, and the trainer for no
    /// more than it takes.
    fn asked(&self) -> f64 {
        let most = |rate: &dyn Fn(&Band) -> f64| self.bands.iter().map(rate).fold(0.0, f64::max);
        let makes = most(&|band| band.rate);
        self.wanted.map_or(makes, |wanted| makes.min(most(&|band| needed(wanted, self.base, band.band))))
    }

    /// Storage whose answers come late now and then, so that more should be under way.
    fn is_uneven(&self) -> bool {
        let Some(data) = &self.data else { return false };
        let near = match data.cold {
            Some(cold) => cold < 2.0 * self.asked(),
            None => data.rotational == Some(true),
        };
        data.is_remote() || near
    }
}

impl Data {
    fn is_remote(&self) -> bool {
        matches!(self.place, Some(Place::Network | Place::Host | Place::Program))
    }
}

/// The fewest workers that come within a twentieth of the most images a second.
fn workers(facts: &Facts, advice: &mut Advice) {
    let best = facts.scaling.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    let chosen = facts.scaling.iter().find(|(_, rate)| *rate >= 0.95 * best);
    let (workers, why) = match (chosen, facts.scaling.first()) {
        (Some(&(workers, _)), _) if facts.busy && workers < facts.cores => {
            let text =
                "other programs were busy on them while it was measured, so that the rates by workers tell nothing";
            (facts.cores, format!("as many as the {} that may be used: {text}", count(facts.cores as f64, "core")))
        }
        (Some(&(workers, rate)), Some(&(1, alone))) if workers > 1 => {
            let more = if workers < facts.cores { "; more bring nothing" } else { "" };
            (
                workers,
                format!(
                    "{workers} made {:.2} times the images of 1 ({rate:.0} and {alone:.0} a second){more}",
                    rate / alone
                ),
            )
        }
        (Some(&(workers, rate)), _) if facts.cores > workers => {
            (workers, format!("{workers} made {rate:.0} images a second, and more brought nothing"))
        }
        (Some(&(workers, rate)), _) => {
            (workers, format!("{workers} made {rate:.0} images a second; there is no other core"))
        }
        (None, _) => (
            facts.cores,
            format!("as many as the {} that may be used; not measured", count(facts.cores as f64, "core")),
        ),
    };
    advice.lines.push(Line::ok("workers", why));
    advice.option("--workers", workers);
}

/// How many batches ahead, within the memory there is. What is left for a replay buffer, where that is known.
fn memory(facts: &Facts, advice: &mut Advice) -> Option<u64> {
    /// More do not help a trainer of even steps; a slow or uneven storage is worth twice as many.
    const USUAL: u64 = 4;
    let uneven = facts.is_uneven();
    let wished = if uneven { 2 * USUAL } else { USUAL };
    let needs = |ahead: u64| (ahead + facts.batches_beside) * facts.batch;
    let Some(budget) = facts.memory_free.map(|free| free / 4 * 3) else {
        advice.lines.push(Line::ok("prefetch", format!("{wished} batches, at most {} of memory", size(needs(wished)))));
        advice.option("--prefetch", wished);
        return None;
    };
    if needs(1) > budget {
        advice.lines.push(Line::problem(
            "prefetch",
            format!(
                "one batch ahead already needs {}, and {} (three quarters of the free memory) may be used; give a smaller --batch-size",
                size(needs(1)),
                size(budget)
            ),
        ));
        return Some(0);
    }
    // A replay buffer and decoders want room, too: batches get half.
    let ahead = (1..=wished).rev().find(|&ahead| needs(ahead) <= budget / 2).unwrap_or(1);
    let text = format!(
        "{ahead} batches ahead, at most {} of the {} that batches and replay may take",
        size(needs(ahead)),
        size(budget)
    );
    advice.lines.push(match (ahead < wished, uneven) {
        (true, _) => {
            Line::note("prefetch", format!("{text}; {wished} would be better, and need {}", size(needs(wished))))
        }
        (false, true) => {
            Line::ok("prefetch", format!("{text}; twice as many as usual, for storage that is slow or uneven"))
        }
        (false, false) => Line::ok("prefetch", text),
    });
    advice.option("--prefetch", ahead);
    advice.lines.push(Line::ok("memory limit", format!("{}: three quarters of what is free", size(budget))));
    advice.option("--memory-limit", budget / 1_000_000);
    Some(budget - needs(ahead))
}

/// Images a second that a trainer takes at a band, for the compute that it has at the base size.
pub(super) fn needed(wanted: f64, base: u32, band: u32) -> f64 {
    wanted * (f64::from(base) / f64::from(band)).powi(2)
}

/// How many times the loader reaches what is needed, at the band where it is scarcest below the base size.
fn worst(facts: &Facts, wanted: f64, rate: impl Fn(usize, &Band) -> f64) -> Option<(f64, u32)> {
    let below = facts.bands.iter().enumerate().filter(|(_, band)| band.band < facts.base);
    below
        .map(|(i, band)| (rate(i, band) / needed(wanted, facts.base, band.band), band.band))
        .min_by(|a, b| a.0.total_cmp(&b.0))
}

/// Whether the loader feeds the trainer, and what to change if not: the gentlest change that is enough.
fn feeding(facts: &Facts, left: Option<u64>, advice: &mut Advice) {
    if facts.bands.is_empty() {
        return;
    }
    let Some(wanted) = facts.wanted else {
        let fed = |band: &Band| band.rate / needed(1.0, facts.base, band.band);
        if let Some(least) = facts.bands.iter().min_by(|a, b| fed(a).total_cmp(&fed(b))) {
            let text = format!(
                "a trainer that takes up to {:.0} images a second at {} px is fed throughout; {} px is the scarcest. Give its \
                 speed as --train-images-per-second for advice on a faster one",
                fed(least),
                facts.base,
                least.band
            );
            advice.lines.push(Line::ok("feeds", text));
        }
        return;
    };
    if let Some(band) = facts.bands.iter().find(|band| band.band == facts.base && band.rate < wanted) {
        let text = format!(
            "at {} px the loader makes {:.0} images a second of the {wanted:.0} that the trainer takes: it will wait {:.0} % of its \
             time there. Only more cores help at the full size",
            band.band,
            band.rate,
            100.0 * (1.0 - band.rate / wanted)
        );
        advice.lines.push(Line::note("base size", text));
    }
    let Some((plain, at)) = worst(facts, wanted, |_, band| band.rate) else { return };
    if plain >= 1.0 {
        let text = format!(
            "the loader makes {plain:.1} times what the trainer takes at {at} px, where it is scarcest; no replay is needed"
        );
        advice.lines.push(Line::ok("feeds", text));
        return;
    }
    let short = format!("at {at} px the trainer takes {:.1} times what the loader makes", plain.recip());
    advice.lines.push(Line::note("short", short));

    let mut reached = plain;
    let gains =
        worst(facts, wanted, |_, band| band.on_band.unwrap_or(band.rate)).filter(|(ratio, _)| *ratio >= 1.05 * plain);
    if let Some((ratio, _)) = gains {
        reached = ratio;
        let text = format!(
            "augmenting on the band instead of the base size makes {:.2} times as many images there; docs/recipes.md tells what it changes",
            ratio / plain
        );
        advice.lines.push(Line::ok("augment at", text));
        advice.option("--augment-at", "band");
    }
    if reached < 1.0 {
        reached = replay(facts, wanted, left, reached, advice);
    }
    if reached >= 1.0 {
        let text = format!(
            "with that the loader makes {reached:.2} times what the trainer takes, at the band where it is scarcest"
        );
        advice.lines.push(Line::ok("then fed", text));
    } else {
        let text = format!(
            "the trainer will still wait {:.0} % of its time at the scarcest band. What is left: more cores, or a trainer that is \
             slower than it could be. Packed records, whose bytes fall with the band, are not in this version",
            100.0 * (1.0 - reached)
        );
        advice.lines.push(Line::note("still short", text));
    }
}

/// Turns on the weakest replay that is enough, or the strongest that fits the memory. What is reached with it.
fn replay(facts: &Facts, wanted: f64, left: Option<u64>, before: f64, advice: &mut Advice) -> f64 {
    let reach = |replay: &Replay| {
        worst(facts, wanted, |i, band| {
            let times = replay.times.get(i).copied().unwrap_or(1);
            let measured = band.replayed.iter().find(|(n, _)| *n == times).map(|(_, rate)| *rate);
            measured.unwrap_or_else(|| band.on_band.unwrap_or(band.rate).max(band.rate))
        })
        .map_or(before, |(ratio, _)| ratio)
    };
    let fits = |replay: &&Replay| left.is_none_or(|left| replay.memory <= left);
    if facts.replays.is_empty() {
        let text = "this schedule has none by name; a table of its own can say `replay` by stage (`bandfeed schedule NAME --toml`)";
        advice.lines.push(Line::note("replay", text));
        return before;
    }
    let mut fitting = facts.replays.iter().filter(fits);
    let enough = fitting.clone().find(|replay| reach(replay) >= 1.0);
    let best = enough.or_else(|| fitting.by_ref().max_by(|a, b| reach(a).total_cmp(&reach(b))));
    let strongest = facts.replays.iter().max_by(|a, b| reach(a).total_cmp(&reach(b)));
    let reached = match best.filter(|replay| reach(replay) >= 1.05 * before) {
        Some(replay) => {
            let text = format!(
                "{}: {:.1} times as many images at the scarcest band, from a buffer of at most {}; images come again there, so it \
                 is no free gain",
                replay.reuse,
                reach(replay) / before,
                size(replay.memory)
            );
            advice.lines.push(Line::ok("replay", text));
            advice.option("--replay", replay.reuse);
            reach(replay)
        }
        None => before,
    };
    if let Some(strongest) = strongest.filter(|replay| !fits(replay) && reached < 1.0) {
        let text = format!(
            "{} would reach {:.1} times what the trainer takes, but its buffer may need {} and {} is left; a schedule's table can \
             say a smaller `replay_capacity`",
            strongest.reuse,
            reach(strongest),
            size(strongest.memory),
            size(left.unwrap_or(0))
        );
        advice.lines.push(Line::note("replay", text));
    }
    reached
}

/// Whether the bytes come fast enough, and in the right form.
fn storage(facts: &Facts, advice: &mut Advice) {
    let Some(data) = &facts.data else { return };
    let fits = facts.memory_free.is_some_and(|free| data.bytes <= free);
    let asked = facts.asked();
    let slow = data.cold.is_some_and(|cold| cold < asked);
    if let Some(cold) = data.cold {
        let rate = format!(
            "{cold:.0} images a second come from storage that is read for the first time, and {asked:.0} are asked for"
        );
        advice.lines.push(match (slow, fits) {
            (false, _) => Line::ok("storage", rate),
            (true, true) => {
                Line::ok("storage", format!("{rate}; the set fits into memory, so that only the first pass waits"))
            }
            (true, false) => Line::note(
                "storage",
                format!(
                    "{rate}; the set ({}) does not fit into memory, so every pass waits. Copy it to a faster disk",
                    size(data.bytes)
                ),
            ),
        });
    } else if !fits && facts.memory_free.is_some() {
        let text = format!(
            "the set ({}) does not fit into memory, so every pass reads from storage; how fast that is was not measured",
            size(data.bytes)
        );
        advice.lines.push(Line::note("storage", text));
    }
    if data.folder {
        let remote = data.is_remote();
        let why = if remote {
            Some("each image is opened over the network or by another machine".to_owned())
        } else if data.rotational == Some(true) && slow && !fits {
            Some("the disk says that it rotates, and seeks for each file".to_owned())
        } else if data.read_share > 0.25 {
            Some(format!(
                "opening and reading single files takes {:.0} % of the workers' time",
                100.0 * data.read_share
            ))
        } else {
            None
        };
        if let Some(why) = why {
            let text = format!(
                "{why}; WebDataset shards (.tar of about 1 GB, each image beside a .cls with its class) are read in place"
            );
            advice.lines.push(Line::note("tar shards", text));
        }
    }
    if data.progressive > 0.05 {
        let text = format!(
            "{:.0} % of the images are progressive JPEGs, which must be read in whole and by the slower decoder; `jpegtran -copy all` \
             makes baseline files of them without loss",
            100.0 * data.progressive
        );
        advice.lines.push(Line::note("progressive", text));
    }
}

#[cfg(test)]
mod tests;
