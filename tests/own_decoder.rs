//! The own JPEG decoder against libjpeg: the same pixels, the same warnings and errors, and really taken.

mod jpeg_fixtures;

use bandfeed::decode::{Decoder, Limits};
use bandfeed::shape::{Rect, Size};
use jpeg_fixtures::{Random, jpeg, manifest, picture, rectangle, shared_data, tar_jpegs, with_orientation};
use std::ffi::c_int;
use turbojpeg::{Subsamp, raw};

/// The samplings that the own decoder reads.
const SAMPLINGS: [Subsamp; 5] = [Subsamp::None, Subsamp::Sub2x1, Subsamp::Sub2x2, Subsamp::Sub1x2, Subsamp::Gray];

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
    let sizes = [(1, 1), (5, 90), (90, 1), (7, 7), (16, 16), (17, 33), (67, 45), (131, 70), (64, 49)];
    for subsamp in SAMPLINGS {
        for size in sizes {
            for (restart, optimize) in [(0, false), (0, true), (1, false), (3, true), (20, false)] {
                let coding = Coding { size, subsamp, quality: 90, optimize, restart };
                let bytes = coding.write(&picture(size.0, size.1));
                let regions = regions(&mut random, Size::new(size.0, size.1), 12);
                let is_own = pair.compare(&format!("{coding:?}"), &bytes, regions);
                let is_narrow = matches!(subsamp, Subsamp::Sub2x1 | Subsamp::Sub2x2) && size.0 <= 4;
                assert_eq!(is_own, !is_narrow, "{coding:?}");
            }
        }
    }
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
        ("RGB ids", false, changed(&|b| (rgb_ids(b), without_jfif(b)).1)),
        ("JFIF 2", false, changed(&|b| b[jfif + 9] = 2)),
        ("Adobe RGB", false, changed(&|b| (without_jfif(b), drop(b.splice(2..2, adobe(0)))).1)),
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
        ("4:1:1", false, jpeg(67, 45, Subsamp::Sub4x1, false)),
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
