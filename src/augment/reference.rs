//! The slow, obvious version of every operation: what Pillow 12.3 computes, bit for bit.
//!
//! Each function says one output pixel in f64, f32 or integers, whichever Pillow uses, in Pillow's order of operations.
//! [`super::Augmenter`] is tested against this, and this against hashes of Pillow's output (`tests/data/augment`).

use super::affine::{Matrix, quarter_turns, rotation};
use super::op::{Op, Sampling};
use super::point;
use crate::error::Result;
use crate::shape::Size;

/// What [`super::Augmenter::apply`] approximates: `ops` in their order on packed RGB8.
///
/// Exactly Pillow 12.3's bytes (`Image`, `ImageOps`, `ImageEnhance`, `ImageFilter`; for `Hue` torchvision's `adjust_hue`).
///
/// # Errors
/// As [`super::Augmenter::apply`].
pub fn apply(image: &[u8], size: Size, ops: &[Op], fill: [u8; 3]) -> Result<Vec<u8>> {
    super::augmenter::check(image, size, ops)?;
    let mut picture =
        Picture { width: size.width as usize, height: size.height as usize, pixels: image.as_chunks().0.to_vec() };
    for op in ops {
        picture = picture.after(*op, fill);
    }
    Ok(picture.pixels.into_flattened())
}

#[derive(Clone)]
struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<[u8; 3]>,
}

impl Picture {
    /// The pixel at a place that may lie outside: the nearest one of the border then.
    fn at(&self, x: i64, y: i64) -> [u8; 3] {
        let x = x.clamp(0, self.width as i64 - 1) as usize;
        let y = y.clamp(0, self.height as i64 - 1) as usize;
        self.pixels[y * self.width + x]
    }

    fn size(&self) -> Size {
        Size::new(self.width as u32, self.height as u32)
    }

    /// A picture of the same size whose pixels `f` says from their column and row.
    fn redrawn(&self, mut f: impl FnMut(usize, usize) -> [u8; 3]) -> Self {
        let places = (0..self.height).flat_map(|y| (0..self.width).map(move |x| (x, y)));
        Self { pixels: places.map(|(x, y)| f(x, y)).collect(), ..*self }
    }

    fn map(&self, f: impl Fn([u8; 3]) -> [u8; 3]) -> Self {
        self.redrawn(|x, y| f(self.pixels[y * self.width + x]))
    }

    fn look_up(&self, table: impl Fn(usize, u8) -> u8) -> Self {
        self.map(|pixel| std::array::from_fn(|c| table(c, pixel[c])))
    }

    fn after(&self, op: Op, fill: [u8; 3]) -> Self {
        let channels = || std::array::from_fn(|c| self.pixels.iter().map(move |pixel| pixel[c]));
        match op {
            Op::AutoContrast => {
                let tables: [_; 3] = channels().map(|channel| {
                    point::stretch_table(channel.clone().min().unwrap_or(0), channel.max().unwrap_or(0))
                });
                self.look_up(|c, v| tables[c][usize::from(v)])
            }
            Op::Equalize => {
                let tables: [_; 3] = channels().map(|channel| {
                    let mut histogram = [0u32; 256];
                    channel.for_each(|v| histogram[usize::from(v)] += 1);
                    point::equalize_table(&histogram)
                });
                self.look_up(|c, v| tables[c][usize::from(v)])
            }
            Op::Invert => self.look_up(|_, v| 255 - v),
            Op::Posterize { bits } => self.look_up(|_, v| (0..bits).fold(0, |kept, bit| kept | v & (0x80 >> bit))),
            Op::Solarize { threshold } => self.look_up(|_, v| if u16::from(v) < threshold { v } else { 255 - v }),
            Op::SolarizeAdd { add } => self.look_up(|_, v| if v < 128 { v.saturating_add(add) } else { v }),
            Op::Brightness { factor } => self.look_up(|_, v| blend(0, v, factor)),
            Op::Contrast { factor } => {
                let sum: u64 = self.pixels.iter().map(|pixel| u64::from(luma(*pixel))).sum();
                let mean = (sum as f64 / self.pixels.len() as f64 + 0.5) as u8;
                self.look_up(|_, v| blend(mean, v, factor))
            }
            Op::Color { factor } => self.map(|pixel| pixel.map(|v| blend(luma(pixel), v, factor))),
            Op::Grayscale => self.map(|pixel| [luma(pixel); 3]),
            Op::Sharpness { factor } => self.redrawn(|x, y| {
                let (pixel, smooth) = (self.at(x as i64, y as i64), self.smooth(x, y));
                std::array::from_fn(|c| blend(smooth[c], pixel[c], factor))
            }),
            Op::Hue { shift } => {
                let turn = (shift * 255.0) as i32 as u8;
                self.map(|pixel| {
                    let [h, s, v] = rgb_to_hsv(pixel);
                    hsv_to_rgb([h.wrapping_add(turn), s, v])
                })
            }
            Op::GaussianBlur { radius } => self.gaussian_blur(radius),
            Op::Rotate { degrees, sampling } => match quarter_turns(degrees, self.size()) {
                Some(quarters) => self.turned(quarters),
                None => self.transform(rotation(degrees, self.size()), sampling, fill),
            },
            Op::ShearX { factor, sampling } => self.transform(Matrix([1., factor, 0., 0., 1., 0.]), sampling, fill),
            Op::ShearY { factor, sampling } => self.transform(Matrix([1., 0., 0., factor, 1., 0.]), sampling, fill),
            Op::TranslateX { share, sampling } => {
                self.transform(Matrix([1., 0., share * self.width as f64, 0., 1., 0.]), sampling, fill)
            }
            Op::TranslateY { share, sampling } => {
                self.transform(Matrix([1., 0., 0., 0., 1., share * self.height as f64]), sampling, fill)
            }
        }
    }

