//! `bandfeed inspect`: what a recipe does, in words and pictures.

use super::chart::sheet::{Row, Sheet};
use super::fit::Fit;
use super::table::table;
use super::transform::{Transform, describe};
use crate::augment::{Augmenter, Op, Policy, Sampling};
use crate::decode::{Decoder, Limits};
use crate::demo_data::DemoData;
use crate::error::{Error, Result};
use crate::loader::{Loader, OnBadFile};
use crate::ops::{Rgb8, View, resize};
use crate::recipe::{Preset, Recipe};
use crate::schedule::{Schedule, Stage};
use crate::shape::{Filter, Size};
use crate::source::{self, Source};
use std::path::PathBuf;
use std::sync::Arc;

/// Show what a recipe does: settings, the policy's operations, and with --out pictures of both.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Images to show it on: a folder of class folders, or WebDataset shards [default: drawn ones].
    #[arg(value_name = "SOURCE")]
    source: Option<String>,
    /// plain, deit_tiny, deit_small, efficienttrain_pp_deit_small, or the path of a .toml recipe. Without it, all are listed.
    #[arg(long, value_name = "NAME")]
    recipe: Option<String>,
    /// Schedule, in place of the recipe's.
    #[arg(long, value_name = "NAME")]
    schedule: Option<String>,
    #[command(flatten)]
    fit: Fit,
    #[command(flatten)]
    transform: Transform,
    /// Print the whole recipe as TOML and nothing else: a file to start an own one from.
    #[arg(long)]
    toml: bool,
    /// Folder for pictures: stages.png (the same images at each stage) and, for a rand policy, operations.png (each operation at
    /// several magnitudes).
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Side of the pictures on the sheets, in pixels.
    #[arg(long, default_value_t = 112, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(16..=1024))]
    tile: u32,
    /// Seed of the samples shown.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Magnitudes of the sheet of operations.
const MAGNITUDES: [f64; 6] = [0.0, 2.0, 4.0, 6.0, 9.0, 10.0];
/// Images in a row of the sheet of stages.
const SHOWN: usize = 8;

