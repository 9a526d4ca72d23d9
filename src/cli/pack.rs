//! `bandfeed pack`: a data set to shards of packed records.

pub(crate) mod info;
mod reencode;
pub(crate) mod unpack;

use crate::decode::{Decoder, Format, Limits};
use crate::packed::{Packed, Place, Record, Reduced, Shard, ShardWriter, pack, pack_reduced};
use crate::{DecodeError, Error, Result, Source, source};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use reencode::Reencoder;
use sha2::{Digest, Sha256};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Ends the name of a shard.
const EXTENSION: &str = "bands";

/// Make packed records of a data set.
///
/// JPEGs are coded anew without loss: unpacked, they have the same pixels. Files that are no JPEG, or one that is damaged,
/// are kept as they are. Only --max-side loses something, of the images that are larger. Shards that are there already
/// are checked and kept, so that a run that was interrupted goes on when it is started again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder of class folders, or WebDataset shards (`data/train-{000..009}.tar`).
    source: String,
    /// Folder for the shards, `shard-00000.bands` and so on.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Images in a shard.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=65536))]
    shard_size: u32,
    /// Reduce images whose longer side, in pixels, is more than N to it (Lanczos) and encode them again as JPEGs,
    /// upright and without their metadata, whatever their format. All others are packed without loss, as without this
    /// option.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65500))]
    max_side: Option<u32>,
    /// JPEG quality of the images that are reduced.
    #[arg(long, value_name = "Q", default_value_t = 95, requires = "max_side")]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: u8,
    /// Threads [default: the machine's cores].
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Read each shard back from the disk, unpack it, and compare its pixels with the original's, or with those of the original
    /// reduced once more.
    #[arg(long)]
    verify: bool,
}

/// Images that are packed at once; their records are in memory.
const AHEAD: usize = 64;

/// Reasons for storing files that are told; a damaged data set has many.
const REASONS: usize = 8;

/// What was done.
#[derive(Default)]
struct Tally {
    images: u64,
    original: u64,
    packed: u64,
    /// Images that were larger than `--max-side`.
    reduced: u64,
    kept_shards: u64,
    /// Files that are stored as they are: how many, and the first of them, by reason.
    stored: BTreeMap<String, (u64, String)>,
}

/// Runs the command.
///
/// # Errors
/// [`Error::Source`] for a shard that is there and holds something else, [`Error::Decode`] for a record that is damaged or
/// differs, and what reading the source and writing the shards report.
pub(crate) fn run(args: &Args) -> Result<()> {
    let source = source::open(&args.source)?;
    if Format::of(source.read(0, &mut Vec::new())?) == Some(Format::Packed) {
        let reason = "is packed already; pack the data set that it was made of, or `bandfeed unpack` it first";
        return Err(Error::source(&args.source, reason));
    }
    std::fs::create_dir_all(&args.out).map_err(Error::io(&args.out))?;
    let pool = pool(args.workers)?;
    let shards = source.len().div_ceil(args.shard_size as usize);
    refuse_others(&args.out, shards)?;
    let bar = bar(source.len() as u64);
    let reduced = args.max_side.map(|max_side| Reduced { max_side, quality: args.quality });
    let job = Job { args, source: &*source, bar: &bar, limits: Limits::default(), reduced };
    let (start, mut tally) = (Instant::now(), Tally::default());
    for number in 0..shards {
        let first = number * args.shard_size as usize;
        let samples = first..(first + args.shard_size as usize).min(source.len());
        let place = Place { number: number as u32, of: shards as u32, first: first as u64 };
        let path = args.out.join(shard_name(number));
        if path.exists() {
            pool.install(|| job.check(&path, &place, samples.clone()))?;
            tally.kept_shards += 1;
        } else {
            pool.install(|| job.pack(&path, &place, samples.clone(), &mut tally))?;
        }
        if args.verify {
            pool.install(|| job.compare(&path, samples))?;
        }
    }
    bar.finish_and_clear();
    super::print(&tally.text(start.elapsed().as_secs_f64(), reduced, args.verify))
}

fn shard_name(number: usize) -> String {
    format!("shard-{number:05}.{EXTENSION}")
}

/// Shards of another run, beyond those of this one, would be taken for a part of it.
fn refuse_others(out: &Path, shards: usize) -> Result<()> {
    let beyond = out.join(shard_name(shards));
    if beyond.exists() {
        let reason = format!("is there, but this data set makes {shards} shards; choose another folder");
        return Err(Error::source(beyond, reason));
    }
    Ok(())
}

