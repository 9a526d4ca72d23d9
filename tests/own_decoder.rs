//! The own JPEG decoder against libjpeg: the same pixels, the same warnings and errors, and really taken.

mod jpeg_fixtures;

use bandfeed::decode::{Decoder, Limits};
use bandfeed::shape::{Rect, Size};
use jpeg_fixtures::writer::Coded;
use jpeg_fixtures::{Random, jpeg, manifest, picture, rectangle, shared_data, tar_jpegs, with_orientation};
use std::ffi::c_int;
use turbojpeg::{Subsamp, raw};

/// The samplings that libjpeg-turbo writes.
const SAMPLINGS: [Subsamp; 6] =
    [Subsamp::None, Subsamp::Sub2x1, Subsamp::Sub2x2, Subsamp::Sub1x2, Subsamp::Sub4x1, Subsamp::Gray];

/// How a picture is written. Restart markers are not among what the `turbojpeg` crate offers.
#[derive(Debug, Clone, Copy)]
struct Coding {
    size: (u32, u32),
    subsamp: Subsamp,
    quality: i32,
    optimize: bool,
    restart: i32,
}

impl Coding {
    fn write(self, pixels: &[u8]) -> Vec<u8> {
        let (width, height) = (self.size.0 as c_int, self.size.1 as c_int);
        assert!(pixels.len() >= (3 * width * height) as usize);
        let parameters = [
            (raw::TJPARAM_TJPARAM_SUBSAMP, self.subsamp as c_int),
            (raw::TJPARAM_TJPARAM_QUALITY, self.quality),
            (raw::TJPARAM_TJPARAM_OPTIMIZE, self.optimize.into()),
            (raw::TJPARAM_TJPARAM_RESTARTBLOCKS, self.restart),
        ];
        let (mut to, mut len) = (std::ptr::null_mut(), 0);
        // SAFETY: the handle is used between its start and end; the pixels have the size that is claimed; the buffer is
        // libjpeg's, of the length that it says, and is given back.
        unsafe {
            let handle = raw::tj3Init(raw::TJINIT_TJINIT_COMPRESS as c_int);
            for (parameter, value) in parameters {
                assert_eq!(raw::tj3Set(handle, parameter as c_int, value), 0, "{self:?}");
            }
            let format = raw::TJPF_TJPF_RGB as c_int;
            let code = raw::tj3Compress8(handle, pixels.as_ptr(), width, 3 * width, height, format, &mut to, &mut len);
            assert_eq!(code, 0, "{self:?}");
            let bytes = std::slice::from_raw_parts(to, len as usize).to_vec();
            raw::tj3Free(to.cast());
            raw::tj3Destroy(handle);
            bytes
        }
    }
}

/// Noise over the full range: the largest coefficients that there are.
fn noise(width: u32, height: u32) -> Vec<u8> {
    let mut random = Random(9);
    (0..width * height * 3).map(|_| if random.next() & 1 == 0 { 0 } else { 255 }).collect()
}

/// Both decoders, and how often the own one served.
struct Pair {
    own: Decoder,
    libjpeg: Decoder,
}

impl Pair {
    fn new(limits: Limits) -> Self {
        let decoder = || {
            let decoder = Decoder::new(limits.clone()).expect("the limits are in range");
            decoder.scale_margin(f64::INFINITY).expect("an infinite margin scales nothing")
        };
        Self { own: decoder().with_own_decoder(), libjpeg: decoder().without_own_decoder() }
    }

