//! `--plot`: images/s over the band, and what equal compute asks for.
//!
//! At a band of B pixels a model's step costs `(B / base)^2` of one at the base size, so a model that just takes what a loader
//! makes at the base size takes `(base / B)^2` times as much at B (`efficienttrain.md` §5). A loader below that line keeps it
//! waiting.

use super::super::chart::{At, Chart, Panel, Reference, Series, Style};
use super::report::{Kind, Report, Row};
use super::show::machine;

/// In the legend of the line.
const NEEDED: &str = "needed to keep the trainer busy: (base/B)² x the rate at the base";

/// Place of the palette's grey.
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
    let whole = report.rows.iter().filter(|row| row.key.band.is_none()).map(|row| Reference {
        name: format!("whole images, {}", report.series(&row.key)),
        at: At::Y(row.images_per_second),
    });
    let mut rates = panel(report, "images/s", "Images a second, median and range of the rounds");
    rates.references = whole.collect();
    let mut relative = panel(report, "times the rate at the base", "Relative to the base size");
    for (place, curve) in curves.iter().enumerate() {
        let points =
            |value: &dyn Fn(&Row) -> f64| curve.rows.iter().map(|(x, row)| (*x, value(row))).collect::<Vec<_>>();
        let drawn =
            |name: &str, style, points| Series { color: Some(place % GREY), ..Series::new(name, style, points) };
        let range = |(x, row): &(f64, &Row)| [(*x, row.min), (*x, row.max), (*x, f64::NAN)];
        let rate = points(&|row| row.images_per_second);
        rates.series.push(drawn(&curve.name, Style::Line, rate.clone()));
        rates.series.push(drawn("", Style::Points, rate));
        rates.series.push(drawn("", Style::Line, curve.rows.iter().flat_map(range).collect()));
        let ratio = points(&|row| row.relative.unwrap_or(f64::NAN));
        relative.series.push(drawn(&curve.name, Style::Line, ratio.clone()));
        relative.series.push(drawn("", Style::Points, ratio));
    }
    let needed = |panel: &mut Panel, points: Vec<(f64, f64)>| {
        let first = panel.series.iter().all(|series| series.name != NEEDED);
        let name = if first { NEEDED } else { "" };
        panel.series.push(Series { color: Some(GREY), ..Series::new(name, Style::Line, points) });
    };
    for curve in curves.iter().filter(|curve| curve.has_need) {
        let at_base = |row: &Row| row.images_per_second / row.relative.unwrap_or(f64::NAN);
        let need = |row: &Row| row.needed.unwrap_or(f64::NAN);
        needed(&mut rates, curve.rows.iter().map(|(x, row)| (*x, need(row) * at_base(row))).collect());
    }
    if let Some(longest) = curves.iter().max_by_key(|curve| curve.rows.len()) {
        needed(&mut relative, longest.rows.iter().map(|(x, row)| (*x, row.needed.unwrap_or(f64::NAN))).collect());
    }
    // Without the base size there is nothing to relate to.
    let is_related = report.rows.iter().any(|row| row.relative.is_some());
    let panels = if is_related { vec![rates, relative] } else { vec![rates] };
    Chart { title: format!("{what}, {last}"), subtitle: machine(report), panels }
}

fn panel(report: &Report, y_label: &str, title: &str) -> Panel {
    let by_stage = report.rows.iter().any(|row| row.key.stage.is_some());
    Panel {
        title: title.into(),
        x_label: if by_stage { "stage of the schedule" } else { "B, side of the band in pixels" }.into(),
        y_label: y_label.into(),
        from_zero: true,
        categories: if by_stage { stages(report) } else { Vec::new() },
        height: 330,
        ..Panel::default()
    }
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
    use super::super::report::tests::fixed;
    use super::*;

    #[test]
    fn the_needed_line_is_equal_compute_through_the_rate_at_the_base() {
        let chart = chart(&fixed(&[(224, 1000.0, 990.0, 1010.0), (112, 2500.0, 2400.0, 2600.0)]));
        let needed = |panel: &Panel| panel.series.iter().find(|series| series.name == NEEDED).unwrap().points.clone();
        assert_eq!(needed(&chart.panels[0]), [(112.0, 4000.0), (224.0, 1000.0)]);
        assert_eq!(needed(&chart.panels[1]), [(112.0, 4.0), (224.0, 1.0)]);
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
    fn stages_stand_side_by_side_even_at_one_band() {
        let mut report = fixed(&[(96, 30.0, 29.0, 31.0), (96, 20.0, 19.0, 21.0), (224, 5.0, 4.0, 6.0)]);
        for (row, stage) in report.rows.iter_mut().zip([1, 2, 10]) {
            row.key.stage = Some(stage);
        }
        let chart = chart(&report);
        assert_eq!(chart.panels[0].categories, ["1: 96 px", "2: 96 px", "10: 224 px"]);
        assert_eq!(chart.panels[0].series[0].points, [(0.0, 30.0), (1.0, 20.0), (2.0, 5.0)]);
    }
}
