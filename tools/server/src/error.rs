//! Why a server does not start, or ends.

use std::net::SocketAddr;

/// Why a server does not start, or ends.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address is taken, or not one of this machine.
    #[error("{address}: {source}")]
    Listen {
        /// Where it should have listened.
        address: SocketAddr,
        /// The system's word.
        source: std::io::Error,
    },
    /// Threads or what they need could not be had.
    #[error("cannot start: {reason}")]
    Threads {
        /// The system's word.
        reason: String,
    },
    /// The models do not fit together.
    #[error("{reason}")]
    Models {
        /// What is wrong with them.
        reason: String,
    },
    /// The first model could not be loaded.
    #[error("model `{name}`: {reason}")]
    Model {
        /// What requests call it.
        name: String,
        /// Why not.
        reason: String,
    },
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
