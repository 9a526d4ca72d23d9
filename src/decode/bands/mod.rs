//! Packed records to pixels: the tiles and rings under a window, transformed 32 blocks at once.
//!
//! The pixels are those that `baseline` makes of the JPEG at the same scale, bit for bit. Where libjpeg would have to
//! judge, of blocks far out of range and of factors that it does not upsample, the JPEG is written again and decoded.

mod idct;
mod interleave;
mod lanes;

use super::baseline::pixels::{Layout, Lines, Placed};
use crate::error::DecodeError;
use crate::packed::{Image, Plane, Record, TILE_HEIGHT, TILE_WIDTH, Tile, TileDecoder, Touched};
use crate::shape::{Rect, Size};
use idct::{Samples, idct};
use std::ops::Range;

/// The instructions that tiles are transformed by; all give the same samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    Plain,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Path {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "AVX-512",
        }
    }

    /// All that this processor has, the fastest last.
    fn available() -> Vec<Self> {
        let mut paths = vec![Self::Plain];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            paths.push(Self::Avx2);
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
                paths.push(Self::Avx512);
            }
        }
        paths
    }
}

/// Runs the block with the constant M that `scale` is.
macro_rules! at_scale {
    ($scale:expr, $m:ident => $body:block) => {
        match $scale {
            1 => {
                const $m: usize = 1;
                $body
            }
            2 => {
                const $m: usize = 2;
                $body
            }
            3 => {
                const $m: usize = 3;
                $body
            }
            4 => {
                const $m: usize = 4;
                $body
            }
            6 => {
                const $m: usize = 6;
                $body
            }
            _ => {
                const $m: usize = 8;
                $body
            }
        }
    };
}

/// A decoder with what it keeps from record to record.
pub(super) struct Bands {
    path: Path,
    tiles: TileDecoder,
    samples: Box<Samples>,
    areas: [Area; 4],
    lines: Lines,
}

/// Samples of one component: of the tiles that a window needs.
#[derive(Default)]
struct Area {
    samples: Vec<u8>,
    /// Samples from one row to the next.
    stride: usize,
    /// Column and row of the first sample in the component.
    first: (usize, usize),
}

/// The components of an image at `scale`/8, each with M of its own M/8 and where it lies; `None` for factors that libjpeg refuses
/// to upsample.
fn components(image: &Image, scale: u8) -> Option<Vec<(usize, Placed)>> {
    let sampling: Vec<_> = image.components.iter().map(|plane| plane.sampling).collect();
    placed(image.size, &sampling, scale)
}

/// The same of any image with components of these sampling factors.
pub(crate) fn placed(image: Size, sampling: &[(u8, u8)], scale: u8) -> Option<Vec<(usize, Placed)>> {
    let factors = factors(sampling);
    let largest = factors.iter().fold((1, 1), |most: (usize, usize), f| (most.0.max(f.0), most.1.max(f.1)));
    let placed = |factors: (usize, usize)| {
        let is_whole = largest.0.is_multiple_of(factors.0) && largest.1.is_multiple_of(factors.1);
        is_whole.then(|| Placed::new(image, scale.into(), factors, largest))
    };
    factors.into_iter().map(placed).collect()
}

/// Sampling factors as they count: a single component is never interleaved (ITU-T T.81 A.2.2).
pub(crate) fn factors(sampling: &[(u8, u8)]) -> Vec<(usize, usize)> {
    let is_single = sampling.len() == 1;
    sampling.iter().map(|f| if is_single { (1, 1) } else { (f.0.into(), f.1.into()) }).collect()
}

/// Rings that decoding the image at `scale`/8 reads.
pub(crate) fn rings(image: &Image, scale: u8) -> u8 {
    let components = components(image, scale).unwrap_or_default();
    components.into_iter().map(|(scale, _)| scale as u8).max().unwrap_or(8)
}

