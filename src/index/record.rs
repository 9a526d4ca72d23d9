//! Seek points of one file in few bytes.

use crate::decode::{SeekGrid, SeekPoint, SeekPoints};

/// Bytes before the string of bits; the first four are for a checksum.
pub(super) const HEAD: usize = 28;

/// Columns of a row of units that may get points, in quarters: a crop of 1/16 of the area or more, and hardly wider than high,
/// begins left of there.
const QUARTERS: usize = 3;
/// Points in a row of units.
const MAX_COLUMNS: usize = 255;
/// Columns from a point to the next, from the densest grid on. Denser ones save nothing that can be measured.
const STEPS: [usize; 13] = [6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024];

/// Ranges of what is stored for each point but the first: distance in bits from the point before, and DC predictors.
struct Ranges {
    distance: (u32, u32),
    predicted: [(i16, i16); 3],
}

/// Bits for the values up to `most`.
fn bits(most: u32) -> u32 {
    32 - most.leading_zeros()
}

impl Ranges {
    fn of(points: impl Iterator<Item = (u32, [i16; 3])>) -> Self {
        let mut ranges = Self { distance: (u32::MAX, 0), predicted: [(i16::MAX, i16::MIN); 3] };
        for (distance, predicted) in points {
            ranges.distance = (ranges.distance.0.min(distance), ranges.distance.1.max(distance));
            for (range, value) in ranges.predicted.iter_mut().zip(predicted) {
                *range = (range.0.min(value), range.1.max(value));
            }
        }
        ranges
    }

    /// Bits of the distance, and of each predictor.
    fn widths(&self) -> (u32, [u32; 3]) {
        let predicted = self.predicted.map(|(low, high)| bits((i32::from(high) - i32::from(low)) as u32));
        (bits(self.distance.1 - self.distance.0), predicted)
    }
}

/// The points of a grid without the first, which every scan begins with.
fn stored<'a>(every: &'a SeekPoints, grid: &'a SeekGrid) -> impl Iterator<Item = (u32, [i16; 3])> + 'a {
    let at = |point: usize| &every.points()[grid.unit(point)];
    (1..grid.points()).map(move |point| {
        let SeekPoint { position, predicted } = *at(point);
        (position - at(point - 1).position, predicted)
    })
}

/// Bytes of the record of such a grid.
fn size(every: &SeekPoints, grid: &SeekGrid) -> usize {
    let (distance, predicted) = Ranges::of(stored(every, grid)).widths();
    let width = (distance + predicted.iter().sum::<u32>()) as usize;
    HEAD + (width * (grid.points() - 1)).div_ceil(8)
}

/// The densest grid whose record takes no more than `most` bytes; `None` if there is none.
fn choose(every: &SeekPoints, most: usize) -> Option<SeekGrid> {
    let units = every.grid().units;
    let reach = (units.0 * QUARTERS).div_ceil(4);
    let in_rows = STEPS.into_iter().filter(|&step| step < reach).map(|step| (step, 1, reach.div_ceil(step)));
    let rows = (0..12).map(|power| (reach, 1 << power, 1));
    in_rows
        .chain(rows)
        .filter(|&(_, _, columns)| columns <= MAX_COLUMNS)
        .map(|(across, down, columns)| SeekGrid { units, steps: (across, down), columns })
        // Every scan has a point at its start.
        .find(|grid| grid.points() > 1 && size(every, grid) <= most)
}

