//! A small data set that is drawn, not downloaded: to try a schedule, a trainer or a loader on a machine with nothing else.
//!
//! Half of the classes are **shapes** (disc, ring, square, triangle, cross, star), which a coarse picture shows as well as a
//! fine one. The other half are **fine textures** (stripes of three directions, checker, dots, ripples) on a soft blob.
//! Colour, place, size and background say nothing about the class.
//!
//! # Which frequencies tell the classes apart
//!
//! A texture repeats 22 to 28 times along the shorter side of its image. A view of the whole image at B pixels holds
//! `B / 2` repetitions at most, so B = 64 shows all textures and B up to 40 shows none. What is left at a small band is that
//! there is a texture: the best a classifier of whole images can do there is to know the six shapes and to guess among the
//! six textures, 7 of 12 right. A curriculum over bands thus has something to gain in its last stages. Random crops enlarge,
//! and so show some of the textures earlier.

mod motif;

pub use motif::Motif;

use crate::error::{Error, Result};
use crate::rng::{Draw, Purpose};
use crate::shape::Size;
use crate::source::Memory;
use rayon::prelude::*;
use std::path::Path;
use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};

/// What to draw.
///
/// The images are JPEG files as data sets have them: sides between 3/4 and 5/4 of [`DemoData::side`], mostly not square,
/// quality 85 to 95, half of them with 4:2:0 chroma, and one in twenty grayscale.
///
/// An image depends on the seed, the part (train or val), its class and its number, and not on how many are asked for. The
/// bytes are the same for each run of the same program; another machine's `sin` and `cos` may round in another way.
#[derive(Debug, Clone, PartialEq)]
pub struct DemoData {
    /// The classes, each once. Their indices follow the order of their names, as in a [`crate::source::Folder`].
    pub classes: Vec<Motif>,
    /// Training images of each class, 1 or more.
    pub train_per_class: u32,
    /// Validation images of each class, 1 or more.
    pub val_per_class: u32,
    /// Mean side of the images in pixels, `64..=1024`: below, the textures could not be drawn.
    pub side: u32,
    /// Another seed gives other images of the same kind.
    pub seed: u64,
}

impl Default for DemoData {
    fn default() -> Self {
        Self { classes: Motif::ALL.to_vec(), train_per_class: 200, val_per_class: 50, side: 128, seed: 0 }
    }
}

/// One drawn file.
struct Drawn {
    motif: Motif,
    /// Place among the images of its class and part, from 0.
    number: u32,
    jpeg: Vec<u8>,
}

/// The parts, in the order of their numbers in the draws.
const PARTS: [&str; 2] = ["train", "val"];

impl DemoData {
    /// Draws all images into memory: `(train, val)`. Samples are in the order of their classes and named
    /// `demo/train/disc/0001.jpg`.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting out of its range.
    pub fn generate(&self) -> Result<(Memory, Memory)> {
        let motifs = self.check()?;
        let classes: Vec<String> = motifs.iter().map(|motif| motif.name().to_owned()).collect();
        let memory = |part: usize| {
            let drawn = self.draw(part, &motifs)?;
            let names = drawn.iter().map(|d| format!("demo/{}/{}", PARTS[part], self.file(part, d))).collect();
            let index = |motif| motifs.iter().position(|&m| m == motif).expect("drawn from this list") as u32;
            let samples = drawn.into_iter().map(|d| (d.jpeg, index(d.motif))).collect();
            Memory::new(samples, classes.clone())?.with_names(names)
        };
        Ok((memory(0)?, memory(1)?))
    }

