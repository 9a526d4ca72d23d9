//! Files that are written under a temporary name, by one process at a time.

use crate::error::{Error, Result};
use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Bytes of a head or a footer.
pub(crate) const FRAME: usize = 64;

/// A file on its way to disk, as `NAME.partial` beside its place. Dropped before [`Partial::publish`], it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Partial {
    path: PathBuf,
    /// `None` once it is renamed.
    partial: Option<PathBuf>,
    file: BufWriter<File>,
    len: u64,
}

impl Partial {
    /// Starts the file that will be at `path`. What is there stays until it is published. What an earlier run left of the partial
    /// file is written over; it is locked as long as it is open.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Source`] while another process is at it.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let (file, partial) = open(path)?;
        let file = BufWriter::with_capacity(1 << 20, file);
        Ok(Self { path: path.to_owned(), partial: Some(partial), file, len: 0 })
    }

    /// Where it will be.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes written so far.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.len += bytes.len() as u64;
        self.file.write_all(bytes).map_err(Error::io(self.partial.as_deref().unwrap_or(&self.path)))
    }

    /// Appends a head or a footer: filled up with zeros to [`FRAME`], of which the last four bytes are the checksum of the others.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn write_frame(&mut self, mut frame: Vec<u8>) -> Result<()> {
        frame.resize(FRAME - 4, 0);
        let sum = crc32c::crc32c(&frame);
        frame.extend_from_slice(&sum.to_le_bytes());
        self.write(&frame)
    }

    /// Brings all of it to the disk, and gives the file its name.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn publish(mut self) -> Result<()> {
        let Some(partial) = &self.partial else { return Ok(()) };
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
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            // Nothing can be done about it here, and the next run writes over it.
            _ = std::fs::remove_file(partial);
        }
    }
}

/// An empty `NAME.partial` beside `path`, locked, and its name.
fn open(path: &Path) -> Result<(File, PathBuf)> {
    let mut name: OsString = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = path.with_file_name(name);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&partial);
    let file = file.map_err(Error::io(&partial))?;
    let busy = || Error::source(&partial, "another run is writing it; wait for that, or stop it");
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(busy()),
        // Some network file systems have no locks.
        Err(TryLockError::Error(error)) => tracing::warn!("{}: cannot be locked: {error}", partial.display()),
    }
    // The other may have given it its name between the two calls: then this file is not the partial one any more.
    if !is_still(&file, &partial) {
        return Err(busy());
    }
    file.set_len(0).map_err(Error::io(&partial))?;
    Ok((file, partial))
}

#[cfg(unix)]
fn is_still(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let of = |data: std::io::Result<std::fs::Metadata>| data.ok().map(|data| (data.dev(), data.ino()));
    let there = of(std::fs::metadata(path));
    there.is_some() && there == of(file.metadata())
}

#[cfg(not(unix))]
fn is_still(_file: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writes_and_the_other_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.bands");
        std::fs::write(folder.path().join("x.bands.partial"), "left over").unwrap();
        let (mut first, partial) = open(&path).unwrap();
        first.write_all(b"new").unwrap();
        let error = open(&path).unwrap_err().to_string();
        assert!(error.contains("x.bands.partial") && error.contains("another run"), "{error}");
        assert_eq!(std::fs::read(&partial).unwrap(), b"new");
        std::fs::rename(&partial, &path).unwrap();
        drop(first);
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert!(open(&path).is_ok());
    }
}
