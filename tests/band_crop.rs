//! The Fourier band crop against its definition by a transform, and the properties that follow from it
//! (`low-frequency-crop.md` §6; the number of the statement is in each test's first line).

use bandfeed::band::{Fourier, fourier, lanczos, matrix};
use bandfeed::ops::View;
use bandfeed::{Grid, Size};
use rustfft::{FftPlanner, num_complex::Complex64};
use serde::Deserialize;
use std::f64::consts::PI;
use std::path::Path;

const GRIDS: [Grid; 2] = [Grid::Paper, Grid::HalfPixel];

/// The definition: transform, keep the centre, turn to the grid, transform back, real part. f64, slow and obvious.
fn reference(plane: &[f64], [h, w]: [usize; 2], [bh, bw]: [usize; 2], grid: Grid) -> Vec<f64> {
    let kept_rows = kept(bh, h, grid);
    let kept_columns = kept(bw, w, grid);
    let spectrum = transform(plane.iter().map(|v| Complex64::new(*v, 0.0)).collect(), [h, w], false);
    let small = kept_rows
        .iter()
        .flat_map(|(row, a)| kept_columns.iter().map(move |(column, b)| (row * w + column, a * b)))
        .map(|(at, turn)| spectrum[at] * turn)
        .collect();
    transform(small, [bh, bw], true).iter().map(|v| v.re / (h * w) as f64).collect()
}

/// For each of the small spectrum's frequencies in storage order: its place among the `n`, and its turn.
fn kept(b: usize, n: usize, grid: Grid) -> Vec<(usize, Complex64)> {
    (0..b)
        .map(|place| {
            let k = if place < b.div_ceil(2) { place as i64 } else { place as i64 - b as i64 };
            let shift = if grid == Grid::HalfPixel { 1.0 / b as f64 - 1.0 / n as f64 } else { 0.0 };
            (k.rem_euclid(n as i64) as usize, Complex64::from_polar(1.0, PI * k as f64 * shift))
        })
        .collect()
}

fn transform(mut values: Vec<Complex64>, [h, w]: [usize; 2], inverse: bool) -> Vec<Complex64> {
    let mut planner = FftPlanner::new();
    let mut plan = |n| if inverse { planner.plan_fft_inverse(n) } else { planner.plan_fft_forward(n) };
    let (along, down) = (plan(w), plan(h));
    values.chunks_exact_mut(w).for_each(|row| along.process(row));
    for x in 0..w {
        let mut column: Vec<Complex64> = values[x..].iter().step_by(w).copied().collect();
        down.process(&mut column);
        column.into_iter().enumerate().for_each(|(y, v)| values[y * w + x] = v);
    }
    values
}

/// Standard normal values from a fixed stream.
fn noise(len: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut unit = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    };
    (0..len).map(|_| (-2.0 * unit().ln()).sqrt() * (2.0 * PI * unit()).cos()).collect()
}

fn size([h, w]: [usize; 2]) -> Size {
    Size::new(w as u32, h as u32)
}

fn crop_f64(plane: &[f64], from: [usize; 2], to: [usize; 2], grid: Grid) -> Vec<f64> {
    let mut out = vec![f64::NAN; to[0] * to[1]];
    Fourier::new(size(from), size(to), grid).unwrap().apply_f64(plane, &mut out).unwrap();
    out
}

/// Both f32 paths, as f64.
fn crop_f32(plane: &[f64], from: [usize; 2], to: [usize; 2], grid: Grid) -> [Vec<f64>; 2] {
    let plane: Vec<f32> = plane.iter().map(|v| *v as f32).collect();
    let mut crop = Fourier::new(size(from), size(to), grid).unwrap();
    let [mut folded, mut dense] = [(); 2].map(|()| vec![f32::NAN; to[0] * to[1]]);
    crop.apply(&plane, &mut folded).unwrap();
    crop.apply_dense(&plane, &mut dense).unwrap();
    [folded, dense].map(|v| v.into_iter().map(f64::from).collect())
}

