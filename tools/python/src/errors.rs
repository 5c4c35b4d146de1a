//! The engine's errors as Python's exceptions.

use std::io;

use pyo3::exceptions::{PyNotADirectoryError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

pyo3::create_exception!(
    crossrank,
    ModelError,
    PyValueError,
    "A checkpoint that is broken, incomplete, or of a kind that is not supported; the message names the file and the field or tensor."
);

/// An error of the engine. Texts and options that cannot be used are `ValueError`, files `OSError`.
pub fn to_python(error: crossrank::Error) -> PyErr {
    use crossrank::Error;
    let message = error.to_string();
    match error {
        Error::Io { source, .. } => with_class(&source, message),
        Error::NotAFolder { path } if path.exists() => PyNotADirectoryError::new_err(message),
        Error::NotAFolder { .. } => with_class(&io::ErrorKind::NotFound.into(), message),
        Error::Option { .. } | Error::Query { .. } | Error::Document { .. } | Error::Isa(_) => {
            PyValueError::new_err(message)
        }
        Error::ThreadPool { .. } | Error::Forked { .. } | Error::Stopped { .. } => {
            PyRuntimeError::new_err(message)
        }
        _ => ModelError::new_err(message),
    }
}

/// An argument that holds no texts, or a text that is none: the package's `InputError`.
pub fn input(py: Python<'_>, message: String) -> PyErr {
    let class = py.import("crossrank._errors").and_then(|module| module.getattr("InputError"));
    match class.and_then(|class| class.call1((message,))) {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// An error of the hub.
pub fn of_hub(error: crossrank_hub::Error) -> PyErr {
    use crossrank_hub::Error;
    let message = error.to_string();
    match error {
        Error::Argument { .. } | Error::Setting { .. } => PyValueError::new_err(message),
        Error::Io { source, .. } => with_class(&source, message),
        Error::Unusable { .. } => ModelError::new_err(message),
        _ => PyOSError::new_err(message),
    }
}

/// The subclass of `OSError` that Python has for a kind, such as `FileNotFoundError`, with our message.
fn with_class(error: &io::Error, message: String) -> PyErr {
    PyErr::from(io::Error::new(error.kind(), message))
}
