//! The Python face of the sampler: `hbo_plugin._sampler`.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};

use numpy::{AllowTypeChange, IntoPyArray, PyArray1, PyArrayLikeDyn, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyType};

use crate::sampler::check_range;
use crate::{Error, Sampler, State};

/// Version of the dictionaries of `state_dict`.
const STATE_VERSION: u64 = 1;
/// Rows that are drawn without letting go of the interpreter, if no other thread is at the sampler.
const FEW: usize = 512;
/// The last position, in words.
const END: &str = "2^53";

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

/// The compiled half of the plugin.
#[pymodule]
mod _sampler {
    #[pymodule_export]
    use super::MixtureSampler;

    #[pymodule_export]
    use crate::packing_python::Packer;

    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "the Python name")]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "the Python name")]
    const build_profile: &str = if cfg!(debug_assertions) { "debug" } else { "release" };
}

/// See the stub.
#[pyclass(frozen, module = "hbo_plugin._sampler")]
pub(crate) struct MixtureSampler(Mutex<Drawer>);

struct Drawer {
    sampler: Sampler,
    /// Where few rows are written before an array is made of them: cheaper than new memory for every call.
    few: [i64; FEW],
}

impl MixtureSampler {
    /// Runs something on the sampler while other Python threads go on.
    pub(crate) fn with<T: Send>(&self, py: Python<'_>, run: impl FnOnce(&mut Sampler) -> T + Send) -> T {
        // Every method leaves the sampler whole, and none panics; so a poisoned lock would still guard a good sampler.
        py.detach(|| run(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).sampler))
    }

    /// Runs what takes microseconds. Other threads wait for it no longer than for the switch to them, unless one is at
    /// the sampler.
    fn briefly<T: Send>(&self, py: Python<'_>, run: impl FnOnce(&mut Sampler) -> T + Send) -> T {
        match self.0.try_lock() {
            Ok(mut drawer) => run(&mut drawer.sampler),
            Err(_) => self.with(py, run),
        }
    }

    fn wrap(sampler: Sampler) -> Self {
        let few = [0; FEW];
        Self(Mutex::new(Drawer { sampler, few }))
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
        let sampler = Sampler::new(
            &whole_numbers("cell_sizes", cell_sizes)?,
            numbers("weights", weights)?,
            whole_number("seed", seed, "2^64 - 1")?,
            replacement,
        )?;
        Ok(Self::wrap(sampler))
    }

    fn fill<'py>(
        &self,
        py: Python<'py>,
        position: &Bound<'py, PyAny>,
        count: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let position = whole_number("position", position, END)?;
        let count = whole_number("count", count, END)?;
        if count <= FEW as u64
            && let Ok(mut drawer) = self.0.try_lock()
        {
            let Drawer { sampler, few } = &mut *drawer;
            let rows = &mut few[..count as usize];
            sampler.fill(position, rows)?;
            return Ok(PyArray1::from_slice(py, rows));
        }
        let rows = self.with(py, |sampler| {
            check_range(position, count)?;
            let mut rows = Vec::new();
            usize::try_from(count)
                .ok()
                .and_then(|count| rows.try_reserve_exact(count).ok())
                .ok_or_else(|| {
                    PyMemoryError::new_err(format!(
                        "`count` is `{count}`, and there is no memory for so many rows; ask for fewer at a time."
                    ))
                })?;
            rows.resize(count as usize, 0);
            sampler.fill(position, &mut rows)?;
            Ok::<_, PyErr>(rows)
        })?;
        Ok(rows.into_pyarray(py))
    }

    fn reweight(&self, py: Python<'_>, position: &Bound<'_, PyAny>, weights: &Bound<'_, PyAny>) -> PyResult<()> {
        let position = whole_number("position", position, END)?;
        let weights = numbers("weights", weights)?;
        Ok(self.briefly(py, |sampler| sampler.reweight(position, weights))?)
    }

    fn weights<'py>(&self, py: Python<'py>, position: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let position = whole_number("position", position, END)?;
        Ok(self.briefly(py, |sampler| sampler.weights(position))?.into_pyarray(py))
    }

    fn counts<'py>(
        &self,
        py: Python<'py>,
        position: &Bound<'py, PyAny>,
        count: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let position = whole_number("position", position, END)?;
        let count = whole_number("count", count, END)?;
        let counts = self.with(py, |sampler| sampler.counts(position, count))?;
        Ok(signed(counts).into_pyarray(py))
    }

    #[getter]
    fn cell_sizes<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        signed(self.briefly(py, |sampler| sampler.cell_sizes())).into_pyarray(py)
    }

    #[getter]
    fn seed(&self, py: Python<'_>) -> u64 {
        self.briefly(py, |sampler| sampler.seed())
    }

    #[getter]
    fn replacement(&self, py: Python<'_>) -> bool {
        self.briefly(py, |sampler| sampler.replacement())
    }

    fn state_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let state = self.briefly(py, |sampler| sampler.state());
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
            return Err(PyValueError::new_err(format!(
                "`state[\"version\"]` is `{version}`, and this release reads {STATE_VERSION}; use the release that wrote it."
            )));
        }
        let updates = item::<Vec<Bound<'_, PyDict>>>(state, "updates")?
            .iter()
            .map(|update| Ok((item(update, "position")?, item(update, "weights")?)))
            .collect::<PyResult<_>>()?;
        let sampler = Sampler::restore(State {
            seed: item(state, "seed")?,
            replacement: item(state, "replacement")?,
            cell_sizes: item(state, "cell_sizes")?,
            updates,
            drawn: item(state, "drawn")?,
        })?;
        Ok(Self::wrap(sampler))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyDict>,))> {
        let restore = slf.get_type().getattr("from_state_dict")?;
        Ok((restore, (slf.get().state_dict(slf.py())?,)))
    }
}

/// What a dictionary of a state holds under a key.
pub(crate) fn item<'py, T: FromPyObjectOwned<'py>>(dict: &Bound<'py, PyDict>, key: &str) -> PyResult<T> {
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
fn whole_number(name: impl Display, value: &Bound<'_, PyAny>, most: &str) -> PyResult<u64> {
    value.extract().map_err(|error: PyErr| {
        if error.is_instance_of::<pyo3::exceptions::PyOverflowError>(value.py()) {
            PyValueError::new_err(format!(
                "`{name}` is `{value}`, and it is a whole number from 0 to {most}; give such a number."
            ))
        } else {
            error
        }
    })
}

fn whole_numbers(name: &str, values: &Bound<'_, PyAny>) -> PyResult<Vec<u64>> {
    (0..)
        .zip(values.try_iter()?)
        .map(|(index, value)| whole_number(format_args!("{name}[{index}]"), &value?, "2^31"))
        .collect()
}

fn numbers(name: &str, values: &Bound<'_, PyAny>) -> PyResult<Vec<f64>> {
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
fn signed(counts: Vec<u64>) -> Vec<i64> {
    counts.into_iter().map(|count| count as i64).collect()
}
