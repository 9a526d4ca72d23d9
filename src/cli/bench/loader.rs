//! `bandfeed bench loader`: the whole input, from files to batches.

use super::super::machine;
use super::super::table::table;
use super::cache::Cache;
use super::options::{self, Common, Making, Shape, Target, at_own_magnitude};
use super::report::{Key, Kind, Report, Row};
use super::rounds::{self, Input, Window};
use super::show::Outlet;
use crate::engine::{Engine, LaunchTime};
use crate::loader::{Loader, OnBadFile};
use crate::schedule::Schedule;
use crate::{BandCrop, Recipe, Result, Stage};
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// Images in a batch.
    #[arg(long, default_value_t = 64)]
    batch_size: usize,
    #[command(flatten)]
    feed: Feed,
}

/// How batches are made: shared with `bench train`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Feed {
    /// Batches made ahead.
    #[arg(long, default_value_t = 4)]
    pub(super) prefetch: usize,
    #[command(flatten)]
    pub(super) making: Making,
    /// How often a decoded image is used: batches have 1/N new images, the rest comes from a replay buffer; 1 is none
    /// [default: the stage's own, none for bands].
    #[arg(long, value_name = "N")]
    replay: Option<u32>,
    /// Batches' worth of new images in the replay buffer of --replay.
    #[arg(long, default_value_t = 64, value_name = "N")]
    replay_capacity: u32,
    /// How the band is cut: lanczos, fourier, fourier-half-pixel [default: lanczos, or the stage's own].
    #[arg(long)]
    pub(super) crop: Option<BandCrop>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let Args { common, batch_size, feed } = args;
    let outlet = Outlet::open(common, Kind::Loader)?;
    let recipe = feed.making.recipe()?;
    let shape = Shape { batch_size: *batch_size, crop: feed.crop, patch: 16 };
    let targets = common.targets(&feed.making, &recipe, shape)?;
    let input = Input::open(common)?;
    let mut rows: Vec<(Key, &Target)> = Vec::new();
    for workers in common.workers() {
        for &cache in common.cache.states() {
            rows.extend(targets.iter().map(|target| (feed.key(&recipe, target, workers, cache), target)));
        }
    }
    let keys = rows.iter().map(|(key, _)| key.clone()).collect();
    let measured = rounds::run(common, keys, |place, round| {
        let (key, target) = &rows[place];
        feed.window(common, &recipe, &input, key, target, round)
    })?;
    let mut report = Report::new(Kind::Loader, common, &*input.source, &recipe, feed.making.scale_margin, measured);
    feed.describe(&mut report, *batch_size);
    let engine = input.engines(feed.making.scale_margin)?.engine;
    report.engine = engine.name().to_owned();
    outlet.put(&report, &recipe, &launch_table(&*engine)?)
}

/// What the device's time went into, over all rows and rounds; empty where it does not tell.
fn launch_table(engine: &dyn Engine) -> Result<String> {
    let times = engine.launch_times()?;
    let (Some(traffic), false) = (engine.traffic(), times.is_empty()) else { return Ok(String::new()) };
    let batches = traffic.batches.max(1) as f64;
    let total: f64 = times.iter().map(|time| time.seconds).sum();
    let row = |time: &LaunchTime| {
        vec![
            time.name.to_owned(),
            format!("{:.2}", time.launches as f64 / batches),
            format!("{:.3}", 1e3 * time.seconds / batches),
            format!("{:.1} %", 100.0 * time.seconds / total.max(f64::MIN_POSITIVE)),
        ]
    };
    let rows: Vec<_> = times.iter().map(row).collect();
    Ok(format!(
        "\nOn the device, a batch, over all rows and warm-up; at most {} launches a batch, {} images went back to the cpu:\n\n{}",
        traffic.most_launches,
        traffic.refused,
        table(&["shader", "launches", "ms", "share"], &rows)
    ))
}

impl Feed {
    pub(super) fn key(&self, recipe: &Recipe, target: &Target, workers: usize, cache: Cache) -> Key {
        Key {
            stage: target.number,
            band: Some(target.stage.band),
            workers,
            cache: Some(cache),
            crop: Some(target.stage.crop.to_string()),
            magnitude: options::magnitude(recipe, target),
            replay: Some(options::replay(target, self.replay, self.replay_capacity).times),
            ..Key::default()
        }
    }

