//! EXIF orientation: read it, and turn pixels and rectangles by it.

use crate::shape::{Rect, Size};

/// Bytes of one RGB8 pixel.
const CHANNELS: usize = 3;

/// How stored pixels must be turned for display: the EXIF tag `Orientation`, 0x0112 (Exif 2.3, 4.6.4 A \[recall\]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Orientation {
    /// 1: as stored.
    #[default]
    Normal,
    /// 2: mirror left to right.
    MirrorHorizontal,
    /// 3: turn by a half.
    Rotate180,
    /// 4: mirror top to bottom.
    MirrorVertical,
    /// 5: mirror along the diagonal from the upper left corner.
    Transpose,
    /// 6: turn clockwise by a quarter.
    Rotate90,
    /// 7: mirror along the diagonal from the upper right corner.
    Transverse,
    /// 8: turn anticlockwise by a quarter.
    Rotate270,
}

impl Orientation {
    /// The orientation of an EXIF value; `None` where the value is not one of `1..=8`.
    pub const fn from_exif(value: u16) -> Option<Self> {
        Some(match value {
            1 => Self::Normal,
            2 => Self::MirrorHorizontal,
            3 => Self::Rotate180,
            4 => Self::MirrorVertical,
            5 => Self::Transpose,
            6 => Self::Rotate90,
            7 => Self::Transverse,
            8 => Self::Rotate270,
            _ => return None,
        })
    }

    /// The EXIF value, `1..=8`.
    pub const fn to_exif(self) -> u16 {
        self as u16 + 1
    }

    /// Whether columns become rows.
    pub const fn transposes(self) -> bool {
        matches!(self, Self::Transpose | Self::Rotate90 | Self::Transverse | Self::Rotate270)
    }

    /// Size after turning an image of this stored size.
    pub const fn size(self, stored: Size) -> Size {
        if self.transposes() { stored.transposed() } else { stored }
    }

    /// Whether the stored columns, and the stored rows, run backwards in the oriented image.
    pub(crate) const fn mirrors(self) -> (bool, bool) {
        match self {
            Self::Normal | Self::Transpose => (false, false),
            Self::MirrorHorizontal | Self::Rotate270 => (true, false),
            Self::MirrorVertical | Self::Rotate90 => (false, true),
            Self::Rotate180 | Self::Transverse => (true, true),
        }
    }

    /// The rectangle of the stored image that holds the rectangle `region` of the oriented one.
    pub(crate) fn stored_rect(self, region: Rect, stored: Size) -> Rect {
        let Rect { x, y, width, height } = if self.transposes() { transposed(region) } else { region };
        let (mirror_x, mirror_y) = self.mirrors();
        Rect {
            x: if mirror_x { stored.width - x - width } else { x },
            y: if mirror_y { stored.height - y - height } else { y },
            width,
            height,
        }
    }

    /// The area `[x, y, width, height]` of a stored patch, in the coordinates of the turned patch.
    pub(crate) fn turned_area(self, [x, y, width, height]: [f64; 4], patch: Size) -> [f64; 4] {
        let (mirror_x, mirror_y) = self.mirrors();
        let x = if mirror_x { f64::from(patch.width) - x - width } else { x };
        let y = if mirror_y { f64::from(patch.height) - y - height } else { y };
        if self.transposes() { [y, x, height, width] } else { [x, y, width, height] }
    }

    /// Writes the turned pixels densely to `turned`.
    ///
    /// `stored` holds RGB8 rows, `stride` bytes apart, of an image of `size`.
    ///
    /// # Panics
    /// If a slice is shorter than its image.
    pub(crate) fn turn(self, stored: &[u8], stride: usize, size: Size, turned: &mut [u8]) {
        let (width, height) = (size.width as usize, size.height as usize);
        let row = |y: usize| &stored[y * stride..][..width * CHANNELS];
        let (mirror_x, mirror_y) = self.mirrors();
        let source_row = |y: usize| row(if mirror_y { height - 1 - y } else { y });
        if self.transposes() {
            turn_columns(source_row, mirror_x, width, height, turned);
            return;
        }
        for (y, target) in turned[..width * height * CHANNELS].chunks_exact_mut(width * CHANNELS).enumerate() {
            let source = source_row(y);
            if mirror_x {
                let pixels = source.as_chunks::<CHANNELS>().0.iter().rev();
                for (target, pixel) in target.as_chunks_mut::<CHANNELS>().0.iter_mut().zip(pixels) {
                    *target = *pixel;
                }
            } else {
                target.copy_from_slice(source);
            }
        }
    }
}

/// Makes stored rows into columns. Works on bands of rows so that the written cache lines are used whole.
fn turn_columns<'a>(
    source_row: impl Fn(usize) -> &'a [u8],
    mirror: bool,
    width: usize,
    height: usize,
    turned: &mut [u8],
) {
    /// 32 pixels are 96 bytes of each target row: one to two cache lines.
    const BAND: usize = 32;
    let turned = turned[..width * height * CHANNELS].as_chunks_mut::<CHANNELS>().0;
    for first in (0..height).step_by(BAND) {
        for x in 0..width {
            let from = if mirror { width - 1 - x } else { x };
            let last = height.min(first + BAND);
            for (y, target) in (first..last).zip(&mut turned[x * height + first..x * height + last]) {
                target.copy_from_slice(&source_row(y)[from * CHANNELS..][..CHANNELS]);
            }
        }
    }
}

