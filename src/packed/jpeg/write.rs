//! Coefficients to a sequential Huffman-coded JPEG. Clauses are those of ITU-T T.81.

use super::huffman::Code;
use crate::error::DecodeError;
use crate::packed::coefficients::{Coefficients, Component, ZIGZAG};

/// Blocks that one unit of a scan may have (B.2.3).
const BLOCKS_IN_UNIT: u32 = 10;

impl Coefficients {
    /// A sequential JPEG with these coefficients and metadata, and with the best Huffman code of its own. What the original
    /// had beside these (progression, restart intervals, other codes, bytes after the image) is not there.
    ///
    /// Read back it gives `self`.
    ///
    /// # Errors
    /// [`DecodeError::Unsupported`] if a value is -32768, which no such code can write.
    pub fn to_jpeg(&self) -> Result<Vec<u8>, DecodeError> {
        let scans = self.scans();
        // Luma and chroma; a black ink goes with the first, as in libjpeg.
        let class = |component: usize| usize::from(component == 1 || component == 2);
        let mut frequencies = [[[0; 256]; 2]; 2];
        for scan in &scans {
            self.visit(scan, |component, symbol| {
                let table = usize::from(symbol.is_ac);
                frequencies[class(component)][table][usize::from(symbol.symbol)] += 1;
            })?;
        }
        let codes = frequencies.map(|tables| tables.map(|frequencies| Code::best(&frequencies)));
        let classes = if self.components.len() == 1 { 1 } else { 2 };

        let mut bytes = vec![0xff, 0xd8];
        bytes.extend_from_slice(&self.metadata);
        let tables = self.tables();
        for (target, steps) in (0..).zip(&tables) {
            let wide = steps.iter().any(|&s| s > 255);
            segment(&mut bytes, 0xdb, |content| {
                content.push(u8::from(wide) << 4 | target);
                for place in ZIGZAG {
                    let step = steps[usize::from(place)].to_be_bytes();
                    content.extend_from_slice(if wide { &step } else { &step[1..] });
                }
            });
        }
        // Baseline (SOF0) has 8-bit steps.
        let wide = tables.iter().any(|steps| steps.iter().any(|&s| s > 255));
        segment(&mut bytes, if wide { 0xc1 } else { 0xc0 }, |content| {
            content.push(8);
            content.extend_from_slice(&(self.size.height as u16).to_be_bytes());
            content.extend_from_slice(&(self.size.width as u16).to_be_bytes());
            content.push(self.components.len() as u8);
            for component in &self.components {
                let table = tables.iter().position(|steps| **steps == component.steps).unwrap_or(0);
                let (h, v) = component.sampling;
                content.extend_from_slice(&[component.id, h << 4 | v, table as u8]);
            }
        });
        for (target, tables) in (0..).zip(&codes[..classes]) {
            for (kind, code) in (0..).zip(tables) {
                segment(&mut bytes, 0xc4, |content| {
                    content.push(kind << 4 | target);
                    content.extend_from_slice(&code.counts);
                    content.extend_from_slice(&code.symbols);
                });
            }
        }
        for scan in &scans {
            segment(&mut bytes, 0xda, |content| {
                content.push(scan.len() as u8);
                for &component in scan {
                    let class = class(component) as u8;
                    content.extend_from_slice(&[self.components[component].id, class << 4 | class]);
                }
                content.extend_from_slice(&[0, 63, 0]);
            });
            let mut bits = Bits { bytes: &mut bytes, waiting: 0, count: 0 };
            self.visit(scan, |component, symbol| {
                let (code, length) = codes[class(component)][usize::from(symbol.is_ac)].code(symbol.symbol);
                bits.put(code.into(), length);
                bits.put(symbol.bits.into(), symbol.symbol & 15);
            })?;
            bits.finish();
        }
        bytes.extend_from_slice(&[0xff, 0xd9]);
        Ok(bytes)
    }

    /// The components of each scan: all in one where a unit has room for their blocks.
    fn scans(&self) -> Vec<Vec<usize>> {
        let all: Vec<usize> = (0..self.components.len()).collect();
        let blocks: u32 = self.components.iter().map(|c| u32::from(c.sampling.0) * u32::from(c.sampling.1)).sum();
        if all.len() == 1 || blocks <= BLOCKS_IN_UNIT { vec![all] } else { all.into_iter().map(|c| vec![c]).collect() }
    }

    /// The different quantisation tables.
    fn tables(&self) -> Vec<&[u16; 64]> {
        let mut tables: Vec<&[u16; 64]> = Vec::new();
        for component in &self.components {
            if !tables.contains(&&component.steps) {
                tables.push(&component.steps);
            }
        }
        tables
    }

