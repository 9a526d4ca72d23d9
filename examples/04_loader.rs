//! Loads a folder or shard under EfficientTrain++ and prints the first batch of every stage.
//!
//! `cargo run --release --example 04_loader -- path/to/train` (or `'train-{000..009}.tar'`)

use bandfeed::loader::{Loader, OnBadFile};
use bandfeed::schedule::{Options, Schedule};
use bandfeed::source;

fn main() -> bandfeed::Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| {
        eprintln!("usage: 04_loader FOLDER_OR_TAR");
        std::process::exit(2)
    });
    let source = source::open(&path)?;
    println!("{}", source.describe());

    // Ten stages of equal compute, worth five passes over the images at 224 px.
    let options = Options { batch_size: 16, epochs: 5.0, ..Options::default() };
    let schedule = Schedule::named("efficient_train_pp_deit", &options)?;
    let loader = Loader::builder(source, schedule).seed(1).on_bad_file(OnBadFile::Substitute).build()?;

    let mut last = None;
    for batch in loader {
        let batch = batch?;
        if last != Some(batch.stage.index) {
            last = Some(batch.stage.index);
            println!(
                "step {:5}, epoch {:2}, {:3.0} % of the compute: stage {} of band {}, images {:?}, labels {:?} ...",
                batch.step,
                batch.epoch,
                batch.progress * 100.0,
                batch.stage.index,
                batch.stage.band,
                batch.images.shape(),
                &batch.labels[..4.min(batch.len())],
            );
        }
    }
    Ok(())
}
