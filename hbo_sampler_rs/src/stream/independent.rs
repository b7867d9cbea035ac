//! Drawing with replacement: the point of each position comes from a word of its own, and chooses the cell and the row.
//!
//! Positions come in blocks of 256; Philox gives the start of a block, and `SplitMix64` its words.

use std::ops::Range;

use crate::error::Error;
use crate::random::philox::{Domain, Philox, wide_product};
use crate::random::splitmix;
use crate::stream::limits::LINE;
use crate::stream::line::Line;
use crate::stream::schedule::{Schedule, Update};

/// Bits of a word that its point does not use.
const SPARE: u32 = u64::BITS - LINE.trailing_zeros();
/// Positions of a block.
const BLOCK: usize = 256;

/// Rows with replacement.
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
        let (mut position, mut rows) = (position, rows);
        while !rows.is_empty() {
            let (picker, count) = self.picker(schedule, position, rows.len())?;
            let (now, later) = rows.split_at_mut(count);
            picker.fill(position, now, |point| picker.row(point));
            (position, rows) = (position + count as u64, later);
        }
        Ok(())
    }

    /// Draws of every cell at a range of positions.
    pub fn counts(&mut self, schedule: &Schedule, range: Range<u64>) -> Result<Vec<u64>, Error> {
        let mut counts = vec![0; self.sizes.len()];
        let mut position = range.start;
        while position < range.end {
            let limit = (range.end - position).min(BLOCK as u64) as usize;
            let (picker, count) = self.picker(schedule, position, limit)?;
            let cells = &mut [0; BLOCK][..count];
            picker.fill(position, cells, |point| picker.line.cell(point));
            for &mut cell in cells {
                counts[usize::from(cell)] += 1;
            }
            position += count as u64;
        }
        Ok(counts)
    }

    /// The picker at a position, and for how many positions it serves from there on, at most `limit`.
    fn picker(&mut self, schedule: &Schedule, position: u64, limit: usize) -> Result<(&Picker, usize), Error> {
        let (update, next) = schedule.at(position)?;
        self.picker.take_if(|picker| picker.start != update.position);
        let picker = self
            .picker
            .get_or_insert_with(|| Picker::new(self.philox, update, &self.sizes));
        let count = next.map_or(limit, |next| (next - position).min(limit as u64) as usize);
        Ok((picker, count))
    }

    /// Forgets what was computed for the weights so far.
    pub fn reweighted(&mut self) {
        self.picker = None;
    }
}

/// The points of one segment, and their rows.
struct Picker {
    philox: Philox,
    start: u64,
    line: Line,
    cells: Vec<Cell>,
}

impl Picker {
    fn new(philox: Philox, update: &Update, sizes: &[u32]) -> Self {
        let (mut begin, mut first) = (0, 0);
        let cells = update
            .ends
            .iter()
            .zip(sizes)
            .map(|(&end, &rows)| {
                let cell = Cell::new(begin, end, first, rows);
                begin = end;
                first += i64::from(rows);
                cell
            })
            .collect();
        Self {
            philox,
            start: update.position,
            line: Line::new(&update.ends),
            cells,
        }
    }

    /// Writes what `make` returns for each point from `position` on.
    fn fill<T>(&self, position: u64, out: &mut [T], make: impl Fn(u64) -> T) {
        let (mut position, mut out) = (position, out);
        while !out.is_empty() {
            let (block, inside) = (position / BLOCK as u64, position % BLOCK as u64);
            let [start, ..] = self.philox.words([block, 0, 0, 0]);
            let (now, later) = out.split_at_mut(out.len().min(BLOCK - inside as usize));
            position += now.len() as u64;
            for (index, out) in (inside..).zip(now) {
                *out = make(splitmix::word(start, index) >> SPARE);
            }
            out = later;
        }
    }

    #[inline]
    fn row(&self, point: u64) -> i64 {
        self.cells[usize::from(self.line.cell(point))].row(point)
    }
}

/// An interval of the line, cut into the rows of its cell.
struct Cell {
    begin: u64,
    first: i64,
    /// Bits by which the width of the interval must be shifted to fill a word.
    shift: u32,
    scale: u64,
}

/// Bits of a scale below one row.
const SCALE_BITS: u32 = 31;

impl Cell {
    /// The scale is rounded down, so no point leads past the last row. Every row has its share of the interval to
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
