//! The state of a stream as a dictionary that JSON can hold.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::Error;
use crate::stream::State;

/// Version of the dictionary.
const VERSION: u64 = 1;

pub fn to_dict(py: Python<'_>, state: State) -> PyResult<Bound<'_, PyDict>> {
    let updates = PyList::empty(py);
    for (position, weights) in state.updates {
        let update = PyDict::new(py);
        update.set_item("position", position)?;
        update.set_item("weights", weights)?;
        updates.append(update)?;
    }
    let dict = PyDict::new(py);
    dict.set_item("version", VERSION)?;
    dict.set_item("seed", state.seed)?;
    dict.set_item("replacement", state.replacement)?;
    dict.set_item("cell_sizes", state.cell_sizes)?;
    dict.set_item("drawn", state.drawn)?;
    dict.set_item("owed", state.owed)?;
    dict.set_item("updates", updates)?;
    Ok(dict)
}

pub fn from_dict(dict: &Bound<'_, PyDict>) -> PyResult<State> {
    let version: u64 = item(dict, "version")?;
    if version != VERSION {
        return Err(Error::new(
            format_args!("`state[\"version\"]={version}`"),
            format_args!("this release reads version {VERSION}"),
            "use the release that wrote it",
        )
        .into());
    }
    let updates = item::<Vec<Bound<'_, PyDict>>>(dict, "updates")?
        .iter()
        .map(|update| Ok((item(update, "position")?, item(update, "weights")?)))
        .collect::<PyResult<_>>()?;
    Ok(State {
        seed: item(dict, "seed")?,
        replacement: item(dict, "replacement")?,
        cell_sizes: item(dict, "cell_sizes")?,
        updates,
        drawn: item(dict, "drawn")?,
        owed: item(dict, "owed")?,
    })
}

/// What the dictionary of a state holds under a key.
pub fn item<'py, T: FromPyObjectOwned<'py>>(state: &Bound<'py, PyDict>, key: &str) -> PyResult<T> {
    let Some(value) = state.get_item(key)? else {
        return Err(Error::in_state(format_args!("a `state` without `{key}`"), "this key is needed").into());
    };
    value.extract().map_err(|_| {
        let given = format!("`{value:?}` under `{key}` in a `state`");
        Error::in_state(given, "a value of that type does not belong there").into()
    })
}
