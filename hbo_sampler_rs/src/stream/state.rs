//! What a checkpoint holds, as plain data.

use crate::stream::Stream;
use crate::stream::error::Error;

/// Updates that a state has, however few their cells: what is drawn ahead of the training reaches back one or two.
const MOST_UPDATES: usize = 64;
/// Weights of all updates together that a state has, but for the newest two updates.
const MOST_WEIGHTS: usize = 1 << 16;

/// Everything that the stream depends on from the oldest of a few updates on.
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
    /// Draws of every cell before the oldest of them; empty with replacement. Those before the others follow.
    pub drawn: Vec<u64>,
}

impl Stream {
    /// The state, from which `restore` makes a stream that goes on as this one.
    #[must_use]
    pub fn state(&self) -> State {
        let most = (MOST_WEIGHTS / self.schedule().newest().weights.len()).clamp(2, MOST_UPDATES);
        let updates = self.schedule().newest_of(most);
        State {
            seed: self.seed(),
            replacement: self.replacement(),
            cell_sizes: self.cell_sizes(),
            drawn: updates[0].drawn.clone(),
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
            return Err(Error::NoUpdates);
        };
        let mut stream = Self::starting_at(
            last,
            &state.cell_sizes,
            weights,
            state.drawn,
            state.seed,
            state.replacement,
        )?;
        for (position, weights) in updates {
            if position <= last {
                return Err(Error::UpdateOrder { position, last });
            }
            // Weights that were replaced at their own position can be followed by those that came before them.
            stream.put_in_force(position, weights)?;
            last = position;
        }
        Ok(stream)
    }
}
