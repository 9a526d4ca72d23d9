//! From coefficients, or packed records, to planes of samples, and from those to pixels.

use super::kernel::Kernel;

/// The kernels here.
pub(crate) const KERNELS: &[&Kernel] = &[];
