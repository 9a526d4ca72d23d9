//! Sources: folders, tar shards, memory and subsets, on fixtures made here and, where they are at hand, on shared ones.

mod folders;
mod shards;
mod views;

use bandfeed::{Result, Source};
use std::path::{Path, PathBuf};

/// What a sample is, in the words of the tests: `(name, label, bytes)`.
type Sample = (String, u32, Vec<u8>);

fn sample(source: &dyn Source, index: usize) -> Sample {
    let mut buffer = b"left over from the sample before".to_vec();
    let bytes = source.read(index, &mut buffer).unwrap().to_vec();
    (source.name(index), source.label(index), bytes)
}

fn labels(source: &dyn Source) -> Vec<u32> {
    (0..source.len()).map(|index| source.label(index)).collect()
}

/// The message of an opening that must fail. It has to hold each of `words`.
#[track_caller]
fn refused<S>(opened: Result<S>, words: &[&str]) {
    let message = match opened {
        Ok(_) => panic!("opened, but expected an error with {words:?}"),
        Err(error) => error.to_string(),
    };
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

/// Writes a file and the folders above it.
fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    let path = path.as_ref();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// The folder of shared test images, if this checkout lies beside it.
fn shared_data() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    if !path.is_dir() {
        println!("{} is absent: ran on own fixtures only", path.display());
        return None;
    }
    Some(path)
}
