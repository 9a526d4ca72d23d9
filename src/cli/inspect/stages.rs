//! Batches as a trainer gets them: the same images at each stage, and what mixing makes of several batches.

use super::{class_name, picture, shortened};
use crate::batch::Batch;
use crate::cli::chart::sheet::{Row, Sheet, Tile};
use crate::cli::transform::describe;
use crate::error::{Error, Result};
use crate::loader::{Loader, OnBadFile};
use crate::mix::{Mixed, Mixing};
use crate::ops::Rgb8;
use crate::recipe::{Preset, Recipe};
use crate::schedule::{Schedule, Stage};
use crate::shape::Size;
use crate::source::Source;
use std::sync::Arc;

/// Images in a row.
const SHOWN: usize = 8;
/// Batches on the sheet of mixed ones.
const BATCHES: usize = 5;

/// One stage of a schedule, alone: its batches are `count` images in the order of a run's start, at `magnitude`.
pub(super) struct Shown<'a> {
    pub(super) source: &'a Arc<dyn Source>,
    pub(super) stage: &'a Stage,
    /// RandAugment's mean magnitude.
    pub(super) magnitude: f64,
    pub(super) count: usize,
    pub(super) seed: u64,
}

impl Shown<'_> {
    /// The stage that the loader runs.
    pub(super) fn stage(&self) -> Stage {
        let Self { stage, magnitude, count, .. } = *self;
        Stage { batch_size: count, accumulate: 1, replay: Default::default(), magnitude, ..stage.clone() }
    }

    /// The recipe that the loader runs: the magnitude is the stage's already, and each place is another image, since repeats
    /// are for training.
    pub(super) fn recipe(&self, recipe: &Recipe) -> Recipe {
        let augment = recipe.augment.clone().map(crate::augment::Policy::without_magnitude);
        Recipe { repeats: 1, magnitude: Default::default(), augment, ..recipe.clone() }
    }

    /// The loader of these batches. Files that give no image are replaced.
    pub(super) fn loader(&self, recipe: &Recipe) -> Result<Loader> {
        Loader::builder(self.source.clone(), Schedule::fixed(self.stage()))
            .recipe(self.recipe(recipe))
            .seed(self.seed)
            .prefetch(1)
            .on_bad_file(OnBadFile::Substitute)
            .build()
    }

    /// The first batch.
    pub(super) fn batch(&self, recipe: &Recipe) -> Result<Batch> {
        self.loader(recipe)?.next().ok_or_else(|| Error::config("source", "no batch"))?
    }
}

/// The images of a batch as pixels.
pub(super) fn pictures<'a>(batch: &'a Batch, recipe: &'a Recipe) -> impl Iterator<Item = Rgb8> + 'a {
    let size = Size::square(batch.stage.band);
    let values = batch.images.as_slice().chunks_exact(3 * size.pixels() as usize);
    values.map(move |values| picture(values, size, recipe))
}

/// The same images at every stage of the schedule, mixed where the recipe mixes.
pub(super) fn sheet(
    preset: &Preset,
    schedule: &Schedule,
    source: &Arc<dyn Source>,
    seed: u64,
    tile: u32,
) -> Result<Sheet> {
    let recipe = &preset.transform;
    let count = SHOWN.min(source.len());
    let last = schedule.stages().last().expect("a schedule has stages").magnitude;
    let mut rows = Vec::new();
    for stage in schedule.stages() {
        let magnitude = recipe.magnitude_at(stage, last, stage.start);
        let batch = Shown { source, stage, magnitude, count, seed }.batch(recipe)?;
        let tiles = pictures(&batch, recipe).map(|picture| Tile::new(picture, "")).collect();
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
        rows,
        tile,
        ..Sheet::default()
    })
}

