//! What of an image becomes pixels: its window at a scale, and the blocks of each component that this takes.

use crate::decode::{self, Header, Placed, jpeg_colour, libjpeg_scale_for, plan_window, scale_for};
use crate::packed::{Colour, Image, TILE_HEIGHT, TILE_WIDTH};
use crate::shape::{Rect, Size};
use std::ops::Range;

/// What is asked of an image, as of [`decode::Decoder::decode_region_from`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Wanted {
    /// In the upright image.
    pub(crate) region: Rect,
    /// What it will be resampled to.
    pub(crate) need: Size,
    /// Decoded pixels for each that is needed: [`decode::Decoder::scale_margin`].
    pub(crate) margin: f64,
}

/// A window of an image that is decoded from coefficients.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Picture {
    /// In the stored image at the scale.
    pub(crate) window: Rect,
    /// M of M/8.
    pub(crate) scale: u8,
    /// 1: stored columns run backwards, 2: stored rows do, 4: columns become rows.
    pub(crate) turn: u32,
    pub(crate) colour: Colour,
    /// Of the upright window.
    pub(crate) size: Size,
    /// The region in the upright window: x, y, width, height.
    pub(crate) area: [f64; 4],
    /// As many as the colour has components.
    pub(crate) parts: Vec<Part>,
}

/// One component of a [`Picture`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Part {
    /// Those that are needed, as columns and rows of the component's blocks; never more than it has.
    pub(crate) blocks: Rect,
    /// Of all of the component.
    pub(crate) all: Size,
    /// Column and row of the block that the plane begins with.
    pub(crate) origin: (u32, u32),
    /// Columns and rows of tiles in the plane.
    pub(crate) tiles: Size,
    /// Samples of a block along an axis.
    pub(crate) side: u32,
    pub(crate) placed: Placed,
}

impl Part {
    /// Words of a row of the plane.
    pub(crate) fn stride(&self) -> u32 {
        2 * self.side * self.tiles.width
    }

    /// Words of the plane.
    pub(crate) fn words(&self) -> u64 {
        u64::from(8 * self.side * self.side) * self.tiles.pixels()
    }

    /// Words of the needed blocks' coefficients.
    pub(crate) fn coefficient_words(&self) -> u64 {
        32 * self.blocks.size().pixels()
    }

    /// The largest sum of magnitudes that the CPU transforms.
    pub(crate) fn largest_sum(&self) -> u32 {
        if self.side == 8 { decode::LARGEST_SUM_AT_8 } else { decode::LARGEST_SUM }
    }

    /// Up to which it need not look at the values between.
    pub(crate) fn safe_sum(&self) -> u32 {
        if self.side == 8 { decode::SAFE_SUM_AT_8 } else { decode::SAFE_SUM }
    }
}

/// The window of a picture, and how its components lie: before it is known which blocks are at hand.
struct View {
    picture: Picture,
    components: Vec<(usize, Placed)>,
    factors: Vec<(usize, usize)>,
    image: Size,
}

impl View {
    /// `None` where the header has no frame, or one that is not decoded from coefficients here.
    fn new(header: &Header, colour: Colour, wanted: &Wanted, scale: u8) -> Option<Self> {
        let frame = header.frame.as_ref().filter(|frame| usize::from(frame.components) == colour.components())?;
        let sampling = &frame.sampling[..colour.components()];
        let components = decode::placed(header.stored, sampling, scale)?;
        let stored = header.orientation.stored_rect(wanted.region, header.stored);
        let plan = plan_window(header.stored, stored, scale);
        let window = plan.crop.unwrap_or(stored);
        let (mirror_x, mirror_y) = header.orientation.mirrors();
        let turn = u32::from(mirror_x) | u32::from(mirror_y) << 1 | u32::from(header.orientation.transposes()) << 2;
        let picture = Picture {
            window,
            scale,
            turn,
            colour,
            size: header.orientation.size(window.size()),
            area: header.orientation.turned_area(plan.area, window.size()),
            parts: Vec::new(),
        };
        Some(Self { picture, components, factors: decode::factors(sampling), image: header.stored })
    }

