//! `bandfeed schedule NAME`: a schedule as a table and a plot.

use super::chart::{Chart, Note, Panel, Reference, Series, Style};
use crate::schedule::learning_rate::ReleasedLearningRate;
use crate::schedule::released::{self, Replay};
use crate::schedule::{LearningRate, ModelRow, Options, Schedule, Stage};
use crate::{BandCrop, Error, Result};
use std::io::Write;
use std::path::{Path, PathBuf};

/// How a schedule is fitted to a run; shared by every command that takes a schedule.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Schedule")]
pub struct Fit {
    /// Side of the images at the end of training, in pixels [default: 224].
    #[arg(long, value_name = "PIXELS")]
    pub base: Option<u32>,
    /// Every band is a multiple of this: the patch side, or the model's stride [default: 16].
    #[arg(long, value_name = "PIXELS")]
    pub patch: Option<u32>,
    /// Budget in equivalent epochs: the compute of this many passes at the base size [default: 200].
    #[arg(long, value_name = "E", conflicts_with = "image_epochs")]
    pub epochs: Option<f64>,
    /// Budget in passes over the data at whatever size: EfficientTrain's nominal epochs T.
    #[arg(long, value_name = "T")]
    pub image_epochs: Option<f64>,
    /// Images behind one optimiser step, on each rank [default: 256].
    #[arg(long, value_name = "N")]
    pub batch_size: Option<usize>,
    /// Make the batches of stages at the base size in this many parts [default: 1].
    #[arg(long, value_name = "N")]
    pub base_parts: Option<usize>,
    /// How the band is cut: fourier, fourier-half-pixel or lanczos [default: the schedule's own].
    #[arg(long)]
    pub crop: Option<BandCrop>,
    /// Round stages to whole epochs as EfficientTrain++'s released scripts do.
    #[arg(long, conflicts_with = "image_epochs")]
    pub released: bool,
}

impl Fit {
    /// The schedule of this name or path, fitted.
    ///
    /// # Errors
    /// As [`Schedule::named`]; [`Error::Config`] also if a TOML table says otherwise than an option, or if `released` is
    /// asked of a schedule that has no released form.
    pub fn schedule(&self, name: &str) -> Result<Schedule> {
        let standard = Options::default();
        let options = Options {
            base: self.base.unwrap_or(standard.base),
            patch: self.patch.unwrap_or(standard.patch),
            batch_size: self.batch_size.unwrap_or(standard.batch_size),
            base_parts: self.base_parts.unwrap_or(standard.base_parts),
            epochs: self.epochs.unwrap_or(standard.epochs),
            crop: self.crop,
        };
        if self.released {
            return Schedule::released(self.released_row(name, &options)?, &options);
        }
        let mut schedule = Schedule::named(name, &options)?;
        if name.ends_with(".toml") {
            self.agrees_with(name, &schedule)?;
            if let Some(epochs) = self.epochs {
                schedule = schedule.with_epochs(epochs)?;
            }
        }
        match self.image_epochs {
            Some(epochs) => schedule.with_image_epochs(epochs),
            None => Ok(schedule),
        }
    }

    fn released_row(&self, name: &str, options: &Options) -> Result<ModelRow> {
        let schedule = Schedule::named(name, options)?;
        let rows = [ModelRow::General, ModelRow::Deit, ModelRow::ConvNext];
        rows.into_iter().find(|row| row.schedule_name() == schedule.name()).ok_or_else(|| Error::Config {
            what: "--released".into(),
            reason: format!(
                "`{name}` has no released arithmetic; use {}",
                rows.map(ModelRow::schedule_name).join(", ")
            ),
        })
    }

    /// A table is never overruled in silence. Its budget is the exception: that belongs to the run.
    fn agrees_with(&self, path: &str, schedule: &Schedule) -> Result<()> {
        let stages = schedule.stages();
        let differs = |option: &str, found: String| {
            Err(Error::Config { what: option.into(), reason: format!("{path} says {found}; change it there") })
        };
        if self.base.is_some_and(|base| base != schedule.base()) {
            return differs("--base", schedule.base().to_string());
        }
        if self.patch.is_some_and(|patch| patch != schedule.patch()) {
            return differs("--patch", schedule.patch().to_string());
        }
        if let Some(stage) = stages.iter().find(|s| self.batch_size.is_some_and(|size| size != s.effective_batch())) {
            return differs("--batch-size", format!("{} in stage {}", stage.effective_batch(), stage.index));
        }
        if let Some(stage) = stages.iter().find(|s| self.crop.is_some_and(|crop| crop != s.crop)) {
            return differs("--crop", format!("{} in stage {}", stage.crop, stage.index));
        }
        if self.base_parts.is_some() {
            return differs("--base-parts", "batch_size and accumulate by stage".into());
        }
        Ok(())
    }
}

