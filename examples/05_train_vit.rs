//! Trains a small vision transformer on eight kinds of waves, at half the size first:
//! `cargo run --release --features train --example 05_train_vit`.
//!
//! The batches are made here, so that the example shows what the trainer asks of a feed; with images on disk the feed is
//! the loader.

use bandfeed::schedule::LearningRate;
use bandfeed::train::{
    Checkpoints, Device, EvalReport, Feed, Pass, Run, StepReport, TrainConfig, Trainer, VitConfig, Watch, fit,
};
use bandfeed::{Batch, Images, Result, Stage};
use std::sync::atomic::AtomicBool;

const CLASSES: usize = 8;

/// Half of the compute at 24 pixels, half at 48.
fn schedule() -> [Stage; 2] {
    let table = r#"[
        {"index": 0, "start": 0.0, "end": 0.5, "band": 24, "base": 48, "crop": {"kind": "lanczos"},
         "magnitude": 0.0, "batch_size": 32, "accumulate": 1},
        {"index": 1, "start": 0.5, "end": 1.0, "band": 48, "base": 48, "crop": {"kind": "lanczos"},
         "magnitude": 0.0, "batch_size": 32, "accumulate": 1}]"#;
    serde_json::from_str(table).expect("the table is a list of stages")
}

/// Waves whose direction is their class and whose phase is their index.
fn waves(first: usize, stage: &Stage) -> Result<Batch> {
    let (n, side) = (stage.batch_size, stage.band as usize);
    let mut pixels = Vec::with_capacity(n * 3 * side * side);
    for index in first..first + n {
        let angle = (index % CLASSES) as f32 * std::f32::consts::PI / CLASSES as f32;
        let phase = index as f32 * 0.61;
        for _channel in 0..3 {
            for y in 0..side {
                for x in 0..side {
                    let along = (x as f32 * angle.cos() + y as f32 * angle.sin()) / side as f32;
                    pixels.push((along * 12.0 + phase).sin());
                }
            }
        }
    }
    let labels = (first..first + n).map(|i| (i % CLASSES) as u32).collect();
    Batch::new(Images::from_vec(pixels, [n, 3, side, side])?, labels, stage.clone())
}

/// Steps `0..steps`; the state is the number of the next one.
struct Waves {
    next: usize,
    steps: usize,
}

impl Feed for Waves {
    type State = usize;

    fn next_batch(&mut self) -> Option<Result<Batch>> {
        let step = self.next;
        if step == self.steps {
            return None;
        }
        self.next += 1;
        // A step at 24 pixels costs a quarter of one at 48: four fifths of the steps make half of the compute.
        let [small, large] = schedule();
        let change = self.steps * 4 / 5;
        let (stage, progress) = if step < change {
            (small, 0.5 * step as f64 / change as f64)
        } else {
            (large, 0.5 + 0.5 * (step - change) as f64 / (self.steps - change) as f64)
        };
        let batch = waves(step * stage.batch_size, &stage);
        Some(batch.map(|mut batch| {
            (batch.step, batch.epoch, batch.progress) = (step as u64, step as u64 / 20, progress);
            batch
        }))
    }

    fn state(&self) -> usize {
        self.next
    }
}

struct Print;

impl Watch for Print {
    fn stage(&mut self, stage: &Stage) {
        println!("stage {}: images of {} pixels", stage.index, stage.band);
    }

    fn step(&mut self, step: &StepReport) {
        if step.step.is_multiple_of(10) {
            println!("step {:3}  loss {:.3}  rate {:.1e}", step.step, step.loss, step.learning_rate);
        }
    }

    fn evaluated(&mut self, report: &EvalReport) {
        println!("epoch {}: top-1 {:.1} % of {} images", report.epoch, 100.0 * report.top1, report.images);
    }
}

fn main() -> Result<()> {
    let model = VitConfig {
        dim: 64,
        depth: 3,
        heads: 4,
        patch: 6,
        mlp_ratio: 4.0,
        drop_path: 0.05,
        ..VitConfig::tiny(CLASSES)
    };
    let config = TrainConfig {
        learning_rate: LearningRate { peak: 2e-3, min: 1e-6, warmup: 0.1 },
        data: "waves".into(),
        ..TrainConfig::new(model)
    };
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    let checkpoints = Checkpoints::new(std::env::temp_dir().join("bandfeed-05-train-vit"));

    let mut trainer = Trainer::new(config, schedule()[0].band, threads, &Device::flex())?;
    let mut feed = Waves { next: 0, steps: 100 };
    let mut validation = |stage: &Stage| -> Result<Pass<'static>> {
        let stage = stage.clone();
        Ok(Box::new((0..4).map(move |i| waves(1_000_000 + i * stage.batch_size, &stage))))
    };
    let summary = fit(
        &mut trainer,
        &mut feed,
        Run {
            validation: Some(&mut validation),
            checkpoints: Some(checkpoints.clone()),
            stop: &AtomicBool::new(false),
            watch: &mut Print,
        },
    )?;
    for stage in &summary.history.stages {
        println!(
            "stage {}: {:.0} images/s, mean loss {:.3}",
            stage.stage,
            stage.images_per_second(),
            stage.mean_loss()
        );
    }
    println!("checkpoint: {}", checkpoints.last().display());
    Ok(())
}
