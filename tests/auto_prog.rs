//! AutoProg's schedule set by hand: the published tables, the clock of compute, the recipe by stage.

use bandfeed::erase::Erasing;
use bandfeed::loader::Loader;
use bandfeed::plan::{self, SampleKey};
use bandfeed::recipe::Recipe;
use bandfeed::schedule::{Options, Prog, Schedule, Shrink, TokensBy};
use bandfeed::{Size, demo_data::DemoData};
use serde_json::Value;
use std::sync::Arc;

fn vectors() -> Value {
    serde_json::from_str(include_str!("data/schedule/auto_prog.json")).unwrap()
}

fn volo(prog: Prog) -> Prog {
    Prog { depth: 18, ..prog }
}

#[test]
fn stages_are_the_published_ones() {
    for (name, prog) in
        [("volo_h12_l18_script", volo(Prog::default())), ("parser_defaults_100ep", volo(Prog::parser_defaults()))]
    {
        let expected = &vectors()[name];
        assert_eq!(serde_json::json!(prog.starts(100)), expected["epochs"], "{name}");
        for (i, row) in prog.rows(224, 32).into_iter().enumerate() {
            assert_eq!(row.resolution, expected["resolution"][i].as_u64().unwrap() as u32, "{name} {i}");
            assert_eq!(row.layers, expected["layers"][i].as_u64().unwrap() as u32, "{name} {i}");
            assert_eq!(row.magnitude, expected["magnitude"][i].as_f64().unwrap(), "{name} {i}");
            for (got, key) in [(row.drop_path, "drop_path"), (row.random_erase, "random_erase")] {
                let expected = expected[key][i].as_f64().unwrap();
                assert!((got - expected).abs() < 1e-16, "{name} {i} {key}: {got} {expected}");
            }
        }
    }
}

#[test]
fn a_stage_has_what_its_row_says_and_a_quarter_of_the_images() {
    let options = Options { prog: volo(Prog::parser_defaults()), epochs: 50.0, ..Options::default() };
    let schedule = Schedule::named("auto-prog", &options).unwrap();
    assert_eq!((schedule.name(), schedule.depth()), ("auto_prog", Some(18)));
    let images = schedule.images(1_000_000);
    for (stage, row) in schedule.stages().iter().zip(options.prog.rows(224, 32)) {
        let depth = stage.growth.depth.unwrap();
        assert_eq!((stage.band, stage.side(), depth.blocks), (row.resolution, row.resolution, row.layers));
        assert_eq!((stage.magnitude, stage.growth.augment), (row.magnitude, row.magnitude > 0.0));
        assert!((stage.growth.erasing.unwrap() - row.random_erase).abs() < 1e-12);
        assert!((stage.growth.drop_path.unwrap() - row.drop_path).abs() < 1e-12);
        assert!(images[stage.index].abs_diff(images[0]) <= 1, "{images:?}");
    }
    // By hand: an image of the first stage costs 9/18 (128/224)^2 of one of the last.
    assert!((schedule.stages()[0].cost() - 0.5 * (4.0f64 / 7.0).powi(2)).abs() < 1e-15);
    // Mean of l r^2 over the stages: (9*128^2 + 12*160^2 + 15*192^2 + 18*224^2) / (4*18*224^2).
    assert!((schedule.relative_compute() - 0.528_911_565).abs() < 1e-8, "{}", schedule.relative_compute());
    let published = schedule.with_image_epochs(100.0).unwrap();
    assert_eq!(published.images(1_281_167), [25 * 1_281_167; 4]);
}

