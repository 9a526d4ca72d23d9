//! Decodes the middle of an image, at the scale that a 96 x 96 crop needs.
//!
//! ```text
//! cargo run --release --example 01_decode -- photo.jpg
//! ```

use bandfeed::decode::{Decoder, Limits};
use bandfeed::shape::{Rect, Size};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(path) = std::env::args().nth(1) else { return Err("usage: 01_decode IMAGE".into()) };
    let bytes = std::fs::read(&path)?;
    let mut decoder = Decoder::new(Limits::default())?;

    let header = decoder.header(&bytes)?;
    let Size { width, height } = header.size;
    println!("{path}: {:?}, {width}x{height}, {:?}", header.format, header.orientation);

    let region = Rect { x: width / 4, y: height / 4, width: width.div_ceil(2), height: height.div_ceil(2) };
    let patch = decoder.decode_region(&bytes, &header, region, Size::square(96))?;
    println!(
        "{region:?} at {}/8 is {}x{} pixels; in them it lies at {:?}",
        patch.scale, patch.size.width, patch.size.height, patch.area
    );
    let middle = patch.size.height as usize / 2 * patch.stride + patch.size.width as usize / 2 * 3;
    println!("its middle is {:?}", &patch.pixels[middle..middle + 3]);
    Ok(())
}
