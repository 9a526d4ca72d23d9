//! The sheet of samples: for a few images, where the crop was taken, and at each distinct stage what became of it: the picture
//! that the model gets, its operations, and its spectrum before and after the band crop.

use super::marks::{MARK, moved, outline};
use super::stages::Shown;
use super::{class_name, picture, shortened, spectrum};
use crate::augment::Ops;
use crate::batch::Batch;
use crate::cli::chart::sheet::{Row, Sheet, Tile, fit, scaled, small_side};
use crate::cli::transform::describe;
use crate::decode::{Decoder, Limits};
use crate::erase::Erasures;
use crate::error::{Error, Result};
use crate::ops::{Renderer, Rgb8};
use crate::plan::{self, SampleKey, SamplePlan};
use crate::recipe::{AugmentAt, Preset, Recipe};
use crate::schedule::{Schedule, Stage};
use crate::shape::{Rect, Size};
use crate::source::Source;
use std::sync::Arc;

/// Stages that look alike.
struct Group<'a> {
    stages: Vec<&'a Stage>,
    magnitude: f64,
}

impl<'a> Group<'a> {
    /// The schedule's distinct stages, in their order: band and magnitude, or the band alone where no policy follows a magnitude.
    fn of(recipe: &Recipe, schedule: &'a Schedule) -> Vec<Self> {
        let follows = recipe.augment.as_ref().is_some_and(|policy| policy.follows_magnitude());
        let last = schedule.stages().last().expect("a schedule has stages").magnitude;
        let mut groups: Vec<Self> = Vec::new();
        for stage in schedule.stages() {
            let magnitude = recipe.magnitude_at(stage, last, stage.start);
            let alike = |group: &&mut Self| {
                let first = group.stages[0];
                (first.band, first.crop) == (stage.band, stage.crop) && (!follows || group.magnitude == magnitude)
            };
            match groups.iter_mut().find(alike) {
                Some(group) => group.stages.push(stage),
                None => groups.push(Self { stages: vec![stage], magnitude }),
            }
        }
        groups
    }

    fn label(&self, recipe: &Recipe) -> Vec<String> {
        let (first, last) = (self.stages[0], self.stages[self.stages.len() - 1]);
        let stages = match self.stages.len() {
            1 => format!("stage {}", first.index + 1),
            n if last.index - first.index + 1 == n => format!("stages {} to {}", first.index + 1, last.index + 1),
            _ => {
                let numbers: Vec<String> = self.stages.iter().map(|stage| (stage.index + 1).to_string()).collect();
                format!("stages {}", numbers.join(", "))
            }
        };
        let mut label = vec![stages, format!("band {}", first.band)];
        if recipe.augment.as_ref().is_some_and(|policy| policy.follows_magnitude()) {
            label.push(format!("magnitude {}", shortened(self.magnitude)));
        }
        let share: f64 = self.stages.iter().map(|stage| stage.share()).sum();
        label.push(format!("{:.0} % of compute", 100.0 * share));
        label
    }
}

/// An image as it is in the source.
struct Original {
    /// In the batch.
    position: usize,
    pixels: Rgb8,
    name: String,
    class: String,
}

impl Original {
    /// The first `count` samples that every batch made of the same file, and that give a whole image. Others are left out: a
    /// crop of a damaged file may be decoded where the whole is not, and the loader replaces a file that it cannot read.
    ///
    /// # Errors
    /// The first file's, if none is left.
    fn read(batches: &[Batch], count: usize, source: &dyn Source) -> Result<Vec<Self>> {
        let (mut decoder, mut buffer) = (Decoder::new(Limits::default())?, Vec::new());
        let mut failure = Error::config("source", "no file gave an image at every stage");
        let mut originals = Vec::new();
        let indices = batches.first().map_or(&[][..], |batch| &batch.indices);
        for (position, &index) in indices.iter().enumerate() {
            if originals.len() == count {
                break;
            }
            if batches.iter().any(|batch| batch.indices.get(position) != Some(&index)) {
                continue;
            }
            let place = index as usize;
            let decoded = source
                .read(place, &mut buffer)
                .and_then(|bytes| decoder.decode(bytes).map_err(|error| error.named(source.name(place))));
            match decoded {
                Ok(pixels) => originals.push(Self {
                    position,
                    pixels: Rgb8 { pixels: pixels.data, size: pixels.size },
                    name: source.name(place),
                    class: class_name(source, source.label(place)),
                }),
                Err(error) if originals.is_empty() => failure = error,
                Err(_) => {}
            }
        }
        if originals.is_empty() { Err(failure) } else { Ok(originals) }
    }

