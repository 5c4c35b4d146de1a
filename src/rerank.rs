//! Texts in, a ranking out.

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use crate::error::{Error, Result};
use crate::reranker::{PairScore, Reranker};
use crate::schedule::Control;
use crate::score::ScoreMode;
use crate::tokenized::Tokenized;

/// Options of one [`Reranker::rerank`].
///
/// ```
/// let options = crossrank::RerankOptions::default().top_k(10).min_score(0.5);
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RerankOptions {
    /// Keep only this many, the best. 0 gives an empty ranking.
    pub top_k: Option<usize>,
    /// Keep only documents whose score is at least this.
    pub min_score: Option<f32>,
    /// How scores are made of logits.
    pub score: ScoreMode,
    /// Which label ranks, from 0; needed when the model has several.
    pub label: Option<usize>,
    /// Ends the call with [`Error::Stopped`] once it is true. Looked at between chunks of documents.
    pub stop: Option<Arc<AtomicBool>>,
    /// Raised by one for each document that has been scored.
    pub progress: Option<Arc<AtomicUsize>>,
}

impl RerankOptions {
    /// Sets [`RerankOptions::top_k`].
    #[must_use]
    pub fn top_k(mut self, top_k: usize) -> Self {
        self.top_k = Some(top_k);
        self
    }

    /// Sets [`RerankOptions::min_score`].
    #[must_use]
    pub fn min_score(mut self, min_score: f32) -> Self {
        self.min_score = Some(min_score);
        self
    }

    /// Sets [`RerankOptions::score`].
    #[must_use]
    pub fn score(mut self, score: ScoreMode) -> Self {
        self.score = score;
        self
    }

    /// Sets [`RerankOptions::label`].
    #[must_use]
    pub fn label(mut self, label: usize) -> Self {
        self.label = Some(label);
        self
    }

    /// Sets [`RerankOptions::stop`].
    #[must_use]
    pub fn stop(mut self, stop: Arc<AtomicBool>) -> Self {
        self.stop = Some(stop);
        self
    }

    /// Sets [`RerankOptions::progress`].
    #[must_use]
    pub fn progress(mut self, progress: Arc<AtomicUsize>) -> Self {
        self.progress = Some(progress);
        self
    }
}

/// One document of a ranking.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Ranked {
    /// Its index in the documents that were given.
    pub index: usize,
    /// Through the activation of [`RerankOptions::score`].
    pub score: f32,
    /// The raw logit of the label that ranks.
    pub logit: f32,
    /// Tokens that were scored: query, document and special tokens, after truncation.
    pub tokens: usize,
    /// Whether something was cut off to fit the window.
    pub truncated: bool,
}

impl Reranker {
    /// Ranks documents by how well they answer the query: best first by logit (scores saturate), ties by index.
    ///
    /// No documents give an empty ranking; empty texts are scored as the tokenizer sees them.
    ///
    /// # Errors
    /// When options do not fit the model (several labels need [`RerankOptions::label`]), a document cannot be scored
    /// (the error names it), or the stop flag is set. There is no partial ranking.
    pub fn rerank(
        &self,
        query: &str,
        documents: &[impl AsRef<str> + Sync],
        options: &RerankOptions,
    ) -> Result<Vec<Ranked>> {
        let labels = self.labels();
        let label = match options.label {
            Some(label) if label < labels => label,
            Some(label) => {
                return Err(Error::option(
                    "label",
                    format!("expected one of 0 to {}, found {label}", labels - 1),
                ));
            }
            None if labels == 1 => 0,
            None => {
                let reason =
                    format!("the model has {labels} labels: choose which one ranks, 0 to {}", labels - 1);
                return Err(Error::option("label", reason));
            }
        };
        if options.min_score.is_some_and(f32::is_nan) {
            return Err(Error::option("min_score", "expected a number, found NaN"));
        }
        let activation = self.model().config().activation.resolve(options.score, labels)?;

        let pairs = self.tokenize(query, documents)?;
        let mut logits = vec![0.0; pairs.len() * labels];
        let control = Control { stop: options.stop.as_deref(), progress: options.progress.as_deref() };
        self.score_into(&pairs, control, &mut logits)?;

        let mut ranking: Vec<Ranked> = pairs
            .iter()
            .zip(logits.chunks_exact(labels))
            .enumerate()
            .map(|(index, (pair, logits))| Ranked {
                index,
                score: activation.score(logits, label),
                logit: logits[label],
                tokens: pair.len(),
                truncated: pair.truncated(),
            })
            .filter(|ranked| options.min_score.is_none_or(|least| ranked.score >= least))
            .collect();
        ranking.sort_by(best_first);
        ranking.truncate(options.top_k.unwrap_or(usize::MAX));
        Ok(ranking)
    }

    /// Scores (query, document) pairs, in input order, with the logits of all labels.
    ///
    /// # Errors
    /// When a pair cannot be scored; the error names it by its index as a document.
    pub fn score_pairs(
        &self,
        pairs: &[(impl AsRef<str> + Sync, impl AsRef<str> + Sync)],
    ) -> Result<Vec<PairScore>> {
        let tokenizer = self.tokenizer();
        let tokenized = self.threads().map(pairs.len(), |i| {
            let (query, document) = &pairs[i];
            let query = tokenizer.encode(query.as_ref());
            let query = query.map_err(|reason| Error::document_error(i, format!("its query {reason}")))?;
            tokenizer.pair(i, &query, document.as_ref())
        });
        self.score_tokenized(&tokenized.into_iter().collect::<Result<Vec<_>>>()?)
    }

    /// Tokenises a query with each of its documents, for callers who score the same pairs again.
    ///
    /// # Errors
    /// When a pair cannot be cut to the window as the truncation asks.
    ///
    /// ```
    /// # fn main() -> crossrank::Result<()> {
    /// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/gelu-60");
    /// # let reranker = crossrank::Reranker::load(folder)?;
    /// let pairs = reranker.tokenize("where do rivers go", &["To the sea."])?;
    /// assert_eq!(reranker.score_tokenized(&pairs)?, reranker.score_tokenized(&pairs)?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn tokenize(&self, query: &str, documents: &[impl AsRef<str> + Sync]) -> Result<Vec<Tokenized>> {
        let tokenizer = self.tokenizer();
        let query = tokenizer.encode(query).map_err(|reason| Error::Query { reason })?;
        let tokenized =
            self.threads().map(documents.len(), |i| tokenizer.pair(i, &query, documents[i].as_ref()));
        tokenized.into_iter().collect()
    }
}

/// Logits are finite here, so the order is total.
fn best_first(a: &Ranked, b: &Ranked) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.index.cmp(&b.index))
}
