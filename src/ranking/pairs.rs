//! Pairs in, their logits out, in the order of the input; and texts as what there is to score.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use crate::error::{Error, Result};
use crate::reranker::{PairScore, Reranker};
use crate::schedule::{Control, Results, Source};
use crate::tokenized::Tokenized;
use crate::tokenizer::{Tokenizer, Truncation};

impl Reranker {
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

    /// Scores (query, document) pairs into memory of the caller's: one logit a label, labels of a pair side by side,
    /// pairs in input order. `scored` is raised by one for each pair that has been scored; once `stop` is true, no chunk
    /// of pairs begins. What `logits` holds after an error is unspecified.
    ///
    /// # Errors
    /// As [`Reranker::score_pairs`]; when it was stopped before its end; and when `logits` is not
    /// `pairs.len() * labels` long.
    ///
    /// ```
    /// # fn main() -> crossrank::Result<()> {
    /// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/gelu-60");
    /// # let reranker = crossrank::Reranker::load(folder)?;
    /// use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    ///
    /// let (stop, scored) = (AtomicBool::new(false), AtomicUsize::new(0));
    /// let pairs = [("where do rivers go", "To the sea."), ("what is bread made of", "Of flour.")];
    /// let mut logits = [0.0; 2];
    /// reranker.score_pairs_into(&pairs, &stop, &scored, &mut logits)?;
    /// assert_eq!(scored.load(Ordering::Relaxed), 2);
    /// assert_eq!(logits[1..], reranker.score_pairs(&pairs)?[1].logits);
    /// # Ok(())
    /// # }
    /// ```
    pub fn score_pairs_into(
        &self,
        pairs: &[(impl AsRef<str> + Sync, impl AsRef<str> + Sync)],
        stop: &AtomicBool,
        scored: &AtomicUsize,
        logits: &mut [f32],
    ) -> Result<()> {
        self.check_room(pairs.len(), logits)?;
        let source = Pairs { tokenizer: self.tokenizer(), pairs };
        let control = Control { stop: Some(stop), progress: Some(scored), deadline: None };
        self.score(&source, control, Results { logits, extents: None })
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
        let tokenized = self
            .threads()
            .map(documents.len(), |i| tokenizer.pair(i, &query, documents[i].as_ref(), None, None));
        tokenized.into_iter().collect()
    }

    pub(super) fn encode_query(&self, query: &str) -> Result<Vec<u32>> {
        self.tokenizer().encode_query(query).map_err(|reason| Error::Query { reason })
    }
}

/// Documents for one query, whose ids are there.
pub(super) struct Documents<'a> {
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) query: &'a [u32],
    pub(super) documents: &'a [&'a str],
    /// The call's own.
    pub(super) truncation: Option<Truncation>,
}

impl Source for Documents<'_> {
    fn documents(&self) -> usize {
        self.documents.len()
    }

    fn cost(&self, document: usize) -> usize {
        self.tokenizer.estimate(self.query.len(), self.documents[document].len())
    }

    fn ids<'a>(&'a self, documents: Range<usize>, buffer: &'a mut Vec<Tokenized>) -> Result<&'a [Tokenized]> {
        for i in documents {
            buffer.push(self.tokenizer.pair(i, self.query, self.documents[i], None, self.truncation)?);
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
            buffer.push(self.tokenizer.pair(i, query, document, None, None)?);
        }
        Ok(buffer)
    }
}