#[test]
fn deit_grows_by_two_blocks_and_small_bases_by_two_patches() {
    let blocks = |schedule: &Schedule| -> Vec<_> {
        schedule.stages().iter().map(|s| (s.side(), s.growth.depth.unwrap().blocks)).collect()
    };
    let at = |base, patch, depth| {
        let options = Options { base, patch, prog: Prog { depth, ..Prog::default() }, ..Options::default() };
        blocks(&Schedule::auto_prog(&options).unwrap())
    };
    assert_eq!(at(224, 16, 12), [(128, 6), (160, 8), (192, 10), (224, 12)]);
    // 48, 64, 80, 96 by multiples of 16: halves go up, and 80 is one already.
    assert_eq!(at(96, 8, 6), [(48, 3), (64, 4), (80, 5), (96, 6)]);
    // 36 is no multiple of two patches of 12: multiples of one. 1.33 blocks round to 1, which is less than nine tenths.
    assert_eq!(at(36, 12, 2), [(24, 1), (24, 2), (36, 2), (36, 2)]);
    let one = Options { prog: Prog { num_stages: 1, ..Prog::default() }, ..Options::default() };
    assert_eq!(blocks(&Schedule::auto_prog(&one).unwrap()), [(224, 12)]);
}

#[test]
fn tokens_grow_by_band_or_on_the_trainers_side() {
    let stages = |tokens_by| {
        let prog = Prog { tokens_by, resize_scale: [0.5, 1.0], ..Prog::default() };
        let schedule = Schedule::auto_prog(&Options { prog, ..Options::default() }).unwrap();
        assert_eq!(Schedule::from_toml(&schedule.to_toml(), &Options::default()).unwrap(), schedule);
        let json = serde_json::to_string(schedule.at(0.0)).unwrap();
        assert_eq!(&serde_json::from_str::<bandfeed::Stage>(&json).unwrap(), schedule.at(0.0));
        schedule.stages().to_vec()
    };
    let (band, resize, patch) = (stages(TokensBy::Band), stages(TokensBy::Resize), stages(TokensBy::Patch));
    assert_eq!((band[0].band, band[0].growth.shrink), (128, None));
    assert_eq!((resize[0].band, resize[0].growth.shrink), (224, Some(Shrink::Resize(128))));
    assert_eq!((patch[1].band, patch[1].growth.shrink), (224, Some(Shrink::Patch(160))));
    assert_eq!((resize[3].side(), resize[3].growth.shrink), (224, None));
    for ((a, b), c) in band.iter().zip(&resize).zip(&patch) {
        assert_eq!((a.end, a.batch_size, a.cost()), (b.end, b.batch_size, b.cost()));
        assert_eq!((a.end, a.batch_size, a.cost()), (c.end, c.batch_size, c.cost()));
    }
    assert_eq!(band[0].growth.scale, Some([0.04, 1.0]));
}

const TABLE: &str = "
base = 64
patch = 8
batch_size = 4
[[stage]]
until = 0.4
band = 64
resize = 32
magnitude = 2
depth = 2
drop_path = 0.05
augment = false
erasing = 0
scale = [0.25, 0.5]
[[stage]]
until = 1
band = 64
magnitude = 9
depth = 4
";

#[test]
fn a_table_says_growth_and_mistakes_are_named() {
    let schedule = Schedule::from_toml(TABLE, &Options::default()).unwrap();
    let growth = schedule.at(0.0).growth;
    assert_eq!((growth.depth.unwrap().blocks, schedule.depth()), (2, Some(4)));
    assert_eq!((growth.shrink, growth.erasing, growth.augment), (Some(Shrink::Resize(32)), Some(0.0), false));
    assert_eq!(Schedule::from_toml(&schedule.to_toml(), &Options::default()).unwrap(), schedule);
    for (from, to, words) in [
        ("depth = 2", "depth = 5", "stage[0].depth: 5: expected 1 to 4"),
        ("depth = 2", "depth = 0", "stage[0].depth: 0: expected 1 to 4"),
        ("depth = 4", "", "stage[0].depth: 2: the last stage says none"),
        ("resize = 32", "resize = 36", "stage[0].resize: 36: expected a multiple of the patch side 8"),
        ("resize = 32", "resize = 72", "stage[0].resize: 72: expected 1 to the band, 64"),
        ("resize = 32", "resize = 32\npatch_resize = 32", "stage[0].patch_resize: given with `resize`"),
        ("drop_path = 0.05", "drop_path = 1", "stage[0].drop_path: 1: expected a chance"),
        ("erasing = 0", "erasing = nan", "stage[0].erasing"),
        ("[0.25, 0.5]", "[0.5, 0.25]", "stage[0].scale"),
    ] {
        let error = Schedule::from_toml(&TABLE.replacen(from, to, 1), &Options::default()).unwrap_err().to_string();
        assert!(error.contains(words), "{to}: {error}");
    }
}

