//! `Tar`: WebDataset's rules, the kinds of tar, and what is wrong with a shard.

use crate::{labels, refused, sample, shared_data, write};
use bandfeed::source::Tar;
use bandfeed::{Error, Source};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

/// A tar of these members.
fn pack<N: AsRef<str>, B: AsRef<[u8]>>(members: &[(N, B)]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = Header::new_gnu();
        header.set_size(bytes.as_ref().len() as u64);
        // `append_data` writes a GNU long name where the header's 100 bytes do not do.
        tar.append_data(&mut header, name.as_ref(), bytes.as_ref()).unwrap();
    }
    tar.into_inner().unwrap()
}

struct Fixture {
    root: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { root: TempDir::new().unwrap() }
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        write(&path, bytes);
        path
    }

    fn path(&self, name: &str) -> String {
        self.root.path().join(name).display().to_string()
    }

    /// Opens one shard of these members.
    fn open<N: AsRef<str>, B: AsRef<[u8]>>(&self, members: &[(N, B)]) -> bandfeed::Result<Tar> {
        Tar::open(&self.put("shard.tar", pack(members)))
    }
}

#[test]
fn consecutive_members_of_one_key_are_a_sample() {
    let fixture = Fixture::new();
    let tar = fixture
        .open(&[
            ("d/", ""),
            ("d/1.cls", "4"),
            ("d/1.jpg", "one"),
            ("d/2.JPEG", "two"),
            ("d/2.cls", " 0\n"),
            ("e/2.png", "another key"),
            ("e/2.txt", "a caption"),
            ("e/2.cls", "2"),
            ("readme", "no dot"),
            ("._3.jpg", "hidden"),
        ])
        .unwrap();
    let shard = fixture.path("shard.tar");
    assert_eq!(sample(&tar, 0), (format!("{shard}#d/1.jpg"), 4, b"one".to_vec()));
    assert_eq!(sample(&tar, 1), (format!("{shard}#d/2.JPEG"), 0, b"two".to_vec()));
    assert_eq!(sample(&tar, 2), (format!("{shard}#e/2.png"), 2, b"another key".to_vec()));
    assert_eq!((tar.len(), tar.ignored()), (3, 3));
    assert_eq!(tar.classes(), ["0", "1", "2", "3", "4"]);
    assert_eq!(tar.class_counts(), [1, 0, 1, 0, 1]);
}

#[test]
fn a_key_ends_at_the_first_dot() {
    let fixture = Fixture::new();
    let tar =
        fixture.open(&[("a.b.c.jpg", "loose"), ("a.cls", "1"), ("v1.0/x.jpg", "dotted folder"), ("v1.0/x.cls", "2")]);
    let tar = tar.unwrap();
    assert_eq!((labels(&tar), sample(&tar, 0).2), (vec![1, 2], b"loose".to_vec()));

    // An extension that is exactly an image's comes before one that ends in it: a mask beside a photo.
    let tar = fixture.open(&[("a.seg.png", "mask"), ("a.jpg", "photo"), ("a.cls", "1")]).unwrap();
    assert_eq!((tar.len(), sample(&tar, 0).2), (1, b"photo".to_vec()));

    // Numbered names with a dot before the number are all one key. WebDataset would lose all but one in silence.
    let numbered = [("img.1.jpg", "x"), ("img.1.cls", "0"), ("img.2.jpg", "y"), ("img.2.cls", "0")];
    refused(fixture.open(&numbered), &["img.1.cls", "img.2.cls", "one key", "first dot"]);
}