/// Several batches of the last stage with their mixed labels; `None` where the recipe does not mix.
pub(super) fn mixed(
    preset: &Preset,
    schedule: &Schedule,
    source: &Arc<dyn Source>,
    seed: u64,
    tile: u32,
) -> Result<Option<Sheet>> {
    let recipe = &preset.transform;
    let count = SHOWN.min(source.len());
    if recipe.mix.is_none() || count < 2 {
        return Ok(None);
    }
    let stage = schedule.stages().last().expect("a schedule has stages");
    let magnitude = recipe.magnitude_at(stage, stage.magnitude, stage.start);
    let loader = Shown { source, stage, magnitude, count, seed }.loader(recipe)?;
    let mut rows = Vec::new();
    for batch in loader.take(BATCHES) {
        let batch = batch?;
        let mut label = vec![format!("batch {}", batch.step + 1)];
        label.extend(batch.mixing.as_ref().map(kind));
        let name = |label| class_name(&**source, label);
        let caption = |i| mixed_label(&batch.labels, batch.mixing.as_ref(), i, &name).join("\n+ ");
        let tiles = pictures(&batch, recipe).enumerate().map(|(i, picture)| Tile::new(picture, caption(i))).collect();
        rows.push(Row { label, tiles });
    }
    Ok(Some(Sheet {
        title: format!("{}: mixed batches and their labels", preset.name),
        subtitle: format!(
            "{}\nthe last stage, band {}; a batch mixes each image with the one at the same distance from its other end",
            describe(recipe),
            stage.band
        ),
        rows,
        tile,
        wrap: true,
        ..Sheet::default()
    }))
}

/// Which mixture a batch has, with its share where all images have one.
fn kind(mixing: &Mixing) -> String {
    let has = |kind: fn(&Mixed) -> bool| mixing.images().iter().any(kind);
    match (has(|m| matches!(m, Mixed::Blend { .. })), has(|m| matches!(m, Mixed::Paste { .. }))) {
        (true, false) => "Mixup".into(),
        (false, true) => "CutMix".into(),
        (true, true) => "Mixup and CutMix".into(),
        (false, false) => "not mixed".into(),
    }
}

/// The target of image `i` without smoothing, class by class: `0.62 tench` and `0.38 church`.
fn mixed_label(labels: &[u32], mixing: Option<&Mixing>, i: usize, name: &dyn Fn(u32) -> String) -> Vec<String> {
    let share = mixing.map_or(1.0, |mixing| mixing.lambda(i));
    match mixing.map(|mixing| labels[mixing.partner(i)]) {
        Some(other) if share < 1.0 && other != labels[i] => {
            vec![format!("{share:.2} {}", name(labels[i])), format!("{:.2} {}", 1.0 - share, name(other))]
        }
        _ => vec![name(labels[i])],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Rect;

    #[test]
    fn a_mixed_image_is_told_by_the_shares_of_both_classes() {
        let name = |label: u32| ["tench", "church", "radio"][label as usize].to_owned();
        let labels = [0, 2, 2, 1];
        let rect = Rect { x: 0, y: 0, width: 5, height: 8 };
        let images =
            vec![Mixed::Blend { lambda: 0.62 }, Mixed::Paste { rect }, Mixed::Paste { rect }, Mixed::Untouched];
        let mixing = Mixing::new(10, images).unwrap();
        let label = |i| mixed_label(&labels, Some(&mixing), i, &name).join(" + ");
        assert_eq!(label(0), "0.62 tench + 0.38 church");
        assert_eq!((label(1), label(3)), ("radio".to_owned(), "church".to_owned()));
        assert_eq!(mixed_label(&labels, None, 0, &name), ["tench"]);
        let paste = Mixing::new(10, vec![Mixed::Paste { rect }; 4]).unwrap();
        assert_eq!(mixed_label(&labels, Some(&paste), 3, &name), ["0.60 church", "0.40 tench"]);
        assert_eq!((kind(&paste), kind(&mixing)), ("CutMix".to_owned(), "Mixup and CutMix".to_owned()));
    }
}