#[track_caller]
fn close(got: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (at, (a, b)) in got.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance, "{what}: value {at} is {a}, not {b}");
    }
}

#[derive(Deserialize)]
struct Vector {
    grid: Grid,
    size: [usize; 2],
    band: [usize; 2],
    input: Vec<f64>,
    expected: Vec<f64>,
}

/// A vector of the papers' specification: square, papers' grid.
#[derive(Deserialize)]
struct PublishedVector {
    input_size: usize,
    band: usize,
    input: Vec<Vec<f64>>,
    expected: Vec<Vec<f64>>,
    row_matrix: Vec<Vec<f64>>,
}

fn vectors() -> Vec<Vector> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bands.json");
    let mut vectors: Vec<Vector> = serde_json::from_slice(&std::fs::read(own).unwrap()).unwrap();
    assert_eq!(vectors.len(), 18);
    let published = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/spec/vectors");
    if !published.is_dir() {
        println!("{} is absent: own vectors only", published.display());
        return vectors;
    }
    for name in ["8x8_to_4x4", "7x7_to_5x5", "7x7_to_4x4", "8x8_to_6x6"] {
        let text = std::fs::read(published.join(format!("lfc_{name}.json"))).unwrap();
        let v: PublishedVector = serde_json::from_slice(&text).unwrap();
        let rows = matrix(v.band as u32, v.input_size as u32, Grid::Paper).unwrap();
        close(&rows, &v.row_matrix.concat(), 1e-12, &format!("row matrix of {name}"));
        vectors.push(Vector {
            grid: Grid::Paper,
            size: [v.input_size; 2],
            band: [v.band; 2],
            input: v.input.concat(),
            expected: v.expected.concat(),
        });
    }
    vectors
}

#[test]
fn it_reproduces_the_vectors() {
    // 1
    for Vector { grid, size, band, input, expected } in vectors() {
        let what = format!("{grid:?} {size:?} -> {band:?}");
        close(&reference(&input, size, band, grid), &expected, 1e-12, &format!("{what}, reference"));
        close(&crop_f64(&input, size, band, grid), &expected, 1e-12, &format!("{what}, f64"));
        for got in crop_f32(&input, size, band, grid) {
            close(&got, &expected, 2e-5, &format!("{what}, f32"));
        }
    }
}

#[test]
fn it_equals_the_transform_for_every_parity_and_shape() {
    // 2
    let sizes = [224, 33, 27, 10].into_iter().flat_map(|n| {
        let bands: &[usize] = match n {
            224 => &[96, 128, 160, 192, 95, 97],
            33 => &[16, 17],
            27 => &[13, 26],
            _ => &[6, 5],
        };
        bands.iter().map(move |b| ([n; 2], [*b; 2]))
    });
    let mixed =
        [([10, 14], [6, 5]), ([10, 14], [5, 6]), ([9, 14], [4, 6]), ([224, 192], [96, 128]), ([50, 7], [33, 2])];
    for (seed, (from, to)) in sizes.chain(mixed).enumerate() {
        let plane = noise(from[0] * from[1], seed as u64 + 1);
        for grid in GRIDS {
            let expected = reference(&plane, from, to, grid);
            let what = format!("{grid:?} {from:?} -> {to:?}");
            close(&crop_f64(&plane, from, to, grid), &expected, 1e-12, &format!("{what}, f64"));
            for got in crop_f32(&plane, from, to, grid) {
                close(&got, &expected, 2e-5, &format!("{what}, f32"));
            }
        }
    }
}

#[test]
fn the_whole_band_is_the_identity() {
    // 3
    for from in [[8, 8], [7, 7], [12, 5], [1, 1]] {
        let plane = noise(from[0] * from[1], 3);
        for grid in GRIDS {
            close(&crop_f64(&plane, from, from, grid), &plane, 1e-12, &format!("{grid:?} {from:?}"));
        }
    }
}

