//! Which part of a file is read for a window of pixels, and which of that is made into samples.

use super::header::Scan;
use crate::decode::fidelity;
use crate::decode::region::scaled_size;
use crate::shape::Rect;
use std::ops::Range;

/// Which units of the image are read, which are kept, and which pixels come of them.
///
/// Pixels and samples are those of the image at `scale`/8.
pub(super) struct Extent {
    /// M of M/8, for luma and for chroma.
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
    /// Factor between pixels and chroma.
    pub(super) across: usize,
    pub(super) down: usize,
    /// Columns and rows of chroma samples in the image.
    pub(super) chroma: (usize, usize),
    /// Pixels in a unit.
    pub(super) unit: (usize, usize),
    /// Whether the window reaches the image's last row, so that what follows the scan is looked at.
    pub(super) is_to_end: bool,
}

impl Extent {
    /// What `window`, in the image at `scale`/8, needs.
    pub(super) fn new(scan: &Scan, window: Rect, scale: u8) -> Self {
        let blocks = scan.components[0].blocks;
        let size = scaled_size(scan.size, scale);
        let (width, height) = (size.width as usize, size.height as usize);
        let units = |side: u32, blocks: usize| (side as usize).div_ceil(8 * blocks);
        let units = (units(scan.size.width, blocks.0), units(scan.size.height, blocks.1));
        let scale = usize::from(scale);
        let chroma_scale = fidelity::chroma_scale(scale, blocks);
        let (across, down) = if chroma_scale == scale { blocks } else { (1, 1) };
        let unit = (scale * blocks.0, scale * blocks.1);
        let span = |start: u32, len: u32, factor: usize, unit: usize, units: usize| {
            let (margin, start, end) = (factor - 1, start as usize, (start + len) as usize);
            start.saturating_sub(margin) / unit..((end + margin).div_ceil(unit)).min(units)
        };
        let columns = span(window.x, window.width, across, unit.0, units.0);
        let rows = span(window.y, window.height, down, unit.1, units.1);
        // libjpeg makes two rows of pixels at once and reads whole rows of units by the luma's sampling factor, also where
        // a single component is not interleaved.
        let group = scale * scan.factor_down;
        let bottom = (window.y + window.height) as usize;
        let below = if down == 2 { bottom.next_multiple_of(2) + 1 } else { bottom };
        let last =
            if bottom == height { units.1 } else { (below.div_ceil(group) * group).div_ceil(unit.1).min(units.1) };
        let chroma = (width.div_ceil(across), height.div_ceil(down));
        let is_to_end = bottom == height;
        Self { scale, chroma_scale, window, units, columns, rows, last, across, down, chroma, unit, is_to_end }
    }
}
