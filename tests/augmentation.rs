//! The training transform as a whole: order of its steps against Pillow's, erasing before and after the band, augmentation
//! on the band, and what the loader makes of a recipe.

mod loader_fixtures;

use bandfeed::augment::{Augmenter, Op, Ops, Policy, Sampling};
use bandfeed::erase::{EraseAt, EraseMode, Erasing};
use bandfeed::loader::{Loader, LoaderBuilder};
use bandfeed::mix::{Mix, Mixed};
use bandfeed::ops::{Renderer, Rgb8, View};
use bandfeed::plan::{self, BandPlan, ResizedCrop, SampleKey, SamplePlan};
use bandfeed::recipe::{AugmentAt, IMAGENET_FILL, Magnitude, Recipe};
use bandfeed::schedule::{Options, Schedule};
use bandfeed::{BandCrop, Filter, Rect, Size, Stage};
use loader_fixtures::{Plain, all, source};
use std::collections::{BTreeMap, HashSet};

fn open(name: &str) -> Rgb8 {
    let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    let image = image::open(&path).unwrap().into_rgb8();
    Rgb8 { size: Size::new(image.width(), image.height()), pixels: image.into_raw() }
}

/// Grey levels come out of it: mean 0 and deviation 1/255.
fn plan(crop: ResizedCrop, band: Option<BandPlan>, ops: &[Op]) -> SamplePlan {
    let ops = Ops::try_from(ops).unwrap();
    SamplePlan { flip: true, band, ops, mean: [0.0; 3], std: [1.0 / 255.0; 3], ..SamplePlan::new(crop) }
}

/// The crop of make_augmented_path.py.
fn scene_crop() -> ResizedCrop {
    let (region, grid) = (Rect { x: 7, y: 3, width: 43, height: 38 }, Size::square(48));
    ResizedCrop { region, grid, window: Rect::whole(grid), filter: Filter::Bicubic }
}

fn render(image: &Rgb8, plan: &SamplePlan) -> Vec<f32> {
    let mut out = vec![f32::NAN; 3 * (plan.output() as usize).pow(2)];
    let Rect { x, y, width, height } = plan.crop.region;
    // Pillow's filter reads beside the box.
    let area = [x, y, width, height].map(f64::from);
    Renderer::new().render(image.view(), area, plan, &mut out).unwrap();
    out
}

/// Largest and mean difference of planar values to interleaved pixels.
fn difference(values: &[f32], pixels: &Rgb8) -> (f32, f32) {
    let plane = pixels.size.pixels() as usize;
    assert_eq!(values.len(), 3 * plane);
    let each =
        values.iter().enumerate().map(|(at, v)| (v - f32::from(pixels.pixels[3 * (at % plane) + at / plane])).abs());
    let (mut most, mut sum) = (0.0f32, 0.0);
    for d in each {
        assert!(!d.is_nan());
        (most, sum) = (most.max(d), sum + d);
    }
    (most, sum / values.len() as f32)
}

fn looked_up() -> [Op; 3] {
    [Op::Equalize, Op::Color { factor: 1.5 }, Op::Sharpness { factor: 0.4 }]
}

fn turned() -> [Op; 2] {
    let sampling = Sampling::Bicubic;
    [Op::Rotate { degrees: 17.5, sampling }, Op::ShearX { factor: 0.2, sampling }]
}

#[test]
fn steps_come_in_the_released_order_and_are_pillows() {
    let scene = open("scene.png");
    for (band, side) in [(None, 48), (Some(BandPlan { band: 20, crop: BandCrop::Lanczos }), 20)] {
        // Look-ups and blends are exact, and so is all around them.
        let plain = SamplePlan { fuse: false, ..plan(scene_crop(), band, &looked_up()) };
        let expected = open(&format!("scene_augmented_looked_up{side}.png"));
        let (most, _) = difference(&render(&scene, &plain), &expected);
        assert!(most < 1e-3, "{side} px: {most} grey levels");
        // Geometry is within a level of Pillow's, which a Lanczos filter's overshoot may enlarge to two.
        let plain = SamplePlan { fuse: false, ..plan(scene_crop(), band, &turned()) };
        let expected = open(&format!("scene_augmented_turned{side}.png"));
        let (most, mean) = difference(&render(&scene, &plain), &expected);
        assert!(most <= 2.001 && mean < 0.2, "{side} px: {most} grey levels, {mean} in the mean");
    }
}

