//! Models from the Hugging Face hub, for the engine to open as any other folder.
//!
//! [`Hub::snapshot`] gives the folder of a model in the cache that Python's `huggingface_hub` uses, with the same files,
//! links and locks, after it has downloaded what that folder lacks of the files that the engine reads. Nothing else is
//! downloaded: no weights in other formats, no pictures, no code.
//!
//! A file is known by its name in `blobs/`, which is its hash: SHA-256 where the hub keeps it apart from git, git's own
//! SHA-1 where it does not. Size and hash are compared *before* a file gets that name, and again when a file that is
//! there is used for the first time. A file of another size or hash is named in an [`Event::Warning`] and downloaded anew.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use crossrank_hub::{Hub, Model, Settings};
//!
//! let hub = Hub::new(Settings::from_env(|name| std::env::var_os(name))?)?;
//! let folder = hub.snapshot(&Model::parse("cross-encoder/ms-marco-MiniLM-L6-v2@main")?)?;
//! # Ok(())
//! # }
//! ```
//!
//! The token goes to the endpoint alone, never to a host that it redirects to, and no message shows it.

mod cache;
mod check;
mod download;
mod error;
mod http;
mod hub;
mod listing;
mod lock;
mod model;
mod needed;
mod part;
mod settings;

pub use error::{Error, Result};
pub use hub::{Event, Hub};
pub use model::{Model, SHORT_NAMES};
pub use settings::{Settings, Token};
