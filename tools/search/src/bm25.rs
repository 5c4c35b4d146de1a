//! The formula.

/// BM25, as Robertson and Zaragoza have it in "The probabilistic relevance framework: BM25 and beyond" (2009), with
/// Lucene's idf, which is never negative:
///
/// sum over the query's words of ln(1 + (N - n + 0.5) / (n + 0.5)) * f / (f + k1 * (1 - b + b * length / mean length))
///
/// of N documents, n of which have the word, this one f times. A word counts as often as the query has it. Lengths are
/// exact (Lucene and tantivy round them to a byte).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Bm25 {
    /// How soon further occurrences of a word stop counting: none does at 0.
    pub k1: f64,
    /// How far long documents are held to their length: not at all at 0, wholly at 1.
    pub b: f64,
}

impl Default for Bm25 {
    /// What Lucene ships.
    fn default() -> Self {
        Self { k1: 1.2, b: 0.75 }
    }
}

impl Bm25 {
    /// What a word counts that `with` of `documents` have.
    pub(crate) fn idf(self, documents: u64, with: u64) -> f64 {
        let (all, with) = (documents as f64, with as f64);
        (1.0 + (all - with + 0.5) / (with + 0.5)).ln()
    }

    /// What the frequency of a word in a document of `length` words is held against.
    pub(crate) fn saturation(self, length: u64, mean: f64) -> f64 {
        self.k1 * (1.0 - self.b + self.b * length as f64 / mean)
    }
}
