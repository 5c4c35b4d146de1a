//! What a ranking is worth, as `trec_eval` 9.0.8 counts it.
//!
//! A grade above 0 is relevant, gains are linear, and the ideal ranking is of all that was judged, found or not. A query
//! without relevant documents has 0 in every metric but `judged@k`.

use std::fmt;
use std::str::FromStr;

use crate::judgements::Judged;
use crate::run::Ranking;
use crate::text::printable;

/// A metric of one query's ranking, within 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Metric {
    /// `ndcg`, `ndcg@k`: normalised discounted cumulative gain (Järvelin and Kekäläinen, "Cumulated gain-based evaluation
    /// of IR techniques", 2002) of the whole ranking or its first k: the gain of a document is its grade, the discount
    /// log2(rank + 1); grades below 0 gain nothing. `trec_eval`'s `ndcg` and `ndcg_cut`.
    Ndcg(Option<usize>),
    /// `mrr`, `mrr@k`: 1 / the rank of the first relevant document, 0 if there is none in the whole ranking or its first k
    /// (Voorhees, "The TREC-8 question answering track report", 1999). `trec_eval`'s `recip_rank`.
    Mrr(Option<usize>),
    /// `map`: the mean, over all relevant documents, of the precision at the rank of each, 0 for those that were not found.
    Map,
    /// `recall@k`: how many of the relevant documents are among the first k.
    Recall(usize),
    /// `p@k`: how many of the first k are relevant, over k, also where the ranking is shorter.
    Precision(usize),
    /// `judged@k`: how many of the first k were judged, whatever the grade, over their number, which is below k where the
    /// ranking is shorter; as `ir-measures` has it. `trec_eval` has no such metric.
    Judged(usize),
}

const NAMES: &str = "ndcg, ndcg@K, mrr, mrr@K, map, recall@K, p@K or judged@K, with K from 1";

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected {NAMES}, found `{}`", printable(text, 40));
        let (name, cutoff) = match text.split_once('@') {
            Some((name, digits)) => {
                // `parse` alone would take `+5`.
                let digits = Some(digits).filter(|it| it.bytes().all(|digit| digit.is_ascii_digit()));
                let cutoff: Option<usize> = digits.and_then(|digits| digits.parse().ok());
                (name, Some(cutoff.filter(|&cutoff| cutoff > 0).ok_or_else(expected)?))
            }
            None => (text, None),
        };
        match (&*name.to_ascii_lowercase(), cutoff) {
            ("ndcg", cutoff) => Ok(Self::Ndcg(cutoff)),
            ("mrr", cutoff) => Ok(Self::Mrr(cutoff)),
            ("map", None) => Ok(Self::Map),
            ("recall", Some(cutoff)) => Ok(Self::Recall(cutoff)),
            ("p", Some(cutoff)) => Ok(Self::Precision(cutoff)),
            ("judged", Some(cutoff)) => Ok(Self::Judged(cutoff)),
            _ => Err(expected()),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let name = match self {
            Self::Ndcg(_) => "ndcg",
            Self::Mrr(_) => "mrr",
            Self::Map => "map",
            Self::Recall(_) => "recall",
            Self::Precision(_) => "p",
            Self::Judged(_) => "judged",
        };
        match self.cutoff() {
            Some(cutoff) => out.pad(&format!("{name}@{cutoff}")),
            None => out.pad(name),
        }
    }
}

impl Metric {
    /// Its k, where it has one.
    pub fn cutoff(self) -> Option<usize> {
        match self {
            Self::Ndcg(cutoff) | Self::Mrr(cutoff) => cutoff,
            Self::Map => None,
            Self::Recall(cutoff) | Self::Precision(cutoff) | Self::Judged(cutoff) => Some(cutoff),
        }
    }

    /// Its value, within 0 and 1.
    pub fn of(self, outcome: &Outcome) -> f64 {
        let Outcome { found, ideal } = outcome;
        let first = |cutoff: usize| found.iter().take(cutoff);
        let relevant = |cutoff| first(cutoff).filter(|grade| is_relevant(grade)).count();
        let whole = |cutoff: Option<usize>| cutoff.unwrap_or(usize::MAX);
        match self {
            Self::Ndcg(cutoff) => {
                let gains = first(whole(cutoff)).map(|grade| grade.unwrap_or(0).max(0));
                ratio(discounted(gains), discounted(ideal.iter().copied().take(whole(cutoff))))
            }
            Self::Mrr(cutoff) => {
                first(whole(cutoff)).position(is_relevant).map_or(0.0, |i| 1.0 / (i as f64 + 1.0))
            }
            Self::Map => {
                let ranks = found.iter().enumerate().filter(|(_, grade)| is_relevant(grade));
                let precisions = ranks.zip(1..).map(|((i, _), count)| f64::from(count) / (i as f64 + 1.0));
                ratio(precisions.sum(), ideal.len() as f64)
            }
            Self::Recall(cutoff) => ratio(relevant(cutoff) as f64, ideal.len() as f64),
            Self::Precision(cutoff) => relevant(cutoff) as f64 / cutoff as f64,
            Self::Judged(cutoff) => {
                let judged = first(cutoff).filter(|grade| grade.is_some()).count();
                ratio(judged as f64, first(cutoff).len() as f64)
            }
        }
    }
}

