//! Which pixels of a JPEG to decode for a region at a scale, and where the region then lies.

use super::markers::Frame;
use crate::shape::{Rect, Size};

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
