//! Texts in, a ranking out.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use crate::error::{Error, Result};
use crate::reranker::{PairScore, Reranker};
use crate::schedule::{Control, Source};
use crate::score::ScoreMode;
use crate::tokenized::Tokenized;
use crate::tokenizer::Tokenizer;

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
    /// By which it stands where it does: as the score, without saturation.
    order: f32,
    /// Tokens that were scored: query, document and special tokens, after truncation.
    pub tokens: usize,
    /// Whether something was cut off to fit the window.
    pub truncated: bool,
}

impl Reranker {
    /// Ranks documents by how well they answer the query: best first by the score before it saturates (the logit; of
    /// softmax and differences the label's odds), ties by index.
    ///
    /// No documents give an empty ranking; empty texts are scored as the tokenizer sees them.
    ///
    /// # Errors
    /// When options do not fit the model (several labels need [`RerankOptions::label`]), a document cannot be tokenised
    /// or scored (the error names the first), or the stop flag is set. There is no partial ranking.
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
        let activation = self.config.settings.activation.resolve(options.score, labels)?;

        let source = Documents { tokenizer: self.tokenizer(), query: &self.encode_query(query)?, documents };
        let control = Control { stop: options.stop.as_deref(), progress: options.progress.as_deref() };
        let (logits, extents) = self.score_all(&source, control)?;

        let mut ranking = Vec::with_capacity(extents.len());
        let all =
            extents.iter().zip(logits.chunks_exact(labels)).enumerate().map(|(index, (extent, logits))| {
                Ranked {
                    index,
                    score: activation.score(logits, label),
                    logit: logits[label],
                    order: activation.order(logits, label),
                    tokens: extent.tokens,
                    truncated: extent.truncated,
                }
            });
        ranking.extend(all.filter(|ranked| options.min_score.is_none_or(|least| ranked.score >= least)));
        // The index makes the order total, so that nothing is left to be stable.
        ranking.sort_unstable_by(best_first);
        ranking.truncate(options.top_k.unwrap_or(usize::MAX));
        Ok(ranking)
    }

    /// Scores (query, document) pairs, in input order, with the logits of all labels.
    ///
    /// # Errors
    /// When a pair cannot be tokenised or scored; the error names the first by its index as a document.
    pub fn score_pairs(
        &self,
        pairs: &[(impl AsRef<str> + Sync, impl AsRef<str> + Sync)],
    ) -> Result<Vec<PairScore>> {
        let source = Pairs { tokenizer: self.tokenizer(), pairs };
        self.pair_scores(&source)
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
        self.threads().check_process()?;
        let (tokenizer, query) = (self.tokenizer(), self.encode_query(query)?);
        let tokenized =
            self.threads().map(documents.len(), |i| tokenizer.pair(i, &query, documents[i].as_ref()));
        tokenized.into_iter().collect()
    }

    fn encode_query(&self, query: &str) -> Result<Vec<u32>> {
        self.tokenizer().encode_query(query).map_err(|reason| Error::Query { reason })
    }
}

/// Documents for one query, whose ids are there.
struct Documents<'a, D> {
    tokenizer: &'a Tokenizer,
    query: &'a [u32],
    documents: &'a [D],
}

impl<D: AsRef<str> + Sync> Source for Documents<'_, D> {
    fn documents(&self) -> usize {
        self.documents.len()
    }

    fn cost(&self, document: usize) -> usize {
        self.tokenizer.estimate(self.query.len(), self.documents[document].as_ref().len())
    }

    fn ids<'a>(&'a self, documents: Range<usize>, buffer: &'a mut Vec<Tokenized>) -> Result<&'a [Tokenized]> {
        for i in documents {
            buffer.push(self.tokenizer.pair(i, self.query, self.documents[i].as_ref())?);
        }
        Ok(buffer)
    }
}

/// Pairs with a query each.
struct Pairs<'a, Q, D> {
    tokenizer: &'a Tokenizer,
    pairs: &'a [(Q, D)],
}

impl<Q: AsRef<str> + Sync, D: AsRef<str> + Sync> Source for Pairs<'_, Q, D> {
    fn documents(&self) -> usize {
        self.pairs.len()
    }

    fn cost(&self, document: usize) -> usize {
        let (query, document) = &self.pairs[document];
        self.tokenizer.estimate(0, query.as_ref().len().saturating_add(document.as_ref().len()))
    }

    fn ids<'a>(&'a self, documents: Range<usize>, buffer: &'a mut Vec<Tokenized>) -> Result<&'a [Tokenized]> {
        // Pairs of one query usually stand together: it is encoded once for them.
        let mut encoded: Option<(&str, Vec<u32>)> = None;
        for i in documents {
            let (query, document) = (self.pairs[i].0.as_ref(), self.pairs[i].1.as_ref());
            let query = match &encoded {
                Some((text, ids)) if *text == query => ids,
                _ => {
                    let ids = self.tokenizer.encode_query(query);
                    let ids =
                        ids.map_err(|reason| Error::document_error(i, format!("its query {reason}")))?;
                    &encoded.insert((query, ids)).1
                }
            };
            buffer.push(self.tokenizer.pair(i, query, document)?);
        }
        Ok(buffer)
    }
}

/// Logits are finite here, and what is made of them is no NaN, so the order is total; 0 and -0 are equal.
fn best_first(a: &Ranked, b: &Ranked) -> Ordering {
    b.order.partial_cmp(&a.order).unwrap_or(Ordering::Equal).then(a.index.cmp(&b.index))
}
