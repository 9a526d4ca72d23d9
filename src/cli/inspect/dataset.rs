//! What a data set consists of: every file's header is read, or with decoding every pixel.

use crate::decode::{Decoder, Format, Frame, Limits, Orientation, Process};
use crate::error::{Error, Result};
use crate::shape::Size;
use crate::source::Source;
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::IsTerminal;

/// How many there are of each kind, by name.
pub(super) type Counts = BTreeMap<String, u64>;

/// What was found. Sizes are those of upright images that have a readable header.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    /// As it was given.
    pub(super) source: String,
    /// Files, readable or not.
    pub(super) images: u64,
    pub(super) readable: u64,
    /// All files together.
    pub(super) total_bytes: u64,
    /// Whether every image was decoded; else headers tell.
    pub(super) decoded: bool,
    /// In the order of their indices.
    pub(super) classes: Vec<Class>,
    /// Images of a class.
    pub(super) per_class: Option<Spread<u64>>,
    pub(super) width: Option<Spread<u64>>,
    pub(super) height: Option<Spread<u64>>,
    /// The shorter of width and height.
    pub(super) shorter_side: Option<Spread<u64>>,
    pub(super) megapixels: Option<Spread<f64>>,
    /// Of the readable files.
    pub(super) bytes: Option<Spread<u64>>,
    pub(super) formats: Counts,
    pub(super) jpeg: Jpegs,
    /// By EXIF value, 1 to 8.
    pub(super) orientations: Counts,
    /// Images whose shorter side is less than this.
    pub(super) below_base: Below,
    /// Images that bandfeed's own JPEG decoder decoded; known where all were decoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) own_decoder: Option<u64>,
    /// Files that give no image.
    pub(super) unreadable: Faults,
    /// Files that are damaged and used all the same.
    pub(super) damaged: Faults,
    /// What a person should know, in sentences.
    pub(super) notes: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Class {
    pub(super) name: String,
    pub(super) images: u64,
}

/// Least, middle and greatest of some values. Of an even number the upper of the two in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread<T> {
    pub(super) min: T,
    pub(super) median: T,
    pub(super) max: T,
}

/// What the frame headers of the JPEGs say.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Jpegs {
    pub(super) processes: Counts,
    /// Of colour images: 4:4:4 and so on.
    pub(super) subsampling: Counts,
    pub(super) color_spaces: Counts,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Below {
    /// In pixels.
    pub(super) side: u32,
    pub(super) images: u64,
}

