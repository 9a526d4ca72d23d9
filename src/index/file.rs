//! Reading a side index.

use super::record;
use crate::decode::SeekPoints;
use crate::error::{Error, Result};
use crate::partial::FRAME;
use memmap2::Mmap;
use std::fs::File;
use std::path::{Path, PathBuf};

pub(super) const MAGIC: [u8; 8] = *b"BFSEEK\0\0";
pub(super) const END_MAGIC: [u8; 8] = *b"BFSEEKS\0";
pub(super) const VERSION: u32 = 1;
/// Bytes of a table entry.
pub(super) const ENTRY: usize = 32;

/// What the keys of an index are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// FNV-1a hashes of paths below a folder, names joined by slashes.
    Folder,
    /// Offsets of images in a shard.
    Tar,
}

/// Length of a file, and when it was last written: nanoseconds since 1970, 0 where that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Bytes.
    pub len: u64,
    /// Time of the last change.
    pub modified: u64,
}

impl Stamp {
    /// Whether the time is known: else nothing follows from two that are alike.
    pub(crate) fn is_known(self) -> bool {
        self.modified != 0
    }

    /// That of an open file.
    pub(crate) fn of_open(meta: &std::fs::Metadata) -> Self {
        let since = |time: std::time::SystemTime| time.duration_since(std::time::UNIX_EPOCH).ok();
        let modified = meta.modified().ok().and_then(since).and_then(|time| u64::try_from(time.as_nanos()).ok());
        Self { len: meta.len(), modified: modified.unwrap_or(0) }
    }

    /// That of a file, a link being followed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn of(path: &Path) -> Result<Self> {
        std::fs::metadata(path).map(|meta| Self::of_open(&meta)).map_err(Error::io(path))
    }
}

/// An open side index. It is mapped, not read, but for its table of 32 bytes a file.
pub struct SideIndex {
    path: PathBuf,
    map: Mmap,
    kind: Kind,
    /// Of the shard when it was indexed.
    source: Stamp,
    table: usize,
    count: usize,
}

impl SideIndex {
    /// Opens an index. The checksum of its table is compared; those of its records are when they are used.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Source`] with what was found at which byte if the file is no whole index.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        let len = file.metadata().map_err(Error::io(path))?.len();
        let fail = |at: u64, found: &str| {
            let advice = "run `bandfeed index` again to replace it, or remove it";
            Error::source(path, format!("is no whole side index: byte {at}: {found}; {advice}"))
        };
        if len < 2 * FRAME as u64 {
            return Err(fail(len, "it ends here, before head and footer"));
        }
        // SAFETY: the map is only read. That nobody truncates the file or writes to it while it is open is a condition that the
        // documentation puts on the caller; this crate replaces an index only by renaming a new one.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io(path))?;
        let end = map.len() - FRAME;
        let (head, footer) = (&map[..FRAME], &map[end..]);
        if head[..8] != MAGIC {
            return Err(fail(0, "not the signature of one"));
        }
        if footer[..8] != END_MAGIC {
            return Err(fail(end as u64, "not the signature of a footer; the file may be cut short"));
        }
        for (frame, at) in [(head, 0), (footer, end)] {
            if u32_at(frame, 8) != VERSION {
                let found = format!("version {}; this program reads {VERSION}", u32_at(frame, 8));
                return Err(fail(at as u64 + 8, &found));
            }
            if crc32c::crc32c(&frame[..FRAME - 4]) != u32_at(frame, FRAME - 4) {
                return Err(fail((at + FRAME) as u64 - 4, "the checksum of the 60 bytes before is another"));
            }
        }
        let kind = match u32_at(head, 12) {
            0 => Kind::Folder,
            1 => Kind::Tar,
            other => return Err(fail(12, &format!("kind {other}, which is not known"))),
        };
        let (count, table) = (u64::from(u32_at(footer, 12)), u64_at(footer, 16));
        if table < FRAME as u64 || table.checked_add(count * ENTRY as u64) != Some(end as u64) {
            return Err(fail(end as u64 + 16, "the table is not where the footer says"));
        }
        let source = Stamp { len: u64_at(footer, 24), modified: u64_at(footer, 32) };
        let (table, count, sum) = (table as usize, count as usize, u32_at(footer, 40));
        if crc32c::crc32c(&map[table..end]) != sum {
            return Err(fail(table as u64, "the checksum of the table is another"));
        }
        Ok(Self { path: path.to_owned(), kind, source, table, count, map })
    }

    /// Opens the index at `path` for a source that can do without it: there may be none, and one that cannot be read is told
    /// of and left out.
    pub(crate) fn find(path: &Path, kind: Kind) -> Option<Self> {
        if !path.exists() {
            return None;
        }
        let found = Self::open(path).and_then(|index| {
            let reason = "is the index of a shard where that of a folder is expected, or the other way round";
            if index.kind == kind { Ok(index) } else { Err(Error::source(path, reason)) }
        });
        found.map_err(|error| tracing::warn!("{error}; going on without the index")).ok()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its keys are.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Length and time of the shard when it was indexed; zeros for a folder.
    pub fn source(&self) -> Stamp {
        self.source
    }

    /// Bytes of the index.
    pub fn bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// Number of files that it knows.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether it knows no file.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The entry of a key, by binary search.
    pub fn get(&self, key: u64) -> Option<Entry<'_>> {
        let key_at = |i: usize| u64_at(&self.map, self.table + i * ENTRY);
        let (mut start, mut end) = (0, self.count);
        while start < end {
            let middle = start + (end - start) / 2;
            if key_at(middle) < key { start = middle + 1 } else { end = middle }
        }
        (start < self.count && key_at(start) == key).then(|| self.entry(start))
    }

    /// Entries in the order of their keys.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Entry<'_>> {
        (0..self.count).map(|i| self.entry(i))
    }

    fn entry(&self, i: usize) -> Entry<'_> {
        let at = self.table + i * ENTRY;
        let fields = self.map[at..].first_chunk().expect("the table has `count` entries");
        Entry { fields, at, before: &self.map[..self.table] }
    }
}