#[test]
fn fused_steps_differ_from_the_plain_ones_by_the_rounding_before_them() {
    // A gentle picture, so that nothing overshoots; Brightness is linear, so that rounding is not enlarged.
    let (width, height) = (61, 47);
    let value = |at: usize| {
        let (x, y, c) = ((at / 3 % width) as f64, (at / 3 / width) as f64, (at % 3) as f64);
        (128.0 + 60.0 * (x / 9.0 + c).sin() + 40.0 * (y / 7.0 - c).cos()) as u8
    };
    let image =
        Rgb8 { pixels: (0..3 * width * height).map(value).collect(), size: Size::new(width as u32, height as u32) };
    let ops = [Op::Brightness { factor: 0.8 }, Op::Invert];
    let bands = [
        None,
        Some(BandPlan { band: 20, crop: BandCrop::Lanczos }),
        Some(BandPlan { band: 20, crop: BandCrop::FOURIER }),
    ];
    for (band, augment_at) in bands.into_iter().flat_map(|band| [(band, AugmentAt::Base), (band, AugmentAt::Band)]) {
        let fused = SamplePlan { augment_at, ..plan(scene_crop(), band, &ops) };
        let plain = SamplePlan { fuse: false, ..fused };
        let (fused, plain) = (render(&image, &fused), render(&image, &plain));
        let most = fused.iter().zip(&plain).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(most <= 2.0, "{band:?} {augment_at:?}: {most} grey levels");
        assert!(fused.iter().all(|v| v.is_finite()));
    }
}

#[test]
fn augmentation_on_the_band_sees_the_band_and_on_the_base_the_base() {
    // Of one bit the mean of the band is a grey level between, unless it is posterized after the band was cut.
    let scene = open("scene.png");
    for crop in [BandCrop::Lanczos, BandCrop::FOURIER] {
        let band = Some(BandPlan { band: 20, crop });
        let levels = |augment_at| {
            let plan = SamplePlan { augment_at, ..plan(scene_crop(), band, &[Op::Posterize { bits: 1 }]) };
            render(&scene, &plan).iter().map(|v| v.round() as i32).collect::<HashSet<_>>()
        };
        assert_eq!(levels(AugmentAt::Band), HashSet::from([0, 128]), "{crop}");
        assert!(levels(AugmentAt::Base).len() > 20, "{crop}");
    }
}

#[test]
fn geometry_means_the_same_at_either_size() {
    // A smooth picture, shifted by an eighth: on the base and on the band the content is at the same place.
    let (width, height) = (96usize, 96usize);
    let value = |at: usize| {
        let (x, y) = ((at / 3 % width) as f64, (at / 3 / width) as f64);
        (128.0 + 50.0 * (x / 11.0).sin() + 50.0 * (y / 13.0).cos()) as u8
    };
    let image = Rgb8 { pixels: (0..3 * width * height).map(value).collect(), size: Size::square(96) };
    let grid = Size::square(96);
    let crop = ResizedCrop { region: Rect::whole(grid), grid, window: Rect::whole(grid), filter: Filter::Bicubic };
    let band = Some(BandPlan { band: 48, crop: BandCrop::Lanczos });
    let sampling = Sampling::Bicubic;
    for op in [
        Op::TranslateX { share: 0.125, sampling },
        Op::ShearY { factor: 0.2, sampling },
        Op::Rotate { degrees: 10.0, sampling },
    ] {
        let [base, on_band] = [AugmentAt::Base, AugmentAt::Band]
            .map(|augment_at| render(&image, &SamplePlan { augment_at, ..plan(crop, band, &[op]) }));
        // Along the border of the fill the two are smoothed in another order.
        let far = base.iter().zip(&on_band).filter(|(a, b)| (**a - **b).abs() > 6.0).count();
        assert!((far as f64) < 0.04 * base.len() as f64, "{op:?}: {far} of {} values differ", base.len());
    }
}