/// Files that something is wrong with.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Faults {
    /// Alike reasons together, the most frequent first. Numbers in them are left out.
    pub(super) reasons: Vec<Reason>,
    /// In the source's order.
    pub(super) files: Vec<Fault>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Reason {
    pub(super) reason: String,
    pub(super) files: u64,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Fault {
    pub(super) name: String,
    pub(super) reason: String,
}

/// What one file is.
struct Seen {
    bytes: u64,
    facts: Result<Facts, String>,
}

struct Facts {
    format: Format,
    size: Size,
    orientation: Orientation,
    jpeg: Option<Jpeg>,
    damage: Option<String>,
    /// Decoded without libjpeg.
    own: bool,
}

struct Jpeg {
    process: &'static str,
    subsampling: Option<&'static str>,
    color: &'static str,
}

/// Reads all headers of a source, on all cores; with `decode` all images as well. `base` is the side that training crops to.
///
/// # Errors
/// [`Error::Config`] if no decoder can be made. A file that cannot be read is part of the report.
pub(super) fn scan(source: &dyn Source, name: &str, base: u32, decode: bool) -> Result<Report> {
    let bar =
        if std::io::stderr().is_terminal() { ProgressBar::new(source.len() as u64) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{bar:24} {pos} of {len} files, {per_sec}, {eta} left");
    bar.set_style(style.expect("the template is valid"));
    let worker = || Decoder::new(Limits::default()).map(|decoder| (decoder, Vec::new()));
    worker()?;
    let look = |state: &mut Result<(Decoder, Vec<u8>)>, index: usize| {
        let (decoder, buffer) = state.as_mut().expect("a decoder with these limits was made before");
        let seen = see(source, index, decoder, buffer, decode);
        bar.inc(1);
        seen
    };
    let seen: Vec<Seen> = (0..source.len()).into_par_iter().map_init(worker, look).collect();
    bar.finish_and_clear();
    Ok(gather(source, name, base, decode, &seen))
}

fn see(source: &dyn Source, index: usize, decoder: &mut Decoder, buffer: &mut Vec<u8>, decode: bool) -> Seen {
    let bytes = match source.read(index, buffer) {
        Ok(bytes) => bytes,
        Err(error) => return Seen { bytes: 0, facts: Err(reason(&error)) },
    };
    Seen { bytes: bytes.len() as u64, facts: facts(bytes, decoder, decode) }
}

fn facts(bytes: &[u8], decoder: &mut Decoder, decode: bool) -> Result<Facts, String> {
    let header = decoder.header(bytes).map_err(|error| error.to_string())?;
    let jpeg = header.frame.as_ref().map(|frame| Jpeg {
        process: process(frame),
        subsampling: subsampling(frame),
        color: color_space(bytes),
    });
    let (mut damage, mut own) = (None, false);
    if decode {
        let before = decoder.own_decodes();
        damage = decoder.decode(bytes).map_err(|error| error.to_string())?.warning;
        own = decoder.own_decodes() > before;
    } else if header.format == Format::Jpeg && !super::jpeg_end::is_ended(bytes) {
        damage = Some("the JPEG has no end: cut short".to_owned());
    }
    Ok(Facts { format: header.format, size: header.size, orientation: header.orientation, jpeg, damage, own })
}

fn process(frame: &Frame) -> &'static str {
    match (frame.process, frame.single_scan) {
        (Process::Sequential, true) => "sequential",
        (Process::Sequential, false) => "sequential, several scans",
        (Process::Progressive, _) => "progressive",
        (Process::SequentialArithmetic, _) => "sequential, arithmetic coding",
        (Process::ProgressiveArithmetic, _) => "progressive, arithmetic coding",
    }
}

/// The usual name of the chroma's resolution; none for gray.
fn subsampling(frame: &Frame) -> Option<&'static str> {
    if frame.components == 1 {
        return None;
    }
    let [(h, v), first, second, fourth] = frame.sampling;
    // Black of CMYK is sampled as the first ink.
    let is_usual = first == second && (frame.components == 3 || fourth == (h, v));
    if !is_usual || !h.is_multiple_of(first.0) || !v.is_multiple_of(first.1) {
        return Some("other");
    }
    Some(match (h / first.0, v / first.1) {
        (1, 1) => "4:4:4",
        (2, 1) => "4:2:2",
        (2, 2) => "4:2:0",
        (1, 2) => "4:4:0",
        (4, 1) => "4:1:1",
        (1, 4) => "4:4:1",
        (4, 2) => "4:1:0",
        _ => "other",
    })
}

/// As libjpeg decides from markers and components.
fn color_space(bytes: &[u8]) -> &'static str {
    match turbojpeg::read_header(bytes).map(|header| header.colorspace) {
        Ok(turbojpeg::Colorspace::Gray) => "gray",
        Ok(turbojpeg::Colorspace::YCbCr) => "YCbCr",
        Ok(turbojpeg::Colorspace::RGB) => "RGB",
        Ok(turbojpeg::Colorspace::CMYK) => "CMYK",
        Ok(turbojpeg::Colorspace::YCCK) => "YCCK",
        Err(_) => "unknown",
    }
}

