//! Writing a side index: to a temporary name, then all at once to its own.

use super::file::{END_MAGIC, ENTRY, FRAME, Kind, MAGIC, Stamp, VERSION, sum};
use crate::error::{Error, Result};
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// An index on its way to disk. Dropped before [`IndexWriter::finish`], it leaves nothing behind. Records go to the disk as they
/// come; what stays in memory is 32 bytes for each file.
pub(super) struct IndexWriter {
    path: PathBuf,
    /// `None` once it is renamed.
    partial: Option<PathBuf>,
    file: BufWriter<File>,
    at: u64,
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
        let (file, partial) = crate::partial::create(path).map_err(|error| match error {
            Error::Io { path, source } if is_refused(source.kind()) => {
                Error::source(path, format!("{source}; choose another place for the index (--out)"))
            }
            error => error,
        })?;
        let (path, file) = (path.to_owned(), BufWriter::with_capacity(1 << 20, file));
        let mut writer = Self { path, partial: Some(partial), file, at: 0, entries: Vec::new() };
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&VERSION.to_le_bytes());
        head.extend_from_slice(&u32::from(kind == Kind::Tar).to_le_bytes());
        writer.write(&close(head))?;
        Ok(writer)
    }

    /// Adds a file. `record` is empty, or what [`super::record::pack`] or an entry's record gave; its checksum is set here.
    pub(super) fn push(&mut self, key: u64, stamp: Stamp, crc: u32, record: &mut [u8]) -> Result<()> {
        let mut fields = [0; ENTRY];
        let offset = if record.is_empty() { 0 } else { self.at };
        fields[..8].copy_from_slice(&key.to_le_bytes());
        fields[8..16].copy_from_slice(&offset.to_le_bytes());
        fields[16..20].copy_from_slice(&(stamp.len as u32).to_le_bytes());
        fields[20..24].copy_from_slice(&crc.to_le_bytes());
        fields[24..].copy_from_slice(&stamp.modified.to_le_bytes());
        if !record.is_empty() {
            let sum = sum(&fields, record).to_le_bytes();
            record[..4].copy_from_slice(&sum);
            self.write(record)?;
        }
        self.entries.push(fields);
        Ok(())
    }

    /// Writes the table, brings all of it to the disk, and gives the index its name. Gives its length.
    pub(super) fn finish(mut self, source: Stamp) -> Result<u64> {
        let mut entries = std::mem::take(&mut self.entries);
        entries.sort_unstable_by_key(|fields| super::file::u64_at(fields, 0));
        let (start, count) = (self.at, entries.len() as u32);
        let mut footer = END_MAGIC.to_vec();
        footer.extend_from_slice(&VERSION.to_le_bytes());
        footer.extend_from_slice(&count.to_le_bytes());
        for value in [start, source.len, source.modified] {
            footer.extend_from_slice(&value.to_le_bytes());
        }
        footer.extend_from_slice(&crc32c::crc32c(entries.as_flattened()).to_le_bytes());
        self.write(entries.as_flattened())?;
        self.write(&close(footer))?;
        let Some(partial) = &self.partial else { return Ok(self.at) };
        self.file.flush().map_err(Error::io(partial))?;
        self.file.get_ref().sync_all().map_err(Error::io(partial))?;
        std::fs::rename(partial, &self.path).map_err(Error::io(&self.path))?;
        self.partial = None;
        // The name is on the disk when the folder is. Not every system lets a folder be opened.
        #[cfg(unix)]
        if let Some(folder) = self.path.parent() {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io(folder))?;
        }
        Ok(self.at)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.at += bytes.len() as u64;
        self.file.write_all(bytes).map_err(Error::io(self.partial.as_deref().unwrap_or(&self.path)))
    }
}

impl Drop for IndexWriter {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            // Nothing can be done about it here, and the next run writes over it.
            _ = std::fs::remove_file(partial);
        }
    }
}

/// Fills up to the last four bytes, and writes there the checksum of what is before.
fn close(mut frame: Vec<u8>) -> Vec<u8> {
    frame.resize(FRAME - 4, 0);
    let sum = crc32c::crc32c(&frame);
    frame.extend_from_slice(&sum.to_le_bytes());
    frame
}
