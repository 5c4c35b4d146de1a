//! The options of `serve`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{LoadArgs, WindowArgs, from_1};

const EXAMPLES: &str = "\
Examples:
  crossrank serve
  crossrank serve --model minilm-l6 --port 8081
  crossrank serve --model small=models/small --model large=bge-v2-m3 --api-key-file keys.txt --host 0.0.0.0

  curl -s http://127.0.0.1:8080/v1/rerank -H 'Content-Type: application/json' \\
    -d '{\"query\": \"where do rivers go\", \"documents\": [\"To the sea.\", \"Bread is baked.\"]}'";

/// Answer requests over HTTP, as the clients of other rerankers send them already.
///
/// Contracts: Text Embeddings Inference (/rerank with `texts`), Cohere v1 and v2, Jina, llama.cpp, infinity, vLLM,
/// Weaviate's reranker-transformers, NVIDIA NIM (/v1/ranking). `docs/serving.md` has a line for each client. A page to
/// try it is at /, the interface at /docs, figures for Prometheus at /metrics.
///
/// The first line on stdout, once connections are accepted, is `listening on http://HOST:PORT`. On SIGTERM and Ctrl-C no
/// more are accepted, what was accepted is answered, and the exit code is 0.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {
    /// Where to listen; other machines reach it where this is one of this machine's addresses, or 0.0.0.0
    #[arg(long, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// The port; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// A model folder or a model on the hub, and what requests call it; repeatable. The first is loaded at once and serves
    /// requests that name none, others are loaded when they are first asked for [default: a small English model inside
    /// this program]
    #[arg(long = "model", value_name = "[NAME=]DIR|NAME")]
    pub models: Vec<PathBuf>,
    /// A file of keys, one a line, of which clients must send one as `Authorization: Bearer KEY`; else those of the
    /// variable CROSSRANK_API_KEYS, with commas between them; else none is asked for
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// The most documents of a request
    #[arg(long, value_name = "N", value_parser = from_1(1_000_000), default_value_t = 1000)]
    pub max_documents: usize,
    /// The most bytes of a request
    #[arg(long, value_name = "N", value_parser = from_1(1 << 32), default_value_t = 32 << 20)]
    pub max_body_bytes: usize,
    /// The most characters of a document or query
    #[arg(long, value_name = "N", value_parser = from_1(u64::MAX))]
    pub max_document_chars: Option<usize>,
    /// Refuse a request with status 429 when the work ahead of it would take longer than this
    #[arg(long, value_name = "N", default_value_t = 5000)]
    pub max_queue_ms: u64,
    /// How `document` is written in answers: as an object, which nearly all clients read, or as a string, for LiteLLM's
    /// `infinity/`
    #[arg(long, value_enum, default_value_t)]
    pub document_form: DocumentForm,
    /// Whether a request's `truncate: false` counts, which refuses a text that does not fit
    #[arg(long, value_enum, default_value_t)]
    pub truncate: Truncate,
    /// Refuse names of models that are not served, also where there is a single one
    #[arg(long)]
    pub strict_model: bool,
    /// The label that ranks, by its name or by its number from 0; needed for models that have several
    #[arg(long, value_name = "NAME|N")]
    pub label: Option<String>,
    /// An origin whose pages may ask, such as https://example.org, or * for any; repeatable
    #[arg(long = "cors-origin", value_name = "ORIGIN")]
    pub cors_origins: Vec<String>,
    /// The most connections at once [default: what the limit of open files leaves]
    #[arg(long, value_name = "N", value_parser = from_1(1 << 20))]
    pub max_connections: Option<usize>,
    /// How what happens is written to stderr; -v says more
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
    #[command(flatten)]
    pub load: LoadArgs,
    #[command(flatten)]
    pub window: WindowArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum DocumentForm {
    /// {"text": ...}
    #[default]
    Object,
    /// The text itself
    String,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Truncate {
    /// It counts
    #[default]
    Request,
    /// Texts are always cut to fit; results say which were
    Always,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// For programs: a JSON object a line
    Json,
}
