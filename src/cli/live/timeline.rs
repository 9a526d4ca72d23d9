//! What each stage of a run cost and what it gave, from the run's log alone: so a run that went on has the whole.

use super::super::chart::{At, Chart, Note, Panel, Reference, Series, Shade, Style};
use super::log::Event;
use crate::train::{EvalReport, GrowthReport};

/// Colours of the shades.
const STAGE: usize = 6;
const SEARCH: usize = 3;

/// Steps that a loss is the mean of.
const STEPS: usize = 20;

/// Depth, side and operations of an image, loss, accuracy and time over the share of the run's floating-point operations;
/// then what each stage took of them all and where it ended. `patch` is the side of the model's patches in pixels.
///
/// `None` if the run has not seen two stages, or if an older version, which did not count operations, wrote of its steps.
pub(crate) fn timeline(title: &str, events: &[Event], patch: u32) -> Option<Chart> {
    let story = Story::of(events)?;
    (story.spells.len() > 1).then(|| story.chart(title, f64::from(patch)))
}

/// What the model was in a step.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Size {
    depth: usize,
    tokens: usize,
    /// Operations of an image.
    flops: f64,
}

/// Steps of one stage in a row.
#[derive(Debug, Clone, PartialEq)]
struct Spell {
    stage: usize,
    /// A supernet is trained.
    search: bool,
    /// Operations spent before it, and with it.
    start: f64,
    end: f64,
    images: usize,
    /// Seconds of training.
    seconds: f64,
    losses: Vec<f64>,
    /// In its last step.
    size: Size,
    /// The last one in it.
    evaluation: Option<EvalReport>,
}

/// The log, over the operations spent.
#[derive(Debug, Default)]
struct Story {
    spells: Vec<Spell>,
    /// The first step of each size.
    sizes: Vec<(f64, Size)>,
    losses: Vec<(f64, f64)>,
    evaluations: Vec<(f64, EvalReport)>,
    growths: Vec<(f64, GrowthReport)>,
    /// Seconds of training, and with the evaluations.
    training: Vec<(f64, f64)>,
    whole: Vec<(f64, f64)>,
    flops: f64,
}

impl Story {
    fn of(events: &[Event]) -> Option<Self> {
        let mut sizes = sizes(events)?.into_iter();
        let mut story = Self::default();
        let (mut training, mut whole) = (0.0, 0.0);
        for event in events {
            if let Event::Step { stage, search, loss, images, wait, compute, flops, .. } = event {
                let size = sizes.next()?;
                story.step((*stage, *search), *loss, (*images, (*flops)?), wait + compute, size);
                (training, whole) = (training + wait + compute, whole + wait + compute);
                story.training.push((story.flops, training));
            }
            if let Event::Growth { report } = event {
                story.growths.push((story.flops, report.clone()));
            }
            if let Event::Search { report } = event {
                // Looking at candidates comes between two steps.
                (training, whole) = (training + report.seconds, whole + report.seconds);
                story.flops += report.flops;
                if let Some(spell) = story.spells.last_mut() {
                    spell.end = story.flops;
                    spell.seconds += report.seconds;
                }
            }
            if let Event::Evaluation { report, .. } = event {
                whole += report.seconds;
                story.evaluations.push((story.flops, report.clone()));
                if let Some(spell) = story.spells.last_mut() {
                    spell.evaluation = Some(report.clone());
                }
            }
            story.whole.push((story.flops, whole));
        }
        Some(story)
    }

    fn step(
        &mut self,
        (stage, search): (usize, bool),
        loss: f64,
        (images, flops): (usize, f64),
        seconds: f64,
        size: Size,
    ) {
        if self.spells.last().is_none_or(|spell| (spell.stage, spell.search) != (stage, search)) {
            let (start, end) = (self.flops, self.flops);
            let losses = Vec::new();
            self.spells.push(Spell {
                stage,
                search,
                start,
                end,
                images: 0,
                seconds: 0.0,
                losses,
                size,
                evaluation: None,
            });
        }
        // Operations of an image may differ by a rounding.
        let same = |old: &Size| (old.depth, old.tokens) == (size.depth, size.tokens);
        if !self.sizes.last().is_some_and(|(_, old)| same(old)) {
            self.sizes.push((self.flops, size));
        }
        self.losses.push((self.flops, loss));
        self.flops += flops;
        let spell = self.spells.last_mut().expect("one was there or was added");
        (spell.end, spell.size) = (self.flops, size);
        spell.images += images;
        spell.seconds += seconds;
        spell.losses.push(loss);
    }

