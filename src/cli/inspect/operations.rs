//! The sheet of operations: each operation of a policy at several magnitudes, on one image.

use crate::augment::{Augmenter, Op, Policy, Sampling};
use crate::cli::chart::sheet::{Row, Sheet, Tile};
use crate::decode::{Decoder, Limits};
use crate::error::{Error, Result};
use crate::ops::{Rgb8, View, resize};
use crate::recipe::Recipe;
use crate::shape::{Filter, Size};
use crate::source::Source;

/// Magnitudes of the columns.
const MAGNITUDES: [f64; 6] = [0.0, 2.0, 4.0, 6.0, 9.0, 10.0];

/// Each operation by magnitude, on `image`.
pub(super) fn sheet(policy: &Policy, recipe: &Recipe, image: Rgb8, tile: u32) -> Result<Sheet> {
    let mut augmenter = Augmenter::new();
    let mut rows: Vec<Row> = Vec::new();
    for (column, magnitude) in MAGNITUDES.into_iter().enumerate() {
        let captions = policy.describe(magnitude);
        for (place, (name, op)) in policy.strongest(magnitude, Sampling::Bicubic).into_iter().enumerate() {
            if column == 0 {
                rows.push(Row { label: vec![name], tiles: vec![Tile::new(image.clone(), "")] });
            }
            let mut picture = image.clone();
            augmenter.apply(&mut picture.pixels, image.size, &[op], recipe.fill)?;
            let has_argument = !matches!(op, Op::AutoContrast | Op::Equalize | Op::Invert);
            let caption = captions.get(place).filter(|_| has_argument).map(|(_, argument)| argument.clone());
            rows[place].tiles.push(Tile::new(picture, caption.unwrap_or_default()));
        }
    }
    let columns = std::iter::once("image".into()).chain(MAGNITUDES.map(|m| format!("magnitude {m}"))).collect();
    Ok(Sheet {
        title: format!("Operations of {policy}"),
        subtitle: "at full strength, without noise, to the positive side where there are two".into(),
        columns,
        rows,
        tile,
        ..Sheet::default()
    })
}

/// The first image of the source that can be read and decoded, its middle, at `side` by `side` pixels.
pub(super) fn first_image(source: &dyn Source, side: u32) -> Result<Rgb8> {
    let (mut decoder, mut buffer) = (Decoder::new(Limits::default())?, Vec::new());
    let mut failure = Error::config("source", "no image");
    for index in 0..source.len() {
        let decoded = source
            .read(index, &mut buffer)
            .and_then(|bytes| decoder.decode(bytes).map_err(|error| error.named(source.name(index))));
        match decoded {
            Ok(pixels) => {
                let Size { width, height } = pixels.size;
                let shorter = f64::from(width.min(height));
                let (x, y) = ((f64::from(width) - shorter) / 2.0, (f64::from(height) - shorter) / 2.0);
                let view = View::packed(&pixels.data, pixels.size);
                return resize(view, [x, y, shorter, shorter], Size::square(side), Filter::Bicubic);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}
