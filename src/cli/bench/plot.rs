//! `--plot`: images/s over the band, and what equal compute asks for.
//!
//! At a band of B pixels a model's step costs `(B / base)^2` of one at the base size, so a model that just takes what a loader
//! makes at the base size takes `(base / B)^2` times as much at B (`efficienttrain.md` §5). A loader below that line keeps it
//! waiting.

use super::super::chart::{Chart, Panel, Series, Style};
use super::report::{Kind, Report, Row};
use super::show::machine;

/// In the legend of the line.
const NEEDED: &str = "needed to keep the trainer busy: (base/B)² x the rate at the base";
/// In the legend where there are several such lines, in their curves' colours.
const NEEDED_DASHED: &str = "dashed: needed to keep the trainer busy, (base/B)² x the rate at the base";

/// Place of the palette's grey, after the colours of curves.
const GREY: usize = 6;

/// Rows that differ in band or stage only.
struct Curve<'a> {
    name: String,
    /// By place on the x axis.
    rows: Vec<(f64, &'a Row)>,
    /// Whether the trainer's need is told from it.
    has_need: bool,
}

pub(super) fn chart(report: &Report) -> Chart {
    let curves = curves(report);
    let last = report.source.trim_end_matches('/').rsplit('/').next().unwrap_or(&report.source).to_owned();
    let what = match report.kind {
        Kind::Decode => "Decoding alone",
        Kind::Crop => "From pixels to batch alone",
        Kind::Loader => "Loader",
        Kind::Train => "Trainer and loader",
    };
    // As even as can be: seven curves are four and three.
    let parts = curves.len().div_ceil(GREY).max(1);
    let each = curves.len().div_ceil(parts).max(1);
    let mut panels = Vec::new();
    for (part, curves) in curves.chunks(each).enumerate() {
        let of = if parts > 1 { format!(" ({} of {parts})", part + 1) } else { String::new() };
        panels.extend(pair(report, curves, &of));
    }
    panels.extend(whole(report));
    Chart { title: format!("{what}, {last}"), subtitle: machine(report), panels }
}

