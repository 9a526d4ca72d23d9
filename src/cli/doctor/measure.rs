//! A short measurement of the loader on this machine: images a second by workers and by band.

use crate::cli::bench::at_own_magnitude;
use crate::loader::{Loader, OnBadFile};
use crate::schedule::StageReplay;
use crate::source::Subset;
use crate::{Recipe, Result, Schedule, Source, Stage};
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Point {
    pub(super) band: u32,
    pub(super) workers: usize,
    pub(super) images_per_second: f64,
    /// Share of the workers' busy time that went into reading. Near 0 for shards: they are read while they are decoded.
    pub(super) read_share: f64,
}

/// Makes batches of a stage for some time, with nothing consuming them, at the stage's magnitude whatever rule made it.
///
/// Files in `bad`, by index, are left out, and those met here are added: each is warned of once.
pub(super) fn point(
    source: &Arc<dyn Source>,
    recipe: &Recipe,
    stage: &Stage,
    workers: usize,
    replay: StageReplay,
    time: Duration,
    bad: &mut BTreeSet<u32>,
) -> Result<Point> {
    /// Small beside a stage's own batches, so that few of them make an even measurement.
    const BATCH: usize = 64;
    const AHEAD: usize = 4;
    let good: Vec<u32> = (0..source.len() as u32).filter(|index| !bad.contains(index)).collect();
    let source: Arc<dyn Source> =
        if bad.is_empty() { source.clone() } else { Arc::new(Subset::new(source.clone(), good.clone())?) };
    // A replay's batch is a multiple of its times.
    let times = replay.times.max(1) as usize;
    let batch_size = (BATCH.min(source.len()) / times).max(1) * times;
    let stage = Stage { batch_size, accumulate: 1, replay, ..stage.clone() };
    let mut loader = Loader::builder(source, Schedule::fixed(stage.clone()).with_epochs(1e9)?)
        .recipe(at_own_magnitude(recipe))
        .workers(workers)
        .prefetch(AHEAD)
        .on_bad_file(OnBadFile::Substitute)
        .build()?;
    let mut next = || -> Result<u64> {
        let batch = loader.next().expect("the budget is endless")?;
        Ok(std::hint::black_box(&batch).len() as u64)
    };
    // What exists at the same time is warm after as many batches; a replay buffer when it is full.
    let fill = if replay.is_on() { replay.capacity as usize } else { 0 };
    for _ in 0..AHEAD + fill {
        next()?;
    }
    let start = Instant::now();
    let mut images = 0;
    while start.elapsed() < time {
        images += next()?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let counters = loader.counters();
    bad.extend(loader.bad_files().iter().map(|file| good[file.index as usize]));
    let busy = counters.read + counters.decode + counters.render();
    Ok(Point {
        band: stage.band,
        workers,
        images_per_second: images as f64 / seconds,
        read_share: counters.read / busy.max(1e-9),
    })
}

/// Numbers of workers to measure: 1, 2, 4 ... and all the cores.
pub(super) fn ladder(cores: usize) -> Vec<usize> {
    let mut workers: Vec<usize> = std::iter::successors(Some(1), |w| Some(w * 2)).take_while(|&w| w < cores).collect();
    workers.push(cores);
    workers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo_data::DemoData;

    #[test]
    fn workers_double_up_to_the_cores() {
        assert_eq!(
            [ladder(1), ladder(2), ladder(4), ladder(6)],
            [vec![1], vec![1, 2], vec![1, 2, 4], vec![1, 2, 4, 6]]
        );
    }

    #[test]
    fn a_set_smaller_than_a_batch_is_measured() {
        let data = DemoData { train_per_class: 1, val_per_class: 1, side: 64, ..DemoData::default() };
        let source: Arc<dyn Source> = Arc::new(data.generate().unwrap().0);
        assert!(source.len() < 64);
        let stage = Stage::fixed(48, 32, crate::BandCrop::Lanczos, 4096);
        let time = Duration::from_millis(20);
        let replay = StageReplay { times: 2, capacity: 4 };
        for replay in [StageReplay::OFF, replay] {
            let point = point(&source, &Recipe::default(), &stage, 1, replay, time, &mut BTreeSet::new()).unwrap();
            assert!(point.images_per_second > 1.0 && point.band == 32, "{point:?}");
            assert!((0.0..1.0).contains(&point.read_share));
        }
    }
}
