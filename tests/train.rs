//! The trainer as a whole: learning, band changes, exact resume, refusals. Batches are synthetic.
#![cfg(feature = "train")]

use bandfeed::schedule::LearningRate;
use bandfeed::train::{
    AdamWConfig, Checkpoints, Device, EvalReport, Feed, Pass, Run, StepReport, Summary, TrainConfig, Trainer,
    VitConfig, Watch, fit,
};
use bandfeed::{Batch, Error, Images, Result, Stage};
use std::sync::atomic::{AtomicBool, Ordering};

const CLASSES: usize = 8;
const BASE: u32 = 16;

fn stage(index: usize, band: u32, accumulate: usize) -> Stage {
    let json = format!(
        r#"{{"index":{index},"start":0.0,"end":1.0,"band":{band},"base":{BASE},"crop":{{"kind":"fourier"}},
            "magnitude":0.0,"batch_size":8,"accumulate":{accumulate}}}"#
    );
    serde_json::from_str(&json).unwrap()
}

/// Each class is a wave of its own direction and colour; each image adds noise that belongs to its index.
fn batch(indices: std::ops::Range<u32>, stage: &Stage) -> Batch {
    let band = stage.band as usize;
    let mut pixels = Vec::new();
    let mut labels = Vec::new();
    for index in indices.clone() {
        let class = index as usize % CLASSES;
        labels.push(class as u32);
        let angle = class as f32 * std::f32::consts::PI / CLASSES as f32;
        let mut noise = index.wrapping_mul(2_654_435_761).wrapping_add(12_345);
        for channel in 0..3 {
            for y in 0..band {
                for x in 0..band {
                    noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let along = (x as f32 * angle.cos() + y as f32 * angle.sin()) / band as f32;
                    let wave = (along * 12.0 + channel as f32 * class as f32).sin();
                    pixels.push(wave + 0.3 * ((noise >> 8) as f32 / (1 << 24) as f32 - 0.5));
                }
            }
        }
    }
    let images = Images::from_vec(pixels, [labels.len(), 3, band, band]).unwrap();
    let mut batch = Batch::new(images, labels, stage.clone()).unwrap();
    batch.indices = indices.collect();
    batch
}

/// `plan`: for each batch its stage and epoch. The state is the number of the next batch.
struct Synthetic {
    plan: Vec<(Stage, u64)>,
    next: usize,
    size: u32,
    /// Batch whose pixels are spoilt.
    poison: Option<usize>,
    /// Batch in whose place comes an error.
    broken: Option<usize>,
}

impl Synthetic {
    fn new(plan: Vec<(Stage, u64)>) -> Self {
        Self { plan, next: 0, size: 8, poison: None, broken: None }
    }

    /// `steps` batches at band 8 and as many at 16, epochs of `epoch` batches.
    fn two_bands(steps: usize, epoch: usize) -> Self {
        let plan = (0..2 * steps)
            .map(|i| (if i < steps { stage(0, 8, 1) } else { stage(1, 16, 1) }, (i / epoch) as u64))
            .collect();
        Self::new(plan)
    }
}

impl Feed for Synthetic {
    type State = usize;

    fn next_batch(&mut self) -> Option<Result<Batch>> {
        let (stage, epoch) = self.plan.get(self.next)?;
        if self.broken == Some(self.next) {
            return Some(Err(Error::Worker { message: "the disk is gone".into() }));
        }
        let first = (self.next as u32 * self.size) % 32;
        let mut batch = batch(first..first + self.size, stage);
        if self.poison == Some(self.next) {
            let shape = batch.images.shape();
            batch.images = Images::from_vec(vec![f32::NAN; shape.iter().product()], shape).unwrap();
        }
        batch.epoch = *epoch;
        batch.step = self.next as u64;
        batch.progress = self.next as f64 / self.plan.len() as f64;
        self.next += 1;
        Some(Ok(batch))
    }

    fn state(&self) -> usize {
        self.next
    }
}

fn config() -> TrainConfig {
    let model =
        VitConfig { dim: 32, depth: 3, heads: 2, patch: 4, mlp_ratio: 2.0, drop_path: 0.2, ..VitConfig::tiny(CLASSES) };
    TrainConfig {
        learning_rate: LearningRate { peak: 3e-3, min: 1e-5, warmup: 0.1 },
        optimizer: AdamWConfig::default(),
        seed: 7,
        chunk: 3,
        data: "waves".into(),
        ..TrainConfig::new(model)
    }
}

