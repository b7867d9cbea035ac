//! The stream for Python: `hbo_plugin._sampler.MixtureSampler`.

use std::sync::{Mutex, PoisonError};

use numpy::{IntoPyArray, PyArray1};
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

use crate::Error;
use crate::python::convert::{self, signed, whole_number};
use crate::python::state;
use crate::stream::{Stream, check};

/// So many rows are drawn without releasing the interpreter, unless another thread holds the stream.
const FEW: usize = 512;
/// The range of positions, for errors.
const POSITIONS: &str = "0 to 2^53";

/// The stream of a mixture: which row is drawn at which position.
///
/// The row at a position follows from the seed and the weights alone. However a range of positions is split over
/// calls, threads or processes, its rows are the same.
///
/// Without replacement, each cell is visited in laps: a lap visits each row of the cell once, in an order of its own.
/// The draws come in blocks of 256 positions, counted from where the newest weights came into force. In each whole
/// block after the first, the draws of a cell are its share of 256, rounded down or up. In the first, they are this
/// share and what the cell is owed: by how much its draws so far fall short of the sum of its shares. So errors do not
/// add up, however often the weights change: after n whole blocks under the newest weights, the draws of each cell since
/// position 0 are off the sum of its shares by less than 2 + log2(n). If a cell was ahead by more than its share of a
/// block, or has weight 0 now, others bear the difference until a later change. Inside a block the order is random, so
/// other ranges of 256 positions can be off by more.
///
/// With replacement, every draw is independent of the others.
///
/// Args:
///     cell_sizes: rows of every cell, shape (cells,), whole numbers from 0 to 2^31, for 1 to 65,536 cells. The rows
///         of a cell are numbered on from those of the cell before; the first cell begins with row 0.
///     weights: weight of every cell, shape (cells,), finite and 0 or more, in force from position 0 on. They need not
///         sum to 1. A cell with weight 0 is never drawn. A cell without rows must have weight 0.
///     seed: a whole number from 0 to 2^64 - 1.
///     replacement: whether to draw with replacement.
///
/// Raises:
///     ValueError: the sizes, the weights or the seed are outside these bounds.
///     TypeError: a size or the seed is not a whole number.
#[pyclass(frozen, module = "hbo_plugin._sampler")]
pub struct MixtureSampler(Mutex<Drawer>);

struct Drawer {
    stream: Stream,
    /// Few rows are written here before they become an array, which is cheaper than new memory for every call.
    few: [i64; FEW],
}

impl MixtureSampler {
    /// Runs something on the stream while other Python threads go on.
    pub fn with<T: Send>(&self, py: Python<'_>, run: impl FnOnce(&mut Stream) -> T + Send) -> T {
        // No method panics or leaves the stream half changed, so even a poisoned lock guards a valid stream.
        py.detach(|| run(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).stream))
    }

    /// Runs something that takes microseconds. It releases the interpreter only if another thread holds the stream,
    /// because switching threads takes longer.
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

    /// Return the rows at the positions from `position` to before `position + count`, int64, shape (count,).
    ///
    /// It is fastest to go on where the last call ended. Any other position costs O(cells) more, and never a replay.
    /// Other Python threads can run while more than 512 rows are drawn.
    ///
    /// Raises:
    ///     ValueError: a position outside 0 to 2^53, or before the oldest weights that are kept.
    ///     MemoryError: there is no memory for so many rows.
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

    /// Put weights in force from a position on.
    ///
    /// If a position is given twice, the last weights count. Weights with exactly the shares of the newest are not
    /// recorded, and the stream goes on as it was. The newest `max(64, 2^19 // cells)` changes are kept: rows under
    /// older weights can no longer be asked for, and all later rows stay the same.
    ///
    /// Args:
    ///     position: where the weights come into force; not before the newest weights do.
    ///     weights: weight of every cell, shape (cells,), as for a new sampler.
    ///
    /// Raises:
    ///     ValueError: the weights make no mixture, or the position is outside 0 to 2^53 or before the newest weights.
    fn reweight(&self, py: Python<'_>, position: &Bound<'_, PyAny>, weights: &Bound<'_, PyAny>) -> PyResult<()> {
        let position = whole_number("position", position, POSITIONS)?;
        let weights = convert::weights(weights)?;
        Ok(self.briefly(py, |stream| stream.reweight(position, weights))?)
    }

    /// Return the weights in force at a position, normalised to sum to 1, float64, shape (cells,).
    ///
    /// Raises:
    ///     ValueError: a position outside 0 to 2^53, or before the oldest weights that are kept.
    fn weights<'py>(&self, py: Python<'py>, position: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let position = whole_number("position", position, POSITIONS)?;
        Ok(self.briefly(py, |stream| stream.weights(position))?.into_pyarray(py))
    }

    /// Return how often each cell is drawn from `position` to before `position + count`, int64, shape (cells,).
    ///
    /// Without replacement this is computed in closed form, in O(cells). With replacement it takes as long as drawing.
    ///
    /// Raises:
    ///     ValueError: a position outside 0 to 2^53, or before the oldest weights that are kept.
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

    /// Rows of every cell, int64, shape (cells,).
    #[getter]
    fn cell_sizes<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        signed(self.briefly(py, |stream| stream.cell_sizes())).into_pyarray(py)
    }

    /// The seed, from 0 to 2^64 - 1.
    #[getter]
    fn seed(&self, py: Python<'_>) -> u64 {
        self.briefly(py, |stream| stream.seed())
    }

    /// Whether rows are drawn with replacement.
    #[getter]
    fn replacement(&self, py: Python<'_>) -> bool {
        self.briefly(py, |stream| stream.replacement())
    }

    /// Return what the stream depends on, as numbers and lists that JSON can hold.
    ///
    /// These are the seed, the sizes, the newest weights with their positions, and how many rows each cell had given and
    /// was owed before the oldest of these. There are at most 64 weights; above 1,024 cells fewer, but never fewer than the
    /// newest two. So the state does not grow with the length of a run.
    fn state_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let state = self.briefly(py, |stream| stream.state());
        state::to_dict(py, state)
    }

    /// Return a sampler that goes on as the one that `state_dict` was called on, in O(cells).
    ///
    /// Positions before the oldest weights of the state can no longer be asked for.
    ///
    /// Raises:
    ///     ValueError: a dictionary that `state_dict` cannot have returned.
    #[classmethod]
    fn from_state_dict(_cls: &Bound<'_, PyType>, state: &Bound<'_, PyDict>) -> PyResult<Self> {
        let stream = Stream::restore(state::from_dict(state)?)?;
        Ok(Self::wrap(stream))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyDict>,))> {
        let restore = slf.get_type().getattr("from_state_dict")?;
        Ok((restore, (slf.get().state_dict(slf.py())?,)))
    }
}
