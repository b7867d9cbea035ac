//! The points of a segment (the positions from one change of weights to the next), in blocks of 256.
//!
//! Block `b` has the points `j * 2^45 + offset(b)`, j = 0..256, in a random order. The offsets of consecutive blocks
//! are the van der Corput sequence with a random digital shift, so the draws of a cell in a block, and in any number of
//! blocks, are its share rounded down or up; and how many there were is a closed form.

use crate::line::Line;
use crate::philox::{Domain, Philox};
use crate::shuffle::shuffle;

/// Points (and positions) of a block.
pub const BLOCK: usize = 256;
/// Bits of a point below its stratum.
const BITS: u32 = 45;

/// Counter words that tell the uses of the domain of points apart.
const SHIFT: u64 = 1;
const SHUFFLE: u64 = 2;

/// The points of one segment and the line that they fall on.
pub struct Segment {
    start: u64,
    shift: u64,
    line: Line,
    philox: Philox,
}

impl Segment {
    pub fn new(seed: u64, start: u64, weights: &[f64]) -> Self {
        let philox = Philox::new(seed, Domain::Points);
        Self {
            start,
            shift: philox.words([0, start, SHIFT, 0])[0] >> (64 - BITS),
            line: Line::new(weights),
            philox,
        }
    }

    pub fn start(&self) -> u64 {
        self.start
    }

    /// The cells of a block's positions.
    pub fn cells(&self, block: u64) -> [u16; BLOCK] {
        let offset = reverse(block) ^ self.shift;
        let mut cells = std::array::from_fn(|stratum| self.line.cell(((stratum as u64) << BITS) + offset) as u16);
        let position = self.start + block * BLOCK as u64;
        shuffle(&mut cells, self.philox, [position, SHUFFLE, 0]);
        cells
    }

    /// Adds to each cell its draws among the first `count` positions of the segment.
    pub fn add_drawn(&self, count: u64, drawn: &mut [u64]) {
        let blocks = count / BLOCK as u64;
        let mut before = 0;
        for (drawn, &end) in drawn.iter_mut().zip(self.line.ends()) {
            let below = self.points_below(end, blocks);
            *drawn += below - before;
            before = below;
        }
        let rest = (count % BLOCK as u64) as usize;
        if rest > 0 {
            for &cell in &self.cells(blocks)[..rest] {
                drawn[usize::from(cell)] += 1;
            }
        }
    }

    /// How many points of the first `blocks` blocks are below `end`.
    ///
    /// Every binary digit of `blocks` that is set stands for 2^i blocks in a row, whose offsets agree in their lower
    /// digits and take every value in their upper i digits.
    fn points_below(&self, end: u64, blocks: u64) -> u64 {
        let fraction = end & ((1 << BITS) - 1);
        let mut below = blocks * (end >> BITS);
        let mut digits = blocks;
        while digits != 0 {
            let lower = BITS - digits.trailing_zeros();
            digits &= digits - 1;
            let mask = (1 << lower) - 1;
            let offset = (reverse(digits) ^ self.shift) & mask;
            below += (fraction >> lower) + u64::from(offset < fraction & mask);
        }
        below
    }
}

/// The 45 digits of a block's number, reversed.
fn reverse(block: u64) -> u64 {
    block.reverse_bits() >> (64 - BITS)
}
