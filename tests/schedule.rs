//! The schedules against the published tables, and what must hold of every schedule.

use bandfeed::schedule::learning_rate::ReleasedLearningRate;
use bandfeed::schedule::released::{self, ReleasedStage, Reuse};
use bandfeed::schedule::{LearningRate, ModelRow, NAMES, Options, Schedule};
use bandfeed::{BandCrop, Error, Grid};
use std::path::Path;

/// Every built-in at several sizes, the released ones at the published size, and one table with everything in it.
fn all_schedules() -> Vec<Schedule> {
    let mut all = Vec::new();
    for (base, patch) in [(224, 16), (224, 32), (384, 16), (64, 8), (32, 4), (16, 16), (1, 1)] {
        let options = Options { base, patch, batch_size: 96, base_parts: 2, epochs: 7.5, ..Options::default() };
        all.extend(NAMES.map(|name| Schedule::named(name, &options).expect(name)));
    }
    for row in [ModelRow::General, ModelRow::Deit, ModelRow::ConvNext] {
        all.push(Schedule::released(row, &Options::default()).expect("200 epochs are enough"));
    }
    all.push(Schedule::from_toml(TABLE, &Options::default()).expect("the table is valid"));
    all
}

const TABLE: &str = r#"
name = "mine"
base = 128
patch = 8
epochs = 12.5
batch_size = 64
crop = "fourier"

[[stage]]
until = 0.3
band = 64
magnitude = 2

[[stage]]
until = 0.7
band = 48 # the band may fall in a user's table
magnitude = 3.5
crop = "lanczos"

[[stage]]
until = 1
band = 128
magnitude = 9
batch_size = 32
accumulate = 2
"#;

fn bands(schedule: &Schedule) -> Vec<u32> {
    schedule.stages().iter().map(|stage| stage.band).collect()
}

// ------------------------------------------------------------------------------------ the published tables

#[test]
fn efficient_train_has_the_published_stages_and_cost() {
    let schedule = Schedule::efficient_train(&Options { base_parts: 2, ..Options::default() }).expect("defaults work");
    assert_eq!(bands(&schedule), [160, 160, 160, 192, 224]);
    let magnitudes: Vec<f64> = schedule.stages().iter().map(|stage| stage.magnitude).collect();
    assert_eq!(magnitudes, [1.0, 3.0, 5.0, 7.0, 9.0]);
    assert!(schedule.stages().iter().all(|stage| stage.crop == BandCrop::FOURIER));
    // 0.6 (160/224)^2 + 0.2 (192/224)^2 + 0.2, of which the first stage is a third of the first term.
    let cost = (3.0 * 25_600.0 + 36_864.0 + 50_176.0) / (5.0 * 50_176.0);
    assert!((schedule.relative_compute() - cost).abs() < 1e-11);
    assert!((cost - 0.653).abs() < 5e-4);
    assert!((schedule.stages()[0].end - 0.2 * (160.0f64 / 224.0).powi(2) / cost).abs() < 1e-11);
    // The same batch behind each step; at 224 in two parts.
    let batches: Vec<_> = schedule.stages().iter().map(|stage| (stage.batch_size, stage.accumulate)).collect();
    assert_eq!(batches, [(256, 1), (256, 1), (256, 1), (256, 1), (128, 2)]);
}

#[test]
fn efficient_train_of_300_epochs_passes_sixty_times_over_the_data_in_each_stage() {
    let schedule = Schedule::efficient_train(&Options::default()).unwrap().with_image_epochs(300.0).unwrap();
    assert_eq!(schedule.images(1_281_167), [60 * 1_281_167; 5]);
    assert!((300.0 / schedule.epochs() - 1.53).abs() < 5e-3, "the published speed-up");
}

