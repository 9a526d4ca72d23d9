//! What the scan of a common JPEG needs from the segments before it. Strict: any oddity is somebody else's to judge.

use super::huffman::Spec;
use super::scaled;
use crate::decode::markers::{Frame, Process};
use crate::shape::Size;

/// One component of the scan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Component<'a> {
    /// Blocks of a unit across and down.
    pub(super) blocks: (usize, usize),
    /// Quantisation steps in zigzag order.
    pub(super) steps: [i32; 64],
    pub(super) dc: Spec<'a>,
    pub(super) ac: Spec<'a>,
}

impl Component<'_> {
    /// Makes the steps of the coefficients zero that are not of the low M x M.
    pub(super) fn keep_low(&mut self, m: usize) {
        for (k, step) in self.steps.iter_mut().enumerate() {
            if !scaled::is_low(k, m) {
                *step = 0;
            }
        }
    }
}

/// All that is needed to read the one scan.
#[derive(Debug, Clone)]
pub(super) struct Scan<'a> {
    /// One component of gray, or Y, Cb and Cr, the latter two of one block in a unit.
    pub(super) components: Components<'a>,
    /// Columns and rows of the image.
    pub(super) size: Size,
    /// Sampling factor of the rows of the first component, also where it is the only one.
    pub(super) factor_down: usize,
    /// Units between restart markers; 0 for none.
    pub(super) restart: usize,
    /// The entropy-coded data and all that follows.
    pub(super) data: &'a [u8],
}

/// One component or three.
#[derive(Debug, Clone, Copy)]
pub(super) struct Components<'a> {
    values: [Component<'a>; 3],
    len: usize,
}

impl<'a> std::ops::Deref for Components<'a> {
    type Target = [Component<'a>];
    fn deref(&self) -> &Self::Target {
        &self.values[..self.len]
    }
}

impl std::ops::DerefMut for Components<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.values[..self.len]
    }
}

/// Segments that come one after another without anything between them.
struct Segments<'a> {
    rest: &'a [u8],
}

impl<'a> Segments<'a> {
    /// The next marker's code and its content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let [0xff, marker, high, low, ..] = *self.rest else { return None };
        let end = 2 + usize::from(u16::from_be_bytes([high, low]));
        let content = self.rest.get(4..end)?;
        self.rest = &self.rest[end..];
        Some((marker, content))
    }
}

/// Reads a header; `None` where libjpeg has to say what it makes of the file.
pub(super) fn read<'a>(bytes: &'a [u8], frame: &Frame) -> Option<Scan<'a>> {
    if frame.process != Process::Sequential || !frame.single_scan {
        return None;
    }
    let mut segments = Segments { rest: bytes.get(2..)? };
    let mut steps: [Option<&[u8]>; 4] = [None; 4];
    let mut specs: [[Option<Spec>; 4]; 2] = [[None; 4]; 2];
    let (mut restart, mut jfif, mut adobe) = (0, false, None);
    let mut components: Option<&[[u8; 3]]> = None;
    loop {
        match segments.next()? {
            (0xc0 | 0xc1, content) => components = Some(read_frame(content, frame, components.is_some())?),
            (0xc4, content) => read_huffman(content, &mut specs)?,
            (0xdb, content) => read_steps(content, &mut steps)?,
            (0xdd, content) => restart = usize::from(u16::from_be_bytes(content.try_into().ok()?)),
            (0xda, content) => {
                let components = components?;
                if !is_ycc(components, jfif, adobe) {
                    return None;
                }
                let components = join(content, components, &steps, &specs)?;
                let factor_down = usize::from(frame.sampling[0].1);
                return Some(Scan { components, size: frame.size, factor_down, restart, data: segments.rest });
            }
            // JFIF 1.x; libjpeg warns of other major versions.
            (0xe0, [b'J', b'F', b'I', b'F', 0, major, rest @ ..]) if rest.len() >= 8 => {
                if *major != 1 {
                    return None;
                }
                jfif = true;
            }
            (0xee, [b'A', b'd', b'o', b'b', b'e', rest @ ..]) if rest.len() >= 7 => adobe = Some(rest[6]),
            (0xe0..=0xef | 0xfe, _) => {}
            _ => return None,
        }
    }
}