    /// Whether it has had several depths.
    fn deepens(&self) -> bool {
        self.sizes.windows(2).any(|pair| pair[0].1.depth != pair[1].1.depth)
    }

    /// Points over the share of operations, in percent.
    fn shares(&self, points: impl IntoIterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
        points.into_iter().map(|(spent, y)| (100.0 * spent / self.flops, y)).collect()
    }

    fn chart(&self, title: &str, patch: f64) -> Chart {
        let seconds = self.whole.last().map_or(0.0, |(_, seconds)| *seconds);
        let mut subtitle = format!("{} of training in {}", scaled(self.flops, "FLOPs"), time(seconds));
        if !self.growths.is_empty() {
            subtitle += "; at a growth: cross-entropy of the stage's first batch before and after, labels not smoothed";
        }
        let mut panels = self.model(patch);
        panels.push(self.loss());
        panels.extend(self.accuracy());
        panels.push(Panel {
            x_label: "share of the training's FLOPs, %".into(),
            from_zero: true,
            ..self.panel(&format!("time, {}", unit_of_time(seconds).1), 120, self.time(seconds))
        });
        if let Some(first) = panels.first_mut() {
            for (color, name) in
                [(STAGE, "every second stage"), (SEARCH, "search: a supernet is trained, its parts compared")]
            {
                if let Some(shade) = first.shades.iter_mut().find(|shade| shade.color == color) {
                    shade.name = name.into();
                }
            }
            first.references.iter_mut().take(1).for_each(|line| line.name = "the model gets deeper".into());
        }
        panels.extend([self.cost(), self.gain()]);
        Chart { title: title.into(), subtitle, panels }
    }

    /// A panel over the share of operations. Spans that all panels show belong here.
    fn panel(&self, y_label: &str, height: u32, series: Vec<Series>) -> Panel {
        let share = |spent: f64| 100.0 * spent / self.flops;
        let shade = |color| {
            move |spell: &Spell| Shade { name: String::new(), span: (share(spell.start), share(spell.end)), color }
        };
        let second = self.spells.iter().filter(|spell| spell.stage % 2 == 1).map(shade(STAGE));
        let searches = self.spells.iter().filter(|spell| spell.search).map(shade(SEARCH));
        let line = |(spent, _): &(f64, GrowthReport)| Reference { name: String::new(), at: At::X(share(*spent)) };
        Panel {
            y_label: y_label.into(),
            series,
            shades: second.chain(searches).collect(),
            references: self.growths.iter().map(line).collect(),
            x_range: Some((0.0, 100.0)),
            height,
            ..Panel::default()
        }
    }

    /// What the model is: each value in steps, its last in a stage in words.
    fn model(&self, patch: f64) -> Vec<Panel> {
        let panel = |y_label: &str, color, value: &dyn Fn(&Size) -> f64, text: &dyn Fn(&Size) -> String| {
            let mut points: Vec<_> = self.sizes.iter().map(|(spent, size)| (*spent, value(size))).collect();
            points.extend(self.sizes.last().map(|(_, size)| (self.flops, value(size))));
            let series = Series { color: Some(color), ..Series::new("", Style::Step, self.shares(points)) };
            // One text over stages that are alike.
            let alike = self.spells.chunk_by(|a, b| value(&a.size) == value(&b.size));
            let note = |spells: &[Spell]| {
                let (first, last) = (spells.first()?, spells.last()?);
                let span = (100.0 * first.start / self.flops, 100.0 * last.end / self.flops);
                Some(Note { span, y: value(&last.size), text: text(&last.size) })
            };
            let notes = alike.filter_map(note).collect();
            Panel { from_zero: true, notes, ..self.panel(y_label, 120, vec![series]) }
        };
        let most = self.sizes.iter().map(|(_, size)| size.flops).fold(0.0, f64::max);
        let (unit, prefix) = unit(most);
        let mut panels = vec![
            panel("side, pixels", 2, &|size| patch * (size.tokens as f64).sqrt(), &|size| {
                format!("{} tokens", size.tokens)
            }),
            panel(&format!("{prefix}FLOPs an image"), 3, &|size| size.flops / unit, &|size| digits(size.flops / unit)),
        ];
        if self.deepens() {
            panels.insert(0, panel("depth, blocks", 0, &|size| size.depth as f64, &|size| size.depth.to_string()));
        }
        panels
    }

