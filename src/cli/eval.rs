//! `bandfeed eval`: what a model is worth on a set of images, class by class.

mod classes;
mod tally;

use super::chart::matrix::Matrix;
use super::table::table;
use super::{cores, report};
use crate::engine::{DeviceName, EngineOptions};
use crate::error::{Error, Result};
use crate::loader::{BadFile, Loader, OnBadFile};
use crate::recipe::{Preset, Recipe};
use crate::schedule::Stage;
use crate::shape::BandCrop;
use crate::source::Source;
use crate::train::{Device, Predictor, Weights};
use classes::Classes;
use serde::Serialize;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tally::{Class, Tally};

/// Measure a model on a set of images: top-1, top-5, loss, and which classes are taken for which.
///
/// The transform is the run's own (kept in its checkpoints and exported files): resize of the shorter side, centre crop,
/// mean and std.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A checkpoint of a run (FOLDER/checkpoints/best.safetensors), a file of `bandfeed export`, or the weights of a timm
    /// VisionTransformer as safetensors.
    weights: PathBuf,
    /// Images: a folder of class folders, or WebDataset shards (`val-{000..009}.tar`). Classes go by their names.
    source: String,
    /// Where the images' side index is, if not beside them: what `bandfeed index --out` was given.
    #[arg(long, value_name = "PATH")]
    index: Option<PathBuf>,
    /// The running mean of the weights of this number, from 0, in place of the weights of a checkpoint.
    #[arg(long, value_name = "N")]
    ema: Option<usize>,
    /// Sides of the images in pixels, one or several; the table of classes is for the first [default: the run's base size].
    #[arg(long, value_name = "PIXELS", value_delimiter = ',')]
    band: Vec<u32>,
    /// How the band is cut, where it is smaller than the base size: fourier, fourier-half-pixel or lanczos [default: the
    /// run's, or lanczos].
    #[arg(long)]
    crop: Option<BandCrop>,
    /// The transform of this recipe in place of the run's: a name or the path of a .toml file.
    #[arg(long, value_name = "NAME")]
    recipe: Option<String>,
    /// The shorter side is resized to the band divided by this before the centre is cut [default: the recipe's].
    #[arg(long, value_name = "SHARE")]
    crop_ratio: Option<f64>,
    /// Attention heads of a timm file that does not tell them [default: 64 values wide each].
    #[arg(long, value_name = "N")]
    heads: Option<usize>,
    /// Images at a time.
    #[arg(long, default_value_t = 64, value_name = "N")]
    batch_size: usize,
    /// What makes the batches: cpu, wgpu (a GPU), wgpu:NAME or auto.
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    device: DeviceName,
    /// Loader threads [default: the machine's cores].
    #[arg(long)]
    workers: Option<usize>,
    /// Threads of the model [default: the machine's cores].
    #[arg(long)]
    threads: Option<usize>,
    /// What to do about files that cannot be decoded: skip or fail.
    #[arg(long, default_value = "skip")]
    on_bad_file: OnBadFile,
    /// Classes to list, the worst first; 0 lists all.
    #[arg(long, default_value_t = 20, value_name = "N")]
    list: usize,
    /// Folder for confusion.png, confusion.csv (rows are the true classes) and eval.json.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Write the scores before softmax at the first band: a JSON line with name, label and logits for each image.
    #[arg(long, value_name = "FILE")]
    logits: Option<PathBuf>,
}

/// One pass, as eval.json has it.
#[derive(Debug, Serialize)]
struct Pass {
    band: u32,
    images: u64,
    top1: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    top5: Option<f64>,
    loss: f64,
    seconds: f64,
}

/// eval.json.
#[derive(Serialize)]
struct Record<'a> {
    weights: &'a Path,
    source: String,
    steps: Option<u64>,
    ema: Option<f64>,
    crop_ratio: f64,
    passes: &'a [Pass],
    /// At the first band, the worst first.
    classes: &'a [Class],
    skipped: &'a [BadFile],
}

