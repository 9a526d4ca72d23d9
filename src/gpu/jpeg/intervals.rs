//! The entropy-coded data without stuffing and markers, and the places in it where the decoder's state is known.

use crate::decode::baseline::outline::Scan;
use crate::decode::{SeekPoint, SeekPoints};
use std::ops::Range;

/// Most bytes of entropy-coded data of a scan, and most intervals. What is larger is decoded on the CPU, so that no image holds up
/// its batch: of these bytes the kernel makes 64 chunks of 256 subsequences, and of each at most [`super::ROUNDS`] rounds.
const MOST_BYTES: usize = 1 << 20;
const MOST_INTERVALS: usize = 1 << 16;

const RST0: u8 = 0xd0;
const RST7: u8 = 0xd7;

/// Units of a scan that come one after another, from a known state on: all of them, or those after a restart marker or a seek
/// point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval {
    /// The first bit, and the end: of the bits of the last unit, or of the byte that it ends in.
    pub(super) begin: u32,
    pub(super) end: u32,
    /// The first unit, and the number of them.
    pub(super) unit: u32,
    pub(super) units: u32,
    /// DC predictors of the scan's components.
    pub(super) predicted: [i16; 4],
    /// What they are after the last unit, whose last bit is then that before the end.
    pub(super) then: Option<[i16; 4]>,
}

/// What the kernel gets of a scan's data. Kept from scan to scan for its memory.
#[derive(Debug, Default)]
pub(super) struct Entropy {
    pub(super) bytes: Vec<u8>,
    pub(super) intervals: Vec<Interval>,
}

impl Entropy {
    /// Takes the data of a whole scan, and returns what follows it.
    pub(super) fn take_all<'a>(&mut self, scan: &Scan<'a>) -> Option<&'a [u8]> {
        let units = u32::try_from(scan.units.0 * scan.units.1).ok()?;
        let mut copy = Copy::new(self, scan.data, scan.restart);
        copy.open(0, 0, [0; 4]);
        copy.until_end(units)?;
        Some(&copy.data[copy.at..])
    }

    /// Takes the data of the needed units alone, and of those that lie between them and the seek points around them.
    /// Subsequences are of `length` bits, and intervals at least that long where there are points enough.
    pub(super) fn take_some(&mut self, scan: &Scan, points: &SeekPoints, length: u32) -> Option<()> {
        let all = scan.units.0;
        let total = all * scan.units.1;
        let grid = points.grid();
        if grid.units != scan.units || scan.components.len() > 3 {
            return None;
        }
        let points = points.points();
        let unit = |point: usize| if point < points.len() { grid.unit(point) } else { total };
        let is_needed = |point: usize| is_needed(unit(point)..unit(point + 1), scan);
        let mut copy = Copy::new(self, scan.data, scan.restart);
        for (at, point) in points.iter().enumerate() {
            if !is_needed(at) {
                continue;
            }
            if copy.open.is_none() {
                copy.jump(point, unit(at))?;
            }
            if at + 1 == points.len() {
                copy.until_end(total as u32)?;
                break;
            }
            let goes_on = is_needed(at + 1);
            let begin = copy.begin;
            let next_end = points.get(at + 2).map_or(u32::MAX, |point| point.position);
            if !goes_on || next_end.saturating_sub(begin) > length {
                copy.until_point(&points[at + 1], unit(at + 1), goes_on)?;
            }
        }
        Some(())
    }
}

/// Whether some of the units are in the needed columns and rows.
fn is_needed(units: Range<usize>, scan: &Scan) -> bool {
    let all = scan.units.0;
    // The part of these units that is in the needed rows.
    let (start, end) = (units.start.max(scan.rows.start * all), units.end.min(scan.rows.end * all));
    start < end && {
        let row = start / all;
        let is_in = |row: usize| start < row * all + scan.columns.end && end > row * all + scan.columns.start;
        is_in(row) || is_in(row + 1) && (row + 1) * all < end
    }
}

/// A copy of a scan's data on its way.
struct Copy<'e, 'a> {
    to: &'e mut Entropy,
    data: &'a [u8],
    restart: u32,
    at: usize,
    /// The interval that was begun: its end and number of units are not known.
    open: Option<Interval>,
    /// Where that is in the data as it is stored, in bits.
    begin: u32,
}

