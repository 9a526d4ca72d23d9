//! `bandfeed bench`: throughput of the loader by band and workers.

use super::machine::{self, Machine};
use super::table::table;
use super::transform::{self, Transform};
use crate::decode::SCALE_MARGIN;
use crate::engine::Cpu;
use crate::loader::{Counters, Loader, OnBadFile};
use crate::recipe::Preset;
use crate::schedule::{Options, Schedule, StageReplay};
use crate::{BandCrop, Recipe, Result, Source, Stage, source};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What to measure.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Images a second that the loader makes, by band and number of workers, with nothing consuming them.
    Loader(LoaderArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct LoaderArgs {
    /// Folder of class folders, or WebDataset shards (`data/train-{000..009}.tar`).
    source: String,
    /// Bands to measure, in pixels [default: those of the schedule's stages].
    #[arg(long, value_delimiter = ',', alias = "sizes")]
    bands: Vec<u32>,
    /// Schedule whose stages are measured: a name that `bandfeed schedule` knows, or a .toml table.
    #[arg(long, default_value = "efficient_train_pp_deit", value_name = "NAME")]
    schedule: String,
    /// Size of the random resized crop that the bands are cut from; a band of this size is not cut.
    #[arg(long, default_value_t = 224)]
    base: u32,
    /// Worker threads; several values are measured one after the other [default: the machine's cores].
    #[arg(long, value_delimiter = ',')]
    workers: Vec<usize>,
    /// Images in a batch.
    #[arg(long, default_value_t = 64)]
    batch_size: usize,
    /// Batches made ahead.
    #[arg(long, default_value_t = 4)]
    prefetch: usize,
    /// Recipe whose transform is measured: plain, deit_tiny, deit_small, efficienttrain_pp_deit_small, or a .toml recipe.
    #[arg(long, default_value = "plain", value_name = "NAME")]
    recipe: String,
    /// RandAugment's mean magnitude, where the policy has no m.
    #[arg(long, default_value_t = 9.0, value_name = "M")]
    stage_magnitude: f64,
    /// How often a decoded image is used: batches have 1/N new images, the rest comes from a replay buffer.
    #[arg(long, default_value_t = 1, value_name = "N")]
    replay: u32,
    /// Batches' worth of new images in the replay buffer.
    #[arg(long, default_value_t = 64, value_name = "N")]
    replay_capacity: u32,
    #[command(flatten)]
    transform: Transform,
    /// How the band is cut: lanczos, fourier, fourier-half-pixel.
    #[arg(long, default_value = "lanczos")]
    crop: BandCrop,
    /// Decoded pixels to keep for each pixel needed, where a JPEG is decoded at a reduced scale; less is faster and blurs
    /// (`bandfeed::decode::SCALE_MARGIN`).
    #[arg(long, default_value_t = SCALE_MARGIN, value_parser = super::positive)]
    scale_margin: f64,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 3.0, value_parser = super::positive)]
    seconds: f64,
    /// Rounds over all rows; the median over the rounds is shown.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seed of order and augmentation.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// One band with one number of workers: all its windows.
#[derive(Debug, Serialize)]
struct Row {
    band: u32,
    workers: usize,
    /// Median over the rounds.
    images_per_second: f64,
    min: f64,
    max: f64,
    /// Median over the base size's median, same number of workers; absent where the base was not measured.
    relative: Option<f64>,
    /// Images a second that equal compute asks for, relative to the base: `(base / band)^2`.
    needed: f64,
    megabytes_per_second: f64,
    /// Processor time of one image in milliseconds, the whole process; absent where the system does not tell.
    cpu_ms_per_image: Option<f64>,
    /// Worker time of one image in milliseconds, by part.
    read_ms: f64,
    decode_ms: f64,
    render_ms: f64,
    #[serde(skip)]
    windows: Vec<f64>,
    #[serde(skip)]
    counters: Counters,
    #[serde(skip)]
    seconds: f64,
    #[serde(skip)]
    cpu_seconds: Option<f64>,
}

#[derive(Serialize)]
struct Report<'a> {
    machine: Machine,
    source: &'a str,
    images: usize,
    base: u32,
    batch_size: usize,
    prefetch: usize,
    recipe: Recipe,
    crop: String,
    scale_margin: f64,
    replay: u32,
    peak_memory_bytes: Option<u64>,
    /// Files that gave no image, and were replaced by others.
    bad_files: usize,
    /// Resident memory of the process after each round.
    memory_after_round_bytes: Vec<u64>,
    rows: Vec<Row>,
}

