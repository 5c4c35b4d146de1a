//! Two stages in one call: somebody finds candidates, a model ranks them.

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;

use crate::clock::Instant;
use crate::error::Error;
use crate::ranking::{Cascade, Partial, Ranked, RerankOptions};
use crate::reranker::Reranker;

/// How many candidates the first stage is asked for unless the caller says otherwise.
const CANDIDATES: usize = 100;

/// A document that the first stage found.
#[derive(Clone, PartialEq, Debug)]
pub struct Candidate<Id = String> {
    /// What the caller knows it by; no two candidates of a query have the same.
    pub id: Id,
    /// What is scored.
    pub text: String,
    /// The first stage's score, finite, larger for better ones. It counts with [`Fusion::Weight`](crate::Fusion::Weight)
    /// alone: the order of the candidates is the one in which they come.
    pub score: f32,
}

impl<Id> Candidate<Id> {
    /// A document with the first stage's score.
    pub fn new(id: Id, text: impl Into<String>, score: f32) -> Self {
        Self { id, text: text.into(), score }
    }
}

/// A document of the result.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Found<Id = String> {
    /// What the first stage said of it.
    pub candidate: Candidate<Id>,
    /// Where it stood there, from 1.
    pub first_rank: usize,
    /// What the model said of it; its `index` is `first_rank` - 1. None where time was up before: such documents come
    /// last, in the first stage's order.
    pub ranked: Option<Ranked>,
}

/// Why a query has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError<E: Display> {
    /// The first stage failed.
    #[error("the first stage: {0}")]
    FirstStage(E),
    /// The first stage gave what cannot be ranked.
    #[error("the first stage: candidate {rank}: {reason}")]
    Candidate {
        /// Its rank, from 1.
        rank: usize,
        /// What was expected, and what was found.
        reason: String,
    },
    /// The candidates could not be ranked; a document that the error names is the candidate of that index, from 0.
    #[error(transparent)]
    Rerank(#[from] Error),
}

/// A first stage and the models that rank what it finds.
///
/// The first stage is any function from a query and a number to at most so many candidates, best first: a search
/// engine, a vector store, a file. What it gives beyond that number is left out.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/gelu-60");
/// use crossrank::{Candidate, Pipeline, Reranker};
///
/// let corpus = ["Bread is baked in an oven.", "A river runs to the sea.", "The sea is salt."];
/// let first_stage = |query: &str, count: usize| {
///     let shared = |text: &str| query.split(' ').filter(|word| text.contains(word)).count() as f32;
///     let mut found: Vec<_> = corpus.iter().enumerate().map(|(id, text)| Candidate::new(id, *text, shared(text))).collect();
///     found.sort_by(|a, b| b.score.total_cmp(&a.score));
///     found.truncate(count);
///     Ok::<_, std::io::Error>(found)
/// };
/// let reranker = Reranker::load(folder)?;
/// for found in Pipeline::new(first_stage, &reranker).candidates(50).search("where does a river run")? {
///     println!("{} (was {}): {}", found.candidate.id, found.first_rank, found.candidate.text);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Pipeline<'a, R> {
    first_stage: R,
    models: Cascade<'a>,
    candidates: usize,
    options: RerankOptions,
}

impl<'a, R> Pipeline<'a, R> {
    /// One model ranks what `first_stage` finds, 100 candidates unless [`Pipeline::candidates`] says otherwise.
    pub fn new(first_stage: R, reranker: &'a Reranker) -> Self {
        Self::with_cascade(first_stage, Cascade::new(reranker))
    }

    /// Several models rank what `first_stage` finds, one after another.
    pub fn with_cascade(first_stage: R, models: Cascade<'a>) -> Self {
        Self { first_stage, models, candidates: CANDIDATES, options: RerankOptions::default() }
    }

    /// How many candidates the first stage is asked for.
    #[must_use]
    pub fn candidates(mut self, candidates: usize) -> Self {
        self.candidates = candidates;
        self
    }

