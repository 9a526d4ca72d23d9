//! The fuzzers' checks on some thousands of changed files: what `tests/fuzz` runs for hours, for seconds.

#[path = "fuzz/checks.rs"]
mod checks;
mod jpeg_fixtures;

use bandfeed::decode::Limits;
use bandfeed::packed::{Place, ShardWriter, pack};
use jpeg_fixtures::{Random, jpeg, with_orientation};
use std::path::Path;
use turbojpeg::Subsamp;

const SAMPLINGS: [Subsamp; 6] =
    [Subsamp::None, Subsamp::Sub2x1, Subsamp::Sub2x2, Subsamp::Sub1x2, Subsamp::Sub4x1, Subsamp::Gray];

fn jpegs() -> Vec<Vec<u8>> {
    let mut files: Vec<_> = SAMPLINGS.map(|subsamp| jpeg(43, 29, subsamp, false)).to_vec();
    files.push(jpeg(70, 20, Subsamp::Sub2x2, true));
    files.push(with_orientation(&jpeg(9, 35, Subsamp::None, false), 6));
    files
}

fn packed() -> Vec<Vec<u8>> {
    let record = |bytes: &Vec<u8>| pack(bytes, "a/b.jpg", 3, &Limits::default()).unwrap().bytes;
    jpegs().iter().map(record).chain([pack(b"GIF89a", "c", 0, &Limits::default()).unwrap().bytes]).collect()
}

fn shard() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.bands");
    let mut writer = ShardWriter::create(&path, &Place { number: 0, of: 2, first: 0 }).unwrap();
    packed().iter().for_each(|record| writer.push(record).unwrap());
    writer.finish(&["a".to_owned(), "b".to_owned()]).unwrap();
    std::fs::read(path).unwrap()
}

/// Changes a few bytes, cuts, repeats or moves some.
fn change(bytes: &mut Vec<u8>, random: &mut Random, within: std::ops::Range<usize>) {
    for _ in 0..random.between(1, 4) {
        let span = within.start..within.end.min(bytes.len());
        if span.len() < 2 {
            return;
        }
        let at = random.between(span.start as u32, span.end as u32 - 1) as usize;
        match random.between(0, 9) {
            0..=3 => bytes[at] ^= 1 << random.between(0, 7),
            4..=6 => bytes[at] = [0, 1, 0x7f, 0x80, 0xfe, 0xff, random.next() as u8][random.between(0, 6) as usize],
            7 => bytes.truncate(at),
            8 => {
                let end = (at + random.between(1, 40) as usize).min(bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            _ => {
                let from = random.between(span.start as u32, span.end as u32 - 1) as usize;
                bytes[at] = bytes[from];
            }
        }
    }
}

fn run(seeds: &[Vec<u8>], rounds: u32, check: fn(&[u8]), part: fn(usize) -> Vec<std::ops::Range<usize>>) {
    let mut random = Random(11);
    for seed in seeds {
        check(seed);
        let parts = part(seed.len());
        for round in 0..rounds {
            let mut bytes = seed.clone();
            change(&mut bytes, &mut random, parts[round as usize % parts.len()].clone());
            check(&bytes);
        }
    }
}

#[test]
fn records() {
    run(&packed(), 600, checks::record, |len| vec![0..len, 56..len.min(700), 0..100]);
}

#[test]
fn files() {
    run(&jpegs(), 500, checks::jpeg, |len| vec![0..len, 0..len.min(620)]);
}

#[test]
fn shards() {
    run(&[shard()], 1200, checks::shard, |len| vec![len.saturating_sub(700)..len, 0..64, 0..len]);
}

/// Without damage the checks reach what they are about.
#[test]
fn a_repaired_record_is_as_it_was() {
    for record in packed() {
        let mut broken = record.clone();
        let head = u32::from_le_bytes(*record[8..].first_chunk().unwrap()) as usize;
        broken[head - 4] ^= 1;
        checks::repair(&mut broken);
        assert!(broken == record);
    }
    let mut broken = shard();
    let (whole, len) = (broken.clone(), broken.len());
    broken[len - 12] ^= 1;
    broken[60] ^= 1;
    checks::repair_shard(&mut broken);
    assert!(broken == whole);
}

/// Writes the files that the fuzzers start from: `BANDFEED_SEEDS=DIR cargo test --test fuzz -- --ignored`.
#[test]
#[ignore = "writes the fuzzers' seeds"]
fn write_seeds() {
    let folder = std::env::var("BANDFEED_SEEDS").expect("BANDFEED_SEEDS names a folder");
    for (target, files) in [("record", packed()), ("jpeg", jpegs()), ("shard", vec![shard()])] {
        let folder = Path::new(&folder).join(target);
        std::fs::create_dir_all(&folder).unwrap();
        for (i, bytes) in files.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{i}")), bytes).unwrap();
        }
    }
}
