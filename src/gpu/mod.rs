//! The GPU behind the WGSL engine: adapters, the device, kernels and their launches.
//!
//! ```text
//! adapters ─► Device ─(Kernel: shaders/<stem>.wgsl)─► Launch, Launch, … ─► one submission for each batch
//! ```
//!
//! # How a kernel gets its data
//! Everything that a batch brings from the host lies in one buffer of 32-bit words, the *input*: parameters, tables, compressed
//! bytes. It crosses the bus in one copy. A kernel binds
//!
//! | binding | is |
//! |---|---|
//! | 0 | `head`: uniform, four words: index of the launch's first `Params`, their count, and two words for the kernel's own use |
//! | 1 | `params`: the input once more, as an array of the kernel's `Params`: 4-byte scalars, one entry for each image or tile row |
//! | 2 | `input`: the input as words |
//! | 3 … | the kernel's own buffers, at most six |
//!
//! so that the bind groups of a batch can be kept for the next one. `shaders/common.wgsl` declares bindings 0 and 2, and is
//! appended to each shader.

pub(crate) mod adapter;
pub(crate) mod augment;
pub(crate) mod device;
mod images;
pub(crate) mod jpeg;
pub(crate) mod kernel;
pub(crate) mod memory;
pub(crate) mod mix;
pub(crate) mod planes;
pub(crate) mod recorder;
pub(crate) mod render;
#[cfg(test)]
mod shaders;
#[cfg(test)]
pub(crate) mod testing;
mod timing;

use kernel::Kernel;

/// All kernels there are. A test finds a shader that is of none of them.
pub(crate) fn kernels() -> impl Iterator<Item = &'static &'static Kernel> {
    [jpeg::KERNELS, planes::KERNELS, render::KERNELS, augment::KERNELS, mix::KERNELS].into_iter().flatten()
}

/// What a word of status other than 0 says of an image: why the CPU has to decode it.
pub(crate) fn refusal(status: u32) -> &'static str {
    match status {
        s if s & jpeg::NOT_IN_STEP != 0 => "its Huffman codes do not fall into step",
        s if s & jpeg::BAD_CODE != 0 => "a Huffman code that does not exist, or a run beyond the end of a block",
        s if s & jpeg::BAD_DC != 0 => "a DC coefficient out of range",
        s if s & jpeg::BAD_POINT != 0 => "the side index is not of this file",
        s if s & jpeg::BAD_END != 0 => "more or less entropy-coded data than the image has blocks",
        s if s & planes::BAD_CHUNK != 0 => "a damaged chunk of a packed record",
        s if s & planes::OUT_OF_RANGE != 0 => "coefficients out of the range of the transform",
        _ => "a reason that has no name",
    }
}

pub use adapter::{AdapterReport, adapters};
pub use device::Device;
pub use images::DeviceImages;
pub(crate) use timing::Timing;