/// Rates and ratios of as many curves as the palette has colours.
fn pair(report: &Report, curves: &[Curve<'_>], of: &str) -> Vec<Panel> {
    let mut rates = panel(report, "images/s", &format!("Images a second, median and range of the rounds{of}"));
    let mut relative = panel(report, "times the rate at the base", &format!("Relative to the base size{of}"));
    let several = curves.iter().filter(|curve| curve.has_need).count() > 1;
    for (place, curve) in curves.iter().enumerate() {
        let drawn = |name: &str, style, points| Series { color: Some(place), ..Series::new(name, style, points) };
        let range = |(x, row): &(f64, &Row)| [(*x, row.min), (*x, row.max), (*x, f64::NAN)];
        let rate = curve.points(|row| row.images_per_second);
        rates.series.push(drawn(&curve.name, Style::Line, rate.clone()));
        rates.series.push(drawn("", Style::Points, rate));
        rates.series.push(drawn("", Style::Line, curve.rows.iter().flat_map(range).collect()));
        let ratio = curve.points(|row| row.relative.unwrap_or(f64::NAN));
        relative.series.push(drawn(&curve.name, Style::Line, ratio.clone()));
        relative.series.push(drawn("", Style::Points, ratio));
        let need = curve.need(report.base);
        if several && curve.has_need {
            rates.series.push(drawn("", Style::Line, dashed(below(need, 1.5 * report.fastest()))));
        } else if curve.has_need {
            rates.series.push(grey(NEEDED, need));
        }
    }
    if several {
        rates.series.push(grey(NEEDED_DASHED, Vec::new()));
    }
    if let Some(longest) = curves.iter().max_by_key(|curve| curve.rows.len()) {
        let at_one = |(x, needed): &(f64, f64)| (*x, *needed / longest.at_base());
        relative.series.push(grey(NEEDED, longest.need(report.base).iter().map(at_one).collect()));
    }
    // Without the base size there is nothing to relate to.
    let is_related = report.rows.iter().any(|row| row.relative.is_some());
    if is_related { vec![rates, relative] } else { vec![rates] }
}

fn grey(name: &str, points: Vec<(f64, f64)>) -> Series {
    Series { color: Some(GREY), ..Series::new(name, Style::Line, points) }
}

/// Interrupts a finely sampled line.
fn dashed(mut points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    for point in points.iter_mut().skip(DASH).step_by(DASH + 1) {
        point.1 = f64::NAN;
    }
    points
}

/// Points of a dash; the gap takes two steps between points.
const DASH: usize = 3;

/// Leaves out what is above `most`: several such lines would press the measured curves flat.
fn below(points: Vec<(f64, f64)>, most: f64) -> Vec<(f64, f64)> {
    points.into_iter().map(|(x, y)| (x, if y <= most { y } else { f64::NAN })).collect()
}

/// Rates of whole images, which have no band.
fn whole(report: &Report) -> Option<Panel> {
    let rows: Vec<&Row> = report.rows.iter().filter(|row| row.key.band.is_none()).collect();
    let bars = rows.iter().enumerate().map(|(place, row)| (place as f64, row.images_per_second)).collect();
    let panel = Panel {
        title: "Whole images".into(),
        y_label: "images/s".into(),
        categories: rows.iter().map(|row| report.series(&row.key)).collect(),
        series: vec![Series { color: Some(5), ..Series::new("", Style::Bars, bars) }],
        height: 150,
        ..Panel::default()
    };
    (!rows.is_empty()).then_some(panel)
}

impl Curve<'_> {
    fn points(&self, value: impl Fn(&Row) -> f64) -> Vec<(f64, f64)> {
        self.rows.iter().map(|(x, row)| (*x, value(row))).collect()
    }

    /// Rate at the base size; no number where it was not measured.
    fn at_base(&self) -> f64 {
        let rate = |row: &Row| Some(row.images_per_second / row.relative?);
        self.rows.iter().rev().find_map(|(_, row)| rate(row)).unwrap_or(f64::NAN)
    }

    /// What equal compute asks for: at every pixel between the bands, or at the stages.
    fn need(&self, base: u32) -> Vec<(f64, f64)> {
        const POINTS: u32 = 96;
        let at_base = self.at_base();
        if self.rows.iter().any(|(_, row)| row.key.stage.is_some()) {
            return self.points(|row| at_base * row.needed.unwrap_or(f64::NAN));
        }
        let (first, last) = (self.rows[0].0, self.rows[self.rows.len() - 1].0);
        let point = |i| {
            let x = first + (last - first) * f64::from(i) / f64::from(POINTS);
            (x, at_base * (f64::from(base) / x).powi(2))
        };
        (0..=POINTS).map(point).collect()
    }
}

impl Report {
    fn fastest(&self) -> f64 {
        self.rows.iter().map(|row| row.max).fold(0.0, f64::max)
    }
}

fn panel(report: &Report, y_label: &str, title: &str) -> Panel {
    let by_stage = report.rows.iter().any(|row| row.key.stage.is_some());
    Panel {
        title: title.into(),
        x_label: if by_stage { "stage of the schedule" } else { "B, side of the band in pixels" }.into(),
        y_label: y_label.into(),
        from_zero: true,
        categories: if by_stage { stages(report) } else { Vec::new() },
        x_range: x_range(report),
        height: 330,
        ..Panel::default()
    }
}

/// From the smallest to the largest band, with some air: a range on the frame would not be seen.
fn x_range(report: &Report) -> Option<(f64, f64)> {
    let bands = || report.rows.iter().filter_map(|row| row.key.band).map(f64::from);
    let (low, high) = (bands().reduce(f64::min)?, bands().reduce(f64::max)?);
    let air = if high > low { 0.03 * (high - low) } else { 1.0 };
    Some((low - air, high + air))
}