#[test]
fn efficient_train_pp_has_ten_stages_of_a_tenth_with_the_published_bands() {
    for (row, published) in [
        (ModelRow::General, [96, 96, 160, 160, 160, 160, 224, 224, 224, 224]),
        (ModelRow::Deit, [96, 96, 160, 160, 160, 160, 192, 192, 224, 224]),
        (ModelRow::ConvNext, [160, 160, 160, 160, 160, 160, 224, 224, 224, 224]),
    ] {
        let schedule = Schedule::efficient_train_pp(row, &Options::default()).expect("defaults work");
        assert_eq!(bands(&schedule), published);
        for (i, stage) in schedule.stages().iter().enumerate() {
            assert_eq!(stage.index, i);
            assert_eq!(stage.magnitude, i as f64);
            assert_eq!((stage.start, stage.end), (i as f64 / 10.0, (i + 1) as f64 / 10.0));
            assert_eq!(stage.crop, BandCrop::Lanczos);
        }
    }
}

#[test]
fn loader_load_is_the_published_ratio_of_areas() {
    let schedule = Schedule::efficient_train_pp(ModelRow::Deit, &Options::default()).unwrap();
    let loads = [0, 2, 6, 8].map(|i| (schedule.stages()[i].load() * 10_000.0).round() / 10_000.0);
    assert_eq!(loads, [5.4444, 1.96, 1.3611, 1.0]);
}

#[test]
fn budget_of_200_epochs_shows_the_data_as_often_as_published() {
    let passes = |row| Schedule::released(row, &Options::default()).unwrap().image_epochs();
    let rounded = [ModelRow::General, ModelRow::Deit, ModelRow::ConvNext].map(|row| (passes(row) * 1e6).round() / 1e6);
    assert_eq!(rounded, [454.0, 469.0, 315.0]);
    let compute = |row| Schedule::released(row, &Options::default()).unwrap().epochs();
    let rounded =
        [ModelRow::General, ModelRow::Deit, ModelRow::ConvNext].map(|row| (compute(row) * 100.0).round() / 100.0);
    assert_eq!(rounded, [199.96, 200.63, 199.90]);
}

// ------------------------------------------------------------------------------- the released arithmetic

fn row(name: &str) -> ModelRow {
    match name {
        "general" => ModelRow::General,
        "deit" => ModelRow::Deit,
        "convnext" => ModelRow::ConvNext,
        other => panic!("no row {other}"),
    }
}

fn replay(name: &str) -> Reuse {
    match name {
        "off" => Reuse::Off,
        "twofold" => Reuse::Twofold,
        "fourfold" => Reuse::Fourfold,
        other => panic!("no replay {other}"),
    }
}

#[test]
fn released_arithmetic_equals_the_vectors_in_exact_fractions() {
    let text = include_str!("data/schedule/released.csv");
    let mut compared = 0;
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let number = |i: usize| fields[i].parse::<u32>().expect("a number");
        let stage = released::table(row(fields[0]), number(2), replay(fields[1]))[number(3) as usize];
        let expected = ReleasedStage {
            stage: number(3) as usize,
            band: number(4),
            magnitude: number(3),
            replay_times: number(5),
            schedule_epochs: number(6),
            warmup_epochs: number(7),
            start_epoch: number(8),
            end_epoch: number(9),
            epochs_run: number(9) - number(8),
        };
        assert_eq!(stage, expected, "{line}");
        compared += 1;
    }
    assert_eq!(compared, 240);
}

#[test]
fn released_arithmetic_equals_the_shared_vectors() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/spec/vectors/et_pp_schedule.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("{} is absent: own vectors only", path.display());
        return;
    };
    let vectors: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let scripts = [
        ("swin_cswin_resnet50", ModelRow::General, Reuse::Off),
        ("deit", ModelRow::Deit, Reuse::Off),
        ("convnext", ModelRow::ConvNext, Reuse::Off),
        ("deit_replay", ModelRow::Deit, Reuse::Fourfold),
        ("swinT_cswinT_replay", ModelRow::General, Reuse::Twofold),
        ("resnet50_replay", ModelRow::General, Reuse::Fourfold),
    ];
    assert_eq!(vectors.as_object().expect("scripts by name").len(), scripts.len());
    for (name, row, replay) in scripts {
        for epochs in [100, 150, 200, 300] {
            let expected = vectors[name][epochs.to_string()].as_array().expect("stages");
            let table = released::table(row, epochs, replay);
            assert_eq!(table.len(), expected.len());
            for (stage, expected) in table.iter().zip(expected) {
                let stage = serde_json::json!({
                    "stage": stage.stage, "B": stage.band, "magnitude": stage.magnitude,
                    "replay_times": stage.replay_times, "schedule_epochs": stage.schedule_epochs,
                    "warmup_epochs": stage.warmup_epochs, "start_epoch": stage.start_epoch,
                    "end_epoch": stage.end_epoch, "epochs_run": stage.epochs_run,
                });
                assert_eq!(&stage, expected, "{name}, E = {epochs}");
            }
        }
    }
}

