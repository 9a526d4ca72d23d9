//! What becomes of each sample after the augmentation.

use super::batch::{IDENTITY, Place, Sample, of_image, of_values, slot};
use super::resample::{CLAMPED, SLOTS, VALUES};
use super::{erase, fourier, normalize, resample};
use crate::ops::normalize::affine;
use crate::plan::BandPlan;
use crate::shape::{BandCrop, Grid, Size};

/// Parameters of the launches of [`Batch::finish`](super::batch::Batch::finish).
#[derive(Default)]
pub(super) struct Finish {
    pub(super) normalized: Vec<normalize::Params>,
    /// Lanczos bands in f32 and in integers.
    pub(super) fused: Vec<(resample::Params, u32)>,
    pub(super) plain: Vec<(resample::Params, u32)>,
    pub(super) bands: Vec<(fourier::Params, Grid)>,
    pub(super) erased_before: Vec<erase::Params>,
    pub(super) erased: Vec<erase::Params>,
}

impl Finish {
    /// Adds the sample of this number, whose augmented image is in the area that `held` says.
    pub(super) fn add(&mut self, sample: &Sample<'_>, place: &Place, held: impl Fn(usize) -> usize, at: usize) {
        let staged = sample.staged;
        let plan = &staged.plan;
        let window = plan.crop.window.size();
        let post = affine(plan.mean, plan.std);
        let is_augmented = !plan.ops.is_empty();
        let first = place.image.map(|image| image.areas[if is_augmented { held(at) } else { image.held }]);
        let normalize = |destination, to, size: Size| {
            let pixels = size.pixels() as u32;
            first.map(|first| normalize::Params { first, pixels, destination, to, ..Default::default() }.scaled(post))
        };
        match plan.band.filter(|_| staged.cut_first().is_none()) {
            None if is_augmented => self.normalized.extend(normalize(SLOTS, slot(sample), staged.augmented())),
            None => {}
            Some(BandPlan { band, crop: BandCrop::Lanczos }) => {
                let maps = if plan.fuse { &mut self.fused } else { &mut self.plain };
                maps.extend(first.map(|first| {
                    let to = slot(sample);
                    let map = resample::Params { destination: SLOTS, to, limit: CLAMPED, ..of_image(first, window) };
                    (map.scaled(post), band)
                }));
            }
            Some(BandPlan { band, crop: BandCrop::Fourier { grid } }) => {
                if is_augmented {
                    self.normalized.extend(normalize(VALUES, place.values, window));
                }
                let band = fourier::Params { destination: SLOTS, to: slot(sample), ..of_values(place, window, band) };
                // Values that went through 8 bits are normalised before the band.
                self.bands.push((band.scaled(if staged.has_steps() { IDENTITY } else { post }), grid));
            }
        }
        match plan.erase_before_band {
            true => self.erased_before.extend(erase::params(&plan.erasures, place.values, window)),
            false => self.erased.extend(erase::params(&plan.erasures, slot(sample), staged.output)),
        }
    }
}