#[test]
fn it_keeps_constants_and_the_mean() {
    // 4
    for grid in GRIDS {
        for (n, b) in [(224, 96), (224, 95), (33, 16), (9, 1)] {
            close(&crop_f64(&vec![0.7; n * n], [n; 2], [b; 2], grid), &vec![0.7; b * b], 1e-12, "constant");
            let plane = noise(n * n, 4);
            let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
            let (before, after) = (mean(&plane), mean(&crop_f64(&plane, [n; 2], [b; 2], grid)));
            assert!((before - after).abs() < 1e-12, "{grid:?} {n} -> {b}: mean {before} became {after}");
        }
    }
}

#[test]
fn a_cosine_inside_the_band_stays_the_same_cosine_and_one_outside_vanishes() {
    // 5
    let (n, b) = (48, 20);
    for grid in GRIDS {
        let offset = if grid == Grid::HalfPixel { 0.5 } else { 0.0 };
        let wave = |samples: usize, f: f64| -> Vec<f64> {
            let row = (0..samples).map(|i| (2.0 * PI * f * (i as f64 + offset) / samples as f64 + 0.3).cos());
            row.cycle().take(samples * samples).collect()
        };
        for f in 0..24 {
            let got = crop_f64(&wave(n, f as f64), [n; 2], [b; 2], grid);
            let expected = match f {
                0..10 => wave(b, f as f64),
                // Of the pair at the band's edge only -10 is kept: half the wave, whose samples alternate. Its phase of
                // 0.3 is met at the samples on the papers' grid and a quarter of a period further between the resizers'.
                10 => {
                    let first = if grid == Grid::Paper { 0.5 * 0.3f64.cos() } else { -0.5 * 0.3f64.sin() };
                    (0..b * b).map(|at| if at % b % 2 == 0 { first } else { -first }).collect()
                }
                _ => vec![0.0; b * b],
            };
            close(&got, &expected, 1e-12, &format!("{grid:?} frequency {f}"));
        }
    }
}

#[test]
fn it_commutes_with_normalisation_and_mixup_but_not_with_cutmix() {
    // 6
    let (from, to) = ([224; 2], [96; 2]);
    let [a, b] = [5, 6].map(|seed| noise(224 * 224, seed));
    let map = |plane: &[f64]| crop_f32(plane, from, to, Grid::Paper)[0].clone();
    let zip = |a: &[f64], b: &[f64], f: &dyn Fn(f64, f64) -> f64| -> Vec<f64> {
        a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect()
    };
    let normalise = |v: &[f64]| -> Vec<f64> { v.iter().map(|v| (v - 0.485) / 0.229).collect() };
    close(&map(&normalise(&a)), &normalise(&map(&a)), 4e-6, "normalisation");
    let mix = |a: f64, b: f64| 0.3 * a + 0.7 * b;
    close(&map(&zip(&a, &b, &mix)), &zip(&map(&a), &map(&b), &mix), 1e-6, "mixup");

    // A box of half the width: the same share on both grids, 112 of 224 and 48 of 96.
    let paste = |a: &[f64], b: &[f64], side: usize| -> Vec<f64> {
        (0..side * side).map(|at| if at % side < side / 2 { a[at] } else { b[at] }).collect()
    };
    let (first, second) = (map(&paste(&a, &b, 224)), paste(&map(&a), &map(&b), 96));
    let largest = first.iter().zip(&second).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(largest > 0.1, "CutMix should differ at the seam, but the largest difference is {largest}");
}

#[test]
fn white_noise_comes_out_with_gain_b_over_n() {
    // 7
    let plane = noise(224 * 224, 7);
    let deviation = |v: &[f64]| (v.iter().map(|v| v * v).sum::<f64>() / v.len() as f64).sqrt();
    for b in [96, 160, 192] {
        let gain = deviation(&crop_f64(&plane, [224; 2], [b; 2], Grid::Paper)) / deviation(&plane);
        assert!((gain * 224.0 / b as f64 - 1.0).abs() < 0.02, "band {b}: gain {gain}");
    }
}