fn pool(workers: Option<usize>) -> Result<rayon::ThreadPool> {
    let workers = workers.unwrap_or_else(super::cores);
    if workers == 0 {
        return Err(Error::config("--workers", "0; expected at least 1"));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(workers).build();
    pool.map_err(|error| Error::config("--workers", error.to_string()))
}

/// Shown on a terminal only.
fn bar(len: u64) -> ProgressBar {
    let style = "{elapsed_precise} [{bar:30}] {human_pos}/{human_len} images, {per_sec}, {eta} left";
    let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(len).with_style(style.progress_chars("=> "))
}

/// A sample's name without where the data set lies: the path in its folder or tar.
fn key<'a>(spec: &str, name: &'a str) -> &'a str {
    if let Some((_, member)) = name.split_once(".tar#") {
        return member;
    }
    Path::new(name).strip_prefix(spec).ok().and_then(Path::to_str).unwrap_or(name)
}

struct Job<'a> {
    args: &'a Args,
    source: &'a dyn Source,
    bar: &'a ProgressBar,
    limits: Limits,
    /// What larger images are reduced to.
    reduced: Option<Reduced>,
}

impl Job<'_> {
    fn reencoder(&self) -> Option<Reencoder> {
        self.reduced.map(|to| Reencoder::new(to, &self.limits))
    }

    fn pack(&self, path: &Path, place: &Place, samples: Range<usize>, tally: &mut Tally) -> Result<()> {
        let mut writer = ShardWriter::create_reduced(path, place, self.reduced)?;
        for start in samples.clone().step_by(AHEAD) {
            let ahead = start..(start + AHEAD).min(samples.end);
            let pack = |reencoder: &mut Option<Reencoder>, index| self.pack_one(reencoder.as_mut(), index);
            let packed: Vec<_> = ahead.clone().into_par_iter().map_init(|| self.reencoder(), pack).collect();
            for (index, packed) in ahead.zip(packed) {
                let (original, packed, is_reduced) = packed?;
                writer.push(&packed.bytes)?;
                tally.images += 1;
                tally.reduced += u64::from(is_reduced);
                tally.original += original;
                tally.packed += packed.bytes.len() as u64;
                if let Some(reason) = packed.stored {
                    let (count, _) = tally.stored.entry(reason.to_string()).or_insert((0, self.source.name(index)));
                    *count += 1;
                }
            }
        }
        writer.finish(self.source.classes())
    }

    /// Bytes of the original file, its record, and whether that is of the image reduced.
    fn pack_one(&self, reencoder: Option<&mut Reencoder>, index: usize) -> Result<(u64, Packed, bool)> {
        let name = self.source.name(index);
        let mut buffer = Vec::new();
        let file = self.source.read(index, &mut buffer)?;
        let (key, label) = (key(&self.args.source, &name), self.source.label(index));
        let smaller = reencoder.map(|reencoder| reencoder.reduce(file)).transpose()?.flatten();
        let packed = match &smaller {
            None => pack(file, key, label, &self.limits),
            Some(jpeg) => pack_reduced(file, jpeg, key, label, &self.limits),
        };
        let packed = packed.map_err(|error| error.named(&name))?;
        self.bar.inc(1);
        Ok((file.len() as u64, packed, smaller.is_some()))
    }

    /// Whether a shard that is there is what this run would write there, and undamaged.
    fn check(&self, path: &Path, place: &Place, samples: Range<usize>) -> Result<()> {
        let advice = "remove it to have it packed again, or choose another folder";
        let shard = Shard::open(path).map_err(|error| match error {
            Error::Source { path, reason } => Error::source(path, format!("{reason}; {advice}")),
            error => error,
        })?;
        let differs = |what: String| Error::source(path, format!("is there, but {what}; {advice}"));
        if shard.place() != place || shard.len() != samples.len() || shard.classes() != self.source.classes() {
            return Err(differs("holds a part of another data set, or shards of another size".to_owned()));
        }
        if shard.reduced() != self.reduced {
            let (it, this) = (options(shard.reduced()), options(self.reduced));
            return Err(differs(format!("was made {it}, and this run is {this}")));
        }
        (0..shard.len()).into_par_iter().try_for_each(|i| {
            let index = samples.start + i;
            let name = self.source.name(index);
            let record = shard.verify(i, &self.limits)?;
            let (head, label) = (record.head(), self.source.label(index));
            if head.key != key(&self.args.source, &name) || head.label != label {
                return Err(differs(format!("its record {i} is {} of class {}, not {name}", head.key, head.label)));
            }
            let mut buffer = Vec::new();
            let file = self.source.read(index, &mut buffer)?;
            if head.original_len != file.len() as u64 || head.original_sha256[..] != Sha256::digest(file)[..] {
                return Err(differs(format!("{name} has changed since its record {i} was made")));
            }
            self.bar.inc(1);
            Ok(())
        })
    }

    /// Compares the pixels of each record of a shard, unpacked, with those of the original, which is reduced if the
    /// record's was; a stored file with the original.
    fn compare(&self, path: &Path, samples: Range<usize>) -> Result<()> {
        let shard = Shard::open(path)?;
        let compare = |reencoder: &mut Option<Reencoder>, i| {
            let mut buffer = Vec::new();
            let file = self.source.read(samples.start + i, &mut buffer)?;
            let record = shard.verify(i, &self.limits)?;
            let smaller = reencoder.as_mut().map(|reencoder| reencoder.reduce(file)).transpose()?.flatten();
            let is_alike = record.head().is_reduced == smaller.is_some();
            let file = smaller.as_deref().unwrap_or(file);
            let same = same(&record, file, &self.limits).map_err(|error| error.named(shard.name(i)))?;
            let error =
                || DecodeError::corrupt("it does not give back the pixels of the original").named(shard.name(i));
            if same && is_alike { Ok(()) } else { Err(error()) }
        };
        (0..shard.len()).into_par_iter().map_init(|| self.reencoder(), compare).collect()
    }
}

