//! Mixup and CutMix on pixels: `(N, 3, B, B)` f32 in place.
//!
//! Two partners are read and written together, position by position, so that both see the other as it was and nothing is
//! kept beside them. Each product and each sum is rounded by itself at every level: results are the same on all processors,
//! and those of `x * lambda + y * (1 - lambda)` in a framework's f32.

use super::simd::{Kernel, Level, Vector};
use crate::error::{Error, Result};
use crate::mix::{Mixed, Mixing};
use crate::shape::Rect;

impl Mixing {
    /// Mixes a batch in place: `images` is `(N, 3, B, B)`, normalised or not.
    ///
    /// # Errors
    /// [`Error::Config`] if `images` does not hold as many values as the mixture is for.
    pub fn apply(&self, images: &mut [f32]) -> Result<()> {
        let expected = self.len() * 3 * (self.side() as usize).pow(2);
        if images.len() != expected {
            let (n, side, values) = (self.len(), self.side(), images.len());
            return Err(Error::config("images", format!("{values} values: expected {n}x3x{side}x{side}")));
        }
        apply(Level::detect(), self, images);
        Ok(())
    }
}

/// Mixes a batch, `(N, 3, B, B)`, pair by pair.
pub(crate) fn apply(level: Level, mixing: &Mixing, images: &mut [f32]) {
    let (n, len) = (mixing.len(), 3 * (mixing.side() as usize).pow(2));
    let (front, back) = images.split_at_mut(n / 2 * len);
    // The middle image of an odd batch comes first in `back` and last in its reverse: no front image is left for it.
    for (i, (front, back)) in front.chunks_exact_mut(len).zip(back.chunks_exact_mut(len).rev()).enumerate() {
        apply_pair(level, mixing, i, front, back);
    }
}

/// Mixes image `i` of the first half, `front`, and its partner, `back`, each `(3, B, B)`. Pairs are independent.
pub(crate) fn apply_pair(level: Level, mixing: &Mixing, i: usize, front: &mut [f32], back: &mut [f32]) {
    let mixed = [mixing.images()[i], mixing.images()[mixing.partner(i)]];
    level.run(Pair { side: mixing.side() as usize, mixed, front, back });
}

struct Pair<'a> {
    side: usize,
    mixed: [Mixed; 2],
    front: &'a mut [f32],
    back: &'a mut [f32],
}

/// What a run of values becomes.
#[derive(Clone, Copy, PartialEq)]
enum Take {
    Own,
    Partner,
    Both { own: f32, partner: f32 },
}

impl Kernel for Pair<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { side, mixed, front, back } = self;
        let rects = mixed.map(|mixed| match mixed {
            Mixed::Paste { rect } => Some(rect),
            _ => None,
        });
        if rects == [None, None] {
            return run(mixed.map(|mixed| take(mixed, false)), front, back);
        }
        // Within a row, what happens changes at the edges of the boxes only; from row to row, where a box begins or ends.
        let edges = |rect: Option<Rect>| rect.map_or([0, 0], |r| [r.x as usize, (r.x + r.width) as usize]);
        let ([a, b], [c, d]) = (edges(rects[0]), edges(rects[1]));
        let mut edges = [0, a, b, c, d, side];
        edges.sort_unstable();
        let mut runs = [(0, 0, [Take::Own; 2]); 5];
        let (mut of_rows, mut count) = ([false; 2], 0);
        for (n, (front, back)) in front.chunks_exact_mut(side).zip(back.chunks_exact_mut(side)).enumerate() {
            let y = n % side;
            let holds_row = rects.map(|rect| rect.is_some_and(|r| (r.y..r.y + r.height).contains(&(y as u32))));
            if n == 0 || holds_row != of_rows {
                (of_rows, count) = (holds_row, 0);
                for edge in edges.windows(2).filter(|edge| edge[0] < edge[1]) {
                    let inside = |i: usize| {
                        holds_row[i] && rects[i].is_some_and(|r| (r.x..r.x + r.width).contains(&(edge[0] as u32)))
                    };
                    let takes = [take(mixed[0], inside(0)), take(mixed[1], inside(1))];
                    if takes != [Take::Own; 2] {
                        runs[count] = (edge[0], edge[1], takes);
                        count += 1;
                    }
                }
            }
            for (start, end, takes) in &runs[..count] {
                run(*takes, &mut front[*start..*end], &mut back[*start..*end]);
            }
        }
    }
}

