//! The first images of a stage, as the model sees them.

use super::super::chart::sheet::{Row, Sheet, Tile};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::ops::Rgb8;
use crate::shape::Size;
use image::codecs::png::CompressionType;
use std::path::Path;

/// Rows and columns of pictures.
const ROWS: usize = 2;
const COLUMNS: usize = 8;
/// Small pictures are enlarged by a whole number to about this side.
const TILE: u32 = 112;

/// What a sheet is drawn from, taken out of a batch: the batch itself goes on to the model.
pub(super) struct Images {
    pub(super) step: u64,
    stage: usize,
    /// Whether a supernet is trained.
    search: bool,
    /// `(N, 3, B, B)`, normalised.
    pixels: Vec<f32>,
    side: usize,
    captions: Vec<String>,
    title: String,
    subtitle: String,
    /// Beside the first row.
    label: Vec<String>,
}

impl Images {
    /// The first images of `batch`, which is the `first` of its stage or is not; `None` if it has none. `magnitude` is
    /// RandAugment's, where there is one.
    pub(super) fn of(
        batch: &Batch,
        step: u64,
        first: bool,
        classes: &[String],
        magnitude: Option<f64>,
    ) -> Option<Self> {
        let side = batch.images.shape()[3];
        let shown = batch.len().min(ROWS * COLUMNS);
        if shown == 0 {
            return None;
        }
        let stage = &batch.stage;
        let caption = |&label: &u32| {
            let name = classes.get(label as usize).cloned().unwrap_or_else(|| label.to_string());
            // About as long as a tile is wide.
            match name.char_indices().nth(17) {
                Some((end, _)) => format!("{}..", &name[..end]),
                None => name,
            }
        };
        Some(Self {
            step,
            stage: stage.index,
            search: stage.growth.search,
            pixels: batch.images.as_slice()[..shown * 3 * side * side].to_vec(),
            side,
            captions: batch.labels[..shown].iter().map(caption).collect(),
            title: {
                let search = if stage.growth.search { ", search" } else { "" };
                match first {
                    true => format!("stage {}{search}: its first images", stage.index + 1),
                    false => format!("stage {}{search}: images of step {step}", stage.index + 1),
                }
            },
            subtitle: "as the model sees them, normalisation undone".to_owned(),
            label: [
                Some(format!("band {}", stage.band)),
                (stage.band != stage.base).then(|| format!("of {} pixels", stage.base)),
                magnitude.map(|m| format!("magnitude {m:.1}")),
                batch.mixing.is_some().then(|| "mixed".to_owned()),
                Some(format!("step {step}")),
            ]
            .into_iter()
            .flatten()
            .collect(),
        })
    }

    /// What the sheet's file is called.
    pub(super) fn name(&self) -> String {
        format!("stage-{:02}{}.png", self.stage + 1, if self.search { "-search" } else { "" })
    }

    /// Draws them as a PNG.
    pub(super) fn write_png(&self, mean: [f32; 3], std: [f32; 3], path: &Path) -> Result<()> {
        let side = self.side as u32;
        let pictures = self.pixels.chunks_exact(3 * self.side * self.side).map(|image| pixels(image, side, mean, std));
        let mut tiles: Vec<Tile> =
            pictures.zip(&self.captions).map(|(picture, caption)| Tile::new(picture, caption.clone())).collect();
        let mut rows = Vec::new();
        while !tiles.is_empty() {
            let rest = tiles.split_off(tiles.len().min(COLUMNS));
            let label = if rows.is_empty() { self.label.clone() } else { Vec::new() };
            rows.push(Row { label, tiles: std::mem::replace(&mut tiles, rest) });
        }
        let tile = side * (TILE / side).max(1);
        let sheet =
            Sheet { title: self.title.clone(), subtitle: self.subtitle.clone(), rows, tile, ..Sheet::default() };
        // Drawn while the model trains: time counts for more than bytes. Whole before it has its name: a sheet that is there
        // is not drawn again.
        let new = path.with_extension("png.new");
        std::fs::write(&new, sheet.png_with(CompressionType::Fast)?).map_err(Error::io(&new))?;
        std::fs::rename(&new, path).map_err(Error::io(path))
    }
}

/// Normalised planes back to 8-bit pixels; what lies beyond black and white is clamped.
pub(crate) fn pixels(image: &[f32], side: u32, mean: [f32; 3], std: [f32; 3]) -> Rgb8 {
    let plane = image.len() / 3;
    let byte = |at: usize| {
        let c = at % 3;
        let value = image[c * plane + at / 3] * std[c] + mean[c];
        (value * 255.0).round().clamp(0.0, 255.0) as u8
    };
    Rgb8 { pixels: (0..image.len()).map(byte).collect(), size: Size::square(side) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalisation_is_undone() {
        let (mean, std) = ([0.5, 0.4, 0.3], [0.2, 0.25, 0.5]);
        let bytes = [10u8, 200, 30, 40, 50, 60, 255, 0, 128, 1, 2, 3];
        let planes: Vec<f32> = (0..3)
            .flat_map(|c| (0..4).map(move |i| (f32::from(bytes[3 * i + c]) / 255.0 - mean[c]) / std[c]))
            .collect();
        assert_eq!(pixels(&planes, 2, mean, std).pixels, bytes);
        assert_eq!(pixels(&[9.0, -9.0, 0.0], 1, mean, std).pixels, [255, 0, 77]);
    }
}
