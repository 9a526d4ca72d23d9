//! What a data set is, told by a sample of its images.

use super::page::{Line, size};
use super::storage::{self, Reads, Storage};
use crate::cli::machine::{files, mount::Place};
use crate::decode::{Decoder, Format, Limits};
use crate::{Error, Result, Source};
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Facts of a data set. Means and shares are over the sampled images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct DataSet {
    /// One line: kind, images, classes.
    pub(super) about: String,
    pub(super) images: usize,
    /// A file for each image, not shards.
    pub(super) folder: bool,
    pub(super) sampled: usize,
    /// Sampled images whose header could be read.
    pub(super) readable: usize,
    /// What was wrong with the first of the others.
    pub(super) first_error: Option<String>,
    pub(super) mean_bytes: f64,
    pub(super) mean_width: f64,
    pub(super) mean_height: f64,
    pub(super) jpeg: f64,
    pub(super) progressive: f64,
    pub(super) storage: Option<Storage>,
    pub(super) reads: Option<Reads>,
    /// Why there are none.
    pub(super) not_read: Option<String>,
}

/// Files that reading is measured on: some images, or some shards.
pub(super) struct Files {
    folder: bool,
    paths: Vec<PathBuf>,
}

/// Images looked at, at most, and for how long.
const SAMPLE: usize = 512;
const SAMPLE_TIME: Duration = Duration::from_secs(2);

impl DataSet {
    /// Looks at images spread evenly over the set.
    pub(super) fn of(source: &dyn Source) -> Result<(Self, Files)> {
        let mut decoder = Decoder::new(Limits::default())?;
        let mut files = Files { folder: true, paths: Vec::new() };
        let mut set = Self {
            about: source.describe(),
            images: source.len(),
            folder: true,
            sampled: 0,
            readable: 0,
            first_error: None,
            mean_bytes: 0.0,
            mean_width: 0.0,
            mean_height: 0.0,
            jpeg: 0.0,
            progressive: 0.0,
            storage: None,
            reads: None,
            not_read: None,
        };
        let (start, wanted) = (Instant::now(), SAMPLE.min(source.len()));
        let mut buffer = Vec::new();
        for i in 0..wanted {
            if start.elapsed() > SAMPLE_TIME {
                break;
            }
            let index = i * source.len() / wanted;
            set.sampled += 1;
            files.note(&source.name(index));
            let look = source.read(index, &mut buffer).and_then(|bytes| {
                set.mean_bytes += bytes.len() as f64;
                decoder.header(bytes).map_err(|error| error.named(source.name(index)))
            });
            match look {
                Ok(header) => {
                    set.readable += 1;
                    set.mean_width += f64::from(header.size.width);
                    set.mean_height += f64::from(header.size.height);
                    set.jpeg += f64::from(u8::from(header.format == Format::Jpeg));
                    let progressive = header.frame.is_some_and(|frame| frame.process.is_progressive());
                    set.progressive += f64::from(u8::from(progressive));
                }
                Err(error) => {
                    set.first_error.get_or_insert(error.to_string());
                }
            }
        }
        set.mean_bytes /= set.sampled.max(1) as f64;
        for sum in [&mut set.mean_width, &mut set.mean_height, &mut set.jpeg, &mut set.progressive] {
            *sum /= set.readable.max(1) as f64;
        }
        set.folder = files.folder;
        set.storage = files.paths.first().and_then(|path| Storage::of(path));
        Ok((set, files))
    }

    /// Reads from the files, or notes why not: training does not depend on it. Shards must not be mapped meanwhile: mapped pages
    /// are not dropped.
    pub(super) fn read(&mut self, files: &Files, threads: usize, most: Duration) {
        if files.paths.is_empty() {
            self.not_read = Some("the names of the files are not plain text".into());
            return;
        }
        let reads = match files.folder {
            true => storage::read_images(&files.paths, threads, most),
            false => storage::read_shards(&files.paths, self.mean_bytes as u64, threads, most),
        };
        match reads {
            Ok(reads) => self.reads = Some(reads),
            Err(error) => self.not_read = Some(error.to_string()),
        }
    }

    /// About so many bytes in all, by the mean.
    pub(super) fn bytes(&self) -> u64 {
        (self.mean_bytes * self.images as f64) as u64
    }

    /// Images a second that come from storage which is read for the first time.
    pub(super) fn cold(&self) -> Option<f64> {
        Some(self.reads.as_ref()?.cold?.pieces_per_second)
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        let mut lines = vec![Line::ok("source", &*self.about)];
        let exact = if self.sampled == self.images { "" } else { "about " };
        let kinds = match (self.jpeg, self.progressive) {
            (jpeg, 0.0) => format!("{:.0} % JPEG", 100.0 * jpeg),
            (jpeg, progressive) => format!("{:.0} % JPEG ({:.0} % progressive)", 100.0 * jpeg, 100.0 * progressive),
        };
        if self.readable > 0 {
            lines.push(Line::ok(
                "images",
                format!(
                    "{exact}{} in all; {} and {:.0} x {:.0} pixels in the mean; {kinds}; by {} of them",
                    size(self.bytes()),
                    size(self.mean_bytes as u64),
                    self.mean_width,
                    self.mean_height,
                    self.sampled
                ),
            ));
        }
        if let Some(error) = &self.first_error {
            let text =
                format!("{} of {} give no image; the first: {error}", self.sampled - self.readable, self.sampled);
            lines.push(match self.readable {
                0 => Line::problem("bad files", text),
                _ => Line::note("bad files", format!("{text} (`bandfeed decode` tells of all)")),
            });
        }
        lines.push(self.place());
        lines.extend(self.reads.iter().flat_map(|reads| self.reading(reads)));
        lines.extend(self.not_read.iter().map(|why| Line::note("reading", format!("not measured: {why}"))));
        lines
    }