fn is_relevant(grade: &Option<i32>) -> bool {
    grade.is_some_and(|grade| grade > 0)
}

fn discounted(gains: impl Iterator<Item = i32>) -> f64 {
    gains.zip(2_u32..).map(|(gain, rank)| f64::from(gain) / f64::from(rank).log2()).sum()
}

/// 0 where there is nothing to have, and where nothing was had: Rust's sum of no floats is -0.
fn ratio(part: f64, whole: f64) -> f64 {
    if part > 0.0 && whole > 0.0 { part / whole } else { 0.0 }
}

/// A query's ranking with what the judgements say of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The grades of the ranking, best rank first; none for a document that was not judged.
    found: Vec<Option<i32>>,
    /// The grades of all relevant documents, highest first.
    ideal: Vec<i32>,
}

impl Outcome {
    /// Of the grades of a ranking, best rank first, none for a document that was not judged; and of all grades there are.
    pub fn new(found: impl IntoIterator<Item = Option<i32>>, judged: impl IntoIterator<Item = i32>) -> Self {
        let mut ideal: Vec<i32> = judged.into_iter().filter(|&grade| grade > 0).collect();
        ideal.sort_unstable_by(|a, b| b.cmp(a));
        Self { found: found.into_iter().collect(), ideal }
    }

    /// Of the first `depth` documents of a ranking; none is a query without results.
    pub fn of(judged: Judged, ranking: Option<Ranking>, depth: usize) -> Self {
        let documents = ranking.iter().flat_map(|ranking| ranking.iter()).take(depth);
        let found: Vec<_> = documents.map(|(document, _)| judged.grade(document)).collect();
        Self::new(found, judged.iter().map(|(_, grade)| grade))
    }

    /// Whether any document is relevant, found or not.
    pub fn any_relevant(&self) -> bool {
        !self.ideal.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for name in ["ndcg@10", "ndcg", "mrr", "mrr@1", "map", "recall@1000", "p@5", "judged@10"] {
            assert_eq!(name.parse::<Metric>().unwrap().to_string(), name);
            assert_eq!(name.to_uppercase().parse::<Metric>().unwrap().to_string(), name);
        }
        for name in [
            "", "p", "recall", "judged", "map@10", "ndcg@", "ndcg@0", "ndcg@-1", "ndcg@+1", "rr", "p@1@2",
            "p@1e9",
        ] {
            let error = name.parse::<Metric>().unwrap_err();
            assert_eq!(error, format!("expected {NAMES}, found `{name}`"));
        }
    }

    #[track_caller]
    fn near(name: &str, outcome: &Outcome, expected: f64) {
        let found = name.parse::<Metric>().unwrap().of(outcome);
        let near = (found - expected).abs() < 1e-12 && found.is_sign_positive();
        assert!(near, "{name}: {found}, expected {expected}");
    }

    #[test]
    fn metrics_by_hand() {
        // Found 3, 0, 2 of judged 3, 2, 1: (3 + 2 / 2) / (3 + 2 / log2(3) + 1 / 2).
        let outcome = Outcome::new([Some(3), Some(0), Some(2)], [1, 2, 0, 3]);
        near("ndcg@10", &outcome, 4.0 / (3.5 + 2.0 / 3.0_f64.log2()));
        near("ndcg", &outcome, 4.0 / (3.5 + 2.0 / 3.0_f64.log2()));
        near("ndcg@1", &outcome, 1.0);
        near("map", &outcome, (1.0 + 2.0 / 3.0) / 3.0);
        near("recall@2", &outcome, 1.0 / 3.0);
        near("p@5", &outcome, 0.4);
        // An unjudged document first, one with a grade below 0 second.
        let outcome = Outcome::new([None, Some(-2), Some(1)], [-2, 1]);
        near("ndcg@10", &outcome, 0.5);
        near("mrr", &outcome, 1.0 / 3.0);
        near("mrr@2", &outcome, 0.0);
        near("judged@10", &outcome, 2.0 / 3.0);
        near("judged@1", &outcome, 0.0);
        for name in ["ndcg", "ndcg@10", "mrr", "map", "recall@5", "p@5", "judged@5"] {
            near(name, &Outcome::new([], [1]), 0.0);
            near(name, &Outcome::new([None], [0, -1]), 0.0);
        }
    }
}
