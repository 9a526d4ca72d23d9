//! What a run keeps beside its weights, what it leaves alone, and what it does when a number is none.
#![cfg(feature = "train")]

use bandfeed::demo_data::DemoData;
use bandfeed::loader::{Loader, State};
use bandfeed::schedule::{LearningRate, Options, Schedule};
use bandfeed::train::{
    AdamWConfig, Checkpoints, Device, DropPathRule, EvalReport, Feed, NonFinite, Pass, Precision, Run, StepReport,
    Summary, TrainConfig, Trainer, VitConfig, Watch, Weights, evaluate, fit,
};
use bandfeed::{Batch, Error, Images, Result, Stage};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

fn options() -> Options {
    Options { base: 32, patch: 8, batch_size: 12, epochs: 3.0, ..Options::default() }
}

fn schedule() -> Schedule {
    Schedule::named("efficient_train_pp", &options()).unwrap()
}

/// The same six classes in each call.
fn loader(state: Option<State>) -> Loader {
    let data = DemoData { train_per_class: 6, val_per_class: 1, side: 64, ..DemoData::default() };
    let (train, _) = data.generate().unwrap();
    let builder = Loader::builder(Arc::new(train), schedule()).seed(9).workers(1);
    match state {
        Some(state) => builder.resume(state),
        None => builder,
    }
    .build()
    .unwrap()
}

fn classes() -> usize {
    loader(None).classes().len()
}

fn config() -> TrainConfig {
    let model = VitConfig { dim: 24, depth: 3, heads: 2, patch: 8, mlp_ratio: 2.0, ..VitConfig::tiny(classes()) };
    TrainConfig {
        learning_rate: LearningRate { peak: 3e-3, min: 1e-5, warmup: 0.0 },
        optimizer: AdamWConfig::default(),
        seed: 9,
        chunk: 4,
        ..TrainConfig::new(model)
    }
}

fn trainer(config: TrainConfig) -> Trainer {
    Trainer::new(config, schedule().stages()[0].band, 2, &Device::flex()).unwrap()
}

fn train<F: Feed>(trainer: &mut Trainer, feed: &mut F, checkpoints: Option<Checkpoints>) -> Result<Summary> {
    let stop = AtomicBool::new(false);
    fit(trainer, feed, Run { validation: None, checkpoints, stop: &stop, watch: &mut () })
}

/// All tensors of a checkpoint's file, as bits.
fn tensors(path: &Path) -> BTreeMap<String, Vec<u32>> {
    let bytes = std::fs::read(path).unwrap();
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header: BTreeMap<String, serde_json::Value> = serde_json::from_slice(header).unwrap();
    let bits = |entry: &serde_json::Value| {
        let offset = |i: usize| entry["data_offsets"][i].as_u64().unwrap() as usize;
        data[offset(0)..offset(1)].chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    header.iter().filter(|(name, _)| *name != "__metadata__").map(|(name, entry)| (name.clone(), bits(entry))).collect()
}

fn saved(trainer: &Trainer) -> BTreeMap<String, Vec<u32>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    trainer.save(&path, &()).unwrap();
    tensors(&path)
}

fn step(trainer: &mut Trainer, batch: &Batch) {
    let gradient = trainer.gradient(batch, 0).unwrap();
    trainer.update(gradient, 1e-2).unwrap();
}

#[test]
fn means_follow_the_weights_by_hand_and_across_a_band_change() {
    let mut trainer = trainer(TrainConfig { ema: vec![0.5, 0.9], ..config() });
    assert!(trainer.averaged(0).is_none(), "before the first step");
    let mut feed = loader(None);
    let first = feed.next_batch().unwrap().unwrap();
    let mut expected: Vec<f64> = Vec::new();
    for n in 0..4 {
        step(&mut trainer, &first);
        let all = saved(&trainer);
        for (i, decay) in [0.5, 0.9].into_iter().enumerate() {
            let weights = f64::from(f32::from_bits(all["model.head.weight"][7]));
            if n == 0 {
                expected.push(weights);
            } else {
                expected[i] = decay * expected[i] + (1.0 - decay) * weights;
            }
            let mean = f64::from(f32::from_bits(all[&format!("ema.{i}.head.weight")][7]));
            assert!((mean - expected[i]).abs() < 1e-6, "mean {i} after {n}: {mean}, expected {}", expected[i]);
        }
    }
    let before = saved(&trainer);
    assert_ne!(before["model.position"], before["ema.1.position"]);
    trainer.set_band(32).unwrap();
    let after = saved(&trainer);
    assert_eq!(after["ema.1.position"].len(), 24 * (1 + 16));
    assert_eq!(after["ema.1.position"][..24], before["ema.1.position"][..24], "the class token's row");
    assert_eq!(after["ema.1.head.weight"], before["ema.1.head.weight"]);
    assert_eq!(trainer.averaged(1).unwrap().band(), 32);
    assert!(trainer.averaged(2).is_none());
}

