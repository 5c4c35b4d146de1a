//! Who computes: the caller's thread, or a rayon pool.

use std::panic::resume_unwind;
use std::sync::Arc;

use rayon::prelude::*;

use crate::error::{Error, Result};

/// More is a mistake: the system would run out of threads half-way.
const MAX_THREADS: usize = 1024;

/// The environment variable that says how many, where the caller does not.
const VARIABLE: &str = "CROSSRANK_THREADS";

/// Who computes.
pub(crate) enum Threads {
    /// The caller's thread alone; rayon is never touched.
    Caller,
    Pool {
        pool: Arc<rayon::ThreadPool>,
        /// The process that has its threads: one that is forked off has none of them.
        process: u32,
    },
}

impl Threads {
    /// `threads` workers; else as many as the environment variable says; else as many as the process may use: affinity
    /// and cgroup quota count, not the host's cores.
    pub(crate) fn new(threads: Option<usize>) -> Result<Self> {
        let threads = match (threads, std::env::var_os(VARIABLE)) {
            (Some(threads), _) if (1..=MAX_THREADS).contains(&threads) => threads,
            (Some(threads), _) => {
                return Err(Error::option(
                    "threads",
                    format!("expected 1 to {MAX_THREADS}, found {threads}"),
                ));
            }
            (None, Some(value)) => from_variable(&value.to_string_lossy())?,
            (None, None) => std::thread::available_parallelism().map_or(1, usize::from),
        };
        if threads == 1 {
            return Ok(Self::Caller);
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("crossrank-{i}"))
            .build()
            .map_err(|error| Error::ThreadPool { threads, reason: error.to_string() })?;
        Ok(Self::of_pool(Arc::new(pool)))
    }

    /// The workers of a pool, which is taken to be of this process.
    pub(crate) fn of_pool(pool: Arc<rayon::ThreadPool>) -> Self {
        Self::Pool { pool, process: process() }
    }

    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Caller => 1,
            Self::Pool { pool, .. } => pool.current_num_threads(),
        }
    }

    /// Fails in a process that was forked off since: it would wait for threads that it does not have. To be asked before
    /// anything is locked, as whoever held a lock at the fork may be gone, too.
    pub(crate) fn check_process(&self) -> Result<()> {
        match self {
            Self::Pool { process: loaded, .. } if *loaded != process() => {
                Err(Error::Forked { loaded: *loaded, here: process() })
            }
            _ => Ok(()),
        }
    }

    /// Makes workers anew in a process that was forked off since; does nothing elsewhere.
    pub(crate) fn restart(&mut self) -> Result<()> {
        if let Self::Pool { pool, process: loaded } = self
            && *loaded != process()
        {
            let Self::Pool { pool: new, .. } = Self::new(Some(pool.current_num_threads().max(2)))? else {
                return Ok(());
            };
            *loaded = process();
            // The old one is left alone: its threads are not there to end it, nor to let go of what they had locked.
            std::mem::forget(std::mem::replace(pool, new));
        }
        Ok(())
    }

    /// Computes `work` where these threads are, and waits for it.
    ///
    /// A worker of another rayon pool that waits would run that pool's jobs meanwhile. If they wait here as well, they
    /// pile up on its stack, and one that takes a lock which its caller holds never ends. So such a caller hands the
    /// work over by a thread that belongs to no pool, and sleeps until that one ends.
    pub(crate) fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let Self::Pool { pool, .. } = self else { return work() };
        if rayon::current_thread_index().is_none() || pool.current_thread_index().is_some() {
            return pool.install(work);
        }
        let (mut work, mut done) = (Some(work), None);
        std::thread::scope(|scope| {
            let hand_over = || done = work.take().map(|work| pool.install(work));
            let thread = std::thread::Builder::new().name("crossrank-call".into());
            // Where the system has no thread left, the work is still there afterwards.
            if let Ok(thread) = thread.spawn_scoped(scope, hand_over)
                && let Err(panic) = thread.join()
            {
                resume_unwind(panic);
            }
        });
        done.or_else(|| work.map(|work| pool.install(work))).expect("the work is either done or still there")
    }

    /// `f` of 0, 1, ... n - 1, in that order, computed in parallel.
    pub(crate) fn map<T: Send>(&self, n: usize, f: impl Fn(usize) -> T + Send + Sync) -> Vec<T> {
        match self {
            Self::Caller => (0..n).map(f).collect(),
            Self::Pool { .. } => self.install(|| (0..n).into_par_iter().map(f).collect()),
        }
    }
}

/// This process; where there are none, and asking would panic, none is forked either.
fn process() -> u32 {
    if cfg!(all(target_family = "wasm", target_os = "unknown")) { 0 } else { std::process::id() }
}

fn from_variable(value: &str) -> Result<usize> {
    let threads = value.parse().ok().filter(|threads| (1..=MAX_THREADS).contains(threads));
    threads.ok_or_else(|| {
        Error::option(VARIABLE, format!("expected 1 to {MAX_THREADS}, found `{}`", value.escape_debug()))
    })
}
