//! `bandfeed info`: what shards of packed records hold.

use crate::cli::table::table;
use crate::decode::Limits;
use crate::packed::Shard;
use crate::{Error, Result};
use rayon::prelude::*;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Say what shards of packed records hold.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Shards, and folders of shards.
    #[arg(required = true)]
    shards: Vec<PathBuf>,
    /// List the records.
    #[arg(long)]
    records: bool,
    /// Read everything and check all checksums. Fails with 1 if a record is damaged.
    #[arg(long)]
    verify: bool,
    /// One JSON object a line, for each shard or, with --records, for each record.
    #[arg(long)]
    json: bool,
}

/// Rings of an inverse DCT of so many samples a side; each ends a band.
const RINGS: [u8; 5] = [2, 3, 4, 6, 8];

/// What is no larger to look at for being a larger image.
const ANY_SIZE: Limits = Limits { max_pixels: u64::MAX, max_scans: u32::MAX };

#[derive(Serialize)]
struct ShardLine {
    shard: String,
    number: u32,
    of: u32,
    records: usize,
    /// Files that are kept as they are.
    stored: usize,
    classes: usize,
    /// What larger images were reduced to; absent where every file is as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_side: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: Option<u8>,
    bytes: u64,
    /// Bytes to read for the rings below 2, 3, 4, 6 and 8, on average over the packed records.
    prefix_bytes: [f64; 5],
    #[serde(skip_serializing_if = "Option::is_none")]
    damaged: Option<usize>,
}

#[derive(Serialize)]
struct RecordLine<'a> {
    shard: String,
    record: usize,
    key: &'a str,
    label: u32,
    /// As stored in the JPEG; absent for a stored file.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<[u32; 2]>,
    /// Whether the image is the original's reduced, as `pack --max-side` does; absent where the record's head is damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    reduced: Option<bool>,
    /// EXIF value.
    orientation: u16,
    offset: u64,
    bytes: u64,
    /// Bytes to read for the rings below 2, 3, 4, 6 and 8.
    prefix_bytes: [u64; 5],
}

/// Runs the command.
///
/// # Errors
/// [`Error::Source`] for what is no shard, or one whose index is damaged, [`Error::Io`].
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let shards = super::shards(&args.shards)?;
    let (mut rows, mut text, mut damaged) = (Vec::new(), String::new(), 0);
    for shard in &shards {
        let faults = if args.verify { faults(shard) } else { Vec::new() };
        damaged += faults.len();
        for fault in &faults {
            eprintln!("{fault}");
        }
        if args.records {
            for line in (0..shard.len()).map(|index| record_line(shard, index)) {
                if args.json { text += &json(&line) } else { rows.push(record_row(&line)) }
            }
        } else {
            let line = shard_line(shard, args.verify.then_some(faults.len()));
            if args.json { text += &json(&line) } else { rows.push(shard_row(&line)) }
        }
    }
    if !args.json {
        let first: &[&str] =
            if args.records { &["key", "label", "pixels", "KB"] } else { &["shard", "records", "stored", "MB"] };
        let rings = RINGS.map(|rings| format!("KB, rings < {rings}"));
        let header: Vec<&str> = first.iter().copied().chain(rings.iter().map(String::as_str)).collect();
        text = table(&header, &rows);
    }
    if args.verify && !args.json {
        text += &if damaged == 0 {
            "every checksum is right\n".to_owned()
        } else {
            format!("{damaged} records are damaged\n")
        };
    }
    crate::cli::print(&text)?;
    Ok(if damaged == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is wrong, by record.
fn faults(shard: &Shard) -> Vec<Error> {
    (0..shard.len()).into_par_iter().filter_map(|index| shard.verify(index, &ANY_SIZE).err()).collect()
}

fn prefix(shard: &Shard, index: usize) -> [u64; 5] {
    RINGS.map(|rings| {
        let range = shard.entry(index).range(rings);
        range.end - range.start
    })
}

fn shard_line(shard: &Shard, damaged: Option<usize>) -> ShardLine {
    let packed: Vec<usize> = (0..shard.len()).filter(|&index| shard.entry(index).size.is_some()).collect();
    let mut sums = [0; 5];
    for &index in &packed {
        for (sum, bytes) in sums.iter_mut().zip(prefix(shard, index)) {
            *sum += bytes;
        }
    }
    ShardLine {
        shard: shard.path().display().to_string(),
        number: shard.place().number,
        of: shard.place().of,
        records: shard.len(),
        stored: shard.len() - packed.len(),
        classes: shard.classes().len(),
        max_side: shard.reduced().map(|reduced| reduced.max_side),
        quality: shard.reduced().map(|reduced| reduced.quality),
        bytes: (0..shard.len()).map(|index| shard.entry(index).len).sum(),
        prefix_bytes: sums.map(|sum| sum as f64 / packed.len().max(1) as f64),
        damaged,
    }
}

fn record_line(shard: &Shard, index: usize) -> RecordLine<'_> {
    let entry = shard.entry(index);
    RecordLine {
        shard: shard.path().display().to_string(),
        record: index,
        key: shard.key(index),
        label: entry.label,
        size: entry.size.map(|size| [size.width, size.height]),
        reduced: shard.record(index, &ANY_SIZE).ok().map(|record| record.head().is_reduced),
        orientation: entry.orientation.to_exif(),
        offset: entry.offset,
        bytes: entry.len,
        prefix_bytes: prefix(shard, index),
    }
}

fn shard_row(line: &ShardLine) -> Vec<String> {
    let name =
        PathBuf::from(&line.shard).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let megabytes = format!("{:.1}", line.bytes as f64 / 1e6);
    let mut row = vec![name, line.records.to_string(), line.stored.to_string(), megabytes];
    row.extend(line.prefix_bytes.map(|bytes| format!("{:.1}", bytes / 1e3)));
    row
}

fn record_row(line: &RecordLine) -> Vec<String> {
    let kilobytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e3);
    let reduced = match line.reduced {
        Some(true) => ", reduced",
        Some(false) => "",
        None => ", damaged",
    };
    let pixels = line.size.map_or("stored".to_owned(), |[width, height]| format!("{width}x{height}{reduced}"));
    let mut row = vec![line.key.to_owned(), line.label.to_string(), pixels, kilobytes(line.bytes)];
    row.extend(line.prefix_bytes.map(kilobytes));
    row
}

fn json(line: &impl Serialize) -> String {
    serde_json::to_string(line).expect("strings and numbers are always JSON") + "\n"
}
