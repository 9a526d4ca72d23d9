//! `bandfeed demo`: a small data set, a small model, the whole curriculum, in a few minutes.

use super::config::{LoaderConfig, Output, ReportConfig, RunConfig, SourceConfig};
use super::job::Job;
use super::live::LiveArgs;
use crate::demo_data::DemoData;
use crate::engine::DeviceName;
use crate::error::{Error, Result};
use crate::loader::OnBadFile;
use crate::recipe::{Recipe, SchedulePreset, TrainPreset};
use std::path::PathBuf;
use std::process::ExitCode;

/// Make a small labelled JPEG data set, train a small vision transformer on it under EfficientTrain++, and show by stage what
/// happened.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder for the images, log, curves and checkpoints [default: bandfeed-demo, or the first of bandfeed-demo-2, -3, ... that
    /// is not there].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Budget in equivalent epochs: the compute of this many passes at the full size.
    #[arg(long, default_value_t = 8.0)]
    epochs: f64,
    /// constant, efficient_train, efficient_train_pp, efficient_train_pp_deit, or the path of a .toml table.
    #[arg(long, default_value = "efficient_train_pp_deit", value_name = "NAME")]
    schedule: String,
    /// Seed of the images, weights, order and augmentation.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// What makes the batches: cpu, wgpu (a GPU), wgpu:NAME or auto.
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    device: DeviceName,
    /// Go on with the run in the folder.
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    live: LiveArgs,
}

/// Side of the full images and of a patch: 64 tokens at the end, 9 at the start.
const BASE: u32 = 96;
const PATCH: u32 = 12;

/// `bandfeed-demo`, or with a number behind it: the first that is not there, or to go on with a run the last that is.
fn free_folder(resume: bool) -> PathBuf {
    let name = |n: u32| PathBuf::from(if n == 1 { "bandfeed-demo".to_owned() } else { format!("bandfeed-demo-{n}") });
    let free = (1..).find(|&n| !name(n).exists()).unwrap_or(1);
    name(if resume { free.max(2) - 1 } else { free })
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let data = DemoData { train_per_class: 250, val_per_class: 40, seed: args.seed, ..DemoData::default() };
    let schedule = SchedulePreset {
        name: args.schedule.clone(),
        base: Some(BASE),
        patch: Some(PATCH),
        epochs: Some(args.epochs),
        batch_size: Some(50),
        ..SchedulePreset::default()
    };
    // A mistake in it is told before images are made.
    schedule.schedule()?;
    let out = match &args.out {
        Some(out) => out.clone(),
        None => free_folder(args.resume),
    };
    let images = out.join("data");
    if !images.exists() {
        // Whole under another name first: half a data set would pass for one.
        let unfinished = out.join("data.unfinished");
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished).map_err(Error::io(&unfinished))?;
        }
        data.write(&unfinished)?;
        std::fs::rename(&unfinished, &images).map_err(Error::io(&images))?;
    }
    let path = |part: &str| Some(images.join(part).to_string_lossy().into_owned());
    let mut report = ReportConfig::default();
    args.live.apply(&mut report);
    let settings = RunConfig {
        report,
        name: "demo".into(),
        source: SourceConfig { train: path("train"), val: path("val"), index: None },
        run: Output { out, seed: args.seed, checkpoint_minutes: 1.0, ..Output::default() },
        loader: LoaderConfig { device: args.device.clone(), on_bad_file: OnBadFile::Fail, ..LoaderConfig::default() },
        train: TrainPreset {
            dim: Some(96),
            depth: Some(4),
            heads: Some(3),
            drop_path: 0.0,
            lr: 2e-3,
            min_lr: 1e-5,
            warmup: Some(0.1),
            ..TrainPreset::default()
        },
        // The classes are drawn large: a crop of a twelfth of the image often misses them.
        transform: Recipe { scale: [0.35, 1.0], ..Recipe::default() },
        schedule,
        ..RunConfig::default()
    };
    let schedule = settings.schedule.schedule()?;
    Job::new(settings, schedule, args.resume)?.run()
}
