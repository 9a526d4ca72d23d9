//! A batch's half: where each sample's images and values lie, and the launches that make them.

use super::finish::Finish;
use super::resample::{AS_THEY_ARE, CLAMPED, IMAGES, ROUNDED, SLOTS, VALUES};
use super::stage::Staged;
use super::tables::{Key, Tables};
use super::{erase, fourier, normalize, resample};
use crate::error::Result;
use crate::gpu::kernel::{Head, Kernel};
use crate::ops::normalize::affine;
use crate::ops::simd::Post;
use crate::plan::BandPlan;
use crate::shape::{BandCrop, Grid, Size};
use bytemuck::Pod;
use std::collections::HashMap;

/// A buffer that a launch binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Area {
    /// Decoded pixels, RGBX.
    Pixels,
    /// 8-bit images, RGBX, on the way to the slots: [`Batch::images_words`].
    Images,
    /// f32 planes before a Fourier band: [`Batch::values_words`].
    Values,
    /// Between the halves of a Fourier band: [`Batch::middle_words`].
    Middle,
    /// Finished samples, `(slots, 3, B, B)` f32.
    Slots,
}

/// One launch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) kernel: &'static Kernel,
    pub(crate) head: Head,
    /// Its buffers from binding 3 on.
    pub(crate) areas: &'static [Area],
    pub(crate) grid: [u32; 3],
}

/// One sample of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample<'a> {
    pub(crate) staged: &'a Staged,
    /// First of its words in the input.
    pub(crate) base: u32,
    /// First word of its pixels, and words from one row to the next.
    pub(crate) pixels: u32,
    pub(crate) stride: u32,
    /// The slot that it is made in.
    pub(crate) slot: u32,
}

/// A sample's 8-bit image, for whoever augments it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Image {
    /// Its size. Rows have no gaps.
    pub(crate) size: Size,
    /// First words of the two areas that it may be in, each large enough for it.
    pub(crate) areas: [u32; 2],
    /// The area that it is in after [`Batch::crop`].
    pub(crate) held: usize,
}

/// Where a sample's values lie between the steps.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    /// Of samples that have an image of 8 bits.
    pub(super) image: Option<Image>,
    pub(super) values: u32,
    pub(super) middle: u32,
}

/// Samples that are made together.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    samples: &'a [Sample<'a>],
    places: Vec<Place>,
    images: u64,
    values: u64,
    middle: u64,
    /// Tables that are in the input already.
    placed: HashMap<Key, u32>,
}

/// Values as they are.
pub(super) const IDENTITY: [Post; 3] = [Post::NONE; 3];

/// Most entries of a launch.
const ENTRIES: usize = 65535;

/// Workgroups along x, of which rows make up an entry's share: as in the shaders.
const ROW: u64 = 32768;

/// Appends a kernel's parameters to the input; returns the index of the first.
fn append<P: Pod>(params: &[P], input: &mut Vec<u32>) -> u32 {
    let words = size_of::<P>() / 4;
    input.resize(input.len().next_multiple_of(words), 0);
    let first = input.len() / words;
    input.extend_from_slice(bytemuck::cast_slice(params));
    first as u32
}

/// Launches over these parameters, of which the first has this index: one, unless there are more than a launch takes.
fn launch<P>(
    kernel: &'static Kernel,
    areas: &'static [Area],
    (first, params): (u32, &[P]),
    groups: impl Fn(&P) -> u64,
) -> impl Iterator<Item = Step> {
    (first..).step_by(ENTRIES).zip(params.chunks(ENTRIES)).map(move |(first, params)| {
        let most = params.iter().map(&groups).max().unwrap_or(0);
        let head = Head { first, count: params.len() as u32, a: 0, b: 0 };
        Step { kernel, head, areas, grid: [most.min(ROW) as u32, most.div_ceil(ROW) as u32, params.len() as u32] }
    })
}

