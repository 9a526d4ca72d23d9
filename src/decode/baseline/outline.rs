//! What a sequential JPEG holds for a window of its pixels, for a decoder elsewhere: the same headers are accepted as here, and the
//! same blocks are needed.

use super::bits::ZIGZAG;
use super::extent::{Extent, Part};
use super::header::{EOI, Header};
use crate::decode::markers::Frame;
use crate::shape::Rect;
use std::ops::Range;

/// A Huffman code as the file defines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code<'a> {
    /// Number of codes of each length `1..=16`.
    pub(crate) counts: &'a [u8; 16],
    /// Symbols in the order of their codes.
    pub(crate) symbols: &'a [u8],
}

/// One component of a scan.
#[derive(Debug, Clone)]
pub(crate) struct Component<'a> {
    /// Place in the frame.
    pub(crate) index: usize,
    /// Blocks of a unit of the scan across and down.
    pub(crate) blocks: (usize, usize),
    /// M of the M/8 that its blocks are transformed to.
    pub(crate) scale: usize,
    /// Quantisation steps, that of vertical frequency `v` and horizontal frequency `u` at `8 * v + u`.
    pub(crate) steps: [i32; 64],
    pub(crate) dc: Code<'a>,
    pub(crate) ac: Code<'a>,
    /// Columns and rows of the blocks that the window needs. None of them only fills up a unit.
    pub(crate) columns: Range<usize>,
    pub(crate) rows: Range<usize>,
}

/// One scan.
#[derive(Debug, Clone)]
pub(crate) struct Scan<'a> {
    pub(crate) components: Vec<Component<'a>>,
    /// Units between restart markers; 0 for none.
    pub(crate) restart: usize,
    /// Columns and rows of units.
    pub(crate) units: (usize, usize),
    /// Columns and rows of units that the window needs.
    pub(crate) columns: Range<usize>,
    pub(crate) rows: Range<usize>,
    /// Rows of units to read.
    pub(crate) last: usize,
    /// The entropy-coded data and all that follows.
    pub(crate) data: &'a [u8],
}

/// Gives the scans to `visit`, one after the other, which returns what follows the scan's data, from a marker on. Where it returns
/// `Some(None)` instead, nobody looks at what follows.
///
/// `None` where it does, or where the file is not one for [`Baseline`](super::Baseline).
pub(crate) fn read<'a>(
    bytes: &'a [u8],
    frame: &Frame,
    (window, scale): (Rect, u8),
    mut visit: impl FnMut(&Scan<'a>) -> Option<Option<&'a [u8]>>,
) -> Option<()> {
    let mut header = Header::new(bytes, frame)?;
    let mut scan = header.next_scan()??;
    let extent = Extent::new(&scan, window, scale);
    let mut seen = [false; 4];
    loop {
        let mut components = Vec::with_capacity(scan.components.len());
        for component in &*scan.components {
            if std::mem::replace(&mut seen[component.index], true) {
                return None;
            }
            let Part { factors, blocks, scale, .. } = extent.parts[component.index];
            let span =
                |units: &Range<usize>, factor: usize, most: usize| units.start * factor..(units.end * factor).min(most);
            let mut steps = [0; 64];
            for (place, step) in ZIGZAG.iter().zip(component.steps) {
                steps[usize::from(*place)] = step;
            }
            components.push(Component {
                index: component.index,
                blocks: component.blocks,
                scale,
                steps,
                dc: Code { counts: component.dc.counts, symbols: component.dc.symbols },
                ac: Code { counts: component.ac.counts, symbols: component.ac.symbols },
                columns: span(&extent.columns, factors.0, blocks.0),
                rows: span(&extent.rows, factors.1, blocks.1),
            });
        }
        let Extent { units, columns, rows, last, .. } = extent.of_scan(&scan.components);
        let outlined = Scan { components, restart: scan.restart, units, columns, rows, last, data: scan.data };
        let Some(rest) = visit(&outlined)? else { break };
        if frame.single_scan && !rest.starts_with(&[0xff, EOI]) {
            return None;
        }
        header.go_on(rest);
        match header.next_scan()? {
            Some(next) => scan = next,
            None => break,
        }
    }
    seen[..usize::from(frame.components)].iter().all(|&seen| seen).then_some(())
}
