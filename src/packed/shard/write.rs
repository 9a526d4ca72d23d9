//! Writes a shard: to a temporary name, then all at once to its own.

use super::{ALIGN, ENTRY, FOOTER_MAGIC, FRAME, MAGIC, PAGE, Place, QUARTER_CHROMA, Reduced, STORED, VERSION};
use crate::decode::Limits;
use crate::error::{Error, Result};
use crate::packed::Record;
use crate::packed::band::BANDS;
use crate::partial::Partial;
use std::path::Path;

/// A shard on its way to disk. Dropped before [`ShardWriter::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct ShardWriter {
    file: Partial,
    entries: Vec<u8>,
    keys: Vec<u8>,
}

impl ShardWriter {
    /// Starts the shard that will be at `path`. What is there stays until [`ShardWriter::finish`].
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Source`] while another process writes it.
    pub fn create(path: &Path, place: &Place) -> Result<Self> {
        Self::create_reduced(path, place, None)
    }

    /// The same for a data set of which larger images are reduced, which the shard then says.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Source`] while another process writes it.
    pub fn create_reduced(path: &Path, place: &Place, reduced: Option<Reduced>) -> Result<Self> {
        let mut writer = Self { file: Partial::create(path)?, entries: Vec::new(), keys: Vec::new() };
        let mut head = Vec::with_capacity(FRAME);
        head.extend_from_slice(&MAGIC);
        for value in [VERSION, place.number, place.of, 0] {
            head.extend_from_slice(&value.to_le_bytes());
        }
        head.extend_from_slice(&place.first.to_le_bytes());
        if let Some(Reduced { max_side, quality }) = reduced {
            head.extend_from_slice(&max_side.to_le_bytes());
            head.push(quality);
        }
        writer.file.write_frame(head)?;
        Ok(writer)
    }

    /// Appends a record that [`crate::packed::pack`] made.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Decode`] if it is none.
    pub fn push(&mut self, record: &[u8]) -> Result<()> {
        let limits = Limits { max_pixels: u64::MAX, ..Limits::default() };
        let name = || self.file.path().display().to_string();
        let open = Record::open(record, &limits).map_err(|error| error.named(name()))?;
        let (head, mut ends, mut size, mut orientation) = (open.head(), [0; BANDS], (0, 0), 1);
        if let Some(image) = open.image() {
            ends = image.bands.each_ref().map(|band| band.end as u32);
            size = (image.size.width as u16, image.size.height as u16);
            orientation = image.orientation.to_exif() as u8;
        }
        let kind = match open.image() {
            None => STORED,
            Some(image) if image.has_quarter_chroma() => QUARTER_CHROMA,
            Some(_) => 0,
        };
        self.pad(ALIGN)?;
        let entry = &mut self.entries;
        entry.extend_from_slice(&self.file.len().to_le_bytes());
        entry.extend_from_slice(&(record.len() as u64).to_le_bytes());
        entry.extend_from_slice(&head.label.to_le_bytes());
        entry.extend_from_slice(&size.0.to_le_bytes());
        entry.extend_from_slice(&size.1.to_le_bytes());
        entry.extend_from_slice(&[kind, orientation]);
        entry.extend_from_slice(&(head.key.len() as u16).to_le_bytes());
        entry.extend_from_slice(&(self.keys.len() as u32).to_le_bytes());
        entry.extend(ends.iter().flat_map(|end| end.to_le_bytes()));
        entry.extend_from_slice(&crc32c::crc32c(record).to_le_bytes());
        debug_assert_eq!(entry.len() % ENTRY, 0);
        self.keys.extend_from_slice(head.key.as_bytes());
        self.file.write(record)
    }

    /// Writes the index with the class names, brings all of it to the disk, and gives the shard its name.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Source`] if there is no record.
    pub fn finish(mut self, classes: &[String]) -> Result<()> {
        let count = (self.entries.len() / ENTRY) as u32;
        if count == 0 {
            return Err(Error::source(self.file.path(), "a shard without a record"));
        }
        self.pad(PAGE)?;
        let start = self.file.len();
        let mut index = std::mem::take(&mut self.entries);
        let classes_start = index.len() as u64;
        for class in classes {
            index.extend_from_slice(&(class.len() as u32).to_le_bytes());
            index.extend_from_slice(class.as_bytes());
        }
        let keys_start = index.len() as u64;
        index.append(&mut self.keys);
        let mut footer = FOOTER_MAGIC.to_vec();
        footer.extend_from_slice(&VERSION.to_le_bytes());
        footer.extend_from_slice(&count.to_le_bytes());
        for value in [start, index.len() as u64, classes_start, keys_start] {
            footer.extend_from_slice(&value.to_le_bytes());
        }
        footer.extend_from_slice(&(classes.len() as u32).to_le_bytes());
        footer.extend_from_slice(&crc32c::crc32c(&index).to_le_bytes());
        self.file.write(&index)?;
        self.file.write_frame(footer)?;
        self.file.publish()
    }

    fn pad(&mut self, align: u64) -> Result<()> {
        let zeros = self.file.len().next_multiple_of(align) - self.file.len();
        self.file.write(&[0; PAGE as usize][..zeros as usize])
    }
}