/// Show a schedule as a table and a plot.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// constant, efficient_train, efficient_train_pp, efficient_train_pp_deit, efficient_train_pp_convnext, or the path
    /// of a .toml table.
    #[arg(default_value = "efficient_train_pp")]
    pub name: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a flattened group's documentation would replace the command's")]
    pub fit: Fit,
    /// Images in the data set, to list the images of each stage (ImageNet-1K: 1281167).
    #[arg(long, value_name = "N")]
    pub images: Option<u64>,
    /// Print the schedule as a TOML table to start an own one from.
    #[arg(long, conflicts_with = "json")]
    pub toml: bool,
    /// Print the table as JSON.
    #[arg(long)]
    pub json: bool,
    /// Where the plot goes: a folder, or a file whose ending is replaced by .png and .svg
    /// [default: schedule-NAME.png and .svg here; with --toml or --json none].
    #[arg(long, value_name = "PATH")]
    pub out: Option<PathBuf>,
    /// Write no plot.
    #[arg(long, conflicts_with = "out")]
    pub no_plot: bool,
}

/// Prints the table to standard output, then writes the plot and names its files on standard error.
///
/// # Errors
/// As [`Fit::schedule`]; [`Error::Io`] if a file or standard output cannot be written.
pub fn run(args: &Args) -> Result<()> {
    let schedule = args.fit.schedule(&args.name)?;
    let text = if args.toml {
        schedule.to_toml()
    } else if args.json {
        format!("{:#}\n", json(&schedule, args.images))
    } else {
        let mut text = table(&schedule, args.images);
        if args.fit.released {
            text.push_str(&released_table(args)?);
        }
        text
    };
    print(&text)?;
    if args.no_plot || ((args.toml || args.json) && args.out.is_none()) {
        return Ok(());
    }
    let chart = chart(&schedule);
    let stem = plot_stem(args.out.as_deref(), schedule.name())?;
    for (ending, write) in [("png", Chart::write_png as fn(&Chart, &Path) -> Result<()>), ("svg", Chart::write_svg)] {
        let mut path = stem.clone().into_os_string();
        path.push(format!(".{ending}"));
        write(&chart, Path::new(&path))?;
        eprintln!("wrote {}", Path::new(&path).display());
    }
    Ok(())
}

fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        // The reader had enough, as `head` does.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|source| Error::Io { path: "standard output".into(), source }),
    }
}

/// The plot's path without its ending. Folders are made.
fn plot_stem(out: Option<&Path>, name: &str) -> Result<PathBuf> {
    // A table's own name may hold anything.
    let safe = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let file = format!("schedule-{}", name.chars().map(safe).collect::<String>());
    let Some(out) = out else { return Ok(file.into()) };
    let plot = ["png", "svg"].into_iter().any(|ending| out.extension().is_some_and(|found| found == ending));
    let (folder, stem) = match out.parent() {
        Some(parent) if plot && !out.is_dir() => (parent, out.with_extension("")),
        _ => (out, out.join(file)),
    };
    if !folder.as_os_str().is_empty() {
        std::fs::create_dir_all(folder).map_err(|source| Error::Io { path: folder.to_owned(), source })?;
    }
    Ok(stem)
}

/// Patches of an image in this stage.
fn tokens(schedule: &Schedule, stage: &Stage) -> u64 {
    u64::from(stage.band / schedule.patch()).pow(2)
}

fn summary(schedule: &Schedule) -> String {
    format!(
        "{} equivalent epochs at {} px = {} passes over the data; {:.2} times the images per unit of compute",
        number(schedule.epochs()),
        schedule.base(),
        number(schedule.image_epochs()),
        schedule.relative_compute().recip()
    )
}

/// One decimal, or none where it would be a zero.
fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

fn table(schedule: &Schedule, dataset_len: Option<u64>) -> String {
    let mut head = vec!["stage", "compute", "band", "tokens", "crop", "magnitude", "batch", "passes"];
    if dataset_len.is_some() {
        head.push("images");
    }
    head.push("load");
    let images = dataset_len.map(|len| schedule.images(len));
    let rows = schedule.stages().iter().zip(schedule.stage_image_epochs()).map(|(stage, passes)| {
        let batch = match stage.accumulate {
            1 => stage.batch_size.to_string(),
            parts => format!("{parts} x {}", stage.batch_size),
        };
        let crop = if stage.band == stage.base { "-".to_owned() } else { stage.crop.to_string() };
        let mut row = vec![
            stage.index.to_string(),
            format!("{:5.1} -{:6.1} %", 100.0 * stage.start, 100.0 * stage.end),
            stage.band.to_string(),
            tokens(schedule, stage).to_string(),
            crop,
            stage.magnitude.to_string(),
            batch,
            format!("{passes:.1}"),
        ];
        row.extend(images.as_ref().map(|images| images[stage.index].to_string()));
        row.push(format!("{:.2}x", stage.load()));
        row
    });
    let body = columns(&head, rows);
    let mut text = format!("{}: {}\n\n{body}", schedule.name(), summary(schedule));
    if let Some(images) = images {
        text.push_str(&format!("\n{} images in all\n", images.iter().sum::<u64>()));
    }
    text.push_str(
        "\nload: images per unit of compute that the loader must deliver, relative to a run at the base size\n",
    );
    text
}

