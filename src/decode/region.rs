//! Which pixels of a JPEG to decode for a region, at which scale, and where the region then lies.

use super::markers::Frame;
use crate::shape::{Rect, Size};

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

/// What to ask of the decoder, all in stored pixels at the scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Plan {
    /// M of M/8.
    pub(crate) scale: u8,
    /// The rectangle that is decoded; `None` for the whole image.
    pub(crate) crop: Option<Rect>,
    /// Size of what is decoded.
    pub(crate) decoded: Size,
    /// The pixels that touch the region, within what is decoded.
    pub(crate) window: Rect,
    /// The region as `[x, y, width, height]` within `window`.
    pub(crate) area: [f64; 4],
}

/// The plan for `region` of an image stored at `stored`, the whole of which is decoded.
pub(crate) fn plan_whole(stored: Size, region: Rect, scale: u8) -> Plan {
    let factor = f64::from(scale) / 8.0;
    let decoded = scaled_size(stored, scale);
    let window = touched(region, scale);
    let area = [
        f64::from(region.x) * factor - f64::from(window.x),
        f64::from(region.y) * factor - f64::from(window.y),
        f64::from(region.width) * factor,
        f64::from(region.height) * factor,
    ];
    Plan { scale, crop: None, decoded, window, area }
}

/// The plan for `region` of an image stored at `stored` where just the pixels that touch it are decoded.
pub(crate) fn plan_window(stored: Size, region: Rect, scale: u8) -> Plan {
    let plan = plan_whole(stored, region, scale);
    let size = plan.window.size();
    Plan { crop: Some(plan.window), decoded: size, window: Rect::whole(size), ..plan }
}

/// The plan for `region` of a JPEG of which columns and rows can be skipped.
///
/// The decoded rectangle starts at a column of coded units, as libjpeg asks. Where chroma is subsampled it is larger than
/// the region by a pixel on both sides: libjpeg upsamples by a triangle filter that looks at the neighbouring sample, and
/// in the first and last column of the rectangle it repeats its own instead. Rows need no margin, libjpeg keeps their
/// neighbours by itself.
pub(crate) fn plan_cropped(frame: &Frame, region: Rect, scale: u8) -> Plan {
    /// With a single chroma column libjpeg changes to another upsampling, also of rows: stay well above.
    const NARROWEST: u32 = 16;
    let plan = plan_whole(frame.size, region, scale);
    let (window, width) = (plan.window, plan.decoded.width);
    let unit = frame.unit_width() * u32::from(scale) / 8;
    let [before, after, narrowest] = if frame.is_subsampled_across() { [1, 1, NARROWEST] } else { [0, 0, 1] };
    let left = window.x.saturating_sub(before).min(width.saturating_sub(narrowest)) / unit * unit;
    let right = (window.x + window.width + after).max(left + narrowest).min(width);
    let crop = Rect { x: left, y: window.y, width: right - left, height: window.height };
    if crop == Rect::whole(plan.decoded) {
        return plan;
    }
    Plan { crop: Some(crop), decoded: crop.size(), window: Rect { x: window.x - left, y: 0, ..window }, ..plan }
}

/// Size of an image that is decoded at M/8: libjpeg rounds up.
pub(crate) fn scaled_size(size: Size, scale: u8) -> Size {
    let scaled = |side: u32| (u64::from(side) * u64::from(scale)).div_ceil(8) as u32;
    Size::new(scaled(size.width), scaled(size.height))
}

/// The pixels at M/8 that share area with the region.
pub(crate) fn touched(region: Rect, scale: u8) -> Rect {
    let span = |start: u32, len: u32| {
        let (start, end) =
            (u64::from(start) * u64::from(scale), (u64::from(start) + u64::from(len)) * u64::from(scale));
        ((start / 8) as u32, (end.div_ceil(8) - start / 8) as u32)
    };
    let ((x, width), (y, height)) = (span(region.x, region.width), span(region.y, region.height));
    Rect { x, y, width, height }
}

#[cfg(test)]
mod tests {
    use super::super::markers::Process;
    use super::*;

    fn frame(width: u32, height: u32, luma: (u8, u8)) -> Frame {
        Frame {
            size: Size::new(width, height),
            process: Process::Sequential,
            components: 3,
            sampling: [luma, (1, 1), (1, 1), (0, 0)],
            single_scan: true,
        }
    }

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
        assert_eq!(scale_for(Size::square(60_000), Size::square(1), f64::INFINITY), 8);
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
    fn a_region_in_the_middle_gets_a_unit_more_where_chroma_is_subsampled() {
        let region = Rect { x: 32, y: 7, width: 32, height: 5 };
        let plan = plan_cropped(&frame(200, 100, (2, 2)), region, 8);
        assert_eq!(plan.crop, Some(Rect { x: 16, y: 7, width: 49, height: 5 }));
        assert_eq!(plan.window, Rect { x: 16, y: 0, width: 32, height: 5 });
        assert_eq!(plan.area, [0.0, 0.0, 32.0, 5.0]);
        let plan = plan_cropped(&frame(200, 100, (1, 1)), region, 8);
        assert_eq!(plan.crop, Some(Rect { x: 32, y: 7, width: 32, height: 5 }));
    }

    #[test]
    fn a_scaled_region_touches_whole_pixels_and_says_where_it_lies() {
        let plan = plan_cropped(&frame(203, 101, (1, 1)), Rect { x: 9, y: 3, width: 100, height: 98 }, 4);
        assert_eq!(plan.crop, Some(Rect { x: 4, y: 1, width: 51, height: 50 }));
        assert_eq!(plan.window, Rect { x: 0, y: 0, width: 51, height: 50 });
        assert_eq!(plan.area, [0.5, 0.5, 50.0, 49.0]);
    }

    #[test]
    fn every_window_lies_inside_what_is_decoded_and_that_inside_the_image() {
        for (width, luma, scale) in
            [(1, (1, 1), 8), (17, (2, 2), 8), (33, (4, 1), 4), (67, (2, 1), 2), (67, (1, 2), 1), (40, (2, 2), 1)]
        {
            let frame = frame(width, 45, luma);
            for x in 0..width {
                for right in x + 1..=width {
                    let region = Rect { x, y: 44, width: right - x, height: 1 };
                    let plan = plan_cropped(&frame, region, scale);
                    assert!(plan.window.is_inside(plan.decoded), "{region:?} at {scale}/8 of {width}: {plan:?}");
                    if let Some(crop) = plan.crop {
                        assert!(crop.is_inside(scaled_size(frame.size, scale)), "{region:?} at {scale}/8: {plan:?}");
                        assert_eq!(crop.x % (frame.unit_width() * u32::from(scale) / 8), 0, "{plan:?}");
                    }
                }
            }
        }
    }
}