#[test]
fn released_stages_use_a_tenth_each_and_half_a_percent_of_the_budget_at_most_is_lost() {
    for row in [ModelRow::General, ModelRow::Deit, ModelRow::ConvNext] {
        for epochs in [100.0, 150.0, 200.0, 300.0] {
            let schedule = Schedule::released(row, &Options { epochs, ..Options::default() }).unwrap();
            assert!((schedule.epochs() / epochs - 1.0).abs() < 0.005, "{row:?} {epochs}: {}", schedule.epochs());
            for stage in schedule.stages() {
                // Both ends are rounded to epochs of the stage's band: at most 1.5 of those beside the tenth.
                let slack = 1.5 * stage.cost() / epochs;
                assert!((stage.share() - 0.1).abs() < slack, "{row:?} {epochs}: {stage:?}");
            }
        }
    }
}

#[test]
fn released_schedule_shows_exactly_the_epochs_that_the_scripts_run() {
    for row in [ModelRow::General, ModelRow::Deit, ModelRow::ConvNext] {
        for epochs in [100, 150, 200, 300] {
            let options = Options { epochs: f64::from(epochs), ..Options::default() };
            let schedule = Schedule::released(row, &options).unwrap();
            let expected: Vec<u64> = released::table(row, epochs, Reuse::Off)
                .iter()
                .map(|stage| u64::from(stage.epochs_run) * 1_281_167)
                .collect();
            assert_eq!(schedule.images(1_281_167), expected);
        }
    }
}

#[test]
fn released_arithmetic_refuses_budgets_it_cannot_divide() {
    for epochs in [0.5, 1.0, 199.5] {
        let error = Schedule::released(ModelRow::General, &Options { epochs, ..Options::default() }).unwrap_err();
        assert!(error.to_string().starts_with("schedule.epochs: "), "{error}");
    }
}

// ------------------------------------------------------------------------------------- the learning rate

#[test]
fn released_learning_rate_jumps_where_the_paper_code_jumps() {
    let rate = ReleasedLearningRate { peak: 4e-3, min: 1e-6, steps_per_epoch: 312 };
    // (row, the stage that begins, the rate in the last step before it and in its first)
    for (row, begins, before, after) in [
        (ModelRow::General, 2, 0.003674, 0.003765),
        (ModelRow::General, 6, 0.001516, 0.001653),
        (ModelRow::ConvNext, 6, 0.001516, 0.001653),
        (ModelRow::Deit, 8, 0.000597, 0.000615),
    ] {
        let table = released::table(row, 200, Reuse::Off);
        let (last, first) = (&table[begins - 1], &table[begins]);
        let got =
            (rate.at(last, u64::from(last.end_epoch) * 312 - 1), rate.at(first, u64::from(first.start_epoch) * 312));
        assert!((got.0 - before).abs() < 1e-6 && (got.1 - after).abs() < 1e-6, "{row:?} stage {begins}: {got:?}");
    }
}

#[test]
fn released_warmup_runs_from_zero_to_the_peak_with_both_ends() {
    let rate = ReleasedLearningRate { peak: 4e-3, min: 1e-6, steps_per_epoch: 312 };
    let first = released::table(ModelRow::General, 200, Reuse::Off)[0];
    let warmup = u64::from(first.warmup_epochs) * 312;
    assert_eq!(rate.at(&first, 0), 0.0);
    assert_eq!(rate.at(&first, warmup - 1), 4e-3);
    assert_eq!(rate.at(&first, warmup), 4e-3);
    assert_eq!(rate.at(&first, u64::MAX), 1e-6);
}

