//! The order in which a lap visits the rows of a cell.
//!
//! Small cells are shuffled exactly, by Fisher-Yates. Larger ones follow a keyed bijection, which needs O(1) memory: an
//! unbalanced Feistel network over (left, right) with `left < width` and `right < 2^bits`, each with about half the
//! bits of the number of rows. Its domain of `width * 2^bits` values is larger than the cell by less than 2^bits; a
//! value outside the cell goes through the network again until it is inside.
//!
//! All arithmetic is on 16-bit lanes, which compilers vectorise for every machine. On a machine with wider vectors,
//! `multiversion` chooses a pass that was compiled for them.

use multiversion::multiversion;

use crate::random::philox::{Domain, Philox};
use crate::random::shuffle::shuffle;

/// Rows of the largest cell whose laps are shuffled.
pub const SHUFFLED: usize = 1024;
/// Rows of a larger cell that are computed together.
pub const RUN: usize = 64;

/// With six, places that are d apart held rows that are d apart 1.09 times as often as in a shuffle, in laps of 1,025 rows
/// and for small d. With eight, tests found no such trace. Drawing many rows takes about 9% longer.
const ROUNDS: usize = 8;
const MIX: u16 = 0x9E6D;

/// Writes the whole order of a lap of a small cell.
pub fn shuffled(seed: u64, cell: usize, lap: u64, order: &mut [u32]) {
    for (row, slot) in (0..).zip(order.iter_mut()) {
        *slot = row;
    }
    shuffle(order, Philox::new(seed, Domain::Orders), [lap, cell as u64, 0]);
}

/// The bijection of one lap of a larger cell.
#[derive(Clone)]
pub struct Bijection {
    rows: u32,
    width: u16,
    bits: u32,
    keys: [Key; ROUNDS],
}

#[derive(Clone, Copy)]
struct Key {
    xor: u16,
    multiply: u16,
}

impl Key {
    /// Sixteen mixed bits; the highest are mixed best.
    #[inline]
    fn mix(self, half: u16) -> u16 {
        let product = (half ^ self.xor).wrapping_mul(self.multiply);
        (product ^ (product >> 7)).wrapping_mul(MIX)
    }
}

impl Bijection {
    pub fn new(seed: u64, cell: usize, lap: u64, rows: u32) -> Self {
        let bits = (u32::BITS - rows.leading_zeros()).div_ceil(2);
        let words = Philox::new(seed, Domain::Orders).words([0, lap, cell as u64, 0]);
        Self {
            rows,
            width: rows.div_ceil(1 << bits) as u16,
            bits,
            keys: std::array::from_fn(|round| {
                let key = words[round / 2] >> (round % 2 * 32);
                Key {
                    xor: (key >> 16) as u16,
                    multiply: key as u16 | 1,
                }
            }),
        }
    }

    /// Writes the rows at `start`, `start + 1`, ... of the lap. Those beyond its end mean nothing.
    pub fn run(&self, start: u32, rows: &mut [u32; RUN]) {
        // The right half counts up and wraps at most once, because 2^bits is at least `RUN`.
        let (left, right) = self.halves(start);
        let rights = std::array::from_fn(|lane| right.wrapping_add(lane as u16) & self.mask());
        let lefts = rights.map(|lane| left + u16::from(lane < right));
        *rows = pass(self, lefts, rights);
        // One test for all rows: a value outside the cell sets the sign bit.
        let outside = rows
            .iter()
            .fold(0, |signs, &row| signs | (self.rows - 1).wrapping_sub(row));
        if outside >> 31 == 1 {
            let inside = rows.len().min((self.rows - start) as usize);
            for row in &mut rows[..inside] {
                while *row >= self.rows {
                    let (left, right) = self.halves(*row);
                    [*row] = pass(self, [left], [right]);
                }
            }
        }
    }

    fn mask(&self) -> u16 {
        ((1_u32 << self.bits) - 1) as u16
    }

    fn halves(&self, value: u32) -> (u16, u16) {
        ((value >> self.bits) as u16, value as u16 & self.mask())
    }
}

/// One pass through the network.
#[multiversion(targets("x86_64+avx2"))]
fn pass<const N: usize>(order: &Bijection, mut left: [u16; N], mut right: [u16; N]) -> [u32; N] {
    let mask = order.mask();
    for pair in order.keys.chunks_exact(2) {
        let mut step = right.map(|half| pair[0].mix(half));
        // This is a loop of its own because otherwise the compiler would use 32-bit lanes for the other steps too.
        for step in &mut step {
            *step = ((u32::from(*step) * u32::from(order.width)) >> 16) as u16;
        }
        for (left, step) in left.iter_mut().zip(step) {
            let sum = left.wrapping_add(step);
            *left = sum.min(sum.wrapping_sub(order.width));
        }
        for (right, left) in right.iter_mut().zip(left) {
            let step = pair[1].mix(left) >> (16 - order.bits);
            *right = right.wrapping_add(step) & mask;
        }
    }
    std::array::from_fn(|lane| (u32::from(left[lane]) << order.bits) | u32::from(right[lane]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stream::limits::MAX_ROWS;

    fn lap(bijection: &Bijection) -> Vec<u32> {
        let mut rows = Vec::new();
        let mut run = [0; RUN];
        while rows.len() < bijection.rows as usize {
            bijection.run(rows.len() as u32, &mut run);
            let rest = bijection.rows as usize - rows.len();
            rows.extend(&run[..rest.min(RUN)]);
        }
        rows
    }

    fn is_permutation(mut rows: Vec<u32>) -> bool {
        rows.sort_unstable();
        rows.iter().enumerate().all(|(index, &row)| index == row as usize)
    }

    proptest! {
        #[test]
        fn a_lap_has_every_row_once(seed: u64, cell in 0..9_usize, lap_number: u64, rows in SHUFFLED as u32 + 1..20_000) {
            prop_assert!(is_permutation(lap(&Bijection::new(seed, cell, lap_number, rows))));
        }

        #[test]
        fn a_small_lap_has_every_row_once(seed: u64, cell in 0..9_usize, lap_number: u64, rows in 1..=SHUFFLED) {
            let mut order = vec![0; rows];
            shuffled(seed, cell, lap_number, &mut order);
            prop_assert!(is_permutation(order));
        }

        #[test]
        fn runs_agree_wherever_they_start(seed: u64, rows in SHUFFLED as u32 + 1..=MAX_ROWS as u32, start: u32) {
            let bijection = Bijection::new(seed, 0, 0, rows);
            let start = start % rows;
            let [mut one, mut other] = [[0; RUN]; 2];
            bijection.run(start, &mut one);
            let inside = RUN.min((rows - start) as usize);
            prop_assert!(one[..inside].iter().all(|&row| row < rows));
            for skip in [1, inside / 2, inside - 1] {
                if skip < inside {
                    bijection.run(start + skip as u32, &mut other);
                    prop_assert_eq!(&one[skip..inside], &other[..inside - skip]);
                }
            }
        }
    }

    #[test]
    fn sizes_at_the_edges_of_the_network() {
        for bits in 10..18 {
            for rows in [(1 << bits) - 1, 1 << bits, (1 << bits) + 1] {
                assert!(
                    rows <= SHUFFLED as u32 || is_permutation(lap(&Bijection::new(1, 2, 3, rows))),
                    "{rows} rows"
                );
            }
        }
    }
}
