//! The Fourier band crop of one RGB image, 224 x 224 -> B x B: by transform, by dense matrices, by folded matrices, and
//! with the resized crop before it in the fused renderer; the Lanczos band for comparison.
//!
//! Every path is checked against the f64 matrices before it is timed.

use bandfeed::band::{Fourier, lanczos};
use bandfeed::ops::{Renderer, View};
use bandfeed::plan::{BandPlan, ResizedCrop, SamplePlan};
use bandfeed::{BandCrop, Filter, Grid, Rect, Size};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rustfft::{Fft, FftPlanner, num_complex::Complex32};
use std::hint::black_box;
use std::sync::Arc;

const N: usize = 224;

/// The definition by rustfft in f32: two real planes never share a transform here, as in the released code.
struct Transform {
    forward: Arc<dyn Fft<f32>>,
    inverse: Arc<dyn Fft<f32>>,
    band: usize,
    values: Vec<Complex32>,
    turned: Vec<Complex32>,
    scratch: Vec<Complex32>,
}

impl Transform {
    fn new(band: usize) -> Self {
        let mut planner = FftPlanner::new();
        let (forward, inverse) = (planner.plan_fft_forward(N), planner.plan_fft_inverse(band));
        let scratch = forward.get_inplace_scratch_len().max(inverse.get_inplace_scratch_len());
        let zero = Complex32::default();
        Self {
            forward,
            inverse,
            band,
            values: vec![zero; N * N],
            turned: vec![zero; N * N],
            scratch: vec![zero; scratch],
        }
    }

    fn run(&mut self, plane: &[f32], out: &mut [f32]) {
        let b = self.band;
        let place = |k: usize| if k < b.div_ceil(2) { k } else { N - (b - k) };
        for (to, from) in self.values.iter_mut().zip(plane) {
            *to = Complex32::new(*from, 0.0);
        }
        self.forward.process_with_scratch(&mut self.values, &mut self.scratch);
        // Kept columns become rows: (B, N).
        for k in 0..b {
            for y in 0..N {
                self.turned[k * N + y] = self.values[y * N + place(k)];
            }
        }
        self.forward.process_with_scratch(&mut self.turned[..b * N], &mut self.scratch);
        for k in 0..b {
            for l in 0..b {
                self.values[k * b + l] = self.turned[k * N + place(l)];
            }
        }
        self.inverse.process_with_scratch(&mut self.values[..b * b], &mut self.scratch);
        for k in 0..b {
            for y in 0..b {
                self.turned[y * b + k] = self.values[k * b + y];
            }
        }
        self.inverse.process_with_scratch(&mut self.turned[..b * b], &mut self.scratch);
        for (to, from) in out.iter_mut().zip(&self.turned) {
            *to = from.re / (N * N) as f32;
        }
    }
}

fn check(got: &[f32], expected: &[f64], path: &str) {
    for (a, b) in got.iter().zip(expected) {
        assert!((f64::from(*a) - b).abs() <= 2e-5, "{path}: {a}, not {b}");
    }
}

fn bench(c: &mut Criterion) {
    let mut state = 1u32;
    let pixels: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(400 * 300 * 3)
    .collect();
    let planes: Vec<f32> = pixels.iter().cycle().take(3 * N * N).map(|v| f32::from(*v) / 255.0 - 0.5).collect();
    let planes_f64: Vec<f64> = planes.iter().map(|v| f64::from(*v)).collect();

    let mut group = c.benchmark_group("band");
    group.throughput(Throughput::Elements(1));
    for band in [96usize, 128, 160, 192] {
        let mut out = vec![0.0; 3 * band * band];
        let mut expected = vec![0.0; 3 * band * band];
        let mut crop = Fourier::square(N as u32, band as u32, Grid::Paper).unwrap();
        crop.apply_f64(&planes_f64, &mut expected).unwrap();

        let mut transform = Transform::new(band);
        let mut by_transform = |out: &mut [f32]| {
            for (plane, out) in planes.chunks_exact(N * N).zip(out.chunks_exact_mut(band * band)) {
                transform.run(plane, out);
            }
        };
        by_transform(&mut out);
        check(&out, &expected, "rustfft");
        group.bench_function(BenchmarkId::new("fourier/rustfft", band), |b| {
            b.iter(|| by_transform(black_box(&mut out)))
        });
        crop.apply_dense(&planes, &mut out).unwrap();
        check(&out, &expected, "dense");
        group.bench_function(BenchmarkId::new("fourier/dense", band), |b| {
            b.iter(|| crop.apply_dense(black_box(&planes), &mut out).unwrap())
        });
        crop.apply(&planes, &mut out).unwrap();
        check(&out, &expected, "folded");
        group.bench_function(BenchmarkId::new("fourier/folded", band), |b| {
            b.iter(|| crop.apply(black_box(&planes), &mut out).unwrap())
        });
        let base = View::packed(&pixels[..3 * N * N], Size::square(N as u32));
        group.bench_function(BenchmarkId::new("lanczos/8-bit", band), |b| {
            b.iter(|| lanczos(black_box(base), band as u32).unwrap())
        });
    }
    group.finish();

    // From a region of 400 x 300 to the normalised band. `tests/render.rs` checks these.
    let mut group = c.benchmark_group("render_400x300_bicubic");
    group.throughput(Throughput::Elements(1));
    let view = View::packed(&pixels, Size::new(400, 300));
    let base = Size::square(N as u32);
    for (name, crop) in [("fourier", BandCrop::FOURIER), ("lanczos", BandCrop::Lanczos)] {
        for (path, fuse) in [("fused", true), ("plain", false)] {
            for band in [96, 128, 160, 192, 224] {
                let resized = ResizedCrop {
                    region: Rect::whole(view.size),
                    grid: base,
                    window: Rect::whole(base),
                    filter: Filter::Bicubic,
                };
                let band_plan = (band != 224).then_some(BandPlan { band, crop });
                let plan = SamplePlan { flip: true, band: band_plan, fuse, ..SamplePlan::new(resized) };
                let mut out = vec![0.0; 3 * (band * band) as usize];
                let mut renderer = Renderer::new();
                group.bench_function(BenchmarkId::new(format!("{name}/{path}"), band), |b| {
                    b.iter(|| renderer.render(black_box(view), [0.0, 0.0, 400.0, 300.0], &plan, &mut out).unwrap())
                });
            }
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = bench
}
criterion_main!(benches);
