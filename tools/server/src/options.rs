//! What whoever starts a server may choose.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crossrank::Tokenized;

/// How `document` is written in answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DocumentForm {
    /// As an object with the key `text`, which nearly all clients read.
    #[default]
    Object,
    /// As a plain string, which LiteLLM's `infinity/` reads.
    Text,
}

/// Whether a client may ask that nothing be cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Truncate {
    /// The request says it, and where it says nothing texts are cut.
    #[default]
    Request,
    /// Texts are always cut to fit, also where a client sends `truncate: false`, as LiteLLM always does.
    Always,
}

/// A function that is called with each batch before it is scored. It is for tests: it may wait, and it may panic.
pub type BeforeBatch = Arc<dyn Fn(&[Tokenized]) + Send + Sync>;

/// Options of a server.
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// Where it listens; port 0 is a free one.
    pub address: SocketAddr,
    /// Keys of which a client must send one as `Authorization: Bearer KEY`. None: any header is passed over.
    pub api_keys: Vec<String>,
    /// The most documents of a request.
    pub max_documents: usize,
    /// The most bytes of a request's body.
    pub max_body_bytes: usize,
    /// The most bytes of bodies that are held at once, of all requests together.
    pub max_held_bytes: usize,
    /// The most characters of a document or query.
    pub max_document_chars: Option<usize>,
    /// How long a request may have to wait, by the work that is ahead of it when it comes; beyond that it is refused.
    pub max_queue: Duration,
    /// How `document` is written in answers.
    pub document_form: DocumentForm,
    /// Whether a client may ask that nothing be cut.
    pub truncate: Truncate,
    /// Refuse names of models that are not served, also where a single model is served.
    pub strict_model: bool,
    /// The label that ranks, by name or number, of models that have several.
    pub label: Option<String>,
    /// Origins whose pages may ask; `*` is any.
    pub cors_origins: Vec<String>,
    /// The most connections at once; None: what the limit of descriptors leaves.
    pub max_connections: Option<usize>,
    /// How long a client may take for the head of a request, and how long a connection may be idle between requests.
    pub head_timeout: Duration,
    /// How long a client may take for the body of a request.
    pub body_timeout: Duration,
    /// How long a client may read nothing of an answer.
    pub write_timeout: Duration,
    /// How long requests that were accepted may take when the server is told to end.
    pub drain_timeout: Duration,
    /// Worker threads; None: as many as the process may use.
    pub threads: Option<usize>,
    #[doc(hidden)]
    pub before_batch: Option<BeforeBatch>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            api_keys: vec![],
            max_documents: 1000,
            max_body_bytes: 32 << 20,
            max_held_bytes: 256 << 20,
            max_document_chars: None,
            max_queue: Duration::from_secs(5),
            document_form: DocumentForm::default(),
            truncate: Truncate::default(),
            strict_model: false,
            label: None,
            cors_origins: vec![],
            max_connections: None,
            head_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(60),
            threads: None,
            before_batch: None,
        }
    }
}
