//! The `bandfeed` program.

mod cli {
    pub(crate) mod decode;
}

use clap::Parser;
use std::process::ExitCode;

/// A training-data loader for vision whose cost falls with the frequency band.
#[derive(Debug, Parser)]
#[command(version)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Decode(cli::decode::Args),
}

fn main() -> ExitCode {
    let result = match Program::parse().command {
        Command::Decode(args) => cli::decode::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("bandfeed: {error}");
        ExitCode::from(2)
    })
}
