//! An augmentation policy on its own: what it draws for one image under a growing magnitude, and the pixels.
//!
//! `cargo run --release --example 07_augment -- IMAGE [POLICY] [FOLDER]`

use bandfeed::augment::Augmenter;
use bandfeed::decode::{Decoder, Limits};
use bandfeed::plan::{self, SampleKey};
use bandfeed::recipe::{IMAGENET_FILL, Recipe};
use bandfeed::{BandCrop, Error, Filter, Result, Size, Stage, ops};
use std::path::Path;

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let usage = "usage: 07_augment IMAGE [POLICY] [FOLDER]";
    let image = words.next().ok_or_else(|| Error::Config { what: "arguments".into(), reason: usage.into() })?;
    let policy = words.next().unwrap_or_else(|| "rand-mstd0.5-inc1".to_owned());
    let folder = words.next().unwrap_or_else(|| "augmented".to_owned());
    std::fs::create_dir_all(&folder).map_err(|source| Error::Io { path: folder.clone().into(), source })?;

    let bytes = std::fs::read(&image).map_err(|source| Error::Io { path: image.clone().into(), source })?;
    let pixels = Decoder::new(Limits::default())?.decode(&bytes).map_err(|error| error.named(&image))?;
    let view = ops::View::packed(&pixels.data, pixels.size);
    let whole = [0.0, 0.0, f64::from(pixels.size.width), f64::from(pixels.size.height)];
    let base = ops::resize(view, whole, Size::square(224), Filter::Bicubic)?;

    let recipe = Recipe { augment: Some(policy.parse()?), ..Recipe::default() };
    let stage = Stage::fixed(224, 224, BandCrop::Lanczos, 1);
    let mut augmenter = Augmenter::new();
    for position in 0..10 {
        // The loader plans like this; the plan holds all that is random.
        let key = SampleKey { seed: 0, epoch: 0, position, replay: 0 };
        let plan = plan::train(key, &stage, position as f64, &recipe, pixels.size)?;
        println!("magnitude {position}: {:?}", plan.ops.as_slice());
        let mut image = base.clone();
        augmenter.apply(&mut image.pixels, image.size, &plan.ops, IMAGENET_FILL)?;
        let path = Path::new(&folder).join(format!("{position}.png"));
        image::save_buffer(&path, &image.pixels, 224, 224, image::ExtendedColorType::Rgb8)
            .map_err(|error| Error::Io { path, source: std::io::Error::other(error) })?;
    }
    Ok(())
}
