//! Reads a shard through a memory map.

use super::{ALIGN, ENTRY, FOOTER_MAGIC, FRAME, MAGIC, PAGE, Place, QUARTER_CHROMA, Reduced, STORED, VERSION};
use crate::decode::{Limits, Orientation, chroma_scale};
use crate::error::{Error, Result};
use crate::packed::Record;
use crate::packed::band::{BANDS, bands_for};
use crate::shape::Size;
use memmap2::Mmap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What the index says of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// First byte of the record in the file.
    pub offset: u64,
    /// Bytes of the record.
    pub len: u64,
    /// Class index.
    pub label: u32,
    /// Columns and rows as stored; `None` for a file that is stored as it is.
    pub size: Option<Size>,
    /// How the stored pixels are turned.
    pub orientation: Orientation,
    /// Whether a component has half of the image's resolution along both axes.
    pub(crate) has_quarter_chroma: bool,
    /// Bytes of the record up to the end of each band.
    ends: [u32; BANDS],
    /// Of the whole record.
    crc: u32,
    /// In the keys.
    key: (u32, u16),
}

impl Entry {
    /// The bytes of the file that hold the rings below `rings` of this record: one range.
    ///
    /// # Panics
    /// If `rings` is not in `1..=8`.
    pub fn range(&self, rings: u8) -> Range<u64> {
        let band = bands_for(rings) - 1;
        let len = if self.size.is_some() { self.ends[band].into() } else { self.len };
        self.offset..self.offset + len
    }
}

impl Entry {
    /// The bytes of the file that hold what decoding at `scale`/8 reads: where chroma is small it is taken at twice the scale,
    /// and so with twice the rings.
    ///
    /// # Panics
    /// If `scale` is not in `1..=8`.
    pub(crate) fn range_at(&self, scale: u8) -> Range<u64> {
        let shared = if self.has_quarter_chroma { (2, 2) } else { (1, 1) };
        self.range(chroma_scale(scale.into(), shared) as u8)
    }
}

/// A shard of packed records. Of the file, its index and what is asked for are read.
///
/// The file must not change while it is open: it is mapped, and a file that is cut short ends the process.
#[derive(Debug)]
pub struct Shard {
    path: PathBuf,
    map: Mmap,
    place: Place,
    reduced: Option<Reduced>,
    entries: Vec<Entry>,
    classes: Vec<String>,
    /// Where the keys are in the file; they are text.
    keys: Range<usize>,
}

/// Little-endian numbers at a place.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].try_into().map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].try_into().map_or(0, u64::from_le_bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// The head or the footer, if it has its first bytes, its version and its checksum.
fn frame<'a>(bytes: &'a [u8], at: usize, magic: [u8; 8], what: &str) -> Result<&'a [u8], String> {
    let frame = bytes.get(at..at + FRAME).ok_or_else(|| format!("is too short for a {what}"))?;
    if frame[..8] != magic {
        let hint = if at == 0 { "it is no shard of packed records" } else { "it may be cut short" };
        return Err(format!("has no {what} at byte {at}: {hint}"));
    }
    if crc32c::crc32c(&frame[..FRAME - 4]) != u32_at(frame, FRAME - 4) {
        return Err(format!("is damaged: the {what} at byte {at} does not have its checksum"));
    }
    let version = u32_at(frame, 8);
    if version != VERSION {
        return Err(format!("is of version {version}; version {VERSION} is read here"));
    }
    Ok(frame)
}

impl Shard {
    /// Opens a shard and checks its head, its footer and its index, but no record.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Source`] for a file that is no shard, is cut short or damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = File::open(path).map_err(Error::io(path))?;
        if !file.metadata().map_err(Error::io(path))?.is_file() {
            return Err(Error::source(path, "is not a regular file; expected a shard of packed records"));
        }
        // SAFETY: the map is only read. That the file does not change while it is open cannot be enforced portably; it is
        // a condition that the documentation puts on the caller.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io(path))?;
        let (place, entries, classes, keys) = read_index(&map).map_err(|reason| Error::source(path, reason))?;
        let reduced = read_reduced(&map);
        Ok(Self { path: path.to_owned(), map, place, reduced, entries, classes, keys })
    }

    /// The mapped file.
    pub(crate) fn map(&self) -> &Mmap {
        &self.map
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which shard of its data set it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What larger images of the data set were reduced to; `None` where every file is as it was. [`crate::packed::Head`] says of
    /// which records.
    pub fn reduced(&self) -> Option<Reduced> {
        self.reduced
    }

    /// Number of records, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "none is empty")]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Class names of the data set by class index.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// What the index says of a record.
    ///
    /// # Panics
    /// If `index` is not below [`Shard::len`], as `key`, `record` and `verify`.
    pub fn entry(&self, index: usize) -> &Entry {
        &self.entries[index]
    }

    /// The record's name in its data set.
    pub fn key(&self, index: usize) -> &str {
        let (start, len) = self.entries[index].key;
        let start = self.keys.start + start as usize;
        std::str::from_utf8(&self.map[start..start + usize::from(len)]).unwrap_or_default()
    }

    /// A name that tells shard, key, number and place of a record.
    pub fn name(&self, index: usize) -> String {
        let (path, key, at) = (self.path.display(), self.key(index), self.entries[index].offset);
        format!("{path}#{key} (record {index}, byte {at})")
    }

    /// The record's bytes, none of which is read.
    pub fn bytes(&self, index: usize) -> &[u8] {
        let Entry { offset, len, .. } = self.entries[index];
        &self.map[offset as usize..(offset + len) as usize]
    }

    /// The record with its head read and checked.
    ///
    /// # Errors
    /// [`Error::Decode`] that names shard, record and place.
    pub fn record(&self, index: usize, limits: &Limits) -> Result<Record<'_>> {
        Record::open(self.bytes(index), limits).map_err(|error| error.named(self.name(index)))
    }

    /// Reads all of a record and checks every checksum.
    ///
    /// # Errors
    /// [`Error::Decode`] that names shard, record and place.
    pub fn verify(&self, index: usize, limits: &Limits) -> Result<Record<'_>> {
        let record = self.record(index, limits)?;
        let parts = record.verify(8).and_then(|()| record.metadata().map(|_| ()));
        parts.map_err(|error| error.named(self.name(index)))?;
        let entry = &self.entries[index];
        let is_same = record.head().key == self.key(index)
            && record.head().label == entry.label
            && record.head().len == entry.len
            && crc32c::crc32c(self.bytes(index)) == entry.crc;
        if !is_same {
            let error = crate::DecodeError::corrupt("the record is not the one that the shard's index tells of");
            return Err(error.named(self.name(index)));
        }
        Ok(record)
    }
}

