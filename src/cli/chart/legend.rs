//! The legend of a panel: names of series, shades and references, in as many rows as they need.

use super::canvas::{Align, Canvas, Drawn};
use super::draw::{HEADING, INK, LABEL, MARGIN, PALETTE, RIGHT, ROW, SHADE, color, estimated_width, palette};
use super::{Panel, Reference, Series, Shade, Style, WIDTH};
use plotters::prelude::*;

const SWATCH: f64 = 30.0;
const AFTER_ENTRY: f64 = 26.0;

/// References take the palette from its end, so that they do not look like one of the first series. One without a
/// name has the colour of the one before it: several lines of one kind need one name.
pub(super) fn reference_color(panel: &Panel, place: usize) -> RGBColor {
    let named = panel.references[..=place].iter().filter(|reference| !reference.name.is_empty()).count();
    PALETTE[PALETTE.len() - 1 - named.saturating_sub(1) % PALETTE.len()]
}

/// One entry of a legend.
enum Entry<'a> {
    Series(usize, &'a Series),
    Shade(&'a Shade),
    Reference(usize, &'a Reference),
}

impl Entry<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Series(_, series) => &series.name,
            Self::Shade(shade) => &shade.name,
            Self::Reference(_, reference) => &reference.name,
        }
    }
}

/// Its rows, of estimated width.
fn lines(panel: &Panel) -> Vec<Vec<Entry<'_>>> {
    let series = panel.series.iter().enumerate().map(|(i, series)| Entry::Series(i, series));
    let shades = panel.shades.iter().map(Entry::Shade);
    let references = panel.references.iter().enumerate().map(|(i, reference)| Entry::Reference(i, reference));
    let room = f64::from(WIDTH) - MARGIN - RIGHT;
    let mut left = room - estimated_width(&panel.title, HEADING) - 30.0;
    let mut lines: Vec<Vec<Entry<'_>>> = vec![Vec::new()];
    for entry in series.chain(shades).chain(references).filter(|entry| !entry.name().is_empty()) {
        let width = entry_width(&entry);
        if width > left && !(lines.last().is_some_and(Vec::is_empty) && left == room) {
            lines.push(Vec::new());
            left = room;
        }
        left -= width;
        if let Some(line) = lines.last_mut() {
            line.push(entry);
        }
    }
    lines
}

fn entry_width(entry: &Entry<'_>) -> f64 {
    SWATCH + 8.0 + estimated_width(entry.name(), LABEL) + AFTER_ENTRY
}

/// Rows over the coordinate system: one for title and legend, more for a long legend.
pub(super) fn rows(panel: &Panel) -> usize {
    lines(panel).len()
}

/// Draws it, from `top` on.
pub(super) fn draw<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, panel: &Panel, top: f64) -> Drawn<DB> {
    for (row, line) in lines(panel).iter().enumerate() {
        let y = top + (row as f64 + 0.5) * ROW;
        // Set flush right, so that the first line keeps clear of the title.
        let width = |entry: &Entry<'_>| SWATCH + 8.0 + canvas.text_width(entry.name(), LABEL) * 1.04;
        let total: f64 = line.iter().map(|entry| width(entry) + AFTER_ENTRY).sum::<f64>() - AFTER_ENTRY;
        let mut x = f64::from(WIDTH) - RIGHT - total;
        for entry in line {
            let (from, to) = ((x, y), (x + SWATCH, y));
            match entry {
                Entry::Shade(shade) => {
                    let (from, to) = ((x, y - 9.0), (x + SWATCH, y + 9.0));
                    canvas.fill(from, to, palette(shade.color), 1.6 * SHADE)?;
                }
                Entry::Reference(place, _) => canvas.dashes(from, to, reference_color(panel, *place))?,
                Entry::Series(place, series) => {
                    let color = color(series, *place);
                    match series.style {
                        Style::Line | Style::Step => canvas.line(&[from, to], color, 2.5)?,
                        Style::Points => canvas.dot((x + SWATCH / 2.0, y), 4.5, color)?,
                        Style::Bars => canvas.fill((x + 12.0, y - 7.0), (x + SWATCH, y + 7.0), color, 1.0)?,
                    }
                }
            }
            canvas.text(entry.name(), (x + SWATCH + 8.0, y), LABEL, Align::Left, INK)?;
            x += width(entry) + AFTER_ENTRY;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_legend_takes_more_rows_and_loses_no_entry() {
        let named = |i: usize| Series::new(format!("a rather long name of series {i}"), Style::Line, vec![(0.0, 1.0)]);
        let panel = Panel { title: "Title".into(), series: (0..9).map(named).collect(), ..Panel::default() };
        let lines = lines(&panel);
        assert!(lines.len() > 1);
        assert_eq!(lines.iter().map(Vec::len).sum::<usize>(), 9);
        assert!(lines.iter().all(|line| !line.is_empty()));
    }
}
