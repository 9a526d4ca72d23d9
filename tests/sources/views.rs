//! `Memory`, `Subset` and `open`.

use crate::{labels, refused, sample, write};
use bandfeed::Source;
use bandfeed::source::{self, Memory, Subset};
use std::sync::Arc;
use tempfile::TempDir;

fn classes(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("class {index}")).collect()
}

/// A source of `counts[c]` samples of class `c`, interleaved; each holds its own index.
fn numbered(counts: &[usize]) -> Arc<dyn Source> {
    let mut samples = Vec::new();
    for round in 0..*counts.iter().max().unwrap() {
        for (class, &count) in counts.iter().enumerate() {
            if round < count {
                samples.push((vec![samples.len() as u8], class as u32));
            }
        }
    }
    Arc::new(Memory::new(samples, classes(counts.len())).unwrap())
}

#[test]
fn memory_gives_back_what_it_was_given() {
    let memory = Memory::new(vec![(b"x".to_vec(), 1), (b"".to_vec(), 0)], classes(2)).unwrap();
    assert_eq!(sample(&memory, 0), ("memory#0".into(), 1, b"x".to_vec()));
    assert_eq!(sample(&memory, 1), ("memory#1".into(), 0, b"".to_vec()));
    let memory = memory.with_names(vec!["first".into(), "second".into()]).unwrap();
    assert_eq!(memory.name(1), "second");
    refused(memory.with_names(vec!["one".into()]), &["1 names for 2 samples"]);
    refused(Memory::new(Vec::new(), classes(2)), &["no images"]);
    refused(Memory::new(vec![(Vec::new(), 2)], classes(2)), &["sample 0", "class index 2", "2 class names"]);
}

#[test]
fn a_subset_has_the_samples_it_names_in_that_order() {
    let whole = numbered(&[3, 2]);
    let subset = Subset::new(whole.clone(), vec![4, 0, 4]).unwrap();
    for (index, from) in [4, 0, 4].into_iter().enumerate() {
        assert_eq!(sample(&subset, index), sample(&*whole, from));
    }
    assert_eq!(subset.classes(), whole.classes());
    assert!(subset.describe().contains("3 images"), "{}", subset.describe());
    refused(Subset::new(whole.clone(), Vec::new()), &["no samples"]);
    refused(Subset::new(whole, vec![5]), &["index 5", "5 samples"]);
}

#[test]
fn a_split_keeps_every_sample_once_and_the_shares_of_the_classes() {
    let whole = numbered(&[50, 20, 1]);
    let (rest, taken) = Subset::split(&whole, 0.2, 7).unwrap();
    assert_eq!((rest.class_counts(), taken.class_counts()), (vec![40, 16, 1], vec![10, 4, 0]));
    let bytes = |subset: &Subset| (0..subset.len()).map(|i| sample(subset, i).2[0]).collect::<Vec<u8>>();
    let (a, b) = (bytes(&rest), bytes(&taken));
    assert!(a.is_sorted() && b.is_sorted());
    let mut all = [a.clone(), b.clone()].concat();
    all.sort_unstable();
    assert_eq!(all, (0..71).collect::<Vec<u8>>());

    let again = Subset::split(&whole, 0.2, 7).unwrap();
    assert_eq!((bytes(&again.0), bytes(&again.1)), (a, b.clone()));
    assert_ne!(bytes(&Subset::split(&whole, 0.2, 8).unwrap().1), b);
    refused(Subset::split(&whole, 1.0, 7), &["share 1"]);
    refused(Subset::split(&numbered(&[1]), 0.2, 7), &["no samples"]);
}

fn put_tar(path: impl AsRef<std::path::Path>) {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in [("1.jpg", "pixels"), ("1.cls", "0")] {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes.as_bytes()).unwrap();
    }
    write(path, tar.into_inner().unwrap());
}

#[test]
fn open_tells_folders_shards_and_patterns_apart() {
    let root = TempDir::new().unwrap();
    let at = |path: &str| root.path().join(path).display().to_string();
    write(at("folder/cat/1.jpg"), "pixels");
    put_tar(at("folder/cat.tar")); // the archive that the folder came from
    put_tar(at("shards/a.tar"));
    put_tar(at("shards/b.tar"));
    put_tar(at("mixed/a.tar"));
    write(at("mixed/cat/notes.txt"), "no image");
    write(at("shards/notes.txt"), "notes");
    write(at("photo.jpg"), "pixels");
    let opened = |spec: &str| source::open(&at(spec)).map(|source| source.describe());

    assert!(opened("folder").unwrap().starts_with("folder "));
    assert!(opened("shards").unwrap().starts_with("2 shards"));
    assert!(opened("shards/a.tar").unwrap().starts_with("shard "));
    assert!(opened("shards/{a,b}.tar").unwrap().starts_with("2 shards"));
    assert!(opened("shards/*.tar").unwrap().starts_with("2 shards"));
    refused(opened("mixed"), &["no image", "1 .tar files", "/*.tar"]);
    refused(opened("photo.jpg"), &["is a file, but no .tar or .bands"]);
    refused(opened("absent"), &["does not exist", "tried", "train-{000..012}.tar"]);
    refused(opened("absent-*.tar"), &["matches no file"]);
    std::fs::create_dir(root.path().join("bare")).unwrap();
    refused(opened("bare"), &["no sub-folder", "no .tar or .bands shard in it either"]);
}

#[test]
#[should_panic(expected = "sample 2 of 2")]
fn an_index_past_the_end_is_a_defect_of_the_caller() {
    let root = TempDir::new().unwrap();
    write(root.path().join("a/1.jpg"), "1");
    write(root.path().join("a/2.jpg"), "2");
    let folder = source::open(root.path().to_str().unwrap()).unwrap();
    assert_eq!(labels(&*folder), [0, 0]);
    folder.label(2);
}