fn trainer(config: TrainConfig, band: u32, threads: usize) -> Trainer {
    Trainer::new(config, band, threads, &Device::flex()).unwrap()
}

/// Remembers all reports, and asks for a stop after a step.
#[derive(Default)]
struct Record<'a> {
    steps: Vec<StepReport>,
    stages: Vec<u32>,
    evaluations: Vec<EvalReport>,
    saved: usize,
    stop_after: Option<(u64, &'a AtomicBool)>,
}

impl Watch for Record<'_> {
    fn step(&mut self, report: &StepReport) {
        self.steps.push(report.clone());
        if let Some((last, stop)) = self.stop_after {
            stop.store(report.step + 1 == last, Ordering::Relaxed);
        }
    }

    fn stage(&mut self, stage: &Stage) {
        self.stages.push(stage.band);
    }

    fn evaluated(&mut self, report: &EvalReport) {
        self.evaluations.push(report.clone());
    }

    fn saved(&mut self, _path: &std::path::Path) {
        self.saved += 1;
    }
}

fn validation(stage: &Stage) -> Result<Pass<'static>> {
    let stage = stage.clone();
    Ok(Box::new((0..2u32).map(move |i| Ok(batch(100 + 8 * i..108 + 8 * i, &stage)))))
}

/// Runs to the end or to the stop after `stop_after` steps, with validation.
fn run(
    trainer: &mut Trainer,
    feed: &mut Synthetic,
    checkpoints: Option<Checkpoints>,
    stop_after: Option<u64>,
) -> Result<(Summary, Record<'static>)> {
    let stop = AtomicBool::new(false);
    let mut record = Record { stop_after: stop_after.map(|n| (n, &stop)), ..Record::default() };
    let mut validation = validation;
    let run = Run { validation: Some(&mut validation), checkpoints, stop: &stop, watch: &mut record };
    let summary = fit(trainer, feed, run)?;
    let Record { steps, stages, evaluations, saved, .. } = record;
    Ok((summary, Record { steps, stages, evaluations, saved, stop_after: None }))
}

/// All that an evaluation says, but for the time it took.
fn accuracy(summary: &Summary) -> Vec<(u64, u64, u32, f64, f64)> {
    let history = &summary.history;
    let all = history.evaluations.iter().chain(&history.finished);
    all.map(|e| (e.epoch, e.step, e.band, e.top1, e.loss)).collect()
}

/// Goes on from the checkpoint with the same plan to its end.
fn resume(checkpoints: &Checkpoints, plan: &[(Stage, u64)]) -> (Summary, Record<'static>) {
    let (mut trainer, next) = Trainer::load::<usize>(&checkpoints.last(), config(), 2, &Device::flex()).unwrap();
    let mut feed = Synthetic { next, ..Synthetic::new(plan.to_vec()) };
    run(&mut trainer, &mut feed, Some(checkpoints.clone()), None).unwrap()
}

fn losses(record: &Record<'_>) -> Vec<u64> {
    record.steps.iter().map(|s| s.loss.to_bits()).collect()
}

#[test]
fn a_model_learns_thirty_two_images_by_heart_across_a_band_change() {
    let mut config = TrainConfig { label_smoothing: 0.0, chunk: 8, ..config() };
    config.model.drop_path = 0.0;
    let mut feed = Synthetic { size: 32, ..Synthetic::two_bands(40, 80) };
    let (summary, record) = run(&mut trainer(config, 8, 2), &mut feed, None, None).unwrap();
    let loss = |i: usize| record.steps[i].loss;
    assert!((loss(0) - (CLASSES as f64).ln()).abs() < 0.2, "first loss {}", loss(0));
    assert!(loss(79) < 0.3, "last loss {}", loss(79));
    // A patch of the larger image shows waves half as steep, so the first loss after the change is high; what was learnt
    // still makes the second stage faster than the first.
    let mean = |steps: std::ops::Range<usize>| steps.clone().map(loss).sum::<f64>() / steps.len() as f64;
    assert!(mean(40..60) < 0.9 * mean(0..20), "{} after the change, {} at the start", mean(40..60), mean(0..20));
    assert_eq!(record.stages, [8, 16]);
    assert_eq!(summary.history.last().unwrap().top1, 1.0);
}

