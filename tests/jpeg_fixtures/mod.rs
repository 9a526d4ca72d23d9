//! Images made on the spot, and the shared corpora where they are at hand. Used by tests and benches.
#![allow(dead_code, reason = "each user takes a part")]

pub(crate) mod writer;

use bandfeed::shape::{Rect, Size};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};

/// SplitMix64: the same cases in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `low..=high`.
    pub(crate) fn between(&mut self, low: u32, high: u32) -> u32 {
        low + (self.next() % u64::from(high - low + 1)) as u32
    }
}

/// A rectangle of any place and shape, often at an edge, sometimes a single row, column or pixel.
pub(crate) fn rectangle(random: &mut Random, size: Size) -> Rect {
    let mut span = |side: u32| {
        let len = match random.between(0, 3) {
            0 => random.between(1, side.min(3)),
            _ => random.between(1, side),
        };
        let start = match random.between(0, 3) {
            0 => 0,
            1 => side - len,
            _ => random.between(0, side - len),
        };
        (start, len)
    };
    let ((x, width), (y, height)) = (span(size.width), span(size.height));
    Rect { x, y, width, height }
}

/// The rectangle of a random resized crop: 8 to 100 % of the area, aspect 3/4 to 4/3, about 42 % on average.
pub(crate) fn resized_crop(random: &mut Random, size: Size) -> Rect {
    let mut uniform = |low: f64, high: f64| low + (high - low) * (random.next() >> 11) as f64 / (1u64 << 53) as f64;
    loop {
        let area = size.pixels() as f64 * uniform(0.08, 1.0);
        let aspect = uniform(0.75f64.ln(), (4.0 / 3.0f64).ln()).exp();
        let (width, height) = ((area * aspect).sqrt() as u32, (area / aspect).sqrt() as u32);
        if (1..=size.width).contains(&width) && (1..=size.height).contains(&height) {
            let x = (uniform(0.0, 1.0) * f64::from(size.width - width + 1)) as u32;
            let y = (uniform(0.0, 1.0) * f64::from(size.height - height + 1)) as u32;
            return Rect { x, y, width, height };
        }
    }
}

pub(crate) fn hex_sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// Colour slopes with sharp marks and noise: no two places look alike, and chroma has edges.
pub(crate) fn picture(width: u32, height: u32) -> Vec<u8> {
    let mut random = Random(u64::from(width) << 32 | u64::from(height));
    let mut pixels = Vec::with_capacity((width * height * 3) as usize);
    for y in 0..height {
        for x in 0..width {
            let noise = (random.next() % 24) as u32;
            let mark = if (x / 5 + y / 7) % 3 == 0 { 90 } else { 0 };
            pixels.extend(
                [x * 200 / width + noise + mark / 3, y * 200 / height + mark / 2, 200 - (x + y) % 150]
                    .map(|v| v.min(255) as u8),
            );
        }
    }
    pixels
}

/// A JPEG of [`picture`].
pub(crate) fn jpeg(width: u32, height: u32, subsamp: Subsamp, progressive: bool) -> Vec<u8> {
    let pixels = picture(width, height);
    let mut compressor = Compressor::new().expect("libjpeg-turbo starts");
    compressor.set_quality(85).expect("the quality is in range");
    compressor.set_subsamp(subsamp).expect("the sampling is known");
    compressor.set_progressive(progressive).expect("progressive is known");
    let (width, height) = (width as usize, height as usize);
    let image = Image { pixels: &pixels[..], width, pitch: 3 * width, height, format: PixelFormat::RGB };
    compressor.compress_to_vec(image).expect("a picture compresses")
}

/// The JPEG with an EXIF segment that holds nothing but the orientation `value`.
pub(crate) fn with_orientation(jpeg: &[u8], value: u16) -> Vec<u8> {
    let mut segment = b"\xff\xe1\0\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01".to_vec();
    segment.extend(value.to_be_bytes());
    segment.extend([0; 6]);
    let mut bytes = jpeg.to_vec();
    bytes.splice(2..2, segment);
    bytes
}

/// The JPEG with another size in its frame header.
pub(crate) fn with_size(jpeg: &[u8], width: u16, height: u16) -> Vec<u8> {
    let mut bytes = jpeg.to_vec();
    let frame = bytes.windows(2).position(|w| w == [0xff, 0xc0] || w == [0xff, 0xc2]).expect("the file has a frame");
    bytes[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    bytes[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    bytes
}

/// The shared data folder, where it is at hand. Says so where it is not, so that nothing is left out in silence.
pub(crate) fn shared_data(what: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(what);
    if !path.exists() {
        eprintln!("{what} is not at hand: own fixtures only");
        return None;
    }
    Some(path)
}

/// Name and bytes of the JPEGs in a tar file.
pub(crate) fn tar_jpegs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(std::fs::File::open(path).expect("the archive opens"));
    let mut files = Vec::new();
    for entry in archive.entries().expect("the archive is a tar file") {
        let mut entry = entry.expect("the entry is whole");
        let name = entry.path().expect("the name is a path").to_string_lossy().into_owned();
        if name.ends_with(".jpg") {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).expect("the entry is whole");
            files.push((name, bytes));
        }
    }
    files
}

/// Rows of a corpus' `manifest.csv` by column name, each with its file's bytes.
pub(crate) fn manifest(folder: &Path) -> Vec<(HashMap<String, String>, Vec<u8>)> {
    let text = std::fs::read_to_string(folder.join("manifest.csv")).expect("the manifest is there");
    let mut lines = text.lines().map(split_csv);
    let names = lines.next().expect("the manifest has a head");
    lines
        .map(|values| {
            let row: HashMap<_, _> = names.iter().cloned().zip(values).collect();
            let bytes = std::fs::read(folder.join(&row["file"])).expect("the listed file is there");
            (row, bytes)
        })
        .collect()
}

/// Commas inside double quotes do not separate.
fn split_csv(line: &str) -> Vec<String> {
    let mut values = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => values.push(String::new()),
            _ => values.last_mut().expect("there is always a value").push(c),
        }
    }
    values
}