#[test]
fn learning_rate_by_compute_has_no_jump_where_the_band_changes() {
    let rate = LearningRate::default();
    for schedule in all_schedules() {
        for stage in &schedule.stages()[1..] {
            let (before, after) = (rate.at(stage.start - 1e-9), rate.at(stage.start + 1e-9));
            assert!((before - after).abs() < 1e-6, "{} at {}", schedule.name(), stage.start);
        }
    }
}

// ----------------------------------------------------------------------- what holds of every schedule

#[test]
fn every_progress_belongs_to_exactly_one_stage() {
    for schedule in all_schedules() {
        let stages = schedule.stages();
        assert_eq!(stages[0].start, 0.0);
        assert_eq!(stages[stages.len() - 1].end, 1.0);
        for (index, pair) in stages.windows(2).enumerate() {
            assert_eq!(pair[0].end, pair[1].start, "{}: no gap, no overlap", schedule.name());
            assert_eq!((pair[0].index, pair[1].index), (index, index + 1));
        }
        for step in 0..1000 {
            let progress = f64::from(step) / 1000.0 + 1e-5; // beside every boundary
            let holding: Vec<_> = stages.iter().filter(|s| s.start <= progress && progress < s.end).collect();
            assert_eq!(holding, [schedule.at(progress)], "{} at {progress}", schedule.name());
        }
        let shares: f64 = stages.iter().map(|stage| stage.share()).sum();
        assert!((shares - 1.0).abs() < 1e-12);
    }
}

#[test]
fn boundaries_belong_to_the_later_stage_even_after_rounding() {
    for schedule in all_schedules() {
        for stage in schedule.stages() {
            for progress in [stage.start, stage.start - 1e-12, stage.start + 1e-12] {
                assert_eq!(schedule.at(progress), stage, "{} at {progress:e}", schedule.name());
            }
            let before = stage.end - 1e-6;
            assert_eq!(schedule.at(before), stage, "{} at {before:e}", schedule.name());
        }
    }
}

#[test]
fn progress_outside_the_run_is_its_first_or_last_stage() {
    for schedule in all_schedules() {
        let (first, last) = (&schedule.stages()[0], &schedule.stages()[schedule.stages().len() - 1]);
        for progress in [-1.0, f64::NEG_INFINITY, f64::NAN, -0.0] {
            assert_eq!(schedule.at(progress), first);
        }
        for progress in [1.0, 1.5, f64::INFINITY, 1.0 - 1e-12] {
            assert_eq!(schedule.at(progress), last);
        }
    }
}

#[test]
fn built_in_bands_and_magnitudes_never_fall_and_end_at_the_base() {
    for schedule in all_schedules().iter().filter(|schedule| schedule.name() != "mine") {
        let stages = schedule.stages();
        assert!(stages.is_sorted_by_key(|stage| stage.band), "{schedule:?}");
        assert!(stages.is_sorted_by_key(|stage| stage.magnitude), "{schedule:?}");
        assert_eq!(stages[stages.len() - 1].band, schedule.base());
        for stage in stages {
            assert!(stage.band > 0 && stage.band % schedule.patch() == 0 && stage.band <= stage.base, "{stage:?}");
        }
    }
}

#[test]
fn every_stage_of_a_built_in_steps_with_the_same_number_of_images() {
    for schedule in all_schedules().iter().filter(|schedule| schedule.name() != "mine") {
        let effective: Vec<_> = schedule.stages().iter().map(|stage| stage.effective_batch()).collect();
        assert!(effective.iter().all(|batch| *batch == effective[0]), "{effective:?}");
    }
}

#[test]
fn images_of_all_stages_cost_the_whole_budget() {
    for schedule in all_schedules() {
        let images = schedule.images(1_000_000);
        let compute: f64 = images.iter().zip(schedule.stages()).map(|(n, stage)| *n as f64 * stage.cost()).sum();
        // Half an image is lost or won to rounding in each stage.
        let budget = schedule.epochs() * 1e6;
        assert!((compute - budget).abs() <= 0.5 * images.len() as f64, "{}: {compute} {budget}", schedule.name());
        assert!((schedule.image_epochs() * schedule.relative_compute() - schedule.epochs()).abs() < 1e-9);
    }
}