/// The scripts' own integers, and the learning rate at each stage's first and last step.
fn released_table(args: &Args) -> Result<String> {
    let standard = Options::default();
    let published = |option: Option<u32>, value: u32| option.is_none_or(|given| given == value);
    if !published(args.fit.base, standard.base) || !published(args.fit.patch, standard.patch) {
        return Ok(String::new());
    }
    let row = args.fit.released_row(&args.name, &standard)?;
    let epochs = args.fit.epochs.unwrap_or(standard.epochs) as u32;
    let LearningRate { peak, min, .. } = LearningRate::default();
    let rate = ReleasedLearningRate { peak, min, steps_per_epoch: 312 };
    let head = ["stage", "band", "schedule", "warm-up", "start", "end", "run", "first rate", "last rate"];
    let rows = released::table(row, epochs, Replay::Off).into_iter().map(|stage| {
        let iteration = |epoch: u32| u64::from(epoch) * rate.steps_per_epoch;
        vec![
            stage.stage.to_string(),
            stage.band.to_string(),
            stage.schedule_epochs.to_string(),
            stage.warmup_epochs.to_string(),
            stage.start_epoch.to_string(),
            stage.end_epoch.to_string(),
            stage.epochs_run.to_string(),
            format!("{:.6}", rate.at(&stage, iteration(stage.start_epoch))),
            format!("{:.6}", rate.at(&stage, iteration(stage.end_epoch) - 1)),
        ]
    });
    let body = columns(&head, rows);
    Ok(format!("\nIn the scripts' epochs, with their learning rate (peak {peak}, 312 steps an epoch):\n\n{body}"))
}

/// Right-aligned columns, two spaces apart.
fn columns(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut lines = vec![head.iter().map(|&word| word.to_owned()).collect::<Vec<_>>()];
    lines.extend(rows);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
        text.push_str(&cells.join("  "));
        text.push('\n');
    }
    text
}

fn json(schedule: &Schedule, dataset_len: Option<u64>) -> serde_json::Value {
    let images = dataset_len.map(|len| schedule.images(len));
    let stages: Vec<_> = schedule
        .stages()
        .iter()
        .zip(schedule.stage_image_epochs())
        .map(|(stage, passes)| {
            let mut row = serde_json::json!({
                "index": stage.index, "start": stage.start, "end": stage.end, "band": stage.band,
                "tokens": tokens(schedule, stage), "crop": stage.crop.to_string(), "magnitude": stage.magnitude,
                "batch_size": stage.batch_size, "accumulate": stage.accumulate, "image_epochs": passes,
                "load": stage.load(),
            });
            if let Some(images) = &images {
                row["images"] = images[stage.index].into();
            }
            row
        })
        .collect();
    serde_json::json!({
        "name": schedule.name(), "base": schedule.base(), "patch": schedule.patch(), "epochs": schedule.epochs(),
        "image_epochs": schedule.image_epochs(), "relative_compute": schedule.relative_compute(), "stages": stages,
    })
}

fn chart(schedule: &Schedule) -> Chart {
    let stages = schedule.stages();
    let step = |name: &str, color: usize, value: &dyn Fn(&Stage) -> f64| {
        let mut points: Vec<_> = stages.iter().map(|stage| (stage.start, value(stage))).collect();
        points.extend(stages.last().map(|stage| (stage.end, value(stage))));
        Series { color: Some(color), ..Series::new(name, Style::Step, points) }
    };
    let x_label = "share of the run's compute consumed";
    let base = f64::from(schedule.base());
    let panel = |title: &str, y_label: &str, series, references, notes| Panel {
        title: title.into(),
        y_label: y_label.into(),
        series: vec![series],
        references,
        notes,
        from_zero: true,
        height: 210,
        ..Panel::default()
    };
    let band = |stage: &Stage| f64::from(stage.band);
    let mut panels = vec![
        panel(
            "Band",
            "pixels",
            step("side B of the images", 0, &band),
            vec![Reference { name: format!("base size, {base}"), at: super::chart::At::Y(base) }],
            notes(stages, &band, &|value| format!("{value}")),
        ),
        panel(
            "RandAugment magnitude",
            "magnitude",
            step("mean magnitude, of 10", 1, &|stage| stage.magnitude),
            vec![],
            notes(stages, &|stage| stage.magnitude, &|value| value.to_string()),
        ),
        panel(
            "Loader load",
            "relative images/s",
            step("images per unit of compute", 2, &Stage::load),
            vec![Reference { name: "a run at the base size".into(), at: super::chart::At::Y(1.0) }],
            notes(stages, &Stage::load, &|value| format!("{value:.2}x")),
        ),
    ];
    if let Some(last) = panels.last_mut() {
        last.x_label = x_label.into();
    }
    Chart { title: format!("Schedule {}", schedule.name()), subtitle: summary(schedule), panels }
}

/// One note over each run of stages that have the same value.
fn notes(stages: &[Stage], value: &dyn Fn(&Stage) -> f64, text: &dyn Fn(f64) -> String) -> Vec<Note> {
    stages
        .chunk_by(|a, b| value(a) == value(b))
        .filter_map(|run| Some((run.first()?, run.last()?)))
        .map(|(first, last)| Note { span: (first.start, last.end), y: value(first), text: text(value(first)) })
        .collect()
}
