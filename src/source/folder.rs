//! A folder with one sub-folder per class: torchvision's ImageFolder.

use super::names::Names;
use super::{IMAGE_EXTENSIONS, Source, check_count, count_line, is_image};
use crate::error::{DecodeError, Error, Result};
use crate::index::{self, Entry, Indexable, Kind, Part, SideIndex, Stamp};
use rayon::prelude::*;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// A file that is longer is refused before memory is taken for it: 1 GiB.
const MAX_FILE: u64 = 1 << 30;

/// Images in class folders, `root/CLASS/any/depth/name.jpg`.
///
/// Classes are the sub-folders of the root, sorted by the bytes of their names. Within a class, images are sorted by their
/// folder and then by their name. Both are torchvision's rules, so a sample has the same index and the same label here and
/// in `torchvision.datasets.ImageFolder`, given files that both read.
///
/// Links to files and folders are followed; a link back to a folder that it lies in is passed over. Names that start with
/// a dot are passed over too (torchvision makes a class of `.ipynb_checkpoints`). Files with another extension than
/// [`IMAGE_EXTENSIONS`] are counted as ignored.
///
/// A side index ([`crate::index`]) is found by itself: `.bandidx` in the root, or see [`Folder::with_index`]. It must not be
/// truncated or written to while it is open; `bandfeed index` replaces it instead.
///
/// Memory: the name below the class folder and 8 bytes for each image.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    classes: Vec<String>,
    /// The class folders. Kept beside `classes`, for a name need not be Unicode on disk.
    folders: Vec<PathBuf>,
    /// Index of each class's first image, and the number of images at the end.
    starts: Vec<u32>,
    /// Path of each image below its class folder.
    files: Names,
    ignored: u64,
    index_path: PathBuf,
    index: Option<SideIndex>,
}

/// How [`Folder::open_with`] treats what is unusual.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FolderOptions {
    /// Keep classes that hold no image, as torchvision's option of the same name does. Without it they are an error, for
    /// they mostly mean a copy that stopped half-way.
    pub allow_empty_classes: bool,
}

impl FolderOptions {
    /// With [`FolderOptions::allow_empty_classes`] set.
    pub fn allow_empty_classes(mut self, allow: bool) -> Self {
        self.allow_empty_classes = allow;
        self
    }
}

impl Folder {
    /// Lists a folder. Classes are read in parallel; no image is opened.
    ///
    /// # Errors
    /// [`Error::Io`] if a folder cannot be read; [`Error::Source`], with what to do, if there is no class folder, a class
    /// folder without images, or the data set's parts (`train`, `val`) where classes are expected.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, FolderOptions::default())
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`Folder::open`].
    pub fn open_with(path: impl AsRef<Path>, options: FolderOptions) -> Result<Self> {
        let root = path.as_ref();
        if !fs::metadata(root).map_err(Error::io(root))?.is_dir() {
            return Err(Error::source(root, "is a file; expected a folder with one sub-folder per class"));
        }
        let (folders, top) = class_folders(root)?;
        if folders.is_empty() {
            return Err(Error::source(root, no_classes(&top)));
        }
        let scans: Vec<Scan> = folders.par_iter().map(|folder| Scan::of(folder)).collect::<Result<_>>()?;
        let classes: Vec<String> = folders.iter().map(|folder| base_name(folder)).collect();
        check_parts(root, &classes, &scans)?;

        if scans.iter().all(|scan| scan.files.len() == 0) {
            let reason = format!(
                "{} class folders, but no image in any of them; expected files ending in {}",
                classes.len(),
                IMAGE_EXTENSIONS.join(", ")
            );
            return Err(Error::source(root, reason));
        }
        let empty: Vec<&str> =
            classes.iter().zip(&scans).filter(|(_, scan)| scan.files.len() == 0).map(|(c, _)| c.as_str()).collect();
        if !empty.is_empty() && !options.allow_empty_classes {
            return Err(Error::source(root, empty_classes(&empty)));
        }

        let mut files = Names::default();
        let mut starts = vec![0];
        let mut ignored = top.images + top.others;
        for scan in &scans {
            files.append(&scan.files);
            ignored += scan.ignored;
            check_count(root, files.len())?;
            starts.push(files.len() as u32);
        }
        files.shrink();
        let index_path = index::of_folder(root, None);
        let index = SideIndex::find(&index_path, Kind::Folder);
        Ok(Self { root: root.to_owned(), classes, folders, starts, files, ignored, index_path, index })
    }

    /// Takes the side index at `path`, a file or a folder with `NAME.bandidx` for a folder `NAME`, instead of the one
    /// in the root. One that is not there or not whole is left out, the latter with a warning.
    pub fn with_index(mut self, path: &Path) -> Self {
        self.index_path = index::of_folder(&self.root, Some(path));
        self.index = SideIndex::find(&self.index_path, Kind::Folder);
        self
    }

    /// The folder it was opened with.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Number of files that are no images by their extension, hidden ones among them.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Path of an image's file.
    ///
    /// # Panics
    /// If `index` is not below the number of samples.
    pub fn path(&self, index: usize) -> PathBuf {
        let below = self.files.get(index);
        // SAFETY: `below` was put together in `Scan::enter` from whole strings given by `as_encoded_bytes` in this process,
        // and ASCII slashes between them.
        let below = unsafe { OsStr::from_encoded_bytes_unchecked(below) };
        self.folders[self.label(index) as usize].join(below)
    }
}

