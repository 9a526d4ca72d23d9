//! Draws a picture beside its two band crops: the Fourier crop and the Lanczos resize.
//!
//! ```text
//! cargo run --release --example 03_band_crop [picture.png] [band] [out.png]
//! ```
//!
//! Without a picture it draws a zone plate: rings whose frequency grows outwards to the highest there is. What the band
//! keeps stays as rings; the Fourier crop ends them sharply, the Lanczos resize leaves faint moiré from outside the band.

use bandfeed::band::{Fourier, lanczos};
use bandfeed::ops::{Rgb8, View, resize};
use bandfeed::{Filter, Grid, Size};
use std::error::Error;

const SIDE: u32 = 224;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let picture = args.next().filter(|path| !path.is_empty());
    let band: u32 = args.next().map_or(Ok(96), |text| text.parse())?;
    let out = args.next().unwrap_or_else(|| "band_crop.png".to_owned());

    let base = match picture {
        Some(path) => {
            let image = image::open(path)?.into_rgb8();
            let size = Size::new(image.width(), image.height());
            let area = [0.0, 0.0, f64::from(size.width), f64::from(size.height)];
            resize(View::packed(image.as_raw(), size), area, Size::square(SIDE), Filter::Bicubic)?
        }
        None => zone_plate(),
    };
    let panels = [base.clone(), fourier_band(&base, band)?, lanczos(base.view(), band)?];

    let gap = 8;
    let mut sheet = image::RgbImage::from_pixel(3 * SIDE + 4 * gap, SIDE + 2 * gap, image::Rgb([255; 3]));
    for (n, panel) in panels.into_iter().enumerate() {
        // Enlarged by the nearest pixel, so that the pixels of the band are seen as they are.
        let small = image::RgbImage::from_raw(panel.size.width, panel.size.height, panel.pixels).ok_or("panel size")?;
        let large = image::imageops::resize(&small, SIDE, SIDE, image::imageops::FilterType::Nearest);
        image::imageops::replace(&mut sheet, &large, i64::from(gap + n as u32 * (SIDE + gap)), i64::from(gap));
    }
    sheet.save(&out)?;
    println!("{out}: {SIDE}x{SIDE}, its Fourier band {band}, its Lanczos band {band}");
    Ok(())
}

/// The Fourier crop works on f32 planes and overshoots; here it is brought back to bytes to be looked at.
fn fourier_band(base: &Rgb8, band: u32) -> bandfeed::Result<Rgb8> {
    let pixels = base.size.pixels() as usize;
    let planes: Vec<f32> = (0..3 * pixels).map(|at| f32::from(base.pixels[at % pixels * 3 + at / pixels])).collect();
    let side = (band * band) as usize;
    let mut cut = vec![0.0; 3 * side];
    Fourier::square(SIDE, band, Grid::Paper)?.apply(&planes, &mut cut)?;
    let pixels = (0..3 * side).map(|at| cut[at % 3 * side + at / 3].round().clamp(0.0, 255.0) as u8).collect();
    Ok(Rgb8 { pixels, size: Size::square(band) })
}

fn zone_plate() -> Rgb8 {
    let half = f64::from(SIDE) / 2.0;
    let pixels = (0..SIDE * SIDE).flat_map(|at| {
        let (x, y) = (f64::from(at % SIDE) - half, f64::from(at / SIDE) - half);
        let phase = std::f64::consts::PI * (x * x + y * y) / (2.0 * half);
        [0.0, 0.5, 1.0].map(|shift| (127.5 + 110.0 * (phase + shift).cos()) as u8)
    });
    Rgb8 { pixels: pixels.collect(), size: Size::square(SIDE) }
}
