//! Side indices: the same pixels as without, whatever the file, and no harm from an index that is stale, damaged or foreign.

mod jpeg_fixtures;
mod loader_fixtures;

use bandfeed::Error;
use bandfeed::decode::{Decoder, Header, Limits, Seek, SeekGrid, SeekPoint, SeekPoints};
use bandfeed::engine::Cpu;
use bandfeed::index::{self, Indexable, Kind, SideIndex};
use bandfeed::loader::Loader;
use bandfeed::schedule::{Options, Schedule};
use bandfeed::shape::{Rect, Size};
use bandfeed::source::{self, Source, Subset};
use jpeg_fixtures::{Random, picture, rectangle, shared_data, with_orientation};
use std::ffi::c_int;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use turbojpeg::{Subsamp, raw};

/// A JPEG with so many blocks or MCU rows between restart markers, as libjpeg writes it.
fn jpeg(size: (u32, u32), subsamp: Subsamp, quality: i32, restart: i32) -> Vec<u8> {
    let pixels = picture(size.0, size.1);
    let parameters = [
        (raw::TJPARAM_TJPARAM_SUBSAMP, subsamp as c_int),
        (raw::TJPARAM_TJPARAM_QUALITY, quality),
        (raw::TJPARAM_TJPARAM_RESTARTBLOCKS, restart),
    ];
    let (mut to, mut len) = (std::ptr::null_mut(), 0);
    // SAFETY: the handle is used between its start and end; the pixels have the size that is claimed; the buffer is
    // libjpeg's, of the length that it says, and is given back.
    unsafe {
        let handle = raw::tj3Init(raw::TJINIT_TJINIT_COMPRESS as c_int);
        for (parameter, value) in parameters {
            assert_eq!(raw::tj3Set(handle, parameter as c_int, value), 0);
        }
        let (width, height, format) = (size.0 as c_int, size.1 as c_int, raw::TJPF_TJPF_RGB as c_int);
        let code = raw::tj3Compress8(handle, pixels.as_ptr(), width, 3 * width, height, format, &mut to, &mut len);
        assert_eq!(code, 0, "{size:?} {subsamp:?}");
        let bytes = std::slice::from_raw_parts(to, len as usize).to_vec();
        raw::tj3Free(to.cast());
        raw::tj3Destroy(handle);
        bytes
    }
}

fn decoder() -> Decoder {
    Decoder::new(Limits::default()).unwrap().with_own_decoder()
}

fn every(bytes: &[u8]) -> Option<SeekPoints> {
    let mut decoder = decoder();
    let frame = decoder.header(bytes).ok()?.frame?;
    decoder.seek_points(bytes, &frame)
}

/// Decodes with the points and without; the two must be equal. What became of the points.
fn compare(bytes: &[u8], header: &Header, region: Rect, need: Size, points: &SeekPoints) -> Seek {
    let (mut with, mut without) = (decoder(), decoder());
    let whole = without.decode_region(bytes, header, region, need);
    let sought = with.decode_region_from(bytes, header, region, need, Some(points));
    assert!(sought == whole, "{region:?} for {need:?}");
    drop(sought);
    with.seek()
}

/// Grids of an image: dense and sparse, with points in every row and in few, up to the last column and not.
fn grids(units: (usize, usize)) -> Vec<SeekGrid> {
    let mut grids = Vec::new();
    for steps in [(1, 1), (2, 1), (3, 2), (5, 1), (8, 3), (1000, 1), (1000, 4)] {
        for columns in [1, 3, units.0.div_ceil(steps.0)] {
            if (columns - 1) * steps.0 < units.0 {
                grids.push(SeekGrid { units, steps, columns });
            }
        }
    }
    grids
}

