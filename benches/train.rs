//! Time of a training step by band, on synthetic images: `cargo bench --features train --bench train [-- threads chunk]`.
//!
//! The model is the one of `examples/05_train_vit.rs` (width 128, depth 4, 4 heads, patch 12, base 96). Columns are the best
//! and the median of the steps after two for warming up: forward alone (evaluation), gradient (forward and backward),
//! update (clip and AdamW), images a second of gradient and update. Then the same at the base size with running means of the
//! weights, with layers that are frozen, and in 16 bits.

use bandfeed::train::{Device, Precision, TrainConfig, Trainer, VitConfig};
use bandfeed::{Batch, Images, Stage};
use std::time::Instant;

fn batch(band: u32, size: usize) -> Batch {
    let stage: Stage = serde_json::from_str(&format!(
        r#"{{"index":0,"start":0.0,"end":1.0,"band":{band},"base":96,"crop":{{"kind":"lanczos"}},"magnitude":0.0,
            "batch_size":{size},"accumulate":1}}"#
    ))
    .expect("a stage");
    let len = size * 3 * (band * band) as usize;
    let images = (0..len).map(|i| ((i * 7919) % 1000) as f32 / 500.0 - 1.0).collect();
    let images = Images::from_vec(images, [size, 3, band as usize, band as usize]).expect("the shape fits");
    Batch::new(images, (0..size as u32).map(|i| i % 100).collect(), stage).expect("a label each")
}

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let threads =
        numbers.first().copied().unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into));
    let chunk = numbers.get(1).copied().unwrap_or(16);
    let model =
        VitConfig { dim: 128, depth: 4, heads: 4, patch: 12, mlp_ratio: 4.0, drop_path: 0.1, ..VitConfig::tiny(100) };
    let config = TrainConfig { chunk, ..TrainConfig::new(model) };
    println!("{threads} threads, chunks of {chunk}; ms, best / median");
    println!("                 band batch     forward           gradient          update        images/s");
    let bands: &[u32] = if numbers.len() > 2 { &[96] } else { &[36, 48, 60, 72, 84, 96] };
    for &band in bands {
        for size in [64, 128] {
            measure("", &config, band, size, threads);
        }
    }
    for (name, config) in [
        ("no mean", config.clone()),
        ("1 mean", TrainConfig { ema: vec![0.9998], ..config.clone() }),
        ("2 means", TrainConfig { ema: vec![0.9998, 0.99996], ..config.clone() }),
        ("embedding frozen", TrainConfig { freeze: 1, ..config.clone() }),
        ("2 blocks frozen", TrainConfig { freeze: 3, ..config.clone() }),
        ("bf16", TrainConfig { precision: Precision::Bf16, ..config.clone() }),
        ("f16", TrainConfig { precision: Precision::F16, ..config.clone() }),
    ] {
        measure(name, &config, 96, 64, threads);
    }
}

fn measure(name: &str, config: &TrainConfig, band: u32, size: usize, threads: usize) {
    let batch = batch(band, size);
    let mut trainer = Trainer::new(config.clone(), band, threads, &Device::flex()).expect("a model");
    let mut times = [vec![], vec![], vec![]];
    for _ in 0..10 {
        let start = Instant::now();
        let pass = std::iter::once(Ok(self::batch(band, size)));
        let made = start.elapsed();
        bandfeed::train::evaluate(&trainer, pass).expect("an evaluation");
        times[0].push((start.elapsed() - made).as_secs_f64() * 1e3);
        let start = Instant::now();
        let gradient = trainer.gradient(&batch, 0).expect("a gradient");
        times[1].push(start.elapsed().as_secs_f64() * 1e3);
        let start = Instant::now();
        trainer.update(gradient, 1e-3).expect("an update");
        times[2].push(start.elapsed().as_secs_f64() * 1e3);
    }
    let [forward, gradient, update] = times.map(|mut t| {
        t.drain(..2);
        t.sort_by(f64::total_cmp);
        [t[0], t[t.len() / 2]]
    });
    let rate = |i: usize| size as f64 / (gradient[i] + update[i]) * 1e3;
    println!(
        "{name:16} {band:4} {size:5} {:7.1} / {:6.1} {:9.1} / {:6.1} {:7.1} / {:4.1} {:8.0} / {:5.0}",
        forward[0],
        forward[1],
        gradient[0],
        gradient[1],
        update[0],
        update[1],
        rate(0),
        rate(1)
    );
}
