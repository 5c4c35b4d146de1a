//! Several models, one after another: cheap ones for many documents, dear ones for the best.

use std::collections::HashMap;

use super::{Partial, Ranked, RerankOptions};
use crate::clock::Instant;
use crate::error::{Error, Result};
use crate::reranker::Reranker;

/// Models that rank one after another: each scores what the one before it kept, and the last one orders what comes first.
///
/// ```
/// # fn main() -> crossrank::Result<()> {
/// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/gelu-60");
/// use crossrank::{Cascade, Dtype, Reranker};
///
/// let fast = Reranker::builder().dtype(Dtype::Int8).load(folder)?;
/// let exact = Reranker::load(folder)?;
/// let cascade = Cascade::new(&fast).then(1, &exact);
/// let documents = ["A river runs to the sea.", "Bread is baked in an oven."];
/// let ranking = cascade.rerank("where do rivers go", &documents, &Default::default())?;
/// assert_eq!((ranking[0].stage, ranking[1].stage), (1, 0));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Cascade<'a> {
    first: &'a Reranker,
    /// How many documents are kept, and who scores them.
    later: Vec<(usize, &'a Reranker)>,
}

impl<'a> Cascade<'a> {
    /// `first` scores all documents.
    pub fn new(first: &'a Reranker) -> Self {
        Self { first, later: vec![] }
    }

    /// The best `keep` of what was scored so far are scored by `reranker`, too.
    #[must_use]
    pub fn then(mut self, keep: usize, reranker: &'a Reranker) -> Self {
        self.later.push((keep, reranker));
        self
    }

    /// Ranks documents as [`Reranker::rerank`] does. What the last model scored comes first, in its order, then what only
    /// the ones before it scored: [`Ranked::stage`] says which.
    ///
    /// The score mode, scaling, fusion and least score of the options are the last model's; the label counts for every
    /// model that has several. Progress counts documents once for each model that scores them.
    ///
    /// # Errors
    /// As [`Reranker::rerank`], of any model.
    pub fn rerank(
        &self,
        query: &str,
        documents: &[impl AsRef<str> + Sync],
        options: &RerankOptions,
    ) -> Result<Vec<Ranked>> {
        Ok(self.run(query, documents, options, None)?.ranking)
    }

    /// As [`Cascade::rerank`], as far as it comes before `deadline`: see [`Reranker::rerank_within`]. What a model did not
    /// come to stands where the one before it put it.
    ///
    /// # Errors
    /// As [`Reranker::rerank_within`], of any model.
    pub fn rerank_within(
        &self,
        query: &str,
        documents: &[impl AsRef<str> + Sync],
        options: &RerankOptions,
        deadline: Instant,
    ) -> Result<Partial> {
        self.run(query, documents, options, Some(deadline))
    }

    fn run(
        &self,
        query: &str,
        documents: &[impl AsRef<str> + Sync],
        options: &RerankOptions,
        deadline: Option<Instant>,
    ) -> Result<Partial> {
        options.check(documents.len())?;
        if let Some(at) = self.later.iter().position(|(keep, _)| *keep == 0) {
            let reason = format!("expected model {} to get at least 1 document, found 0", at + 1);
            return Err(Error::option("cascade", reason));
        }
        let all: Vec<usize> = (0..documents.len()).collect();
        let models = || std::iter::once(self.first).chain(self.later.iter().map(|(_, model)| *model));
        let last = self.later.len();
        let mut stages = vec![];
        for (stage, model) in models().enumerate() {
            stages.push(model.stage_options(options, stage == last)?);
        }
        let mut result = self.first.rank(query, documents, &all, &stages[0], deadline)?;
        for (i, (keep, model)) in self.later.iter().enumerate() {
            let kept = result.ranking.len().min(*keep);
            // In the order of the stage before, in which a deadline lets the best come first.
            let chosen: Vec<usize> = result.ranking[..kept].iter().map(|ranked| ranked.index).collect();
            let next = model.rank(query, documents, &chosen, &stages[i + 1], deadline)?;
            let mut places: HashMap<usize, usize> = chosen.iter().copied().zip(0..).collect();
            for mut ranked in next.ranking {
                ranked.stage = i + 1;
                if let Some(place) = places.remove(&ranked.index) {
                    result.ranking[place] = ranked;
                }
            }
            result.ranking.sort_unstable_by(Ranked::best_first);
        }
        result.ranking = options.finish(result.ranking, last);
        Ok(result)
    }
}

impl Reranker {
    /// The options of a call for one model of a cascade, which fit it.
    fn stage_options(&self, options: &RerankOptions, last: bool) -> Result<RerankOptions> {
        let mut own = options.clone();
        if !last {
            own.scaling = None;
            own.score = Default::default();
        }
        if self.labels() == 1 {
            own.label = own.label.filter(|_| last);
        }
        self.ranking_label(own.label)?;
        self.config.settings.activation.resolve(own.score, self.labels())?;
        Ok(own)
    }
}
