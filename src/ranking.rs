//! Texts in, a ranking out.

mod cascade;
mod fusion;
mod long;
mod options;
mod pairs;
mod passages;
mod scaling;
mod scored;
mod steps;

use std::cmp::Ordering;

pub use cascade::Cascade;
pub use fusion::Fusion;
pub use long::{Long, Passage};
pub use options::RerankOptions;
pub use scaling::Scaling;
pub use steps::{DocumentScore, EncodedQuery, Layout, Prepared};

use crate::clock::Instant;
use crate::error::{Error, Result};
use crate::reranker::Reranker;
use crate::score::ScoreActivation;
use scored::Found;

/// One document of a ranking.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Ranked {
    /// Its index in the documents that were given.
    pub index: usize,
    /// Through the activation of [`RerankOptions::score`], or [`RerankOptions::scaling`].
    pub score: f32,
    /// The raw logit of the label that ranks.
    pub logit: f32,
    /// By which it stands where it does: as the score, without saturation.
    order: f32,
    /// By which it stands where it does, where the first stage counts, too: see [`RerankOptions::fusion`].
    pub fused: Option<f32>,
    /// Tokens that were scored: query, document and special tokens, after truncation, of all its passages.
    pub tokens: usize,
    /// Whether something was cut off to fit the window.
    pub truncated: bool,
    /// Its best passage, where it was scored in passages: see [`RerankOptions::long`].
    pub passage: Option<Passage>,
    /// The number of the model of a [`Cascade`] that scored it last, from 0. Scores of different models cannot be
    /// compared.
    pub stage: usize,
}

/// What could be scored before a deadline.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Partial {
    /// What was scored, as in a whole ranking, with the same bits.
    pub ranking: Vec<Ranked>,
    /// Indices of the documents that were not, in the order in which they were given.
    pub not_scored: Vec<usize>,
}

impl Reranker {
    /// Ranks documents by how well they answer the query: best first by the score before it saturates (the logit; of
    /// softmax and differences the label's odds), ties by index.
    ///
    /// No documents give an empty ranking; empty texts are scored as the tokenizer sees them. Documents with the same
    /// text are scored once.
    ///
    /// # Errors
    /// When options do not fit the model (several labels need [`RerankOptions::label`]), a document cannot be tokenised
    /// or scored (the error names the first), or the stop flag is set. There is no partial ranking.
    pub fn rerank(
        &self,
        query: &str,
        documents: &[impl AsRef<str> + Sync],
        options: &RerankOptions,
    ) -> Result<Vec<Ranked>> {
        let chosen: Vec<usize> = (0..documents.len()).collect();
        options.check(documents.len())?;
        let stage = self.rank(query, documents, &chosen, options, None)?;
        Ok(options.finish(stage.ranking, 0))
    }

    /// As [`Reranker::rerank`], as far as it comes before `deadline`: no chunk of documents begins after it. Documents
    /// are scored in about the order in which they are given, which should be that of the first stage.
    ///
    /// # Errors
    /// As [`Reranker::rerank`]; that time is up is none. A document that cannot be scored is only found if it is reached.
    pub fn rerank_within(
        &self,
        query: &str,
        documents: &[impl AsRef<str> + Sync],
        options: &RerankOptions,
        deadline: Instant,
    ) -> Result<Partial> {
        let chosen: Vec<usize> = (0..documents.len()).collect();
        options.check(documents.len())?;
        let Partial { ranking, not_scored } =
            self.rank(query, documents, &chosen, options, Some(deadline))?;
        Ok(Partial { ranking: options.finish(ranking, 0), not_scored })
    }

    /// Ranks the chosen documents, all that were scored, best first. Nothing is fused, nothing left out.
    fn rank(
        &self,
        query: &str,
        documents: &[impl AsRef<str> + Sync],
        chosen: &[usize],
        options: &RerankOptions,
        deadline: Option<Instant>,
    ) -> Result<Partial> {
        let labels = self.labels();
        let label = self.ranking_label(options.label)?;
        let activation = self.config.settings.activation.resolve(options.score, labels)?;
        let (scored, unique) =
            self.score_documents(query, documents, chosen, options, (activation, label), deadline)?;
        let documents = chosen.iter().zip(&unique).map(|(&index, &unique)| (index, scored.get(unique)));
        Ok(Ranked::order_all(documents, options, (activation, label)))
    }

    /// The label that ranks.
    fn ranking_label(&self, label: Option<usize>) -> Result<usize> {
        let labels = self.labels();
        let reason = match label {
            Some(label) if label < labels => return Ok(label),
            Some(label) => format!("expected one of 0 to {}, found {label}", labels - 1),
            None if labels == 1 => return Ok(0),
            None => format!("the model has {labels} labels: choose which one ranks, 0 to {}", labels - 1),
        };
        Err(Error::option("label", reason))
    }
}

impl Ranked {
    /// Ranks documents, given by their index with their logits and the rest, best first; those without are not scored.
    fn order_all<'a>(
        documents: impl Iterator<Item = (usize, Option<(&'a [f32], &'a Found)>)>,
        options: &RerankOptions,
        (activation, label): (ScoreActivation, usize),
    ) -> Partial {
        let mut partial =
            Partial { ranking: Vec::with_capacity(documents.size_hint().0), not_scored: vec![] };
        for (index, scored) in documents {
            let Some((logits, found)) = scored else {
                partial.not_scored.push(index);
                continue;
            };
            let score = match options.scaling {
                Some(scaling) => scaling.score(logits[label]),
                None => activation.score(logits, label),
            };
            partial.ranking.push(Self {
                index,
                score,
                logit: logits[label],
                order: activation.order(logits, label),
                fused: None,
                tokens: found.tokens,
                truncated: found.truncated,
                passage: found.passage.clone(),
                stage: 0,
            });
        }
        // The index makes the order total, so that nothing is left to be stable.
        partial.ranking.sort_unstable_by(Ranked::best_first);
        partial.not_scored.sort_unstable();
        partial
    }

    /// The order of a ranking, for callers who make one of several with the same options: the better one is less. It is
    /// total; fused places do not count.
    pub fn best_first(&self, other: &Self) -> Ordering {
        // Logits are finite here, and what is made of them is no NaN; 0 and -0 are equal. What a later model of a cascade
        // scored comes first.
        let order = other.order.partial_cmp(&self.order).unwrap_or(Ordering::Equal);
        other.stage.cmp(&self.stage).then(order).then(self.index.cmp(&other.index))
    }
}