type Index = (Place, Vec<Entry>, Vec<String>, Range<usize>);

fn read_index(bytes: &[u8]) -> Result<Index, String> {
    let head = frame(bytes, 0, MAGIC, "head")?;
    let place = Place { number: u32_at(head, 12), of: u32_at(head, 16), first: u64_at(head, 24) };
    if place.number >= place.of || place.first > u64::MAX / 2 {
        return Err("is damaged: the head tells of no shard that there can be".to_owned());
    }
    let at = bytes.len().checked_sub(FRAME).filter(|&at| at >= FRAME).ok_or("is too short for a footer")?;
    let footer = frame(bytes, at, FOOTER_MAGIC, "footer")?;
    let [start, len, classes, keys] = [16, 24, 32, 40].map(|field| u64_at(footer, field));
    let (count, class_count, crc) = (u32_at(footer, 12) as usize, u32_at(footer, 48) as usize, u32_at(footer, 52));
    let is_sound = start.checked_add(len) == Some(at as u64)
        && start.is_multiple_of(PAGE)
        && count > 0
        && (count * ENTRY) as u64 == classes
        && classes <= keys
        && keys <= len;
    if !is_sound {
        return Err("is damaged: the footer does not fit the file".to_owned());
    }
    let index = &bytes[start as usize..at];
    if crc32c::crc32c(index) != crc {
        return Err(format!("is damaged: the index at byte {start} does not have its checksum"));
    }
    let (classes, keys) = (classes as usize, keys as usize);
    let mut entries = Vec::with_capacity(count);
    let text = std::str::from_utf8(&index[keys..]).map_err(|_| "is damaged: its keys are not text")?;
    for (i, bytes) in index[..classes].chunks_exact(ENTRY).enumerate() {
        entries.push(read_entry(bytes, start, text).ok_or_else(|| format!("is damaged: entry {i} of the index"))?);
    }
    let mut names = Vec::new();
    let mut rest = &index[classes..keys];
    for _ in 0..class_count {
        let name = rest.split_at_checked(4).and_then(|(len, after)| after.split_at_checked(u32_at(len, 0) as usize));
        let (name, after) = name.ok_or("is damaged: its class names are cut short")?;
        names.push(std::str::from_utf8(name).map_err(|_| "is damaged: a class name is not text")?.to_owned());
        rest = after;
    }
    if !rest.is_empty() {
        return Err("is damaged: more class names than it says".to_owned());
    }
    let keys = start as usize + keys;
    Ok((place, entries, names, keys..at))
}

/// What a head that was checked says of reduced images.
fn read_reduced(head: &[u8]) -> Option<Reduced> {
    let (max_side, quality) = (u32_at(head, 32), head[36]);
    (max_side > 0).then_some(Reduced { max_side, quality })
}

/// An entry, if its record lies before the index and its key among `keys`.
fn read_entry(bytes: &[u8], end: u64, keys: &str) -> Option<Entry> {
    let (offset, len) = (u64_at(bytes, 0), u64_at(bytes, 8));
    offset.checked_add(len).filter(|&stop| stop <= end && offset >= FRAME as u64 && offset.is_multiple_of(ALIGN))?;
    let size = Size::new(u16_at(bytes, 20).into(), u16_at(bytes, 22).into());
    let key = (u32_at(bytes, 28), u16_at(bytes, 26));
    keys.get(key.0 as usize..key.0 as usize + usize::from(key.1))?;
    let ends = [32, 36, 40, 44, 48].map(|at| u32_at(bytes, at));
    let is_stored = bytes[24] == STORED;
    let is_ordered = ends.is_sorted() && u64::from(ends[BANDS - 1]) <= len;
    (bytes[24] <= QUARTER_CHROMA && is_ordered).then_some(())?;
    Some(Entry {
        offset,
        len,
        label: u32_at(bytes, 16),
        size: (!is_stored).then_some(size),
        orientation: Orientation::from_exif(bytes[25].into())?,
        has_quarter_chroma: bytes[24] == QUARTER_CHROMA,
        ends,
        crc: u32_at(bytes, 52),
        key,
    })
}
