//! The whole loader: images a second by number of workers, and by band.
//!
//! `cargo bench --bench loader`. Ids are `workers/N` at the base size, `band/B` with the machine's cores, and `augment/WHAT/B`
//! with RandAugment at magnitude 9, at the base size, on the band, and with erasing and mixing. The pictures are
//! `../shared/data/imagenet-200.tar` where that is there, else drawn ones of about 500 pixels; the name of the group says
//! which. A baseline a reader knows stands beside it in `benches/peers`.

use bandfeed::demo_data::DemoData;
use bandfeed::erase::Erasing;
use bandfeed::loader::Loader;
use bandfeed::mix::Mix;
use bandfeed::recipe::AugmentAt;
use bandfeed::schedule::Schedule;
use bandfeed::{BandCrop, Recipe, Source, Stage, source};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const BASE: u32 = 224;
const BATCH: usize = 64;
const PREFETCH: usize = 4;

fn pictures() -> (&'static str, Arc<dyn Source>) {
    let tar = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/imagenet-200.tar");
    match tar.to_str().filter(|_| tar.exists()) {
        Some(tar) => ("imagenet-200", source::open(tar).expect("the shard is whole")),
        None => {
            let data = DemoData { train_per_class: 20, val_per_class: 1, side: 450, ..DemoData::default() };
            ("drawn", Arc::new(data.generate().expect("the settings are in range").0))
        }
    }
}

fn loader(source: &Arc<dyn Source>, band: u32, workers: usize, recipe: Recipe) -> Loader {
    let schedule = Schedule::fixed(Stage::fixed(BASE, band, BandCrop::Lanczos, BATCH));
    let schedule = schedule.with_epochs(1e9).expect("a finite budget");
    let loader = Loader::builder(source.clone(), schedule).recipe(recipe).workers(workers).prefetch(PREFETCH).build();
    let mut loader = loader.expect("the settings are in range");
    // As many batches as exist at once: afterwards memory and tables are warm.
    for _ in 0..2 * PREFETCH {
        next(&mut loader);
    }
    loader
}

fn next(loader: &mut Loader) {
    let batch = loader.next().expect("the budget is endless").expect("the pictures decode");
    assert_eq!(black_box(&batch).len(), BATCH);
}

/// Time of `batches` batches; the loader's threads work through the whole of it.
fn time(loader: &mut Loader, batches: u64) -> Duration {
    let start = Instant::now();
    for _ in 0..batches {
        next(loader);
    }
    start.elapsed()
}

fn bench(c: &mut Criterion) {
    let (name, source) = pictures();
    let cores = std::thread::available_parallelism().map_or(1, Into::into);

    let mut group = c.benchmark_group(format!("loader/{name}/workers"));
    group.sample_size(10).measurement_time(Duration::from_secs(8)).throughput(Throughput::Elements(BATCH as u64));
    let mut counts = vec![1, 2, cores];
    counts.sort_unstable();
    counts.dedup();
    for workers in counts.into_iter().filter(|&n| n <= cores) {
        let mut loader = loader(&source, BASE, workers, Recipe::default());
        group.bench_function(BenchmarkId::from_parameter(workers), |b| b.iter_custom(|n| time(&mut loader, n)));
    }
    group.finish();

    let mut group = c.benchmark_group(format!("loader/{name}/band"));
    group.sample_size(10).measurement_time(Duration::from_secs(8)).throughput(Throughput::Elements(BATCH as u64));
    for band in [96, 160, 192, 224] {
        let mut loader = loader(&source, band, cores, Recipe::default());
        group.bench_function(BenchmarkId::from_parameter(band), |b| b.iter_custom(|n| time(&mut loader, n)));
    }
    group.finish();

    let augment = Some("rand-m9-mstd0.5-inc1".parse().expect("a policy"));
    let base = Recipe { augment, ..Recipe::default() };
    let band = Recipe { augment_at: AugmentAt::Band, ..base.clone() };
    let all = Recipe { erasing: Some(Erasing::default()), mix: Some(Mix::default()), ..base.clone() };
    let mut group = c.benchmark_group(format!("loader/{name}/augment"));
    group.sample_size(10).measurement_time(Duration::from_secs(8)).throughput(Throughput::Elements(BATCH as u64));
    for (what, recipe) in [("none", Recipe::default()), ("base", base), ("band", band), ("erased-and-mixed", all)] {
        for side in [96, 224] {
            let mut loader = loader(&source, side, cores, recipe.clone());
            group.bench_function(BenchmarkId::new(what, side), |b| b.iter_custom(|n| time(&mut loader, n)));
        }
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
