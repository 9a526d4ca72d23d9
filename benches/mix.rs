//! Mixup and CutMix of a batch of 64, random erasing of one image at 224 x 224, and soft targets, on one core.
//!
//! Mixing is bound by memory: the baseline is a pass over the batch that reads and writes each value once (`scale`).
//! Results are checked before they are timed: mixing against a copy of the batch, noise by its moments.

use bandfeed::erase::{Erasure, Erasures, Fill};
use bandfeed::mix::{Mixed, Mixing, soft_targets};
use bandfeed::{Rect, Size};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

const N: usize = 64;

/// Uniform values in -2..2.
fn values(len: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 22) as f32 - 2.0
    };
    (0..len).map(|_| next()).collect()
}

fn check(mixing: &Mixing, before: &[f32], after: &[f32], side: usize) {
    let len = 3 * side * side;
    for (at, value) in after.iter().enumerate() {
        let i = at / len;
        let (own, other) = (before[at], before[mixing.partner(i) * len + at % len]);
        let expected = match mixing.images()[i] {
            Mixed::Untouched => own,
            Mixed::Blend { lambda } => own * lambda as f32 + other * (1.0 - lambda) as f32,
            Mixed::Paste { rect } => {
                let (y, x) = ((at / side % side) as u32, (at % side) as u32);
                let inside = (rect.y..rect.y + rect.height).contains(&y) && (rect.x..rect.x + rect.width).contains(&x);
                if inside { other } else { own }
            }
        };
        assert_eq!(*value, expected, "value {at}");
    }
}

fn mixing(c: &mut Criterion) {
    for side in [224u32, 96] {
        let len = N * 3 * (side * side) as usize;
        let mut group = c.benchmark_group("mix");
        group.throughput(Throughput::Elements(N as u64));
        let before = values(len);
        let mut images = before.clone();
        group.bench_function(BenchmarkId::new("scale", side), |b| {
            b.iter(|| black_box(&mut images).iter_mut().for_each(|v| *v *= -1.0));
        });
        let half = |x| Mixed::Paste { rect: Rect { x, y: side / 8, width: side * 5 / 7, height: side * 5 / 7 } };
        let blend = Mixed::Blend { lambda: 0.5 };
        for (name, of) in [
            ("mixup", [blend, blend]),
            ("cutmix", [half(side / 8), half(side / 8)]),
            ("elem_cutmix", [half(side / 8), half(side / 4)]),
            ("elem_both", [blend, half(side / 4)]),
        ] {
            let all = [vec![of[0]; N / 2], vec![of[1]; N / 2]].concat();
            let mixing = Mixing::new(side, all).unwrap();
            images.copy_from_slice(&before);
            mixing.apply(&mut images).unwrap();
            check(&mixing, &before, &images, side as usize);
            group.bench_function(BenchmarkId::new(name, side), |b| {
                b.iter(|| mixing.apply(black_box(&mut images)).unwrap());
            });
        }
        group.finish();
    }
    let mut group = c.benchmark_group("targets");
    group.throughput(Throughput::Elements(N as u64));
    let mixing = Mixing::new(224, vec![Mixed::Blend { lambda: 0.25 }; N]).unwrap();
    let labels: Vec<u32> = (0..N as u32).collect();
    let targets = soft_targets(&labels, Some(&mixing), 1000, 0.1).unwrap();
    assert!(targets.chunks(1000).all(|row| (row.iter().map(|v| f64::from(*v)).sum::<f64>() - 1.0).abs() < 1e-6));
    group.bench_function(BenchmarkId::new("soft", 1000), |b| {
        b.iter(|| soft_targets(black_box(&labels), Some(&mixing), 1000, 0.1).unwrap());
    });
    group.finish();
}

fn erasing(c: &mut Criterion) {
    let mut group = c.benchmark_group("erase_224");
    let size = Size::square(224);
    let mut planes = values(3 * 224 * 224);
    // A third of the area, and a box of mean size whose rows are no whole number of vectors.
    for (name, width, height) in [("third", 129, 129), ("high", 71, 218), ("mean", 94, 94)] {
        let rect = Rect { x: 11, y: 3, width, height };
        let values = 3 * u64::from(width * height);
        group.throughput(Throughput::Elements(values));
        for (fill, mode) in [(Fill::Noise { key: 1 }, "noise"), (Fill::Color([0.5; 3]), "color")] {
            let list = Erasures::try_from(&[Erasure { rect, fill }][..]).unwrap();
            list.erase(&mut planes, size).unwrap();
            if let Fill::Noise { .. } = fill {
                let inside = (3..3 + height as usize).flat_map(|y| &planes[y * 224 + 11..][..width as usize]);
                let (sum, squares) = inside.fold((0.0, 0.0), |(s, q), v| (s + v, q + v * v));
                let n = values as f32 / 3.0;
                assert!((sum / n).abs() < 5.0 / n.sqrt() && (squares / n - 1.0).abs() < 7.0 / n.sqrt());
            }
            group.bench_function(BenchmarkId::new(mode, name), |b| {
                b.iter(|| list.erase(black_box(&mut planes), size).unwrap());
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = mixing, erasing
}
criterion_main!(benches);