#[test]
fn pixels_by_seek_points_are_those_without() {
    let mut random = Random(3);
    let samplings = [Subsamp::None, Subsamp::Sub2x1, Subsamp::Sub2x2, Subsamp::Sub1x2, Subsamp::Gray];
    let mut used = 0;
    for (case, subsamp) in samplings.into_iter().cycle().take(60).enumerate() {
        let size = (random.between(1, 150), random.between(1, 150));
        let restart = [0, 0, 1, 3, 17][random.between(0, 4) as usize];
        let orientation = random.between(1, 8) as u16;
        let quality = [40, 90, 100][case % 3];
        let bytes = with_orientation(&jpeg(size, subsamp, quality, restart), orientation);
        let header = decoder().header(&bytes).unwrap();
        let every = every(&bytes).unwrap();
        for grid in grids(every.grid().units) {
            let points = every.thinned(grid).unwrap();
            let region = rectangle(&mut random, header.size);
            let need = match random.between(0, 2) {
                0 => region.size(),
                n => Size::new(region.width.div_ceil(4 * n), region.height.div_ceil(4 * n)),
            };
            assert_eq!(compare(&bytes, &header, region, need, &points), Seek::Used, "{case}: {grid:?} {region:?}");
            used += 1;
        }
    }
    assert!(used > 500, "{used}");
}

#[test]
fn every_scale_decodes_alike_with_seek_points() {
    let mut random = Random(4);
    for subsamp in [Subsamp::None, Subsamp::Sub2x2, Subsamp::Gray] {
        let bytes = jpeg((203, 149), subsamp, 90, 7);
        let (header, every) = (decoder().header(&bytes).unwrap(), every(&bytes).unwrap());
        let points = every.thinned(SeekGrid { units: every.grid().units, steps: (3, 1), columns: 4 }).unwrap();
        let mut scales = Vec::new();
        for m in 1..=8 {
            for _ in 0..12 {
                let region = rectangle(&mut random, header.size);
                let need = |side: u32| (f64::from(side * m) / 8.0 / 3.1) as u32;
                let need = Size::new(need(region.width).max(1), need(region.height).max(1));
                assert_eq!(compare(&bytes, &header, region, need, &points), Seek::Used);
                scales.push(decoder().decode_region(&bytes, &header, region, need).unwrap().scale);
            }
        }
        scales.sort_unstable();
        scales.dedup();
        assert_eq!(scales, [1, 2, 3, 4, 6, 8]);
    }
}

#[test]
fn files_that_are_not_for_the_own_decoder_have_no_seek_points() {
    assert!(every(&jpeg_fixtures::jpeg(90, 70, Subsamp::Sub2x2, true)).is_none(), "progressive");
    let sound = jpeg((90, 70), Subsamp::Sub2x2, 90, 0);
    assert!(every(&sound).is_some());
    assert!(every(&sound[..sound.len() - 2]).is_none(), "without its end");
    assert!(every(&sound[..sound.len() / 2]).is_none());
    let mut damaged = sound.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 2].copy_from_slice(&[0xff, 0xd3]);
    assert!(every(&damaged).is_none(), "a marker in the middle");
    let Some(folder) = shared_data("hostile") else { return };
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        let bytes = fs::read(&entry).unwrap();
        let mut strict = Decoder::new(Limits::default()).unwrap().without_own_decoder().strict(true);
        if every(&bytes).is_some() {
            assert!(strict.decode(&bytes).is_ok(), "{} is damaged but has seek points", entry.display());
        }
    }
}

