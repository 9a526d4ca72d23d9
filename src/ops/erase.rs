//! Random erasing on pixels: boxes of `(3, H, W)` f32 filled in place.
//!
//! # The noise
//! A value is a pure function of (key, channel, row and column in the box), so that a box can be filled in any order and by any
//! device. It takes 32-bit integers, modulo 2^32, and f32 only. First, for the box, the key's halves are spread over all
//! bits, so that neighbouring keys have nothing in common:
//!
//! ```text
//! k = hash(low half of the key ^ hash(high half))
//! l = hash(high half + k)
//! ```
//!
//! Rows of a box are filled in pairs: with `h` rows of `w` columns and `half = ceil(h / 2)`, row `r < half` and row `r + half` (if
//! it is there) of channel `c` share in column `x` the numbers of
//!
//! ```text
//! i = (c * half + r) * w + x
//! a = hash(hash(i + k) + l)                      radius
//! b = hash(a ^ k)                                angle
//! u = ((a >> 8) + 1) / 2^24                      in (0, 1], exact
//! t = (b as signed >> 8) / 2^23                  in [-1, 1), exact
//! radius = sqrt(-2 ln u)
//! (p, q) = (radius cos(t pi/4), radius sin(t pi/4))
//! if b & 1: exchange p and q
//! if b & 2: negate p and q
//! row r gets p, row r + half gets q
//! ```
//!
//! which is Box and Muller's transform (1958): `t` is an angle in the right quarter of the circle, and the two low bits of `b`,
//! which `t` does not see, choose among the four quarters. `hash` is the 32-bit finaliser of MurmurHash3. The largest value is
//! sqrt(48 ln 2) = 5.77; beyond it lie 8e-9 of a true normal.
//!
//! `ln`, `sin` and `cos` are polynomials, in [`ln`] and [`wave`]; a value is within 2e-6 of the formulas' (tested). Each
//! operation is rounded by itself at every level, so all processors fill alike. A device that fuses multiply and add differs
//! in the last digits.

use super::simd::{Kernel, Level, Vector};
use crate::erase::{Erasures, Fill};
use crate::error::{Error, Result};
use crate::shape::{Rect, Size};

impl Erasures {
    /// Fills the boxes in `planes`, `(3, H, W)` f32 in normalised units, in place and in order.
    ///
    /// # Errors
    /// [`Error::Config`] if `planes` is not `3 * H * W` long or a box is empty or leaves the image; nothing is filled then.
    pub fn erase(&self, planes: &mut [f32], size: Size) -> Result<()> {
        let (width, height) = (size.width, size.height);
        if planes.len() as u64 != 3 * size.pixels() {
            return Err(Error::config("planes", format!("{} values: expected 3x{height}x{width}", planes.len())));
        }
        if let Some(erasure) = self.iter().find(|erasure| !erasure.rect.is_inside(size)) {
            let reason = format!("{:?} is empty or does not lie in {width}x{height}", erasure.rect);
            return Err(Error::config("erase", reason));
        }
        erase(Level::detect(), self, planes, size);
        Ok(())
    }
}

/// Fills the boxes, which lie in the image, in `planes`: `(3, H, W)`, normalised.
pub(crate) fn erase(level: Level, erasures: &Erasures, planes: &mut [f32], size: Size) {
    let width = size.width as usize;
    for erasure in erasures.iter() {
        let Rect { x, y, width: columns, height: rows } = erasure.rect;
        let (x, columns) = (x as usize, columns as usize);
        for (channel, plane) in planes.chunks_exact_mut(width * size.height as usize).enumerate() {
            let rect = &mut plane[y as usize * width..][..rows as usize * width];
            match erasure.fill {
                Fill::Color(rgb) => {
                    rect.chunks_exact_mut(width).for_each(|row| row[x..x + columns].fill(rgb[channel]));
                }
                Fill::Noise { key } => {
                    let half = rows.div_ceil(2);
                    let first = (channel as u32).wrapping_mul(half).wrapping_mul(columns as u32);
                    let (upper, lower) = rect.split_at_mut(half as usize * width);
                    level.run(Noise { key: spread(key), first, width, x, columns, upper, lower });
                }
            }
        }
    }
}

