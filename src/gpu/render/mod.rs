//! Crop and resize, band crop, normalisation and erasing over a batch: the GPU's [`Renderer`](crate::ops::Renderer).
//!
//! ```text
//! worker:   Stager::stage(plan, size, area) ─► Staged, weights in the sample's words
//! batch:    Batch::new(samples) ─► crop ─► (augmentation of 8-bit images, by others) ─► finish ─► slots
//!
//! pixels ─┬─ resample ─► images ─┬─ resample ─► images        crop     1 launch; the second and the Fourier crop
//!         ├─ resample ─► values ─┴─ fourier ──► images                 only where a band is cut before the augmentation
//!         └─ resample ─► slots
//! images ─┬─ normalize ─► values ─► erase ─► fourier ─┐       finish   normalize, resample, erase, 2 fourier, erase:
//!         └─ normalize or resample ───────────────────┴─► slots ─► erase       each only where a sample needs it
//! ```
//!
//! Every step is one launch for the whole batch, whose samples may have plans of every kind. Weights are made on the host by the CPU
//! engine's own code, those of a sample in its words, those of a stage once for the batch.
//!
//! # Beside the CPU engine
//! Plans that are not fused are run in Pillow's integers and give the CPU's bytes, bit for bit. In f32 the sums are taken in another
//! order: a value before its rounding is within 5e-4 grey levels of the CPU's, so that of the bytes that are made from f32 (fused
//! plans with augmentation or erasing before the band) few differ, and by one level.

/// Gives a kernel's `Params` the step that a value takes at the end, by channel.
macro_rules! scaled {
    ($params:ty) => {
        impl $params {
            /// Values are written as `v * scale + offset`.
            pub(super) fn scaled(self, post: [$crate::ops::simd::Post; 3]) -> Self {
                let [red, green, blue] = post;
                Self {
                    scale_red: red.scale,
                    scale_green: green.scale,
                    scale_blue: blue.scale,
                    offset_red: red.offset,
                    offset_green: green.offset,
                    offset_blue: blue.offset,
                    ..self
                }
            }
        }
    };
}

mod batch;
mod erase;
mod finish;
mod fourier;
mod normalize;
mod resample;
mod stage;
mod tables;
#[cfg(test)]
mod tests;

pub(crate) use batch::{Area, Batch, Sample, Step};
pub(crate) use stage::{Staged, Stager};
pub(crate) use tables::Tables;

use super::kernel::Kernel;

/// The kernels here.
pub(crate) const KERNELS: &[&Kernel] =
    &[&resample::RESAMPLE, &fourier::ROWS, &fourier::COLUMNS, &normalize::NORMALIZE, &erase::ERASE];