fn key(position: u64) -> SampleKey {
    SampleKey { seed: 5, epoch: 0, position, replay: 0 }
}

fn erasing(at: EraseAt) -> Recipe {
    Recipe { erasing: Some(Erasing { probability: 1.0, at, ..Erasing::default() }), ..Recipe::default() }
}

#[test]
fn erased_noise_has_its_spread_after_a_lanczos_band_and_is_cut_with_a_fourier_band() {
    // low-frequency-crop.md §3: noise of deviation 1 comes out of the Fourier crop with B / N, here 96 / 224 = 0.43.
    let grey = Rgb8 { pixels: vec![128; 3 * 300 * 300], size: Size::square(300) };
    let spread = |crop, at| {
        let (mut sum, mut squares, mut n) = (0.0f64, 0.0, 0.0);
        for position in 0..40 {
            let stage = Stage::fixed(224, 96, crop, 1);
            let plan = plan::train(key(position), &stage, 0.0, &erasing(at), grey.size).unwrap();
            assert_eq!(plan.erasures.len(), 1);
            let Rect { x, y, width, height } = plan.erasures[0].rect;
            assert_eq!(plan.erase_before_band, at == EraseAt::Published && crop == BandCrop::FOURIER);
            let scale = if plan.erase_before_band { 96.0 / 224.0 } else { 1.0 };
            let mut out = vec![0.0; 3 * 96 * 96];
            Renderer::new().render_region(grey.view(), &plan, &mut out).unwrap();
            // Well inside the box, on the band's grid.
            let inside = |start: u32, length: u32| {
                let (from, to) = (f64::from(start) * scale, f64::from(start + length) * scale);
                (from.ceil() as usize + 3)..(to.floor() as usize).saturating_sub(3)
            };
            for (row, column) in inside(y, height).flat_map(|r| inside(x, width).map(move |c| (r, c))) {
                let v = f64::from(out[row * 96 + column]);
                (sum, squares, n) = (sum + v, squares + v * v, n + 1.0);
            }
        }
        assert!(n > 5000.0);
        (squares / n - (sum / n).powi(2)).sqrt()
    };
    for (crop, at, expected) in [
        (BandCrop::Lanczos, EraseAt::Published, 1.0),
        (BandCrop::FOURIER, EraseAt::Band, 1.0),
        (BandCrop::FOURIER, EraseAt::Published, 96.0 / 224.0),
    ] {
        let found = spread(crop, at);
        assert!((found / expected - 1.0).abs() < 0.04, "{crop} {at:?}: {found}, not {expected}");
    }
}

#[test]
fn boxes_before_a_band_that_is_not_cut_then_are_refused() {
    let scene = open("scene.png");
    let band = Some(BandPlan { band: 20, crop: BandCrop::Lanczos });
    let mut plan = SamplePlan { erase_before_band: true, ..plan(scene_crop(), band, &[]) };
    let erasing = erasing(EraseAt::Band);
    let stage = Stage::fixed(48, 20, BandCrop::Lanczos, 1);
    plan.erasures = plan::train(key(0), &stage, 0.0, &erasing, scene.size).unwrap().erasures;
    let error = Renderer::new().render_region(scene.view(), &plan, &mut vec![0.0; 3 * 20 * 20]).unwrap_err();
    assert!(error.to_string().starts_with("erase_before_band"), "{error}");
}

