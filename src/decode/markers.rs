//! A walk over a JPEG's markers: size, process, sampling, scans and orientation, before anything is allocated.
//!
//! As lenient as libjpeg between segments (garbage and fill bytes are skipped, a segment length below 2 counts as 2), so
//! that a file which libjpeg reads is not refused here. Clauses are those of ITU-T T.81; marker codes are its Table B.1
//! \[recall\].

use super::Limits;
use super::orientation::{self, Orientation};
use crate::error::DecodeError;
use crate::shape::Size;

/// Longest side that libjpeg decodes (`JPEG_MAX_DIMENSION`).
const LONGEST_SIDE: u32 = 65500;

/// How a JPEG's coefficients are arranged and coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Process {
    /// Baseline and extended sequential, Huffman (SOF0, SOF1).
    Sequential,
    /// Progressive, Huffman (SOF2).
    Progressive,
    /// Extended sequential, arithmetic (SOF9).
    SequentialArithmetic,
    /// Progressive, arithmetic (SOF10).
    ProgressiveArithmetic,
}

impl Process {
    /// Whether several scans refine the same blocks.
    pub const fn is_progressive(self) -> bool {
        matches!(self, Self::Progressive | Self::ProgressiveArithmetic)
    }
}

/// What a JPEG's frame header says, and what follows it: 8-bit, of 1, 3 or 4 components.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Frame {
    /// Columns and rows as stored.
    pub size: Size,
    /// Arrangement and entropy coding.
    pub process: Process,
    /// Number of components: 1 gray, 3 colour, 4 CMYK or YCCK.
    pub components: u8,
    /// Horizontal and vertical sampling factor of each component, `1..=4`; `(0, 0)` past the last component.
    pub sampling: [(u8, u8); 4],
    /// One scan holds all components, so rows and columns can be skipped while reading.
    pub single_scan: bool,
}

impl Frame {
    /// Largest horizontal and vertical sampling factor.
    pub fn largest_sampling(&self) -> (u8, u8) {
        let factors = &self.sampling[..usize::from(self.components)];
        (factors.iter().map(|f| f.0).max().unwrap_or(1), factors.iter().map(|f| f.1).max().unwrap_or(1))
    }

    /// Width of a column of minimum coded units in pixels. A single component is never interleaved (A.2.2), whatever its
    /// factors say.
    pub(crate) fn unit_width(&self) -> u32 {
        if self.components == 1 { 8 } else { 8 * u32::from(self.largest_sampling().0) }
    }

    /// Whether a component has fewer columns than the image, so that its neighbours matter when it is upsampled.
    pub(crate) fn is_subsampled_across(&self) -> bool {
        let largest = self.largest_sampling().0;
        self.sampling[..usize::from(self.components)].iter().any(|f| f.0 < largest)
    }
}

/// Whether the bytes start as a JPEG does.
pub(crate) fn is_jpeg(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xff, SOI])
}

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const APP1: u8 = 0xe1;
const DHT: u8 = 0xc4;
const DAC: u8 = 0xcc;
/// Start and end of the frame markers' range; DHT, JPG and DAC lie between them.
const SOF0: u8 = 0xc0;
const SOF15: u8 = 0xcf;
/// Hierarchical mode (annex J).
const DHP: u8 = 0xde;
const EXP: u8 = 0xdf;
/// JPEG-LS (ITU-T T.87).
const SOF55: u8 = 0xf7;
const RST0: u8 = 0xd0;
const RST7: u8 = 0xd7;
const TEM: u8 = 0x01;

