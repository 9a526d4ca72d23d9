//! A warm worker of the CPU engine takes no memory for an image: decode, crop, RandAugment, band, erasing.
//!
//! A program of its own, for its allocator counts.

use bandfeed::demo_data::DemoData;
use bandfeed::engine::{Cpu, Engine};
use bandfeed::erase::Erasing;
use bandfeed::plan::{self, SampleKey};
use bandfeed::recipe::{AugmentAt, Recipe};
use bandfeed::{BandCrop, Source, Stage};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

struct Counting;

static TAKEN: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        TAKEN.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_warm_worker_takes_no_memory_for_an_image() {
    const SAMPLES: u64 = 300;
    let data = DemoData { train_per_class: 4, val_per_class: 1, side: 300, ..DemoData::default() };
    let (source, _) = data.generate().unwrap();
    let recipe = Recipe {
        augment: Some("rand-m9-mstd0.5-inc1".parse().unwrap()),
        erasing: Some(Erasing::default()),
        ..Recipe::default()
    };
    let engine = Cpu::default();
    for (band, crop, augment_at, fuse) in [
        (224, BandCrop::Lanczos, AugmentAt::Base, true),
        (96, BandCrop::Lanczos, AugmentAt::Base, true),
        (96, BandCrop::Lanczos, AugmentAt::Base, false),
        (96, BandCrop::FOURIER, AugmentAt::Base, true),
        (96, BandCrop::Lanczos, AugmentAt::Band, true),
    ] {
        let recipe = Recipe { augment_at, fuse, ..recipe.clone() };
        let stage = Stage::fixed(224, band, crop, 1);
        let (mut worker, canvas) = (engine.worker().unwrap(), engine.begin(1, band).unwrap());
        let mut buffer = Vec::new();
        let mut pass = || {
            let before = TAKEN.load(Ordering::Relaxed);
            for position in 0..SAMPLES {
                let key = SampleKey { seed: 1, epoch: 0, position, replay: 0 };
                let bytes = source.read(position as usize % source.len(), &mut buffer).unwrap();
                let mut plan = |size| plan::train(key, &stage, 9.0, &recipe, size);
                worker.run(bytes.into(), &mut plan, &*canvas, 0).unwrap();
            }
            TAKEN.load(Ordering::Relaxed) - before
        };
        let cold = pass();
        let warm = pass();
        assert!(cold > 0);
        assert_eq!(warm, 0, "band {band}, {crop}, {augment_at:?}, fuse {fuse}: in {SAMPLES} images (cold: {cold})");
    }
}