impl std::fmt::Debug for SideIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SideIndex").field("path", &self.path).field("files", &self.count).finish_non_exhaustive()
    }
}

/// What an index knows of one file.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    fields: &'a [u8; ENTRY],
    /// Where the entry is in the index.
    at: usize,
    /// The index up to its table.
    before: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Hash of the path below the folder, or offset in the shard.
    pub fn key(&self) -> u64 {
        u64_at(self.fields, 0)
    }

    /// Length of the file in bytes, and, of a file in a folder, when it was last written.
    pub fn stamp(&self) -> Stamp {
        Stamp { len: u32_at(self.fields, 16).into(), modified: u64_at(self.fields, 24) }
    }

    /// The byte of the index where what it knows begins: that of the seek points, or else of the entry.
    pub(super) fn at(&self) -> u64 {
        if self.has_points() { u64_at(self.fields, 8) } else { self.at as u64 }
    }

    /// CRC-32C of the file.
    pub fn crc(&self) -> u32 {
        u32_at(self.fields, 20)
    }

    /// Whether the file has seek points: it is a JPEG of the kind that the own decoder reads, and large enough.
    pub fn has_points(&self) -> bool {
        u64_at(self.fields, 8) != 0
    }

    /// Whether these are the bytes that were indexed, by their length and CRC-32C. Any change of up to 32 bits in a row
    /// is noticed, others but for one in 2^32.
    pub fn is_of(&self, bytes: &[u8]) -> bool {
        bytes.len() as u64 == self.stamp().len && crc32c::crc32c(bytes) == self.crc()
    }

    /// The seek points, if there are some, into `points`.
    ///
    /// # Errors
    /// The byte of the index where it is damaged, and what was found there. `points` are then of no use.
    pub fn unpack(&self, points: &mut SeekPoints) -> Result<bool, (u64, &'static str)> {
        let Some(record) = self.record()? else { return Ok(false) };
        let at = u64_at(self.fields, 8);
        record::unpack(record, points).map(|()| true).ok_or((at, "the seek points contradict each other"))
    }

    /// The record, whose checksum is right.
    pub(super) fn record(&self) -> Result<Option<&'a [u8]>, (u64, &'static str)> {
        let start = u64_at(self.fields, 8);
        if start == 0 {
            return Ok(None);
        }
        let place = usize::try_from(start).ok().filter(|&start| start >= FRAME && start <= self.before.len());
        let Some(place) = place else { return Err((self.at as u64 + 8, "no place of a record")) };
        let Some(record) = record::first(&self.before[place..]) else { return Err((start, "no whole record")) };
        if sum(self.fields, record) != u32_at(record, 0) {
            return Err((start, "the checksum of a record is another"));
        }
        Ok(Some(record))
    }
}

impl std::fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("key", &self.key()).field("stamp", &self.stamp()).finish_non_exhaustive()
    }
}

/// The checksum of a record: of key, length and CRC of the file, so that a record is nobody else's, and of what follows it.
pub(super) fn sum(fields: &[u8; ENTRY], record: &[u8]) -> u32 {
    let file = crc32c::crc32c_append(crc32c::crc32c(&fields[..8]), &fields[16..24]);
    crc32c::crc32c_append(file, &record[4..])
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("the caller has checked the length"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("the caller has checked the length"))
}
