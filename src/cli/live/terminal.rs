//! A run on the terminal: some lines that are drawn anew, or without a terminal a line now and then.

use super::input::bottleneck;
use super::standing::Standing;
use super::usage::Usage;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Between two lines where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(10);
/// Between two pictures where there is one.
const DRAWN_EVERY: Duration = Duration::from_millis(100);
/// Wider than this is no more legible.
const WIDEST: usize = 120;

pub(super) struct Terminal {
    bar: ProgressBar,
    /// Without a terminal: a line now and then.
    plain: bool,
    color: bool,
    cores: usize,
    last: Option<Instant>,
}

impl Terminal {
    pub(super) fn new(cores: usize) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal { ProgressBar::new(1) } else { ProgressBar::hidden() };
        bar.set_style(ProgressStyle::with_template("{msg}").expect("the template names msg"));
        let color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { bar, plain: !terminal, color, cores, last: None }
    }

    /// A line that stays.
    pub(super) fn print(&self, text: &str) {
        if self.plain { eprintln!("{text}") } else { self.bar.println(text) }
    }

    /// Shows the state after a step, if it is time to.
    pub(super) fn show(&mut self, standing: &Standing, usage: &Usage) {
        let (now, every) = (Instant::now(), if self.plain { PLAIN_EVERY } else { DRAWN_EVERY });
        // The first line of a log comes after the first interval, the first picture at once.
        let last = *self.last.get_or_insert(if self.plain { now } else { now - every });
        if now - last < every {
            return;
        }
        self.last = Some(now);
        if self.plain {
            eprintln!("step {:5} {}", standing.step, line(standing));
        } else {
            let lines: Vec<String> =
                screen(standing, usage, self.cores, width()).iter().map(|line| line.text(self.color)).collect();
            self.bar.set_message(lines.join("\n"));
        }
    }

    /// Takes the moving lines away.
    pub(super) fn close(&self) {
        self.bar.finish_and_clear();
    }
}

/// Columns to write in the terminal that standard error is, or 79.
fn width() -> usize {
    #[cfg(unix)]
    if let Ok(size) = rustix::termios::tcgetwinsize(std::io::stderr())
        && size.ws_col > 0
    {
        // A line that is full to the last column may wrap.
        return usize::from(size.ws_col).saturating_sub(1);
    }
    79
}

