//! Drawing with replacement: the point of each position is a word of its own, which chooses the cell and the row.

use std::ops::Range;

use crate::line::Line;
use crate::philox::{Domain, Philox};
use crate::schedule::Schedule;
use crate::{Error, LINE};

/// Bits of a word that are not its point.
const SPARE: u32 = u64::BITS - LINE.trailing_zeros();
/// Words of a generator call.
const WORDS: u64 = 4;

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
        let end = position + rows.len() as u64;
        let mut rows = rows.iter_mut();
        for_segments(schedule, position..end, |start, weights, range| {
            if self.picker.as_ref().is_none_or(|picker| picker.start != start) {
                self.picker = Some(Picker::new(start, weights, &self.sizes));
            }
            let picker = self.picker.as_ref().expect("set just above");
            for (point, row) in points(self.philox, range).zip(&mut rows) {
                *row = picker.row(point);
            }
        })
    }

    /// Draws of every cell at a range of positions.
    pub fn counts(&self, schedule: &Schedule, range: Range<u64>) -> Result<Vec<u64>, Error> {
        let mut counts = vec![0; self.sizes.len()];
        for_segments(schedule, range, |_, weights, range| {
            let line = Line::new(weights);
            for point in points(self.philox, range) {
                counts[line.cell(point)] += 1;
            }
        })?;
        Ok(counts)
    }

    /// Takes notice of new weights.
    pub fn reweighted(&mut self) {
        self.picker = None;
    }
}

/// Splits a range of positions where weights change.
fn for_segments(
    schedule: &Schedule,
    range: Range<u64>,
    mut visit: impl FnMut(u64, &[f64], Range<u64>),
) -> Result<(), Error> {
    let mut position = range.start;
    while position < range.end {
        let (update, next) = schedule.at(position)?;
        let end = next.map_or(range.end, |next| next.min(range.end));
        visit(update.position, &update.weights, position..end);
        position = end;
    }
    Ok(())
}

/// The points of a range of positions.
fn points(philox: Philox, range: Range<u64>) -> impl Iterator<Item = u64> {
    let Range { start, end } = range;
    (start / WORDS..end.div_ceil(WORDS))
        .flat_map(move |block| philox.words([block, 0, 0, 0]))
        .skip((start % WORDS) as usize)
        .take((end - start) as usize)
        .map(|word| word >> SPARE)
}

/// The rows of one segment's points.
struct Picker {
    start: u64,
    line: Line,
    cells: Vec<Cell>,
}

impl Picker {
    fn new(start: u64, weights: &[f64], sizes: &[u32]) -> Self {
        let line = Line::new(weights);
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

    fn row(&self, point: u64) -> i64 {
        self.cells[self.line.cell(point)].row(point)
    }
}

/// An interval of the line, cut into the rows of its cell.
struct Cell {
    begin: u64,
    first: i64,
    scale: u64,
    shift: u32,
}

impl Cell {
    /// `scale` is `rows / width`, rounded down to 63 or 64 binary digits: so no point leads past the last row, and every
    /// row has its share of the interval to within 2^-62.
    fn new(begin: u64, end: u64, first: i64, rows: u32) -> Self {
        let width = (end - begin).max(1);
        let shift = 63 + rows.leading_zeros() + 32 - width.leading_zeros();
        let scale = ((u128::from(rows) << shift) / u128::from(width)) as u64;
        Self {
            begin,
            first,
            scale,
            shift,
        }
    }

    fn row(&self, point: u64) -> i64 {
        let row = (u128::from(point - self.begin) * u128::from(self.scale)) >> self.shift;
        self.first + row as i64
    }
}
