//! `bandfeed index`: seek points of a data set's JPEGs in a small file beside it.

use crate::decode::Limits;
use crate::index::{self, Indexable, Summary};
use crate::{Error, Result, source};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Write a small file beside a data set by which regions of its JPEGs decode faster.
///
/// The loader finds the file by itself: x.tar.bandidx beside x.tar, .bandidx in a folder of class folders. It takes less than 2 %
/// of the images' bytes. Run again after the data set has changed: what has not changed is kept.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder of class folders, or WebDataset shards (`data/train-{000..009}.tar`).
    source: String,
    /// Where the index is, if not beside the data: a folder, or, for a folder or a single shard, a file NAME.bandidx. Tell the
    /// loader with --index, or `source.index` in a run file.
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// Threads [default: the machine's cores].
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Read every file again, also where length and time are those of the index.
    #[arg(long, conflicts_with_all = ["verify", "remove"])]
    anew: bool,
    /// Write nothing; compare the index with every file, and every seek point with what decoding finds.
    #[arg(long, conflicts_with = "remove")]
    verify: bool,
    /// Remove the index.
    #[arg(long)]
    remove: bool,
}

/// Runs the command. Fails where [`Args::verify`] finds files that have changed or are not in the index, and where
/// files could not be read.
///
/// # Errors
/// What opening the source, and [`index::build()`], [`index::verify`] and [`index::remove`] report.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let source = source::open_with_index(&args.source, args.out.as_deref())?;
    if source.parts().is_empty() {
        return Err(Error::source(
            &args.source,
            "is packed, and needs no side index: a record is read where it is needed",
        ));
    }
    if args.remove {
        let removed = index::remove(&*source)?;
        super::print(&format!("{removed} indices removed\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(match args.workers {
        Some(0) => return Err(Error::config("--workers", "0; expected at least 1")),
        workers => workers.unwrap_or_else(super::cores),
    });
    let pool = pool.build().map_err(|error| Error::config("--workers", error.to_string()))?;
    let (bar, start, limits) = (bar(source.len() as u64), Instant::now(), Limits::default());
    let tick = |files: u64| bar.inc(files);
    let summary = pool.install(|| match args.verify {
        true => index::verify(&*source, &limits, &tick),
        false => index::build(&*source, args.anew, &limits, &tick),
    });
    bar.finish_and_clear();
    let summary = summary?;
    super::print(&text(&summary, &*source, args.verify, start.elapsed().as_secs_f64()))?;
    let is_behind = args.verify && summary.stale + summary.missing > 0;
    if is_behind {
        eprintln!("error: the index is behind its files; run `bandfeed index {} --anew`", args.source);
    }
    Ok(if is_behind || summary.unreadable > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Shown on a terminal only.
fn bar(len: u64) -> ProgressBar {
    let style = "{elapsed_precise} [{bar:30}] {human_pos}/{human_len} images, {per_sec}, {eta} left";
    let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(len).with_style(style.progress_chars("=> "))
}

fn text(summary: &Summary, source: &dyn Indexable, is_verified: bool, seconds: f64) -> String {
    let Summary { files, file_bytes, index_bytes, with_points, kept, made, stale, missing, unreadable, .. } = *summary;
    let mut text = match is_verified {
        true => format!("{files} images: {kept} as the index says, {stale} changed, {missing} not in the index\n"),
        false => format!("{files} images: {made} read in {seconds:.1} s, {kept} had not changed\n"),
    };
    let percent = 100.0 * index_bytes as f64 / file_bytes.max(1) as f64;
    text += &format!("{with_points} with seek points; the index is {percent:.2} % of their files' bytes\n");
    let parts = source.parts();
    for part in parts.iter().take(3) {
        text += &format!("  {}\n", part.path.display());
    }
    if parts.len() > 3 {
        text += &format!("  and {} more\n", parts.len() - 3);
    }
    if unreadable > 0 {
        text += &format!("{unreadable} could not be read\n");
    }
    for example in &summary.examples {
        text += &format!("  {example}\n");
    }
    text
}
