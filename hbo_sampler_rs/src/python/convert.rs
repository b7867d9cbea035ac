//! What Python gives, as what the crate takes; and the crate's errors, as Python's.

use std::fmt::Display;

use numpy::{AllowTypeChange, PyArray1, PyArrayLikeDyn, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::{packing, stream};

impl From<stream::Error> for PyErr {
    fn from(error: stream::Error) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

impl From<packing::Error> for PyErr {
    fn from(error: packing::Error) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

/// What a dictionary of a state holds under a key.
pub fn item<'py, T: FromPyObjectOwned<'py>>(dict: &Bound<'py, PyDict>, key: &str) -> PyResult<T> {
    let Some(value) = dict.get_item(key)? else {
        return Err(PyValueError::new_err(format!(
            "`state` has no key `{key}`; give a state that `state_dict` returned."
        )));
    };
    value.extract().map_err(|_| {
        PyValueError::new_err(format!(
            "`state` has `{value}` under `{key}`, which is not what belongs there; give a state that `state_dict` returned."
        ))
    })
}

/// A whole number that may be allowed; `TypeError` from what is not a whole number.
pub fn whole_number(name: impl Display, value: &Bound<'_, PyAny>, most: &str) -> PyResult<u64> {
    value.extract().map_err(|error: PyErr| {
        if error.is_instance_of::<PyOverflowError>(value.py()) {
            PyValueError::new_err(format!(
                "`{name}` is `{value}`, and it is a whole number from 0 to {most}; give such a number."
            ))
        } else {
            error
        }
    })
}

pub fn whole_numbers(name: &str, values: &Bound<'_, PyAny>) -> PyResult<Vec<u64>> {
    (0..)
        .zip(values.try_iter()?)
        .map(|(index, value)| whole_number(format_args!("{name}[{index}]"), &value?, "2^31"))
        .collect()
}

pub fn numbers(name: &str, values: &Bound<'_, PyAny>) -> PyResult<Vec<f64>> {
    // What weights are in a run, copied without the books that are kept of a borrowed array.
    if let Ok(array) = values.cast::<PyArray1<f64>>()
        && let Ok(numbers) = array.to_vec()
    {
        return Ok(numbers);
    }
    let array: PyArrayLikeDyn<'_, f64, AllowTypeChange> = values.extract()?;
    if array.ndim() != 1 {
        return Err(PyValueError::new_err(format!(
            "`{name}` has shape `{:?}`, and it is a list or array of one number a cell; give it flat.",
            array.shape()
        )));
    }
    Ok(array
        .as_slice()
        .map_or_else(|_| array.as_array().iter().copied().collect(), <[f64]>::to_vec))
}

/// Counts as the integers that arrays of rows have too; they are below 2^53.
pub fn signed(counts: Vec<u64>) -> Vec<i64> {
    counts.into_iter().map(|count| count as i64).collect()
}