/// The record of as many of a file's points as `most` bytes hold; `None` if that is none. `every` has one for each unit.
pub(super) fn pack(every: &SeekPoints, most: usize) -> Option<Vec<u8>> {
    let grid = choose(every, most)?;
    let ranges = Ranges::of(stored(every, &grid));
    let (distance_bits, predicted_bits) = ranges.widths();
    let mut record = vec![0; 4];
    for value in [grid.units.0, grid.units.1, grid.steps.0, grid.steps.1] {
        record.extend_from_slice(&(value as u16).to_le_bytes());
    }
    record.extend_from_slice(&[grid.columns as u8, distance_bits as u8]);
    record.extend_from_slice(&ranges.distance.0.to_le_bytes());
    record.extend(predicted_bits.iter().map(|&bits| bits as u8));
    record.push(0);
    record.extend(ranges.predicted.iter().flat_map(|(low, _)| low.to_le_bytes()));
    debug_assert_eq!(record.len(), HEAD);
    let (mut pending, mut count) = (0_u64, 0);
    for (distance, predicted) in stored(every, &grid) {
        let mut put = |value: u32, bits: u32| {
            pending |= u64::from(value) << count;
            count += bits;
            while count >= 8 {
                record.push(pending as u8);
                pending >>= 8;
                count -= 8;
            }
        };
        put(distance - ranges.distance.0, distance_bits);
        for ((value, (low, _)), bits) in predicted.into_iter().zip(ranges.predicted).zip(predicted_bits) {
            put((i32::from(value) - i32::from(low)) as u32, bits);
        }
    }
    if count > 0 {
        record.push(pending as u8);
    }
    Some(record)
}

/// What stands before the points.
#[derive(Clone, Copy)]
struct Head {
    grid: SeekGrid,
    distance: (u32, u32),
    predicted: [(i16, u32); 3],
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEAD] = bytes.first_chunk()?;
        let short = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let [across, down, column_step, row_step] = [4, 6, 8, 10].map(|at| usize::from(short(at)));
        let grid = SeekGrid { units: (across, down), steps: (column_step, row_step), columns: bytes[12].into() };
        let least = u32::from_le_bytes([bytes[14], bytes[15], bytes[16], bytes[17]]);
        let (distance, predicted) = ((least, bytes[13].into()), [0, 1, 2].map(|c| u32::from(bytes[18 + c])));
        let is_right = distance.1 <= 32 && predicted.iter().all(|&bits| bits <= 16) && bytes[21] == 0;
        let predicted = [0, 1, 2].map(|c| (short(22 + 2 * c) as i16, predicted[c]));
        is_right.then_some(Self { grid: grid.checked()?, distance, predicted })
    }

    fn width(&self) -> u32 {
        self.distance.1 + self.predicted.iter().map(|(_, bits)| bits).sum::<u32>()
    }

    fn len(&self) -> usize {
        HEAD + (self.width() as usize * (self.grid.points() - 1)).div_ceil(8)
    }
}

/// The record that `bytes` begin with; `None` if it is none, or not all there.
pub(super) fn first(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(..Head::read(bytes)?.len())
}

/// The points of a whole record.
pub(super) fn unpack(record: &[u8], to: &mut SeekPoints) -> Option<()> {
    let head = Head::read(record)?;
    let strings = record.get(HEAD..head.len())?;
    to.refill(head.grid, |points| {
        points.push(SeekPoint::default());
        let (mut position, width) = (0_u32, head.width() as usize);
        // Most often a load has all of a point.
        let is_narrow = width + 7 <= 64;
        for point in 1..head.grid.points() {
            let mut at = width * (point - 1);
            let load = |at: usize| u64_at(strings, at / 8) >> (at % 8);
            let mut window = load(at);
            let mut take = |bits: u32| {
                if !is_narrow {
                    window = load(at);
                }
                let value = window & ((1 << bits) - 1);
                window >>= bits;
                at += bits as usize;
                value as u32
            };
            position = position.checked_add(head.distance.0)?.checked_add(take(head.distance.1))?;
            let predicted = head.predicted.map(|(low, bits)| low.wrapping_add(take(bits) as u16 as i16));
            points.push(SeekPoint { position, predicted });
        }
        Some(())
    })
}

