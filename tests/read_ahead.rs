//! A loader tells its source what it will read, before it reads it, and how much of it.

mod jpeg_fixtures;

use bandfeed::decode::{Decoder, Limits, SCALE_MARGIN, scale_for};
use bandfeed::loader::Loader;
use bandfeed::packed::{Place, ShardWriter, pack};
use bandfeed::plan::{self, SampleKey};
use bandfeed::schedule::{Schedule, Stage};
use bandfeed::shape::{BandCrop, Size};
use bandfeed::source::{Memory, Packed, Source};
use bandfeed::{Recipe, Result};
use jpeg_fixtures::jpeg;
use std::sync::{Arc, Mutex};
use turbojpeg::Subsamp;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Event {
    Prefetch { index: usize, scale: u8 },
    Read { index: usize },
}

/// Images whose sizes are known beforehand, and what happened to them.
struct Spy {
    inner: Memory,
    sizes: Option<Vec<Size>>,
    events: Mutex<Vec<Event>>,
}

impl Source for Spy {
    fn len(&self) -> usize {
        self.inner.len()
    }
    fn name(&self, index: usize) -> String {
        self.inner.name(index)
    }
    fn label(&self, index: usize) -> u32 {
        self.inner.label(index)
    }
    fn classes(&self) -> &[String] {
        self.inner.classes()
    }
    fn read<'a>(&'a self, index: usize, buffer: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        self.events.lock().unwrap().push(Event::Read { index });
        self.inner.read(index, buffer)
    }
    fn size(&self, index: usize) -> Option<Size> {
        self.sizes.as_ref().map(|sizes| sizes[index])
    }
    fn prefetch(&self, index: usize, scale: u8) {
        self.events.lock().unwrap().push(Event::Prefetch { index, scale });
    }
}

const COUNT: usize = 24;

fn events(knows_sizes: bool, evaluate: bool) -> Vec<Event> {
    let images: Vec<_> = (0..COUNT as u32).map(|i| (jpeg(300 + 11 * i, 280, Subsamp::Sub2x2, false), 0)).collect();
    let sizes = (0..COUNT as u32).map(|i| Size::new(300 + 11 * i, 280)).collect();
    let inner = Memory::new(images, vec!["a".to_owned()]).unwrap();
    let spy = Arc::new(Spy { inner, sizes: knows_sizes.then_some(sizes), events: Mutex::default() });
    let stage = Stage::fixed(96, 48, BandCrop::Lanczos, 4);
    let builder = if evaluate {
        Loader::evaluation(spy.clone(), stage)
    } else {
        Loader::builder(spy.clone(), Schedule::fixed(stage).with_epochs(2.0).unwrap())
    };
    let loader = builder.seed(3).workers(2).prefetch(2).recipe(Recipe::default()).build().unwrap();
    assert!(loader.map(|batch| batch.unwrap().len()).sum::<usize>() >= COUNT);
    Arc::into_inner(spy).unwrap().events.into_inner().unwrap()
}

#[test]
fn every_sample_is_announced_before_it_is_read() {
    for evaluate in [false, true] {
        let events = events(true, evaluate);
        let mut announced = [0_i32; COUNT];
        let mut reads = 0;
        for event in &events {
            match event {
                Event::Prefetch { index, .. } => announced[*index] += 1,
                Event::Read { index } => {
                    announced[*index] -= 1;
                    reads += 1;
                    assert!(announced[*index] >= 0, "{index} was read and not announced");
                }
            }
        }
        assert!(announced.iter().all(|&left| left == 0) && reads >= COUNT, "{announced:?}");
        assert!(
            events[..4].iter().all(|event| matches!(event, Event::Prefetch { .. })),
            "a batch at a time: {events:?}"
        );
    }
}