    /// Fills in what the loader's settings are.
    pub(super) fn describe(&self, report: &mut Report, batch_size: usize) {
        report.batch_size = Some(batch_size);
        report.prefetch = Some(self.prefetch);
        let times = |row: &Row| row.key.replay;
        report.replay = report
            .rows
            .first()
            .and_then(times)
            .filter(|_| report.rows.windows(2).all(|w| times(&w[0]) == times(&w[1])));
        report.replay_capacity = self.replay.filter(|&times| times > 1).map(|_| self.replay_capacity);
        report.crop = report.rows.first().and_then(|row| row.key.crop.clone());
    }

    /// A loader that makes batches of the target's stage for ever.
    pub(super) fn loader(
        &self,
        common: &Common,
        recipe: &Recipe,
        input: &Input,
        workers: usize,
        target: &Target,
        round: u64,
    ) -> Result<Loader> {
        let replay = options::replay(target, self.replay, self.replay_capacity);
        let endless = Schedule::fixed(Stage { replay, ..target.stage.clone() }).with_epochs(1e9)?;
        Loader::builder(input.source.clone(), endless)
            .recipe(at_own_magnitude(recipe))
            .seed(common.seed + round)
            .workers(workers)
            .engines(input.engines(self.making.scale_margin)?)
            .prefetch(self.prefetch)
            .on_bad_file(OnBadFile::Substitute)
            .build()
    }

    /// Batches that are taken before a window.
    ///
    /// Threads, page cache, weight tables and batch memory are warm after as many batches as exist at once; a replay buffer
    /// when it is full. A cold window has none: they would bring the files in.
    pub(super) fn warm_up(&self, target: &Target, cache: Cache) -> usize {
        if cache == Cache::Cold {
            return 0;
        }
        let replay = options::replay(target, self.replay, self.replay_capacity);
        2 * self.prefetch + if replay.is_on() { replay.capacity as usize } else { 0 }
    }

    /// The loader alone, with nothing consuming its batches.
    pub(super) fn window(
        &self,
        common: &Common,
        recipe: &Recipe,
        input: &Input,
        key: &Key,
        target: &Target,
        round: u64,
    ) -> Result<Window> {
        let mut loader = self.loader(common, recipe, input, key.workers, target, round)?;
        for _ in 0..self.warm_up(target, key.cache.unwrap_or(Cache::Warm)) {
            next(&mut loader)?;
        }
        let resident = input.prepare(key.cache)?;
        let limit = whole_batches(input.limit(key.cache), target.stage.fresh());
        let disk = machine::disk_bytes().filter(|_| key.cache == Some(Cache::Cold));
        let engine = input.engines(self.making.scale_margin)?.engine;
        let traffic = engine.traffic();
        let (before, cpu, start) = (loader.counters(), machine::cpu_seconds(), Instant::now());
        let (mut images, mut batches) = (0, 0);
        while start.elapsed() < Duration::from_secs_f64(common.seconds) && batches < limit {
            images += next(&mut loader)?;
            batches += 1;
        }
        Ok(Window {
            images,
            seconds: start.elapsed().as_secs_f64(),
            cpu_seconds: machine::cpu_seconds().zip(cpu).map(|(after, before)| after - before),
            counters: Some(loader.counters().since(&before)),
            bad_files: loader.bad_files().len(),
            traffic: engine.traffic().zip(traffic).map(|(after, before)| after.since(&before)),
            resident,
            disk_bytes: machine::disk_bytes().zip(disk).map(|(after, before)| after - before),
            ..Window::default()
        })
    }
}

/// Batches that hold at most this many new images, at least one.
pub(super) fn whole_batches(images: u64, fresh: usize) -> u64 {
    (images / fresh.max(1) as u64).max(1)
}

fn next(loader: &mut Loader) -> Result<u64> {
    let batch = loader.next().expect("the budget is endless")?;
    Ok(std::hint::black_box(&batch).len() as u64)
}