#[test]
fn a_model_that_would_shrink_is_refused() {
    let row =
        |until: f64, depth: u32| format!("[[stage]]\nuntil = {until}\nband = 224\nmagnitude = 9\ndepth = {depth}\n");
    let text = [row(0.2, 3), row(0.5, 2), row(1.0, 4)].concat();
    let error = Schedule::from_toml(&text, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("stage[1].depth: 2: expected at least 3"), "{error}");
}

#[test]
fn the_stage_says_how_strong_the_recipe_is() {
    let schedule = Schedule::from_toml(TABLE, &Options::default()).unwrap();
    let recipe = Recipe {
        augment: Some("rand-mstd0.5-inc1".parse().unwrap()),
        erasing: Some(Erasing { probability: 1.0, ..Erasing::default() }),
        ..Recipe::default()
    };
    let plans = |progress, recipe: &Recipe| -> Vec<_> {
        let stage = schedule.at(progress);
        let key = |position| SampleKey { seed: 1, epoch: 0, position, replay: 0 };
        (0..200).map(|i| plan::train(key(i), stage, stage.magnitude, recipe, Size::square(400)).unwrap()).collect()
    };
    let (early, late) = (plans(0.0, &recipe), plans(0.9, &recipe));
    assert!(early.iter().all(|plan| plan.ops.is_empty() && plan.erasures.is_empty()));
    assert!(late.iter().any(|plan| !plan.ops.is_empty()) && late.iter().any(|plan| !plan.erasures.is_empty()));
    let area = |plan: &plan::SamplePlan| plan.crop.region.size().pixels() as f64 / 160_000.0;
    assert!(early.iter().map(area).all(|share| (0.24..0.51).contains(&share)));
    assert!(late.iter().map(area).any(|share| share > 0.6));
    // A policy whose strength is not the stage's, and a recipe that does not erase, stay as they are.
    let own = Recipe { augment: Some("trivial".parse().unwrap()), erasing: None, ..recipe };
    let early = plans(0.0, &own);
    assert!(early.iter().any(|plan| !plan.ops.is_empty()) && early.iter().all(|plan| plan.erasures.is_empty()));
}

#[test]
fn the_loader_counts_depth_in_the_clock() {
    let data = DemoData { train_per_class: 8, val_per_class: 1, side: 64, ..DemoData::default() };
    let source = Arc::new(data.generate().unwrap().0);
    let schedule = Schedule::from_toml(TABLE, &Options { epochs: 2.0, ..Options::default() }).unwrap();
    let images = 4 * (bandfeed::Source::len(&*source) / 4) as u64;
    let loader = Loader::builder(source, schedule.clone()).workers(1).build().unwrap();
    let mut seen = [0u64; 2];
    let mut spent = 0.0;
    for batch in loader {
        let batch = batch.unwrap();
        assert!((batch.progress - spent / (2.0 * images as f64)).abs() < 1e-9, "{} {spent}", batch.progress);
        seen[batch.stage.index] += batch.len() as u64;
        spent += batch.len() as f64 * batch.stage.cost();
        assert_eq!(batch.images.shape()[2], 64, "the trainer makes them smaller");
    }
    let expected = schedule.images(images);
    // A batch more or less at the border: an image of the first stage costs an eighth.
    assert!(seen[0].abs_diff(expected[0]) <= 4 && seen[1].abs_diff(expected[1]) <= 4, "{seen:?} {expected:?}");
}
