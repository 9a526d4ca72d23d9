//! Small JPEGs in memory, and batches as plain values that can be compared.
#![allow(dead_code, reason = "each test program uses its own part")]

use bandfeed::loader::Loader;
use bandfeed::source::Memory;
use bandfeed::{Batch, Source, Stage};
use std::sync::Arc;

/// A JPEG whose pixels depend on `seed`.
pub(crate) fn jpeg(seed: u32) -> Vec<u8> {
    let (width, height) = (40 + (seed % 7) as usize, 33 + (seed % 5) as usize);
    let pixels: Vec<u8> = (0..width * height * 3).map(|i| ((i as u32 * (seed + 3)) / 7 % 251) as u8).collect();
    let image = turbojpeg::Image {
        pixels: pixels.as_slice(),
        width,
        pitch: width * 3,
        height,
        format: turbojpeg::PixelFormat::RGB,
    };
    turbojpeg::compress(image, 90, turbojpeg::Subsamp::Sub2x2).unwrap().to_vec()
}

pub(crate) fn pictures(count: u32) -> Vec<(Vec<u8>, u32)> {
    (0..count).map(|i| (jpeg(i), i % 4)).collect()
}

pub(crate) fn source(count: u32) -> Arc<dyn Source> {
    memory(pictures(count))
}

pub(crate) fn memory(pictures: Vec<(Vec<u8>, u32)>) -> Arc<dyn Source> {
    Arc::new(Memory::new(pictures, ["a", "b", "c", "d"].map(String::from).to_vec()).unwrap())
}

/// A batch as plain values, for comparison.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plain {
    /// One hash for each image: a difference prints in a line.
    pub(crate) pixels: Vec<u64>,
    pub(crate) labels: Vec<u32>,
    pub(crate) indices: Vec<u32>,
    pub(crate) stage: Stage,
    pub(crate) place: (u64, u64),
}

impl From<Batch> for Plain {
    fn from(batch: Batch) -> Self {
        let side = batch.stage.band as usize;
        assert_eq!(batch.images.shape(), [batch.len(), 3, side, side]);
        assert!(batch.images.as_slice().iter().all(|v| v.is_finite()));
        Self {
            pixels: batch.images.as_slice().chunks_exact(3 * side * side).map(hash).collect(),
            labels: batch.labels.clone(),
            indices: batch.indices.clone(),
            place: (batch.epoch, batch.step),
            stage: batch.stage.clone(),
        }
    }
}

pub(crate) fn hash(values: &[f32]) -> u64 {
    // FNV-1a over the bits.
    values.iter().fold(0xcbf2_9ce4_8422_2325, |h, v| (h ^ u64::from(v.to_bits())).wrapping_mul(0x0100_0000_01b3))
}

pub(crate) fn all(loader: Loader) -> Vec<Plain> {
    loader.map(|batch| batch.unwrap().into()).collect()
}
