use super::*;
use crate::decode::Limits;
use crate::error::Error;
use crate::packed::{pack, pack_reduced, samples};
use std::path::Path;
use turbojpeg::Subsamp;

fn classes() -> Vec<String> {
    ["cat", "Hündin"].map(str::to_owned).to_vec()
}

/// Two JPEGs and a file that is stored.
fn write(path: &Path) -> Vec<Vec<u8>> {
    let mut writer = ShardWriter::create(path, &Place { number: 2, of: 5, first: 300 }).unwrap();
    let files = [
        samples::jpeg(67, 45, Subsamp::Sub2x2, false),
        b"GIF89a".to_vec(),
        samples::with_orientation(&samples::jpeg(40, 80, Subsamp::None, true), 6),
    ];
    let records: Vec<_> = (0..)
        .zip(&files)
        .map(|(i, file)| pack(file, &format!("cat/{i}.jpg"), i % 2, &Limits::default()).unwrap().bytes)
        .collect();
    for record in &records {
        writer.push(record).unwrap();
    }
    assert!(!path.exists(), "it has its name only when it is whole");
    writer.finish(&classes()).unwrap();
    records
}

#[test]
fn a_shard_gives_back_its_records() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.bands");
    let records = write(&path);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "the temporary name is gone");
    let shard = Shard::open(&path).unwrap();
    assert_eq!((shard.len(), shard.classes()), (3, &classes()[..]));
    assert_eq!(*shard.place(), Place { number: 2, of: 5, first: 300 });
    for (i, bytes) in records.iter().enumerate() {
        assert_eq!(shard.bytes(i), bytes);
        assert_eq!(shard.key(i), format!("cat/{i}.jpg"));
        let record = shard.verify(i, &Limits::default()).unwrap();
        let entry = shard.entry(i);
        assert_eq!(entry.label, i as u32 % 2);
        assert_eq!(entry.size, record.image().map(|image| image.size));
        for rings in 1..=8 {
            let range = entry.range(rings);
            assert_eq!(range.end - range.start, record.prefix_len(rings));
        }
    }
    assert_eq!(shard.entry(2).orientation.to_exif(), 6);
    assert_eq!(shard.record(1, &Limits::default()).unwrap().stored().unwrap(), b"GIF89a");
}

#[test]
fn a_shard_that_is_not_finished_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.bands");
    let place = Place { number: 0, of: 1, first: 0 };
    let mut writer = ShardWriter::create(&path, &place).unwrap();
    writer.push(&pack(b"x", "x", 0, &Limits::default()).unwrap().bytes).unwrap();
    assert!(writer.push(b"no record").is_err());
    drop(writer);
    let error = ShardWriter::create(&path, &place).unwrap().finish(&[]).unwrap_err();
    assert!(error.to_string().contains("without a record"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_damaged_byte_anywhere_is_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.bands");
    write(&path);
    let whole = std::fs::read(&path).unwrap();
    let records: Vec<_> = {
        let shard = Shard::open(&path).unwrap();
        (0..shard.len()).map(|i| shard.entry(i).range(8).start..shard.entry(i).offset + shard.entry(i).len).collect()
    };
    let index = Shard::open(&path).unwrap().entry(2).range(8).end.next_multiple_of(PAGE) as usize;
    let damaged = folder.path().join("b.bands");
    for at in (0..whole.len()).step_by(7).chain(index..whole.len()) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&damaged, &bytes).unwrap();
        let hit = records.iter().position(|record| record.contains(&(at as u64)));
        match Shard::open(&damaged) {
            Err(error) => {
                assert!(hit.is_none() && error.to_string().contains("b.bands"), "{at}: {error}");
            }
            Ok(shard) => {
                assert!((FRAME..index).contains(&at), "byte {at} is not covered by a checksum");
                for i in 0..3 {
                    let result = shard.verify(i, &Limits::default());
                    assert_eq!(result.is_err(), hit == Some(i), "byte {at}, record {i}");
                    if let Err(error) = result {
                        let name = format!("b.bands#cat/{i}.jpg (record {i}, byte {})", shard.entry(i).offset);
                        assert!(error.to_string().contains(&name), "{error}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_no_whole_shard_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.bands");
    write(&path);
    let whole = std::fs::read(&path).unwrap();
    for len in (0..whole.len()).step_by(61).chain([whole.len() - 1]) {
        std::fs::write(&path, &whole[..len]).unwrap();
        let error = Shard::open(&path).unwrap_err();
        assert!(matches!(error, Error::Source { .. } | Error::Io { .. }), "{len}: {error}");
    }
    assert!(Shard::open(folder.path()).is_err());
}

#[test]
fn a_shard_says_what_its_images_were_reduced_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.bands");
    write(&path);
    assert_eq!(Shard::open(&path).unwrap().reduced(), None);
    let (file, jpeg) = (b"of another format", samples::jpeg(40, 30, Subsamp::Sub2x2, false));
    let reduced = Some(Reduced { max_side: 40, quality: 95 });
    let place = Place { number: 0, of: 1, first: 0 };
    let mut writer = ShardWriter::create_reduced(&path, &place, reduced).unwrap();
    let limits = Limits::default();
    writer.push(&pack_reduced(file, &jpeg, "a", 0, &limits).unwrap().bytes).unwrap();
    writer.push(&pack(&jpeg, "b", 0, &limits).unwrap().bytes).unwrap();
    writer.finish(&classes()).unwrap();
    let shard = Shard::open(&path).unwrap();
    assert_eq!((shard.reduced(), shard.place()), (reduced, &place));
    let [a, b] = [0, 1].map(|i| shard.verify(i, &limits).unwrap());
    assert_eq!((a.head().is_reduced, b.head().is_reduced), (true, false));
    assert_eq!((a.head().original_len, b.head().original_len), (17, jpeg.len() as u64));
    assert_ne!(a.head().original_sha256, b.head().original_sha256);
    assert_eq!(a.coefficients(), b.coefficients());
    assert!(pack_reduced(&jpeg, file, "a", 0, &limits).is_err(), "what is no JPEG cannot take a file's place");
}