    /// Decodes the whole file and some regions with both. `true` if the own decoder served each time.
    fn compare(&mut self, name: &str, bytes: &[u8], regions: impl IntoIterator<Item = Rect>) -> bool {
        let before = self.own.own_decodes();
        let mut count = 1;
        let (own, libjpeg) = (self.own.decode(bytes), self.libjpeg.decode(bytes));
        assert!(own == libjpeg, "{name}: {:?} and {:?}", own.map(|p| p.warning), libjpeg.map(|p| p.warning));
        if let Ok(header) = self.own.header(bytes) {
            for region in regions {
                count += 1;
                let own = self.own.decode_region(bytes, &header, region, region.size());
                match (own, self.libjpeg.decode_region(bytes, &header, region, region.size())) {
                    (Ok(own), Ok(libjpeg)) => {
                        assert_eq!(
                            (own.size, own.area, own.scale, own.warning),
                            (libjpeg.size, libjpeg.area, libjpeg.scale, libjpeg.warning),
                            "{name}: {region:?}"
                        );
                        let len = 3 * own.size.width as usize;
                        assert_eq!(own.pixels.len(), (own.size.height as usize - 1) * own.stride + len);
                        for y in 0..own.size.height as usize {
                            let (own, libjpeg) =
                                (&own.pixels[y * own.stride..][..len], &libjpeg.pixels[y * libjpeg.stride..][..len]);
                            assert!(own == libjpeg, "{name}: {region:?}: row {y}");
                        }
                    }
                    (own, libjpeg) => assert_eq!(own, libjpeg, "{name}: {region:?}"),
                }
            }
        }
        self.own.own_decodes() - before == count
    }
}

fn regions(random: &mut Random, size: Size, count: usize) -> Vec<Rect> {
    (0..count).map(|_| rectangle(random, size)).collect()
}

#[test]
fn every_sampling_size_and_restart_interval_is_bit_identical() {
    let mut random = Random(1);
    let mut pair = Pair::new(Limits::default());
    let sizes = [(1, 1), (4, 9), (5, 90), (90, 1), (7, 7), (16, 16), (17, 33), (67, 45), (131, 70), (64, 49)];
    for subsamp in SAMPLINGS {
        for size in sizes {
            for (restart, optimize) in [(0, false), (0, true), (1, false), (3, true), (20, false)] {
                let coding = Coding { size, subsamp, quality: 90, optimize, restart };
                let bytes = coding.write(&picture(size.0, size.1));
                let regions = regions(&mut random, Size::new(size.0, size.1), 12);
                assert!(pair.compare(&format!("{coding:?}"), &bytes, regions), "{coding:?}");
            }
        }
    }
}

/// Factors of three components: each can be the one of the highest resolution, along each axis another.
fn any_factors(random: &mut Random) -> Vec<(u32, u32)> {
    let count = if random.between(0, 9) == 0 { 1 } else { 3 };
    (0..count).map(|_| (random.between(1, 4), random.between(1, 4))).collect()
}

#[test]
fn every_ratio_of_sampling_factors_is_bit_identical() {
    let mut random = Random(10);
    let mut pair = Pair::new(Limits::default());
    let (mut own, mut single) = (0, 0);
    for case in 0..900 {
        let size = (random.between(1, 150), random.between(1, 100));
        let mut coded = Coded::new(size, &any_factors(&mut random));
        coded.wide_steps = case % 7 == 0;
        if case % 3 == 0 {
            coded.scans.iter_mut().for_each(|(_, restart)| *restart = random.between(1, 9) as u16);
        }
        let regions = regions(&mut random, Size::new(size.0, size.1), 6);
        let is_own = pair.compare(&format!("case {case}: {coded:?}"), &coded.write(&mut random), regions);
        assert_eq!(is_own, coded.is_integral(), "case {case}: {coded:?}");
        own += usize::from(is_own);
        single += usize::from(is_own && coded.scans.len() == 1);
    }
    assert!(own > 300 && single > 100, "{own} could be decoded, {single} of one scan");
}

