//! `bandfeed bench train`: the bundled trainer on the loader, each alone and both together: who waits for whom.

use super::super::job::train_config;
use super::super::machine;
use super::super::table::table;
use super::super::train::Model;
use super::cache::Cache;
use super::loader::{Feed, whole_batches};
use super::options::{Common, Shape, Target};
use super::report::{Key, Kind, Report, Row};
use super::rounds::{self, Input, Window};
use super::show::Outlet;
use crate::batch::Batch;
use crate::recipe::Preset;
use crate::train::{Device, TrainConfig, Trainer};
use crate::{Error, Recipe, Result};
use std::process::ExitCode;
use std::time::Instant;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// Images in a step.
    #[arg(long, default_value_t = 32)]
    batch_size: usize,
    /// End each window after this many steps, in place of --seconds.
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Threads that compute gradients [default: the machine's cores].
    #[arg(long)]
    threads: Option<usize>,
    /// Side of a patch in pixels; it divides every band.
    #[arg(long, default_value_t = 16, value_name = "PIXELS")]
    patch: u32,
    #[command(flatten)]
    feed: Feed,
    #[command(flatten)]
    model: Model,
}

/// The three things measured at each stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Steps on the same batches from memory, over and over.
    Model,
    /// The loader with nothing consuming its batches.
    Loader,
    /// Steps on the loader's batches, which it makes meanwhile.
    Both,
}

impl Part {
    const ALL: [Self; 3] = [Self::Model, Self::Loader, Self::Both];

    fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Loader => "loader",
            Self::Both => "both",
        }
    }
}

/// A rate at which weights move, and no more than that: what a step costs does not depend on it.
const RATE: f64 = 1e-5;

/// Batches that the model alone takes in turn.
const REPEATED: usize = 2;

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let Args { common, batch_size, steps, patch, feed, model, .. } = args;
    let outlet = Outlet::open(common, Kind::Train)?;
    let threads = args.threads.unwrap_or_else(super::super::cores);
    for (option, value) in [("--threads", threads as u64), ("--steps", steps.unwrap_or(1))] {
        if value == 0 {
            return Err(Error::config(option, "0: expected at least 1"));
        }
    }
    let preset = Preset::named(&feed.making.recipe)?;
    let recipe = feed.making.recipe()?;
    let shape = Shape { batch_size: *batch_size, crop: feed.crop, patch: *patch };
    let targets = common.targets(&feed.making, &recipe, shape)?;
    let input = Input::open(common)?;
    let mut settings = preset.train;
    model.apply(&mut settings);
    if settings.init.is_some() {
        return Err(Error::config(
            "--init",
            "bench train begins with random weights: what a step costs does not depend on them",
        ));
    }
    let config = train_config(&settings, *patch, 0.0, input.source.classes().len())?;
    config.check()?;
    // Told before anything is measured.
    targets.iter().try_for_each(|target| config.model.grid(target.stage.side()).map(drop))?;
    let mut rows: Vec<(Key, Part, &Target)> = Vec::new();
    for workers in common.workers() {
        for &cache in common.cache.states() {
            for target in &targets {
                // The model alone has its batches in memory, and is measured once for each number of workers.
                let parts =
                    Part::ALL.into_iter().filter(|part| *part != Part::Model || cache == common.cache.states()[0]);
                rows.extend(parts.map(|part| (key(feed, &recipe, target, workers, cache, part), part, target)));
            }
        }
    }
    let bench = Bench { args, recipe: &recipe, input: &input, config: &config, threads };
    let keys = rows.iter().map(|(key, ..)| key.clone()).collect();
    let measured = rounds::run(common, keys, |place, round| {
        let (key, part, target) = &rows[place];
        bench.window(key, *part, target, round)
    })?;
    let mut report = Report::new(Kind::Train, common, &*input.source, &recipe, feed.making.scale_margin, measured);
    feed.describe(&mut report, *batch_size);
    report.model = serde_json::to_value(&config.model).expect("a model's shape is plain data");
    report.threads = Some(threads);
    report.patch = Some(*patch);
    let more = format!("\n{}", verdicts(&report));
    outlet.put(&report, &recipe, &more)
}

fn key(feed: &Feed, recipe: &Recipe, target: &Target, workers: usize, cache: Cache, part: Part) -> Key {
    let key = feed.key(recipe, target, workers, cache);
    let cache = key.cache.filter(|_| part != Part::Model);
    Key { part: Some(part.name().into()), cache, ..key }
}

struct Bench<'a> {
    args: &'a Args,
    recipe: &'a Recipe,
    input: &'a Input,
    config: &'a TrainConfig,
    threads: usize,
}

