//! Writing a side index: to a temporary name, then all at once to its own.

use super::file::{END_MAGIC, ENTRY, Kind, MAGIC, Stamp, VERSION, sum};
use crate::error::{Error, Result};
use crate::partial::Partial;
use std::io::ErrorKind;
use std::path::Path;

/// An index on its way to disk. Dropped before [`IndexWriter::finish`], it leaves nothing behind. Records go to the disk as they
/// come; what stays in memory is 32 bytes for each file.
pub(super) struct IndexWriter {
    file: Partial,
    entries: Vec<[u8; ENTRY]>,
}

fn is_refused(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

impl IndexWriter {
    /// Starts the index that will be at `path`. What is there stays until [`IndexWriter::finish`].
    pub(super) fn create(path: &Path, kind: Kind) -> Result<Self> {
        super::refuse_other(path)?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        let file = Partial::create(path).map_err(|error| match error {
            Error::Io { path, source } if is_refused(source.kind()) => {
                Error::source(path, format!("{source}; choose another place for the index (--out)"))
            }
            error => error,
        })?;
        let mut writer = Self { file, entries: Vec::new() };
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&VERSION.to_le_bytes());
        head.extend_from_slice(&u32::from(kind == Kind::Tar).to_le_bytes());
        writer.file.write_frame(head)?;
        Ok(writer)
    }

    /// Adds a file. `record` is empty, or what [`super::record::pack`] or an entry's record gave; its checksum is set here.
    pub(super) fn push(&mut self, key: u64, stamp: Stamp, crc: u32, record: &mut [u8]) -> Result<()> {
        let mut fields = [0; ENTRY];
        let offset = if record.is_empty() { 0 } else { self.file.len() };
        fields[..8].copy_from_slice(&key.to_le_bytes());
        fields[8..16].copy_from_slice(&offset.to_le_bytes());
        fields[16..20].copy_from_slice(&(stamp.len as u32).to_le_bytes());
        fields[20..24].copy_from_slice(&crc.to_le_bytes());
        fields[24..].copy_from_slice(&stamp.modified.to_le_bytes());
        if !record.is_empty() {
            let sum = sum(&fields, record).to_le_bytes();
            record[..4].copy_from_slice(&sum);
            self.file.write(record)?;
        }
        self.entries.push(fields);
        Ok(())
    }

    /// Writes the table, brings all of it to the disk, and gives the index its name. Gives its length.
    pub(super) fn finish(mut self, source: Stamp) -> Result<u64> {
        let mut entries = std::mem::take(&mut self.entries);
        entries.sort_unstable_by_key(|fields| super::file::u64_at(fields, 0));
        let (start, count) = (self.file.len(), entries.len() as u32);
        let mut footer = END_MAGIC.to_vec();
        footer.extend_from_slice(&VERSION.to_le_bytes());
        footer.extend_from_slice(&count.to_le_bytes());
        for value in [start, source.len, source.modified] {
            footer.extend_from_slice(&value.to_le_bytes());
        }
        footer.extend_from_slice(&crc32c::crc32c(entries.as_flattened()).to_le_bytes());
        self.file.write(entries.as_flattened())?;
        self.file.write_frame(footer)?;
        let len = self.file.len();
        self.file.publish().map(|()| len)
    }
}
