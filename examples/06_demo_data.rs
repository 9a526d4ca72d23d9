//! Draws the demonstration data set into a folder, with a sheet of samples: each class at full size and at a small band.
//!
//! `cargo run --release --example 06_demo_data -- FOLDER`

use bandfeed::demo_data::{DemoData, Motif};
use bandfeed::{Error, Result, Source};
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use std::path::Path;
use std::time::Instant;

/// Side of a picture on the sheet.
const TILE: u32 = 112;
/// Pictures of a class: these in full, then the same at the small band.
const COLUMNS: u32 = 6;
/// Side of the whole image at the early stages of a schedule for 64 pixels.
const BAND: u32 = 28;

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "demo-data".to_owned());
    let data = DemoData::default();
    let start = Instant::now();
    data.write(&folder)?;
    let images = data.classes.len() as u32 * (data.train_per_class + data.val_per_class);
    println!("{images} images in {folder}, drawn in {:.1} s", start.elapsed().as_secs_f64());
    for part in ["train", "val"] {
        println!("{}", bandfeed::source::open(&format!("{folder}/{part}"))?.describe());
    }

    let sheet = sheet(&data)?;
    let path = Path::new(&folder).join("sheet.png");
    sheet.save(&path).map_err(|error| Error::Io { path: path.clone(), source: std::io::Error::other(error) })?;
    println!("{}: left as drawn, right at {BAND} pixels", path.display());
    Ok(())
}

fn sheet(data: &DemoData) -> Result<RgbImage> {
    let few = DemoData { train_per_class: COLUMNS, val_per_class: 1, ..data.clone() };
    let (train, _) = few.generate()?;
    let rows = Motif::ALL.len() as u32;
    let mut sheet = RgbImage::from_pixel(2 * COLUMNS * TILE + TILE / 4, rows * TILE, Rgb([255; 3]));
    let mut buffer = Vec::new();
    for index in 0..train.len() {
        let jpeg = train.read(index, &mut buffer)?;
        let pixels = decode(jpeg);
        let (row, column) = (index as u32 / COLUMNS, index as u32 % COLUMNS);
        let shorter = pixels.width().min(pixels.height());
        let square = imageops::crop_imm(
            &pixels,
            (pixels.width() - shorter) / 2,
            (pixels.height() - shorter) / 2,
            shorter,
            shorter,
        );
        let small = imageops::resize(&square.to_image(), BAND, BAND, FilterType::Lanczos3);
        let place = |image: &RgbImage, column: u32, x: u32, sheet: &mut RgbImage| {
            let tile = imageops::resize(image, TILE - 4, TILE - 4, FilterType::CatmullRom);
            imageops::replace(sheet, &tile, (x + column * TILE + 2).into(), (row * TILE + 2).into());
        };
        place(&square.to_image(), column, 0, &mut sheet);
        place(&small, column, COLUMNS * TILE + TILE / 4, &mut sheet);
    }
    Ok(sheet)
}

/// `bandfeed::decode` does this for files from outside; these were encoded a moment ago.
fn decode(jpeg: &[u8]) -> RgbImage {
    let image = turbojpeg::decompress(jpeg, turbojpeg::PixelFormat::RGB).expect("a JPEG that was encoded here");
    RgbImage::from_raw(image.width as u32, image.height as u32, image.pixels).expect("three bytes a pixel")
}
