//! Pairs in, their logits out, in the order of the input; and texts as what there is to score.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::reranker::{PairScore, Reranker};
use crate::schedule::Source;
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
