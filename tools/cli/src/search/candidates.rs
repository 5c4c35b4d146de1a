//! What the first stage finds.

use std::path::Path;

use crossrank::Fusion;
use crossrank_eval::{Query, Run};
use crossrank_search::Index;

use super::corpus::told;
use crate::failure::{Failure, say};
use crate::text::printable;

/// A document that the first stage found.
pub struct Candidate {
    pub id: String,
    /// Title and text.
    pub text: String,
    pub score: f32,
}

impl AsRef<str> for Candidate {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

/// The first stage's scores, where they count.
pub fn first_scores(fuse: Fusion, candidates: &[Candidate]) -> Option<Vec<f32>> {
    matches!(fuse, Fusion::Weight(_)).then(|| candidates.iter().map(|candidate| candidate.score).collect())
}

/// Where candidates come from, and what was wrong with them so far.
pub struct FirstStage<'a> {
    index: &'a Index,
    run: Option<Run>,
    count: usize,
    /// How many queries were asked.
    queries: usize,
    /// How many of them have lines in the run.
    in_run: usize,
    /// How many found nothing.
    empty: usize,
    /// How many lines of the run name documents that the corpus lacks, and the first of them.
    unknown: usize,
    first_unknown: String,
}

impl<'a> FirstStage<'a> {
    /// At most `count` candidates of each query, those of a run if there is one.
    pub fn new(run: Option<&Path>, count: usize, index: &'a Index) -> Result<Self, Failure> {
        let run = run.map(Run::open).transpose().map_err(told)?;
        let (queries, in_run, empty, unknown) = (0, 0, 0, 0);
        Ok(Self { index, run, count, queries, in_run, empty, unknown, first_unknown: String::new() })
    }

    /// How candidates are found, in a line.
    pub fn description(&self) -> String {
        match &self.run {
            Some(run) => format!("candidates of {}", run.name()),
            None => {
                let bm25 = self.index.bm25();
                format!("BM25, k1 = {}, b = {}: {}", bm25.k1, bm25.b, crossrank_search::ANALYSIS)
            }
        }
    }

    /// The candidates of a query, best first.
    pub fn candidates(&mut self, query: &Query) -> Result<Vec<Candidate>, Failure> {
        self.queries += 1;
        let mut found = vec![];
        match &self.run {
            None => {
                for hit in self.index.search(&query.text, self.count).map_err(told)? {
                    found.push((hit.ordinal, hit.score));
                }
            }
            Some(run) => {
                let ranking = run.ranking(&query.id);
                self.in_run += usize::from(ranking.is_some());
                // What the corpus lacks takes nobody's place.
                for (id, score) in ranking.iter().flat_map(|ranking| ranking.iter()) {
                    match self.index.find(id).map_err(told)? {
                        Some(ordinal) if found.len() < self.count => found.push((ordinal, score)),
                        Some(_) => {}
                        None => {
                            if self.unknown == 0 {
                                self.first_unknown = printable(id, 60);
                            }
                            self.unknown += 1;
                        }
                    }
                }
            }
        }
        self.empty += usize::from(found.is_empty());
        let candidate = |(ordinal, score)| {
            let document = self.index.document(ordinal).map_err(told)?;
            Ok(Candidate { id: document.id, text: document.text, score })
        };
        found.into_iter().map(candidate).collect()
    }

    /// A query whose results are there already.
    pub fn skip(&mut self, query: &Query) {
        self.queries += 1;
        self.in_run += usize::from(self.run.as_ref().is_some_and(|run| run.ranking(&query.id).is_some()));
    }

    /// Says what was missing.
    pub fn report(&self) {
        let note = |what: String| say("note", &what);
        match &self.run {
            None if self.empty > 0 => {
                note(format!(
                    "{} of {} queries share no word with the corpus and have no results",
                    self.empty, self.queries
                ));
            }
            None => {}
            Some(run) => {
                if self.unknown > 0 {
                    let first = format!("the first is `{}`", self.first_unknown);
                    note(format!(
                        "{}: {} lines name documents that the corpus lacks: {first}",
                        run.name(),
                        self.unknown
                    ));
                }
                let without = self.queries - self.in_run;
                if without > 0 {
                    note(format!(
                        "{}: no lines for {without} of {} queries, which have no results",
                        run.name(),
                        self.queries
                    ));
                }
                let others = run.queries().len() - self.in_run;
                if others > 0 {
                    note(format!(
                        "{}: lines of {others} queries that were not asked are left out",
                        run.name()
                    ));
                }
            }
        }
    }
}
