//! What a data set lies on, and how fast it is read from there: with its pages in this system's memory, and without.
//!
//! Pages are dropped by `posix_fadvise`, which is only a wish: whether they are gone is asked of the system afterwards, by reads
//! that are told not to wait for a disk. Only then is a figure called cold. What the disk, a hypervisor or a server keeps in
//! memory of its own can not be seen from here.

use crate::cli::machine::files;
use crate::cli::machine::mount::{self, Place};
use crate::rng::{Draw, Purpose};
use crate::{Error, Result};
use serde::Serialize;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Filesystem and device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Storage {
    /// ext4, nfs4 ...
    pub(super) filesystem: String,
    /// The device or server.
    pub(super) device: String,
    pub(super) place: Place,
    /// Whether the device says that it rotates; virtual disks often say what they were set to.
    pub(super) rotational: Option<bool>,
}

impl Storage {
    /// Of the filesystem that a path lies on; `None` where the system does not tell.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let path = std::fs::canonicalize(path).ok()?;
        if let Ok(table) = std::fs::read_to_string("/proc/self/mountinfo") {
            let mount = mount::of(&table, &path)?;
            let rotational = rotational(&mount);
            return Some(Self {
                place: Place::of(&mount.kind),
                rotational,
                filesystem: mount.kind,
                device: mount.source,
            });
        }
        let disks = sysinfo::Disks::new_with_refreshed_list();
        let on = disks.list().iter().filter(|disk| path.starts_with(disk.mount_point()));
        let disk = on.max_by_key(|disk| disk.mount_point().components().count())?;
        let filesystem = disk.file_system().to_string_lossy().into_owned();
        Some(Self {
            place: Place::of(&filesystem),
            rotational: match disk.kind() {
                sysinfo::DiskKind::HDD => Some(true),
                sysinfo::DiskKind::SSD => Some(false),
                _ => None,
            },
            device: disk.name().to_string_lossy().into_owned(),
            filesystem,
        })
    }
}

/// Of a mount's block device, or of the disk that it is a partition of.
#[cfg(unix)]
fn rotational(mount: &mount::Mount) -> Option<bool> {
    use std::os::unix::fs::MetadataExt;
    let mut device = mount.device.clone();
    if device.starts_with("0:") {
        // Filesystems over several devices, as btrfs, have a number of their own; the source names one of the devices.
        let number = std::fs::metadata(&mount.source).ok().filter(|_| mount.source.starts_with("/dev/"))?.rdev();
        device = format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
    }
    let folder = Path::new("/sys/dev/block").join(device);
    let told = ["queue/rotational", "../queue/rotational"].map(|file| std::fs::read_to_string(folder.join(file)).ok());
    told.into_iter().flatten().next().map(|text| text.trim() == "1")
}

#[cfg(not(unix))]
fn rotational(_: &mount::Mount) -> Option<bool> {
    None
}

/// A speed of reading.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Rate {
    /// A million bytes each.
    pub(super) megabytes_per_second: f64,
    /// Image files, or pieces of a shard as long as an image.
    pub(super) pieces_per_second: f64,
}

/// What reading gave.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Reads {
    /// Threads that read pieces at the same time.
    pub(super) threads: usize,
    /// Pieces in random order, from this system's memory.
    pub(super) warm: Option<Rate>,
    /// Pieces in random order, with none of them in this system's memory before.
    pub(super) cold: Option<Rate>,
    /// Why there is no cold figure.
    pub(super) not_cold: Option<String>,
    /// One shard from its beginning, one thread, likewise: megabytes a second.
    pub(super) sequential_warm: Option<f64>,
    pub(super) sequential_cold: Option<f64>,
    /// Image files opened and closed a second by one thread, their names known to the system.
    pub(super) opens_per_second: Option<f64>,
}

/// Bytes that are read at one go: a part of a file, or all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    /// Index of the file.
    file: usize,
    start: u64,
    len: u64,
}

