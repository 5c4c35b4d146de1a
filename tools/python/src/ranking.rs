//! Rankings as lists of dictionaries.

use std::sync::Arc;

use crossrank::{Cascade, Long, Ranked, RerankOptions, Reranker};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::load::one_of;
use crate::model::{Model, score_mode};
use crate::texts::{self, Texts};
use crate::watch::{self, Stop, Watcher};

/// How documents are ranked; the keys of a dictionary, each of which is there.
pub struct Options<'py> {
    prompt: Option<String>,
    mode: String,
    top_k: Option<usize>,
    min_score: Option<f32>,
    long: Option<String>,
    stride: usize,
    cascade: Vec<(Bound<'py, Model>, usize)>,
    return_documents: bool,
    return_tokens: bool,
}

impl<'py> Options<'py> {
    /// Reads them.
    pub fn new(dict: &Bound<'py, PyDict>) -> PyResult<Self> {
        let item = |name: &str| dict.as_any().get_item(name);
        let cascade = item("cascade")?.extract::<Vec<(Bound<'py, PyAny>, usize)>>()?;
        let cascade = cascade.into_iter().map(|(model, keep)| Ok((model.cast_into::<Model>()?, keep)));
        Ok(Self {
            prompt: item("prompt")?.extract()?,
            mode: item("mode")?.extract()?,
            top_k: item("top_k")?.extract()?,
            min_score: item("min_score")?.extract()?,
            long: item("long")?.extract()?,
            stride: item("stride")?.extract()?,
            cascade: cascade.collect::<PyResult<_>>()?,
            return_documents: item("return_documents")?.extract()?,
            return_tokens: item("return_tokens")?.extract()?,
        })
    }

    fn rerank_options(&self) -> PyResult<RerankOptions> {
        let long = match self.long.as_deref() {
            None | Some("truncate") => Long::Truncate,
            Some("max") => Long::Max,
            Some("mean") => Long::Mean,
            Some(other) => return Err(one_of("long", "truncate, max or mean", other)),
        };
        let mut options =
            RerankOptions::default().score(score_mode(&self.mode)?).long(long).stride(self.stride);
        options.top_k = self.top_k;
        options.min_score = self.min_score;
        Ok(options)
    }
}

/// Ranks documents.
pub fn rank<'py>(
    py: Python<'py>,
    model: &Model,
    query: &Bound<'py, PyAny>,
    documents: &Bound<'py, PyAny>,
    options: &Options<'py>,
    stop: Option<&Stop>,
    watcher: Watcher<'_, 'py>,
) -> PyResult<Bound<'py, PyList>> {
    let query = texts::one(query, "query")?;
    let documents = Texts::new(documents, "documents")?;
    let texts = documents.borrow("documents")?;
    let with_prompt = options.prompt.as_ref().map(|prompt| format!("{prompt}{query}"));
    let query = with_prompt.as_deref().unwrap_or(query);
    let rerank_options = options.rerank_options()?;

    let last = model.shared.get(py)?;
    let bytes = texts.iter().map(|text| text.len() + query.len()).sum();
    let mut operations = model.operations(texts.len(), bytes);
    let mut earlier: Vec<(Arc<Reranker>, usize)> = vec![];
    for (model, keep) in &options.cascade {
        operations = operations.saturating_add(model.get().operations(texts.len(), bytes));
        earlier.push((model.get().shared.get(py)?, *keep));
    }
    let ranking = watch::run(py, operations, stop, watcher, |call| {
        let rerank_options = rerank_options.stop(call.stop.clone()).progress(call.scored.clone());
        let Some(((first, keep), later)) = earlier.split_first() else {
            return last.rerank(query, &texts, &rerank_options);
        };
        let mut cascade = Cascade::new(first);
        let mut keep = *keep;
        for (model, next) in later {
            cascade = cascade.then(keep, model);
            keep = *next;
        }
        let mut ranking = cascade.then(keep, &last).rerank(query, &texts, &rerank_options)?;
        // Scores of an earlier model say nothing beside the last one's.
        ranking.retain(|ranked| ranked.stage == earlier.len());
        Ok(ranking)
    })?;
    let list = PyList::empty(py);
    for ranked in &ranking {
        list.append(result(py, ranked, &documents, texts[ranked.index], options)?)?;
    }
    Ok(list)
}

fn result<'py>(
    py: Python<'py>,
    ranked: &Ranked,
    documents: &Texts<'py>,
    text: &str,
    options: &Options<'py>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item(pyo3::intern!(py, "corpus_id"), ranked.index)?;
    dict.set_item(pyo3::intern!(py, "score"), ranked.score)?;
    if options.return_documents {
        dict.set_item(pyo3::intern!(py, "text"), documents.get(py, ranked.index))?;
    }
    if options.return_tokens {
        dict.set_item(pyo3::intern!(py, "tokens"), ranked.tokens)?;
        dict.set_item(pyo3::intern!(py, "truncated"), ranked.truncated)?;
    }
    if let Some(passage) = &ranked.passage {
        let points = passage.code_points(text);
        let found = PyDict::new(py);
        found.set_item("index", passage.index)?;
        found.set_item("count", passage.count)?;
        found.set_item("start", points.start)?;
        found.set_item("end", points.end)?;
        dict.set_item(pyo3::intern!(py, "passage"), found)?;
    }
    Ok(dict)
}
