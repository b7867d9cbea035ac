//! Packing for Python: `hbo_plugin._sampler.Packer`.

use std::sync::{Mutex, PoisonError};

use numpy::{PyArray1, PyArrayMethods, PyReadonlyArray1, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::Error;
use crate::packing::{self, MAX_BINS, MAX_TOKENS, MAX_WAITING};
use crate::python::convert::{item, whole_number};
use crate::python::stream::MixtureSampler;

/// See the stub.
#[pyclass(frozen, module = "hbo_plugin._sampler")]
pub struct Packer {
    core: Mutex<packing::Packer>,
    /// Borrowed from the caller at every call: they can be hundreds of megabytes.
    lengths: Py<PyArray1<i32>>,
}

impl Packer {
    /// Runs something on the packer. Other threads wait for it, so what it does must not need Python's lock.
    fn with<T>(&self, run: impl FnOnce(&mut packing::Packer) -> T) -> T {
        run(&mut self.core.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn lengths<'py>(&self, py: Python<'py>) -> PyResult<PyReadonlyArray1<'py, i32>> {
        Ok(self.lengths.bind(py).try_readonly()?)
    }
}

#[pymethods]
impl Packer {
    #[new]
    #[pyo3(signature = (mixture, lengths, *, capacity, bins_per_batch, window))]
    fn new(
        py: Python<'_>,
        mixture: &Bound<'_, MixtureSampler>,
        lengths: &Bound<'_, PyAny>,
        capacity: &Bound<'_, PyAny>,
        bins_per_batch: &Bound<'_, PyAny>,
        window: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let capacity = whole_number("capacity", capacity, format_args!("1 to {MAX_TOKENS}"))?;
        let bins = whole_number("bins_per_batch", bins_per_batch, format_args!("1 to {MAX_BINS}"))?;
        let window = whole_number("window", window, format_args!("1 to {MAX_WAITING}"))?;
        let array = match lengths.cast::<PyArray1<i32>>() {
            Ok(array) if array.is_c_contiguous() => array,
            _ => {
                return Err(Error::new(
                    format_args!("`lengths` as {}", described(lengths)?),
                    "it must be a flat contiguous int32 array, because it is shared and not copied",
                    "give `numpy.ascontiguousarray(lengths, numpy.int32).ravel()`",
                )
                .into());
            }
        };
        let view = array.try_readonly()?;
        let tokens = view.as_slice()?;
        let core = mixture.get().with(py, |stream| {
            packing::Packer::new(stream, tokens, capacity, bins, window)
        })?;
        Ok(Self {
            core: Mutex::new(core),
            lengths: array.clone().unbind(),
        })
    }

    fn batch(&self, py: Python<'_>, mixture: &Bound<'_, MixtureSampler>) -> PyResult<Vec<Vec<i64>>> {
        let lengths = self.lengths(py)?;
        let lengths = lengths.as_slice()?;
        Ok(mixture
            .get()
            .with(py, |stream| self.with(|core| core.batch(stream, lengths)))?)
    }

    #[getter]
    fn head(&self) -> u64 {
        self.with(|core| core.head())
    }

    #[getter]
    fn waiting(&self) -> Vec<i64> {
        self.with(|core| core.waiting().collect())
    }

    fn seek(&self, py: Python<'_>, state: &Bound<'_, PyDict>) -> PyResult<()> {
        let head = item(state, "head")?;
        let waiting: Vec<i64> = item(state, "waiting")?;
        let lengths = self.lengths(py)?;
        let lengths = lengths.as_slice()?;
        Ok(self.with(|core| core.seek(lengths, head, &waiting))?)
    }
}

/// What was given in the place of an array.
fn described(value: &Bound<'_, PyAny>) -> PyResult<String> {
    Ok(match value.cast::<PyUntypedArray>() {
        Ok(array) => format!("array of {} with shape {:?}", array.dtype(), array.shape()),
        Err(_) => value.get_type().name()?.to_string(),
    })
}