#[test]
fn json_labels_are_indices_or_names_over_all_shards() {
    let fixture = Fixture::new();
    let tar = fixture.open(&[("1.jpg", "x"), ("1.json", r#"{"caption": "c", "label": 3}"#)]).unwrap();
    assert_eq!((labels(&tar), tar.classes().len()), (vec![3], 4));

    fixture.put("n-1.tar", pack(&[("1.jpg", "x"), ("1.json", r#"{"cls": "pike"}"#)]));
    fixture.put(
        "n-0.tar",
        pack(&[("1.jpg", "y"), ("1.json", r#"{"cls": "tench"}"#), ("2.jpg", "z"), ("2.json", r#"{"class": "eel"}"#)]),
    );
    let named = || Tar::open(&fixture.path("n-{0..1}.tar")).unwrap();
    assert_eq!((labels(&named()), named().classes().join(" ")), (vec![2, 0, 1], "eel pike tench".into()));

    let given = ["tench", "none", "pike", "eel"].map(String::from).to_vec();
    let tar = named().with_classes(given.clone()).unwrap();
    assert_eq!((labels(&tar), tar.classes()), (vec![0, 3, 2], &given[..]));
    refused(named().with_classes(given[..3].to_vec()), &["\"eel\"", "3 names lack"]);

    // `.cls` decides where both are there.
    let tar = fixture.open(&[("1.jpg", "x"), ("1.json", r#"{"label": 3}"#), ("1.cls", "1")]).unwrap();
    assert_eq!(labels(&tar), [1]);

    fixture.put("n-2.tar", pack(&[("1.jpg", "x"), ("1.cls", "5")]));
    refused(Tar::open(&fixture.path("n-{0..2}.tar")), &["\"tench\"", "the class index 5", "one kind"]);
}

#[test]
fn class_names_come_from_a_file_beside_the_shards() {
    let fixture = Fixture::new();
    let members = [("1.jpg", "x"), ("1.cls", "1")];
    let with = |text: &str| {
        fixture.put("classes.txt", text);
        fixture.open(&members)
    };
    assert_eq!(with("tench\r\n English springer \n\n").unwrap().classes(), ["tench", "English springer"]);
    refused(with("tench"), &["classes.txt", "1 class names", "up to 1"]);
    refused(with("a\n\nb"), &["classes.txt", "line 2 is empty"]);
    refused(with("a\na"), &["classes.txt", "\"a\" is both class 0 and 1"]);
}

#[test]
fn ustar_gnu_and_pax_names_of_any_length_are_read() {
    let fixture = Fixture::new();
    let long = format!("{}/{}", "folder".repeat(30), "n".repeat(120));

    let gnu = fixture.open(&[(format!("{long}.jpg"), "gnu"), (format!("{long}.cls"), "1")]).unwrap();
    assert_eq!(sample(&gnu, 0), (format!("{}#{long}.jpg", fixture.path("shard.tar")), 1, b"gnu".to_vec()));

    // USTAR: a prefix field of 155 bytes beside the name's 100.
    let prefixed = format!("{}/{}", "p".repeat(150), "n".repeat(80));
    let mut ustar = Builder::new(Vec::new());
    for (extension, bytes) in [("jpg", "ustar"), ("cls", "2")] {
        let mut header = Header::new_ustar();
        header.set_size(bytes.len() as u64);
        ustar.append_data(&mut header, format!("{prefixed}.{extension}"), bytes.as_bytes()).unwrap();
    }
    let tar = Tar::open(&fixture.put("ustar.tar", ustar.into_inner().unwrap())).unwrap();
    assert!(tar.name(0).ends_with(&format!("#{prefixed}.jpg")), "{}", tar.name(0));
    assert_eq!(sample(&tar, 0).2, b"ustar");

    // PAX: the name is in a header of its own, the one in the member's header is short and wrong.
    let mut pax = Builder::new(Vec::new());
    for (extension, bytes) in [("jpg", "pax"), ("cls", "3")] {
        let path = format!("{long}.{extension}");
        pax.append_pax_extensions([("path", path.as_bytes()), ("comment", b"hi")]).unwrap();
        let mut header = Header::new_ustar();
        header.set_size(bytes.len() as u64);
        pax.append_data(&mut header, "short", bytes.as_bytes()).unwrap();
    }
    let tar = Tar::open(&fixture.put("pax.tar", pax.into_inner().unwrap())).unwrap();
    assert!(tar.name(0).ends_with(&format!("#{long}.jpg")), "{}", tar.name(0));
    assert_eq!((labels(&tar), sample(&tar, 0).2), (vec![3], b"pax".to_vec()));
}

#[test]
fn every_cut_of_a_shard_is_an_error_or_loses_nothing() {
    let fixture = Fixture::new();
    let long = "l".repeat(130);
    let whole = pack(&[(format!("{long}.jpg"), vec![1u8; 700]), (format!("{long}.cls"), b"1".to_vec())]);
    let mut opened = 0;
    for length in (1..whole.len()).step_by(64).chain([511, 513, whole.len() - 1]) {
        let path = fixture.put("cut.tar", &whole[..length]);
        match Tar::open(&path) {
            // The padding after the last member and the closing blocks may be gone: all data is there.
            Ok(tar) => {
                assert_eq!(sample(&tar, 0).2, vec![1; 700], "cut at {length}");
                opened += 1;
            }
            Err(Error::Source { path: named, reason }) => assert!(named.ends_with("cut.tar") && !reason.is_empty()),
            Err(other) => panic!("cut at {length}: {other}"),
        }
    }
    assert!(opened > 0, "no cut was harmless");

    let short = fixture.put("short.tar", &pack(&[("1.cls", b"1".to_vec()), ("1.jpg", vec![0; 2000])])[..2048]);
    refused(Tar::open(&short), &["short.tar", "truncated", "1.jpg needs 2000 bytes from byte 1536", "ends at 2048"]);
}

#[test]
fn data_after_the_end_of_an_archive_is_refused_and_padding_is_not() {
    let fixture = Fixture::new();
    let one = |name: &str| pack(&[(format!("{name}.jpg"), "x"), (format!("{name}.cls"), "1")]);
    let (a, b) = (one("a"), one("b"));
    assert_eq!(a.len(), 5 * 512 + 512);
    let joined = fixture.put("joined.tar", [&a[..], &b].concat());
    refused(Tar::open(&joined), &["joined.tar", "ends at byte 2048", "at byte 3072", "tar --concatenate"]);
    refused(Tar::open(&fixture.put("late.tar", [&a[..], &[0; 9000], b"z"].concat())), &["late.tar", "at byte 12072"]);
    let padded = Tar::open(&fixture.put("padded.tar", [&a[..], &[0; 20 * 512]].concat())).unwrap();
    assert_eq!(padded.len(), 1);
    // As tar --concatenate does it: without the first archive's closing blocks.
    let whole = Tar::open(&fixture.put("whole.tar", [&a[..2048], &b].concat())).unwrap();
    assert_eq!(whole.len(), 2);
}

#[test]
fn what_is_no_tar_says_so() {
    let fixture = Fixture::new();
    let open = |bytes: &[u8]| Tar::open(&fixture.put("x.tar", bytes));
    refused(open(b""), &["x.tar", "empty"]);
    refused(open(&[b'x'; 2000]), &["x.tar", "not a tar archive"]);
    refused(open(b"\x1f\x8b\x08 and so on"), &["compressed with gzip", "unpack"]);
    refused(open(b"\x28\xb5\x2f\xfd and so on"), &["compressed with zstd"]);
    refused(open(&[0; 1024]), &["no image in 1 shards"]);
    let mut damaged = pack(&[("1.jpg", "x"), ("1.cls", "1"), ("2.jpg", "x"), ("2.cls", "1")]);
    damaged[2048 + 3] ^= 1; // in the third header
    refused(open(&damaged), &["x.tar", "after byte 2048", "checksum"]);
    refused(Tar::open(&fixture.path("absent.tar")), &["absent.tar", "No such file"]);
}

#[test]
fn a_header_that_promises_exabytes_is_refused() {
    let fixture = Fixture::new();
    let mut header = Header::new_gnu();
    header.set_path("1.jpg").unwrap();
    for size in [u64::MAX, u64::MAX - 600, 1 << 62, 10_000] {
        header.set_size(size);
        header.set_cksum();
        let bytes = [header.as_bytes().as_slice(), &[0; 1024]].concat();
        let error = Tar::open(&fixture.put("big.tar", bytes)).unwrap_err();
        assert!(matches!(error, Error::Source { .. }), "{error}");
    }
}

#[test]
fn a_sample_that_lacks_a_part_or_has_two_is_named() {
    let fixture = Fixture::new();
    let open = |members: &[(&str, &str)]| fixture.open(members);
    refused(open(&[("k/7.jpg", "x"), ("k/8.jpg", "y")]), &["k/7.jpg has no label", "add k/7.cls"]);
    refused(
        open(&[("7.jpg", "x"), ("7.json", r#"{"caption": "c"}"#)]),
        &["7.jpg has no label", "7.json has no such field"],
    );
    refused(open(&[("7.cls", "1"), ("8.jpg", "x")]), &["key 7 has a label, but no image", "webp"]);
    refused(open(&[("7.jpg", "x"), ("7.png", "x"), ("7.cls", "1")]), &["key 7 has two images, 7.jpg and 7.png"]);
    refused(open(&[("7.jpg", "x"), ("7.cls", "cat")]), &["7.cls holds \"cat\"", "class index"]);
    refused(open(&[("7.jpg", "x"), ("7.json", "{")]), &["7.json is not a JSON object"]);
    refused(open(&[("7.txt", "x"), ("8.json", r#"{"a": 1}"#)]), &["no image in 1 shards (2 other members)"]);
    // All images first, then all labels: the members of one key do not follow each other.
    refused(
        open(&[("1.jpg", "x"), ("2.jpg", "x"), ("1.cls", "1"), ("2.cls", "1")]),
        &["1.jpg has no label", "directly"],
    );
}

#[test]
fn a_link_in_the_place_of_an_image_is_refused() {
    let fixture = Fixture::new();
    for (kind, word) in [(EntryType::Link, "hard link"), (EntryType::Symlink, "symbolic link")] {
        let mut tar = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        tar.append_link(&mut header, "2.jpg", "1.jpg").unwrap();
        let path = fixture.put("link.tar", tar.into_inner().unwrap());
        refused(Tar::open(&path), &["2.jpg", word, "dereference"]);
    }
}

#[test]
fn shards_are_sorted_and_one_named_twice_is_refused() {
    let fixture = Fixture::new();
    for shard in ["s/b.tar", "s/a.tar", "s/c.tar"] {
        fixture.put(shard, pack(&[("1.jpg", shard), ("1.cls", "0")]));
    }
    fixture.put("s/notes.txt", "");
    let paths =
        |tar: &Tar| tar.shards().map(|p| p.file_name().unwrap().to_str().unwrap().to_owned()).collect::<Vec<_>>();
    for spec in ["s", "s/*.tar", "s/{b,a,c}.tar", "s/{c,[ab]}.tar"] {
        let tar = Tar::open(&fixture.path(spec)).unwrap();
        assert_eq!(paths(&tar), ["a.tar", "b.tar", "c.tar"], "{spec}");
        assert_eq!(sample(&tar, 2).2, b"s/c.tar");
    }
    let tar = Tar::open_all(&[fixture.path("s/c.tar"), fixture.path("s/[ab].tar")]).unwrap();
    assert_eq!(paths(&tar), ["a.tar", "b.tar", "c.tar"]);
    refused(Tar::open_all(&[fixture.path("s/a.tar"), fixture.path("s/*.tar")]), &["a.tar", "named twice"]);
    refused(Tar::open(&fixture.path("s/x*.tar")), &["x*.tar", "matches no file"]);
    refused(Tar::open(&fixture.path("s/{a,d}.tar")), &["d.tar", "No such file"]);
    refused(Tar::open(&fixture.path("s/a**b.tar")), &["not a valid pattern"]);
    refused(Tar::open_paths(Vec::new()), &["no shard"]);
    let empty = fixture.path("nothing");
    std::fs::create_dir(&empty).unwrap();
    refused(Tar::open(&empty), &["no .tar file"]);
}

#[cfg(unix)]
#[test]
fn a_shard_under_a_second_name_is_the_same_shard() {
    let fixture = Fixture::new();
    fixture.put("a.tar", pack(&[("1.jpg", "x"), ("1.cls", "0")]));
    std::os::unix::fs::symlink("a.tar", fixture.path("b.tar")).unwrap();
    refused(Tar::open(&fixture.path("*.tar")), &["b.tar", "the same file as", "a.tar"]);
}

#[test]
fn the_shared_shards_hold_what_their_readme_says() {
    let Some(data) = shared_data() else { return };
    let open = |name: &str| Tar::open(data.join(name).to_str().unwrap()).unwrap();
    let photos = open("imagenet-200.tar");
    assert_eq!(labels(&photos), (0..200).map(|i| 5 * i).collect::<Vec<u32>>());
    assert!(photos.name(0).ends_with("imagenet-200.tar#n01440764_tench.jpg"), "{}", photos.name(0));
    let val = open("imagenette96-val.tar");
    assert_eq!(val.class_counts(), [387, 395, 357, 386, 409, 394, 389, 419, 399, 390]);
    let cifar = open("cifar10-t{rain,est}.tar");
    assert_eq!(cifar.class_counts(), [6000; 10]);
    for source in [&photos, &val, &cifar] {
        for index in 0..source.len() {
            let bytes = source.read(index, &mut Vec::new()).map(<[u8]>::to_vec).unwrap();
            let (start, end) = (&bytes[..2], &bytes[bytes.len() - 2..]);
            assert_eq!((start, end), (&[0xff, 0xd8][..], &[0xff, 0xd9][..]), "{}", source.name(index));
        }
    }
}