/// Most bytes that are read, so that a slow disk and other users' page cache are spared.
const MOST_BYTES: u64 = 128 << 20;
const MOST_PIECES: usize = 1024;

/// Files with their length, kept open, so that what is measured is reading; what opening costs is measured by itself.
struct Opened<'a> {
    paths: Vec<&'a Path>,
    files: Vec<File>,
    lengths: Vec<u64>,
}

/// Opens the first files that can be. The others are told of where the images are looked at.
///
/// # Errors
/// [`Error::Io`] of the first file where none can be opened.
fn open(paths: &[PathBuf]) -> Result<Opened<'_>> {
    let mut opened = Opened { paths: Vec::new(), files: Vec::new(), lengths: Vec::new() };
    let mut first = Ok(());
    for path in paths.iter().take(MOST_PIECES) {
        match File::open(path).and_then(|file| Ok((file.metadata()?.len(), file))) {
            Ok((len, file)) => {
                opened.paths.push(path);
                opened.files.push(file);
                opened.lengths.push(len);
            }
            Err(error) if first.is_ok() => first = Err(Error::io(path)(error)),
            Err(_) => {}
        }
    }
    if opened.files.is_empty() { first.map(|()| opened) } else { Ok(opened) }
}

/// Reads image files, in a random order. Those that do not open are left out.
///
/// # Errors
/// [`Error::Io`] where none opens.
pub(super) fn read_images(images: &[PathBuf], threads: usize, most: Duration) -> Result<Reads> {
    let Opened { paths, files, lengths } = open(images)?;
    let mut pieces: Vec<Piece> = lengths.iter().enumerate().map(|(file, &len)| Piece { file, start: 0, len }).collect();
    shuffle(&mut pieces);
    let mut reads = read_pieces(&files, pieces, threads, most);
    if paths.is_empty() {
        return Ok(reads);
    }
    let start = Instant::now();
    let mut opened = 0;
    while start.elapsed() < most / 4 {
        let path = paths[opened % paths.len()];
        File::open(path).and_then(|file| file.metadata()).map_err(Error::io(path))?;
        opened += 1;
    }
    reads.opens_per_second = Some(opened as f64 / start.elapsed().as_secs_f64());
    Ok(reads)
}

/// Reads pieces as long as an image all over some shards, and the beginning of the first one. Those that do not open are left
/// out.
///
/// # Errors
/// [`Error::Io`] where none opens.
pub(super) fn read_shards(shards: &[PathBuf], image: u64, threads: usize, most: Duration) -> Result<Reads> {
    let mut draw = Draw::at(0, 0, 0, Purpose::Demo);
    let Opened { files, lengths, .. } = open(shards)?;
    let (all, image) = (lengths.iter().sum::<u64>(), image.max(1));
    // No more than half of the bytes: pieces drawn twice would be read from memory the second time.
    let count = (all / 2 / image).clamp(1, MOST_PIECES as u64) as usize;
    let pieces = (0..count).map(|_| {
        let mut at = draw.below(all.max(1));
        let file = lengths
            .iter()
            .position(|&len| {
                at < len || {
                    at -= len;
                    false
                }
            })
            .unwrap_or(0);
        // Whole pages, for only those can be dropped.
        let start = at / PAGE * PAGE;
        Piece { file, start, len: image.next_multiple_of(PAGE).min(lengths[file] - start) }
    });
    let mut reads = read_pieces(&files, pieces.collect(), threads, most);
    let first = |len: u64| vec![Piece { file: 0, start: 0, len }];
    let blocks: Vec<Piece> = (0..lengths.first().map_or(0, |&len| len.min(MOST_BYTES)) / BLOCK)
        .map(|i| Piece { file: 0, start: i * BLOCK, len: BLOCK })
        .collect();
    if !blocks.is_empty() {
        let gone = reads.not_cold.is_none() && drop_pages(&files, &first(blocks.len() as u64 * BLOCK)).is_ok();
        let (cold, done) = pass(&files, &blocks, 1, most / 2);
        reads.sequential_cold = cold.filter(|_| gone).map(|rate| rate.megabytes_per_second);
        reads.sequential_warm = pass(&files, &blocks[..done], 1, most / 2).0.map(|rate| rate.megabytes_per_second);
    }
    Ok(reads)
}

