//! The fidelity rule: how much of a JPEG is decoded for pixels that are needed at a size. Here and nowhere else is decided which
//! M of M/8 an image is decoded at; of a packed record, the rings of coefficients that are read follow from it.
//!
//! ```text
//! region, need ── Fidelity ──► M for luma ──► chroma_scale: M of each chroma component ──► rings below M are read
//! ```
//!
//! `docs/fidelity.md` has the rule in words, with what it costs at each stage.

use crate::error::{Error, Result};
use crate::shape::Size;
use serde::{Deserialize, Serialize};

/// How near the pixels of a JPEG come to those of a full decode, where fewer are needed than it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fidelity {
    /// At M/8 of the size where [`SCALE_MARGIN`] decoded pixels are left for each pixel needed: 50 dB against `Exact` in the
    /// median of photos, and less work the smaller the band.
    #[default]
    Fast,
    /// Always all of the coefficients, at 8/8: the pixels of a full decode, at its cost.
    Exact,
}

impl Fidelity {
    /// What [`super::Decoder::scale_margin`] takes for it.
    pub fn margin(self) -> f64 {
        match self {
            Self::Fast => SCALE_MARGIN,
            Self::Exact => f64::INFINITY,
        }
    }
}

impl std::str::FromStr for Fidelity {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "fast" => Ok(Self::Fast),
            "exact" => Ok(Self::Exact),
            _ => Err(Error::config("fidelity", format!("`{s}` is not known; use fast or exact"))),
        }
    }
}

/// Decoded pixels that are kept for each pixel needed, along each axis, where a JPEG is decoded at 6/8 or 4/8 of its size.
/// Smaller scales keep more, by a factor for each.
///
/// What a reduced scale costs: PSNR in dB against the full decode, median / 5th percentile over 200 ImageNet photos, random
/// resized crops that are all decoded at that scale and rendered by bicubic and a Lanczos band (`tests/scaled_decode.rs`).
/// Bold is what the default margin gives at least.
///
/// | decoded / needed | 1/8 | 2/8 | 3/8 | 4/8 | 6/8 | libjpeg 2/8 | libjpeg 4/8 |
/// |---|---|---|---|---|---|---|---|
/// | 1.0  | 34 / 29 | 36 / 31 | 38 / 33 | 39 / 33 | 43 / 36 | 35 / 30 | 36 / 31 |
/// | 1.25 | 38 / 33 | 41 / 36 | 43 / 38 | 45 / 39 | 48 / 42 | 39 / 34 | 41 / 35 |
/// | 1.5  | 41 / 37 | 45 / 40 | 48 / 42 | **50 / 43** | **51 / 45** | 42 / 37 | 44 / 39 |
/// | 1.75 | 43 / 39 | 48 / 43 | **51 / 46** | 53 / 46 | 54 / 47 | 45 / 40 | 47 / 41 |
/// | 2.0  | 45 / 40 | **50 / 45** | 53 / 47 | 54 / 47 | 54 / 48 | **47 / 42** | **49 / 43** |
/// | 3.0  | **50 / 44** | 55 / 48 | 57 / 49 | 58 / 50 | 58 / 51 | 52 / 47 | 55 / 49 |
///
/// Choosing bilinear for bicubic resampling costs 46 / 40.
pub const SCALE_MARGIN: f64 = 1.5;

/// M of M/8 that the own decoder has, and the factor by which each raises the margin: the fewer coefficients are left of a
/// block, the more of the frequencies below the new limit go with those above it.
const MORE: [(u8, f64); 6] = [(1, 2.0), (2, 4.0 / 3.0), (3, 7.0 / 6.0), (4, 1.0), (6, 1.0), (8, 1.0)];

/// The same of libjpeg. Its 4/8 and 2/8 are close to box averages, and its other M/8 have no SIMD and cost more than they
/// save.
const MORE_BY_LIBJPEG: [(u8, f64); 4] = [(1, 4.0 / 3.0), (2, 4.0 / 3.0), (4, 4.0 / 3.0), (8, 1.0)];

/// The scale at which a region may be decoded: M of M/8, one of 8, 6, 4, 3, 2, 1.
///
/// The smallest M that leaves `margin` ([`SCALE_MARGIN`]) decoded pixels or more for each pixel needed, on both axes: at 3/8
/// 7/6 of it, at 2/8 4/3 and at 1/8 twice as many. 8 for an infinite margin. A JPEG that the own decoder does not read is
/// decoded by libjpeg at 8/8, or at 4/8, 2/8 or 1/8 where that leaves 4/3 of the margin.
pub fn scale_for(region: Size, need: Size, margin: f64) -> u8 {
    smallest(&MORE, region, need, margin)
}

