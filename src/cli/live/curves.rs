//! The curves of a run.

use super::super::chart::{At, Chart, Panel, Reference, Series, Style};
use super::log::Event;
use super::timeline::changes;
use crate::schedule::{Schedule, Stage};

/// Loss, accuracy, band and speed over share of compute.
pub(crate) fn curves(title: &str, events: &[Event], schedule: &Schedule) -> Chart {
    let (mut loss, mut rate, mut wait) = (Vec::new(), Vec::new(), Vec::new());
    let (mut top1, mut window) = (Vec::new(), Vec::new());
    for event in events {
        match event {
            Event::Step { progress, loss: l, images, wait: w, compute, stage, .. } => {
                let x = progress * 100.0;
                loss.push((x, *l));
                window.push((x, *stage, *images as f64, *w, w + compute));
            }
            Event::Growth { .. } | Event::Search { .. } => {}
            Event::Evaluation { progress, report, .. } => top1.push((progress * 100.0, report.top1 * 100.0)),
        }
    }
    // Speed and waiting by stage: one step of a chart for each.
    for part in window.chunk_by(|a, b| a.1 == b.1) {
        let sum = |f: fn(&(f64, usize, f64, f64, f64)) -> f64| part.iter().map(f).sum::<f64>();
        let seconds = sum(|s| s.4).max(1e-9);
        rate.push((part[0].0, sum(|s| s.2) / seconds));
        wait.push((part[0].0, sum(|s| s.3) / seconds * 100.0));
    }
    for steps in [&mut rate, &mut wait] {
        if let Some(&(_, last)) = steps.last() {
            steps.push((100.0, last));
        }
    }
    let by_stage = |value: &dyn Fn(&Stage) -> f64| {
        let mut points: Vec<_> = schedule.stages().iter().map(|s| (s.start * 100.0, value(s))).collect();
        points.extend(schedule.stages().last().map(|s| (100.0, value(s))));
        points
    };
    let band = by_stage(&|stage| f64::from(stage.side()));
    let depth = |stage: &Stage| stage.growth.depth.map_or(0.0, |depth| f64::from(depth.blocks));
    // Sizes that were chosen on the way are in the log alone.
    let chosen = schedule.search().map(|_| changes(events));
    let over = |points: &[(f64, usize, usize)], value: fn(usize, usize) -> f64| {
        let mut points: Vec<_> =
            points.iter().map(|(at, depth, tokens)| (at * 100.0, value(*depth, *tokens))).collect();
        points.extend(points.last().map(|(_, last)| (100.0, *last)));
        points
    };
    let patch = f64::from(schedule.patch());
    let band = match &chosen {
        Some(points) => over(points, |_, tokens| (tokens as f64).sqrt()).iter().map(|(x, y)| (*x, patch * y)).collect(),
        None => band,
    };
    let depth = match &chosen {
        Some(points) => over(points, |depth, _| depth as f64),
        None => by_stage(&depth),
    };
    let changes: Vec<Reference> = schedule
        .stages()
        .windows(2)
        .filter(|w| chosen.is_some() || w[0].side() != w[1].side() || w[0].growth.depth != w[1].growth.depth)
        .map(|w| Reference { name: String::new(), at: At::X(w[1].start * 100.0) })
        .collect();
    let panel = |y_label: &str, series: Vec<Series>| Panel {
        y_label: y_label.into(),
        series,
        references: changes.clone(),
        x_range: Some((0.0, 100.0)),
        height: 200,
        ..Panel::default()
    };
    let smooth = smoothed(&loss);
    let grows = schedule.depth().is_some();
    let mut chart = Chart {
        title: title.into(),
        subtitle: match (schedule.search(), grows) {
            (Some(_), _) => "dashed: a stage begins; its first passes train a supernet",
            (None, true) => "dashed: band or depth grow",
            (None, false) => "dashed: the band grows",
        }
        .into(),
        panels: vec![
            panel(
                "training loss",
                vec![
                    Series { color: Some(1), ..Series::new("each step", Style::Line, loss) },
                    Series { color: Some(0), ..Series::new("mean of 20 steps", Style::Line, smooth) },
                ],
            ),
            panel(
                "top-1, %",
                vec![
                    Series::new("validation at the stage's band", Style::Line, top1.clone()),
                    Series { color: Some(0), ..Series::new("", Style::Points, top1) },
                ],
            ),
            panel("band, pixels", vec![Series::new("", Style::Step, band)]),
            Panel { from_zero: true, ..panel("images/s", vec![Series::new("", Style::Step, rate)]) },
            Panel {
                x_label: format!("share of the run's {}, %", schedule.clock()),
                from_zero: true,
                ..panel("waiting for input, %", vec![Series::new("", Style::Step, wait)])
            },
        ],
    };
    if grows {
        let series = Series::new("", Style::Step, depth);
        chart.panels.insert(3, Panel { from_zero: true, ..panel("depth, blocks", vec![series]) });
    }
    chart
}

/// The mean of the last 20 values at each.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    const STEPS: usize = 20;
    (0..points.len())
        .map(|i| {
            let part = &points[i.saturating_sub(STEPS - 1)..=i];
            (points[i].0, part.iter().map(|p| p.1).sum::<f64>() / part.len() as f64)
        })
        .collect()
}
