//! `--against`: two reports of one command, row by row.

use super::super::table::table;
use super::report::{Report, Row};
use crate::{Error, Result};
use serde_json::Value;
use std::path::Path;

/// What two reports tell together.
#[derive(Debug, PartialEq)]
pub(super) struct Comparison {
    /// What was not alike besides the code.
    warnings: Vec<String>,
    rows: Vec<Pair>,
    /// Rows that one side lacks.
    only_before: Vec<String>,
    only_now: Vec<String>,
    /// Date and build of the earlier report.
    before: String,
}

/// A row of both.
#[derive(Debug, PartialEq)]
struct Pair {
    name: String,
    before: [f64; 3],
    now: [f64; 3],
    /// Median over median.
    ratio: f64,
    verdict: Verdict,
}

/// Only where the ranges from the slowest to the fastest round do not overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Faster,
    Slower,
    WithinSpread,
}

/// The earlier report, read before anything is measured.
///
/// # Errors
/// As [`Report::read`]; [`Error::Source`] also for a report of another command.
pub(super) fn read(path: &Path, kind: super::report::Kind) -> Result<Report> {
    let report = Report::read(path)?;
    if report.kind != kind {
        let reason = format!("is a report of `bandfeed bench {}`, this is `bandfeed bench {kind}`", report.kind);
        return Err(Error::source(path, reason));
    }
    Ok(report)
}

impl Comparison {
    pub(super) fn of(before: &Report, now: &Report) -> Self {
        let find = |row: &Row, among: &Report| among.rows.iter().find(|other| other.key.is_same_row(&row.key)).cloned();
        let missing = |from: &Report, in_: &Report| {
            let names = from.rows.iter().filter(|row| find(row, in_).is_none());
            names.map(|row| row.key.words()).collect::<Vec<_>>()
        };
        let pair = |row: &Row| find(row, before).map(|earlier| Pair::of(&earlier, row));
        Self {
            warnings: differences(before, now),
            rows: now.rows.iter().filter_map(pair).collect(),
            only_before: missing(before, now),
            only_now: missing(now, before),
            before: format!("{}, {}", before.date, build(&before.machine)),
        }
    }

    /// Table, rows that one side lacks, and warnings.
    pub(super) fn text(&self, path: &Path) -> String {
        let rate = |[median, low, high]: [f64; 3]| format!("{median:.0} ({low:.0}..{high:.0})");
        let line = |pair: &Pair| {
            let verdict = match pair.verdict {
                Verdict::Faster => "faster",
                Verdict::Slower => "slower",
                Verdict::WithinSpread => "",
            };
            vec![
                pair.name.clone(),
                rate(pair.before),
                rate(pair.now),
                format!("{:.3}x", pair.ratio),
                verdict.to_owned(),
            ]
        };
        let mut text = format!("against {} ({}), images/s:\n\n", path.display(), self.before);
        let rows: Vec<Vec<String>> = self.rows.iter().map(line).collect();
        text += &table(&["row", "then (min..max)", "now (min..max)", "now/then", ""], &rows);
        text += "\nfaster, slower: the rounds' ranges do not overlap.\n";
        for (what, names) in [("then only", &self.only_before), ("now only", &self.only_now)] {
            if !names.is_empty() {
                text += &format!("{what}: {}\n", names.join("; "));
            }
        }
        for warning in &self.warnings {
            text += &format!("warning: not measured alike: {warning}\n");
        }
        text
    }

    /// # Errors
    /// [`Error::Config`] names the rows whose ratio is below `least`; so does one without any row to compare.
    pub(super) fn check(&self, least: f64) -> Result<()> {
        if self.rows.is_empty() {
            return Err(Error::config("--fail-below", "the reports have no row in common"));
        }
        // A ratio that is no number is no pass.
        let below: Vec<String> = self
            .rows
            .iter()
            .filter(|pair| pair.ratio.is_nan() || pair.ratio < least)
            .map(|pair| format!("{} ({:.3}x)", pair.name, pair.ratio))
            .collect();
        if below.is_empty() { Ok(()) } else { Err(Error::config(format!("below {least}x"), below.join("; "))) }
    }
}

