//! Going to other places of a run, looking ahead in it, and waiting for it in slices.

mod loader_fixtures;

use bandfeed::loader::{Loader, LoaderBuilder, Pending};
use bandfeed::schedule::{Options, Schedule, Stage};
use bandfeed::source::Source;
use bandfeed::{BandCrop, Error, Result};
use loader_fixtures::{Plain, all, jpeg, pictures, source};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

fn training() -> LoaderBuilder {
    let options = Options { base: 32, patch: 8, batch_size: 4, epochs: 3.0, ..Options::default() };
    let schedule = Schedule::named("efficient_train_pp_deit", &options).unwrap();
    Loader::builder(source(23), schedule).seed(5).workers(2)
}

fn next(loader: &mut Loader) -> Plain {
    loader.next().unwrap().unwrap().into()
}

#[test]
fn going_to_a_state_gives_the_rest_of_the_run_from_there_also_backwards() {
    let expected = all(training().build().unwrap());
    let mut loader = training().build().unwrap();
    let mut states = vec![loader.state()];
    while loader.next().is_some() {
        states.push(loader.state());
    }
    for step in [0, 5, expected.len(), 2] {
        loader.go_to(states[step].clone()).unwrap();
        assert_eq!(loader.state(), states[step]);
        let rest: Vec<Plain> = loader.by_ref().map(|batch| batch.unwrap().into()).collect();
        assert_eq!(rest, expected[step..]);
    }
}

#[test]
fn the_state_of_another_run_is_refused_and_changes_nothing() {
    let mut loader = training().build().unwrap();
    next(&mut loader);
    let before = loader.state();
    let mut other = before.clone();
    other.seed = 6;
    assert!(matches!(loader.go_to(other), Err(Error::Config { .. })));
    let mut other = before.clone();
    other.samples = 24;
    assert!(matches!(loader.go_to(other), Err(Error::Config { .. })));
    assert_eq!(loader.state(), before);
    assert_eq!(next(&mut loader).place.1, 1);
}

#[test]
fn places_by_share_of_the_compute_are_where_batches_say() {
    let batches: Vec<_> = training().build().unwrap().map(Result::unwrap).collect();
    let mut loader = training().build().unwrap();
    loader.next();
    let begun = |share: f64| batches.iter().filter(|batch| batch.progress < share).count() as u64;
    for share in [0.0, 0.1, 1.0 / 3.0, 0.5, 0.999, 1.0, f64::INFINITY] {
        assert_eq!(loader.steps_before(share), begun(share).saturating_sub(1), "{share}");
        assert_eq!(loader.steps_between(&training().build().unwrap().state(), share), begun(share));
        let state = loader.state_at(share);
        assert_eq!(state.step, begun(share), "{share}");
        let mut there = training().resume(state).build().unwrap();
        assert_eq!(there.next().map(|batch| batch.unwrap().step), batches.get(begun(share) as usize).map(|b| b.step));
    }
    assert_eq!(loader.progress(), batches[1].progress);
    loader.go_to(loader.state_at(2.0)).unwrap();
    assert_eq!((loader.progress(), loader.next().is_none()), (1.0, true));
}

#[test]
fn a_stage_set_by_hand_is_counted_ahead_and_forgotten_by_state_at() {
    let mut loader = training().build().unwrap();
    let (whole, start) = (loader.steps_before(1.0), loader.state_at(0.0));
    loader.set_stage(Some(Stage::fixed(32, 32, BandCrop::Lanczos, 4)), Pending::Drop).unwrap();
    assert!(loader.steps_before(1.0) < whole);
    assert_eq!(loader.steps_before(f64::INFINITY), loader.by_ref().count() as u64);
    assert_eq!(loader.state_at(0.0), start);
}

/// Samples that nobody can read before the gate is open.
struct Gated {
    samples: Vec<(Vec<u8>, u32)>,
    classes: Vec<String>,
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Source for Gated {
    fn len(&self) -> usize {
        self.samples.len()
    }

    fn name(&self, index: usize) -> String {
        format!("gated#{index}")
    }

    fn label(&self, index: usize) -> u32 {
        self.samples[index].1
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn read<'a>(&'a self, index: usize, _buffer: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        let is_open = self.is_open.lock().unwrap();
        drop(self.opened.wait_while(is_open, |is_open| !*is_open).unwrap());
        Ok(&self.samples[index].0)
    }
}

#[test]
fn a_wait_ends_with_the_batch_or_with_its_time_and_takes_nothing() {
    let gated = Arc::new(Gated {
        samples: pictures(8),
        classes: ["a", "b", "c", "d"].map(String::from).to_vec(),
        is_open: Mutex::new(false),
        opened: Condvar::new(),
    });
    let schedule = Schedule::fixed(Stage::fixed(32, 32, BandCrop::Lanczos, 4));
    let mut loader = Loader::builder(gated.clone(), schedule).workers(2).build().unwrap();
    let start = Instant::now();
    assert!(!loader.wait(Duration::from_millis(30)));
    assert!(!loader.wait(Duration::ZERO));
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert_eq!(loader.state().step, 0);
    // It waited for workers, and says so.
    assert!(loader.counters().wait_for_producer >= 0.03);
    let gate = gated.clone();
    let opener = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        *gate.is_open.lock().unwrap() = true;
        gate.opened.notify_all();
    });
    let start = Instant::now();
    assert!(loader.wait(Duration::from_secs(60)));
    assert!(start.elapsed() < Duration::from_secs(30));
    opener.join().unwrap();
    assert!(loader.wait(Duration::ZERO), "a batch that was waited for stays");
    assert_eq!((next(&mut loader).place.1, next(&mut loader).place.1), (0, 1));
    assert!(loader.wait(Duration::from_secs(60)), "nothing is waited for at the end");
    assert!(loader.next().is_none());
}

#[test]
fn images_are_changed_where_they_are() {
    let source = loader_fixtures::memory((0..4).map(|i| (jpeg(i), 0)).collect());
    let schedule = Schedule::fixed(Stage::fixed(32, 32, BandCrop::Lanczos, 4));
    let mut batch = Loader::builder(source, schedule).build().unwrap().next().unwrap().unwrap();
    let start = batch.images.as_slice().as_ptr();
    batch.images.as_mut_slice().fill(2.0);
    assert!(batch.images.as_slice().iter().all(|&value| value == 2.0));
    assert_eq!(batch.images.as_slice().as_ptr(), start);
}
