//! The markers of a JPEG from its first byte to its last: tables, metadata, scans.
//!
//! Stricter than libjpeg: what is odd here is not made into coefficients, and the file is kept as it is. Clauses are those
//! of ITU-T T.81.

use crate::decode::Frame;
use crate::error::DecodeError;
use crate::packed::coefficients::{Colour, ZIGZAG};

/// What the frame and the scans say of one component.
#[derive(Debug, Clone, Copy)]
pub(super) struct Component {
    pub(super) id: u8,
    table: u8,
    /// The table at the component's first scan, in natural order; libjpeg keeps that one.
    pub(super) steps: Option<[u16; 64]>,
    /// By zigzag position: lowest bit that was sent; `None` before a scan sent any.
    sent: [Option<u8>; 64],
}

/// What a file's markers say beyond its [`Frame`].
#[derive(Debug)]
pub(super) struct Markers {
    pub(super) colour: Colour,
    pub(super) components: Vec<Component>,
    pub(super) metadata: Vec<u8>,
}

fn odd(what: &str) -> DecodeError {
    DecodeError::unsupported(format!("a JPEG {what}"))
}

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const DQT: u8 = 0xdb;
const DHT: u8 = 0xc4;
const DAC: u8 = 0xcc;
const DRI: u8 = 0xdd;
const APP0: u8 = 0xe0;
const APP14: u8 = 0xee;
const APP15: u8 = 0xef;
const COM: u8 = 0xfe;
const RST0: u8 = 0xd0;
const RST7: u8 = 0xd7;

/// Walks the whole file. `frame` is what the decoder's own walk found in it.
pub(super) fn read(bytes: &[u8], frame: &Frame) -> Result<Markers, DecodeError> {
    let mut rest = bytes.strip_prefix(&[0xff, SOI]).ok_or_else(|| odd("without its first marker"))?;
    let mut tables = [None; 4];
    let mut components: Vec<Component> = Vec::new();
    let (mut metadata, mut jfif, mut adobe, mut scans) = (Vec::new(), false, None, 0);
    loop {
        let (marker, content, after) = segment(rest)?;
        let whole = &rest[..rest.len() - after.len()];
        rest = after;
        match marker {
            EOI => break,
            DQT => read_steps(content, &mut tables)?,
            DHT | DAC | DRI => {}
            0xc0..=0xcf => {
                if !components.is_empty() {
                    return Err(odd("of two frames"));
                }
                components = read_components(content, frame)?;
            }
            SOS => {
                read_scan(content, frame, &mut components, &tables)?;
                scans += 1;
                rest = after_scan(rest)?;
            }
            APP0..=APP15 | COM => {
                if scans == 0 {
                    metadata.extend_from_slice(whole);
                    match (marker, content) {
                        (APP0, [b'J', b'F', b'I', b'F', 0, more @ ..]) if more.len() >= 9 => jfif = true,
                        (APP14, [b'A', b'd', b'o', b'b', b'e', more @ ..]) if more.len() >= 7 => adobe = Some(more[6]),
                        _ => {}
                    }
                }
            }
            _ => return Err(odd(&format!("with the marker {marker:02x}"))),
        }
    }
    let colour = colour(&components, jfif, adobe)?;
    // Where bits of the lowest frequencies are missing, libjpeg smooths what it decodes: only the file itself tells that.
    let is_whole = |c: &Component| c.sent.iter().all(|&low| low == Some(0));
    if !components.iter().all(is_whole) {
        return Err(odd("whose scans do not send every coefficient whole"));
    }
    Ok(Markers { colour, components, metadata })
}

/// The next marker, its content, and what follows (B.1.1.4). Fill bytes before a marker are allowed (B.1.1.2).
fn segment(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), DecodeError> {
    let fill = bytes.iter().position(|&b| b != 0xff).ok_or_else(|| odd("that ends between its segments"))?;
    if fill == 0 {
        return Err(odd("with something between its segments"));
    }
    let (marker, rest) = (bytes[fill], &bytes[fill + 1..]);
    if marker == EOI {
        return Ok((marker, &[], rest));
    }
    let cut = || odd("with a segment that is cut short");
    let length = usize::from(u16::from_be_bytes(*rest.first_chunk().ok_or_else(cut)?));
    let content = rest.get(2..length).ok_or_else(cut)?;
    Ok((marker, content, &rest[length..]))
}

