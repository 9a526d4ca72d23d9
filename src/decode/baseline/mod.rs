//! An own decoder for the JPEGs that nearly all data sets are made of: at full scale to the very pixels of libjpeg-turbo, at
//! M/8 from the low M x M coefficients of each block alone.
//!
//! It reads 8-bit sequential Huffman-coded files of one, three or four components, in one scan or several, with the sampling
//! factors and colours that libjpeg decodes. Whatever else a file is, and at the first thing that is not as it should be, it
//! gives up, and libjpeg decodes the file from its start: what becomes of a damaged file, and what is said of it, is libjpeg's
//! decision alone. To that end as much of a file is read as libjpeg would read for the same region, or more.
//!
//! A component with half the image's resolution on both axes, as chroma mostly has, is transformed at twice the scale of the
//! image, up to 8/8, and needs no upsampling then. All else is upsampled as at full scale, and as libjpeg does: two pixels to
//! a sample along an axis, and no more than two along the other, are blended of two samples, else samples are repeated.
//!
//! It is faster in what takes most of the time, the Huffman codes: those of blocks outside of the region are passed over
//! several at a time, and 64 bits are fetched at once; with seek points ([`seek`]) most are not even looked at. Of several scans,
//! samples are made as each is read, and pixels of all of them at the end. Two thirds of the instructions of a whole 8/8 decode
//! are the Huffman codes', 15 % the transform's. All of it compiled for AVX-512 (F, BW, VL, DQ, VBMI, VBMI2) took 0.99 (whole),
//! 1.01 (a crop for 224) and 1.00 (for 96) of the time with AVX2 on a Zen 4, which is why there is no AVX-512 here. Clauses are
//! those of ITU-T T.81.

mod bits;
mod extent;
mod header;
mod huffman;
pub(in crate::decode) mod idct;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(feature = "wgpu")]
pub(crate) mod outline;
pub(in crate::decode) mod pixels;
mod rows;
pub(in crate::decode) mod scaled;
mod scans;
pub(in crate::decode) mod seek;

use super::markers::Frame;
use crate::shape::Rect;
use bits::Bits;
use extent::Extent;
use header::{Component, Components, Scan};
use huffman::{Table, Tables};
use pixels::{Layout, Lines};
use seek::{SeekGrid, SeekPoint, SeekPoints};
use std::ops::Range;

/// The decoder with what it keeps from image to image: tables that many files share, and scratch memory.
pub(crate) struct Baseline {
    tables: Tables,
    planes: [Plane; 4],
    lines: Lines,
    has_avx2: bool,
}

/// Samples of one component, of the columns that are needed: the rows of two rows of units, or of all that are needed where
/// the components come in scans of their own.
#[derive(Default)]
struct Plane {
    samples: Vec<u8>,
    stride: usize,
    /// Rows of samples in a row of units.
    height: usize,
    /// Rows of samples that are kept.
    kept: usize,
}

impl Plane {
    /// Where the row `y` of the component is.
    fn start(&self, y: usize) -> usize {
        y % self.kept * self.stride
    }

    fn row(&self, y: usize) -> &[u8] {
        &self.samples[self.start(y)..][..self.stride]
    }
}

impl Baseline {
    pub(crate) fn new() -> Self {
        #[cfg(target_arch = "x86_64")]
        let has_avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt");
        #[cfg(not(target_arch = "x86_64"))]
        let has_avx2 = false;
        Self { tables: Tables::new(), planes: Default::default(), lines: Lines::default(), has_avx2 }
    }

    /// Whether it is known to beat libjpeg-turbo at full scale on this machine. Its NEON, and its code without AVX2, have not
    /// been measured beside libjpeg-turbo's NEON and SSE2.
    pub(crate) fn is_fast(&self) -> bool {
        self.has_avx2
    }

