//! How a command ends when it does not succeed.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use crossrank::Error;

use crate::text::printable;

/// Exit code after Ctrl-C: 128 and SIGINT, as shells count.
pub const INTERRUPTED: u8 = 130;
/// Exit code when whoever reads stdout has gone: 128 and SIGPIPE. Not 0, since the output is not whole.
const BROKEN_PIPE: u8 = 141;
/// An error of a hostile input may quote as much of it as it likes; a screenful is enough.
const MAX_CHARS: usize = 2000;

/// Why a command ends early, or with less than was asked for. (Usage errors are clap's, with exit code 2.)
#[derive(Debug)]
pub enum Failure {
    /// Something to say on stderr; exit code 1.
    Message(String),
    /// All has been said; exit code 1.
    Reported,
    /// Ctrl-C; nothing to say.
    Interrupted,
    /// Nobody reads what is written; nothing to say.
    BrokenPipe,
}

impl Failure {
    /// An error about `what`: a file, a line of it.
    pub fn about(what: impl Display, reason: impl Display) -> Self {
        Self::Message(format!("{what}: {reason}"))
    }

    /// Says what there is to say, and gives the exit code.
    pub fn report(self) -> ExitCode {
        match self {
            Self::Message(message) => {
                say("error", &message);
                ExitCode::FAILURE
            }
            Self::Reported => ExitCode::FAILURE,
            Self::Interrupted => INTERRUPTED.into(),
            Self::BrokenPipe => BROKEN_PIPE.into(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Message(describe(&error))
    }
}

#[cfg(feature = "search")]
impl From<crossrank_search::Error> for Failure {
    fn from(error: crossrank_search::Error) -> Self {
        Self::Message(error.to_string())
    }
}

impl From<crossrank_eval::Error> for Failure {
    fn from(error: crossrank_eval::Error) -> Self {
        Self::Message(error.to_string())
    }
}

/// The engine's error in the terms of the command line: options by their flags; documents without their index, since
/// callers name the line.
pub fn describe(error: &Error) -> String {
    match error {
        Error::Option { option, reason } => format!("--{}: {reason}", option.replace('_', "-")),
        Error::Document { reason, .. } => reason.clone(),
        Error::NonFinite { label, value, .. } => {
            format!("logit {label} is {value}; the model's weights are broken")
        }
        error => error.to_string(),
    }
}

/// One line on stderr. `kind` is `error` or `note`.
pub fn say(kind: &str, message: &str) {
    let message = printable(message, MAX_CHARS);
    // Nobody is left to tell when stderr is gone.
    let _ = writeln!(io::stderr(), "crossrank: {kind}: {message}");
}