#[test]
fn what_is_announced_is_the_scale_of_the_crop() {
    let scales = |events: Vec<Event>| -> Vec<u8> {
        let scale = |event| if let Event::Prefetch { scale, .. } = event { Some(scale) } else { None };
        events.into_iter().filter_map(scale).collect()
    };
    let known = scales(events(true, false));
    // Crops of 8 to 100 % of 300 x 280 pixels and more, for 48: some are small and most are not.
    assert!(known.contains(&8) && known.iter().filter(|&&scale| scale < 8).count() > COUNT);
    assert!(scales(events(false, false)).iter().all(|&scale| scale == 8), "nothing is known of the sizes");
    // One image again and again: the crops of its epochs are known.
    let spy = |bytes| Spy { inner: bytes, sizes: Some(vec![Size::new(400, 280)]), events: Mutex::default() };
    let one = Memory::new(vec![(jpeg(400, 280, Subsamp::Sub2x2, false), 0)], vec!["a".to_owned()]).unwrap();
    let (spy, stage) = (Arc::new(spy(one)), Stage::fixed(96, 48, BandCrop::Lanczos, 1));
    let schedule = Schedule::fixed(stage.clone()).with_epochs(40.0).unwrap();
    let loader = Loader::builder(spy.clone(), schedule).seed(7).workers(1).build().unwrap();
    let count = loader.map(|batch| batch.unwrap().len()).sum::<usize>() as u64;
    let told = Arc::into_inner(spy).unwrap().events.into_inner().unwrap();
    let expected: Vec<u8> = (0..count)
        .map(|epoch| {
            let key = SampleKey { seed: 7, epoch, position: 0, replay: 0 };
            let plan = plan::train(key, &stage, 0.0, &Recipe::default(), Size::new(400, 280)).unwrap();
            scale_for(plan.crop.region.size(), Size::square(48), SCALE_MARGIN)
        })
        .collect();
    assert_eq!(scales(told), expected);
    assert!(expected.contains(&8) && expected.contains(&4) && expected.contains(&3), "{expected:?}");
    // Evaluation resizes step by step, and needs the image as it is.
    assert!(scales(events(true, true)).iter().all(|&scale| scale == 8));
}

/// The announced bytes of a record hold all that decoding looks at.
#[test]
fn a_records_range_is_enough_for_its_scale() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.bands");
    let mut writer = ShardWriter::create(&path, &Place { number: 0, of: 1, first: 0 }).unwrap();
    let samplings = [Subsamp::None, Subsamp::Sub2x2, Subsamp::Sub2x1, Subsamp::Gray];
    for (i, subsamp) in samplings.into_iter().enumerate() {
        let record = pack(&jpeg(401, 300, subsamp, false), &i.to_string(), 0, &Limits::default()).unwrap();
        writer.push(&record.bytes).unwrap();
    }
    writer.finish(&["a".to_owned()]).unwrap();
    let source = Packed::open(path.to_str().unwrap()).unwrap();
    let mut decoder = Decoder::new(Limits::default()).unwrap();
    for index in 0..samplings.len() {
        assert_eq!(source.size(index), Some(Size::new(401, 300)));
        let mut buffer = Vec::new();
        let bytes = source.read(index, &mut buffer).unwrap();
        let header = decoder.header(bytes).unwrap();
        for need in [300, 150, 96, 80, 60, 40, 20] {
            let mut decode = |bytes: &[u8]| {
                let whole = bandfeed::Rect::whole(header.size);
                let patch = decoder.decode_region(bytes, &header, whole, Size::square(need));
                patch.map(|patch| (patch.pixels.to_vec(), patch.scale))
            };
            let (pixels, scale) = decode(bytes).unwrap();
            let range = source.range_at(index, scale);
            let (start, len) = (range.start, (range.end - range.start) as usize);
            assert_eq!(start, source.range(index, 8).start);
            assert_eq!(decode(&bytes[..len]), Ok((pixels, scale)), "{index} for {need}");
            // Of 4:2:0, index 1, chroma at 4/8 has all of its rings.
            if scale < 8 && (scale != 4 || index != 1) {
                assert!(len < bytes.len() * 95 / 100, "{index} for {need} at {scale}/8: {len} of {}", bytes.len());
            }
        }
    }
}
