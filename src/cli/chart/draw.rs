//! The layout: where each part of a chart lies, from top to bottom, and its drawing.

use super::canvas::{Align, Canvas, Drawn};
use super::legend;
use super::ticks::{self, Axis};
use super::{At, Chart, Panel, Series, Style, WIDTH};
use plotters::prelude::*;

/// Okabe and Ito's colours, the ones with most contrast on white first.
pub(super) const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(60, 60, 60),
];
pub(super) const INK: RGBColor = RGBColor(30, 30, 30);
pub(super) const SOFT: RGBColor = RGBColor(95, 95, 95);
const GRID: RGBColor = RGBColor(228, 228, 228);

// Sizes of text and distances, in pixels.
const TITLE: f64 = 27.0;
pub(super) const HEADING: f64 = 20.0;
pub(super) const LABEL: f64 = 17.0;
/// Narrow, so that four digits fit over a bar of three beside each other in eight categories.
const BAR_VALUE: f64 = 14.0;
pub(super) const MARGIN: f64 = 26.0;
pub(super) const RIGHT: f64 = 34.0;
/// Title and subtitle.
const HEAD: f64 = 84.0;
/// A panel's title, and the same again for each line of its legend that does not fit beside it.
pub(super) const ROW: f64 = 30.0;
/// Between a panel's top row and its coordinate system: room for the value over the highest bar.
const AIR: f64 = 14.0;
/// Tick labels of numbers, and each line of categories.
const TICK_ROW: f64 = 26.0;
/// The x axis' label.
const X_LABEL_ROW: f64 = 26.0;
/// Between panels.
const GAP: f64 = 22.0;
/// The y axis' label beside its tick labels.
const Y_LABEL_COLUMN: f64 = 32.0;
/// Most lines that a category's name is broken into.
const CATEGORY_LINES: usize = 3;
/// Between the names of two categories.
const CATEGORY_GAP: f64 = 10.0;
/// Height that a text over a value takes.
const OVER: f64 = 26.0;
/// Opacity of a shade: texts and the palest curve are to be read on it.
pub(super) const SHADE: f64 = 0.11;
/// Widest bar.
const WIDEST_BAR: f64 = 110.0;

/// Height of the whole picture in pixels.
pub(super) fn height(chart: &Chart) -> u32 {
    let panels: f64 = chart.panels.iter().map(|panel| panel_height(panel) + GAP).sum();
    (HEAD + panels).ceil() as u32
}

fn panel_height(panel: &Panel) -> f64 {
    let ticks = tick_rows(panel);
    let x_label = if panel.x_label.is_empty() { 0.0 } else { X_LABEL_ROW };
    legend::rows(panel) as f64 * ROW + AIR + f64::from(panel.height) + ticks as f64 * TICK_ROW + x_label
}

/// Rows of text under the axis. A category's lines are estimated like the legend's ([`estimated_width`]).
fn tick_rows(panel: &Panel) -> usize {
    let slot = 0.88 * f64::from(WIDTH) / panel.categories.len().max(1) as f64 - CATEGORY_GAP;
    let lines = |name: &String| wrap(name, slot, |text| estimated_width(text, LABEL)).len();
    panel.categories.iter().map(lines).max().unwrap_or(1).max(1)
}

/// Draws everything.
pub(super) fn chart<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, chart: &Chart) -> Drawn<DB> {
    canvas.text(&chart.title, (MARGIN, 30.0), TITLE, Align::Left, INK)?;
    canvas.text(&chart.subtitle, (MARGIN, 60.0), LABEL, Align::Left, SOFT)?;
    let axes: Vec<_> = chart.panels.iter().map(|panel| (x_axis(panel), y_axis(panel))).collect();
    // One left edge for all panels, so that equal x values stand under one another.
    let widest = axes
        .iter()
        .flat_map(|(_, y)| y.ticks.iter().map(|tick| canvas.text_width(&y.label(*tick), LABEL)))
        .fold(0.0, f64::max);
    let left = MARGIN + Y_LABEL_COLUMN + widest + 14.0;
    let mut top = HEAD;
    for (panel, (x, y)) in chart.panels.iter().zip(&axes) {
        canvas.text(&panel.title, (MARGIN, top + ROW / 2.0), HEADING, Align::Left, INK)?;
        legend::draw(canvas, panel, top)?;
        let plot_top = top + legend::rows(panel) as f64 * ROW + AIR;
        let frame = Frame {
            left,
            right: f64::from(WIDTH) - RIGHT,
            top: plot_top,
            bottom: plot_top + f64::from(panel.height),
            x,
            y,
        };
        for shade in &panel.shades {
            let [from, to] = [shade.span.0, shade.span.1].map(|x| frame.px(x.clamp(frame.x.low, frame.x.high)));
            canvas.fill((from, frame.top), (to, frame.bottom), palette(shade.color), SHADE)?;
        }
        axes_and_grid(canvas, panel, &frame)?;
        for (place, series) in panel.series.iter().enumerate() {
            draw_series(canvas, panel, &frame, place, series)?;
        }
        for (place, reference) in panel.references.iter().enumerate() {
            let (from, to) = match reference.at {
                At::X(at) => ((frame.px(at), frame.bottom), (frame.px(at), frame.top)),
                At::Y(at) => ((frame.left, frame.py(at)), (frame.right, frame.py(at))),
            };
            canvas.dashes(from, to, legend::reference_color(panel, place))?;
        }
        // Texts last: they must be readable over lines.
        for note in &panel.notes {
            let (from, to) = (frame.px(note.span.0), frame.px(note.span.1));
            value_text(canvas, &note.text, (0.5 * (from + to), frame.py(note.y) - 14.0), LABEL, to - from)?;
        }
        for bar in bars(panel, &frame) {
            let at = (0.5 * (bar.left + bar.right), bar.end + if bar.value < 0.0 { 12.0 } else { -12.0 });
            value_text(canvas, &ticks::value(bar.value), at, BAR_VALUE, bar.right - bar.left + 3.0)?;
        }
        top += panel_height(panel) + GAP;
    }
    Ok(())
}

