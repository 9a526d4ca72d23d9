//! Augmentation of 8-bit pixels: RandAugment and its relatives, colour jitter, blur.
//!
//! ```text
//! policy string ─► Policy ─(draw: seed, epoch, position; magnitude)─► Ops ─► Augmenter: RGB8 in, RGB8 out
//! ```
//!
//! A [`Policy`] draws on the host, when a sample is planned; what it draws are [`Op`]s with their final arguments, so that
//! nothing random is left for an engine. [`Augmenter`] runs them on interleaved RGB bytes with Pillow's arithmetic
//! (`randaugment.md` §2), because that is what the recipes of vision transformers were tuned with; [`mod@reference`] is the
//! slow and obvious version of the same.

pub(crate) mod affine;
pub(crate) mod augmenter;
mod blend;
pub(crate) mod blur;
mod hue;
mod interpolation;
mod jitter;
mod op;
mod point;
mod policy;
pub mod reference;

pub use augmenter::Augmenter;
pub use interpolation::Interpolation;
pub use jitter::{Blur, ColorJitter, Jitter, Solarize};
pub use op::{Op, Ops, Sampling};
pub use policy::{NAMES, Policy};
