//! Where encoded images come from: a source yields bytes and a label by index.
//!
//! | source | reads | label |
//! |---|---|---|
//! | [`Folder`] | a folder with one sub-folder per class (torchvision's ImageFolder) | the sub-folder |
//! | [`Tar`] | WebDataset shards, memory-mapped, in any order | `.cls` or `.json` beside the image |
//! | [`Packed`] | packed records (`bandfeed pack`), memory-mapped, in any order | that of the data set that was packed |
//! | [`Memory`] | bytes the caller has | given with them |
//! | [`Subset`] | some samples of another source | the other source's |
//!
//! [`open`] picks between the first three by looking at what is there.

mod folder;
mod memory;
mod names;
mod packed;
mod pattern;
mod subset;
mod tar;

pub use folder::{Folder, FolderOptions};
pub use memory::Memory;
pub use packed::Packed;
pub use subset::Subset;
pub use tar::Tar;

use crate::error::{Error, Result};
use crate::index::{Entry, Indexable};
use crate::shape::Size;
use std::path::Path;
use std::sync::Arc;

/// File name extensions that count as images, in lower case without the dot; compared in any case.
pub const IMAGE_EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"];

/// Encoded images with their labels, addressed by index. Cheap to ask; reading is done by the loader's workers.
pub trait Source: Send + Sync {
    /// Number of samples. At most `u32::MAX`.
    fn len(&self) -> usize;

    /// Whether there are none. The sources of this crate refuse to open in that case.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A name that a person can find the sample by: a path, or `shard.tar#key.jpg`.
    ///
    /// # Panics
    /// If `index` is not below [`Source::len`], as `label` and `read`.
    fn name(&self, index: usize) -> String;

    /// The class index.
    fn label(&self, index: usize) -> u32;

    /// Class names by class index.
    fn classes(&self) -> &[String];

    /// The encoded image. `buffer` is scratch space that a source may fill and lend from; a source that holds the bytes
    /// (a memory map) lends its own.
    ///
    /// # Errors
    /// [`crate::Error::Io`] with the file's path.
    fn read<'a>(&'a self, index: usize, buffer: &'a mut Vec<u8>) -> Result<&'a [u8]>;

    /// What a side index knows of the sample, for [`crate::decode::Decoder::decode_region_from`]; `None` without an index.
    fn seek_entry(&self, index: usize) -> Option<Entry<'_>> {
        let _ = index;
        None
    }

    /// Size of an upright image where the source's index tells it, so that a plan can be made before anything is read.
    fn size(&self, index: usize) -> Option<Size> {
        let _ = index;
        None
    }

    /// Tells the system that a sample will be read soon, decoded at `scale`/8: what that takes is fetched from the disk while
    /// other samples are made. A hint, which may do nothing.
    fn prefetch(&self, index: usize, scale: u8) {
        let _ = (index, scale);
    }

    /// Number of samples of each class, by class index. Visits every label.
    fn class_counts(&self) -> Vec<u64> {
        let mut counts = vec![0; self.classes().len()];
        for index in 0..self.len() {
            if let Some(count) = counts.get_mut(self.label(index) as usize) {
                *count += 1;
            }
        }
        counts
    }

    /// One line for a person: what was opened, and how many images and classes it holds.
    fn describe(&self) -> String {
        count_line(self)
    }
}

/// "9469 images, 10 classes (858 to 993 images each)".
fn count_line<S: Source + ?Sized>(source: &S) -> String {
    let counts = source.class_counts();
    let low = counts.iter().min().copied().unwrap_or(0);
    let high = counts.iter().max().copied().unwrap_or(0);
    let each = if low == high { format!("{low}") } else { format!("{low} to {high}") };
    format!("{} images, {} classes ({each} images each)", source.len(), counts.len())
}

/// Opens what `spec` names: a folder with one sub-folder per class, a folder of `.tar` or of `.bands` shards, a shard, or a
/// pattern of shards such as `train-{000..012}.tar` or `shards/*.bands`.
///
/// A folder that has class folders is read as such even where shards lie in it. A folder of `.bands` shards must have all of the
/// data set's.
///
/// # Errors
/// What [`Folder::open`], [`Tar::open`] and [`Packed::open`] report; [`Error::Source`] tells what was tried if `spec`
/// is none of these.
///
/// ```no_run
/// let source = bandfeed::source::open("imagenet/train")?;
/// println!("{}", source.describe());
/// # Ok::<(), bandfeed::Error>(())
/// ```
pub fn open(spec: &str) -> Result<Arc<dyn Source>> {
    Ok(open_with_index(spec, None)?)
}