impl Pair {
    fn of(before: &Row, now: &Row) -> Self {
        let verdict = if now.min > before.max {
            Verdict::Faster
        } else if now.max < before.min {
            Verdict::Slower
        } else {
            Verdict::WithinSpread
        };
        let figures = |row: &Row| [row.images_per_second, row.min, row.max];
        Self {
            name: now.key.words(),
            before: figures(before),
            now: figures(now),
            ratio: now.images_per_second / before.images_per_second,
            verdict,
        }
    }
}

/// The program's version and commit.
fn build(machine: &Value) -> String {
    let field = |name| machine.get(name).and_then(Value::as_str);
    let version = field("version").map_or("bandfeed".into(), |version| format!("bandfeed {version}"));
    field("commit").map_or(version.clone(), |commit| format!("{version} at {commit}"))
}

/// Settings that are not the same, each with both values. Version and commit are what a comparison is about.
fn differences(before: &Report, now: &Report) -> Vec<String> {
    let shown = |value: &Value| match value {
        Value::Null => "not said".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut found = Vec::new();
    let mut compare = |what: &str, before: Value, now: Value| {
        if before != now {
            found.push(format!("{what}: {} then, {} now", shown(&before), shown(&now)));
        }
    };
    for name in ["cpu", "cores", "simd", "features", "system"] {
        let field = |report: &Report| report.machine.get(name).cloned().unwrap_or(Value::Null);
        // A report of a version that did not write a field says nothing about it.
        if before.machine.get(name).is_some() && now.machine.get(name).is_some() {
            compare(&format!("machine, {name}"), field(before), field(now));
        }
    }
    type Setting = (&'static str, fn(&Report) -> Value);
    let settings: [Setting; 9] = [
        ("source", |r| r.source.clone().into()),
        ("images in the source", |r| r.images.into()),
        ("engine", |r| r.engine.clone().into()),
        ("base", |r| r.base.into()),
        ("batch size", |r| r.batch_size.into()),
        ("batches made ahead", |r| r.prefetch.into()),
        ("scale margin", |r| r.scale_margin.into()),
        ("model", |r| r.model.clone()),
        ("training threads", |r| r.threads.into()),
    ];
    for (what, value) in settings {
        compare(what, value(before), value(now));
    }
    // Reports of older versions lack these, or have no use for them.
    let newer: [Setting; 4] = [
        ("schedule", |r| r.schedule.clone().into()),
        ("seed", |r| r.seed.into()),
        ("replay capacity", |r| r.replay_capacity.into()),
        ("patch", |r| r.patch.into()),
    ];
    for (what, value) in newer {
        let (before, now) = (value(before), value(now));
        if !before.is_null() && !now.is_null() {
            compare(what, before, now);
        }
    }
    for row in &now.rows {
        let Some(earlier) = before.rows.iter().find(|other| other.key.is_same_row(&row.key)) else { continue };
        let name = row.key.words();
        if earlier.key.magnitude.is_some() && row.key.magnitude.is_some() {
            compare(&format!("magnitude at {name}"), earlier.key.magnitude.into(), row.key.magnitude.into());
        }
        let times = |row: &Row, report: &Report| row.key.replay.or(report.replay);
        compare(&format!("replay at {name}"), times(earlier, before).into(), times(row, now).into());
    }
    let fields =
        |value: &Value| value.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let mut names = fields(&before.recipe);
    names.extend(fields(&now.recipe));
    names.sort();
    names.dedup();
    for name in names {
        let field = |report: &Report| report.recipe.get(&name).cloned().unwrap_or(Value::Null);
        compare(&format!("recipe, {name}"), field(before), field(now));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::fixed;
    use super::*;

    const BEFORE: [(u32, f64, f64, f64); 3] =
        [(96, 2000.0, 1900.0, 2100.0), (160, 1500.0, 1400.0, 1600.0), (224, 1000.0, 990.0, 1010.0)];

    #[test]
    fn a_report_against_itself_has_ratios_of_exactly_one() {
        let report = fixed(&BEFORE);
        let comparison = Comparison::of(&report, &report);
        assert!(comparison.rows.iter().all(|pair| pair.ratio == 1.0 && pair.verdict == Verdict::WithinSpread));
        assert_eq!(comparison.rows.len(), 3);
        assert_eq!((comparison.only_before.len(), comparison.only_now.len(), comparison.warnings.len()), (0, 0, 0));
        comparison.check(1.0).expect("equal is not below");
    }

    #[test]
    fn a_row_is_faster_or_slower_only_where_the_ranges_do_not_overlap() {
        let now = fixed(&[(96, 2500.0, 2101.0, 2600.0), (160, 1700.0, 1600.0, 1800.0), (224, 900.0, 880.0, 989.0)]);
        let comparison = Comparison::of(&fixed(&BEFORE), &now);
        let verdicts: Vec<_> = comparison.rows.iter().map(|pair| (pair.ratio, pair.verdict)).collect();
        let (within, wider) = (Verdict::WithinSpread, 1700.0 / 1500.0);
        assert_eq!(verdicts, [(1.25, Verdict::Faster), (wider, within), (0.9, Verdict::Slower)]);
        let text = comparison.text(Path::new("old.json"));
        for part in
            ["against old.json (2026-11-24 12:00 UTC", "96 px, 2 workers, warm", "2000 (1900..2100)", "1.250x  faster"]
        {
            assert!(text.contains(part), "`{part}`: {text}");
        }
        assert!(text.lines().any(|line| line.starts_with("160 px") && line.ends_with("1.133x")), "{text}");
    }

    #[test]
    fn rows_that_one_side_lacks_are_named() {
        let before = fixed(&BEFORE[..2]);
        let mut now = fixed(&BEFORE[1..]);
        now.rows[1].key.workers = 1;
        let comparison = Comparison::of(&before, &now);
        assert_eq!(comparison.rows.len(), 1);
        assert_eq!(comparison.only_before, ["96 px, 2 workers, warm"]);
        assert_eq!(comparison.only_now, ["224 px, 1 worker, warm"]);
        let text = comparison.text(Path::new("old.json"));
        assert!(text.contains("then only: 96 px") && text.contains("now only: 224 px, 1 worker"), "{text}");
    }

    #[test]
    fn what_was_not_alike_is_told_with_both_values() {
        let before = fixed(&BEFORE);
        let mut now = fixed(&BEFORE);
        now.machine["cpu"] = "Another".into();
        now.machine["commit"] = "abc".into();
        // What the earlier report does not say is no difference.
        now.machine["features"] = serde_json::json!(["avx2"]);
        now.recipe["flip"] = 0.25.into();
        now.source = "val.tar".into();
        now.batch_size = Some(32);
        assert_eq!(
            Comparison::of(&before, &now).warnings,
            [
                "machine, cpu: A processor then, Another now",
                "source: train.tar then, val.tar now",
                "batch size: 64 then, 32 now",
                "recipe, flip: 0.5 then, 0.25 now"
            ]
        );
    }

    #[test]
    fn rows_of_one_name_that_were_made_otherwise_are_compared_with_a_warning() {
        let mut before = fixed(&BEFORE[..1]);
        let mut now = fixed(&BEFORE[..1]);
        (before.rows[0].key.magnitude, now.rows[0].key.magnitude) = (Some(2.0), Some(9.0));
        // The earlier report has it for all rows.
        now.rows[0].key.replay = Some(2);
        (before.schedule, now.schedule) = (Some("efficient_train".into()), Some("constant".into()));
        (now.seed, now.replay_capacity) = (Some(7), Some(64));
        let comparison = Comparison::of(&before, &now);
        assert_eq!((comparison.rows.len(), comparison.only_now.len()), (1, 0));
        let row = "96 px, 2 workers, warm";
        let expected = [
            "schedule: efficient_train then, constant now".to_owned(),
            "seed: 0 then, 7 now".to_owned(),
            format!("magnitude at {row}: 2.0 then, 9.0 now"),
            format!("replay at {row}: 1 then, 2 now"),
        ];
        assert_eq!(comparison.warnings, expected);
        // What an older report does not tell is no difference.
        (before.schedule, before.seed, before.rows[0].key.magnitude) = (None, None, None);
        assert_eq!(Comparison::of(&before, &now).warnings, expected[3..]);
    }

    #[test]
    fn a_ratio_below_the_bound_fails_by_name() {
        let now = fixed(&[(96, 1900.0, 1800.0, 2000.0), (224, 1000.0, 990.0, 1010.0)]);
        let comparison = Comparison::of(&fixed(&BEFORE), &now);
        comparison.check(0.95).expect("just as many");
        let error = comparison.check(0.96).unwrap_err().to_string();
        assert_eq!(error, "below 0.96x: 96 px, 2 workers, warm (0.950x)");
        assert!(Comparison::of(&fixed(&BEFORE[..1]), &fixed(&BEFORE[1..])).check(0.5).is_err(), "nothing in common");
    }
}
