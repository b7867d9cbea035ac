//! The stream: rows from positions.

mod blocks;
mod covering;
mod error;
mod independent;
mod laps;
mod limits;
mod line;
mod order;
mod schedule;
mod state;

pub use error::Error;
pub use state::State;

use crate::stream::covering::Covering;
use crate::stream::independent::Independent;
use crate::stream::schedule::{Schedule, Update};

pub(crate) use crate::stream::limits::LINE;
use crate::stream::limits::{MAX_CELLS, MAX_ROWS};

/// A mixture of cells and the stream of its rows.
pub struct Stream {
    seed: u64,
    sizes: Vec<u32>,
    schedule: Schedule,
    rows: Rows,
}

/// How rows are drawn.
enum Rows {
    Covering(Box<Covering>),
    Independent(Box<Independent>),
}

impl Stream {
    /// A stream over cells of these many rows, drawn with these weights from position 0 on.
    ///
    /// # Errors
    /// Cells or weights that make no mixture.
    pub fn new(cell_sizes: &[u64], weights: Vec<f64>, seed: u64, replacement: bool) -> Result<Self, Error> {
        let drawn = if replacement { 0 } else { cell_sizes.len() };
        Self::starting_at(0, cell_sizes, weights, vec![0; drawn], seed, replacement)
    }

    pub(crate) fn starting_at(
        position: u64,
        cell_sizes: &[u64],
        weights: Vec<f64>,
        drawn: Vec<u64>,
        seed: u64,
        replacement: bool,
    ) -> Result<Self, Error> {
        if cell_sizes.is_empty() || cell_sizes.len() > MAX_CELLS {
            return Err(Error::CellCount {
                cells: cell_sizes.len(),
            });
        }
        let sizes = (0..)
            .zip(cell_sizes)
            .map(|(cell, &rows)| {
                if rows <= MAX_ROWS {
                    Ok(rows as u32)
                } else {
                    Err(Error::CellSize { cell, rows })
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        line::check(&weights, &sizes)?;
        check_range(position, 0)?;
        check_drawn(position, &drawn, &sizes, replacement)?;
        Ok(Self {
            seed,
            rows: if replacement {
                Rows::Independent(Box::new(Independent::new(seed, &sizes)))
            } else {
                Rows::Covering(Box::new(Covering::new(seed, &sizes)))
            },
            sizes,
            schedule: Schedule::new(Update {
                position,
                ends: line::ends(&weights),
                weights,
                drawn,
            }),
        })
    }

    /// The seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Whether rows are drawn with replacement.
    #[must_use]
    pub fn replacement(&self) -> bool {
        matches!(self.rows, Rows::Independent(_))
    }

    /// Rows of every cell.
    #[must_use]
    pub fn cell_sizes(&self) -> Vec<u64> {
        self.sizes.iter().copied().map(u64::from).collect()
    }

    pub(crate) fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The normalised weights in force at a position.
    ///
    /// # Errors
    /// A position outside the stream or before the oldest weights that are kept.
    pub fn weights(&self, position: u64) -> Result<Vec<f64>, Error> {
        check_range(position, 0)?;
        Ok(line::normalised(&self.schedule.at(position)?.0.weights))
    }

    /// Puts weights in force from a position on. Weights that cut the line as those in force do change nothing.
    ///
    /// # Errors
    /// Weights that make no mixture, or a position before the newest weights.
    pub fn reweight(&mut self, position: u64, weights: Vec<f64>) -> Result<(), Error> {
        let ends = self.cut(position, &weights)?;
        if ends == self.schedule.newest().ends {
            return Ok(());
        }
        self.push(position, weights, ends)
    }

    /// Does as `reweight`, but begins a new part of the stream even with weights that change nothing.
    pub(crate) fn put_in_force(&mut self, position: u64, weights: Vec<f64>) -> Result<(), Error> {
        let ends = self.cut(position, &weights)?;
        self.push(position, weights, ends)
    }

    /// Where weights for a position cut the line.
    fn cut(&self, position: u64, weights: &[f64]) -> Result<Vec<u64>, Error> {
        line::check(weights, &self.sizes)?;
        check_range(position, 0)?;
        let newest = self.schedule.newest().position;
        if position < newest {
            return Err(Error::Backwards { position, newest });
        }
        Ok(line::ends(weights))
    }

    fn push(&mut self, position: u64, weights: Vec<f64>, ends: Vec<u64>) -> Result<(), Error> {
        let drawn = match &mut self.rows {
            Rows::Covering(rows) => {
                let drawn = rows.drawn(&self.schedule, position)?;
                rows.reweighted(position);
                drawn
            }
            Rows::Independent(rows) => {
                rows.reweighted();
                Vec::new()
            }
        };
        self.schedule.push(Update {
            position,
            weights,
            ends,
            drawn,
        });
        Ok(())
    }

    /// Draws of every cell at the positions from `position` to before `position + count`.
    ///
    /// # Errors
    /// Positions outside the stream or before the oldest weights that are kept.
    pub fn counts(&mut self, position: u64, count: u64) -> Result<Vec<u64>, Error> {
        check_range(position, count)?;
        match &mut self.rows {
            Rows::Covering(rows) => {
                let before = rows.drawn(&self.schedule, position)?;
                let mut counts = rows.drawn(&self.schedule, position + count)?;
                for (count, before) in counts.iter_mut().zip(before) {
                    *count -= before;
                }
                Ok(counts)
            }
            Rows::Independent(rows) => rows.counts(&self.schedule, position..position + count),
        }
    }

    /// Writes the rows at the positions from `position` on.
    ///
    /// # Errors
    /// Positions outside the stream or before the oldest weights that are kept.
    pub fn fill(&mut self, position: u64, rows: &mut [i64]) -> Result<(), Error> {
        check_range(position, rows.len() as u64)?;
        self.schedule.at(position)?;
        match &mut self.rows {
            Rows::Covering(covering) => covering.fill(&self.schedule, position, rows),
            Rows::Independent(independent) => independent.fill(&self.schedule, position, rows),
        }
    }
}

/// Refuses positions outside the stream.
pub(crate) fn check_range(position: u64, count: u64) -> Result<(), Error> {
    if position.checked_add(count).is_some_and(|end| end <= LINE) {
        Ok(())
    } else {
        Err(Error::Range { position, count })
    }
}

/// Refuses draws that cannot have been made before a position.
fn check_drawn(position: u64, drawn: &[u64], sizes: &[u32], replacement: bool) -> Result<(), Error> {
    let cells = if replacement { 0 } else { sizes.len() };
    if drawn.len() != cells {
        return Err(Error::DrawnCount {
            drawn: drawn.len(),
            cells,
        });
    }
    let total: u128 = drawn.iter().copied().map(u128::from).sum();
    if !replacement && total != u128::from(position) {
        return Err(Error::DrawnTotal { total, position });
    }
    let mut pairs = drawn.iter().zip(sizes);
    if let Some(cell) = pairs.position(|(&drawn, &size)| drawn > 0 && size == 0) {
        return Err(Error::DrawnEmpty {
            cell,
            drawn: drawn[cell],
        });
    }
    Ok(())
}