impl<'e, 'a> Copy<'e, 'a> {
    fn new(to: &'e mut Entropy, data: &'a [u8], restart: usize) -> Self {
        to.bytes.clear();
        to.intervals.clear();
        Self { to, data, restart: restart as u32, at: 0, open: None, begin: 0 }
    }

    /// Begins an interval at a bit of the byte that is copied next.
    fn open(&mut self, unit: u32, bit: u32, predicted: [i16; 4]) {
        let begin = 8 * self.to.bytes.len() as u32 + bit;
        self.open = Some(Interval { begin, end: 0, unit, units: 0, predicted, then: None });
        self.begin = 8 * self.at as u32 + bit;
    }

    /// Ends the interval before a unit.
    fn close(&mut self, unit: u32, bit: u32, then: Option<[i16; 4]>) -> Option<()> {
        let open = self.open.take()?;
        let end = 8 * self.to.bytes.len() as u32 + bit;
        let units = unit.checked_sub(open.unit)?;
        if units == 0 || end <= open.begin || self.to.intervals.len() == MOST_INTERVALS {
            return None;
        }
        self.to.intervals.push(Interval { end, units, then, ..open });
        Some(())
    }

    /// Copies up to the byte `end` of the data, and not beyond the next marker, whose code it returns.
    fn copy(&mut self, end: usize) -> Option<Option<u8>> {
        while self.at < end {
            let length = next_ff(self.data.get(self.at..end)?);
            self.to.bytes.extend_from_slice(&self.data[self.at..][..length]);
            self.at += length;
            if self.to.bytes.len() > MOST_BYTES {
                return None;
            }
            if self.at < end {
                match self.data.get(self.at + 1)? {
                    0 => self.to.bytes.push(0xff),
                    marker => return Some(Some(*marker)),
                }
                self.at += 2;
            }
        }
        (self.at == end).then_some(None)
    }

    /// Goes past a restart marker, which has to be the one that is due, and not after the unit `last`.
    fn pass(&mut self, marker: u8, last: u32) -> Option<()> {
        let number = self.open?.unit.checked_div(self.restart)?;
        let unit = (number + 1).checked_mul(self.restart)?;
        if unit > last || marker != RST0 + (number % 8) as u8 {
            return None;
        }
        self.close(unit, 0, None)?;
        self.at += 2;
        self.open(unit, 0, [0; 4]);
        Some(())
    }

    /// Takes all up to the end of the scan, of so many units.
    fn until_end(&mut self, units: u32) -> Option<()> {
        loop {
            match self.copy(self.data.len())? {
                Some(marker @ RST0..=RST7) => self.pass(marker, units.checked_sub(1)?)?,
                Some(_) => break,
                None => return None,
            }
        }
        if self.restart > 0 && self.open?.unit + self.restart < units {
            return None;
        }
        self.close(units, 0, None)
    }

    /// Begins at a seek point.
    fn jump(&mut self, point: &SeekPoint, unit: usize) -> Option<()> {
        self.at = point.position as usize / 8;
        self.open(unit as u32, point.position % 8, predicted(point));
        (self.at <= self.data.len()).then_some(())
    }

    /// Takes all up to a seek point, and begins the next interval there or ends.
    fn until_point(&mut self, point: &SeekPoint, unit: usize, goes_on: bool) -> Option<()> {
        let (end, bit, unit) = (point.position as usize / 8, point.position % 8, unit as u32);
        while let Some(marker) = self.copy(end)? {
            self.pass(marker, unit)?;
        }
        let open = self.open?;
        if self.restart > 0 && (open.unit / self.restart + 1) * self.restart <= unit {
            return None;
        }
        if open.unit == unit {
            // A restart marker is before it: the same place, and the same state.
            let is_same = self.begin == point.position && open.predicted == predicted(point);
            self.open = Some(open).filter(|_| goes_on);
            return is_same.then_some(());
        }
        self.close(unit, bit, Some(predicted(point)))?;
        if goes_on {
            self.open(unit, bit, predicted(point));
        } else if bit > 0 {
            // The byte that the last unit ends in.
            self.copy(end + if self.data.get(end) == Some(&0xff) { 2 } else { 1 })?.is_none().then_some(())?;
        }
        Some(())
    }
}