#[test]
fn a_band_change_carries_moments_and_the_class_tokens_row() {
    let mut trainer = trainer(config(), 8, 1);
    let (small, large) = (stage(0, 8, 1), stage(1, 16, 1));
    for _ in 0..3 {
        let gradient = trainer.gradient(&batch(0..8, &small), 0).unwrap();
        trainer.update(gradient, 1e-3).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let tensors = |trainer: &Trainer, name: &str| {
        let path = folder.path().join("x.safetensors");
        trainer.save(&path, &()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
        let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
        let header: serde_json::Value = serde_json::from_slice(header).unwrap();
        let offset = |i: usize| header[name]["data_offsets"][i].as_u64().unwrap() as usize;
        let values: Vec<u32> =
            data[offset(0)..offset(1)].chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect();
        (header[name]["shape"].clone(), values)
    };
    let names = ["model.position", "adam.first.position", "adam.second.position"];
    let before = names.map(|name| tensors(&trainer, name));
    trainer.set_band(16).unwrap();
    for (name, (shape, values)) in names.iter().zip(before) {
        assert_eq!(shape, serde_json::json!([1, 5, 32]), "{name} before");
        let (shape, after) = tensors(&trainer, name);
        assert_eq!(shape, serde_json::json!([1, 17, 32]), "{name} after");
        assert_eq!(values[..32], after[..32], "class token's row of {name}");
        assert!(values[..32].iter().any(|v| f32::from_bits(*v) != 0.0), "{name} is not all zero");
        // The corners of a larger grid lie outside the old grid's centres and take their values.
        assert_eq!(values[32..64], after[32..64], "first corner of {name}");
        assert_eq!(values[values.len() - 32..], after[after.len() - 32..], "last corner of {name}");
    }
    let gradient = trainer.gradient(&batch(0..8, &large), 0).unwrap();
    assert!(gradient.mean_loss().is_finite());
    assert!(trainer.update(gradient, 1e-3).unwrap().is_finite());
}

#[test]
fn a_run_stopped_saved_and_resumed_anywhere_has_the_same_losses_and_results() {
    let (steps, epoch) = (6, 4);
    let mut whole = trainer(config(), 8, 2);
    let (expected, record) = run(&mut whole, &mut Synthetic::two_bands(steps, epoch), None, None).unwrap();
    assert_eq!(expected.steps, 12);
    assert_eq!(record.evaluations.len(), 3, "one for each epoch; the last one is at the base size already");

    // In the middle of an epoch, at its end, right at and after the band change, and after the last step.
    for stop in [1, 4, 6, 7, 12] {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(folder.path());
        let path = checkpoints.last();
        let (first, early) = {
            let mut trainer = trainer(config(), 8, 2);
            let mut feed = Synthetic::two_bands(steps, epoch);
            run(&mut trainer, &mut feed, Some(checkpoints.clone()), Some(stop)).unwrap()
        };
        assert!(first.stopped && first.steps == stop);

        let (mut trainer, next) = Trainer::load::<usize>(&path, config(), 1, &Device::flex()).unwrap();
        let mut feed = Synthetic { next, ..Synthetic::two_bands(steps, epoch) };
        let (second, late) = run(&mut trainer, &mut feed, Some(checkpoints), None).unwrap();
        assert!(!second.stopped);
        assert_eq!([losses(&early), losses(&late)].concat(), losses(&record), "stopped after {stop}");
        assert_eq!(second.history.losses, expected.history.losses);
        assert_eq!(accuracy(&second), accuracy(&expected), "stopped after {stop}");
        assert_eq!(second.history.finished.unwrap().loss, expected.history.finished.as_ref().unwrap().loss);
    }
}

#[test]
fn the_number_of_threads_changes_no_bit_and_runs_repeat() {
    let of = |threads| {
        let mut trainer = trainer(config(), 8, threads);
        losses(&run(&mut trainer, &mut Synthetic::two_bands(3, 100), None, None).unwrap().1)
    };
    let one = of(1);
    assert_eq!(one, of(1));
    assert_eq!(one, of(3));
    let mut other = trainer(TrainConfig { seed: 8, ..config() }, 8, 1);
    assert_ne!(one, losses(&run(&mut other, &mut Synthetic::two_bands(3, 100), None, None).unwrap().1));
}

#[test]
fn accumulated_batches_make_one_step_of_their_mean() {
    // No stochastic depth and chunks of the small batch: the sums are then made in the same order.
    let config = || {
        let mut config = config();
        config.model.drop_path = 0.0;
        TrainConfig { chunk: 8, ..config }
    };
    let halves = vec![(stage(0, 8, 2), 0); 4];
    let wholes = vec![(stage(0, 8, 1), 0); 2];
    let (_, two) = run(&mut trainer(config(), 8, 1), &mut Synthetic::new(halves), None, None).unwrap();
    let mut feed = Synthetic { size: 16, ..Synthetic::new(wholes) };
    let (_, one) = run(&mut trainer(config(), 8, 1), &mut feed, None, None).unwrap();
    assert_eq!(two.steps.iter().map(|s| s.images).collect::<Vec<_>>(), [16, 16]);
    assert_eq!(losses(&two), losses(&one));
}

#[test]
fn a_step_ends_where_its_stage_or_epoch_does() {
    let plan = vec![(stage(0, 8, 4), 0), (stage(0, 8, 4), 0), (stage(0, 8, 4), 1), (stage(1, 16, 1), 1)];
    let (summary, record) = run(&mut trainer(config(), 8, 1), &mut Synthetic::new(plan), None, None).unwrap();
    assert_eq!(record.steps.iter().map(|s| s.images).collect::<Vec<_>>(), [16, 8, 8]);
    assert_eq!(
        record.evaluations.iter().map(|e| (e.epoch, e.step, e.band)).collect::<Vec<_>>(),
        [(0, 1, 8), (1, 3, 16)]
    );
    assert_eq!(summary.history.stages.iter().map(|s| (s.steps, s.images)).collect::<Vec<_>>(), [(2, 24), (1, 8)]);
}

#[test]
fn the_end_is_evaluated_at_the_base_size_even_if_training_never_got_there() {
    let plan = vec![(stage(0, 8, 1), 0); 2];
    let (summary, record) = run(&mut trainer(config(), 8, 1), &mut Synthetic::new(plan), None, None).unwrap();
    assert_eq!(record.evaluations.iter().map(|e| e.band).collect::<Vec<_>>(), [8, BASE]);
    let last = summary.history.last().unwrap();
    assert_eq!((last.band, last.images), (BASE, 16));
    assert!(last.top5.unwrap() >= last.top1);
}

#[test]
fn a_loss_that_is_not_a_number_names_the_step_and_the_images() {
    let mut feed = Synthetic { poison: Some(2), ..Synthetic::two_bands(3, 100) };
    let error = run(&mut trainer(config(), 8, 2), &mut feed, None, None).err().unwrap();
    assert!(matches!(error, Error::Training { step: 2, .. }), "{error}");
    assert!(error.to_string().contains("batch 2 of images [16, 17, 18"), "{error}");
}

#[test]
fn a_checkpoint_of_another_run_is_refused_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last.safetensors");
    trainer(config(), 8, 1).save(&path, &3usize).unwrap();
    let refusal = |config: TrainConfig| match Trainer::load::<usize>(&path, config, 1, &Device::flex()) {
        Err(Error::Checkpoint { reason, .. }) => reason,
        other => panic!("expected a refusal, got {other:?}"),
    };
    let mut wider = config();
    wider.model.dim = 64;
    let reason = refusal(wider);
    assert!(reason.contains("model.dim = 32") && reason.contains("64"), "{reason}");
    assert!(refusal(TrainConfig { seed: 8, ..config() }).contains("seed"));
    assert!(refusal(TrainConfig { data: "other".into(), ..config() }).contains("data"));

    let state = Trainer::load::<String>(&path, config(), 1, &Device::flex()).unwrap_err();
    assert!(matches!(state, Error::Checkpoint { .. }), "{state}");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    assert!(refusal(config()).contains("cut short"));
    assert!(matches!(
        Trainer::load::<usize>(&folder.path().join("none"), config(), 1, &Device::flex()),
        Err(Error::Io { .. })
    ));
}

#[test]
fn checkpoints_are_written_by_steps_and_the_best_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints { every_steps: Some(2), every: None, ..Checkpoints::new(folder.path()) };
    let mut trainer = trainer(config(), 8, 1);
    let mut feed = Synthetic::two_bands(4, 4);
    let (summary, record) = run(&mut trainer, &mut feed, Some(checkpoints.clone()), None).unwrap();
    // Steps 2 and 4, the first epoch's end, steps 6 and 8, the second epoch's end, the run's end.
    assert_eq!(record.saved, 7);
    let best = summary.history.best().unwrap();
    let (kept, _) = Trainer::load::<usize>(&checkpoints.best(), config(), 1, &Device::flex()).unwrap();
    assert_eq!(kept.steps(), best.step);
    let (last, next) = Trainer::load::<usize>(&checkpoints.last(), config(), 1, &Device::flex()).unwrap();
    assert_eq!((last.steps(), next), (8, 8));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary file is left");
}

