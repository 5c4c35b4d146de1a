//! What can go wrong, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why there is no folder of a model. Addresses are without their queries, which may be signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument is no model on the hub.
    #[error("`{}` is no model on the hub: {reason}", argument.escape_debug())]
    Argument {
        /// What was given.
        argument: String,
        /// What was expected.
        reason: String,
    },
    /// A setting cannot be used.
    #[error("{name}: {reason}")]
    Setting {
        /// The environment variable.
        name: &'static str,
        /// What was expected, and what was found; never a token.
        reason: String,
    },
    /// The hub knows no such repository, or says so to those who may not see it.
    #[error("{endpoint} has no repository `{id}` that {}", if *token {
        "this token may see: is its name right?"
    } else {
        "everybody may see: is its name right? If it is private, set HF_TOKEN"
    })]
    NoRepository {
        /// The hub's address.
        endpoint: String,
        /// The repository.
        id: String,
        /// Whether a token was sent.
        token: bool,
    },
    /// The repository has no such revision.
    #[error("`{id}` has no revision `{revision}`: expected a branch, a tag or a commit of it behind `@`")]
    NoRevision {
        /// The repository.
        id: String,
        /// The revision.
        revision: String,
    },
    /// The repository is open only to accounts that have agreed to its terms.
    #[error("`{id}` is gated: agree to its terms at {endpoint}/{id}, {}", if *token {
        "with the account of the token that was sent"
    } else {
        "then set HF_TOKEN to a token of that account"
    })]
    Gated {
        /// The hub's address.
        endpoint: String,
        /// The repository.
        id: String,
        /// Whether a token was sent.
        token: bool,
    },
    /// The hub refuses the token that was sent, or wants one.
    #[error("{url}: {status}: {}", if *token {
        "the token of HF_TOKEN, or of the token file, is refused: set another one, or none"
    } else {
        "a token is wanted: set HF_TOKEN"
    })]
    Token {
        /// What was asked for.
        url: String,
        /// The status of the answer, 401 or 403.
        status: u16,
        /// Whether a token was sent.
        token: bool,
    },
    /// A server answers with a status that is an error, or none that was expected.
    #[error("{url}: the server answers {status}{}{message}", if message.is_empty() { "" } else { ": " })]
    Status {
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
        /// What the server says of it, and what to do.
        message: String,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
        /// Whether it may be otherwise the next time.
        passing: bool,
    },
    /// A server cannot be reached, or a connection broke too often.
    #[error("{url}: {reason}")]
    Connection {
        /// What was asked for.
        url: String,
        /// What happened.
        reason: String,
        /// Whether it may be otherwise the next time.
        passing: bool,
    },
    /// An answer is not one of a hub.
    #[error(
        "{url}: expected {expected}, found {found}: is HF_ENDPOINT the address of a hub, and is there no proxy that \
             answers in its place?"
    )]
    NotAHub {
        /// What was asked for.
        url: String,
        /// What the hub would have answered.
        expected: &'static str,
        /// What came.
        found: String,
    },
    /// What was downloaded is not what the hub has announced; nothing of it was kept.
    #[error("{url}: {reason}")]
    Damaged {
        /// What was asked for.
        url: String,
        /// What was expected, and what was found.
        reason: String,
    },
    /// A name within the repository leads elsewhere.
    #[error("`{id}` has the file name `{}`, which is refused: it leads out of the model's folder", name.escape_debug())]
    UnsafeName {
        /// The repository.
        id: String,
        /// The name.
        name: String,
    },
    /// The repository lacks what a model needs.
    #[error("`{id}` cannot be used: {reason}")]
    Unusable {
        /// The repository.
        id: String,
        /// What it has, and what to do.
        reason: String,
    },
    /// The hub must not be asked, and the cache does not have it all.
    #[error("the cache {} does not have all of `{model}`: {what}; nothing is downloaded, since HF_HUB_OFFLINE is set", cache.display())]
    Offline {
        /// The folder of the cache.
        cache: PathBuf,
        /// The model, with its revision.
        model: String,
        /// What is missing.
        what: String,
    },
    /// The cache cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    /// Whether the next time may be better.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Connection { passing, .. } | Self::Status { passing, .. } => *passing,
            _ => false,
        }
    }

    /// Whether this says nothing of the model, so that what the cache has of it is as good as it was.
    pub(crate) fn is_about_the_way(&self) -> bool {
        !matches!(
            self,
            Self::Argument { .. }
                | Self::Setting { .. }
                | Self::NoRevision { .. }
                | Self::UnsafeName { .. }
                | Self::Unusable { .. }
        )
    }
}