/// A text on a nearly white ground, readable over lines; left out where it is wider than `room`.
fn value_text<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    text: &str,
    (middle, y): (f64, f64),
    size: f64,
    room: f64,
) -> Drawn<DB> {
    let half = 0.5 * canvas.text_width(text, size) + 1.0;
    if 2.0 * half > room {
        return Ok(());
    }
    canvas.fill((middle - half, y - 9.0), (middle + half, y + 9.0), WHITE, 0.9)?;
    canvas.text(text, (middle, y), size, Align::Center, INK)
}

/// A coordinate system on the picture.
struct Frame<'a> {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    x: &'a Axis,
    y: &'a Axis,
}

impl Frame<'_> {
    fn px(&self, x: f64) -> f64 {
        self.left + (x - self.x.low) / (self.x.high - self.x.low) * (self.right - self.left)
    }

    fn py(&self, y: f64) -> f64 {
        self.bottom - (y - self.y.low) / (self.y.high - self.y.low) * (self.bottom - self.top)
    }
}

fn finite(panel: &Panel) -> impl Iterator<Item = (f64, f64)> {
    panel.series.iter().flat_map(|series| &series.points).copied().filter(|(x, y)| x.is_finite() && y.is_finite())
}

/// Smallest and largest; 0 to 1 where there are none.
fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

fn x_axis(panel: &Panel) -> Axis {
    if !panel.categories.is_empty() {
        return Axis::exact(-0.5, panel.categories.len() as f64 - 0.5, panel.categories.len());
    }
    if let Some((low, high)) = panel.x_range {
        return Axis::exact(low, high, 10);
    }
    let references = panel.references.iter().filter_map(|r| if let At::X(x) = r.at { Some(x) } else { None });
    let (low, high) = span(finite(panel).map(|(x, _)| x).chain(references));
    Axis::exact(low, high, 10)
}

fn y_axis(panel: &Panel) -> Axis {
    let references = panel.references.iter().filter_map(|r| if let At::Y(y) = r.at { Some(y) } else { None });
    let (low, high) = span(finite(panel).map(|(_, y)| y).chain(references));
    let bars = panel.series.iter().any(|series| series.style == Style::Bars);
    let wanted = (panel.height / 35) as usize;
    let axis = Axis::around(low, high, panel.from_zero || bars, wanted);
    // Texts stand over their values, and under a bar that hangs down.
    let room = OVER / f64::from(panel.height) * (axis.high - axis.low);
    let above = if bars || !panel.notes.is_empty() { room } else { 0.0 };
    let below = if bars && low < 0.0 { room } else { 0.0 };
    Axis::exact(axis.low - below, axis.high + above, wanted)
}

fn axes_and_grid<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, panel: &Panel, frame: &Frame<'_>) -> Drawn<DB> {
    for tick in &frame.y.ticks {
        let y = frame.py(*tick);
        canvas.line(&[(frame.left, y), (frame.right, y)], GRID, 1.0)?;
        canvas.text(&frame.y.label(*tick), (frame.left - 10.0, y), LABEL, Align::Right, INK)?;
    }
    let mut below = frame.bottom + TICK_ROW / 2.0 + 4.0;
    if panel.categories.is_empty() {
        for tick in &frame.x.ticks {
            let x = frame.px(*tick);
            canvas.line(&[(x, frame.top), (x, frame.bottom)], GRID, 1.0)?;
            canvas.line(&[(x, frame.bottom), (x, frame.bottom + 5.0)], INK, 1.0)?;
            canvas.text(&frame.x.label(*tick), (x, below), LABEL, Align::Center, INK)?;
        }
        below += TICK_ROW;
    } else {
        let slot = (frame.right - frame.left) / panel.categories.len() as f64 - CATEGORY_GAP;
        for (place, name) in panel.categories.iter().enumerate() {
            let lines = wrap(name, slot, |text| canvas.text_width(text, LABEL));
            for (row, line) in lines.iter().enumerate() {
                let at = (frame.px(place as f64), below + row as f64 * TICK_ROW * 0.85);
                canvas.text(line, at, LABEL, Align::Center, INK)?;
            }
        }
        below += tick_rows(panel) as f64 * TICK_ROW;
    }
    canvas.line(&[(frame.left, frame.top), (frame.left, frame.bottom), (frame.right, frame.bottom)], INK, 1.0)?;
    if !panel.x_label.is_empty() {
        let middle = 0.5 * (frame.left + frame.right);
        canvas.text(&panel.x_label, (middle, below), LABEL, Align::Center, SOFT)?;
    }
    canvas.upward_text(&panel.y_label, (MARGIN + 8.0, 0.5 * (frame.top + frame.bottom)), LABEL, SOFT)
}

