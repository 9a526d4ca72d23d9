//! Turns the hue: Pillow's 8-bit HSV and back, exact.
//!
//! Pixels are computed in blocks of one array for each value and without branches, so that LLVM vectorises the loop. The
//! steps and their precision are those of [`super::reference`].

use crate::ops::simd::{Kernel, Level, Vector};

const BLOCK: usize = 32;

/// Adds `shift` of a full turn.
pub(super) fn turn(level: Level, image: &mut [u8], shift: f64) {
    level.run(Turn { image, by: (shift * 255.0) as i32 as u8 });
}

struct Turn<'a> {
    image: &'a mut [u8],
    by: u8,
}

impl Kernel for Turn<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        for part in self.image.chunks_mut(3 * BLOCK) {
            let [mut red, mut green, mut blue] = [[0u8; BLOCK]; 3];
            for (i, pixel) in part.as_chunks::<3>().0.iter().enumerate() {
                [red[i], green[i], blue[i]] = *pixel;
            }
            for ((r, g), b) in red.iter_mut().zip(&mut green).zip(&mut blue) {
                [*r, *g, *b] = turned([*r, *g, *b], self.by);
            }
            for (i, pixel) in part.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                *pixel = [red[i], green[i], blue[i]];
            }
        }
    }
}

/// The whole part of a number from 0 to 255.
#[inline(always)]
fn whole(v: f64) -> i32 {
    debug_assert!((0.0..256.0).contains(&v));
    // SAFETY: all numbers here are shares of 255, 6 or 1, sums of bytes' quotients, never negative nor above 256.
    unsafe { v.to_int_unchecked() }
}

#[inline(always)]
fn turned([r, g, b]: [u8; 3], by: u8) -> [u8; 3] {
    let (greatest, least) = (r.max(g).max(b), r.min(g).min(b));
    // Grey has no hue and no saturation: any divisor will do.
    let range = f32::from((greatest - least).max(1));
    let saturation = f32::from(greatest - least) / f32::from(greatest.max(1));
    let [rc, gc, bc] = [r, g, b].map(|v| f32::from(greatest - v) / range);
    let hue = if r == greatest {
        bc - gc
    } else if g == greatest {
        (2.0 + f64::from(rc) - f64::from(bc)) as f32
    } else {
        (4.0 + f64::from(gc) - f64::from(rc)) as f32
    };
    let turns = f64::from(hue) / 6.0 + 1.0;
    // The remainder of a division by 1, of a number between 5/6 and 11/6.
    let hue = (if turns >= 1.0 { turns - 1.0 } else { turns }) as f32;
    let (h, s) = (whole(f64::from(hue) * 255.0) as u8, whole(f64::from(saturation) * 255.0));
    let h = h.wrapping_add(by);

    let sixths = f64::from(h) * 6.0 / 255.0;
    let sector = whole(sixths);
    let part = (sixths - f64::from(sector)) as f32;
    let s = (f64::from(s) / 255.0) as f32;
    let value = f64::from(greatest);
    let round = |v: f64| whole(v + 0.5) as u8;
    let p = round(value * (1.0 - f64::from(s)));
    let q = round(value * (1.0 - f64::from(s * part)));
    let t = round(value * (1.0 - f64::from(s) * (1.0 - f64::from(part))));
    let v = greatest;
    // A full turn, sector 6, is the first sector.
    let red = if sector == 1 {
        q
    } else if sector == 2 || sector == 3 {
        p
    } else if sector == 4 {
        t
    } else {
        v
    };
    let green = if sector == 0 || sector == 6 {
        t
    } else if sector <= 2 {
        v
    } else if sector == 3 {
        q
    } else {
        p
    };
    let blue = if sector <= 1 || sector == 6 {
        p
    } else if sector == 2 {
        t
    } else if sector <= 4 {
        v
    } else {
        q
    };
    [red, green, blue]
}
