//! Progress of long work, on a terminal only.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work that ends sooner shows nothing.
const PATIENCE: Duration = Duration::from_millis(500);
const TICK: Duration = Duration::from_millis(100);

/// Does `work`; shows a bar on stderr, if that is a terminal, of how far `done` has come towards `total`.
pub fn watch<T>(what: &'static str, total: usize, done: &AtomicUsize, work: impl FnOnce() -> T) -> T {
    if !io::stderr().is_terminal() {
        return work();
    }
    thread::scope(|scope| {
        let (end, ended) = channel::<()>();
        scope.spawn(move || {
            let waits = |time| ended.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
            if !waits(PATIENCE) {
                return;
            }
            let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent:>3}% {eta:>4}") {
                bar.set_style(style);
            }
            bar.set_message(what);
            while waits(TICK) {
                bar.set_position(done.load(Ordering::Relaxed) as u64);
            }
            bar.finish_and_clear();
        });
        // Dropped when the work ends, however it ends.
        let _end = end;
        work()
    })
}

/// A count of what has been done of work whose size is not known. Shown when stderr is a terminal and stdout is not:
/// there the results themselves are the progress.
pub struct Counter(Option<ProgressBar>);

impl Counter {
    /// Starts at none.
    pub fn new(what: &'static str) -> Self {
        let shown = io::stderr().is_terminal() && !io::stdout().is_terminal();
        Self(shown.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{human_pos} {msg}") {
                bar.set_style(style);
            }
            bar.with_message(what)
        }))
    }

    /// Sets the count.
    pub fn set(&self, count: usize) {
        if let Some(bar) = self.shown() {
            bar.set_position(count as u64);
        }
    }

    /// Takes the count off the terminal while `write` writes there.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        match self.shown() {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn shown(&self) -> Option<&ProgressBar> {
        self.0.as_ref().filter(|bar| bar.elapsed() >= PATIENCE)
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
