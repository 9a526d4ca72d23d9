//! The command line: one file per subcommand, and what they share.

mod bench;
pub mod chart;
#[cfg(feature = "train")]
mod config;
mod decode;
#[cfg(feature = "train")]
mod demo;
mod doctor;
#[cfg(feature = "train")]
mod eval;
pub mod fit;
mod index;
mod inspect;
#[cfg(feature = "train")]
mod job;
#[cfg(feature = "train")]
mod live;
#[cfg(feature = "train")]
mod loaders;
mod machine;
mod manual;
mod pack;
pub mod prog;
#[cfg(feature = "train")]
mod replay;
#[cfg(feature = "train")]
mod report;
pub mod schedule;
#[cfg(feature = "train")]
mod search;
mod table;
mod trace;
#[cfg(feature = "train")]
mod train;
mod transform;
#[cfg(feature = "train")]
mod weights;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// A training-data loader for vision whose cost falls with the frequency band.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Write what each thread does when to this file, for ui.perfetto.dev or chrome://tracing.
    #[arg(long, global = true, value_name = "FILE.json")]
    trace: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Decode image files and say what became of each.
    Decode(decode::Args),
    /// Train a vision transformer under a schedule.
    #[cfg(feature = "train")]
    Train(Box<train::Args>),
    /// Find a curriculum of bands for a data set and a model: a schedule that train takes.
    #[cfg(feature = "train")]
    Search(Box<search::Args>),
    /// Make a small data set, train on it under EfficientTrain++, and show what happened.
    #[cfg(feature = "train")]
    Demo(demo::Args),
    /// Measure a model on a set of images, class by class.
    #[cfg(feature = "train")]
    Eval(eval::Args),
    /// Write a checkpoint's weights for timm's VisionTransformer.
    #[cfg(feature = "train")]
    Export(weights::Args),
    /// Make the batches of a step that was not finite again, and look at them.
    #[cfg(feature = "train")]
    Replay(replay::Args),
    /// Print a schedule as a table and draw it.
    Schedule(schedule::Args),
    /// Show what a recipe does to images, and what a data set consists of.
    Inspect(Box<inspect::Args>),
    /// Write a small file beside a data set by which regions of its JPEGs decode faster.
    Index(index::Args),
    /// Make packed records of a data set: JPEGs without loss, in shards that decode fast and by band.
    Pack(pack::Args),
    /// Give the files of packed records back: JPEGs of the same coefficients, others as they were.
    Unpack(pack::unpack::Args),
    /// Say what shards of packed records hold.
    Info(pack::info::Args),
    /// Measure throughput.
    #[command(subcommand)]
    Bench(bench::Command),
    /// Look at this machine, measure loading on it, and say which options follow.
    Doctor(doctor::Args),
    /// Print a shell's script that completes commands and options.
    Completions(manual::Completions),
    /// Print the manual page, or write one for each command.
    Man(manual::Manual),
    /// Train, search, demo, eval and export are not in this build.
    #[cfg(not(feature = "train"))]
    #[command(name = "train", visible_aliases = ["search", "demo", "eval", "export"], about = "Not in this build: add `--features train`")]
    NoTrain {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        _rest: Vec<String>,
    },
}

/// For arguments that are a number above 0.
fn positive(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value),
        _ => Err("expected a number above 0".to_owned()),
    }
}

/// Seconds that something is measured for: above 0, at most a day.
fn seconds(text: &str) -> std::result::Result<f64, String> {
    const DAY: f64 = 86_400.0;
    let seconds = positive(text)?;
    if seconds <= DAY { Ok(seconds) } else { Err(format!("expected at most a day, {DAY} seconds")) }
}

/// Writes to standard output. A reader that has had enough, as `head`, is no error.
fn print(text: &str) -> crate::Result<()> {
    match std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(crate::Error::io(std::path::Path::new("standard output"))),
    }
}

/// Opens a data set, with the side index at `index` if that is given, else with the one beside it.
fn open(spec: &str, index: Option<&std::path::Path>) -> crate::Result<std::sync::Arc<dyn crate::Source>> {
    match index {
        None => crate::source::open(spec),
        Some(index) => {
            if !index.try_exists().map_err(crate::Error::io(index))? {
                let reason = "the side index that was named is not there; make it with `bandfeed index --out`";
                return Err(crate::Error::source(index, reason));
            }
            Ok(crate::source::open_with_index(spec, Some(index))?)
        }
    }
}

/// Threads that the process may run at once.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

/// Runs the program; the error, if any, is printed to standard error.
pub fn run() -> ExitCode {
    let Cli { command, trace } = Cli::parse();
    if let Err(error) = trace::init(trace.as_deref()) {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    let code = execute(command);
    trace::finish();
    code
}

fn execute(command: Command) -> ExitCode {
    let result = match command {
        Command::Decode(args) => decode::run(&args),
        #[cfg(feature = "train")]
        Command::Train(args) => train::run(&args),
        #[cfg(feature = "train")]
        Command::Search(args) => search::run(&args),
        #[cfg(feature = "train")]
        Command::Demo(args) => demo::run(&args),
        #[cfg(feature = "train")]
        Command::Eval(args) => eval::run(&args).map(|()| ExitCode::SUCCESS),
        #[cfg(feature = "train")]
        Command::Export(args) => weights::run(&args).map(|()| ExitCode::SUCCESS),
        #[cfg(feature = "train")]
        Command::Replay(args) => replay::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Schedule(args) => schedule::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Inspect(args) => inspect::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Bench(command) => bench::run(&command),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => manual::completions(&args).map(|()| ExitCode::SUCCESS),
        Command::Man(args) => manual::manual(&args).map(|()| ExitCode::SUCCESS),
        Command::Index(args) => index::run(&args),
        Command::Pack(args) => pack::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Unpack(args) => pack::unpack::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Info(args) => pack::info::run(&args),
        #[cfg(not(feature = "train"))]
        Command::NoTrain { .. } => {
            eprintln!(
                "error: this build has no trainer; build it with `cargo build --release --features train` \
                 (about ten CPU minutes the first time)"
            );
            return ExitCode::FAILURE;
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}
