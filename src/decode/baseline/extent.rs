//! Which part of a file is read for a window of pixels, and which of that is made into samples.

use super::header::{Component, Scan};
use super::pixels::Placed;
use crate::decode::markers::Frame;
use crate::decode::region::scaled_size;
use crate::packed::Colour;
use crate::shape::Rect;
use std::ops::Range;

/// Which units of the image are read, which are kept, and which pixels come of them.
///
/// Pixels and samples are those of the image at `scale`/8. Units are those of all components together, except where it is
/// the extent of a component [alone](Extent::alone).
#[derive(Debug, Clone)]
pub(super) struct Extent {
    /// M of M/8, and C of the C/8 of the components of half resolution, where that differs.
    pub(super) scale: usize,
    pub(super) chroma_scale: usize,
    pub(super) window: Rect,
    /// Columns and rows of units in the image.
    pub(super) units: (usize, usize),
    /// Columns and rows of units that have pixels of the window, or chroma of these.
    pub(super) columns: Range<usize>,
    pub(super) rows: Range<usize>,
    /// Rows of units to read.
    pub(super) last: usize,
    /// Pixels in a unit.
    pub(super) unit: (usize, usize),
    /// Rows of pixels at a unit's end that need samples of the next: 1 or 0.
    pub(super) waiting: usize,
    /// Whether the window reaches the image's last row, so that what follows the scan is looked at.
    pub(super) is_to_end: bool,
    pub(super) colour: Colour,
    /// The image's components.
    pub(super) parts: [Part; 4],
}

/// One component of the image.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Part {
    /// Blocks across and down in a unit.
    pub(super) factors: (usize, usize),
    /// Columns and rows of blocks that hold samples of the image.
    pub(super) blocks: (usize, usize),
    /// M of its M/8.
    pub(super) scale: usize,
    pub(super) placed: Placed,
}

impl Extent {
    /// What `window`, in the image at `scale`/8, needs.
    pub(super) fn new(scan: &Scan, window: Rect, scale: u8) -> Self {
        let frame = &scan.frame;
        let (image, size) = (frame.size, scaled_size(frame.size, scale));
        let count = usize::from(frame.components);
        // A single component is never interleaved (A.2.2).
        let factors = if count == 1 { [(1, 1); 4] } else { frame.sampling.map(|f| (f.0.into(), f.1.into())) };
        let largest =
            factors[..count].iter().fold((1, 1), |most: (usize, usize), f| (most.0.max(f.0), most.1.max(f.1)));
        let blocks = |side: u32, factor: usize, largest: usize| (side as usize * factor).div_ceil(8 * largest);
        let units = (blocks(image.width, 1, largest.0), blocks(image.height, 1, largest.1));
        let scale = usize::from(scale);
        let unit = (scale * largest.0, scale * largest.1);
        let mut parts = [Part::default(); 4];
        for (part, factors) in parts[..count].iter_mut().zip(factors) {
            part.factors = factors;
            part.blocks = (blocks(image.width, factors.0, largest.0), blocks(image.height, factors.1, largest.1));
            (part.scale, part.placed) = Placed::new(image, scale, factors, largest);
        }
        let is_smooth = |is_along: fn(&Placed) -> bool| {
            usize::from(parts[..count].iter().any(|part| part.placed.is_smooth && is_along(&part.placed)))
        };
        let (beside, waiting) = (is_smooth(|placed| placed.ratio.0 == 2), is_smooth(|placed| placed.ratio.1 == 2));
        let span = |start: u32, len: u32, margin: usize, unit: usize, units: usize| {
            let (start, end) = (start as usize, (start + len) as usize);
            start.saturating_sub(margin) / unit..((end + margin).div_ceil(unit)).min(units)
        };
        let columns = span(window.x, window.width, beside, unit.0, units.0);
        let rows = span(window.y, window.height, waiting, unit.1, units.1);
        for part in &mut parts[..count] {
            let samples = part.scale * part.factors.0;
            (part.placed.first, part.placed.end) = (samples * columns.start, samples * columns.end);
        }
        let bottom = (window.y + window.height) as usize;
        let is_to_end = bottom == size.height as usize || !is_read_in_part(frame, scan.colour);
        // libjpeg makes two rows of pixels at once and reads whole rows of units by the luma's sampling factor, also where
        // a single component is not interleaved.
        let group = scale * usize::from(frame.sampling[0].1);
        let below = if waiting == 1 { bottom.next_multiple_of(2) + 1 } else { bottom };
        let last = if is_to_end { units.1 } else { (below.div_ceil(group) * group).div_ceil(unit.1).min(units.1) };
        let chroma_scale = parts[..count].iter().map(|part| part.scale).max().unwrap_or(scale);
        let colour = scan.colour;
        Self { scale, chroma_scale, window, units, columns, rows, last, unit, waiting, is_to_end, colour, parts }
    }

    /// What the same window needs of a scan: of one with a single component of several, whose units are blocks.
    pub(super) fn of_scan(&self, components: &[Component]) -> Self {
        let [component] = components else { return self.clone() };
        let Part { factors, blocks, .. } = self.parts[component.index];
        let span =
            |units: &Range<usize>, factor: usize, most: usize| units.start * factor..(units.end * factor).min(most);
        let (columns, rows) = (span(&self.columns, factors.0, blocks.0), span(&self.rows, factors.1, blocks.1));
        Self { units: blocks, columns, rows, last: blocks.1, ..self.clone() }
    }
}

/// Whether libjpeg reads no more of a file than a region needs, and it is known how much that is. Of the others all is read.
fn is_read_in_part(frame: &Frame, colour: Colour) -> bool {
    let sampling = &frame.sampling[..usize::from(frame.components)];
    let is_known = matches!(sampling, [(1..=2, 1..=2)] | [(1..=2, 1..=2), (1, 1), (1, 1)]);
    // Two columns of chroma are upsampled in another way.
    let is_wide = sampling.len() == 1 || sampling[0].0 == 1 || frame.size.width > 4;
    frame.single_scan && is_known && is_wide && matches!(colour, Colour::Gray | Colour::YCbCr)
}