#[test]
fn every_division_into_scans_is_bit_identical() {
    let mut random = Random(11);
    let mut pair = Pair::new(Limits::default());
    let divisions: [&[&[usize]]; 5] =
        [&[&[0], &[1], &[2]], &[&[0], &[1, 2]], &[&[0, 2], &[1]], &[&[2], &[0], &[1]], &[&[1, 2], &[0]]];
    let samplings = [
        [(2, 2), (1, 1), (1, 1)],
        [(1, 1); 3],
        [(2, 1), (1, 1), (1, 1)],
        [(1, 2), (2, 1), (1, 1)],
        [(4, 1), (2, 1), (1, 1)],
    ];
    for factors in samplings {
        for division in divisions {
            for size in [(1, 1), (67, 45), (130, 64), (3, 40)] {
                for restart in [0, 1, 5] {
                    let mut coded = Coded::new(size, &factors);
                    coded.scans = division.iter().map(|scan| (scan.to_vec(), restart)).collect();
                    let regions = regions(&mut random, Size::new(size.0, size.1), 8);
                    assert!(pair.compare(&format!("{coded:?}"), &coded.write(&mut random), regions), "{coded:?}");
                }
            }
        }
    }
    let scans = |scans: &[&[usize]]| {
        let mut coded = Coded::new((67, 45), &samplings[0]);
        coded.scans = scans.iter().map(|scan| (scan.to_vec(), 0)).collect();
        coded.write(&mut Random(12))
    };
    let sound = scans(&[&[0], &[1], &[2]]);
    let missing = scans(&[&[0], &[1]]);
    let twice = scans(&[&[0], &[1], &[2], &[1]]);
    let (cut, mut stray) = (sound[..sound.len() - 2].to_vec(), sound.clone());
    stray.insert(sound.len() - 2, 9);
    for (name, bytes) in [("missing", missing), ("twice", twice), ("cut", cut), ("stray", stray)] {
        let whole = Rect::whole(Size::new(67, 45));
        assert!(!pair.compare(name, &bytes, [whole]), "{name}: libjpeg decides");
    }
}

#[test]
fn every_colour_is_bit_identical() {
    let mut random = Random(13);
    let mut pair = Pair::new(Limits::default());
    let rgb = [(b'R', (1, 1)), (b'G', (1, 1)), (b'B', (1, 1))];
    let uneven = [(b'R', (1, 2)), (b'G', (2, 2)), (b'B', (2, 1))];
    let inks = [(1, (1, 1)), (2, (1, 1)), (3, (1, 1)), (4, (1, 1))];
    let fewer = [(1, (2, 2)), (2, (1, 1)), (3, (1, 1)), (4, (2, 2))];
    let cases = [
        (&rgb[..], None, true),
        (&uneven[..], None, true),
        (&rgb[..], Some(0), true),
        (&rgb[..], Some(1), true),
        (&rgb[..], Some(3), false),
        (&inks[..], None, true),
        (&inks[..], Some(0), true),
        (&inks[..], Some(2), true),
        (&inks[..], Some(1), false),
        (&fewer[..], Some(0), true),
        (&fewer[..], Some(2), true),
    ];
    for (components, adobe, is_own) in cases {
        for size in [(67, 45), (3, 5), (40, 16)] {
            for in_scans in [false, true] {
                let factors: Vec<_> = components.iter().map(|c| c.1).collect();
                let mut coded = Coded { components: components.to_vec(), adobe, ..Coded::new(size, &factors) };
                if in_scans {
                    coded.scans = (0..components.len()).map(|c| (vec![c], 2)).collect();
                }
                let regions = regions(&mut random, Size::new(size.0, size.1), 10);
                let found = pair.compare(&format!("{coded:?}"), &coded.write(&mut random), regions);
                assert_eq!(found, is_own, "{coded:?}");
            }
        }
    }
}

