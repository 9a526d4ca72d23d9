//! The safetensors file format: f32 tensors and text, and to read also 16-bit floats.
//!
//! `u64` length of the header, little-endian; the header, a JSON object from name to `{dtype, shape, data_offsets}` with
//! text under `__metadata__`; then the values, row-major and little-endian. Any reader of the format, PyTorch's too, gets
//! these tensors; those of a checkpoint are no state dict of a PyTorch model (`Weights::export_timm` writes one).

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// A tensor on the host.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Values {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
}

/// What a file holds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Contents {
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) tensors: BTreeMap<String, Values>,
}

impl Contents {
    /// FNV-1a in 64 bits over names, text, shapes and values, taking a value of 32 bits at a time: every step maps hashes
    /// one to one, so that a single changed value always shows.
    pub(super) fn checksum(&self) -> String {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut take = |value: u64| hash = (hash ^ value).wrapping_mul(0x0000_0100_0000_01b3);
        for text in self.metadata.iter().flat_map(|(key, text)| [key, text]).chain(self.tensors.keys()) {
            take(text.len() as u64);
            text.bytes().for_each(|byte| take(u64::from(byte)));
        }
        for tensor in self.tensors.values() {
            take(tensor.shape.len() as u64);
            tensor.shape.iter().for_each(|&n| take(n as u64));
            tensor.values.iter().for_each(|v| take(u64::from(v.to_bits())));
        }
        format!("fnv1a {hash:016x}")
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    #[serde(rename = "__metadata__", default)]
    metadata: BTreeMap<String, String>,
    #[serde(flatten)]
    tensors: BTreeMap<String, Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

/// Values start at a multiple of this, so that a memory map of the file can be read as f32.
const ALIGN: usize = 8;

/// Writes all of `contents` to a new file and waits until the disk has it.
pub(super) fn write(path: &Path, contents: &Contents) -> Result<()> {
    let mut end = 0;
    let entry = |(name, tensor): (&String, &Values)| {
        let start = end;
        end += 4 * tensor.values.len();
        (name.clone(), Entry { dtype: "F32".into(), shape: tensor.shape.clone(), data_offsets: [start, end] })
    };
    let tensors = contents.tensors.iter().map(entry).collect();
    let mut header = serde_json::to_vec(&Header { metadata: contents.metadata.clone(), tensors })
        .expect("names, numbers and text can be written as JSON");
    header.resize(header.len().next_multiple_of(ALIGN), b' ');

    let put = || {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        for tensor in contents.tensors.values() {
            for values in tensor.values.chunks(4096) {
                let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                file.write_all(&bytes)?;
            }
        }
        file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()
    };
    put().map_err(Error::io(path))
}

/// Reads a whole file.
///
/// # Errors
/// [`Error::Io`]; [`Error::Checkpoint`] if it is cut short or no such file.
pub(super) fn read(path: &Path) -> Result<Contents> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    parse(&bytes).map_err(|reason| Error::Checkpoint { path: path.to_owned(), reason })
}

fn parse(bytes: &[u8]) -> Result<Contents, String> {
    let short = || "the file is cut short or no safetensors file".to_owned();
    let (length, rest) = bytes.split_first_chunk().ok_or_else(short)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| short())?;
    let (header, data) = rest.split_at_checked(length).ok_or_else(short)?;
    let header: Header = serde_json::from_slice(header).map_err(|e| format!("the header is not valid: {e}"))?;
    let mut tensors = BTreeMap::new();
    let mut last = 0;
    for (name, Entry { dtype, shape, data_offsets: [start, end] }) in header.tensors {
        let (width, value): (usize, fn(&[u8]) -> f32) = match dtype.as_str() {
            "F32" => (4, |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            "F16" => (2, |b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()),
            "BF16" => (2, |b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32()),
            _ => return Err(format!("tensor {name} is {dtype}; F32, F16 and BF16 are read here")),
        };
        let size = shape.iter().try_fold(width, |size, &n| size.checked_mul(n));
        let raw = data.get(start..end).ok_or_else(|| format!("tensor {name} ends after the file: it is cut short"))?;
        if size != Some(raw.len()) {
            return Err(format!("tensor {name} of shape {shape:?} has {} bytes", raw.len()));
        }
        last = last.max(end);
        let values = raw.chunks_exact(width).map(value).collect();
        tensors.insert(name, Values { shape, values });
    }
    if data.len() > last {
        return Err(format!("{} bytes after the last tensor", data.len() - last));
    }
    Ok(Contents { metadata: header.metadata, tensors })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents() -> Contents {
        Contents {
            metadata: BTreeMap::from([("what".into(), "a \"quoted\" text".into())]),
            tensors: BTreeMap::from([
                ("a".into(), Values { shape: vec![2, 3], values: vec![0.1, -0.0, f32::MIN_POSITIVE, 3.0, 4.0, 5.5] }),
                ("b.c".into(), Values { shape: vec![0], values: vec![] }),
                ("d".into(), Values { shape: vec![], values: vec![f32::NEG_INFINITY] }),
            ]),
        }
    }

    #[test]
    fn every_bit_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        write(&path, &contents()).unwrap();
        let back = read(&path).unwrap();
        assert_eq!(back, contents());
        assert!(back.tensors["a"].values[1].is_sign_negative());
    }

    #[test]
    fn a_file_cut_anywhere_is_refused_and_never_panics() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        write(&path, &contents()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for cut in 0..bytes.len() {
            assert!(parse(&bytes[..cut]).is_err(), "cut at {cut} of {}", bytes.len());
        }
    }

    #[test]
    fn sixteen_bits_are_read_as_what_they_mean() {
        let header = r#"{"h":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"b":{"dtype":"BF16","shape":[2],"data_offsets":[4,8]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        // 1.5 and -2, then 1 and -3, from the formats' tables.
        bytes.extend([0x3e00u16, 0xc000, 0x3f80, 0xc040].iter().flat_map(|half| half.to_le_bytes()));
        let tensors = parse(&bytes).unwrap().tensors;
        assert_eq!((&tensors["h"].values[..], &tensors["b"].values[..]), (&[1.5, -2.0][..], &[1.0, -3.0][..]));
    }

    #[test]
    fn lying_headers_are_refused() {
        let file = |header: &str| {
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend_from_slice(header.as_bytes());
            bytes.extend_from_slice(&[0; 16]);
            parse(&bytes)
        };
        let entry = |dtype: &str, shape: &str, offsets: &str| {
            file(&format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#))
        };
        entry("F32", "[2,2]", "[0,16]").unwrap();
        assert!(entry("F32", "[2,3]", "[0,16]").unwrap_err().contains("16 bytes"));
        assert!(entry("F32", "[2,2]", "[16,0]").is_err());
        assert!(entry("F32", "[2,2]", "[8,24]").is_err());
        assert!(entry("F32", "[9223372036854775807,9223372036854775807]", "[0,16]").is_err());
        assert!(entry("F64", "[2]", "[0,16]").unwrap_err().contains("F64"));
        entry("F16", "[8]", "[0,16]").unwrap();
        assert!(entry("BF16", "[4]", "[0,16]").unwrap_err().contains("16 bytes"));
    }
}
