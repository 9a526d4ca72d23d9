//! `bandfeed doctor`: what this machine has, how fast it loads a data set, and which options follow.

mod advice;
mod data;
mod devices;
mod host;
mod measure;
mod page;
mod plan;
mod storage;

use super::fit::Fit;
use super::machine::Machine;
use super::table::table;
use crate::engine::Cpu;
use crate::loader::Loader;
use crate::recipe::{AugmentAt, Preset};
use crate::schedule::StageReplay;
use crate::{Recipe, Result, Source, Stage, source};
use advice::{Advice, Band, Facts, advise, needed};
use data::DataSet;
use devices::Devices;
use host::Host;
use measure::Point;
use page::{Line, Mark, Section};
use plan::Plan;
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Training images to measure: a folder of class folders, or WebDataset shards (`train-{000..099}.tar`). Without it only the
    /// machine is looked at.
    source: Option<String>,
    /// Images a second that the trainer takes at the base size: what is needed at smaller bands follows, (base/band)^2 as many.
    #[arg(long, value_name = "N", value_parser = super::positive)]
    train_images_per_second: Option<f64>,
    /// Recipe whose transform is measured: plain, deit_tiny, deit_small, efficienttrain_pp_deit_small,
    /// auto_prog_deit_small, or a .toml recipe.
    #[arg(long, value_name = "NAME")]
    recipe: Option<String>,
    /// Schedule whose bands are measured: a name that `bandfeed schedule` knows, or a .toml table [default: the recipe's, or
    /// without one efficient_train_pp_deit].
    #[arg(long, value_name = "NAME")]
    schedule: Option<String>,
    #[command(flatten)]
    fit: Fit,
    /// Seconds of each measurement; there is one for each band and each number of workers.
    #[arg(long, default_value_t = 1.5, value_parser = super::seconds)]
    seconds: f64,
    /// Print one JSON object instead of the report.
    #[arg(long)]
    json: bool,
}

/// Everything found out, as `--json` prints it.
#[derive(Serialize)]
struct Report {
    machine: Machine,
    host: Host,
    devices: Devices,
    source: Option<String>,
    data: Option<DataSet>,
    /// Measurements of the loader: by workers at the smallest band, by band with all cores.
    by_workers: Vec<Point>,
    by_band: Vec<BandRow>,
    sections: Vec<Section>,
    /// The command that follows; absent where training is not possible.
    command: Option<Vec<String>>,
    /// Whether nothing keeps training from working.
    possible: bool,
}

/// What was measured of one band.
#[derive(Debug, Clone, Serialize)]
struct BandRow {
    #[serde(flatten)]
    point: Point,
    /// What the trainer takes.
    needed: Option<f64>,
    /// Augmented on the band.
    on_band: Option<f64>,
    /// Uses of each decoded image, and images a second handed out.
    replayed: Vec<(u32, f64)>,
}

