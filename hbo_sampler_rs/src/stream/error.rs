//! What a caller can do wrong: what was given, what is allowed, what to do.

use std::fmt;

use crate::stream::limits::{LINE, MAX_CELLS, MAX_ROWS};

/// A mistake of the caller.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// No cells, or too many.
    CellCount {
        /// Cells given.
        cells: usize,
    },
    /// More rows than a cell can have.
    CellSize {
        /// The cell.
        cell: usize,
        /// Its rows.
        rows: u64,
    },
    /// Not one weight a cell.
    WeightCount {
        /// Weights given.
        weights: usize,
        /// Cells of the stream.
        cells: usize,
    },
    /// A weight that is negative or not finite.
    Weight {
        /// The cell.
        cell: usize,
        /// Its weight.
        weight: f64,
    },
    /// A weight above 0 for a cell without rows.
    NoRows {
        /// The cell.
        cell: usize,
        /// Its weight.
        weight: f64,
    },
    /// No weight above 0.
    NoWeight,
    /// Positions beyond the end of the stream.
    Range {
        /// First position asked for.
        position: u64,
        /// Positions asked for.
        count: u64,
    },
    /// A position before the oldest weights that are kept.
    Forgotten {
        /// The position asked for.
        position: u64,
        /// Where the oldest weights kept came into force.
        oldest: u64,
    },
    /// New weights before the newest ones.
    Backwards {
        /// The position given.
        position: u64,
        /// Where the newest weights came into force.
        newest: u64,
    },
    /// A state without weights.
    NoUpdates,
    /// A state whose updates are not in order.
    UpdateOrder {
        /// The position of an update.
        position: u64,
        /// The position of the one before.
        last: u64,
    },
    /// A state that has not one count of draws a cell.
    DrawnCount {
        /// Counts in the state.
        drawn: usize,
        /// How many it must have.
        cells: usize,
    },
    /// A state whose draws do not add up to its oldest position.
    DrawnTotal {
        /// Their sum.
        total: u128,
        /// The oldest position.
        position: u64,
    },
    /// A state with draws from a cell without rows.
    DrawnEmpty {
        /// The cell.
        cell: usize,
        /// Its draws.
        drawn: u64,
    },
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CellCount { cells } => write!(
                f,
                "`cell_sizes` has `{cells}` cells, and a stream has 1 to {MAX_CELLS}; give the number of rows of each cell."
            ),
            Self::CellSize { cell, rows } => write!(
                f,
                "Cell {cell} has `{rows}` rows, and a cell has at most {MAX_ROWS}; split it into several cells."
            ),
            Self::WeightCount { weights, cells } => write!(
                f,
                "`weights` has `{weights}` numbers for {cells} cells; give one weight for each cell."
            ),
            Self::Weight { cell, weight } => write!(
                f,
                "The weight of cell {cell} is `{weight}`, and a weight is finite and at least 0; give such a number."
            ),
            Self::NoRows { cell, weight } => write!(
                f,
                "The weight of cell {cell} is `{weight}`, and the cell has no rows to draw; give it weight 0."
            ),
            Self::NoWeight => write!(
                f,
                "Every one of the `weights` is `0`, and some row must be drawn; give at least one cell a weight above 0."
            ),
            Self::Range { position, count } => write!(
                f,
                "`position` is `{position}` and `count` is `{count}`, and the stream ends at position {LINE}; ask for a range that ends there or before."
            ),
            Self::Forgotten { position, oldest } => write!(
                f,
                "`position` is `{position}`, and the oldest weights that are kept came into force at {oldest}; ask for {oldest} or later."
            ),
            Self::Backwards { position, newest } => write!(
                f,
                "`position` is `{position}`, and weights change where the newest came into force or later; give {newest} or more."
            ),
            Self::NoUpdates => write!(
                f,
                "`state[\"updates\"]` is `[]`, and a stream has weights; give a state that `state_dict` returned."
            ),
            Self::UpdateOrder { position, last } => write!(
                f,
                "`state[\"updates\"]` has position `{position}` after {last}, and positions rise; give a state that `state_dict` returned."
            ),
            Self::DrawnCount { drawn, cells } => write!(
                f,
                "`state[\"drawn\"]` has `{drawn}` numbers where {cells} belong; give a state that `state_dict` returned."
            ),
            Self::DrawnTotal { total, position } => write!(
                f,
                "`state[\"drawn\"]` sums to `{total}`, and the oldest update is at position {position}; give a state that `state_dict` returned."
            ),
            Self::DrawnEmpty { cell, drawn } => write!(
                f,
                "`state[\"drawn\"]` has `{drawn}` draws of cell {cell}, which has no rows; give a state that `state_dict` returned."
            ),
        }
    }
}