/// Stages in their order, with their bands.
fn stages(report: &Report) -> Vec<String> {
    let mut stages: Vec<(usize, u32)> = report.rows.iter().filter_map(|row| row.key.stage.zip(row.key.band)).collect();
    stages.sort_unstable();
    stages.dedup();
    stages.into_iter().map(|(number, band)| format!("{number}: {band} px")).collect()
}

fn curves(report: &Report) -> Vec<Curve<'_>> {
    let stages = stages(report);
    let place = |row: &Row| {
        let band = row.key.band?;
        let Some(number) = row.key.stage else { return Some(f64::from(band)) };
        stages.iter().position(|name| *name == format!("{number}: {band} px")).map(|place| place as f64)
    };
    let mut curves: Vec<Curve<'_>> = Vec::new();
    // Rows at the base size, which are not cut, are named by no crop: they begin no curve unless there is no other row.
    let uncut = |row: &&Row| row.key.crop.as_deref() == Some(super::report::NOT_CUT);
    let (last, first): (Vec<&Row>, Vec<&Row>) = report.rows.iter().partition(uncut);
    for row in first.into_iter().chain(last) {
        let Some(x) = place(row) else { continue };
        let mut found = false;
        for curve in curves.iter_mut().filter(|curve| curve.rows[0].1.key.is_of_one_series(&row.key)) {
            curve.rows.push((x, row));
            found = true;
        }
        if !found {
            let has_need = row.key.part.as_deref().is_none_or(|part| part == "model");
            curves.push(Curve { name: report.series(&row.key), rows: vec![(x, row)], has_need });
        }
    }
    for curve in &mut curves {
        curve.rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    curves
}

#[cfg(test)]
mod tests {
    use super::super::report::{relate, tests::fixed};
    use super::*;

    #[test]
    fn the_needed_line_is_equal_compute_through_the_rate_at_the_base() {
        let chart = chart(&fixed(&[(224, 1000.0, 990.0, 1010.0), (112, 2500.0, 2400.0, 2600.0)]));
        let needed = |panel: &Panel| {
            let line = panel.series.iter().find(|series| series.name == NEEDED).unwrap();
            let at = |x: f64| line.points.iter().find(|point| (point.0 - x).abs() < 0.01).unwrap().1;
            // The middle of the axis: (224 / 168)^2.
            [at(112.0), at(168.0), at(224.0)].map(|y| (y * 1e6).round() / 1e6)
        };
        assert_eq!(needed(&chart.panels[0]), [4000.0, 1777.777778, 1000.0]);
        assert_eq!(needed(&chart.panels[1]), [4.0, 1.777778, 1.0]);
        let rates = &chart.panels[0].series[0];
        assert_eq!(
            (rates.name.as_str(), &rates.points[..]),
            ("2 workers, warm", &[(112.0, 2500.0), (224.0, 1000.0)][..])
        );
        assert_eq!(chart.panels[1].series[0].points[0], (112.0, 2.5));
        assert!(chart.subtitle.contains("A processor, 2 cores, AVX2") && chart.subtitle.contains("2026-11-24"));
    }

    #[test]
    fn each_series_has_its_own_curve_and_the_uncut_base_belongs_to_all_crops() {
        let mut report = fixed(&[(96, 10.0, 9.0, 11.0), (96, 20.0, 19.0, 21.0), (224, 5.0, 4.0, 6.0)]);
        for (row, crop) in report.rows.iter_mut().zip(["fourier", "lanczos", super::super::report::NOT_CUT]) {
            row.key.crop = Some(crop.into());
        }
        let curves = curves(&report);
        let points =
            |curve: &Curve<'_>| curve.rows.iter().map(|(x, row)| (*x, row.images_per_second)).collect::<Vec<_>>();
        let found: Vec<_> = curves.iter().map(|curve| (curve.name.as_str(), points(curve))).collect();
        let of = |rate| vec![(96.0, rate), (224.0, 5.0)];
        assert_eq!(found, [("fourier", of(10.0)), ("lanczos", of(20.0))]);
    }

