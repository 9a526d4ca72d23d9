//! Marks on pictures: where a crop was taken, which frequencies are kept.

use crate::ops::Rgb8;
use crate::shape::{Rect, Size};

/// Colour of crop boxes and kept squares.
pub(super) const MARK: [u8; 3] = [255, 64, 32];

/// `rect` of a picture of size `from`, in one of size `to`: edges rounded to whole pixels, at least one pixel each way.
pub(super) fn moved(rect: Rect, from: Size, to: Size) -> Rect {
    let edge = |at: u32, from: u32, to: u32| (f64::from(at) * f64::from(to) / f64::from(from)).round() as u32;
    let (x, y) = (edge(rect.x, from.width, to.width), edge(rect.y, from.height, to.height));
    let (x, y) = (x.min(to.width - 1), y.min(to.height - 1));
    let right = edge(rect.x + rect.width, from.width, to.width).max(x + 1);
    let bottom = edge(rect.y + rect.height, from.height, to.height).max(y + 1);
    Rect { x, y, width: right - x, height: bottom - y }
}

/// Draws the border of `rect` on the inside, `thick` pixels wide. What lies outside of the picture is left out.
pub(super) fn outline(picture: &mut Rgb8, rect: Rect, thick: u32, color: [u8; 3]) {
    let Size { width, height } = picture.size;
    let (right, bottom) = (rect.x + rect.width, rect.y + rect.height);
    for y in rect.y..bottom.min(height) {
        for x in rect.x..right.min(width) {
            let inner = x >= rect.x + thick && x + thick < right && y >= rect.y + thick && y + thick < bottom;
            if !inner {
                let at = 3 * (y as usize * width as usize + x as usize);
                picture.pixels[at..at + 3].copy_from_slice(&color);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_border_lies_on_the_inside_of_the_box() {
        let mut picture = Rgb8 { pixels: vec![0; 3 * 20 * 10], size: Size::new(20, 10) };
        let rect = Rect { x: 3, y: 2, width: 12, height: 7 };
        outline(&mut picture, rect, 2, MARK);
        for y in 0..10u32 {
            for x in 0..20u32 {
                let inside = (3..15).contains(&x) && (2..9).contains(&y);
                let inner = (5..13).contains(&x) && (4..7).contains(&y);
                let pixel = &picture.pixels[3 * (y * 20 + x) as usize..][..3];
                assert_eq!(pixel == MARK, inside && !inner, "{x} {y}");
            }
        }
    }

    #[test]
    fn boxes_follow_their_picture_s_size_and_never_vanish() {
        let (photo, small) = (Size::new(500, 375), Size::new(250, 188));
        let rect = Rect { x: 100, y: 50, width: 200, height: 300 };
        assert_eq!(moved(rect, photo, small), Rect { x: 50, y: 25, width: 100, height: 150 });
        assert_eq!(moved(Rect::whole(photo), photo, small), Rect::whole(small));
        let corner = Rect { x: 499, y: 374, width: 1, height: 1 };
        assert!(moved(corner, photo, Size::new(3, 3)).is_inside(Size::new(3, 3)));
    }
}
