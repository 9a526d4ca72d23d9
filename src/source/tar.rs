//! WebDataset shards: plain `.tar` files with an image and its label side by side.

mod label;
mod shard;

use super::names::Names;
use super::{Source, check_count, count_line, pattern};
use crate::error::{Error, Result};
use crate::index::{self as side, Entry, Indexable, Kind, Part, SideIndex, Stamp};
use label::Label;
use memmap2::Mmap;
use rayon::prelude::*;
use shard::Index;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// Samples in `.tar` shards, indexed once at opening and then read in any order from memory maps.
///
/// # Samples
/// Consecutive members with the same key are one sample. The key is the member's path up to the first dot of its file
/// name, the rest is its extension (WebDataset's rule): `train/0001.jpg` and `train/0001.cls` belong together. Of a sample,
/// the image is the member whose extension is in [`super::IMAGE_EXTENSIONS`], the label is read from
/// - `.cls`: the class index as a decimal number, or else
/// - `.json`: an object whose field `label`, `cls` or `class` (the first that is there) holds a class index or a class name.
///
/// Where no extension is exactly that, the part after the last dot decides, so `cat.v2.jpg` is an image with the key `cat`.
/// Folders, names that start with a dot, other members and samples made only of these are passed over and counted.
///
/// # Class names
/// `classes.txt` beside the first shard, one name in a line, or those given to [`Tar::with_classes`]; else the names in
/// `.json`, sorted; else the numbers `0..=max` as text.
///
/// # Side indices
/// `x.tar.bandidx` beside a shard is found by itself ([`crate::index`]), or see [`Tar::with_index`].
///
/// # Memory
/// The member's name and 24 bytes for each image. The shards themselves are mapped, not read.
///
/// # The files must not change
/// A shard must not be truncated or overwritten while it is open: the operating system ends a process that touches a
/// mapped page which is no longer there (`SIGBUS`), and changed bytes would be read as images. Write new shards under new
/// names. The same holds for a side index, which `bandfeed index` replaces by renaming.
pub struct Tar {
    shards: Vec<Shard>,
    /// Index of each shard's first sample, and the number of samples at the end.
    starts: Vec<u32>,
    offsets: Vec<u64>,
    sizes: Vec<u32>,
    labels: Vec<u32>,
    /// Path of each image in its shard.
    names: Names,
    classes: Vec<String>,
    /// Whether the labels were names in the shards, so that new class names give new indices.
    labels_are_names: bool,
    ignored: u64,
}

struct Shard {
    path: PathBuf,
    map: Mmap,
    /// Of the file that is mapped.
    stamp: Stamp,
    index_path: PathBuf,
    index: Option<SideIndex>,
}

/// Ends the name of a shard.
pub(super) const EXTENSION: &str = "tar";

/// Class names beside a shard.
const CLASSES_FILE: &str = "classes.txt";

impl Tar {
    /// Opens the shards that a path or pattern names: `train-{000..012}.tar`, `{a,b}.tar`, `shards/*.tar`, or a folder,
    /// whose `.tar` files are taken. Shards are put in the order of their paths.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read. [`Error::Source`] with the shard and the byte, the key, or the pattern:
    /// not a tar, truncated or damaged; an image without a label; a label that is no class index; two images under one key;
    /// no image at all; a pattern that matches nothing; a shard named twice; a bad `classes.txt`.
    pub fn open(pattern: &str) -> Result<Self> {
        Self::open_all(&[pattern])
    }

    /// The same with several paths or patterns.
    ///
    /// # Errors
    /// As [`Tar::open`].
    pub fn open_all<P: AsRef<str>>(patterns: &[P]) -> Result<Self> {
        let mut paths = Vec::new();
        for spec in patterns {
            paths.extend(pattern::expand(spec.as_ref(), EXTENSION)?);
        }
        Self::open_paths(paths)
    }