#[test]
fn a_fixed_schedule_is_one_stage_from_start_to_end() {
    let schedule = Schedule::efficient_train_pp(ModelRow::General, &Options::default()).unwrap();
    let fixed = Schedule::fixed(schedule.at(0.3).clone());
    assert_eq!(fixed.stages().len(), 1);
    assert_eq!(fixed.at(0.99).band, 160);
    assert_eq!((fixed.at(0.0).index, fixed.at(0.0).start, fixed.at(0.0).end), (0, 0.0, 1.0));
}

// ------------------------------------------------------------------------------------------ TOML and names

#[test]
fn every_schedule_comes_back_from_its_toml_and_json_unchanged() {
    // Options unlike the ones it was made with: the table says everything.
    let other = Options { base: 96, patch: 3, batch_size: 5, epochs: 3.0, ..Options::default() };
    for schedule in all_schedules() {
        let text = schedule.to_toml();
        assert_eq!(Schedule::from_toml(&text, &other).unwrap_or_else(|e| panic!("{e}\n{text}")), schedule);
        let json = serde_json::to_string(&schedule).expect("serialisable");
        assert_eq!(serde_json::from_str::<Schedule>(&json).expect("deserialisable"), schedule);
    }
}

#[test]
fn a_table_says_what_it_says_and_options_fill_the_rest() {
    let schedule = Schedule::from_toml(TABLE, &Options::default()).unwrap();
    assert_eq!((schedule.name(), schedule.base(), schedule.patch(), schedule.epochs()), ("mine", 128, 8, 12.5));
    assert_eq!(bands(&schedule), [64, 48, 128]);
    let batches: Vec<_> = schedule.stages().iter().map(|stage| (stage.batch_size, stage.accumulate)).collect();
    assert_eq!(batches, [(64, 1), (64, 1), (32, 2)]);
    assert_eq!(schedule.stages()[0].crop, BandCrop::FOURIER);
    assert_eq!(schedule.stages()[1].crop, BandCrop::Lanczos);

    let options = Options {
        base: 64,
        patch: 8,
        batch_size: 12,
        epochs: 3.0,
        crop: Some(BandCrop::Fourier { grid: Grid::HalfPixel }),
        ..Options::default()
    };
    let schedule = Schedule::from_toml("stage = [{ until = 1, band = 40, magnitude = 1 }]", &options).unwrap();
    let stage = schedule.at(0.5);
    assert_eq!((schedule.epochs(), stage.base, stage.batch_size, Some(stage.crop)), (3.0, 64, 12, options.crop));
}

#[test]
fn a_named_path_is_read_and_its_errors_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short-run.toml");
    let name = path.to_str().unwrap();
    std::fs::write(&path, "stage = [{ until = 1, band = 224, magnitude = 1 }]").unwrap();
    assert_eq!(Schedule::named(name, &Options::default()).unwrap().name(), "short-run");

    std::fs::write(&path, "\n\nepoch = 3").unwrap();
    let message = Schedule::named(name, &Options::default()).unwrap_err().to_string();
    assert!(message.starts_with(&format!("{name}, line 3: unknown key `epoch` (did you mean `epochs`?)")), "{message}");

    let missing = Schedule::named("nowhere/at-all.toml", &Options::default()).unwrap_err();
    assert!(matches!(missing, Error::Io { .. }), "{missing}");
}