pub(crate) fn run(command: &Command) -> Result<()> {
    let Command::Loader(args) = command;
    let source = source::open(&args.source)?;
    let recipe = args.transform.apply(Preset::named(&args.recipe)?.transform)?;
    let mut bands = args.bands.clone();
    if bands.is_empty() {
        bands = bands_of(&args.schedule, args.base)?;
    }
    let mut workers = args.workers.clone();
    if workers.is_empty() {
        workers = vec![super::cores()];
    }
    let mut rows: Vec<Row> = Vec::new();
    let (mut memory, mut bad_files) = (Vec::new(), 0);
    for round in 0..args.rounds.max(1) {
        let pairs = workers.iter().flat_map(|&w| bands.iter().map(move |&b| (w, b)));
        for (at, (workers, band)) in pairs.enumerate() {
            let window = measure(args, &recipe, &source, workers, band, round as u64)?;
            if round == 0 {
                rows.push(Row::new(workers, band, args.base));
            }
            bad_files = bad_files.max(window.bad_files);
            rows[at].add(&window);
        }
        memory.extend(machine::memory());
    }
    finish(&mut rows, args.base);
    let report = Report {
        machine: Machine::this(),
        source: &args.source,
        images: source.len(),
        base: args.base,
        batch_size: args.batch_size,
        prefetch: args.prefetch,
        recipe,
        crop: args.crop.to_string(),
        scale_margin: args.scale_margin,
        replay: args.replay,
        peak_memory_bytes: machine::peak_memory(),
        bad_files,
        memory_after_round_bytes: memory,
        rows,
    };
    if args.json {
        println!("{}", serde_json::to_string(&report).expect("a report is plain data"));
    } else {
        print(&report, args);
    }
    Ok(())
}

fn bands_of(schedule: &str, base: u32) -> Result<Vec<u32>> {
    let schedule = Schedule::named(schedule, &Options { base, ..Options::default() })?;
    let mut bands: Vec<u32> = schedule.stages().iter().map(|s| s.band).collect();
    bands.dedup();
    Ok(bands)
}

/// One timed window.
struct Window {
    images: u64,
    seconds: f64,
    cpu_seconds: Option<f64>,
    counters: Counters,
    bad_files: usize,
}

fn measure(
    args: &LoaderArgs,
    recipe: &Recipe,
    source: &Arc<dyn Source>,
    workers: usize,
    band: u32,
    round: u64,
) -> Result<Window> {
    let mut stage = Stage::fixed(args.base, band, args.crop, args.batch_size);
    let own = recipe.augment.as_ref().and_then(|policy| policy.magnitude());
    stage.magnitude = own.unwrap_or(args.stage_magnitude);
    stage.replay = StageReplay { times: args.replay, capacity: args.replay_capacity };
    let endless = Schedule::fixed(stage).with_epochs(1e9)?;
    let mut loader = Loader::builder(source.clone(), endless)
        .recipe(recipe.clone())
        .seed(args.seed + round)
        .workers(workers)
        .engine(Arc::new(Cpu::default().scale_margin(args.scale_margin)))
        .prefetch(args.prefetch)
        .on_bad_file(OnBadFile::Substitute)
        .build()?;
    // Threads, page cache, weight tables and batch memory are warm after as many batches as exist at once; a replay buffer
    // when it is full.
    let fill = if args.replay > 1 { args.replay_capacity as usize } else { 0 };
    for _ in 0..2 * args.prefetch + fill {
        next(&mut loader)?;
    }
    let (before, cpu, start) = (loader.counters(), machine::cpu_seconds(), Instant::now());
    let mut images = 0;
    while start.elapsed() < Duration::from_secs_f64(args.seconds) {
        images += next(&mut loader)?;
    }
    Ok(Window {
        images,
        seconds: start.elapsed().as_secs_f64(),
        cpu_seconds: machine::cpu_seconds().zip(cpu).map(|(after, before)| after - before),
        counters: loader.counters().since(&before),
        bad_files: loader.bad_files().len(),
    })
}

fn next(loader: &mut Loader) -> Result<u64> {
    let batch = loader.next().expect("the budget is endless")?;
    Ok(std::hint::black_box(&batch).len() as u64)
}

