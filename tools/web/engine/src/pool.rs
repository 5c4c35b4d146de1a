//! Threads: workers of the page that share the module's memory become those of a rayon pool.
//!
//! This is the way of wasm-bindgen-rayon. `start_pool` leaves what each worker is to do; a worker that calls
//! `run_worker` takes one of them and stays. What they meet at is global: the module is a program, not a library.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rayon::{ThreadBuilder, ThreadPool, ThreadPoolBuilder};
use wasm_bindgen::prelude::*;

use crate::error;

static WAITING: Mutex<VecDeque<ThreadBuilder>> = Mutex::new(VecDeque::new());
static ARRIVED: Condvar = Condvar::new();
static POOL: Mutex<Option<Arc<ThreadPool>>> = Mutex::new(None);

/// Makes the pool, whose threads run once as many workers have called [`run_worker`].
///
/// # Errors
/// When there is one already, or rayon cannot make it.
#[wasm_bindgen]
pub fn start_pool(threads: usize) -> Result<(), JsError> {
    let mut place = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    if place.is_some() {
        return Err(error("the threads were started before"));
    }
    let pool = ThreadPoolBuilder::new().num_threads(threads).spawn_handler(|thread| {
        WAITING.lock().unwrap_or_else(PoisonError::into_inner).push_back(thread);
        ARRIVED.notify_one();
        Ok(())
    });
    *place = Some(Arc::new(pool.build().map_err(error)?));
    Ok(())
}

/// Computes for the pool until it ends.
#[wasm_bindgen]
pub fn run_worker() {
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    let thread = loop {
        match waiting.pop_front() {
            Some(thread) => break thread,
            None => waiting = ARRIVED.wait(waiting).unwrap_or_else(PoisonError::into_inner),
        }
    };
    drop(waiting);
    thread.run();
}

/// The pool, if there is one.
pub(crate) fn pool() -> Option<Arc<ThreadPool>> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