impl Area {
    /// Makes room for the samples in these columns and rows of a component at `scale`/8; gives their blocks.
    fn place(&mut self, plane: &Plane, scale: usize, columns: Range<usize>, rows: Range<usize>) -> Rect {
        let span = |samples: Range<usize>, blocks: u32, tile: u32| {
            let first = (samples.start / scale) as u32;
            let end = (samples.end.div_ceil(scale) as u32).min(blocks);
            let tiles = first / tile..end.div_ceil(tile);
            (first, end, tiles)
        };
        let (left, right, tile_columns) = span(columns, plane.blocks.width, TILE_WIDTH);
        let (top, bottom, tile_rows) = span(rows, plane.blocks.height, TILE_HEIGHT);
        let (across, down) = (scale * TILE_WIDTH as usize, scale * TILE_HEIGHT as usize);
        self.stride = across * tile_columns.len();
        self.first = (across * tile_columns.start as usize, down * tile_rows.start as usize);
        let _ = super::scratch(&mut self.samples, self.stride * down * tile_rows.len());
        Rect { x: left, y: top, width: right - left, height: bottom - top }
    }

    fn row(&self, y: usize) -> &[u8] {
        &self.samples[(y - self.first.1) * self.stride..][..self.stride]
    }
}

impl Bands {
    pub(super) fn new() -> Self {
        Self::with(Path::available().last().copied().unwrap_or(Path::Plain), TileDecoder::new())
    }

    /// Without vector instructions, to compare.
    pub(super) fn plain() -> Self {
        Self::with(Path::Plain, TileDecoder::plain())
    }

    /// Without AVX-512, to compare.
    pub(super) fn without_avx512() -> Self {
        let path = Path::available().into_iter().rfind(|path| path.name() != "AVX-512");
        Self::with(path.unwrap_or(Path::Plain), TileDecoder::without_avx512())
    }

    fn with(path: Path, tiles: TileDecoder) -> Self {
        Self { path, tiles, samples: Box::new(Samples::new()), areas: Default::default(), lines: Lines::default() }
    }

    /// Decodes the pixels of `window`, which lies inside of the image at `scale`/8, to dense RGB8 rows at the start of `pixels`.
    ///
    /// `None` where this record is not one for this decoder.
    ///
    /// # Errors
    /// [`DecodeError::Corrupt`] for damage.
    pub(super) fn decode(
        &mut self,
        record: &Record,
        window: Rect,
        scale: u8,
        pixels: &mut Vec<u8>,
    ) -> Result<Option<Touched>, DecodeError> {
        let Some((image, components)) =
            record.image().and_then(|image| components(image, scale).map(|components| (image, components)))
        else {
            return Ok(None);
        };
        let mut layout = Layout {
            left: window.x as usize,
            width: window.width as usize,
            colour: image.colour,
            planes: [Placed::default(); 4],
        };
        let mut touched = Touched::default();
        for (i, (scale, placed)) in components.into_iter().enumerate() {
            // Where samples are blended, one more on both sides counts.
            let span = |start: u32, len: u32, ratio: usize, all: usize| {
                let (start, end) = (start as usize / ratio, (start as usize + len as usize).div_ceil(ratio));
                let margin = usize::from(placed.is_smooth && ratio == 2);
                start.saturating_sub(margin)..(end + margin).min(all)
            };
            let columns = span(window.x, window.width, placed.ratio.0, placed.size.0);
            let rows = span(window.y, window.height, placed.ratio.1, placed.size.1);
            let area = &mut self.areas[i];
            let blocks = area.place(&image.components[i], scale, columns, rows);
            layout.planes[i] = Placed { first: area.first.0, end: area.first.0 + area.stride, ..placed };
            let Some(seen) = self.component(record, i, blocks, scale)? else { return Ok(None) };
            // Components share the index of a band.
            touched.index = touched.index.max(seen.index);
            touched.payload += seen.payload;
        }
        let pixels = super::scratch(pixels, 3 * window.size().pixels() as usize);
        let (areas, rows) = (&self.areas, window.y as usize..(window.y + window.height) as usize);
        #[cfg(target_arch = "x86_64")]
        if self.path != Path::Plain {
            // SAFETY: the processor was asked.
            unsafe { rows_avx2(&mut self.lines, &layout, areas, rows, pixels) };
            return Ok(Some(touched));
        }
        self.lines.rows::<false>(&layout, |component, y| areas[component].row(y), rows, pixels);
        Ok(Some(touched))
    }