impl Row {
    fn new(workers: usize, band: u32, base: u32) -> Self {
        Self {
            band,
            workers,
            images_per_second: 0.0,
            min: 0.0,
            max: 0.0,
            relative: None,
            needed: (f64::from(base) / f64::from(band)).powi(2),
            megabytes_per_second: 0.0,
            cpu_ms_per_image: None,
            read_ms: 0.0,
            decode_ms: 0.0,
            render_ms: 0.0,
            windows: Vec::new(),
            counters: Counters::default(),
            seconds: 0.0,
            cpu_seconds: Some(0.0),
        }
    }

    fn add(&mut self, window: &Window) {
        self.windows.push(window.images as f64 / window.seconds);
        self.seconds += window.seconds;
        self.cpu_seconds = self.cpu_seconds.zip(window.cpu_seconds).map(|(sum, more)| sum + more);
        self.counters = self.counters.plus(&window.counters);
    }
}

fn finish(rows: &mut [Row], base: u32) {
    for row in rows.iter_mut() {
        row.windows.sort_by(f64::total_cmp);
        row.images_per_second = median(&row.windows);
        row.min = row.windows[0];
        row.max = row.windows[row.windows.len() - 1];
        row.megabytes_per_second = row.counters.bytes as f64 / row.seconds * 1e-6;
        let each = 1e3 / (row.counters.images + row.counters.replayed).max(1) as f64;
        row.cpu_ms_per_image = row.cpu_seconds.map(|s| s * each);
        (row.read_ms, row.decode_ms, row.render_ms) =
            (row.counters.read * each, row.counters.decode * each, row.counters.render() * each);
    }
    let bases: Vec<(usize, f64)> =
        rows.iter().filter(|r| r.band == base).map(|r| (r.workers, r.images_per_second)).collect();
    for row in rows {
        row.relative =
            bases.iter().find(|(w, _)| *w == row.workers).map(|(_, at_base)| row.images_per_second / at_base);
    }
}

/// The middle of sorted values, or the mean of the two middle ones.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

fn print(report: &Report<'_>, args: &LoaderArgs) {
    println!("{}", report.machine);
    println!(
        "{}: {} images; batches of {}, {} made ahead; base {}, {} band crop{}; scale margin {}; {} rounds of {} s\n{}\n",
        report.source,
        report.images,
        report.batch_size,
        report.prefetch,
        report.base,
        report.crop,
        if report.recipe.fuse { ", fused" } else { "" },
        report.scale_margin,
        args.rounds,
        args.seconds,
        transform::describe(&report.recipe)
    );
    let rows: Vec<Vec<String>> = report
        .rows
        .iter()
        .map(|r| {
            vec![
                r.band.to_string(),
                r.workers.to_string(),
                format!("{:.0}", r.images_per_second),
                format!("{:.0}..{:.0}", r.min, r.max),
                r.relative.map_or("-".into(), |v| format!("{v:.2}x")),
                format!("{:.2}x", r.needed),
                format!("{:.1}", r.megabytes_per_second),
                r.cpu_ms_per_image.map_or("-".into(), |v| format!("{v:.2}")),
                format!("{:.3}", r.read_ms),
                format!("{:.3}", r.decode_ms),
                format!("{:.3}", r.render_ms),
            ]
        })
        .collect();
    let header = [
        "band",
        "workers",
        "images/s",
        "min..max",
        "rate",
        "needed",
        "MB/s",
        "cpu ms",
        "read ms",
        "decode ms",
        "render ms",
    ];
    print!("{}", table(&header, &rows));
    println!("\nrate: images/s over those at {0} px. needed: what equal compute asks for, ({0}/band)^2.", report.base);
    if report.replay > 1 {
        println!("images/s and the times count every use of an image; one of {} was decoded.", report.replay);
    }
    if report.bad_files > 0 {
        println!("{} files gave no image and were replaced by others; `bandfeed decode` tells why", report.bad_files);
    }
    if let Some(bytes) = report.peak_memory_bytes {
        println!("peak memory of the process: {:.0} MB", bytes as f64 * 1e-6);
    }
    if let [first, .., last] = report.memory_after_round_bytes[..] {
        println!(
            "resident after the first round: {:.0} MB, after the last: {:.0} MB",
            first as f64 * 1e-6,
            last as f64 * 1e-6
        );
    }
}
