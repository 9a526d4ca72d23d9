//! Errors of the library as the exceptions of `bandfeed.errors`, with their fields.

use bandfeed::{DecodeError, Error};
use pyo3::call::PyCallArgs;
use pyo3::prelude::*;

/// For `map_err`: the exception of an error.
pub(crate) fn raise(error: Error) -> PyErr {
    Python::attach(|py| exception(py, error))
}

/// The library's results as Python's.
pub(crate) trait OrRaise<T> {
    /// The value, or the exception of the error.
    fn or_raise(self) -> PyResult<T>;
}

impl<T> OrRaise<T> for bandfeed::Result<T> {
    fn or_raise(self) -> PyResult<T> {
        self.map_err(raise)
    }
}

/// A loader used on the wrong side of a fork.
pub(crate) fn forked(what: &str) -> PyErr {
    let reason = "the threads that fill it did not come along; make it in the process that uses it, or start processes by \
                  multiprocessing's \"spawn\" method";
    let message = format!("{what} was made before this process was forked: {reason}");
    Python::attach(|py| new(py, "ForkError", (message, reason)))
}

fn exception(py: Python<'_>, error: Error) -> PyErr {
    let message = error.to_string();
    match error {
        Error::Io { path, source } => {
            let (errno, path) = (source.raw_os_error(), path.display().to_string());
            new(py, "IoError", (message, path, source.to_string(), errno))
        }
        Error::Decode { name, source } => {
            let (kind, reason) = match source {
                DecodeError::Corrupt { reason } => ("corrupt", reason),
                DecodeError::Unsupported { reason } => ("unsupported", reason),
                DecodeError::Limit { reason } => ("limit", reason),
                other => ("corrupt", other.to_string()),
            };
            new(py, "DecodeError", (message, name, kind, reason))
        }
        Error::Source { path, reason } => new(py, "SourceError", (message, path.display().to_string(), reason)),
        Error::Config { what, reason } => new(py, "ConfigError", (message, what, reason)),
        Error::Checkpoint { path, reason } => new(py, "CheckpointError", (message, path.display().to_string(), reason)),
        Error::Training { step, reason } => new(py, "TrainingError", (message, step, reason)),
        Error::NoDevice { device, reason } => new(py, "NoDeviceError", (message, device, reason)),
        Error::Device { device, reason } => new(py, "DeviceError", (message, device, reason)),
        Error::Worker { message: reason } => new(py, "WorkerError", (message, reason)),
        _ => new(py, "Error", (message,)),
    }
}

/// An exception by the name of its class.
fn new<'py>(py: Python<'py>, class: &str, arguments: impl PyCallArgs<'py>) -> PyErr {
    let made = py.import("bandfeed.errors").and_then(|module| module.getattr(class)?.call1(arguments));
    made.map_or_else(|error| error, PyErr::from_value)
}

/// A mistake in an argument.
pub(crate) fn config(what: &str, reason: impl Into<String>) -> PyErr {
    raise(Error::Config { what: what.to_owned(), reason: reason.into() })
}