#[inline(always)]
fn take(mixed: Mixed, inside: bool) -> Take {
    match mixed {
        Mixed::Blend { lambda } => Take::Both { own: lambda as f32, partner: (1.0 - lambda) as f32 },
        Mixed::Paste { .. } if inside => Take::Partner,
        Mixed::Untouched | Mixed::Paste { .. } => Take::Own,
    }
}

/// One run of values of both images, each a single time.
#[inline(always)]
fn run(takes: [Take; 2], front: &mut [f32], back: &mut [f32]) {
    let each = front.iter_mut().zip(back.iter_mut());
    match takes {
        [Take::Own, Take::Own] => {}
        [Take::Own, Take::Partner] => exchange::<false, true>(front, back),
        [Take::Partner, Take::Own] => exchange::<true, false>(front, back),
        [Take::Partner, Take::Partner] => exchange::<true, true>(front, back),
        [Take::Own, Take::Both { own, partner }] => each.for_each(|(x, y)| *y = *y * own + *x * partner),
        [Take::Both { own, partner }, Take::Own] => each.for_each(|(x, y)| *x = *x * own + *y * partner),
        [Take::Partner, Take::Both { own, partner }] => {
            each.for_each(|(x, y)| (*x, *y) = (*y, *y * own + *x * partner));
        }
        [Take::Both { own, partner }, Take::Partner] => {
            each.for_each(|(x, y)| (*x, *y) = (*x * own + *y * partner, *x));
        }
        [Take::Both { own: a, partner: b }, Take::Both { own: c, partner: d }] => {
            each.for_each(|(x, y)| (*x, *y) = (*x * a + *y * b, *y * c + *x * d));
        }
    }
}

