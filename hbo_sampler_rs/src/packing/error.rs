//! What a caller of the packer can do wrong: what was given, what is allowed, what to do.

use std::fmt;

use crate::stream::{self, LINE};

/// A mistake of the caller.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// A setting of 0, or too large.
    Setting {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: String,
        /// The largest value allowed.
        most: u64,
    },
    /// Not one length a row.
    LengthCount {
        /// Lengths given.
        lengths: usize,
        /// Rows of the mixture.
        rows: u64,
    },
    /// A row without tokens.
    Short {
        /// The row.
        row: i64,
        /// Its length.
        tokens: i32,
    },
    /// A row that no bin can hold.
    Long {
        /// The row.
        row: i64,
        /// Its length.
        tokens: i32,
        /// Tokens of a bin.
        capacity: u32,
    },
    /// A row of another mixture.
    NoLength {
        /// The row.
        row: i64,
        /// Lengths given.
        lengths: usize,
    },
    /// A state at a position outside the stream.
    Head {
        /// The position.
        head: u64,
    },
    /// A state in which too many rows wait.
    Waiting {
        /// Rows that wait.
        waiting: usize,
        /// How many can.
        most: u64,
    },
    /// A mistake about the stream.
    Stream(stream::Error),
}

impl std::error::Error for Error {}

impl From<stream::Error> for Error {
    fn from(error: stream::Error) -> Self {
        Self::Stream(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting { name, value, most } => write!(
                f,
                "`{name}` is `{value}`, and it is a whole number from 1 to {most}; give such a number."
            ),
            Self::LengthCount { lengths, rows } => write!(
                f,
                "`lengths` has `{lengths}` numbers, and the mixture has {rows} rows; give one length for each row."
            ),
            Self::Short { row, tokens } => write!(
                f,
                "The length of row {row} is `{tokens}`, and a row that is packed has at least 1 token; drop such rows."
            ),
            Self::Long { row, tokens, capacity } => write!(
                f,
                "The length of row {row} is `{tokens}`, and a bin holds {capacity} tokens; drop or truncate such rows, or give a larger `capacity`."
            ),
            Self::NoLength { row, lengths } => write!(
                f,
                "Row `{row}` has no length, as `lengths` has {lengths} numbers; give the lengths and the state of one mixture."
            ),
            Self::Head { head } => write!(
                f,
                "`state[\"head\"]` is `{head}`, and the stream ends at position {LINE}; give a state that `state_dict` returned."
            ),
            Self::Waiting { waiting, most } => write!(
                f,
                "`state[\"waiting\"]` has `{waiting}` rows, and at most {most} can wait there; give a state that `state_dict` returned."
            ),
            Self::Stream(error) => error.fmt(f),
        }
    }
}
