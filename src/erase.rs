//! Random erasing: which rectangles of an image are filled, and with what.
//!
//! ```text
//! Erasing ─(draw: seed, epoch, position; H, W)─► Erasures ─► erase: planes (3, H, W), normalised, in place
//! ```
//!
//! The rules are `randaugment.md` §3 step 7 and timm 0.4.12's `data/random_erasing.py`; the paper is Zhong et al., *Random
//! Erasing Data Augmentation*, 2020. The pixels are filled in `ops`, from numbers that are drawn here.

use crate::error::{Error, Result};
use crate::rng::Draw;
use crate::shape::{BandCrop, Rect, Size};
use serde::{Deserialize, Serialize};

/// What a box is filled with, in normalised units: mean 0, standard deviation 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EraseMode {
    /// Independent normal noise in each pixel and channel. timm's `pixel`, and the recipes'.
    #[default]
    Pixel,
    /// One normally drawn colour for each box. timm's `rand`.
    Color,
    /// 0: the mean colour. timm's `const`.
    Const,
}

/// When boxes are filled, in a pipeline with a band crop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EraseAt {
    /// Where the released code does it: before a Fourier crop, at the base size (ICCV code); after a Lanczos resize, on the
    /// band (++ code). `low-frequency-crop.md` §0. Noise comes out of the Fourier crop with a standard deviation of B/N
    /// (§3).
    #[default]
    Published,
    /// After the band crop, of either kind.
    Band,
}

impl EraseAt {
    /// Whether boxes are drawn and filled at the base size, before this band crop.
    pub fn is_before(self, crop: BandCrop) -> bool {
        self == Self::Published && matches!(crop, BandCrop::Fourier { .. })
    }
}

/// Settings of random erasing. The default is that of the vision transformers' recipes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Erasing {
    /// Chance that an image has boxes, `0..=1`.
    pub probability: f64,
    /// Share of the image's area that the boxes cover together: low and high, in `(0, 1]`, drawn uniformly.
    pub area: [f64; 2],
    /// Height over width of a box: low and high, drawn log-uniformly.
    pub ratio: [f64; 2],
    /// What a box is filled with.
    pub mode: EraseMode,
    /// Most boxes of an image, `1..=4`. Their number is drawn uniformly from 1 to this, and each gets its part of the area.
    pub count: u32,
    /// When boxes are filled, in a pipeline with a band crop.
    pub at: EraseAt,
}

impl Default for Erasing {
    fn default() -> Self {
        Self {
            probability: 0.25,
            area: [0.02, 1.0 / 3.0],
            ratio: [0.3, 1.0 / 0.3],
            mode: EraseMode::Pixel,
            count: 1,
            at: EraseAt::Published,
        }
    }
}

impl Erasing {
    /// Refuses values that no box could be drawn with.
    ///
    /// # Errors
    /// [`Error::Config`] names the field, what it holds and what is allowed.
    pub fn check(&self) -> Result<()> {
        let refuse = |field: &str, reason| Err(Error::config(format!("recipe.erasing.{field}"), reason));
        if !(0.0..=1.0).contains(&self.probability) {
            return refuse("probability", format!("{}: expected a chance in 0..=1", self.probability));
        }
        let [low, high] = self.area;
        if !(low > 0.0 && low <= high && high <= 1.0) {
            return refuse("area", format!("{:?}: expected 0 < low <= high <= 1", self.area));
        }
        let [low, high] = self.ratio;
        if !(low > 0.0 && high.is_finite() && low <= high) {
            return refuse("ratio", format!("{:?}: expected 0 < low <= high", self.ratio));
        }
        if !(1..=Erasures::CAPACITY as u32).contains(&self.count) {
            return refuse("count", format!("{}: expected 1 to {} boxes", self.count, Erasures::CAPACITY));
        }
        Ok(())
    }