const fn transposed(rect: Rect) -> Rect {
    Rect { x: rect.y, y: rect.x, width: rect.height, height: rect.width }
}

/// The orientation in a TIFF structure, as found after `Exif\0\0` in a JPEG's APP1 segment.
///
/// `None` where the structure is broken, has no tag 0x0112 in its first directory, or the tag is no SHORT in `1..=8`.
pub(crate) fn from_tiff(tiff: &[u8]) -> Option<Orientation> {
    const TAG_ORIENTATION: u16 = 0x0112;
    const TYPE_SHORT: u16 = 3;
    const ENTRY: usize = 12;
    let little = match tiff.get(..4)? {
        [b'I', b'I', 42, 0] => true,
        [b'M', b'M', 0, 42] => false,
        _ => return None,
    };
    let u16_at = |at: usize| {
        let bytes: [u8; 2] = tiff.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let u32_at = |at: usize| {
        let bytes: [u8; 4] = tiff.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    let directory = usize::try_from(u32_at(4)?).ok()?;
    let entries = usize::from(u16_at(directory)?);
    for index in 0..entries {
        // A broken directory claims up to 65535 entries; the first one past the end stops the walk.
        let entry = directory.checked_add(2 + index * ENTRY)?;
        if u16_at(entry)? == TAG_ORIENTATION {
            return (u16_at(entry + 2)? == TYPE_SHORT).then(|| u16_at(entry + 8))?.and_then(Orientation::from_exif);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Orientation; 8] = [
        Orientation::Normal,
        Orientation::MirrorHorizontal,
        Orientation::Rotate180,
        Orientation::MirrorVertical,
        Orientation::Transpose,
        Orientation::Rotate90,
        Orientation::Transverse,
        Orientation::Rotate270,
    ];

    /// ```text
    /// a b c        each letter is one pixel
    /// d e f
    /// ```
    fn turned(orientation: Orientation) -> String {
        let stored: Vec<u8> = b"abcdef".iter().flat_map(|&b| [b; CHANNELS]).collect();
        let mut out = vec![0; stored.len()];
        orientation.turn(&stored, 3 * CHANNELS, Size::new(3, 2), &mut out);
        let width = orientation.size(Size::new(3, 2)).width as usize;
        let rows: Vec<String> = out
            .chunks(width * CHANNELS)
            .map(|row| row.iter().step_by(CHANNELS).map(|&b| char::from(b)).collect())
            .collect();
        rows.join("/")
    }

    #[test]
    fn each_exif_value_turns_pixels_as_the_standard_draws_it() {
        let expected = ["abc/def", "cba/fed", "fed/cba", "def/abc", "ad/be/cf", "da/eb/fc", "fc/eb/da", "cf/be/ad"];
        for (orientation, expected) in ALL.into_iter().zip(expected) {
            assert_eq!(turned(orientation), expected, "{orientation:?}");
            assert_eq!(Orientation::from_exif(orientation.to_exif()), Some(orientation));
        }
    }

    #[test]
    fn a_turned_rectangle_holds_the_same_pixels_as_the_rectangle_of_the_turned_image() {
        let stored_size = Size::new(7, 50);
        let stored: Vec<u8> = (0..stored_size.pixels() * 3).map(|i| (i % 251) as u8).collect();
        for orientation in ALL {
            let size = orientation.size(stored_size);
            let mut whole = vec![0; stored.len()];
            orientation.turn(&stored, 21, stored_size, &mut whole);
            let region = Rect { x: 1, y: 2, width: size.width - 3, height: size.height - 4 };
            let rect = orientation.stored_rect(region, stored_size);
            let from = &stored[(rect.y as usize * 7 + rect.x as usize) * 3..];
            let mut part = vec![0; region.size().pixels() as usize * 3];
            orientation.turn(from, 21, rect.size(), &mut part);
            for y in 0..region.height as usize {
                let row = ((y + 2) * size.width as usize + 1) * 3;
                let len = region.width as usize * 3;
                assert_eq!(part[y * len..][..len], whole[row..][..len], "{orientation:?} row {y}");
            }
        }
    }

    #[test]
    fn an_area_turns_with_its_patch() {
        let patch = Size::new(10, 20);
        let area = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(Orientation::Rotate180.turned_area(area, patch), [6.0, 14.0, 3.0, 4.0]);
        assert_eq!(Orientation::Rotate90.turned_area(area, patch), [14.0, 1.0, 4.0, 3.0]);
        assert_eq!(Orientation::Transpose.turned_area(area, patch), [2.0, 1.0, 4.0, 3.0]);
    }

    #[test]
    fn broken_exif_is_read_as_no_orientation() {
        let good = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        assert_eq!(from_tiff(good), Some(Orientation::Rotate90));
        for len in 0..20 {
            assert_eq!(from_tiff(&good[..len]), None, "cut to {len} bytes");
        }
        let with = |at: usize, value: u8| {
            let mut bytes = good.to_vec();
            bytes[at] = value;
            from_tiff(&bytes)
        };
        assert_eq!(with(0, b'I'), None);
        assert_eq!(with(4, 0xff), None, "the directory lies past the end");
        assert_eq!(with(8, 0xff), Some(Orientation::Rotate90), "65281 entries are claimed, the first is right");
        assert_eq!(with(11, 0x13), None, "another tag, then the end of the directory");
        assert_eq!(with(13, 9), None, "a type that is no SHORT");
        assert_eq!(with(19, 0), None);
        assert_eq!(with(19, 9), None);
    }
}
