//! What a search found: `found.toml`, a table, a chart.

use super::super::chart::{Chart, Panel, Series, Style};
use super::super::job::short;
use super::super::table::table;
use super::setup::Setup;
use super::{FOUND_FILE, RECORD_FILE};
use crate::error::Result;
use crate::train::curriculum::{Finished, Search};
use std::path::Path;

/// A finished trial on one line, with what is still to come.
pub(super) fn line(search: &Search, finished: &Finished) -> String {
    let Finished { stage, band, top1, loss, seconds, .. } = finished;
    let outcome = match &finished.diverged {
        Some(reason) => format!("diverged: {reason}"),
        None => format!("top-1 {:.2} %, loss {loss:.4}", top1 * 100.0),
    };
    let left = search.most_left();
    let all = search.finished();
    let mean = all.iter().map(|trial| trial.seconds).sum::<f64>() / all.len() as f64;
    let to_come = match left {
        0 => String::new(),
        _ => format!("; at most {left} more, about {}", duration(left as f64 * mean)),
    };
    format!("trial {:3}  stage {}, {band} px: {outcome}, {}{to_come}", all.len(), stage + 1, duration(*seconds))
}

/// Writes the schedule and the chart, and prints the table.
pub(super) fn report(setup: &Setup, search: &Search, out: &Path) -> Result<()> {
    let bands = search.bands().expect("the search is at its end");
    let schedule = setup.schedule(&bands)?;
    let path = out.join(FOUND_FILE);
    let text = comment(setup, search) + "\n" + &schedule.to_toml();
    super::super::chart::write(&path, text.as_bytes())?;
    chart(setup, search).write_png(&out.join("search.png"))?;
    println!("\n{}", trials(search));
    println!("{}", stages(search, &bands));
    println!("{}", cost(search));
    println!("schedule: {}; every trial: {}", path.display(), out.join(RECORD_FILE).display());
    println!("train with it: bandfeed train --train {} --schedule {} ...", setup.data, path.display());
    Ok(())
}

/// All trials, the chosen ones marked.
fn trials(search: &Search) -> String {
    let rows: Vec<Vec<String>> = search
        .finished()
        .iter()
        .map(|trial| {
            let (top1, loss) = match trial.diverged {
                Some(_) => ("diverged".into(), "-".into()),
                None => (format!("{:.2}", trial.top1 * 100.0), format!("{:.4}", trial.loss)),
            };
            let chosen = if search.best(trial.stage) == Some(trial) { "*" } else { "" };
            let (stage, band) = ((trial.stage + 1).to_string(), trial.band.to_string());
            let (compute, seconds) = (format!("{:.3}", trial.compute), format!("{:.1}", trial.seconds));
            vec![stage, band, top1, loss, compute, seconds, chosen.into()]
        })
        .collect();
    table(&["stage", "band", "top-1 %", "loss", "eq. epochs", "seconds", "chosen"], &rows)
}

/// The curriculum in a line: `32 to 40 %, 64 to 100 % of the compute`.
fn stages(search: &Search, bands: &[u32]) -> String {
    let plan = search.plan();
    let runs = bands.chunk_by(|a, b| a == b).scan(0, |end, run| {
        *end += run.len();
        Some(format!("{} px to {:.0} %", run[0], plan.begin(*end) * 100.0))
    });
    format!("found      {} of the compute", runs.collect::<Vec<_>>().join(", "))
}

fn cost(search: &Search) -> String {
    let (plan, spent) = (search.plan(), search.spent());
    let seconds = search.finished().iter().map(|trial| trial.seconds).sum::<f64>();
    format!(
        "cost       {} trials, {spent:.2} equivalent epochs of at most {:.2} ({:.2} times the run's {}), {}",
        search.finished().len(),
        plan.most_compute(),
        spent / plan.epochs,
        plan.epochs,
        duration(seconds)
    )
}

/// How it was found, as comments of TOML.
fn comment(setup: &Setup, search: &Search) -> String {
    let plan = search.plan();
    let lines = [
        format!("Found by `bandfeed search` on {}: {}.", setup.data, setup.machine),
        format!(
            "Bands {:?} in {} stages of equal compute, for a run of {} equivalent epochs; seed {}.",
            plan.candidates,
            plan.stages(),
            plan.epochs,
            setup.config.seed
        ),
        format!(
            "Scored by top-1 on {}, after fine-tuning at {} px over {} of the run's compute.",
            setup.scored_by(),
            plan.base,
            plan.fine_tune
        ),
        cost(search).split_whitespace().collect::<Vec<_>>().join(" ") + &format!("; all of them: {RECORD_FILE}"),
        "Train with it: bandfeed train --schedule THIS, with the options of the search.".into(),
    ];
    // A name with a line break in it would end the comment.
    lines.map(|line| format!("# {}\n", line.replace(char::is_control, " "))).concat()
}

/// Score by band, a panel for each stage.
fn chart(setup: &Setup, search: &Search) -> Chart {
    let plan = search.plan();
    let ends = (f64::from(plan.candidates[0]), f64::from(plan.base));
    let panels = (0..plan.stages()).filter_map(|stage| {
        let best = search.best(stage)?;
        let of = |trial: &Finished| (f64::from(trial.band), trial.top1 * 100.0);
        let all = search.finished().iter().filter(|trial| trial.stage == stage && trial.diverged.is_none());
        let points: Vec<_> = all.map(of).collect();
        let series =
            |name: &str, style, points, color| Series { color: Some(color), ..Series::new(name, style, points) };
        let first = stage == 0;
        Some(Panel {
            title: format!(
                "Stage {}, {:.0} to {:.0} % of the compute: {} px",
                stage + 1,
                plan.begin(stage) * 100.0,
                plan.begin(stage + 1) * 100.0,
                best.band
            ),
            y_label: "top-1, %".into(),
            series: vec![
                series("", Style::Line, points.clone(), 0),
                series(if first { "trial" } else { "" }, Style::Points, points, 0),
                series(if first { "chosen" } else { "" }, Style::Points, vec![of(best)], 1),
            ],
            x_range: Some(ends),
            height: 150,
            ..Panel::default()
        })
    });
    let mut panels: Vec<Panel> = panels.collect();
    if let Some(last) = panels.last_mut() {
        last.x_label = "band, pixels".into();
    }
    Chart {
        title: format!("Curriculum search on {}", short(&setup.data)),
        subtitle: format!("after fine-tuning at {} px, on {}", plan.base, setup.scored_by()),
        panels,
    }
}

/// Seconds as a person says them.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}