    /// The same with files, whose names are not looked at.
    ///
    /// # Errors
    /// As [`Tar::open`].
    pub fn open_paths(mut paths: Vec<PathBuf>) -> Result<Self> {
        paths.sort();
        let Some(first) = paths.first().cloned() else {
            return Err(Error::source("tar", "no shard was named"));
        };
        refuse_twins(&paths)?;
        let indexed: Vec<(Shard, Index)> = paths
            .into_par_iter()
            .map(|path| {
                let (map, stamp) = shard::map(&path)?;
                let index = Index::of(&path, &map)?;
                let index_path = side::of_shard(&path, None, true);
                let side = SideIndex::find(&index_path, Kind::Tar);
                Ok((Shard { path, map, stamp, index_path, index: side }, index))
            })
            .collect::<Result<_>>()?;

        let mut tar = Self::empty();
        let mut labels = Vec::new();
        for (shard, index) in indexed {
            tar.offsets.extend(index.offsets);
            tar.sizes.extend(index.sizes);
            tar.names.append(&index.names);
            tar.ignored += index.ignored;
            labels.extend(index.labels);
            check_count(&shard.path, tar.offsets.len())?;
            tar.starts.push(tar.offsets.len() as u32);
            tar.shards.push(shard);
        }
        if tar.offsets.is_empty() {
            let reason = format!("no image in {} shards ({} other members)", tar.shards.len(), tar.ignored);
            return Err(Error::source(first, reason));
        }
        tar.offsets.shrink_to_fit();
        tar.sizes.shrink_to_fit();
        tar.names.shrink();
        tar.number(&labels)?;

        let beside = first.with_file_name(CLASSES_FILE);
        if beside.is_file() {
            let classes = read_classes(&beside)?;
            return tar.named(classes, &beside);
        }
        Ok(tar)
    }

    /// Takes these class names. Samples labelled by an index keep it; samples labelled by a name (`.json`) get the index of
    /// that name in this list.
    ///
    /// # Errors
    /// [`Error::Source`] if a class index or class name of the shards is not in the list, or a name is in it twice.
    pub fn with_classes(self, classes: Vec<String>) -> Result<Self> {
        let path = self.shards[0].path.clone();
        self.named(classes, &path)
    }

    /// Takes the side indices in the folder `path`, or for a single shard in the file of that name, instead of those beside the
    /// shards. One that is not there or not whole is left out, the latter with a warning.
    pub fn with_index(mut self, path: &Path) -> Self {
        let is_single = self.shards.len() == 1;
        for shard in &mut self.shards {
            shard.index_path = side::of_shard(&shard.path, Some(path), is_single);
            shard.index = SideIndex::find(&shard.index_path, Kind::Tar);
        }
        self
    }

    /// Paths of the shards, in the order of their samples.
    pub fn shards(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.shards.iter().map(|shard| shard.path.as_path())
    }

    /// Number of members that are neither an image nor its label.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    fn empty() -> Self {
        Self {
            shards: Vec::new(),
            starts: vec![0],
            offsets: Vec::new(),
            sizes: Vec::new(),
            labels: Vec::new(),
            names: Names::default(),
            classes: Vec::new(),
            labels_are_names: false,
            ignored: 0,
        }
    }

    /// Turns the labels of the shards into class indices and class names.
    fn number(&mut self, labels: &[Label]) -> Result<()> {
        let is_name = |label: &Label| matches!(label, Label::Name(_));
        self.labels_are_names = is_name(&labels[0]);
        if let Some(other) = labels.iter().position(|label| is_name(label) != self.labels_are_names) {
            let kind = |index: usize| match &labels[index] {
                Label::Index(index) => format!("the class index {index}"),
                Label::Name(name) => format!("the class name \"{name}\""),
            };
            let reason = format!(
                "{} is labelled by {}, but {} by {}; use one kind in all shards",
                self.name(0),
                kind(0),
                self.name(other),
                kind(other)
            );
            return Err(Error::source(&self.shards[self.shard(other)].path, reason));
        }
        // Sorted, so that a class's index does not depend on the order of the samples.
        let mut indices: BTreeMap<&str, u32> = BTreeMap::new();
        for label in labels {
            if let Label::Name(name) = label {
                indices.insert(name, 0);
            }
        }
        indices.values_mut().zip(0..).for_each(|(value, index)| *value = index);
        self.labels = labels
            .iter()
            .map(|label| match label {
                Label::Index(index) => *index,
                Label::Name(name) => indices[&**name],
            })
            .collect();
        self.classes = if self.labels_are_names {
            indices.into_keys().map(str::to_owned).collect()
        } else {
            (0..=self.labels.iter().copied().max().unwrap_or(0)).map(|index| index.to_string()).collect()
        };
        Ok(())
    }

    /// `with_classes`, with the place the names come from for its errors.
    fn named(mut self, classes: Vec<String>, origin: &Path) -> Result<Self> {
        let mut places: HashMap<&str, u32> = HashMap::with_capacity(classes.len());
        for (name, index) in classes.iter().zip(0..) {
            if let Some(before) = places.insert(name, index) {
                return Err(Error::source(origin, format!("class name \"{name}\" is both class {before} and {index}")));
            }
        }
        if self.labels_are_names {
            let moved: Vec<u32> = self
                .classes
                .iter()
                .map(|name| {
                    places.get(name.as_str()).copied().ok_or_else(|| {
                        let reason =
                            format!("the shards have a class \"{name}\", which the {} names lack", classes.len());
                        Error::source(origin, reason)
                    })
                })
                .collect::<Result<_>>()?;
            self.labels.iter_mut().for_each(|label| *label = moved[*label as usize]);
        } else if classes.len() < self.classes.len() {
            let reason = format!(
                "{} class names, but the shards have class indices up to {}",
                classes.len(),
                self.classes.len() - 1
            );
            return Err(Error::source(origin, reason));
        }
        self.classes = classes;
        Ok(self)
    }

    /// The shard that holds a sample.
    fn shard(&self, index: usize) -> usize {
        assert!(index < self.offsets.len(), "sample {index} of {}", self.offsets.len());
        self.starts.partition_point(|&start| start as usize <= index) - 1
    }
}

