//! What a stream refuses.

use crate::error::Error;
use crate::stream::limits::{LINE, MAX_CELLS, MAX_ROWS};

/// The sizes of the cells of a mixture.
pub fn cell_sizes(sizes: &[u64]) -> Result<Vec<u32>, Error> {
    let cells = sizes.len();
    if !(1..=MAX_CELLS).contains(&cells) {
        return Err(Error::new(
            format_args!("`cell_sizes` for {cells} cells"),
            format_args!("a mixture has 1 to {MAX_CELLS}"),
            "give the number of rows of each cell",
        ));
    }
    let checked = sizes.iter().enumerate().map(|(cell, &rows)| {
        if rows > MAX_ROWS {
            return Err(Error::new(
                format_args!("`cell_sizes[{cell}]={rows}`"),
                format_args!("a cell has at most {MAX_ROWS} rows"),
                "split it into several cells",
            ));
        }
        Ok(rows as u32)
    });
    checked.collect()
}

/// Weights for cells of these sizes.
pub fn weights(weights: &[f64], sizes: &[u32]) -> Result<(), Error> {
    if weights.len() != sizes.len() {
        return Err(Error::new(
            format_args!("`weights` for {} cells", weights.len()),
            format_args!("the mixture has {}", sizes.len()),
            "give one weight for each cell",
        ));
    }
    for (cell, (&weight, &size)) in weights.iter().zip(sizes).enumerate() {
        let (allowed, remedy) = if !(weight.is_finite() && weight >= 0.0) {
            (
                "a weight must be finite and 0 or more",
                "give 0 to draw nothing from the cell",
            )
        } else if weight > 0.0 && size == 0 {
            ("this cell has no rows", "give it weight 0")
        } else {
            continue;
        };
        return Err(Error::new(format_args!("`weights[{cell}]={weight}`"), allowed, remedy));
    }
    if weights.iter().all(|&weight| weight == 0.0) {
        return Err(Error::new(
            "weight 0 for every cell",
            "some row must be drawn",
            "give at least one cell a weight above 0",
        ));
    }
    Ok(())
}

/// A position of the stream, or its end.
pub fn position(position: u64) -> Result<(), Error> {
    if position > LINE {
        return Err(Error::new(
            format_args!("`position={position}`"),
            format_args!("the stream ends at position {LINE}"),
            "give that position or an earlier one",
        ));
    }
    Ok(())
}

/// The positions from `position` to before `position + count`.
pub fn range(position: u64, count: u64) -> Result<(), Error> {
    if position.checked_add(count).is_none_or(|end| end > LINE) {
        return Err(Error::new(
            format_args!("`position={position}, count={count}`"),
            format_args!("the stream ends at position {LINE}"),
            "ask for a range that ends there or earlier",
        ));
    }
    Ok(())
}

/// The draws of every cell before the first position of a state without replacement.
pub fn drawn(drawn: &[u64], position: u64, sizes: &[u32]) -> Result<(), Error> {
    let total: u128 = drawn.iter().copied().map(u128::from).sum();
    if total != u128::from(position) {
        return Err(Error::in_state(
            format_args!("`state[\"drawn\"]` with sum {total}"),
            format_args!("the oldest update is at position {position}, before which {position} rows were drawn"),
        ));
    }
    for (cell, (&drawn, &size)) in drawn.iter().zip(sizes).enumerate() {
        if drawn > 0 && size == 0 {
            return Err(Error::in_state(
                format_args!("`state[\"drawn\"][{cell}]={drawn}`"),
                "this cell has no rows",
            ));
        }
    }
    Ok(())
}

/// As many numbers under a key of a state as it must have.
pub fn one_each(key: &str, numbers: usize, cells: usize) -> Result<(), Error> {
    if numbers != cells {
        return Err(Error::in_state(
            format_args!("`state[\"{key}\"]` with {numbers} numbers"),
            format_args!("it must have {cells}"),
        ));
    }
    Ok(())
}
