//! Contact sheets: rows of small pictures with captions, as a PNG.

use super::canvas::{Align, Canvas, Format, register_font};
use super::draw::{INK, SOFT};
use crate::error::{Error, Result};
use crate::ops::{Rgb8, resize};
use crate::shape::{Filter, Size};
use image::ImageEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use plotters::prelude::*;
use std::path::Path;

/// A table of pictures.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sheet {
    /// First line.
    pub(crate) title: String,
    /// Second line, smaller; may be empty.
    pub(crate) subtitle: String,
    /// Over the columns; may be empty.
    pub(crate) columns: Vec<String>,
    /// From top to bottom.
    pub(crate) rows: Vec<Row>,
    /// Side of a tile in pixels. Pictures are enlarged by repeating pixels and reduced with antialiasing.
    pub(crate) tile: u32,
}

/// One row of a sheet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    /// At its left, line by line.
    pub(crate) label: Vec<String>,
    /// Pictures, each with a caption that may be empty.
    pub(crate) tiles: Vec<(Rgb8, String)>,
}

const MARGIN: u32 = 16;
const TITLE: f64 = 22.0;
const LABEL: f64 = 14.0;
const CAPTION: f64 = 12.0;
/// Title and subtitle, and the columns' names.
const HEAD: u32 = 62;
const COLUMN_HEAD: u32 = 22;
/// Under a tile that has a caption.
const CAPTION_ROW: u32 = 18;
const GAP: u32 = 6;
const LABEL_COLUMN: u32 = 150;

/// Words are drawn this many times as large and reduced: letters stand at whole pixels of the large picture only.
const FINE: u32 = 3;

/// Reduces `words` by [`FINE`] and lays it over `pixels`, white being nothing.
fn darken(pixels: &mut [u8], words: &[u8], width: usize) {
    let fine = FINE as usize;
    for (at, pixel) in pixels.iter_mut().enumerate() {
        let (x, y, c) = (at / 3 % width, at / 3 / width, at % 3);
        let rows = (0..fine).map(|dy| 3 * ((y * fine + dy) * width * fine + x * fine) + c);
        let sum: u32 = rows.flat_map(|row| (0..fine).map(move |dx| row + 3 * dx)).map(|at| u32::from(words[at])).sum();
        *pixel = (*pixel).min((sum / (FINE * FINE)) as u8);
    }
}

