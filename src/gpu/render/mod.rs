//! Crop and resize, band crop, normalisation and erasing over a batch.

use super::kernel::Kernel;

/// The kernels here.
pub(crate) const KERNELS: &[&Kernel] = &[];
