//! What can be wrong with a file.

use std::fmt::Display;

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why a file cannot be used. Reasons quote what was found with everything escaped that would steer a terminal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file as a whole: it cannot be opened or read to its end, or it lacks what it must have.
    #[error("{file}: {reason}")]
    File {
        /// Its path, or `<stdin>`.
        file: String,
        /// What was expected, and what was found.
        reason: String,
    },
    /// One line of it.
    #[error("{file}: line {line}: {reason}")]
    Line {
        /// Its path, or `<stdin>`.
        file: String,
        /// Counted from 1.
        line: usize,
        /// What was expected, and what was found.
        reason: String,
    },
}

impl Error {
    /// An error about a whole file.
    pub(crate) fn file(file: impl Display, reason: impl Display) -> Self {
        Self::File { file: file.to_string(), reason: reason.to_string() }
    }

    /// An error about a line.
    pub(crate) fn line(file: &str, line: usize, reason: impl Into<String>) -> Self {
        Self::Line { file: file.to_owned(), line, reason: reason.into() }
    }
}
