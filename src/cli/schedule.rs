//! `bandfeed schedule NAME`: a schedule as a table and a plot.

use super::chart::{At, Chart, Note, Panel, Reference, Series, Style};
use super::fit::Fit;
use crate::recipe::SchedulePreset;
use crate::schedule::learning_rate::ReleasedLearningRate;
use crate::schedule::released;
use crate::schedule::{Growth, LearningRate, ModelRow, Options, Schedule, Stage};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Show a schedule as a table and a plot.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// constant, efficient_train, efficient_train_pp, efficient_train_pp_deit, efficient_train_pp_convnext, auto_prog, or
    /// the path of a .toml table.
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
    let schedule = args.fit.schedule(&args.name, &SchedulePreset::default())?;
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
    super::print(&text)?;
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
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    Ok(stem)
}

/// Patches of an image in this stage.
fn tokens(schedule: &Schedule, stage: &Stage) -> u64 {
    u64::from(stage.side() / schedule.patch()).pow(2)
}

fn summary(schedule: &Schedule) -> String {
    if let Some(search) = schedule.search() {
        return format!(
            "{} passes over the data; {} of each stage {} chosen while training, after {} of its passes",
            number(schedule.image_epochs()),
            if search.tokens { "side and depth" } else { "the depth" },
            if search.tokens { "are" } else { "is" },
            search.epochs
        );
    }
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

/// Stages are numbered from 1, as everywhere that people read; [`json`] has their indices.
pub(super) fn table(schedule: &Schedule, dataset_len: Option<u64>) -> String {
    let mut head = vec!["stage", schedule.clock(), "band"];
    let says = |what: &dyn Fn(&Growth) -> bool| schedule.stages().iter().any(|stage| what(&stage.growth));
    let (shrinks, deepens) = (says(&|g| g.shrink.is_some()), says(&|g| g.depth.is_some()));
    let (drops, erases) = (says(&|g| g.drop_path.is_some()), says(&|g| g.erasing.is_some()));
    let crops = says(&|g| g.scale.is_some());
    for (column, shown) in [("side", shrinks), ("depth", deepens)] {
        head.extend(shown.then_some(column));
    }
    head.extend(["tokens", "crop", "magnitude"]);
    for (column, shown) in [("drop path", drops), ("erasing", erases), ("scale", crops)] {
        head.extend(shown.then_some(column));
    }
    head.push("batch");
    let accumulates = schedule.stages().iter().any(|stage| stage.accumulate > 1);
    if accumulates {
        head.push("step");
    }
    head.push("passes");
    if dataset_len.is_some() {
        head.push("images");
    }
    let replays = schedule.stages().iter().any(|stage| stage.replay.is_on());
    if replays {
        head.push("uses");
    }
    head.push("load");
    let images = dataset_len.map(|len| schedule.images(len));
    let rows = schedule.stages().iter().zip(schedule.stage_image_epochs()).map(|(stage, passes)| {
        let batch = match stage.accumulate {
            1 => stage.batch_size.to_string(),
            parts => format!("{parts} x {}", stage.batch_size),
        };
        let crop = if stage.band == stage.base { "-".to_owned() } else { stage.crop.to_string() };
        let growth = &stage.growth;
        let chance = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
        let magnitude = if growth.augment { stage.magnitude.to_string() } else { "off".to_owned() };
        let mut row = vec![
            (stage.index + 1).to_string(),
            format!("{:5.1} -{:6.1} %", 100.0 * stage.start, 100.0 * stage.end),
            stage.band.to_string(),
        ];
        row.extend(shrinks.then(|| stage.side().to_string()));
        row.extend(deepens.then(|| growth.depth.map_or("-".to_owned(), |depth| depth.blocks.to_string())));
        row.extend([tokens(schedule, stage).to_string(), crop, magnitude]);
        row.extend(drops.then(|| chance(growth.drop_path)));
        row.extend(erases.then(|| chance(growth.erasing)));
        row.extend(crops.then(|| growth.scale.map_or("-".to_owned(), |[low, high]| format!("{low:.3}-{high:.3}"))));
        row.push(batch);
        row.extend(accumulates.then(|| stage.effective_batch().to_string()));
        row.push(format!("{passes:.1}"));
        row.extend(images.as_ref().map(|images| images[stage.index].to_string()));
        row.extend(replays.then(|| stage.replay.times.to_string()));
        row.push(format!("{:.2}x", stage.load()));
        row
    });
    let body = columns(&head, rows);
    let mut text = format!("{}: {}\n\n{body}", schedule.name(), summary(schedule));
    if let Some(images) = images {
        text.push_str(&format!("\n{} images in all\n", images.iter().sum::<u64>()));
    }
    if schedule.search().is_some() {
        text.push_str("\nThe sizes above are what is chosen from; the last stage's is its own.\n");
    }
    text.push_str(
        "\nload: images per unit of compute that the loader must decode, relative to a run at the base size\n",
    );
    if accumulates {
        text.push_str("step: images behind one optimiser step, whose batches are summed\n");
    }
    if replays {
        text.push_str(&format!(
            "uses: how often a decoded image is trained on; {} passes over the data are decoded\n",
            number(schedule.decoded_epochs())
        ));
    }
    text
}

/// The scripts' own integers, and the learning rate at each stage's first and last step.
fn released_table(args: &Args) -> Result<String> {
    let standard = Options::default();
    let published = |option: Option<u32>, value: u32| option.is_none_or(|given| given == value);
    if !published(args.fit.base, standard.base) || !published(args.fit.patch, standard.patch) {
        return Ok(String::new());
    }
    let row = ModelRow::of_schedule(&args.name.replace('-', "_"))?;
    let epochs = args.fit.epochs.unwrap_or(standard.epochs) as u32;
    let LearningRate { peak, min, .. } = LearningRate::default();
    let rate = ReleasedLearningRate { peak, min, steps_per_epoch: 312 };
    let head = ["stage", "band", "schedule", "warm-up", "start", "end", "run", "first rate", "last rate"];
    let rows = released::table(row, epochs, args.fit.replay.unwrap_or_default()).into_iter().map(|stage| {
        let iteration = |epoch: u32| u64::from(epoch) * rate.steps_per_epoch;
        vec![
            (stage.stage + 1).to_string(),
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
                "batch_size": stage.batch_size, "accumulate": stage.accumulate,
                "step_images": stage.effective_batch(), "image_epochs": passes,
                "load": stage.load(), "replay": stage.replay.times, "replay_capacity": stage.replay.capacity,
                "rate_scale": stage.rate_scale,
            });
            if let Some(images) = &images {
                row["images"] = images[stage.index].into();
            }
            if stage.growth != Growth::NONE {
                row["side"] = stage.side().into();
                row["depth"] = stage.growth.depth.map(|depth| depth.blocks).into();
                row["growth"] = serde_json::to_value(stage.growth).expect("numbers and words");
            }
            row
        })
        .collect();
    serde_json::json!({
        "name": schedule.name(), "base": schedule.base(), "patch": schedule.patch(), "epochs": schedule.epochs(),
        "image_epochs": schedule.image_epochs(), "relative_compute": schedule.relative_compute(), "stages": stages,
        "search": schedule.search(),
    })
}

