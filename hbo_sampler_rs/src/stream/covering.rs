//! Drawing without replacement: stratified points choose the cells, and laps choose their rows.

use crate::error::Error;
use crate::stream::blocks::{BLOCK, Points, Segment};
use crate::stream::laps::Laps;
use crate::stream::owed::opening;
use crate::stream::schedule::{Schedule, Update};

/// Rows without replacement. It goes on where the last range ended, or anywhere else.
pub struct Covering {
    seed: u64,
    laps: Laps,
    /// The position at which `laps` stands, if any.
    position: Option<u64>,
    blocks: Blocks,
}

impl Covering {
    pub fn new(seed: u64, sizes: &[u32]) -> Self {
        Self {
            seed,
            laps: Laps::new(seed, sizes),
            position: None,
            blocks: Blocks::new(seed),
        }
    }

    /// Writes the rows at the positions from `position` on.
    pub fn fill(&mut self, schedule: &Schedule, position: u64, rows: &mut [i64]) -> Result<(), Error> {
        if self.position != Some(position) {
            let drawn = self.drawn(schedule, position)?;
            self.laps.seek(&drawn);
        }
        let mut position = position;
        let mut rows = rows;
        while !rows.is_empty() {
            let (update, next) = schedule.at(position)?;
            let cells = self.blocks.cells(update, position);
            let mut count = rows.len().min(cells.len());
            if let Some(next) = next {
                count = (next - position).min(count as u64) as usize;
            }
            let (now, later) = rows.split_at_mut(count);
            self.laps.draw(&cells[..count], now);
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
        let count = position - update.position;
        if count > 0 {
            let first = count.min(BLOCK as u64);
            Points::new(self.seed, update.position).add_drawn(&opening(update), first, &mut drawn);
            if count > first {
                Points::new(self.seed, update.position + first).add_drawn(&update.ends, count - first, &mut drawn);
            }
        }
        Ok(drawn)
    }

    /// Forgets what was computed for positions that have new weights.
    pub fn reweighted(&mut self, position: u64) {
        self.blocks = Blocks::new(self.seed);
        self.position = self.position.filter(|&standing| standing <= position);
    }
}

/// The block that was drawn from last, and the segment of the blocks after the first under its weights.
struct Blocks {
    seed: u64,
    segment: Option<Segment>,
    block: Option<Block>,
}

struct Block {
    start: u64,
    cells: [u16; BLOCK],
}

impl Blocks {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            segment: None,
            block: None,
        }
    }

    /// The cells of the positions from `position` to the end of its block.
    fn cells(&mut self, update: &Update, position: u64) -> &[u16] {
        let inside = (position - update.position) as usize % BLOCK;
        let start = position - inside as u64;
        self.block.take_if(|block| block.start != start);
        let block = self.block.get_or_insert_with(|| {
            let cells = if start == update.position {
                Points::new(self.seed, start).cells(&opening(update), 0)
            } else {
                let second = update.position + BLOCK as u64;
                self.segment.take_if(|segment| segment.start() != second);
                let segment = self
                    .segment
                    .get_or_insert_with(|| Segment::new(self.seed, second, &update.ends));
                segment.cells((start - second) / BLOCK as u64)
            };
            Block { start, cells }
        });
        &block.cells[inside..]
    }
}
