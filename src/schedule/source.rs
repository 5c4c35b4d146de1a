//! What there is to score.

use std::ops::Range;

use crate::error::Result;
use crate::tokenized::Tokenized;

/// The documents of a request: ready ids, or texts that become ids when their turn comes.
pub(crate) trait Source: Sync {
    /// Number of documents.
    fn documents(&self) -> usize;

    /// The tokens that a document will have, as near as can be said without tokenising it; at least 1. Looked at
    /// more than once.
    fn cost(&self, document: usize) -> usize;

    /// The ids of some documents, checked against the model. They are made in `buffer`, which is empty, if they have to
    /// be made at all. An error names the first document that has none.
    fn ids<'a>(&'a self, documents: Range<usize>, buffer: &'a mut Vec<Tokenized>) -> Result<&'a [Tokenized]>;
}

/// Ready ids, which have been checked.
impl Source for [Tokenized] {
    fn documents(&self) -> usize {
        self.len()
    }

    fn cost(&self, document: usize) -> usize {
        self[document].len()
    }

    fn ids<'a>(&'a self, documents: Range<usize>, _: &'a mut Vec<Tokenized>) -> Result<&'a [Tokenized]> {
        Ok(&self[documents])
    }
}
