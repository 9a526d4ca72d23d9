//! Side indices: seek points of a data set's JPEGs in a small file beside it, so that a region is decoded without
//! reading all that lies before it.
//!
//! ```text
//!  folder / x.tar ──► build ──► folder/.bandidx / x.tar.bandidx ──► SideIndex ──► Entry ──► SeekPoints ──► Decoder
//! ```
//!
//! [`build()`] writes the files and brings them up to date; [`crate::source::Folder`] and [`crate::source::Tar`] find them when
//! they are opened, and hand out an [`Entry`] with each sample. `docs/side-index.md` gives every byte.
//!
//! An entry holds length and CRC-32C of its file. Before it is used they are compared with the bytes at hand ([`Entry::is_of`]),
//! so that an index that has gone stale costs time and no pixels (but for one checksum in 2^32 that is right by chance).

mod build;
mod file;
mod record;
mod write;

pub use build::{Indexable, Part, Summary, build, remove, verify};
pub use file::{Entry, Kind, SideIndex, Stamp};

use crate::error::{Error, Result};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Ends the name of a shard's index, and is that of a folder's.
pub const EXTENSION: &str = "bandidx";

/// Part of a file's bytes that its entry and seek points may take: one in so many.
const SHARE: u64 = 50;

/// Where the index of a folder is: `.bandidx` in it, or else what `given` says: a file, or a folder for `NAME.bandidx`.
pub(crate) fn of_folder(root: &Path, given: Option<&Path>) -> PathBuf {
    match given {
        None => root.join(format!(".{EXTENSION}")),
        Some(given) if !is_file(given) => {
            // `.` and `..` have no name of their own.
            let whole = root.canonicalize();
            given.join(with_extension(whole.as_deref().unwrap_or(root).file_name().unwrap_or_default()))
        }
        Some(given) => given.to_owned(),
    }
}

/// Whether a given path is that of an index, and not of a folder for indices: one that is not there is told by its extension.
fn is_file(given: &Path) -> bool {
    given.is_file() || (!given.is_dir() && given.extension().is_some_and(|extension| extension == EXTENSION))
}

/// Where the index of a shard is: `x.tar.bandidx` beside it, or else what `given` says: a folder for that name, or, for a single
/// shard, a file.
pub(crate) fn of_shard(shard: &Path, given: Option<&Path>, is_single: bool) -> PathBuf {
    let name = with_extension(shard.file_name().unwrap_or_default());
    match given {
        None => shard.with_file_name(name),
        Some(given) if is_single && is_file(given) => given.to_owned(),
        Some(given) => given.join(name),
    }
}

/// Refuses to write over or remove what is no side index: `--out` may name any file. What has an index's name is one,
/// damaged or not.
fn refuse_other(path: &Path) -> Result<()> {
    if path.as_os_str().as_encoded_bytes().ends_with(EXTENSION.as_bytes()) {
        return Ok(());
    }
    let mut start = [0; 8];
    let read = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io(path)(error)),
        Ok(mut file) => file.read(&mut start).map_err(Error::io(path))?,
    };
    if start[..read] != file::MAGIC[..read] {
        return Err(Error::source(
            path,
            "is there and is no side index; it is not touched. Name another place (--out)",
        ));
    }
    Ok(())
}

fn with_extension(name: &OsStr) -> OsString {
    let mut name = name.to_owned();
    name.push(".");
    name.push(EXTENSION);
    name
}

/// FNV-1a of 64 bits, of the parts one after another.
pub(crate) fn hash(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.iter());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_hash_is_that_of_its_authors() {
        assert_eq!(super::hash(&[]), 0xcbf2_9ce4_8422_2325);
        assert_eq!(super::hash(&[b"foo", b"", b"bar"]), 0x8594_4171_f739_67e8);
    }
}
