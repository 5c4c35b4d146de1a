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

/// A count of what has been done of work whose size is not known; it leaves the terminal when it is dropped. Shown when
/// stderr is a terminal and stdout is not: there the results themselves are the progress.
pub fn counter(what: &'static str) -> ProgressBar {
    if io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    counter_beside_output(what)
}

/// As [`counter`], wherever the results go: for work that has none to show.
pub fn counter_beside_output(what: &'static str) -> ProgressBar {
    // Stderr that is no terminal is hidden.
    let target = ProgressDrawTarget::stderr();
    let bar = ProgressBar::with_draw_target(None, target).with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{human_pos} {msg}") {
        bar.set_style(style);
    }
    bar
}

/// A bar of steps, drawn as each begins and left alone in between: what is measured must not be disturbed. Lines of
/// output go through its `suspend`.
pub fn steps(total: usize) -> ProgressBar {
    // Stderr that is no terminal is hidden.
    let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}") {
        bar.set_style(style);
    }
    bar
}