/// Values of the partner's where the flag of the image is set. Groups of 16 move as a whole: a plain loop is compiled to 64
/// at a time and then single values, which at the width of a box costs more (measured for CutMix of 64 x 3 x 96 x 96:
/// 0.31 ms instead of 0.12).
#[inline(always)]
fn exchange<const FRONT: bool, const BACK: bool>(front: &mut [f32], back: &mut [f32]) {
    let ((groups, front), (others, back)) = (front.as_chunks_mut::<16>(), back.as_chunks_mut::<16>());
    for (group, other) in groups.iter_mut().zip(others) {
        let (x, y) = (*group, *other);
        *group = if FRONT { y } else { x };
        *other = if BACK { x } else { y };
    }
    for (value, other) in front.iter_mut().zip(back) {
        let (x, y) = (*value, *other);
        *value = if FRONT { y } else { x };
        *other = if BACK { x } else { y };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix::{Mix, MixMode};
    use crate::rng::{Draw, Purpose};

    /// The slow obvious one: partners are read from a copy.
    fn reference(mixing: &Mixing, images: &mut [f32]) {
        let (before, side) = (images.to_vec(), mixing.side() as usize);
        let len = 3 * side * side;
        for (at, value) in images.iter_mut().enumerate() {
            let (i, y, x) = (at / len, at / side % side, at % side);
            let other = before[mixing.partner(i) * len + at % len];
            match mixing.images()[i] {
                Mixed::Untouched => {}
                Mixed::Blend { lambda } => *value = *value * lambda as f32 + other * (1.0 - lambda) as f32,
                Mixed::Paste { rect } => {
                    let inside = (rect.y..rect.y + rect.height).contains(&(y as u32))
                        && (rect.x..rect.x + rect.width).contains(&(x as u32));
                    if inside {
                        *value = other;
                    }
                }
            }
        }
    }

    fn noise(len: usize) -> Vec<f32> {
        let mut draw = Draw::at(3, 0, 0, Purpose::Mix);
        (0..len).map(|_| draw.normal() as f32).collect()
    }

    fn same_as_the_reference(mixing: &Mixing) {
        let before = noise(mixing.len() * 3 * (mixing.side() as usize).pow(2));
        let mut expected = before.clone();
        reference(mixing, &mut expected);
        for level in Level::available() {
            let mut got = before.clone();
            apply(level, mixing, &mut got);
            let wrong = got.iter().zip(&expected).position(|(a, b)| a.to_bits() != b.to_bits());
            assert_eq!(wrong, None, "{level:?}: first wrong value, of {mixing:?}");
        }
    }

    #[test]
    fn drawn_mixtures_are_the_reference_s_to_the_bit_in_every_mode() {
        for mode in [MixMode::Batch, MixMode::Pair, MixMode::Elem] {
            for step in 0..60 {
                let (n, side) = ([6, 5, 2, 3][step as usize % 4], [17, 32, 9, 4, 1][step as usize % 5]);
                // A chance below 1, so that one partner may stay as it is.
                let mix = Mix { mode, probability: 0.8, ..Mix::default() };
                if let Some(mixing) = mix.draw(&mut Draw::at(9, 0, step, Purpose::Mix), n, side) {
                    same_as_the_reference(&mixing);
                }
            }
        }
    }

    #[test]
    fn every_meeting_of_two_kinds_is_the_reference_s() {
        let paste = |x, y, width, height| Mixed::Paste { rect: Rect { x, y, width, height } };
        let kinds = [
            Mixed::Untouched,
            Mixed::Blend { lambda: 0.3 },
            Mixed::Blend { lambda: 0.0 },
            Mixed::Blend { lambda: 1.0 },
            paste(0, 0, 7, 7),
            paste(1, 2, 3, 4),
            paste(2, 1, 4, 4),
            paste(5, 5, 2, 2),
            paste(2, 3, 1, 1),
        ];
        for a in kinds {
            for b in kinds {
                same_as_the_reference(&Mixing::new(7, vec![a, Mixed::Untouched, b]).unwrap());
            }
        }
    }

    #[test]
    fn a_row_worked_by_hand() {
        let row = |at: f32| (0..12).map(|x| at + x as f32).collect::<Vec<_>>();
        let mixed = |a, b| {
            let mut images = [row(0.0), row(100.0)].concat();
            Mixing::new(2, vec![a, b]).unwrap().apply(&mut images).unwrap();
            images
        };
        // Three planes of 2 x 2: the right column is values 1 and 3 of four.
        let right = Mixed::Paste { rect: Rect { x: 1, y: 0, width: 1, height: 2 } };
        let pasted = mixed(right, right);
        assert_eq!(pasted[..12], [0.0, 101.0, 2.0, 103.0, 4.0, 105.0, 6.0, 107.0, 8.0, 109.0, 10.0, 111.0]);
        assert_eq!(pasted[12..], [100.0, 1.0, 102.0, 3.0, 104.0, 5.0, 106.0, 7.0, 108.0, 9.0, 110.0, 11.0]);
        let blended = mixed(Mixed::Blend { lambda: 0.75 }, Mixed::Blend { lambda: 0.5 });
        assert_eq!(blended[..4], [25.0, 26.0, 27.0, 28.0]);
        assert_eq!(blended[12..16], [50.0, 51.0, 52.0, 53.0]);
        let both = mixed(Mixed::Blend { lambda: 0.5 }, right);
        assert_eq!(both[..4], [50.0, 51.0, 52.0, 53.0]);
        assert_eq!(both[12..16], [100.0, 1.0, 102.0, 3.0], "the partner as it was before the blend");
    }

    #[test]
    fn one_image_and_none_stay_and_another_length_is_refused() {
        let mut one = noise(3 * 25);
        Mixing::new(5, vec![Mixed::Untouched]).unwrap().apply(&mut one).unwrap();
        assert_eq!(one, noise(3 * 25));
        Mixing::new(5, vec![]).unwrap().apply(&mut []).unwrap();
        let two = Mixing::new(5, vec![Mixed::Blend { lambda: 0.5 }; 2]).unwrap();
        let text = two.apply(&mut one).unwrap_err().to_string();
        assert!(text.contains("75 values") && text.contains("2x3x5x5"), "{text}");
    }
}
