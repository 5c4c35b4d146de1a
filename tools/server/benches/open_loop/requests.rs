//! Bodies of requests, out of a file of workloads.

use std::path::Path;

use bytes::Bytes;
use clap::ValueEnum;
use serde_json::{Value, json};

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

/// Query and documents of a workload.
pub struct Texts {
    pub query: String,
    pub documents: Vec<String>,
}

/// All bodies; those of a kind are sent in turn.
pub struct Requests {
    model: String,
    snippets: Texts,
    passages: Texts,
    pairs: Vec<Bytes>,
    fifties: Vec<Bytes>,
    hundreds: Vec<Bytes>,
}

impl Requests {
    pub fn read(path: &Path, model: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let file: Value = serde_json::from_slice(&std::fs::read(path)?)?;
        let texts = |name: &str| -> Result<Texts, String> {
            let workload = file.get(name).ok_or_else(|| format!("{}: expected `{name}`", path.display()))?;
            let query = workload["query"].as_str().ok_or(format!("`{name}`: expected `query`"))?;
            let documents = workload["docs"].as_array().ok_or(format!("`{name}`: expected `docs`"))?;
            let documents = documents.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            Ok(Texts { query: query.to_owned(), documents })
        };
        let (snippets, passages) = (texts("snippets50")?, texts("passages100")?);
        let mut requests = Self {
            model: model.to_owned(),
            snippets,
            passages,
            pairs: vec![],
            fifties: vec![],
            hundreds: vec![],
        };
        requests.pairs = (0..requests.snippets.documents.len())
            .map(|i| requests.body(&requests.snippets.query, &requests.snippets.documents[i..=i]))
            .collect();
        requests.fifties = requests.rotations(&requests.snippets);
        requests.hundreds = requests.rotations(&requests.passages);
        Ok(requests)
    }

    fn rotations(&self, texts: &Texts) -> Vec<Bytes> {
        let mut documents = texts.documents.clone();
        let next = |_| {
            documents.rotate_left(1);
            self.body(&texts.query, &documents)
        };
        (0..texts.documents.len()).map(next).collect()
    }

    fn body(&self, query: &str, documents: &[String]) -> Bytes {
        let body =
            json!({ "model": self.model, "query": query, "documents": documents, "return_documents": false });
        body.to_string().into()
    }

    pub fn of(&self, kind: Kind) -> &[Bytes] {
        match kind {
            Kind::Pair => &self.pairs,
            Kind::Snippets50 => &self.fifties,
            Kind::Passages100 => &self.hundreds,
        }
    }

    /// The texts of the first body of a kind.
    pub fn texts(&self, kind: Kind) -> Texts {
        let rotated = |texts: &Texts| {
            let mut documents = texts.documents.clone();
            documents.rotate_left(1);
            Texts { query: texts.query.clone(), documents }
        };
        match kind {
            Kind::Pair => Texts {
                query: self.snippets.query.clone(),
                documents: self.snippets.documents.iter().take(1).cloned().collect(),
            },
            Kind::Snippets50 => rotated(&self.snippets),
            Kind::Passages100 => rotated(&self.passages),
        }
    }
}