    fn loss(&self) -> Panel {
        let mean = |i: usize| {
            let part = &self.losses[i.saturating_sub(STEPS - 1)..=i];
            (self.losses[i].0, part.iter().map(|(_, loss)| loss).sum::<f64>() / part.len() as f64)
        };
        let smooth = self.shares((0..self.losses.len()).map(mean));
        let at = |loss: fn(&GrowthReport) -> Option<f64>| {
            self.shares(self.growths.iter().filter_map(|(spent, report)| Some((*spent, loss(report)?))))
        };
        let (before, after) = (at(|report| report.loss_before), at(|report| report.loss_after));
        let mut series = vec![
            Series {
                color: Some(5),
                ..Series::new("each step", Style::Line, self.shares(self.losses.iter().copied()))
            },
            Series { color: Some(0), ..Series::new("mean of 20 steps", Style::Line, smooth) },
        ];
        let highest = series[0].points.iter().chain(&before).chain(&after).map(|(_, y)| *y).fold(f64::MIN, f64::max);
        let centres: Vec<f64> = before.iter().map(|(x, _)| *x).collect();
        let texts = before.iter().zip(&after).map(|((_, before), (_, after))| format!("{before:.3} to {after:.3}"));
        let notes = texts.enumerate().map(|(i, text)| Note { span: about(&centres, i), y: highest, text }).collect();
        if !before.is_empty() {
            series.push(Series { color: Some(1), ..Series::new("before a growth", Style::Points, before) });
            series.push(Series { color: Some(2), ..Series::new("after it", Style::Points, after) });
        }
        Panel { notes, ..self.panel("training loss", 240, series) }
    }

    fn accuracy(&self) -> Option<Panel> {
        let of = |value: fn(&EvalReport) -> f64| {
            self.shares(self.evaluations.iter().map(|(spent, report)| (*spent, 100.0 * value(report))))
        };
        let (own, best) = (of(|report| report.top1), of(EvalReport::best_top1));
        let means = self.evaluations.iter().any(|(_, report)| !report.ema.is_empty());
        let mut series = Vec::new();
        for (name, color, points) in [("the best of it and its running means", 1, best), ("the model", 0, own)] {
            if color == 1 && !means {
                continue;
            }
            series.push(Series { color: Some(color), ..Series::new(name, Style::Line, points.clone()) });
            series.push(Series { color: Some(color), ..Series::new("", Style::Points, points) });
        }
        (!self.evaluations.is_empty()).then(|| self.panel("top-1, %", 200, series))
    }

    fn time(&self, seconds: f64) -> Vec<Series> {
        let unit = unit_of_time(seconds).0;
        let line = |name: &str, color, points: &[(f64, f64)]| {
            let points = self.shares(points.iter().map(|(spent, seconds)| (*spent, seconds / unit)));
            Series { color: Some(color), ..Series::new(name, Style::Line, points) }
        };
        let mut series = vec![line("training, waiting included", 0, &self.training)];
        if !self.evaluations.is_empty() {
            series.insert(0, line("with evaluations", 1, &self.whole));
        }
        series
    }

    /// Bars by stage.
    fn bars(&self, title: &str, y_label: &str, series: Vec<(&str, usize, Vec<f64>)>) -> Panel {
        let searched = self.spells.iter().any(|spell| spell.search);
        let name = |spell: &Spell| {
            let Size { depth, tokens, .. } = spell.size;
            let blocks = if self.deepens() { format!("{depth} blocks, ") } else { String::new() };
            match spell.search {
                true => format!("{}, search", spell.stage + 1),
                false if searched => format!("{}: {blocks}{tokens} t.", spell.stage + 1),
                false => format!("stage {}, {blocks}{tokens} tokens", spell.stage + 1),
            }
        };
        let bars = |(name, color, values): (&str, usize, Vec<f64>)| {
            let points = values.into_iter().enumerate().map(|(place, value)| (place as f64, value)).collect();
            Series { color: Some(color), ..Series::new(name, Style::Bars, points) }
        };
        Panel {
            title: title.into(),
            y_label: y_label.into(),
            series: series.into_iter().map(bars).collect(),
            categories: self.spells.iter().map(name).collect(),
            from_zero: true,
            height: 180,
            ..Panel::default()
        }
    }

    fn cost(&self) -> Panel {
        let share = |value: fn(&Spell) -> f64| {
            let all: f64 = self.spells.iter().map(value).sum();
            self.spells.iter().map(|spell| 100.0 * value(spell) / all.max(f64::MIN_POSITIVE)).collect()
        };
        let series = vec![
            ("FLOPs", 3, share(|spell| spell.end - spell.start)),
            ("time of training", 0, share(|spell| spell.seconds)),
            ("images", 2, share(|spell| spell.images as f64)),
        ];
        self.bars("What each stage took", "of the run, %", series)
    }