pub(crate) fn run(args: &Args) -> Result<()> {
    let Some(name) = &args.recipe else {
        let row = |name: &str, about: &str| format!("{name:30}  {about}\n");
        let mut text: String = Preset::names().map(|(name, about)| row(name, &about)).collect();
        text += "\nAugmentation policies, for --augment or a recipe's `augment`:\n";
        text.extend(crate::augment::NAMES.iter().map(|(name, about)| row(name, about)));
        return super::print(&text);
    };
    let mut preset = Preset::named(name)?;
    preset.transform = args.transform.apply(preset.transform)?;
    let name = args.schedule.as_ref().unwrap_or(&preset.schedule.name).clone();
    let schedule = args.fit.schedule(&name, &preset.schedule)?;
    preset.schedule = args.fit.over(&name, &preset.schedule);
    if args.fit.image_epochs.is_some() {
        preset.schedule.epochs = Some(schedule.epochs());
    }
    preset.transform.check_schedule(&schedule)?;
    if args.toml {
        if args.fit.released {
            return Err(Error::config("--released", "a recipe cannot say it; leave out --toml"));
        }
        return super::print(&preset.to_toml());
    }
    super::print(&words(&preset, &schedule))?;
    let Some(out) = &args.out else { return Ok(()) };
    std::fs::create_dir_all(out).map_err(Error::io(out))?;
    let source: Arc<dyn Source> = match &args.source {
        Some(source) => source::open(source)?,
        None => Arc::new(DemoData { train_per_class: 2, val_per_class: 1, ..DemoData::default() }.generate()?.0),
    };
    let mut sheets = vec![("stages.png", stages(&preset, &schedule, &source, args)?)];
    if let Some(policy) = preset.transform.augment.as_ref().filter(|policy| policy.follows_magnitude()) {
        let sheet = operations(policy, &preset.transform, first_image(&*source, schedule.base())?, args.tile)?;
        sheets.push(("operations.png", sheet));
    }
    for (file, sheet) in sheets {
        let path = out.join(file);
        sheet.write_png(&path)?;
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}

/// The settings as text.
fn words(preset: &Preset, schedule: &Schedule) -> String {
    let Preset { name, about, transform, train, .. } = preset;
    let mut text = format!("{name}: {about}\n\ntransform  {}\n", describe(transform));
    let stages = schedule.stages();
    let (first, last) = (&stages[0], &stages[stages.len() - 1]);
    text += &format!(
        "schedule   {}: {} equivalent epochs at {} px, {:.1} passes over the images ({:.1} decoded), {} stages, batches of {}\n",
        schedule.name(),
        schedule.epochs(),
        schedule.base(),
        schedule.image_epochs(),
        schedule.decoded_epochs(),
        stages.len(),
        first.effective_batch(),
    );
    text += &format!(
        "trainer    ViT `{}`, drop path {}, AdamW: rate {} to {}, warm-up {:.1} % of the compute, weight decay {}, clip {}, \
         label smoothing {}\n",
        train.model,
        train.drop_path,
        train.lr,
        train.min_lr,
        100.0 * train.warmup_under(schedule),
        train.weight_decay,
        train.clip,
        train.label_smoothing
    );
    if let Some(policy) = &transform.augment {
        text += &format!("\npolicy     {policy}\n\n{}", policy_table(policy, transform, first, last));
    }
    text
}

/// What the policy can do, at the magnitudes of the first and the last stage.
fn policy_table(policy: &Policy, recipe: &Recipe, first: &Stage, last: &Stage) -> String {
    let magnitudes = [(first, 0.0), (last, 1.0)].map(|(s, progress)| recipe.magnitude_at(s, last.magnitude, progress));
    if !policy.follows_magnitude() || magnitudes[0] == magnitudes[1] {
        let rows: Vec<Vec<String>> = policy.describe(magnitudes[1]).into_iter().map(|(a, b)| vec![a, b]).collect();
        return table(&["operation", "argument"], &rows);
    }
    let [early, late] = magnitudes.map(|magnitude| policy.describe(magnitude));
    let rows: Vec<Vec<String>> = early.into_iter().zip(late).map(|((name, a), (_, b))| vec![name, a, b]).collect();
    let head = magnitudes.map(|magnitude| format!("at magnitude {}", shortened(magnitude)));
    table(&["operation", &head[0], &head[1]], &rows)
}

/// The first image of the source that decodes, its middle, at `side` by `side` pixels.
fn first_image(source: &dyn Source, side: u32) -> Result<Rgb8> {
    let (mut decoder, mut buffer) = (Decoder::new(Limits::default())?, Vec::new());
    let mut failure = Error::config("source", "no image");
    for index in 0..source.len() {
        let bytes = source.read(index, &mut buffer)?;
        match decoder.decode(bytes) {
            Ok(pixels) => {
                let Size { width, height } = pixels.size;
                let shorter = f64::from(width.min(height));
                let (x, y) = ((f64::from(width) - shorter) / 2.0, (f64::from(height) - shorter) / 2.0);
                let view = View::packed(&pixels.data, pixels.size);
                return resize(view, [x, y, shorter, shorter], Size::square(side), Filter::Bicubic);
            }
            Err(error) => failure = error.named(source.name(index)),
        }
    }
    Err(failure)
}

/// Each operation by magnitude, on one image.
fn operations(policy: &Policy, recipe: &Recipe, image: Rgb8, tile: u32) -> Result<Sheet> {
    let mut augmenter = Augmenter::new();
    let mut rows: Vec<Row> = Vec::new();
    for (column, magnitude) in MAGNITUDES.into_iter().enumerate() {
        let captions = policy.describe(magnitude);
        for (place, (name, op)) in policy.strongest(magnitude, Sampling::Bicubic).into_iter().enumerate() {
            if column == 0 {
                rows.push(Row { label: vec![name], tiles: vec![(image.clone(), String::new())] });
            }
            let mut picture = image.clone();
            augmenter.apply(&mut picture.pixels, image.size, &[op], recipe.fill)?;
            let has_argument = !matches!(op, Op::AutoContrast | Op::Equalize | Op::Invert);
            let caption = captions.get(place).filter(|_| has_argument).map(|(_, argument)| argument.clone());
            rows[place].tiles.push((picture, caption.unwrap_or_default()));
        }
    }
    let columns = std::iter::once("image".into()).chain(MAGNITUDES.map(|m| format!("magnitude {m}"))).collect();
    Ok(Sheet {
        title: format!("Operations of {policy}"),
        subtitle: "at full strength, without noise, to the positive side where there are two".into(),
        columns,
        rows,
        tile,
    })
}

/// The same samples at every stage of the schedule, as a trainer gets them.
fn stages(preset: &Preset, schedule: &Schedule, source: &Arc<dyn Source>, args: &Args) -> Result<Sheet> {
    let recipe = &preset.transform;
    let count = SHOWN.min(source.len());
    let last = schedule.stages().last().expect("a schedule has stages").magnitude;
    let mut rows = Vec::new();
    for stage in schedule.stages() {
        let magnitude = recipe.magnitude_at(stage, last, stage.start);
        let shown = Stage { batch_size: count, accumulate: 1, replay: Default::default(), magnitude, ..stage.clone() };
        // The magnitude is the shown stage's already; one image a place, since repeats are for training.
        let augment = recipe.augment.clone().map(Policy::without_magnitude);
        let own = Recipe { repeats: 1, magnitude: Default::default(), augment, ..recipe.clone() };
        let mut loader = Loader::builder(source.clone(), Schedule::fixed(shown))
            .recipe(own)
            .seed(args.seed)
            .prefetch(1)
            .on_bad_file(OnBadFile::Substitute)
            .build()?;
        let batch = loader.next().ok_or_else(|| Error::config("source", "no batch"))??;
        let size = Size::square(stage.band);
        let pixels = batch.images.as_slice().chunks_exact(3 * size.pixels() as usize);
        let tiles = pixels.map(|values| (picture(values, size, recipe), String::new())).collect();
        let label = vec![
            format!("stage {}", stage.index + 1),
            format!("band {}, magnitude {}", stage.band, shortened(magnitude)),
            format!("{:.0} to {:.0} % of compute", 100.0 * stage.start, 100.0 * stage.end),
        ];
        rows.push(Row { label, tiles });
    }
    Ok(Sheet {
        title: format!("{}: the same images at each stage", preset.name),
        subtitle: describe(recipe),
        columns: Vec::new(),
        rows,
        tile: args.tile,
    })
}

/// A magnitude for people: a product that rounds to 2.6999999999999997 is 2.7.
fn shortened(magnitude: f64) -> f64 {
    (100.0 * magnitude).round() / 100.0
}

/// Normalised planes as pixels again.
fn picture(values: &[f32], size: Size, recipe: &Recipe) -> Rgb8 {
    let plane = size.pixels() as usize;
    let value = |at: usize| {
        let (pixel, c) = (at / 3, at % 3);
        let v = values[c * plane + pixel] * recipe.std[c] + recipe.mean[c];
        (v * 255.0).round().clamp(0.0, 255.0) as u8
    };
    Rgb8 { pixels: (0..3 * plane).map(value).collect(), size }
}

#[cfg(test)]
mod tests {
    use super::shortened;

    #[test]
    fn magnitudes_are_printed_without_the_rounding_of_their_products() {
        assert_eq!(shortened(9.0 * 0.3).to_string(), "2.7");
        assert_eq!((shortened(0.0).to_string(), shortened(9.0).to_string()), ("0".into(), "9".into()));
    }
}