impl Source for Folder {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn name(&self, index: usize) -> String {
        self.path(index).display().to_string()
    }

    fn label(&self, index: usize) -> u32 {
        assert!(index < self.files.len(), "sample {index} of {}", self.files.len());
        // The last class that starts at or before it; an empty class starts where the next one does.
        (self.starts.partition_point(|&start| start as usize <= index) - 1) as u32
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn read<'a>(&'a self, index: usize, buffer: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        let path = self.path(index);
        read_file(&path, buffer)?;
        Ok(buffer)
    }

    fn seek_entry(&self, index: usize) -> Option<Entry<'_>> {
        self.index.as_ref()?.get(self.key(index))
    }

    fn class_counts(&self) -> Vec<u64> {
        self.starts.windows(2).map(|pair| u64::from(pair[1] - pair[0])).collect()
    }

    fn describe(&self) -> String {
        let ignored = match self.ignored {
            0 => String::new(),
            n => format!(", {n} other files ignored"),
        };
        format!("folder {}: {}{ignored}", self.root.display(), count_line(self))
    }
}

impl Indexable for Folder {
    fn parts(&self) -> Vec<Part> {
        vec![Part { path: self.index_path.clone(), kind: Kind::Folder, samples: 0..self.len(), shard: None }]
    }

    fn key(&self, index: usize) -> u64 {
        let class = self.folders[self.label(index) as usize].file_name().unwrap_or_default();
        index::hash(&[class.as_encoded_bytes(), b"/", self.files.get(index)])
    }

    fn stamp(&self, index: usize) -> Result<Option<Stamp>> {
        Stamp::of(&self.path(index)).map(Some)
    }
}

/// Fills `buffer` with a file, which may have grown or shrunk since its length was asked.
fn read_file(path: &Path, buffer: &mut Vec<u8>) -> Result<()> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let size = file.metadata().map_err(Error::io(path))?.len();
    buffer.clear();
    if size <= MAX_FILE {
        // One byte more than the file has, so that the read which finds the end needs no growth.
        buffer.reserve(size as usize + 1);
        (&mut file).take(MAX_FILE + 1).read_to_end(buffer).map_err(Error::io(path))?;
    }
    let found = size.max(buffer.len() as u64);
    if found > MAX_FILE {
        let reason = format!("the file has {found} bytes; at most {MAX_FILE} are read");
        return Err(DecodeError::limit(reason).named(path.display().to_string()));
    }
    Ok(())
}

/// What lies beside the class folders.
#[derive(Debug, Default)]
struct Top {
    images: u64,
    others: u64,
    /// An image's name, to show.
    example: String,
}

/// The sub-folders of the root, sorted by name.
fn class_folders(root: &Path) -> Result<(Vec<PathBuf>, Top)> {
    let (mut folders, mut top) = (Vec::new(), Top::default());
    for entry in fs::read_dir(root).map_err(Error::io(root))? {
        let entry = entry.map_err(Error::io(root))?;
        let (name, path) = (entry.file_name(), entry.path());
        let bytes = name.as_encoded_bytes();
        // `metadata` follows links. A link to nothing is a file that is no class.
        if !bytes.starts_with(b".") && fs::metadata(&path).is_ok_and(|meta| meta.is_dir()) {
            folders.push(path);
        } else if is_image(bytes) && !bytes.starts_with(b".") {
            top.images += 1;
            top.example = name.to_string_lossy().into_owned();
        } else if !bytes.starts_with(b".bandidx") {
            top.others += 1;
        }
    }
    folders.sort_unstable_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
    Ok((folders, top))
}

fn no_classes(top: &Top) -> String {
    if top.images > 0 {
        format!(
            "holds {} images directly ({}, ...) and no sub-folder, so their classes are not known; put them in one \
             sub-folder per class (CLASS/{})",
            top.images, top.example, top.example
        )
    } else {
        "holds no sub-folder; expected one per class, with images in it (CLASS/name.jpg)".to_owned()
    }
}

