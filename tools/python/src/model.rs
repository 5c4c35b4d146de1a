//! A loaded model as Python sees it.

use std::path::PathBuf;
use std::sync::Arc;

use crossrank::{ModelInfo, Reranker, ScoreMode};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyDict, PyList};

use crate::load::{self, Load, Shared};
use crate::ranking::{self, Options};
use crate::texts::{Pairs, Texts};
use crate::watch::{self, Stop, Watcher};

/// A model in memory. Any number of threads may call it.
#[pyclass(frozen, module = "crossrank._crossrank")]
pub struct Model {
    pub(crate) shared: Shared,
    pub(crate) info: ModelInfo,
}

#[pymethods]
impl Model {
    #[new]
    #[pyo3(signature = (path, max_length, dtype, threads, tokenizer, weights))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        max_length: Option<usize>,
        dtype: &str,
        threads: Option<usize>,
        tokenizer: &str,
        weights: &str,
    ) -> PyResult<Self> {
        let load = Load {
            path,
            max_length,
            dtype: load::dtype(dtype)?,
            threads,
            tokenizer: load::tokenizer(tokenizer)?,
            weights: load::weights(weights)?,
        };
        let shared = Shared::new(py, load)?;
        let info = shared.get(py)?.info();
        Ok(Self { shared, info })
    }

    /// Scores of pairs, float32 in the machine's order, a score a label, side by side.
    fn predict<'py>(
        &self,
        py: Python<'py>,
        inputs: &Bound<'py, PyAny>,
        mode: &str,
        prompt: Option<&str>,
        stop: Option<&Stop>,
        watcher: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyByteArray>> {
        let pairs = Pairs::new(inputs)?;
        self.score(py, pairs.borrow()?, mode, prompt, stop, watcher)
    }

    /// The same of two columns, row by row.
    #[expect(clippy::too_many_arguments, reason = "they are Python's, by name")]
    fn predict_columns<'py>(
        &self,
        py: Python<'py>,
        queries: &Bound<'py, PyAny>,
        documents: &Bound<'py, PyAny>,
        mode: &str,
        prompt: Option<&str>,
        stop: Option<&Stop>,
        watcher: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyByteArray>> {
        let (queries, documents) = (Texts::new(queries, "queries")?, Texts::new(documents, "documents")?);
        if queries.len() != documents.len() {
            return Err(PyValueError::new_err(format!(
                "expected as many queries as documents, found {} and {}",
                queries.len(),
                documents.len()
            )));
        }
        let pairs = queries.borrow("queries")?.into_iter().zip(documents.borrow("documents")?);
        self.score(py, pairs.collect(), mode, prompt, stop, watcher)
    }

    /// Documents of a query, best first, as dictionaries.
    fn rank<'py>(
        &self,
        py: Python<'py>,
        query: &Bound<'py, PyAny>,
        documents: &Bound<'py, PyAny>,
        options: &Bound<'py, PyDict>,
        stop: Option<&Stop>,
        watcher: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let options = Options::new(options)?;
        ranking::rank(py, self, query, documents, &options, stop, watcher)
    }

    /// What was loaded, and how it runs.
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let info = &self.info;
        let dict = PyDict::new(py);
        for (name, value) in [
            ("family", info.family.as_str()),
            ("dtype", info.dtype),
            ("isa", info.isa),
            ("activation", &info.activation),
            ("token_ids", &info.token_ids),
            ("head", &info.head),
        ] {
            dict.set_item(name, value)?;
        }
        for (name, value) in [
            ("layers", info.layers),
            ("hidden", info.hidden),
            ("heads", info.heads),
            ("intermediate", info.intermediate),
            ("vocab", info.vocab),
            ("max_positions", info.max_positions),
            ("max_length", info.max_length),
            ("labels", info.labels),
            ("threads", info.threads),
            ("packed_bytes", info.packed_bytes),
        ] {
            dict.set_item(name, value)?;
        }
        dict.set_item("label_names", &info.label_names)?;
        dict.set_item("packed_checkpoint", info.packed_checkpoint)?;
        dict.set_item("notes", &info.notes)?;
        Ok(dict)
    }
}

impl Model {
    fn score<'py>(
        &self,
        py: Python<'py>,
        pairs: Vec<(&str, &str)>,
        mode: &str,
        prompt: Option<&str>,
        stop: Option<&Stop>,
        watcher: Watcher<'_, 'py>,
    ) -> PyResult<Bound<'py, PyByteArray>> {
        let mode = score_mode(mode)?;
        let reranker = self.shared.get(py)?;
        let bytes = pairs.iter().map(|(query, document)| query.len() + document.len()).sum();
        let operations = self.operations(pairs.len(), bytes);
        let scores = watch::run(py, operations, stop, watcher, |call| {
            let mut logits = vec![0.0; pairs.len() * reranker.labels()];
            match prompt {
                Some(prompt) => {
                    let queries = pairs.iter().map(|(query, _)| format!("{prompt}{query}"));
                    let pairs: Vec<_> = queries.zip(pairs.iter().map(|(_, document)| document)).collect();
                    reranker.score_pairs_into(&pairs, &call.stop, &call.scored, &mut logits)?;
                }
                None => reranker.score_pairs_into(&pairs, &call.stop, &call.scored, &mut logits)?,
            }
            activate(&reranker, mode, logits)
        })?;
        PyByteArray::new_with(py, scores.len() * 4, |bytes| {
            for (bytes, score) in bytes.chunks_exact_mut(4).zip(&scores) {
                bytes.copy_from_slice(&score.to_ne_bytes());
            }
            Ok(())
        })
    }

    /// About how many operations it takes to score so many pairs of so many bytes together.
    pub fn operations(&self, pairs: usize, bytes: usize) -> u64 {
        if pairs == 0 {
            return 0;
        }
        let tokens = bytes / 4 / pairs + 4;
        // What is longer is cut, or becomes several.
        let (tokens, windows) = (tokens.min(self.info.max_length), tokens.div_ceil(self.info.max_length));
        self.info.operations(tokens).saturating_mul(windows as u64).saturating_mul(pairs as u64)
    }
}

/// Scores in the place of logits.
fn activate(reranker: &Arc<Reranker>, mode: ScoreMode, mut logits: Vec<f32>) -> crossrank::Result<Vec<f32>> {
    if mode != ScoreMode::Raw {
        for logits in logits.chunks_exact_mut(reranker.labels()) {
            let scores = reranker.scores(mode, logits)?;
            logits.copy_from_slice(&scores);
        }
    }
    Ok(logits)
}

/// How scores are made, by its name here.
pub fn score_mode(name: &str) -> PyResult<ScoreMode> {
    match name {
        "model" => Ok(ScoreMode::Model),
        "identity" => Ok(ScoreMode::Raw),
        "sigmoid" => Ok(ScoreMode::Sigmoid),
        "softmax" => Ok(ScoreMode::Softmax),
        _ => Err(load::one_of("activation_fn", "identity, sigmoid or softmax", name)),
    }
}
