//! `bandfeed bench crop`: decoded pixels to a finished slot of a batch, with no file and no decoder in the window.

use super::options::{CacheChoice, Common, Making, Shape, Target, at_own_magnitude, magnitude};
use super::report::{Key, Kind, NOT_CUT, Report};
use super::rounds::{self, Done, Input, Window};
use super::show::Outlet;
use crate::decode::{Decoder, Limits};
use crate::engine::resolution;
use crate::ops::{Renderer, Rgb8};
use crate::plan::{self, SampleKey};
use crate::{BandCrop, Error, Recipe, Result, Size, Source, Stage};
use std::process::ExitCode;
use std::time::Instant;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    making: Making,
    /// How the band is cut: lanczos, fourier, fourier-half-pixel; several values make a row each [default: lanczos and fourier, or
    /// the stage's own].
    #[arg(long, value_delimiter = ',')]
    crop: Vec<BandCrop>,
    /// Images whose decoded pixels are held in memory for each band.
    #[arg(long, default_value_t = 64, value_name = "N")]
    samples: usize,
    /// Images in a batch: how much memory is written before it is written again.
    #[arg(long, default_value_t = 64)]
    batch_size: usize,
}

/// What the decoder made for one sample's plan.
struct Sample {
    key: SampleKey,
    /// Of the whole image.
    size: Size,
    pixels: Rgb8,
    /// The plan's region in `pixels`.
    area: [f64; 4],
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let Args { common, making, crop, samples, batch_size } = args;
    let outlet = Outlet::open(common, Kind::Crop)?;
    if common.cache != CacheChoice::Warm {
        return Err(Error::config(
            "--cache",
            "bench crop reads no files in its windows; use bench decode or bench loader",
        ));
    }
    for (option, value) in [("--samples", *samples), ("--batch-size", *batch_size)] {
        if value == 0 {
            return Err(Error::config(option, "0: expected at least 1"));
        }
    }
    let recipe = making.recipe()?;
    let targets = common.targets(making, &recipe, Shape { batch_size: *batch_size, crop: None, patch: 16 })?;
    let input = Input::open(common)?;
    let planned = at_own_magnitude(&recipe);
    let held: Vec<Vec<Sample>> =
        targets.iter().map(|target| hold(args, &planned, &*input.source, target)).collect::<Result<_>>()?;
    let mut rows: Vec<(Key, usize, Stage)> = Vec::new();
    for workers in common.workers() {
        for (place, target) in targets.iter().enumerate() {
            let mut crops = crop.clone();
            if crops.is_empty() {
                let own = vec![target.stage.crop];
                crops = if target.number.is_some() { own } else { vec![BandCrop::Lanczos, BandCrop::FOURIER] };
            }
            let uncut = target.stage.band == target.stage.base;
            for crop in crops.into_iter().take(if uncut { 1 } else { usize::MAX }) {
                let name = if uncut { NOT_CUT.to_owned() } else { crop.to_string() };
                let (stage, band) = (target.number, Some(target.stage.band));
                let magnitude = magnitude(&recipe, target);
                let key = Key { stage, band, workers, crop: Some(name), magnitude, ..Key::default() };
                rows.push((key, place, Stage { crop, ..target.stage.clone() }));
            }
        }
    }
    let keys = rows.iter().map(|(key, ..)| key.clone()).collect();
    let measured = rounds::run(common, keys, |place, _| {
        let (key, target, stage) = &rows[place];
        window(args, &planned, key, stage, &held[*target])
    })?;
    let mut report = Report::new(Kind::Crop, common, &*input.source, &recipe, making.scale_margin, measured);
    report.batch_size = Some(*batch_size);
    let samples = held.iter().map(Vec::len).min().unwrap_or(0);
    let held = format!(
        "{samples} images' pixels were held in memory, decoded beforehand at the scale that their crop needs.\n"
    );
    outlet.put(&report, &recipe, &held)
}

/// Decodes the first images that can be, for `target`.
fn hold(args: &Args, recipe: &Recipe, source: &dyn Source, target: &Target) -> Result<Vec<Sample>> {
    let Args { common, making, samples, .. } = args;
    let mut decoder = Decoder::new(Limits::default())?.scale_margin(making.scale_margin)?;
    let (mut held, mut buffer) = (Vec::new(), Vec::new());
    // A source with fewer images than are to be held gives each several times, with other crops.
    for position in 0..(*samples + source.len()) as u64 {
        if held.len() == *samples {
            break;
        }
        let bytes = source.read(position as usize % source.len(), &mut buffer)?;
        let Ok(header) = decoder.header(bytes) else { continue };
        let key = SampleKey { seed: common.seed, epoch: 0, position, replay: 0 };
        let plan = plan::train(key, &target.stage, target.stage.magnitude, recipe, header.size)?;
        let Ok(patch) = decoder.decode_region(bytes, &header, plan.crop.region, resolution(&plan)) else { continue };
        let row = 3 * patch.size.width as usize;
        let rows = patch.pixels.chunks(patch.stride);
        let pixels = rows.flat_map(|line| &line[..row]).copied().collect();
        let (pixels, area) = (Rgb8 { pixels, size: patch.size }, patch.area);
        held.push(Sample { key, size: header.size, pixels, area });
    }
    if held.is_empty() {
        return Err(Error::source(
            &common.source,
            "no image of the source can be decoded; `bandfeed decode` tells why",
        ));
    }
    Ok(held)
}

fn window(args: &Args, recipe: &Recipe, key: &Key, stage: &Stage, held: &[Sample]) -> Result<Window> {
    let values = 3 * (stage.band as usize).pow(2);
    let slots = args.batch_size.div_ceil(key.workers);
    let state = |_| (Renderer::new(), vec![0.0f32; values * slots]);
    let mut states: Vec<_> = (0..key.workers).map(state).collect();
    let work = |(renderer, batch): &mut (Renderer, Vec<f32>), number: u64| {
        let sample = &held[number as usize % held.len()];
        let start = Instant::now();
        let plan = plan::train(sample.key, stage, stage.magnitude, recipe, sample.size)?;
        let slot = number as usize % slots;
        renderer.render(sample.pixels.view(), sample.area, &plan, &mut batch[slot * values..][..values])?;
        Ok(Done { images: 1, render: start.elapsed(), ..Done::default() })
    };
    // Each thread has met every image, and so every table, when the clock starts.
    let warm = held.len() as u64;
    let window = rounds::race(&mut states, (args.common.seconds, u64::MAX, warm), || Ok(None), work)?;
    Ok(Window { pixels: None, own_decodes: None, ..window })
}
