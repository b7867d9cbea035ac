//! The points of a segment, in blocks of 256. Segments are the parts of the stream in which one line holds: under new
//! weights, the first block is one, and all positions from there to the next change of weights are another.
//!
//! Block `b` of a segment has the points `j * 2^45 + offset(b)`, j = 0..256, in a random order. So the draws of a cell in
//! one block are its interval's share of 256, rounded down or up.
//!
//! The offsets of consecutive blocks are the van der Corput sequence with a random digital shift. So after n blocks,
//! the draws of a cell are off its share by less than the number of ones among the binary digits of n, which is at most
//! 1 + log2(n). How many draws there were is a closed form.

use multiversion::multiversion;

use crate::random::philox::{Domain, Philox};
use crate::stream::line::{Line, STRATA, STRATUM_BITS, stratum_cells};

/// Points (and positions) of a block.
pub const BLOCK: usize = STRATA;
const BITS: u32 = STRATUM_BITS;

/// With this many rounds, tests of pairs and quadruples of positions found no difference from independent shuffles.
const ROUNDS: usize = 8;

/// Counter words for two different uses of the domain of points.
const SHIFT: u64 = 1;
const ORDER: u64 = 2;

/// The points of the segment that starts at a position.
pub struct Points {
    start: u64,
    shift: u64,
    philox: Philox,
}

impl Points {
    pub fn new(seed: u64, start: u64) -> Self {
        let philox = Philox::new(seed, Domain::Points);
        let shift = philox.words([0, start, SHIFT, 0])[0] >> (64 - BITS);
        Self { start, shift, philox }
    }

    /// The cells of a block's positions, where these are the ends of the cells.
    pub fn cells(&self, ends: &[u64], block: u64) -> [u16; BLOCK] {
        self.in_order(block, &stratum_cells(ends, self.offset(block)))
    }

    fn offset(&self, block: u64) -> u64 {
        reverse(block) ^ self.shift
    }

    fn in_order(&self, block: u64, cells: &[u16; STRATA]) -> [u16; BLOCK] {
        let position = self.start + block * BLOCK as u64;
        order(self.philox.words([0, position, ORDER, 0])).map(|stratum| cells[usize::from(stratum)])
    }

    /// Adds the draws of each cell at the first `count` positions of the segment.
    pub fn add_drawn(&self, ends: &[u64], count: u64, drawn: &mut [u64]) {
        let blocks = count / BLOCK as u64;
        let mut before = 0;
        for (drawn, &end) in drawn.iter_mut().zip(ends) {
            let below = self.points_below(end, blocks);
            *drawn += below - before;
            before = below;
        }
        let rest = (count % BLOCK as u64) as usize;
        if rest > 0 {
            for &cell in &self.cells(ends, blocks)[..rest] {
                drawn[usize::from(cell)] += 1;
            }
        }
    }

    /// How many points of the first `blocks` blocks are below `end`.
    ///
    /// Each one among the binary digits of `blocks` stands for 2^i consecutive blocks. Their offsets have the same
    /// lower digits, and every value in their upper i digits.
    fn points_below(&self, end: u64, blocks: u64) -> u64 {
        let fraction = end & ((1 << BITS) - 1);
        let mut below = blocks * (end >> BITS);
        let mut digits = blocks;
        while digits != 0 {
            let lower = BITS - digits.trailing_zeros();
            digits &= digits - 1;
            let mask = (1 << lower) - 1;
            let offset = self.offset(digits) & mask;
            below += (fraction >> lower) + u64::from(offset < fraction & mask);
        }
        below
    }
}

/// A segment of many blocks: what its line needs to give their cells fast.
pub struct Segment {
    points: Points,
    line: Line,
    cut_strata: Vec<u8>,
}

impl Segment {
    pub fn new(seed: u64, start: u64, ends: &[u64]) -> Self {
        let line = Line::new(ends);
        Self {
            points: Points::new(seed, start),
            cut_strata: line.cut_strata(),
            line,
        }
    }

    pub fn start(&self) -> u64 {
        self.points.start
    }

    /// The cells of a block's positions.
    pub fn cells(&self, block: u64) -> [u16; BLOCK] {
        let offset = self.points.offset(block);
        let mut cells = *self.line.stratum_cells();
        for &stratum in &self.cut_strata {
            cells[usize::from(stratum)] = self.line.cell((u64::from(stratum) << BITS) + offset);
        }
        self.points.in_order(block, &cells)
    }
}

/// The strata of a block's positions, in order. Each round multiplies, adds and folds the upper half into the lower; it
/// is a bijection of the 256 strata.
#[multiversion(targets("x86_64+avx2"))]
fn order(words: [u64; 4]) -> [u8; BLOCK] {
    let keys: [u16; ROUNDS] = std::array::from_fn(|round| (words[round / 4] >> (round % 4 * 16)) as u16);
    std::array::from_fn(|position| {
        let mut stratum = position as u16;
        for key in keys {
            stratum = stratum.wrapping_mul(key | 1).wrapping_add(key >> 8) & 0xFF;
            stratum ^= stratum >> 4;
        }
        stratum as u8
    })
}

/// The 45 binary digits of a block's number, reversed.
fn reverse(block: u64) -> u64 {
    block.reverse_bits() >> (64 - BITS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stream::limits::LINE;
    use crate::stream::line::ends;

    proptest! {
        #[test]
        fn an_order_has_every_stratum(words: [u64; 4]) {
            let mut strata = order(words);
            strata.sort_unstable();
            prop_assert!(strata.iter().enumerate().all(|(index, &stratum)| index == usize::from(stratum)));
        }

        #[test]
        fn draws_are_the_share_rounded(
            seed: u64,
            start in 0..1_u64 << 50,
            weights in prop::collection::vec(1e-9..1.0, 1..40),
            count in 0..5_000_u64,
        ) {
            let ends = ends(&weights);
            let (points, segment) = (Points::new(seed, start), Segment::new(seed, start, &ends));
            let mut counted = vec![0; weights.len()];
            for block in 0..=count / BLOCK as u64 {
                let cells = segment.cells(block);
                prop_assert_eq!(cells, points.cells(&ends, block));
                let inside = (count - block * BLOCK as u64).min(BLOCK as u64) as usize;
                for &cell in &cells[..inside] {
                    counted[usize::from(cell)] += 1;
                }
            }
            let mut drawn = vec![0; weights.len()];
            points.add_drawn(&ends, count, &mut drawn);
            prop_assert_eq!(&drawn, &counted);

            let blocks = count / BLOCK as u64;
            let mut whole = vec![0; weights.len()];
            points.add_drawn(&ends, blocks * BLOCK as u64, &mut whole);
            let mut begin = 0;
            for (&end, drawn) in ends.iter().zip(whole) {
                let share = u128::from(end - begin) * u128::from(blocks);
                begin = end;
                let error = (u128::from(drawn) << BITS).abs_diff(share);
                prop_assert!(blocks == 0 || error < u128::from(blocks.count_ones()) << BITS);
            }
        }

        #[test]
        fn draws_add_up_wherever_they_are_asked_for(seed: u64, count in 0..LINE, weights in prop::collection::vec(0.01..1.0, 1..9)) {
            let mut drawn = vec![0; weights.len()];
            Points::new(seed, 0).add_drawn(&ends(&weights), count, &mut drawn);
            prop_assert_eq!(drawn.iter().sum::<u64>(), count);
        }
    }
}