/// The frame and the orientation of a JPEG.
///
/// Stops at the first scan, except where the file has several: those are counted, since each costs a pass over the image.
///
/// # Errors
/// [`DecodeError::Limit`] for more pixels or scans than allowed, [`DecodeError::Unsupported`] for a process that is not
/// read here, [`DecodeError::Corrupt`] where no frame is found.
pub(crate) fn read(bytes: &[u8], limits: &Limits) -> Result<(Frame, Orientation), DecodeError> {
    let mut walk = Walk { bytes, at: 2 };
    let mut frame: Option<Frame> = None;
    let mut orientation = None;
    loop {
        let marker = walk.next_marker().ok_or_else(|| DecodeError::corrupt("the JPEG ends before its first scan"))?;
        match marker {
            TEM | RST0..=RST7 => {}
            SOI => return Err(DecodeError::corrupt("a second start-of-image marker in the JPEG header")),
            EOI => return Err(DecodeError::corrupt("the JPEG holds tables but no image")),
            DHP | EXP => return Err(DecodeError::unsupported("hierarchical JPEG")),
            SOF55 => return Err(DecodeError::unsupported("JPEG-LS")),
            SOS => {
                let mut frame = frame.ok_or_else(|| DecodeError::corrupt("a JPEG scan without a frame header"))?;
                let scan = walk.segment()?;
                frame.single_scan = !frame.process.is_progressive() && scan.first() == Some(&frame.components);
                if !frame.single_scan {
                    walk.check_scans(limits.max_scans)?;
                }
                return Ok((frame, orientation.unwrap_or_default()));
            }
            DHT | DAC => _ = walk.segment()?,
            SOF0..=SOF15 => {
                if frame.is_some() {
                    return Err(DecodeError::corrupt("a second frame header in the JPEG"));
                }
                frame = Some(read_frame(marker, walk.segment()?, limits)?);
            }
            APP1 => {
                let tiff = walk.segment()?.strip_prefix(b"Exif\0\0");
                orientation = orientation.or_else(|| tiff.and_then(orientation::from_tiff));
            }
            _ => _ = walk.segment()?,
        }
    }
}