    /// The boxes of one image of this size.
    ///
    /// Ten tries for each box of a size that is rounded to whole pixels (halves to even) and must be smaller than the image
    /// in both axes; then there is none. A box that is rounded to nothing is none either, without another try.
    pub(crate) fn draw(&self, draw: &mut Draw, side: Size) -> Erasures {
        const TRIES: usize = 10;
        let mut erasures = Erasures::NONE;
        if !draw.chance(self.probability) {
            return erasures;
        }
        let count = if self.count > 1 { 1 + draw.below(u64::from(self.count)) } else { 1 };
        let [low, high] = self.ratio.map(f64::ln);
        for _ in 0..count {
            let fits = (0..TRIES).find_map(|_| {
                let area = draw.uniform(self.area[0], self.area[1]) * side.pixels() as f64 / count as f64;
                let ratio = draw.uniform(low, high).exp();
                let height = (area * ratio).sqrt().round_ties_even() as u32;
                let width = (area / ratio).sqrt().round_ties_even() as u32;
                (width < side.width && height < side.height).then_some(Size { width, height })
            });
            let Some(Size { width, height }) = fits.filter(|size| size.pixels() > 0) else { continue };
            let y = draw.below(u64::from(side.height - height) + 1) as u32;
            let x = draw.below(u64::from(side.width - width) + 1) as u32;
            let fill = match self.mode {
                EraseMode::Pixel => Fill::Noise { key: draw.bits() },
                EraseMode::Color => Fill::Color(std::array::from_fn(|_| draw.normal() as f32)),
                EraseMode::Const => Fill::Color([0.0; 3]),
            };
            erasures.push(Erasure { rect: Rect { x, y, width, height }, fill }).expect("`count` is checked");
        }
        erasures
    }
}

/// What one box is filled with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fill {
    /// Independent standard normal values, those of this key.
    Noise {
        /// Any number. Another key gives other noise.
        key: u64,
    },
    /// Red, green, blue in normalised units.
    Color([f32; 3]),
}

/// A box of an image and what it is filled with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Erasure {
    /// The pixels.
    pub rect: Rect,
    /// What becomes of them.
    pub fill: Fill,
}

/// A list of at most [`Erasures::CAPACITY`] boxes that lives in place, so that a plan takes no memory.
#[derive(Debug, Clone, Copy)]
pub struct Erasures {
    boxes: [Erasure; Erasures::CAPACITY],
    len: u8,
}

impl Erasures {
    /// Most boxes of one image.
    pub const CAPACITY: usize = 4;

    /// No box.
    pub const NONE: Self = Self {
        boxes: [Erasure { rect: Rect { x: 0, y: 0, width: 0, height: 0 }, fill: Fill::Color([0.0; 3]) };
            Self::CAPACITY],
        len: 0,
    };

    /// Adds a box behind the others. Where boxes overlap, the last one is seen.
    ///
    /// # Errors
    /// [`Error::Config`] if the list is full.
    pub fn push(&mut self, erasure: Erasure) -> Result<()> {
        let Some(place) = self.boxes.get_mut(usize::from(self.len)) else {
            return Err(Error::config("erase", format!("more than {} boxes for one image", Self::CAPACITY)));
        };
        *place = erasure;
        self.len += 1;
        Ok(())
    }

    /// The boxes in their order.
    pub fn as_slice(&self) -> &[Erasure] {
        &self.boxes[..usize::from(self.len)]
    }
}

impl Default for Erasures {
    fn default() -> Self {
        Self::NONE
    }
}

impl std::ops::Deref for Erasures {
    type Target = [Erasure];

    fn deref(&self) -> &[Erasure] {
        self.as_slice()
    }
}

impl PartialEq for Erasures {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl TryFrom<&[Erasure]> for Erasures {
    type Error = Error;

