//! Long calls: the caller's thread looks after signals and progress while others compute.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use pyo3::prelude::*;

use crate::errors;

/// How long a Ctrl-C may wait.
const EVERY: Duration = Duration::from_millis(50);

/// Operations below which a call is over before anybody could press a key: some tenths of a second on a slow core.
const LITTLE: u64 = 4_000_000_000;

/// Ends a call from another thread.
#[pyclass(frozen, module = "crossrank._crossrank")]
#[derive(Default)]
pub struct Stop {
    flag: Arc<AtomicBool>,
}

#[pymethods]
impl Stop {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Ends the call that was given this, or will be: no more documents are begun.
    fn stop(&self) {
        self.flag.store(true, Ordering::Relaxed);
    }
}

/// What a call shows and is told while it runs.
pub struct Call {
    /// Ends it once it is true.
    pub stop: Arc<AtomicBool>,
    /// Documents that have been scored.
    pub scored: Arc<AtomicUsize>,
}

/// Who is to be told how many documents have been scored.
pub type Watcher<'a, 'py> = Option<&'a Bound<'py, PyAny>>;

/// Computes `work` without the interpreter's lock. `operations` is about how many multiplications and additions it
/// needs; where that is much, or somebody watches, signals are handled meanwhile: an exception of a handler, such as
/// `KeyboardInterrupt`, ends the work, and so does one of the watcher.
pub fn run<T: Send>(
    py: Python<'_>,
    operations: u64,
    stop: Option<&Stop>,
    watcher: Watcher<'_, '_>,
    work: impl FnOnce(&Call) -> crossrank::Result<T> + Send,
) -> PyResult<T> {
    let stop = stop.map_or_else(Default::default, |stop| stop.flag.clone());
    let call = Call { stop, scored: Arc::default() };
    if operations < LITTLE && watcher.is_none() {
        return py.detach(|| work(&call)).map_err(errors::to_python);
    }
    let (tell, mut told) = mpsc::channel();
    let (mut raised, mut work) = (None, Some(work));
    let result = std::thread::scope(|scope| {
        let (call, slot) = (&call, &mut work);
        let spawned =
            std::thread::Builder::new().name("crossrank-call".into()).spawn_scoped(scope, move || {
                let result = slot.take().map(|work| work(call));
                // Who waits for it is there until this thread ends.
                let _ = tell.send(());
                result
            });
        let Ok(thread) = spawned else { return None };
        loop {
            let told = &mut told;
            let over = py.detach(move || told.recv_timeout(EVERY));
            if over != Err(mpsc::RecvTimeoutError::Timeout) {
                break;
            }
            if raised.is_none()
                && let Err(error) = look(py, watcher, call)
            {
                call.stop.store(true, Ordering::Relaxed);
                raised = Some(error);
            }
        }
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    if let Some(error) = raised {
        return Err(error);
    }
    // Where the system has no thread left, the work is still there.
    let result = result.or_else(|| work.take().map(|work| py.detach(|| work(&call))));
    let result = result.expect("the work is either done or still there").map_err(errors::to_python)?;
    if let Some(watcher) = watcher {
        watcher.call1((call.scored.load(Ordering::Relaxed),))?;
    }
    Ok(result)
}

fn look(py: Python<'_>, watcher: Watcher<'_, '_>, call: &Call) -> PyResult<()> {
    py.check_signals()?;
    if let Some(watcher) = watcher {
        watcher.call1((call.scored.load(Ordering::Relaxed),))?;
    }
    Ok(())
}