#[test]
fn wrong_seek_points_are_noticed_where_units_lie_between_two_of_them() {
    let bytes = jpeg((160, 96), Subsamp::None, 90, 0);
    let (header, every) = (decoder().header(&bytes).unwrap(), every(&bytes).unwrap());
    let grid = SeekGrid { units: every.grid().units, steps: (2, 1), columns: 10 };
    let sound = every.thinned(grid).unwrap();
    // Begins at column 4 of each row, and ends at the point of column 12.
    let region = Rect { x: 34, y: 33, width: 60, height: 31 };
    assert_eq!(compare(&bytes, &header, region, region.size(), &sound), Seek::Used);
    for (point, change) in [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (0, 3), (1, 3)] {
        let mut points = sound.points().to_vec();
        // Row 5, the first point that is used and the one that is passed.
        let place = 5 * grid.columns + if point == 0 { 2 } else { 6 };
        let SeekPoint { position, predicted } = &mut points[place];
        match change {
            0 => *position += 1,
            1 => *position -= 9,
            n => predicted[n - 1] += 1,
        }
        let wrong = SeekPoints::new(grid, points).unwrap();
        assert_eq!(compare(&bytes, &header, region, region.size(), &wrong), Seek::Wrong, "{point} {change}");
    }
    // Those of another image, and of another size.
    let other = self::every(&jpeg((160, 96), Subsamp::None, 70, 0)).unwrap().thinned(grid).unwrap();
    assert_eq!(compare(&bytes, &header, region, region.size(), &other), Seek::Wrong);
    let other = self::every(&jpeg((160, 104), Subsamp::None, 90, 0)).unwrap();
    assert_eq!(compare(&bytes, &header, region, region.size(), &other), Seek::Wrong);
    let mut strict = decoder().strict(true);
    let patch = strict.decode_region_from(&bytes, &header, region, region.size(), Some(&sound)).unwrap();
    assert_eq!(patch.warning, None);
    assert_eq!(strict.seek(), Seek::Unused);
}

#[test]
fn no_seek_points_make_it_panic() {
    let mut random = Random(5);
    for (subsamp, restart) in [(Subsamp::Sub2x2, 0), (Subsamp::None, 5), (Subsamp::Gray, 1)] {
        let bytes = jpeg((130, 90), subsamp, 90, restart);
        let (header, every) = (decoder().header(&bytes).unwrap(), every(&bytes).unwrap());
        for _ in 0..300 {
            let grid = grids(every.grid().units).swap_remove(random.between(0, 8) as usize);
            let mut points = every.thinned(grid).unwrap().points().to_vec();
            for point in &mut points {
                match random.between(0, 3) {
                    0 => point.position = random.next() as u32,
                    1 => point.position = random.between(0, 8 * bytes.len() as u32 + 100),
                    2 => point.predicted = [0, 1, 2].map(|_| random.next() as i16),
                    _ => {}
                }
            }
            let points = SeekPoints::new(grid, points).unwrap();
            let region = rectangle(&mut random, header.size);
            // Whatever the pixels are: an index is only used where its checksums are right.
            let need = Size::new(region.width.div_ceil(3), region.height.div_ceil(3));
            _ = decoder().decode_region_from(&bytes, &header, region, need, Some(&points));
        }
    }
}

/// A folder of two classes, and a shard of the same files.
struct Data {
    root: TempDir,
    files: Vec<(String, Vec<u8>)>,
}