    /// Decodes the pixels of `window`, which lies inside of the image at `scale`/8, to dense RGB8 rows at the start of
    /// `pixels`. `scale` is one of 1, 2, 3, 4, 6 and 8; `frame` is what the bytes' header was found to be.
    ///
    /// With seek points of the file, no more is read than the units that are needed and those between them and the seek points
    /// before; else as much as libjpeg would read.
    ///
    /// `None` where this file is not one for this decoder, or the seek points are not those of this file; `pixels` may have been
    /// written to.
    pub(crate) fn decode(
        &mut self,
        bytes: &[u8],
        frame: &Frame,
        (window, scale): (Rect, u8),
        seek: Option<&SeekPoints>,
        pixels: &mut Vec<u8>,
    ) -> Option<()> {
        if !frame.single_scan {
            return self.decode_scans(bytes, frame, window, scale, pixels).filter(|()| seek.is_none());
        }
        let scan = header::read(bytes, frame)?;
        let extent = Extent::new(&scan, window, scale);
        if seek.is_some_and(|seek| !seek.is_of(extent.units)) {
            return None;
        }
        let pixels = super::scratch(pixels, 3 * window.size().pixels() as usize);
        let has_avx2 = self.has_avx2;
        let mut job = self.job(scan, extent, seek)?;
        job.run_best(has_avx2, pixels)?;
        if seek.is_some() { Some(()) } else { job.end() }
    }

    /// The state before each unit of a file of one scan that this decoder reads whole, from the start of the scan to
    /// the marker that ends the image; `None` for another, and for one of four components.
    pub(crate) fn seek_points(&mut self, bytes: &[u8], frame: &Frame) -> Option<SeekPoints> {
        let scan = header::read(bytes, frame).filter(|scan| scan.components.len() <= 3)?;
        let extent = Extent::new(&scan, Rect::whole(super::region::scaled_size(frame.size, 1)), 1);
        #[cfg(target_arch = "x86_64")]
        if self.has_avx2 {
            let job = self.job(scan, extent, None)?;
            // SAFETY: the processor was asked.
            return unsafe { record_avx2(job) };
        }
        self.job(scan, extent, None)?.record()
    }

    /// What decoding one scan takes.
    fn job<'a>(&'a mut self, mut scan: Scan<'a>, extent: Extent, seek: Option<&'a SeekPoints>) -> Option<Job<'a>> {
        let mut found = [(0, 0); 4];
        for (found, component) in found.iter_mut().zip(&*scan.components) {
            *found = (self.tables.find(component.dc, true, false)?, self.tables.find(component.ac, false, true)?);
        }
        let tables = found.map(|(dc, ac)| (self.tables.get(dc), self.tables.get(ac)));
        for component in &mut *scan.components {
            let (part, plane) = (extent.parts[component.index], &mut self.planes[component.index]);
            component.keep_low(part.scale);
            plane.stride = part.placed.end - part.placed.first;
            plane.height = part.scale * component.blocks.1;
            plane.kept = plane.height * if scan.frame.single_scan { 2 } else { extent.rows.len() };
            super::scratch(&mut plane.samples, plane.kept * plane.stride);
        }
        Some(Job {
            components: scan.components,
            tables,
            restart: scan.restart,
            bits: Bits::new(scan.data),
            predicted: [0; 4],
            until_restart: scan.restart,
            next_restart: 0,
            unit: 0,
            data: scan.data,
            seek,
            block: [0; 64],
            planes: &mut self.planes,
            lines: &mut self.lines,
            layout: Layout::new(&extent),
            extent,
        })
    }

    /// Without vector instructions, to compare.
    pub(crate) fn plain() -> Self {
        Self { has_avx2: false, ..Self::new() }
    }
}