    /// How candidates are ranked, and how many of them come back. `first_scores` are the candidates' own, whatever is
    /// set here.
    #[must_use]
    pub fn options(mut self, options: RerankOptions) -> Self {
        self.options = options;
        self
    }

    /// Finds candidates and ranks them, best first. No candidates give an empty result; what the options leave out
    /// (`top_k`, `min_score`) is not in it.
    ///
    /// # Errors
    /// When the first stage fails, or gives a score that is no finite number, or an id twice (passages of one document
    /// need ids of their own); and as [`Cascade::rerank`].
    pub fn search<Id, E>(&self, query: &str) -> Result<Vec<Found<Id>>, PipelineError<E>>
    where
        R: Fn(&str, usize) -> Result<Vec<Candidate<Id>>, E>,
        Id: Eq + Hash,
        E: Display,
    {
        self.run(query, None)
    }

    /// As [`Pipeline::search`], as far as it comes before `deadline`: what was not scored follows, as far as
    /// `top_k` leaves room for it, and unless there is a `min_score`. The first stage is not cut short: it has the query
    /// before anything else, and must keep its own time.
    ///
    /// # Errors
    /// As [`Pipeline::search`]; that time is up is none.
    pub fn search_within<Id, E>(
        &self,
        query: &str,
        deadline: Instant,
    ) -> Result<Vec<Found<Id>>, PipelineError<E>>
    where
        R: Fn(&str, usize) -> Result<Vec<Candidate<Id>>, E>,
        Id: Eq + Hash,
        E: Display,
    {
        self.run(query, Some(deadline))
    }

    fn run<Id, E>(&self, query: &str, deadline: Option<Instant>) -> Result<Vec<Found<Id>>, PipelineError<E>>
    where
        R: Fn(&str, usize) -> Result<Vec<Candidate<Id>>, E>,
        Id: Eq + Hash,
        E: Display,
    {
        let mut candidates = (self.first_stage)(query, self.candidates).map_err(PipelineError::FirstStage)?;
        candidates.truncate(self.candidates);
        check(&candidates)?;
        let mut options = self.options.clone();
        options.first_scores = Some(candidates.iter().map(|candidate| candidate.score).collect());
        let texts: Vec<&str> = candidates.iter().map(|candidate| &*candidate.text).collect();
        let Partial { ranking, not_scored } = match deadline {
            Some(deadline) => self.models.rerank_within(query, &texts, &options, deadline)?,
            None => Partial { ranking: self.models.rerank(query, &texts, &options)?, not_scored: vec![] },
        };
        let behind = match (options.min_score, options.top_k) {
            (Some(_), _) => 0,
            (None, top_k) => top_k.unwrap_or(usize::MAX).saturating_sub(ranking.len()),
        };
        let scored = ranking.into_iter().map(|ranked| (ranked.index, Some(ranked)));
        let all = scored.chain(not_scored.into_iter().take(behind).map(|index| (index, None)));
        let mut candidates: Vec<_> = candidates.into_iter().map(Some).collect();
        // Each index comes once, so that nothing is left out here.
        let found = |(index, ranked): (usize, Option<Ranked>)| {
            let candidate = candidates.get_mut(index)?.take()?;
            Some(Found { candidate, first_rank: index + 1, ranked })
        };
        Ok(all.filter_map(found).collect())
    }
}

/// Whether candidates can be ranked.
fn check<Id: Eq + Hash, E: Display>(candidates: &[Candidate<Id>]) -> Result<(), PipelineError<E>> {
    let mut ranks = HashMap::with_capacity(candidates.len());
    for (index, candidate) in candidates.iter().enumerate() {
        let wrong = |reason| Err(PipelineError::Candidate { rank: index + 1, reason });
        if !candidate.score.is_finite() {
            return wrong(format!("expected a finite score, found {}", candidate.score));
        }
        if let Some(before) = ranks.insert(&candidate.id, index + 1) {
            return wrong(format!("expected an id of its own, found that of candidate {before}"));
        }
    }
    Ok(())
}