impl Source for Tar {
    fn len(&self) -> usize {
        self.offsets.len()
    }

    fn name(&self, index: usize) -> String {
        let shard = self.shards[self.shard(index)].path.display();
        format!("{shard}#{}", String::from_utf8_lossy(self.names.get(index)))
    }

    fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn read<'a>(&'a self, index: usize, _buffer: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        let start = self.offsets[index] as usize;
        // `Index::of` has checked that the member ends inside the map.
        Ok(&self.shards[self.shard(index)].map[start..start + self.sizes[index] as usize])
    }

    fn prefetch(&self, index: usize, _scale: u8) {
        super::will_need(&self.shards[self.shard(index)].map, self.offsets[index], u64::from(self.sizes[index]));
    }

    fn seek_entry(&self, index: usize) -> Option<Entry<'_>> {
        self.shards[self.shard(index)].index.as_ref()?.get(self.offsets[index])
    }

    fn describe(&self) -> String {
        let first = self.shards[0].path.display();
        let place = match self.shards.len() {
            1 => format!("shard {first}"),
            n => format!("{n} shards, {first} to {}", self.shards[n - 1].path.display()),
        };
        let ignored = match self.ignored {
            0 => String::new(),
            n => format!(", {n} other members ignored"),
        };
        format!("{place}: {}{ignored}", count_line(self))
    }
}

impl Indexable for Tar {
    fn parts(&self) -> Vec<Part> {
        let samples = self.starts.windows(2).map(|pair| pair[0] as usize..pair[1] as usize);
        let part = |(shard, samples): (&Shard, _)| Part {
            path: shard.index_path.clone(),
            kind: Kind::Tar,
            samples,
            shard: Some(shard.stamp),
        };
        self.shards.iter().zip(samples).map(part).collect()
    }

    fn key(&self, index: usize) -> u64 {
        self.offsets[index]
    }

    fn stamp(&self, _index: usize) -> Result<Option<Stamp>> {
        Ok(None)
    }
}

impl std::fmt::Debug for Tar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tar").field("shards", &self.shards.len()).field("samples", &self.len()).finish_non_exhaustive()
    }
}

/// The same file under two names would be counted twice in silence.
fn refuse_twins(paths: &[PathBuf]) -> Result<()> {
    let mut seen: HashMap<PathBuf, &Path> = HashMap::with_capacity(paths.len());
    for path in paths {
        let real = path.canonicalize().map_err(Error::io(path))?;
        if let Some(before) = seen.insert(real, path) {
            let reason = match before == path {
                true => "this shard is named twice".to_owned(),
                false => format!("the same file as {}: a shard is named twice", before.display()),
            };
            return Err(Error::source(path, reason));
        }
    }
    Ok(())
}

/// One class name in a line; empty lines at the end do not count.
fn read_classes(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let names: Vec<String> = text.trim_end().lines().map(|line| line.trim().to_owned()).collect();
    if let Some(line) = names.iter().position(String::is_empty) {
        let reason = format!("line {} is empty; expected one class name in a line, class 0 first", line + 1);
        return Err(Error::source(path, reason));
    }
    Ok(names)
}
