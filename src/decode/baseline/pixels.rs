//! Planes of samples to pixels: chroma to the resolution of luma where it is subsampled, then colour.

use super::extent::Extent;
use super::{Job, rows};

/// Where the samples of a window lie: those of gray or of Y, Cb and Cr, all as the columns and rows of the image at the scale.
#[derive(Debug, Clone)]
pub(in crate::decode) struct Layout {
    /// The window's first column of pixels, and their number.
    pub(in crate::decode) left: usize,
    pub(in crate::decode) width: usize,
    /// The first column of luma and of chroma that is at hand, and the end of the chroma.
    pub(in crate::decode) first_column: usize,
    pub(in crate::decode) first_chroma: usize,
    pub(in crate::decode) chroma_end: usize,
    /// Factor between pixels and chroma: 1 or 2.
    pub(in crate::decode) across: usize,
    pub(in crate::decode) down: usize,
    /// Columns and rows of chroma samples in the image.
    pub(in crate::decode) chroma: (usize, usize),
}

impl Layout {
    pub(super) fn new(extent: &Extent) -> Self {
        let Extent { across, down, chroma, .. } = *extent;
        Self {
            left: extent.window.x as usize,
            width: extent.window.width as usize,
            first_column: extent.columns.start * extent.unit.0,
            first_chroma: extent.chroma_scale * extent.columns.start,
            chroma_end: extent.chroma_scale * extent.columns.end,
            across,
            down,
            chroma,
        }
    }
}

/// Rows of chroma on the way to pixels.
#[derive(Debug, Default)]
pub(in crate::decode) struct Lines {
    sums: Vec<i16>,
    chroma: [Vec<u8>; 2],
}

impl Lines {
    /// Makes the row `y` of pixels of `row(component, y)`: samples from the layout's first column on.
    #[inline(always)]
    pub(in crate::decode) fn pixels<'p, const AVX2: bool>(
        &mut self,
        layout: &Layout,
        components: usize,
        row: impl Fn(usize, usize) -> &'p [u8],
        y: usize,
        to: &mut [u8],
    ) {
        let Layout { left, width, first_column, first_chroma, chroma_end, across, down, chroma } = *layout;
        let luma = &row(0, y)[left - first_column..][..width];
        if components == 1 {
            return rows::gray(luma, to);
        }
        let (nearer, further) = if down == 1 {
            (y, y)
        } else {
            let below = (y / 2 + 1).min(chroma.1 - 1);
            (y / 2, if y.is_multiple_of(2) { (y / 2).saturating_sub(1) } else { below })
        };
        for (i, line) in self.chroma.iter_mut().enumerate() {
            let (nearer, further) = (row(1 + i, nearer), row(1 + i, further));
            if line.len() < width + 2 {
                line.resize(width + 2, 0);
            }
            match (across, down) {
                (1, 1) => {}
                (1, _) => {
                    let columns = left - first_chroma..left - first_chroma + width;
                    let bias = if y.is_multiple_of(2) { 1 } else { 2 };
                    rows::blend_rows(&nearer[columns.clone()], &further[columns], bias, &mut line[..width]);
                }
                _ => {
                    // Chroma columns of the pixels, and of these with one more on both sides where there is one: at the
                    // edges of the image, and where only the half of a column that looks away from it is needed, not.
                    let (start, end) = (left / 2, (left + width).div_ceil(2));
                    let (from, until) =
                        (start.saturating_sub(1).max(first_chroma), (end + 1).min(chroma.0).min(chroma_end));
                    let there = from - first_chroma..until - first_chroma;
                    let (nearer, further) = (&nearer[there.clone()], &further[there]);
                    let count = end - start + 2;
                    let sums = &mut self.sums;
                    if sums.len() < count {
                        sums.resize(count, 0);
                    }
                    let sums = &mut sums[..count];
                    let inner = &mut sums[from + 1 - start..until + 1 - start];
                    if down == 2 {
                        rows::add_rows(nearer, further, inner);
                    } else {
                        for (sum, sample) in inner.iter_mut().zip(nearer) {
                            *sum = (*sample).into();
                        }
                    }
                    // At the edges of the image the sample is its own neighbour.
                    if from == start {
                        sums[0] = sums[1];
                    }
                    if until == end {
                        sums[count - 1] = sums[count - 2];
                    }
                    rows::widen(sums, if down == 2 { 4 } else { 2 }, &mut line[..2 * (end - start)]);
                }
            }
        }
        let chroma = |i: usize| {
            if (across, down) == (1, 1) {
                &row(1 + i, y)[left - first_chroma..][..width]
            } else {
                let skipped = if across == 2 { left % 2 } else { 0 };
                &self.chroma[i][skipped..][..width]
            }
        };
        let (cb, cr) = (chroma(0), chroma(1));
        #[cfg(target_arch = "x86_64")]
        if AVX2 {
            // SAFETY: `AVX2` says that the processor has it.
            return unsafe { rows::x86::color(luma, cb, cr, to) };
        }
        rows::color(luma, cb, cr, to);
    }
}

impl Job<'_> {
    /// Makes the row `y` of pixels.
    #[inline(always)]
    pub(super) fn pixels<const AVX2: bool>(&mut self, y: usize, to: &mut [u8]) {
        let planes = &*self.planes;
        let row = |component: usize, y: usize| planes[component].row(y);
        self.lines.pixels::<AVX2>(&self.layout, self.components.len(), row, y, to);
    }
}
