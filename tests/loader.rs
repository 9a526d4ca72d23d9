//! The loader's promises: same bytes for any number of workers, resume anywhere, even shards, nothing lost in silence.

mod loader_fixtures;

use bandfeed::loader::{EpochEnd, Loader, LoaderBuilder, OnBadFile, Pending, State};
use bandfeed::schedule::{Options, Schedule};
use bandfeed::{BandCrop, Batch, Error, Result, Source, Stage};
use loader_fixtures::{Plain, all, memory, pictures, source};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Three stages of growing band and different batch sizes.
fn schedule(epochs: f64) -> Schedule {
    let text = r#"
        name = "test"
        [[stage]]
        until = 0.3
        band = 16
        magnitude = 0
        batch_size = 6
        [[stage]]
        until = 0.6
        band = 24
        magnitude = 0
        batch_size = 4
        [[stage]]
        until = 1
        band = 32
        magnitude = 0
        batch_size = 4
    "#;
    Schedule::from_toml(text, &Options { base: 32, patch: 8, epochs, batch_size: 4, ..Options::default() }).unwrap()
}

fn training(count: u32, epochs: f64) -> LoaderBuilder {
    Loader::builder(source(count), schedule(epochs)).seed(5)
}

#[test]
fn batches_do_not_depend_on_workers_or_prefetch() {
    let one = all(training(23, 2.0).workers(1).prefetch(1).build().unwrap());
    assert!(one.len() > 10);
    assert_eq!(one, all(training(23, 2.0).workers(5).prefetch(7).build().unwrap()));
    let other_seed = all(training(23, 2.0).seed(6).build().unwrap());
    assert_ne!(one[0].pixels, other_seed[0].pixels);
}

#[test]
fn the_schedule_shares_the_compute_as_it_says() {
    let batches = all(training(40, 6.0).build().unwrap());
    let mut compute = [0u64; 3];
    for batch in &batches {
        compute[batch.stage.index] += batch.indices.len() as u64 * u64::from(batch.stage.band).pow(2);
    }
    let total = 6 * 40 * 32 * 32;
    for (stage, share) in [0.3, 0.3, 0.4].into_iter().enumerate() {
        let got = compute[stage] as f64 / f64::from(total);
        // A stage ends at the first batch after its share: one batch of slack at either end.
        assert!((got - share).abs() < 2.0 * 4.0 * 1024.0 / f64::from(total), "stage {stage}: {got} of {share}");
    }
    assert!(batches.windows(2).all(|w| w[0].stage.index <= w[1].stage.index));
}

#[test]
fn resume_at_any_step_gives_the_same_batches() {
    let whole = all(training(17, 2.0).build().unwrap());
    let mut loader = training(17, 2.0).build().unwrap();
    for handed_out in 0..whole.len() {
        let written = serde_json::to_string(&loader.state()).unwrap();
        let state: State = serde_json::from_str(&written).unwrap();
        let rest = all(training(17, 2.0).workers(2).resume(state).build().unwrap());
        assert_eq!(rest, whole[handed_out..], "resumed after {handed_out} batches");
        loader.next().unwrap().unwrap();
    }
    assert!(loader.next().is_none());
}

#[test]
fn a_state_of_another_run_is_refused() {
    let state = training(17, 1.0).build().unwrap().state();
    let error = training(17, 1.0).seed(9).resume(state.clone()).build().unwrap_err();
    assert!(error.to_string().contains("seed 5"), "{error}");
    assert!(training(18, 1.0).resume(state).build().is_err());
}

#[test]
fn an_epoch_holds_every_sample_once() {
    let constant =
        Schedule::constant(&Options { base: 32, patch: 8, epochs: 3.0, batch_size: 5, ..Options::default() });
    let loader = Loader::builder(source(22), constant.unwrap()).epoch_end(EpochEnd::Pad).build().unwrap();
    let mut epochs: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for batch in all(loader) {
        epochs.entry(batch.place.0).or_default().extend(batch.indices);
    }
    assert_eq!(epochs.len(), 3);
    let orders: Vec<Vec<u32>> = epochs.into_values().collect();
    assert_ne!(orders[0], orders[1]);
    for mut order in orders {
        order.sort_unstable();
        assert_eq!(order, (0..22).collect::<Vec<_>>());
    }
}

