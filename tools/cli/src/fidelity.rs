//! How well a model ranks, and how far one ranks like another, on texts with judgements.

mod bm25;
mod compare;
pub mod logits_file;
mod metrics;
mod set;

pub use compare::{Fidelity, compare, logits};
pub use set::EvalSet;

/// How many candidates of a query are scored.
pub const CANDIDATES: usize = 50;
/// How far down a ranking is looked at.
pub const DEPTH: usize = 10;
