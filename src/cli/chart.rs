//! Charts: panels under one another, as PNG and SVG.
//!
//! A [`Chart`] is plain data; [`Chart::write_png`] and [`Chart::write_svg`] lay it out and draw it. Colours are Okabe and
//! Ito's, which colour-blind readers can tell apart. Values that are not finite are left out.
//!
//! ```
//! use bandfeed::cli::chart::{Chart, Panel, Series, Style};
//! let loss = Series::new("training loss", Style::Line, vec![(0.0, 6.9), (1.0, 5.1), (2.0, 4.4)]);
//! let chart = Chart {
//!     title: "A run".into(),
//!     panels: vec![Panel { y_label: "loss".into(), x_label: "epoch".into(), series: vec![loss], ..Panel::default() }],
//!     ..Chart::default()
//! };
//! let folder = std::env::temp_dir();
//! chart.write_svg(&folder.join("bandfeed-chart-doctest.svg"))?;
//! # std::fs::remove_file(folder.join("bandfeed-chart-doctest.svg")).ok();
//! # Ok::<(), bandfeed::Error>(())
//! ```

mod canvas;
mod draw;
mod legend;
#[cfg(feature = "train")]
pub(crate) mod matrix;
pub(crate) mod sheet;
mod ticks;

use crate::{Error, Result};
use canvas::{Canvas, Format, register_font};
use plotters::prelude::*;
use std::path::Path;

/// Width of every chart in pixels. The height follows from the panels.
pub const WIDTH: u32 = 1200;

/// A title over panels.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chart {
    /// First line.
    pub title: String,
    /// Second line, smaller; may be empty.
    pub subtitle: String,
    /// From top to bottom.
    pub panels: Vec<Panel>,
}

/// One coordinate system.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// Over the panel, at its left; may be empty.
    pub title: String,
    /// Under the axis, with its unit; may be empty.
    pub x_label: String,
    /// Beside the axis, with its unit; may be empty.
    pub y_label: String,
    /// What is drawn, in this order. A series with a name is in the legend.
    pub series: Vec<Series>,
    /// Tinted spans of the x axis, under everything else.
    pub shades: Vec<Shade>,
    /// Dashed lines across the panel, in the legend by their names.
    pub references: Vec<Reference>,
    /// Short texts over spans of the x axis.
    pub notes: Vec<Note>,
    /// Ends of the x axis; `None` is from the least to the greatest x of the panel.
    pub x_range: Option<(f64, f64)>,
    /// Names of the x values 0, 1, 2, ... in place of numbers: for [`Style::Bars`].
    pub categories: Vec<String>,
    /// Whether the y axis holds 0 even if no value is near it.
    pub from_zero: bool,
    /// Height of the coordinate system in pixels.
    pub height: u32,
}

impl Default for Panel {
    fn default() -> Self {
        Self {
            title: String::new(),
            x_label: String::new(),
            y_label: String::new(),
            series: Vec::new(),
            shades: Vec::new(),
            references: Vec::new(),
            notes: Vec::new(),
            x_range: None,
            categories: Vec::new(),
            from_zero: false,
            height: 260,
        }
    }
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Straight lines between the points, in their order.
    Line,
    /// Each value holds until the next point; the area below is tinted where the panel has one series.
    Step,
    /// A dot for each point.
    Points,
    /// A bar from 0 for each point, its value over it. Several series stand side by side.
    Bars,
}

/// Values of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// In the legend; may be empty.
    pub name: String,
    /// How it is drawn.
    pub style: Style,
    /// `(x, y)`. For [`Style::Step`] the last point ends the last step.
    pub points: Vec<(f64, f64)>,
    /// Place in the palette of seven; `None` is the place in the panel.
    pub color: Option<usize>,
}

impl Series {
    /// In the colour of its place in the panel.
    pub fn new(name: impl Into<String>, style: Style, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), style, points, color: None }
    }
}

/// A tinted span of the x axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Shade {
    /// In the legend; may be empty.
    pub name: String,
    /// From and to on the x axis.
    pub span: (f64, f64),
    /// Place in the palette of seven.
    pub color: usize,
}

/// A dashed line.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// In the legend; may be empty.
    pub name: String,
    /// Where.
    pub at: At,
}

/// Place of a [`Reference`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum At {
    /// Vertical, at this x.
    X(f64),
    /// Horizontal, at this y.
    Y(f64),
}

/// A short text over `(from, to)` on the x axis, just above `y`. Left out where it is wider than its span.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    /// Span on the x axis.
    pub span: (f64, f64),
    /// Height.
    pub y: f64,
    /// The text.
    pub text: String,
}

