//! What all requests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::auth::Keys;
use crate::body::Held;
use crate::dispatch::Dispatcher;
use crate::metrics::Metrics;
use crate::models::Models;
use crate::options::Options;

/// What all requests share.
pub(crate) struct App {
    pub(crate) options: Options,
    pub(crate) keys: Keys,
    pub(crate) held: Held,
    pub(crate) models: Models,
    pub(crate) dispatcher: Arc<Dispatcher>,
    /// The threads that tokenise.
    pub(crate) texts: Arc<rayon::ThreadPool>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) draining: AtomicBool,
}

impl App {
    /// Whether requests can be answered now.
    pub(crate) fn is_ready(&self) -> bool {
        !self.draining.load(Ordering::Relaxed) && self.models.loaded(0).is_some()
    }
}