    /// `[1 1 1; 1 5 1; 1 1 1] / 13`, rounded; the outermost pixels as they are.
    fn smooth(&self, x: usize, y: usize) -> [u8; 3] {
        let centre = self.at(x as i64, y as i64);
        if x == 0 || y == 0 || x + 1 == self.width || y + 1 == self.height {
            return centre;
        }
        std::array::from_fn(|c| {
            let around = (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (dx, dy)));
            let sum: u32 = around.map(|(dx, dy)| u32::from(self.at(x as i64 + dx, y as i64 + dy)[c])).sum();
            ((sum + 4 * u32::from(centre[c])) as f64 / 13.0 + 0.5) as u8
        })
    }

    /// Counter-clockwise by quarter turns; a half turn, or a square picture.
    fn turned(&self, quarters: u32) -> Self {
        let (right, bottom) = (self.width - 1, self.height - 1);
        self.redrawn(|x, y| {
            let (x, y) = match quarters {
                0 => (x, y),
                1 => (right - y, x),
                2 => (right - x, bottom - y),
                _ => (y, bottom - x),
            };
            self.pixels[y * self.width + x]
        })
    }

    fn transform(&self, matrix: Matrix, sampling: Sampling, fill: [u8; 3]) -> Self {
        match sampling {
            Sampling::Nearest => self.nearest(matrix, fill),
            Sampling::Bilinear => self.interpolate(matrix, fill, 2, |v: [f64; 2], d| v[0] + (v[1] - v[0]) * d),
            Sampling::Bicubic => self.interpolate(matrix, fill, 4, |v: [f64; 4], d| {
                let p2 = -v[0] + v[2];
                let p3 = 2.0 * (v[0] - v[1]) + v[2] - v[3];
                let p4 = -v[0] + v[1] - v[2] + v[3];
                v[1] + d * (p2 + d * (p3 + d * p4))
            }),
        }
    }

    /// `between` says the value at the share `d` of the way between the two middle ones of `N`.
    fn interpolate<const N: usize>(
        &self,
        matrix: Matrix,
        fill: [u8; 3],
        taps: i64,
        between: impl Fn([f64; N], f64) -> f64,
    ) -> Self {
        self.redrawn(|x, y| {
            let (u, v) = matrix.at(x, y);
            if !(0.0 <= u && u < self.width as f64 && 0.0 <= v && v < self.height as f64) {
                return fill;
            }
            let (u, v) = (u - 0.5, v - 0.5);
            let (left, top) = (u.floor(), v.floor());
            let (du, dv) = (u - left, v - top);
            let (left, top) = (left as i64 - (taps / 2 - 1), top as i64 - (taps / 2 - 1));
            std::array::from_fn(|c| {
                let rows: [f64; N] = std::array::from_fn(|dy| {
                    let row = std::array::from_fn(|dx| f64::from(self.at(left + dx as i64, top + dy as i64)[c]));
                    between(row, du)
                });
                between(rows, dv).clamp(0.0, 255.0) as u8
            })
        })
    }

    /// Pillow has three ways, which differ in the last bits of a coordinate: sums of f64 along both axes where the matrix
    /// does not mix them, 16 binary digits where the corners fit them, and sums of f64 along each row.
    fn nearest(&self, matrix: Matrix, fill: [u8; 3]) -> Self {
        let (width, height) = (self.width as i64, self.height as i64);
        let pixel = |u: i64, v: i64| {
            if (0..width).contains(&u) && (0..height).contains(&v) { self.at(u, v) } else { fill }
        };
        let whole = |v: f64| if v < 0.0 { -1 } else { v as i64 };
        let [a, b, c, d, e, f] = matrix.0;
        if b == 0.0 && d == 0.0 {
            let sums = |start: f64, step: f64, n: usize| -> Vec<i64> {
                std::iter::successors(Some(start), |v| Some(v + step)).take(n).map(whole).collect()
            };
            let columns = sums(c + a * 0.5, a, self.width);
            let rows = sums(f + e * 0.5, e, self.height);
            return self.redrawn(|x, y| pixel(columns[x], rows[y]));
        }
        if let Some([a, b, c, d, e, f]) = matrix.fixed(self.size()) {
            return self.redrawn(|x, y| {
                let (x, y) = (x as i64, y as i64);
                pixel((c + a * x + b * y) >> 16, (f + d * x + e * y) >> 16)
            });
        }
        let (mut u, mut v) = (0.0, 0.0);
        let (mut row_u, mut row_v) = (c + b * 0.5 + a * 0.5, f + e * 0.5 + d * 0.5);
        self.redrawn(|x, _| {
            if x == 0 {
                (u, v) = (row_u, row_v);
                (row_u, row_v) = (row_u + b, row_v + e);
            }
            let out = pixel(whole(u), whole(v));
            (u, v) = (u + a, v + d);
            out
        })
    }

    fn gaussian_blur(&self, radius: f32) -> Self {
        let Some(boxes) = super::blur::Boxes::of(radius) else { return self.clone() };
        let mut picture = self.clone();
        for (dx, dy) in [(1, 0), (1, 0), (1, 0), (0, 1), (0, 1), (0, 1)] {
            picture = picture.redrawn(|x, y| {
                std::array::from_fn(|c| {
                    let value = |k: i64| u32::from(picture.at(x as i64 + k * dx, y as i64 + k * dy)[c]);
                    let reach = boxes.reach as i64;
                    let sum = (-reach..=reach).map(value).fold(0u32, u32::wrapping_add);
                    let far = value(-reach - 1) + value(reach + 1);
                    boxes.byte(sum, far)
                })
            });
        }
        picture
    }
}