#[test]
fn ranks_share_each_epoch_evenly() {
    for (count, world, epoch_end) in [(24, 3, EpochEnd::Drop), (23, 3, EpochEnd::Drop), (23, 3, EpochEnd::Pad)] {
        let options = Options { base: 32, patch: 8, epochs: 2.0, batch_size: 2, ..Options::default() };
        let ranks: Vec<Vec<Plain>> = (0..world)
            .map(|rank| {
                let constant = Schedule::constant(&options).unwrap();
                all(Loader::builder(source(count), constant).shard(rank, world).epoch_end(epoch_end).build().unwrap())
            })
            .collect();
        let lens: Vec<usize> = ranks.iter().map(Vec::len).collect();
        assert!(lens.iter().all(|&l| l == lens[0] && l > 0), "{lens:?}");
        for step in 0..lens[0] {
            let sizes: Vec<usize> = ranks.iter().map(|r| r[step].indices.len()).collect();
            assert!(sizes.iter().all(|&s| s == sizes[0]), "step {step}: {sizes:?}");
        }
        let mut first: Vec<u32> =
            ranks.iter().flatten().filter(|b| b.place.0 == 0).flat_map(|b| b.indices.clone()).collect();
        first.sort_unstable();
        let given = first.len();
        first.dedup();
        match epoch_end {
            EpochEnd::Drop => assert_eq!((given, first.len()), (count as usize / 6 * 6, given)),
            EpochEnd::Pad => assert_eq!((given, first.len()), (24, 23)),
        }
    }
}

#[test]
fn evaluation_passes_once_in_order() {
    let stage = Stage::fixed(32, 24, BandCrop::Lanczos, 4);
    let batches = all(Loader::evaluation(source(10), stage).build().unwrap());
    let indices: Vec<u32> = batches.iter().flat_map(|b| b.indices.clone()).collect();
    assert_eq!(indices, (0..10).collect::<Vec<_>>());
    assert_eq!(batches.last().unwrap().indices.len(), 2);
}

fn with_bad_files() -> Arc<dyn Source> {
    let mut pictures = pictures(20);
    pictures[3].0.truncate(20);
    pictures[11].0 = b"<html>404</html>".to_vec();
    memory(pictures)
}

fn constant(epochs: f64) -> Schedule {
    Schedule::constant(&Options { base: 32, patch: 8, epochs, batch_size: 5, ..Options::default() }).unwrap()
}

#[test]
fn a_bad_file_fails_its_batch_and_is_named() {
    let loader = Loader::builder(with_bad_files(), constant(1.0)).build().unwrap();
    let results: Vec<Result<Batch>> = loader.collect();
    assert_eq!(results.len(), 4, "the batches after a failed one still come");
    let errors: Vec<String> = results.iter().filter_map(|r| r.as_ref().err()).map(|e| e.to_string()).collect();
    assert!(!errors.is_empty() && errors.len() <= 2);
    let names = [3, 11].map(|i| with_bad_files().name(i));
    for error in errors {
        assert!(names.iter().any(|name| error.starts_with(&format!("{name}:"))), "{error}");
    }
}

#[test]
fn skipped_files_leave_a_smaller_batch_and_a_report() {
    let good = all(Loader::builder(source(20), constant(2.0)).build().unwrap());
    let mut loader = Loader::builder(with_bad_files(), constant(2.0)).on_bad_file(OnBadFile::Skip).build().unwrap();
    let mut skipped = 0;
    for (batch, whole) in loader.by_ref().map(|b| Plain::from(b.unwrap())).zip(&good) {
        let kept: Vec<usize> = (0..whole.indices.len()).filter(|&i| ![3, 11].contains(&whole.indices[i])).collect();
        assert_eq!(batch.indices, kept.iter().map(|&i| whole.indices[i]).collect::<Vec<_>>());
        assert_eq!(batch.pixels, kept.iter().map(|&i| whole.pixels[i]).collect::<Vec<_>>());
        skipped += whole.indices.len() - kept.len();
    }
    assert_eq!(skipped, 4);
    let report: Vec<(u32, u64)> = loader.bad_files().iter().map(|f| (f.index, f.times)).collect();
    assert_eq!(report, [(3, 2), (11, 2)]);
    assert!(loader.bad_files().iter().all(|f| !f.reason.is_empty() && !f.name.is_empty()));
}

#[test]
fn substituted_files_keep_batches_full_and_the_same() {
    let run = |workers| {
        let builder = Loader::builder(with_bad_files(), constant(3.0)).on_bad_file(OnBadFile::Substitute);
        all(builder.workers(workers).build().unwrap())
    };
    let batches = run(1);
    assert_eq!(batches, run(4));
    for batch in batches {
        assert_eq!(batch.indices.len(), 5);
        assert!(!batch.indices.iter().any(|i| [3, 11].contains(i)));
        assert!(batch.indices.iter().zip(&batch.labels).all(|(i, l)| i % 4 == *l));
    }
}