#[test]
fn overshoot_is_not_clamped() {
    // 8
    let plane: Vec<f32> = (0..224 * 224).map(|at| if at % 224 < 112 { 0.0 } else { 1.0 }).collect();
    let out = fourier(&plane, Size::square(224), Size::square(96), Grid::Paper).unwrap();
    let (low, high) = out.iter().fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
    assert!(low < -0.05 && high > 1.05, "{low}..{high}");
}

#[test]
fn an_odd_band_is_honoured_and_an_impossible_one_refused() {
    // 9
    let out = fourier(&vec![0.0; 224 * 224], Size::square(224), Size::square(95), Grid::Paper).unwrap();
    assert_eq!(out.len(), 95 * 95);
    for band in [0, 225] {
        let text = Fourier::square(224, band, Grid::Paper).unwrap_err().to_string();
        assert!(text.contains(&band.to_string()) && text.contains("224"), "{text}");
        assert!(matrix(band, 224, Grid::HalfPixel).is_err());
    }
    let mut crop = Fourier::square(8, 4, Grid::Paper).unwrap();
    for (planes, out) in [(64, 15), (63, 16), (128, 16)] {
        let text = crop.apply(&vec![0.0; planes], &mut vec![0.0; out]).unwrap_err().to_string();
        assert!(text.contains(&planes.to_string()) && text.contains(&out.to_string()), "{text}");
        assert!(crop.apply_dense(&vec![0.0; planes], &mut vec![0.0; out]).is_err());
        assert!(crop.apply_f64(&vec![0.0; planes], &mut vec![0.0; out]).is_err());
    }
}

#[test]
fn the_lanczos_band_is_made_of_bytes_and_clamped() {
    // 10; agreement with Pillow is in `tests/resample.rs`.
    let pixels: Vec<u8> = (0..224 * 224).flat_map(|at| [if at % 224 < 112 { 0 } else { 255 }; 3]).collect();
    let out = lanczos(View::packed(&pixels, Size::square(224)), 96).unwrap();
    assert_eq!(out.size, Size::square(96));
    assert!(out.pixels.contains(&0) && out.pixels.contains(&255), "the step overshoots on both sides and is clamped");
}

#[test]
fn planes_that_follow_one_another_are_cropped_one_by_one() {
    let planes: Vec<f32> = noise(3 * 24 * 20, 11).into_iter().map(|v| v as f32).collect();
    let (from, to) = (Size::new(20, 24), Size::new(10, 16));
    let mut together = vec![0.0; 3 * 160];
    Fourier::new(from, to, Grid::Paper).unwrap().apply(&planes, &mut together).unwrap();
    for (plane, expected) in planes.chunks(480).zip(together.chunks(160)) {
        assert_eq!(fourier(plane, from, to, Grid::Paper).unwrap(), expected);
    }
}

#[test]
fn the_two_grids_differ_by_the_shift_between_them() {
    // A smooth wave on the papers' grid, delayed by (N/B - 1)/2 input samples, is the wave on the resizers' grid.
    let (n, b) = (224usize, 96usize);
    let shift = (n as f64 / b as f64 - 1.0) / 2.0;
    let wave = |offset: f64| -> Vec<f64> {
        let row = (0..n).map(|i| (2.0 * PI * 5.0 * (i as f64 + offset) / n as f64).sin());
        row.cycle().take(n * n).collect()
    };
    let half_pixel = crop_f64(&wave(0.0), [n; 2], [b; 2], Grid::HalfPixel);
    close(&half_pixel, &crop_f64(&wave(shift), [n; 2], [b; 2], Grid::Paper), 1e-12, "shifted");
}
