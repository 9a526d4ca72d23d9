//! A file to a record.

use super::head::{self, LONGEST_KEY, WIDEST};
use super::{ChunkTable, Head, Image, Plane, Record, Section};
use crate::decode::Limits;
use crate::error::DecodeError;
use crate::packed::band::BANDS;
use crate::packed::band::decode::SLACK;
use crate::packed::band::encode::{Chunks, encode};
use crate::packed::coefficients::Coefficients;
use sha2::{Digest, Sha256};

/// A record, and what became of the file.
#[derive(Debug, Clone)]
pub struct Packed {
    /// The record.
    pub bytes: Vec<u8>,
    /// Why the file was stored as it is; `None` where it was packed.
    pub stored: Option<DecodeError>,
}

/// Makes a record of a file. A JPEG is packed, without loss in its quantised coefficients; what is not a JPEG, or one that
/// [`Coefficients::from_jpeg`] refuses, is stored as it is.
///
/// The record of a packed file is decoded again and compared before it is given.
///
/// # Errors
/// [`DecodeError::Limit`] if the file has 4 GiB or more, or `key` more than 4096 bytes.
///
/// # Panics
/// If a record does not give back the coefficients: a defect of this crate.
///
/// ```
/// use bandfeed::decode::Limits;
/// use bandfeed::packed::{Record, pack};
///
/// let packed = pack(b"GIF89a and more", "a.gif", 7, &Limits::default())?;
/// let record = Record::open(&packed.bytes, &Limits::default())?;
/// assert_eq!((record.head().label, record.stored()?), (7, &b"GIF89a and more"[..]));
/// # Ok::<(), bandfeed::DecodeError>(())
/// ```
pub fn pack(file: &[u8], key: &str, label: u32, limits: &Limits) -> Result<Packed, DecodeError> {
    record(file, None, key, label, limits)
}

/// Makes a record of `jpeg`, to which the image of `file` was reduced. Length and SHA-256 in it are those of `file`, and it says
/// that it is reduced.
///
/// # Errors
/// As [`pack`]; [`DecodeError`] also if `jpeg` is not one that can be packed.
///
/// # Panics
/// As [`pack`].
pub fn pack_reduced(file: &[u8], jpeg: &[u8], key: &str, label: u32, limits: &Limits) -> Result<Packed, DecodeError> {
    record(file, Some(jpeg), key, label, limits)
}

fn record(file: &[u8], reduced: Option<&[u8]>, key: &str, label: u32, limits: &Limits) -> Result<Packed, DecodeError> {
    if key.len() > LONGEST_KEY {
        return Err(DecodeError::limit(format!("a key of {} bytes, {LONGEST_KEY} are allowed", key.len())));
    }
    let file_len = u32::try_from(file.len()).map_err(|_| DecodeError::limit("a file of 4 GiB or more"))?;
    let (coefficients, stored) = match Coefficients::from_jpeg(reduced.unwrap_or(file), limits) {
        Ok(coefficients) => (Some(coefficients), None),
        Err(reason) if reduced.is_some() => return Err(reason),
        Err(reason) => (None, Some(reason)),
    };
    let tail = coefficients.as_ref().map_or(file, |c| &c.metadata[..]);
    let mut head = Head {
        key: key.to_owned(),
        label,
        original_len: file_len.into(),
        original_sha256: Sha256::digest(file).into(),
        is_reduced: reduced.is_some(),
        image: None,
        len: 0,
        tail: (0..tail.len() as u64, crc32c::crc32c(tail)),
    };
    let mut sections = Vec::new();
    if let Some(coefficients) = &coefficients {
        head.image = Some(write_bands(coefficients, &mut sections));
    }
    let mut bytes = head::write(&head);
    bytes.extend_from_slice(&sections);
    bytes.extend_from_slice(tail);
    if let Some(coefficients) = &coefficients {
        let again = Record::open(&bytes, limits).and_then(|record| record.coefficients());
        assert!(again.as_ref() == Ok(coefficients), "the record of {key} does not give back its coefficients");
    }
    Ok(Packed { bytes, stored })
}

/// Appends the five bands, whose first byte comes at a multiple of 4.
fn write_bands(coefficients: &Coefficients, bytes: &mut Vec<u8>) -> Image {
    let encoded: Vec<_> = coefficients.components.iter().map(encode).collect();
    let plane = |(component, encoded): (&crate::packed::Component, &crate::packed::band::encode::Encoded)| Plane {
        id: component.id,
        sampling: component.sampling,
        steps: component.steps,
        blocks: component.blocks,
        largest_sum: component.largest_sum(),
        bases: encoded.bases,
        chunks: Default::default(),
    };
    let mut components: Vec<_> = coefficients.components.iter().zip(&encoded).map(plane).collect();
    let mut bands: [Section; BANDS] = Default::default();
    for (band, section) in bands.iter_mut().enumerate() {
        let start = bytes.len();
        for (component, encoded) in components.iter_mut().zip(&encoded) {
            let chunks = &encoded.bands[band];
            let width = write_index(chunks, bytes);
            component.chunks[band] = ChunkTable { width, index: 0..0, payload: 0..chunks.payload.len() as u64 };
        }
        section.index_crc = crc32c::crc32c(&bytes[start..]);
        let start = bytes.len();
        for encoded in &encoded {
            bytes.extend_from_slice(&encoded.bands[band].payload);
        }
        section.payload_crc = crc32c::crc32c(&bytes[start..]);
        bytes.resize((bytes.len() + SLACK).next_multiple_of(4), 0);
    }
    let Coefficients { size, orientation, colour, .. } = *coefficients;
    Image { size, orientation, colour, components, bands }
}

/// Appends the lengths in as few bits as the longest needs; gives that number.
fn write_index(chunks: &Chunks, bytes: &mut Vec<u8>) -> u32 {
    let longest = chunks.lengths.iter().max().copied().unwrap_or(0);
    let width = u32::BITS - longest.leading_zeros();
    assert!(width <= WIDEST, "no chunk has {longest} bytes");
    let mut bits = crate::packed::band::bits::Writer::new(bytes);
    for &length in &chunks.lengths {
        bits.put(length, width);
    }
    bits.finish();
    width
}
