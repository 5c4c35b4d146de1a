//! Where the time of loading goes.

use std::time::Duration;

use crate::clock::Instant;

/// How long each step of loading took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct LoadTimings {
    /// Files are mapped or read.
    pub files: Duration,
    /// `config.json` is read, and the instruction set is chosen.
    pub config: Duration,
    /// `tokenizer.json` is read.
    pub tokenizer: Duration,
    /// The headers of the weights are read and checked.
    pub headers: Duration,
    /// Worker threads are started.
    pub threads: Duration,
    /// Tensors are checked against the config, and packed unless they are.
    pub weights: Duration,
}

/// A watch that is read step by step.
pub(crate) struct Laps(Instant);

impl Laps {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since it was last read.
    pub(crate) fn lap(&mut self) -> Duration {
        let now = Instant::now();
        let lap = now - self.0;
        self.0 = now;
        lap
    }
}
