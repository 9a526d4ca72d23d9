//! Entropy decoding of sequential JPEGs: Huffman codes to quantised coefficients.
//!
//! ```text
//! file ─(Stager, a worker thread)─► codes, intervals, data without stuffing ─(shaders/huffman.wgsl)─► coefficients
//! ```
//!
//! A Huffman-coded stream is cut into subsequences, one to a lane, and each is decoded from a guessed state: the codes fall into
//! step by themselves after some symbols. Where a lane ends in another state than the next one began with, that one decodes
//! again, until all agree (Weissenberger and Schmidt, *Massively Parallel Huffman Decoding on GPUs*, 2018). Sums over the
//! subsequences then give each its first block and its DC predictors, and a last pass writes the coefficients. After restart
//! markers and at [seek points](crate::decode::SeekPoints) the state is known, and with points close enough nothing is decoded
//! twice, nor is anything that the window does not need.
//!
//! # What is left to the CPU
//! [`Stager::stage`] gives `None` for files that are not read here: what the CPU's own decoder does not read, and more than 1 MiB
//! of entropy-coded data in a scan. Of damage that shows only while decoding, a word of the `status` buffer tells. It is found
//! wherever the CPU's own decoder gives up for the entropy code; that sums of dequantised coefficients are in range is the
//! transform's to check.

mod codes;
mod intervals;
#[cfg(test)]
mod tests;

use super::kernel::{Kernel, kernel, params};
use crate::decode::baseline::outline::{self, Scan};
use crate::decode::{Frame, SeekPoints};
use crate::shape::Rect;
use codes::Codes;
use intervals::{Entropy, Interval};

params! {
    /// One scan.
    pub(crate) struct Params {
        image: u32, coefficients: u32,
        codes: u32, code_count: u32, parts: u32, intervals: u32, interval_count: u32, data: u32, data_words: u32,
        subsequences: u32, length: u32, rounds: u32,
        blocks: u32, components: u32, across: u32, down: u32, tables: u32,
        columns: u32, first_row: u32, end_row: u32, stop: u32,
    }
}

/// Huffman codes to coefficients, one workgroup for each scan. Own buffers: `coefficients`, zero where nothing was written, and
/// `status`, a word for each image, zero as long as it is good.
///
/// Integers only: exact. Twin: the CPU's `decode::baseline`.
pub(crate) static HUFFMAN: Kernel = kernel!("huffman", Params, [Write, Write]);

/// The kernels here.
pub(crate) const KERNELS: &[&Kernel] = &[&HUFFMAN];

/// Bits of a subsequence: 412 subsequences in the average image of ImageNet, of which a twelfth is wrong after the first pass.
const SUBSEQUENCE_BITS: u32 = 2048;
/// Most rounds until all subsequences of a chunk agree. Of 250 images of ImageNet the worst took 23.
const ROUNDS: u32 = 32;

/// Words of an interval in the input.
const INTERVAL_WORDS: usize = 10;
/// Words of a block of coefficients.
const BLOCK_WORDS: u32 = 32;

/// Bits of a word of `status`: a code that does not exist, or a run beyond the end of its block.
pub(crate) const BAD_CODE: u32 = 1;
/// The subsequences did not agree in the rounds that there are.
pub(crate) const NOT_IN_STEP: u32 = 2;
/// A DC coefficient that is not of 16 bits.
pub(crate) const BAD_DC: u32 = 4;
/// Another number of blocks than there should be, or more bits.
pub(crate) const BAD_END: u32 = 8;
/// Another state at a seek point than it tells.
pub(crate) const BAD_POINT: u32 = 16;

/// Blocks of a component, in columns and rows of its own grid of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct BlockRect {
    pub(crate) x: u32,
    pub(crate) y: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl BlockRect {
    /// Words of its coefficients.
    pub(crate) fn words(&self) -> u32 {
        BLOCK_WORDS * self.width * self.height
    }
}

/// One component of an image.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Component {
    /// The blocks that are needed.
    pub(crate) rect: BlockRect,
    /// M of the M/8 that they are transformed to. Coefficients that are not of the low M x M are zero.
    pub(crate) scale: u32,
    /// Quantisation steps, that of vertical frequency `v` and horizontal frequency `u` at `8 * v + u`.
    pub(crate) steps: [i32; 64],
    /// First word of its coefficients, relative to the image's first.
    pub(crate) coefficients: u32,
}

/// A file that is ready for the device.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Staged {
    /// In the order of the frame.
    pub(crate) components: Vec<Component>,
    /// Words of the coefficients of all of them.
    pub(crate) coefficient_words: u32,
    /// Parameters of the scans, all offsets relative to the sample's first word or coefficient.
    scans: Vec<Params>,
}

impl Staged {
    /// The parameters: `image` is the image's place in `status`, `base` the first word of the sample in the input, and
    /// `coefficients` the first word of its coefficients.
    pub(crate) fn params(&self, image: u32, base: u32, coefficients: u32) -> impl Iterator<Item = Params> {
        self.scans.iter().map(move |scan| Params {
            image,
            coefficients,
            codes: scan.codes + base,
            parts: scan.parts + base,
            intervals: scan.intervals + base,
            data: scan.data + base,
            ..*scan
        })
    }
}

/// The launch's grid for so many parameters.
pub(crate) fn grid(scans: usize) -> [u32; 3] {
    [scans as u32, 1, 1]
}