#[test]
fn a_run_with_means_resumes_bit_for_bit_and_reports_each() {
    let config = || TrainConfig { ema: vec![0.8, 0.95], ema_warmup: true, ..config() };
    let mut whole = trainer(config());
    train(&mut whole, &mut loader(None), None).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let mut part = trainer(config());
    let mut feed = loader(None);
    // Some steps by hand, in the middle of the second band.
    for _ in 0..9 {
        let batch = feed.next_batch().unwrap().unwrap();
        part.set_band(batch.stage.band).unwrap();
        let rate = config().learning_rate.at(batch.progress);
        let gradient = part.gradient(&batch, 0).unwrap();
        part.update(gradient, rate).unwrap();
    }
    // The losses of steps by hand are in no history, which a checkpoint would miss: only tensors are compared.
    let by_hand = saved(&part);
    let mut other = trainer(config());
    let stop = AtomicBool::new(false);
    struct StopAt<'a>(u64, &'a AtomicBool);
    impl Watch for StopAt<'_> {
        fn step(&mut self, report: &StepReport) {
            self.1.store(report.step + 1 == self.0, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let mut watch = StopAt(9, &stop);
    let checkpoints = Checkpoints::new(folder.path());
    let run = Run { validation: None, checkpoints: Some(checkpoints.clone()), stop: &stop, watch: &mut watch };
    fit(&mut other, &mut loader(None), run).unwrap();
    other.save(&path, &()).unwrap();
    let stopped = tensors(&path);
    for (name, values) in &by_hand {
        if !name.starts_with("history") && !name.ends_with("position") {
            assert_eq!(&stopped[name], values, "{name} by hand and by fit");
        }
    }
    let (mut resumed, state) = Trainer::load::<State>(&checkpoints.last(), config(), 1, &Device::flex()).unwrap();
    train(&mut resumed, &mut loader(Some(state)), None).unwrap();
    assert_eq!(saved(&resumed), saved(&whole));

    let stage = schedule().stages().last().unwrap().clone();
    let report = evaluate(&resumed, pass(&stage)).unwrap();
    assert_eq!(report.ema.iter().map(|ema| ema.decay).collect::<Vec<_>>(), [0.8, 0.95]);
    // The report of a mean is that of a model made of it.
    let weights = Weights::read(&checkpoints.last(), Some(1), None, &Device::flex()).unwrap();
    assert_eq!((weights.about.ema, weights.about.steps), (Some(0.95), Some(9)));
    assert_eq!(weights.about.classes, loader(None).classes(), "the feed's names are kept");
    assert_ne!(report.ema[0].loss, report.loss);
    assert!(report.best_top1() >= report.top1.max(report.ema[1].top1));
}

fn pass(stage: &Stage) -> Pass<'static> {
    let data = DemoData { train_per_class: 1, val_per_class: 2, side: 64, ..DemoData::default() };
    let (_, val) = data.generate().unwrap();
    Box::new(Loader::evaluation(Arc::new(val), stage.clone()).workers(1).build().unwrap())
}

#[test]
fn frozen_layers_keep_every_bit_and_the_others_learn_as_before() {
    let batch = loader(None).next_batch().unwrap().unwrap();
    let before = saved(&trainer(config()));
    let after = |freeze: usize| {
        let mut trainer = trainer(TrainConfig { freeze, ..config() });
        step(&mut trainer, &batch);
        saved(&trainer)
    };
    let (free, frozen) = (after(0), after(2));
    for (name, values) in before.iter().filter(|(name, _)| name.starts_with("model.")) {
        let layer = name.trim_start_matches("model.");
        let still = ["embed", "class_token", "position", "blocks.0"].iter().any(|part| layer.starts_with(part));
        if still {
            assert_eq!(values, &frozen[name], "{name} is frozen");
            assert!(!frozen.contains_key(&format!("adam.first.{layer}")), "{name} has moments");
        } else {
            assert_ne!(values, &frozen[name], "{name} learns");
        }
        // A key's bias moves all scores alike and has no gradient but rounding.
        assert!(layer.ends_with("key.bias") || values != &free[name], "{name} learns in a free model");
    }
}

