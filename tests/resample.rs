//! The 8-bit resize, the Lanczos band crop and an evaluation sample's whole path against Pillow's output (`tests/data/README.md`).

use bandfeed::decode::{Decoder, Limits};
use bandfeed::ops::{Renderer, Rgb8, View, resize};
use bandfeed::schedule::Stage;
use bandfeed::{BandCrop, Filter, Recipe, Size, band, plan};
use serde::Deserialize;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Case {
    file: String,
    filter: Filter,
    area: [f64; 4],
    grid: [u32; 2],
    window: [u32; 4],
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn open(name: &str) -> Rgb8 {
    let image = image::open(data(name)).unwrap().into_rgb8();
    Rgb8 { size: Size::new(image.width(), image.height()), pixels: image.into_raw() }
}

/// Largest difference, and where it is.
fn largest_difference(got: &Rgb8, expected: &Rgb8) -> (u8, usize) {
    assert_eq!(got.size, expected.size);
    assert_eq!(got.pixels.len(), expected.pixels.len());
    let differences = got.pixels.iter().zip(&expected.pixels).map(|(a, b)| a.abs_diff(*b));
    differences.enumerate().map(|(at, d)| (d, at)).max_by_key(|(d, _)| *d).unwrap()
}

#[test]
fn every_filter_equals_pillow_bit_for_bit() {
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(data("resample.json")).unwrap()).unwrap();
    assert_eq!(cases.len(), 27);
    let scene = open("scene.png");
    for Case { file, filter, area: [x, y, width, height], grid, window } in cases {
        // Resize to the grid and crop a window is a resize of that window's share of the box.
        let (sx, sy) = (width / f64::from(grid[0]), height / f64::from(grid[1]));
        let [left, top, w, h] = window.map(f64::from);
        let area = [x + left * sx, y + top * sy, w * sx, h * sy];
        let got = resize(scene.view(), area, Size::new(window[2], window[3]), filter).unwrap();
        let expected = open(&file);
        let (difference, at) = largest_difference(&got, &expected);
        assert!(difference == 0, "{file}: byte {at} is {}, Pillow has {}", got.pixels[at], expected.pixels[at]);
    }
}

#[test]
fn a_jpeg_file_becomes_the_evaluation_crop_that_pillow_makes_of_it() {
    let bytes = std::fs::read(data("photo.jpg")).unwrap();
    let image = Decoder::new(Limits::default()).unwrap().decode(&bytes).unwrap();
    assert_eq!((image.size, &image.warning), (Size::new(183, 141), &None));
    // The second is the band of a Lanczos stage, which evaluation resizes straight to.
    for (side, base) in [(96, 96), (48, 96)] {
        let recipe = Recipe::default();
        let plan = plan::eval(&Stage::fixed(base, side, BandCrop::Lanczos, 1), &recipe, image.size).unwrap();
        assert!(!plan.fuse && plan.band.is_none() && plan.output() == side, "{plan:?}");
        let mut planes = vec![f32::NAN; 3 * (side * side) as usize];
        let view = View::packed(&image.data, image.size);
        let area = [0.0, 0.0, f64::from(image.size.width), f64::from(image.size.height)];
        Renderer::new().render(view, area, &plan, &mut planes).unwrap();
        let expected = open(&format!("photo_eval{side}.png"));
        assert_eq!(expected.size, Size::square(side));
        let mut largest = 0.0f32;
        for (c, plane) in planes.chunks((side * side) as usize).enumerate() {
            for (got, byte) in plane.iter().zip(expected.pixels[c..].iter().step_by(3)) {
                let grey = (got * recipe.std[c] + recipe.mean[c]) * 255.0;
                assert!(grey.is_finite());
                largest = largest.max((grey - f32::from(*byte)).abs());
            }
        }
        println!("evaluation at {side}: largest difference {largest} grey levels");
        assert!(largest <= 1.0, "evaluation at {side}: {largest} grey levels");
    }
}

#[test]
fn the_comparison_sees_a_difference_of_two() {
    let scene = open("scene.png");
    let mut other = scene.clone();
    other.pixels[1000] = other.pixels[1000].wrapping_add(2);
    assert_eq!(largest_difference(&scene, &other), (2, 1000));
}

#[test]
fn the_lanczos_band_crop_equals_pillow_bit_for_bit() {
    let base = open("scene_base48.png");
    for side in [20, 33] {
        let (difference, at) = largest_difference(
            &band::lanczos(base.view(), side).unwrap(),
            &open(&format!("scene_base48_band{side}.png")),
        );
        assert!(difference == 0, "band {side}: {difference} at byte {at}");
    }
}

#[test]
fn a_resize_to_the_same_size_changes_nothing() {
    let scene = open("scene.png");
    for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos3] {
        assert_eq!(resize(scene.view(), [0.0, 0.0, 61.0, 47.0], scene.size, filter).unwrap(), scene);
    }
}

#[test]
fn gaps_between_rows_are_not_read() {
    let scene = open("scene.png");
    for gap in [1, 3, 64] {
        let row = 3 * 61;
        let mut padded = Vec::new();
        for pixels in scene.pixels.chunks(row) {
            padded.extend_from_slice(pixels);
            padded.extend(std::iter::repeat_n(0xee, gap));
        }
        padded.truncate(padded.len() - gap);
        let view = View { pixels: &padded, stride: row + gap, size: scene.size };
        let area = [2.5, 1.0, 50.0, 44.5];
        let to = Size::new(31, 29);
        let expected = resize(scene.view(), area, to, Filter::Bicubic).unwrap();
        assert_eq!(resize(view, area, to, Filter::Bicubic).unwrap(), expected, "gap of {gap} bytes");
    }
}

#[test]
fn one_pixel_one_row_and_one_column_are_resized() {
    for (width, height) in [(1, 1), (1, 9), (9, 1)] {
        let pixels = vec![77; 3 * width * height];
        let size = Size::new(width as u32, height as u32);
        for to in [Size::new(1, 1), Size::new(5, 3), Size::new(1, 40)] {
            for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos3] {
                let area = [0.0, 0.0, width as f64, height as f64];
                let out = resize(View::packed(&pixels, size), area, to, filter).unwrap();
                assert!(out.pixels.len() as u64 == 3 * to.pixels() && out.pixels.iter().all(|v| *v == 77));
            }
        }
    }
}

#[test]
fn what_cannot_be_resized_is_refused_with_the_numbers() {
    let scene = open("scene.png");
    let text = |area, to| resize(scene.view(), area, to, Filter::Bilinear).unwrap_err().to_string();
    assert!(text([0.0, 0.0, 62.0, 47.0], Size::new(3, 3)).contains("62x47 at (0, 0) does not lie in 61x47"));
    assert!(text([-1.0, 0.0, 5.0, 5.0], Size::new(3, 3)).contains("(-1, 0)"));
    assert!(text([0.0, 0.0, 0.0, 5.0], Size::new(3, 3)).contains("0x5"));
    assert!(text([f64::NAN, 0.0, 5.0, 5.0], Size::new(3, 3)).contains("NaN"));
    assert!(text([0.0, 0.0, 5.0, 5.0], Size::new(0, 3)).contains("0x3"));
    assert!(band::lanczos(scene.view(), 0).is_err());
    assert!(resize(View::packed(&[], Size::new(0, 5)), [0.0; 4], Size::new(1, 1), Filter::Bilinear).is_err());
}
