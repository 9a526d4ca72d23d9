//! Contact sheets: rows of pictures with captions, as a PNG.
//!
//! ```text
//! title                        columns: a name over each
//! subtitle, wrapped
//! label   [ tile ][small]  [ tile ][small]
//! of the  [      ][small]  [      ][small]
//! row      caption          caption
//! ```

mod words;

#[cfg(feature = "train")]
pub(super) use words::{FINE, darken};

use super::canvas::Align;
use super::draw::{INK, SOFT};
use crate::error::{Error, Result};
use crate::ops::{Rgb8, resize};
use crate::shape::{Filter, Rect, Size};
use image::ImageEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use words::{Ruler, Word};

/// A table of pictures.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sheet {
    /// First line.
    pub(crate) title: String,
    /// Below it, smaller; may be empty. A line break starts a new line.
    pub(crate) subtitle: String,
    /// Over the columns; may be empty.
    pub(crate) columns: Vec<String>,
    /// From top to bottom.
    pub(crate) rows: Vec<Row>,
    /// Side of a tile in pixels. Pictures are enlarged by repeating pixels and reduced with antialiasing.
    pub(crate) tile: u32,
    /// Whether tiles have small pictures at their right.
    pub(crate) small: bool,
    /// Whether captions are broken to the width of their pictures; else columns are as wide as the longest caption.
    pub(crate) wrap: bool,
}

/// One row of a sheet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    /// At its left, line by line.
    pub(crate) label: Vec<String>,
    /// From left to right.
    pub(crate) tiles: Vec<Tile>,
}

/// One picture with what belongs to it.
#[derive(Debug, Clone)]
pub(crate) struct Tile {
    /// The picture. Without small ones it may use their room.
    pub(crate) picture: Rgb8,
    /// At its right, one above the other: none or two, of [`small_side`].
    pub(crate) small: Vec<Rgb8>,
    /// Below it; may be empty. A line break starts a new line.
    pub(crate) caption: String,
}

impl Tile {
    /// A picture with a caption and no small ones.
    pub(crate) fn new(picture: Rgb8, caption: impl Into<String>) -> Self {
        Self { picture, small: Vec::new(), caption: caption.into() }
    }
}

const MARGIN: u32 = 16;
const TITLE: f64 = 22.0;
const LABEL: f64 = 14.0;
const CAPTION: f64 = 12.0;
/// From the top margin to the subtitle's first line.
const TITLE_ROW: u32 = 42;
/// From one line of the subtitle or of a label to the next.
const LABEL_LINE: u32 = 18;
const COLUMN_HEAD: u32 = 22;
/// Under a tile that has a caption, and for each line more.
const CAPTION_ROW: u32 = 18;
const CAPTION_LINE: u32 = 15;
const GAP: u32 = 6;
/// Between rows and columns where captions are long.
const WIDE_GAP: u32 = 18;
const LABEL_COLUMN: u32 = 150;
const NARROWEST: u32 = 720;

/// Side of the small pictures beside a tile: two of them and a gap are as high as it.
pub(crate) fn small_side(tile: u32) -> u32 {
    (tile.saturating_sub(GAP) / 2).max(1)
}

/// `picture` at another size: reduced with antialiasing, enlarged by repeating pixels.
///
/// # Errors
/// [`Error::Config`] if either has no pixels.
pub(crate) fn scaled(picture: &Rgb8, size: Size) -> Result<Rgb8> {
    let Size { width, height } = picture.size;
    if size.pixels() < picture.size.pixels() {
        return resize(picture.view(), [0.0, 0.0, width.into(), height.into()], size, Filter::Bilinear);
    }
    picture.view().check()?;
    let (w, h, to_w, to_h) = (width as usize, height as usize, size.width as usize, size.height as usize);
    let mut pixels = Vec::with_capacity(3 * to_w * to_h);
    for y in 0..to_h {
        for x in 0..to_w {
            let from = 3 * (y * h / to_h * w + x * w / to_w);
            pixels.extend_from_slice(&picture.pixels[from..from + 3]);
        }
    }
    Ok(Rgb8 { pixels, size })
}

/// The largest size of this shape in a box, at least one pixel.
pub(crate) fn fit(shape: Size, into: Size) -> Size {
    let scale = (f64::from(into.width) / f64::from(shape.width)).min(f64::from(into.height) / f64::from(shape.height));
    let side = |length: u32, most: u32| ((f64::from(length) * scale).round() as u32).clamp(1, most);
    Size::new(side(shape.width, into.width), side(shape.height, into.height))
}

/// Where everything is.
struct Layout {
    size: Size,
    /// Upper edge of each row's tiles.
    tops: Vec<u32>,
    /// Left edge of the first column's cell, and from one cell to the next.
    left: u32,
    pitch: u32,
    /// Width of a cell without the gap.
    cell: u32,
    words: Vec<Word>,
}