/// Makes files ready for the device; keeps its memory from one to the next.
#[derive(Debug)]
pub(crate) struct Stager {
    entropy: Entropy,
    length: u32,
    rounds: u32,
}

impl Default for Stager {
    fn default() -> Self {
        Self { entropy: Entropy::default(), length: SUBSEQUENCE_BITS, rounds: ROUNDS }
    }
}

impl Stager {
    /// Appends what the device needs of a file to the sample's words, for the pixels of `window` in the image at `scale`/8, as for
    /// the CPU's own decoder. With seek points of the file, only what they make necessary.
    ///
    /// `None`, and `words` as they were, where this file is not one for the device, or the seek points are not those of this file.
    pub(crate) fn stage(
        &mut self,
        bytes: &[u8],
        frame: &Frame,
        (window, scale): (Rect, u8),
        seek: Option<&SeekPoints>,
        words: &mut Vec<u32>,
    ) -> Option<Staged> {
        let before = words.len();
        let mut components = vec![None; frame.components.into()];
        let mut scans = Vec::new();
        let mut coefficient_words = 0;
        let found = outline::read(bytes, frame, (window, scale), |scan| {
            let rest = match seek {
                Some(_) if !frame.single_scan => return None,
                Some(points) => self.entropy.take_some(scan, points, self.length).map(|()| None)?,
                None => Some(self.entropy.take_all(scan)?),
            };
            let first = coefficient_words;
            for component in &scan.components {
                let side = |blocks: &std::ops::Range<usize>| (blocks.start as u32, blocks.len() as u32);
                let ((x, width), (y, height)) = (side(&component.columns), side(&component.rows));
                let rect = BlockRect { x, y, width, height };
                let (scale, steps) = (component.scale as u32, component.steps);
                components[component.index] = Some(Component { rect, scale, steps, coefficients: coefficient_words });
                coefficient_words = coefficient_words.checked_add(rect.words())?;
            }
            scans.push(self.write(scan, first, frame.single_scan && seek.is_none(), words)?);
            Some(rest)
        });
        let staged =
            || Some(Staged { components: components.into_iter().collect::<Option<_>>()?, coefficient_words, scans });
        let staged = found.and_then(|()| staged());
        if staged.is_none() {
            words.truncate(before);
        }
        staged
    }

    /// Appends a scan's words. Its coefficients begin at `first`. `may_stop`: of a whole file, what comes after the last row to
    /// read is of no interest.
    fn write(&mut self, scan: &Scan, first: u32, may_stop: bool, words: &mut Vec<u32>) -> Option<Params> {
        let at = |words: &Vec<u32>| u32::try_from(words.len()).ok();
        let mut of = Params { length: self.length, rounds: self.rounds, ..Params::default() };
        let (mut codes, mut coefficients) = (Codes::default(), first);
        of.parts = at(words)?;
        for (component, place) in scan.components.iter().zip(0_u32..) {
            for (down, across) in (0..component.blocks.1).flat_map(|y| (0..component.blocks.0).map(move |x| (y, x))) {
                let shift = 2 * of.blocks;
                of.components |= place << shift;
                of.across |= (across as u32) << shift;
                of.down |= (down as u32) << shift;
                of.blocks += 1;
            }
            let (dc, ac) = (codes.find(component.dc, true), codes.find(component.ac, false));
            of.tables |= (dc | ac << 4) << (8 * place);
            let (columns, rows) = (&component.columns, &component.rows);
            let (x, y, width, height) = (columns.start, rows.start, columns.len(), rows.len());
            let (across, down) = component.blocks;
            words.push(coefficients);
            words.extend([x, y, width, height, across, down, component.scale].map(|value| value as u32));
            coefficients += BLOCK_WORDS * (width * height) as u32;
        }
        (of.codes, of.code_count) = (at(words)?, codes.count());
        codes.write(words)?;
        of.columns = scan.units.0 as u32;
        (of.first_row, of.end_row) = (scan.rows.start as u32, scan.rows.end as u32);
        of.stop = u32::MAX;
        if may_stop && scan.last < scan.units.1 {
            of.stop = (scan.last * scan.units.0) as u32;
            self.entropy.intervals.retain(|interval| interval.unit < of.stop);
        }
        (of.intervals, of.interval_count) = (at(words)?, self.entropy.intervals.len() as u32);
        for interval in &self.entropy.intervals {
            words.extend(interval_words(interval, of.subsequences));
            of.subsequences += (interval.end - interval.begin).div_ceil(of.length);
        }
        // Bits are read up to two words ahead.
        let bytes = &mut self.entropy.bytes;
        bytes.resize(bytes.len().next_multiple_of(4) + 8, 0);
        (of.data, of.data_words) = (at(words)?, bytes.len() as u32 / 4);
        words.extend(bytes.as_chunks::<4>().0.iter().map(|four| u32::from_be_bytes(*four)));
        at(words)?;
        Some(of)
    }
}

fn interval_words(interval: &Interval, first: u32) -> [u32; INTERVAL_WORDS] {
    let Interval { begin, end, unit, units, predicted, then } = *interval;
    let pairs = |[a, b, c, d]: [i16; 4]| {
        [(a, b), (c, d)].map(|(low, high)| u32::from(low as u16) | u32::from(high as u16) << 16)
    };
    let ([p, q], [r, s]) = (pairs(predicted), pairs(then.unwrap_or_default()));
    [first, begin, end, unit, units, p, q, then.is_some().into(), r, s]
}