    /// Draws all images into `folder`, as `train/CLASS/0001.jpg` and `val/CLASS/0001.jpg`: two folders for
    /// [`crate::source::Folder`], with the samples and labels of [`DemoData::generate`].
    ///
    /// # Errors
    /// [`Error::Config`] as above; [`Error::Source`] if `train` or `val` is there already, for old files would mix with new;
    /// [`Error::Io`] if a file cannot be written.
    pub fn write(&self, folder: impl AsRef<Path>) -> Result<()> {
        let motifs = self.check()?;
        let folder = folder.as_ref();
        if let Some(there) = PARTS.iter().map(|part| folder.join(part)).find(|path| path.exists()) {
            return Err(Error::source(there, "is there already; remove it or choose another folder"));
        }
        for (part, name) in PARTS.iter().enumerate() {
            for motif in &motifs {
                let class = folder.join(name).join(motif.name());
                std::fs::create_dir_all(&class).map_err(Error::io(&class))?;
            }
            for drawn in self.draw(part, &motifs)? {
                let path = folder.join(name).join(self.file(part, &drawn));
                std::fs::write(&path, &drawn.jpeg).map_err(Error::io(&path))?;
            }
        }
        Ok(())
    }

    /// Refuses settings that cannot be drawn; gives the classes in the order of their indices.
    fn check(&self) -> Result<Vec<Motif>> {
        let mut motifs = self.classes.clone();
        motifs.sort_unstable_by_key(|motif| motif.name());
        if motifs.is_empty() {
            return Err(Error::config("demo_data.classes", "none given; take some of Motif::ALL"));
        }
        if let Some(twins) = motifs.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::config("demo_data.classes", format!("{} is given twice", twins[0].name())));
        }
        if self.train_per_class == 0 || self.val_per_class == 0 {
            return Err(Error::config("demo_data", "0 images of a class; expected 1 or more, in train and in val"));
        }
        if !(64..=1024).contains(&self.side) {
            return Err(Error::config("demo_data.side", format!("{}: expected 64 to 1024 pixels", self.side)));
        }
        Ok(motifs)
    }

    fn per_class(&self, part: usize) -> u32 {
        [self.train_per_class, self.val_per_class][part]
    }

    /// Name below the part's folder, numbered from 1 with as many digits as sort well.
    fn file(&self, part: usize, drawn: &Drawn) -> String {
        let digits = self.per_class(part).to_string().len().max(4);
        format!("{}/{:0digits$}.jpg", drawn.motif.name(), drawn.number + 1)
    }

    fn draw(&self, part: usize, motifs: &[Motif]) -> Result<Vec<Drawn>> {
        let count = self.per_class(part);
        let keys: Vec<(Motif, u32)> = motifs.iter().flat_map(|&m| (0..count).map(move |number| (m, number))).collect();
        keys.into_par_iter()
            .map(|(motif, number)| Ok(Drawn { motif, number, jpeg: self.jpeg(part, motif, number)? }))
            .collect()
    }

    /// Draws and encodes one image.
    fn jpeg(&self, part: usize, motif: Motif, number: u32) -> Result<Vec<u8>> {
        let position = ((motif as u64) << 32) | u64::from(number);
        let mut draw = Draw::at(self.seed, part as u64, position, Purpose::Demo);
        let mut side = || (f64::from(self.side) * draw.uniform(0.75, 1.25)).round() as u32;
        let size = Size::new(side(), side());
        let gray = draw.chance(0.05);
        let subsamp = match (gray, draw.chance(0.5)) {
            (true, _) => Subsamp::Gray,
            (false, true) => Subsamp::Sub2x2,
            (false, false) => Subsamp::None,
        };
        let quality = 85 + draw.below(11) as i32;
        let pixels = motif::draw(motif, &mut draw, size);

        let (width, height) = (size.width as usize, size.height as usize);
        let image = Image { pixels: &pixels[..], width, pitch: 3 * width, height, format: PixelFormat::RGB };
        let encode = || -> turbojpeg::Result<Vec<u8>> {
            let mut compressor = Compressor::new()?;
            compressor.set_quality(quality)?;
            compressor.set_subsamp(subsamp)?;
            compressor.compress_to_vec(image)
        };
        encode().map_err(|error| Error::config("demo_data", format!("the JPEG encoder refused an image: {error}")))
    }
}
