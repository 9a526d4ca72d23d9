//! Making side indices, bringing them up to date, and checking them.

use super::file::{Entry, Kind, SideIndex, Stamp};
use super::write::IndexWriter;
use super::{SHARE, record};
use crate::Source;
use crate::decode::{Decoder, Limits, SeekPoints};
use crate::error::{DecodeError, Error, Result};
use rayon::prelude::*;
use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;

/// A source of files that can have a side index: a folder, or shards.
pub trait Indexable: Source {
    /// Where the indices are or will be, in the order of the samples.
    fn parts(&self) -> Vec<Part>;

    /// The key of a sample in its index.
    fn key(&self, index: usize) -> u64;

    /// Length and time of a sample's own file; `None` for one in a shard.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn stamp(&self, index: usize) -> Result<Option<Stamp>>;
}

/// One index and the samples that it is for.
#[derive(Debug, Clone)]
pub struct Part {
    /// The file of the index.
    pub path: PathBuf,
    /// What its keys are.
    pub kind: Kind,
    /// The samples.
    pub samples: Range<usize>,
    /// Length and time of the shard that they are in, when it was opened.
    pub shard: Option<Stamp>,
}

/// What [`build()`] or [`verify`] found. Counts are of files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// All of them.
    pub files: u64,
    /// Bytes of the files that were looked at or known.
    pub file_bytes: u64,
    /// Bytes of the indices.
    pub index_bytes: u64,
    /// Files with seek points.
    pub with_points: u64,
    /// Files that had not changed, so that what the index says of them was kept, or that are too small for an entry.
    pub kept: u64,
    /// Files that were read from end to end: new ones, and those that had changed.
    pub made: u64,
    /// Entries that are not of their file as it is now; [`verify`] alone counts them.
    pub stale: u64,
    /// Files of which the index knows nothing, although they are large enough; [`verify`] alone counts them.
    pub missing: u64,
    /// Files that could not be read.
    pub unreadable: u64,
    /// Names of the first files that are stale, missing or not readable.
    pub examples: Vec<String>,
}

/// Names that are given.
const EXAMPLES: usize = 8;

/// Files whose records are in memory at once.
const AHEAD: usize = 512;

impl Summary {
    fn example(&mut self, name: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(name());
        }
    }
}

/// What became of a file.
struct Made {
    key: u64,
    stamp: Stamp,
    crc: u32,
    /// Empty where there are no points.
    record: Vec<u8>,
    is_kept: bool,
}

/// Bytes that the points of a file may take; `None` for files so small that even an entry would be too much.
fn bound(len: u64) -> Option<usize> {
    usize::try_from(len / SHARE).ok()?.checked_sub(super::file::ENTRY)
}

/// Makes the indices of a source, or brings them up to date: what has not changed, by length and time or else by checksum, is
/// kept, unless `anew`. An index is replaced when the new one is whole. `tick` is told how many files are done. Runs in the
/// current thread pool of rayon.
///
/// # Errors
/// [`Error::Io`] and [`Error::Source`] if an index cannot be written. Files that cannot be read are counted.
pub fn build(source: &dyn Indexable, anew: bool, limits: &Limits, tick: &(dyn Fn(u64) + Sync)) -> Result<Summary> {
    let mut summary = Summary::default();
    let parts = source.parts();
    let mut seen = HashMap::new();
    for (i, part) in parts.iter().enumerate() {
        if let Some(before) = seen.insert(&part.path, i) {
            let of = |i: usize| source.name(parts[i].samples.start);
            let reason = format!("would be the index of both {} and {}; index them one by one", of(before), of(i));
            return Err(Error::source(&part.path, reason));
        }
    }
    for part in parts {
        let old = if anew { None } else { SideIndex::open(&part.path).ok().filter(|old| old.kind() == part.kind) };
        let job = Job { source, limits, old: old.as_ref(), tick };
        job.part(&part, &mut summary)?;
    }
    summary.files = source.len() as u64;
    Ok(summary)
}

struct Job<'a> {
    source: &'a dyn Indexable,
    limits: &'a Limits,
    old: Option<&'a SideIndex>,
    tick: &'a (dyn Fn(u64) + Sync),
}

