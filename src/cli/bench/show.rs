//! Where a report goes: the terminal, a file, a picture, a comparison.

use super::super::table::table;
use super::super::transform;
use super::compare::{self, Comparison};
use super::options::Common;
use super::report::{Kind, Report, Row};
use crate::decode::Fidelity;
use crate::{Error, Recipe, Result};
use serde_json::Value;
use std::process::ExitCode;

/// What is checked and read before anything is measured, so that a mistake is not found out after minutes.
pub(super) struct Outlet<'a> {
    common: &'a Common,
    before: Option<Report>,
}

impl<'a> Outlet<'a> {
    /// # Errors
    /// As [`Common::check`] and [`compare::read`].
    pub(super) fn open(common: &'a Common, kind: Kind) -> Result<Self> {
        common.check(kind)?;
        let before = common.against.as_deref().map(|path| compare::read(path, kind)).transpose()?;
        Ok(Self { common, before })
    }

    /// Prints, writes, draws and compares. `more` is printed under the table.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be written.
    pub(super) fn put(&self, report: &Report, recipe: &Recipe, more: &str) -> Result<ExitCode> {
        let json = self.common.json;
        // Files first: a figure that took minutes must not be lost to a closed pipe, nor the text to a full disk.
        let written = [self.write(report), self.draw(report)];
        let text = if json { report.json() + "\n" } else { format!("{}{more}", text(report, recipe)) };
        super::super::print(&text)?;
        let code = self.compare(report)?;
        written.into_iter().collect::<Result<()>>()?;
        Ok(code)
    }

    fn write(&self, report: &Report) -> Result<()> {
        let Some(path) = &self.common.out else { return Ok(()) };
        std::fs::write(path, report.json() + "\n").map_err(Error::io(path))
    }

    fn draw(&self, report: &Report) -> Result<()> {
        let Some(path) = &self.common.plot else { return Ok(()) };
        let chart = super::plot::chart(report);
        chart.write_png(path)?;
        chart.write_svg(&path.with_extension("svg"))
    }

    /// Failure where `--fail-below` says so.
    fn compare(&self, report: &Report) -> Result<ExitCode> {
        let Common { json, against, fail_below, .. } = self.common;
        let Some((before, path)) = self.before.as_ref().zip(against.as_deref()) else { return Ok(ExitCode::SUCCESS) };
        let comparison = Comparison::of(before, report);
        if *json {
            eprint!("{}", comparison.text(path));
        } else {
            super::super::print(&format!("\n{}", comparison.text(path)))?;
        }
        match fail_below.map(|least| comparison.check(least)) {
            Some(Err(error)) => {
                eprintln!("error: {error}");
                Ok(ExitCode::FAILURE)
            }
            _ => Ok(ExitCode::SUCCESS),
        }
    }
}

/// Machine and settings, the table, and what its columns mean.
fn text(report: &Report, recipe: &Recipe) -> String {
    let mut text = head(report, recipe);
    let columns: Vec<_> = columns(report).into_iter().filter(|(_, cells)| cells.iter().any(Option::is_some)).collect();
    let header: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let cell = |cells: &Vec<Option<String>>, row: usize| cells[row].clone().unwrap_or_else(|| "-".into());
    let rows: Vec<Vec<String>> =
        (0..report.rows.len()).map(|row| columns.iter().map(|(_, cells)| cell(cells, row)).collect()).collect();
    text += &table(&header, &rows);
    text += &foot(report);
    text
}

/// The machine in a line, as this version of the program writes it, and its instruction sets.
pub(super) fn machine(report: &Report) -> String {
    let field = |name| report.machine.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
    let cores = report.machine.get("cores").and_then(Value::as_u64).unwrap_or(0);
    let commit = report.machine.get("commit").and_then(Value::as_str).map_or(String::new(), |c| format!(" at {c}"));
    format!(
        "bandfeed {}{commit}, {}, {cores} cores, {}, {}",
        field("version"),
        field("cpu"),
        field("simd"),
        report.date
    )
}

/// Load average from which on something else is running, or was a minute ago.
const BUSY: f64 = 0.5;

fn head(report: &Report, recipe: &Recipe) -> String {
    let mut text = machine(report) + "\n";
    let features: Vec<&str> = report
        .machine
        .get("features")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if !features.is_empty() {
        text += &format!("processor features: {}\n", features.join(" "));
    }
    text += &format!("{}: {} images; {} engine", report.source, report.images, report.engine);
    if let Some(size) = report.batch_size {
        text += &format!("; batches of {size}");
    }
    if let Some(ahead) = report.prefetch {
        text += &format!(", {ahead} made ahead");
    }
    text += &format!("; base {}", report.base);
    if let Some(crop) = &report.crop {
        text += &format!(", {crop} band crop");
    }
    if recipe.fuse && report.kind != Kind::Decode {
        text += ", fused";
    }
    text += &format!(
        "; {}; {} {} of {} s",
        match recipe.fidelity {
            Fidelity::Fast => format!("scale margin {}", report.scale_margin),
            Fidelity::Exact => "never scaled".to_owned(),
        },
        report.rounds,
        if report.rounds == 1 { "round" } else { "rounds" },
        report.seconds
    );
    text += &format!("\n{}\n", transform::describe(recipe));
    if report.load_before > BUSY {
        text +=
            &format!("The machine was busy before: load average {:.1}. Rates may be too low.\n", report.load_before);
    }
    text + "\n"
}