    #[test]
    fn no_two_curves_of_a_panel_have_one_colour() {
        let rows: Vec<_> = (0..7).flat_map(|_| [(96, 10.0, 9.0, 11.0), (224, 5.0, 4.0, 6.0)]).collect();
        let mut report = fixed(&rows);
        for (place, row) in report.rows.iter_mut().enumerate() {
            row.key.workers = 1 + place / 2;
        }
        relate(&mut report.rows, 224);
        let chart = chart(&report);
        let named = |panel: &Panel| {
            let curves = panel.series.iter().filter(|series| series.name.contains("worker"));
            curves.map(|series| series.color.unwrap()).collect::<Vec<_>>()
        };
        let found: Vec<_> = chart.panels.iter().map(named).collect();
        assert_eq!(found, [vec![0, 1, 2, 3], vec![0, 1, 2, 3], vec![0, 1, 2], vec![0, 1, 2]]);
        assert!(chart.panels[2].title.ends_with("(2 of 2)"), "{}", chart.panels[2].title);
    }

    #[test]
    fn stages_stand_side_by_side_even_at_one_band() {
        let mut report = fixed(&[(96, 30.0, 29.0, 31.0), (96, 20.0, 19.0, 21.0), (224, 5.0, 4.0, 6.0)]);
        for (row, stage) in report.rows.iter_mut().zip([1, 2, 10]) {
            row.key.stage = Some(stage);
        }
        let chart = chart(&report);
        assert_eq!(chart.panels[0].categories, ["1: 96 px", "2: 96 px", "10: 224 px"]);
        assert_eq!(chart.panels[0].series[0].points, [(0.0, 30.0), (1.0, 20.0), (2.0, 5.0)]);
        let needed = chart.panels[1].series.iter().find(|series| series.name == NEEDED).unwrap();
        assert_eq!(
            needed.points.iter().map(|(x, y)| (*x, (y * 100.0).round())).collect::<Vec<_>>(),
            [(0.0, 544.0), (1.0, 544.0), (2.0, 100.0)]
        );
    }

    #[test]
    fn of_several_curves_each_has_its_need_in_its_colour_and_whole_images_stand_apart() {
        let mut report =
            fixed(&[(96, 10.0, 9.0, 11.0), (224, 5.0, 4.0, 6.0), (96, 20.0, 19.0, 21.0), (224, 8.0, 7.0, 9.0)]);
        report.rows[2].key.workers = 4;
        report.rows[3].key.workers = 4;
        relate(&mut report.rows, 224);
        report.rows.push(Row { images_per_second: 3.0, ..report.rows[0].clone() });
        report.rows[4].key.band = None;
        let chart = chart(&report);
        let dashes = |color| {
            let of = |series: &&Series| series.color == Some(color) && series.points.len() > 50;
            chart.panels[0].series.iter().find(of).unwrap().points.clone()
        };
        for (color, at_base) in [(0, 5.0), (1, 8.0)] {
            let line = dashes(color);
            assert!(line.iter().filter(|(_, y)| y.is_nan()).count() > 20, "gaps, and nothing far above the curves");
            assert!(line.iter().all(|(x, y)| y.is_nan() || (y - at_base * (224.0 / x).powi(2)).abs() < 1e-9));
            assert!(line.iter().all(|(_, y)| y.is_nan() || *y <= 1.5 * 21.0));
        }
        assert!(chart.panels[0].series.iter().any(|series| series.name == NEEDED_DASHED));
        assert_eq!((chart.panels[2].categories.len(), chart.panels[2].series[0].points[0]), (1, (0.0, 3.0)));
    }
}