/// Eight bytes from `at` on, zeros after the end.
#[inline(always)]
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    if let Some(chunk) = rest.first_chunk() {
        return u64::from_le_bytes(*chunk);
    }
    let mut chunk = [0; 8];
    chunk[..rest.len()].copy_from_slice(rest);
    u64::from_le_bytes(chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points of `across` x `down` units that grow by uneven distances.
    fn every(across: usize, down: usize) -> SeekPoints {
        let grid = SeekGrid { units: (across, down), steps: (1, 1), columns: across };
        // In high images over the full range, so that a point takes more bits than a load has.
        let wide = |unit: usize| (unit as u32).wrapping_mul(0x9e37_79b9) as i16;
        let predicted = |unit: usize| match (unit, down > 100) {
            (0, _) => [0; 3],
            (_, true) => [wide(unit), wide(unit + 1), wide(unit + 7)],
            (_, false) => [(unit * 7 % 900) as i16 - 400, unit as i16 % 5, -1],
        };
        let mut position = 0;
        let points = (0..across * down)
            .map(|unit| {
                let point = SeekPoint { position, predicted: predicted(unit) };
                let more = if down > 100 { 40 * u32::from(wide(unit).unsigned_abs()) } else { 0 };
                position += 90 + (unit * unit) as u32 % 211 + more;
                point
            })
            .collect();
        SeekPoints::new(grid, points).expect("one for each unit")
    }

    #[test]
    fn the_points_of_the_grid_come_back_and_the_bytes_keep_to_the_bound() {
        for (across, down) in [(1, 2), (2, 1), (7, 5), (63, 47), (1, 300), (900, 1), (40, 40)] {
            let every = every(across, down);
            let mut finest = 0;
            for most in (0..2500).step_by(17) {
                let Some(record) = pack(&every, most) else {
                    assert!(most < 200 || across * down == 2, "{across} x {down} in {most} bytes");
                    continue;
                };
                assert!(record.len() <= most, "{} of {most} bytes", record.len());
                let mut points = SeekPoints::default();
                unpack(&record, &mut points).expect("the record is sound");
                assert_eq!(points, every.thinned(*points.grid()).expect("every unit has a point"));
                let SeekGrid { steps, columns, .. } = *points.grid();
                assert!((columns - 1) * steps.0 < across.div_ceil(4) * 3, "{:?}", points.grid());
                assert!(points.points().len() >= finest, "more bytes never give fewer points");
                finest = points.points().len();
                let longer = [&record[..], b"more"].concat();
                assert_eq!(first(&longer), Some(&record[..]));
                for len in 0..record.len() {
                    assert!(first(&record[..len]).is_none() && unpack(&record[..len], &mut points).is_none());
                }
            }
            assert!(finest > 1 || across * down <= 2, "{across} x {down}: {finest}");
        }
    }

    #[test]
    fn a_record_is_the_bytes_that_the_page_on_the_format_gives() {
        let grid = SeekGrid { units: (25, 1), steps: (1, 1), columns: 25 };
        let mut points = vec![SeekPoint { position: 5, predicted: [9, 7, 1] }; 25];
        points[0] = SeekPoint::default();
        points[6] = SeekPoint { position: 10, predicted: [-3, 7, 0] };
        points[12] = SeekPoint { position: 25, predicted: [5, 7, 1] };
        points[18] = SeekPoint { position: 31, predicted: [0, 7, 0] };
        let record = pack(&SeekPoints::new(grid, points).expect("one for each unit"), 32).expect("it fits");
        // Distances 10, 15, 6 over 6 in 4 bits; -3, 5, 0 over -3 in 4; 7, 7, 7 in none; 0, 1, 0 in one. The last point first:
        // 0 0011 0000, 1 1000 1001, 0 0000 0100.
        let (least, string) = (6, 0x00c3_1204_u32);
        let head = [0, 0, 0, 0, 25, 0, 1, 0, 6, 0, 1, 0, 4, 4, least, 0, 0, 0, 4, 0, 1, 0, 0xfd, 0xff, 7, 0, 0, 0];
        assert_eq!(record, [&head[..], &string.to_le_bytes()].concat());
    }

    #[test]
    fn no_bytes_make_it_panic_or_take_much_memory() {
        let sound = pack(&every(40, 40), 2000).expect("it fits");
        let mut points = SeekPoints::default();
        for at in 0..HEAD {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut record = sound.clone();
                record[at] = value;
                if unpack(&record, &mut points).is_some() {
                    assert!(points.points().len() <= 40 * 40);
                }
            }
        }
        // Widths of zero: points without a bit each, as many as a grid may have.
        let mut record = vec![0; HEAD];
        record[4..8].copy_from_slice(&[0, 32, 0, 32]);
        record[8..13].copy_from_slice(&[1, 0, 1, 0, 255]);
        unpack(&record, &mut points).expect("it is a record");
        assert_eq!(points.points().len(), 255 * 8192);
    }
}
