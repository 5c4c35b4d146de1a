//! How far one model ranks like another.

use std::sync::atomic::{AtomicUsize, Ordering};

use crossrank::Reranker;
use crossrank_eval::{Metric, Outcome};
use serde::Serialize;

use super::DEPTH;
use super::metrics::{kendall_tau_b, overlap, ranking};
use super::set::{EvalSet, Query};
use crate::failure::{Failure, describe};

/// What a model's ranking is worth: means over the queries that have a relevant document, unlike those of `crossrank
/// eval`, which are over all queries with judgements. A query without candidates counts as 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quality {
    pub ndcg10: f64,
    pub mrr10: f64,
}

/// Figures of a model beside those of the model that it stands for.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Fidelity {
    pub queries: usize,
    /// Queries with a relevant document.
    pub judged_queries: usize,
    pub queries_without_candidates: usize,
    pub pairs: usize,
    pub reference: Quality,
    pub other: Quality,
    /// Of the first ten, what both have: mean over the queries with candidates.
    pub overlap10: f64,
    /// Kendall's tau-b over a query's candidates: mean over the queries whose candidates the reference tells apart.
    pub kendall_tau: f64,
    /// Of the reference, over all pairs.
    pub logit_sd: f64,
    /// |logit - logit of the reference| / `logit_sd`, over all pairs.
    pub mean_delta: f64,
    pub worst_delta: f64,
    /// The ids of the query and the document that have it.
    pub worst_pair: (String, String),
}

/// Each query's candidates, scored; `done` counts them. The model has one label.
pub fn logits(set: &EvalSet, reranker: &Reranker, done: &AtomicUsize) -> Result<Vec<Vec<f32>>, Failure> {
    let mut all = Vec::with_capacity(set.queries.len());
    for query in &set.queries {
        let text = |&document: &usize| (&query.text.text, &set.documents[document].text);
        let pairs: Vec<(&String, &String)> = query.candidates.iter().map(text).collect();
        let scores = reranker.score_pairs(&pairs).map_err(|error| {
            let document = error.document().and_then(|i| query.candidates.get(i));
            match document.map(|&document| &set.documents[document].id) {
                Some(id) => Failure::about(pair(&query.text.id, id), describe(&error)),
                None => Failure::about(format_args!("query `{}`", query.text.id), describe(&error)),
            }
        })?;
        done.fetch_add(pairs.len(), Ordering::Relaxed);
        all.push(scores.into_iter().filter_map(|score| score.logits.first().copied()).collect());
    }
    Ok(all)
}

/// Compares the logits of two models: one for each candidate of each query.
pub fn compare(set: &EvalSet, reference: &[Vec<f32>], other: &[Vec<f32>]) -> Result<Fidelity, String> {
    let mut sums = Sums::default();
    for ((query, reference), other) in set.queries.iter().zip(reference).zip(other) {
        let finite = |logits: &[f32]| logits.iter().position(|logit| !logit.is_finite());
        if let Some(i) = finite(reference).or_else(|| finite(other)) {
            let pair = pair(&query.text.id, &set.documents[query.candidates[i]].id);
            let found = if reference[i].is_finite() { other[i] } else { reference[i] };
            return Err(format!("{pair}: expected a finite logit, found {found}"));
        }
        sums.add(query, reference, other);
    }
    let sd = deviation(reference.iter().flatten().map(|&logit| f64::from(logit)));
    if sd == 0.0 || sums.ordered == 0 {
        return Err("expected logits that differ between a query's candidates, found none that do".into());
    }
    let mean = |sum: f64, count: usize| sum / count as f64;
    let quality =
        |sum: Quality| Quality { ndcg10: mean(sum.ndcg10, sums.judged), mrr10: mean(sum.mrr10, sums.judged) };
    let (query, candidate) = sums.worst_at;
    let query = &set.queries[query];
    Ok(Fidelity {
        queries: set.queries.len(),
        judged_queries: sums.judged,
        queries_without_candidates: set.queries.len() - sums.with_candidates,
        pairs: sums.pairs,
        reference: quality(sums.reference),
        other: quality(sums.other),
        overlap10: mean(sums.overlap, sums.with_candidates),
        kendall_tau: mean(sums.tau, sums.ordered),
        logit_sd: sd,
        mean_delta: mean(sums.delta, sums.pairs) / sd,
        worst_delta: sums.worst / sd,
        worst_pair: (query.text.id.clone(), set.documents[query.candidates[candidate]].id.clone()),
    })
}

fn pair(query: &str, document: &str) -> String {
    format!("query `{query}`, document `{document}`")
}

/// What means are made of.
#[derive(Default)]
struct Sums {
    queries: usize,
    judged: usize,
    with_candidates: usize,
    ordered: usize,
    pairs: usize,
    reference: Quality,
    other: Quality,
    overlap: f64,
    tau: f64,
    delta: f64,
    worst: f64,
    /// A query and one of its candidates.
    worst_at: (usize, usize),
}