impl Sheet {
    /// Draws it.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub(crate) fn write_png(&self, path: &Path) -> Result<()> {
        // A page of photos is large: half a second more makes it a fifth smaller.
        self.write_png_with(CompressionType::Best, path)
    }

    /// The same, compressed as little or as much as is asked.
    ///
    /// # Errors
    /// As [`Sheet::write_png`].
    pub(crate) fn write_png_with(&self, effort: CompressionType, path: &Path) -> Result<()> {
        register_font();
        let captions = self.rows.iter().flat_map(|row| &row.tiles).any(|(_, caption)| !caption.is_empty());
        let row_height = self.tile + if captions { CAPTION_ROW } else { 0 } + GAP;
        let columns = self.rows.iter().map(|row| row.tiles.len()).max().unwrap_or(0) as u32;
        let pitch = self.pitch();
        let top = MARGIN + HEAD + if self.columns.is_empty() { 0 } else { COLUMN_HEAD };
        let width = (2 * MARGIN + LABEL_COLUMN + columns * pitch).max(720);
        let height = top + self.rows.len() as u32 * row_height + MARGIN;
        let mut pixels = vec![255u8; 3 * (width * height) as usize];
        for (y, row) in self.rows.iter().enumerate() {
            for (x, (picture, _)) in row.tiles.iter().enumerate() {
                let left = MARGIN + LABEL_COLUMN + x as u32 * pitch + (pitch - GAP - self.tile) / 2;
                let top = top + y as u32 * row_height;
                self.paste(picture, &mut pixels, width as usize, (left as usize, top as usize))?;
            }
        }
        let refused = |error: &dyn std::fmt::Display| Error::Io {
            path: path.to_owned(),
            source: std::io::Error::other(error.to_string()),
        };
        let mut words = vec![255u8; 3 * (FINE * width * FINE * height) as usize];
        {
            let area = BitMapBackend::with_buffer(&mut words, (FINE * width, FINE * height)).into_drawing_area();
            self.write_words(&Canvas { area: &area, scale: FINE.into(), format: Format::Bitmap }, top, row_height)
                .map_err(|error| refused(&error))?;
            area.present().map_err(|error| refused(&error))?;
        }
        darken(&mut pixels, &words, width as usize);
        let file = std::io::BufWriter::new(std::fs::File::create(path).map_err(Error::io(path))?);
        PngEncoder::new_with_quality(file, effort, FilterType::Adaptive)
            .write_image(&pixels, width, height, image::ExtendedColorType::Rgb8)
            .map_err(|error| refused(&error))
    }

    /// From one tile to the next: as wide as a tile, or as the longest text over or under one.
    fn pitch(&self) -> u32 {
        /// Mean width of a letter of the font, in parts of its size.
        const LETTER: f64 = 0.54;
        let width = |text: &String, size: f64| (text.chars().count() as f64 * size * LETTER) as u32;
        let captions = self.rows.iter().flat_map(|row| &row.tiles).map(|(_, caption)| width(caption, CAPTION));
        let heads = self.columns.iter().map(|name| width(name, LABEL));
        captions.chain(heads).max().unwrap_or(0).max(self.tile) + GAP
    }

    /// `picture` with its longer side as long as the tile, in the tile's middle.
    fn paste(&self, picture: &Rgb8, pixels: &mut [u8], width: usize, (left, top): (usize, usize)) -> Result<()> {
        let (w, h, longer) = (picture.size.width, picture.size.height, picture.size.width.max(picture.size.height));
        let shown = Size::new((w * self.tile / longer).max(1), (h * self.tile / longer).max(1));
        let small;
        let picture = if longer > self.tile {
            let whole = [0.0, 0.0, f64::from(w), f64::from(h)];
            small = resize(picture.view(), whole, shown, Filter::Bilinear)?;
            &small
        } else {
            picture
        };
        let (w, h) = (picture.size.width as usize, picture.size.height as usize);
        let (shown_w, shown_h, tile) = (shown.width as usize, shown.height as usize, self.tile as usize);
        let (left, top) = (left + (tile - shown_w) / 2, top + (tile - shown_h) / 2);
        for y in 0..shown_h {
            for x in 0..shown_w {
                let from = 3 * ((y * h / shown_h) * w + x * w / shown_w);
                let to = 3 * ((top + y) * width + left + x);
                pixels[to..to + 3].copy_from_slice(&picture.pixels[from..from + 3]);
            }
        }
        Ok(())
    }

    fn write_words<DB: DrawingBackend>(
        &self,
        canvas: &Canvas<'_, DB>,
        top: u32,
        row_height: u32,
    ) -> super::canvas::Drawn<DB> {
        let margin = f64::from(MARGIN);
        canvas.text(&self.title, (margin, margin + 14.0), TITLE, Align::Left, INK)?;
        canvas.text(&self.subtitle, (margin, margin + 42.0), LABEL, Align::Left, SOFT)?;
        let pitch = self.pitch();
        let middle = |x: usize| f64::from(MARGIN + LABEL_COLUMN + x as u32 * pitch + (pitch - GAP) / 2);
        for (x, name) in self.columns.iter().enumerate() {
            canvas.text(name, (middle(x), f64::from(top) - 12.0), LABEL, Align::Center, SOFT)?;
        }
        for (y, row) in self.rows.iter().enumerate() {
            let start = f64::from(top + y as u32 * row_height);
            let first = start + f64::from(self.tile) / 2.0 - 9.0 * (row.label.len() as f64 - 1.0);
            for (line, text) in row.label.iter().enumerate() {
                let color = if line == 0 { INK } else { SOFT };
                canvas.text(text, (margin, first + 18.0 * line as f64), LABEL, Align::Left, color)?;
            }
            for (x, (_, caption)) in row.tiles.iter().enumerate() {
                let at = (middle(x), start + f64::from(self.tile) + 9.0);
                canvas.text(caption, at, CAPTION, Align::Center, SOFT)?;
            }
        }
        Ok(())
    }
}
