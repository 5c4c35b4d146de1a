//! What can go wrong, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use tantivy::TantivyError;

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why there is no index, or no answer of one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The folder of an index holds something else: it is left alone.
    #[error(
        "{}: expected the folder of an index, an empty one, or none, found `{}` in it: this folder is not touched",
        folder.display(), found.escape_debug()
    )]
    Foreign {
        /// The folder.
        folder: PathBuf,
        /// What is in it.
        found: String,
    },
    /// An index cannot be used as it lies there.
    #[error("{}: {reason}; `rm -r` it to have it built anew", folder.display())]
    Broken {
        /// The folder.
        folder: PathBuf,
        /// What was expected, and what was found.
        reason: String,
    },
    /// Two documents have the same id.
    #[error("documents {first} and {second} of the corpus have the same id `{}`", id.escape_debug())]
    DuplicateId {
        /// The id.
        id: String,
        /// The number of the first document that has it, from 1.
        first: u64,
        /// The number of the second one.
        second: u64,
    },
    /// An id is too long.
    #[error("document {document} of the corpus: expected an id of at most {max} bytes, found one of {bytes}")]
    LongId {
        /// The number of the document, from 1.
        document: u64,
        /// How many bytes its id has.
        bytes: usize,
        /// How many it may have.
        max: usize,
    },
    /// The index itself fails, as where the disk is full or a file damaged.
    #[error("the index: {0}")]
    Tantivy(#[from] TantivyError),
    /// A file of the index cannot be read.
    #[error("the index: {0}")]
    Read(#[from] io::Error),
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn broken(folder: &Path, reason: impl Into<String>) -> Self {
        Self::Broken { folder: folder.to_owned(), reason: reason.into() }
    }
}