    /// Accuracy, or without evaluations the loss.
    fn gain(&self) -> Panel {
        let title = "Where each stage ended";
        if self.evaluations.is_empty() {
            let end = |spell: &Spell| {
                let last = &spell.losses[spell.losses.len().saturating_sub(STEPS)..];
                last.iter().sum::<f64>() / last.len() as f64
            };
            let series = vec![("mean of its last 20 steps", 0, self.spells.iter().map(end).collect())];
            return self.bars(title, "training loss", series);
        }
        let last = |value: fn(&EvalReport) -> f64| {
            let of = |spell: &Spell| spell.evaluation.as_ref().map_or(f64::NAN, |report| 100.0 * value(report));
            self.spells.iter().map(of).collect()
        };
        let mut series = vec![("the model, in the stage's last evaluation", 0, last(|report| report.top1))];
        if self.evaluations.iter().any(|(_, report)| !report.ema.is_empty()) {
            series.push(("the best of it and its running means", 1, last(EvalReport::best_top1)));
        }
        self.bars(title, "top-1, %", series)
    }
}

/// What the model was in each step; in those of a search the supernet, and the mean of what its parts take. `None` if an older
/// version wrote of one.
fn sizes(events: &[Event]) -> Option<Vec<Size>> {
    let mut steps = Vec::new();
    for event in events {
        if let Event::Step { stage, search, images, depth, tokens, flops, .. } = event {
            let size = Size { depth: (*depth)?, tokens: (*tokens)?, flops: (*flops)? / *images as f64 };
            steps.push((*stage, *search, size));
        }
    }
    for spell in steps.chunk_by_mut(|a, b| (a.0, a.1) == (b.0, b.1)) {
        if spell[0].1 {
            let most = |value: fn(&Size) -> usize| spell.iter().map(|(.., size)| value(size)).max().unwrap_or(0);
            let flops = spell.iter().map(|(.., size)| size.flops).sum::<f64>() / spell.len() as f64;
            let supernet = Size { depth: most(|s| s.depth), tokens: most(|s| s.tokens), flops };
            spell.iter_mut().for_each(|(.., size)| *size = supernet);
        }
    }
    Some(steps.into_iter().map(|(.., size)| size).collect())
}

/// Depth and tokens of the model over the share of the run, as [`sizes`] tells them, wherever they change.
pub(super) fn changes(events: &[Event]) -> Vec<(f64, usize, usize)> {
    let progress =
        events.iter().filter_map(|event| if let Event::Step { progress, .. } = event { Some(*progress) } else { None });
    let all = progress.zip(sizes(events).unwrap_or_default()).map(|(at, size)| (at, size.depth, size.tokens));
    let mut changes: Vec<(f64, usize, usize)> = all.collect();
    changes.dedup_by_key(|(_, depth, tokens)| (*depth, *tokens));
    changes
}

/// A span for a text about one of several places, clear of the texts about the others.
fn about(centres: &[f64], i: usize) -> (f64, f64) {
    const WIDEST: f64 = 8.0;
    let centre = centres[i];
    let others = centres.iter().enumerate().filter(|(other, _)| *other != i);
    let nearest = others.map(|(_, other)| (other - centre).abs() / 2.0).fold(WIDEST, f64::min);
    let half = nearest.min(centre).min(100.0 - centre);
    (centre - half, centre + half)
}

/// A power of a thousand not above the value, and its prefix.
fn unit(value: f64) -> (f64, &'static str) {
    const PREFIXES: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    let place = (value.max(1.0).log10() / 3.0).floor().min(6.0) as usize;
    (1e3f64.powi(place as i32), PREFIXES[place])
}

fn scaled(value: f64, of: &str) -> String {
    let (unit, prefix) = unit(value);
    format!("{} {prefix}{of}", digits(value / unit))
}

/// Three digits.
fn digits(value: f64) -> String {
    let decimals = (2.0 - value.abs().max(1.0).log10().floor()).max(0.0) as usize;
    format!("{value:.decimals$}")
}

fn unit_of_time(seconds: f64) -> (f64, &'static str) {
    match seconds {
        ..180.0 => (1.0, "s"),
        ..10_800.0 => (60.0, "min"),
        _ => (3600.0, "h"),
    }
}

fn time(seconds: f64) -> String {
    let (unit, name) = unit_of_time(seconds);
    format!("{} {name}", digits(seconds / unit))
}

#[cfg(test)]
mod tests;
