//! Threads, and work that is shared among them by fork and join: all of rayon is here.
//!
//! What is computed is not known here. `model/` cuts the steps of a layer with [`fork`](mod@fork), `schedule` cuts
//! requests with [`join`], both on the [`Threads`] that a reranker has.

pub(crate) mod fork;
mod threads;

pub(crate) use threads::Threads;

/// Both at once where another worker of the pool is idle. On a thread of the pool.
pub(crate) fn join(first: impl FnOnce() + Send, second: impl FnOnce() + Send) {
    rayon::join(first, second);
}
