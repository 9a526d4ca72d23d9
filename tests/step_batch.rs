//! Steps of as many images in every stage, made in batches that fit.

use bandfeed::demo_data::DemoData;
use bandfeed::loader::Loader;
use bandfeed::schedule::released::Reuse;
use bandfeed::schedule::{EarlyBatch, ModelRow, Options, Schedule};
use std::sync::Arc;

fn stages(options: &Options) -> Vec<(u32, usize, usize)> {
    let schedule = Schedule::efficient_train_pp(ModelRow::General, options).unwrap();
    let mut stages: Vec<_> = schedule.stages().iter().map(|s| (s.band, s.batch_size, s.accumulate)).collect();
    stages.dedup();
    stages
}

fn refused(options: &Options) -> String {
    Schedule::efficient_train_pp(ModelRow::General, options).unwrap_err().to_string()
}

#[test]
fn small_bands_take_fewer_and_larger_batches_for_the_same_step() {
    // 64 images fit at 224: 64 x 5.44 = 348 at 96, and 64 x 1.96 = 125 at 160.
    let options = Options { batch_size: 64, step_batch: Some(1024), ..Options::default() };
    assert_eq!(stages(&options), [(96, 256, 4), (160, 64, 16), (224, 64, 16)]);
    let options = Options { batch_size: 64, step_batch: Some(960), ..Options::default() };
    assert_eq!(stages(&options), [(96, 320, 3), (160, 120, 8), (224, 64, 15)]);
    // A step that fits anywhere is one batch.
    let options = Options { batch_size: 64, step_batch: Some(48), ..Options::default() };
    assert_eq!(stages(&options), [(96, 48, 1), (160, 48, 1), (224, 48, 1)]);
    for options in [960, 1024].map(|n| Options { batch_size: 64, step_batch: Some(n), ..Options::default() }) {
        let schedule = Schedule::efficient_train_pp(ModelRow::Deit, &options).unwrap();
        assert!(schedule.stages().iter().all(|s| Some(s.effective_batch()) == options.step_batch));
        assert_eq!(Schedule::from_toml(&schedule.to_toml(), &Options::default()).unwrap(), schedule);
        let json = serde_json::to_string(&schedule).unwrap();
        assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule);
    }
}

#[test]
fn early_batches_and_replay_keep_their_rules() {
    let early =
        Options { batch_size: 64, step_batch: Some(256), early_batch: EarlyBatch::RootRate, ..Options::default() };
    let schedule = Schedule::efficient_train_pp(ModelRow::General, &early).unwrap();
    // Four times the step at 96 of 224, at twice the rate; 348 images fit.
    let first = &schedule.stages()[0];
    assert_eq!((first.batch_size, first.accumulate, first.rate_scale), (256, 4, 2.0));
    assert_eq!(schedule.stages()[9].effective_batch(), 256);

    // Fourfold use at 96 and twofold at 160: there the whole step must fit.
    let replay = Options { batch_size: 64, step_batch: Some(120), replay: Reuse::Fourfold, ..Options::default() };
    assert_eq!(stages(&replay), [(96, 120, 1), (160, 120, 1), (224, 60, 2)]);
    let schedule = Schedule::efficient_train_pp(ModelRow::General, &replay).unwrap();
    assert_eq!([0, 2, 9].map(|i| schedule.stages()[i].fresh()), [30, 60, 60]);
    let message = refused(&Options { step_batch: Some(256), ..replay.clone() });
    assert!(message.starts_with("schedule.step_batch: 256: at 160 px at most 125 images fit"), "{message}");
    // What is left of a batch for new images must be whole.
    let message = refused(&Options { step_batch: Some(122), ..replay });
    assert!(message.starts_with("schedule.stage[0].replay: 4 times"), "{message}");
}