impl Data {
    fn new() -> Self {
        let data = Self { root: TempDir::new().unwrap(), files: files() };
        for (name, bytes) in &data.files {
            let path = data.path("train").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        data.pack(&data.files);
        data
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn pack(&self, files: &[(String, Vec<u8>)]) {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let label = name.starts_with("dog") as u8 + b'0';
            let stem = name.rsplit_once('.').unwrap().0.replace('/', "_");
            let extension = name.rsplit_once('.').unwrap().1;
            for (extension, bytes) in [(extension, &bytes[..]), ("cls", &[label])] {
                let mut header = tar::Header::new_ustar();
                header.set_size(bytes.len() as u64);
                tar.append_data(&mut header, format!("{stem}.{extension}"), bytes).unwrap();
            }
        }
        fs::write(self.path("new.tar"), tar.into_inner().unwrap()).unwrap();
        fs::rename(self.path("new.tar"), self.path("x.tar")).unwrap();
    }

    fn open(&self, name: &str) -> Arc<dyn Indexable> {
        open(&self.path(name), None)
    }
}

fn open(path: &Path, index: Option<&Path>) -> Arc<dyn Indexable> {
    source::open_with_index(path.to_str().unwrap(), index).unwrap()
}

/// 14 JPEGs of all kinds, one of them progressive, one tiny; and a PNG.
fn files() -> Vec<(String, Vec<u8>)> {
    let samplings = [Subsamp::None, Subsamp::Sub2x1, Subsamp::Sub2x2, Subsamp::Gray];
    let mut files: Vec<_> = (0..12_u32)
        .map(|i| {
            let class = if i < 6 { "cat" } else { "dog/deep" };
            let bytes = jpeg((200 + 13 * i, 240 - 7 * i), samplings[i as usize % 4], 92, [0, 0, 5][i as usize % 3]);
            (format!("{class}/{i:02}.jpg"), with_orientation(&bytes, (i % 8) as u16 + 1))
        })
        .collect();
    files.push(("dog/20.jpg".to_owned(), jpeg_fixtures::jpeg(180, 130, Subsamp::Sub2x2, true)));
    files.push(("dog/21.jpg".to_owned(), jpeg((8, 8), Subsamp::Gray, 50, 0)));
    let mut png = std::io::Cursor::new(Vec::new());
    let pixels = image::RgbImage::from_raw(64, 64, picture(64, 64)).unwrap();
    pixels.write_to(&mut png, image::ImageFormat::Png).unwrap();
    files.push(("dog/22.png".to_owned(), png.into_inner()));
    files
}

fn build(source: &dyn Indexable) -> index::Summary {
    index::build(source, false, &Limits::default(), &|_| ()).unwrap()
}

fn verify(source: &dyn Indexable) -> Result<index::Summary, Error> {
    index::verify(source, &Limits::default(), &|_| ())
}

/// Two passes of batches as plain values, and how many images were decoded with an index and against a stale one.
fn batches(source: Arc<dyn Source>) -> (Vec<loader_fixtures::Plain>, u64, u64) {
    let options = Options { base: 64, patch: 8, batch_size: 5, epochs: 2.0, ..Options::default() };
    let schedule = Schedule::named("efficient_train_pp_deit", &options).unwrap();
    let mut loader = Loader::builder(source, schedule).seed(1).workers(2).build().unwrap();
    let batches = loader.by_ref().map(|batch| batch.unwrap().into()).collect();
    let counters = loader.counters();
    (batches, counters.sought, counters.stale)
}

#[test]
fn the_loader_finds_an_index_and_makes_the_same_batches() {
    let data = Data::new();
    for name in ["train", "x.tar"] {
        let (plain, sought, stale) = batches(data.open(name));
        assert_eq!((sought, stale), (0, 0));
        let summary = build(&*data.open(name));
        assert_eq!((summary.files, summary.with_points, summary.made, summary.kept), (15, 12, 14, 1), "{summary:?}");
        assert!(summary.index_bytes * 50 < summary.file_bytes + 128 * 50, "{summary:?}");
        let source = data.open(name);
        assert!(!source.describe().contains("ignored"), "{}", source.describe());
        let (by_index, sought, stale) = batches(source.clone());
        assert_eq!(by_index, plain);
        let images = plain.iter().map(|batch| batch.indices.len() as u64).sum::<u64>();
        assert!(sought * 2 > images && stale == 0, "{sought} of {images}");
        let summary = verify(&*source).unwrap();
        assert_eq!((summary.kept, summary.stale, summary.missing, summary.with_points), (15, 0, 0, 12), "{summary:?}");

        // A view passes it on; a strict engine makes no use of it.
        let view: Arc<dyn Source> = Arc::new(Subset::new(source.clone(), vec![3, 1]).unwrap());
        assert_eq!(view.seek_entry(1).unwrap().key(), source.key(1));
        let stage = bandfeed::Stage::fixed(64, 64, bandfeed::BandCrop::FOURIER, 5);
        let mut strict =
            Loader::evaluation(source.clone(), stage).engine(Arc::new(Cpu::default().strict(true))).build();
        strict.as_mut().unwrap().for_each(|batch| _ = batch.unwrap());
        assert_eq!(strict.unwrap().counters().sought, 0);

        assert_eq!(index::remove(&*source).unwrap(), 1);
        assert_eq!(index::remove(&*source).unwrap(), 0);
        assert!(data.open(name).seek_entry(0).is_none());
    }
}

#[test]
fn a_changed_file_is_decoded_without_its_entry_and_only_it_is_read_again() {
    let data = Data::new();
    for name in ["train", "x.tar"] {
        build(&*data.open(name));
    }
    let again = build(&*data.open("train"));
    assert_eq!((again.made, again.kept, again.with_points), (0, 15, 12));
    // The pixels of the JPEGs change but not their lengths: one bit of the last quarter of each of three.
    let mut files = data.files.clone();
    for (name, bytes) in &mut files[4..7] {
        let at = bytes.len() * 3 / 4;
        bytes[at] ^= 1;
        fs::write(data.path("train").join(name), &bytes[..]).unwrap();
    }
    data.pack(&files);
    for name in ["train", "x.tar"] {
        let plain = {
            let empty = data.path("empty");
            fs::create_dir_all(&empty).unwrap();
            batches(open(&data.path(name), Some(&empty)))
        };
        let (stale_batches, sought, stale) = batches(data.open(name));
        assert_eq!(stale_batches, plain.0);
        assert!(sought > 0 && stale > 0, "{sought} {stale}");
        let found = verify(&*data.open(name)).unwrap();
        assert_eq!((found.stale, found.missing, found.kept), (3, 0, 12), "{found:?}");
        assert!(found.examples.iter().any(|name| name.contains("04.jpg")), "{found:?}");
        let again = build(&*data.open(name));
        assert_eq!((again.made, again.kept), (3, 12), "{again:?}");
        assert_eq!(batches(data.open(name)).2, 0);
        assert_eq!(verify(&*data.open(name)).unwrap().stale, 0);
    }
    // A new file is missing until the next run; one that is gone takes its entry with it. A touched one is not made again.
    fs::write(data.path("train/cat/new.jpg"), jpeg((300, 200), Subsamp::None, 90, 0)).unwrap();
    fs::remove_file(data.path("train/cat/00.jpg")).unwrap();
    fs::write(data.path("train/cat/01.jpg"), &files[1].1).unwrap();
    assert_eq!(verify(&*data.open("train")).unwrap().missing, 1);
    let again = build(&*data.open("train"));
    assert_eq!((again.files, again.made, again.kept), (15, 1, 14), "{again:?}");
    let index = SideIndex::open(&data.path("train/.bandidx")).unwrap();
    assert_eq!((index.kind(), index.len()), (Kind::Folder, 14), "all but the tiny one");
}

#[test]
fn any_number_of_threads_writes_the_same_index_wherever_it_is_told_to() {
    let data = Data::new();
    let (out, single) = (data.path("out"), data.path("single.bandidx"));
    fs::create_dir(&out).unwrap();
    for (name, beside, in_out) in
        [("train", "train/.bandidx", "train.bandidx"), ("x.tar", "x.tar.bandidx", "x.tar.bandidx")]
    {
        build(&*data.open(name));
        for place in [&out, &single] {
            let source = open(&data.path(name), Some(place));
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
            pool.install(|| build(&*source));
            assert!(open(&data.path(name), Some(place)).seek_entry(0).is_some());
        }
        let bytes = fs::read(data.path(beside)).unwrap();
        assert!(bytes == fs::read(out.join(in_out)).unwrap() && bytes == fs::read(&single).unwrap(), "{name}");
    }
    let names: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "no temporary name stays: {names:?}");
    // The index of a shard is none for a folder.
    assert!(open(&data.path("train"), Some(&out.join("x.tar.bandidx"))).seek_entry(0).is_none());
}

