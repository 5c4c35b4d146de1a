//! Lines between the thread that reads and the thread that scores.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard};

use crate::input::Line;

/// What may wait before the reader does: enough to keep all cores busy, and little memory.
const MAX_LINES: usize = 256;
const MAX_BYTES: usize = 16 << 20;

/// A bounded queue whose reader takes all that waits at once, which no channel offers.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<Line>,
    bytes: usize,
    end: Option<io::Result<()>>,
}

impl Queue {
    /// Adds a line; waits while there are enough.
    pub fn push(&self, line: Line) {
        let full = |state: &mut State| state.lines.len() >= MAX_LINES || state.bytes >= MAX_BYTES;
        let mut state =
            self.changed.wait_while(self.lock(), full).unwrap_or_else(|poisoned| poisoned.into_inner());
        state.bytes += line.text.as_ref().map_or(0, String::len);
        state.lines.push(line);
        self.changed.notify_all();
    }

    /// No more lines follow: the input has ended, or failed.
    pub fn end(&self, result: io::Result<()>) {
        self.lock().end = Some(result);
        self.changed.notify_all();
    }

    /// All lines that wait, at least one; or how the input has ended, once there are none.
    pub fn take(&self) -> Result<Vec<Line>, io::Result<()>> {
        let nothing = |state: &mut State| state.lines.is_empty() && state.end.is_none();
        let mut state =
            self.changed.wait_while(self.lock(), nothing).unwrap_or_else(|poisoned| poisoned.into_inner());
        if state.lines.is_empty() {
            return Err(state.end.take().unwrap_or(Ok(())));
        }
        state.bytes = 0;
        self.changed.notify_all();
        Ok(std::mem::take(&mut state.lines))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: usize) -> Line {
        Line { number, text: Ok(String::new()) }
    }

    #[test]
    fn the_reader_waits_when_enough_is_queued_and_nothing_is_lost() {
        let queue = Queue::default();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..10_000 {
                    queue.push(line(number));
                }
                queue.end(Ok(()));
            });
            let mut next = 0;
            loop {
                match queue.take() {
                    Ok(lines) => {
                        assert!((1..=MAX_LINES).contains(&lines.len()));
                        for line in lines {
                            assert_eq!(line.number, next);
                            next += 1;
                        }
                    }
                    Err(end) => break end.unwrap(),
                }
            }
            assert_eq!(next, 10_000);
        });
    }

    #[test]
    fn what_was_read_before_an_error_comes_first() {
        let queue = Queue::default();
        queue.push(line(1));
        queue.end(Err(io::Error::other("gone")));
        assert_eq!(queue.take().unwrap().len(), 1);
        assert_eq!(queue.take().err().unwrap().unwrap_err().to_string(), "gone");
    }
}