const PAGE: u64 = 4096;
const BLOCK: u64 = 1 << 20;

fn shuffle(pieces: &mut [Piece]) {
    let mut draw = Draw::at(0, 0, 0, Purpose::Demo);
    for i in (1..pieces.len()).rev() {
        pieces.swap(i, draw.below(i as u64 + 1) as usize);
    }
}

fn read_pieces(files: &[File], mut pieces: Vec<Piece>, threads: usize, most: Duration) -> Reads {
    let mut sum = 0;
    pieces.retain(|piece| {
        sum += piece.len;
        sum <= MOST_BYTES && piece.len > 0
    });
    files::write_back(files);
    let gone = drop_pages(files, &pieces);
    let (cold, done) = pass(files, &pieces, threads, most);
    let (warm, _) = pass(files, &pieces[..done], threads, most);
    Reads { threads, warm, cold: cold.filter(|_| gone.is_ok()), not_cold: gone.err(), ..Reads::default() }
}

/// Reads pieces in their order until all are read or the time is over; also tells how many were.
fn pass(files: &[File], pieces: &[Piece], threads: usize, most: Duration) -> (Option<Rate>, usize) {
    let (next, bytes, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let mut buffer = Vec::new();
                while start.elapsed() < most
                    && let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    buffer.resize(piece.len as usize, 0);
                    let read = read_at(&files[piece.file], &mut buffer, piece.start);
                    bytes.fetch_add(read, Ordering::Relaxed);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let (seconds, done) = (start.elapsed().as_secs_f64(), done.into_inner());
    let rate = Rate {
        megabytes_per_second: bytes.into_inner() as f64 * 1e-6 / seconds,
        pieces_per_second: done as f64 / seconds,
    };
    (Some(rate).filter(|_| done > 0), done)
}

/// Fills the buffer from a place in a file; the number of bytes that there were.
fn read_at(file: &File, buffer: &mut [u8], start: u64) -> usize {
    #[cfg(unix)]
    use std::os::unix::fs::FileExt;
    let mut filled = 0;
    while filled < buffer.len() {
        let at = start + filled as u64;
        #[cfg(unix)]
        let read = file.read_at(&mut buffer[filled..], at);
        #[cfg(windows)]
        let read = std::os::windows::fs::FileExt::seek_read(file, &mut buffer[filled..], at);
        match read {
            Ok(0) | Err(_) => break,
            Ok(read) => filled += read,
        }
    }
    filled
}

/// Drops the pieces' pages from the system's memory and makes sure that they are gone; else says why not.
#[cfg(target_os = "linux")]
fn drop_pages(files: &[File], pieces: &[Piece]) -> std::result::Result<(), String> {
    const ASKED: usize = 64;
    for piece in pieces {
        let len = std::num::NonZeroU64::new(piece.len.next_multiple_of(PAGE));
        files::evict(&files[piece.file], piece.start, len)
            .map_err(|error| format!("the filesystem does not drop pages ({error})"))?;
    }
    let mut stayed = 0;
    let asked: Vec<&Piece> = pieces.iter().step_by(pieces.len().div_ceil(ASKED).max(1)).collect();
    for piece in &asked {
        match in_memory(&files[piece.file], piece.start + piece.len / 2) {
            Some(true) => stayed += 1,
            Some(false) => {}
            None => return Err("the filesystem does not tell what is in memory".to_owned()),
        }
    }
    // One in twenty may have been read by another process meanwhile.
    if stayed * 20 > asked.len() {
        return Err(format!(
            "{stayed} of {} pages stayed in memory after the system was asked to drop them",
            asked.len()
        ));
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn drop_pages(_: &[File], _: &[Piece]) -> std::result::Result<(), String> {
    Err("this system does not drop single files from memory".to_owned())
}

/// Whether a byte of a file can be read without waiting for the disk; `None` where that is not told.
#[cfg(target_os = "linux")]
fn in_memory(file: &File, at: u64) -> Option<bool> {
    use rustix::io::{Errno, ReadWriteFlags, preadv2};
    // Else the system would start to read the pages around it, too.
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Random);
    let mut byte = [0];
    let told = preadv2(file, &mut [std::io::IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT);
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Normal);
    match told {
        Ok(read) => Some(read > 0),
        Err(Errno::AGAIN) => Some(false),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(lengths: &[usize]) -> (tempfile::TempDir, Vec<PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        let write = |(i, &len): (usize, &usize)| {
            let path = folder.path().join(i.to_string());
            std::fs::write(&path, vec![1; len]).unwrap();
            path
        };
        let paths = lengths.iter().enumerate().map(write).collect();
        (folder, paths)
    }

    #[test]
    fn reading_counts_the_bytes_that_there_are() {
        let (_folder, paths) = files(&[10_000, 1, 5_000, 0]);
        let opened: Vec<File> = paths.iter().map(|path| File::open(path).unwrap()).collect();
        let piece = |file, start, len| Piece { file, start, len };
        let pieces = [piece(0, 4096, 10_000), piece(1, 0, 1), piece(2, 0, 5_000)];
        let mut buffer = vec![0; 10_000];
        assert_eq!(read_at(&opened[0], &mut buffer, 4096), 5_904);
        assert_eq!(buffer[5_903], 1);
        let (rate, done) = pass(&opened, &pieces, 2, Duration::from_secs(60));
        assert_eq!(done, 3);
        let rate = rate.unwrap();
        let bytes = rate.megabytes_per_second * 1e6 / (rate.pieces_per_second / 3.0);
        assert!((bytes - 10_905.0).abs() < 1.0, "{bytes}");
        assert_eq!(pass(&opened, &pieces, 1, Duration::ZERO), (None, 0));
    }

    #[test]
    fn images_and_shards_are_read_within_the_time() {
        let (_folder, paths) = files(&[200_000, 3_000_000]);
        let most = Duration::from_millis(40);
        let images = read_images(&paths, 2, most).unwrap();
        assert!(images.warm.is_some() && images.opens_per_second.unwrap() > 0.0 && images.sequential_warm.is_none());
        assert_eq!(images.cold.is_some(), images.not_cold.is_none());
        let shards = read_shards(&paths[1..], 100_000, 2, most).unwrap();
        assert!(shards.warm.is_some() && shards.sequential_warm.is_some() && shards.opens_per_second.is_none());
        assert!(shards.not_cold.is_none() || shards.sequential_cold.is_none());
        // A file that does not open is left out, unless there is no other.
        let some = [PathBuf::from("/not/here"), paths[0].clone()];
        assert!(read_images(&some, 1, most).unwrap().warm.is_some());
        let some = [PathBuf::from("/not/here.tar"), paths[1].clone()];
        assert!(read_shards(&some, 100_000, 1, most).unwrap().sequential_warm.is_some());
        assert!(read_images(&[PathBuf::from("/not/here")], 1, most).unwrap_err().to_string().contains("/not/here"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_page_that_was_just_read_is_in_memory() {
        let (_folder, paths) = files(&[100_000]);
        let file = File::open(&paths[0]).unwrap();
        let mut buffer = vec![0; 100_000];
        read_at(&file, &mut buffer, 0);
        assert!(matches!(in_memory(&file, 50_000), Some(true) | None));
    }
}
