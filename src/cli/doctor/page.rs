//! The layout of a report: sections of lines, each with a mark, a name and a text that is wrapped beside them.

use serde::Serialize;
use std::fmt::Write;

/// How a line is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mark {
    /// As it should be, or plain information.
    Ok,
    /// Works, but should be known.
    Note,
    /// Training can not work like this.
    Problem,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    pub(super) mark: Mark,
    pub(super) name: String,
    pub(super) text: String,
}

impl Line {
    pub(super) fn ok(name: &str, text: impl Into<String>) -> Self {
        Self { mark: Mark::Ok, name: name.to_owned(), text: text.into() }
    }

    pub(super) fn note(name: &str, text: impl Into<String>) -> Self {
        Self { mark: Mark::Note, ..Self::ok(name, text) }
    }

    pub(super) fn problem(name: &str, text: impl Into<String>) -> Self {
        Self { mark: Mark::Problem, ..Self::ok(name, text) }
    }

    /// A fact, or that there is none.
    pub(super) fn told(name: &str, text: Option<String>) -> Self {
        Self::ok(name, text.unwrap_or_else(|| "not told by this system".to_owned()))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Section {
    pub(super) title: String,
    pub(super) lines: Vec<Line>,
    /// Printed under the lines as it is.
    #[serde(skip)]
    pub(super) table: String,
}

impl Section {
    pub(super) fn new(title: &str, lines: Vec<Line>) -> Self {
        Self { title: title.to_owned(), lines, table: String::new() }
    }
}

/// Characters in a line at most.
const WIDTH: usize = 100;
/// Before a line's name: two spaces, the mark, two spaces.
const MARK: usize = 11;

/// The sections one under the other; names in one column throughout. `color` is for a terminal.
pub(super) fn layout(sections: &[Section], color: bool) -> String {
    let lines = || sections.iter().flat_map(|section| &section.lines);
    let names = lines().map(|line| line.name.chars().count()).max().unwrap_or(0);
    let column = MARK + names + 2;
    let paint = |code: u8, text: String| if color { format!("\x1b[{code}m{text}\x1b[0m") } else { text };
    let mut page = String::new();
    for section in sections {
        if !page.is_empty() {
            page.push('\n');
        }
        let _ = writeln!(page, "{}", paint(1, section.title.clone()));
        for line in &section.lines {
            let (word, code) = match line.mark {
                Mark::Ok => ("ok", 32),
                Mark::Note => ("note", 33),
                Mark::Problem => ("problem", 31),
            };
            let _ = write!(page, "  {}  {:<names$}  ", paint(code, format!("{word:<7}")), line.name);
            let wrapped = wrap(&line.text, WIDTH.saturating_sub(column).max(30));
            let _ = writeln!(page, "{}", wrapped.join(&format!("\n{:column$}", "")));
        }
        if !section.table.is_empty() {
            page.push('\n');
            for row in section.table.lines() {
                let _ = writeln!(page, "  {row}");
            }
        }
    }
    page
}

/// Lines of at most `width` characters, broken at spaces. A longer word has a line of its own.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always one");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// "1.5 GB": three digits at most, in powers of a thousand.
pub(super) fn size(bytes: u64) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1e3;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 99.95 { 0 } else { 1 };
    format!("{value:.digits$} {}", units[unit])
}

/// "1 core", "2 cores", "1.5 cores".
pub(super) fn count(value: f64, what: &str) -> String {
    let value = (value * 100.0).round() / 100.0;
    format!("{value} {what}{}", if value == 1.0 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_beside_their_names_and_within_the_width() {
        let long = "word ".repeat(60);
        let sections = [
            Section::new("A", vec![Line::ok("cpu", "one"), Line::note("longer name", long.clone())]),
            Section::new("B", vec![Line::problem("x", "never"), Line::told("y", None)]),
        ];
        let page = layout(&sections, false);
        assert!(page.lines().all(|line| line.chars().count() <= WIDTH), "{page}");
        let at = |what: &str| page.lines().find_map(|line| line.find(what)).unwrap();
        assert_eq!([at("one"), at("word"), at("never"), at("not told")], [24, 24, 24, 24], "{page}");
        assert_eq!(page.matches("word").count(), 60);
        assert!(page.contains("\n\nB\n  problem  x "), "{page}");
        assert!(!page.contains('\x1b') && layout(&sections, true).contains("\x1b[31mproblem\x1b[0m"));
    }

    #[test]
    fn sizes_have_three_digits_at_most() {
        let cases = [(0, "0 bytes"), (999, "999 bytes"), (1_500, "1.5 kB"), (99_949, "99.9 kB"), (99_960, "100 kB")];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(size(999_600), "1.0 MB");
        assert_eq!(size(148_000_000_000), "148 GB");
        assert_eq!([count(1.0, "core"), count(1.5, "core")], ["1 core", "1.5 cores"]);
    }
}
