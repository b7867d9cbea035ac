//! Packing for Python: `hbo_plugin._sampler.Packer`.

use std::sync::{Mutex, PoisonError};

use numpy::{PyArray1, PyArrayMethods, PyReadonlyArray1, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::Error;
use crate::packing::{self, MAX_BINS, MAX_TOKENS, MAX_WAITING};
use crate::python::convert::whole_number;
use crate::python::state::item;
use crate::python::stream::MixtureSampler;

/// Packs the draws of a stream into bins of a fixed number of tokens, without planning an epoch.
///
/// A batch is packed when it is asked for, and no row is drawn before it is needed. Every draw goes into exactly one
/// bin, one of the next `window` that are filled. For a DataLoader, use `hbo_plugin.PackedBatchSampler`.
///
/// Args:
///     mixture: the stream.
///     lengths: tokens of every row, int32, shape (rows,), C-contiguous, each from 1 to `capacity`. The array is
///         shared and not copied.
///     capacity: tokens that a bin can hold, from 1 to 2^20.
///     bins_per_batch: bins of a batch, from 1 to 2^16.
///     window: draws that can wait for a bin, from 1 to 2^10.
///
/// Raises:
///     ValueError: a number or a length is out of bounds, or `lengths` has another type or shape.
///     TypeError: something is not a whole number.
#[pyclass(frozen, module = "hbo_plugin._sampler")]
pub struct Packer {
    core: Mutex<packing::Packer>,
    /// The caller's array, which can have hundreds of megabytes: it is borrowed at every call, never copied.
    lengths: Py<PyArray1<i32>>,
}

impl Packer {
    /// Runs something on the packer. It must not need the interpreter, because other threads may wait for it.
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

    /// Return the rows of every bin of the next batch, a list of `bins_per_batch` lists of row numbers.
    ///
    /// Other Python threads can run meanwhile.
    ///
    /// Args:
    ///     mixture: the stream that the packer was made for, or one that was restored from its state.
    ///
    /// Raises:
    ///     ValueError: as `MixtureSampler.fill`, or a row whose length no longer fits. The packer stays where it was.
    fn batch(&self, py: Python<'_>, mixture: &Bound<'_, MixtureSampler>) -> PyResult<Vec<Vec<i64>>> {
        let lengths = self.lengths(py)?;
        let lengths = lengths.as_slice()?;
        Ok(mixture
            .get()
            .with(py, |stream| self.with(|core| core.batch(stream, lengths)))?)
    }

    /// Position of the next draw.
    #[getter]
    fn head(&self) -> u64 {
        self.with(|core| core.head())
    }

    /// Rows that were drawn and are in no bin yet, oldest first.
    #[getter]
    fn waiting(&self) -> Vec<i64> {
        self.with(|core| core.waiting().collect())
    }

    /// Go to where a packer with the same settings stood.
    ///
    /// Args:
    ///     state: a dictionary with that packer's `head` and `waiting`; other keys are ignored.
    ///
    /// Raises:
    ///     ValueError: a key is missing, or no packer with this window and these lengths can stand there.
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