/// One line of the scores.
#[derive(Serialize)]
struct Scores<'a> {
    name: String,
    /// The model's class.
    label: usize,
    logits: &'a [f32],
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.on_bad_file == OnBadFile::Substitute {
        return Err(Error::config("--on-bad-file", "substitute would count an image twice; use skip or fail"));
    }
    let weights = Weights::read(&args.weights, args.ema, args.heads, &Device::flex())?;
    let source = super::open(&args.source, args.index.as_deref())?;
    let recipe = recipe(args, &weights)?;
    let classes = Classes::new(&weights, &*source, &args.weights)?;
    let base = weights.about.base.unwrap_or(weights.model.band());
    let bands = if args.band.is_empty() { vec![base] } else { args.band.clone() };
    bands.iter().try_for_each(|&band| weights.config.grid(band).map(drop))?;
    let crop = args.crop.or(weights.about.crop).unwrap_or(BandCrop::Lanczos);
    announce(args, &weights, &*source, &recipe, &classes);

    let (steps, ema) = (weights.about.steps, weights.about.ema);
    let mut predictor = Predictor::new(weights, args.threads.unwrap_or_else(cores))?;
    let (mut passes, mut first, mut skipped) = (Vec::new(), None, Vec::new());
    for &band in &bands {
        let stage = Stage::fixed(base.max(band), band, crop, args.batch_size);
        let logits = args.logits.as_deref().filter(|_| first.is_none());
        let (pass, tally, bad) = pass(args, &source, &recipe, stage, &classes, &mut predictor, logits)?;
        if first.is_none() {
            (first, skipped) = (Some(tally), bad);
        }
        passes.push(pass);
    }
    let tally = first.expect("there is at least one band");
    let by_class = tally.classes(&classes.names);
    let mut text = format!("\n{}", pass_table(&passes));
    let shown = if args.list == 0 { by_class.len() } else { args.list.min(by_class.len()) };
    let which = match shown == by_class.len() {
        true => "All classes".to_owned(),
        false => format!("The {shown} worst of {} classes", by_class.len()),
    };
    text += &format!("\n{which} at {} px:\n\n{}", passes[0].band, class_table(&by_class[..shown]));
    super::print(&text)?;
    report::files("gave no image and are not in the figures", &skipped);
    let Some(out) = &args.out else { return Ok(()) };
    std::fs::create_dir_all(out).map_err(Error::io(out))?;
    let record = Record {
        weights: &args.weights,
        source: source.describe(),
        steps,
        ema,
        crop_ratio: recipe.eval_crop_ratio,
        passes: &passes,
        classes: &by_class,
        skipped: &skipped,
    };
    let path = out.join("eval.json");
    let json = serde_json::to_string_pretty(&record).expect("figures are plain data");
    std::fs::write(&path, json).map_err(Error::io(&path))?;
    let path = out.join("confusion.csv");
    tally.write_csv(&classes.names, &path).map_err(Error::io(&path))?;
    let path = out.join("confusion.png");
    let (names, counts) = tally.matrix(&classes.names);
    let subtitle = format!(
        "{} images at {} px, top-1 {:.1} %; rows are the true classes, colour is the share of the row",
        passes[0].images,
        passes[0].band,
        passes[0].top1 * 100.0
    );
    Matrix { title: format!("What {} takes for what", short(&args.weights)), subtitle, names, counts }
        .write_png(&path)?;
    eprintln!("wrote confusion.png, confusion.csv and eval.json in {}", out.display());
    Ok(())
}

/// The run's transform, or another that is asked for.
fn recipe(args: &Args, weights: &Weights) -> Result<Recipe> {
    let mut recipe = match (&args.recipe, &weights.about.recipe) {
        (Some(name), _) => Preset::named(name)?.transform,
        (None, Some(recipe)) => recipe.clone(),
        (None, None) => {
            eprintln!(
                "note: the file does not tell its transform; taken are ImageNet's mean and std and a crop ratio of 0.875"
            );
            Recipe::default()
        }
    };
    if let Some(ratio) = args.crop_ratio {
        recipe.eval_crop_ratio = ratio;
    }
    recipe.check()?;
    Ok(recipe)
}