/// The scale at which libjpeg may decode the region: M of M/8, one of 8, 4, 2, 1.
pub(crate) fn libjpeg_scale_for(region: Size, need: Size, margin: f64) -> u8 {
    smallest(&MORE_BY_LIBJPEG, region, need, margin)
}

fn smallest(scales: &[(u8, f64)], region: Size, need: Size, margin: f64) -> u8 {
    let is_enough = |side: u32, need: u32, scale: u8, margin: f64| {
        f64::from(side) * f64::from(scale) >= 8.0 * margin * f64::from(need.max(1))
    };
    let fits = |&&(m, more): &&(u8, f64)| {
        is_enough(region.width, need.width, m, margin * more) && is_enough(region.height, need.height, m, margin * more)
    };
    scales.iter().find(fits).map_or(8, |&(m, _)| m)
}

/// M at which a component is transformed where luma is at M = `scale`, and so the rings that are read of it; `shared` is how many
/// luma samples, across and down, there are for one of its own.
///
/// Half resolution on both axes makes it twice that of luma, up to 8: the component then has a sample for each pixel and is not
/// upsampled. On photos of 4:2:0 this is better by 1 to 2 dB at the 5th percentile than upsampling, and as fast.
pub(crate) fn chroma_scale(scale: usize, shared: (usize, usize)) -> usize {
    if shared == (2, 2) && 2 * scale <= 8 { 2 * scale } else { scale }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_keeps_the_margin_on_both_axes() {
        let scale = |region, need| scale_for(Size::square(region), Size::square(need), SCALE_MARGIN);
        assert_eq!((scale(191, 96), scale(192, 96)), (8, 6));
        assert_eq!((scale(287, 96), scale(288, 96)), (6, 4));
        assert_eq!((scale(447, 96), scale(448, 96)), (4, 3));
        assert_eq!((scale(767, 96), scale(768, 96)), (3, 2));
        assert_eq!((scale(2303, 96), scale(2304, 96)), (2, 1));
        assert_eq!(scale(100_000, 96), 1);
        assert_eq!(scale_for(Size::new(5000, 447), Size::square(224), SCALE_MARGIN), 8, "the shorter side decides");
        assert_eq!(scale(4_000_000_000, 1_000_000_000), 4, "no overflow");
        let tight = |region| scale_for(Size::square(region), Size::square(96), 1.0);
        assert_eq!([127, 128, 192, 299, 512, 1536].map(tight), [8, 6, 4, 3, 2, 1]);
        assert_eq!(scale_for(Size::square(60_000), Size::square(1), Fidelity::Exact.margin()), 8);
    }

    #[test]
    fn libjpeg_keeps_two_pixels_for_each_needed_one() {
        let scale = |region, need| libjpeg_scale_for(Size::square(region), Size::square(need), SCALE_MARGIN);
        assert_eq!([447, 895, 896, 1792, 3584, 100_000].map(|side| scale(side, 224)), [8, 8, 4, 2, 1, 1]);
        assert_eq!(libjpeg_scale_for(Size::new(5000, 447), Size::square(112), SCALE_MARGIN), 8);
        assert_eq!(libjpeg_scale_for(Size::square(60_000), Size::square(1), f64::INFINITY), 8);
        // What the own decoder is not to scale, libjpeg is not either.
        for side in 1..192 {
            assert_eq!(scale(side, 96), 8, "{side}");
        }
    }

    #[test]
    fn chroma_of_half_resolution_has_a_sample_for_each_pixel_while_it_can() {
        let of = |shared| [1, 2, 3, 4, 6, 8].map(|scale| chroma_scale(scale, shared));
        assert_eq!(of((2, 2)), [2, 4, 6, 8, 6, 8]);
        assert_eq!((of((1, 1)), of((2, 1)), of((1, 2))), ([1, 2, 3, 4, 6, 8], [1, 2, 3, 4, 6, 8], [1, 2, 3, 4, 6, 8]));
    }

    #[test]
    fn modes_have_names() {
        for (name, mode) in [("fast", Fidelity::Fast), ("exact", Fidelity::Exact)] {
            assert_eq!(name.parse::<Fidelity>().unwrap(), mode);
            assert_eq!(serde_json::to_value(mode).unwrap(), name, "files and options say the same");
        }
        assert!("best".parse::<Fidelity>().unwrap_err().to_string().contains("use fast or exact"));
    }
}