#[test]
fn labels_and_sizes_that_do_not_fit_the_model_are_refused() {
    let trainer = trainer(config(), 8, 2);
    let mut bad = batch(0..8, &stage(0, 8, 1));
    bad.labels[5] = 8;
    assert!(matches!(trainer.gradient(&bad, 0), Err(Error::Config { .. })));
    let error = trainer.gradient(&batch(0..8, &stage(1, 16, 1)), 0).unwrap_err();
    assert!(error.to_string().contains("16x16") && error.to_string().contains("at 8"), "{error}");
}

/// Epochs of five batches; eight batches at 8 pixels, three to a step, then six at 16, two to a step.
fn accumulating() -> Vec<(Stage, u64)> {
    (0..14).map(|i| (if i < 8 { stage(0, 8, 3) } else { stage(1, 16, 2) }, i / 5)).collect()
}

#[test]
fn a_run_with_accumulated_batches_resumes_with_the_same_losses() {
    let plan = accumulating();
    let mut feed = Synthetic::new(plan.clone());
    let (expected, record) = run(&mut trainer(config(), 8, 2), &mut feed, None, None).unwrap();
    assert_eq!(
        record.steps.iter().map(|s| s.images / 8).collect::<Vec<_>>(),
        [3, 2, 3, 2, 2, 2],
        "batches of each step: ended by their number, the epoch, the stage"
    );
    for stop in 1..=expected.steps {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(folder.path());
        let mut feed = Synthetic::new(plan.clone());
        let (first, early) =
            run(&mut trainer(config(), 8, 1), &mut feed, Some(checkpoints.clone()), Some(stop)).unwrap();
        // A step that the next batch ends is known to be over only with that batch, which begins another step.
        assert!(first.stopped && [stop, stop + 1].contains(&first.steps), "{} of {stop}", first.steps);
        let (second, late) = resume(&checkpoints, &plan);
        assert_eq!([losses(&early), losses(&late)].concat(), losses(&record), "stopped after {stop}");
        assert_eq!(accuracy(&second), accuracy(&expected), "stopped after {stop}");
    }
}

