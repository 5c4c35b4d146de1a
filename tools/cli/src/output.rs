//! Whole lines on stdout.

use std::io::{self, BufWriter, StdoutLock, Write};

use serde::Serialize;

use crate::failure::Failure;
use crate::json;
use crate::text::printable;

/// Of a value that is a fact: whatever a checkpoint calls its tensors.
const MAX_CHARS: usize = 300;

/// Buffered stdout that is only ever handed whole lines, so that whoever reads along never waits in the middle of
/// one.
pub struct Output(BufWriter<StdoutLock<'static>>);

impl Output {
    /// Takes stdout.
    pub fn new() -> Self {
        Self(BufWriter::with_capacity(1 << 16, io::stdout().lock()))
    }

    /// Writes a line; `line` lacks its newline.
    pub fn line(&mut self, mut line: String) -> Result<(), Failure> {
        line.push('\n');
        self.0.write_all(line.as_bytes()).map_err(failed)
    }

    /// Writes whole lines, the last with its newline.
    pub fn text(&mut self, lines: &[u8]) -> Result<(), Failure> {
        self.0.write_all(lines).map_err(failed)
    }

    /// Writes a value as a line of JSON.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let json = json::line(value).map_err(|error| Failure::about("standard output", error))?;
        self.line(json)
    }

    /// Writes keys and values, the values below one another.
    pub fn facts(&mut self, facts: &[(&str, String)]) -> Result<(), Failure> {
        let width = facts.iter().map(|(key, _)| key.len() + 1).max().unwrap_or(0);
        for (key, value) in facts {
            let key = format!("{key}:");
            self.line(format!("{key:<width$} {}", printable(value, MAX_CHARS)))?;
        }
        Ok(())
    }

    /// Hands on what is buffered. What is not flushed counts as not written.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.0.flush().map_err(failed)
    }
}

/// A size for people.
pub fn megabytes(bytes: usize) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

fn failed(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
        _ => Failure::about("standard output", error),
    }
}
