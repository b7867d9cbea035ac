//! The line of 2^53 points, cut by the weights into one interval a cell.

use crate::{Error, LINE};

/// The ends of the cells' intervals: cell `c` owns the points from `ends[c - 1]` up to, not including, `ends[c]`.
pub struct Line {
    ends: Vec<u64>,
}

impl Line {
    /// Cuts the line. A weight of 0 gives an empty interval, always.
    pub fn new(weights: &[f64]) -> Self {
        let (shares, total) = shares(weights);
        let mut sum = 0.0;
        let mut ends: Vec<u64> = shares
            .map(|share| {
                sum += share;
                (sum / total * LINE as f64) as u64
            })
            .collect();
        // The last sum divided by itself is 1 exactly, so the line is covered; this only says so to the reader.
        debug_assert_eq!(ends.last(), Some(&LINE));
        ends.shrink_to_fit();
        Self { ends }
    }

    pub fn ends(&self) -> &[u64] {
        &self.ends
    }

    /// The cell whose interval holds the point.
    pub fn cell(&self, point: u64) -> usize {
        self.ends.partition_point(|&end| end <= point)
    }
}

/// Weights over their largest, and the sum of those: neither overflows, whatever finite weights are given.
fn shares(weights: &[f64]) -> (impl Iterator<Item = f64>, f64) {
    let largest = weights.iter().copied().fold(0.0, f64::max);
    let shares = weights.iter().map(move |weight| weight / largest);
    let total = shares.clone().fold(0.0, |sum, share| sum + share);
    (shares, total)
}

/// The weights as probabilities.
pub fn normalised(weights: &[f64]) -> Vec<f64> {
    let (shares, total) = shares(weights);
    shares.map(|share| share / total).collect()
}

/// Refuses weights that cut no line for cells of these sizes.
pub fn check(weights: &[f64], sizes: &[u32]) -> Result<(), Error> {
    if weights.len() != sizes.len() {
        return Err(Error::WeightCount {
            weights: weights.len(),
            cells: sizes.len(),
        });
    }
    for (cell, (&weight, &size)) in weights.iter().zip(sizes).enumerate() {
        if !(weight.is_finite() && weight >= 0.0) {
            return Err(Error::Weight { cell, weight });
        }
        if weight > 0.0 && size == 0 {
            return Err(Error::NoRows { cell, weight });
        }
    }
    if weights.iter().all(|&weight| weight == 0.0) {
        return Err(Error::NoWeight);
    }
    Ok(())
}