/// The reason without the name, which stands beside it.
fn reason(error: &Error) -> String {
    match error {
        Error::Io { source, .. } => source.to_string(),
        Error::Decode { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

fn gather(source: &dyn Source, name: &str, base: u32, decoded: bool, seen: &[Seen]) -> Report {
    let read: Vec<(&Seen, &Facts)> = seen.iter().filter_map(|seen| Some((seen, seen.facts.as_ref().ok()?))).collect();
    let count = |name: &dyn Fn(&Facts) -> Option<String>| {
        let mut counts = Counts::new();
        for name in read.iter().filter_map(|(_, facts)| name(facts)) {
            *counts.entry(name).or_default() += 1;
        }
        counts
    };
    let jpeg =
        |part: fn(&Jpeg) -> Option<&'static str>| count(&|facts| facts.jpeg.as_ref().and_then(part).map(str::to_owned));
    let sizes = |side: fn(Size) -> u32| Spread::of(read.iter().map(|(_, facts)| u64::from(side(facts.size))));
    let shorter = |size: Size| size.width.min(size.height);
    let faults = |fault: fn(&Seen) -> Option<&String>| {
        let files = seen.iter().enumerate().filter_map(|(index, seen)| {
            fault(seen).map(|reason| Fault { name: source.name(index), reason: reason.clone() })
        });
        Faults::of(files.collect())
    };
    let counts = source.class_counts();
    let mut report = Report {
        source: name.to_owned(),
        images: seen.len() as u64,
        readable: read.len() as u64,
        total_bytes: seen.iter().map(|seen| seen.bytes).sum(),
        decoded,
        per_class: Spread::of(counts.iter().copied()),
        classes: source
            .classes()
            .iter()
            .zip(counts)
            .map(|(name, images)| Class { name: name.clone(), images })
            .collect(),
        width: sizes(|size| size.width),
        height: sizes(|size| size.height),
        shorter_side: sizes(|size| size.width.min(size.height)),
        megapixels: Spread::of(read.iter().map(|(_, facts)| facts.size.pixels() as f64 * 1e-6)),
        bytes: Spread::of(read.iter().map(|(seen, _)| seen.bytes)),
        formats: count(&|facts| Some(format_name(facts.format).to_owned())),
        jpeg: Jpegs {
            processes: jpeg(|jpeg| Some(jpeg.process)),
            subsampling: jpeg(|jpeg| jpeg.subsampling),
            color_spaces: jpeg(|jpeg| Some(jpeg.color)),
        },
        orientations: count(&|facts| Some(facts.orientation.to_exif().to_string())),
        below_base: Below {
            side: base,
            images: read.iter().filter(|(_, facts)| shorter(facts.size) < base).count() as u64,
        },
        own_decoder: decoded.then(|| read.iter().filter(|(_, facts)| facts.own).count() as u64),
        unreadable: faults(|seen| seen.facts.as_ref().err()),
        damaged: faults(|seen| seen.facts.as_ref().ok()?.damage.as_ref()),
        notes: Vec::new(),
    };
    report.notes = super::notes::of(&report);
    report
}

fn format_name(format: Format) -> &'static str {
    match format {
        Format::Jpeg => "JPEG",
        Format::Png => "PNG",
        Format::WebP => "WebP",
        Format::Gif => "GIF",
        Format::Bmp => "BMP",
        Format::Tiff => "TIFF",
        Format::Packed => "packed JPEG",
    }
}

impl<T: Copy + PartialOrd> Spread<T> {
    /// `None` of no values.
    fn of(values: impl Iterator<Item = T>) -> Option<Self> {
        let mut values: Vec<T> = values.collect();
        values.sort_unstable_by(|a, b| a.partial_cmp(b).expect("sizes are numbers"));
        Some(Self { min: *values.first()?, median: values[values.len() / 2], max: *values.last()? })
    }
}

impl Faults {
    fn of(files: Vec<Fault>) -> Self {
        let mut counts = Counts::new();
        for fault in &files {
            *counts.entry(kind(&fault.reason)).or_default() += 1;
        }
        let mut reasons: Vec<Reason> = counts.into_iter().map(|(reason, files)| Reason { reason, files }).collect();
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.files));
        Self { reasons, files }
    }
}

/// A reason without what differs from file to file: its numbers, decimal or `0x`, and the bytes that a file starts with.
fn kind(reason: &str) -> String {
    let mut rest = reason.split_once(": starts with").map_or(reason, |(kind, _)| kind);
    let mut kind = String::new();
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        kind += &rest[..start];
        kind.push('N');
        let number = &rest[start..];
        rest = match number.strip_prefix("0x") {
            Some(hex) if hex.starts_with(|c: char| c.is_ascii_hexdigit()) => {
                hex.trim_start_matches(|c: char| c.is_ascii_hexdigit())
            }
            _ => number.trim_start_matches(|c: char| c.is_ascii_digit()),
        };
    }
    kind + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_differ_in_numbers_alone_are_one_kind() {
        let faults =
            ["JPEG of 12 bits a sample, 8 are read", "the file is empty", "JPEG of 16 bits a sample, 8 are read"];
        let of = |(n, reason): (usize, &&str)| Fault { name: n.to_string(), reason: (*reason).to_owned() };
        let faults = Faults::of(faults.iter().enumerate().map(of).collect());
        let reasons: Vec<(&str, u64)> = faults.reasons.iter().map(|r| (r.reason.as_str(), r.files)).collect();
        assert_eq!(reasons, [("JPEG of N bits a sample, N are read", 2), ("the file is empty", 1)]);
        assert_eq!(kind("16 bytes before marker 0xd9, 20x30"), "N bytes before marker N, NxN");
        assert_eq!(kind("neither JPEG nor PNG: starts with 3c 68"), "neither JPEG nor PNG");
    }

    #[test]
    fn the_middle_of_an_even_number_of_values_is_the_upper_one() {
        assert_eq!(Spread::of([4, 1, 3, 2].into_iter()), Some(Spread { min: 1, median: 3, max: 4 }));
        assert_eq!(Spread::<u64>::of(std::iter::empty()), None);
    }
}