fn read_frame<'a>(content: &'a [u8], frame: &Frame, is_second: bool) -> Option<&'a [[u8; 3]]> {
    let [8, y0, y1, x0, x1, count, components @ ..] = content else { return None };
    let size = Size::new(u16::from_be_bytes([*x0, *x1]).into(), u16::from_be_bytes([*y0, *y1]).into());
    let (components, rest) = components.as_chunks::<3>();
    let is_same = components.iter().zip(&frame.sampling).all(|(c, f)| (c[1] >> 4, c[1] & 15) == *f);
    let is_known =
        matches!(frame.sampling[..components.len().min(4)], [(1..=2, 1..=2)] | [(1..=2, 1..=2), (1, 1), (1, 1)]);
    // Two columns of chroma are upsampled in another way.
    let is_wide = components.len() == 1 || frame.sampling[0].0 == 1 || size.width > 4;
    let is_right = rest.is_empty() && components.len() == usize::from(*count) && *count == frame.components;
    (is_right && !is_second && size == frame.size && is_same && is_known && is_wide).then_some(components)
}

/// B.2.4.2; the tables themselves are checked where they are built.
fn read_huffman<'a>(mut content: &'a [u8], specs: &mut [[Option<Spec<'a>>; 4]; 2]) -> Option<()> {
    while let Some((&target, rest)) = content.split_first() {
        let (counts, rest) = rest.split_first_chunk::<16>()?;
        let count = counts.iter().map(|&n| usize::from(n)).sum();
        let (symbols, rest) = rest.split_at_checked(count)?;
        if count > 256 {
            return None;
        }
        *specs.get_mut(usize::from(target >> 4))?.get_mut(usize::from(target & 15))? = Some(Spec { counts, symbols });
        content = rest;
    }
    Some(())
}

/// B.2.4.1, 8-bit steps only.
fn read_steps<'a>(content: &'a [u8], steps: &mut [Option<&'a [u8]>; 4]) -> Option<()> {
    let (tables, rest) = content.as_chunks::<65>();
    for table in tables {
        *steps.get_mut(usize::from(table[0]))? = Some(&table[1..]);
    }
    rest.is_empty().then_some(())
}

/// Whether libjpeg takes the components for gray or YCbCr, and without a word.
fn is_ycc(components: &[[u8; 3]], jfif: bool, adobe: Option<u8>) -> bool {
    let ids = [0, 1, 2].map(|c| components.get(c).map_or(0, |c| c[0]));
    match (components.len(), jfif, adobe) {
        (1, _, _) | (3, true, _) | (3, false, Some(1)) => true,
        (3, false, None) => ids != *b"RGB",
        _ => false,
    }
}

/// The components with their tables, as the scan header (B.2.3) assigns them.
fn join<'a>(
    content: &[u8],
    components: &[[u8; 3]],
    steps: &[Option<&[u8]>; 4],
    specs: &[[Option<Spec<'a>>; 4]; 2],
) -> Option<Components<'a>> {
    let (&count, rest) = content.split_first()?;
    let (selectors, rest) = rest.split_at_checked(2 * components.len())?;
    if usize::from(count) != components.len() || rest != [0, 63, 0] {
        return None;
    }
    let mut joined = [None; 3];
    for (i, ([id, factors, table], selector)) in components.iter().zip(selectors.as_chunks::<2>().0).enumerate() {
        if selector[0] != *id || components[..i].iter().any(|other| other[0] == *id) {
            return None;
        }
        let steps = (*steps.get(usize::from(*table))?)?;
        let blocks = if components.len() == 1 { (1, 1) } else { (factors >> 4, factors & 15) };
        joined[i] = Some(Component {
            blocks: (blocks.0.into(), blocks.1.into()),
            steps: std::array::from_fn(|k| steps[k].into()),
            dc: (*specs[0].get(usize::from(selector[1] >> 4))?)?,
            ac: (*specs[1].get(usize::from(selector[1] & 15))?)?,
        });
    }
    let first = joined[0]?;
    Some(Components { values: joined.map(|c| c.unwrap_or(first)), len: components.len() })
}