impl Chart {
    /// Draws the chart into a PNG file of 1200 pixels' width. An existing file is replaced.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn write_png(&self, path: &Path) -> Result<()> {
        /// Drawn this much larger and averaged: plotters places glyphs at whole pixels.
        const SCALE: u32 = 3;
        let height = draw::height(self);
        let (wide, high) = (WIDTH * SCALE, height * SCALE);
        let mut pixels = vec![0; wide as usize * high as usize * 3];
        {
            let area = BitMapBackend::with_buffer(&mut pixels, (wide, high)).into_drawing_area();
            self.draw_on(&area, SCALE, Format::Bitmap).map_err(|error| failed(path, error))?;
        }
        let drawn = image::RgbImage::from_raw(wide, high, pixels).expect("the buffer was made for this size");
        let picture = image::imageops::resize(&drawn, WIDTH, height, image::imageops::FilterType::Triangle);
        let mut file = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut file, image::ImageFormat::Png).map_err(|error| failed(path, error))?;
        write(path, &file.into_inner())
    }

    /// Draws the chart into an SVG file, shown 1200 pixels wide. An existing file is replaced.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn write_svg(&self, path: &Path) -> Result<()> {
        write(path, self.svg().map_err(|error| failed(path, error))?.as_bytes())
    }

    fn svg(&self) -> std::result::Result<String, impl std::error::Error + Send + Sync + use<>> {
        /// plotters writes whole coordinates; ten to a pixel are fine enough for any curve.
        const SCALE: u32 = 10;
        let (wide, high) = (WIDTH * SCALE, draw::height(self) * SCALE);
        let mut text = String::new();
        {
            let area = SVGBackend::with_string(&mut text, (wide, high)).into_drawing_area();
            self.draw_on(&area, SCALE, Format::Svg)?;
        }
        // The view box keeps the fine coordinates; the size is the one to be seen.
        let fine = format!("width=\"{wide}\" height=\"{high}\"");
        let seen = format!("width=\"{WIDTH}\" height=\"{}\"", high / SCALE);
        debug_assert!(text.contains(&fine), "plotters writes the size so");
        Ok::<_, DrawingAreaErrorKind<_>>(text.replacen(&fine, &seen, 1))
    }

    fn draw_on<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, plotters::coord::Shift>,
        scale: u32,
        format: Format,
    ) -> canvas::Drawn<DB> {
        register_font();
        area.fill(&WHITE)?;
        draw::chart(&Canvas { area, scale: f64::from(scale), format }, self)?;
        area.present()
    }
}

fn failed(path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Io { path: path.to_owned(), source: std::io::Error::other(error) }
}

/// Under a temporary name first, so that a viewer never sees half a file.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let io = |source| Error::io(path)(source);
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    std::fs::write(&temporary, bytes).map_err(io)?;
    std::fs::rename(&temporary, path).map_err(|source| {
        // The file that matters is the one that was not replaced; what is left of the other is no second error.
        let _ = std::fs::remove_file(&temporary);
        io(source)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every style, a gap, a reference, notes, categories, an empty panel.
    fn everything() -> Chart {
        let wave: Vec<_> = (0..500).map(|i| (f64::from(i), f64::from(i % 37))).collect();
        let gap = vec![(0.0, 1.0), (1.0, f64::NAN), (f64::INFINITY, 2.0), (2.0, 3.0), (3.0, 1.0)];
        let of_every_style = |points: &[(f64, f64)]| {
            [Style::Line, Style::Step, Style::Points, Style::Bars]
                .map(|style| Series::new(format!("{style:?} <&> \"quoted\""), style, points.to_vec()))
                .to_vec()
        };
        let panel = |points: &[(f64, f64)]| Panel {
            title: "Everything".into(),
            x_label: "x".into(),
            y_label: "y".into(),
            series: of_every_style(points),
            shades: vec![Shade { name: "a shade".into(), span: (0.5, 1.5), color: 4 }],
            references: vec![
                Reference { name: "level".into(), at: At::Y(2.0) },
                Reference { name: String::new(), at: At::X(1.5) },
            ],
            notes: vec![Note { span: (0.0, 2.0), y: 1.0, text: "a note".into() }],
            ..Panel::default()
        };
        let categories = ["first", "a second with several words", "third", "fourth"].map(String::from).to_vec();
        let panels = vec![panel(&wave), panel(&gap), Panel { categories, ..panel(&gap) }, Panel::default()];
        Chart { title: "A test".into(), subtitle: "with all there is".into(), panels }
    }

    #[test]
    fn png_is_a_picture_of_the_stated_width_with_the_series_colours() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("chart.png");
        everything().write_png(&path).expect("written");
        let picture = image::open(&path).expect("a PNG").to_rgb8();
        assert_eq!((picture.width(), picture.height()), (WIDTH, draw::height(&everything())));
        assert_eq!(*picture.get_pixel(1, 1), image::Rgb([255, 255, 255]));
        for color in [[0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167]] {
            let pixels = picture.pixels().filter(|pixel| pixel.0 == color).count();
            assert!(pixels > 200, "{color:?}: {pixels} pixels");
        }
        let dark = picture.pixels().filter(|pixel| pixel.0.iter().all(|value| *value < 100)).count();
        assert!(dark > 1000, "texts and axes: {dark} pixels");
        assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 1, "no temporary file is left");
    }

    #[test]
    fn svg_has_every_text_escaped_and_only_finite_coordinates() {
        let svg = everything().svg().expect("drawn");
        assert!(svg.starts_with("<svg width=\"1200\" "), "{}", &svg[..80]);
        for text in ["A test", "with all there is", "Line &lt;&amp;&gt;", "level", "a note", "a second with", "a shade"]
        {
            assert!(svg.contains(text), "`{text}` is missing");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains(&i32::MAX.to_string()));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error_with_its_path() {
        let error = everything().write_svg(Path::new("/nowhere/at/all.svg")).expect_err("no such folder");
        assert!(error.to_string().starts_with("/nowhere/at/all.svg: "), "{error}");
    }
}
