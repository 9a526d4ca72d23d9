//! Plans that are not one linear map: those with augmentation on 8-bit pixels or erasing before a Fourier band, and the plain
//! path, which rounds to 8 bits after every step of the released code.

use super::super::View;
use super::super::erase::erase;
use super::super::normalize::normalize;
use super::super::simd::{Kernel, Level, Post, Vector};
use super::{Job, Plain, Renderer, room};
use crate::band::fourier;
use crate::error::Result;
use crate::plan::{BandPlan, SamplePlan};
use crate::recipe::AugmentAt;
use crate::shape::{BandCrop, Filter, Size};

/// Values as they are: for pixels, which are clamped and rounded by [`to_bytes`].
const PIXELS: [Post; 3] = [Post { scale: 1.0, offset: 0.0, ..Post::NONE }; 3];

impl Renderer {
    /// Crop and flip to 8 bits, fused or not; augment, if there is anything; cut the band; normalise.
    pub(super) fn step_by_step(&mut self, job: Job<'_>, plan: &SamplePlan) -> Result<()> {
        let window = plan.crop.window.size();
        // Where nothing is augmented a Fourier band keeps its values, which are not those of pixels.
        let cut_first = plan.band.filter(|_| plan.augment_at == AugmentAt::Band && !plan.ops.is_empty());
        let size = cut_first.map_or(window, |band| Size::square(band.band));
        let Job { post, out, output, .. } = job;
        let first = |out| Job { out, post: PIXELS, output: size, ..job };

        // Both are lent out while the renderer's own methods run.
        let mut image = std::mem::take(&mut self.image);
        let mut planes = std::mem::take(&mut self.planes);
        if plan.fuse {
            match cut_first {
                Some(BandPlan { band, crop: BandCrop::Fourier { grid } }) => {
                    let values = room(&mut planes, 3 * size.pixels() as usize);
                    self.fused_fourier(first(&mut *values), band, grid)?;
                    image.resize(values.len(), 0);
                    to_bytes(self.level, values, &mut image);
                }
                Some(BandPlan { crop: BandCrop::Lanczos, .. }) => self.fused_bytes(first(&mut []), true, &mut image),
                None => self.fused_bytes(first(&mut []), false, &mut image),
            }
        } else {
            self.eight_bits(&first(&mut []), window, cut_first, &mut image, &mut planes)?;
        }

        if !plan.ops.is_empty() {
            self.augmenting(|own| own.augmenter.apply(&mut image, size, &plan.ops, plan.fill))?;
        }

        let pixels = View::packed(&image, size);
        match plan.band.filter(|_| cut_first.is_none()) {
            None => normalize(pixels, false, plan.mean, plan.std, out)?,
            Some(BandPlan { crop: BandCrop::Lanczos, .. }) if plan.fuse => {
                self.fused_lanczos(pixels, post, output, out)
            }
            Some(BandPlan { crop: BandCrop::Lanczos, .. }) => {
                let Plain { resizer, cut, .. } = &mut self.plain;
                resizer.resize(pixels, whole(size), output, Filter::Lanczos3, cut)?;
                normalize(View::packed(cut, output), false, plan.mean, plan.std, out)?;
            }
            Some(BandPlan { band, crop: BandCrop::Fourier { grid } }) => {
                let rows = self.operator(band, size.height as usize, grid)?;
                let columns = self.operator(band, size.width as usize, grid)?;
                let values = room(&mut planes, 3 * size.pixels() as usize);
                normalize(pixels, false, plan.mean, plan.std, values)?;
                if plan.erase_before_band && !plan.erasures.is_empty() {
                    let (level, erasures) = (self.level, &plan.erasures);
                    self.augmenting(|_| {
                        erase(level, erasures, values, size);
                        Ok(())
                    })?;
                }
                fourier::crop(self.level, &rows, &columns, values, out, &mut self.plain.memory);
            }
        }
        (self.image, self.planes) = (image, planes);
        Ok(())
    }