    /// As large as it fits into `room`, with the plan's crop box on it.
    fn with_crop(&self, plan: &SamplePlan, room: Size) -> Result<Rgb8> {
        let mut picture = scaled(&self.pixels, fit(self.pixels.size, room))?;
        let region = moved(plan.crop.region, self.pixels.size, picture.size);
        outline(&mut picture, region, 2, MARK);
        Ok(picture)
    }

    fn caption(&self, plan: &SamplePlan) -> String {
        let (Size { width, height }, Rect { x, y, width: w, height: h }) = (self.pixels.size, plan.crop.region);
        let flipped = if plan.flip { ", flipped" } else { "" };
        // The file's own name, which is long enough.
        let name = self.name.rsplit(['/', '#']).next().unwrap_or(&self.name);
        format!("{}: {name}\n{width}x{height}, crop {w}x{h} at {x},{y}{flipped}", self.class)
    }
}

/// Samples made beyond those asked for, to take the place of such as cannot be shown.
const SPARE: usize = 8;

/// The first `count` samples of a run with this seed that can be shown, unmixed, at every distinct stage. Tiles have a side of `tile` pixels.
pub(super) fn sheet(
    preset: &Preset,
    schedule: &Schedule,
    source: &Arc<dyn Source>,
    (count, seed): (usize, u64),
    tile: u32,
) -> Result<Sheet> {
    // Mixing would show two samples in one.
    let recipe = &Recipe { mix: None, ..preset.transform.clone() };
    let mut sheet = Sheet {
        title: format!("{}: the same samples at each stage", preset.name),
        subtitle: format!(
            "{}\nRight of each picture the amplitudes of its frequencies (luma, logarithmic, frequency 0 in the middle): above of \
             the crop at {} px, with the square that the band keeps; below of what the model gets.",
            describe(recipe),
            schedule.base()
        ),
        tile,
        small: true,
        wrap: true,
        ..Sheet::default()
    };
    let mut renderer = Renderer::new();
    let groups = Group::of(recipe, schedule);
    let made = (count + SPARE).min(source.len());
    let shown = |stage, magnitude| -> Shown<'_> { Shown { source, stage, magnitude, count: made, seed } };
    let batches = groups
        .iter()
        .map(|group| shown(group.stages[0], group.magnitude).batch(recipe))
        .collect::<Result<Vec<Batch>>>()?;
    let originals = Original::read(&batches, count, &**source)?;
    for (group, batch) in groups.iter().zip(&batches) {
        let (shown, stage) = (shown(group.stages[0], group.magnitude), &batch.stage);
        let plans = plans(&shown, batch, recipe, &originals)?;
        if sheet.rows.is_empty() {
            sheet.rows.push(first_row(&originals, &plans, sheet.room())?);
        }
        let mut tiles = Vec::new();
        let size = Size::square(stage.band);
        let values = batch.images.as_slice().chunks_exact(3 * size.pixels() as usize).collect::<Vec<_>>();
        for (original, plan) in originals.iter().zip(&plans) {
            let made = values[original.position];
            let whole = before_band(*plan);
            let mut values = vec![0.0; 3 * whole.crop.window.size().pixels() as usize];
            renderer.render_region(original.pixels.view(), &whole, &mut values)?;
            let side = small_side(tile);
            let before = spectrum::thumbnail(&luma(&values, recipe), stage.base, stage.base, Some(stage.band), side)?;
            let after = spectrum::thumbnail(&luma(made, recipe), stage.band, stage.base, None, side)?;
            tiles.push(Tile {
                picture: picture(made, size, recipe),
                small: vec![before, after],
                caption: caption(plan, recipe),
            });
        }
        sheet.rows.push(Row { label: group.label(recipe), tiles });
    }
    Ok(sheet)
}