fn chart(schedule: &Schedule) -> Chart {
    let stages = schedule.stages();
    let step = |name: &str, color: usize, value: &dyn Fn(&Stage) -> f64| {
        let mut points: Vec<_> = stages.iter().map(|stage| (stage.start, value(stage))).collect();
        points.extend(stages.last().map(|stage| (stage.end, value(stage))));
        Series { color: Some(color), ..Series::new(name, Style::Step, points) }
    };
    let x_label = format!("share of the run's {} consumed", schedule.clock());
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
    let band = |stage: &Stage| f64::from(stage.side());
    let mut panels = vec![
        panel(
            "Band",
            "pixels",
            step("side B of the images", 0, &band),
            vec![Reference { name: format!("base size, {base}"), at: At::Y(base) }],
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
            step("images decoded per unit of compute", 2, &Stage::load),
            vec![Reference { name: "a run at the base size".into(), at: At::Y(1.0) }],
            notes(stages, &Stage::load, &|value| format!("{value:.2}x")),
        ),
    ];
    if let Some(full) = schedule.depth() {
        let depth = |stage: &Stage| f64::from(stage.growth.depth.map_or(full, |depth| depth.blocks));
        panels.insert(
            1,
            panel(
                "Depth",
                "blocks",
                step("blocks of the model", 3, &depth),
                vec![Reference { name: format!("the whole model, {full}"), at: At::Y(f64::from(full)) }],
                notes(stages, &depth, &|value| value.to_string()),
            ),
        );
    }
    if let Some(last) = panels.last_mut() {
        last.x_label = x_label;
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    fn args(words: &[&str]) -> Args {
        Program::try_parse_from(std::iter::once(&"schedule").chain(words)).expect("valid arguments").args
    }

    fn schedule(words: &[&str]) -> Result<Schedule> {
        let args = args(words);
        args.fit.schedule(&args.name, &SchedulePreset::default())
    }

    #[test]
    fn arguments_of_the_command_are_consistent() {
        use clap::CommandFactory;
        Program::command().debug_assert();
    }

    #[test]
    fn table_lists_every_stage_in_straight_columns() {
        let schedule = schedule(&["efficient_train_pp_deit", "--base-parts", "2"]).expect("valid");
        let text = table(&schedule, Some(1_281_167));
        let rows: Vec<&str> = text.lines().skip(2).take(11).collect();
        assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{text}");
        let cells: Vec<Vec<&str>> = rows.iter().map(|row| row.split_whitespace().collect()).collect();
        assert_eq!(
            cells[1],
            ["1", "0.0", "-", "10.0", "%", "96", "36", "lanczos", "0", "256", "256", "108.9", "139504851", "5.44x"]
        );
        let last = [
            "10", "90.0", "-", "100.0", "%", "224", "196", "-", "9", "2", "x", "128", "256", "20.0", "25623340",
            "1.00x",
        ];
        assert_eq!(cells[10], last);
        assert!(text.contains("= 469 passes over the data"), "{text}");
    }

    #[test]
    fn both_tables_number_stages_from_1() {
        let args = args(&["efficient_train_pp_deit", "--released"]);
        let schedule = args.fit.schedule(&args.name, &SchedulePreset::default()).expect("valid");
        for text in [table(&schedule, None), released_table(&args).expect("a published row")] {
            let numbers: Vec<usize> = text
                .lines()
                .skip_while(|line| !line.trim_start().starts_with("stage "))
                .skip(1)
                .map_while(|line| line.split_whitespace().next()?.parse().ok())
                .collect();
            assert_eq!(numbers, (1..=10).collect::<Vec<_>>(), "{text}");
        }
    }

    #[test]
    fn json_has_the_numbers_of_the_table() {
        let schedule = schedule(&["efficient_train_pp"]).expect("valid");
        let value = json(&schedule, Some(1000));
        assert_eq!(value["stages"].as_array().map(Vec::len), Some(10));
        assert_eq!((&value["stages"][2]["band"], &value["stages"][2]["tokens"]), (&160.into(), &100.into()));
        assert_eq!(value["stages"][9]["images"], 20_000);
        assert_eq!((&value["stages"][0]["index"], &value["stages"][9]["index"]), (&0.into(), &9.into()));
    }

    #[test]
    fn plot_goes_where_it_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |path: &str| folder.path().join(path);
        let stem = |out: &Path, name: &str| plot_stem(Some(out), name).expect("made");
        assert_eq!(plot_stem(None, "constant").expect("nothing to make"), Path::new("schedule-constant"));
        assert_eq!(stem(folder.path(), "a/b c"), at("schedule-a-b-c"));
        assert_eq!(stem(&at("new/folder"), "x"), at("new/folder/schedule-x"));
        assert_eq!(stem(&at("other/plot.svg"), "x"), at("other/plot"));
        assert!(at("new/folder").is_dir() && at("other").is_dir());
    }

    #[test]
    fn equal_neighbours_share_a_note() {
        let schedule = schedule(&["efficient_train_pp"]).expect("valid");
        let notes = notes(schedule.stages(), &|stage| f64::from(stage.band), &|value| value.to_string());
        let spans: Vec<_> = notes.iter().map(|note| (note.span, note.text.as_str())).collect();
        assert_eq!(spans, [((0.0, 0.2), "96"), ((0.2, 0.6), "160"), ((0.6, 1.0), "224")]);
    }
}
