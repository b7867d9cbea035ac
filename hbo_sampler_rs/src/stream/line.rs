//! The line of 2^53 points, cut by the weights into one interval a cell.

use crate::stream::limits::LINE;

/// Equal parts of the line: strata.
pub const STRATA: usize = 256;
/// Bits of a point below its stratum.
pub const STRATUM_BITS: u32 = LINE.trailing_zeros() - STRATA.trailing_zeros();

/// The intervals of the cells.
pub struct Line {
    /// Cell `c` owns the points from `ends[c - 1]` up to, not including, `ends[c]`.
    ends: Vec<u64>,
    /// The cells of the first point of each stratum, and the last cell. They leave few ends to search.
    cells: [u16; STRATA + 1],
}

impl Line {
    pub fn new(ends: &[u64]) -> Self {
        let mut cells = [0; STRATA + 1];
        cells[..STRATA].copy_from_slice(&stratum_cells(ends, 0));
        cells[STRATA] = (ends.len() - 1) as u16;
        Self {
            ends: ends.to_vec(),
            cells,
        }
    }

    /// The cells of the first point of each stratum.
    pub fn stratum_cells(&self) -> &[u16; STRATA] {
        self.cells.first_chunk().expect("one more than the strata")
    }

    /// The cell whose interval holds the point.
    #[inline]
    pub fn cell(&self, point: u64) -> u16 {
        let stratum = (point >> STRATUM_BITS) as usize % STRATA;
        let (first, last) = (self.cells[stratum], self.cells[stratum + 1]);
        if last - first > 1 {
            return self.search(first, last, point);
        }
        // Most strata have one or two cells. A branch could not predict which of the two.
        first + u16::from(self.ends[usize::from(first)] <= point)
    }

    #[cold]
    fn search(&self, first: u16, last: u16, point: u64) -> u16 {
        let ends = &self.ends[usize::from(first)..usize::from(last)];
        first + ends.partition_point(|&end| end <= point) as u16
    }

    /// The strata with more than one cell, and perhaps a few others.
    pub fn cut_strata(&self) -> Vec<u8> {
        let mut strata = Vec::with_capacity(self.ends.len());
        let inside = self.ends.iter().filter(|&&end| end < LINE);
        strata.extend(inside.map(|end| (end >> STRATUM_BITS) as u8));
        strata.dedup();
        strata
    }
}

/// The cells of the points that are this far into each stratum.
pub fn stratum_cells(ends: &[u64], offset: u64) -> [u16; STRATA] {
    // First, how many ends each stratum adds before its point; then the running sums.
    let mut cells = [0; STRATA + 1];
    for end in ends {
        cells[((end + (1 << STRATUM_BITS) - 1 - offset) >> STRATUM_BITS) as usize] += 1;
    }
    let mut sum = 0;
    for cell in &mut cells[..STRATA] {
        sum += *cell;
        *cell = sum;
    }
    *cells.first_chunk().expect("one more than the strata")
}

/// Cuts the line, and returns the ends of the intervals. A weight of 0 always gives an empty interval.
pub fn ends(weights: &[f64]) -> Vec<u64> {
    let sums = running_sums(weights);
    let total = sums[sums.len() - 1];
    // A product may round up to the end of the line or beyond. The last sum must reach it: every point needs a cell.
    let scale = LINE as f64 / total;
    let end = |sum| {
        if sum < total {
            ((sum * scale) as u64).min(LINE)
        } else {
            LINE
        }
    };
    sums.into_iter().map(end).collect()
}

/// The weights as probabilities.
pub fn normalised(weights: &[f64]) -> Vec<f64> {
    let sums = running_sums(weights);
    let (largest, total) = (largest(weights), sums[sums.len() - 1]);
    weights.iter().map(|weight| weight / largest / total).collect()
}

/// Running sums of the weights divided by the largest, so that no finite weights overflow.
fn running_sums(weights: &[f64]) -> Vec<f64> {
    let largest = largest(weights);
    // Two loops, because the first can be vectorised.
    let mut sums: Vec<f64> = weights.iter().map(|weight| weight / largest).collect();
    let mut sum = 0.0;
    for share in &mut sums {
        sum += *share;
        *share = sum;
    }
    sums
}

fn largest(weights: &[f64]) -> f64 {
    weights.iter().copied().fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Weights from 0 to the largest and smallest that floats have.
    fn any_weights() -> impl Strategy<Value = Vec<f64>> {
        let weight = prop_oneof![
            Just(0.0),
            0.0..1.0,
            Just(f64::MAX),
            Just(f64::from_bits(1)),
            0.0..f64::MAX
        ];
        prop::collection::vec(weight, 1..300)
            .prop_filter("some weight", |weights| weights.iter().any(|&weight| weight > 0.0))
    }

    proptest! {
        #[test]
        fn every_point_has_one_cell(weights in any_weights(), points in prop::collection::vec(0..LINE, 100)) {
            let ends = ends(&weights);
            prop_assert!(ends.is_sorted());
            prop_assert_eq!(ends.last(), Some(&LINE));
            let line = Line::new(&ends);
            let edges = ends.iter().flat_map(|&end| [end.saturating_sub(1), end]).filter(|&point| point < LINE);
            for point in points.into_iter().chain(edges) {
                let cell = usize::from(line.cell(point));
                prop_assert!(point < ends[cell] && (cell == 0 || ends[cell - 1] <= point));
                prop_assert!(weights[cell] > 0.0);
            }
        }

        #[test]
        fn strata_that_are_not_cut_have_one_cell(weights in any_weights()) {
            let line = Line::new(&ends(&weights));
            let cut = line.cut_strata();
            for stratum in 0..STRATA {
                let first = (stratum as u64) << STRATUM_BITS;
                let cells = [first, first + (1 << STRATUM_BITS) - 1].map(|point| line.cell(point));
                prop_assert_eq!(line.stratum_cells()[stratum], cells[0]);
                prop_assert!(cells[0] == cells[1] || cut.contains(&(stratum as u8)));
            }
        }

        #[test]
        fn probabilities_sum_to_one(weights in any_weights()) {
            let sum: f64 = normalised(&weights).iter().sum();
            prop_assert!((sum - 1.0).abs() < 1e-12);
        }
    }
}
