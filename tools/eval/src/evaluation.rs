//! A run against judgements: each query's figures, their means, and how many queries those are of.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::judgements::Judgements;
use crate::metric::{Metric, Outcome};
use crate::run::{Ranking, Run};
use crate::text::printable;

/// Over which queries a mean goes. In both a query without relevant documents counts as 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mean {
    /// All that have judgements; one without results counts as 0. `trec_eval -c` and `ir-measures` do so.
    #[default]
    Judged,
    /// Those that have judgements and results. `trec_eval` 9 does so where it is not given `-c`.
    Answered,
}

/// The figures of a query that has judgements.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryFigures {
    /// Its id.
    pub query: String,
    /// Whether the run has results for it.
    pub answered: bool,
    /// One for each metric, in their order.
    pub values: Vec<f64>,
}

/// What a run is worth by some judgements.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Each query that has judgements, in the order of their ids' bytes.
    pub queries: Vec<QueryFigures>,
    /// How many of those have results.
    pub answered: usize,
    /// How many queries of the run have no judgements and count for nothing.
    pub unjudged: usize,
    /// For each cut-off of a metric, in how many queries documents on both sides of it have equal scores, so that only
    /// their ids say which of them count.
    pub ties: BTreeMap<usize, usize>,
}

impl Evaluation {
    /// Evaluates the first `depth` documents of each ranking; none is all of them.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where the run and the judgements have no query in common, which is a mistake and no result.
    pub fn new(judgements: &Judgements, run: &Run, metrics: &[Metric], depth: Option<usize>) -> Result<Self> {
        let mut cutoffs: Vec<usize> = metrics.iter().filter_map(|metric| metric.cutoff()).collect();
        cutoffs.extend(depth);
        let depth = depth.unwrap_or(usize::MAX);
        let mut ties: BTreeMap<usize, usize> =
            cutoffs.into_iter().filter(|&cutoff| cutoff <= depth).map(|cutoff| (cutoff, 0)).collect();
        let mut queries = Vec::with_capacity(judgements.queries().len());
        let mut answered = 0;
        for query in judgements.queries() {
            // Each of them has some.
            let Some(judged) = judgements.of(query) else { continue };
            let ranking = run.ranking(query);
            answered += usize::from(ranking.is_some());
            if let Some(ranking) = ranking {
                count_ties(ranking, &mut ties);
            }
            let outcome = Outcome::of(judged, ranking, depth);
            let values = metrics.iter().map(|metric| metric.of(&outcome)).collect();
            queries.push(QueryFigures { query: query.to_owned(), answered: ranking.is_some(), values });
        }
        if answered == 0 {
            let first = printable(run.queries().next().unwrap_or_default(), 60);
            let count = run.queries().len();
            let judgements = judgements.name();
            return Err(Error::file(
                run.name(),
                format!("expected a query that {judgements} judges, found none among {count}, as `{first}`"),
            ));
        }
        Ok(Self { queries, answered, unjudged: run.queries().len() - answered, ties })
    }

    /// How many queries have judgements and no results.
    pub fn missing(&self) -> usize {
        self.queries.len() - self.answered
    }

    /// The mean of each metric, in their order.
    pub fn means(&self, over: Mean) -> Vec<f64> {
        let counted = || self.queries.iter().filter(|query| over == Mean::Judged || query.answered);
        let count = counted().count() as f64;
        let metrics = self.queries.first().map_or(0, |query| query.values.len());
        let sum = |metric: usize| counted().filter_map(|query| query.values.get(metric)).sum::<f64>();
        // There is a query in common.
        (0..metrics).map(|metric| sum(metric) / count).collect()
    }

    /// By how much each query's value of a metric, by its place, is higher in `other` than here. Both are of the same
    /// judgements. The queries are those of [`Self::means`]: all, or those for which both runs have results.
    pub fn differences(&self, other: &Self, metric: usize, over: Mean) -> Vec<f64> {
        let counts = |a: &QueryFigures, b: &QueryFigures| over == Mean::Judged || a.answered && b.answered;
        let pairs = self.queries.iter().zip(&other.queries).filter(|(a, b)| counts(a, b));
        pairs.filter_map(|(a, b)| Some(b.values.get(metric)? - a.values.get(metric)?)).collect()
    }
}

/// Counts the query at each cut-off that parts equal scores.
fn count_ties(ranking: Ranking, ties: &mut BTreeMap<usize, usize>) {
    let score = |i: usize| ranking.iter().nth(i).map(|(_, score)| score);
    for (&cutoff, count) in ties {
        let (last, next) = (score(cutoff - 1), score(cutoff));
        *count += usize::from(next.is_some() && last == next);
    }
}
