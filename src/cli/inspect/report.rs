//! The data set's report for the terminal and for the page.

use super::dataset::{Counts, Faults, Report, Spread};
use super::html::Page;
use super::visible;
use crate::cli::table::table;

/// Reasons, and files, that are named on the terminal.
const NAMED: usize = 10;

/// For the terminal, which obeys control characters: names come from outside.
pub(super) fn text(report: &Report) -> String {
    let mut text = format!("{}\n\n", visible(&summary(report)));
    for (name, value) in lines(report) {
        text += &format!("{name:12} {}\n", visible(&value));
    }
    text += &format!("\n{}", table(&SIZE_HEAD, &sizes(report)));
    for (what, faults) in faults(report) {
        text += &format!("\n{what}\n");
        for reason in faults.reasons.iter().take(NAMED) {
            text += &format!("  {:6}  {}\n", reason.files, visible(&reason.reason));
        }
        if faults.reasons.len() > NAMED {
            text += &format!("          and {} more reasons\n", faults.reasons.len() - NAMED);
        }
        for file in faults.files.iter().take(NAMED) {
            text += &format!("  {}: {}\n", visible(&file.name), visible(&file.reason));
        }
        if faults.files.len() > NAMED {
            text += &format!("  and {} more; --json or --out names all\n", faults.files.len() - NAMED);
        }
    }
    for note in &report.notes {
        text += &format!("\nnote: {}\n", visible(note));
    }
    text
}

/// For the page: all classes and all files that something is wrong with.
pub(super) fn html(report: &Report, page: &mut Page) {
    page.heading("Data set");
    page.paragraph(&summary(report));
    if !report.notes.is_empty() {
        page.list(&report.notes);
    }
    page.named(&lines(report));
    page.small_heading("Sizes");
    page.table(&SIZE_HEAD, &sizes(report));
    for (what, faults) in faults(report) {
        page.small_heading(&what);
        page.list(&faults.reasons.iter().map(|r| format!("{} times: {}", r.files, r.reason)).collect::<Vec<_>>());
        let rows: Vec<Vec<String>> = faults.files.iter().map(|f| vec![f.name.clone(), f.reason.clone()]).collect();
        page.table(&["file", "reason"], &rows);
    }
    page.small_heading("Images by class");
    let rows: Vec<Vec<String>> = report.classes.iter().map(|c| vec![c.name.clone(), c.images.to_string()]).collect();
    page.table(&["class", "images"], &rows);
}

/// What the picture of the report says in a sentence.
fn summary(report: &Report) -> String {
    let how = if report.decoded { "every image was decoded" } else { "by their headers" };
    let own = match report.own_decoder {
        Some(own) => format!(", {own} of them by the own decoder"),
        None => String::new(),
    };
    format!(
        "{}: {} images in {} classes, {}; {} readable ({how}{own})",
        report.source,
        report.images,
        report.classes.len(),
        bytes(report.total_bytes),
        report.readable
    )
}

fn lines(report: &Report) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let (Some(spread), Some(least), Some(most)) = (
        report.per_class,
        report.classes.iter().min_by_key(|class| class.images),
        // The first of equals, as for the least.
        report.classes.iter().rev().max_by_key(|class| class.images),
    ) {
        let text = match spread.min == spread.max {
            true => format!("{} images each", spread.min),
            false => format!(
                "least {} (`{}`), median {}, most {} (`{}`)",
                spread.min, least.name, spread.median, spread.max, most.name
            ),
        };
        lines.push(("classes", text));
    }
    let mut add = |name, counts: &Counts| {
        if !counts.is_empty() {
            lines.push((name, listed(counts)));
        }
    };
    add("formats", &report.formats);
    add("JPEG process", &report.jpeg.processes);
    add("subsampling", &report.jpeg.subsampling);
    add("colour", &report.jpeg.color_spaces);
    if report.orientations.keys().any(|orientation| orientation != "1") {
        let named = report.orientations.iter().map(|(value, count)| (format!("EXIF {value}"), *count)).collect();
        add("orientation", &named);
    }
    lines
}

/// "JPEG (198), PNG (2)": the most frequent first.
fn listed(counts: &Counts) -> String {
    let mut sorted: Vec<(&String, &u64)> = counts.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    sorted.iter().map(|(name, count)| format!("{name} ({count})")).collect::<Vec<_>>().join(", ")
}

const SIZE_HEAD: [&str; 4] = ["", "least", "median", "most"];

fn sizes(report: &Report) -> Vec<Vec<String>> {
    fn row<T: Copy>(name: &str, spread: Option<Spread<T>>, text: impl Fn(T) -> String) -> Option<Vec<String>> {
        let Spread { min, median, max } = spread?;
        Some(vec![name.to_owned(), text(min), text(median), text(max)])
    }
    let rows = [
        row("width", report.width, |v| v.to_string()),
        row("height", report.height, |v| v.to_string()),
        row("shorter side", report.shorter_side, |v| v.to_string()),
        row("megapixels", report.megapixels, |v| format!("{v:.3}")),
        row("file", report.bytes, bytes),
    ];
    rows.into_iter().flatten().collect()
}

/// The two lists, each with its heading, as far as they are not empty.
fn faults(report: &Report) -> Vec<(String, &Faults)> {
    let head = |faults: &Faults, one: &str, several: &str| match faults.files.len() {
        1 => format!("1 file {one}"),
        n => format!("{n} files {several}"),
    };
    let (none, damaged) = (&report.unreadable, &report.damaged);
    let lists = [
        (head(none, "gives no image", "give no image"), none),
        (head(damaged, "is damaged, and used", "are damaged, and used"), damaged),
    ];
    lists.into_iter().filter(|(_, faults)| !faults.files.is_empty()).collect()
}

/// A number of bytes for people.
fn bytes(bytes: u64) -> String {
    let value = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", value * 1e-3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", value * 1e-6),
        _ => format!("{:.1} GB", value * 1e-9),
    }
}