const RESAMPLED: &[Area] = &[Area::Pixels, Area::Images, Area::Values, Area::Slots];

impl<'a> Batch<'a> {
    /// Gives each sample its places. All of them have the same output size.
    pub(crate) fn new(samples: &'a [Sample<'a>]) -> Self {
        let (mut images, mut values, mut middle) = (0u64, 0u64, 0u64);
        let place = |sample: &Sample<'_>| {
            let staged = sample.staged;
            let plan = &staged.plan;
            let mut place = Place::default();
            let take = |total: &mut u64, words: u64| {
                let first = *total;
                *total += words;
                // Beyond 2^32 words no buffer is made that large, and nothing is launched.
                first as u32
            };
            let is_augmented = !plan.ops.is_empty();
            let cut_twice = !plan.fuse && plan.band.is_some_and(|band| band.crop == BandCrop::Lanczos);
            if is_augmented || cut_twice {
                let size = staged.augmented();
                let words = staged.first.pixels().max(size.pixels());
                let areas = match is_augmented {
                    true => [(); 2].map(|()| take(&mut images, words)),
                    false => [take(&mut images, words); 2],
                };
                let held = usize::from(cut_twice && staged.cut_first().is_some());
                place.image = Some(Image { size, areas, held });
            }
            if let Some(BandPlan { band, crop: BandCrop::Fourier { .. } }) = plan.band {
                let window = plan.crop.window;
                place.values = take(&mut values, 3 * window.size().pixels());
                place.middle = take(&mut middle, 3 * (u64::from(band) + 1) * u64::from(window.width));
            }
            place
        };
        let places = samples.iter().map(place).collect();
        Self { samples, places, images, values, middle, placed: HashMap::new() }
    }

    /// Words that [`Area::Images`] must have.
    pub(crate) fn images_words(&self) -> u64 {
        self.images
    }

    /// Words that [`Area::Values`] must have.
    pub(crate) fn values_words(&self) -> u64 {
        self.values
    }

    /// Words that [`Area::Middle`] must have.
    pub(crate) fn middle_words(&self) -> u64 {
        self.middle
    }

    /// The image of a sample of which the plan has operations on 8-bit pixels: they are due between [`Batch::crop`] and
    /// [`Batch::finish`].
    pub(crate) fn image(&self, sample: usize) -> Option<Image> {
        self.places[sample].image.filter(|_| !self.samples[sample].staged.plan.ops.is_empty())
    }

    /// The launches up to the augmentation, in order. What they need is appended to `input`, which holds the samples' words.
    ///
    /// # Errors
    /// [`crate::Error::Config`] if a band is larger than its image, which [`super::Stager::stage`] has refused.
    pub(crate) fn crop(&mut self, tables: &mut Tables, input: &mut Vec<u32>) -> Result<Vec<Step>> {
        let (mut first, mut second, mut bands) = (Vec::new(), Vec::new(), Vec::new());
        for (sample, place) in self.samples.iter().zip(&self.places) {
            let staged = sample.staged;
            first.push(first_map(sample, place));
            let (Some(BandPlan { band, crop }), Some(image)) = (staged.cut_first(), place.image) else { continue };
            let window = staged.plan.crop.window.size();
            match crop {
                BandCrop::Lanczos if staged.plan.fuse => {}
                BandCrop::Lanczos => {
                    let map = resample::Params {
                        destination: IMAGES,
                        to: image.areas[1],
                        ..of_image(image.areas[0], window)
                    };
                    second.push((map, band));
                }
                BandCrop::Fourier { grid } => {
                    let params =
                        fourier::Params { destination: IMAGES, to: image.areas[0], ..of_values(place, window, band) };
                    bands.push((params.scaled(IDENTITY), grid));
                }
            }
        }
        let second = self.with_lanczos(second, true, tables, input)?;
        let bands = self.with_fourier(bands, tables, input)?;
        let resampled = |params: &[_], input: &mut _| {
            let first = append(params, input);
            launch(&resample::RESAMPLE, RESAMPLED, (first, params), resample::Params::groups).collect::<Vec<_>>()
        };
        let mut steps = resampled(&first, input);
        steps.extend(resampled(&second, input));
        steps.extend(fourier_steps(&bands, input));
        Ok(steps)
    }

    /// The launches from the augmentation on, in order, with `held` the area that a sample's [`Image`] is in now.
    ///
    /// # Errors
    /// As [`Batch::crop`].
    pub(crate) fn finish(
        &mut self,
        held: impl Fn(usize) -> usize,
        tables: &mut Tables,
        input: &mut Vec<u32>,
    ) -> Result<Vec<Step>> {
        let mut work = Finish::default();
        for (at, (sample, place)) in self.samples.iter().zip(&self.places).enumerate() {
            work.add(sample, place, &held, at);
        }
        let fused = self.with_lanczos(work.fused, false, tables, input)?;
        let maps = [self.with_lanczos(work.plain, true, tables, input)?, fused].concat();
        let bands = self.with_fourier(work.bands, tables, input)?;
        let mut steps = Vec::new();
        let first = append(&work.normalized, input);
        const NORMALIZED: &[Area] = &[Area::Images, Area::Values, Area::Slots];
        let entries = (first, &work.normalized[..]);
        steps.extend(launch(&normalize::NORMALIZE, NORMALIZED, entries, normalize::Params::groups));
        let first = append(&maps, input);
        steps.extend(launch(&resample::RESAMPLE, RESAMPLED, (first, &maps), resample::Params::groups));
        let first = append(&work.erased_before, input);
        steps.extend(launch(&erase::ERASE, &[Area::Values], (first, &work.erased_before), erase::Params::groups));
        steps.extend(fourier_steps(&bands, input));
        let first = append(&work.erased, input);
        steps.extend(launch(&erase::ERASE, &[Area::Slots], (first, &work.erased), erase::Params::groups));
        Ok(steps)
    }

    /// The table's first word in the input.
    fn table(&mut self, key: Key, tables: &mut Tables, input: &mut Vec<u32>) -> Result<u32> {
        if let Some(at) = self.placed.get(&key) {
            return Ok(*at);
        }
        let at = input.len() as u32;
        input.extend_from_slice(&tables.get(key)?);
        self.placed.insert(key, at);
        Ok(at)
    }

    /// Maps of whole images to Lanczos bands.
    fn with_lanczos(
        &mut self,
        maps: Vec<(resample::Params, u32)>,
        integer: bool,
        tables: &mut Tables,
        input: &mut Vec<u32>,
    ) -> Result<Vec<resample::Params>> {
        let map = |(params, band): (resample::Params, u32)| {
            let [columns, rows] = resample::lanczos(params.width, params.height, band, integer);
            Ok(resample::Params {
                columns: band,
                rows: band,
                column_table: self.table(columns, tables, input)?,
                row_table: self.table(rows, tables, input)?,
                fixed: integer.into(),
                ..params
            })
        };
        maps.into_iter().map(map).collect()
    }

    /// Fourier bands on these grids.
    fn with_fourier(
        &mut self,
        bands: Vec<(fourier::Params, Grid)>,
        tables: &mut Tables,
        input: &mut Vec<u32>,
    ) -> Result<Vec<fourier::Params>> {
        let band = |(params, grid): (fourier::Params, Grid)| {
            let [columns, rows] = fourier::tables(params.width, params.height, params.band, grid);
            Ok(fourier::Params {
                column_table: self.table(columns, tables, input)?,
                row_table: self.table(rows, tables, input)?,
                ..params
            })
        };
        bands.into_iter().map(band).collect()
    }
}