#[test]
fn substitution_gives_up_where_no_file_is_good() {
    let bad = memory(vec![(b"no".to_vec(), 0), (b"picture".to_vec(), 1)]);
    let options = Options { base: 32, patch: 8, epochs: 1.0, batch_size: 2, ..Options::default() };
    let builder = Loader::builder(bad, Schedule::constant(&options).unwrap());
    let mut loader = builder.on_bad_file(OnBadFile::Substitute).build().unwrap();
    assert!(matches!(loader.next().unwrap(), Err(Error::Decode { .. })));
}

/// Files that cannot be read, from an index on.
struct Unreadable {
    inner: Arc<dyn Source>,
    from: usize,
}

impl Source for Unreadable {
    fn len(&self) -> usize {
        self.inner.len()
    }
    fn name(&self, index: usize) -> String {
        self.inner.name(index)
    }
    fn label(&self, index: usize) -> u32 {
        self.inner.label(index)
    }
    fn classes(&self) -> &[String] {
        self.inner.classes()
    }
    fn read<'a>(&'a self, index: usize, buffer: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        if index < self.from {
            return self.inner.read(index, buffer);
        }
        Err(Error::Io { path: self.name(index).into(), source: std::io::ErrorKind::PermissionDenied.into() })
    }
}

#[test]
fn unreadable_files_follow_the_policy_as_undecodable_ones_do() {
    let unreadable = || -> Arc<dyn Source> { Arc::new(Unreadable { inner: source(20), from: 18 }) };
    let failed = Loader::builder(unreadable(), constant(1.0)).build().unwrap().filter_map(Result::err).next();
    assert!(matches!(failed, Some(Error::Io { .. })));
    let skipping = Loader::builder(unreadable(), constant(1.0)).on_bad_file(OnBadFile::Skip).build().unwrap();
    assert_eq!(all(skipping).iter().map(|b| b.indices.len()).sum::<usize>(), 18);
    let replacing = Loader::builder(unreadable(), constant(1.0)).on_bad_file(OnBadFile::Substitute).build().unwrap();
    assert!(all(replacing).iter().all(|b| b.indices.len() == 5 && b.indices.iter().all(|&i| i < 18)));
}

#[test]
fn a_source_that_is_gone_is_an_error_even_where_bad_files_are_skipped() {
    let gone: Arc<dyn Source> = Arc::new(Unreadable { inner: source(20), from: 0 });
    let mut loader = Loader::builder(gone, constant(5.0)).on_bad_file(OnBadFile::Skip).build().unwrap();
    let empty = loader.by_ref().take_while(|b| b.as_ref().is_ok_and(|b| b.is_empty())).count();
    assert_eq!(empty, 2);
    assert!(loader.next().unwrap().is_err());
}

/// Panics on one sample.
struct Panics(Arc<dyn Source>);

impl Source for Panics {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn name(&self, index: usize) -> String {
        self.0.name(index)
    }
    fn label(&self, index: usize) -> u32 {
        self.0.label(index)
    }
    fn classes(&self) -> &[String] {
        self.0.classes()
    }
    fn read<'a>(&'a self, index: usize, buffer: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        assert!(index != 7, "sample 7 breaks the source");
        self.0.read(index, buffer)
    }
}

#[test]
fn a_panic_in_a_worker_is_an_error_and_no_hang() {
    let mut loader = Loader::builder(Arc::new(Panics(source(20))), constant(4.0)).workers(3).build().unwrap();
    let error = loader.find_map(|batch| batch.err()).unwrap();
    assert!(matches!(&error, Error::Worker { message } if message.contains("sample 7")), "{error}");
    assert!(loader.next().is_none());
}

#[test]
fn a_stage_set_by_hand_keeps_the_sequence_of_samples() {
    let stage = |band| Stage::fixed(32, band, BandCrop::FOURIER, 5);
    let order: Vec<u32> =
        all(Loader::builder(source(20), constant(2.0)).build().unwrap()).into_iter().flat_map(|b| b.indices).collect();
    for pending in [Pending::UseUp, Pending::Drop] {
        let mut loader = Loader::builder(source(20), constant(2.0)).prefetch(2).build().unwrap();
        let mut batches: Vec<Plain> = Vec::new();
        for _ in 0..3 {
            batches.push(loader.next().unwrap().unwrap().into());
        }
        loader.set_stage(Some(stage(16)), pending).unwrap();
        let state = loader.state();
        batches.extend(loader.map(|b| Plain::from(b.unwrap())));
        let bands: Vec<u32> = batches.iter().map(|b| b.stage.band).collect();
        let old = if pending == Pending::UseUp { 5 } else { 3 };
        assert!(
            bands[..old].iter().all(|&b| b == 32) && bands[old..].iter().all(|&b| b == 16),
            "{pending:?}: {bands:?}"
        );
        // The smaller band costs a quarter, so more batches fit; the samples still come in the seed's order.
        let samples: Vec<u32> = batches.iter().flat_map(|b| b.indices.clone()).collect();
        assert!(samples.len() > order.len());
        assert_eq!(samples[..order.len()], order);
        let resumed = all(Loader::builder(source(20), constant(2.0)).resume(state).build().unwrap());
        assert_eq!(resumed, batches[3..], "{pending:?}: resumed");
    }
}

