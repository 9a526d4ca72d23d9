//! Pillow's output, by hash: `tests/data/augment`.

use super::super::{Op, Sampling};
use crate::decode::{Decoder, Limits};
use crate::shape::Size;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The fill colour of the recorded cases.
pub(crate) const FILL: [u8; 3] = [124, 116, 104];

/// Pictures, and what Pillow makes of each by every operation.
#[derive(Deserialize)]
pub(crate) struct Record {
    pictures: BTreeMap<String, PictureRecord>,
    pub(crate) cases: Vec<Case>,
}

#[derive(Deserialize)]
struct PictureRecord {
    size: [u32; 2],
    hash: String,
}

#[derive(Deserialize)]
pub(crate) struct Case {
    op: String,
    argument: f64,
    sampling: Option<Sampling>,
    hashes: BTreeMap<String, String>,
}

impl Case {
    pub(crate) fn op(&self) -> Op {
        let (v, sampling) = (self.argument, self.sampling.unwrap_or_default());
        match self.op.as_str() {
            "auto_contrast" => Op::AutoContrast,
            "equalize" => Op::Equalize,
            "invert" => Op::Invert,
            "grayscale" => Op::Grayscale,
            "posterize" => Op::Posterize { bits: v as u8 },
            "solarize" => Op::Solarize { threshold: v as u16 },
            "solarize_add" => Op::SolarizeAdd { add: v as u8 },
            "color" => Op::Color { factor: v as f32 },
            "contrast" => Op::Contrast { factor: v as f32 },
            "brightness" => Op::Brightness { factor: v as f32 },
            "sharpness" => Op::Sharpness { factor: v as f32 },
            "gaussian_blur" => Op::GaussianBlur { radius: v as f32 },
            "hue" => Op::Hue { shift: v },
            "rotate" => Op::Rotate { degrees: v, sampling },
            "shear_x" => Op::ShearX { factor: v, sampling },
            "shear_y" => Op::ShearY { factor: v, sampling },
            "translate_x" => Op::TranslateX { share: v, sampling },
            "translate_y" => Op::TranslateY { share: v, sampling },
            other => panic!("{other} is not an operation"),
        }
    }
}

/// One picture of a record, as it was before the operations.
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) size: Size,
    pub(crate) pixels: Vec<u8>,
}

/// FNV-1a, 64 bits.
pub(crate) fn fnv(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, v| (h ^ u64::from(*v)).wrapping_mul(0x100_0000_01b3));
    format!("{hash:016x}")
}

/// Noise as `make.py` makes it.
pub(crate) fn noise(size: Size, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(3 * size.pixels() as usize).collect()
}

/// A record and its pictures, which are compared with their hashes.
pub(crate) fn load(record: &Path, pictures: &Path) -> (Record, Vec<Input>) {
    let text = std::fs::read_to_string(record).unwrap();
    let record: Record = serde_json::from_str(&text).unwrap();
    let mut inputs = Vec::new();
    for (name, PictureRecord { size: [width, height], hash }) in &record.pictures {
        let size = Size::new(*width, *height);
        let pixels = if name.starts_with("noise") {
            let mut seeds = 1..20;
            seeds.find_map(|seed| Some(noise(size, seed)).filter(|pixels| fnv(pixels) == *hash)).unwrap()
        } else {
            let bytes = std::fs::read(pictures.join(name)).unwrap();
            let picture = Decoder::new(Limits::default()).unwrap().decode(&bytes).unwrap();
            assert_eq!(picture.size, size);
            picture.data
        };
        assert_eq!(fnv(&pixels), *hash, "{name} is another picture than the recorded one");
        inputs.push(Input { name: name.clone(), size, pixels });
    }
    (record, inputs)
}

/// The committed record, and the one that the environment names.
pub(crate) fn all_records() -> Vec<(Record, Vec<Input>)> {
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut records = vec![load(&data.join("augment/pillow.json"), &data)];
    if let Some(photos) = std::env::var_os("BANDFEED_AUGMENT_PHOTOS").map(PathBuf::from) {
        records.push(load(&photos.join("photos.json"), &photos));
    }
    records
}

#[test]
fn every_operation_equals_pillow_byte_for_byte() {
    let mut compared = 0;
    let mut wrong = Vec::new();
    for (record, inputs) in all_records() {
        for case in &record.cases {
            for input in &inputs {
                let out = super::apply(&input.pixels, input.size, &[case.op()], FILL).unwrap();
                compared += 1;
                if fnv(&out) != case.hashes[&input.name] {
                    wrong.push(format!("{:?} of {}", case.op(), input.name));
                }
            }
        }
    }
    assert!(compared > 1000);
    assert!(wrong.is_empty(), "{} of {compared} differ: {wrong:#?}", wrong.len());
}