#[test]
fn sixteen_bits_follow_the_losses_of_thirty_two() {
    /// Steps left out because a gradient overflowed.
    struct Skipped(u64);
    impl Watch for Skipped {
        fn step(&mut self, report: &StepReport) {
            self.0 += u64::from(report.skipped);
            assert!(report.grad_norm.is_finite());
        }
    }
    let losses = |precision| {
        let mut trainer = trainer(TrainConfig { precision, ..config() });
        let (stop, mut skipped) = (AtomicBool::new(false), Skipped(0));
        let run = Run { validation: None, checkpoints: None, stop: &stop, watch: &mut skipped };
        fit(&mut trainer, &mut loader(None), run).unwrap();
        (trainer.history().losses.clone(), skipped.0)
    };
    let (full, skipped) = losses(Precision::F32);
    assert_eq!(skipped, 0);
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    // In half precision the first steps find the scale of the loss and move no weight.
    for (precision, most_skipped, furthest, tolerance) in
        [(Precision::Bf16, 0, 0.05, 0.01), (Precision::F16, 6, 0.2, 0.04)]
    {
        let (low, skipped) = losses(precision);
        assert!(skipped <= most_skipped, "{precision}: {skipped} of {} steps left out", full.len());
        assert_eq!(low.len(), full.len());
        assert_ne!(low, full, "{precision} computes in another type");
        let worst = low.iter().zip(&full).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < furthest, "{precision}: losses up to {worst} apart, {skipped} steps left out");
        let apart = (mean(&low) - mean(&full)).abs();
        assert!(apart < tolerance, "{precision}: {apart} apart in the mean, {skipped} steps left out");
        println!("{precision}: up to {worst}, in the mean {apart} apart over {} steps, {skipped} left out", full.len());
    }
}

#[test]
fn a_uniform_chance_drops_the_first_block_too() {
    let model = |rule| VitConfig { drop_path: 0.5, drop_path_rule: rule, ..config().model };
    let batch = loader(None).next_batch().unwrap().unwrap();
    let loss = |rule| {
        let trainer = trainer(TrainConfig { model: model(rule), ..config() });
        trainer.gradient(&batch, 0).unwrap().mean_loss()
    };
    assert_ne!(loss(DropPathRule::Uniform), loss(DropPathRule::Linear));
    assert_eq!([0, 1, 2].map(|i| DropPathRule::Linear.chance(0.5, i, 3)), [0.0, 0.25, 0.5]);
    assert_eq!([0, 1, 2].map(|i| DropPathRule::Uniform.chance(0.5, i, 3)), [0.5; 3]);
}

#[test]
fn layer_scale_near_zero_leaves_tokens_almost_alone_and_learns() {
    let of = |layer_scale| trainer(TrainConfig { model: VitConfig { layer_scale, ..config().model }, ..config() });
    let batch = loader(None).next_batch().unwrap().unwrap();
    let (plain, one) = (of(None), of(Some(1.0)));
    let loss = |trainer: &Trainer| trainer.gradient(&batch, 0).unwrap().mean_loss();
    assert_eq!(loss(&plain), loss(&one), "a factor of 1 changes nothing, nor do the first weights");
    let mut small = of(Some(1e-4));
    assert_ne!(loss(&small), loss(&one));
    let before = saved(&small);
    step(&mut small, &batch);
    let after = saved(&small);
    for name in ["model.blocks.0.ls1.gamma", "model.blocks.2.ls2.gamma"] {
        assert_ne!(before[name], after[name], "{name}");
    }
}

/// A loader one of whose batches has an image that is no number.
struct Poisoned {
    loader: Loader,
    step: u64,
}

impl Feed for Poisoned {
    type State = State;

    fn next_batch(&mut self) -> Option<Result<Batch>> {
        let batch = self.loader.next_batch()?.map(|mut batch| {
            if batch.step == self.step {
                let (shape, images) = (batch.images.shape(), std::mem::replace(&mut batch.images, empty()));
                let mut values = images.into_vec();
                let length = values.len() / shape[0];
                values[5 * length + 3] = f32::NAN;
                batch.images = Images::from_vec(values, shape).unwrap();
            }
            batch
        });
        Some(batch)
    }

