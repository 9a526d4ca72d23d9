//! The files behind a source, and their pages in the system's memory.

use std::borrow::Borrow;
use std::fs::File;
use std::num::NonZeroU64;
use std::path::Path;

/// The file that a sample's name stands for, and whether it is a shard: the name itself, or what is before a `#`. `None` where
/// there is no such file.
pub(crate) fn behind(name: &str) -> Option<(&Path, bool)> {
    let own = Path::new(name);
    if own.is_file() {
        return Some((own, false));
    }
    let shard = name.match_indices('#').map(|(at, _)| Path::new(&name[..at])).find(|path| path.is_file());
    shard.map(|path| (path, true))
}

/// Has the filesystems of these files write what is not yet written: such pages are not evicted. Once for each filesystem, for
/// asking it for every file takes minutes with tens of thousands of them.
#[cfg(target_os = "linux")]
pub(crate) fn write_back(files: impl IntoIterator<Item = impl Borrow<File>>) {
    use std::os::unix::fs::MetadataExt;
    let mut done = Vec::new();
    for file in files {
        let file: &File = file.borrow();
        if let Ok(device) = file.metadata().map(|data| data.dev())
            && !done.contains(&device)
        {
            // Of a file system that cannot write there is nothing to be written.
            let _ = rustix::fs::syncfs(file);
            done.push(device);
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn write_back(_: impl IntoIterator<Item = impl Borrow<File>>) {}

/// Asks the system to drop the pages of a part of a file from its memory; without a length, to the file's end. It drops whole
/// pages that are written and that nobody has mapped ([`write_back`]), and may refuse without saying so.
///
/// # Errors
/// What the system says; unsupported anywhere but on Linux.
#[cfg(target_os = "linux")]
pub(crate) fn evict(file: &File, start: u64, len: Option<NonZeroU64>) -> std::io::Result<()> {
    Ok(rustix::fs::fadvise(file, start, len, rustix::fs::Advice::DontNeed)?)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn evict(_: &File, _: u64, _: Option<NonZeroU64>) -> std::io::Result<()> {
    Err(std::io::Error::from(std::io::ErrorKind::Unsupported))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_the_name_or_what_is_before_the_right_sign() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        // The first `.tar#` is in a folder's name, and a key may hold another.
        std::fs::create_dir(path("old.tar#x")).unwrap();
        for name in ["old.tar#x/a.tar", "old.tar#x/b#1.jpg"] {
            std::fs::write(path(name), b"1").unwrap();
        }
        let found = |name: &str| {
            let name = path(name).to_str().unwrap().to_owned();
            behind(&name).map(|(path, shard)| (path.strip_prefix(folder.path()).unwrap().to_owned(), shard))
        };
        assert_eq!(found("old.tar#x/a.tar#k.tar#1.jpg"), Some(("old.tar#x/a.tar".into(), true)));
        assert_eq!(found("old.tar#x/b#1.jpg"), Some(("old.tar#x/b#1.jpg".into(), false)));
        assert_eq!(found("none.tar#k.jpg"), None);
    }
}