#[test]
fn the_schedule_takes_over_again() {
    let mut loader = Loader::builder(source(20), constant(2.0)).build().unwrap();
    loader.set_stage(Some(Stage::fixed(32, 8, BandCrop::Lanczos, 5)), Pending::Drop).unwrap();
    assert_eq!(loader.next().unwrap().unwrap().stage.band, 8);
    loader.set_stage(None, Pending::Drop).unwrap();
    assert_eq!(loader.next().unwrap().unwrap().stage.band, 32);
    let too_large = Stage::fixed(32, 8, BandCrop::Lanczos, 21);
    assert!(loader.set_stage(Some(too_large), Pending::Drop).is_err());
}

#[test]
fn remaining_steps_count_down_to_the_end() {
    let mut loader = training(23, 2.0).build().unwrap();
    let mut left: u64 = loader.remaining_steps().iter().sum();
    while let Some(batch) = loader.next() {
        batch.unwrap();
        left -= 1;
        assert_eq!(loader.remaining_steps().iter().sum::<u64>(), left);
    }
    assert_eq!(left, 0);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let named = |builder: LoaderBuilder, what: &str| {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.starts_with(what), "{error}");
    };
    named(training(20, 1.0).workers(0), "workers");
    named(training(20, 1.0).prefetch(0), "prefetch");
    named(training(20, 1.0).shard(3, 3), "shard");
    named(training(3, 1.0), "batch_size");
    let nothing =
        |band, batch_size| Loader::evaluation(source(4), Stage::fixed(32, band, BandCrop::Lanczos, batch_size));
    named(nothing(32, 0), "batch_size");
    named(nothing(0, 1), "stage.band");
    named(nothing(40, 1), "stage.band");
    let mut beyond = training(20, 1.0).build().unwrap().state();
    beyond.position = 21;
    named(training(20, 1.0).resume(beyond), "resume");
    let recipe = bandfeed::Recipe { scale: [0.5, 0.1], ..Default::default() };
    named(training(20, 1.0).recipe(recipe), "recipe.scale");
}

#[test]
fn augmentation_and_erasing_are_counted_apart_from_the_band() {
    let erasing = bandfeed::erase::Erasing { probability: 1.0, ..Default::default() };
    let policy = "rand-m9-mstd0.5-inc1".parse().unwrap();
    for recipe in [
        bandfeed::Recipe {
            augment: Some(policy),
            magnitude: bandfeed::recipe::Magnitude::Policy,
            ..Default::default()
        },
        bandfeed::Recipe { erasing: Some(erasing), ..Default::default() },
    ] {
        let mut loader = training(20, 1.0).recipe(recipe).workers(2).build().unwrap();
        let meter = loader.meter();
        assert_eq!((meter.workers(), meter.counters().images), (2, 0));
        loader.by_ref().for_each(|batch| drop(batch.unwrap()));
        let (own, read) = (loader.counters(), meter.counters());
        assert!(own.augment > 0.0 && own.band > 0.0, "{own:?}");
        assert_eq!(read.augment, own.augment);
        drop(loader);
        assert_eq!(meter.counters().images, own.images);
    }
}

#[test]
fn a_loader_dropped_at_work_ends_its_threads() {
    for _ in 0..20 {
        let mut loader = training(40, 50.0).workers(3).prefetch(8).build().unwrap();
        loader.next().unwrap().unwrap();
    }
}

#[test]
fn counters_tell_what_was_done() {
    let mut loader = training(20, 1.0).build().unwrap();
    let images: usize = loader.by_ref().map(|b| b.unwrap().len()).sum();
    let counters = loader.counters();
    assert_eq!(counters.images, images as u64);
    assert!(counters.bytes > 0 && counters.decode > 0.0 && counters.band > 0.0);
    assert_eq!(
        (counters.augment, counters.upload),
        (0.0, 0.0),
        "nothing is augmented, and the CPU engine uploads nothing"
    );
    assert_eq!(counters.render(), counters.band);
    let memory = loader.memory();
    assert_eq!(memory.batch, 4 * 3 * 32 * 32 * 4);
    assert_eq!(memory.batches, 4 + 2);
    assert_eq!(memory.total, memory.batch * memory.batches);
}