/// The state in one line.
fn line(s: &Standing) -> String {
    let lately = s.lately();
    let stage = s
        .stage
        .as_ref()
        .map_or(String::new(), |stage| format!("stage {}/{} band {}", stage.index + 1, s.segments.len(), stage.band));
    let magnitude = s.magnitude.map_or(String::new(), |m| format!(" m {m:.1}"));
    format!(
        "{:3.0} % | {stage}{magnitude} | loss {:.3} | {:.0} images/s | waiting for input {:.1} % | ETA {}",
        s.progress * 100.0,
        s.loss.unwrap_or(f64::NAN),
        lately.images_per_second,
        lately.wait * 100.0,
        s.eta()
    )
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Style {
    Plain,
    /// What stands before figures.
    Name,
    /// What a reader looks for first.
    Strong,
    /// The present stage.
    Here,
}

/// A line of styled parts.
#[derive(Debug, Default)]
struct Line(Vec<(Style, String)>);

impl Line {
    fn named(name: &str) -> Self {
        Self(vec![(Style::Name, format!("{name:<11}"))])
    }

    fn and(mut self, style: Style, text: impl AsRef<str>) -> Self {
        match self.0.last_mut() {
            Some((last, before)) if *last == style => before.push_str(text.as_ref()),
            _ => self.0.push((style, text.as_ref().to_owned())),
        }
        self
    }

    /// Cut to `width` columns; every character here takes one.
    fn cut(mut self, width: usize) -> Self {
        let mut left = width;
        for (_, text) in &mut self.0 {
            *text = text.chars().take(left).collect();
            left -= text.chars().count();
        }
        self
    }

    fn text(&self, color: bool) -> String {
        let part = |(style, text): &(Style, String)| match style {
            _ if !color || text.is_empty() => text.clone(),
            Style::Plain => text.clone(),
            Style::Name => format!("\x1b[2m{text}\x1b[0m"),
            Style::Strong => format!("\x1b[1m{text}\x1b[0m"),
            Style::Here => format!("\x1b[1;36m{text}\x1b[0m"),
        };
        self.0.iter().map(part).collect()
    }
}

/// Everything, for a terminal of `width` columns.
fn screen(s: &Standing, usage: &Usage, cores: usize, width: usize) -> Vec<Line> {
    let width = width.min(WIDEST);
    let lately = s.lately();
    let [labels, bar] = timeline(s, width);
    let mut lines = vec![labels, bar];

    let mut now = Line::named("stage");
    if let Some(stage) = &s.stage {
        now = now.and(Style::Here, format!("{}/{} at band {}", stage.index + 1, s.segments.len(), stage.band));
    }
    if let Some(magnitude) = s.magnitude {
        now = now.and(Style::Plain, format!(", m {magnitude:.1}"));
    }
    lines.push(
        now.and(Style::Plain, "   ")
            .and(Style::Strong, format!("{:.0} %", s.progress * 100.0))
            .and(Style::Plain, format!(" of the {}, ETA {}   epoch {}, step {}", s.clock, s.eta(), s.epoch, s.step)),
    );

    let loss = s.loss.map_or("-".to_owned(), |loss| format!("{loss:.3}"));
    let mut learnt = Line::named("loss").and(Style::Strong, loss);
    if let (Some(top1), Some(best)) = (s.top1, s.best) {
        learnt = learnt.and(Style::Plain, format!("   top-1 {:.1} % (best {:.1})", top1 * 100.0, best * 100.0));
    }
    lines.push(learnt.and(Style::Plain, format!("   {:.0} images/s", lately.images_per_second)));

    let waiting = lately.wait * 100.0;
    lines.push(
        Line::named("trainer")
            .and(Style::Plain, format!("computing {:.1} %  waiting for input {waiting:.1} %", 100.0 - waiting)),
    );
    let parts: Vec<String> = lately.input.shares().map_or(vec!["-".to_owned()], |shares| {
        let shown = shares.iter().filter(|(name, share)| *share >= 0.005 || *name == "decode");
        shown.map(|(name, share)| format!("{name} {:.0} %", share * 100.0)).collect()
    });
    lines.push(Line::named("loader").and(Style::Plain, parts.join("  ")));

    let mut machine = Vec::new();
    if let Some(busy) = usage.cores {
        machine.push(format!("{busy:.1} of {cores} cores busy"));
    }
    if let Some(memory) = usage.memory {
        let peak = usage.peak.map_or(String::new(), |peak| format!(" (peak {:.0})", peak as f64 * 1e-6));
        machine.push(format!("memory {:.0} MB{peak}", memory as f64 * 1e-6));
    }
    if !machine.is_empty() {
        lines.push(Line::named("machine").and(Style::Plain, machine.join("   ")));
    }
    lines.push(Line::named("bottleneck").and(Style::Plain, bottleneck(lately.wait, &lately.input)));
    lines.into_iter().map(|line| line.cut(width)).collect()
}

/// The stages over the run's compute, as wide as they cost: their bands, and how far the run is.
fn timeline(s: &Standing, width: usize) -> [Line; 2] {
    let columns = width.saturating_sub(1).max(1);
    let column = |share: f64| ((share * columns as f64).round() as usize).min(columns);
    let present = s.stage.as_ref().map(|stage| stage.index);
    let done = column(s.progress);
    let (mut labels, mut written, mut before) = (Line::default(), 0, None);
    let mut bar = Line::default();
    for (index, &(start, end, band)) in s.segments.iter().enumerate() {
        let (first, last) = (column(start), column(end));
        let style = if present == Some(index) { Style::Here } else { Style::Name };
        // The same band again says nothing, and where the last label is in the way there is none.
        let label = band.to_string();
        if before != Some(band) && first >= written {
            let (space, end) = (" ".repeat(first - written), first + label.len() + 1);
            labels = labels.and(Style::Plain, space).and(style, label).and(Style::Plain, " ");
            written = end;
        }
        before = Some(band);
        for x in first..last {
            let style = if x < done && style == Style::Name { Style::Plain } else { style };
            let cell = match (x == first, x < done, x) {
                (true, true, 0) => "┣",
                (true, false, 0) => "├",
                (true, true, _) => "╋",
                (true, false, _) => "┼",
                (false, true, _) => "━",
                (false, false, _) => "─",
            };
            bar = bar.and(style, cell);
        }
    }
    [labels, bar.and(Style::Name, "┤")]
}

#[cfg(test)]
mod tests {
    use super::super::input::Input;
    use super::*;
    use crate::schedule::{Options, Schedule};
    use crate::train::History;

    fn standing(progress: f64) -> Standing {
        let options = Options { base: 224, patch: 16, epochs: 300.0, ..Options::default() };
        let schedule = Schedule::named("efficient_train_pp_deit", &options).unwrap();
        let mut standing = Standing::new(&schedule, &History::default(), true);
        standing.begin(schedule.at(progress));
        standing.progress = progress;
        standing.magnitude = Some(4.5);
        (standing.loss, standing.top1, standing.best) = (Some(1.234), Some(0.612), Some(0.634));
        standing
    }

    fn text(progress: f64, width: usize) -> Vec<String> {
        let usage = Usage { memory: Some(210_000_000), peak: Some(230_000_000), cores: Some(1.94) };
        screen(&standing(progress), &usage, 2, width).iter().map(|line| line.text(false)).collect()
    }

    #[test]
    fn every_line_fits_the_terminal() {
        for width in [20, 79, 80, 81, 120, 300] {
            for progress in [0.0, 0.05, 0.37, 0.5, 0.999] {
                for line in text(progress, width) {
                    assert!(line.chars().count() <= width.min(WIDEST), "{width} columns: {line}");
                }
            }
        }
    }

    #[test]
    fn the_timeline_is_as_long_as_the_compute_that_is_done() {
        for (width, progress) in [(80, 0.37), (120, 0.37), (80, 0.0), (80, 1.0)] {
            let bar = text(progress, width).swap_remove(1);
            assert_eq!(bar.chars().count(), width);
            let done = bar.chars().filter(|c| "┣╋━".contains(*c)).count();
            assert_eq!(done, ((width - 1) as f64 * progress).round() as usize, "{bar}");
            let stages = bar.chars().filter(|c| "┣╋├┼".contains(*c)).count();
            assert_eq!(stages, standing(0.0).segments.len(), "{bar}");
        }
    }

    #[test]
    fn all_that_matters_is_there_at_80_columns() {
        let all = text(0.37, 80).join("\n");
        for word in
            ["37 %", "ETA", "loss", "1.234", "top-1 61.2 % (best 63.4)", "images/s", "waiting for input", "m 4.5"]
        {
            assert!(all.contains(word), "{word}:\n{all}");
        }
        for word in ["1.9 of 2 cores busy", "memory 210 MB (peak 230)", "bottleneck the model"] {
            assert!(all.contains(word), "{word}:\n{all}");
        }
    }

    #[test]
    fn the_loaders_parts_are_shares_of_its_workers_time() {
        let mut standing = standing(0.4);
        let input = Input { read: 0.05, decode: 0.5, augment: 0.25, band: 0.1, idle: 0.1, ..Input::default() };
        standing.push(10, 0.9, 0.1, input);
        let lines = screen(&standing, &Usage::default(), 2, 100);
        let all: Vec<String> = lines.iter().map(|line| line.text(false)).collect();
        let all = all.join("\n");
        assert!(all.contains("loader     read 5 %  decode 50 %  augment 25 %  band 10 %  idle 10 %"), "{all}");
        assert!(all.contains("computing 10.0 %  waiting for input 90.0 %"), "{all}");
        assert!(all.contains("the loader: decode is 56 % of its work"), "{all}");
        assert!(!all.contains("memory") && !all.contains("cores"), "what the system does not tell is left out: {all}");
    }
}
