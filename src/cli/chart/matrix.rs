//! A square of counts as a picture: which class was taken for which.

use super::canvas::{Align, Canvas, Drawn, Format, register_font};
use super::draw::{INK, SOFT};
use super::sheet::{FINE, darken, encoded};
use crate::error::{Error, Result};
use crate::shape::Size;
use image::codecs::png::CompressionType;
use plotters::prelude::*;
use std::path::Path;

/// Counts by row and column, each row coloured by its shares.
#[derive(Debug, Clone, Default)]
pub(crate) struct Matrix {
    /// First line.
    pub(crate) title: String,
    /// Second line, smaller.
    pub(crate) subtitle: String,
    /// Of rows and columns.
    pub(crate) names: Vec<String>,
    /// As many rows of as many counts.
    pub(crate) counts: Vec<Vec<u64>>,
}

const MARGIN: f64 = 20.0;
const TITLE: f64 = 22.0;
const LABEL: f64 = 13.0;
const HEAD: f64 = 70.0;
/// Most classes that are named at the edges.
const NAMED: usize = 60;
/// Longest name that is written out, in letters.
const LONGEST: usize = 28;
/// Sides of the whole square and of its cells in pixels.
const SQUARE: usize = 960;
const CELL: std::ops::RangeInclusive<usize> = 14..=64;
/// From here on a cell has room for its count.
const ROOMY: usize = 24;
/// Where all of a row is: light enough for dark figures on it, and dark where there are none.
const FULL: [f64; 3] = [86.0, 180.0, 233.0];
const FULL_DARK: [f64; 3] = [0.0, 60.0, 120.0];

/// Where things are, in pixels.
struct Layout {
    cell: usize,
    named: bool,
    /// Of the square.
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl Matrix {
    /// Draws it.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub(crate) fn write_png(&self, path: &Path) -> Result<()> {
        register_font();
        let layout = self.layout();
        let mut pixels = vec![255u8; 3 * layout.width * layout.height];
        for (y, row) in self.counts.iter().enumerate() {
            let all = row.iter().sum::<u64>().max(1);
            for (x, &count) in row.iter().enumerate() {
                layout.fill(&mut pixels, x, y, count as f64 / all as f64);
            }
        }
        let refused = |error: &dyn std::fmt::Display| Error::Io {
            path: path.to_owned(),
            source: std::io::Error::other(error.to_string()),
        };
        let (width, height) = (layout.width as u32, layout.height as u32);
        let mut words = vec![255u8; 3 * (FINE * width * FINE * height) as usize];
        {
            let area = BitMapBackend::with_buffer(&mut words, (FINE * width, FINE * height)).into_drawing_area();
            let canvas = Canvas { area: &area, scale: FINE.into(), format: Format::Bitmap };
            self.write_words(&canvas, &layout).map_err(|error| refused(&error))?;
            area.present().map_err(|error| refused(&error))?;
        }
        darken(&mut pixels, &words, layout.width);
        std::fs::write(path, encoded(&pixels, Size::new(width, height), CompressionType::Best)?)
            .map_err(Error::io(path))
    }

    fn layout(&self) -> Layout {
        /// Mean width of a letter of the font, in parts of its size.
        const LETTER: f64 = 0.56;
        let classes = self.names.len().max(1);
        let named = classes <= NAMED;
        let cell = if named { (SQUARE / classes).clamp(*CELL.start(), *CELL.end()) } else { (SQUARE / classes).max(1) };
        let longest = self.names.iter().map(|name| cut(name).chars().count()).max().unwrap_or(0);
        let edge = if named { (longest as f64 * LABEL * LETTER) as usize + 14 } else { 26 };
        let (left, top) = (MARGIN as usize + 22 + edge, HEAD as usize + 26 + edge);
        let side = cell * classes;
        let width = (left + side + MARGIN as usize).max(760);
        Layout { cell, named, left, top, width, height: top + side + MARGIN as usize }
    }

    fn write_words<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>, layout: &Layout) -> Drawn<DB> {
        let (left, top, cell) = (layout.left as f64, layout.top as f64, layout.cell as f64);
        let side = cell * self.names.len() as f64;
        canvas.text(&self.title, (MARGIN, MARGIN + 12.0), TITLE, Align::Left, INK)?;
        canvas.text(&self.subtitle, (MARGIN, MARGIN + 38.0), LABEL, Align::Left, SOFT)?;
        canvas.text("taken for", (left + side / 2.0, HEAD + 12.0), LABEL, Align::Center, INK)?;
        canvas.upward_text("true class", (MARGIN + 6.0, top + side / 2.0), LABEL, INK)?;
        let frame = [(left, top), (left + side, top), (left + side, top + side), (left, top + side), (left, top)];
        canvas.line(&frame, SOFT, 1.0)?;
        if !layout.named {
            let last = self.names.len();
            canvas.text(
                &format!("1 to {last}, in the order of the classes"),
                (left, top - 10.0),
                LABEL,
                Align::Left,
                SOFT,
            )?;
            return Ok(());
        }
        // Names smaller than a row are easier to tell apart than names that touch.
        let size = LABEL.min(cell - 2.0);
        for (i, name) in self.names.iter().enumerate() {
            let (name, middle) = (cut(name), (i as f64 + 0.5) * cell);
            canvas.text(&name, (left - 8.0, top + middle), size, Align::Right, INK)?;
            let half = canvas.text_width(&name, size) / 2.0;
            canvas.upward_text(&name, (left + middle, top - 8.0 - half), size, INK)?;
        }
        if layout.cell < ROOMY {
            return Ok(());
        }
        for (y, row) in self.counts.iter().enumerate() {
            for (x, &count) in row.iter().enumerate().filter(|(_, count)| **count > 0) {
                let at = (left + (x as f64 + 0.5) * cell, top + (y as f64 + 0.5) * cell);
                let text = count.to_string();
                let size = LABEL.min(cell * 1.5 / text.len() as f64);
                canvas.text(&text, at, size, Align::Center, INK)?;
            }
        }
        Ok(())
    }
}

impl Layout {
    /// Colours a cell by its share of the row. Roots of shares, so that rare mistakes are seen.
    fn fill(&self, pixels: &mut [u8], x: usize, y: usize, share: f64) {
        let full = if self.cell >= ROOMY { FULL } else { FULL_DARK };
        let depth = share.sqrt();
        let color = full.map(|full| (255.0 + depth * (full - 255.0)).round() as u8);
        // A gap between cells that are large enough for one.
        let inner = if self.cell > 8 { self.cell - 1 } else { self.cell };
        for row in 0..inner {
            let start = 3 * ((self.top + y * self.cell + row) * self.width + self.left + x * self.cell);
            for pixel in pixels[start..start + 3 * inner].chunks_exact_mut(3) {
                pixel.copy_from_slice(&color);
            }
        }
    }
}

/// A name that is not too long.
fn cut(name: &str) -> String {
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}