#[test]
fn a_feed_that_fails_anywhere_loses_no_step() {
    let plan = accumulating();
    let (expected, record) = run(&mut trainer(config(), 8, 2), &mut Synthetic::new(plan.clone()), None, None).unwrap();
    // With the steps that are over by then: a step that an epoch ends is so only once the next batch is there.
    for (broken, steps) in [(3, 1), (5, 1), (6, 2), (8, 3), (13, 5)] {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(folder.path());
        let mut feed = Synthetic { broken: Some(broken), ..Synthetic::new(plan.clone()) };
        let error = run(&mut trainer(config(), 8, 2), &mut feed, Some(checkpoints.clone()), None).err().unwrap();
        assert!(matches!(error, Error::Worker { .. }), "{error}");
        let (second, late) = resume(&checkpoints, &plan);
        assert_eq!(losses(&late), losses(&record)[steps..], "broken at {broken}");
        assert_eq!(second.history.losses, expected.history.losses, "broken at {broken}");
        assert_eq!(accuracy(&second), accuracy(&expected), "broken at {broken}");
    }
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path());
    let mut feed = Synthetic { broken: Some(1), ..Synthetic::new(plan) };
    run(&mut trainer(config(), 8, 1), &mut feed, Some(checkpoints.clone()), None).err().unwrap();
    assert!(!checkpoints.last().exists(), "nothing was learnt that would be worth keeping");
}

