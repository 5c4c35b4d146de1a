//! What crossrank promises of hostile input, as plain functions of bytes.
//!
//! Each target takes the bytes of one file; the rest of the model is small and valid. A target panics where a promise is
//! broken: bad input is an error that says something, and a model that loads scores a pair to finite logits or to an
//! error. `tests/replay.rs` runs all targets over the kept seeds and mutations of them, `cargo-fuzz/` under libFuzzer.

mod config;
mod jsonl;
mod model;
mod neighbours;
mod packed;
mod shard_index;
mod tokenizer;
mod weights;

pub use config::config;
pub use jsonl::jsonl;
pub use neighbours::neighbours;
pub use packed::{packed, packed_seeds};
pub use shard_index::shard_index;
pub use tokenizer::tokenizer;
pub use weights::weights;

/// A function that panics where bytes break a promise, and says whether they are valid.
pub type Target = fn(&[u8]) -> bool;

/// All targets, by the name of the folder that holds their seeds.
pub const TARGETS: [(&str, Target); 7] = [
    ("config", config),
    ("jsonl", jsonl),
    ("neighbours", neighbours),
    ("packed", packed),
    ("shard_index", shard_index),
    ("tokenizer", tokenizer),
    ("weights", weights),
];