    /// Gives the symbols of a scan in their order, each with its component.
    fn visit(&self, scan: &[usize], mut take: impl FnMut(usize, Symbol)) -> Result<(), DecodeError> {
        let mut previous = [0_i16; 4];
        if let &[only] = scan {
            // A scan of one component is not interleaved and has no blocks beyond the image (A.2.2).
            for block in self.components[only].values.as_chunks::<64>().0 {
                visit_block(block, &mut previous[only], |symbol| take(only, symbol))?;
            }
            return Ok(());
        }
        let (across, down) = self.largest_sampling();
        let units = |len: u32, factor: u8| len.div_ceil(8 * u32::from(factor));
        for row in 0..units(self.size.height, down) {
            for column in 0..units(self.size.width, across) {
                for &i in scan {
                    let component = &self.components[i];
                    let (h, v) = (u32::from(component.sampling.0), u32::from(component.sampling.1));
                    for (y, x) in (0..v).flat_map(|y| (0..h).map(move |x| (y, x))) {
                        let block = block_or_none(component, column * h + x, row * v + y);
                        // What fills up a unit is seen by no one, and repeating the DC is the shortest.
                        let fill = || std::array::from_fn(|k| if k == 0 { previous[i] } else { 0 });
                        let block = block.copied().unwrap_or_else(fill);
                        visit_block(&block, &mut previous[i], |symbol| take(i, symbol))?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn block_or_none(component: &Component, column: u32, row: u32) -> Option<&[i16; 64]> {
    (column < component.blocks.width && row < component.blocks.height).then(|| component.block(column, row))
}

/// A symbol and the magnitude bits after it, whose number is its low half byte.
struct Symbol {
    is_ac: bool,
    symbol: u8,
    bits: u16,
}

/// F.1.2: the symbols of a block.
fn visit_block(block: &[i16; 64], previous: &mut i16, mut take: impl FnMut(Symbol)) -> Result<(), DecodeError> {
    // Decoders add differences up modulo 2^16 or wider, and keep 16 bits.
    let (size, bits) = magnitude(block[0].wrapping_sub(*previous))?;
    *previous = block[0];
    take(Symbol { is_ac: false, symbol: size, bits });
    let mut run = 0;
    for place in &ZIGZAG[1..] {
        let value = block[usize::from(*place)];
        if value == 0 {
            run += 1;
            continue;
        }
        while run > 15 {
            take(Symbol { is_ac: true, symbol: 0xf0, bits: 0 });
            run -= 16;
        }
        let (size, bits) = magnitude(value)?;
        take(Symbol { is_ac: true, symbol: run << 4 | size, bits });
        run = 0;
    }
    if run > 0 {
        take(Symbol { is_ac: true, symbol: 0, bits: 0 });
    }
    Ok(())
}

/// F.1.2.1: number of magnitude bits, and these; below zero they are those of the value less one.
fn magnitude(value: i16) -> Result<(u8, u16), DecodeError> {
    let size = 16 - value.unsigned_abs().leading_zeros();
    if size > 15 {
        return Err(DecodeError::unsupported("a coefficient or difference of -32768, which no Huffman code can write"));
    }
    let bits = (if value < 0 { value - 1 } else { value }) as u16 & ((1 << size) - 1);
    Ok((size as u8, bits))
}

/// Appends a marker segment.
fn segment(bytes: &mut Vec<u8>, marker: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    bytes.extend_from_slice(&[0xff, marker, 0, 0]);
    let start = bytes.len() - 2;
    fill(bytes);
    let length = (bytes.len() - start) as u16;
    bytes[start..start + 2].copy_from_slice(&length.to_be_bytes());
}

/// Entropy-coded data: the first bit is a byte's highest, and 0xff is followed by 0 (F.1.2.3).
struct Bits<'a> {
    bytes: &'a mut Vec<u8>,
    /// Bits that make no whole byte yet, the last one lowest.
    waiting: u64,
    count: u8,
}

impl Bits<'_> {
    /// Writes the low `count` bits, at most 16.
    fn put(&mut self, bits: u64, count: u8) {
        self.waiting = self.waiting << count | bits;
        self.count += count;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.waiting >> self.count) as u8;
            self.bytes.push(byte);
            if byte == 0xff {
                self.bytes.push(0);
            }
        }
    }

    /// Fills the last byte with ones.
    fn finish(mut self) {
        if self.count > 0 {
            let fill = 8 - self.count;
            self.put((1 << fill) - 1, fill);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Decoder, Limits};
    use crate::packed::samples::{self, Filling};
    use turbojpeg::Subsamp;

    fn read(jpeg: &[u8]) -> Coefficients {
        Coefficients::from_jpeg(jpeg, &Limits::default()).expect("an own JPEG is read")
    }

    #[test]
    fn a_jpeg_written_again_has_the_same_coefficients_metadata_and_pixels() {
        let kinds = [Subsamp::None, Subsamp::Sub2x2, Subsamp::Sub2x1, Subsamp::Sub1x2, Subsamp::Sub4x1, Subsamp::Gray];
        for (kind, progressive) in kinds.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
            let original = samples::with_orientation(&samples::jpeg(131, 93, kind, progressive), 6);
            let coefficients = read(&original);
            let again = coefficients.to_jpeg().unwrap();
            assert_eq!(read(&again), coefficients, "{kind:?}");
            let mut decoder = Decoder::new(Limits::default()).unwrap().strict(true);
            assert_eq!(decoder.decode(&again).unwrap(), decoder.decode(&original).unwrap(), "{kind:?}");
            assert!(again.len() < original.len() + original.len() / 16, "{} of {} bytes", again.len(), original.len());
        }
    }

    #[test]
    fn any_sampling_and_any_values_come_back() {
        for (i, sampling) in [
            vec![(1, 1)],
            vec![(2, 3)],
            vec![(3, 1), (1, 1), (2, 1)],
            vec![(4, 4), (1, 2), (2, 1)],
            vec![(2, 2), (1, 1), (1, 1), (2, 2)],
        ]
        .iter()
        .enumerate()
        {
            for filling in [Filling::Zero, Filling::Sparse, Filling::Dense, Filling::Extreme] {
                let coefficients = samples::coefficients(i as u64, (83, 41), sampling, filling);
                let jpeg = coefficients.to_jpeg().unwrap();
                assert_eq!(read(&jpeg), coefficients, "{sampling:?} {filling:?}");
            }
        }
    }

    #[test]
    fn the_value_without_a_code_is_refused() {
        let mut coefficients = samples::coefficients(1, (16, 16), &[(1, 1)], Filling::Zero);
        coefficients.components[0].values[5] = i16::MIN;
        let error = coefficients.to_jpeg().unwrap_err();
        assert!(matches!(error, DecodeError::Unsupported { .. }), "{error}");
    }
}
