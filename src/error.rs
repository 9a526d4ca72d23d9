//! One error type for the crate: a variant for each thing the caller can do about it.

use std::path::{Path, PathBuf};

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, told so that the reader knows which file and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file: check the path, the rights, the disk.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// One image could not be decoded. A loader may skip or replace it (`OnBadFile`).
    #[error("{name}: {source}")]
    Decode {
        /// The sample's name: a path, or `shard.tar#key.jpg`.
        name: String,
        /// What the decoder found.
        #[source]
        source: DecodeError,
    },
    /// A folder, shard or archive does not hold a data set in the expected form.
    #[error("{}: {reason}", path.display())]
    Source {
        /// The folder, shard or pattern.
        path: PathBuf,
        /// What was found, what was expected, and what to do.
        reason: String,
    },
    /// A schedule, recipe, model or option that cannot work. Change it.
    #[error("{what}: {reason}")]
    Config {
        /// The setting, for example `schedule.band`.
        what: String,
        /// What was given and what is allowed.
        reason: String,
    },
    /// A checkpoint or saved state that does not fit this run.
    #[error("{}: {reason}", path.display())]
    Checkpoint {
        /// The checkpoint's file or folder.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// Training cannot go on, for example because the loss is not finite.
    #[error("training stopped at step {step}: {reason}")]
    Training {
        /// The optimiser step, counted from 0.
        step: u64,
        /// Why.
        reason: String,
    },
    /// The device that was asked for is not there, or cannot be used. Another one may do, or the CPU.
    #[error("{device}: {reason}")]
    NoDevice {
        /// What was asked for, for example `wgpu:llvmpipe`.
        device: String,
        /// What there is instead.
        reason: String,
    },
    /// A device failed at work: it was lost, or is out of memory.
    #[error("{device}: {reason}")]
    Device {
        /// The device's name.
        device: String,
        /// The driver's words, and what may help.
        reason: String,
    },
    /// A worker thread ended by a panic: a defect of this crate. The panic's message is kept.
    #[error("a loader worker panicked: {message}")]
    Worker {
        /// The panic's message.
        message: String,
    },
}

/// Why one image has no pixels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes hold no image: truncated, damaged or not an image at all.
    #[error("corrupt image: {reason}")]
    Corrupt {
        /// The decoder's words.
        reason: String,
    },
    /// A valid file of a kind that is not read here, for example arithmetic-coded or 12-bit JPEG.
    #[error("unsupported image: {reason}")]
    Unsupported {
        /// The kind.
        reason: String,
    },
    /// The header asks for more than the limits allow. Nothing was allocated.
    #[error("image over the limit: {reason}")]
    Limit {
        /// The demand and the limit.
        reason: String,
    },
}

impl DecodeError {
    pub(crate) fn corrupt(reason: impl Into<String>) -> Self {
        Self::Corrupt { reason: reason.into() }
    }

    pub(crate) fn unsupported(reason: impl Into<String>) -> Self {
        Self::Unsupported { reason: reason.into() }
    }

    pub(crate) fn limit(reason: impl Into<String>) -> Self {
        Self::Limit { reason: reason.into() }
    }

    /// The error with the sample's name.
    pub fn named(self, name: impl Into<String>) -> Error {
        Error::Decode { name: name.into(), source: self }
    }
}

impl Error {
    /// For `map_err`: an I/O error with its path.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    /// A mistake in a TOML file, or in what it says: with its line, and the key that an unknown one may have been meant for.
    pub(crate) fn in_toml(origin: &str, text: &str, error: &toml::de::Error) -> Self {
        let message = error.message();
        // Serde's words: unknown field `a`, expected one of `b`, `c`.
        let mut names = message.split('`').skip(1).step_by(2);
        let hint = match names.next().filter(|_| message.starts_with("unknown field")) {
            Some(unknown) => crate::nearest::hint(unknown, names),
            None => String::new(),
        };
        Self::config(Self::toml_place(origin, text, error.span()), format!("{message}{hint}"))
    }

    /// A file and the line of a span of it, from 1.
    pub(crate) fn toml_place(origin: &str, text: &str, span: Option<std::ops::Range<usize>>) -> String {
        let line = |byte: usize| 1 + text.bytes().take(byte).filter(|b| *b == b'\n').count();
        span.map_or(origin.to_owned(), |span| format!("{origin}, line {}", line(span.start)))
    }

    pub(crate) fn source(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Source { path: path.into(), reason: reason.into() }
    }

    pub(crate) fn config(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Config { what: what.into(), reason: reason.into() }
    }
}
