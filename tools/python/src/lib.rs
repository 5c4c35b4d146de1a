//! The engine as a Python module, `crossrank._crossrank`, under the package `crossrank`, which has the documentation.
//!
//! Here strings are borrowed from Python, the interpreter's lock is given back while a model loads or scores, and
//! results become Python's. What names and defaults mean is decided in `python/crossrank/`.
#![deny(unsafe_code)]

mod columns;
mod errors;
mod load;
mod model;
mod ranking;
mod texts;
mod watch;

use pyo3::prelude::*;

/// The compiled half of the package `crossrank`.
#[pymodule(gil_used = true)]
mod _crossrank {
    #[pymodule_export]
    use super::errors::ModelError;
    #[pymodule_export]
    use super::load::snapshot;
    #[pymodule_export]
    use super::model::Model;
    #[pymodule_export]
    use super::watch::Stop;

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("SHORT_NAMES", crossrank_hub::SHORT_NAMES.map(|(short, _)| short).to_vec())
    }
}
