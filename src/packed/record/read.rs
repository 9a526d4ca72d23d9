//! A record's parts.

use super::{Head, Image, Plane, TileDecoder, head};
use crate::decode::Limits;
use crate::error::DecodeError;
use crate::packed::band::{Tiling, bands_for};
use crate::packed::coefficients::{Coefficients, Component};
use crate::shape::Rect;
use std::ops::Range;

/// A record, or as much of its beginning as is at hand.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    bytes: &'a [u8],
    head: Head,
}

impl<'a> Record<'a> {
    /// Reads and checks the head of the record at the start of `bytes`. No more is needed for now, and none of it is touched.
    ///
    /// # Errors
    /// [`DecodeError::Corrupt`] for what is no record or does not have its checksum, [`DecodeError::Unsupported`] for a
    /// version that is not read here, [`DecodeError::Limit`] for more pixels than `limits` allow.
    pub fn open(bytes: &'a [u8], limits: &Limits) -> Result<Self, DecodeError> {
        Ok(Self { bytes, head: head::read(bytes, limits)? })
    }

    /// What the record says of its image and of the original file.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The image, where the record holds one in bands.
    pub fn image(&self) -> Option<&Image> {
        self.head.image.as_ref()
    }

    /// Bytes of the head.
    pub(crate) fn head_len(&self) -> u64 {
        self.image().map_or(self.head.tail.0.start, |image| image.bands[0].index.start)
    }

    /// Bytes of the record to have at hand for the rings below `rings`: head, index and payload. Of a stored file, all.
    ///
    /// # Panics
    /// If `rings` is not in `1..=8`.
    pub fn prefix_len(&self, rings: u8) -> u64 {
        let bands = bands_for(rings);
        self.image().map_or(self.head.len, |image| image.bands[bands - 1].end)
    }

    /// The original file, where it was stored as it is.
    ///
    /// # Errors
    /// [`DecodeError::Corrupt`] if the record is cut short or the bytes do not have their checksum,
    /// [`DecodeError::Unsupported`] for a record in bands.
    pub fn stored(&self) -> Result<&'a [u8], DecodeError> {
        if self.image().is_some() {
            return Err(DecodeError::unsupported("the record holds bands and not the original file"));
        }
        self.tail()
    }

    /// The original's application and comment segments, each with its marker and length. None for a stored file.
    ///
    /// # Errors
    /// [`DecodeError::Corrupt`] if the record is cut short or the bytes do not have their checksum.
    pub fn metadata(&self) -> Result<&'a [u8], DecodeError> {
        if self.image().is_some() { self.tail() } else { Ok(&[]) }
    }

    fn tail(&self) -> Result<&'a [u8], DecodeError> {
        let (range, crc) = &self.head.tail;
        self.checked(range, *crc, "tail")
    }

    /// Bytes of the record.
    pub(super) fn range(&self, range: &Range<u64>, what: &str) -> Result<&'a [u8], DecodeError> {
        let place = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        place.and_then(|(start, end)| self.bytes.get(start..end)).ok_or_else(|| {
            let (Range { start, end }, len) = (range, self.bytes.len());
            DecodeError::corrupt(format!("the record's {what} is at bytes {start} to {end}, but there are {len}"))
        })
    }

    /// Bytes of the record that have this checksum.
    pub(super) fn checked(&self, range: &Range<u64>, crc: u32, what: &str) -> Result<&'a [u8], DecodeError> {
        let bytes = self.range(range, what)?;
        if crc32c::crc32c(bytes) != crc {
            let Range { start, end } = range;
            let reason = format!("the record's {what}, bytes {start} to {end}, does not have its checksum");
            return Err(DecodeError::corrupt(reason));
        }
        Ok(bytes)
    }

    /// Checks the checksums of the bands that hold the rings below `rings`, indices and payload.
    ///
    /// # Errors
    /// [`DecodeError::Corrupt`] that names the band and its place.
    ///
    /// # Panics
    /// If `rings` is not in `1..=8`.
    pub fn verify(&self, rings: u8) -> Result<(), DecodeError> {
        let bands = bands_for(rings);
        let Some(image) = self.image() else { return self.tail().map(|_| ()) };
        for (band, section) in image.bands[..bands].iter().enumerate() {
            self.checked(&section.index, section.index_crc, &format!("index of band {band}"))?;
            self.checked(&section.payload, section.payload_crc, &format!("payload of band {band}"))?;
        }
        Ok(())
    }

    /// All coefficients and the metadata, everything checked.
    ///
    /// # Errors
    /// [`DecodeError::Corrupt`] for damage, [`DecodeError::Unsupported`] for a stored file.
    pub fn coefficients(&self) -> Result<Coefficients, DecodeError> {
        let image = self.image().ok_or_else(|| DecodeError::unsupported("the record holds a file and no bands"))?;
        let metadata = self.metadata()?.to_vec();
        self.verify(8)?;
        let mut decoder = TileDecoder::new();
        let mut components = Vec::with_capacity(image.components.len());
        for (i, plane) in image.components.iter().enumerate() {
            let Plane { id, sampling, steps, blocks, .. } = *plane;
            let mut values = vec![0; 64 * blocks.pixels() as usize];
            let tiling = Tiling::new(blocks);
            decoder.decode(self, i, 8, Rect::whole(blocks), |column, row, tile| {
                let (columns, rows) = tiling.blocks_of(column, row);
                for (y, row) in rows.enumerate() {
                    let first = row as usize * blocks.width as usize;
                    let line = &mut values.as_chunks_mut::<64>().0[first..][..blocks.width as usize];
                    for (x, block) in line[columns.start as usize..columns.end as usize].iter_mut().enumerate() {
                        *block = tile.values.map(|lanes| lanes[8 * y + x]);
                    }
                }
            })?;
            let component = Component { id, sampling, steps, blocks, values };
            // Vectors compute in 16 bits where it says that they may.
            if component.largest_sum() != plane.largest_sum {
                let reason = format!("the record's head says a wrong largest sum of component {i}");
                return Err(DecodeError::corrupt(reason));
            }
            components.push(component);
        }
        let Image { size, orientation, colour, .. } = *image;
        Ok(Coefficients { size, orientation, colour, components, metadata })
    }
}
