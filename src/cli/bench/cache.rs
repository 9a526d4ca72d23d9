//! The state of the system's page cache before a window: whether the source's files are in memory.
//!
//! Cold means: the files are written back once, before the first window; before each their pages are released from this
//! process's maps (a mapped page cannot be evicted), and the system is asked to drop them (`POSIX_FADV_DONTNEED`). It
//! may refuse, so what is still resident is counted and told. A machine whose disk is cached again below the system, as
//! a virtual one's, is not colder than that.

use super::super::machine::{self, files};
use crate::{Error, Result, Source};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where a source's bytes are when a window begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Cache {
    /// Left as they are.
    Warm,
    /// Evicted.
    Cold,
}

impl std::fmt::Display for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Warm => "warm",
            Self::Cold => "cold",
        })
    }
}

/// Refuses where files cannot be evicted.
///
/// # Errors
/// [`Error::Config`] anywhere but on Linux.
pub(super) fn supported() -> Result<()> {
    if cfg!(target_os = "linux") {
        return Ok(());
    }
    let reason = format!("evicting files from the page cache is done on Linux only, this is {}", std::env::consts::OS);
    Err(Error::config("--cache", reason))
}

/// The files behind a source, each once.
#[derive(Debug)]
pub(super) struct Files(Vec<PathBuf>);

impl Files {
    /// Of a source that was opened by path: its samples' names are `path` or `shard#key`.
    pub(super) fn of(source: &dyn Source) -> Self {
        let mut files: Vec<PathBuf> = Vec::new();
        // A shard's samples come one after another: it is looked for once.
        let mut shard = String::new();
        for index in 0..source.len() {
            let name = source.name(index);
            if !shard.is_empty() && name.starts_with(&shard) {
                continue;
            }
            shard.clear();
            let path = match files::behind(&name) {
                Some((path, is_shard)) => {
                    if is_shard {
                        shard = name[..=path.as_os_str().len()].to_owned();
                    }
                    path.to_owned()
                }
                None => PathBuf::from(&name),
            };
            files.push(path);
        }
        files.dedup();
        Self(files)
    }

    /// Refuses files that cannot all be in memory, and so not be warm.
    ///
    /// # Errors
    /// [`Error::Config`] with both sizes.
    pub(super) fn fit_in_memory(&self) -> Result<()> {
        let size: u64 = self.0.iter().filter_map(|path| path.metadata().ok()).map(|data| data.len()).sum();
        // Where the system does not tell, nobody knows better than the caller.
        let Some(free) = machine::memory_free().filter(|free| size > free / 4 * 3) else { return Ok(()) };
        let gb = |bytes: u64| bytes as f64 * 1e-9;
        let reason = format!(
            "both reads the files before each warm window, but they have {:.1} GB and {:.1} GB of memory are free; measure \
             warm and cold one after the other",
            gb(size),
            gb(free)
        );
        Err(Error::config("--cache", reason))
    }

    /// Has what is not yet written of the files written: such pages cannot be evicted.
    pub(super) fn write_back(&self) {
        files::write_back(self.0.iter().filter_map(|path| std::fs::File::open(path).ok()));
    }

    /// Brings the files into `state` and returns what share of their pages is resident then, `0..=1`, by a sample of the files.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be opened or mapped; [`Error::Config`] where the system cannot do it.
    pub(super) fn prepare(&self, state: Cache) -> Result<f64> {
        match state {
            Cache::Warm => {
                for path in &self.0 {
                    let mut file = std::fs::File::open(path).map_err(Error::io(path))?;
                    std::io::copy(&mut file, &mut std::io::sink()).map_err(Error::io(path))?;
                }
            }
            Cache::Cold => system::evict(&self.0)?,
        }
        self.resident()
    }

    fn resident(&self) -> Result<f64> {
        /// Enough for a share; a folder of a million files would take longer than the window.
        const SAMPLED: usize = 512;
        let (mut there, mut pages) = (0, 0);
        for path in self.0.iter().step_by(self.0.len().div_ceil(SAMPLED).max(1)) {
            let (resident, all) = system::resident(path)?;
            there += resident;
            pages += all;
        }
        Ok(there as f64 / pages.max(1) as f64)
    }
}

#[cfg(target_os = "linux")]
mod system {
    use super::files;
    use crate::{Error, Result};
    use std::collections::HashSet;
    use std::ffi::c_void;
    use std::fs::File;
    use std::path::{Path, PathBuf};

    unsafe extern "C" {
        /// mincore(2): the lowest bit of `states[i]` says whether page `i` of a mapping is in memory.
        fn mincore(address: *mut c_void, length: usize, states: *mut u8) -> std::ffi::c_int;
    }

    pub(super) fn evict(files: &[PathBuf]) -> Result<()> {
        release_maps(files)?;
        for path in files {
            let file = File::open(path).map_err(Error::io(path))?;
            files::evict(&file, 0, None).map_err(Error::io(path))?;
        }
        Ok(())
    }

