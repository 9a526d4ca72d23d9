//! 3-Augment of DeiT III (Touvron et al. 2022, arXiv 2204.07118): grey, solarized or blurred, one of the three for every
//! image.
//!
//! # Which code
//! Both of them, for without noise they make the same images: DeiT's own converts to grey, solarizes from 128 on, or blurs by
//! a radius that is uniform between 0.1 and 2; timm's `3a` does the same through its maps, at magnitudes 10, 5 and 10. The
//! order of the three differs, which only the numbers drawn could tell. `3a-mstd0.5` is timm's alone: noise on those
//! magnitudes, under which grey may keep some colour.
//!
//! In DeiT III colour jitter of 0.3 follows in the same recipe, which timm keeps for `3a` but not for other policies: see
//! [`Jitter`](crate::augment::Jitter).

use super::operator::Operator::{self, *};

/// Operation, probability and magnitude.
pub(super) const OPERATORS: [(Operator, f64, f64); 3] =
    [(Solarize, 1.0, 5.0), (Desaturate, 1.0, 10.0), (GaussianBlurRand, 1.0, 10.0)];
