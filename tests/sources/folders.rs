//! `Folder`: torchvision's rules, and what is wrong with a folder.

use crate::{labels, refused, sample, write};
use bandfeed::source::{Folder, FolderOptions};
use bandfeed::{DecodeError, Error, Source};
use tempfile::TempDir;

/// A folder with these files, each holding its own path.
fn tree(files: &[&str]) -> TempDir {
    let root = TempDir::new().unwrap();
    for file in files {
        write(root.path().join(file), file);
    }
    root
}

/// Paths below the root, in the order of the samples.
fn order(folder: &Folder) -> Vec<String> {
    (0..folder.len())
        .map(|index| folder.path(index).strip_prefix(folder.root()).unwrap().to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn samples_and_labels_are_in_torchvisions_order() {
    // Given by torchvision 0.29.2: `ImageFolder(root).samples` of a folder with the same files.
    let expected = [
        ("B/x.TIF", 0),
        ("Z/1.JPG", 1),
        ("a/q.TiFf", 2),
        ("b/10.jpg", 3),
        ("b/2.jpg", 3),
        ("b/z.png", 3),
        ("b/a/9.webp", 3),
        ("b/a-b/5.png", 3),
        ("b/a/b/0.bmp", 3),
        ("b/z/1.png", 3),
        ("é/x.jpeg", 4),
    ];
    let mut files = expected.map(|(file, _)| file);
    files.reverse();
    let root = tree(&files);
    let folder = Folder::open(root.path()).unwrap();
    assert_eq!(folder.classes(), ["B", "Z", "a", "b", "é"]);
    assert_eq!(order(&folder), expected.map(|(file, _)| file));
    assert_eq!(labels(&folder), expected.map(|(_, label)| label));
    assert_eq!(folder.class_counts(), [1, 1, 1, 7, 1]);
    for (index, (file, label)) in expected.into_iter().enumerate() {
        let name = root.path().join(file).display().to_string();
        assert_eq!(sample(&folder, index), (name, label, file.as_bytes().to_vec()));
    }
}

#[test]
fn other_and_hidden_files_are_counted_and_left_out() {
    let root =
        tree(&["a/1.jpg", "a/1.txt", "a/._1.jpg", "a/jpg", "readme.md", "stray.png", ".git/x.jpg", "a/.x/2.jpg"]);
    let folder = Folder::open(root.path()).unwrap();
    assert_eq!(order(&folder), ["a/1.jpg"]);
    // 1.txt, ._1.jpg, jpg, readme.md, stray.png and the folder .git. What is in hidden folders is not looked at.
    assert_eq!(folder.ignored(), 6);
    let line = folder.describe();
    assert!(line.contains("1 images, 1 classes (1 images each), 6 other files ignored"), "{line}");
}

#[test]
fn a_folder_that_is_no_data_set_says_what_to_do() {
    let root = tree(&["flat/1.jpg", "flat/2.jpg", "no_image/a/x.txt", "no_image/b/y.txt"]);
    let open = |name: &str| Folder::open(root.path().join(name));
    std::fs::create_dir(root.path().join("bare")).unwrap();
    refused(open("flat"), &["flat", "2 images directly", "one sub-folder per class"]);
    refused(open("bare"), &["bare", "no sub-folder"]);
    refused(open("no_image"), &["2 class folders", "no image", "jpeg"]);
    refused(open("flat/1.jpg"), &["is a file"]);
    refused(open("absent"), &["absent", "No such file"]);
    assert!(matches!(open("absent"), Err(Error::Io { .. })));
}

#[test]
fn empty_classes_are_named_unless_allowed() {
    let root = tree(&["a/1.jpg", "c/1.jpg"]);
    for class in ["b", "d"] {
        std::fs::create_dir(root.path().join(class)).unwrap();
    }
    refused(Folder::open(root.path()), &["no image in 2 of the class folders: b, d", "allow"]);
    let folder = Folder::open_with(root.path(), FolderOptions::default().allow_empty_classes(true)).unwrap();
    assert_eq!(folder.classes(), ["a", "b", "c", "d"]);
    assert_eq!(labels(&folder), [0, 2]);
    assert_eq!(folder.class_counts(), [1, 0, 1, 0]);
}

#[test]
fn the_parts_of_a_data_set_are_not_taken_for_classes() {
    let root = tree(&["train/cat/1.jpg", "val/cat/1.jpg"]);
    refused(Folder::open(root.path()), &["train, val", "not classes", "train"]);
    // A train is also a thing to see: images directly in the folder make it a class.
    let root = tree(&["train/1.jpg", "test/1.jpg"]);
    assert_eq!(Folder::open(root.path()).unwrap().classes(), ["test", "train"]);
}

#[test]
fn reading_reports_a_file_that_went_away_and_one_that_changed_size() {
    let root = tree(&["a/1.jpg", "a/2.jpg"]);
    let folder = Folder::open(root.path()).unwrap();
    write(root.path().join("a/1.jpg"), vec![7; 100_000]);
    assert_eq!(sample(&folder, 0).2, vec![7; 100_000]);
    std::fs::remove_file(root.path().join("a/2.jpg")).unwrap();
    let error = folder.read(1, &mut Vec::new()).unwrap_err();
    assert!(matches!(&error, Error::Io { path, .. } if path.ends_with("a/2.jpg")), "{error}");
}

#[test]
fn a_file_of_more_than_a_gibibyte_is_refused_before_memory_is_taken() {
    let root = tree(&["a/1.jpg"]);
    let file = std::fs::File::options().write(true).open(root.path().join("a/1.jpg")).unwrap();
    file.set_len((1 << 30) + 1).unwrap(); // sparse: takes no room on the disk
    let folder = Folder::open(root.path()).unwrap();
    let mut buffer = Vec::new();
    let error = folder.read(0, &mut buffer).unwrap_err();
    assert!(matches!(&error, Error::Decode { source: DecodeError::Limit { .. }, .. }), "{error}");
    assert_eq!(buffer.capacity(), 0);
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_and_cycles_end() {
        let root = tree(&["data/x/1.jpg", "data/x/sub/2.jpg", "set/b/3.jpg"]);
        let at = |path: &str| root.path().join(path);
        symlink(at("data/x"), at("set/a")).unwrap(); // a class that is a link
        symlink(at("data/x/1.jpg"), at("set/b/4.jpg")).unwrap(); // an image that is a link
        symlink(at("data/x/sub"), at("set/b/more")).unwrap(); // a folder below a class
        symlink(".", at("set/b/self")).unwrap();
        symlink(at("set"), at("set/b/up")).unwrap();
        symlink(at("data"), at("data/x/sub/up")).unwrap();
        let folder = Folder::open(at("set")).unwrap();
        assert_eq!(order(&folder), ["a/1.jpg", "a/sub/2.jpg", "b/3.jpg", "b/4.jpg", "b/more/2.jpg"]);
    }

    #[test]
    fn two_classes_that_link_to_each_other_do_not_hang() {
        let root = tree(&["a/1.jpg", "b/2.jpg"]);
        symlink(root.path().join("b"), root.path().join("a/to_b")).unwrap();
        symlink(root.path().join("a"), root.path().join("b/to_a")).unwrap();
        let folder = Folder::open(root.path()).unwrap();
        assert_eq!(order(&folder), ["a/1.jpg", "a/to_b/2.jpg", "b/2.jpg", "b/to_a/1.jpg"]);
    }

    #[test]
    fn a_link_to_nothing_stays_a_sample_and_is_an_error_when_read() {
        let root = tree(&["a/1.jpg"]);
        symlink("nowhere", root.path().join("a/0.jpg")).unwrap();
        symlink("nowhere", root.path().join("a/notes")).unwrap();
        let folder = Folder::open(root.path()).unwrap();
        assert_eq!((folder.len(), folder.ignored()), (2, 1));
        let error = folder.read(0, &mut Vec::new()).unwrap_err();
        assert!(matches!(&error, Error::Io { path, .. } if path.ends_with("a/0.jpg")), "{error}");
    }

    #[test]
    fn names_that_are_not_unicode_are_read() {
        let root = TempDir::new().unwrap();
        let path = root.path().join(OsStr::from_bytes(b"caf\xe9")).join(OsStr::from_bytes(b"\xff.jpg"));
        write(&path, "bytes");
        let folder = Folder::open(root.path()).unwrap();
        assert_eq!(folder.path(0), path);
        assert_eq!(sample(&folder, 0).2, b"bytes");
        assert_eq!(folder.classes(), ["caf\u{fffd}"]);
    }
}
