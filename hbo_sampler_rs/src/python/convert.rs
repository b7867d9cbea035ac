//! From Python's values to Rust's, and from Rust's errors and counts to Python's.

use std::fmt::Display;

use numpy::{AllowTypeChange, PyArray1, PyArrayLikeDyn, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;

use crate::Error;

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

/// A whole number, which the crate may still refuse. What is not a whole number is a `TypeError`.
pub fn whole_number(name: impl Display, value: &Bound<'_, PyAny>, range: impl Display) -> PyResult<u64> {
    value.extract().map_err(|error: PyErr| {
        if error.is_instance_of::<PyOverflowError>(value.py()) {
            Error::outside(name, value, range).into()
        } else {
            error
        }
    })
}

/// The sizes of cells.
pub fn cell_sizes(values: &Bound<'_, PyAny>) -> PyResult<Vec<u64>> {
    (0..)
        .zip(values.try_iter()?)
        .map(|(cell, size)| whole_number(format_args!("cell_sizes[{cell}]"), &size?, "0 to 2^31"))
        .collect()
}

/// The weights of cells.
pub fn weights(values: &Bound<'_, PyAny>) -> PyResult<Vec<f64>> {
    // The usual array of a run is copied without NumPy's bookkeeping of borrowed arrays.
    if let Ok(array) = values.cast::<PyArray1<f64>>()
        && let Ok(weights) = array.to_vec()
    {
        return Ok(weights);
    }
    let array: PyArrayLikeDyn<'_, f64, AllowTypeChange> = values.extract()?;
    if array.ndim() != 1 {
        return Err(Error::new(
            format_args!("`weights` of shape {:?}", array.shape()),
            "they must be a flat list or array",
            "give one number for each cell",
        )
        .into());
    }
    Ok(array
        .as_slice()
        .map_or_else(|_| array.as_array().iter().copied().collect(), <[f64]>::to_vec))
}

/// Counts as the same integers that rows are. They are at most 2^53.
pub fn signed(counts: Vec<u64>) -> Vec<i64> {
    counts.into_iter().map(|count| count as i64).collect()
}
