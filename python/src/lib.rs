//! `bandfeed._native`: the loader for CPython. Thin: what people import is the package beside it, `python/bandfeed`.
//!
//! ```text
//! bandfeed.Loader ─► loader.rs ─► bandfeed::Loader ─► batch.rs ─► dlpack (capsules) ─► torch, NumPy, JAX ...
//! ```
//!
//! The interpreter's lock is never held while the loader is waited for, and no thread of the loader ever asks for it.

// A test of this crate would need an interpreter to link to. It is empty, so that one command can build the library's tests
// with the features that this package asks of their dependencies.
#![cfg(not(test))]

mod augment;
mod batch;
mod dlpack;
mod errors;
mod functional;
mod loader;
mod logging;
mod schedule;
mod settings;

use pyo3::prelude::*;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    logging::install();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    dlpack::register(module)?;
    schedule::register(module)?;
    batch::register(module)?;
    loader::register(module)?;
    functional::register(module)?;
    augment::register(module)
}
