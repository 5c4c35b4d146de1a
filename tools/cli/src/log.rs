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

/// Shows what a server does, on stderr: with 0 how it begins and ends and what goes wrong, with 1 each request.
///
/// Lines go by a thread of their own, so that a full disk or a pipe that nobody reads holds no request; what does not fit
/// any more is left out. What is left when the guard is dropped is written then.
#[cfg(feature = "serve")]
pub fn show_served(
    verbose: u8,
    format: crate::args::LogFormat,
) -> tracing_appender::non_blocking::WorkerGuard {
    let level = if verbose == 0 { Level::INFO } else { Level::DEBUG };
    let (writer, guard) = tracing_appender::non_blocking(io::stderr());
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(writer)
        .with_ansi(false)
        .with_target(false)
        .log_internal_errors(false);
    match format {
        crate::args::LogFormat::Text => builder.init(),
        crate::args::LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    guard
}