impl Bench<'_> {
    fn window(&self, key: &Key, part: Part, target: &Target, round: u64) -> Result<Window> {
        let Args { common, feed, .. } = self.args;
        if part == Part::Loader {
            return feed.window(common, self.recipe, self.input, key, target, round);
        }
        let mut config = self.config.clone();
        if let Some(depth) = target.stage.growth.depth {
            config.model.depth = depth.blocks as usize;
        }
        let mut trainer = Trainer::new(config, target.stage.side(), self.threads, &Device::flex())?;
        let loader = || feed.loader(common, self.recipe, self.input, key.workers, target, round);
        let batches = loader()?.take(REPEATED).collect::<Result<Vec<_>>>()?;
        // The first step sets up the optimiser's moments and the backend's memory.
        step(&mut trainer, &batches[0])?;
        if part == Part::Model {
            return self.steps(&mut trainer, u64::MAX, |trainer, number| {
                let batch = &batches[number as usize % batches.len()];
                step(trainer, batch)?;
                Ok((batch.len() as u64, 0.0))
            });
        }
        drop(batches);
        let mut loader = loader()?;
        let mut batch = || loader.next().expect("the budget is endless");
        for _ in 0..feed.warm_up(target, key.cache.unwrap_or(Cache::Warm)) {
            batch()?;
        }
        let resident = self.input.prepare(key.cache)?;
        let limit = whole_batches(self.input.limit(key.cache), target.stage.fresh());
        let window = self.steps(&mut trainer, limit, |trainer, _| {
            let start = Instant::now();
            let batch = batch()?;
            let wait = start.elapsed().as_secs_f64();
            step(trainer, &batch)?;
            Ok((batch.len() as u64, wait))
        })?;
        Ok(Window { resident, bad_files: loader.bad_files().len(), ..window })
    }

    /// Steps until the window is over: at least one, at most `limit`. `one` tells a step's images and the seconds it waited.
    fn steps(
        &self,
        trainer: &mut Trainer,
        limit: u64,
        mut one: impl FnMut(&mut Trainer, u64) -> Result<(u64, f64)>,
    ) -> Result<Window> {
        let (cpu, start) = (machine::cpu_seconds(), Instant::now());
        let (mut images, mut waited, mut number) = (0, 0.0, 0);
        let last = self.args.steps.unwrap_or(u64::MAX).min(limit);
        let by_time = self.args.steps.is_none();
        while number < last && (number == 0 || !by_time || start.elapsed().as_secs_f64() < self.args.common.seconds) {
            let (more, wait) = one(trainer, number)?;
            images += more;
            waited += wait;
            number += 1;
        }
        Ok(Window {
            images,
            seconds: start.elapsed().as_secs_f64(),
            cpu_seconds: machine::cpu_seconds().zip(cpu).map(|(after, before)| after - before),
            wait: Some(waited),
            ..Window::default()
        })
    }
}

/// One optimiser step on one batch.
fn step(trainer: &mut Trainer, batch: &Batch) -> Result<()> {
    let gradients = trainer.gradient(batch, 0)?;
    trainer.update(gradients, RATE).map(drop)
}

/// For each stage, who is the bottleneck.
fn verdicts(report: &Report) -> String {
    let part = |row: &Row, part: Part| row.key.part.as_deref() == Some(part.name());
    let same = |a: &Row, b: &Row| (a.key.stage, a.key.band, a.key.workers) == (b.key.stage, b.key.band, b.key.workers);
    let rows: Vec<Vec<String>> = report
        .rows
        .iter()
        .filter(|row| part(row, Part::Both))
        .map(|both| {
            let find = |wanted: Part| {
                let rate = |row: &&Row| {
                    part(row, wanted) && same(row, both) && row.key.cache.is_none_or(|c| Some(c) == both.key.cache)
                };
                report.rows.iter().find(rate).map_or(f64::NAN, |row| row.images_per_second)
            };
            let (model, loader, wait) = (find(Part::Model), find(Part::Loader), both.wait_share.unwrap_or(f64::NAN));
            vec![
                Key { part: None, crop: None, ..both.key.clone() }.words(),
                format!("{model:.0}"),
                format!("{loader:.0}"),
                format!("{:.0}", both.images_per_second),
                format!("{:.2}x", loader / model),
                format!("{:.2}x", both.images_per_second / model),
                format!("{:.1} %", 100.0 * wait),
                bottleneck(wait).to_owned(),
            ]
        })
        .collect();
    let header = ["images/s", "model", "loader", "both", "loader/model", "both/model", "waiting", "bottleneck"];
    let foot = "Each alone has the whole machine; together they share its cores, so both/model is below 1 even where nobody waits.\n\
                waiting: share of the time that the model had no batch.\n";
    format!("{}\n{foot}", table(&header, &rows))
}

fn bottleneck(wait_share: f64) -> &'static str {
    match wait_share {
        share if share < 0.02 => "the model",
        share if share < 0.2 => "the model, mostly",
        _ => "the loader",
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::fixed;
    use super::*;

    #[test]
    fn a_stage_is_bound_by_the_loader_where_the_model_waits() {
        let mut report = fixed(&[(96, 100.0, 99.0, 101.0), (96, 50.0, 49.0, 51.0), (96, 40.0, 39.0, 41.0)]);
        report.kind = Kind::Train;
        for (row, part) in report.rows.iter_mut().zip(Part::ALL) {
            row.key.part = Some(part.name().into());
        }
        report.rows[0].key.cache = None;
        report.rows[2].wait_share = Some(0.6);
        let line = |report: &Report| verdicts(report).lines().nth(2).unwrap().to_owned();
        let words: Vec<_> = line(&report).split_whitespace().map(str::to_owned).collect();
        let tail = ["100", "50", "40", "0.50x", "0.40x", "60.0", "%", "the", "loader"];
        assert!(words.ends_with(&tail.map(String::from)), "{words:?}");
        report.rows[2].wait_share = Some(0.01);
        assert!(line(&report).ends_with("the model"), "{}", line(&report));
    }
}
