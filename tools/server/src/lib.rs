//! A reranking server that existing clients can point at.
//!
//! It answers the requests that clients of Text Embeddings Inference, Cohere, Jina, llama.cpp, infinity, vLLM, Weaviate's
//! reranker-transformers and NVIDIA NIM send already. Pairs of all requests join one queue, from which batches are taken
//! by tokens, the request with the least work left first; a score has the bits that the pair has alone.
//!
//! ```no_run
//! # fn main() -> crossrank_server::Result<()> {
//! use std::sync::Arc;
//! use crossrank_server::{ModelSource, Options, Server};
//!
//! let load = |builder: crossrank::Builder| builder.load("my-model").map_err(|error| error.to_string());
//! let model = ModelSource { name: "my-model".into(), load: Arc::new(load) };
//! let server = Server::start(Options::default(), vec![model])?;
//! println!("listening on http://{}", server.address());
//! server.wait()
//! # }
//! ```
//!
//! A request passes these files: `connections` (who may connect), `routes` (paths and keys), `body` and `fields` (bytes to
//! fields), `ask` (fields to what is asked, by contract), `service` (from there to the answer), `tokenise`, `dispatch` and
//! `queue` (who computes what, when), `reply` and `problem` (what is answered, by contract).
#![deny(unsafe_code)]

mod app;
mod ask;
mod auth;
mod body;
mod connections;
mod dispatch;
mod error;
mod fields;
mod metrics;
mod models;
mod openapi;
mod options;
mod pages;
mod probes;
mod problem;
mod queue;
mod reply;
mod rerank;
mod routes;
mod server;
mod service;
mod tokenise;

pub use error::{Error, Result};
pub use models::{Load, ModelSource};
pub use options::{BeforeBatch, DocumentForm, Options, Truncate};
pub use server::Server;