    /// Decodes the area of a component to samples at `scale`/8. `None` where a block is out of the range that is computed here.
    fn component(
        &mut self,
        record: &Record,
        component: usize,
        blocks: Rect,
        scale: usize,
    ) -> Result<Option<Touched>, DecodeError> {
        let plane = record.image().and_then(|image| image.components.get(component));
        // Else a product with a step may not fit 16 bits.
        let Some(plane) = plane.filter(|plane| plane.largest_sum <= i16::MAX as u32) else { return Ok(None) };
        let (path, samples) = (self.path, &mut *self.samples);
        let Area { samples: area, stride, first } = &mut self.areas[component];
        let (stride, mut is_in_range) = (*stride, true);
        let (width, height) = (scale * TILE_WIDTH as usize, scale * TILE_HEIGHT as usize);
        let touched = self.tiles.decode(record, component, scale as u8, blocks, |column, row, tile| {
            let (x, y) = (width * column as usize - first.0, height * row as usize - first.1);
            let to = &mut area[y * stride + x..];
            is_in_range &= transform(path, scale, tile, plane, (column, row), samples, to, stride).is_some();
        })?;
        Ok(is_in_range.then_some(touched))
    }
}

/// Transforms a tile to samples in rows `stride` apart.
#[expect(clippy::too_many_arguments, reason = "one tile's worth of a decoder's state, borrowed apart")]
fn transform(
    path: Path,
    scale: usize,
    tile: &Tile,
    plane: &Plane,
    (column, row): (u32, u32),
    samples: &mut Samples,
    to: &mut [u8],
    stride: usize,
) -> Option<()> {
    let active = plane.active(column, row);
    match path {
        Path::Plain => at_scale!(scale, M => {
            idct::<lanes::Plain, M>(tile, &plane.steps, plane.largest_sum, active, samples)?;
            interleave::plain::<M>(samples, to, stride);
        }),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor was asked.
        Path::Avx2 => unsafe { avx2(scale, tile, plane, active, samples, to, stride)? },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor was asked.
        Path::Avx512 => unsafe { avx512(scale, tile, plane, active, samples, to, stride)? },
    }
    Some(())
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(
    scale: usize,
    tile: &Tile,
    plane: &Plane,
    active: u32,
    samples: &mut Samples,
    to: &mut [u8],
    stride: usize,
) -> Option<()> {
    at_scale!(scale, M => {
        idct::<lanes::x86::Avx2, M>(tile, &plane.steps, plane.largest_sum, active, samples)?;
        interleave::x86::avx2::<M>(samples, to, stride);
    });
    Some(())
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,avx512f,avx512bw")]
fn avx512(
    scale: usize,
    tile: &Tile,
    plane: &Plane,
    active: u32,
    samples: &mut Samples,
    to: &mut [u8],
    stride: usize,
) -> Option<()> {
    at_scale!(scale, M => {
        idct::<lanes::x86::Avx512, M>(tile, &plane.steps, plane.largest_sum, active, samples)?;
        interleave::x86::avx2::<M>(samples, to, stride);
    });
    Some(())
}

/// The window's rows of pixels.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn rows_avx2(lines: &mut Lines, layout: &Layout, areas: &[Area; 4], rows: Range<usize>, pixels: &mut [u8]) {
    lines.rows::<true>(layout, |component, y| areas[component].row(y), rows, pixels);
}
