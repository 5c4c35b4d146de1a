//! Reranks search results with BERT-style cross-encoders on CPUs.
//!
//! A retriever finds candidates cheaply; a cross-encoder reads the query and each candidate together and says how well
//! the candidate answers. This crate loads the safetensors checkpoints of the Hugging Face hub, runs them on
//! hand-written SIMD kernels, and gives PyTorch's logits. There is no C or C++ in it, and no build script.
//!
//! ```
//! # fn main() -> crossrank::Result<()> {
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/gelu-60");
//! let reranker = crossrank::Reranker::load(folder)?;
//! let documents = ["Bread is baked in an oven.", "A river runs to the sea."];
//! for ranked in reranker.rerank("where do rivers go", &documents, &Default::default())? {
//!     println!("{:.3}  {}", ranked.score, documents[ranked.index]);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - [`Reranker::rerank`] ranks documents; [`Reranker::score_pairs`] scores pairs in input order, with all logits.
//! - [`Reranker::tokenize`] and [`Reranker::score_tokenized`] are the two halves, for callers who cache.
//! - [`RerankOptions`] has long documents in passages, fusion with the first stage and scaled scores; [`Cascade`] ranks
//!   with several models, [`Reranker::rerank_within`] within a deadline.
//! - [`Pipeline`] has a first stage, any function, and reranks what it finds.
//! - [`Reranker::write_packed`] writes a checkpoint that loads at once, out of a map.
//! - [`Reranker::builder`] has the options of loading, [`RerankOptions`] those of a call.
//!
//! A `Reranker` is shared by reference between threads. A pair's logits have the same bits whatever else is in the
//! call, in whatever order, on however many threads; they may differ in the last bits between instruction sets.
//!
//! # Features
//! `tokenizers` (default): text in. Without it callers bring token ids as [`Tokenized`].
#![deny(unsafe_code)]

mod builder;
mod checkpoint;
mod clock;
mod config;
mod error;
mod family;
mod info;
mod lock;
mod model;
#[cfg(feature = "tokenizers")]
mod pipeline;
#[cfg(feature = "tokenizers")]
mod ranking;
mod reranker;
mod schedule;
mod score;
mod timings;
mod tokenized;
#[cfg(feature = "tokenizers")]
mod tokenizer;
mod workers;

pub use builder::{Builder, Dtype};
pub use checkpoint::files::{ModelBytes, WeightSource};
pub use clock::Instant;
pub use error::{Error, Result};
pub use info::ModelInfo;
#[doc(hidden)]
pub use model::{Input, NewLinear, Reading, SourceTensor, TensorUse, Untreated};
#[cfg(feature = "tokenizers")]
pub use pipeline::{Candidate, Found, Pipeline, PipelineError};
#[cfg(feature = "tokenizers")]
pub use ranking::{
    Cascade, DocumentScore, EncodedQuery, Fusion, Layout, Long, Partial, Passage, Prepared, Ranked,
    RerankOptions, Scaling,
};
pub use reranker::{PairScore, Reranker};
pub use score::ScoreMode;
pub use timings::LoadTimings;
pub use tokenized::Tokenized;
#[cfg(feature = "tokenizers")]
pub use tokenizer::{TokenizerRules, Truncation};
