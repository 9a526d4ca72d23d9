//! A curriculum as the loader sees it: what is shown when, and what it asks of the loader.
//!
//! ```text
//! cargo run --release --example 02_schedule
//! ```

use bandfeed::schedule::{LearningRate, ModelRow, Options, Schedule};

fn main() -> bandfeed::Result<()> {
    // Images of 64 pixels in patches of 8, with the compute of 30 passes over them.
    let options = Options { base: 64, patch: 8, epochs: 30.0, batch_size: 128, ..Options::default() };
    let schedule = Schedule::efficient_train_pp(ModelRow::General, &options)?;

    println!("{} passes over the data for the compute of {}", schedule.image_epochs().round(), schedule.epochs());
    for (stage, images) in schedule.stages().iter().zip(schedule.images(50_000)) {
        println!(
            "until {:.0} % of the compute: {} px, magnitude {}, {images} images at {:.2} times the rate",
            100.0 * stage.end,
            stage.band,
            stage.magnitude,
            stage.load()
        );
    }

    // A trainer asks by the share of compute consumed; the learning rate runs on the same clock.
    let rate = LearningRate::default();
    for progress in [0.0, 0.19, 0.2, 0.75] {
        println!("at {progress}: {} px, learning rate {:.6}", schedule.at(progress).band, rate.at(progress));
    }
    Ok(())
}