/// At M/8 there is nothing to be equal to: flat areas keep their places and colours, and a region is the part of the whole.
#[test]
fn every_sampling_is_scaled_in_place() {
    let mut random = Random(14);
    let mut decoder = Decoder::new(Limits::default()).expect("the limits are in range").with_own_decoder();
    let mut one_more = Decoder::new(Limits::default()).expect("the limits are in range").without_vectors();
    let (mut scaled, mut sums, mut counts) = (0, [0.0; 8], [0.0; 8]);
    for case in 0..120 {
        let size = (random.between(40, 150), random.between(40, 100));
        let mut coded = Coded { details: 0, ..Coded::new(size, &any_factors(&mut random)) };
        if !coded.is_integral() {
            continue;
        }
        if case % 2 == 0 {
            coded.scans = (0..coded.components.len()).map(|c| (vec![c], 0)).collect();
        }
        let bytes = coded.write(&mut random);
        let header = decoder.header(&bytes).expect("the header is sound");
        let full = decoder.decode(&bytes).expect("the image is sound");
        let whole = Rect::whole(header.size);
        for m in [1, 2, 3, 4, 6] {
            // By the margin of 1.5 and what the smaller scales add to it, in quarters.
            let margin = [0, 12, 8, 7, 6, 0, 6][m as usize];
            let need = |side: u32| (side * m / 8 * 4 / margin).max(1);
            let need = Size::new(need(size.0), need(size.1));
            let before = decoder.own_decodes();
            let patch = decoder.decode_region(&bytes, &header, whole, need).expect("the image is sound");
            let (m, side, all) = (usize::from(patch.scale), patch.size, patch.pixels.to_vec());
            assert!(m < 8, "{size:?} for {need:?}");
            let mut differences = 0;
            for (i, got) in all.iter().enumerate() {
                let (x, y, c) = (i / 3 % side.width as usize, i / 3 / side.width as usize, i % 3);
                // The pixel in the middle.
                let middle = |at: usize, side: u32| ((8 * at + 4) / m).min(side as usize - 1);
                let there = 3 * (middle(y, size.1) * size.0 as usize + middle(x, size.0)) + c;
                differences += usize::from(got.abs_diff(full.data[there]));
            }
            let difference = differences as f64 / all.len() as f64;
            assert!(difference < 10.0, "{coded:?} at {m}/8: {difference}");
            (sums[m], counts[m]) = (sums[m] + difference, counts[m] + 1.0);
            let plain = one_more.decode_region(&bytes, &header, whole, need).expect("the image is sound");
            assert!(plain.pixels == all, "{coded:?} at {m}/8 without vectors");
            let region = Rect { x: 8, y: 16, width: 24, height: 17 };
            let need = Size::new(24 * need.width / size.0, 17 * need.height / size.1);
            let patch = decoder.decode_region(&bytes, &header, region, need).expect("the image is sound");
            let is_same = usize::from(patch.scale) == m;
            scaled += usize::from(is_same);
            for y in 0..if is_same { patch.size.height as usize } else { 0 } {
                let row = &patch.pixels[y * patch.stride..][..3 * patch.size.width as usize];
                let from = 3 * ((2 * m + y) * side.width as usize + m);
                assert_eq!(row, &all[from..][..row.len()], "{coded:?} at {m}/8: row {y}");
            }
            assert_eq!(decoder.own_decodes() - before, 2, "{coded:?}");
        }
    }
    for m in [1, 2, 3, 4, 6] {
        // Blending with the next block makes 2 at 1/8; the pixels of the next block are 14 away.
        assert!(sums[m] / counts[m] < 3.0, "{} at {m}/8", sums[m] / counts[m]);
    }
    assert!(scaled > 60, "{scaled} regions were scaled like the whole");
}

#[test]
fn every_quality_is_bit_identical_also_of_noise() {
    let mut random = Random(2);
    let mut pair = Pair::new(Limits::default());
    let size = (75, 41);
    let (picture, noise) = (picture(size.0, size.1), noise(size.0, size.1));
    let mut own = 0;
    for quality in 1..=100 {
        for (content, pixels) in [("picture", &picture), ("noise", &noise)] {
            let subsamp = SAMPLINGS[quality as usize % SAMPLINGS.len()];
            let coding = Coding { size, subsamp, quality, optimize: quality % 2 == 0, restart: 0 };
            let regions = regions(&mut random, Size::new(size.0, size.1), 4);
            let is_own = pair.compare(&format!("{content} {coding:?}"), &coding.write(pixels), regions);
            assert!(is_own || content == "noise", "{coding:?}");
            own += usize::from(is_own);
        }
    }
    assert!(own >= 180, "{own} of 200 pictures were decoded without libjpeg");
}