impl Sums {
    fn add(&mut self, query: &Query, reference: &[f32], other: &[f32]) {
        let rankings = [reference, other].map(ranking);
        let gain = |&i: &usize| query.judgements.get(&query.candidates[i]).copied();
        let grades = || query.judgements.values().chain(&query.not_in_corpus).copied();
        let outcomes = rankings.each_ref().map(|ranking| Outcome::new(ranking.iter().map(gain), grades()));
        if outcomes[0].any_relevant() {
            self.judged += 1;
            for (sum, outcome) in [&mut self.reference, &mut self.other].into_iter().zip(&outcomes) {
                sum.ndcg10 += Metric::Ndcg(Some(DEPTH)).of(outcome);
                sum.mrr10 += Metric::Mrr(Some(DEPTH)).of(outcome);
            }
        }
        if let Some(overlap) = overlap(&rankings[0], &rankings[1], DEPTH) {
            self.with_candidates += 1;
            self.overlap += overlap;
        }
        if let Some(tau) = kendall_tau_b(reference, other) {
            self.ordered += 1;
            self.tau += tau;
        }
        for (i, (&a, &b)) in reference.iter().zip(other).enumerate() {
            let delta = (f64::from(a) - f64::from(b)).abs();
            self.delta += delta;
            // The first pair, too, so that there is one where nothing differs.
            if delta > self.worst || self.pairs == 0 {
                (self.worst, self.worst_at) = (delta, (self.queries, i));
            }
            self.pairs += 1;
        }
        self.queries += 1;
    }
}

/// The standard deviation of all there is, which is no sample.
fn deviation(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let count = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / count;
    (values.map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::set::Text;
    use super::*;

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found}, expected {expected}");
    }

    fn query(id: &str, judgements: &[(usize, i32)], candidates: &[usize]) -> Query {
        Query {
            text: Text { id: id.into(), text: id.into() },
            judgements: judgements.iter().copied().collect::<HashMap<_, _>>(),
            not_in_corpus: Vec::new(),
            candidates: candidates.to_vec(),
        }
    }

    fn set() -> EvalSet {
        let document = |i| Text { id: format!("d{i}"), text: String::new() };
        let queries = vec![
            query("a", &[(2, 1), (0, 0)], &[0, 1, 2]),
            query("b", &[(1, 1)], &[]),
            query("c", &[], &[3, 1]),
        ];
        EvalSet { documents: (0..4).map(document).collect(), queries, all_queries: 3 }
    }

    #[test]
    fn figures_by_hand() {
        let reference = [vec![0.0, 1.0, 2.0], vec![], vec![4.0, 3.0]];
        let other = [vec![0.0, 2.5, 2.0], vec![], vec![4.0, 3.0]];
        let found = compare(&set(), &reference, &other).unwrap();
        assert_eq!((found.queries, found.judged_queries, found.queries_without_candidates), (3, 2, 1));
        assert_eq!(found.pairs, 5);
        // Query b has a relevant document and no candidate, query c no relevant one.
        near(found.reference.ndcg10, 0.5);
        near(found.reference.mrr10, 0.5);
        near(found.other.ndcg10, 0.5 / 3.0_f64.log2());
        near(found.other.mrr10, 0.25);
        near(found.overlap10, 1.0);
        // One of three pairs in query a is the other way round.
        near(found.kendall_tau, (1.0 / 3.0 + 1.0) / 2.0);
        // 0 to 4, evenly.
        near(found.logit_sd, 2.0_f64.sqrt());
        near(found.mean_delta, 1.5 / 5.0 / 2.0_f64.sqrt());
        near(found.worst_delta, 1.5 / 2.0_f64.sqrt());
        assert_eq!(found.worst_pair, ("a".to_owned(), "d1".to_owned()));
    }

    #[test]
    fn a_model_is_like_itself() {
        let logits = [vec![0.0, 1.0, 2.0], vec![], vec![4.0, 3.0]];
        let found = compare(&set(), &logits, &logits).unwrap();
        assert_eq!(found.reference, found.other);
        assert_eq!((found.overlap10, found.kendall_tau), (1.0, 1.0));
        assert_eq!((found.mean_delta, found.worst_delta), (0.0, 0.0));
        assert_eq!(found.worst_pair, ("a".to_owned(), "d0".to_owned()));
    }

    #[test]
    fn logits_that_are_not_finite_are_named() {
        let good = [vec![0.0, 1.0, 2.0], vec![], vec![4.0, 3.0]];
        let bad = [vec![0.0, 1.0, 2.0], vec![], vec![4.0, f32::NAN]];
        let expected = "query `c`, document `d1`: expected a finite logit, found NaN";
        assert_eq!(compare(&set(), &good, &bad).unwrap_err(), expected);
        assert_eq!(compare(&set(), &bad, &good).unwrap_err(), expected);
    }

    #[test]
    fn logits_that_are_all_equal_are_refused() {
        let level = [vec![1.0; 3], vec![], vec![1.0; 2]];
        let other = [vec![0.0, 1.0, 2.0], vec![], vec![4.0, 3.0]];
        assert!(compare(&set(), &level, &other).unwrap_err().starts_with("expected logits that differ"));
        let collapsed = compare(&set(), &other, &level).unwrap();
        assert_eq!(collapsed.kendall_tau, 0.0);
    }
}
