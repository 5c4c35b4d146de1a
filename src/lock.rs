//! Locks of what stays sound when a thread panics.

use std::sync::{Mutex, MutexGuard};

/// Locks whatever happened to other threads: of memory to reuse, names that were added, or a finished error, none is
/// ever half-written.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
