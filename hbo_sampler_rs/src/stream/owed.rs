//! What cells are owed: by how much their draws fall short of the sum of their shares.
//!
//! A change of weights can end a block early, and then the cells have not had their shares of it. The first block under
//! the new weights makes up for that. So errors do not add up, however often the weights change.
//!
//! As an end does, a debt stands for a cell and all cells before it. It is the number of points by which the end must
//! move to settle the debt in one block: a draw is worth a stratum.

use crate::stream::limits::LINE;
use crate::stream::line::{STRATA, STRATUM_BITS};
use crate::stream::schedule::Update;

/// What is owed at a later position, before which each cell has given `drawn` rows.
pub fn owed(update: &Update, position: u64, drawn: &[u64]) -> Vec<i64> {
    let count = u128::from(position - update.position);
    let mut below = 0;
    let cells = update.ends.iter().zip(&update.owed).zip(update.drawn.iter().zip(drawn));
    cells
        .map(|((&end, &owed), (before, drawn))| {
            below += drawn - before;
            let share = count * u128::from(end) / STRATA as u128;
            // Less than 2^18 draws are owed, so it does not matter that what they come from wraps.
            owed.wrapping_add((share as u64).wrapping_sub(below << STRATUM_BITS).cast_signed())
        })
        .collect()
}

/// Where the line is cut in the first block under new weights: each cell has its share and what it is owed.
///
/// A cell that has had more than both together gets nothing, and the next ones less. A cell with weight 0 gets nothing
/// whatever it is owed, and the next one more.
pub fn opening(update: &Update) -> Vec<u64> {
    let (mut begin, mut cut) = (0, 0);
    let cells = update.ends.iter().zip(&update.owed);
    cells
        .map(|(&end, &owed)| {
            if end == LINE {
                cut = LINE;
            } else if end > begin {
                cut = end.saturating_add_signed(owed).clamp(cut, LINE);
            }
            begin = end;
            cut
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stream::line::ends;

    proptest! {
        #[test]
        fn an_opening_cuts_the_line_and_draws_no_cell_of_weight_0(
            cells in prop::collection::vec((prop_oneof![Just(0.0), 1e-18..1.0], prop_oneof![any::<i64>(), -1_i64 << 50..1 << 50]), 1..20),
        ) {
            let (mut weights, owed): (Vec<f64>, Vec<i64>) = cells.into_iter().unzip();
            weights[0] += f64::from(u8::from(weights.iter().all(|&weight| weight == 0.0)));
            let ends = ends(&weights);
            let drawn = vec![0; ends.len()];
            let cuts = opening(&Update { position: 0, weights, ends: ends.clone(), drawn, owed });
            prop_assert!(cuts.is_sorted());
            prop_assert_eq!(cuts.last(), Some(&LINE));
            let (mut end, mut cut) = (0, 0);
            for (&next_end, &next_cut) in ends.iter().zip(&cuts) {
                prop_assert!(next_end > end || next_cut == cut);
                (end, cut) = (next_end, next_cut);
            }
        }
    }
}