#[test]
fn every_start_and_end_of_a_region_is_bit_identical() {
    let mut pair = Pair::new(Limits::default());
    for subsamp in SAMPLINGS {
        let coding = Coding { size: (83, 53), subsamp, quality: 85, optimize: false, restart: 0 };
        let bytes = coding.write(&picture(83, 53));
        let across = (0..83).flat_map(|x| {
            [1, 2, 3, 15, 16, 17, 83].map(|width: u32| Rect { x, y: 20, width: width.min(83 - x), height: 3 })
        });
        let down = (0..53).flat_map(|y| (1..=53 - y).map(move |height| Rect { x: 30, y, width: 9, height }));
        assert!(pair.compare(&format!("{subsamp:?}"), &bytes, across.chain(down)), "{subsamp:?}");
    }
}

#[test]
fn every_orientation_is_bit_identical() {
    let mut random = Random(3);
    let mut pair = Pair::new(Limits::default());
    for value in 1..=8 {
        let bytes = with_orientation(&jpeg(67, 45, Subsamp::Sub2x2, false), value);
        let size = pair.own.header(&bytes).expect("the header is sound").size;
        assert!(pair.compare(&format!("orientation {value}"), &bytes, regions(&mut random, size, 30)));
    }
}

#[test]
fn corpora_are_bit_identical() {
    let mut random = Random(4);
    let mut pair = Pair::new(Limits { max_scans: 128, ..Limits::default() });
    for folder in ["jpeg-conformance", "hostile"] {
        let Some(path) = shared_data(folder) else { continue };
        let (mut own, mut count) = (0, 0);
        for (row, bytes) in manifest(&path) {
            let Ok(header) = pair.own.header(&bytes) else { continue };
            if header.frame.is_none() || header.size.pixels() > 4_000_000 {
                continue;
            }
            let some = if header.size.pixels() > 300_000 { 2 } else { 20 };
            let regions = regions(&mut random, header.size, some);
            own += usize::from(pair.compare(&row["file"], &bytes, regions));
            count += 1;
        }
        eprintln!("{folder}: {own} of {count} JPEGs were decoded without libjpeg");
    }
}

#[test]
fn imagenet_is_decoded_without_libjpeg_and_bit_identical() {
    let Some(tar) = shared_data("imagenet-200.tar") else { return };
    let mut random = Random(5);
    let mut pair = Pair::new(Limits::default());
    let files = tar_jpegs(&tar);
    let mut others = Vec::new();
    for (name, bytes) in &files {
        let size = pair.own.header(bytes).expect("the header is sound").size;
        if !pair.compare(name, bytes, regions(&mut random, size, 4)) {
            others.push(name);
        }
    }
    eprintln!("{} of {} files not taken: {others:?}", others.len(), files.len());
    assert!(20 * others.len() <= files.len(), "{} of {} were left to libjpeg", others.len(), files.len());
}

/// The place of the first segment with this marker.
fn segment(bytes: &[u8], marker: u8) -> usize {
    bytes.windows(2).position(|w| w == [0xff, marker]).expect("the segment is there")
}

