//! Weights and matrices in words, as the kernels read them.

use crate::band::fourier::{checker, matrix};
use crate::error::Result;
use crate::ops::resize::fixed;
use crate::ops::weights::{Axis, Bands};
use crate::shape::{Filter, Grid};
use std::collections::HashMap;
use std::sync::Arc;

/// Rows of a tile of `shaders/resample.wgsl`.
const TILE: usize = 32;

/// A weight as the kernels take it: an integer of 2^-22, or f32.
fn word(weight: f64, integer: bool) -> u32 {
    if integer { fixed(weight) as u32 } else { (weight as f32).to_bits() }
}

fn longest(bands: &Bands) -> usize {
    (0..bands.rows()).map(|i| bands.row(i).1.len()).max().unwrap_or(0)
}

/// Start and length of each output's run.
fn runs(bands: &Bands, words: &mut Vec<u32>) {
    words.extend((0..bands.rows()).flat_map(|i| {
        let (start, weights) = bands.row(i);
        [start as u32, weights.len() as u32]
    }));
}

/// The weights that combine rows: the longest run's length; for each tile the first row that it reads and one more than the last; the
/// runs; the weights, a run after the other, each as long as the longest.
pub(super) fn row_table(bands: &Bands, integer: bool, words: &mut Vec<u32>) {
    let longest = longest(bands);
    words.push(longest as u32);
    for first in (0..bands.rows()).step_by(TILE) {
        // Zeros at the ends of a run are left out, so runs of neighbours need not start and end in order.
        let rows = || (first..(first + TILE).min(bands.rows())).map(|i| bands.row(i));
        words.push(rows().map(|(start, _)| start).min().unwrap_or(0) as u32);
        words.push(rows().map(|(start, weights)| start + weights.len()).max().unwrap_or(0) as u32);
    }
    runs(bands, words);
    for i in 0..bands.rows() {
        let next = words.len() + longest;
        words.extend(bands.row(i).1.iter().map(|w| word(*w, integer)));
        words.resize(next, 0);
    }
}

/// The weights that combine columns: the longest run's length; the runs; the first weight of each column, then the second of each,
/// and so on, since neighbouring threads make neighbouring columns.
pub(super) fn column_table(bands: &Bands, integer: bool, words: &mut Vec<u32>) {
    let longest = longest(bands);
    words.push(longest as u32);
    runs(bands, words);
    let weight = |i: usize, k: usize| bands.row(i).1.get(k).map_or(0, |w| word(*w, integer));
    words.extend((0..longest).flat_map(|k| (0..bands.rows()).map(move |i| weight(i, k))));
}

/// What a table is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Direction {
    Rows,
    Columns,
}

/// A table that does not depend on a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// The Lanczos band of a whole axis.
    Lanczos { direction: Direction, size: u32, band: u32, integer: bool },
    /// The Fourier band: matrix, and behind it the vector of the checkerboard over the axis' length, for an even band.
    Fourier { direction: Direction, size: u32, band: u32, grid: Grid },
}

impl Key {
    fn words(self) -> Result<Vec<u32>> {
        let mut words = Vec::new();
        match self {
            Self::Lanczos { direction, size, band, integer } => {
                let mut bands = Bands::default();
                bands.resample(Filter::Lanczos3, Axis::whole(size as usize, band as usize));
                match direction {
                    Direction::Rows => row_table(&bands, integer, &mut words),
                    Direction::Columns => column_table(&bands, integer, &mut words),
                }
            }
            Self::Fourier { direction, size, band, grid } => {
                let matrix = matrix(band, size, grid)?;
                let (b, n) = (band as usize, size as usize);
                let bits = |value: f64| (value as f32).to_bits();
                match direction {
                    Direction::Rows => words.extend(matrix.iter().map(|v| bits(*v))),
                    Direction::Columns => {
                        words.extend(
                            (0..n).flat_map(|s| (0..b).map(move |i| (i, s))).map(|(i, s)| bits(matrix[i * n + s])),
                        );
                    }
                }
                let wave = checker(band, size, grid).unwrap_or_default();
                words.extend(wave.iter().map(|v| bits(v / f64::from(size))));
            }
        }
        Ok(words)
    }
}

/// The tables of all stages that were met. One for an engine.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    made: HashMap<Key, Arc<[u32]>>,
}

impl Tables {
    pub(super) fn get(&mut self, key: Key) -> Result<Arc<[u32]>> {
        if let Some(words) = self.made.get(&key) {
            return Ok(Arc::clone(words));
        }
        let words: Arc<[u32]> = key.words()?.into();
        self.made.insert(key, Arc::clone(&words));
        Ok(words)
    }
}