#[test]
fn erasing_leaves_all_outside_its_boxes_as_it_was() {
    let scene = open("scene.png");
    let erased = Erasing { probability: 1.0, mode: EraseMode::Const, ..Erasing::default() };
    for (policy, crop) in [(None, BandCrop::Lanczos), (Some("rand-m9-mstd0.5-inc1"), BandCrop::Lanczos)] {
        let augment = policy.map(|policy| policy.parse::<Policy>().unwrap());
        let with = Recipe { augment, erasing: Some(erased), ..Recipe::default() };
        let without = Recipe { erasing: None, ..with.clone() };
        for position in 0..20 {
            let stage = Stage::fixed(48, 24, crop, 1);
            let plan_of = |recipe| plan::train(key(position), &stage, 9.0, recipe, scene.size).unwrap();
            let (plan, bare) = (plan_of(&with), plan_of(&without));
            assert_eq!((plan.crop, plan.flip, plan.ops), (bare.crop, bare.flip, bare.ops));
            let Rect { x, y, width, height } = plan.erasures[0].rect;
            let mut out = [vec![0.0; 3 * 24 * 24], vec![0.0; 3 * 24 * 24]];
            for (plan, out) in [plan, bare].iter().zip(&mut out) {
                Renderer::new().render_region(scene.view(), plan, out).unwrap();
            }
            for (at, (erased, bare)) in out[0].iter().zip(&out[1]).enumerate() {
                let (row, column) = ((at / 24 % 24) as u32, (at % 24) as u32);
                let inside = (x..x + width).contains(&column) && (y..y + height).contains(&row);
                assert_eq!(*erased, if inside { 0.0 } else { *bare }, "{policy:?} {position}: value {at}");
            }
        }
    }
}

#[test]
fn a_recipe_without_augmentation_plans_and_renders_as_it_always_did() {
    // What is off draws nothing and changes nothing: the streams are apart.
    let stage = Stage::fixed(224, 96, BandCrop::Lanczos, 1);
    let plain = plan::train(key(3), &stage, 9.0, &Recipe::default(), Size::new(500, 375)).unwrap();
    let recipe = Recipe { augment: Some("rand-m9-mstd0.5-inc1".parse().unwrap()), ..Recipe::default() };
    let augmented = plan::train(key(3), &stage, 9.0, &recipe, Size::new(500, 375)).unwrap();
    assert_eq!((plain.crop, plain.flip), (augmented.crop, augmented.flip));
    assert!(plain.ops.is_empty() && plain.erasures.is_empty() && !plain.has_steps());
}

#[test]
fn blur_radii_shrink_with_the_band_and_nothing_else_does() {
    let stage = Stage::fixed(224, 112, BandCrop::Lanczos, 1);
    let mut recipe = Recipe { augment: Some("3a".parse().unwrap()), ..Recipe::default() };
    recipe.jitter.color.brightness = 0.4;
    let (mut radii, mut others) = (0, 0);
    for position in 0..60 {
        let ops = |augment_at| {
            let recipe = Recipe { augment_at, ..recipe.clone() };
            plan::train(key(position), &stage, 9.0, &recipe, Size::new(300, 300)).unwrap().ops
        };
        let (base, band) = (ops(AugmentAt::Base), ops(AugmentAt::Band));
        assert_eq!(base.len(), band.len());
        for pair in base.iter().zip(band.iter()) {
            match pair {
                (Op::GaussianBlur { radius: a }, Op::GaussianBlur { radius: b }) => {
                    assert_eq!(a * 0.5, *b);
                    radii += 1;
                }
                (a, b) => {
                    assert_eq!(a, b);
                    others += 1;
                }
            }
        }
    }
    assert!(radii > 8 && others > 60, "{radii} {others}");
}

// ------------------------------------------------------------------------------------------------ the loader

fn everything() -> Recipe {
    Recipe {
        augment: Some("rand-m9-mstd0.5-inc1".parse().unwrap()),
        erasing: Some(Erasing::default()),
        mix: Some(Mix::default()),
        ..Recipe::default()
    }
}

/// Two stages, the first replaying; magnitudes 3.5 and 9.
fn schedule(epochs: f64) -> Schedule {
    let text = "name = 'all'\ncrop = 'lanczos'\n\
        [[stage]]\nuntil = 0.5\nband = 16\nmagnitude = 3.5\nreplay = 2\nreplay_capacity = 4\n\
        [[stage]]\nuntil = 1\nband = 32\nmagnitude = 9\n";
    Schedule::from_toml(text, &Options { base: 32, patch: 8, epochs, batch_size: 8, ..Options::default() }).unwrap()
}

fn training(recipe: Recipe) -> LoaderBuilder {
    Loader::builder(source(40), schedule(4.0)).recipe(recipe).seed(2)
}

