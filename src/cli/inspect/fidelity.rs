//! `bandfeed inspect --fidelity`: what fast decoding changes in the pixels that training gets, stage by stage.

use super::shortened;
use crate::cli::machine::Machine;
use crate::cli::table::table;
use crate::decode::{Decoder, Fidelity, Limits, SCALE_MARGIN};
use crate::engine::resolution;
use crate::ops::{Renderer, View};
use crate::plan::{self, SampleKey, SamplePlan};
use crate::recipe::Recipe;
use crate::schedule::{Schedule, Stage};
use crate::source::Source;
use crate::{Error, Result};
use rayon::prelude::*;
use serde::Serialize;

/// M of M/8 that there are.
const SCALES: [u8; 6] = [1, 2, 3, 4, 6, 8];
/// PSNR of equal pixels, which have none.
const EQUAL: f64 = 100.0;

/// The comparison, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    machine: Machine,
    source: String,
    schedule: String,
    base: u32,
    scale_margin: f64,
    seed: u64,
    /// For each stage.
    samples: usize,
    /// Samples that gave no image, of all stages together.
    skipped: usize,
    stages: Vec<Row>,
}

/// Stages that make the same pixels of a sample.
#[derive(Debug, Serialize)]
struct Row {
    /// From 1.
    stages: Vec<usize>,
    band: u32,
    crop: String,
    /// RandAugment's in the middle of the first of them, where the recipe follows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    magnitude: Option<f64>,
    images: usize,
    /// Share of the images that are decoded at 1/8, 2/8, 3/8, 4/8, 6/8 and 8/8.
    share_at: [f64; SCALES.len()],
    /// Of the images that are scaled: median and 5th percentile, dB.
    psnr_median: Option<f64>,
    psnr_5th: Option<f64>,
    /// Largest difference of a value, grey levels of 0 to 255.
    max_error: f64,
}

/// What one sample came to.
struct Found {
    scale: u8,
    psnr: f64,
    max_error: f64,
}

/// Compares over `samples` images, which lie evenly over the source and come again, with other crops, where it has fewer.
///
/// # Errors
/// What reading the source reports; [`Error::Source`] if none of the samples gives an image.
pub(super) fn compare(
    recipe: &Recipe,
    schedule: &Schedule,
    source: &dyn Source,
    samples: usize,
    seed: u64,
) -> Result<Comparison> {
    let follows = recipe.augment.as_ref().is_some_and(|policy| policy.follows_magnitude());
    let last = schedule.at(1.0).magnitude;
    let (mut stages, mut skipped): (Vec<Row>, usize) = (Vec::new(), 0);
    for stage in schedule.stages() {
        let magnitude = recipe.magnitude_at(stage, last, 0.5 * (stage.start + stage.end));
        let told = follows.then_some(magnitude);
        let number = stage.index + 1;
        let crop = stage.crop.to_string();
        let is_same = |row: &&mut Row| (row.band, &row.crop, row.magnitude) == (stage.band, &crop, told);
        if let Some(row) = stages.last_mut().filter(|row| is_same(row)) {
            row.stages.push(number);
            continue;
        }
        let found = measure(recipe, stage, magnitude, source, (samples, seed))?;
        skipped += samples - found.len();
        if found.is_empty() {
            let reason = "none of the samples gives an image; `bandfeed inspect SOURCE --decode` tells why";
            return Err(Error::source(source.describe(), reason));
        }
        stages.push(Row::new(vec![number], stage, told, &found));
    }
    Ok(Comparison {
        machine: Machine::this(),
        source: source.describe(),
        schedule: schedule.name().to_owned(),
        base: schedule.base(),
        scale_margin: SCALE_MARGIN,
        seed,
        samples,
        skipped,
        stages,
    })
}

/// The samples that give an image.
fn measure(
    recipe: &Recipe,
    stage: &Stage,
    magnitude: f64,
    source: &dyn Source,
    (samples, seed): (usize, u64),
) -> Result<Vec<Found>> {
    let len = source.len();
    let place = |i: usize| if samples < len { (0, i * len / samples) } else { (i / len, i % len) };
    let start = || (Decoder::new(Limits::default()), Renderer::new(), Vec::new());
    let one = |(decoder, renderer, buffer): &mut (Result<Decoder>, Renderer, Vec<u8>), i: usize| {
        // Default limits are in range.
        let Ok(decoder) = decoder else { return Ok(None) };
        let (epoch, position) = place(i);
        let bytes = source.read(position, buffer)?;
        let Ok(header) = decoder.header(bytes) else { return Ok(None) };
        let key = SampleKey { seed, epoch: epoch as u64, position: position as u64, replay: 0 };
        let plan = plan::train(key, stage, magnitude, recipe, header.size)?;
        let side = plan.output() as usize;
        let mut run = |fidelity: Fidelity| -> Result<Option<(Vec<f32>, u8)>> {
            let plan = SamplePlan { fidelity, ..plan };
            let patch = decoder.decode_region(bytes, &header, plan.crop.region, resolution(&plan));
            let Ok(patch) = patch else { return Ok(None) };
            let view = View { pixels: patch.pixels, stride: patch.stride, size: patch.size };
            let mut values = vec![0.0; 3 * side * side];
            renderer.render(view, patch.area, &plan, &mut values)?;
            Ok(Some((values, patch.scale)))
        };
        let (Some((fast, scale)), Some((exact, _))) = (run(Fidelity::Fast)?, run(Fidelity::Exact)?) else {
            return Ok(None);
        };
        let (psnr, max_error) = difference(&fast, &exact, recipe);
        Ok(Some(Found { scale, psnr, max_error }))
    };
    let found: Result<Vec<_>> = (0..samples).into_par_iter().map_init(start, one).collect();
    Ok(found?.into_iter().flatten().collect())
}

