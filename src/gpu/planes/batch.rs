//! Where the samples of a batch lie in the device's memory, and the kernels' parameters for it.

use super::picture::{Part, Picture};
use super::stage::{Source, Staged};
use super::{BandsParams, IdctParams, PixelsParams};
use crate::packed::{Colour, TILE_HEIGHT, TILE_WIDTH};

/// Where one sample lies, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    /// Where the Huffman kernel writes the needed blocks.
    pub(crate) coefficients: u32,
    /// By component.
    pub(crate) planes: [u32; 4],
    /// Dense: a row has as many words as the sample has columns.
    pub(crate) pixels: u32,
}

/// Words of the buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sizes {
    pub(crate) coefficients: u64,
    pub(crate) planes: u64,
    pub(crate) pixels: u64,
}

/// Gives each sample its place. `None` where a buffer has more words than can be counted.
pub(crate) fn place(samples: &[&Staged]) -> Option<(Vec<Place>, Sizes)> {
    let mut sizes = Sizes::default();
    let mut places = Vec::with_capacity(samples.len());
    for sample in samples {
        let [coefficients, pixels] = [sizes.coefficients, sizes.pixels].map(|at| u32::try_from(at).ok());
        let mut place = Place { coefficients: coefficients?, planes: [0; 4], pixels: pixels? };
        sizes.pixels += sample.pixel_words();
        let picture = match &sample.source {
            Source::Coefficients { picture, .. } | Source::Record { picture, .. } => Some(picture),
            Source::Pixels { .. } => None,
        };
        for (i, part) in picture.into_iter().flat_map(|picture| picture.parts.iter().enumerate()) {
            place.planes[i] = u32::try_from(sizes.planes).ok()?;
            sizes.planes += part.words();
            if matches!(sample.source, Source::Coefficients { is_from_host: false, .. }) {
                sizes.coefficients += part.coefficient_words();
            }
        }
        places.push(place);
    }
    let is_counted = [sizes.coefficients, sizes.planes, sizes.pixels].into_iter().all(|words| words <= u32::MAX.into());
    is_counted.then_some((places, sizes))
}

/// Parameters of the kernels and their grids. A grid of none is not launched.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Batch {
    pub(crate) idct: Vec<IdctParams>,
    pub(crate) bands: Vec<BandsParams>,
    pub(crate) pixels: Vec<PixelsParams>,
    pub(crate) idct_grid: [u32; 3],
    pub(crate) bands_grid: [u32; 3],
    pub(crate) pixels_grid: [u32; 3],
}

/// Workgroups along x.
const ROW: u64 = 32768;

/// A grid of so many workgroups: those of an entry are as many as it needs, for images are of very different sizes.
fn grid(groups: u64) -> [u32; 3] {
    [groups.min(ROW) as u32, groups.div_ceil(ROW) as u32, 1]
}

impl Batch {
    /// For the samples, each with its place and its first word in the input. A sample's number in `status` is that of the order
    /// here.
    ///
    /// # Panics
    /// If there are more than 16383 samples: a grid has no more than 65535 entries, and a sample has up to four.
    pub(crate) fn new<'a>(samples: impl IntoIterator<Item = (&'a Staged, &'a Place, u32)>) -> Self {
        let mut batch = Self::default();
        // Workgroups so far. Planes and pixels are counted in 32 bits of words, of which each has many.
        let (mut idct, mut bands, mut pixels) = (0u64, 0u64, 0u64);
        for (number, (sample, place, base)) in (0..).zip(samples) {
            assert!(number < 16383, "a batch has fewer samples than that");
            let first_pixels = batch.pixels.len();
            match &sample.source {
                Source::Coefficients { picture, steps, coefficients, is_from_host } => {
                    let first = if *is_from_host { base } else { place.coefficients };
                    for (i, part) in picture.parts.iter().enumerate() {
                        batch.idct.push(IdctParams {
                            first_group: idct as u32,
                            sample: number,
                            coefficients: first + coefficients[i],
                            from_host: (*is_from_host).into(),
                            steps: base + steps[i],
                            plane: place.planes[i],
                            side: part.side,
                            limit: part.largest_sum(),
                            width: part.blocks.width,
                            height: part.blocks.height,
                        });
                        idct += part.tiles.pixels();
                    }
                    batch.pixels.extend(of_picture(picture, place));
                }
                Source::Record { picture, bands: of } => {
                    for (i, part) in picture.parts.iter().enumerate() {
                        batch.bands.push(BandsParams {
                            first_group: bands as u32,
                            sample: number,
                            base,
                            order: base + of[i].order,
                            chunks: base + of[i].chunks,
                            plane: place.planes[i],
                            side: part.side,
                            limit: of[i].limit,
                            columns: part.tiles.width,
                            rows: part.tiles.height,
                            first_column: part.origin.0 / TILE_WIDTH,
                            first_row: part.origin.1 / TILE_HEIGHT,
                            width: part.all.width,
                            height: part.all.height,
                        });
                        bands += part.tiles.pixels();
                    }
                    batch.pixels.extend(of_picture(picture, place));
                }
                Source::Pixels { at } => {
                    let (width, height) = (sample.size.width, sample.size.height);
                    let copied = PixelsParams {
                        colour: 5,
                        width,
                        height,
                        to: place.pixels,
                        stride: width,
                        plane: base + at,
                        plane_stride: width,
                        ..PixelsParams::default()
                    };
                    batch.pixels.extend([
                        copied,
                        PixelsParams::default(),
                        PixelsParams::default(),
                        PixelsParams::default(),
                    ]);
                }
            }
            batch.pixels[first_pixels].first_group = pixels as u32;
            pixels += sample.size.pixels().div_ceil(256);
        }
        batch.idct_grid = grid(idct);
        batch.bands_grid = grid(bands);
        batch.pixels_grid = grid(pixels);
        batch
    }
}

/// What the pixels kernel is told of a picture: one entry for each component, and as many more as make four.
fn of_picture(picture: &Picture, place: &Place) -> [PixelsParams; 4] {
    let Picture { window, turn, colour, size, ref parts, .. } = *picture;
    let of = |part: &Part, plane: u32| {
        let samples = (TILE_WIDTH * part.side, TILE_HEIGHT * part.side);
        PixelsParams {
            first_group: 0,
            colour: match colour {
                Colour::Gray => 0,
                Colour::YCbCr => 1,
                Colour::Rgb => 2,
                Colour::Cmyk => 3,
                Colour::Ycck => 4,
            },
            turn,
            left: window.x,
            top: window.y,
            width: window.width,
            height: window.height,
            to: place.pixels,
            stride: size.width,
            plane,
            plane_stride: part.stride(),
            first_x: part.origin.0 * part.side,
            first_y: part.origin.1 * part.side,
            plane_width: samples.0 * part.tiles.width,
            plane_height: samples.1 * part.tiles.height,
            columns: part.placed.size.0 as u32,
            rows: part.placed.size.1 as u32,
            across: part.placed.ratio.0 as u32,
            down: part.placed.ratio.1 as u32,
            is_smooth: part.placed.is_smooth.into(),
        }
    };
    std::array::from_fn(|i| parts.get(i).map_or_else(PixelsParams::default, |part| of(part, place.planes[i])))
}
