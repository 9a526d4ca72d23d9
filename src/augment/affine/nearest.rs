//! The nearest pixel, found with Pillow's arithmetic, which differs from case to case.

use super::{COPY, Range};
use super::{Job, Matrix, Phase, along_rows, down_columns, meet, within};

/// `job` with [`super::Sampling::Nearest`]. Exact.
pub(super) fn run(job: &mut Job<'_>, columns: &mut Vec<i64>, padded: &mut Vec<u8>, strip: &mut Vec<u8>) {
    let Matrix([a, b, _, d, e, _]) = job.matrix;
    if b == 0.0 && d == 0.0 {
        return scaled(job, columns);
    }
    let Some(fixed) = job.matrix.fixed(job.size) else { return summed(job) };
    let [_, fixed_b, fixed_c, fixed_d, _, fixed_f] = fixed;
    let (size, width) = (job.size, job.size.width as usize);
    let inside = move |y: usize| -> Range<usize> {
        let [a, b, c, d, e, f] = fixed;
        let along = |start: i64, step: i64| move |x: usize| ((start + step * x as i64) >> 16) as f64;
        let slope = |step: i64| step as f64 / 65536.0;
        let across = within(width, slope(a), size.width, along(c + b * y as i64, a));
        meet(across, within(width, slope(d), size.height, along(f + e * y as i64, d)))
    };
    let copy = |base: i64| Phase { base, weights: COPY };
    if a == 1.0 && d == 0.0 && e == 1.0 {
        along_rows(job, padded, |y| copy((fixed_c + fixed_b * y as i64) >> 16), inside);
    } else if a == 1.0 && b == 0.0 && e == 1.0 {
        down_columns(job, padded, strip, |x| copy((fixed_f + fixed_d * x as i64) >> 16), inside);
    } else {
        gather(job, fixed, inside);
    }
}

/// Any matrix, in integers of 2^-16.
fn gather(job: &mut Job<'_>, [a, b, c, d, e, f]: [i64; 6], inside: impl Fn(usize) -> Range<usize>) {
    let (width, row) = (job.size.width as usize, job.row());
    let pixels = job.src.as_chunks::<3>().0;
    for y in 0..job.size.height as usize {
        let inside = inside(y);
        let (mut u, mut v) = (c + b * y as i64 + a * inside.start as i64, f + e * y as i64 + d * inside.start as i64);
        let out = &mut job.dst[y * row + 3 * inside.start..][..3 * inside.len()];
        for pixel in out.as_chunks_mut::<3>().0 {
            *pixel = pixels[(v >> 16) as usize * width + (u >> 16) as usize];
            (u, v) = (u + a, v + d);
        }
        job.fill_outside(y, &inside);
    }
}

/// Pillow's whole part of a coordinate.
fn whole(v: f64) -> i64 {
    if v < 0.0 { -1 } else { v as i64 }
}

/// A matrix that does not mix the axes: sums of f64 along each.
fn scaled(job: &mut Job<'_>, columns: &mut Vec<i64>) {
    let [a, _, c, _, e, f] = job.matrix.0;
    let (width, height, row) = (job.size.width as usize, job.size.height as usize, job.row());
    columns.clear();
    let mut u = c + a * 0.5;
    for _ in 0..width {
        columns.push(whole(u));
        u += a;
    }
    let valid = |u: &i64| (0..width as i64).contains(u);
    let start = columns.iter().position(valid).unwrap_or(width);
    let end = columns.iter().rposition(valid).map_or(start, |last| last + 1);
    let mut v = f + e * 0.5;
    for y in 0..height {
        let from = whole(v);
        v += e;
        if !(0..height as i64).contains(&from) {
            job.fill_outside(y, &(0..0));
            continue;
        }
        let src = &job.src[from as usize * row..][..row];
        let mut x = start;
        // Mostly one run.
        while x < end {
            let run = columns[x..end].iter().zip(columns[x]..).take_while(|(u, next)| *u == next).count();
            let bytes = 3 * run;
            job.dst[y * row + 3 * x..][..bytes].copy_from_slice(&src[3 * columns[x] as usize..][..bytes]);
            x += run;
        }
        job.fill_outside(y, &(start..end));
    }
}

/// Where the corners are too far away for 16 bits: sums of f64 along each row, almost all of them outside.
fn summed(job: &mut Job<'_>) {
    let [a, b, c, d, e, f] = job.matrix.0;
    let (width, height) = (job.size.width as usize, job.size.height as usize);
    let (mut row_u, mut row_v) = (c + b * 0.5 + a * 0.5, f + e * 0.5 + d * 0.5);
    for y in 0..height {
        let (mut u, mut v) = (row_u, row_v);
        job.fill_outside(y, &(0..0));
        for x in 0..width {
            let (column, row) = (whole(u), whole(v));
            if (0..width as i64).contains(&column) && (0..height as i64).contains(&row) {
                let from = 3 * (row as usize * width + column as usize);
                job.dst[3 * (y * width + x)..][..3].copy_from_slice(&job.src[from..][..3]);
            }
            (u, v) = (u + a, v + d);
        }
        (row_u, row_v) = (row_u + b, row_v + e);
    }
}