/// RGB8 pixels as the bytes of a PNG file.
pub(super) fn encoded(pixels: &[u8], size: Size, effort: CompressionType) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    PngEncoder::new_with_quality(&mut file, effort, FilterType::Adaptive)
        .write_image(pixels, size.width, size.height, image::ExtendedColorType::Rgb8)
        .map_err(|error| Error::Io { path: "picture.png".into(), source: std::io::Error::other(error) })?;
    Ok(file)
}

impl Sheet {
    /// Draws it: the bytes of a PNG file.
    ///
    /// # Errors
    /// [`Error::Config`] for a picture without pixels; [`Error::Io`] if the encoder refuses it.
    pub(crate) fn png(&self) -> Result<Vec<u8>> {
        // A page of photos is large: half a second more makes it a fifth smaller.
        self.png_with(CompressionType::Best)
    }

    /// The same, compressed as little or as much as is asked.
    ///
    /// # Errors
    /// As [`Sheet::png`].
    pub(crate) fn png_with(&self, effort: CompressionType) -> Result<Vec<u8>> {
        let layout = self.layout();
        let mut page = Rgb8 { pixels: vec![255; 3 * layout.size.pixels() as usize], size: layout.size };
        for (row, top) in self.rows.iter().zip(&layout.tops) {
            for (column, tile) in row.tiles.iter().enumerate() {
                let left = layout.left + column as u32 * layout.pitch;
                self.draw_tile(tile, &mut page, left, *top, layout.cell)?;
            }
        }
        words::draw(&layout.words, &mut page)?;
        encoded(&page.pixels, layout.size, effort)
    }

    /// Width of what a cell shows: the tile and its small pictures.
    fn shown_width(&self) -> u32 {
        self.tile + if self.small { GAP + small_side(self.tile) } else { 0 }
    }

    /// The room of a picture that has no small ones beside it.
    pub(crate) fn room(&self) -> Size {
        Size::new(self.shown_width(), self.tile)
    }

    fn layout(&self) -> Layout {
        let ruler = Ruler::new();
        let shown = self.shown_width();
        let captions: Vec<Vec<Vec<String>>> = self
            .rows
            .iter()
            .map(|row| row.tiles.iter().map(|tile| self.caption_lines(tile, shown, &ruler)).collect())
            .collect();
        let widest = |lines: &mut dyn Iterator<Item = &String>, size| {
            lines.map(|line| ruler.width(line, size).ceil() as u32).max().unwrap_or(0)
        };
        let cell = shown
            .max(widest(&mut captions.iter().flatten().flatten(), CAPTION))
            .max(widest(&mut self.columns.iter(), LABEL));
        let gap = if self.wrap { WIDE_GAP } else { GAP };
        let pitch = cell + gap;
        let columns = self.rows.iter().map(|row| row.tiles.len()).max().unwrap_or(0) as u32;
        let title = ruler.width(&self.title, TITLE).ceil() as u32;
        let width = (2 * MARGIN + LABEL_COLUMN + columns * pitch).max(NARROWEST).max(2 * MARGIN + title);

        let mut words = Vec::new();
        let margin = f64::from(MARGIN);
        words.push(Word::new(&self.title, (margin, margin + 14.0), TITLE, Align::Left, INK));
        let mut y = MARGIN + TITLE_ROW;
        for line in ruler.wrap(&self.subtitle, f64::from(width - 2 * MARGIN), LABEL) {
            words.push(Word::new(&line, (margin, f64::from(y)), LABEL, Align::Left, SOFT));
            y += LABEL_LINE;
        }
        y += 4;
        let left = MARGIN + LABEL_COLUMN;
        let middle = |column: usize| f64::from(left + column as u32 * pitch) + f64::from(cell) / 2.0;
        if !self.columns.is_empty() {
            y += COLUMN_HEAD;
        }
        for (column, name) in self.columns.iter().enumerate() {
            words.push(Word::new(name, (middle(column), f64::from(y) - 12.0), LABEL, Align::Center, SOFT));
        }
        // A row without captions among others that have some is as high as one with a line.
        let least = usize::from(captions.iter().flatten().any(|lines| !lines.is_empty()));
        let mut tops = Vec::with_capacity(self.rows.len());
        for (row, captions) in self.rows.iter().zip(&captions) {
            tops.push(y);
            words.extend(self.label_words(row, y, &ruler));
            let below = f64::from(y + self.tile);
            for (column, lines) in captions.iter().enumerate() {
                for (number, line) in lines.iter().enumerate() {
                    let at = (middle(column), below + 10.0 + f64::from(CAPTION_LINE) * number as f64);
                    words.push(Word::new(line, at, CAPTION, Align::Center, SOFT));
                }
            }
            let lines = captions.iter().map(Vec::len).max().unwrap_or(0).max(least) as u32;
            y += self.tile + gap + if lines > 0 { CAPTION_ROW + CAPTION_LINE * (lines - 1) } else { 0 };
        }
        Layout { size: Size::new(width, y + MARGIN), tops, left, pitch, cell, words }
    }

