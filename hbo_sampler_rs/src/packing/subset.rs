//! The fullest subset: which of some draws fill a room best.
//!
//! For each draw that is added, a set of bits holds the sums of all subsets of the draws so far. The subset is read
//! back from the last set to the first, and a draw is in it only if the sum needs it. So among the fullest subsets it is
//! the one whose newest draw is the oldest; among those, the one whose second newest draw is the oldest; and so on.

/// Bits of a word.
const BITS: u32 = u64::BITS;

/// The subset of the draws that were added since `empty`.
#[derive(Debug, Default)]
pub struct Subset {
    room: u32,
    /// The largest sum that the newest set can hold.
    largest: u32,
    steps: Vec<Step>,
    /// The sets, one after another.
    sums: Vec<u64>,
    /// Where the newest set begins.
    newest: usize,
    /// The draws that `choose` chose, in the order in which they were added.
    pub chosen: Vec<usize>,
}

/// A draw, and where the set without it begins in `sums`.
#[derive(Debug)]
struct Step {
    index: usize,
    tokens: u32,
    without: usize,
}

impl Subset {
    /// Begins again: no draws, and room for this many tokens.
    pub fn empty(&mut self, room: u32) {
        self.room = room;
        self.largest = 0;
        self.steps.clear();
        self.sums.clear();
        self.sums.push(1);
        self.newest = 0;
    }

    /// Adds a draw.
    pub fn add(&mut self, index: usize, tokens: u32) {
        if tokens > self.room {
            return;
        }
        self.largest = (self.largest + tokens).min(self.room);
        let (without, with) = (self.newest, self.sums.len());
        self.steps.push(Step { index, tokens, without });
        self.newest = with;
        self.sums.extend_from_within(without..);
        self.sums.resize(with + (self.largest / BITS) as usize + 1, 0);
        let (old, new) = self.sums[without..].split_at_mut(with - without);
        let (words, bits) = ((tokens / BITS) as usize, tokens % BITS);
        let new = &mut new[words..];
        new[0] |= old[0] << bits;
        for (new, pair) in new[1..].iter_mut().zip(old.windows(2)) {
            *new |= pair[1] << bits | pair[0] >> 1 >> (BITS - 1 - bits);
        }
        if let Some(new) = new.get_mut(old.len()) {
            *new |= old[old.len() - 1] >> 1 >> (BITS - 1 - bits);
        }
        // Sums above `largest` are above the room: forget them.
        if let Some(last) = new.last_mut() {
            *last &= u64::MAX >> (BITS - 1 - self.largest % BITS);
        }
    }

    /// Whether a subset fills the room.
    pub fn fills(&self) -> bool {
        self.has(self.newest, self.sums.len(), self.room)
    }

    /// Chooses the fullest subset.
    pub fn choose(&mut self) {
        self.chosen.clear();
        let mut sum = self.fullest();
        let mut end = self.newest;
        for step in self.steps.iter().rev() {
            if !self.has(step.without, end, sum) {
                self.chosen.push(step.index);
                sum -= step.tokens;
            }
            end = step.without;
        }
        self.chosen.reverse();
    }

    /// The largest sum of the newest set.
    fn fullest(&self) -> u32 {
        let words = (0..).zip(&self.sums[self.newest..]);
        let (word, bits) = words.filter(|&(_, &bits)| bits != 0).last().expect("0 is a sum");
        word * BITS + bits.ilog2()
    }

    /// Whether the set in `sums[begin..end]` has a sum.
    fn has(&self, begin: usize, end: usize, sum: u32) -> bool {
        let word = self.sums[begin..end].get((sum / BITS) as usize);
        word.is_some_and(|word| word >> (sum % BITS) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Reading the draws of a subset as the digits of a binary number, the newest first, the smallest one wins.
        #[test]
        fn the_fullest_of_all_subsets_is_chosen(
            tokens in prop::collection::vec(1..200u32, 0..10),
            room in 1..600u32,
        ) {
            let sum = |subset: u32| -> u32 { (0..).zip(&tokens).map(|(i, tokens)| (subset >> i & 1) * tokens).sum() };
            let fitting = (0..1u32 << tokens.len()).filter(|&subset| sum(subset) <= room);
            let best = fitting.max_by_key(|&subset| (sum(subset), u32::MAX - subset)).expect("the empty one fits");
            let mut subset = Subset::default();
            for _ in 0..2 {
                subset.empty(room);
                for (index, &tokens) in tokens.iter().enumerate() {
                    subset.add(index, tokens);
                }
                subset.choose();
                prop_assert_eq!(subset.chosen.iter().map(|index| 1 << index).sum::<u32>(), best);
                prop_assert_eq!(subset.fills(), sum(best) == room);
            }
        }
    }
}
