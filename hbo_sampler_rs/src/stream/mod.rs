//! The stream: which row of a mixture is drawn at which position.

pub(crate) mod check;
pub(crate) mod limits;

mod blocks;
mod covering;
mod independent;
mod laps;
mod line;
mod order;
mod owed;
mod schedule;
mod state;

pub use state::State;

use crate::error::Error;
use crate::stream::covering::Covering;
use crate::stream::independent::Independent;
use crate::stream::schedule::{Schedule, Update};

/// Updates that a state holds if there are few cells. What is drawn ahead of training needs only the last one or two.
const STATE_UPDATES: usize = 64;
/// Weights that a state holds in all its updates together, unless its two newest updates have more.
const STATE_WEIGHTS: usize = 1 << 16;

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
    /// A stream over cells with these numbers of rows, drawn with these weights from position 0 on.
    ///
    /// # Errors
    /// Cells or weights that make no mixture.
    pub fn new(cell_sizes: &[u64], weights: Vec<f64>, seed: u64, replacement: bool) -> Result<Self, Error> {
        let cells = if replacement { 0 } else { cell_sizes.len() };
        Self::restore(State {
            seed,
            replacement,
            cell_sizes: cell_sizes.to_vec(),
            updates: vec![(0, weights)],
            drawn: vec![0; cells],
            owed: vec![0; cells],
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

    /// The weights in force at a position, normalised to sum to 1.
    ///
    /// # Errors
    /// A position outside the stream or before the oldest weights that are kept.
    pub fn weights(&self, position: u64) -> Result<Vec<f64>, Error> {
        check::position(position)?;
        Ok(line::normalised(&self.schedule.at(position)?.0.weights))
    }

    /// Puts weights in force from a position on. Nothing changes if they cut the line where the newest weights do.
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

    /// Where weights for a position cut the line.
    fn cut(&self, position: u64, weights: &[f64]) -> Result<Vec<u64>, Error> {
        check::weights(weights, &self.sizes)?;
        check::position(position)?;
        let newest = self.schedule.newest().position;
        if position < newest {
            return Err(Error::new(
                format_args!("`position={position}`"),
                format_args!("the newest weights are in force from position {newest} on"),
                format_args!("change weights at {newest} or later"),
            ));
        }
        Ok(line::ends(weights))
    }

    /// Begins a new part of the stream, even with weights that change nothing.
    fn push(&mut self, position: u64, weights: Vec<f64>, ends: Vec<u64>) -> Result<(), Error> {
        let (drawn, owed) = match &mut self.rows {
            Rows::Covering(rows) => {
                let drawn = rows.drawn(&self.schedule, position)?;
                rows.reweighted(position);
                let owed = owed::owed(self.schedule.newest(), position, &drawn);
                (drawn, owed)
            }
            Rows::Independent(rows) => {
                rows.reweighted();
                (Vec::new(), Vec::new())
            }
        };
        self.schedule.push(Update {
            position,
            weights,
            ends,
            drawn,
            owed,
        });
        Ok(())
    }

    /// Draws of every cell at the positions from `position` to before `position + count`.
    ///
    /// # Errors
    /// Positions outside the stream or before the oldest weights that are kept.
    pub fn counts(&mut self, position: u64, count: u64) -> Result<Vec<u64>, Error> {
        check::range(position, count)?;
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
        check::range(position, rows.len() as u64)?;
        self.schedule.at(position)?;
        match &mut self.rows {
            Rows::Covering(covering) => covering.fill(&self.schedule, position, rows),
            Rows::Independent(independent) => independent.fill(&self.schedule, position, rows),
        }
    }

    /// The state, from which `restore` makes a stream that goes on as this one.
    #[must_use]
    pub fn state(&self) -> State {
        let count = (STATE_WEIGHTS / self.sizes.len()).clamp(2, STATE_UPDATES);
        let updates = self.schedule.newest_of(count);
        State {
            seed: self.seed,
            replacement: self.replacement(),
            cell_sizes: self.cell_sizes(),
            drawn: updates[0].drawn.clone(),
            owed: updates[0].owed.clone(),
            updates: updates
                .into_iter()
                .map(|update| (update.position, update.weights.clone()))
                .collect(),
        }
    }

    /// A stream with this state.
    ///
    /// # Errors
    /// A state that no stream has.
    pub fn restore(state: State) -> Result<Self, Error> {
        let mut updates = state.updates.into_iter();
        let Some((mut last, weights)) = updates.next() else {
            return Err(Error::in_state("`state[\"updates\"]=[]`", "a stream has weights"));
        };
        let sizes = check::cell_sizes(&state.cell_sizes)?;
        check::weights(&weights, &sizes)?;
        check::position(last)?;
        let counted = if state.replacement { 0 } else { sizes.len() };
        check::one_each("drawn", state.drawn.len(), counted)?;
        check::one_each("owed", state.owed.len(), counted)?;
        if !state.replacement {
            check::drawn(&state.drawn, last, &sizes)?;
        }
        let mut stream = Self {
            seed: state.seed,
            rows: if state.replacement {
                Rows::Independent(Box::new(Independent::new(state.seed, &sizes)))
            } else {
                Rows::Covering(Box::new(Covering::new(state.seed, &sizes)))
            },
            sizes,
            schedule: Schedule::new(Update {
                position: last,
                ends: line::ends(&weights),
                weights,
                drawn: state.drawn,
                owed: state.owed,
            }),
        };
        for (position, weights) in updates {
            if position <= last {
                return Err(Error::in_state(
                    format_args!("`state[\"updates\"]` with position {position} after {last}"),
                    "positions must rise",
                ));
            }
            // Not `reweight`: an update that was replaced at its own position can leave two alike in a row.
            let ends = stream.cut(position, &weights)?;
            stream.push(position, weights, ends)?;
            last = position;
        }
        Ok(stream)
    }
}