/// The plans by which the loader made a run's first batch.
fn plans(shown: &Shown<'_>, batch: &Batch, recipe: &Recipe, originals: &[Original]) -> Result<Vec<SamplePlan>> {
    let (stage, recipe) = (shown.stage(), shown.recipe(recipe));
    let plan = |original: &Original| {
        let key = SampleKey { seed: shown.seed, epoch: batch.epoch, position: original.position as u64, replay: 0 };
        plan::train(key, &stage, batch.magnitude, &recipe, original.pixels.size)
    };
    originals.iter().map(plan).collect()
}

/// The originals with their crop boxes, which are the same at every stage.
fn first_row(originals: &[Original], plans: &[SamplePlan], room: Size) -> Result<Row> {
    let tile = |(original, plan): (&Original, &SamplePlan)| {
        Ok(Tile::new(original.with_crop(plan, room)?, original.caption(plan)))
    };
    let tiles = originals.iter().zip(plans).map(tile).collect::<Result<_>>()?;
    Ok(Row { label: vec!["original".into(), "and its crop".into()], tiles })
}

/// The plan up to the band crop: what comes after it is left out.
fn before_band(plan: SamplePlan) -> SamplePlan {
    let ops = if plan.band.is_some() && plan.augment_at == AugmentAt::Band { Ops::NONE } else { plan.ops };
    let erasures = if plan.band.is_some() && !plan.erase_before_band { Erasures::NONE } else { plan.erasures };
    SamplePlan { band: None, ops, erasures, erase_before_band: false, ..plan }
}

/// Rec. 601 luma of normalised planes, in `0..=1` where the pixels are.
fn luma(values: &[f32], recipe: &Recipe) -> Vec<f32> {
    const WEIGHTS: [f32; 3] = [0.299, 0.587, 0.114];
    let plane = values.len() / 3;
    let value = |at: usize, c: usize| (values[c * plane + at] * recipe.std[c] + recipe.mean[c]) * WEIGHTS[c];
    (0..plane).map(|at| (0..3).map(|c| value(at, c)).sum()).collect()
}

