//! The half of an image's augmentation that needs no device: which steps, and what they read.

use super::{BlurParams, LONGEST_LINE, MOST_PIXELS, Params};
use crate::augment::affine::{LARGEST_SIDE, Matrix, quarter_turns, rotation};
use crate::augment::augmenter::check_ops;
use crate::augment::blur::Boxes;
use crate::augment::{Augmenter, Op, Sampling};
use crate::error::Result;
use crate::shape::Size;

/// What `augment_apply` does in a step: the constants of the shader, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Table,
    AutoContrast,
    Equalize,
    Contrast,
    Color,
    Sharpness,
    Hue,
    Nearest,
    Pick,
    Bilinear,
    Bicubic,
}

impl Kind {
    /// Words of sums over the whole image that it needs, of those that `augment_stats` makes.
    pub(super) fn sums(kind: u32) -> u32 {
        match kind {
            k if k == Self::AutoContrast as u32 => 6,
            k if k == Self::Equalize as u32 => 3 * 256,
            k if k == Self::Contrast as u32 => 1,
            _ => 0,
        }
    }
}

/// One step of an image, without the places of its areas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    /// `at` counts from the sample's first word.
    Apply(Params),
    Blur(BlurParams),
}

/// The augmentation of one image.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Staged {
    pub(super) steps: Vec<Step>,
    pub(super) size: Size,
}

impl Staged {
    /// Rounds that it takes part in.
    #[cfg(test)]
    pub(crate) fn rounds(&self) -> usize {
        self.steps.len()
    }

    /// Which of its two areas holds the result: 0 is the one that held the image.
    pub(crate) fn area(&self) -> usize {
        self.steps.len() % 2
    }
}

/// Stages `ops` on an image of `size`; `fill` is the colour of what geometry leaves empty. What the device must read is added to
/// `words`, which are the sample's from its first on. Nothing if it has to be done on the CPU, for the [reasons](super) that the
/// module tells; `words` are as before then.
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) as [`Augmenter::apply`].
pub(crate) fn stage(ops: &[Op], size: Size, fill: [u8; 3], words: &mut Vec<u32>) -> Result<Option<Staged>> {
    check_ops(ops)?;
    if size.pixels() > MOST_PIXELS || size.width.max(size.height) > LARGEST_SIDE {
        return Ok(None);
    }
    let before = words.len();
    let [red, green, blue] = fill;
    let plain = Params {
        width: size.width,
        height: size.height,
        fill: u32::from_le_bytes([red, green, blue, 0]),
        ..Params::default()
    };
    let mut list = List { words, steps: Vec::with_capacity(ops.len()), size, plain };
    let mut rest = ops;
    while let Some(op) = rest.first() {
        let points = rest.iter().take_while(|op| is_point(op)).count();
        let staged = if points > 0 { list.table(&rest[..points])? } else { list.one(*op) };
        if staged.is_none() {
            words.truncate(before);
            return Ok(None);
        }
        rest = &rest[points.max(1)..];
    }
    Ok(Some(Staged { steps: list.steps, size }))
}

/// Whether what becomes of a value depends on nothing but the value.
fn is_point(op: &Op) -> bool {
    matches!(
        op,
        Op::Invert | Op::Posterize { .. } | Op::Solarize { .. } | Op::SolarizeAdd { .. } | Op::Brightness { .. }
    )
}

struct List<'a> {
    words: &'a mut Vec<u32>,
    steps: Vec<Step>,
    size: Size,
    plain: Params,
}