/// From decoded pixels to whatever comes first.
fn first_map(sample: &Sample<'_>, place: &Place) -> resample::Params {
    let Staged { plan, pixels, first, .. } = sample.staged;
    let normalized = affine(plan.mean, plan.std);
    let (destination, limit, post) = match (plan.band, sample.staged.cut_first()) {
        (Some(BandPlan { crop: BandCrop::Fourier { .. }, .. }), cut_first) => match cut_first {
            Some(_) if plan.fuse => (VALUES, AS_THEY_ARE, IDENTITY),
            // Mean 0 and a deviation of 1/255 leave the pixels' own values.
            Some(_) => (VALUES, ROUNDED, affine([0.0; 3], [1.0 / 255.0; 3])),
            None if !plan.ops.is_empty() => (IMAGES, ROUNDED, IDENTITY),
            None if sample.staged.has_steps() => (VALUES, ROUNDED, normalized),
            None => (VALUES, AS_THEY_ARE, IDENTITY),
        },
        _ if place.image.is_some() => (IMAGES, ROUNDED, IDENTITY),
        _ => (SLOTS, if plan.fuse { CLAMPED } else { ROUNDED }, normalized),
    };
    let to = match (destination, place.image) {
        (IMAGES, Some(image)) => image.areas[0],
        (VALUES, _) => place.values,
        _ => slot(sample),
    };
    let params = resample::Params {
        source: 0,
        first: sample.pixels,
        stride: sample.stride,
        width: pixels.width,
        height: pixels.height,
        columns: first.width,
        rows: first.height,
        column_table: sample.base + sample.staged.column_table,
        row_table: sample.base + sample.staged.row_table,
        fixed: (!plan.fuse).into(),
        mirror: plan.flip.into(),
        limit,
        destination,
        to,
        ..Default::default()
    };
    params.scaled(post)
}

