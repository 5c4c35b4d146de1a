//! A pair of texts as the model reads it.

/// Token ids of one (query, document) pair, special tokens included, and the segment of each.
///
/// Made by [`Reranker::tokenize`](crate::Reranker::tokenize), or by callers who bring their own ids. Whether they
/// fit the model is checked when they are scored.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Tokenized {
    pub(crate) ids: Vec<u32>,
    pub(crate) type_ids: Vec<u32>,
    pub(crate) truncated: bool,
}

impl Tokenized {
    /// Ids and type ids (segments, from 0), one of each a token; nothing is cut.
    pub fn new(ids: Vec<u32>, type_ids: Vec<u32>) -> Self {
        Self { ids, type_ids, truncated: false }
    }

    /// Token ids.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The segment of each token: 0 for the query's part, 1 for the document's.
    pub fn type_ids(&self) -> &[u32] {
        &self.type_ids
    }

    /// Number of tokens, after truncation, special tokens included.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are no tokens at all, which cannot be scored.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Whether something was cut off to fit the window.
    pub fn truncated(&self) -> bool {
        self.truncated
    }
}