#[test]
fn a_damaged_index_is_named_by_place_and_left_out_by_the_loader() {
    let data = Data::new();
    build(&*data.open("x.tar"));
    let plain = batches(open(&data.path("x.tar"), Some(&data.path("none"))));
    let path = data.path("x.tar.bandidx");
    let (whole, entries) = (fs::read(&path).unwrap(), SideIndex::open(&path).unwrap().len());
    let put = |bytes: &[u8]| {
        fs::write(data.path("damaged"), bytes).unwrap();
        fs::rename(data.path("damaged"), &path).unwrap();
    };
    for len in (0..whole.len()).step_by(997).chain([64, 127, whole.len() - 64, whole.len() - 1]) {
        put(&whole[..len]);
        let error = SideIndex::open(&path).unwrap_err().to_string();
        assert!(error.contains("x.tar.bandidx") && error.contains("byte "), "{len}: {error}");
        assert!(data.open("x.tar").seek_entry(0).is_none());
    }
    let mut found_in_records = 0;
    let table = whole.len() - 64 - 32 * entries;
    for at in (0..whole.len()).step_by(101).chain(0..64).chain(whole.len() - 64..whole.len()) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x20;
        put(&bytes);
        let error = verify(&*data.open("x.tar")).expect_err(&format!("byte {at}")).to_string();
        assert!(error.contains("x.tar.bandidx") && error.contains("byte "), "{at}: {error}");
        if (64..table).contains(&at) {
            assert!(error.contains("x.tar#"), "names the file: {error}");
            found_in_records += 1;
            if found_in_records % 5 == 0 {
                let (batches, _, stale) = batches(data.open("x.tar"));
                assert!(batches == plain.0 && stale > 0, "byte {at}: {stale}");
            }
        }
    }
    assert!(found_in_records > 10);
    for foreign in [&b"BFSHARD\0"[..], b"PK\x03\x04", &[0; 500]] {
        put(foreign);
        assert!(verify(&*data.open("x.tar")).is_err());
        assert_eq!(batches(data.open("x.tar")), plain);
    }
    // It is replaced, not read.
    assert_eq!(build(&*data.open("x.tar")).made, 14);
    assert_eq!(fs::read(&path).unwrap(), whole);
}