#[test]
fn the_whole_recipe_gives_the_same_batches_for_any_workers_and_after_a_stop() {
    let one = all(training(everything()).workers(1).prefetch(1).build().unwrap());
    let mut loader = training(everything()).workers(4).prefetch(5).build().unwrap();
    let mut states = Vec::new();
    for expected in &one {
        assert_eq!(*expected, Plain::from(loader.next().unwrap().unwrap()));
        states.push(loader.state());
    }
    assert!(loader.next().is_none());
    for at in (0..one.len()).step_by(3) {
        let rest = all(training(everything()).resume(states[at].clone()).build().unwrap());
        assert_eq!(rest, one[at + 1..], "after batch {at}");
    }
}

#[test]
fn mixed_batches_carry_how_and_their_targets_follow() {
    let mixed = Recipe { mix: Some(Mix::default()), ..Recipe::default() };
    let (mut blends, mut pastes) = (0, 0);
    let plain: Vec<_> = training(Recipe::default()).build().unwrap().map(Result::unwrap).collect();
    for (batch, own) in training(mixed).build().unwrap().map(Result::unwrap).zip(&plain) {
        let (n, side) = (batch.len(), batch.stage.band as usize);
        assert_eq!((&batch.labels, &batch.indices), (&own.labels, &own.indices));
        // An empty CutMix box mixes nothing.
        let Some(mixing) = batch.mixing.as_ref() else { continue };
        let targets = batch.soft_targets(4, 0.1).unwrap();
        for (i, row) in targets.chunks_exact(4).enumerate() {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            let (label, other) = (batch.labels[i] as usize, batch.labels[n - 1 - i] as usize);
            let lambda = mixing.lambda(i) as f32;
            if label != other {
                assert!((row[label] - (0.9 * lambda + 0.025)).abs() < 1e-6, "{row:?} {lambda}");
                assert!((row[other] - (0.9 * (1.0 - lambda) + 0.025)).abs() < 1e-6, "{row:?} {lambda}");
            }
        }
        // The pixels are the unmixed loader's, mixed.
        let mut expected = own.images.as_slice().to_vec();
        mixing.apply(&mut expected).unwrap();
        assert_eq!(batch.images.as_slice(), expected);
        assert_eq!(batch.images.shape(), [n, 3, side, side]);
        match mixing.images()[0] {
            Mixed::Blend { .. } => blends += 1,
            Mixed::Paste { .. } => pastes += 1,
            Mixed::Untouched => {}
        }
    }
    assert!(blends > 3 && pastes > 3, "{blends} {pastes}");
}

#[test]
fn evaluation_neither_augments_nor_mixes() {
    let stage = Stage::fixed(32, 32, BandCrop::Lanczos, 8);
    let batches = |recipe| {
        let loader = Loader::evaluation(source(20), stage.clone()).recipe(recipe).build().unwrap();
        loader.map(Result::unwrap).map(|b| (b.mixing.is_none(), Plain::from(b))).collect::<Vec<_>>()
    };
    let with = batches(everything());
    assert_eq!(with, batches(Recipe::default()));
    assert!(with.iter().all(|(unmixed, _)| *unmixed));
}

#[test]
fn magnitude_follows_the_rule_and_travels_with_the_batch() {
    let magnitudes = |magnitude, policy: &str| {
        let recipe = Recipe { augment: Some(policy.parse().unwrap()), magnitude, ..Recipe::default() };
        let loader = training(recipe).build().unwrap();
        loader.map(Result::unwrap).map(|b| (b.progress, b.stage.index, b.magnitude)).collect::<Vec<_>>()
    };
    for (progress, stage, magnitude) in magnitudes(Magnitude::Stage, "rand-m9-mstd0.5-inc1") {
        assert_eq!(magnitude, [3.5, 9.0][stage], "at {progress}");
    }
    for (_, stage, magnitude) in magnitudes(Magnitude::Staircase, "rand-mstd0.5-inc1") {
        assert_eq!(magnitude, [3.0, 9.0][stage]);
    }
    for (progress, _, magnitude) in magnitudes(Magnitude::Linear, "rand-m6-inc1") {
        assert!((magnitude - 6.0 * progress).abs() < 1e-12);
    }
    for (_, _, magnitude) in magnitudes(Magnitude::Policy, "rand-m5-inc1") {
        assert_eq!(magnitude, 5.0);
    }
}

