//! Options of one ranking.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use super::fusion::{Fusion, fuse};
use super::{Long, Ranked, Scaling};
use crate::error::{Error, Result};
use crate::score::ScoreMode;
use crate::tokenizer::Truncation;

/// Options of one [`Reranker::rerank`](crate::Reranker::rerank).
///
/// ```
/// let options = crossrank::RerankOptions::default().top_k(10).min_score(0.5);
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RerankOptions {
    /// Keep only this many, the best. 0 gives an empty ranking.
    pub top_k: Option<usize>,
    /// Keep only documents whose score is at least this; of a [`Cascade`](crate::Cascade) only those that its last model
    /// scored.
    pub min_score: Option<f32>,
    /// How scores are made of logits.
    pub score: ScoreMode,
    /// Makes scores of the logit instead of [`RerankOptions::score`]: probabilities, by what was judged.
    pub scaling: Option<Scaling>,
    /// Which label ranks, from 0; needed when the model has several.
    pub label: Option<usize>,
    /// What happens to a pair that exceeds the window. None: what the reranker was loaded with.
    pub truncation: Option<Truncation>,
    /// How documents are scored that do not fit the window. In passages nothing of a document is cut off;
    /// [`RerankOptions::truncation`] then says how much of the window the query may take.
    pub long: Long,
    /// About how many tokens a passage shares with the one before it: whole sentences of so many at most. Fewer than the
    /// window has. Of [`Long::Max`] and [`Long::Mean`] only.
    pub stride: usize,
    /// How much the first stage counts, in whose order the documents are given.
    pub fusion: Fusion,
    /// The first stage's scores, one a document, finite, larger for better ones; [`Fusion::Weight`] needs them.
    pub first_scores: Option<Vec<f32>>,
    /// Ends the call with [`Error::Stopped`] once it is true. Looked at between chunks of documents.
    pub stop: Option<Arc<AtomicBool>>,
    /// Raised by one for each document that has been scored.
    pub progress: Option<Arc<AtomicUsize>>,
}

macro_rules! setters {
    ($($name:ident: $type:ty => $value:expr;)*) => {
        $(
            #[doc = concat!("Sets [`RerankOptions::", stringify!($name), "`].")]
            #[must_use]
            pub fn $name(mut self, $name: $type) -> Self {
                self.$name = $value;
                self
            }
        )*
    };
}

impl RerankOptions {
    setters! {
        top_k: usize => Some(top_k);
        min_score: f32 => Some(min_score);
        score: ScoreMode => score;
        scaling: Scaling => Some(scaling);
        label: usize => Some(label);
        truncation: Truncation => Some(truncation);
        long: Long => long;
        stride: usize => stride;
        fusion: Fusion => fusion;
        first_scores: Vec<f32> => Some(first_scores);
        stop: Arc<AtomicBool> => Some(stop);
        progress: Arc<AtomicUsize> => Some(progress);
    }

    /// Whether they fit each other and so many documents.
    pub(super) fn check(&self, documents: usize) -> Result<()> {
        if self.min_score.is_some_and(f32::is_nan) {
            return Err(Error::option("min_score", "expected a number, found NaN"));
        }
        if self.scaling.is_some() && self.score != ScoreMode::Model {
            return Err(Error::option("scaling", "it makes the scores, so expected no score mode beside it"));
        }
        if self.stride > 0 && self.long == Long::Truncate {
            return Err(Error::option(
                "stride",
                "documents that are truncated have no passages: expected long max or mean",
            ));
        }
        self.fusion.check(self.first_scores.as_deref(), documents)
    }

    /// Fuses a ranking, best first, with the first stage's, and leaves out what is not wanted.
    /// `last` is the number of the last model.
    pub(super) fn finish(&self, mut ranking: Vec<Ranked>, last: usize) -> Vec<Ranked> {
        fuse(self.fusion, self.first_scores.as_deref(), &mut ranking);
        if let Some(least) = self.min_score {
            ranking.retain(|ranked| ranked.score >= least && ranked.stage == last);
        }
        ranking.truncate(self.top_k.unwrap_or(usize::MAX));
        ranking
    }
}
