//! Drawing without replacement: stratified points choose the cells, and laps choose their rows.

use crate::error::Error;
use crate::stream::blocks::{BLOCK, Segment};
use crate::stream::laps::Laps;
use crate::stream::schedule::Schedule;

/// Rows without replacement. It goes on where the last range ended, or anywhere else.
pub struct Covering {
    seed: u64,
    laps: Laps,
    /// The position at which `laps` stands, if any.
    position: Option<u64>,
    block: Option<Block>,
}

/// The block that holds `position`.
struct Block {
    segment: Segment,
    number: u64,
    cells: [u16; BLOCK],
}

impl Covering {
    pub fn new(seed: u64, sizes: &[u32]) -> Self {
        Self {
            seed,
            laps: Laps::new(seed, sizes),
            position: None,
            block: None,
        }
    }

    /// Writes the rows at the positions from `position` on.
    pub fn fill(&mut self, schedule: &Schedule, position: u64, rows: &mut [i64]) -> Result<(), Error> {
        if self.position != Some(position) {
            let drawn = self.drawn(schedule, position)?;
            self.laps.seek(&drawn);
            self.block = None;
        }
        let mut position = position;
        let mut rows = rows;
        while !rows.is_empty() {
            let (update, next) = schedule.at(position)?;
            let block = match &mut self.block {
                Some(block) if block.segment.start() == update.position => block,
                stale => stale.insert(Block::new(
                    Segment::new(self.seed, update.position, &update.ends),
                    position,
                )),
            };
            block.move_to(position);
            let inside = (position - update.position) as usize % BLOCK;
            let mut count = rows.len().min(BLOCK - inside);
            if let Some(next) = next {
                count = count.min((next - position).min(BLOCK as u64) as usize);
            }
            let (now, later) = rows.split_at_mut(count);
            self.laps.draw(&block.cells[inside..inside + count], now);
            rows = later;
            position += count as u64;
        }
        self.position = Some(position);
        Ok(())
    }

    /// Draws of every cell before a position.
    pub fn drawn(&self, schedule: &Schedule, position: u64) -> Result<Vec<u64>, Error> {
        if self.position == Some(position) {
            return Ok(self.laps.drawn());
        }
        let (update, _) = schedule.at(position)?;
        let mut drawn = update.drawn.clone();
        if position > update.position {
            Segment::new(self.seed, update.position, &update.ends).add_drawn(position - update.position, &mut drawn);
        }
        Ok(drawn)
    }

    /// Forgets what was computed for positions that have new weights.
    pub fn reweighted(&mut self, position: u64) {
        self.block = None;
        self.position = self.position.filter(|&standing| standing <= position);
    }
}

impl Block {
    fn new(segment: Segment, position: u64) -> Self {
        let number = (position - segment.start()) / BLOCK as u64;
        Self {
            cells: segment.cells(number),
            segment,
            number,
        }
    }

    fn move_to(&mut self, position: u64) {
        let number = (position - self.segment.start()) / BLOCK as u64;
        if number != self.number {
            self.number = number;
            self.cells = self.segment.cells(number);
        }
    }
}