impl Job<'_> {
    fn part(&self, part: &Part, summary: &mut Summary) -> Result<()> {
        let shard = part.shard.unwrap_or_default();
        // A file that is gone meanwhile, or may not be looked at, is told of when it is read.
        let stamps: Vec<Option<Stamp>> = match part.shard {
            Some(_) => Vec::new(),
            None => part.samples.clone().into_par_iter().map(|index| self.source.stamp(index).ok().flatten()).collect(),
        };
        let stamp = |index: usize| stamps.get(index - part.samples.start).copied().flatten();
        if let Some(old) = self.old
            && self.is_current(old, part, shard, &stamp)
        {
            summary.kept += part.samples.len() as u64;
            summary.index_bytes += old.bytes();
            summary.with_points += old.entries().filter(Entry::has_points).count() as u64;
            summary.file_bytes += old.entries().map(|entry| entry.stamp().len).sum::<u64>();
            (self.tick)(part.samples.len() as u64);
            return Ok(());
        }
        let mut writer = IndexWriter::create(&part.path, part.kind)?;
        for start in part.samples.clone().step_by(AHEAD) {
            let ahead = start..(start + AHEAD).min(part.samples.end);
            let numbers = ahead.clone();
            let tools = || Decoder::new(self.limits.clone()).map(|decoder| (decoder, Vec::new()));
            let made: Vec<Result<Made>> = ahead
                .into_par_iter()
                .map_init(tools, |tools, index| {
                    let made = match tools {
                        Ok((decoder, buffer)) => self.one(index, stamp(index), decoder, buffer),
                        Err(error) => Err(Error::config("limits", error.to_string())),
                    };
                    (self.tick)(1);
                    made
                })
                .collect();
            for (index, made) in numbers.zip(made) {
                let mut made = match made {
                    Ok(made) => made,
                    Err(error @ Error::Config { .. }) => return Err(error),
                    Err(error) => {
                        summary.unreadable += 1;
                        summary.example(|| error.to_string());
                        // It may be there again tomorrow. What is known of it is compared with its bytes before it is used.
                        let key = self.source.key(index);
                        if let Some(entry) = self.old.and_then(|old| old.get(key))
                            && let Ok(record) = entry.record()
                        {
                            writer.push(key, entry.stamp(), entry.crc(), &mut record.unwrap_or_default().to_vec())?;
                        }
                        continue;
                    }
                };
                summary.file_bytes += made.stamp.len;
                *if made.is_kept { &mut summary.kept } else { &mut summary.made } += 1;
                summary.with_points += u64::from(!made.record.is_empty());
                if bound(made.stamp.len).is_some() {
                    writer.push(made.key, made.stamp, made.crc, &mut made.record)?;
                }
            }
        }
        summary.index_bytes += writer.finish(shard)?;
        Ok(())
    }

    /// Whether an index has exactly the files that there are, none of them changed by length and time.
    fn is_current(
        &self,
        old: &SideIndex,
        part: &Part,
        shard: Stamp,
        stamp: &(dyn Fn(usize) -> Option<Stamp> + Sync),
    ) -> bool {
        let is_known = |index: usize| {
            let entry = old.get(self.source.key(index));
            match stamp(index) {
                Some(stamp) if bound(stamp.len).is_none() => Some(0),
                Some(stamp) => entry
                    .filter(|entry| stamp.is_known() && entry.stamp() == stamp && entry.record().is_ok())
                    .map(|_| 1),
                // In a shard that has not changed no file has; those that are too small have no entry.
                None if part.shard.is_some() => Some(u64::from(entry.is_some_and(|entry| entry.record().is_ok()))),
                None => None,
            }
        };
        if old.source() != shard || (part.shard.is_some() && !shard.is_known()) {
            return false;
        }
        let known: Option<u64> = part.samples.clone().into_par_iter().map(is_known).sum();
        known == Some(old.len() as u64)
    }

    fn one(&self, index: usize, stamp: Option<Stamp>, decoder: &mut Decoder, buffer: &mut Vec<u8>) -> Result<Made> {
        let key = self.source.key(index);
        let old = self.old.and_then(|old| old.get(key)).and_then(|entry| Some((entry, entry.record().ok()?)));
        let kept = |entry: Entry, record: Option<&[u8]>, stamp: Stamp| Made {
            key,
            stamp,
            crc: entry.crc(),
            record: record.unwrap_or_default().to_vec(),
            is_kept: true,
        };
        if let Some((entry, record)) = old
            && stamp.is_some_and(|stamp| stamp.is_known() && stamp == entry.stamp())
        {
            return Ok(kept(entry, record, entry.stamp()));
        }
        let nothing = |stamp: Stamp| Made { key, stamp, crc: 0, record: Vec::new(), is_kept: true };
        if let Some(stamp) = stamp.filter(|stamp| bound(stamp.len).is_none()) {
            return Ok(nothing(stamp));
        }
        let bytes = self.source.read(index, buffer)?;
        let stamp = Stamp { len: bytes.len() as u64, modified: stamp.unwrap_or_default().modified };
        if let Some((entry, record)) = old
            && entry.is_of(bytes)
        {
            return Ok(kept(entry, record, stamp));
        }
        let Some(most) = bound(stamp.len) else { return Ok(nothing(stamp)) };
        let record = every(decoder, bytes).and_then(|every| record::pack(&every, most));
        let crc = crc32c::crc32c(bytes);
        Ok(Made { key, stamp, crc, record: record.unwrap_or_default(), is_kept: false })
    }
}

