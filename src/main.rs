//! The `bandfeed` program.

use clap::Parser;
use std::process::ExitCode;

/// Training-data loader for vision whose cost falls with the frequency band.
#[derive(Parser)]
#[command(version)]
enum Command {
    /// Show a schedule as a table and a plot.
    Schedule(bandfeed::cli::schedule::Args),
}

fn main() -> ExitCode {
    let Command::Schedule(args) = Command::parse();
    match bandfeed::cli::schedule::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
