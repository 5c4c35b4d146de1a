//! Who ranks: the model, or several one after another, as far as there is time.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use crossrank::{Cascade, Fusion, Ranked, RerankOptions, Reranker, Scaling};

use crate::args::{ModelArgs, RerankArgs};
use crate::documents::{Document, Documents};
use crate::failure::{Failure, describe};
use crate::{model, object, progress, scaling};

/// The models of a call, and how many documents each keeps.
pub struct Ranker<'a> {
    args: &'a RerankArgs,
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

impl<'a> Ranker<'a> {
    /// Loads each model once.
    pub fn load(args: &'a RerankArgs) -> Result<Self, Failure> {
        let mut models: Vec<(ModelArgs, Reranker)> = vec![];
        let mut stages = vec![];
        let mut add = |mut own: ModelArgs, keep| -> Result<(), Failure> {
            own.model = own.model.map(|name| model::folder(&name)).transpose()?;
            let same = |(other, _): &(ModelArgs, _)| other.model == own.model && other.dtype == own.dtype;
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
            own.dtype = stage.dtype.unwrap_or(own.dtype);
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

    /// Ranks documents.
    pub fn rank(&self, documents: &Documents) -> Result<Outcome, RankError> {
        let args = self.args;
        let scored = Arc::new(AtomicUsize::new(0));
        let mut options = RerankOptions::default()
            .score(args.score.mode.into())
            .long(args.long.long.into())
            .stride(args.long.stride)
            .fusion(args.stages.fuse.0)
            .progress(scored.clone());
        options.min_score = args.min_score;
        options.scaling = self.scaling;
        options.label = args.label.as_deref().map(|label| self.last().label(label)).transpose()?;
        if let Fusion::Weight(_) = args.stages.fuse.0 {
            options.first_scores = Some(first_scores(args, documents)?);
        }
        let documents = &documents.good[..];
        let mut cascade = Cascade::new(&self.models[self.stages[0].0].1);
        for pair in self.stages.windows(2) {
            cascade = cascade.then(pair[0].1, &self.models[pair[1].0].1);
        }
        let later = self.stages.iter().map(|(_, keep)| *keep).take(self.stages.len() - 1);
        let total = documents.len() + later.map(|keep| keep.min(documents.len())).sum::<usize>();
        let begun = Instant::now();
        let mut outcome = progress::watch("scoring", total, &scored, || match self.deadline {
            Some(deadline) => {
                let partial = cascade.rerank_within(&args.query, documents, &options, deadline)?;
                Ok(Outcome { ranking: partial.ranking, not_scored: partial.not_scored })
            }
            None => {
                let ranking = cascade.rerank(&args.query, documents, &options)?;
                Ok::<_, crossrank::Error>(Outcome { ranking, not_scored: vec![] })
            }
        })?;
        tracing::info!(
            documents = documents.len(),
            not_scored = outcome.not_scored.len(),
            models = self.stages.len(),
            tokens = outcome.ranking.iter().map(|ranked| ranked.tokens).sum::<usize>(),
            "ranked in {:.1} ms",
            begun.elapsed().as_secs_f64() * 1e3
        );
        let keep = self.stages.last().map_or(usize::MAX, |(_, keep)| *keep);
        outcome.ranking.truncate(keep.min(args.top_k.unwrap_or(usize::MAX)));
        Ok(outcome)
    }

    /// Which documents no model can score, and why.
    pub fn unscorable(&self, documents: &[Document]) -> Result<Vec<(usize, String)>, Failure> {
        let args = self.args;
        let mut reasons = Vec::new();
        for (i, document) in documents.iter().enumerate() {
            for (_, reranker) in &self.models {
                let result = if args.long.long == crate::args::Long::Truncate {
                    reranker.tokenize(&args.query, &[document]).map(drop)
                } else {
                    let mut options = RerankOptions::default().long(args.long.long.into());
                    options.label = args.label.as_deref().map(|label| reranker.label(label)).transpose()?;
                    reranker.rerank(&args.query, &[document], &options).map(drop)
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

/// Why nothing is ranked: the engine's word, or that of somebody else.
pub enum RankError {
    Engine(crossrank::Error),
    Failure(Failure),
}

impl From<crossrank::Error> for RankError {
    fn from(error: crossrank::Error) -> Self {
        Self::Engine(error)
    }
}

impl RankError {
    /// The document that it is about, by its number among the good ones.
    pub fn document(&self) -> Option<usize> {
        match self {
            Self::Engine(error) => error.document(),
            Self::Failure(_) => None,
        }
    }
}

/// What the first stage thought of each document.
fn first_scores(args: &RerankArgs, documents: &Documents) -> Result<Vec<f32>, RankError> {
    let field = &args.stages.first_score_field;
    let score = |document: &Document| {
        let found = match &document.object {
            Some(object) => object::number(object, field),
            None => Err(format!("expected a JSON object with the key `{field}`, found a line of text")),
        };
        found.map_err(|reason| {
            let reason = format!("{reason}, which --fuse weight needs");
            RankError::Failure(super::about_line(&documents.name, document.line, &reason))
        })
    };
    documents.good.iter().map(score).collect()
}