/// B.2.2, with the limits checked first: a bomb is a bomb in any process.
fn read_frame(marker: u8, segment: &[u8], limits: &Limits) -> Result<Frame, DecodeError> {
    let [precision, y0, y1, x0, x1, count, components @ ..] = segment else {
        return Err(DecodeError::corrupt("the JPEG frame header is cut short"));
    };
    let size = Size::new(u16::from_be_bytes([*x0, *x1]).into(), u16::from_be_bytes([*y0, *y1]).into());
    limits.check(size)?;
    let process = match marker {
        0xc0 | 0xc1 => Process::Sequential,
        0xc2 => Process::Progressive,
        0xc9 => Process::SequentialArithmetic,
        0xca => Process::ProgressiveArithmetic,
        0xc3 | 0xcb => return Err(DecodeError::unsupported("lossless JPEG")),
        0xc8 => return Err(DecodeError::unsupported("JPEG of the reserved process SOF8")),
        _ => return Err(DecodeError::unsupported("hierarchical JPEG")),
    };
    if *precision != 8 {
        return Err(DecodeError::unsupported(format!("JPEG of {precision} bits a sample, 8 are read")));
    }
    if size.width == 0 {
        return Err(DecodeError::corrupt("the JPEG is 0 pixels wide"));
    }
    if size.height == 0 {
        return Err(DecodeError::unsupported("JPEG whose height follows its first scan (DNL)"));
    }
    if size.width.max(size.height) > LONGEST_SIDE {
        return Err(DecodeError::unsupported(format!(
            "JPEG of {}x{} pixels, libjpeg reads sides up to {LONGEST_SIDE}",
            size.width, size.height
        )));
    }
    if components.len() != 3 * usize::from(*count) {
        return Err(DecodeError::corrupt("the JPEG frame header's length does not fit its components"));
    }
    if !matches!(count, 1 | 3 | 4) {
        let error = if *count == 0 { DecodeError::corrupt } else { DecodeError::unsupported };
        return Err(error(format!("JPEG of {count} components, 1, 3 and 4 are read")));
    }
    let mut sampling = [(0, 0); 4];
    for (factors, [_, packed, _]) in sampling.iter_mut().zip(components.as_chunks::<3>().0) {
        *factors = (packed >> 4, packed & 15);
        if !(1..=4).contains(&factors.0) || !(1..=4).contains(&factors.1) {
            return Err(DecodeError::corrupt(format!("JPEG sampling factors {}x{}", factors.0, factors.1)));
        }
    }
    Ok(Frame { size, process, components: *count, sampling, single_scan: false })
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    /// The next marker's code: 0xff, more 0xff, a byte that is not 0 (B.1.1.2). Skips whatever else is there.
    fn next_marker(&mut self) -> Option<u8> {
        loop {
            self.at += self.bytes.get(self.at..)?.iter().position(|&b| b == 0xff)?;
            self.at += self.bytes[self.at..].iter().position(|&b| b != 0xff)?;
            self.at += 1;
            match self.bytes[self.at - 1] {
                0 => {}
                marker => return Some(marker),
            }
        }
    }

    /// The content of the segment here, without its length.
    fn segment(&mut self) -> Result<&'a [u8], DecodeError> {
        let cut = || DecodeError::corrupt("a JPEG segment runs past the end of the file");
        let length = self.bytes.get(self.at..self.at + 2).ok_or_else(cut)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
        let content = self.bytes.get(self.at + 2..self.at + length).ok_or_else(cut)?;
        self.at += length;
        Ok(content)
    }

    /// Counts the scans after the first, which was just entered.
    fn check_scans(&mut self, most: u32) -> Result<(), DecodeError> {
        let mut scans = 1;
        while scans <= most {
            match self.next_marker() {
                None | Some(EOI) => return Ok(()),
                Some(TEM | RST0..=RST7 | SOI) => {}
                Some(marker) => {
                    scans += u32::from(marker == SOS);
                    // A damaged length is the decoder's to report; it has this many scans at least.
                    if self.segment().is_err() {
                        break;
                    }
                }
            }
        }
        if scans > most {
            return Err(DecodeError::limit(format!("JPEG of more than {most} scans")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_default(bytes: &[u8]) -> Result<(Frame, Orientation), DecodeError> {
        read(bytes, &Limits::default())
    }

    /// SOI, a frame of one component with the given marker, then `scans` scan headers, EOI.
    fn file(sof: u8, height: u16, width: u16, scans: usize) -> Vec<u8> {
        let mut bytes = vec![0xff, SOI, 0xff, sof, 0, 11, 8];
        bytes.extend(height.to_be_bytes());
        bytes.extend(width.to_be_bytes());
        bytes.extend([1, 1, 0x11, 0]);
        for _ in 0..scans {
            bytes.extend([0xff, SOS, 0, 8, 1, 1, 0, 0, 63, 0, 0x55, 0xff, 0, 0xff, RST0]);
        }
        bytes.extend([0xff, EOI]);
        bytes
    }

    #[test]
    fn the_frame_header_is_read() {
        let (frame, orientation) = read_default(&file(0xc0, 45, 67, 1)).unwrap();
        assert_eq!(frame.size, Size::new(67, 45));
        assert_eq!((frame.components, frame.process, frame.single_scan), (1, Process::Sequential, true));
        assert_eq!(orientation, Orientation::Normal);
        assert_eq!(frame.unit_width(), 8);
    }

    #[test]
    fn garbage_fill_bytes_and_short_lengths_between_segments_are_skipped() {
        let mut bytes = file(0xc0, 45, 67, 1);
        bytes.splice(2..2, [1, 2, 3, 0xff, 0, 0xff, 0xff, 0xfe, 0, 0, 0xff, 0xff]);
        assert_eq!(read_default(&bytes).unwrap().0.size, Size::new(67, 45));
    }

    #[test]
    fn processes_that_are_not_read_are_unsupported_and_not_corrupt() {
        for sof in [0xc3, 0xc5, 0xc6, 0xc7, 0xc8, 0xcb, 0xcd, 0xce, 0xcf, SOF55, DHP] {
            let error = read_default(&file(sof, 45, 67, 1)).unwrap_err();
            assert!(matches!(error, DecodeError::Unsupported { .. }), "{sof:x}: {error}");
        }
        let error = read_default(&file(0xc0, 0, 67, 1)).unwrap_err();
        assert!(matches!(error, DecodeError::Unsupported { .. }), "{error}");
        let error = read_default(&file(0xc0, 1, 65501, 1)).unwrap_err();
        assert!(matches!(error, DecodeError::Unsupported { .. }), "{error}");
    }

    #[test]
    fn more_pixels_than_allowed_are_refused_in_any_process() {
        for sof in [0xc0, 0xc2, 0xc3, 0xcf] {
            let error = read_default(&file(sof, 10_001, 10_000, 1)).unwrap_err();
            assert!(matches!(error, DecodeError::Limit { .. }), "{sof:x}: {error}");
        }
        assert!(read_default(&file(0xc0, 10_000, 10_000, 1)).is_ok());
    }

    #[test]
    fn scans_are_counted_up_to_the_limit() {
        let limits = Limits { max_scans: 7, ..Limits::default() };
        assert!(!read(&file(0xc2, 45, 67, 7), &limits).unwrap().0.single_scan);
        let error = read(&file(0xc2, 45, 67, 8), &limits).unwrap_err();
        assert!(matches!(error, DecodeError::Limit { .. }), "{error}");
    }

    #[test]
    fn every_cut_of_a_header_is_corrupt_and_none_panics() {
        let bytes = file(0xc0, 45, 67, 1);
        for len in 2..21 {
            let error = read_default(&bytes[..len]).unwrap_err();
            assert!(matches!(error, DecodeError::Corrupt { .. }), "{len}: {error}");
        }
    }
}