#[test]
fn what_is_not_plain_is_left_to_libjpeg() {
    let mut random = Random(6);
    let mut pair = Pair::new(Limits::default());
    let good = jpeg(67, 45, Subsamp::Sub2x2, false);
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    let (jfif, frame, scan) = (segment(&good, 0xe0), segment(&good, 0xc0), segment(&good, 0xda));
    let without_jfif = |bytes: &mut Vec<u8>| drop(bytes.drain(jfif..jfif + 18));
    let adobe = |transform: u8| {
        let mut segment = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0".to_vec();
        segment.push(transform);
        segment
    };
    let rgb_ids = |bytes: &mut Vec<u8>| {
        for (i, id) in b"RGB".iter().enumerate() {
            bytes[frame + 10 + 3 * i] = *id;
            bytes[scan + 5 + 2 * i] = *id;
        }
    };
    let cases: Vec<(&str, bool, Vec<u8>)> = vec![
        ("as written", true, good.clone()),
        ("no JFIF", true, changed(&|b| without_jfif(b))),
        ("RGB ids under JFIF", true, changed(&|b| rgb_ids(b))),
        ("RGB ids", true, changed(&|b| (rgb_ids(b), without_jfif(b)).1)),
        ("JFIF 2", false, changed(&|b| b[jfif + 9] = 2)),
        ("Adobe RGB", true, changed(&|b| (without_jfif(b), drop(b.splice(2..2, adobe(0)))).1)),
        ("Adobe YCbCr", true, changed(&|b| (without_jfif(b), drop(b.splice(2..2, adobe(1)))).1)),
        ("Adobe 2", false, changed(&|b| (without_jfif(b), drop(b.splice(2..2, adobe(2)))).1)),
        ("Adobe RGB under JFIF", true, changed(&|b| drop(b.splice(2..2, adobe(0))))),
        ("garbage between segments", false, changed(&|b| drop(b.splice(frame..frame, [1, 2])))),
        ("fill bytes between segments", false, changed(&|b| b.insert(frame, 0xff))),
        ("a byte before the end", false, changed(&|b| b.insert(b.len() - 2, 7))),
        ("a byte after the end", true, changed(&|b| b.push(7))),
        ("no end", false, changed(&|b| b.truncate(b.len() - 2))),
        ("cut", false, changed(&|b| b.truncate(b.len() * 2 / 3))),
        ("another selection", false, changed(&|b| b[scan + 12] = 62)),
        ("two-byte steps", false, changed(&|b| b[segment(&good, 0xdb) + 4] = 0x10)),
        ("progressive", false, jpeg(67, 45, Subsamp::Sub2x2, true)),
        ("4:1:1", true, jpeg(67, 45, Subsamp::Sub4x1, false)),
    ];
    for (name, is_own, bytes) in cases {
        let whole = pair.own.header(&bytes).ok().map(|header| Rect::whole(header.size));
        assert_eq!(pair.compare(name, &bytes, whole), is_own, "{name}");
        if whole.is_some() {
            pair.compare(name, &bytes, regions(&mut random, Size::new(67, 45), 20));
        }
    }
}

#[test]
fn damaged_files_end_as_with_libjpeg() {
    const CASES: usize = 12_000;
    let mut files = Vec::new();
    for subsamp in SAMPLINGS {
        for (restart, optimize) in [(0, false), (2, true)] {
            let coding = Coding { size: (45, 37), subsamp, quality: 80, optimize, restart };
            files.push(coding.write(&picture(45, 37)));
        }
    }
    let mut random = Random(7);
    let alone = |c: usize| (vec![c], 3);
    for factors in [&[(2, 2), (1, 1), (1, 1)][..], &[(1, 1), (2, 1), (1, 2)], &[(1, 1); 4]] {
        let coded = Coded::new((45, 37), factors);
        files.push(coded.write(&mut random));
        files.push(Coded { scans: (0..factors.len()).map(alone).collect(), ..coded }.write(&mut random));
    }
    let mut pair = Pair::new(Limits { max_pixels: 300_000, max_scans: 20 });
    let mut own = 0;
    for case in 0..CASES {
        let mut bytes = files[case % files.len()].clone();
        let reach = if case % 3 == 0 { bytes.len().min(700) } else { bytes.len() } as u32;
        for _ in 0..random.between(1, 3) {
            let at = random.between(2, reach - 1) as usize;
            match random.between(0, 4) {
                0 => bytes[at] = random.next() as u8,
                1 | 2 => bytes[at] ^= 1 << random.between(0, 7),
                3 => bytes[at] = [0, 0xff, 0x7f, 0x80][random.between(0, 3) as usize],
                _ => {
                    let from = random.between(2, reach - 1) as usize;
                    let len = (random.between(1, 16) as usize).min(bytes.len() - at.max(from));
                    bytes.copy_within(from..from + len, at);
                }
            }
        }
        if random.between(0, 19) == 0 {
            bytes.truncate(random.between(2, reach) as usize);
        }
        let size = pair.own.header(&bytes).map_or(Size::square(1), |header| header.size);
        let before = pair.own.own_decodes();
        pair.compare(&format!("case {case}"), &bytes, regions(&mut random, size, 3));
        own += (pair.own.own_decodes() - before) as usize;
    }
    eprintln!("{own} of {} decodings of damaged files were done without libjpeg", 4 * CASES);
    assert!(own > CASES / 4, "{own}: too few to tell anything");
}
