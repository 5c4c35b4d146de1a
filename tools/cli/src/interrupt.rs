//! Ctrl-C.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use crate::failure::{Failure, INTERRUPTED};

/// Ends the process on Ctrl-C at once, except while something is held that must not be left half-done. A second Ctrl-C
/// does not wait even then.
pub struct Interrupt {
    asked: Arc<AtomicBool>,
    held: Arc<Mutex<()>>,
}

impl Interrupt {
    /// Takes over the handling of Ctrl-C.
    pub fn install() -> Self {
        let interrupt = Self { asked: Arc::default(), held: Arc::default() };
        let (asked, held) = (interrupt.asked.clone(), interrupt.held.clone());
        // Where there can be no handler, Ctrl-C ends the process as it ends any other.
        let _ = ctrlc::set_handler(move || {
            if asked.swap(true, Ordering::SeqCst) {
                exit();
            }
            let held = held.clone();
            // Not on this thread: it must be free for the second.
            let wait = move || {
                let _held = lock(&held);
                exit();
            };
            if thread::Builder::new().name("interrupt".into()).spawn(wait).is_err() {
                exit();
            }
        });
        interrupt
    }

    /// While the guard lives the first Ctrl-C waits: output is written to its end, temporary files are removed.
    pub fn hold(&self) -> MutexGuard<'_, ()> {
        lock(&self.held)
    }

    /// An error once Ctrl-C has been pressed.
    pub fn check(&self) -> Result<(), Failure> {
        if self.asked.load(Ordering::SeqCst) { Err(Failure::Interrupted) } else { Ok(()) }
    }
}

fn exit() -> ! {
    std::process::exit(INTERRUPTED.into())
}

fn lock(mutex: &Mutex<()>) -> MutexGuard<'_, ()> {
    // It guards nothing in memory that a panic could have broken.
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
