//! Resize of RGB bytes to 224 x 224: the exact 8-bit resize, the fused f32 renderer (which normalises as well), and two
//! libraries that readers know: fast_image_resize and the `image` crate.
//!
//! All are checked against one another before they are timed.

use bandfeed::ops::{Renderer, Resizer, View};
use bandfeed::plan::{ResizedCrop, SamplePlan};
use bandfeed::{Filter, Rect, Size};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fast_image_resize as fir;
use std::hint::black_box;

const SIDE: u32 = 224;

/// Mean difference to the exact resize, in grey levels.
fn check(got: impl Iterator<Item = f32>, exact: &[u8], limit: f32, name: &str) {
    let mean = got.zip(exact).map(|(a, b)| (a - f32::from(*b)).abs()).sum::<f32>() / exact.len() as f32;
    assert!(mean <= limit, "{name} differs by {mean} grey levels in the mean");
}

fn bench(c: &mut Criterion) {
    for (width, height) in [(500u32, 375u32), (400, 300), (280, 280), (130, 120)] {
        let pixels: Vec<u8> = (0..width * height)
            .flat_map(|at| {
                [11.0, 17.0, 23.0].map(|p| (f64::from(at % width) / p).sin() * (f64::from(at / width) / p).cos())
            })
            .map(|v| (127.5 + 90.0 * v) as u8)
            .collect();
        let size = Size::new(width, height);
        let (view, area) = (View::packed(&pixels, size), [0.0, 0.0, f64::from(width), f64::from(height)]);
        let base = Size::square(SIDE);
        let mut group = c.benchmark_group(format!("resize_{width}x{height}"));
        group.throughput(Throughput::Elements(1));
        for (filter, fir_filter, image_filter) in [
            (Filter::Bilinear, fir::FilterType::Bilinear, image::imageops::FilterType::Triangle),
            (Filter::Bicubic, fir::FilterType::CatmullRom, image::imageops::FilterType::CatmullRom),
            (Filter::Lanczos3, fir::FilterType::Lanczos3, image::imageops::FilterType::Lanczos3),
        ] {
            let name = format!("{filter:?}").to_lowercase();
            let (mut resizer, mut exact) = (Resizer::new(), Vec::new());
            resizer.resize(view, area, base, filter, &mut exact).unwrap();
            let mut out = Vec::new();
            group.bench_function(BenchmarkId::new("exact", &name), |b| {
                b.iter(|| resizer.resize(black_box(view), area, base, filter, &mut out).unwrap())
            });

            // Mean 0 and deviation 1/255: grey levels come out.
            let crop = ResizedCrop { region: Rect::whole(size), grid: base, window: Rect::whole(base), filter };
            let plan = SamplePlan { mean: [0.0; 3], std: [1.0 / 255.0; 3], ..SamplePlan::new(crop) };
            let (mut renderer, mut planes) = (Renderer::new(), vec![0.0f32; 3 * (SIDE * SIDE) as usize]);
            renderer.render(view, area, &plan, &mut planes).unwrap();
            let pixels_of_plane = (SIDE * SIDE) as usize;
            let interleaved = (0..planes.len()).map(|at| planes[at % 3 * pixels_of_plane + at / 3]);
            check(interleaved, &exact, 0.5, "fused");
            group.bench_function(BenchmarkId::new("fused", &name), |b| {
                b.iter(|| renderer.render(black_box(view), area, &plan, &mut planes).unwrap())
            });

            let src = fir::images::ImageRef::new(width, height, &pixels, fir::PixelType::U8x3).unwrap();
            let mut dst = fir::images::Image::new(SIDE, SIDE, fir::PixelType::U8x3);
            let options = fir::ResizeOptions::new().resize_alg(fir::ResizeAlg::Convolution(fir_filter));
            let mut fir_resizer = fir::Resizer::new();
            fir_resizer.resize(&src, &mut dst, &options).unwrap();
            check(dst.buffer().iter().map(|v| f32::from(*v)), &exact, 0.1, "fast_image_resize");
            group.bench_function(BenchmarkId::new("fast_image_resize", &name), |b| {
                b.iter(|| fir_resizer.resize(black_box(&src), &mut dst, &options).unwrap())
            });

            let src = image::RgbImage::from_raw(width, height, pixels.clone()).unwrap();
            let other = image::imageops::resize(&src, SIDE, SIDE, image_filter);
            check(other.iter().map(|v| f32::from(*v)), &exact, 1.0, "image");
            group.bench_function(BenchmarkId::new("image", &name), |b| {
                b.iter(|| image::imageops::resize(black_box(&src), SIDE, SIDE, image_filter))
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_millis(800));
    targets = bench
}
criterion_main!(benches);
