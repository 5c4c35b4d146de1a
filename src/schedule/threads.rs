//! Who computes: the caller's thread, or a rayon pool.

use std::sync::Arc;

use rayon::prelude::*;

use crate::error::{Error, Result};

/// More is a mistake: the system would run out of threads half-way.
const MAX_THREADS: usize = 1024;

/// Who computes.
pub(crate) enum Threads {
    /// The caller's thread alone; rayon is never touched.
    Caller,
    Pool(Arc<rayon::ThreadPool>),
}

impl Threads {
    /// `threads` workers, or as many as the process may use: affinity and cgroup quota count, not the host's cores.
    pub(crate) fn new(threads: Option<usize>) -> Result<Self> {
        let threads = match threads {
            Some(threads) if (1..=MAX_THREADS).contains(&threads) => threads,
            Some(threads) => {
                return Err(Error::option(
                    "threads",
                    format!("expected 1 to {MAX_THREADS}, found {threads}"),
                ));
            }
            None => std::thread::available_parallelism().map_or(1, usize::from),
        };
        if threads == 1 {
            return Ok(Self::Caller);
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("crossrank-{i}"))
            .build()
            .map_err(|error| Error::ThreadPool { threads, reason: error.to_string() })?;
        Ok(Self::Pool(Arc::new(pool)))
    }

    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Caller => 1,
            Self::Pool(pool) => pool.current_num_threads(),
        }
    }

    /// `f` of 0, 1, ... n - 1, in that order, computed in parallel.
    pub(crate) fn map<T: Send>(&self, n: usize, f: impl Fn(usize) -> T + Send + Sync) -> Vec<T> {
        match self {
            Self::Caller => (0..n).map(f).collect(),
            Self::Pool(pool) => pool.install(|| (0..n).into_par_iter().map(f).collect()),
        }
    }
}