#[test]
fn a_policy_that_the_schedule_would_overrule_is_refused() {
    let recipe = Recipe { augment: Some("rand-m7".parse().unwrap()), ..Recipe::default() };
    let error = training(recipe).build().unwrap_err().to_string();
    assert!(error.contains("m7") && error.contains("end at 9") && error.contains("`policy`"), "{error}");
}

#[test]
fn a_magnitude_changes_pixels_only_through_the_policy() {
    // The same samples under other magnitudes: those whose operations have no argument stay.
    let recipe = |m: &str| Recipe {
        augment: Some(format!("rand-{m}-inc1").parse().unwrap()),
        magnitude: Magnitude::Policy,
        ..Recipe::default()
    };
    let [low, high] = ["m1", "m9"].map(|m| all(training(recipe(m)).build().unwrap()));
    let same = low[0].pixels.iter().zip(&high[0].pixels).filter(|(a, b)| a == b).count();
    assert!((1..8).contains(&same), "{same} of 8");
    assert_eq!(low[0].indices, high[0].indices);
}

#[test]
fn repeated_augmentation_shows_a_third_of_the_images_three_times_each_another_way() {
    let recipe = Recipe { repeats: 3, ..Recipe::default() };
    let schedule = Schedule::fixed(Stage::fixed(32, 32, BandCrop::Lanczos, 6)).with_epochs(2.0).unwrap();
    let builder = || Loader::builder(source(60), schedule.clone()).recipe(recipe.clone()).seed(4);
    let batches = all(builder().build().unwrap());
    for epoch in [0, 1] {
        let mut times: BTreeMap<u32, usize> = BTreeMap::new();
        let mut pixels = HashSet::new();
        for batch in batches.iter().filter(|b| b.place.0 == epoch) {
            batch.indices.iter().for_each(|&index| *times.entry(index).or_default() += 1);
            pixels.extend(batch.pixels.iter().copied());
        }
        assert_eq!((times.len(), times.values().all(|&n| n == 3)), (20, true), "epoch {epoch}: {times:?}");
        assert!(pixels.len() >= 58, "epoch {epoch}: {} different crops of 60", pixels.len());
    }
    // On three ranks, as in DeiT, the three come side by side on different ranks.
    let ranks: Vec<Vec<u32>> = (0..3)
        .map(|rank| {
            let schedule = Schedule::fixed(Stage::fixed(32, 32, BandCrop::Lanczos, 4)).with_epochs(1.0).unwrap();
            let loader = Loader::builder(source(60), schedule).recipe(recipe.clone()).seed(4).shard(rank, 3);
            all(loader.build().unwrap()).into_iter().flat_map(|b| b.indices).collect()
        })
        .collect();
    assert_eq!(ranks[0], ranks[1]);
    assert_eq!(ranks[1], ranks[2]);
    assert_eq!(ranks[0].iter().collect::<HashSet<_>>().len(), 20);
}

#[test]
fn augmented_pixels_are_what_the_augmenter_makes() {
    // One image, one operation, base size: the renderer adds only the rounding of the crop before it.
    let scene = open("scene.png");
    let size = scene.size;
    let grid = size;
    let crop = ResizedCrop { region: Rect::whole(size), grid, window: Rect::whole(grid), filter: Filter::Bicubic };
    for op in [Op::Equalize, Op::Posterize { bits: 2 }, turned()[0], Op::GaussianBlur { radius: 1.2 }] {
        let plan = SamplePlan { flip: false, ..plan(crop, None, &[op]) };
        let mut out = vec![0.0; 3 * size.pixels() as usize];
        Renderer::new().render(View::packed(&scene.pixels, size), [0.0, 0.0, 61.0, 47.0], &plan, &mut out).unwrap();
        let mut expected = scene.clone();
        Augmenter::new().apply(&mut expected.pixels, size, &[op], IMAGENET_FILL).unwrap();
        let (most, _) = difference(&out, &expected);
        assert!(most < 1e-3, "{op:?}: {most}");
    }
}
