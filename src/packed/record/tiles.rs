//! What an engine asks for: the low rings of the blocks under a rectangle.

use super::Record;
use crate::error::DecodeError;
use crate::packed::band::bits::peek;
use crate::packed::band::decode::{Band, Path, SLACK};
use crate::packed::band::{BANDS, TILE_HEIGHT, TILE_WIDTH, Tile, Tiling, bands_for, places_of};
use crate::shape::Rect;

/// Bytes of a record that were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Touched {
    /// Lengths of chunks.
    pub index: u64,
    /// Chunks.
    pub payload: u64,
}

/// Decodes tiles of records. Keeps its memory from one to the next: have one for each worker.
#[derive(Debug)]
pub struct TileDecoder {
    path: Path,
    tile: Tile,
    /// By band: where the chunk of each tile of the component starts in the payload, and where the last ends.
    pub(super) starts: [Vec<u64>; BANDS],
}

impl Default for TileDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl TileDecoder {
    /// A decoder that uses the fastest instructions of this processor.
    pub fn new() -> Self {
        Self::with(Path::available().last().copied().unwrap_or(Path::Plain))
    }

    /// A decoder for each set of instructions that this processor has, by name, the plain one first and the fastest last: for
    /// tests and benches that compare.
    #[doc(hidden)]
    pub fn all() -> Vec<(&'static str, Self)> {
        Path::available().into_iter().map(|path| (path.name(), Self::with(path))).collect()
    }

    /// A decoder that uses no vector instructions, to compare.
    pub(crate) fn plain() -> Self {
        Self::with(Path::Portable)
    }

    /// A decoder that does not use AVX-512, to compare.
    pub(crate) fn without_avx512() -> Self {
        let path = Path::available().into_iter().rfind(|path| path.name() != "AVX-512");
        Self::with(path.unwrap_or(Path::Portable))
    }

    fn with(path: Path) -> Self {
        Self { path, tile: Tile::default(), starts: Default::default() }
    }

    /// Decodes the rings below `rings` of the tiles that have blocks of the rectangle `blocks` (in blocks of the component),
    /// and gives each tile with its column and row in the component, row by row. Values are quantised: see
    /// [`Tile::dequantise`].
    ///
    /// Of the tile the places of all rings below `rings` are filled, and maybe of one ring more; the others hold anything.
    /// Lanes beyond the component's blocks hold anything too. `take` may change the tile.
    ///
    /// Looks at the index of the component in the bands of these rings, which is checked against its checksum, and at the
    /// tiles' chunks. A damaged chunk is an error where its bits do not add up, but its values may be wrong without one:
    /// [`Record::verify`] finds all damage, and reads all of the bands.
    ///
    /// # Errors
    /// [`DecodeError::Corrupt`] for damage, or where the record is cut short before these bands end;
    /// [`DecodeError::Unsupported`] for a stored file.
    ///
    /// # Panics
    /// If there is no such component, `rings` is not in `1..=8`, or `blocks` is empty or not inside of the component's.
    pub fn decode(
        &mut self,
        record: &Record,
        component: usize,
        rings: u8,
        blocks: Rect,
        mut take: impl FnMut(u32, u32, &mut Tile),
    ) -> Result<Touched, DecodeError> {
        let bands = bands_for(rings);
        let (payloads, mut touched) = self.locate(record, component, rings, blocks)?;
        let plane = &record.image().expect("located chunks are of an image").components[component];
        let tiling = Tiling::new(plane.blocks);
        let columns = blocks.x / TILE_WIDTH..(blocks.x + blocks.width).div_ceil(TILE_WIDTH);
        for row in blocks.y / TILE_HEIGHT..(blocks.y + blocks.height).div_ceil(TILE_HEIGHT) {
            for column in columns.clone() {
                let active = tiling.active(column, row);
                let index = row as usize * tiling.columns as usize + column as usize;
                for (band, payload) in payloads[..bands].iter().enumerate() {
                    let [start, end] = [self.starts[band][index], self.starts[band][index + 1]];
                    touched.payload += end - start;
                    let chunk = &payload[start as usize..end as usize + SLACK];
                    let places = places_of(band);
                    let decoded =
                        Band { path: self.path, places, bases: &plane.bases }.decode(chunk, active, &mut self.tile);
                    decoded.ok_or_else(|| {
                        let at = plane.chunks[band].payload.start + start;
                        DecodeError::corrupt(format!(
                            "the chunk of band {band}, component {component}, tile {index}, at byte {at} of the record, is damaged"
                        ))
                    })?;
                }
                take(column, row, &mut self.tile);
            }
        }
        Ok(touched)
    }

