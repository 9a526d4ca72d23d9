//! What a recipe changes in the trainer: soft targets of mixed batches, the stage's learning rate, what a step reports.
#![cfg(feature = "train")]

use bandfeed::demo_data::DemoData;
use bandfeed::loader::Loader;
use bandfeed::mix::{Mixed, Mixing};
use bandfeed::recipe::{Magnitude, Recipe};
use bandfeed::schedule::{LearningRate, Options, Schedule};
use bandfeed::train::{Device, Run, StepReport, TrainConfig, Trainer, VitConfig, Watch, fit};
use bandfeed::{BandCrop, Batch, Images, Rect, Stage};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

const CLASSES: usize = 5;

fn config() -> TrainConfig {
    let model =
        VitConfig { dim: 24, depth: 2, heads: 2, patch: 8, mlp_ratio: 2.0, drop_path: 0.0, ..VitConfig::tiny(CLASSES) };
    TrainConfig { chunk: 2, ..TrainConfig::new(model) }
}

fn batch(labels: Vec<u32>) -> Batch {
    let values = (0..labels.len() * 3 * 16 * 16).map(|i| ((i * 7919 % 613) as f32 / 306.0) - 1.0).collect();
    let images = Images::from_vec(values, [labels.len(), 3, 16, 16]).unwrap();
    Batch::new(images, labels, Stage::fixed(16, 16, BandCrop::Lanczos, 6)).unwrap()
}

#[test]
fn the_loss_of_a_mixed_batch_is_that_of_both_labels_by_their_shares() {
    let trainer = Trainer::new(config(), 16, 2, &Device::flex()).unwrap();
    let labels = vec![0, 1, 2, 3, 4, 0];
    let loss = |batch: &Batch| trainer.gradient(batch, 0).unwrap().mean_loss();
    let own = loss(&batch(labels.clone()));
    let partner = loss(&batch(labels.iter().rev().copied().collect()));
    assert!((own - partner).abs() > 1e-4, "the two differ: {own} {partner}");
    for (mixed, share) in [
        (Mixed::Blend { lambda: 0.3 }, 0.3),
        // A quarter of the image is the partner's.
        (Mixed::Paste { rect: Rect { x: 4, y: 0, width: 8, height: 8 } }, 0.75),
    ] {
        let mut batch = batch(labels.clone());
        batch.mixing = Some(Mixing::new(16, vec![mixed; 6]).unwrap());
        let (found, expected) = (loss(&batch), share * own + (1.0 - share) * partner);
        assert!((found - expected).abs() < 1e-5, "{mixed:?}: {found}, not {expected}");
    }
}

/// Keeps the reports.
#[derive(Default)]
struct Reports(Vec<StepReport>);

impl Watch for Reports {
    fn step(&mut self, report: &StepReport) {
        self.0.push(report.clone());
    }
}

fn run(schedule: &str, recipe: Recipe) -> Vec<StepReport> {
    let data = DemoData { train_per_class: 3, val_per_class: 1, side: 64, ..DemoData::default() };
    let (source, _) = data.generate().unwrap();
    let options = Options { base: 16, patch: 8, epochs: 2.0, batch_size: 6, ..Options::default() };
    let schedule = Schedule::from_toml(schedule, &options).unwrap();
    let mut loader = Loader::builder(Arc::new(source), schedule).recipe(recipe).seed(1).build().unwrap();
    let mut config = config();
    config.model.classes = data.classes.len();
    config.learning_rate = LearningRate { peak: 1e-3, min: 1e-5, warmup: 0.1 };
    let mut trainer = Trainer::new(config, 8, 2, &Device::flex()).unwrap();
    let (stop, mut reports) = (AtomicBool::new(false), Reports::default());
    let run = Run { validation: None, checkpoints: None, stop: &stop, watch: &mut reports };
    fit(&mut trainer, &mut loader, run).unwrap();
    reports.0
}

#[test]
fn the_stage_scales_the_rate() {
    let table =
        "stage = [{ until = 0.5, band = 8, magnitude = 0, rate_scale = 2.0 }, { until = 1, band = 16, magnitude = 9 }]";
    let rate = LearningRate { peak: 1e-3, min: 1e-5, warmup: 0.1 };
    let reports = run(table, Recipe::default());
    assert!(reports.iter().any(|r| r.stage == 0) && reports.iter().any(|r| r.stage == 1));
    for report in reports {
        let scale = if report.stage == 0 { 2.0 } else { 1.0 };
        assert_eq!(report.learning_rate, rate.at(report.progress) * scale, "step {}", report.step);
    }
}

#[test]
fn a_step_tells_its_magnitude_and_how_many_of_its_images_were_decoded() {
    let table = "stage = [{ until = 0.5, band = 8, magnitude = 2, replay = 3, replay_capacity = 4 }, \
                 { until = 1, band = 16, magnitude = 9 }]";
    let recipe =
        Recipe { augment: Some("rand-m8-inc1".parse().unwrap()), magnitude: Magnitude::Linear, ..Recipe::default() };
    for report in run(table, recipe) {
        assert_eq!(report.fresh, if report.stage == 0 { 2 } else { 6 }, "step {}", report.step);
        assert_eq!(report.images, 6);
        assert!((report.magnitude - 8.0 * report.progress).abs() < 1e-12);
    }
}
