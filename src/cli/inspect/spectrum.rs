//! The spectrum of an image as a small picture: which frequencies there are, and which of them a band keeps.

use super::marks::{MARK, moved, outline};
use crate::cli::chart::sheet::scaled;
use crate::error::Result;
use crate::ops::Rgb8;
use crate::shape::{Rect, Size};
use rustfft::FftPlanner;
use rustfft::num_complex::Complex;

/// Amplitudes from black to white of the colour scale, as powers of ten, of values in `0..=1`: the noise of 8 bits is a little
/// below, a full swing above.
const DARKEST: f64 = -5.0;
const BRIGHTEST: f64 = -1.5;

/// Where there is no frequency at all.
const NOTHING: [u8; 3] = [236, 236, 236];

/// The colour scale at equal steps: of lightness rising throughout, to be read without colours as well (after viridis).
const SCALE: [[u8; 3]; 6] =
    [[40, 0, 60], [64, 54, 120], [42, 108, 140], [36, 160, 130], [140, 208, 70], [253, 240, 150]];

/// Share of each frequency in an `n` by `n` plane: `|X| / n²`, `(n, n)` row-major, frequency 0 at `(n / 2, n / 2)`.
///
/// A cosine of amplitude a has a/2 at its frequency and at its negative. The Fourier band crop leaves these values as they are.
pub(super) fn amplitudes(plane: &[f32], n: usize) -> Vec<f64> {
    assert_eq!(plane.len(), n * n, "the plane is a square of side {n}");
    let fft = FftPlanner::<f64>::new().plan_fft_forward(n);
    let mut values: Vec<Complex<f64>> = plane.iter().map(|&v| Complex::new(v.into(), 0.0)).collect();
    fft.process(&mut values);
    let mut columns: Vec<Complex<f64>> = (0..n * n).map(|at| values[at % n * n + at / n]).collect();
    fft.process(&mut columns);
    let scale = ((n * n) as f64).recip();
    // The value at index i is frequency i - n / 2.
    let place = |index: usize| (index + n - n / 2) % n;
    (0..n * n).map(|at| columns[place(at % n) * n + place(at / n)].norm() * scale).collect()
}

/// The frequencies that a band keeps, in a spectrum of side `base`: `-⌊B/2⌋ ..= ⌈B/2⌉ - 1` each way.
pub(super) fn kept(base: u32, band: u32) -> Rect {
    let start = base / 2 - band / 2;
    Rect { x: start, y: start, width: band, height: band }
}

/// The spectrum of an `n` by `n` plane in the frame of one of side `base`, `side` pixels wide, on a logarithmic scale. What the
/// band keeps is marked where it is given.
///
/// # Errors
/// None where `n <= base` and neither is 0.
pub(super) fn thumbnail(plane: &[f32], n: u32, base: u32, mark: Option<u32>, side: u32) -> Result<Rgb8> {
    let mut picture = Rgb8 { pixels: NOTHING.repeat((base * base) as usize), size: Size::square(base) };
    let place = kept(base, n);
    for (at, amplitude) in amplitudes(plane, n as usize).into_iter().enumerate() {
        let (x, y) = (place.x as usize + at % n as usize, place.y as usize + at / n as usize);
        let to = 3 * (y * base as usize + x);
        picture.pixels[to..to + 3].copy_from_slice(&color(amplitude));
    }
    let mut small = scaled(&picture, Size::square(side))?;
    if let Some(band) = mark {
        let square = moved(kept(base, band), picture.size, small.size);
        outline(&mut small, square, 1, MARK);
    }
    Ok(small)
}

fn color(amplitude: f64) -> [u8; 3] {
    let power = amplitude.max(1e-12).log10();
    let place = ((power - DARKEST) / (BRIGHTEST - DARKEST)).clamp(0.0, 1.0) * (SCALE.len() - 1) as f64;
    let low = (place as usize).min(SCALE.len() - 2);
    let part = place - low as f64;
    std::array::from_fn(|c| {
        let (a, b) = (f64::from(SCALE[low][c]), f64::from(SCALE[low + 1][c]));
        (a + part * (b - a)).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    /// A cosine of amplitude 0.4 and these cycles across and down, about 0.5.
    fn wave(n: usize, across: f64, down: f64) -> Vec<f32> {
        let phase = |at: usize| TAU * (across * (at % n) as f64 + down * (at / n) as f64) / n as f64;
        (0..n * n).map(|at| (0.5 + 0.4 * phase(at).cos()) as f32).collect()
    }

    #[test]
    fn a_cosine_has_two_peaks_at_its_frequency_and_the_mean_is_in_the_middle() {
        for n in [48usize, 45] {
            let found = amplitudes(&wave(n, 7.0, -3.0), n);
            let at = |across: i64, down: i64| {
                let index = |k: i64| (k + (n / 2) as i64) as usize;
                found[index(down) * n + index(across)]
            };
            for (across, down, amplitude) in [(0, 0, 0.5), (7, -3, 0.2), (-7, 3, 0.2), (7, 3, 0.0), (3, -7, 0.0)] {
                assert!((at(across, down) - amplitude).abs() < 1e-6, "{n}: {across} {down}: {}", at(across, down));
            }
            let rest: f64 = found.iter().sum::<f64>() - 0.9;
            assert!(rest.abs() < 1e-3, "{n}: {rest}");
        }
    }

    #[test]
    fn the_kept_square_holds_the_band_s_frequencies_and_the_crop_leaves_their_amplitudes() {
        assert_eq!(kept(224, 96), Rect { x: 64, y: 64, width: 96, height: 96 });
        assert_eq!(kept(224, 224), Rect::whole(Size::square(224)));
        let (n, band) = (64u32, 32u32);
        let mut plane = wave(64, 5.0, 11.0);
        for (v, high) in plane.iter_mut().zip(wave(64, 20.0, 2.0)) {
            *v += high;
        }
        let cropped = crate::band::fourier(&plane, Size::square(n), Size::square(band), Default::default()).unwrap();
        let (before, after) = (amplitudes(&plane, 64), amplitudes(&cropped, 32));
        let square = kept(n, band);
        for y in 0..band {
            for x in 0..band {
                let (a, b) = (before[((square.y + y) * n + square.x + x) as usize], after[(y * band + x) as usize]);
                assert!((a - b).abs() < 1e-6, "{x} {y}: {a} {b}");
            }
        }
    }

    #[test]
    fn the_thumbnail_is_bright_at_the_frequency_and_empty_outside_of_the_band() {
        let light = |pixel: &[u8]| pixel.iter().map(|v| u32::from(*v)).sum::<u32>();
        let whole = thumbnail(&wave(64, 10.0, 4.0), 64, 64, Some(32), 64).unwrap();
        let pixel = |picture: &Rgb8, x: u32, y: u32| picture.pixels[3 * (y * 64 + x) as usize..][..3].to_vec();
        assert!(light(&pixel(&whole, 42, 36)) > 500 && light(&pixel(&whole, 42, 28)) < 150);
        assert_eq!((pixel(&whole, 16, 16), pixel(&whole, 47, 30)), (MARK.to_vec(), MARK.to_vec()));
        assert!(pixel(&whole, 48, 30) != MARK && pixel(&whole, 15, 30) != MARK);
        let band = thumbnail(&wave(32, 10.0, 4.0), 32, 64, None, 64).unwrap();
        assert_eq!(pixel(&band, 15, 30), NOTHING);
        assert!(light(&pixel(&band, 42, 36)) > 500 && pixel(&band, 16, 16) != NOTHING);
    }
}
