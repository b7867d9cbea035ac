//! Drawing with replacement: the point of each position is a word of its own, which chooses the cell and the row.

use std::ops::Range;

use crate::line::Line;
use crate::philox::{Domain, Philox, wide_product};
use crate::schedule::Schedule;
use crate::{Error, LINE};

/// Bits of a word that are not its point.
const SPARE: u32 = u64::BITS - LINE.trailing_zeros();
/// Words of a generator call.
const WORDS: usize = 4;
/// Points that are computed together.
const RUN: usize = 256;

/// Independent rows.
pub struct Independent {
    philox: Philox,
    sizes: Vec<u32>,
    picker: Option<Picker>,
}

impl Independent {
    pub fn new(seed: u64, sizes: &[u32]) -> Self {
        Self {
            philox: Philox::new(seed, Domain::Points),
            sizes: sizes.to_vec(),
            picker: None,
        }
    }

    /// Writes the rows at the positions from `position` on.
    pub fn fill(&mut self, schedule: &Schedule, position: u64, rows: &mut [i64]) -> Result<(), Error> {
        let mut rows = rows;
        self.for_points(schedule, position..position + rows.len() as u64, |picker, points| {
            let (now, later) = std::mem::take(&mut rows).split_at_mut(points.len());
            for (row, &point) in now.iter_mut().zip(points) {
                *row = picker.cells[usize::from(picker.line.cell(point))].row(point);
            }
            rows = later;
        })
    }

    /// Draws of every cell at a range of positions.
    pub fn counts(&mut self, schedule: &Schedule, range: Range<u64>) -> Result<Vec<u64>, Error> {
        let mut counts = vec![0; self.sizes.len()];
        self.for_points(schedule, range, |picker, points| {
            for &point in points {
                counts[usize::from(picker.line.cell(point))] += 1;
            }
        })?;
        Ok(counts)
    }

    /// Visits the points of a range of positions in runs, with what turns them into rows.
    fn for_points(
        &mut self,
        schedule: &Schedule,
        range: Range<u64>,
        mut visit: impl FnMut(&Picker, &[u64]),
    ) -> Result<(), Error> {
        let mut points = [0; RUN + WORDS];
        let mut position = range.start;
        while position < range.end {
            let (update, next) = schedule.at(position)?;
            let end = next.unwrap_or(range.end).min(range.end).min(position + RUN as u64);
            let skip = (position % WORDS as u64) as usize;
            let count = (end - position) as usize;
            let (blocks, _) = points[..(skip + count).next_multiple_of(WORDS)].as_chunks_mut();
            for (number, block) in (position / WORDS as u64..).zip(blocks) {
                *block = self.philox.words([number, 0, 0, 0]).map(|word| word >> SPARE);
            }
            let picker = match &mut self.picker {
                Some(picker) if picker.start == update.position => picker,
                stale => stale.insert(Picker::new(update.position, &update.ends, &self.sizes)),
            };
            visit(picker, &points[skip..skip + count]);
            position = end;
        }
        Ok(())
    }

    /// Takes notice of new weights.
    pub fn reweighted(&mut self) {
        self.picker = None;
    }
}

/// The rows of one segment's points.
struct Picker {
    start: u64,
    line: Line,
    cells: Vec<Cell>,
}

impl Picker {
    fn new(start: u64, ends: &[u64], sizes: &[u32]) -> Self {
        let line = Line::new(ends);
        let (mut begin, mut first) = (0, 0);
        let cells = line
            .ends()
            .iter()
            .zip(sizes)
            .map(|(&end, &rows)| {
                let cell = Cell::new(begin, end, first, rows);
                begin = end;
                first += i64::from(rows);
                cell
            })
            .collect();
        Self { start, line, cells }
    }
}

/// An interval of the line, cut into the rows of its cell.
struct Cell {
    begin: u64,
    first: i64,
    /// Bits by which the interval's width would fill a word.
    shift: u32,
    scale: u64,
}

/// Bits of a scale below one row.
const SCALE_BITS: u32 = 31;

impl Cell {
    /// The scale is rounded down: so no point leads past the last row, and every row has its share of the interval to
    /// within 2^-31.
    fn new(begin: u64, end: u64, first: i64, rows: u32) -> Self {
        let width = (end - begin).max(1);
        let shift = width.leading_zeros();
        let scale = (u128::from(rows) << (64 + SCALE_BITS)) / u128::from(width << shift);
        Self {
            begin,
            first,
            shift,
            scale: scale as u64,
        }
    }

    #[inline]
    fn row(&self, point: u64) -> i64 {
        let (high, _) = wide_product((point - self.begin) << self.shift, self.scale);
        self.first + (high >> SCALE_BITS) as i64
    }
}
