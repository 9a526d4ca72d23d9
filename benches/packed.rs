//! Packed records: bytes beside the JPEGs, and the time to pack and to decode, on one thread.
//!
//! Not by criterion: on a shared machine the ways must alternate. Images are taken in groups, and each group is done in every
//! way before the next; the time of a way is the sum over groups of the median over rounds. `imagenet-200` is used
//! where the shared data folder is at hand, `BANDFEED_JPEGS` may name another tar. The baseline is libjpeg-turbo.

#[path = "../tests/jpeg_fixtures/mod.rs"]
mod jpeg_fixtures;

use bandfeed::decode::{Decoder, Limits};
use bandfeed::packed::{Coefficients, Record, TileDecoder, pack};
use bandfeed::shape::Rect;
use jpeg_fixtures::{jpeg, shared_data, tar_jpegs};
use std::hint::black_box;
use std::time::Instant;
use turbojpeg::Subsamp;

const ROUNDS: usize = 7;
const GROUP: usize = 20;
const RINGS: [u8; 5] = [2, 3, 4, 6, 8];

struct Case {
    file: Vec<u8>,
    record: Vec<u8>,
}

type Way<'a> = (String, Box<dyn FnMut(&Case) + 'a>);

fn main() {
    let limits = Limits::default();
    let tar = std::env::var_os("BANDFEED_JPEGS").map(Into::into).or_else(|| shared_data("imagenet-200.tar"));
    let files = match &tar {
        Some(tar) => tar_jpegs(tar).into_iter().map(|(_, bytes)| bytes).collect(),
        None => vec![jpeg(500, 375, Subsamp::None, false), jpeg(500, 375, Subsamp::Sub2x2, false)],
    };
    let mut stored = 0;
    let mut cases = Vec::new();
    for file in files {
        let packed = pack(&file, "00000.jpg", 0, &limits).expect("the file is not too large");
        match packed.stored {
            Some(_) => stored += 1,
            None => cases.push(Case { file, record: packed.bytes }),
        }
    }
    let count = cases.len() as f64;
    let megabytes = cases.iter().map(|c| c.file.len()).sum::<usize>() as f64 / 1e6;
    println!("{count} files of {:.1} KB on average, {stored} more are stored as they are", megabytes * 1e3 / count);
    println!("one thread, median of {ROUNDS} rounds, the ways alternate every {GROUP} files\n");
    sizes(&cases, &limits);

    let mut ways: Vec<Way> = Vec::new();
    let mut pixels = Decoder::new(limits.clone()).expect("the limits are in range").without_own_decoder();
    ways.push(("decode to pixels, libjpeg-turbo".into(), Box::new(move |c| drop(black_box(pixels.decode(&c.file))))));
    let mut pixels = Decoder::new(limits.clone()).expect("the limits are in range");
    ways.push(("decode to pixels, bandfeed".into(), Box::new(move |c| drop(black_box(pixels.decode(&c.file))))));
    let limit = &limits;
    ways.push((
        "coefficients of the JPEG".into(),
        Box::new(|c| drop(black_box(Coefficients::from_jpeg(&c.file, limit)))),
    ));
    ways.push(("pack".into(), Box::new(|c| drop(black_box(pack(&c.file, "00000.jpg", 0, limit))))));
    ways.push((
        "unpack to a JPEG".into(),
        Box::new(|c| {
            let record = Record::open(&c.record, limit).expect("the record is sound");
            drop(black_box(record.coefficients().and_then(|coefficients| coefficients.to_jpeg())));
        }),
    ));
    ways.push((
        "checksums of a record".into(),
        Box::new(|c| _ = black_box(Record::open(&c.record, limit).and_then(|record| record.verify(8)))),
    ));
    for way in 0..TileDecoder::all().len() {
        for rings in RINGS {
            let (name, mut decoder) = TileDecoder::all().swap_remove(way);
            ways.push((
                format!("tiles, rings < {rings}, {name}"),
                Box::new(move |c| decode(&mut decoder, &c.record, rings, limit)),
            ));
        }
    }
    let mut times = vec![vec![vec![0.0; ROUNDS]; cases.len().div_ceil(GROUP)]; ways.len()];
    for round in 0..=ROUNDS {
        for (group, cases) in cases.chunks(GROUP).enumerate() {
            for (way, times) in ways.iter_mut().zip(&mut times) {
                let start = Instant::now();
                cases.iter().for_each(&mut way.1);
                // The first round warms up.
                if round > 0 {
                    times[group][round - 1] = start.elapsed().as_secs_f64();
                }
            }
        }
    }
    println!("{:<36} {:>9} {:>10} {:>14}", "", "ms/image", "images/s", "MB/s of JPEG");
    for (way, times) in ways.iter().zip(&mut times) {
        let seconds: f64 = times.iter_mut().map(|rounds| median(rounds)).sum();
        let (each, rate, speed) = (seconds * 1e3 / count, count / seconds, megabytes / seconds);
        println!("{:<36} {each:>9.3} {rate:>10.0} {speed:>14.0}", way.0);
    }
}

fn decode(decoder: &mut TileDecoder, bytes: &[u8], rings: u8, limits: &Limits) {
    let record = Record::open(bytes, limits).expect("the record is sound");
    for (i, plane) in record.image().expect("the record is packed").components.iter().enumerate() {
        let all = Rect::whole(plane.blocks);
        decoder.decode(&record, i, rings, all, |_, _, tile| _ = black_box(tile)).expect("the record is sound");
    }
}

fn sizes(cases: &[Case], limits: &Limits) {
    let sum = |of: &dyn Fn(&Case) -> u64| cases.iter().map(of).sum::<u64>() as f64 / cases.len() as f64 / 1e3;
    let files = sum(&|c| c.file.len() as u64);
    let records = sum(&|c| c.record.len() as u64);
    println!("records {records:.1} KB on average, {:.4} of the files", records / files);
    let metadata = sum(&|c| Record::open(&c.record, limits).and_then(|r| r.metadata()).map_or(0, |m| m.len() as u64));
    let mut decoder = TileDecoder::new();
    let mut touched = [0_u64; 2];
    for case in cases {
        let record = Record::open(&case.record, limits).expect("the record is sound");
        for (i, plane) in record.image().expect("the record is packed").components.iter().enumerate() {
            let all = Rect::whole(plane.blocks);
            let seen = decoder.decode(&record, i, 8, all, |_, _, _| {}).expect("the record is sound");
            // The index is looked at for each component.
            touched[0] += if i == 0 { seen.index } else { 0 };
            touched[1] += seen.payload;
        }
    }
    let [index, payload] = touched.map(|t| t as f64 / cases.len() as f64 / 1e3);
    let rest = records - index - payload - metadata;
    println!("  payload {payload:.2}, index {index:.2}, metadata {metadata:.2}, heads and zeros {rest:.2} KB");
    for rings in RINGS {
        let prefix = sum(&|c| Record::open(&c.record, limits).expect("the record is sound").prefix_len(rings));
        println!("  prefix for rings < {rings}: {prefix:.1} KB, {:.3} of the files", prefix / files);
    }
    println!();
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
