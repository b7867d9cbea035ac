//! The stream of a mixture: the row at a position is a pure function of seed, schedule and position.
//!
//! Every position has a point on a line of 2^53 points, the weights cut the line into one interval a cell, and the
//! cell of a position is the interval that its point falls in.
//!
//! The rules of randomness in this crate:
//!
//! * Every random word is Philox at a counter that says what the word is for. There is no generator state: a range of
//!   positions gives the same rows however it is split over calls, threads and processes.
//! * Integers decide. Weights become integer thresholds once, when they change; the few float operations that this
//!   takes are IEEE basic ones, whose results no machine may choose.
//! * The stream is part of the interface: a change of any word's meaning is a breaking change.
//!
//! There is no thread pool: a training step takes microseconds of drawing, less than waking a thread.

mod blocks;
mod covering;
mod error;
mod independent;
mod laps;
mod line;
mod order;
mod packing;
mod packing_bin;
mod packing_error;
#[cfg(feature = "python")]
mod packing_python;
mod packing_subset;
mod philox;
#[cfg(feature = "python")]
mod python;
mod sampler;
mod schedule;
mod shuffle;
mod splitmix;
mod state;

pub use error::Error;
pub use packing::Packer;
pub use packing_error::PackingError;
pub use sampler::Sampler;
pub use state::State;

/// Positions and thresholds both end here: the largest power of two below which every integer is an exact `f64`.
pub const LINE: u64 = 1 << 53;