#[test]
fn steps_that_cannot_be_cut_are_refused_and_told_what_could() {
    let good = Options { batch_size: 64, ..Options::default() };
    let message = refused(&Options { step_batch: Some(0), ..good.clone() });
    assert!(message.starts_with("schedule.step_batch: 0"), "{message}");
    let message = refused(&Options { step_batch: Some(2 * 179), ..good.clone() });
    assert!(
        message.contains("at 160 px at most 125 images fit, but its largest divisor below that is 2;"),
        "{message}"
    );
    assert!(message.ends_with("more divisors, such as 360"), "{message}");
    let message = refused(&Options { step_batch: Some(128), base_parts: 2, ..good.clone() });
    assert!(message.contains("base_parts of 2"), "{message}");
    let table = "stage = [{ until = 1, band = 224, magnitude = 1 }]";
    let message = Schedule::from_toml(table, &Options { step_batch: Some(128), ..good }).unwrap_err().to_string();
    assert!(message.contains("a table says `batch_size` and `accumulate` by stage"), "{message}");
}

#[test]
fn the_step_that_a_refusal_names_is_taken() {
    let (mut named, mut early) = (0, 0);
    for (base, patch) in [(32, 8), (224, 16), (96, 16), (224, 32)] {
        for batch_size in [3, 64, 127] {
            for early_batch in [EarlyBatch::Off, EarlyBatch::SameRate] {
                for step_batch in (1..40 * batch_size).step_by(7).chain([7 * 127]) {
                    let options = Options {
                        base,
                        patch,
                        batch_size,
                        step_batch: Some(step_batch),
                        early_batch,
                        ..Options::default()
                    };
                    for row in [ModelRow::General, ModelRow::Deit, ModelRow::ConvNext] {
                        let Err(error) = Schedule::efficient_train_pp(row, &options) else { continue };
                        let error = error.to_string();
                        let step = error.rsplit_once("such as ").expect(&error).1.parse().unwrap();
                        assert!(step > step_batch, "{error}");
                        let better = Options { step_batch: Some(step), ..options.clone() };
                        Schedule::efficient_train_pp(row, &better).expect(&error);
                        named += 1;
                        early += usize::from(early_batch != EarlyBatch::Off);
                    }
                }
            }
        }
    }
    assert!(named > early && early > 0);
    let options = Options { base: 32, patch: 8, batch_size: 127, step_batch: Some(889), ..Options::default() };
    let message = refused(&options);
    assert!(message.starts_with("schedule.step_batch: 889: at 16 px at most 508 images fit"), "{message}");
    // With replay a larger step may not fit.
    let message =
        refused(&Options { batch_size: 64, step_batch: Some(2 * 127), replay: Reuse::Twofold, ..Options::default() });
    assert!(message.ends_with("use a number with more divisors"), "{message}");
}

#[test]
fn a_loader_makes_the_batches_of_whole_steps() {
    let options =
        Options { base: 32, patch: 8, batch_size: 4, step_batch: Some(24), epochs: 4.0, ..Options::default() };
    let schedule = Schedule::named("efficient_train_pp", &options).unwrap();
    let (train, _) = DemoData { train_per_class: 16, side: 64, ..DemoData::default() }.generate().unwrap();
    let loader = Loader::builder(Arc::new(train), schedule).workers(1).build().unwrap();
    let (mut sizes, mut steps, mut step, mut stage) = (Vec::new(), Vec::new(), 0, None);
    for batch in loader {
        let batch = batch.unwrap();
        let here = (batch.stage.index, batch.epoch);
        // The last step of an epoch or of a stage may be short.
        if stage != Some(here) {
            (step, stage) = (0, Some(here));
        }
        sizes.push((batch.stage.band, batch.len()));
        step += batch.len();
        if step == 24 {
            steps.push(batch.stage.band);
            step = 0;
        }
        assert!(step < 24);
    }
    sizes.sort_unstable();
    sizes.dedup();
    assert_eq!(sizes, [(16, 12), (24, 6), (32, 4)]);
    for band in [16, 24, 32] {
        assert!(steps.contains(&band), "{steps:?}");
    }
}
