//! The texts of a sheet: measured, broken into lines, and drawn finer than whole pixels.

use super::super::canvas::{Align, Canvas, Format, register_font};
use crate::error::{Error, Result};
use crate::ops::Rgb8;
use plotters::prelude::*;

/// A line of text.
#[derive(Debug, Clone)]
pub(super) struct Word {
    pub(super) text: String,
    /// In pixels of the page; vertically the text's middle.
    pub(super) at: (f64, f64),
    /// Of the font, in pixels.
    pub(super) size: f64,
    pub(super) align: Align,
    pub(super) color: RGBColor,
}

impl Word {
    pub(super) fn new(text: &str, at: (f64, f64), size: f64, align: Align, color: RGBColor) -> Self {
        Self { text: text.to_owned(), at, size, align, color }
    }
}

/// Words are drawn this many times as large and reduced: letters stand at whole pixels of the large picture only.
pub(crate) const FINE: u32 = 3;
/// Rows of the page that are written on at a time, to keep the large picture small.
const STRIP: u32 = 128;
/// No text is further from its middle than this.
const REACH: f64 = 24.0;

/// How wide texts are.
pub(super) struct Ruler;

impl Ruler {
    pub(super) fn new() -> Self {
        register_font();
        Self
    }

    /// Width in pixels of the page.
    pub(super) fn width(&self, text: &str, size: f64) -> f64 {
        let mut nothing = [0; 3];
        let area = BitMapBackend::with_buffer(&mut nothing, (1, 1)).into_drawing_area();
        Canvas { area: &area, scale: FINE.into(), format: Format::Bitmap }.text_width(text, size)
    }

    /// Breaks a text at its spaces into lines of at most `room` pixels. Of a word that is longer the end is kept, which tells
    /// more of a path.
    pub(super) fn wrap(&self, text: &str, room: f64, size: f64) -> Vec<String> {
        wrap(text, &|line| self.width(line, size) <= room)
    }
}

fn wrap(text: &str, fits: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            let longer = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
            if fits(&longer) {
                line = longer;
                continue;
            }
            if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            line = shortened(word, fits);
        }
        lines.push(line);
    }
    lines
}

/// The word, or an ellipsis and as much of its end as fits.
fn shortened(word: &str, fits: &dyn Fn(&str) -> bool) -> String {
    if fits(word) {
        return word.to_owned();
    }
    let ends = word.char_indices().skip(1).map(|(at, _)| format!("…{}", &word[at..]));
    ends.into_iter().find(|end| fits(end)).unwrap_or_else(|| "…".to_owned())
}

/// Writes the words on the page, darkening what is there.
pub(super) fn draw(words: &[Word], page: &mut Rgb8) -> Result<()> {
    let width = page.size.width;
    for (number, strip) in page.pixels.chunks_mut(3 * (width * STRIP) as usize).enumerate() {
        let (top, rows) = (number as u32 * STRIP, strip.len() as u32 / (3 * width));
        let (above, below) = (f64::from(top) - REACH, f64::from(top + rows) + REACH);
        let here: Vec<&Word> = words.iter().filter(|word| (above..below).contains(&word.at.1)).collect();
        if here.is_empty() {
            continue;
        }
        let mut fine = vec![255u8; 3 * (FINE * width * FINE * rows) as usize];
        write(&here, f64::from(top), &mut fine, (FINE * width, FINE * rows))
            .map_err(|error| Error::Io { path: "sheet.png".into(), source: std::io::Error::other(error) })?;
        darken(strip, &fine, width as usize);
    }
    Ok(())
}

fn write(words: &[&Word], top: f64, fine: &mut [u8], size: (u32, u32)) -> std::result::Result<(), String> {
    let area = BitMapBackend::with_buffer(fine, size).into_drawing_area();
    let canvas = Canvas { area: &area, scale: FINE.into(), format: Format::Bitmap };
    for word in words {
        let at = (word.at.0, word.at.1 - top);
        canvas.text(&word.text, at, word.size, word.align, word.color).map_err(|error| error.to_string())?;
    }
    area.present().map_err(|error| error.to_string())
}

/// Reduces `words` by [`FINE`] and lays it over `pixels`, white being nothing.
pub(crate) fn darken(pixels: &mut [u8], words: &[u8], width: usize) {
    let fine = FINE as usize;
    for (at, pixel) in pixels.iter_mut().enumerate() {
        let (x, y, c) = (at / 3 % width, at / 3 / width, at % 3);
        let rows = (0..fine).map(|dy| 3 * ((y * fine + dy) * width * fine + x * fine) + c);
        let sum: u32 = rows.flat_map(|row| (0..fine).map(move |dx| row + 3 * dx)).map(|at| u32::from(words[at])).sum();
        *pixel = (*pixel).min((sum / (FINE * FINE)) as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Size;

    #[test]
    fn lines_are_broken_at_spaces_and_long_words_keep_their_end() {
        let fits = |line: &str| line.chars().count() <= 10;
        assert_eq!(wrap("Rotate 27.0°, Posterize 4 bits", &fits), ["Rotate", "27.0°,", "Posterize", "4 bits"]);
        assert_eq!(wrap("a/long/path/0001.jpg b\nc", &fits), ["…/0001.jpg", "b", "c"]);
        assert!(wrap("", &fits).is_empty());
    }

    #[test]
    fn a_text_across_two_strips_is_whole() {
        let word = |y: f64| Word { text: "Hxg".into(), at: (20.0, y), size: 22.0, align: Align::Center, color: BLACK };
        let dark = |y: f64| {
            let mut page = Rgb8 { pixels: vec![255; 3 * 40 * 300], size: Size::new(40, 300) };
            Ruler::new();
            draw(&[word(y)], &mut page).unwrap();
            page.pixels.iter().map(|v| u64::from(255 - v)).sum::<u64>()
        };
        let whole = dark(64.0);
        assert!(whole > 10_000, "{whole}");
        assert_eq!(dark(128.0), whole);
    }
}
