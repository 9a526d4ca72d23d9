//! `bandfeed bench`: throughput of decoder, crops, loader and trainer, by band.
//!
//! ```text
//! options ─► rows to measure ─► rounds (each row once a round) ─► report ─► table, JSON, plot, comparison
//! ```
//!
//! The four commands differ in what a window measures; all else they share.

mod cache;
mod compare;
mod crop;
mod decode;
mod loader;
mod options;
mod plot;
mod report;
mod rounds;
mod show;
#[cfg(feature = "train")]
mod train;

pub(super) use options::at_own_magnitude;

use crate::Result;
use std::process::ExitCode;

/// What to measure.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Images a second that are decoded, and nothing else: whole, and what the random resized crops for a band need of them.
    Decode(Box<decode::Args>),
    /// Images a second that are made from decoded pixels, and nothing else: crop, flip, augmentation, band, normalising.
    Crop(Box<crop::Args>),
    /// Images a second that the loader makes, by band and number of workers, with nothing consuming them.
    Loader(Box<loader::Args>),
    /// Images a second of the bundled trainer alone, of the loader alone and of both together: who waits for whom, by band.
    #[cfg(feature = "train")]
    Train(Box<train::Args>),
    /// The bundled trainer is not in this build.
    #[cfg(not(feature = "train"))]
    #[command(name = "train", about = "Not in this build: add `--features train`")]
    NoTrain {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        _rest: Vec<String>,
    },
}

/// Measures and reports. Fails where `--fail-below` says so, with the report made all the same.
pub(crate) fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Decode(args) => decode::run(args),
        Command::Crop(args) => crop::run(args),
        Command::Loader(args) => loader::run(args),
        #[cfg(feature = "train")]
        Command::Train(args) => train::run(args),
        #[cfg(not(feature = "train"))]
        Command::NoTrain { .. } => Err(crate::Error::config(
            "bench train",
            "this build has no trainer; build it with `cargo build --release --features train` (about ten CPU minutes the \
             first time)",
        )),
    }
}