    fn caption_lines(&self, tile: &Tile, shown: u32, ruler: &Ruler) -> Vec<String> {
        match (tile.caption.is_empty(), self.wrap) {
            (true, _) => Vec::new(),
            (_, true) => ruler.wrap(&tile.caption, f64::from(shown), CAPTION),
            (_, false) => tile.caption.lines().map(str::to_owned).collect(),
        }
    }

    /// The label's lines, centred on the tiles; the first is the darkest.
    fn label_words(&self, row: &Row, top: u32, ruler: &Ruler) -> Vec<Word> {
        let room = f64::from(LABEL_COLUMN - GAP);
        let lines: Vec<(String, _)> = row
            .label
            .iter()
            .enumerate()
            .flat_map(|(place, text)| {
                let color = if place == 0 { INK } else { SOFT };
                ruler.wrap(text, room, LABEL).into_iter().map(move |line| (line, color))
            })
            .collect();
        let line_height = f64::from(LABEL_LINE);
        let first = f64::from(top) + f64::from(self.tile) / 2.0 - line_height / 2.0 * (lines.len() as f64 - 1.0);
        let word = |(number, (line, color)): (usize, (String, _))| {
            let at = (f64::from(MARGIN), first + line_height * number as f64);
            Word::new(&line, at, LABEL, Align::Left, color)
        };
        lines.into_iter().enumerate().map(word).collect()
    }

    /// The pictures of one cell, whose left upper corner is at `(left, top)`.
    fn draw_tile(&self, tile: &Tile, page: &mut Rgb8, left: u32, top: u32, cell: u32) -> Result<()> {
        let side = small_side(self.tile);
        let left = left + (cell - self.shown_width()) / 2;
        let wide = if tile.small.is_empty() { self.shown_width() } else { self.tile };
        paste(&tile.picture, page, Rect { x: left, y: top, width: wide, height: self.tile })?;
        for (place, small) in tile.small.iter().enumerate() {
            let y = top + place as u32 * (self.tile - side);
            paste(small, page, Rect { x: left + self.tile + GAP, y, width: side, height: side })?;
        }
        Ok(())
    }
}

/// `picture` as large as it fits, in the middle of a box of the page.
fn paste(picture: &Rgb8, page: &mut Rgb8, place: Rect) -> Result<()> {
    picture.view().check()?;
    let shown = scaled(picture, fit(picture.size, place.size()))?;
    let row = 3 * shown.size.width as usize;
    let (x, y) = (place.x + (place.width - shown.size.width) / 2, place.y + (place.height - shown.size.height) / 2);
    for (number, from) in shown.pixels.chunks_exact(row).enumerate() {
        let to = 3 * ((y as usize + number) * page.size.width as usize + x as usize);
        page.pixels[to..to + row].copy_from_slice(from);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(side: u32, value: u8) -> Rgb8 {
        Rgb8 { pixels: vec![value; 3 * (side * side) as usize], size: Size::square(side) }
    }

    #[test]
    fn a_small_picture_is_enlarged_by_whole_pixels_and_a_large_one_is_averaged() {
        let pair = Rgb8 { pixels: vec![0, 0, 0, 255, 255, 255], size: Size::new(2, 1) };
        let large = scaled(&pair, Size::new(4, 2)).unwrap();
        let row = [0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255];
        assert_eq!(large.pixels, [row, row].concat());
        let gray = scaled(&pair, Size::new(1, 1)).unwrap().pixels[0];
        assert!((127..=128).contains(&gray), "{gray}");
        assert_eq!(fit(Size::new(500, 375), Size::new(338, 224)), Size::new(299, 224));
        assert_eq!(fit(Size::new(9000, 1), Size::new(338, 224)), Size::new(338, 1));
    }

    #[test]
    fn pictures_lie_side_by_side_and_long_captions_make_rows_higher_and_not_wider() {
        let tile = |caption: &str| Tile {
            picture: plain(7, 90),
            small: vec![plain(3, 10), plain(3, 20)],
            caption: caption.into(),
        };
        let sheet = |caption: &str| Sheet {
            title: "t".into(),
            rows: vec![Row { label: vec!["l".into()], tiles: vec![tile(caption), tile("")] }; 2],
            tile: 100,
            small: true,
            wrap: true,
            ..Sheet::default()
        };
        let (short, long) = (sheet("word").layout(), sheet("many words that need more than a line of text").layout());
        assert_eq!((long.size.width, long.pitch), (short.size.width, short.pitch));
        assert!(long.tops[1] > short.tops[1]);
        let page = image::load_from_memory(&sheet("word").png().unwrap()).unwrap().into_rgb8();
        assert_eq!(page.dimensions(), (short.size.width, short.size.height));
        let (x, y) = (short.left + short.pitch, short.tops[1]);
        for (dx, dy, value) in
            [(0, 0, 90), (99, 99, 90), (100, 0, 255), (106, 0, 10), (152, 46, 10), (106, 53, 20), (152, 99, 20)]
        {
            assert_eq!(page.get_pixel(x + dx, y + dy).0, [value; 3], "{dx} {dy}");
        }
    }
}