impl List<'_> {
    fn push(&mut self, kind: Kind, params: Params) -> Option<()> {
        self.steps.push(Step::Apply(Params { kind: kind as u32, ..params }));
        Some(())
    }

    /// A step that reads what is added to the words from now on.
    fn reading(&self) -> Params {
        Params { at: self.words.len() as u32, ..self.plain }
    }

    /// Operations on single values as one table.
    fn table(&mut self, ops: &[Op]) -> Result<Option<()>> {
        let identity: Vec<u8> = (0..=255).flat_map(|v| [v; 3]).collect();
        let mut image = identity.clone();
        Augmenter::new().apply(&mut image, Size::new(256, 1), ops, [0; 3])?;
        if image == identity {
            return Ok(Some(()));
        }
        let params = self.reading();
        let bytes: Vec<u8> = image.into_iter().step_by(3).collect();
        self.words.extend(bytes.as_chunks().0.iter().map(|four| u32::from_le_bytes(*four)));
        Ok(self.push(Kind::Table, params))
    }

    /// Any other operation; nothing if it must be done on the CPU.
    fn one(&mut self, op: Op) -> Option<()> {
        let plain = self.plain;
        // Beyond 2^16 either way every blend saturates; a sum without an end would have no meaning on a device.
        let blended = |factor: f32| Params { factor: factor.clamp(-65536.0, 65536.0), ..plain };
        let (w, h) = (f64::from(self.size.width), f64::from(self.size.height));
        match op {
            Op::Color { factor: 1.0 }
            | Op::Contrast { factor: 1.0 }
            | Op::Sharpness { factor: 1.0 }
            | Op::ShearX { factor: 0.0, .. }
            | Op::ShearY { factor: 0.0, .. }
            | Op::TranslateX { share: 0.0, .. }
            | Op::TranslateY { share: 0.0, .. } => Some(()),
            Op::AutoContrast => self.push(Kind::AutoContrast, plain),
            Op::Equalize => self.push(Kind::Equalize, plain),
            Op::Contrast { factor } => self.push(Kind::Contrast, blended(factor)),
            Op::Color { factor } => self.push(Kind::Color, blended(factor)),
            // The grey image is what Color blends with.
            Op::Grayscale => self.push(Kind::Color, plain),
            Op::Sharpness { factor } => self.push(Kind::Sharpness, blended(factor)),
            Op::Hue { shift } => {
                let turn = (shift * 255.0) as i32 as u8;
                self.push(Kind::Hue, Params { turn: turn.into(), ..plain })
            }
            Op::GaussianBlur { radius } => self.blur(radius),
            Op::Rotate { degrees, sampling } => match quarter_turns(degrees, self.size) {
                Some(0) => Some(()),
                Some(quarters) => self.quarters(quarters),
                None => self.geometry(rotation(degrees, self.size), sampling),
            },
            Op::ShearX { factor, sampling } => self.geometry(Matrix([1., factor, 0., 0., 1., 0.]), sampling),
            Op::ShearY { factor, sampling } => self.geometry(Matrix([1., 0., 0., factor, 1., 0.]), sampling),
            Op::TranslateX { share, sampling } => self.geometry(Matrix([1., 0., share * w, 0., 1., 0.]), sampling),
            Op::TranslateY { share, sampling } => self.geometry(Matrix([1., 0., 0., 0., 1., share * h]), sampling),
            Op::Invert
            | Op::Posterize { .. }
            | Op::Solarize { .. }
            | Op::SolarizeAdd { .. }
            | Op::Brightness { .. } => {
                unreachable!("those become tables")
            }
        }
    }

    fn blur(&mut self, radius: f32) -> Option<()> {
        let Size { width, height } = self.size;
        if let Some(Boxes { reach, whole, end }) = Boxes::of(radius) {
            if width.max(height) > LONGEST_LINE {
                return None;
            }
            let reach = reach as u32;
            self.steps.push(Step::Blur(BlurParams { width, height, reach, whole, end, ..BlurParams::default() }));
        }
        Some(())
    }

    /// Pixels only move: whole numbers of them.
    fn quarters(&mut self, quarters: u32) -> Option<()> {
        let (right, bottom) = (i64::from(self.size.width) - 1, i64::from(self.size.height) - 1);
        self.nearest(
            match quarters {
                1 => [0, -1, right, 1, 0, 0],
                2 => [-1, 0, right, 0, -1, bottom],
                _ => [0, 1, 0, -1, 0, bottom],
            }
            .map(|v: i64| v << 16),
        )
    }

    /// Coefficients of 2^-16. The sums that stay in the image have 32 bits, so it does not matter what is above.
    fn nearest(&mut self, fixed: [i64; 6]) -> Option<()> {
        let params = self.reading();
        self.words.extend(fixed.map(|v| v as u32));
        self.push(Kind::Nearest, params)
    }

    fn geometry(&mut self, matrix: Matrix, sampling: Sampling) -> Option<()> {
        let Matrix([a, b, c, d, e, f]) = matrix;
        let kind = match sampling {
            Sampling::Nearest if b == 0.0 && d == 0.0 => return self.pick(matrix),
            Sampling::Nearest => return self.nearest(matrix.fixed(self.size)?),
            Sampling::Bilinear => Kind::Bilinear,
            Sampling::Bicubic => Kind::Bicubic,
        };
        let params = self.reading();
        // Pixel centres to pixel centres.
        let start = |x: f64, y: f64, one: f64| x * 0.5 + y * 0.5 + one - 0.5;
        for row in [[a, b, start(a, b, c)], [d, e, start(d, e, f)]] {
            // What is too large for 64 bits reads nowhere inside the image.
            let row = row.map(|v| (v * 4_294_967_296.0).round() as i64);
            self.words.extend(row.map(|v| (v >> 16) as u32));
            self.words.extend(row.map(|v| (v & 0xffff) as u32));
        }
        for y in 0..self.size.height as usize {
            let inside = matrix.inside(self.size, y);
            self.words.push(inside.start as u32 | (inside.end as u32) << 16);
        }
        self.push(kind, params)
    }

    /// A matrix that does not mix the axes, to the nearest pixel: Pillow's sums of f64 along each.
    fn pick(&mut self, Matrix([a, _, c, _, e, f]): Matrix) -> Option<()> {
        let params = self.reading();
        for (start, step, sides) in [(c, a, self.size.width), (f, e, self.size.height)] {
            let mut v = start + step * 0.5;
            for _ in 0..sides {
                // What is negative, or more than there is, is outside.
                self.words.push(if v < 0.0 { u32::MAX } else { v as u32 });
                v += step;
            }
        }
        self.push(Kind::Pick, params)
    }
}