/// The states before all units, if the own decoder reads the file.
fn every(decoder: &mut Decoder, bytes: &[u8]) -> Option<SeekPoints> {
    let frame = decoder.header(bytes).ok()?.frame?;
    decoder.seek_points(bytes, &frame)
}

/// Compares the indices of a source with its files: checksums and every seek point.
///
/// # Errors
/// [`Error::Io`] if there is no index; [`Error::Source`] or [`Error::Decode`] with the index, the byte and the file where an
/// index is damaged or says what is not so. That a file has changed or is new is counted.
pub fn verify(source: &dyn Indexable, limits: &Limits, tick: &(dyn Fn(u64) + Sync)) -> Result<Summary> {
    enum Found {
        Right(u64, bool),
        Small(u64),
        Stale,
        Missing,
        Unreadable(Error),
    }
    let mut summary = Summary { files: source.len() as u64, ..Summary::default() };
    for part in source.parts() {
        let index = SideIndex::open(&part.path)?;
        summary.index_bytes += index.bytes();
        if index.kind() != part.kind {
            return Err(Error::source(&part.path, "byte 12: is the index of another kind of source"));
        }
        let tools = || Decoder::new(limits.clone()).map(|decoder| (decoder, Vec::new(), SeekPoints::default()));
        let check = |tools: &mut Result<(Decoder, Vec<u8>, SeekPoints)>, sample: usize| -> Result<Found> {
            let (decoder, buffer, points) = match tools {
                Ok(tools) => tools,
                Err(error) => return Err(Error::config("limits", error.to_string())),
            };
            let bytes = match source.read(sample, buffer) {
                Ok(bytes) => bytes,
                Err(error) => return Ok(Found::Unreadable(error)),
            };
            let Some(entry) = index.get(source.key(sample)) else {
                let len = bytes.len() as u64;
                return Ok(if bound(len).is_some() { Found::Missing } else { Found::Small(len) });
            };
            let damaged = |at: u64, what: &str| {
                let place = format!("{}, byte {at}, for {}", part.path.display(), source.name(sample));
                DecodeError::corrupt(what).named(place)
            };
            let has_points = entry.unpack(points).map_err(|(at, what)| damaged(at, what))?;
            if !entry.is_of(bytes) {
                return Ok(Found::Stale);
            }
            if has_points
                && every(decoder, bytes).and_then(|every| every.thinned(*points.grid())).as_ref() != Some(points)
            {
                return Err(damaged(entry.at(), "the seek points are not those of the file"));
            }
            Ok(Found::Right(bytes.len() as u64, has_points))
        };
        let found: Vec<Found> = part
            .samples
            .clone()
            .into_par_iter()
            .map_init(tools, |tools, sample| {
                let found = check(tools, sample);
                tick(1);
                found
            })
            .collect::<Result<_>>()?;
        for (sample, found) in part.samples.zip(found) {
            match found {
                Found::Right(len, has_points) => {
                    summary.file_bytes += len;
                    summary.kept += 1;
                    summary.with_points += u64::from(has_points);
                }
                Found::Small(len) => {
                    summary.file_bytes += len;
                    summary.kept += 1;
                }
                Found::Stale => {
                    summary.stale += 1;
                    summary.example(|| source.name(sample));
                }
                Found::Missing => {
                    summary.missing += 1;
                    summary.example(|| source.name(sample));
                }
                Found::Unreadable(error) => {
                    summary.unreadable += 1;
                    summary.example(|| error.to_string());
                }
            }
        }
    }
    Ok(summary)
}

/// Removes the indices of a source; gives how many there were.
///
/// # Errors
/// [`Error::Io`] if one is there and stays.
pub fn remove(source: &dyn Indexable) -> Result<u64> {
    let mut removed = 0;
    for part in source.parts() {
        super::refuse_other(&part.path)?;
        match std::fs::remove_file(&part.path) {
            Ok(()) => removed += 1,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io(&part.path)(error)),
        }
    }
    Ok(removed)
}