#[test]
fn an_index_that_says_what_is_not_so_is_named() {
    let data = Data::new();
    build(&*data.open("x.tar"));
    let path = data.path("x.tar.bandidx");
    let mut bytes = fs::read(&path).unwrap();
    let number = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..][..8].try_into().unwrap()) as usize;
    let put = |bytes: &mut [u8], at: usize, sum: u32| bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
    // As docs/side-index.md says: the first entry, its record, and the record's least predictor of luma, one more; then the
    // checksum.
    let table = number(&bytes, bytes.len() - 64 + 16);
    let (entry, record) = (bytes[table..table + 32].to_vec(), number(&bytes, table + 8));
    let next = (1..15).map(|i| number(&bytes, table + 32 * i + 8)).find(|&next| next > 0).unwrap();
    bytes[record + 22] += 1;
    let sum = crc32c::crc32c(&[&entry[..8], &entry[16..24], &bytes[record + 4..next]].concat());
    put(&mut bytes, record, sum);
    fs::write(&path, &bytes).unwrap();
    let error = verify(&*data.open("x.tar")).unwrap_err().to_string();
    let place = format!("byte {record}, for {}", data.open("x.tar").name(0));
    assert!(error.contains(&place) && error.contains("not those of the file"), "{error}");
    assert!(
        data.open("x.tar").seek_entry(0).unwrap().unpack(&mut SeekPoints::default()).is_ok(),
        "its checksum is right"
    );
}

#[test]
fn an_index_that_cannot_be_written_leaves_nothing_and_says_where() {
    let data = Data::new();
    let error = index::build(
        &*open(&data.path("train"), Some(&data.path("x.tar/such.bandidx"))),
        false,
        &Limits::default(),
        &|_| (),
    );
    assert!(error.unwrap_err().to_string().contains("x.tar"));
    let error = verify(&*data.open("train")).unwrap_err();
    assert!(matches!(&error, Error::Io { path, .. } if path.ends_with(".bandidx")), "{error}");
}