/// PSNR in dB and the largest difference in grey levels, of normalised planes.
fn difference(fast: &[f32], exact: &[f32], recipe: &Recipe) -> (f64, f64) {
    let plane = exact.len() / 3;
    let (mut squares, mut most) = (0.0, 0.0_f64);
    for (i, (a, b)) in fast.iter().zip(exact).enumerate() {
        let levels = 255.0 * f64::from(a - b).abs() * f64::from(recipe.std[i / plane]);
        squares += levels * levels;
        most = most.max(levels);
    }
    let mean = squares / exact.len() as f64;
    ((10.0 * (255.0 * 255.0 / mean).log10()).min(EQUAL), most)
}

impl Row {
    fn new(stages: Vec<usize>, stage: &Stage, magnitude: Option<f64>, found: &[Found]) -> Self {
        let at = |scale: u8| found.iter().filter(|f| f.scale == scale).count() as f64 / found.len() as f64;
        let mut scaled: Vec<f64> = found.iter().filter(|f| f.scale < 8).map(|f| f.psnr).collect();
        scaled.sort_by(f64::total_cmp);
        Self {
            stages,
            band: stage.band,
            crop: stage.crop.to_string(),
            magnitude,
            images: found.len(),
            share_at: SCALES.map(at),
            psnr_median: scaled.get(scaled.len() / 2).copied(),
            psnr_5th: scaled.get(scaled.len() / 20).copied(),
            max_error: found.iter().map(|f| f.max_error).fold(0.0, f64::max),
        }
    }

    fn cells(&self) -> Vec<String> {
        let (first, last) = (self.stages[0], self.stages[self.stages.len() - 1]);
        let decibels = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.1}"));
        let mut cells = vec![
            if first == last { first.to_string() } else { format!("{first}-{last}") },
            self.band.to_string(),
            self.magnitude.map_or("-".into(), |magnitude| shortened(magnitude).to_string()),
        ];
        cells.extend(self.share_at.map(|share| format!("{:.1} %", 100.0 * share)));
        cells.extend([decibels(self.psnr_median), decibels(self.psnr_5th), format!("{:.1}", self.max_error)]);
        cells
    }
}

impl Comparison {
    pub(super) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and numbers are always JSON") + "\n"
    }

    pub(super) fn text(&self) -> String {
        let Self { machine, source, schedule, base, scale_margin, samples, skipped, .. } = self;
        let mut head = vec!["stage".to_owned(), "band".into(), "magnitude".into()];
        head.extend(SCALES.map(|m| format!("at {m}/8")));
        head.extend(["PSNR".into(), "5th pct".into(), "max error".into()]);
        let rows: Vec<_> = self.stages.iter().map(Row::cells).collect();
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        let mut text = format!(
            "{machine}\n{}\n{schedule} at base {base}; {samples} samples a stage; fast decoding (scale margin {scale_margin}) \
             against exact\n\n{}\n\
             PSNR: median and 5th percentile of the samples that are scaled, dB, of the finished B x B pixels; max error: of any\n\
             value of any sample, grey levels of 0 to 255\n",
            super::visible(source),
            table(&head, &rows),
        );
        if *skipped > 0 {
            text += &format!("{skipped} samples gave no image and are not in the figures\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::BandCrop;

    #[test]
    fn a_difference_is_in_grey_levels_of_its_channel() {
        let recipe = Recipe { std: [0.5, 0.25, 0.1], ..Recipe::default() };
        let exact = [0.0; 12];
        let mut fast = exact;
        // 2 grey levels in the third channel, of 4 pixels and 3 channels.
        fast[9] = (2.0 / 255.0 / 0.1) as f32;
        let (psnr, most) = difference(&fast, &exact, &recipe);
        assert!((most - 2.0).abs() < 1e-4, "{most}");
        assert!((psnr - 10.0 * (255.0_f64.powi(2) / (4.0 / 12.0)).log10()).abs() < 1e-3, "{psnr}");
        assert_eq!(difference(&exact, &exact, &recipe), (EQUAL, 0.0));
    }

    #[test]
    fn only_what_is_scaled_is_in_the_percentiles() {
        let stage = Stage::fixed(64, 32, BandCrop::Lanczos, 1);
        let of = |scale: u8, psnr: f64| Found { scale, psnr, max_error: psnr / 10.0 };
        let found: Vec<Found> = (0..40).map(|i| of(4, 40.0 + f64::from(i))).chain([of(8, 100.0)]).collect();
        let row = Row::new(vec![1], &stage, None, &found);
        assert_eq!((row.psnr_median, row.psnr_5th, row.max_error), (Some(60.0), Some(42.0), 10.0));
        assert_eq!(row.share_at, [0.0, 0.0, 0.0, 40.0 / 41.0, 0.0, 1.0 / 41.0]);
        let exact = Row::new(vec![1], &stage, None, &[of(8, 100.0)]);
        assert_eq!((exact.psnr_median, exact.psnr_5th), (None, None));
    }
}