/// Runs with a validation that ends passes number `bad` early, by an error or by the stop flag.
fn run_to_a_bad_pass(checkpoints: &Checkpoints, plan: &[(Stage, u64)], bad: usize, by_error: bool) -> Result<Summary> {
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let (flag, mut passes) = (stop.clone(), 0);
    let mut validation = move |stage: &Stage| -> Result<Pass<'static>> {
        passes += 1;
        let (spoil, flag) = (passes == bad, flag.clone());
        Ok(Box::new(validation(stage)?.enumerate().map(move |(i, batch)| {
            if spoil && i == 1 {
                if by_error {
                    return Err(Error::Worker { message: "the disk is gone".into() });
                }
                flag.store(true, Ordering::Relaxed);
            }
            batch
        })))
    };
    let mut feed = Synthetic::new(plan.to_vec());
    let run =
        Run { validation: Some(&mut validation), checkpoints: Some(checkpoints.clone()), stop: &stop, watch: &mut () };
    fit(&mut trainer(config(), 8, 2), &mut feed, run)
}

#[test]
fn an_evaluation_that_fails_or_is_stopped_is_made_anew_and_costs_no_step() {
    // The end is at 8 pixels, so that the last pass is one more, at the base size.
    let plan: Vec<_> = (0..6).map(|i| (stage(0, 8, 1), i / 3)).collect();
    let (expected, _) = run(&mut trainer(config(), 8, 2), &mut Synthetic::new(plan.clone()), None, None).unwrap();
    assert_eq!(accuracy(&expected).iter().map(|e| (e.1, e.2)).collect::<Vec<_>>(), [(3, 8), (6, 8), (6, BASE)]);
    for (bad, steps) in [(1, 3), (2, 6), (3, 6)] {
        for by_error in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let checkpoints = Checkpoints::new(folder.path());
            match run_to_a_bad_pass(&checkpoints, &plan, bad, by_error) {
                Ok(summary) => assert!(!by_error && summary.stopped && summary.steps == steps, "{summary:?}"),
                Err(error) => assert!(by_error && matches!(error, Error::Worker { .. }), "{error}"),
            }
            let (saved, next) = Trainer::load::<usize>(&checkpoints.last(), config(), 1, &Device::flex()).unwrap();
            assert_eq!((saved.steps(), next as u64), (steps, steps));
            assert_eq!(saved.history().evaluations.len(), bad.min(3) - 1, "whole passes before the bad one");
            let (second, late) = resume(&checkpoints, &plan);
            assert_eq!(late.evaluations.len(), 4 - bad, "the bad pass and those after it");
            assert_eq!(second.history.losses, expected.history.losses);
            assert_eq!(accuracy(&second), accuracy(&expected), "pass {bad}, error: {by_error}");
        }
    }
}

#[test]
fn stages_set_by_hand_share_an_index_and_are_told_apart() {
    let crop = stage(0, 8, 1).crop;
    let of = |band, accumulate| {
        let mut stage = Stage::fixed(BASE, band, crop, 8);
        stage.accumulate = accumulate;
        stage
    };
    let plan: Vec<_> = [of(8, 2), of(16, 2), of(16, 2), of(16, 1), of(8, 1)].map(|stage| (stage, 0)).into();
    let (summary, record) = run(&mut trainer(config(), 8, 1), &mut Synthetic::new(plan), None, None).unwrap();
    assert_eq!(
        record.steps.iter().map(|s| (s.band, s.images)).collect::<Vec<_>>(),
        [(8, 8), (16, 16), (16, 8), (8, 8)]
    );
    assert_eq!(record.stages, [8, 16, 16, 8], "each change is announced");
    let totals: Vec<_> = summary.history.stages.iter().map(|s| (s.stage, s.band, s.steps, s.images)).collect();
    assert_eq!(totals, [(0, 8, 2, 16), (0, 16, 2, 24)]);
}

#[test]
fn the_first_step_of_a_warm_up_fills_the_moments_and_moves_no_weight() {
    let class_token = |trainer: &Trainer| trainer.model().class_token.val().into_data();
    let mut trainer = trainer(config(), 8, 1);
    let before = class_token(&trainer);
    let plan = vec![(stage(0, 8, 1), 0); 1];
    let (_, record) = run(&mut trainer, &mut Synthetic::new(plan), None, None).unwrap();
    assert_eq!((record.steps[0].progress, record.steps[0].learning_rate), (0.0, 0.0));
    assert!(record.steps[0].grad_norm > 0.0);
    assert_eq!(class_token(&trainer), before);
}