fn announce(args: &Args, weights: &Weights, source: &dyn Source, recipe: &Recipe, classes: &Classes) {
    let (model, about) = (&weights.config, &weights.about);
    let ema = about.ema.map_or(String::new(), |decay| format!(", running mean with decay {decay}"));
    let steps = about.steps.map_or(String::new(), |steps| format!(", after {steps} steps"));
    eprintln!(
        "model      {}: ViT, {} wide, {} deep, {} heads, patch {}, {} classes{ema}{steps}",
        args.weights.display(),
        model.dim,
        model.depth,
        model.heads,
        model.patch,
        model.classes
    );
    eprintln!("images     {}", source.describe());
    eprintln!(
        "transform  shorter side to the band / {}, centre crop, mean {:?}, std {:?}",
        recipe.eval_crop_ratio, recipe.mean, recipe.std
    );
    if let Some(note) = &classes.note {
        eprintln!("note: {note}");
    }
}

/// One pass over the images at the stage's band.
fn pass(
    args: &Args,
    source: &Arc<dyn Source>,
    recipe: &Recipe,
    stage: Stage,
    classes: &Classes,
    predictor: &mut Predictor,
    logits: Option<&Path>,
) -> Result<(Pass, Tally, Vec<BadFile>)> {
    let (start, band) = (Instant::now(), stage.band);
    let builder = Loader::evaluation(source.clone(), stage).recipe(recipe.clone());
    let builder = builder.engines(args.device.open(&EngineOptions::default())?);
    let builder = builder.workers(args.workers.unwrap_or_else(cores)).on_bad_file(args.on_bad_file);
    let mut loader = builder.build()?;
    let mut scores_file = match logits {
        Some(path) => Some((path, BufWriter::new(File::create(path).map_err(Error::io(path))?))),
        None => None,
    };
    let outputs = classes.names.len();
    let mut tally = Tally::default();
    for batch in &mut loader {
        let batch = batch?;
        let scores = predictor.scores(&batch)?;
        for (row, (&label, &index)) in scores.chunks_exact(outputs).zip(batch.labels.iter().zip(&batch.indices)) {
            let label = classes.output(label);
            tally.add(row, label);
            if let Some((path, file)) = &mut scores_file {
                let line = Scores { name: source.name(index as usize), label, logits: row };
                let line = serde_json::to_string(&line).expect("scores are plain data");
                writeln!(file, "{line}").map_err(Error::io(path))?;
            }
        }
    }
    if let Some((path, mut file)) = scores_file {
        file.flush().map_err(Error::io(path))?;
    }
    if tally.images == 0 {
        return Err(Error::config("source", "no file of it gave an image"));
    }
    let share = |n: u64| n as f64 / tally.images as f64;
    let pass = Pass {
        band,
        images: tally.images,
        top1: share(tally.top1),
        top5: (outputs > 5).then_some(share(tally.top5)),
        loss: tally.loss / tally.images as f64,
        seconds: start.elapsed().as_secs_f64(),
    };
    Ok((pass, tally, loader.bad_files()))
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

fn pass_table(passes: &[Pass]) -> String {
    let row = |pass: &Pass| {
        vec![
            pass.band.to_string(),
            pass.images.to_string(),
            percent(pass.top1),
            pass.top5.map_or("-".into(), percent),
            format!("{:.4}", pass.loss),
            format!("{:.1}", pass.images as f64 / pass.seconds.max(1e-9)),
        ]
    };
    let rows: Vec<_> = passes.iter().map(row).collect();
    table(&["band", "images", "top-1", "top-5", "loss", "images/s"], &rows)
}

fn class_table(classes: &[Class]) -> String {
    let row = |class: &Class| {
        let taken = match &class.taken_for {
            Some(other) => format!("{other} ({:.1} %)", class.taken as f64 / class.images.max(1) as f64 * 100.0),
            None => "-".into(),
        };
        vec![class.class.clone(), class.images.to_string(), percent(class.top1), taken]
    };
    let rows: Vec<_> = classes.iter().map(row).collect();
    table(&["class", "images", "top-1", "most often taken for"], &rows)
}

/// The last part of a path.
fn short(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
