//! Rotation: every output pixel reads 4 x 4 neighbours with its own weights.
//!
//! What makes it fast, and why it is legal:
//! - the image is copied with two more pixels on every side, so that no neighbour needs a border test;
//! - which columns of a row read inside the image is found once for the row, with the coordinates in f64 that Pillow compares;
//! - coordinates are then rounded to 2^-16 pixels and weights along x to 2^-14, those along y are f32: 0.05 grey levels in
//!   all, so that the truncation at the end can give a neighbouring grey level and no other.

use super::{Job, LARGEST_SIDE, Matrix, SLACK, Sampling};
use crate::ops::simd::{Kernel, MixBlock, ONE, Vector};
use crate::shape::Size;
use std::ops::Range;

const _: () = assert!(MixBlock::WRITTEN <= SLACK && MixBlock::READ <= SLACK && LARGEST_SIDE < 1 << 15);

/// Rotates by `job.matrix`. `padded` is the image as [`super::pad`] makes it.
pub(super) fn turn(job: &mut Job<'_>, padded: &[u8]) {
    let stride = job.row() + 12;
    assert!(padded.len() >= stride * (job.size.height as usize + 4) + SLACK);
    for y in 0..job.size.height as usize {
        let inside = job.matrix.inside(job.size, y);
        // What a block writes too much is overwritten: the rest of this row now, of the next ones by themselves.
        let to = &mut job.dst[3 * (y * job.size.width as usize + inside.start)..];
        job.level.run(Row {
            matrix: job.matrix,
            size: job.size,
            two_rows: job.sampling == Sampling::Bilinear,
            padded,
            stride,
            y,
            columns: inside.clone(),
            to,
        });
        job.fill_outside(y, &inside);
    }
}

/// The `columns` of output row `y`.
struct Row<'a> {
    matrix: Matrix,
    size: Size,
    two_rows: bool,
    padded: &'a [u8],
    stride: usize,
    y: usize,
    columns: Range<usize>,
    /// From the first of `columns` on.
    to: &'a mut [u8],
}

impl Kernel for Row<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let n = self.columns.len();
        for at in (0..n).step_by(16) {
            let block = if self.two_rows { self.block::<true>(at) } else { self.block::<false>(at) };
            let to = &mut self.to[3 * at..][..MixBlock::WRITTEN];
            // SAFETY: the caller's promise. `block` clamps its places to -1 .. width - 1 and -1 .. height - 1, so that 4 x 4
            // neighbours lie in the padded image, which `turn` measured; 4 bytes more are read, which the slack has.
            unsafe {
                if self.two_rows {
                    V::mix_block::<true>(&block, self.padded.as_ptr(), self.stride, to.as_mut_ptr());
                } else {
                    V::mix_block::<false>(&block, self.padded.as_ptr(), self.stride, to.as_mut_ptr());
                }
            }
        }
    }
}

impl Row<'_> {
    /// Places and weights of 16 pixels from `columns.start + at` on.
    #[inline(always)]
    fn block<const BILINEAR: bool>(&self, at: usize) -> MixBlock {
        let mut block = MixBlock { offsets: [0; 16], columns: [[0; 16]; 2], rows: [[0.0; 16]; 4] };
        let first = self.columns.start + at;
        let (width, height) = (self.size.width as i32, self.size.height as i32);
        for i in 0..16 {
            let (u, v) = self.matrix.at(first + i, self.y);
            let (u, v) = (fixed(u - 0.5), fixed(v - 0.5));
            let (x, y) = ((u >> 16).clamp(-1, width - 1), (v >> 16).clamp(-1, height - 1));
            block.offsets[i] = (y + 1) as u32 * self.stride as u32 + 3 * (x + 1) as u32;
            let part = |fixed: i32| (fixed & 0xffff) as f32 / 65536.0;
            let [a, _, c, d] = weights::<BILINEAR>(part(u)).map(|w| integer(w * f32::from(ONE)));
            let b = i32::from(ONE) - a - c - d;
            block.columns[0][i] = (a as u32 & 0xffff) | (b as u32) << 16;
            block.columns[1][i] = (c as u32 & 0xffff) | (d as u32) << 16;
            let rows = weights::<BILINEAR>(part(v));
            for (k, weight) in rows.into_iter().enumerate() {
                block.rows[k][i] = weight / f32::from(ONE);
            }
        }
        block
    }
}

/// `v` in integers of 2^-16, rounded; right for magnitudes below 2^15, some integer for others. Adding 1.5 * 2^36 leaves
/// those bits at the low end of the significand.
#[inline(always)]
fn fixed(v: f64) -> i32 {
    const SHIFT: f64 = 1.5 * (1u64 << 36) as f64;
    (v + SHIFT).to_bits() as i32
}

/// `v` rounded, for magnitudes below 2^22; by the same trick.
#[inline(always)]
fn integer(v: f32) -> i32 {
    const SHIFT: f32 = 1.5 * (1u32 << 23) as f32;
    (v + SHIFT).to_bits() as i32 - SHIFT.to_bits() as i32
}

/// Weights of four neighbours around the share `d` of the way between the two middle ones.
#[inline(always)]
fn weights<const BILINEAR: bool>(d: f32) -> [f32; 4] {
    let rest = 1.0 - d;
    if BILINEAR {
        return [0.0, rest, d, 0.0];
    }
    // Keys' cubic with a = -1.
    let (near, far) = (d * rest, d * d);
    [-near * rest, 1.0 - 2.0 * far + far * d, d + far * rest, -far * rest]
}

/// Quarter turns counter-clockwise: pixels only move. An odd number of them needs a square.
pub(super) fn quarters(quarters: u32, src: &[u8], size: Size, dst: &mut [u8]) {
    let (width, height) = (size.width as usize, size.height as usize);
    let (src, dst) = (src.as_chunks::<3>().0, dst.as_chunks_mut::<3>().0);
    for (y, row) in dst.chunks_exact_mut(width).take(height).enumerate() {
        match quarters {
            0 => row.copy_from_slice(&src[y * width..][..width]),
            1 => row.iter_mut().enumerate().for_each(|(x, out)| *out = src[x * width + width - 1 - y]),
            2 => row.iter_mut().zip(src[(height - 1 - y) * width..][..width].iter().rev()).for_each(|(o, v)| *o = *v),
            _ => row.iter_mut().enumerate().for_each(|(x, out)| *out = src[(height - 1 - x) * width + y]),
        }
    }
}