#[cfg(feature = "cli")]
#[test]
fn the_program_writes_checks_and_removes_an_index() {
    let data = Data::new();
    let run = |words: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_bandfeed")).args(words).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let (train, out) = (data.path("train"), data.path("out"));
    let (train, out) = (train.to_str().unwrap(), out.to_str().unwrap());
    let (is_done, text, _) = run(&["index", train, "--workers", "2"]);
    assert!(is_done && text.contains("15 images: 14 read") && text.contains("12 with seek points"), "{text}");
    let (is_right, text, _) = run(&["index", train, "--verify"]);
    assert!(is_right && text.contains("15 as the index says, 0 changed, 0 not in the index"), "{text}");
    let (is_right, _, error) = run(&["index", train, "--verify", "--out", out]);
    assert!(!is_right && error.contains(out), "{error}");

    fs::write(data.path("train/cat/02.jpg"), jpeg((222, 111), Subsamp::None, 90, 0)).unwrap();
    let (is_right, text, error) = run(&["index", train, "--verify"]);
    assert!(!is_right && text.contains("1 changed") && text.contains("02.jpg"), "{text}");
    assert!(error.contains("run `bandfeed index"), "{error}");
    let loader = [
        "bench",
        "loader",
        train,
        "--bands",
        "32",
        "--base",
        "32",
        "--seconds",
        "0.2",
        "--rounds",
        "1",
        "--batch-size",
        "5",
    ];
    let (is_done, _, error) = run(&loader);
    assert!(is_done && error.matches("the side index does not fit this file").count() == 1, "{error}");
    let (is_done, text, _) = run(&["index", train]);
    assert!(is_done && text.contains("1 read") && text.contains("14 had not changed"), "{text}");
    let (is_done, _, error) = run(&loader);
    assert!(is_done && !error.contains("index"), "{error}");

    let mut damaged = fs::read(data.path("train/.bandidx")).unwrap();
    damaged.truncate(damaged.len() - 1);
    fs::write(data.path("train/.bandidx"), damaged).unwrap();
    let (is_right, _, error) = run(&["index", train, "--verify"]);
    assert!(!is_right && error.contains(".bandidx") && error.contains("byte "), "{error}");
    let (is_done, _, error) = run(&loader);
    assert!(is_done && error.contains("going on without the index"), "{error}");
    assert!(run(&["index", train, "--remove"]).1.contains("1 indices removed"));
    assert!(!data.path("train/.bandidx").exists());
}

#[test]
fn an_index_is_never_written_over_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let demo = bandfeed::demo_data::DemoData { train_per_class: 2, val_per_class: 1, side: 64, ..Default::default() };
    demo.write(folder.path()).unwrap();
    let (train, other) = (folder.path().join("train"), folder.path().join("notes.txt"));
    std::fs::write(&other, "a file of somebody's").unwrap();
    let source = bandfeed::source::open_with_index(train.to_str().unwrap(), Some(&other)).unwrap();
    for error in [
        bandfeed::index::build(&*source, false, &Limits::default(), &|_| {}).unwrap_err(),
        bandfeed::index::remove(&*source).unwrap_err(),
    ] {
        assert!(error.to_string().contains("notes.txt") && error.to_string().contains("not touched"), "{error}");
    }
    assert_eq!(std::fs::read(&other).unwrap(), b"a file of somebody's");
    // A path that is not there and has no such extension is a folder.
    let indices = folder.path().join("new/indices");
    let source = bandfeed::source::open_with_index(train.to_str().unwrap(), Some(&indices)).unwrap();
    bandfeed::index::build(&*source, false, &Limits::default(), &|_| {}).unwrap();
    assert!(indices.join("train.bandidx").is_file());
}
