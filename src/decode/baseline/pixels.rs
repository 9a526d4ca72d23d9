//! Planes of samples to pixels: components to the resolution of the image where they are subsampled, then colour.

use super::extent::Extent;
use super::rows;
use crate::decode::fidelity;
use crate::decode::region::scaled_size;
use crate::packed::Colour;
use crate::shape::Size;
use std::ops::Range;

/// Where the samples of a window lie, all as the columns and rows of the image at the scale.
#[derive(Debug, Clone)]
pub(in crate::decode) struct Layout {
    /// The window's first column of pixels, and their number.
    pub(in crate::decode) left: usize,
    pub(in crate::decode) width: usize,
    /// What the components are.
    pub(in crate::decode) colour: Colour,
    /// As many as the colour has.
    pub(in crate::decode) planes: [Placed; 4],
}

/// Where the samples of one component lie.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Placed {
    /// The first column that is at hand, and the end of these.
    pub(in crate::decode) first: usize,
    pub(in crate::decode) end: usize,
    /// Pixels to a sample, across and down: 1 to 4.
    pub(crate) ratio: (usize, usize),
    /// Columns and rows of samples in the image.
    pub(crate) size: (usize, usize),
    /// Whether pixels are blended of two samples along each axis where there are two pixels to a sample, by libjpeg's
    /// triangle filter. Else samples are repeated. Only for ratios of 2 along one axis and 1 or 2 along the other.
    pub(crate) is_smooth: bool,
}

impl Placed {
    /// A component with these sampling factors of an image whose largest are `largest`, at `scale`/8: M of its M/8, and where its
    /// samples lie, none of which is at hand.
    pub(in crate::decode) fn new(
        image: Size,
        scale: usize,
        factors: (usize, usize),
        largest: (usize, usize),
    ) -> (usize, Self) {
        let shared = (largest.0 / factors.0, largest.1 / factors.1);
        let size = scaled_size(image, scale as u8);
        let own = fidelity::chroma_scale(scale, shared);
        let ratio = if own == scale { shared } else { (1, 1) };
        // What libjpeg does: no blending of all too few columns, nor where more than two pixels share a sample.
        let is_smooth = match ratio {
            (2, 1 | 2) => image.width.div_ceil(2) > 2,
            (1, 2) => true,
            _ => false,
        };
        let size = ((size.width as usize).div_ceil(ratio.0), (size.height as usize).div_ceil(ratio.1));
        (own, Self { first: 0, end: 0, ratio, size, is_smooth })
    }
}

impl Layout {
    pub(super) fn new(extent: &Extent) -> Self {
        Self {
            left: extent.window.x as usize,
            width: extent.window.width as usize,
            colour: extent.colour,
            planes: extent.parts.map(|part| part.placed),
        }
    }
}

/// Rows of subsampled components on the way to pixels.
#[derive(Debug, Default)]
pub(in crate::decode) struct Lines {
    sums: Vec<i16>,
    lines: [Vec<u8>; 4],
}

impl Lines {
    /// Makes these rows of pixels, the first at the start of `to`; `row` as for [`Lines::pixels`].
    #[inline(always)]
    pub(in crate::decode) fn rows<'p, const AVX2: bool>(
        &mut self,
        layout: &Layout,
        row: impl Fn(usize, usize) -> &'p [u8],
        rows: Range<usize>,
        to: &mut [u8],
    ) {
        for (y, to) in rows.zip(to.chunks_exact_mut(3 * layout.width)) {
            self.pixels::<AVX2>(layout, &row, y, to);
        }
    }

    /// Makes the row `y` of pixels of `row(component, y)`: samples from the component's first column at hand on.
    #[inline(always)]
    pub(in crate::decode) fn pixels<'p, const AVX2: bool>(
        &mut self,
        layout: &Layout,
        row: impl Fn(usize, usize) -> &'p [u8],
        y: usize,
        to: &mut [u8],
    ) {
        let Layout { left, width, colour, ref planes } = *layout;
        let planes = &planes[..colour.components()];
        let mut skipped = [0; 4];
        for (i, plane) in planes.iter().enumerate() {
            if plane.ratio != (1, 1) {
                skipped[i] = upsample(plane, (left, width), |y| row(i, y), y, &mut self.sums, &mut self.lines[i]);
            }
        }
        let line = |i: usize| match planes[i].ratio {
            (1, 1) => &row(i, y)[left - planes[i].first..][..width],
            _ => &self.lines[i][skipped[i]..][..width],
        };
        match colour {
            Colour::Gray => rows::gray(line(0), to),
            Colour::YCbCr => color::<AVX2>(line(0), line(1), line(2), to),
            Colour::Rgb => rows::rgb(line(0), line(1), line(2), to),
            Colour::Cmyk => {
                rows::rgb(line(0), line(1), line(2), to);
                rows::inks(line(3), 0, to);
            }
            Colour::Ycck => {
                color::<AVX2>(line(0), line(1), line(2), to);
                rows::inks(line(3), 255, to);
            }
        }
    }
}

#[inline(always)]
fn color<const AVX2: bool>(y: &[u8], cb: &[u8], cr: &[u8], to: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if AVX2 {
        // SAFETY: `AVX2` says that the processor has it.
        return unsafe { rows::x86::color(y, cb, cr, to) };
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: aarch64 has NEON.
    unsafe {
        super::neon::color(y, cb, cr, to);
    }
    #[cfg(not(target_arch = "aarch64"))]
    rows::color(y, cb, cr, to);
}

/// Makes the samples of a component for the columns `(left, width)` of the row `y` of pixels, at the returned place in `line`.
#[inline(always)]
fn upsample<'p>(
    plane: &Placed,
    (left, width): (usize, usize),
    row: impl Fn(usize) -> &'p [u8],
    y: usize,
    sums: &mut Vec<i16>,
    line: &mut Vec<u8>,
) -> usize {
    let Placed { first, end: at_hand, ratio: (across, down), size, is_smooth } = *plane;
    // The columns of samples that the pixels lie on.
    let (start, end) = (left / across, (left + width).div_ceil(across));
    if line.len() < across * (end - start) {
        line.resize(across * (end - start), 0);
    }
    let line = &mut line[..across * (end - start)];
    let nearer = y / down;
    if !is_smooth {
        let samples = &row(nearer)[start - first..end - first];
        match across {
            1 => line.copy_from_slice(samples),
            2 => rows::repeat::<2>(samples, line),
            3 => rows::repeat::<3>(samples, line),
            _ => rows::repeat::<4>(samples, line),
        }
        return left % across;
    }
    let further = match (down, y % 2) {
        (1, _) => nearer,
        (_, 0) => nearer.saturating_sub(1),
        _ => (nearer + 1).min(size.1 - 1),
    };
    let (nearer, further) = (row(nearer), row(further));
    if across == 1 {
        let columns = start - first..end - first;
        let bias = if y.is_multiple_of(2) { 1 } else { 2 };
        rows::blend_rows(&nearer[columns.clone()], &further[columns], bias, line);
        return 0;
    }
    // The columns and one more on both sides where there is one: at the edges of the image, and where only the half of a
    // column that looks away from it is needed, not.
    let (from, until) = (start.saturating_sub(1).max(first), (end + 1).min(size.0).min(at_hand));
    let there = from - first..until - first;
    let (nearer, further) = (&nearer[there.clone()], &further[there]);
    let count = end - start + 2;
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
    rows::widen(sums, if down == 2 { 4 } else { 2 }, line);
    left % 2
}