/// What a sequential JPEG's components mean; `None` where libjpeg has to say.
#[cfg(feature = "wgpu")]
pub(crate) fn colour(bytes: &[u8], frame: &Frame) -> Option<crate::packed::Colour> {
    Some(header::Header::new(bytes, frame)?.next_scan()??.colour)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
fn run_avx2(job: &mut Job, pixels: &mut [u8]) -> Option<()> {
    job.run::<true>(pixels)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
fn record_avx2(job: Job) -> Option<SeekPoints> {
    job.record()
}

/// The decoding of one scan.
struct Job<'a> {
    components: Components<'a>,
    tables: [(&'a Table, &'a Table); 4],
    restart: usize,
    bits: Bits<'a>,
    predicted: [i32; 4],
    until_restart: usize,
    next_restart: u8,
    /// The units that were read or passed over.
    unit: usize,
    data: &'a [u8],
    seek: Option<&'a SeekPoints>,
    /// Zeros between blocks.
    block: [i16; 64],
    planes: &'a mut [Plane; 4],
    lines: &'a mut Lines,
    layout: Layout,
    extent: Extent,
}

impl<'a> Job<'a> {
    /// [`Self::run`] by the instructions that there are.
    fn run_best(&mut self, has_avx2: bool, pixels: &mut [u8]) -> Option<()> {
        #[cfg(target_arch = "x86_64")]
        if has_avx2 {
            // SAFETY: the processor was asked.
            return unsafe { run_avx2(self, pixels) };
        }
        debug_assert!(!has_avx2);
        self.run::<false>(pixels)
    }

    /// Reads the scan and makes samples of it, and of these pixels, except where `pixels` is empty.
    #[inline(always)]
    fn run<const AVX2: bool>(&mut self, mut pixels: &mut [u8]) -> Option<()> {
        let (columns, window) = (self.extent.columns.clone(), self.extent.window);
        let all = self.extent.units.0;
        let mut done = window.y as usize;
        let bottom = done + window.height as usize;
        for row in self.extent.rows.clone() {
            self.advance(row * all + columns.start)?;
            let check = self.check(row * all + columns.end);
            let middle = check.map_or(columns.start, |(unit, _)| unit - row * all);
            for part in [columns.start..middle, middle..columns.end] {
                let part = part.start - columns.start..part.end - columns.start;
                match (self.extent.scale, self.extent.chroma_scale) {
                    (8, _) => self.keep::<AVX2, 8, 8>(row, part)?,
                    (6, _) => self.keep::<AVX2, 6, 6>(row, part)?,
                    (4, 4) => self.keep::<AVX2, 4, 4>(row, part)?,
                    (4, _) => self.keep::<AVX2, 4, 8>(row, part)?,
                    (3, 3) => self.keep::<AVX2, 3, 3>(row, part)?,
                    (3, _) => self.keep::<AVX2, 3, 6>(row, part)?,
                    (2, 2) => self.keep::<AVX2, 2, 2>(row, part)?,
                    (2, _) => self.keep::<AVX2, 2, 4>(row, part)?,
                    (_, 1) => self.keep::<AVX2, 1, 1>(row, part)?,
                    _ => self.keep::<AVX2, 1, 2>(row, part)?,
                }
                if let Some((unit, point)) = check
                    && unit == self.unit
                    && self.point()? != *point
                {
                    return None;
                }
            }
            // The last row of a unit waits for the chroma below it.
            let is_last = row + 1 == self.extent.rows.end;
            let ready = (row + 1) * self.extent.unit.1 - self.extent.waiting;
            let ready = if is_last { bottom } else { ready.min(bottom) };
            if ready > done && !pixels.is_empty() {
                let (now, later) = pixels.split_at_mut(3 * window.width as usize * (ready - done));
                let planes = &*self.planes;
                let row = |component: usize, y: usize| planes[component].row(y);
                self.lines.rows::<AVX2>(&self.layout, row, done..ready, now);
                (pixels, done) = (later, ready);
            }
        }
        if self.seek.is_none() {
            self.advance((self.extent.last * all).max(self.unit))?;
        }
        Some(())
    }

    /// Looks at what follows the only scan, as far as libjpeg does.
    fn end(&mut self) -> Option<()> {
        if self.extent.is_to_end {
            return self.bits.pass_marker(header::EOI);
        }
        (!self.bits.is_near_bare_end()).then_some(())
    }

    /// Goes to the unit `to`: by the last seek point before it, and from there on foot.
    #[inline(always)]
    fn advance(&mut self, to: usize) -> Option<()> {
        if let Some((unit, point)) = self.seek.and_then(|seek| seek.before(to))
            && unit > self.unit
        {
            self.unit = unit;
            self.bits = Bits::at(self.data, point.position);
            let [a, b, c] = point.predicted.map(i32::from);
            self.predicted = [a, b, c, 0];
            if let Some(intervals) = unit.checked_div(self.restart) {
                self.next_restart = (intervals % 8) as u8;
                self.until_restart = self.restart - unit % self.restart;
            }
        }
        self.skip(to.checked_sub(self.unit)?)
    }

    /// The last seek point among the units to `end`. Arriving there in any other state than it says shows that the point where
    /// decoding began, or this one, is wrong.
    #[inline(always)]
    fn check(&self, end: usize) -> Option<(usize, &'a SeekPoint)> {
        self.seek.and_then(|seek| seek.before(end)).filter(|(unit, _)| *unit > self.unit)
    }

    /// The state before the next unit, which there has to be.
    fn point(&mut self) -> Option<SeekPoint> {
        self.units_before_restart(0)?;
        let [a, b, c, _] = self.predicted.map(|value| i16::try_from(value).ok());
        Some(SeekPoint { position: self.bits.position()?, predicted: [a?, b?, c?] })
    }

    /// The states before all units.
    #[inline(always)]
    fn record(mut self) -> Option<SeekPoints> {
        let (across, down) = self.extent.units;
        let mut points = Vec::with_capacity(across * down);
        for _ in 0..across * down {
            points.push(self.point()?);
            self.skip(1)?;
        }
        self.bits.pass_marker(header::EOI)?;
        SeekPoints::new(SeekGrid::every(self.extent.units)?, points)
    }

    /// The number of units, of `count`, before the next restart marker. Passes the marker where it is due (E.2.4).
    #[inline(always)]
    fn units_before_restart(&mut self, count: usize) -> Option<usize> {
        const RST0: u8 = 0xd0;
        if self.restart == 0 {
            self.unit += count;
            return Some(count);
        }
        if self.until_restart == 0 {
            self.bits.pass_marker(RST0 + self.next_restart)?;
            self.next_restart = (self.next_restart + 1) % 8;
            self.predicted = [0; 4];
            self.until_restart = self.restart;
        }
        let count = count.min(self.until_restart);
        self.until_restart -= count;
        self.unit += count;
        Some(count)
    }

    /// Goes past units that are not needed.
    #[inline(always)]
    fn skip(&mut self, mut count: usize) -> Option<()> {
        while count > 0 {
            let units = self.units_before_restart(count)?;
            count -= units;
            let mut bits = self.bits;
            for _ in 0..units {
                for (i, component) in self.components.iter().enumerate() {
                    let (dc, ac) = self.tables[i];
                    for _ in 0..component.blocks.0 * component.blocks.1 {
                        self.predicted[i] = self.predicted[i].wrapping_add(bits.skip_block(dc, ac)?);
                    }
                }
            }
            self.bits = bits;
            if bits.is_overrun() {
                return None;
            }
        }
        Some(())
    }

    /// Decodes the units of a part of the needed columns to samples, luma at M/8 and chroma at C/8.
    #[inline(always)]
    fn keep<const AVX2: bool, const M: usize, const C: usize>(&mut self, row: usize, part: Range<usize>) -> Option<()> {
        let mut column = part.start;
        while column < part.end {
            let units = self.units_before_restart(part.end - column)?;
            let mut bits = self.bits;
            for _ in 0..units {
                for (i, component) in self.components.iter().enumerate() {
                    let (plane, predicted) = (&mut self.planes[component.index], &mut self.predicted[i]);
                    let (tables, block) = (self.tables[i], &mut self.block);
                    if M == C || component.scale == M {
                        unit::<AVX2, M>(&mut bits, tables, component, predicted, block, plane, (column, row))?;
                    } else {
                        unit::<AVX2, C>(&mut bits, tables, component, predicted, block, plane, (column, row))?;
                    }
                }
                column += 1;
            }
            self.bits = bits;
            if bits.is_overrun() {
                return None;
            }
        }
        Some(())
    }
}

/// Decodes one component's blocks of the unit at `(column, row)` to samples at M/8.
#[inline(always)]
fn unit<const AVX2: bool, const M: usize>(
    bits: &mut Bits,
    (dc, ac): (&Table, &Table),
    component: &Component,
    predicted: &mut i32,
    block: &mut [i16; 64],
    plane: &mut Plane,
    (column, row): (usize, usize),
) -> Option<()> {
    let stride = plane.stride;
    for y in 0..component.blocks.1 {
        let start = plane.start(row * plane.height + M * y) + M * component.blocks.0 * column;
        for x in 0..component.blocks.0 {
            let (difference, sum) = bits.block::<M>(dc, ac, &component.steps, block)?;
            *predicted = predicted.wrapping_add(difference);
            let first = i32::from(i16::try_from(*predicted).ok()?) * component.steps[0];
            samples::<AVX2, M>(block, first, sum, &mut plane.samples[start + M * x..], stride)?;
        }
    }
    Some(())
}

/// Transforms `block`, of which the first coefficient is `first` and the others have the sum `sum` of absolute values, and
/// clears it.
#[inline(always)]
fn samples<const AVX2: bool, const M: usize>(
    block: &mut [i16; 64],
    first: i32,
    sum: u32,
    to: &mut [u8],
    stride: usize,
) -> Option<()> {
    let (safe, largest) = match M {
        8 => (idct::SAFE_SUM, idct::LARGEST_SUM),
        _ => (scaled::SAFE_SUM, scaled::LARGEST_SUM),
    };
    let all = sum.checked_add(first.unsigned_abs())?;
    if sum == 0 && all <= safe {
        idct::flat::<M>(first, to, stride);
        return Some(());
    }
    if all > largest {
        return None;
    }
    block[0] = first as i16;
    match (M, all <= safe) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `AVX2` says that the processor has it.
        (8, true) if AVX2 => unsafe { idct::x86::idct(block, to, stride) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: aarch64 has NEON.
        (8, true) => unsafe { neon::idct(block, to, stride) },
        (8, _) => {
            if !idct::checked(block, to, stride) {
                return None;
            }
        }
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        (6, true) if AVX2 => unsafe { scaled::x86::wide_idct::<M>(block, to, stride) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: x86-64 has SSE2.
        (_, true) => unsafe { scaled::x86::idct::<M>(block, to, stride) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        (_, true) => unsafe { neon::scaled::<M>(block, to, stride) },
        _ => scaled::plain::<M>(block, to, stride),
    }
    *block = [0; 64];
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::region::touched;
    use crate::decode::{Limits, markers};
    use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};

    #[test]
    fn without_vector_instructions_the_pixels_are_the_same() {
        let (width, height) = (97, 61);
        let value = |i: u32| (i.wrapping_mul(2_654_435_761) >> 27) + i % 3 * 50 + i / 3 % width + i / (3 * width);
        let pixels: Vec<u8> = (0..3 * width * height).map(|i| value(i) as u8).collect();
        for subsamp in [Subsamp::None, Subsamp::Sub2x1, Subsamp::Sub2x2, Subsamp::Sub1x2, Subsamp::Gray] {
            let mut compressor = Compressor::new().expect("libjpeg-turbo starts");
            compressor.set_subsamp(subsamp).expect("the sampling is known");
            let (width, height) = (width as usize, height as usize);
            let image = Image { pixels: &pixels[..], width, pitch: 3 * width, height, format: PixelFormat::RGB };
            let bytes = compressor.compress_to_vec(image).expect("a picture compresses");
            let (frame, _) = markers::read(&bytes, &Limits::default()).expect("the header is sound");
            for region in [Rect::whole(frame.size), Rect { x: 13, y: 17, width: 50, height: 31 }] {
                for scale in [1, 2, 3, 4, 6, 8] {
                    let window = touched(region, scale);
                    let (mut fast, mut plain) = (Vec::new(), Vec::new());
                    Baseline::new()
                        .decode(&bytes, &frame, (window, scale), None, &mut fast)
                        .expect("the file is plain");
                    Baseline::plain()
                        .decode(&bytes, &frame, (window, scale), None, &mut plain)
                        .expect("the file is plain");
                    assert!(fast == plain, "{subsamp:?} {region:?} at {scale}/8");
                }
            }
        }
    }
}
