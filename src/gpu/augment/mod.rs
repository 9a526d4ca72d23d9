//! Operations on 8-bit pixels over a batch.

use super::kernel::Kernel;

/// The kernels here.
pub(crate) const KERNELS: &[&Kernel] = &[];
