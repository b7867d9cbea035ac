//! What a checkpoint holds of a stream, as plain data.

/// Everything that the stream depends on, from the oldest of its updates on.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The seed.
    pub seed: u64,
    /// Whether rows are drawn with replacement.
    pub replacement: bool,
    /// Rows of every cell.
    pub cell_sizes: Vec<u64>,
    /// Positions and weights of the newest updates, oldest first.
    pub updates: Vec<(u64, Vec<f64>)>,
    /// Draws of every cell before the oldest of them; empty with replacement. The later ones are computed from it.
    pub drawn: Vec<u64>,
    /// By how much the draws of each cell and all before it fall short of the sum of their shares there, in 2^-45
    /// draws; empty with replacement.
    pub owed: Vec<i64>,
}