fn predicted(point: &SeekPoint) -> [i16; 4] {
    let [a, b, c] = point.predicted;
    [a, b, c, 0]
}

/// Number of bytes before the first that is 0xff.
fn next_ff(bytes: &[u8]) -> usize {
    let blocks = bytes.as_chunks::<32>().0;
    let clear = blocks.iter().take_while(|block| block.iter().fold(true, |clear, byte| clear & (*byte != 0xff)));
    let at = 32 * clear.count();
    bytes[at..].iter().position(|byte| *byte == 0xff).map_or(bytes.len(), |found| at + found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::SeekGrid;

    fn scan(data: &[u8], restart: usize, units: (usize, usize)) -> Scan<'_> {
        let (columns, rows) = (0..units.0, 0..units.1);
        Scan { components: Vec::new(), restart, units, columns, rows, last: units.1, data }
    }

    #[test]
    fn stuffing_goes_and_restart_markers_begin_intervals() {
        let data = [1, 0xff, 0, 2, 0xff, 0xd0, 3, 0xff, 0xd1, 0xff, 0, 0xff, 0xd9, 7];
        let mut entropy = Entropy::default();
        assert_eq!(entropy.take_all(&scan(&data, 2, (5, 1))), Some(&data[11..]));
        assert_eq!(entropy.bytes, [1, 0xff, 2, 3, 0xff]);
        let of = |begin, end, unit, units| Interval { begin, end, unit, units, predicted: [0; 4], then: None };
        assert_eq!(entropy.intervals, [of(0, 24, 0, 2), of(24, 32, 2, 2), of(32, 40, 4, 1)]);
        for (restart, units) in [(2, 4), (2, 7), (1, 5), (0, 5)] {
            assert_eq!(entropy.take_all(&scan(&data, restart, (units, 1))), None, "{restart}, {units}");
        }
        for len in 0..13 {
            assert_eq!(entropy.take_all(&scan(&data[..len], 2, (5, 1))), None, "{len}");
        }
        let mut wrong = data;
        wrong[5] = 0xd1;
        assert_eq!(entropy.take_all(&scan(&wrong, 2, (5, 1))), None);
    }

    #[test]
    fn the_first_ff_is_found_at_any_place() {
        for at in 0..100 {
            let mut bytes = [0xfe; 100];
            bytes[at] = 0xff;
            assert_eq!([next_ff(&bytes), next_ff(&bytes[..at])], [at, at]);
        }
    }

    #[test]
    fn with_seek_points_only_what_lies_around_the_needed_units_is_taken() {
        let data: Vec<u8> = (0..100).chain([0xff, 0xd9]).collect();
        let grid = SeekGrid { units: (4, 5), steps: (2, 1), columns: 2 };
        // Two units take 8 bytes and 2 bits.
        let points = (0..10).map(|i| SeekPoint { position: 66 * i, predicted: [i as i16, 0, 0] }).collect();
        let points = SeekPoints::new(grid, points).unwrap();
        let needs = Scan { columns: 1..2, rows: 1..3, ..scan(&data, 0, (4, 5)) };
        let mut entropy = Entropy::default();
        entropy.take_some(&needs, &points, 64).unwrap();
        // Points 2 and 4 are before the needed units, 3 and 5 after them.
        assert_eq!(entropy.bytes, [&data[16..25], &data[33..42]].concat());
        let of = |begin, end, unit, dc| Interval {
            begin,
            end,
            unit,
            units: 2,
            predicted: [dc, 0, 0, 0],
            then: Some([dc + 1, 0, 0, 0]),
        };
        assert_eq!(entropy.intervals, [of(4, 70, 4, 2), of(72, 138, 8, 4)]);
        let needs = Scan { columns: 0..4, rows: 3..5, ..scan(&data, 0, (4, 5)) };
        entropy.take_some(&needs, &points, 140).unwrap();
        assert_eq!(entropy.bytes, data[49..100]);
        let found: Vec<_> = entropy.intervals.iter().map(|i| (i.begin, i.end, i.unit, i.units, i.then)).collect();
        let expected =
            [(4, 136, 12, 4, Some([8, 0, 0, 0])), (136, 202, 16, 2, Some([9, 0, 0, 0])), (202, 408, 18, 2, None)];
        assert_eq!(found, expected, "as long as 140 bits allow, and the end is not known");
    }
}
