//! What is said with `-v`: events of the command line on stderr. The engine itself says nothing.

use std::io::{self, IsTerminal};

use tracing::Level;

/// Shows events from now on: with 0 none, with 1 what was done, with more how.
pub fn show(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => Level::INFO,
        _ => Level::DEBUG,
    };
    // See https://no-color.org.
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && !plain)
        .with_target(false)
        .without_time()
        .init();
}