    fn try_from(boxes: &[Erasure]) -> Result<Self> {
        let mut list = Self::NONE;
        boxes.iter().try_for_each(|erasure| list.push(*erasure))?;
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    fn drawn(erasing: &Erasing, position: u64, size: Size) -> Erasures {
        erasing.draw(&mut Draw::at(4, 0, position, Purpose::Erase), size)
    }

    /// Chi-square of shares in `0..1` against the uniform, over 20 places: 19 degrees of freedom, 43.8 is the 0.1 % point.
    fn chi_square(shares: &[f64]) -> f64 {
        let mut bins = [0f64; 20];
        shares.iter().for_each(|share| bins[((share * 20.0) as usize).min(19)] += 1.0);
        let expected = shares.len() as f64 / 20.0;
        bins.iter().map(|b| (b - expected).powi(2) / expected).sum()
    }

    #[test]
    fn as_many_images_have_a_box_as_the_probability_says() {
        for probability in [0.25, 0.0, 1.0, 0.7] {
            let erasing = Erasing { probability, ..Erasing::default() };
            let hit = (0..20_000).filter(|&p| !drawn(&erasing, p, Size::square(224)).is_empty()).count() as f64 / 2e4;
            // Standard error 0.0033.
            assert!((hit - probability).abs() < 0.012, "{hit}, not {probability}");
        }
    }

    #[test]
    fn areas_are_uniform_and_aspects_log_uniform_as_far_as_boxes_always_fit() {
        // Up to 0.3 of the area the longest box is as long as the image, so none is refused; large, for rounding not to matter.
        let size = Size::square(4000);
        let erasing = Erasing { probability: 1.0, ..Erasing::default() };
        let boxes: Vec<Rect> = (0..40_000).map(|p| drawn(&erasing, p, size)[0].rect).collect();
        let area = |r: &Rect| r.size().pixels() as f64 / size.pixels() as f64;
        assert!(boxes.iter().all(|r| (0.0199..=0.3335).contains(&area(r))));
        let small: Vec<Rect> = boxes.iter().copied().filter(|r| area(r) < 0.299).collect();
        let areas: Vec<f64> = small.iter().map(|r| (area(r) - 0.02) / (0.299 - 0.02)).collect();
        assert!(chi_square(&areas) < 43.8, "areas: {}", chi_square(&areas));
        let limit = (1.0f64 / 0.3).ln();
        let aspects: Vec<f64> =
            small.iter().map(|r| ((f64::from(r.height) / f64::from(r.width)).ln() / limit + 1.0) / 2.0).collect();
        assert!(aspects.iter().all(|a| (-0.001..1.001).contains(a)));
        assert!(chi_square(&aspects) < 43.8, "aspects: {}", chi_square(&aspects));
        // Places are uniform over what a box leaves free.
        let places = |start: fn(&Rect) -> u32, length: fn(&Rect) -> u32| -> Vec<f64> {
            small.iter().map(|r| f64::from(start(r)) / f64::from(4001 - length(r))).collect()
        };
        assert!(chi_square(&places(|r| r.x, |r| r.width)) < 43.8);
        assert!(chi_square(&places(|r| r.y, |r| r.height)) < 43.8);
        // More than 0.3: some are refused and drawn again.
        let large = boxes.iter().filter(|r| area(r) > 0.3).count() as f64 / boxes.len() as f64;
        assert!((0.09..0.107).contains(&large), "{large}");
    }

    #[test]
    fn boxes_are_smaller_than_the_image_in_both_axes() {
        let erasing =
            Erasing { probability: 1.0, area: [0.5, 1.0], ratio: [0.3, 1.0 / 0.3], count: 2, ..Erasing::default() };
        for size in [Size::square(224), Size::new(3, 50), Size::new(7, 5), Size::square(2), Size::square(1)] {
            let mut longest = Size::new(0, 0);
            for position in 0..2000 {
                for erasure in drawn(&erasing, position, size).iter() {
                    let rect = erasure.rect;
                    assert!(rect.is_inside(size), "{rect:?} in {size:?}");
                    assert!(rect.width < size.width && rect.height < size.height, "{rect:?} in {size:?}");
                    longest = Size::new(longest.width.max(rect.width), longest.height.max(rect.height));
                }
            }
            if size.height < 50 || size.width == size.height {
                assert_eq!(longest, Size::new(size.width - 1, size.height - 1), "what may be drawn is drawn");
            }
        }
        // A box that cannot be drawn is none: all of the area, square.
        let whole = Erasing { probability: 1.0, area: [1.0, 1.0], ratio: [1.0, 1.0], ..Erasing::default() };
        assert!(drawn(&whole, 0, Size::square(32)).is_empty());
    }

    #[test]
    fn several_boxes_share_the_area_and_their_number_is_uniform() {
        let erasing = Erasing { probability: 1.0, area: [0.3, 0.3], count: 4, ..Erasing::default() };
        let mut seen = [0f64; 4];
        for position in 0..8000 {
            let erasures = drawn(&erasing, position, Size::square(1000));
            seen[erasures.len() - 1] += 1.0;
            let each = 0.3e6 / erasures.len() as f64;
            for erasure in erasures.iter() {
                assert!((erasure.rect.size().pixels() as f64 / each - 1.0).abs() < 0.01, "{erasures:?}");
            }
        }
        // 3 degrees of freedom: 16.3 is the 0.1 % point.
        let chi: f64 = seen.iter().map(|n| (n - 2000.0).powi(2) / 2000.0).sum();
        assert!(chi < 16.3, "{seen:?}");
    }

    #[test]
    fn fills_are_what_the_mode_says_and_differ_between_boxes() {
        let fills = |mode| -> Vec<Fill> {
            let erasing = Erasing { probability: 1.0, mode, ..Erasing::default() };
            (0..4000).map(|p| drawn(&erasing, p, Size::square(224))[0].fill).collect()
        };
        assert!(fills(EraseMode::Const).iter().all(|fill| *fill == Fill::Color([0.0; 3])));
        let mut keys: Vec<u64> = fills(EraseMode::Pixel)
            .iter()
            .map(|fill| if let Fill::Noise { key } = fill { *key } else { panic!("{fill:?}") })
            .collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 4000);
        let colors: Vec<f64> = fills(EraseMode::Color)
            .iter()
            .flat_map(|fill| if let Fill::Color(rgb) = fill { rgb.map(f64::from) } else { panic!("{fill:?}") })
            .collect();
        let mean = colors.iter().sum::<f64>() / colors.len() as f64;
        let variance = colors.iter().map(|v| v * v).sum::<f64>() / colors.len() as f64;
        // Standard errors 0.009 and 0.013.
        assert!(mean.abs() < 0.035 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
        let erasing = Erasing { probability: 1.0, count: 4, ..Erasing::default() };
        assert_eq!(drawn(&erasing, 3, Size::square(96)), drawn(&erasing, 3, Size::square(96)));
        assert_ne!(drawn(&erasing, 3, Size::square(96)), drawn(&erasing, 4, Size::square(96)));
    }

    #[test]
    fn settings_that_no_box_can_be_drawn_with_are_refused_with_their_name() {
        assert!(Erasing::default().check().is_ok());
        let bad = [
            ("probability", Erasing { probability: -0.1, ..Erasing::default() }),
            ("area", Erasing { area: [0.0, 0.5], ..Erasing::default() }),
            ("area", Erasing { area: [0.5, f64::NAN], ..Erasing::default() }),
            ("ratio", Erasing { ratio: [2.0, 1.0], ..Erasing::default() }),
            ("count", Erasing { count: 5, ..Erasing::default() }),
            ("count", Erasing { count: 0, ..Erasing::default() }),
        ];
        for (field, erasing) in bad {
            let text = erasing.check().unwrap_err().to_string();
            assert!(text.contains(&format!("recipe.erasing.{field}:")), "{text}");
        }
        let erasing: Erasing = toml::from_str("mode = \"color\"\nat = \"band\"").unwrap();
        assert_eq!(erasing, Erasing { mode: EraseMode::Color, at: EraseAt::Band, ..Erasing::default() });
        assert!(toml::from_str::<Erasing>("min_area = 0.2").is_err());
    }

    #[test]
    fn the_published_place_is_before_a_fourier_crop_and_after_a_lanczos_resize() {
        assert!(EraseAt::Published.is_before(BandCrop::FOURIER));
        assert!(!EraseAt::Published.is_before(BandCrop::Lanczos));
        assert!(!EraseAt::Band.is_before(BandCrop::FOURIER));
    }

    #[test]
    fn a_list_holds_four_boxes_and_no_fifth() {
        let erasure = Erasure { rect: Rect::whole(Size::square(2)), fill: Fill::Noise { key: 1 } };
        let mut list = Erasures::try_from(&[erasure; 4][..]).unwrap();
        assert_eq!((list.len(), list[3]), (4, erasure));
        assert!(list.push(erasure).unwrap_err().to_string().contains("4 boxes"));
        assert_eq!(Erasures::default(), Erasures::NONE);
    }
}
