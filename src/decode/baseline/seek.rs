//! Places in a JPEG's scan where decoding can begin.
//!
//! A Huffman-coded scan has to be read from its start, since where a unit begins and what its DC coefficients are relative to
//! follows from all that lies before. A seek point is that state, written down.

/// The state of the decoder before a unit of the scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SeekPoint {
    /// The unit's first bit, counted from the start of the entropy-coded data as it is stored: stuffed zeros count, and where
    /// a restart marker precedes the unit it is the bit after the marker.
    pub position: u32,
    /// DC predictors of the components; 0 for those that there are not.
    pub predicted: [i16; 3],
}

/// Which units of a scan have a seek point: in every so many rows of units, from the first on, so many, every so many columns,
/// from the first on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeekGrid {
    /// Columns and rows of units in the image, each 1 to 8192.
    pub units: (usize, usize),
    /// Columns from a point to the next, and rows from a row with points to the next, at least 1.
    pub steps: (usize, usize),
    /// Points in a row that has points, at least 1: the last one at a column that there is.
    pub columns: usize,
}

impl SeekGrid {
    /// Most units on a side: 65535 pixels, 8 to a unit.
    pub(crate) const MAX_UNITS: usize = 8192;

    /// One point for each unit.
    pub(super) fn every(units: (usize, usize)) -> Option<Self> {
        Self { units, steps: (1, 1), columns: units.0 }.checked()
    }

    /// Itself, if it is in range.
    pub(crate) fn checked(self) -> Option<Self> {
        let Self { units, steps, columns } = self;
        let is_side = |side: usize| (1..=Self::MAX_UNITS).contains(&side);
        let is_step = |step: usize| (1..=usize::from(u16::MAX)).contains(&step);
        let is_right = is_side(units.0) && is_side(units.1) && is_step(steps.0) && is_step(steps.1);
        (is_right && columns >= 1 && (columns - 1) * steps.0 < units.0).then_some(self)
    }

    /// Rows of units that have points.
    pub(crate) fn rows(&self) -> usize {
        self.units.1.div_ceil(self.steps.1)
    }

    /// Number of points, that of the first unit included.
    pub(crate) fn points(&self) -> usize {
        self.rows() * self.columns
    }

    /// The unit of a point.
    pub(crate) fn unit(&self, point: usize) -> usize {
        point / self.columns * self.steps.1 * self.units.0 + point % self.columns * self.steps.0
    }

    /// The last point whose unit is at or before `unit`.
    #[inline]
    fn before(&self, unit: usize) -> usize {
        // The end of the image counts to its last row.
        let row = (unit / self.units.0).min(self.units.1 - 1);
        let column = unit - row * self.units.0;
        let last = self.columns - 1;
        let column = if row.is_multiple_of(self.steps.1) { (column / self.steps.0).min(last) } else { last };
        row / self.steps.1 * self.columns + column
    }
}

/// Seek points of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeekPoints {
    grid: SeekGrid,
    points: Vec<SeekPoint>,
}

impl Default for SeekPoints {
    /// Those of no file; to be filled.
    fn default() -> Self {
        Self { grid: SeekGrid { units: (1, 1), steps: (1, 1), columns: 1 }, points: vec![SeekPoint::default()] }
    }
}

impl SeekPoints {
    /// Points in the order of their units; `None` if they are not as many as the grid has.
    pub fn new(grid: SeekGrid, points: Vec<SeekPoint>) -> Option<Self> {
        (grid.checked()?.points() == points.len()).then_some(Self { grid, points })
    }

    /// Replaces the points, as [`SeekPoints::new`] does, in the memory of these. What `fill` leaves is of no use where this is
    /// `None`.
    pub(crate) fn refill(
        &mut self,
        grid: SeekGrid,
        fill: impl FnOnce(&mut Vec<SeekPoint>) -> Option<()>,
    ) -> Option<()> {
        self.points.clear();
        fill(&mut self.points)?;
        self.grid = grid.checked()?;
        (grid.points() == self.points.len()).then_some(())
    }

    /// Where they are.
    pub fn grid(&self) -> &SeekGrid {
        &self.grid
    }

    /// The points, in the order of their units.
    pub fn points(&self) -> &[SeekPoint] {
        &self.points
    }

    /// Those of a coarser grid; `None` if a unit of it has no point here.
    pub fn thinned(&self, grid: SeekGrid) -> Option<Self> {
        grid.checked().filter(|grid| grid.units == self.grid.units)?;
        let point = |point: usize| {
            let (unit, found) = self.before(grid.unit(point))?;
            (unit == grid.unit(point)).then_some(*found)
        };
        Self::new(grid, (0..grid.points()).map(point).collect::<Option<_>>()?)
    }

    /// Whether they can be of an image of so many units.
    pub(super) fn is_of(&self, units: (usize, usize)) -> bool {
        self.grid.units == units && self.points.len() == self.grid.points()
    }

    /// The last point at or before `unit`, with its unit.
    #[inline]
    pub(super) fn before(&self, unit: usize) -> Option<(usize, &SeekPoint)> {
        let point = self.grid.before(unit);
        Some((self.grid.unit(point), self.points.get(point)?))
    }
}