/// The same with the side index in another place than beside the files: a folder with an index for the folder (`NAME.bandidx`) or
/// for each shard (`NAME.tar.bandidx`), or, for a folder or a single shard, a file. Neither has to be there: it is where
/// [`crate::index::build`] will put them.
///
/// # Errors
/// As [`open`].
pub fn open_with_index(spec: &str, index: Option<&Path>) -> Result<Arc<dyn Indexable>> {
    let path = Path::new(spec);
    let folder = |folder: Folder| -> Arc<dyn Indexable> {
        Arc::new(if let Some(index) = index { folder.with_index(index) } else { folder })
    };
    let shards = |tar: Tar| -> Arc<dyn Indexable> {
        Arc::new(if let Some(index) = index { tar.with_index(index) } else { tar })
    };
    if path.is_dir() {
        let [tars, packed] = [tar::EXTENSION, packed::EXTENSION].map(|extension| pattern::shards_in(path, extension));
        let (tars, packed) = (tars?, packed?);
        return match Folder::open(path) {
            Ok(found) => Ok(folder(found)),
            Err(_) if !packed.is_empty() && tars.is_empty() && !has_folder(path) => {
                let packed = Packed::open_paths(&packed)?;
                packed.check_complete(path)?;
                Ok(Arc::new(packed))
            }
            Err(_) if !tars.is_empty() && packed.is_empty() && !has_folder(path) => Ok(shards(Tar::open_paths(tars)?)),
            Err(Error::Source { path, reason }) => {
                let others = [(tars.len(), tar::EXTENSION), (packed.len(), packed::EXTENSION)];
                let found: Vec<String> = others
                    .iter()
                    .filter(|(count, _)| *count > 0)
                    .map(|(n, kind)| format!("It also holds {n} .{kind} files; to read those, give `{spec}/*.{kind}`."))
                    .collect();
                let found = if found.is_empty() {
                    "There is no .tar or .bands shard in it either.".to_owned()
                } else {
                    found.join(" ")
                };
                Err(Error::source(path, format!("{reason} {found}")))
            }
            Err(error) => Err(error),
        };
    }
    if path.is_file() {
        return match path.extension() {
            Some(extension) if extension.eq_ignore_ascii_case(tar::EXTENSION) => Ok(shards(Tar::open(spec)?)),
            Some(extension) if extension.eq_ignore_ascii_case(packed::EXTENSION) => Ok(Arc::new(Packed::open(spec)?)),
            _ => Err(Error::source(
                path,
                "is a file, but no .tar or .bands shard; expected a folder with one sub-folder per class, a folder of \
                 .tar or .bands shards, a shard, or a pattern of them",
            )),
        };
    }
    if pattern::is_pattern(spec) {
        let is_packed = path.extension().is_some_and(|e| e.eq_ignore_ascii_case(packed::EXTENSION));
        return if is_packed { Ok(Arc::new(Packed::open(spec)?)) } else { Ok(shards(Tar::open(spec)?)) };
    }
    Err(Error::source(
        path,
        "does not exist; tried it as a folder with one sub-folder per class, as a folder of .tar or .bands shards, \
         and as such a shard. A pattern of shards is written `train-{000..012}.tar` or `shards/*.bands`",
    ))
}

/// Asks for pages of a map ahead of their use. They come in one read, for which the caller waits only where the
/// system's queue is full.
fn will_need(map: &memmap2::Mmap, start: u64, len: u64) {
    #[cfg(unix)]
    // A hint: where it is refused the pages are read when they are touched.
    let _ = map.advise_range(memmap2::Advice::WillNeed, start as usize, len as usize);
    #[cfg(not(unix))]
    let _ = (map, start, len);
}

/// Whether a folder that could hold a class lies in `path`.
fn has_folder(path: &Path) -> bool {
    std::fs::read_dir(path).is_ok_and(|entries| {
        entries.flatten().any(|entry| !entry.file_name().as_encoded_bytes().starts_with(b".") && entry.path().is_dir())
    })
}

/// Whether the last extension of a file name is an image's.
fn is_image(name: &[u8]) -> bool {
    name.iter()
        .rposition(|&byte| byte == b'.')
        .is_some_and(|dot| IMAGE_EXTENSIONS.iter().any(|known| name[dot + 1..].eq_ignore_ascii_case(known.as_bytes())))
}

/// Refuses more samples than an index of the loader can name.
fn check_count(path: &Path, count: usize) -> Result<()> {
    if count > u32::MAX as usize {
        return Err(Error::source(path, format!("{count} images; at most {} can be addressed", u32::MAX)));
    }
    Ok(())
}
