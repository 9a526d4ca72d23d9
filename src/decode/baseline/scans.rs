//! A JPEG of several sequential scans: each is made into samples as it is read, and pixels are made at the end.

use super::extent::Extent;
use super::header::Header;
use super::pixels::{Layout, Lines};
use super::{Baseline, Plane};
use crate::decode::markers::Frame;
use crate::shape::Rect;
use std::ops::Range;

impl Baseline {
    /// As [`Baseline::decode`], of several scans. Each component has to be in one of them, and in no more.
    ///
    /// libjpeg reads all of such a file for any region.
    pub(super) fn decode_scans(
        &mut self,
        bytes: &[u8],
        frame: &Frame,
        window: Rect,
        scale: u8,
        pixels: &mut Vec<u8>,
    ) -> Option<()> {
        let mut header = Header::new(bytes, frame)?;
        let mut scan = header.next_scan()??;
        let extent = Extent::new(&scan, window, scale);
        let has_avx2 = self.has_avx2;
        let mut seen = [false; 4];
        loop {
            for component in &*scan.components {
                if std::mem::replace(&mut seen[component.index], true) {
                    return None;
                }
            }
            let part = extent.of_scan(&scan.components);
            let mut job = self.job(scan, part, None)?;
            job.run_best(has_avx2, &mut [])?;
            let rest = job.bits.rest()?.len();
            header.go_on(&bytes[bytes.len() - rest..]);
            match header.next_scan()? {
                Some(next) => scan = next,
                None => break,
            }
        }
        if !seen[..extent.colour.components()].iter().all(|&seen| seen) {
            return None;
        }
        let pixels = crate::decode::scratch(pixels, 3 * window.size().pixels() as usize);
        let layout = Layout::new(&extent);
        let rows = window.y as usize..(window.y + window.height) as usize;
        #[cfg(target_arch = "x86_64")]
        if has_avx2 {
            // SAFETY: the processor was asked.
            unsafe { rows_avx2(&mut self.lines, &layout, &self.planes, rows, pixels) };
            return Some(());
        }
        all_rows::<false>(&mut self.lines, &layout, &self.planes, rows, pixels);
        Some(())
    }
}

#[inline(always)]
fn all_rows<const AVX2: bool>(
    lines: &mut Lines,
    layout: &Layout,
    planes: &[Plane; 4],
    rows: Range<usize>,
    pixels: &mut [u8],
) {
    lines.rows::<AVX2>(layout, |component, y| planes[component].row(y), rows, pixels);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn rows_avx2(lines: &mut Lines, layout: &Layout, planes: &[Plane; 4], rows: Range<usize>, pixels: &mut [u8]) {
    all_rows::<true>(lines, layout, planes, rows, pixels);
}
