//! Drawing by fractions of a pixel, over a plotters backend that knows whole ones.
//!
//! Everything is drawn `scale` times as large; the picture is reduced afterwards (PNG) or shown smaller (SVG).

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::sync::Once;

/// What a drawing returns.
pub(super) type Drawn<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

/// The family's name in SVG files, so that a viewer takes its own; the bitmap has the embedded font under it.
const FAMILY: &str = "sans-serif";

/// The one font, known to plotters under [`FAMILY`] from the first call on.
pub(super) fn register_font() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let registered =
            plotters::style::register_font(FAMILY, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT).is_ok();
        assert!(registered, "the embedded font is a font");
    });
}

/// Where a text lies about its point; vertically it is always centred.
#[derive(Debug, Clone, Copy)]
pub(super) enum Align {
    /// It starts at the point.
    Left,
    /// Its middle is at the point.
    Center,
    /// It ends at the point.
    Right,
}

/// A surface whose unit is the pixel of the finished picture.
pub(super) struct Canvas<'a, DB: DrawingBackend> {
    pub(super) area: &'a DrawingArea<DB, Shift>,
    pub(super) scale: f64,
    pub(super) format: Format,
}

/// What plotters draws into. Its two backends do not place texts alike, and only one joins lines well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Bitmap,
    Svg,
}

impl<DB: DrawingBackend> Canvas<'_, DB> {
    fn pixel(&self, (x, y): (f64, f64)) -> (i32, i32) {
        ((x * self.scale).round() as i32, (y * self.scale).round() as i32)
    }

    /// How far a text must be lowered for its digits to be centred on the point.
    fn drop(&self, size: f64) -> f64 {
        match self.format {
            Format::Bitmap => 0.2 * size,
            Format::Svg => 0.05 * size,
        }
    }

    fn stroke(&self, color: RGBColor, width: f64) -> ShapeStyle {
        color.stroke_width((width * self.scale).round().max(1.0) as u32)
    }

    /// A connected line. Points that fall on one pixel are drawn once.
    pub(super) fn line(&self, points: &[(f64, f64)], color: RGBColor, width: f64) -> Drawn<DB> {
        let mut pixels: Vec<_> = points.iter().map(|point| self.pixel(*point)).collect();
        pixels.dedup();
        let stroke = self.stroke(color, width);
        if self.format == Format::Svg {
            return self.area.draw(&PathElement::new(pixels, stroke));
        }
        // plotters' bitmap draws a wide line as one polygon with pointed corners, which throws spikes where a noisy
        // curve turns back; so each piece is its own line here, and a disc rounds the corner.
        for (place, piece) in pixels.windows(2).enumerate() {
            self.area.draw(&PathElement::new(piece.to_vec(), stroke))?;
            if place > 0 {
                self.area.draw(&Circle::new(piece[0], stroke.stroke_width / 2, color.filled()))?;
            }
        }
        Ok(())
    }

    /// A straight dashed line.
    pub(super) fn dashes(&self, from: (f64, f64), to: (f64, f64), color: RGBColor) -> Drawn<DB> {
        const DASH: f64 = 6.0;
        const GAP: f64 = 4.0;
        let length = (to.0 - from.0).hypot(to.1 - from.1);
        let at = |way: f64| {
            let share = way.min(length) / length;
            (from.0 + share * (to.0 - from.0), from.1 + share * (to.1 - from.1))
        };
        let mut way = 0.0;
        while way < length {
            self.line(&[at(way), at(way + DASH)], color, 1.5)?;
            way += DASH + GAP;
        }
        Ok(())
    }

    /// A filled rectangle between two corners.
    pub(super) fn fill(&self, from: (f64, f64), to: (f64, f64), color: RGBColor, opacity: f64) -> Drawn<DB> {
        self.area.draw(&Rectangle::new([self.pixel(from), self.pixel(to)], color.mix(opacity).filled()))
    }

    /// A filled disc.
    pub(super) fn dot(&self, at: (f64, f64), radius: f64, color: RGBColor) -> Drawn<DB> {
        self.area.draw(&Circle::new(self.pixel(at), (radius * self.scale).round() as i32, color.filled()))
    }

    /// A line of text.
    pub(super) fn text(&self, text: &str, at: (f64, f64), size: f64, align: Align, color: RGBColor) -> Drawn<DB> {
        let horizontal = match align {
            Align::Left => HPos::Left,
            Align::Center => HPos::Center,
            Align::Right => HPos::Right,
        };
        let style = (FAMILY, size * self.scale).into_font().color(&color).pos(Pos::new(horizontal, VPos::Center));
        self.area.draw_text(text, &style, self.pixel((at.0, at.1 + self.drop(size))))
    }

    /// A line of text that runs upwards, centred on the point.
    pub(super) fn upward_text(&self, text: &str, at: (f64, f64), size: f64, color: RGBColor) -> Drawn<DB> {
        let font = (FAMILY, size * self.scale).into_font().transform(FontTransform::Rotate270);
        let style = font.color(&color).pos(Pos::new(HPos::Center, VPos::Center));
        self.area.draw_text(text, &style, self.pixel((at.0 + self.drop(size), at.1)))
    }

    /// Width of a text in the embedded font. An SVG viewer's own may be a little wider: leave air.
    pub(super) fn text_width(&self, text: &str, size: f64) -> f64 {
        let style = (FAMILY, size * self.scale).into_text_style(self.area);
        // Without the font there is no drawing either, and that is where the error belongs.
        self.area.estimate_text_size(text, &style).map_or(0.0, |(width, _)| f64::from(width) / self.scale)
    }
}
