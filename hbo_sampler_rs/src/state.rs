//! What a checkpoint holds, as plain data.

use crate::Error;
use crate::sampler::Sampler;

/// Everything that the stream depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The seed.
    pub seed: u64,
    /// Whether rows are drawn with replacement.
    pub replacement: bool,
    /// Rows of every cell.
    pub cell_sizes: Vec<u64>,
    /// Positions and weights of the updates that are kept, oldest first.
    pub updates: Vec<(u64, Vec<f64>)>,
    /// Draws of every cell before the oldest of them; empty with replacement. Those before the others follow.
    pub drawn: Vec<u64>,
}

impl Sampler {
    /// The state, from which `restore` makes an equal sampler.
    #[must_use]
    pub fn state(&self) -> State {
        State {
            seed: self.seed(),
            replacement: self.replacement(),
            cell_sizes: self.cell_sizes(),
            updates: self
                .schedule()
                .updates()
                .map(|update| (update.position, update.weights.clone()))
                .collect(),
            drawn: self.schedule().oldest().drawn.clone(),
        }
    }

    /// A sampler with this state.
    ///
    /// # Errors
    /// A state that no sampler has.
    pub fn restore(state: State) -> Result<Self, Error> {
        let mut updates = state.updates.into_iter();
        let Some((mut last, weights)) = updates.next() else {
            return Err(Error::NoUpdates);
        };
        let mut sampler = Self::starting_at(
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
            sampler.reweight(position, weights)?;
            last = position;
        }
        Ok(sampler)
    }
}
