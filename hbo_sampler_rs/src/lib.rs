//! The stream of a mixture: the row at a position is a pure function of seed, schedule and position.
//!
//! Every position has a point on a line of 2^53 points. The weights cut the line into one interval for each cell, and
//! the cell of a position is the one whose interval holds its point.
//!
//! The rules of randomness in this crate:
//!
//! * Every random word is Philox at a counter that says what the word is for. There is no generator state: a range of
//!   positions gives the same rows however it is split over calls, threads and processes.
//! * Integers decide. Weights become integer thresholds once, when they change. The few float operations that this
//!   needs are basic ones, which IEEE 754 defines to the last bit on every machine.
//! * The stream is part of the interface: a change in what any word means is a breaking change.
//!
//! There is no thread pool: drawing the rows of a training step costs microseconds, less than waking a thread.
//!
//! Each folder uses only the folders below it: `python`, `packing`, `stream`, `random`.

mod error;
pub mod packing;
#[cfg(feature = "python")]
mod python;
mod random;
pub mod stream;

pub use error::Error;