    /// With the blocks of the coded units that the window touches, which is what an entropy decoder has at hand.
    fn of_units(mut self) -> Picture {
        let Picture { window, scale, .. } = self.picture;
        let largest = self.factors.iter().fold((1, 1), |most: (usize, usize), f| (most.0.max(f.0), most.1.max(f.1)));
        // Where samples are blended, a pixel more on both sides counts.
        let beside = self.components.iter().any(|(_, placed)| placed.is_smooth && placed.ratio.0 == 2);
        let below = self.components.iter().any(|(_, placed)| placed.is_smooth && placed.ratio.1 == 2);
        let units = |start: u32, len: u32, margin: bool, largest: usize| {
            let (start, end, margin) = (start as usize, (start + len) as usize, usize::from(margin));
            let unit = usize::from(scale) * largest;
            start.saturating_sub(margin) / unit..(end + margin).div_ceil(unit)
        };
        let columns = units(window.x, window.width, beside, largest.0);
        let rows = units(window.y, window.height, below, largest.1);
        for ((side, placed), factors) in self.components.iter().zip(&self.factors) {
            let all = Size::new(
                (self.image.width as usize * factors.0).div_ceil(8 * largest.0) as u32,
                (self.image.height as usize * factors.1).div_ceil(8 * largest.1) as u32,
            );
            let span = |units: &Range<usize>, factor: usize, all: u32| {
                (units.start * factor) as u32..((units.end * factor) as u32).min(all)
            };
            let (x, y) = (span(&columns, factors.0, all.width), span(&rows, factors.1, all.height));
            let blocks = Rect { x: x.start, y: y.start, width: x.end - x.start, height: y.end - y.start };
            let tiles = Size::new(blocks.width.div_ceil(TILE_WIDTH), blocks.height.div_ceil(TILE_HEIGHT));
            let (origin, side, placed) = ((blocks.x, blocks.y), *side as u32, *placed);
            self.picture.parts.push(Part { blocks, all, origin, tiles, side, placed });
        }
        self.picture
    }
}

impl Picture {
    /// What the own decoder decodes of a sequential JPEG; `None` where libjpeg does, as far as the header tells.
    ///
    /// # Panics
    /// If the region is empty or not inside of the image, as for all that take one.
    pub(crate) fn of_jpeg(bytes: &[u8], header: &Header, wanted: &Wanted) -> Option<Self> {
        let colour = jpeg_colour(bytes, header.frame.as_ref()?)?;
        let scale = scale_for(wanted.region.size(), wanted.need, wanted.margin);
        Some(View::new(header, colour, wanted, scale)?.of_units())
    }

    /// What libjpeg decodes of any other JPEG, where it decodes it at full scale. At a reduced one it has transforms of its own:
    /// `None`.
    pub(crate) fn of_other_jpeg(header: &Header, colour: Colour, wanted: &Wanted) -> Option<Self> {
        let scale = libjpeg_scale_for(wanted.region.size(), wanted.need, wanted.margin);
        (scale == 8).then(|| View::new(header, colour, wanted, scale))?.map(View::of_units)
    }

    /// What is decoded of a packed record: whole tiles of blocks.
    pub(crate) fn of_record(header: &Header, image: &Image, wanted: &Wanted) -> Option<Self> {
        let scale = scale_for(wanted.region.size(), wanted.need, wanted.margin);
        let View { mut picture, components, .. } = View::new(header, image.colour, wanted, scale)?;
        let window = picture.window;
        for ((side, placed), plane) in components.into_iter().zip(&image.components) {
            let span = |start: u32, len: u32, (ratio, samples): (usize, usize), blocks: u32| {
                let (start, end) = (start as usize / ratio, (start as usize + len as usize).div_ceil(ratio));
                let margin = usize::from(placed.is_smooth && ratio == 2);
                let (start, end) = (start.saturating_sub(margin), (end + margin).min(samples));
                (start / side) as u32..(end.div_ceil(side) as u32).min(blocks)
            };
            let (ratio, size) = (placed.ratio, placed.size);
            let x = span(window.x, window.width, (ratio.0, size.0), plane.blocks.width);
            let y = span(window.y, window.height, (ratio.1, size.1), plane.blocks.height);
            let blocks = Rect { x: x.start, y: y.start, width: x.end - x.start, height: y.end - y.start };
            let origin = (x.start / TILE_WIDTH * TILE_WIDTH, y.start / TILE_HEIGHT * TILE_HEIGHT);
            let tiles = Size::new((x.end - origin.0).div_ceil(TILE_WIDTH), (y.end - origin.1).div_ceil(TILE_HEIGHT));
            picture.parts.push(Part { blocks, all: plane.blocks, origin, tiles, side: side as u32, placed });
        }
        Some(picture)
    }
}