/// The noise of one box and channel.
struct Noise<'a> {
    /// See [`spread`].
    key: [u32; 2],
    /// Index of the first pair.
    first: u32,
    /// Values of a row of the image.
    width: usize,
    /// First column of the box.
    x: usize,
    /// Columns of the box.
    columns: usize,
    /// Rows of the image that hold the box's first half, and its second, which may be one shorter.
    upper: &'a mut [f32],
    lower: &'a mut [f32],
}

/// Pairs that are computed together. A row's rest is computed as a whole run too and cut: one pair at a time it would cost
/// more than the run.
const RUN: usize = 16;

impl Kernel for Noise<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { key, first, width, x, columns, upper, lower } = self;
        let mut lower = lower.chunks_exact_mut(width);
        for (row, upper) in upper.chunks_exact_mut(width).enumerate() {
            let upper = &mut upper[x..x + columns];
            let mut lower = lower.next().map(|lower| &mut lower[x..x + columns]);
            for start in (0..columns).step_by(RUN) {
                let index = first.wrapping_add((row * columns + start) as u32);
                let (p, q) = pairs(key, index);
                let end = columns.min(start + RUN);
                put(&mut upper[start..end], &p);
                if let Some(lower) = &mut lower {
                    put(&mut lower[start..end], &q);
                }
            }
        }
    }
}

/// Writes the first values of a run. A whole run is the common case, and a copy of known length is two stores.
#[inline(always)]
fn put(to: &mut [f32], run: &[f32; RUN]) {
    match to.as_chunks_mut::<RUN>().0 {
        [whole] => *whole = *run,
        _ => to.copy_from_slice(&run[..to.len()]),
    }
}

/// [`RUN`] pairs from this index on.
#[inline(always)]
fn pairs(key: [u32; 2], index: u32) -> ([f32; RUN], [f32; RUN]) {
    let (mut p, mut q) = ([0.0; RUN], [0.0; RUN]);
    for lane in 0..RUN {
        [p[lane], q[lane]] = pair(key, index.wrapping_add(lane as u32));
    }
    (p, q)
}

/// The two words of a key that [`pair`] takes: a bijection.
pub(crate) fn spread(key: u64) -> [u32; 2] {
    let (low, high) = (key as u32, (key >> 32) as u32);
    let k = hash(low ^ hash(high));
    [k, hash(high.wrapping_add(k))]
}

/// Two independent standard normal values.
#[inline(always)]
fn pair([k, l]: [u32; 2], index: u32) -> [f32; 2] {
    let a = hash(hash(index.wrapping_add(k)).wrapping_add(l));
    let b = hash(a ^ k);
    // Both conversions are exact: 2^24 and less.
    let u = ((a >> 8) + 1) as i32 as f32 * (1.0 / (1 << 24) as f32);
    let t = (b as i32 >> 8) as f32 * (1.0 / (1 << 23) as f32);
    let radius = (-2.0 * ln(u)).sqrt();
    let [cos, sin] = wave(t);
    let (p, q) = if b & 1 == 0 { (cos, sin) } else { (sin, cos) };
    let sign = (b & 2) << 30;
    [p, q].map(|v| f32::from_bits((radius * v).to_bits() ^ sign))
}

/// MurmurHash3's 32-bit finaliser (Appleby): a bijection.
#[inline(always)]
fn hash(mut z: u32) -> u32 {
    z = (z ^ (z >> 16)).wrapping_mul(0x85eb_ca6b);
    z = (z ^ (z >> 13)).wrapping_mul(0xc2b2_ae35);
    z ^ (z >> 16)
}