fn draw_series<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    panel: &Panel,
    frame: &Frame<'_>,
    place: usize,
    series: &Series,
) -> Drawn<DB> {
    let color = color(series, place);
    let at = |(x, y): (f64, f64)| (frame.px(x), frame.py(y));
    let zero = frame.py(0.0f64.clamp(frame.y.low, frame.y.high));
    // A value that is not finite interrupts a line.
    let runs = series.points.split(|(x, y)| !(x.is_finite() && y.is_finite())).filter(|run| !run.is_empty());
    match series.style {
        Style::Line => {
            for run in runs {
                canvas.line(&run.iter().map(|point| at(*point)).collect::<Vec<_>>(), color, 2.0)?;
            }
        }
        Style::Step => {
            for run in runs {
                let mut corners = vec![at(run[0])];
                for pair in run.windows(2) {
                    let (from, to) = (at(pair[0]), at(pair[1]));
                    if panel.series.len() == 1 {
                        canvas.fill((from.0, zero), (to.0, from.1), color, 0.14)?;
                    }
                    corners.extend([(to.0, from.1), to]);
                }
                canvas.line(&corners, color, 2.5)?;
            }
        }
        Style::Points => {
            for point in runs.flatten() {
                canvas.dot(at(*point), 4.0, color)?;
            }
        }
        Style::Bars => {
            for bar in bars(panel, frame).iter().filter(|bar| bar.series == place) {
                canvas.fill((bar.left, zero), (bar.right, bar.end), color, 1.0)?;
            }
        }
    }
    Ok(())
}

/// A bar on the picture.
struct Bar {
    series: usize,
    value: f64,
    left: f64,
    right: f64,
    end: f64,
}

/// All bars of a panel. Those of one x stand side by side and fill most of one x unit.
fn bars(panel: &Panel, frame: &Frame<'_>) -> Vec<Bar> {
    let is_bars = |series: &&Series| series.style == Style::Bars;
    let count = panel.series.iter().filter(is_bars).count() as f64;
    let width = (0.76 * (frame.px(1.0) - frame.px(0.0)) / count).min(WIDEST_BAR);
    let series = panel.series.iter().enumerate().filter(|(_, series)| is_bars(series));
    series
        .enumerate()
        .flat_map(|(rank, (place, series))| series.points.iter().map(move |point| (rank as f64, place, *point)))
        .filter(|(_, _, (x, y))| x.is_finite() && y.is_finite())
        .map(|(rank, series, (x, value))| {
            let left = frame.px(x) + (rank - 0.5 * count) * width;
            Bar { series, value, left: left + 0.03 * width, right: left + 0.97 * width, end: frame.py(value) }
        })
        .collect()
}

pub(super) fn color(series: &Series, place: usize) -> RGBColor {
    palette(series.color.unwrap_or(place))
}

pub(super) fn palette(place: usize) -> RGBColor {
    PALETTE[place % PALETTE.len()]
}

/// Width by the number of letters: the height of the picture is needed before there is a surface to measure on. 0.55 of the
/// size is more than the font's mean.
pub(super) fn estimated_width(text: &str, size: f64) -> f64 {
    0.55 * size * text.chars().count() as f64
}

/// Breaks `text` at spaces into lines no wider than `room`; what does not fit in the last line ends in an ellipsis.
fn wrap(text: &str, room: f64, width: impl Fn(&str) -> f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let last_line = lines.len() == CATEGORY_LINES;
        match lines.last_mut() {
            Some(line) if last_line || width(&format!("{line} {word}")) <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    for line in &mut lines {
        if width(line) > room {
            while !line.is_empty() && width(&format!("{line}…")) > room {
                line.pop();
            }
            line.push('…');
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_wrapped_at_spaces_and_cut_where_they_cannot_fit() {
        let width = |text: &str| text.chars().count() as f64;
        assert_eq!(wrap("one two three", 7.0, width), ["one two", "three"]);
        assert_eq!(wrap("incompressible", 6.0, width), ["incom…"]);
        assert_eq!(wrap("a b c d e f", 1.0, width), ["a", "b", "…"]);
        assert_eq!(wrap("", 5.0, width), [""; 0]);
    }
}
