//! The stream for Python: `hbo_plugin._sampler.MixtureSampler`.

use std::sync::{Mutex, PoisonError};

use numpy::{IntoPyArray, PyArray1};
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyType};

use crate::Error;
use crate::python::convert::{self, item, signed, whole_number};
use crate::stream::{State, Stream, check};

/// Version of the dictionaries of `state_dict`.
const STATE_VERSION: u64 = 1;
/// Rows that are drawn without letting go of the interpreter, if no other thread is at the stream.
const FEW: usize = 512;
/// Positions, in an error.
const POSITIONS: &str = "0 to 2^53";

/// See the stub.
#[pyclass(frozen, module = "hbo_plugin._sampler")]
pub struct MixtureSampler(Mutex<Drawer>);

struct Drawer {
    stream: Stream,
    /// Where few rows are written before an array is made of them: cheaper than new memory for every call.
    few: [i64; FEW],
}

impl MixtureSampler {
    /// Runs something on the stream while other Python threads go on.
    pub fn with<T: Send>(&self, py: Python<'_>, run: impl FnOnce(&mut Stream) -> T + Send) -> T {
        // Every method leaves the stream whole, and none panics; so a poisoned lock would still guard a good stream.
        py.detach(|| run(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).stream))
    }

    /// Runs what takes microseconds. Other threads wait for it no longer than for the switch to them, unless one is at
    /// the stream.
    fn briefly<T: Send>(&self, py: Python<'_>, run: impl FnOnce(&mut Stream) -> T + Send) -> T {
        match self.0.try_lock() {
            Ok(mut drawer) => run(&mut drawer.stream),
            Err(_) => self.with(py, run),
        }
    }

    fn wrap(stream: Stream) -> Self {
        let few = [0; FEW];
        Self(Mutex::new(Drawer { stream, few }))
    }
}

#[pymethods]
impl MixtureSampler {
    #[new]
    #[pyo3(signature = (cell_sizes, weights, *, seed, replacement=false))]
    fn new(
        cell_sizes: &Bound<'_, PyAny>,
        weights: &Bound<'_, PyAny>,
        seed: &Bound<'_, PyAny>,
        replacement: bool,
    ) -> PyResult<Self> {
        let stream = Stream::new(
            &convert::cell_sizes(cell_sizes)?,
            convert::weights(weights)?,
            whole_number("seed", seed, "0 to 2^64 - 1")?,
            replacement,
        )?;
        Ok(Self::wrap(stream))
    }

    fn fill<'py>(
        &self,
        py: Python<'py>,
        position: &Bound<'py, PyAny>,
        count: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let position = whole_number("position", position, POSITIONS)?;
        let count = whole_number("count", count, POSITIONS)?;
        if count <= FEW as u64
            && let Ok(mut drawer) = self.0.try_lock()
        {
            let Drawer { stream, few } = &mut *drawer;
            let rows = &mut few[..count as usize];
            stream.fill(position, rows)?;
            return Ok(PyArray1::from_slice(py, rows));
        }
        let rows = self.with(py, |stream| {
            check::range(position, count)?;
            let mut rows = Vec::new();
            usize::try_from(count)
                .ok()
                .and_then(|count| rows.try_reserve_exact(count).ok())
                .ok_or_else(|| {
                    let given = format!("`count={count}`");
                    let error = Error::new(given, "there is no memory for so many rows", "ask for fewer at a time");
                    PyMemoryError::new_err(error.to_string())
                })?;
            rows.resize(count as usize, 0);
            stream.fill(position, &mut rows)?;
            Ok::<_, PyErr>(rows)
        })?;
        Ok(rows.into_pyarray(py))
    }

    fn reweight(&self, py: Python<'_>, position: &Bound<'_, PyAny>, weights: &Bound<'_, PyAny>) -> PyResult<()> {
        let position = whole_number("position", position, POSITIONS)?;
        let weights = convert::weights(weights)?;
        Ok(self.briefly(py, |stream| stream.reweight(position, weights))?)
    }

    fn weights<'py>(&self, py: Python<'py>, position: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let position = whole_number("position", position, POSITIONS)?;
        Ok(self.briefly(py, |stream| stream.weights(position))?.into_pyarray(py))
    }

    fn counts<'py>(
        &self,
        py: Python<'py>,
        position: &Bound<'py, PyAny>,
        count: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let position = whole_number("position", position, POSITIONS)?;
        let count = whole_number("count", count, POSITIONS)?;
        let counts = self.with(py, |stream| stream.counts(position, count))?;
        Ok(signed(counts).into_pyarray(py))
    }

    #[getter]
    fn cell_sizes<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        signed(self.briefly(py, |stream| stream.cell_sizes())).into_pyarray(py)
    }

    #[getter]
    fn seed(&self, py: Python<'_>) -> u64 {
        self.briefly(py, |stream| stream.seed())
    }

    #[getter]
    fn replacement(&self, py: Python<'_>) -> bool {
        self.briefly(py, |stream| stream.replacement())
    }

    fn state_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let state = self.briefly(py, |stream| stream.state());
        let updates = PyList::empty(py);
        for (position, weights) in state.updates {
            let update = PyDict::new(py);
            update.set_item("position", position)?;
            update.set_item("weights", weights)?;
            updates.append(update)?;
        }
        let dict = PyDict::new(py);
        dict.set_item("version", STATE_VERSION)?;
        dict.set_item("seed", state.seed)?;
        dict.set_item("replacement", state.replacement)?;
        dict.set_item("cell_sizes", state.cell_sizes)?;
        dict.set_item("drawn", state.drawn)?;
        dict.set_item("updates", updates)?;
        Ok(dict)
    }

    #[classmethod]
    fn from_state_dict(_cls: &Bound<'_, PyType>, state: &Bound<'_, PyDict>) -> PyResult<Self> {
        let version: u64 = item(state, "version")?;
        if version != STATE_VERSION {
            return Err(Error::new(
                format_args!("`state[\"version\"]={version}`"),
                format_args!("this release reads version {STATE_VERSION}"),
                "use the release that wrote it",
            )
            .into());
        }
        let updates = item::<Vec<Bound<'_, PyDict>>>(state, "updates")?
            .iter()
            .map(|update| Ok((item(update, "position")?, item(update, "weights")?)))
            .collect::<PyResult<_>>()?;
        let stream = Stream::restore(State {
            seed: item(state, "seed")?,
            replacement: item(state, "replacement")?,
            cell_sizes: item(state, "cell_sizes")?,
            updates,
            drawn: item(state, "drawn")?,
        })?;
        Ok(Self::wrap(stream))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyDict>,))> {
        let restore = slf.get_type().getattr("from_state_dict")?;
        Ok((restore, (slf.get().state_dict(slf.py())?,)))
    }
}
