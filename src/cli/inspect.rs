//! `bandfeed inspect`: what a recipe does, in words and pictures, and what a data set consists of.
//!
//! ```text
//! --recipe ─► words, schedule ─┐
//! SOURCE ──► report ───────────┼─► terminal; with --out: sheets (.png), dataset.json, and all of it in inspect.html
//!    both ─► sheets ───────────┘
//! ```

mod dataset;
mod fidelity;
mod html;
mod jpeg_end;
mod marks;
mod notes;
mod operations;
mod report;
mod samples;
mod spectrum;
mod stages;
mod words;

use super::chart::sheet::Sheet;
use super::fit::Fit;
use super::transform::Transform;
use crate::demo_data::DemoData;
use crate::error::{Error, Result};
use crate::ops::Rgb8;
use crate::recipe::{Preset, Recipe};
use crate::schedule::{Options, Schedule};
use crate::shape::Size;
use crate::source::{self, Source};
use clap::ArgGroup;
use dataset::Report;
use html::Page;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Show what a recipe does, and what a data set consists of: in words, and with --out in pictures and on a page.
///
/// With SOURCE alone, its images are counted by class, size and kind, and unreadable ones are named. With --recipe alone, its
/// settings are told. With neither, the recipes there are. --fidelity tells what fast decoding of JPEGs changes in the pixels of
/// each stage, and nothing else.
#[derive(Debug, Clone, clap::Args)]
#[command(mut_args(needs))]
#[command(group(ArgGroup::new("changed").args(["recipe", "fidelity"]).multiple(true)))]
#[command(group(ArgGroup::new("shown").args(["out", "fidelity"]).multiple(true)))]
pub(crate) struct Args {
    /// Images: a folder of class folders, or WebDataset shards [default for pictures: drawn ones].
    #[arg(value_name = "SOURCE")]
    source: Option<String>,
    /// plain, deit_tiny, deit_small, efficienttrain_pp_deit_small, auto_prog_deit_small, or the path of a .toml recipe. Without it and
    /// SOURCE, all are listed.
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
    #[arg(long, conflicts_with_all = ["source", "decode", "out"])]
    toml: bool,
    /// Print the report on SOURCE as JSON, with all files that something is wrong with.
    #[arg(long, requires = "source", conflicts_with = "toml")]
    json: bool,
    /// Decode every image of SOURCE whole, to find damage that headers do not tell.
    #[arg(long, requires = "source")]
    decode: bool,
    /// Compare the finished pixels of fast and exact decoding at each stage of the schedule: how many samples are
    /// decoded at which scale, and PSNR and largest error of these. Without --recipe for plain, under
    /// efficient_train_pp_deit.
    #[arg(long, requires = "source", conflicts_with_all = ["toml", "decode", "out"])]
    fidelity: bool,
    /// Folder for inspect.html, which holds all there is to see, and for its parts: dataset.json (the report on SOURCE); with a
    /// recipe samples.png (a few samples at every distinct stage: crop, picture, operations, spectrum), stages.png (batches at
    /// each stage), mixed.png (mixed batches and their labels), operations.png (a rand policy's, at several magnitudes).
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Samples on samples.png, 1 to 16 [default: 4]; with --fidelity samples of each stage, which come again with other crops
    /// where SOURCE has fewer images [default: 200].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    samples: Option<u32>,
    /// Side of the pictures on the sheets, in pixels; on samples.png twice that.
    #[arg(long, default_value_t = 112, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(16..=1024))]
    tile: u32,
    /// Seed of the samples that are shown or compared.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// What an option is nothing without, so that none is passed over in silence. The options of [`Fit`] and [`Transform`] are
/// for every command; here all but `--base`, which the report on SOURCE uses, change a recipe.
fn needs(arg: clap::Arg) -> clap::Arg {
    match arg.get_id().as_str() {
        "source" | "recipe" | "base" | "json" | "decode" | "fidelity" | "out" => arg,
        "samples" | "seed" => arg.requires("changed").requires("shown"),
        "tile" => arg.requires("recipe").requires("out"),
        _ => arg.requires("changed"),
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.fidelity {
        return compare(args);
    }
    if args.json && args.recipe.is_some() {
        return Err(Error::config(
            "--json",
            "the report on SOURCE has no recipe; leave out --recipe, or add --fidelity",
        ));
    }
    if let Some(samples) = args.samples.filter(|&samples| samples > MOST_SHOWN) {
        return Err(Error::config("--samples", format!("{samples}: expected at most {MOST_SHOWN} on samples.png")));
    }
    let recipe = args.recipe.as_ref().map(|name| fitted(name, args)).transpose()?;
    if let (true, Some((preset, _))) = (args.toml, &recipe) {
        if args.fit.released {
            return Err(Error::config("--released", "a recipe cannot say it; leave out --toml"));
        }
        return super::print(&preset.to_toml());
    }
    if recipe.is_none() && args.source.is_none() {
        for (option, given) in [("--out", args.out.is_some()), ("--base", args.fit.base.is_some())] {
            if given {
                return Err(Error::config(option, "there is nothing to show; give SOURCE or --recipe, too"));
            }
        }
        return super::print(&words::list());
    }
    if let Some((preset, schedule)) = &recipe {
        super::print(&words::words(preset, schedule))?;
    }
    let source = args.source.as_deref().map(source::open).transpose()?;
    let base = match &recipe {
        Some((_, schedule)) => schedule.base(),
        None => args.fit.base.unwrap_or(Options::default().base),
    };
    let report = match (&source, &args.source) {
        (Some(source), Some(name)) => Some(dataset::scan(&**source, name, base, args.decode)?),
        _ => None,
    };
    if let Some(report) = &report {
        let gap = if recipe.is_some() { "\n" } else { "" };
        let text = if args.json { json(report) } else { format!("{gap}{}", report::text(report)) };
        super::print(&text)?;
    }
    let Some(out) = &args.out else { return Ok(()) };
    std::fs::create_dir_all(out).map_err(Error::io(out))?;
    let about = recipe.as_ref().map(|(preset, _)| preset.name.as_str()).or(args.source.as_deref());
    let mut page = Page::new(&format!("bandfeed inspect: {}", about.unwrap_or("recipes")));
    if let Some((preset, schedule)) = &recipe {
        page.heading("Recipe");
        page.verbatim(&words::settings(preset, schedule));
        if let Some((head, rows)) = words::policy(preset, schedule) {
            page.small_heading("Policy");
            page.table(&head.iter().map(String::as_str).collect::<Vec<_>>(), &rows);
        }
        page.small_heading("Schedule");
        page.table(&words::stage_head(schedule), &words::stage_rows(&preset.transform, schedule));
    }
    if let Some(report) = &report {
        report::html(report, &mut page);
        write(out, "dataset.json", json(report).as_bytes())?;
    }
    let failed = match &recipe {
        Some((preset, schedule)) => sheets(preset, schedule, source, args, out, &mut page)?,
        None => None,
    };
    write(out, "inspect.html", page.finish().as_bytes())?;
    failed.map_or(Ok(()), Err)
}

/// Samples on samples.png: most, and unless told.
const MOST_SHOWN: u32 = 16;
const SHOWN: u32 = 4;
/// Samples of a stage that are compared unless told.
const COMPARED: u32 = 200;

/// `--fidelity`.
fn compare(args: &Args) -> Result<()> {
    let (preset, schedule) = match &args.recipe {
        Some(name) => fitted(name, args)?,
        None => {
            let under = args.schedule.clone().unwrap_or_else(|| "efficient_train_pp_deit".to_owned());
            fitted("plain", &Args { schedule: Some(under), ..args.clone() })?
        }
    };
    let source = source::open(args.source.as_deref().expect("clap requires it"))?;
    let samples = args.samples.unwrap_or(COMPARED) as usize;
    let found = fidelity::compare(&preset.transform, &schedule, &*source, samples, args.seed)?;
    super::print(&if args.json { found.json() } else { found.text() })
}

/// The recipe and its schedule, with the options in them.
fn fitted(name: &str, args: &Args) -> Result<(Preset, Schedule)> {
    let mut preset = Preset::named(name)?;
    preset.transform = args.transform.apply(preset.transform)?;
    let name = args.schedule.as_ref().unwrap_or(&preset.schedule.name).clone();
    let (settings, schedule) = args.fit.resolve(&name, &preset.schedule)?;
    preset.schedule = settings;
    preset.transform.check_schedule(&schedule)?;
    Ok((preset, schedule))
}

fn json(report: &Report) -> String {
    let text = serde_json::to_string_pretty(report).expect("strings and numbers are always JSON") + "\n";
    // Of control characters JSON itself escapes those below 0x20; all that are left here stand within strings.
    let escape = |c: char| match c {
        '\x7f'..='\u{9f}' => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    match text.contains(|c| ('\x7f'..='\u{9f}').contains(&c)) {
        true => text.chars().map(escape).collect(),
        false => text,
    }
}

/// Text of which a terminal shows every character and obeys none: control characters, line breaks among them, are escaped.
fn visible(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

/// The recipe's sheets, as files and on the page. Where one cannot be made the page says why, and the first such error comes
/// back.
fn sheets(
    preset: &Preset,
    schedule: &Schedule,
    source: Option<Arc<dyn Source>>,
    args: &Args,
    out: &Path,
    page: &mut Page,
) -> Result<Option<Error>> {
    let source = match source {
        Some(source) => source,
        None => Arc::new(DemoData { train_per_class: 2, val_per_class: 1, ..DemoData::default() }.generate()?.0),
    };
    let Args { seed, tile, .. } = *args;
    let mut failed = None;
    let mut add = |file: &str, sheet: Result<Sheet>, alt: &str| match sheet.and_then(|s| Ok((s.png()?, s.title))) {
        Ok((png, title)) => {
            page.heading(&title);
            page.picture(&png, alt);
            write(out, file, &png)
        }
        Err(error) => {
            page.heading(file);
            page.paragraph(&format!("It could not be made: {error}"));
            failed.get_or_insert(error);
            Ok(())
        }
    };
    let samples = samples::sheet(preset, schedule, &source, (args.samples.unwrap_or(SHOWN) as usize, seed), 2 * tile);
    let alt = "A few images with their crop boxes; below them the same crops at every distinct stage, each with its operations \
               and its spectrum before and after the band crop";
    add("samples.png", samples, alt)?;
    if let Some(mixed) = stages::mixed(preset, schedule, &source, seed, tile).transpose() {
        add("mixed.png", mixed, "Mixed batches, each image with the shares of its two classes")?;
    }
    let batches = stages::sheet(preset, schedule, &source, seed, tile);
    add("stages.png", batches, "The same images at each stage, as a batch that a trainer gets")?;
    if let Some(policy) = preset.transform.augment.as_ref().filter(|policy| policy.follows_magnitude()) {
        let image = operations::first_image(&*source, schedule.base());
        let sheet = image.and_then(|image| operations::sheet(policy, &preset.transform, image, tile));
        add("operations.png", sheet, "Each operation of the policy on one image, at six magnitudes")?;
    }
    Ok(failed)
}

fn write(out: &Path, file: &str, bytes: &[u8]) -> Result<()> {
    let path = out.join(file);
    std::fs::write(&path, bytes).map_err(Error::io(&path))?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

/// A magnitude for people: a product that rounds to 2.6999999999999997 is 2.7.
fn shortened(magnitude: f64) -> f64 {
    (100.0 * magnitude).round() / 100.0
}

/// What a class is called: its name, or its number where the source knows no more (a shard's `.cls`).
fn class_name(source: &dyn Source, label: u32) -> String {
    match source.classes().get(label as usize) {
        Some(name) if !name.bytes().all(|b| b.is_ascii_digit()) => name.clone(),
        _ => format!("class {label}"),
    }
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
    use super::{shortened, visible};

    #[test]
    fn magnitudes_are_printed_without_the_rounding_of_their_products() {
        assert_eq!(shortened(9.0 * 0.3).to_string(), "2.7");
        assert_eq!((shortened(0.0).to_string(), shortened(9.0).to_string()), ("0".into(), "9".into()));
    }

    #[test]
    fn no_control_character_gets_through() {
        assert_eq!(visible("a\x1b[2J\u{9b}1m\nb\r\x7fé"), "a\\u{1b}[2J\\u{9b}1m\\nb\\r\\u{7f}é");
    }
}
