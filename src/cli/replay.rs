//! `bandfeed replay`: the step that ended a run, once more.

use super::chart::sheet::{Row, Sheet, Tile};
use super::config::ConfigArgs;
use super::job::{Job, RUN_FILE, checkpoints_of};
use super::live::pixels;
use super::table::table;
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::loader::State;
use crate::train::{NonFinite, SuspectImage};
use std::path::PathBuf;

/// Make the batches of a step whose loss or gradient was not finite again, list their images by loss, and draw them as the
/// model saw them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder of the run, with run.toml and checkpoints/nonfinite.json.
    run: PathBuf,
    /// The picture to write [default: nonfinite.png in the run's folder].
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Images of the list and of the picture: those of no finite loss first, then the largest.
const LISTED: usize = 32;
const COLUMNS: usize = 8;
/// Small pictures are enlarged by a whole number to about this side.
const TILE: u32 = 112;

pub(crate) fn run(args: &Args) -> Result<()> {
    let record = NonFinite::<State>::read(&checkpoints_of(&args.run).nonfinite())?;
    let files = ConfigArgs { config: Some(args.run.join(RUN_FILE)), ..ConfigArgs::default() };
    let settings = files.resolve()?;
    let schedule = settings.schedule.schedule()?;
    let (mean, std) = (settings.transform.mean, settings.transform.std);
    let mut loader = Job::new(settings, schedule, true)?.loader(Some(record.feed.clone()))?;
    let batches = record.replay(&mut loader)?;

    let mut images: Vec<(&Batch, usize, &SuspectImage)> = batches
        .iter()
        .zip(&record.batches)
        .flat_map(|(batch, suspects)| {
            suspects.images.iter().enumerate().map(move |(place, image)| (batch, place, image))
        })
        .collect();
    // A loss that is no number comes before all numbers.
    let rank = |loss: f64| if loss.is_nan() { f64::INFINITY } else { loss };
    images.sort_by(|a, b| rank(b.2.loss).total_cmp(&rank(a.2.loss)));
    let count = images.len();
    images.truncate(LISTED);

    let rows = images.iter().map(|(batch, place, image)| {
        let values = values(batch, *place);
        let (low, high) = values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
        let odd = values.iter().filter(|v| !v.is_finite()).count();
        vec![
            image.name.clone().unwrap_or_else(|| format!("image {}", image.index)),
            image.label.to_string(),
            image.mixed_with.map_or(String::new(), |index| index.to_string()),
            format!("{:.4}", image.loss),
            format!("{low:.2} to {high:.2}"),
            odd.to_string(),
        ]
    });
    let header = ["image", "class", "mixed with", "loss", "values", "not finite"];
    let text = format!(
        "step {}, epoch {}, stage {}, band {}, learning rate {}: loss {}, gradient's norm {}\n{count} images, by loss:\n\n{}",
        record.step,
        record.epoch,
        record.stage.index + 1,
        record.stage.band,
        record.learning_rate,
        record.loss,
        record.grad_norm.map_or("not asked for".to_owned(), |norm| norm.to_string()),
        table(&header, &rows.collect::<Vec<_>>())
    );
    super::print(&text)?;

    let side = record.stage.band;
    let tile = |(batch, place, image): &(&Batch, usize, &SuspectImage)| {
        Tile::new(pixels(values(batch, *place), side, mean, std), format!("{} loss {:.2}", image.index, image.loss))
    };
    let mut tiles: Vec<Tile> = images.iter().map(tile).collect();
    let mut rows = Vec::new();
    while !tiles.is_empty() {
        let rest = tiles.split_off(tiles.len().min(COLUMNS));
        rows.push(Row { label: Vec::new(), tiles: std::mem::replace(&mut tiles, rest) });
    }
    let sheet = Sheet {
        title: format!("step {}: the images of the largest losses", record.step),
        subtitle: "as the model saw them, normalisation undone; captions: index in the source, loss".to_owned(),
        rows,
        tile: side * (TILE / side).max(1),
        ..Sheet::default()
    };
    let path = args.out.clone().unwrap_or_else(|| args.run.join("nonfinite.png"));
    std::fs::write(&path, sheet.png()?).map_err(Error::io(&path))?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

/// `(3, B, B)` of one image.
fn values(batch: &Batch, place: usize) -> &[f32] {
    let [_, c, h, w] = batch.images.shape();
    &batch.images.as_slice()[place * c * h * w..][..c * h * w]
}
