//! A worker's half: one plan checked, and its weights made.

use super::tables::{column_table, row_table};
use crate::error::{Error, Result};
use crate::ops::not_empty;
use crate::ops::render::{Fit, area as area_of, fit};
use crate::ops::resize::axes;
use crate::ops::weights::{Axis, Bands};
use crate::plan::{BandPlan, SamplePlan};
use crate::recipe::AugmentAt;
use crate::shape::{BandCrop, Filter, Size};
use std::collections::HashMap;

/// One sample's plan, ready to become part of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Staged {
    pub(super) plan: SamplePlan,
    /// Size of the decoded pixels.
    pub(super) pixels: Size,
    /// Size of the first map's result.
    pub(super) first: Size,
    pub(super) output: Size,
    /// The first map's weights, in words from the sample's first.
    pub(super) column_table: u32,
    pub(super) row_table: u32,
}

impl Staged {
    /// The band that is cut before the augmentation. Where nothing is augmented a Fourier band keeps its values.
    pub(super) fn cut_first(&self) -> Option<BandPlan> {
        cut_first(&self.plan)
    }

    /// Whether 8-bit pixels or boxes come between crop and band, or it was asked for 8 bits after every step.
    pub(super) fn has_steps(&self) -> bool {
        self.plan.has_steps() || !self.plan.fuse
    }

    /// Size of the 8-bit image that is augmented.
    pub(crate) fn augmented(&self) -> Size {
        self.cut_first().map_or(self.plan.crop.window.size(), |band| Size::square(band.band))
    }
}

fn cut_first(plan: &SamplePlan) -> Option<BandPlan> {
    plan.band.filter(|_| plan.augment_at == AugmentAt::Band && !plan.ops.is_empty())
}

/// Stages plans. One for each worker: it keeps memory, and the weights of the bands that it has met.
#[derive(Debug, Default)]
pub(crate) struct Stager {
    lanczos: HashMap<(usize, usize), Bands>,
    filter: Bands,
    composed: Bands,
}

impl Stager {
    /// Checks `plan` for decoded pixels of this size, of which `area` = `[x, y, width, height]` is its region, and appends its weights
    /// to the sample's words.
    ///
    /// # Errors
    /// As [`Renderer::render`](crate::ops::Renderer::render), and [`Error::Config`] if a box to be erased leaves its image.
    pub(crate) fn stage(
        &mut self,
        plan: &SamplePlan,
        pixels: Size,
        area: [f64; 4],
        words: &mut Vec<u32>,
    ) -> Result<Staged> {
        not_empty(pixels)?;
        let Fit { vertical, horizontal, output } = fit(plan, pixels, area)?;
        let window = plan.crop.window.size();
        let erased = if plan.erase_before_band { window } else { output };
        if let Some(erasure) = plan.erasures.iter().find(|erasure| !erasure.rect.is_inside(erased)) {
            let (rect, Size { width, height }) = (erasure.rect, erased);
            return Err(Error::config("erase", format!("{rect:?} is empty or does not lie in {width}x{height}")));
        }
        let is_lanczos = plan.band.is_some_and(|band| band.crop == BandCrop::Lanczos);
        let is_composed = plan.fuse && is_lanczos && (cut_first(plan).is_some() || !plan.has_steps());
        let first = if is_composed { output } else { window };
        // Pillow's arithmetic starts from the area, which may be one rounding away.
        let [horizontal, vertical] = match plan.fuse {
            true => [horizontal, vertical],
            false => axes(pixels, area_of([horizontal, vertical]), window)?,
        };
        let column_at = words.len() as u32;
        let bands = self.weights(plan.crop.filter, horizontal, is_composed.then_some(output.width));
        column_table(bands, !plan.fuse, words);
        let row_at = words.len() as u32;
        let bands = self.weights(plan.crop.filter, vertical, is_composed.then_some(output.height));
        row_table(bands, !plan.fuse, words);
        Ok(Staged { plan: *plan, pixels, first, output, column_table: column_at, row_table: row_at })
    }

    /// The filter's weights, or those of a Lanczos band after it.
    fn weights(&mut self, filter: Filter, axis: Axis, band: Option<u32>) -> &Bands {
        self.filter.resample(filter, axis);
        let Some(band) = band else { return &self.filter };
        let outer = self.lanczos.entry((axis.outputs, band as usize)).or_insert_with(|| {
            let mut bands = Bands::default();
            bands.resample(Filter::Lanczos3, Axis::whole(axis.outputs, band as usize));
            bands
        });
        self.composed.compose(outer, &self.filter);
        &self.composed
    }
}
