//! Files that are written under a temporary name, by one process at a time.

use crate::error::{Error, Result};
use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

/// An empty `NAME.partial` beside `path`, and its name. What an earlier run left of it is written over; the file is
/// locked as long as it is open.
///
/// # Errors
/// [`Error::Io`], and [`Error::Source`] while another process is at it.
pub(crate) fn create(path: &Path) -> Result<(File, PathBuf)> {
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
    use std::io::Write;

    #[test]
    fn one_writes_and_the_other_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.bands");
        std::fs::write(folder.path().join("x.bands.partial"), "left over").unwrap();
        let (mut first, partial) = create(&path).unwrap();
        first.write_all(b"new").unwrap();
        let error = create(&path).unwrap_err().to_string();
        assert!(error.contains("x.bands.partial") && error.contains("another run"), "{error}");
        assert_eq!(std::fs::read(&partial).unwrap(), b"new");
        std::fs::rename(&partial, &path).unwrap();
        drop(first);
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert!(create(&path).is_ok());
    }
}
