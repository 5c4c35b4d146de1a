//! Text of unknown origin, made fit for a terminal.

pub use crossrank_eval::text::{printable, steers_terminal};
