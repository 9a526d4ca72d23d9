//! Planes of samples to pixels: chroma to the resolution of luma where it is subsampled, then colour.

use super::{Job, rows};

impl Job<'_> {
    /// Makes the row `y` of pixels.
    #[inline(always)]
    pub(super) fn pixels<const AVX2: bool>(&mut self, y: usize, to: &mut [u8]) {
        let extent = &self.extent;
        let (left, width) = (extent.window.x as usize, extent.window.width as usize);
        let first_column = extent.columns.start * extent.unit.0;
        let luma = &self.planes[0].row(y)[left - first_column..][..width];
        if self.components.len() == 1 {
            return rows::gray(luma, to);
        }
        let first_chroma = extent.chroma_scale * extent.columns.start;
        let (nearer, further) = if extent.down == 1 {
            (y, y)
        } else {
            let below = (y / 2 + 1).min(extent.chroma.1 - 1);
            (y / 2, if y.is_multiple_of(2) { (y / 2).saturating_sub(1) } else { below })
        };
        for (plane, line) in self.planes[1..].iter().zip(&mut self.lines.chroma) {
            let (nearer, further) = (plane.row(nearer), plane.row(further));
            if line.len() < width + 2 {
                line.resize(width + 2, 0);
            }
            match (extent.across, extent.down) {
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
                    let there = extent.chroma_scale * extent.columns.end;
                    let (from, until) =
                        (start.saturating_sub(1).max(first_chroma), (end + 1).min(extent.chroma.0).min(there));
                    let there = from - first_chroma..until - first_chroma;
                    let (nearer, further) = (&nearer[there.clone()], &further[there]);
                    let count = end - start + 2;
                    let sums = &mut self.lines.sums;
                    if sums.len() < count {
                        sums.resize(count, 0);
                    }
                    let sums = &mut sums[..count];
                    let inner = &mut sums[from + 1 - start..until + 1 - start];
                    if extent.down == 2 {
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
                    rows::widen(sums, if extent.down == 2 { 4 } else { 2 }, &mut line[..2 * (end - start)]);
                }
            }
        }
        let chroma = |i: usize| {
            if (extent.across, extent.down) == (1, 1) {
                &self.planes[1 + i].row(y)[left - first_chroma..][..width]
            } else {
                let skipped = if extent.across == 2 { left % 2 } else { 0 };
                &self.lines.chroma[i][skipped..][..width]
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
