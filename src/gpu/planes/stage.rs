//! What a worker appends to a sample's words, and what it says of it.

use super::picture::{Part, Picture, Wanted};
use crate::decode::{Header, Patch, image_of, rings};
use crate::error::DecodeError;
use crate::packed::{Coefficients, PLACES, Plane, Record, TileDecoder};
use crate::shape::Size;

/// A sample that becomes pixels on the device.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Staged {
    /// Of the pixels.
    pub(crate) size: Size,
    /// The region in them: x, y, width, height.
    pub(crate) area: [f64; 4],
    pub(crate) source: Source,
}

/// What the pixels come of. Words are counted from the sample's first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    /// Coefficients: of the needed blocks, by component.
    Coefficients {
        picture: Picture,
        /// First word of the quantisation steps.
        steps: [u32; 4],
        /// First word of the coefficients; those that the Huffman kernel writes are counted from the sample's first of these.
        coefficients: [u32; 4],
        is_from_host: bool,
    },
    /// A packed record.
    Record { picture: Picture, bands: [Bands; 4] },
    /// RGBX pixels that the CPU decoded, dense, from this word on.
    Pixels { at: u32 },
}

/// What the kernel reads of one component of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Bands {
    /// First word of the 64 that say of each coefficient which it is.
    pub(crate) order: u32,
    /// First word of the table of chunks.
    pub(crate) chunks: u32,
    /// Largest sum of a block's magnitudes.
    pub(crate) limit: u32,
}

/// A record of fewer words has bits that are counted in 32.
const MOST_WORDS: usize = 1 << 27;

impl Staged {
    /// Words that it takes in the buffer of pixels.
    pub(crate) fn pixel_words(&self) -> u64 {
        self.size.pixels()
    }

    /// Of the picture's coefficients, which the Huffman kernel will write: of each component the steps by place, `8 * v + u`, and the
    /// first word of its needed blocks, counted from the sample's first.
    pub(crate) fn decoded_there<'a>(
        picture: Picture,
        components: impl IntoIterator<Item = (&'a [i32; 64], u32)>,
        words: &mut Vec<u32>,
    ) -> Self {
        let (mut steps, mut coefficients) = ([0; 4], [0; 4]);
        for ((i, (of, at)), _) in components.into_iter().enumerate().zip(&picture.parts) {
            steps[i] = push_steps(of.iter().map(|step| *step as u32), words);
            coefficients[i] = at;
        }
        let (size, area) = (picture.size, picture.area);
        Self { size, area, source: Source::Coefficients { picture, steps, coefficients, is_from_host: false } }
    }

    /// Of the picture's coefficients, which a worker has read. Copies those of the needed blocks.
    ///
    /// # Panics
    /// If the picture is not of these coefficients.
    pub(crate) fn decoded_here(picture: Picture, coefficients: &Coefficients, words: &mut Vec<u32>) -> Self {
        let (mut steps, mut places) = ([0; 4], [0; 4]);
        for (i, (part, component)) in picture.parts.iter().zip(&coefficients.components).enumerate() {
            steps[i] = push_steps(component.steps.iter().map(|step| (*step).into()), words);
            places[i] = words.len() as u32;
            assert_eq!(part.all, component.blocks, "the picture is that of the coefficients");
            let Part { blocks, all, .. } = *part;
            for row in blocks.y..blocks.y + blocks.height {
                let first = 64 * (row as usize * all.width as usize + blocks.x as usize);
                let values = component.values[first..][..64 * blocks.width as usize].as_chunks::<2>().0;
                words.extend(values.iter().map(|&[low, high]| u32::from(low as u16) | u32::from(high as u16) << 16));
            }
        }
        let (size, area) = (picture.size, picture.area);
        Self { size, area, source: Source::Coefficients { picture, steps, coefficients: places, is_from_host: true } }
    }

    /// Of a packed record with an image: its chunks under the region. `strict` checks the record as a strict decoder does.
    ///
    /// `None` where the CPU writes the JPEG again and decodes that.
    ///
    /// # Errors
    /// As [`crate::decode::Decoder::decode_region`] of the head and the index. `words` may have become longer.
    pub(crate) fn record(
        record: &Record,
        header: &Header,
        wanted: &Wanted,
        strict: bool,
        tiles: &mut TileDecoder,
        words: &mut Vec<u32>,
    ) -> Result<Option<Self>, DecodeError> {
        let image = image_of(record, header)?;
        let Some(picture) = Picture::of_record(header, image, wanted) else { return Ok(None) };
        if strict {
            record.verify(rings(image, picture.scale))?;
        }
        // Else a product with a step may not fit 16 bits.
        if image.components.iter().any(|plane| plane.largest_sum > i16::MAX as u32) {
            return Ok(None);
        }
        let mut bands = [Bands::default(); 4];
        for (i, (part, plane)) in picture.parts.iter().zip(&image.components).enumerate() {
            let order = push_order(plane, words);
            let chunks = words.len() as u32;
            // All of the table comes before all of the bytes; bands are no more than five.
            let count =
                crate::packed::bands_for(part.side as u8) * (part.tiles.height * (part.tiles.width + 1)) as usize;
            words.resize(words.len() + count, 0);
            let mut next = chunks as usize;
            tiles.chunks(record, i, part.side as u8, part.blocks, |bytes, starts| {
                let first = 4 * words.len() as u64;
                for start in starts {
                    words[next] = (first + start) as u32;
                    next += 1;
                }
                push_bytes(bytes, words);
            })?;
            // Where the CPU trusts the head in that all sums are small, it has no answer for a block that is not.
            let limit = if plane.largest_sum <= part.safe_sum() { part.safe_sum() } else { part.largest_sum() };
            bands[i] = Bands { order, chunks, limit };
        }
        if words.len() >= MOST_WORDS {
            return Ok(None);
        }
        let (size, area) = (picture.size, picture.area);
        Ok(Some(Self { size, area, source: Source::Record { picture, bands } }))
    }

    /// Of pixels that the CPU decoded.
    pub(crate) fn pixels(patch: &Patch, words: &mut Vec<u32>) -> Self {
        let at = words.len() as u32;
        let row = 3 * patch.size.width as usize;
        for y in 0..patch.size.height as usize {
            let pixels = patch.pixels[y * patch.stride..][..row].as_chunks::<3>().0;
            words.extend(pixels.iter().map(|&[red, green, blue]| u32::from_le_bytes([red, green, blue, 0])));
        }
        Self { size: patch.size, area: patch.area, source: Source::Pixels { at } }
    }
}

fn push_steps(steps: impl Iterator<Item = u32>, words: &mut Vec<u32>) -> u32 {
    let at = words.len() as u32;
    words.extend(steps);
    at
}

/// What each coefficient is, in the record's order.
fn push_order(plane: &Plane, words: &mut Vec<u32>) -> u32 {
    let at = words.len() as u32;
    words.extend(PLACES.iter().map(|place| {
        let (step, base) = (plane.steps[usize::from(*place)], plane.bases[usize::from(*place)]);
        u32::from(step) | u32::from(base) << 16 | u32::from(*place) << 20
    }));
    at
}

/// Bytes as words, and a word more: the kernel loads two words at once.
fn push_bytes(bytes: &[u8], words: &mut Vec<u32>) {
    let (whole, rest) = bytes.as_chunks::<4>();
    words.extend(whole.iter().map(|word| u32::from_le_bytes(*word)));
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    words.extend([u32::from_le_bytes(last), 0]);
}
