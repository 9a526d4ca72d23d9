//! TensorBoard's event files: protocol buffers in TFRecord frames.
//!
//! The messages are the parts in use here of TensorFlow's `core/util/event.proto` and `core/framework/summary.proto`, with the
//! field numbers of those files.

use prost::Message;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// One record: something at a step and a time.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    pub(super) wall_time: f64,
    #[prost(int64, tag = "2")]
    pub(super) step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    pub(super) what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum What {
    /// In a file's first record.
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SessionLog {
    #[prost(int32, tag = "1")]
    pub(super) status: i32,
}

/// `SessionLog.SessionStatus.START`: what other files say of this step and later ones is void.
const SESSION_START: i32 = 1;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Summary {
    #[prost(message, repeated, tag = "1")]
    pub(super) value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Value {
    #[prost(string, tag = "1")]
    pub(super) tag: String,
    #[prost(oneof = "Shown", tags = "2, 4, 5")]
    pub(super) shown: Option<Shown>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Shown {
    #[prost(float, tag = "2")]
    Scalar(f32),
    #[prost(message, tag = "4")]
    Image(Image),
    #[prost(message, tag = "5")]
    Histogram(Histogram),
}

/// `Summary.Image`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Image {
    #[prost(int32, tag = "1")]
    pub(super) height: i32,
    #[prost(int32, tag = "2")]
    pub(super) width: i32,
    /// 3 is RGB.
    #[prost(int32, tag = "3")]
    pub(super) colorspace: i32,
    /// A whole PNG file.
    #[prost(bytes = "vec", tag = "4")]
    pub(super) encoded: Vec<u8>,
}

/// `HistogramProto`: bucket `i` counts the values above limit `i - 1` and up to limit `i`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Histogram {
    #[prost(double, tag = "1")]
    pub(super) min: f64,
    #[prost(double, tag = "2")]
    pub(super) max: f64,
    #[prost(double, tag = "3")]
    pub(super) num: f64,
    #[prost(double, tag = "4")]
    pub(super) sum: f64,
    #[prost(double, tag = "5")]
    pub(super) sum_squares: f64,
    #[prost(double, repeated, tag = "6")]
    pub(super) bucket_limit: Vec<f64>,
    #[prost(double, repeated, tag = "7")]
    pub(super) bucket: Vec<f64>,
}

impl Histogram {
    /// Buckets of equal width; TensorBoard draws 30.
    const BUCKETS: usize = 64;

    /// Of finite values; others are left out. `None` without any.
    pub(super) fn of(values: &[f32]) -> Option<Self> {
        let finite = || values.iter().map(|&v| f64::from(v)).filter(|v| v.is_finite());
        let min = finite().reduce(f64::min)?;
        let max = finite().reduce(f64::max)?;
        // Values that are all the same need a width, too.
        let width = match (max - min) / Self::BUCKETS as f64 {
            0.0 => min.abs().max(1.0) * 1e-6,
            width => width,
        };
        let mut histogram = Self {
            min,
            max,
            bucket_limit: (1..=Self::BUCKETS).map(|i| min + width * i as f64).collect(),
            bucket: vec![0.0; Self::BUCKETS],
            ..Self::default()
        };
        for value in finite() {
            let at = (((value - min) / width).ceil() as usize).saturating_sub(1).min(Self::BUCKETS - 1);
            histogram.bucket[at] += 1.0;
            histogram.num += 1.0;
            histogram.sum += value;
            histogram.sum_squares += value * value;
        }
        Some(histogram)
    }
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// A CRC-32C as TFRecord stores it: rotated, so that a checksum over data that holds checksums stays useful.
fn masked_crc(bytes: &[u8]) -> u32 {
    const MASK: u32 = 0xa282_ead8;
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(MASK)
}

/// One frame: length (u64), its checksum, the data, its checksum; little endian.
fn frame(data: &[u8], out: &mut impl Write) -> std::io::Result<()> {
    let length = (data.len() as u64).to_le_bytes();
    out.write_all(&length)?;
    out.write_all(&masked_crc(&length).to_le_bytes())?;
    out.write_all(data)?;
    out.write_all(&masked_crc(data).to_le_bytes())
}

/// A file being written.
pub(super) struct EventFile {
    out: BufWriter<File>,
    path: PathBuf,
    /// A message on its way out.
    bytes: Vec<u8>,
}

impl EventFile {
    /// A new file in `folder`, named as TensorFlow names them, so that TensorBoard finds it and reads it after older ones. What
    /// older ones say of `step` and later steps is declared void.
    pub(super) fn create(folder: &Path, step: u64) -> std::io::Result<Self> {
        /// Files of one process, for names.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        std::fs::create_dir_all(folder)?;
        let time = now();
        // A host's name may hold anything; what may not stand in a file's name is left out.
        let host: String = sysinfo::System::host_name()
            .unwrap_or_default()
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c))
            .collect();
        let host = if host.is_empty() { "localhost" } else { &host };
        let (pid, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = folder.join(format!("events.out.tfevents.{:010}.{host}.{pid}.{number}", time as u64));
        let mut file = Self { out: BufWriter::new(File::create(&path)?), path, bytes: Vec::new() };
        file.write(&Event { wall_time: time, step: 0, what: Some(What::FileVersion("brain.Event:2".to_owned())) })?;
        let start = What::SessionLog(SessionLog { status: SESSION_START });
        file.write(&Event { wall_time: time, step: step as i64, what: Some(start) })?;
        file.flush()?;
        Ok(file)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn write(&mut self, event: &Event) -> std::io::Result<()> {
        self.bytes.clear();
        event.encode(&mut self.bytes).expect("a vector grows");
        frame(&self.bytes, &mut self.out)
    }

    pub(super) fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The events of a file, every checksum compared. Panics on anything that is no whole frame.
    pub(in super::super) fn read(path: &Path) -> Vec<Event> {
        let bytes = std::fs::read(path).unwrap();
        let mut rest = &bytes[..];
        let mut events = Vec::new();
        while !rest.is_empty() {
            let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(word(8), masked_crc(&rest[..8]));
            let data = &rest[12..12 + length];
            assert_eq!(word(12 + length), masked_crc(data));
            events.push(Event::decode(data).unwrap());
            rest = &rest[16 + length..];
        }
        events
    }

    #[test]
    fn checksums_are_tensorflows() {
        // RFC 3720 B.4: the CRC-32C of 32 zeros is 8a9136aa. The mask is that of TensorFlow's `lib/hash/crc32c.h`.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(masked_crc(&[0; 32]), 0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8));
        // The length of TensorFlow's usual first record, `brain.Event:2`, as its own files begin.
        let mut out = Vec::new();
        frame(&[0; 24], &mut out).unwrap();
        assert_eq!(out[..12], [0x18, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22]);
    }

    #[test]
    fn fields_have_tensorflows_numbers() {
        let value = |tag: &str, shown| Value { tag: tag.into(), shown: Some(shown) };
        let event = Event {
            wall_time: 1.0,
            step: 3,
            what: Some(What::Summary(Summary { value: vec![value("a", Shown::Scalar(1.0))] })),
        };
        // Field 1, double; field 2, varint; field 5, of 10 bytes: field 1, of 8: field 1, text; field 2, float.
        let expected = [
            &[0x09][..],
            &1.0f64.to_le_bytes(),
            &[0x10, 3, 0x2a, 10, 0x0a, 8, 0x0a, 1, b'a', 0x15],
            &1.0f32.to_le_bytes(),
        ]
        .concat();
        assert_eq!(event.encode_to_vec(), expected);
    }

    #[test]
    fn a_histogram_counts_every_finite_value_once() {
        let values: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.37).sin()).chain([f32::NAN, f32::INFINITY]).collect();
        let histogram = Histogram::of(&values).unwrap();
        assert_eq!((histogram.num, histogram.bucket.iter().sum::<f64>()), (1000.0, 1000.0));
        let up_to = |limit: f64| values.iter().filter(|v| v.is_finite() && f64::from(**v) <= limit).count() as f64;
        for i in [0, 20, 62] {
            let counted: f64 = histogram.bucket[..=i].iter().sum();
            assert!((counted - up_to(histogram.bucket_limit[i])).abs() <= 1.0, "bucket {i}");
        }
        let flat = Histogram::of(&[2.0; 5]).unwrap();
        assert_eq!((flat.bucket[0], flat.min, flat.max), (5.0, 2.0, 2.0));
        assert!(flat.bucket_limit.windows(2).all(|w| w[0] < w[1]));
        assert_eq!(Histogram::of(&[f32::NAN]), None);
    }

    #[test]
    fn a_file_begins_with_its_version_and_the_first_step() {
        let folder = tempfile::tempdir().unwrap();
        let file = EventFile::create(folder.path(), 17).unwrap();
        let name = file.path().file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.starts_with("events.out.tfevents."), "{name}");
        let events = read(file.path());
        assert_eq!(events[0].what, Some(What::FileVersion("brain.Event:2".into())));
        assert_eq!(events[1].step, 17);
        assert_eq!(events[1].what, Some(What::SessionLog(SessionLog { status: 1 })));
    }
}
