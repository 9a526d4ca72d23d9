//! Memory of the loader: bounded by what it reports, and the same after twenty epochs as after three.
//!
//! A program of its own, so that no other test's memory is counted. Linux tells the resident memory; elsewhere the test
//! checks the epochs only.

use bandfeed::demo_data::DemoData;
use bandfeed::loader::Loader;
use bandfeed::schedule::{Options, Schedule};
use std::sync::Arc;

fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib: u64 = text.lines().find(|l| l.starts_with("VmRSS:"))?.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[test]
fn memory_does_not_grow_over_twenty_epochs() {
    let data = DemoData { train_per_class: 16, val_per_class: 1, side: 192, ..DemoData::default() };
    let (train, _) = data.generate().unwrap();
    // The largest stage from the start: what grows after the third epoch is a leak.
    let options = Options { base: 128, patch: 16, batch_size: 16, epochs: 20.0, ..Options::default() };
    let before_build = resident_bytes();
    let loader = Loader::builder(Arc::new(train), Schedule::constant(&options).unwrap()).workers(2).prefetch(3);
    let mut loader = loader.build().unwrap();
    let bound = loader.memory();
    assert_eq!(bound.batch, 16 * 3 * 128 * 128 * 4);

    let mut after_third = None;
    let mut last_epoch = 0;
    for batch in loader.by_ref() {
        let batch = batch.unwrap();
        last_epoch = batch.epoch;
        if batch.epoch == 3 && after_third.is_none() {
            after_third = resident_bytes();
        }
    }
    assert_eq!(last_epoch, 19);
    if let (Some(before), Some(after)) = (after_third, resident_bytes()) {
        let grown = after.saturating_sub(before);
        assert!(grown < 2 * bound.batch, "grew by {grown} bytes over 17 epochs; a batch is {} bytes", bound.batch);
        // Two workers' decoders and tables for photos of about 200 pixels, threads and their allocators.
        let scratch = 24 << 20;
        let taken = after.saturating_sub(before_build.unwrap_or(after));
        assert!(taken < bound.total + scratch, "took {taken} bytes, said {} for batches", bound.total);
        println!("resident after epoch 3: {before} bytes, after epoch 20: {after} bytes");
    }
}
