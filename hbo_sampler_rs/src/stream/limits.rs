//! How large a stream and its mixture can be.

/// The end of the stream and of the line of points: the largest power of two below which every integer is an exact
/// `f64`.
pub const LINE: u64 = 1 << 53;
/// Cells of a mixture.
pub const MAX_CELLS: usize = 1 << 16;
/// Rows of a cell.
pub const MAX_ROWS: u64 = 1 << 31;