fn same(record: &Record, file: &[u8], limits: &Limits) -> Result<bool, DecodeError> {
    if record.image().is_none() {
        return Ok(record.stored()? == file);
    }
    let mut decoder = Decoder::new(limits.clone()).map_err(|error| DecodeError::limit(error.to_string()))?;
    let again = record.coefficients()?.to_jpeg()?;
    Ok(decoder.decode(&again)? == decoder.decode(file)?)
}

/// The options that change what is in a shard, in words.
fn options(reduced: Option<Reduced>) -> String {
    match reduced {
        None => "without --max-side".to_owned(),
        Some(Reduced { max_side, quality }) => format!("with --max-side {max_side} --quality {quality}"),
    }
}

impl Tally {
    fn text(&self, seconds: f64, reduced: Option<Reduced>, verified: bool) -> String {
        let mut text = String::new();
        if self.kept_shards > 0 {
            let (is, was) = if self.kept_shards == 1 { ("shard was", "is") } else { ("shards were", "are") };
            text += &format!("{} {is} there, {was} undamaged, and kept\n", self.kept_shards);
        }
        if self.images > 0 {
            let (before, after) = (self.original as f64 / 1e6, self.packed as f64 / 1e6);
            let (images, rate, ratio) = (self.images, self.images as f64 / seconds, after / before);
            text += &format!(
                "{images} images packed in {seconds:.1} s, {rate:.0} a second: {before:.1} MB became {after:.1} MB \
                 ({ratio:.3} of it)\n"
            );
        }
        if let Some(Reduced { max_side, quality }) = reduced
            && self.images > 0
        {
            let (count, images) = (self.reduced, self.images);
            text +=
                &format!("{count} of {images} reduced to {max_side} pixels on the longer side, at quality {quality}\n");
        }
        let mut stored: Vec<_> = self.stored.iter().collect();
        stored.sort_by_key(|(_, (count, _))| Reverse(*count));
        for (reason, (count, first)) in stored.iter().take(REASONS) {
            text += &match count {
                1 => format!("1 stored as it is: {reason} ({first})\n"),
                _ => format!("{count} stored as they are: {reason} (the first is {first})\n"),
            };
        }
        if let Some(more) = stored.get(REASONS..).filter(|more| !more.is_empty()) {
            let files: u64 = more.iter().map(|(_, (count, _))| count).sum();
            text += &format!("{files} stored as they are for {} other reasons\n", more.len());
        }
        if verified {
            let of = if reduced.is_some() { "originals', or as theirs reduced" } else { "originals'" };
            text += &format!("every record was read back: pixels as the {of}\n");
        }
        text
    }
}

/// The shards that `paths` name: files, and folders of shards.
fn shards(paths: &[PathBuf]) -> Result<Vec<Shard>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let before = files.len();
        for entry in std::fs::read_dir(path).map_err(Error::io(path))? {
            let file = entry.map_err(Error::io(path))?.path();
            if file.extension().is_some_and(|extension| extension == EXTENSION) {
                files.push(file);
            }
        }
        if files.len() == before {
            return Err(Error::source(path, format!("holds no shard of packed records, no .{EXTENSION} file")));
        }
        files[before..].sort();
    }
    files.iter().map(Shard::open).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_name_without_the_place() {
        assert_eq!(key("data/train", "data/train/cat/1.jpg"), "cat/1.jpg");
        assert_eq!(key("data/train/", "data/train/cat/#1.jpg"), "cat/#1.jpg");
        assert_eq!(key("x/a-{0..3}.tar", "x/a-1.tar#n01/7.jpeg"), "n01/7.jpeg");
        assert_eq!(key("x", "y/z"), "y/z");
    }
}