/// `(19595 R + 38470 G + 7471 B + 32768) >> 16`.
fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((19595 * u32::from(r) + 38470 * u32::from(g) + 7471 * u32::from(b) + 32768) >> 16) as u8
}

/// `from + factor * (to - from)` in f32, clamped and truncated.
fn blend(from: u8, to: u8, factor: f32) -> u8 {
    let value = f32::from(from) + factor * (f32::from(to) - f32::from(from));
    value.clamp(0.0, 255.0) as u8
}

/// Pillow's HSV in bytes: a full turn of the hue is 255.
pub(super) fn rgb_to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (greatest, least) = (r.max(g).max(b), r.min(g).min(b));
    if greatest == least {
        return [0, 0, greatest];
    }
    let range = f32::from(greatest - least);
    let saturation = range / f32::from(greatest);
    let [rc, gc, bc] = [r, g, b].map(|v| f32::from(greatest - v) / range);
    let hue = if r == greatest {
        bc - gc
    } else if g == greatest {
        (2.0 + f64::from(rc) - f64::from(bc)) as f32
    } else {
        (4.0 + f64::from(gc) - f64::from(rc)) as f32
    };
    let hue = ((f64::from(hue) / 6.0 + 1.0) % 1.0) as f32;
    [(f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, greatest]
}

/// The way back.
pub(super) fn hsv_to_rgb([h, s, v]: [u8; 3]) -> [u8; 3] {
    if s == 0 {
        return [v; 3];
    }
    let sixths = f64::from(h) * 6.0 / 255.0;
    let part = (sixths - sixths.floor()) as f32;
    let s = (f64::from(s) / 255.0) as f32;
    let value = f64::from(v);
    let p = (value * (1.0 - f64::from(s))).round() as u8;
    let q = (value * (1.0 - f64::from(s * part))).round() as u8;
    let t = (value * (1.0 - f64::from(s) * (1.0 - f64::from(part)))).round() as u8;
    match sixths.floor() as u8 % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}

#[cfg(test)]
pub(super) mod tests;
