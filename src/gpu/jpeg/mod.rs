//! Entropy decoding of baseline JPEGs: Huffman codes to quantised coefficients.

use super::kernel::Kernel;

/// The kernels here.
pub(crate) const KERNELS: &[&Kernel] = &[];