fn empty_classes(empty: &[&str]) -> String {
    const SHOWN: usize = 8;
    let more = if empty.len() > SHOWN { format!(" and {} more", empty.len() - SHOWN) } else { String::new() };
    format!(
        "no image in {} of the class folders: {}{more}. Complete or remove them, or allow empty classes",
        empty.len(),
        empty[..empty.len().min(SHOWN)].join(", ")
    )
}

/// Catches the root of a data set given in the place of one of its parts: it would train on the classes "train" and "val".
fn check_parts(root: &Path, classes: &[String], scans: &[Scan]) -> Result<()> {
    const PARTS: [&str; 6] = ["train", "val", "valid", "validation", "test", "testing"];
    let parts = classes.iter().all(|name| PARTS.contains(&name.to_lowercase().as_str()));
    if parts && scans.iter().all(|scan| !scan.has_direct && scan.files.len() > 0) {
        let reason = format!(
            "its sub-folders ({}) are parts of a data set and not classes; open one of them, for example {}",
            classes.join(", "),
            root.join(&classes[0]).display()
        );
        return Err(Error::source(root, reason));
    }
    Ok(())
}

fn base_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What a class folder holds.
#[derive(Debug, Default)]
struct Scan {
    /// Paths below the class folder, in order.
    files: Names,
    ignored: u64,
    /// Whether an image lies in the folder itself and not in one below.
    has_direct: bool,
}

/// One folder at or below a class folder: its path below that one, and the images in it.
type Listing = (Vec<u8>, Vec<Vec<u8>>);

impl Scan {
    fn of(class: &Path) -> Result<Self> {
        let mut scan = Self::default();
        let mut listings = Vec::new();
        scan.enter(class, Vec::new(), &mut Vec::new(), &mut listings)?;
        listings.sort_unstable();
        for (folder, mut names) in listings {
            names.sort_unstable();
            scan.has_direct |= folder.is_empty() && !names.is_empty();
            for name in names {
                if folder.is_empty() {
                    scan.files.push(&[&name]);
                } else {
                    scan.files.push(&[&folder, b"/", &name]);
                }
            }
        }
        Ok(scan)
    }

    /// Lists `folder` and those below it. `trail` holds, for each link on the way here, the true path of the folder that
    /// the link lies in.
    fn enter(
        &mut self,
        folder: &Path,
        below: Vec<u8>,
        trail: &mut Vec<PathBuf>,
        listings: &mut Vec<Listing>,
    ) -> Result<()> {
        let mut images = Vec::new();
        for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
            let entry = entry.map_err(Error::io(folder))?;
            let name = entry.file_name();
            let bytes = name.as_encoded_bytes();
            let mut kind = entry.file_type().map_err(Error::io(folder))?;
            let is_link = kind.is_symlink();
            if is_link {
                match fs::metadata(entry.path()) {
                    Ok(target) => kind = target.file_type(),
                    // A link to nothing stays in the list: reading it is an error with its name, which a loader may skip.
                    Err(_) if is_image(bytes) => {}
                    Err(_) => {
                        self.ignored += 1;
                        continue;
                    }
                }
            }
            let hidden = bytes.starts_with(b".");
            if kind.is_dir() {
                if !hidden {
                    let below =
                        if below.is_empty() { bytes.to_vec() } else { [&below, b"/".as_slice(), bytes].concat() };
                    self.enter_below(&entry.path(), is_link, below, trail, listings)?;
                }
            } else if !hidden && is_image(bytes) && (kind.is_file() || kind.is_symlink()) {
                images.push(bytes.to_vec());
            } else {
                self.ignored += 1;
            }
        }
        listings.push((below, images));
        Ok(())
    }

    fn enter_below(
        &mut self,
        folder: &Path,
        is_link: bool,
        below: Vec<u8>,
        trail: &mut Vec<PathBuf>,
        listings: &mut Vec<Listing>,
    ) -> Result<()> {
        if !is_link {
            return self.enter(folder, below, trail, listings);
        }
        let target = fs::canonicalize(folder).map_err(Error::io(folder))?;
        let parent = folder.parent().unwrap_or(folder);
        let here = fs::canonicalize(parent).map_err(Error::io(parent))?;
        // A way that comes back to where it was must pass a link whose target is the folder we stand in, or one that a
        // former link was followed from, or one above these.
        if here.starts_with(&target) || trail.iter().any(|passed| passed.starts_with(&target)) {
            return Ok(());
        }
        trail.push(here);
        self.enter(folder, below, trail, listings)?;
        trail.pop();
        Ok(())
    }
}
