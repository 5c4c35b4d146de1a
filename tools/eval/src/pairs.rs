//! Values of (query, document) pairs: what judgements and runs have in common.
//!
//! A line costs 24 bytes and its document's id, which lie in one piece of memory each, so that runs of millions of lines
//! can be held.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::fields::expected;

#[derive(Clone, Copy)]
struct Pair<V> {
    /// Where the document's id begins among all of them.
    start: usize,
    len: u32,
    query: u32,
    value: V,
    line: u32,
}

impl<V> Pair<V> {
    fn document<'a>(&self, documents: &'a str) -> &'a str {
        documents.get(self.start..self.start + self.len as usize).unwrap_or_default()
    }
}

/// Collects pairs line by line.
pub struct PairsBuilder<V> {
    queries: HashMap<Box<str>, u32>,
    documents: String,
    pairs: Vec<Pair<V>>,
    /// Lines of one query mostly follow one another.
    last: Option<(Box<str>, u32)>,
}

impl<V: Copy> PairsBuilder<V> {
    pub fn new() -> Self {
        Self { queries: HashMap::new(), documents: String::new(), pairs: Vec::new(), last: None }
    }

    /// Adds a pair; a line has one at most.
    pub fn add(
        &mut self,
        query: &str,
        document: &str,
        value: V,
        line: usize,
    ) -> std::result::Result<(), String> {
        let too_many = |_| format!("expected at most {} lines, found more", u32::MAX);
        let line = u32::try_from(line).map_err(too_many)?;
        let query = match &self.last {
            Some((last, number)) if **last == *query => *number,
            _ => {
                let next = u32::try_from(self.queries.len()).map_err(too_many)?;
                let number = *self.queries.entry(query.into()).or_insert(next);
                self.last = Some((query.into(), number));
                number
            }
        };
        let start = self.documents.len();
        // A line is shorter than that.
        let len = u32::try_from(document.len()).map_err(too_many)?;
        self.documents.push_str(document);
        self.pairs.push(Pair { start, len, query, value, line });
        Ok(())
    }

    /// All pairs, those of each query in an order of theirs. A document that a query has twice is an error, and so is
    /// a file without lines.
    pub fn finish(
        mut self,
        file: &str,
        order: impl Fn((&str, V), (&str, V)) -> Ordering,
    ) -> Result<Pairs<V>> {
        if self.pairs.is_empty() {
            return Err(Error::file(file, "expected lines, found none"));
        }
        let documents = self.documents;
        if !self.pairs.is_sorted_by_key(|pair| pair.query) {
            self.pairs.sort_by_key(|pair| pair.query);
        }
        let mut queries: Vec<_> = self.queries.into_iter().map(|(id, number)| (number, id)).collect();
        queries.sort_unstable();
        let mut twice: Option<(u32, u32)> = None;
        let mut of_queries = Vec::with_capacity(queries.len());
        let (mut rest, mut start) = (&mut self.pairs[..], 0);
        for (number, id) in queries {
            let len = rest.partition_point(|pair| pair.query == number);
            let (pairs, others) = rest.split_at_mut(len);
            pairs.sort_unstable_by(|a, b| {
                a.document(&documents).cmp(b.document(&documents)).then(a.line.cmp(&b.line))
            });
            for two in pairs.windows(2) {
                let [a, b] = two else { continue };
                let same = a.document(&documents) == b.document(&documents);
                if same && twice.is_none_or(|(line, _)| b.line < line) {
                    twice = Some((b.line, a.line));
                }
            }
            pairs.sort_by(|a, b| order((a.document(&documents), a.value), (b.document(&documents), b.value)));
            of_queries.push((id, start..start + len));
            (rest, start) = (others, start + len);
        }
        if let Some((line, first)) = twice {
            let pair = self.pairs.iter().find(|pair| pair.line == line);
            let document = pair.map_or("", |pair| pair.document(&documents));
            let reason = expected("document", "one that this query has not yet", document);
            return Err(Error::line(file, line as usize, format!("{reason}, which line {first} has")));
        }
        of_queries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Pairs { queries: of_queries, documents, pairs: self.pairs })
    }
}

/// Pairs by query.
pub struct Pairs<V> {
    /// In the order of their bytes, each with where its pairs are.
    queries: Vec<(Box<str>, Range<usize>)>,
    documents: String,
    pairs: Vec<Pair<V>>,
}

impl<V: Copy> Pairs<V> {
    /// In the order of their bytes.
    pub fn queries(&self) -> impl ExactSizeIterator<Item = &str> {
        self.queries.iter().map(|(id, _)| &**id)
    }

    /// How many pairs there are in all.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// The pairs of a query; none where it has none.
    pub fn of(&self, query: &str) -> Option<Slice<'_, V>> {
        let at = self.queries.binary_search_by(|(id, _)| (**id).cmp(query)).ok()?;
        let pairs = self.pairs.get(self.queries.get(at)?.1.clone())?;
        Some(Slice { documents: &self.documents, pairs })
    }
}

/// The pairs of one query.
#[derive(Clone, Copy)]
pub struct Slice<'a, V> {
    documents: &'a str,
    pairs: &'a [Pair<V>],
}

impl<'a, V: Copy> Slice<'a, V> {
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'a str, V)> + use<'a, V> {
        let documents = self.documents;
        self.pairs.iter().map(move |pair| (pair.document(documents), pair.value))
    }

    /// The value of a document, where the order is that of ids.
    pub fn value(&self, document: &str) -> Option<V> {
        let at = self.pairs.binary_search_by(|pair| pair.document(self.documents).cmp(document)).ok()?;
        self.pairs.get(at).map(|pair| pair.value)
    }
}
