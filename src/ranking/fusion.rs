//! The first stage's word beside the reranker's.

use std::cmp::Ordering;

use super::Ranked;
use crate::error::{Error, Result};

/// How much the first stage counts in the order of a ranking.
///
/// Of a [`Cascade`](crate::Cascade) what its last model scored is fused; what others scored stays behind it.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
#[non_exhaustive]
pub enum Fusion {
    /// Not at all.
    #[default]
    None,
    /// Reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009): 1 / (60 + rank) by the reranker and by the
    /// first stage, added, with ranks from 1; the first stage's is the place among the documents that were given.
    Rrf,
    /// W times the reranker's value and 1 - W times the first stage's score, W from 0 to 1, each scaled so that the least
    /// of the documents that are fused has 0 and the greatest 1 (all 0.5 where they are equal). The reranker's value is
    /// the one that it orders by: the logit, or of softmax and differences the logarithm of the label's odds.
    Weight(f32),
}

/// As the paper has it.
const K: f32 = 60.0;

impl Fusion {
    pub(super) fn check(self, first_scores: Option<&[f32]>, documents: usize) -> Result<()> {
        if let Some(scores) = first_scores {
            if scores.len() != documents {
                let reason =
                    format!("expected one for each of {documents} documents, found {}", scores.len());
                return Err(Error::option("first_scores", reason));
            }
            if let Some(at) = scores.iter().position(|score| !score.is_finite()) {
                let reason = format!("expected finite numbers, found {} of document {at}", scores[at]);
                return Err(Error::option("first_scores", reason));
            }
        }
        match self {
            Self::Weight(weight) if !(0.0..=1.0).contains(&weight) => {
                Err(Error::option("fusion", format!("expected a weight from 0 to 1, found {weight}")))
            }
            Self::Weight(_) if first_scores.is_none() && documents > 0 => {
                Err(Error::option("fusion", "a weight needs the first stage's scores"))
            }
            _ => Ok(()),
        }
    }
}

/// Orders a ranking anew, which was ordered by the reranker. What was given has been checked.
pub(super) fn fuse(fusion: Fusion, first_scores: Option<&[f32]>, ranking: &mut [Ranked]) {
    let last = ranking.first().map_or(0, |ranked| ranked.stage);
    let count = ranking.iter().take_while(|ranked| ranked.stage == last).count();
    let fused = &mut ranking[..count];
    match (fusion, first_scores) {
        (Fusion::None, _) | (Fusion::Weight(_), None) => return,
        (Fusion::Rrf, _) => {
            let value = |rank: usize| 1.0 / (K + rank as f32 + 1.0);
            for (rank, ranked) in fused.iter_mut().enumerate() {
                ranked.fused = Some(value(rank) + value(ranked.index));
            }
        }
        (Fusion::Weight(weight), Some(first)) => {
            let ours = scale(&mut fused.iter().map(|ranked| ranked.order));
            let theirs = scale(&mut fused.iter().map(|ranked| first[ranked.index]));
            for ranked in fused.iter_mut() {
                ranked.fused =
                    Some(weight * ours(ranked.order) + (1.0 - weight) * theirs(first[ranked.index]));
            }
        }
    }
    let value = |ranked: &Ranked| ranked.fused.unwrap_or_default();
    fused.sort_unstable_by(|a, b| {
        value(b).partial_cmp(&value(a)).unwrap_or(Ordering::Equal).then(a.index.cmp(&b.index))
    });
}

/// Takes the least of these to 0 and the greatest to 1.
fn scale(values: &mut dyn Iterator<Item = f32>) -> impl Fn(f32) -> f32 + use<> {
    let (min, max) =
        values.fold((f32::INFINITY, f32::NEG_INFINITY), |(min, max), value| (min.min(value), max.max(value)));
    // In f64 no difference of two f32 overflows.
    let range = f64::from(max) - f64::from(min);
    move |value| if range > 0.0 { ((f64::from(value) - f64::from(min)) / range) as f32 } else { 0.5 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranking(orders: &[(usize, f32)]) -> Vec<Ranked> {
        let ranked = |&(index, order): &(usize, f32)| Ranked {
            index,
            score: order,
            logit: order,
            order,
            fused: None,
            tokens: 3,
            truncated: false,
            passage: None,
            stage: 0,
        };
        orders.iter().map(ranked).collect()
    }

    fn indices(ranking: &[Ranked]) -> Vec<usize> {
        ranking.iter().map(|ranked| ranked.index).collect()
    }

    #[test]
    fn reciprocal_ranks_are_added() {
        let mut all = ranking(&[(3, 9.0), (0, 8.0), (1, 7.0), (2, 6.0)]);
        fuse(Fusion::Rrf, None, &mut all);
        assert_eq!(indices(&all), [0, 3, 1, 2]);
        assert_eq!(all[0].fused, Some(1.0 / 62.0 + 1.0 / 61.0));
        // Equal by both: the first stage's order.
        let mut all = ranking(&[(1, 9.0), (0, 8.0)]);
        fuse(Fusion::Rrf, None, &mut all);
        assert_eq!(indices(&all), [0, 1]);
    }

    #[test]
    fn weights_go_from_one_stage_to_the_other() {
        let first = [10.0, 30.0, 20.0];
        let order = |weight| {
            let mut all = ranking(&[(0, 4.0), (2, 3.0), (1, 0.0)]);
            fuse(Fusion::Weight(weight), Some(&first), &mut all);
            (indices(&all), all[0].fused.unwrap())
        };
        assert_eq!(order(1.0), (vec![0, 2, 1], 1.0));
        assert_eq!(order(0.0), (vec![1, 2, 0], 1.0));
        assert_eq!(order(0.5), (vec![2, 0, 1], 0.625));
        let mut equal = ranking(&[(0, 4.0), (1, 4.0), (2, 4.0)]);
        fuse(Fusion::Weight(1.0), Some(&first), &mut equal);
        assert_eq!((indices(&equal), equal[0].fused), (vec![0, 1, 2], Some(0.5)));
        let extremes = [f32::MAX, f32::MIN, 0.0];
        fuse(Fusion::Weight(0.0), Some(&extremes), &mut equal);
        assert_eq!((indices(&equal), equal[1].fused), (vec![0, 2, 1], Some(0.5)));
    }

    #[test]
    fn what_an_earlier_model_scored_stays_behind() {
        let mut all = ranking(&[(3, 1.0), (0, 0.5), (1, 99.0)]);
        all[0].stage = 1;
        all[1].stage = 1;
        fuse(Fusion::Rrf, None, &mut all);
        assert_eq!(indices(&all), [0, 3, 1]);
        assert_eq!(all[2].fused, None);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let error = |fusion: Fusion, scores| fusion.check(scores, 2).unwrap_err().to_string();
        for weight in [-0.1, 1.1, f32::NAN] {
            assert!(error(Fusion::Weight(weight), Some(&[1.0, 2.0][..])).contains("from 0 to 1"));
        }
        assert!(error(Fusion::Weight(0.5), None).contains("needs the first stage's scores"));
        assert!(error(Fusion::None, Some(&[1.0][..])).contains("each of 2 documents, found 1"));
        assert!(error(Fusion::Rrf, Some(&[1.0, f32::NAN][..])).contains("of document 1"));
        Fusion::Weight(0.5).check(None, 0).unwrap();
    }
}
