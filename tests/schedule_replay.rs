//! Reuse and early large batches in schedules (`efficienttrain.md` §5, §6).

use bandfeed::schedule::released::Reuse;
use bandfeed::schedule::{EarlyBatch, ModelRow, Options, Schedule};

#[test]
fn replay_divides_what_is_decoded_and_leaves_the_training_as_it_is() {
    // efficienttrain.md §5: load by band, and images decoded in the whole run at E = 200.
    let rows = [
        (ModelRow::Deit, Reuse::Fourfold, [1.36, 0.98, 1.36, 1.0], 228.0),
        (ModelRow::General, Reuse::Fourfold, [1.36, 0.98, 1.0, 1.0], 213.0),
        (ModelRow::General, Reuse::Twofold, [2.72, 1.96, 1.0, 1.0], 345.0),
        (ModelRow::General, Reuse::Off, [5.44, 1.96, 1.0, 1.0], 454.0),
        (ModelRow::Deit, Reuse::Off, [5.44, 1.96, 1.36, 1.0], 469.0),
    ];
    for (row, replay, loads, decoded) in rows {
        let plain = Schedule::efficient_train_pp(row, &Options::default()).unwrap();
        let schedule = Schedule::efficient_train_pp(row, &Options { replay, ..Options::default() }).unwrap();
        for (stage, load) in [0, 2, 6, 8].into_iter().zip(loads) {
            let found = schedule.stages()[stage].load();
            assert!((found - load).abs() < 0.005, "{row:?} {replay:?} stage {stage}: {found}, not {load}");
        }
        assert!((schedule.decoded_epochs() - decoded).abs() < 1.0, "{row:?} {replay:?}: {}", schedule.decoded_epochs());
        assert_eq!(schedule.images(1000), plain.images(1000));
        assert_eq!(Schedule::from_toml(&schedule.to_toml(), &Options::default()).unwrap(), schedule);
        if replay != Reuse::Off {
            let released = Schedule::released(row, &Options { replay, ..Options::default() }).unwrap();
            assert!((released.epochs() / 200.0 - 1.0).abs() < 0.01, "{}", released.epochs());
        }
    }
    let capacities = |replay: Reuse| replay.stages().map(|r| r.capacity);
    assert_eq!(capacities(Reuse::Fourfold), [1920, 1920, 256, 256, 256, 256, 1, 1, 1, 1]);
    assert_eq!(capacities(Reuse::Twofold)[..3], [1024, 1024, 1]);
}

#[test]
fn replay_that_no_batch_can_be_made_of_is_refused_by_name() {
    let odd = Options { replay: Reuse::Fourfold, batch_size: 50, ..Options::default() };
    let message = Schedule::efficient_train_pp(ModelRow::Deit, &odd).unwrap_err().to_string();
    assert!(message.starts_with("schedule.stage[0].replay: 4 times") && message.contains("50"), "{message}");
    let message =
        Schedule::constant(&Options { replay: Reuse::Twofold, ..Options::default() }).unwrap_err().to_string();
    assert!(message.contains("no published replay"), "{message}");
    for (row, reason) in [
        ("replay = 2", "replay_capacity"),
        ("replay_capacity = 2", "nothing would be in the buffer"),
        ("replay = 2, replay_capacity = 0", "expected at least 1"),
        ("replay = 2, replay_capacity = 8, accumulate = 2", "no accumulation"),
        ("rate_scale = 0.0", "expected a number above 0"),
    ] {
        let text = format!("stage = [{{ until = 1, band = 96, magnitude = 1, {row} }}]");
        let message = Schedule::from_toml(&text, &Options::default()).unwrap_err().to_string();
        assert!(message.contains(reason), "{row}: {message}");
    }
}

#[test]
fn early_stages_get_larger_batches_of_the_same_samples() {
    let options = |early_batch| Options { early_batch, ..Options::default() };
    let off = Schedule::efficient_train_pp(ModelRow::General, &options(EarlyBatch::Off)).unwrap();
    for (kind, scale) in [(EarlyBatch::RootRate, 2.0), (EarlyBatch::SameRate, 1.0)] {
        let schedule = Schedule::efficient_train_pp(ModelRow::General, &options(kind)).unwrap();
        // floor(5.44) is 5, at most 4; floor(1.96) is 1.
        let batches: Vec<usize> = schedule.stages().iter().map(|stage| stage.batch_size).collect();
        assert_eq!(batches, [1024, 1024, 256, 256, 256, 256, 256, 256, 256, 256]);
        assert_eq!((schedule.stages()[0].rate_scale, schedule.stages()[2].rate_scale), (scale, 1.0));
        assert_eq!(schedule.images(1000), off.images(1000));
        assert_eq!(Schedule::from_toml(&schedule.to_toml(), &Options::default()).unwrap(), schedule);
    }
}

#[test]
fn a_table_takes_no_replay_and_no_early_batches_from_its_options() {
    let table = "stage = [{ until = 1, band = 96, magnitude = 1 }]";
    for (options, word) in [
        (Options { replay: Reuse::Fourfold, ..Options::default() }, "schedule.replay: fourfold"),
        (Options { early_batch: EarlyBatch::RootRate, ..Options::default() }, "schedule.early_batch: root-rate"),
    ] {
        let error = Schedule::from_toml(table, &options).unwrap_err().to_string();
        assert!(error.starts_with(word), "{error}");
    }
}