/// Prints the report. Status 1 if something makes training impossible.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let report = examine(args)?;
    let text = match args.json {
        true => serde_json::to_string(&report).expect("a report is plain data") + "\n",
        false => {
            let color = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
            report.page(color)
        }
    };
    super::print(&text)?;
    Ok(if report.possible { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn examine(args: &Args) -> Result<Report> {
    let preset = Preset::named(args.recipe.as_deref().unwrap_or("plain"))?;
    let usual = if args.recipe.is_some() { preset.schedule.name.as_str() } else { "efficient_train_pp_deit" };
    let name = args.schedule.as_deref().unwrap_or(usual).to_owned();
    let schedule = args.fit.schedule(&name, &preset.schedule)?;
    let (machine, host) = (Machine::this(), Host::this());
    let plan = Plan { args, preset, name, schedule, cores: host.usable_cores };
    let devices = Devices::this();
    let mut report = Report {
        sections: host.sections(&machine),
        machine,
        host,
        devices,
        source: args.source.clone(),
        data: None,
        by_workers: Vec::new(),
        by_band: Vec::new(),
        command: None,
        possible: true,
    };
    report.sections.push(report.devices.section(&report.machine));
    let mut opened = None;
    if let Some(spec) = &args.source {
        let lines = match report.look(&plan, spec) {
            Ok(source) => {
                opened = source;
                report.data.as_ref().map(DataSet::lines).unwrap_or_default()
            }
            Err(error) => vec![data::unreadable(spec, &error)],
        };
        report.sections.push(Section::new("Data", lines));
    }
    if let Some(source) = &opened {
        let section = match report.measure(&plan, source) {
            Ok(()) => report.loader_section(&plan),
            Err(error) => Section::new("Loader", vec![Line::problem("loader", error.to_string())]),
        };
        report.sections.push(section);
    }
    report.conclude(&plan, opened.as_ref());
    Ok(report)
}

impl Report {
    /// Opens the source, looks at some images, reads from its files. `None` if no image can be read.
    fn look(&mut self, plan: &Plan<'_>, spec: &str) -> Result<Option<Arc<dyn Source>>> {
        let source = source::open(spec)?;
        let (mut set, files) = DataSet::of(source.as_ref())?;
        // Mapped pages of shards are not dropped from memory: they are closed for the measurement.
        let kept = set.folder.then_some(source);
        set.read(&files, plan.cores, Duration::from_secs_f64(plan.args.seconds));
        let readable = set.readable > 0;
        self.data = Some(set);
        if !readable {
            return Ok(None);
        }
        kept.map_or_else(|| source::open(spec), Ok).map(Some)
    }

    fn measure(&mut self, plan: &Plan<'_>, source: &Arc<dyn Source>) -> Result<()> {
        // As the trainer will: refuses a batch larger than the set.
        Loader::builder(source.clone(), plan.schedule.clone())
            .recipe(plan.preset.transform.clone())
            .workers(1)
            .build()?;
        let time = Duration::from_secs_f64(plan.args.seconds);
        let (recipe, stages) = (&plan.preset.transform, plan.bands());
        let last = plan.schedule.at(1.0).magnitude;
        let mut bad = BTreeSet::new();
        let mut rate = |recipe: &Recipe, stage: &Stage, workers: usize, replay: StageReplay| {
            let magnitude = recipe.magnitude_at(stage, last, 0.5 * (stage.start + stage.end));
            let stage = Stage { magnitude, ..stage.clone() };
            measure::point(source, recipe, &stage, workers, replay, time, &mut bad)
        };
        let smallest = stages[0];
        for workers in measure::ladder(plan.cores) {
            self.by_workers.push(rate(recipe, smallest, workers, StageReplay::OFF)?);
        }
        for stage in &stages {
            let known = self.by_workers.last().filter(|point| point.band == stage.band).copied();
            let point = known.map_or_else(|| rate(recipe, stage, plan.cores, StageReplay::OFF), Ok)?;
            let needed = plan.args.train_images_per_second.map(|wanted| needed(wanted, stage.base, stage.band));
            let mut row = BandRow { point, needed, on_band: None, replayed: Vec::new() };
            if needed.is_some_and(|needed| point.images_per_second < needed) && stage.band < stage.base {
                let on_band = Recipe { augment_at: AugmentAt::Band, ..recipe.clone() };
                let mut best = recipe;
                if recipe.augment_at == AugmentAt::Base && (recipe.augment.is_some() || recipe.jitter.most() > 0) {
                    let faster = rate(&on_band, stage, plan.cores, StageReplay::OFF)?.images_per_second;
                    row.on_band = Some(faster);
                    if faster > point.images_per_second {
                        best = &on_band;
                    }
                }
                for times in plan.replay_times(stage.band) {
                    // Long enough to be drawn from, short enough to be filled at once.
                    let replay = StageReplay { times, capacity: 16 };
                    row.replayed.push((times, rate(best, stage, plan.cores, replay)?.images_per_second));
                }
            }
            self.by_band.push(row);
        }
        Ok(())
    }

    fn loader_section(&self, plan: &Plan<'_>) -> Section {
        let mut lines = vec![
            Line::ok("transform", super::transform::describe(&plan.preset.transform)),
            Line::ok("schedule", plan.about()),
        ];
        let pass = self
            .data
            .as_ref()
            .zip(self.by_band.first())
            .map(|(set, row)| set.images as f64 / row.point.images_per_second);
        if let Some(seconds) = pass {
            let text = format!(
                "one over the {} images takes {} at the smallest band",
                self.data.as_ref().map_or(0, |s| s.images),
                duration(seconds)
            );
            lines.push(Line::ok("pass", text));
        }
        let mut section = Section::new("Loader, measured", lines);
        let whole = |value: f64| format!("{value:.0}");
        let mut header = vec!["band", "workers", "images/s"];
        let wanted = plan.args.train_images_per_second.is_some();
        let on_band = self.by_band.iter().any(|row| row.on_band.is_some());
        let times: Vec<u32> = {
            let mut times: Vec<u32> =
                self.by_band.iter().flat_map(|row| row.replayed.iter().map(|(n, _)| *n)).collect();
            times.sort_unstable();
            times.dedup();
            times
        };
        let names: Vec<String> = times.iter().map(|n| format!("used {n} times")).collect();
        header.extend(wanted.then_some("needed"));
        header.extend(on_band.then_some("augmented on band"));
        header.extend(names.iter().map(String::as_str));
        let alone = self.by_workers.iter().rev().skip(1).rev();
        let mut rows: Vec<Vec<String>> = alone
            .map(|p| {
                let mut row = vec![p.band.to_string(), p.workers.to_string(), whole(p.images_per_second)];
                row.resize(header.len(), String::new());
                row
            })
            .collect();
        for row in &self.by_band {
            let p = &row.point;
            let mut cells = vec![p.band.to_string(), p.workers.to_string(), whole(p.images_per_second)];
            cells.extend(wanted.then(|| row.needed.map_or("-".into(), whole)));
            cells.extend(on_band.then(|| row.on_band.map_or("-".into(), whole)));
            for n in &times {
                cells.push(row.replayed.iter().find(|(m, _)| m == n).map_or("-".into(), |(_, rate)| whole(*rate)));
            }
            rows.push(cells);
        }
        section.table = table(&header, &rows);
        section
    }

    /// Advice and the command.
    fn conclude(&mut self, plan: &Plan<'_>, source: Option<&Arc<dyn Source>>) {
        let impossible =
            |sections: &[Section]| sections.iter().flat_map(|s| &s.lines).any(|line| line.mark == Mark::Problem);
        if !impossible(&self.sections) {
            let Advice { lines, options } = advise(&self.facts(plan, source));
            self.sections.push(Section::new("Advice", lines));
            self.command = Some(plan.command(options));
        }
        self.possible = !impossible(&self.sections);
        if !self.possible {
            self.command = None;
        }
    }

    fn facts(&self, plan: &Plan<'_>, source: Option<&Arc<dyn Source>>) -> Facts {
        let largest =
            |stage: &Stage| stage.batch_size as u64 * 3 * u64::from(stage.band).pow(2) * size_of::<f32>() as u64;
        Facts {
            cores: plan.cores,
            busy: self.host.is_busy(),
            memory_free: self.host.memory_free(),
            batch: plan.schedule.stages().iter().map(largest).max().unwrap_or(0),
            batches_beside: 1 + Cpu::RETURNED as u64,
            data: self.data.as_ref().map(|set| advice::Data {
                folder: set.folder,
                bytes: set.bytes(),
                place: set.storage.as_ref().map(|storage| storage.place),
                rotational: set.storage.as_ref().and_then(|storage| storage.rotational),
                cold: set.cold(),
                read_share: self.by_workers.last().map_or(0.0, |point| point.read_share),
                progressive: set.progressive,
            }),
            wanted: plan.args.train_images_per_second,
            base: plan.schedule.base(),
            scaling: self.by_workers.iter().map(|point| (point.workers, point.images_per_second)).collect(),
            bands: self
                .by_band
                .iter()
                .map(|row| Band {
                    band: row.point.band,
                    rate: row.point.images_per_second,
                    on_band: row.on_band,
                    replayed: row.replayed.clone(),
                })
                .collect(),
            replays: source.map(|source| plan.replays(source)).unwrap_or_default(),
        }
    }

    fn page(&self, color: bool) -> String {
        let mut page = format!("{}\n\n", self.machine) + &page::layout(&self.sections, color);
        match &self.command {
            Some(command) => page += &format!("\nWhat follows from this:\n{}\n", plan::shell(command)),
            None => page += "\nTraining is not possible like this: see the lines marked `problem`.\n",
        }
        page
    }
}

/// "12 s", "3.4 min", "1.2 h".
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 0.95 => format!("{s:.2} s"),
        s if s < 99.5 => format!("{s:.0} s"),
        s if s < 5970.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}
