//! `bandfeed unpack`: packed records back to files.

use crate::decode::Limits;
use crate::packed::Shard;
use crate::{DecodeError, Error, Result};
use indicatif::ProgressBar;
use rayon::prelude::*;
use std::fs::File;
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::time::Instant;

/// Give the files of packed records back.
///
/// Written as a folder of class folders. A packed JPEG comes back as a JPEG of the same coefficients, so of the same pixels,
/// with its application and comment segments; it is not the same file. A file that was stored comes back as it was.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Shards, and folders of shards.
    #[arg(required = true)]
    shards: Vec<PathBuf>,
    /// Folder for the files. Files that are there are not written over.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Threads [default: the machine's cores].
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
}

/// Runs the command.
///
/// # Errors
/// [`Error::Decode`] for a damaged record, [`Error::Source`] for a damaged shard or a file that is there, [`Error::Io`].
pub(crate) fn run(args: &Args) -> Result<()> {
    let pool = super::pool(args.workers)?;
    let shards = super::shards(&args.shards)?;
    let bar = super::bar(shards.iter().map(|shard| shard.len() as u64).sum());
    let start = Instant::now();
    for shard in &shards {
        pool.install(|| unpack(shard, &args.out, &bar))?;
    }
    bar.finish_and_clear();
    let (count, seconds) = (bar.length().unwrap_or(0), start.elapsed().as_secs_f64());
    crate::cli::print(&format!(
        "{count} files in {} from {} shards, {seconds:.1} s\n",
        args.out.display(),
        shards.len()
    ))
}

fn unpack(shard: &Shard, out: &Path, bar: &ProgressBar) -> Result<()> {
    let limits = Limits::default();
    (0..shard.len()).into_par_iter().try_for_each(|index| {
        let record = shard.verify(index, &limits)?;
        let file = match record.image() {
            Some(_) => record.coefficients().and_then(|coefficients| coefficients.to_jpeg()),
            None => record.stored().map(<[u8]>::to_vec),
        };
        let file = file.map_err(|error| error.named(shard.name(index)))?;
        let class = shard.classes().get(record.head().label as usize);
        let class = class.cloned().unwrap_or_else(|| record.head().label.to_string());
        let path = path_of(&class, shard.key(index))
            .ok_or_else(|| DecodeError::corrupt("its key or class leads out of the folder").named(shard.name(index)))?;
        write(&out.join(path), &file)?;
        bar.inc(1);
        Ok(())
    })
}

/// `class/file`, where the key does not begin with the class's folder already. `None` for what would be elsewhere.
fn path_of(class: &str, key: &str) -> Option<PathBuf> {
    if key.is_empty() {
        return None;
    }
    let mut path = PathBuf::from(key);
    if path.iter().next().is_none_or(|first| first != class) || path.iter().count() < 2 {
        path = Path::new(class).join(path);
    }
    let is_inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    (is_inside && !Path::new(key).has_root() && path.file_name().is_some()).then_some(path)
}

/// Writes a new file.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    match File::create_new(path) {
        Ok(mut file) => file.write_all(bytes).map_err(Error::io(path)),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(Error::source(
            path,
            "is there already, or two records have this name; unpack to an empty folder, or shards each to its own",
        )),
        Err(error) => Err(Error::io(path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_to_their_class_and_never_elsewhere() {
        let path = |class, key| path_of(class, key).map(|path| path.to_str().unwrap().to_owned());
        assert_eq!(path("cat", "cat/1.jpg").as_deref(), Some("cat/1.jpg"));
        assert_eq!(path("cat", "00017.jpg").as_deref(), Some("cat/00017.jpg"));
        assert_eq!(path("cat", "train/7.jpg").as_deref(), Some("cat/train/7.jpg"));
        assert_eq!(path("cat", "cat").as_deref(), Some("cat/cat"));
        for (class, key) in
            [("cat", "../x"), ("cat", "cat/../../x"), ("..", "x"), ("cat", "/etc/x"), ("/", "x"), ("cat", "")]
        {
            assert_eq!(path(class, key), None, "{class} {key}");
        }
    }
}