/// First word of a sample's slot.
pub(super) fn slot(sample: &Sample<'_>) -> u32 {
    (u64::from(sample.slot) * 3 * sample.staged.output.pixels()) as u32
}

/// A map of the whole of an image of this size.
pub(super) fn of_image(first: u32, size: Size) -> resample::Params {
    let Size { width, height } = size;
    resample::Params { source: 1, first, stride: width, width, height, ..Default::default() }
}

/// A band of a sample's values.
pub(super) fn of_values(place: &Place, size: Size, band: u32) -> fourier::Params {
    let Size { width, height } = size;
    fourier::Params { height, width, band, first: place.values, middle: place.middle, ..Default::default() }
}

fn fourier_steps(bands: &[fourier::Params], input: &mut Vec<u32>) -> impl Iterator<Item = Step> {
    let first = append(bands, input);
    let rows = launch(&fourier::ROWS, &[Area::Values, Area::Middle], (first, bands), |p| p.groups()[0]);
    const COLUMNS: &[Area] = &[Area::Middle, Area::Images, Area::Slots];
    rows.chain(launch(&fourier::COLUMNS, COLUMNS, (first, bands), |p| p.groups()[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_takes_no_more_than_a_grid_has() {
        let params = vec![normalize::Params { pixels: 70_000 * 256, ..Default::default() }; ENTRIES + 5];
        let steps: Vec<Step> = launch(&normalize::NORMALIZE, &[], (7, &params), normalize::Params::groups).collect();
        let of = |step: &Step| (step.head.first, step.head.count, step.grid);
        let expected = [(7, 65535, [32768, 3, 65535]), (7 + 65535, 5, [32768, 3, 5])];
        assert_eq!(steps.iter().map(of).collect::<Vec<_>>(), expected);
        assert_eq!(launch(&normalize::NORMALIZE, &[], (0, &[]), normalize::Params::groups).count(), 0);
    }

    #[test]
    fn parameters_begin_at_a_multiple_of_their_size() {
        let mut input = vec![1; 11];
        let params = [normalize::Params { pixels: 3, ..Default::default() }; 2];
        let first = append(&params, &mut input);
        assert_eq!((first, input.len(), input[21]), (2, 40, 3));
    }
}