/// What was drawn for the sample: its operations and boxes, in their order.
fn caption(plan: &SamplePlan, recipe: &Recipe) -> String {
    let ops = plan.ops.iter().map(|op| op.to_string());
    let boxes = plan.erasures.iter().map(|erasure| format!("erased {}x{}", erasure.rect.width, erasure.rect.height));
    let parts: Vec<String> = ops.chain(boxes).collect();
    match parts.is_empty() {
        false => parts.join(", "),
        true if recipe.augment.is_some() || recipe.jitter.most() > 0 || recipe.erasing.is_some() => "unchanged".into(),
        true => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::{Op, Sampling};
    use crate::demo_data::DemoData;
    use crate::schedule::Options;

    fn demo() -> Arc<dyn Source> {
        let data = DemoData { train_per_class: 2, val_per_class: 1, side: 96, ..DemoData::default() };
        Arc::new(data.generate().unwrap().0)
    }

    fn preset(name: &str) -> (Preset, Schedule) {
        let options = Options { base: 64, patch: 8, ..Options::default() };
        (Preset::named(name).unwrap(), Schedule::named("efficient_train_pp_deit", &options).unwrap())
    }

    #[test]
    fn a_caption_tells_operations_and_boxes_with_their_arguments() {
        let (preset, schedule) = preset("deit_small");
        let key = SampleKey { seed: 0, epoch: 0, position: 0, replay: 0 };
        let size = Size::new(500, 375);
        let mut plan = plan::train(key, &schedule.stages()[0], 9.0, &Recipe::default(), size).unwrap();
        assert_eq!(caption(&plan, &Recipe::default()), "");
        assert_eq!(caption(&plan, &preset.transform), "unchanged");
        let ops = [Op::Rotate { degrees: 27.0, sampling: Sampling::Bicubic }, Op::Posterize { bits: 4 }];
        plan.ops = Ops::try_from(&ops[..]).unwrap();
        let fill = crate::erase::Fill::Color([0.0; 3]);
        let rect = Rect { x: 1, y: 2, width: 31, height: 20 };
        plan.erasures.push(crate::erase::Erasure { rect, fill }).unwrap();
        assert_eq!(caption(&plan, &preset.transform), "Rotate 27.0°, Posterize 4 bits, erased 31x20");
    }

    #[test]
    fn plans_of_the_captions_give_the_loader_s_pixels() {
        let (preset, schedule) = preset("efficienttrain_pp_deit_small");
        let recipe = Recipe { mix: None, ..preset.transform };
        let source = demo();
        for stage in [&schedule.stages()[2], &schedule.stages()[9]] {
            let shown = Shown { source: &source, stage, magnitude: stage.magnitude, count: 6, seed: 3 };
            let batch = shown.batch(&recipe).unwrap();
            let originals = Original::read(std::slice::from_ref(&batch), 6, &*source).unwrap();
            assert_eq!(originals.len(), 6);
            let plans = plans(&shown, &batch, &recipe, &originals).unwrap();
            assert!(plans.iter().any(|plan| !plan.ops.is_empty()), "something was drawn");
            let len = 3 * Size::square(stage.band).pixels() as usize;
            let made = batch.images.as_slice().chunks_exact(len);
            for (position, ((original, plan), made)) in originals.iter().zip(&plans).zip(made).enumerate() {
                let mut values = vec![0.0; len];
                Renderer::new().render_region(original.pixels.view(), plan, &mut values).unwrap();
                let off = values.iter().zip(made).map(|(a, b)| (a - b).abs()).sum::<f32>() / len as f32;
                assert!(off < 1e-3, "stage {}, sample {position}: {off}", stage.index);
            }
        }
    }

    /// A source that cannot read one of its files.
    struct Faulty(Arc<dyn Source>, usize);

    impl Source for Faulty {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn name(&self, index: usize) -> String {
            self.0.name(index)
        }
        fn label(&self, index: usize) -> u32 {
            self.0.label(index)
        }
        fn classes(&self) -> &[String] {
            self.0.classes()
        }
        fn read<'a>(&'a self, index: usize, buffer: &'a mut Vec<u8>) -> Result<&'a [u8]> {
            match index == self.1 {
                true => Err(Error::io(std::path::Path::new("gone.jpg"))(std::io::ErrorKind::NotFound.into())),
                false => self.0.read(index, buffer),
            }
        }
    }

    #[test]
    fn the_next_sample_takes_the_place_of_one_that_cannot_be_shown() {
        let (preset, schedule) = preset("plain");
        let source = demo();
        let stage = &schedule.stages()[0];
        let batch =
            |source, seed| Shown { source, stage, magnitude: 0.0, count: 6, seed }.batch(&preset.transform).unwrap();
        let good = batch(&source, 3);
        let positions = |batches: &[Batch], source: &dyn Source| -> Vec<usize> {
            Original::read(batches, 3, source).unwrap().iter().map(|original| original.position).collect()
        };
        let good = [good];
        assert_eq!(positions(&good, &*source), [0, 1, 2]);
        let faulty = Faulty(source.clone(), good[0].indices[1] as usize);
        assert_eq!(positions(&good, &faulty), [0, 2, 3]);
        // At another stage another file was taken.
        let mut other = batch(&source, 3);
        other.indices[0] += 1;
        let [good] = good;
        assert_eq!(positions(&[good, other], &*source), [1, 2, 3]);

        let whole = |source: Arc<dyn Source>| sheet(&preset, &schedule, &source, (3, 3), 48).unwrap();
        let first = batch(&source, 3).indices[0] as usize;
        let faulty: Arc<dyn Source> = Arc::new(Faulty(source.clone(), first));
        assert!(whole(faulty.clone()).rows.iter().all(|row| row.tiles.len() == 3));
        assert!(super::super::operations::first_image(&Faulty(source, 0), 32).is_ok());
    }

    #[test]
    fn each_distinct_band_and_magnitude_is_one_row_over_the_same_samples() {
        let (augmented, schedule) = preset("efficienttrain_pp_deit_small");
        let distinct: std::collections::BTreeSet<(u32, u64)> =
            schedule.stages().iter().map(|stage| (stage.band, stage.magnitude.to_bits())).collect();
        let rows = |preset: &Preset| sheet(preset, &schedule, &demo(), (3, 1), 48).unwrap().rows;
        let all = rows(&augmented);
        assert_eq!(all.len(), 1 + distinct.len());
        assert!(all.iter().all(|row| row.tiles.len() == 3));
        assert!(all[1..].iter().flat_map(|row| &row.tiles).all(|tile| tile.small.len() == 2));
        let bands: std::collections::BTreeSet<u32> = schedule.stages().iter().map(|stage| stage.band).collect();
        let plain = rows(&Preset::named("plain").unwrap());
        assert_eq!(plain.len(), 1 + bands.len());
        // Without augmentation a sample differs between stages by its band alone: small, it is the same picture.
        let thumbnails = |row: &Row| -> Vec<Rgb8> {
            row.tiles.iter().map(|tile| scaled(&tile.picture, Size::square(8)).unwrap()).collect()
        };
        let differ = |a: &Rgb8, b: &Rgb8| -> f64 {
            let sum: u32 = a.pixels.iter().zip(&b.pixels).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
            f64::from(sum) / a.pixels.len() as f64
        };
        let last = thumbnails(&plain[plain.len() - 1]);
        for row in &plain[1..] {
            let here = thumbnails(row);
            for (place, picture) in here.iter().enumerate() {
                let same = differ(picture, &last[place]);
                assert!(same < 6.0, "{:?}: {same}", row.label);
                assert!(last.iter().enumerate().all(|(other, p)| other == place || differ(picture, p) > 2.0 * same));
            }
        }
    }

    #[test]
    fn the_crop_box_is_drawn_where_the_plan_crops() {
        let size = Size::new(300, 200);
        let original = Original {
            position: 0,
            pixels: Rgb8 { pixels: vec![7; 3 * 60_000], size },
            name: "a/b.jpg".into(),
            class: "c".into(),
        };
        let (_, schedule) = preset("plain");
        let key = SampleKey { seed: 5, epoch: 0, position: 3, replay: 0 };
        let plan = plan::train(key, &schedule.stages()[0], 0.0, &Recipe::default(), size).unwrap();
        let region = plan.crop.region;
        let picture = original.with_crop(&plan, Size::new(150, 150)).unwrap();
        assert_eq!(picture.size, Size::new(150, 100));
        let marked: Vec<(u32, u32)> = (0..15_000u32)
            .filter(|at| picture.pixels[3 * *at as usize..][..3] == MARK)
            .map(|at| (at % 150, at / 150))
            .collect();
        let half = |edge: u32| (f64::from(edge) / 2.0).round() as u32;
        let (left, right) = (half(region.x), half(region.x + region.width) - 1);
        let (top, bottom) = (half(region.y), half(region.y + region.height) - 1);
        assert_eq!(marked.iter().map(|p| p.0).min(), Some(left), "{region:?}");
        assert_eq!(marked.iter().map(|p| p.0).max(), Some(right), "{region:?}");
        assert_eq!(marked.iter().map(|p| p.1).min(), Some(top), "{region:?}");
        assert_eq!(marked.iter().map(|p| p.1).max(), Some(bottom), "{region:?}");
        let flipped = if plan.flip { ", flipped" } else { "" };
        let Rect { x, y, width, height } = region;
        let expected = format!("c: b.jpg\n300x200, crop {width}x{height} at {x},{y}{flipped}");
        assert_eq!(original.caption(&plan), expected);
    }
}
