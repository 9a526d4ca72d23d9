//! Shards of packed records.

use super::{Source, check_count, count_line, pattern};
use crate::decode::Limits;
use crate::error::{Error, Result};
use crate::index::{Indexable, Part, Stamp};
use crate::packed::{Entry, Shard};
use crate::shape::Size;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Packed records (`docs/packed-records.md`), read in any order from memory maps.
///
/// The samples are those of the data set that was packed, in its order, with its labels and class names, so that a run of one
/// seed draws the same images from either. [`Source::read`] lends the whole record, of which the decoder touches the head and
/// the bands and tiles it needs.
///
/// # Memory
/// 72 bytes for each image. The shards themselves are mapped, not read.
///
/// # The files must not change
/// As those of [`super::Tar`].
#[derive(Debug)]
pub struct Packed {
    shards: Vec<Shard>,
    /// Index of each shard's first sample, and the number of samples at the end.
    starts: Vec<u32>,
}

impl Packed {
    /// Opens the shards that a path or pattern names: `shard-{00000..00004}.bands`, `packed/*.bands`, or a folder, whose
    /// `.bands` files are taken. They are put in the order of their numbers.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read. [`Error::Source`] with the shard: not one, cut short or damaged; of another
    /// data set than the others, missing among them, or there twice; a pattern that matches nothing.
    pub fn open(pattern: &str) -> Result<Self> {
        Self::open_paths(&pattern::expand(pattern, EXTENSION)?)
    }

    /// The same with files, whose names are not looked at.
    ///
    /// # Errors
    /// As [`Packed::open`].
    pub fn open_paths(paths: &[PathBuf]) -> Result<Self> {
        let mut shards = paths.iter().map(Shard::open).collect::<Result<Vec<_>>>()?;
        shards.sort_by_key(|shard| shard.place().number);
        let Some(first) = shards.first() else {
            return Err(Error::source("packed", "no shard was named"));
        };
        // A part of a data set is a data set too, if its shards follow each other.
        let (mut number, mut sample) = (first.place().number, first.place().first);
        let (mut starts, mut count) = (vec![0], 0);
        for shard in &shards {
            // What is read around a touched page belongs to other images; what will be needed is asked for (`prefetch`).
            #[cfg(unix)]
            shard.map().advise(memmap2::Advice::Random).map_err(Error::io(shard.path()))?;
            let place = shard.place();
            let differs = |what: &str| {
                let (other, is, of) = (first.path().display(), place.number, place.of);
                Err(Error::source(
                    shard.path(),
                    format!("shard {is} of {of} {what} {other}; give the shards of one data set"),
                ))
            };
            if place.of != first.place().of || shard.classes() != first.classes() {
                return differs("has other classes, or is of another number of shards, than");
            }
            if place.number < number {
                let (number, path) = (place.number, shard.path());
                return Err(Error::source(path, format!("is shard {number}, which is named twice")));
            }
            if place.number != number || place.first != sample {
                return differs(&format!("does not follow on: shard {number}, with sample {sample}, is missing after"));
            }
            let classes = shard.classes().len();
            if let Some(record) = (0..shard.len()).find(|&record| shard.entry(record).label as usize >= classes) {
                let label = shard.entry(record).label;
                let reason = format!("{} is of class {label}, of {classes} classes", shard.name(record));
                return Err(Error::source(shard.path(), reason));
            }
            number += 1;
            sample += shard.len() as u64;
            count += shard.len();
            check_count(shard.path(), count)?;
            starts.push(count as u32);
        }
        Ok(Self { shards, starts })
    }

    /// Whether the shards are all that `folder` should hold.
    pub(super) fn check_complete(&self, folder: &Path) -> Result<()> {
        let (place, there) = (self.shards[0].place(), self.shards.len());
        if place.number == 0 && there == place.of as usize {
            return Ok(());
        }
        let (first, last) = (place.number, place.number as usize + there - 1);
        let reason = format!(
            "holds the shards {first} to {last} of {}: the others are missing. `bandfeed pack` goes on where it was \
             stopped; to read a part, name its shards: `{}/*.{EXTENSION}`",
            place.of,
            folder.display()
        );
        Err(Error::source(folder, reason))
    }

    /// The shards, in the order of their samples.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// The shard that a sample is in, and its number there.
    fn locate(&self, index: usize) -> (&Shard, usize) {
        let shard = self.starts.partition_point(|&start| start as usize <= index) - 1;
        (&self.shards[shard], index - self.starts[shard] as usize)
    }

    fn entry(&self, index: usize) -> &Entry {
        let (shard, record) = self.locate(index);
        shard.entry(record)
    }

    /// The bytes of the sample's record that hold the rings below `rings`, in its shard's file.
    ///
    /// # Panics
    /// If `index` is not below [`Source::len`], or `rings` is not in `1..=8`.
    pub fn range(&self, index: usize, rings: u8) -> Range<u64> {
        self.entry(index).range(rings)
    }

    /// The bytes that decoding the sample at `scale`/8 reads, in its shard's file: of 4:2:0, chroma is taken at twice the scale.
    ///
    /// # Panics
    /// If `index` is not below [`Source::len`], or `scale` is not in `1..=8`.
    pub fn range_at(&self, index: usize, scale: u8) -> Range<u64> {
        self.entry(index).range_at(scale)
    }

    /// Reads all of a sample's record and checks every checksum.
    ///
    /// # Errors
    /// [`Error::Decode`] that names shard, record and place.
    pub fn verify(&self, index: usize, limits: &Limits) -> Result<()> {
        let (shard, record) = self.locate(index);
        shard.verify(record, limits).map(|_| ())
    }
}

impl Indexable for Packed {
    /// None: a record has its own index.
    fn parts(&self) -> Vec<Part> {
        Vec::new()
    }

    fn key(&self, index: usize) -> u64 {
        index as u64
    }

    fn stamp(&self, _index: usize) -> Result<Option<Stamp>> {
        Ok(None)
    }
}

/// Ends the name of a shard.
pub(super) const EXTENSION: &str = "bands";

impl Source for Packed {
    fn len(&self) -> usize {
        self.starts[self.shards.len()] as usize
    }

    fn name(&self, index: usize) -> String {
        let (shard, record) = self.locate(index);
        shard.name(record)
    }

    fn label(&self, index: usize) -> u32 {
        self.entry(index).label
    }

    fn classes(&self) -> &[String] {
        self.shards[0].classes()
    }

    fn read<'a>(&'a self, index: usize, _buffer: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        let (shard, record) = self.locate(index);
        Ok(shard.bytes(record))
    }

    fn size(&self, index: usize) -> Option<Size> {
        let entry = self.entry(index);
        entry.size.map(|size| entry.orientation.size(size))
    }

    fn prefetch(&self, index: usize, scale: u8) {
        let (range, (shard, _)) = (self.range_at(index, scale), self.locate(index));
        super::will_need(shard.map(), range.start, range.end - range.start);
    }

    fn describe(&self) -> String {
        let stored = (0..self.len()).filter(|&index| self.entry(index).size.is_none()).count();
        let stored = if stored > 0 { format!(", {stored} of them as files") } else { String::new() };
        let (line, shards) = (count_line(self), self.shards.len());
        format!("{line}{stored}, packed in {shards} shard{}", if shards == 1 { "" } else { "s" })
    }
}