    fn place(&self) -> Line {
        let Some(Storage { filesystem, device, place, rotational }) = &self.storage else {
            return Line::told("filesystem", None);
        };
        let on = format!("{filesystem} on {device}");
        match (place, rotational) {
            (Place::Network, _) => Line::note("filesystem", format!("{on}: over the network")),
            (Place::Host, _) => Line::note("filesystem", format!("{on}: shared by the machine that this one runs on")),
            (Place::Program, _) => {
                Line::note("filesystem", format!("{on}: served by a program, which may ask a network"))
            }
            (Place::Memory, _) => Line::ok("filesystem", format!("{on}: in memory")),
            (Place::Local, Some(true)) => Line::note(
                "filesystem",
                format!("{on}, which says that it rotates (virtual disks may say so without reason)"),
            ),
            (Place::Local, Some(false)) => Line::ok("filesystem", format!("{on}, not rotating")),
            (Place::Local, None) => Line::ok("filesystem", format!("{on}; whether it rotates is not told")),
        }
    }

    fn reading(&self, reads: &Reads) -> Vec<Line> {
        let what = if self.folder { "files" } else { "pieces of an image's size" };
        let threads = if reads.threads == 1 { "one thread".to_owned() } else { format!("{} threads", reads.threads) };
        let rate = |rate: &storage::Rate| {
            format!(
                "{:.0} MB/s, {:.0} {what} a second in random order, {threads}",
                rate.megabytes_per_second, rate.pieces_per_second
            )
        };
        let sequential =
            |rate: Option<f64>| rate.map_or(String::new(), |mb| format!("; {mb:.0} MB/s from the start of a shard"));
        let mut lines = vec![match (&reads.cold, &reads.not_cold) {
            (Some(cold), _) => Line::ok("read cold", rate(cold) + &sequential(reads.sequential_cold)),
            (None, why) => {
                let why = why.as_deref().unwrap_or("nothing was read in the time");
                Line::note("read cold", format!("not measured: {why}"))
            }
        }];
        if let Some(warm) = &reads.warm {
            lines.push(Line::ok("read warm", rate(warm) + &sequential(reads.sequential_warm)));
        }
        if let Some(opens) = reads.opens_per_second {
            lines
                .push(Line::ok("opening", format!("{opens:.0} files a second, one thread, names known to the system")));
        }
        lines
    }
}

impl Files {
    /// Adds the file of an image by its name: its own, or the shard before the `#`.
    fn note(&mut self, name: &str) {
        let Some((path, shard)) = files::behind(name) else { return };
        self.folder &= !shard;
        // Names come in the order of the shards.
        if !shard || self.paths.last().is_none_or(|last| last != path) {
            self.paths.push(path.to_owned());
        }
    }
}

/// A source that can not be opened, told as a line.
pub(super) fn unreadable(source: &str, error: &Error) -> Line {
    let text = error.to_string();
    let text = if text.contains(source) { text } else { format!("{source}: {text}") };
    Line::problem("source", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_and_their_files_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let demo = crate::demo_data::DemoData { train_per_class: 2, val_per_class: 1, side: 64, ..Default::default() };
        demo.write(folder.path()).unwrap();
        let root = folder.path().join("train");
        let source = crate::source::Folder::open(&root).unwrap();
        let broken = PathBuf::from(source.name(3));
        std::fs::write(&broken, b"no image").unwrap();
        let (mut set, files) = DataSet::of(&source).unwrap();
        assert_eq!((set.sampled, set.readable, set.folder), (source.len(), source.len() - 1, true));
        assert_eq!((set.jpeg, set.progressive), (1.0, 0.0));
        assert!((60.0..80.0).contains(&set.mean_width), "{set:?}");
        assert_eq!(files.paths.len(), source.len());
        assert!(set.first_error.as_ref().unwrap().contains(broken.to_str().unwrap()), "{set:?}");
        set.read(&files, 1, Duration::from_millis(20));
        assert!(set.reads.as_ref().unwrap().opens_per_second.is_some());
        let bad = set.lines().into_iter().find(|line| line.name == "bad files").unwrap();
        assert_eq!(bad.mark, super::super::page::Mark::Note);
        // Files that are gone by then keep nobody from training.
        set.reads = None;
        set.read(&Files { folder: true, paths: vec![folder.path().join("gone")] }, 1, Duration::from_millis(20));
        let line = set.lines().into_iter().find(|line| line.name == "reading").unwrap();
        assert!(line.mark == super::super::page::Mark::Note && line.text.contains("gone"), "{}", line.text);
    }

    #[test]
    fn a_shard_is_found_by_the_names_of_its_images() {
        let folder = tempfile::tempdir().unwrap();
        let shard = folder.path().join("a#b.tar");
        std::fs::write(&shard, b"").unwrap();
        let mut files = Files { folder: true, paths: Vec::new() };
        for key in ["x#1.jpg", "y.jpg"] {
            files.note(&format!("{}#{key}", shard.display()));
        }
        assert_eq!((files.folder, files.paths), (false, vec![shard]));
    }
}