    /// The plain path up to the augmentation: 8 bits after each step.
    fn eight_bits(
        &mut self,
        job: &Job<'_>,
        window: Size,
        cut_first: Option<BandPlan>,
        image: &mut Vec<u8>,
        planes: &mut Vec<f32>,
    ) -> Result<()> {
        let Plain { resizer, cut, .. } = &mut self.plain;
        resizer.resize(job.src, job.area(), window, job.filter, image)?;
        if job.flip {
            mirror(image, window);
        }
        match cut_first {
            None => {}
            Some(BandPlan { crop: BandCrop::Lanczos, .. }) => {
                std::mem::swap(cut, image);
                resizer.resize(View::packed(cut, window), whole(window), job.output, Filter::Lanczos3, image)?;
            }
            Some(BandPlan { band, crop: BandCrop::Fourier { grid } }) => {
                let rows = self.operator(band, window.height as usize, grid)?;
                let columns = self.operator(band, window.width as usize, grid)?;
                let (len, small) = (3 * window.pixels() as usize, 3 * job.output.pixels() as usize);
                let (values, small) = room(planes, len + small).split_at_mut(len);
                // Mean 0 and a deviation of 1/255 leave the pixels' own values.
                normalize(View::packed(image, window), false, [0.0; 3], [1.0 / 255.0; 3], values)?;
                fourier::crop(self.level, &rows, &columns, values, small, &mut self.plain.memory);
                image.resize(small.len(), 0);
                to_bytes(self.level, small, image);
            }
        }
        Ok(())
    }
}

/// Mirrors every row left to right.
fn mirror(pixels: &mut [u8], size: Size) {
    for row in pixels.chunks_exact_mut(3 * size.width as usize) {
        row.as_chunks_mut::<3>().0.reverse();
    }
}

fn whole(size: Size) -> [f64; 4] {
    [0.0, 0.0, f64::from(size.width), f64::from(size.height)]
}

/// Planar values `(3, H, W)` to interleaved bytes: clamped to `0..=255`, rounded, halves up.
pub(super) fn to_bytes(level: Level, planes: &[f32], out: &mut [u8]) {
    assert_eq!(planes.len(), out.len());
    level.run(ToBytes { planes, out });
}

struct ToBytes<'a> {
    planes: &'a [f32],
    out: &'a mut [u8],
}

impl Kernel for ToBytes<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        /// Pixels at a time: enough for two vectors of every set.
        const BLOCK: usize = 32;
        let pixels = self.planes.len() / 3;
        let (red, rest) = self.planes.split_at(pixels);
        let (green, blue) = rest.split_at(pixels);
        let byte = |v: f32| (v.clamp(0.0, 255.0) + 0.5) as i32 as u32;
        let mut x = 0;
        // Four bytes are written for each pixel, of which the next overwrites the last: there must be a next one.
        while x + BLOCK < pixels {
            let planes = [red, green, blue].map(|plane| plane[x..].first_chunk::<BLOCK>().expect("a block is left"));
            let mut packed = [0u32; BLOCK];
            for (k, packed) in packed.iter_mut().enumerate() {
                *packed = byte(planes[0][k]) | byte(planes[1][k]) << 8 | byte(planes[2][k]) << 16;
            }
            let out = self.out[3 * x..].first_chunk_mut::<{ 3 * BLOCK + 1 }>().expect("a block and a byte are left");
            for (k, packed) in packed.iter().enumerate() {
                out[3 * k..3 * k + 4].copy_from_slice(&packed.to_le_bytes());
            }
            x += BLOCK;
        }
        for x in x..pixels {
            let pixel = [red[x], green[x], blue[x]].map(|v| byte(v) as u8);
            self.out[3 * x..3 * x + 3].copy_from_slice(&pixel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_interleaved_bytes_at_every_level_and_length() {
        for pixels in [1, 2, 31, 32, 33, 64, 65, 130] {
            let planes: Vec<f32> = (0..3 * pixels).map(|i| (i * 37 % 600) as f32 * 0.5 - 20.0).collect();
            for level in Level::available() {
                let mut out = vec![0; 3 * pixels];
                to_bytes(level, &planes, &mut out);
                for (at, &byte) in out.iter().enumerate() {
                    let value = planes[at % 3 * pixels + at / 3];
                    let expected = (value.clamp(0.0, 255.0) + 0.5).floor() as u8;
                    assert_eq!(byte, expected, "{level:?}, {pixels} pixels, byte {at}: {value}");
                }
            }
        }
    }
}