    fn state(&self) -> State {
        Feed::state(&self.loader)
    }

    fn name(&self, index: u32) -> Option<String> {
        self.loader.name(index)
    }
}

fn empty() -> Images {
    Images::from_vec(Vec::new(), [0, 3, 1, 1]).unwrap()
}

#[test]
fn a_step_that_is_not_finite_is_written_down_and_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path().join("checkpoints"));
    let mut feed = Poisoned { loader: loader(None), step: 7 };
    let mut trainer = trainer(config());
    let error = train(&mut trainer, &mut feed, Some(checkpoints.clone())).unwrap_err();
    assert!(matches!(error, Error::Training { step: 7, .. }), "{error}");
    assert!(error.to_string().contains("nonfinite.json"), "{error}");

    let record = NonFinite::<State>::read(&checkpoints.nonfinite()).unwrap();
    assert_eq!((record.step, record.seed, record.grad_norm), (7, 9, None));
    assert!(record.loss.is_nan() && record.learning_rate > 0.0);
    let bad: Vec<_> =
        record.batches[0].images.iter().enumerate().filter(|(_, image)| !image.loss.is_finite()).collect();
    assert_eq!(bad.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [5], "the spoilt image alone");
    assert!(bad[0].1.name.as_ref().is_some_and(|name| !name.is_empty()));
    assert_eq!(record.checkpoint, Some(checkpoints.last()));

    // The batch as it was, from the record's state, and as it comes in a run.
    let batches = record.replay(&mut loader(Some(record.feed.clone()))).unwrap();
    let mut whole = loader(None);
    let seventh = std::iter::from_fn(|| whole.next_batch()).map(Result::unwrap).find(|batch| batch.step == 7).unwrap();
    assert_eq!(batches.len(), 1);
    assert_eq!(batches[0].indices, seventh.indices);
    let bits = |batch: &Batch| batch.images.as_slice().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&batches[0]), bits(&seventh));
    let error = record.replay(&mut loader(None)).unwrap_err().to_string();
    assert!(error.contains("batch 7 does not come again"), "{error}");

    // The checkpoint is of the weights before the step: with the file mended, the run goes on.
    let (mut resumed, state) = Trainer::load::<State>(&checkpoints.last(), config(), 1, &Device::flex()).unwrap();
    assert_eq!((resumed.steps(), &state), (7, &record.feed));
    train(&mut resumed, &mut loader(Some(state)), None).unwrap();
    let mut unharmed = self::trainer(config());
    train(&mut unharmed, &mut loader(None), None).unwrap();
    assert_eq!(saved(&resumed), saved(&unharmed));
}

