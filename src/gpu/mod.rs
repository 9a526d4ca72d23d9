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
pub(crate) mod mix;
pub(crate) mod planes;
pub(crate) mod recorder;
pub(crate) mod render;
#[cfg(test)]
mod shaders;
#[cfg(test)]
pub(crate) mod testing;

pub use adapter::{AdapterReport, adapters};
pub use device::Device;
pub use images::DeviceImages;
