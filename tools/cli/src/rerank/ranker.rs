//! Who ranks: the model, or several one after another, as far as there is time.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use crossrank::{Cascade, Error, Ranked, RerankOptions, Reranker, Scaling};

use crate::args::{Long, ModelArgs, RankArgs};
use crate::failure::{Failure, describe};
use crate::{model, scaling};

/// The models of a call, and how many documents each keeps.
pub struct Ranker<'a> {
    args: &'a RankArgs,
    models: Vec<(ModelArgs, Reranker)>,
    /// Which of them, and how many documents it keeps.
    stages: Vec<(usize, usize)>,
    scaling: Option<Scaling>,
    deadline: Option<Instant>,
}

/// What was scored, best first, and indices of what was not.
#[derive(Default)]
pub struct Outcome {
    pub ranking: Vec<Ranked>,
    pub not_scored: Vec<usize>,
}

/// What is to be ranked.
pub struct Candidates<'a, D> {
    /// In the order of the first stage.
    pub documents: &'a [D],
    /// What the first stage thought of each.
    pub first_scores: Option<Vec<f32>>,
    /// How many are kept.
    pub top_k: Option<usize>,
    /// Raised by one for each document that a model has scored.
    pub scored: Arc<AtomicUsize>,
}

impl<'a> Ranker<'a> {
    /// Loads each model once.
    pub fn load(args: &'a RankArgs) -> Result<Self, Failure> {
        let mut models: Vec<(ModelArgs, Reranker)> = vec![];
        let mut stages = vec![];
        let mut add = |mut own: ModelArgs, keep| -> Result<(), Failure> {
            own.model = own.model.map(|name| model::folder(&name)).transpose()?;
            let same =
                |(other, _): &(ModelArgs, _)| other.model == own.model && other.load.dtype == own.load.dtype;
            let number = match models.iter().position(same) {
                Some(number) => number,
                None => {
                    let reranker = model::load(&own, Some(&args.window))?;
                    models.push((own, reranker));
                    models.len() - 1
                }
            };
            stages.push((number, keep));
            Ok(())
        };
        for stage in &args.stages.cascade {
            let mut own = args.model.clone();
            if let Some(model) = &stage.model {
                own.model = Some(model.clone());
            }
            own.load.dtype = stage.dtype.unwrap_or(own.load.dtype);
            add(own, stage.keep)?;
        }
        if args.stages.cascade.is_empty() {
            add(args.model.clone(), usize::MAX)?;
        }
        let mut ranker = Self { args, models, stages, scaling: None, deadline: None };
        if let Some(file) = &args.scaling {
            ranker.scaling = Some(scaling::read(file, ranker.last(), args.label.as_deref())?);
        }
        Ok(ranker)
    }

    /// From now on there is so much time as the call has.
    pub fn start(&mut self) {
        let budget = self.args.stages.budget_ms.map(Duration::from_millis);
        self.deadline = budget.and_then(|budget| Instant::now().checked_add(budget));
    }

    /// The model that orders what comes first.
    pub fn last(&self) -> &Reranker {
        let number = self.stages.last().map_or(0, |(number, _)| *number);
        &self.models[number].1
    }

    /// The models, one after another, and how many documents each keeps.
    #[cfg(feature = "search")]
    pub fn stages(&self) -> impl Iterator<Item = (&ModelArgs, usize)> {
        self.stages.iter().map(|(number, keep)| (&self.models[*number].0, *keep))
    }

    /// How many times documents are scored, by one model or another, of so many.
    pub fn work(&self, documents: usize) -> usize {
        let later = self.stages.iter().map(|(_, keep)| *keep).take(self.stages.len().saturating_sub(1));
        documents + later.map(|keep| keep.min(documents)).sum::<usize>()
    }

    /// Ranks documents, which come in the first stage's order; `scored` grows to [`Ranker::work`].
    pub fn rank(
        &self,
        query: &str,
        candidates: Candidates<'_, impl AsRef<str> + Sync>,
    ) -> Result<Outcome, Error> {
        let args = self.args;
        let Candidates { documents, first_scores, top_k, scored } = candidates;
        let mut options = RerankOptions::default()
            .score(args.score.mode.into())
            .long(args.long.long.into())
            .stride(args.long.stride)
            .fusion(args.stages.fuse.0)
            .progress(scored);
        options.min_score = args.min_score;
        options.scaling = self.scaling;
        options.label = args.label.as_deref().map(|label| self.last().label(label)).transpose()?;
        options.first_scores = first_scores;
        let mut cascade = Cascade::new(&self.models[self.stages[0].0].1);
        for pair in self.stages.windows(2) {
            cascade = cascade.then(pair[0].1, &self.models[pair[1].0].1);
        }
        let begun = Instant::now();
        let mut outcome = match self.deadline {
            Some(deadline) => {
                let partial = cascade.rerank_within(query, documents, &options, deadline)?;
                Outcome { ranking: partial.ranking, not_scored: partial.not_scored }
            }
            None => Outcome { ranking: cascade.rerank(query, documents, &options)?, not_scored: vec![] },
        };
        tracing::info!(
            documents = documents.len(),
            not_scored = outcome.not_scored.len(),
            models = self.stages.len(),
            tokens = outcome.ranking.iter().map(|ranked| ranked.tokens).sum::<usize>(),
            "ranked in {:.1} ms",
            begun.elapsed().as_secs_f64() * 1e3
        );
        let keep = self.stages.last().map_or(usize::MAX, |(_, keep)| *keep);
        outcome.ranking.truncate(keep.min(top_k.unwrap_or(usize::MAX)));
        Ok(outcome)
    }

    /// Which documents no model can score, and why.
    pub fn unscorable(
        &self,
        query: &str,
        documents: &[impl AsRef<str> + Sync],
    ) -> Result<Vec<(usize, String)>, Failure> {
        let args = self.args;
        let mut reasons = Vec::new();
        for (i, document) in documents.iter().enumerate() {
            for (_, reranker) in &self.models {
                let result = if args.long.long == Long::Truncate {
                    reranker.tokenize(query, &[document]).map(drop)
                } else {
                    let mut options = RerankOptions::default().long(args.long.long.into());
                    options.label = args.label.as_deref().map(|label| reranker.label(label)).transpose()?;
                    reranker.rerank(query, &[document], &options).map(drop)
                };
                match result {
                    Ok(()) => {}
                    Err(error) if error.document().is_some() => {
                        reasons.push((i, describe(&error)));
                        break;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(reasons)
    }
}