    /// Takes the files' pages out of this process's page tables. What is mapped stays mapped, and is read again when touched.
    fn release_maps(files: &[PathBuf]) -> Result<()> {
        let files: HashSet<PathBuf> = files.iter().filter_map(|path| path.canonicalize().ok()).collect();
        let table = Path::new("/proc/self/maps");
        let maps = std::fs::read_to_string(table).map_err(Error::io(table))?;
        for (range, path) in maps.lines().filter_map(shared_map) {
            if files.contains(path) {
                let (start, len) = (range.start as *mut c_void, range.len());
                // SAFETY: the range is a read-only shared map of a file, as the system's own table says, and shards stay mapped
                // while their source lives. Its pages are the file's, so that dropping them from the page table loses nothing:
                // the next access maps the same bytes again.
                unsafe { rustix::mm::madvise(start, len, rustix::mm::Advice::LinuxDontNeed) }
                    .map_err(|e| Error::io(path)(e.into()))?;
            }
        }
        Ok(())
    }

    /// Addresses and path of a read-only shared map, from a line such as `7f00-7f40 r--s 00000000 fe:00 12  /data/a.tar`.
    pub(super) fn shared_map(line: &str) -> Option<(std::ops::Range<usize>, &Path)> {
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let is_shared = fields.next()? == "r--s";
        let path = Path::new(fields.nth(3)?.trim_start());
        let address = |text| usize::from_str_radix(text, 16).ok();
        is_shared.then_some((address(start)?..address(end)?, path))
    }

    /// Pages in memory, and all pages.
    pub(super) fn resident(path: &Path) -> Result<(usize, usize)> {
        let file = File::open(path).map_err(Error::io(path))?;
        if file.metadata().map_err(Error::io(path))?.len() == 0 {
            return Ok((0, 0));
        }
        // SAFETY: nothing of the map is read.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(Error::io(path))?;
        let mut states = vec![0; map.len().div_ceil(rustix::param::page_size())];
        // SAFETY: the address is the map's start, at a page; the vector has a byte for each of its pages.
        let failed = unsafe { mincore(map.as_ptr() as *mut c_void, map.len(), states.as_mut_ptr()) } != 0;
        if failed {
            return Err(Error::io(path)(std::io::Error::last_os_error()));
        }
        Ok((states.iter().filter(|&&state| state & 1 == 1).count(), states.len()))
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use crate::Result;
    use std::path::{Path, PathBuf};

    pub(super) fn evict(_: &[PathBuf]) -> Result<()> {
        super::supported()
    }

    pub(super) fn resident(_: &Path) -> Result<(usize, usize)> {
        super::supported().map(|()| (0, 0))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn read_only_shared_maps_are_found_with_their_paths() {
        let map = |line| system::shared_map(line).map(|(range, path)| (range, path.to_str().unwrap().to_owned()));
        let found = map("7f00-7f40 r--s 00000000 fe:00 12                 /data/with a space.tar");
        assert_eq!(found, Some((0x7f00..0x7f40, "/data/with a space.tar".to_owned())));
        for other in [
            "7f00-7f40 r--p 00000000 fe:00 12   /lib/libc.so",
            "7f00-7f40 rw-s 00000000 fe:00 12   /a",
            "7f00-7f40 r--s",
        ] {
            assert_eq!(map(other), None, "{other}");
        }
    }

    #[test]
    fn files_of_shards_and_folders_are_named_once() {
        let folder = tempfile::tempdir().unwrap();
        let class = folder.path().join("odd.tar#class");
        std::fs::create_dir(&class).unwrap();
        for name in ["a.jpg", "b#1.jpg"] {
            std::fs::write(class.join(name), [1; 5000]).unwrap();
        }
        let source = crate::source::open(folder.path().to_str().unwrap()).unwrap();
        assert_eq!(Files::of(&*source).0, [class.join("a.jpg"), class.join("b#1.jpg")]);
    }

    #[test]
    fn what_was_read_is_resident_and_a_mapped_file_is_evicted_as_another_is() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["mapped", "other"].map(|name| Files(vec![folder.path().join(name)]));
        for Files(paths) in &files {
            std::fs::write(&paths[0], vec![7; 1 << 20]).unwrap();
        }
        files[0].write_back();
        let resident = files.each_ref().map(|files| files.prepare(Cache::Warm).unwrap());
        assert_eq!(resident, [1.0, 1.0]);
        // SAFETY: nobody else has the file.
        let map = unsafe { memmap2::Mmap::map(&std::fs::File::open(&files[0].0[0]).unwrap()) }.unwrap();
        let sum = || map.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        assert_eq!(sum(), 7 << 20);
        let [mapped, other] = files.each_ref().map(|files| files.prepare(Cache::Cold).unwrap());
        // A file system in memory keeps both.
        assert!(mapped <= other + 0.05, "{mapped} of the mapped file's pages stay, {other} of the other's");
        assert_eq!(sum(), 7 << 20, "the map has its bytes");
    }
}
