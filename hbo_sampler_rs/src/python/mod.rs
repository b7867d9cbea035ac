//! The Python extension: `hbo_plugin._sampler`.

#![allow(
    clippy::doc_markdown,
    reason = "Python shows the docs of classes and methods as plain text"
)]

mod convert;
mod packing;
mod state;
mod stream;

use pyo3::prelude::*;

/// The compiled half of the plugin: which row of a mixture is drawn at which position, and how rows share a bin.
#[pymodule]
mod _sampler {
    #[pymodule_export]
    use crate::python::packing::Packer;
    #[pymodule_export]
    use crate::python::stream::MixtureSampler;

    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "the Python name")]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "the Python name")]
    const build_profile: &str = if cfg!(debug_assertions) { "debug" } else { "release" };
}