/// Puts other values into a tensor of a safetensors file: those of `value` at each place.
fn overwrite(path: &Path, name: &str, value: impl Fn(usize) -> f32) {
    let mut bytes = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let offset = |i: usize| 8 + length + header[name]["data_offsets"][i].as_u64().unwrap() as usize;
    for (i, number) in bytes[offset(0)..offset(1)].chunks_exact_mut(4).enumerate() {
        number.copy_from_slice(&value(i).to_le_bytes());
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_gradient_that_is_not_finite_is_written_down_with_its_norm() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path());
    let path = folder.path().join("first.safetensors");
    let mut trainer = trainer(config());
    trainer.save(&path, &()).unwrap();
    Weights::read(&path, None, None, &Device::flex()).unwrap().export_timm(&path).unwrap();
    // The last block's hidden layer is 0 and adds nothing, so that the loss is as large as the head, 1e31 or so; the
    // hidden layer's gradient is the product of what stands behind it, 1e30 * 1e10 and more.
    let mixed = |i: usize| (i * 7919 % 13) as f32 - 6.0;
    overwrite(&path, "blocks.2.mlp.fc1.weight", |_| 0.0);
    overwrite(&path, "blocks.2.mlp.fc2.weight", |i| 1e10 * mixed(i));
    overwrite(&path, "head.weight", |i| 1e30 * mixed(i));
    trainer.init_from(&path, None).unwrap();

    let error = train(&mut trainer, &mut loader(None), Some(checkpoints.clone())).unwrap_err();
    assert!(matches!(error, Error::Training { step: 0, .. }), "{error}");
    assert!(error.to_string().contains("the gradient's norm is"), "{error}");
    let record = NonFinite::<State>::read(&checkpoints.nonfinite()).unwrap();
    assert!(record.loss.is_finite() && record.loss > 1e25, "{}", record.loss);
    assert!(record.grad_norm.is_some_and(|norm| !norm.is_finite()), "{:?}", record.grad_norm);
    assert_eq!((record.step, record.checkpoint.is_none()), (0, true), "no weights to keep before the first step");
    let losses: Vec<f64> = record.batches[0].images.iter().map(|image| image.loss).collect();
    assert!(losses.len() == 12 && losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
}

/// Steps taken before the checkpoint at `path`; `None` if there is none.
fn steps_of(path: &Path) -> Option<u64> {
    path.exists().then(|| Weights::read(path, None, None, &Device::flex()).unwrap().about.steps.unwrap())
}

#[test]
fn the_best_checkpoint_is_there_when_a_save_is_over_and_after_a_kill_before_it_was() {
    /// Notes the steps of the last and the best checkpoint at each call, and stops after the first evaluation.
    struct Saves<'a> {
        files: Checkpoints,
        taken: u64,
        calls: Vec<(&'static str, u64, Option<u64>, Option<u64>)>,
        stop: &'a AtomicBool,
    }
    impl Saves<'_> {
        fn note(&mut self, call: &'static str) {
            self.calls.push((call, self.taken, steps_of(&self.files.last()), steps_of(&self.files.best())));
        }
    }
    impl Watch for Saves<'_> {
        fn step(&mut self, report: &StepReport) {
            self.taken = report.step + 1;
            self.note("step");
        }
        fn evaluated(&mut self, _: &EvalReport) {
            self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        fn saving(&mut self) {
            self.note("saving");
        }
        fn saved(&mut self, _: &Path) {
            self.note("saved");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let files = Checkpoints { every: None, ..Checkpoints::new(folder.path()) };
    let go_on = |trainer: &mut Trainer, feed: &mut Loader| {
        let stop = AtomicBool::new(false);
        let mut watch = Saves { files: files.clone(), taken: trainer.steps(), calls: Vec::new(), stop: &stop };
        let mut validation = |stage: &Stage| -> Result<Pass<'static>> { Ok(pass(stage)) };
        let checkpoints = Some(files.clone());
        fit(trainer, feed, Run { validation: Some(&mut validation), checkpoints, stop: &stop, watch: &mut watch })
            .unwrap();
        watch.calls
    };
    let calls = go_on(&mut trainer(config()), &mut loader(None));
    let (step, saves): (Vec<_>, Vec<_>) = calls.into_iter().partition(|call| call.0 == "step");
    // The evaluation comes with the next epoch's first batch, whose step is taken before the stop.
    let n = step.len() as u64 - 1;
    let (first, more) = step.split_at(n as usize);
    assert!(n > 1 && first.iter().all(|call| call.2.is_none()));
    assert_eq!(more, [("step", n + 1, Some(n), Some(n))]);
    // Before the evaluation, after it, and at the stop. The first of them has nothing to be the best of.
    let expected = [
        ("saving", n, None, None),
        ("saved", n, Some(n), None),
        ("saving", n, Some(n), None),
        ("saved", n, Some(n), Some(n)),
        ("saving", n + 1, Some(n), Some(n)),
        ("saved", n + 1, Some(n + 1), Some(n)),
    ];
    assert_eq!(saves, expected);

    let whole = tensors(&files.best());
    // As a kill after the evaluation's checkpoint leaves it.
    let last = std::fs::read(files.best()).unwrap();
    for older in [false, true] {
        std::fs::write(files.last(), &last).unwrap();
        std::fs::remove_file(files.best()).unwrap();
        if older {
            trainer(config()).save(&files.best(), &()).unwrap();
        }
        let (mut resumed, state) = Trainer::load::<State>(&files.last(), config(), 1, &Device::flex()).unwrap();
        let calls = go_on(&mut resumed, &mut loader(Some(state)));
        assert_eq!(calls[0], ("step", n + 1, Some(n), Some(n)), "older: {older}");
        if steps_of(&files.best()) == Some(n) {
            assert_eq!(tensors(&files.best()), whole);
        }
    }
}