    /// As [`TileDecoder::decode`], but gives the chunks as they are: band by band and row by row of tiles the bytes of the row's
    /// chunks, which lie one after another, and where in these each begins and the last ends.
    ///
    /// # Errors
    /// As [`TileDecoder::decode`], except that no chunk is looked at.
    ///
    /// # Panics
    /// As [`TileDecoder::decode`].
    #[cfg(feature = "wgpu")]
    pub(crate) fn chunks(
        &mut self,
        record: &Record,
        component: usize,
        rings: u8,
        blocks: Rect,
        mut take: impl FnMut(&[u8], &mut dyn Iterator<Item = u64>),
    ) -> Result<Touched, DecodeError> {
        let (payloads, mut touched) = self.locate(record, component, rings, blocks)?;
        let plane = &record.image().expect("located chunks are of an image").components[component];
        let all = Tiling::new(plane.blocks).columns as usize;
        let [left, right] = [blocks.x / TILE_WIDTH, (blocks.x + blocks.width).div_ceil(TILE_WIDTH)];
        let rows = blocks.y / TILE_HEIGHT..(blocks.y + blocks.height).div_ceil(TILE_HEIGHT);
        for (payload, starts) in payloads.iter().zip(&self.starts).take(bands_for(rings)) {
            for row in rows.clone() {
                let first = row as usize * all;
                let starts = &starts[first + left as usize..=first + right as usize];
                let (start, end) = (starts[0], starts[starts.len() - 1]);
                touched.payload += end - start;
                take(&payload[start as usize..end as usize], &mut starts.iter().map(|at| at - start));
            }
        }
        Ok(touched)
    }

    /// The payloads of the component's bands that hold these rings, each to the end of its section, with `starts` filled.
    fn locate<'a>(
        &mut self,
        record: &Record<'a>,
        component: usize,
        rings: u8,
        blocks: Rect,
    ) -> Result<([&'a [u8]; BANDS], Touched), DecodeError> {
        let image = record.image().ok_or_else(|| DecodeError::unsupported("the record holds a file and no bands"))?;
        let plane = &image.components[component];
        assert!(blocks.is_inside(plane.blocks), "{blocks:?} is empty or not inside {:?}", plane.blocks);
        let tiling = Tiling::new(plane.blocks);
        let mut touched = Touched::default();
        let mut payloads: [&[u8]; BANDS] = [&[]; BANDS];
        for (band, payload) in payloads[..bands_for(rings)].iter_mut().enumerate() {
            let (section, chunks) = (&image.bands[band], &plane.chunks[band]);
            record.checked(&section.index, section.index_crc, &format!("index of band {band}"))?;
            // To the section's end, so that a chunk's last bits can be looked at together with what follows.
            *payload = record.range(&(chunks.payload.start..section.end), &format!("band {band}"))?;
            let index = record.range(&(chunks.index.start..section.end), &format!("band {band}"))?;
            touched.index += section.index.end - section.index.start;
            let len = chunks.payload.end - chunks.payload.start;
            read_index(index, chunks.width, tiling.count(), len, &mut self.starts[band]).ok_or_else(|| {
                let at = chunks.index.start;
                DecodeError::corrupt(format!(
                    "the lengths of band {band}, component {component}, at byte {at}, do not add up"
                ))
            })?;
        }
        Ok((payloads, touched))
    }
}

/// Reads the lengths and sums them up; `None` if the sum is not `len`. At least 8 bytes follow the lengths in `index`.
fn read_index(index: &[u8], width: u32, count: usize, len: u64, starts: &mut Vec<u64>) -> Option<()> {
    starts.clear();
    starts.reserve(count + 1);
    let mut at = 0;
    starts.push(at);
    for tile in 0..count {
        at += peek(index, tile * width as usize)? & ((1 << width) - 1);
        starts.push(at);
    }
    (at == len).then_some(())
}
