//! The schedule: which weights came into force at which position, and how many rows each cell had given by then.

use std::collections::VecDeque;

use crate::error::Error;

/// Weights that are kept, in all updates together.
const KEPT_WEIGHTS: usize = 1 << 19;
/// Updates that are kept even if there are many cells.
const KEPT_UPDATES: usize = 64;

/// The weights that came into force at a position.
pub struct Update {
    pub position: u64,
    pub weights: Vec<f64>,
    /// Where the weights cut the line.
    pub ends: Vec<u64>,
    /// Draws of every cell before the position. Empty with replacement, where nothing depends on them.
    pub drawn: Vec<u64>,
    /// What each cell and all before it are owed there. Empty with replacement too.
    pub owed: Vec<i64>,
}

/// The newest updates, by position. There is at least one.
pub struct Schedule {
    updates: VecDeque<Update>,
}

impl Schedule {
    pub fn new(first: Update) -> Self {
        Self {
            updates: VecDeque::from([first]),
        }
    }

    /// At most `count` of the newest updates, oldest first.
    pub fn newest_of(&self, count: usize) -> Vec<&Update> {
        let older = self.updates.len().saturating_sub(count);
        self.updates.range(older..).collect()
    }

    pub fn newest(&self) -> &Update {
        &self.updates[self.updates.len() - 1]
    }

    /// Records an update. It replaces the newest one if both have the same position.
    pub fn push(&mut self, update: Update) {
        if self.newest().position == update.position {
            self.updates.pop_back();
        }
        let kept = (KEPT_WEIGHTS / update.weights.len()).max(KEPT_UPDATES);
        if self.updates.len() == kept {
            self.updates.pop_front();
        }
        self.updates.push_back(update);
    }

    /// The update in force at a position, and where the next one takes over.
    pub fn at(&self, position: u64) -> Result<(&Update, Option<u64>), Error> {
        let newest = self.newest();
        if position >= newest.position {
            return Ok((newest, None));
        }
        let after = self.updates.partition_point(|update| update.position <= position);
        let Some(index) = after.checked_sub(1) else {
            let oldest = self.updates[0].position;
            return Err(Error::new(
                format_args!("`position={position}`"),
                format_args!("the oldest weights that are kept are in force from position {oldest} on"),
                format_args!("ask for {oldest} or later"),
            ));
        };
        Ok((&self.updates[index], self.updates.get(after).map(|next| next.position)))
    }
}