/// The table with one line replaced: the error must hold all of `words`.
#[track_caller]
fn refused(from: &str, to: &str, words: &[&str]) {
    assert!(TABLE.contains(from), "`{from}` is in the table");
    let message = Schedule::from_toml(&TABLE.replacen(from, to, 1), &Options::default()).unwrap_err().to_string();
    for word in words {
        assert!(message.contains(word), "`{word}` is missing in: {message}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_key() {
    refused("band = 64", "bnad = 64", &["line 11", "`bnad`", "did you mean `band`?", "until, band, magnitude"]);
    refused("epochs = 12.5", "epoch = 12.5", &["line 5", "did you mean `epochs`?"]);
    refused("accumulate = 2", "acumulate = 2", &["line 25", "did you mean `accumulate`?"]);
    refused("patch = 8", "zzzzzzzzz = 8", &["line 4", "unknown key `zzzzzzzzz`; a schedule has name, base"]);
}

#[test]
fn a_value_out_of_range_is_refused_with_its_stage_and_key() {
    refused("band = 64", "band = 60", &["schedule.stage[0].band", "60", "multiple of the patch side 8"]);
    refused("band = 64", "band = 0", &["schedule.stage[0].band"]);
    refused("band = 64", "band = 136", &["schedule.stage[0].band", "128"]);
    refused("until = 0.7", "until = 0.3", &["schedule.stage[1].until", "more than 0.3"]);
    refused("until = 0.7", "until = 1.0", &["schedule.stage[2].until"]);
    refused("until = 0.7", "until = nan", &["schedule.stage[1].until"]);
    refused("until = 1\n", "until = 0.9\n", &["schedule.stage[2].until", "the last stage ends at 1"]);
    refused("magnitude = 3.5", "magnitude = 10.5", &["schedule.stage[1].magnitude", "0 to 10"]);
    refused("magnitude = 3.5", "magnitude = nan", &["schedule.stage[1].magnitude"]);
    refused("batch_size = 32", "batch_size = 0", &["schedule.stage[2].batch_size"]);
    refused("accumulate = 2", "accumulate = 0", &["schedule.stage[2].accumulate"]);
    refused("\"lanczos\"", "\"lanzcos\"", &["schedule.stage[1].crop", "lanzcos", "lanczos"]);
    refused("\"fourier\"", "\"fft\"", &["schedule.crop", "fft", "fourier-half-pixel"]);
    refused("base = 128", "base = 100", &["schedule.base", "100", "8"]);
    refused("patch = 8", "patch = 0", &["schedule.patch"]);
    refused("epochs = 12.5", "epochs = inf", &["schedule.epochs"]);
}

#[test]
fn a_value_of_the_wrong_kind_is_refused_with_its_line() {
    refused("band = 64", "band = \"64\"", &["line 11", "expected u32"]);
    refused("band = 64", "band = -64", &["line 11"]);
    refused("band = 64", "band = ", &["line 11"]);
    refused("band = 64", "", &["line 9", "missing field `band`"]);
    let message = Schedule::from_toml("stage = []", &Options::default()).unwrap_err().to_string();
    assert!(message.contains("at least one [[stage]]"), "{message}");
}

#[test]
fn an_unknown_name_is_refused_with_the_names_and_the_nearest() {
    let message = Schedule::named("eficient_train_p", &Options::default()).unwrap_err().to_string();
    assert!(message.contains("did you mean `efficient_train_pp`?"), "{message}");
    for name in NAMES {
        assert!(message.contains(name), "{message}");
    }
    let with_hyphens = Schedule::named("efficient-train-pp-deit", &Options::default()).unwrap();
    assert_eq!(with_hyphens.name(), "efficient_train_pp_deit");
}

#[test]
fn options_that_make_no_schedule_are_refused_by_name() {
    let good = Options::default();
    for (options, key) in [
        (Options { base: 0, ..good.clone() }, "base"),
        (Options { base: 225, ..good.clone() }, "base"),
        (Options { base: 1 << 20, ..good.clone() }, "base"),
        (Options { patch: 0, ..good.clone() }, "patch"),
        (Options { epochs: 0.0, ..good.clone() }, "epochs"),
        (Options { epochs: f64::NAN, ..good.clone() }, "epochs"),
        (Options { batch_size: 0, ..good.clone() }, "batch_size"),
        (Options { base_parts: 0, ..good.clone() }, "base_parts"),
        (Options { base_parts: 3, ..good.clone() }, "base_parts"),
    ] {
        for name in NAMES {
            let message = Schedule::named(name, &options).unwrap_err().to_string();
            assert!(message.starts_with(&format!("schedule.{key}: ")), "{name}: {message}");
        }
    }
}