/// Natural logarithm of a normal number in `(0, 1]`, and 0 at 1: relative error 4e-7 (tested on what [`pair`] asks for).
///
/// `u = 2^e (1 + x)` with `1 + x` between sqrt(1/2) and sqrt(2); `ln(1 + x) = x + x^2 P(x)`, where P has the smallest relative
/// error.
#[inline(always)]
fn ln(u: f32) -> f32 {
    /// sqrt(1/2): exponents are counted from here.
    const LOWEST: u32 = 0x3f35_04f3;
    let e = (u.to_bits().wrapping_sub(LOWEST) as i32) >> 23;
    let x = f32::from_bits(u.to_bits().wrapping_sub((e << 23) as u32)) - 1.0;
    let p = -0.103_478_96;
    let p = p * x + 0.162_789_7;
    let p = p * x - 0.172_015_79;
    let p = p * x + 0.198_939_98;
    let p = p * x - 0.249_733_84;
    let p = p * x + 0.333_350_9;
    let p = p * x - 0.500_002_86;
    e as f32 * std::f32::consts::LN_2 + (x + x * x * p)
}

/// `[cos, sin]` of `t` eighths of a circle, `t` in `[-1, 1]`: absolute error 2e-7 (tested).
#[inline(always)]
fn wave(t: f32) -> [f32; 2] {
    let z = t * t;
    let cos = -0.000_319_16;
    let cos = cos * z + 0.015_850_4;
    let cos = cos * z - 0.308_424_5;
    let sin = -0.000_035_877_26;
    let sin = sin * z + 0.002_489_872;
    let sin = sin * z - 0.080_745_37;
    let sin = sin * z + std::f32::consts::FRAC_PI_4;
    [cos * z + 1.0, sin * t]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::erase::Erasure;
    use std::f64::consts::{FRAC_PI_4, TAU};

    fn list(rect: Rect, fill: Fill) -> Erasures {
        Erasures::try_from(&[Erasure { rect, fill }][..]).unwrap()
    }

    /// A box of noise that is the whole of an image, `(3, H, W)`.
    fn noise(key: u64, size: Size) -> Vec<f32> {
        let mut planes = vec![f32::NAN; 3 * size.pixels() as usize];
        list(Rect::whole(size), Fill::Noise { key }).erase(&mut planes, size).unwrap();
        planes
    }

    /// The recipe of the head of this file, one value at a time, with f64 functions.
    fn reference(key: u64, [h, w]: [u32; 2], c: u32, y: u32, x: u32) -> f64 {
        let hash = |z: u32| {
            let z = u64::from(z ^ (z >> 16)) * 0x85eb_ca6b % (1 << 32);
            let z = (z ^ (z >> 13)) * 0xc2b2_ae35 % (1 << 32);
            (z ^ (z >> 16)) as u32
        };
        let (low, high) = ((key & 0xffff_ffff) as u32, (key >> 32) as u32);
        let half = h.div_ceil(2);
        let i = (c * half + y % half) * w + x;
        let k = hash(low ^ hash(high));
        let l = hash(high.wrapping_add(k));
        let a = hash(hash(i.wrapping_add(k)).wrapping_add(l));
        let b = hash(a ^ k);
        let u = f64::from((a >> 8) + 1) / 16_777_216.0;
        let t = f64::from(b as i32 >> 8) / 8_388_608.0;
        let (sin, cos) = (t * FRAC_PI_4).sin_cos();
        let (p, q) = if b & 1 == 1 { (sin, cos) } else { (cos, sin) };
        let value = (-2.0 * u.ln()).sqrt() * if y < half { p } else { q };
        if b & 2 == 2 { -value } else { value }
    }

    #[test]
    fn polynomials_are_the_functions_wherever_they_are_asked() {
        let mut worst = [0f64; 2];
        for k in (1..=1u32 << 24).step_by(7).chain(1..2000).chain((1 << 24) - 2000..1 << 24) {
            let u = k as f32 / (1 << 24) as f32;
            let exact = f64::from(u).ln();
            worst[0] = worst[0].max((f64::from(ln(u)) - exact).abs() / exact.abs().max(1e-30));
        }
        for k in (-(1i32 << 23)..=1 << 23).step_by(7) {
            let t = k as f32 / (1 << 23) as f32;
            let (sin, cos) = (f64::from(t) * FRAC_PI_4).sin_cos();
            let [c, s] = wave(t);
            worst[1] = worst[1].max((f64::from(c) - cos).abs()).max((f64::from(s) - sin).abs());
        }
        println!("relative error of ln {:.1e}, absolute error of sin and cos {:.1e}", worst[0], worst[1]);
        assert!(worst[0] < 4e-7 && worst[1] < 2e-7, "{worst:?}");
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn noise_is_the_recipe_s_at_every_place_and_the_same_at_every_level() {
        let mut worst = 0f64;
        for (n, size) in [(1, 1), (2, 1), (1, 2), (3, 3), (16, 4), (17, 5), (31, 2), (129, 75)].into_iter().enumerate()
        {
            let (size, key) = (Size::new(size.0, size.1), 0x9e37_79b9_ffff_fff0 + n as u64);
            let erasures = list(Rect::whole(size), Fill::Noise { key });
            let expected = noise(key, size);
            for level in Level::available() {
                let mut planes = vec![f32::NAN; expected.len()];
                erase(level, &erasures, &mut planes, size);
                assert!(planes.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()), "{level:?} {size:?}");
            }
            for (at, value) in expected.iter().enumerate() {
                let (at, w, h) = (at as u32, size.width, size.height);
                let exact = reference(key, [h, w], at / (w * h), at / w % h, at % w);
                let error = (f64::from(*value) - exact).abs();
                assert!(error <= 2e-6, "{size:?} value {at}: {value}, not {exact}");
                worst = worst.max(error);
            }
        }
        println!("largest error {worst:.1e}");
    }

    #[test]
    fn noise_has_the_moments_and_the_shares_of_the_bell() {
        let values: Vec<f64> =
            (0..8).flat_map(|key| noise(key << 32 | key, Size::square(224))).map(f64::from).collect();
        let n = values.len() as f64;
        let moment = |k: i32| values.iter().map(|v| v.powi(k)).sum::<f64>() / n;
        // 1.2 million values: standard errors of the moments sqrt(1, 2, 15, 96) / 1097; five of them are allowed.
        for (k, expected, spread) in [(1, 0.0, 1.0f64), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
            let error = (moment(k) - expected).abs();
            assert!(error < 5.0 * (spread / n).sqrt(), "moment {k}: {} not {expected}", moment(k));
        }
        // P(x < bound), and the tails beyond 3 and 4 on both sides: 3249 and 76 values.
        for (bound, below) in [
            (-3.0, 0.001_349_898),
            (-2.0, 0.022_750_13),
            (-1.0, 0.158_655_25),
            (-0.1, 0.460_172_16),
            (0.0, 0.5),
            (0.5, 0.691_462_46),
            (1.5, 0.933_192_8),
            (3.0, 0.998_650_1),
        ] {
            let share = values.iter().filter(|v| **v < bound).count() as f64 / n;
            let spread = (below * (1.0f64 - below) / n).sqrt();
            assert!((share - below).abs() < 5.0 * spread, "P(x < {bound}): {share}, not {below}");
        }
        let far = values.iter().filter(|v| v.abs() > 4.0).count();
        assert!((40..125).contains(&far), "{far} beyond 4, expected 76");
        assert!(values.iter().all(|v| v.abs() < 5.78));
    }

    #[test]
    fn neighbours_partners_channels_and_keys_have_nothing_to_do_with_each_other() {
        let side = 224;
        let (one, other) = (noise(7, Size::square(side)), noise(8, Size::square(side)));
        let high = noise(7 | 1 << 32, Size::square(side));
        let (w, plane) = (side as usize, (side * side) as usize);
        let correlation = |a: &[f32], b: &[f32]| {
            let n = a.len().min(b.len());
            let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            // In standard errors.
            sum / (n as f64).sqrt()
        };
        let square = |v: &[f32]| v.iter().map(|v| (v * v - 1.0) / std::f32::consts::SQRT_2).collect::<Vec<_>>();
        for (name, a, b) in [
            ("the next column", &one[..], &one[1..]),
            ("the next row", &one[..], &one[w..]),
            ("the row of the same pairs", &one[..plane / 2], &one[plane / 2..plane]),
            ("the next channel", &one[..], &one[plane..]),
            ("the channel after it", &one[..], &one[2 * plane..]),
            ("the next key", &one[..], &other[..]),
            ("the next key, shifted", &one[1..], &other[..]),
            ("the next key's high half", &one[..], &high[..]),
        ] {
            let (linear, squares) = (correlation(a, b), correlation(&square(a), &square(b)));
            assert!(linear.abs() < 4.0 && squares.abs() < 4.0, "{name}: {linear:.1} and {squares:.1} standard errors");
        }
    }

    #[test]
    fn directions_are_uniform_on_the_circle() {
        // Partners (p, q) of one box: 32 sectors, 31 degrees of freedom, 61.1 is the 0.1 % point.
        let values = noise(99, Size::new(512, 512));
        let (upper, lower) = values[..512 * 512].split_at(256 * 512);
        let mut bins = [0f64; 32];
        for (p, q) in upper.iter().zip(lower) {
            let turn = f64::from(*q).atan2(f64::from(*p)).rem_euclid(TAU) / TAU;
            bins[((turn * 32.0) as usize).min(31)] += 1.0;
        }
        let expected = upper.len() as f64 / 32.0;
        let chi: f64 = bins.iter().map(|b| (b - expected).powi(2) / expected).sum();
        assert!(chi < 61.1, "{chi}");
    }

    #[test]
    fn nothing_outside_the_boxes_is_touched_and_all_inside_is() {
        let size = Size::new(37, 23);
        let marker = f32::from_bits(0x7fc0_1234);
        for fill in [Fill::Noise { key: 5 }, Fill::Color([1.0, 2.0, 3.0])] {
            for rect in [(0, 0, 1, 1), (36, 22, 1, 1), (3, 4, 17, 9), (0, 7, 36, 3), (20, 0, 16, 22), (5, 5, 1, 2)] {
                let rect = Rect { x: rect.0, y: rect.1, width: rect.2, height: rect.3 };
                let mut planes = vec![marker; 3 * 37 * 23];
                list(rect, fill).erase(&mut planes, size).unwrap();
                for (at, value) in planes.iter().enumerate() {
                    let (c, y, x) = (at / (37 * 23), at as u32 / 37 % 23, at as u32 % 37);
                    let inside =
                        (rect.x..rect.x + rect.width).contains(&x) && (rect.y..rect.y + rect.height).contains(&y);
                    match (inside, fill) {
                        (false, _) => assert_eq!(value.to_bits(), marker.to_bits(), "{rect:?} ({c}, {y}, {x})"),
                        (true, Fill::Color(rgb)) => assert_eq!(*value, rgb[c]),
                        (true, Fill::Noise { key }) => {
                            let exact = reference(key, [rect.height, rect.width], c as u32, y - rect.y, x - rect.x);
                            assert!((f64::from(*value) - exact).abs() <= 2e-6, "{rect:?} ({c}, {y}, {x})");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn of_overlapping_boxes_the_last_is_seen() {
        let rect = |x| Rect { x, y: 0, width: 2, height: 1 };
        let boxes = [(0, 1.0), (1, 2.0)].map(|(x, v)| Erasure { rect: rect(x), fill: Fill::Color([v; 3]) });
        let mut planes = vec![0.0; 12];
        Erasures::try_from(&boxes[..]).unwrap().erase(&mut planes, Size::new(4, 1)).unwrap();
        assert_eq!(planes, [1.0, 2.0, 2.0, 0.0].repeat(3));
        Erasures::NONE.erase(&mut planes, Size::new(4, 1)).unwrap();
        assert_eq!(planes, [1.0, 2.0, 2.0, 0.0].repeat(3));
    }

    #[test]
    fn what_does_not_fit_is_refused_before_anything_is_filled() {
        let mut planes = vec![0.5; 12];
        let leaves = list(Rect { x: 1, y: 0, width: 2, height: 1 }, Fill::Color([1.0; 3]));
        assert!(leaves.erase(&mut planes, Size::square(2)).unwrap_err().to_string().contains("2x2"));
        let empty = list(Rect { x: 1, y: 0, width: 0, height: 1 }, Fill::Color([1.0; 3]));
        assert!(empty.erase(&mut planes, Size::square(2)).is_err());
        assert!(Erasures::NONE.erase(&mut planes, Size::square(3)).unwrap_err().to_string().contains("12 values"));
        assert_eq!(planes, vec![0.5; 12]);
    }
}
