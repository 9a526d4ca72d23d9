//! What the scans of a sequential JPEG need from the segments before them. Strict: any oddity is somebody else's to judge.

use super::huffman::Spec;
use super::scaled;
use crate::decode::markers::{Frame, Process};
use crate::packed::Colour;
use crate::shape::Size;

/// The marker that ends an image.
pub(super) const EOI: u8 = 0xd9;

/// One component of a scan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Component<'a> {
    /// Place in the frame.
    pub(super) index: usize,
    /// Blocks of a unit of the scan across and down.
    pub(super) blocks: (usize, usize),
    /// M of the M/8 that its blocks are transformed to.
    pub(super) scale: usize,
    /// Quantisation steps in zigzag order.
    pub(super) steps: [i32; 64],
    pub(super) dc: Spec<'a>,
    pub(super) ac: Spec<'a>,
}

impl Component<'_> {
    /// Sets the scale, and makes the steps of the coefficients zero that are not of the low M x M.
    pub(super) fn keep_low(&mut self, m: usize) {
        self.scale = m;
        for (k, step) in self.steps.iter_mut().enumerate() {
            if !scaled::is_low(k, m) {
                *step = 0;
            }
        }
    }
}

/// All that is needed to read a scan.
#[derive(Debug, Clone)]
pub(super) struct Scan<'a> {
    /// Those of the image that are in this scan.
    pub(super) components: Components<'a>,
    /// What the image's components mean.
    pub(super) colour: Colour,
    pub(super) frame: Frame,
    /// Units between restart markers; 0 for none.
    pub(super) restart: usize,
    /// The entropy-coded data and all that follows.
    pub(super) data: &'a [u8],
}

/// One to four components.
#[derive(Debug, Clone, Copy)]
pub(super) struct Components<'a> {
    values: [Component<'a>; 4],
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

/// A walk from scan to scan, with the tables that are in force.
pub(super) struct Header<'a> {
    segments: Segments<'a>,
    frame: Frame,
    components: Option<&'a [[u8; 3]]>,
    /// 64 steps of one byte or of two.
    steps: [Option<&'a [u8]>; 4],
    specs: [[Option<Spec<'a>>; 4]; 2],
    restart: usize,
    jfif: bool,
    adobe: Option<u8>,
    /// What the first scan found.
    colour: Option<Colour>,
}

/// Reads to the only scan; `None` where libjpeg has to say what it makes of the file, and where there are several.
pub(super) fn read<'a>(bytes: &'a [u8], frame: &Frame) -> Option<Scan<'a>> {
    if !frame.single_scan {
        return None;
    }
    Header::new(bytes, frame)?.next_scan()?
}

impl<'a> Header<'a> {
    pub(super) fn new(bytes: &'a [u8], frame: &Frame) -> Option<Self> {
        (frame.process == Process::Sequential).then_some(())?;
        let segments = Segments { rest: bytes.get(2..)? };
        let (steps, specs) = ([None; 4], [[None; 4]; 2]);
        let (components, colour, adobe) = (None, None, None);
        Some(Self { segments, frame: *frame, components, steps, specs, restart: 0, jfif: false, adobe, colour })
    }

    /// Reads to the next scan, and `Some(None)` where the image ends instead; `None` where libjpeg has to say what it makes of
    /// the file.
    pub(super) fn next_scan(&mut self) -> Option<Option<Scan<'a>>> {
        loop {
            if self.colour.is_some() && self.segments.rest.starts_with(&[0xff, EOI]) {
                return Some(None);
            }
            match self.segments.next()? {
                (0xc0 | 0xc1, content) => {
                    self.components = Some(read_frame(content, &self.frame, self.components.is_some())?);
                }
                (0xc4, content) => read_huffman(content, &mut self.specs)?,
                (0xdb, content) => read_steps(content, &mut self.steps)?,
                (0xdd, content) => self.restart = usize::from(u16::from_be_bytes(content.try_into().ok()?)),
                (0xda, content) => {
                    let components = self.join(content, self.components?)?;
                    if self.colour.is_none() {
                        self.colour = Some(colour(self.components?, self.jfif, self.adobe)?);
                    }
                    let (colour, frame) = (self.colour?, self.frame);
                    return Some(Some(Scan {
                        components,
                        colour,
                        frame,
                        restart: self.restart,
                        data: self.segments.rest,
                    }));
                }
                // JFIF 1.x; libjpeg warns of other major versions.
                (0xe0, [b'J', b'F', b'I', b'F', 0, major, rest @ ..]) if rest.len() >= 8 => {
                    if *major != 1 {
                        return None;
                    }
                    self.jfif = true;
                }
                (0xee, [b'A', b'd', b'o', b'b', b'e', rest @ ..]) if rest.len() >= 7 => self.adobe = Some(rest[6]),
                (0xe0..=0xef | 0xfe, _) => {}
                _ => return None,
            }
        }
    }

    /// Goes on after the data of a scan, `rest` being what follows it.
    pub(super) fn go_on(&mut self, rest: &'a [u8]) {
        self.segments.rest = rest;
    }

    /// The components with their tables, as the scan header (B.2.3) assigns them.
    fn join(&self, content: &[u8], components: &[[u8; 3]]) -> Option<Components<'a>> {
        /// Blocks that a unit of several components may have (B.2.3).
        const BLOCKS_IN_UNIT: usize = 10;
        let (&count, rest) = content.split_first()?;
        let (selectors, rest) = rest.split_at_checked(2 * usize::from(count))?;
        let is_all = usize::from(count) == components.len();
        if rest != [0, 63, 0] || is_all != self.frame.single_scan || !(1..=4).contains(&count) {
            return None;
        }
        let (mut joined, mut next, mut blocks_in_unit) = ([None; 4], 0, 0);
        for (joined, [id, tables]) in joined.iter_mut().zip(selectors.as_chunks::<2>().0) {
            let index = next + components[next..].iter().position(|component| component[0] == *id)?;
            next = index + 1;
            let (factors, table) = (self.frame.sampling[index], components[index][2]);
            let blocks = if count == 1 { (1, 1) } else { (factors.0.into(), factors.1.into()) };
            blocks_in_unit += blocks.0 * blocks.1;
            let steps = (*self.steps.get(usize::from(table))?)?;
            *joined = Some(Component {
                index,
                blocks,
                scale: 8,
                steps: std::array::from_fn(|k| match steps.len() {
                    64 => steps[k].into(),
                    _ => u16::from_be_bytes([steps[2 * k], steps[2 * k + 1]]).into(),
                }),
                dc: (*self.specs[0].get(usize::from(tables >> 4))?)?,
                ac: (*self.specs[1].get(usize::from(tables & 15))?)?,
            });
        }
        let first = joined[0]?;
        let is_right = count == 1 || blocks_in_unit <= BLOCKS_IN_UNIT;
        is_right.then(|| Components { values: joined.map(|c| c.unwrap_or(first)), len: count.into() })
    }
}