/// All columns there are, each with a cell for every row. Those without a figure are not shown.
fn columns(report: &Report) -> Vec<(&'static str, Vec<Option<String>>)> {
    let column = |name, cell: &dyn Fn(&Row) -> Option<String>| (name, report.rows.iter().map(cell).collect());
    let share = |value: Option<f64>| value.map(|share| format!("{:.1} %", 100.0 * share));
    let fixed = |value: Option<f64>, digits: usize| value.map(|value| format!("{value:.digits$}"));
    // A state that nobody asked about is left as it is, and not told.
    let told = report.rows.iter().any(|row| row.resident.is_some());
    let replayed = report.rows.iter().any(|row| row.key.replay > Some(1));
    vec![
        column("stage", &|r| r.key.stage.map(|number| number.to_string())),
        column("band", &|r| Some(r.key.band.map_or("whole".into(), |band| band.to_string()))),
        column("workers", &|r| Some(r.key.workers.to_string())),
        column("part", &|r| r.key.part.clone()),
        column("decoder", &|r| r.key.decoder.clone()),
        column("crop", &|r| r.key.crop.clone().filter(|_| report.crop.is_none())),
        column("cache", &|r| r.key.cache.filter(|_| told).map(|cache| cache.to_string())),
        column("replay", &|r| r.key.replay.filter(|_| replayed).map(|times| times.to_string())),
        column("images/s", &|r| Some(format!("{:.0}", r.images_per_second))),
        column("min..max", &|r| Some(format!("{:.0}..{:.0}", r.min, r.max))),
        column("rate", &|r| r.relative.map(|rate| format!("{rate:.2}x"))),
        column("needed", &|r| r.needed.map(|rate| format!("{rate:.2}x"))),
        column("Mpixel/s", &|r| fixed(r.megapixels_per_second, 1)),
        column("MB/s", &|r| fixed(r.megabytes_per_second, 1)),
        column("KB", &|r| fixed(r.looked_at_kb, 1)),
        column("disk KB", &|r| fixed(r.disk_kb, 1)),
        column("launches", &|r| fixed(r.launches, 0)),
        column("up KB", &|r| fixed(r.uploaded_kb, 1)),
        column("down KB", &|r| fixed(r.downloaded_kb, 1)),
        column("cpu ms", &|r| fixed(r.cpu_ms_per_image, 2)),
        column("read ms", &|r| fixed(r.read_ms, 3)),
        column("decode ms", &|r| fixed(r.decode_ms, 3)),
        column("render ms", &|r| fixed(r.render_ms, 3)),
        column("own", &|r| share(r.own_share)),
        column("indexed", &|r| share(r.indexed_share)),
        column("waiting", &|r| share(r.wait_share)),
        column("resident", &|r| share(r.resident)),
    ]
}

fn foot(report: &Report) -> String {
    let mut text = String::new();
    let any = |told: fn(&Row) -> bool| report.rows.iter().any(told);
    let base = report.base;
    text += "\nimages/s: median of the rounds.";
    if any(|r| r.relative.is_some()) {
        text +=
            &format!(" rate: images/s over those at {base} px. needed: what equal compute asks for, ({base}/band)^2.");
    }
    text += "\n";
    if any(|r| r.megapixels_per_second.is_some()) {
        text += "Mpixel/s: pixels that the decoder handed over. MB/s: encoded bytes that were looked at.\n";
    }
    if any(|r| r.looked_at_kb.is_some()) {
        text += "KB: encoded bytes of an image that were looked at.";
        text += if any(|r| r.disk_kb.is_some()) { " disk KB: what the system read for it.\n" } else { "\n" };
    }
    if any(|r| r.own_share.is_some()) {
        text += "own: images that needed no libjpeg-turbo.\n";
    }
    if any(|r| r.resident.is_some()) {
        text += "resident: share of the files' pages in memory when a window began. cold: evicted before it, one pass at most.\n";
    }
    let kept = report.rows.iter().filter(|r| r.key.cache == Some(super::cache::Cache::Cold)).filter_map(|r| r.resident);
    if kept.fold(0.0, f64::max) > 0.5 {
        text += "The system did not evict the files as it was asked: the cold rows are not cold.\n";
    }
    if any(|r| r.key.replay > Some(1)) {
        text += "replay: uses of a decoded image. images/s and the times count every use.\n";
    }
    if report.bad_files > 0 {
        text += &format!("{} files gave no image; `bandfeed decode` tells why\n", report.bad_files);
    }
    if let Some(bytes) = report.peak_memory_bytes {
        text += &format!("peak memory of the process: {:.0} MB\n", bytes as f64 * 1e-6);
    }
    if let [first, .., last] = report.memory_after_round_bytes[..] {
        let mb = |bytes: u64| bytes as f64 * 1e-6;
        text += &format!(
            "memory of the process after the first round: {:.0} MB, after the last: {:.0} MB\n",
            mb(first),
            mb(last)
        );
    }
    text
}
