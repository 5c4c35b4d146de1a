//! Bodies of requests, out of a file of workloads.

use std::path::Path;

use bytes::Bytes;
use clap::ValueEnum;
use serde::Deserialize;
use serde_json::json;

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Kind {
    /// One of the snippets.
    Pair,
    /// All 50 of them, beginning with another each time.
    Snippets50,
    /// 100 passages.
    Passages100,
}

/// Query and documents of a workload, or of a body.
#[derive(Deserialize)]
pub struct Texts {
    pub query: String,
    #[serde(alias = "docs")]
    pub documents: Vec<String>,
}

/// All bodies; those of a kind are sent in turn.
pub struct Requests {
    pairs: Vec<Bytes>,
    fifties: Vec<Bytes>,
    hundreds: Vec<Bytes>,
}

impl Requests {
    pub fn read(path: &Path, model: &str) -> Result<Self, Box<dyn std::error::Error>> {
        /// Those of a file that are used.
        #[derive(Deserialize)]
        struct Workloads {
            snippets50: Texts,
            passages100: Texts,
        }
        let file: Workloads = serde_json::from_slice(&std::fs::read(path)?)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let body = |query: &str, documents: &[String]| -> Bytes {
            let body =
                json!({ "model": model, "query": query, "documents": documents, "return_documents": false });
            body.to_string().into()
        };
        let rotations = |texts: &Texts| {
            let mut documents = texts.documents.clone();
            let next = |_| {
                documents.rotate_left(1);
                body(&texts.query, &documents)
            };
            (0..texts.documents.len()).map(next).collect()
        };
        let snippets = &file.snippets50;
        Ok(Self {
            pairs: snippets.documents.chunks(1).map(|one| body(&snippets.query, one)).collect(),
            fifties: rotations(snippets),
            hundreds: rotations(&file.passages100),
        })
    }

    pub fn of(&self, kind: Kind) -> &[Bytes] {
        match kind {
            Kind::Pair => &self.pairs,
            Kind::Snippets50 => &self.fifties,
            Kind::Passages100 => &self.hundreds,
        }
    }
}