fn read_frame<'a>(content: &'a [u8], frame: &Frame, is_second: bool) -> Option<&'a [[u8; 3]]> {
    let [8, y0, y1, x0, x1, count, components @ ..] = content else { return None };
    let size = Size::new(u16::from_be_bytes([*x0, *x1]).into(), u16::from_be_bytes([*y0, *y1]).into());
    let (components, rest) = components.as_chunks::<3>();
    let is_same = components.iter().zip(&frame.sampling).all(|(c, f)| (c[1] >> 4, c[1] & 15) == *f);
    // Others libjpeg refuses to upsample.
    let largest = frame.largest_sampling();
    let is_whole = |f: &(u8, u8)| largest.0.is_multiple_of(f.0) && largest.1.is_multiple_of(f.1);
    let is_known = frame.sampling[..components.len().min(4)].iter().all(is_whole);
    let is_unique = (1..components.len()).all(|i| components[..i].iter().all(|other| other[0] != components[i][0]));
    let is_right = rest.is_empty() && components.len() == usize::from(*count) && *count == frame.components;
    (is_right && !is_second && size == frame.size && is_same && is_known && is_unique).then_some(components)
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

/// B.2.4.1.
fn read_steps<'a>(mut content: &'a [u8], steps: &mut [Option<&'a [u8]>; 4]) -> Option<()> {
    while let Some((&target, rest)) = content.split_first() {
        let width = match target >> 4 {
            0 => 1,
            1 => 2,
            _ => return None,
        };
        let (table, rest) = rest.split_at_checked(64 * width)?;
        *steps.get_mut(usize::from(target & 15))? = Some(table);
        content = rest;
    }
    Some(())
}

/// What libjpeg takes the components for; `None` where it has something to say of it.
fn colour(components: &[[u8; 3]], jfif: bool, adobe: Option<u8>) -> Option<Colour> {
    let ids = [0, 1, 2].map(|c| components.get(c).map_or(0, |c| c[0]));
    Some(match (components.len(), jfif, adobe) {
        (1, ..) => Colour::Gray,
        (3, true, _) | (3, false, Some(1)) => Colour::YCbCr,
        (3, false, Some(0)) => Colour::Rgb,
        (3, false, None) if ids == *b"RGB" => Colour::Rgb,
        (3, false, None) => Colour::YCbCr,
        (4, _, Some(0) | None) => Colour::Cmyk,
        (4, _, Some(2)) => Colour::Ycck,
        _ => return None,
    })
}