/// B.2.4.1.
fn read_steps(mut content: &[u8], tables: &mut [Option<[u16; 64]>; 4]) -> Result<(), DecodeError> {
    let bad = || odd("with a quantisation table that is not sound");
    while let Some((&head, rest)) = content.split_first() {
        let mut steps = [0; 64];
        let width = match head >> 4 {
            0 => 1,
            1 => 2,
            _ => return Err(bad()),
        };
        let (values, rest) = rest.split_at_checked(64 * width).ok_or_else(bad)?;
        for (value, place) in values.chunks_exact(width).zip(ZIGZAG) {
            steps[usize::from(place)] = value.iter().fold(0, |step, byte| step << 8 | u16::from(*byte));
        }
        if steps.contains(&0) {
            return Err(bad());
        }
        *tables.get_mut(usize::from(head & 15)).ok_or_else(bad)? = Some(steps);
        content = rest;
    }
    Ok(())
}

/// B.2.2.
fn read_components(content: &[u8], frame: &Frame) -> Result<Vec<Component>, DecodeError> {
    let list = content.get(6..).unwrap_or_default().as_chunks::<3>().0;
    if list.len() != usize::from(frame.components) {
        return Err(odd("whose frame header is cut short"));
    }
    let is_same = list.iter().zip(&frame.sampling).all(|(c, f)| (c[1] >> 4, c[1] & 15) == *f);
    let is_twice = (1..list.len()).any(|i| list[..i].iter().any(|other| other[0] == list[i][0]));
    if !is_same || is_twice {
        return Err(odd("whose frame header is ambiguous"));
    }
    Ok(list.iter().map(|&[id, _, table]| Component { id, table, steps: None, sent: [None; 64] }).collect())
}

/// B.2.3.
fn read_scan(
    content: &[u8],
    frame: &Frame,
    components: &mut [Component],
    tables: &[Option<[u16; 64]>; 4],
) -> Result<(), DecodeError> {
    let bad = || odd("with a scan header that is not sound");
    let (&count, rest) = content.split_first().ok_or_else(bad)?;
    let (selectors, rest) = rest.split_at_checked(2 * usize::from(count)).ok_or_else(bad)?;
    let &[first, last, bits] = rest else { return Err(bad()) };
    let low = if frame.process.is_progressive() { bits & 15 } else { 0 };
    let (first, last) = if frame.process.is_progressive() { (first, last) } else { (0, 63) };
    for selector in selectors.as_chunks::<2>().0 {
        let component = components.iter_mut().find(|c| c.id == selector[0]).ok_or_else(bad)?;
        if component.steps.is_none() {
            component.steps = *tables.get(usize::from(component.table)).ok_or_else(bad)?;
        }
        component.sent.get_mut(first.into()..=last.into()).ok_or_else(bad)?.fill(Some(low));
    }
    Ok(())
}

/// What follows the entropy-coded data at the start of `bytes`: its next marker that is no restart.
fn after_scan(bytes: &[u8]) -> Result<&[u8], DecodeError> {
    let mut at = 0;
    loop {
        let found = bytes[at..].iter().position(|&b| b == 0xff).ok_or_else(|| odd("without its last marker"))?;
        at += found;
        match bytes.get(at + 1) {
            Some(0 | RST0..=RST7) => at += 2,
            Some(0xff) => at += 1,
            Some(_) => return Ok(&bytes[at..]),
            None => return Err(odd("without its last marker")),
        }
    }
}

/// As libjpeg's `default_decompress_parms`.
fn colour(components: &[Component], jfif: bool, adobe: Option<u8>) -> Result<Colour, DecodeError> {
    let ids: Vec<u8> = components.iter().map(|c| c.id).collect();
    match (&ids[..], adobe) {
        ([_], _) => Ok(Colour::Gray),
        ([_, _, _], _) if jfif => Ok(Colour::YCbCr),
        ([_, _, _], Some(0)) => Ok(Colour::Rgb),
        ([_, _, _], Some(1)) => Ok(Colour::YCbCr),
        (b"RGB", None) => Ok(Colour::Rgb),
        ([_, _, _], None) => Ok(Colour::YCbCr),
        ([_, _, _, _], Some(2)) => Ok(Colour::Ycck),
        ([_, _, _, _], Some(0) | None) => Ok(Colour::Cmyk),
        _ => Err(odd("of an unknown colour transform")),
    }
}
