//! From what is asked to what is answered, whatever the contract.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossrank::{
    DocumentScore, Error, Layout, Partial, Ranked, RerankOptions, ScoreMode, Tokenized, Truncation,
};
use tokio::sync::oneshot;

use crate::app::App;
use crate::ask::{Ask, Form};
use crate::dispatch::{Outcome, Reservation, Ticket};
use crate::models::Model;
use crate::problem::{ErrorForm, Kind, Problem};
use crate::tokenise::{Refusal, Texts, tokenise};

/// Bytes that a token of prose has, by which work is estimated before texts are tokenised.
const BYTES_PER_TOKEN: usize = 4;

/// What came of a request.
pub(crate) struct Answer {
    pub(crate) model: Arc<Model>,
    /// Best first.
    pub(crate) ranking: Vec<Ranked>,
    /// Documents that a budget of time left out.
    pub(crate) not_scored: Vec<usize>,
    /// Tokens of all documents.
    pub(crate) tokens: usize,
    /// Characters of all pairs.
    pub(crate) characters: usize,
    pub(crate) times: Times,
}

/// Where the time went.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) began: Instant,
    pub(crate) tokenise: Duration,
    pub(crate) queue: Duration,
    pub(crate) compute: Duration,
}

/// Texts that differ, and which of them each document has.
struct Distinct {
    texts: Vec<(usize, Arc<str>)>,
    /// For each document the number of its text.
    of: Vec<usize>,
    /// For each text the first document that has it.
    firsts: Vec<usize>,
}

impl Distinct {
    fn of(ask: &Ask) -> Self {
        let mut numbers = HashMap::with_capacity(ask.documents.len());
        let (mut texts, mut firsts, mut of) = (vec![], vec![], Vec::with_capacity(ask.documents.len()));
        for (i, document) in ask.documents.iter().enumerate() {
            let number = *numbers.entry((document.query, &*document.text)).or_insert_with(|| {
                texts.push((document.query, Arc::from(&*document.text)));
                firsts.push(i);
                texts.len() - 1
            });
            of.push(number);
        }
        Self { texts, of, firsts }
    }
}

/// Sets a flag when it is dropped: whoever waited has gone.
struct GiveUp(Arc<AtomicBool>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

type Submitted = Result<(Ticket, Vec<(Layout, usize)>, Duration), Problem>;

/// Ranks what is asked for. If the future is dropped, because the client hung up, what has not been done is dropped, too.
pub(crate) async fn answer(app: &App, ask: &Ask, began: Instant) -> Result<Answer, Problem> {
    let model = app.models.get(app.models.find(ask.model.as_deref())?).await?;
    let options = rerank_options(ask, &model);
    // Options that fit nothing are refused before any work.
    model
        .reranker
        .rank_scores(ask.documents.iter().map(|_| None), &options)
        .map_err(|error| describe(ask, &error))?;
    let reservation = app.dispatcher.reserve(&model, estimate(ask, &model))?;
    let deadline = ask.budget_ms.and_then(|ms| began.checked_add(Duration::from_millis(ms as u64)));
    let distinct = Distinct::of(ask);

    let give_up = GiveUp(Arc::default());
    let (to, from) = oneshot::channel::<Submitted>();
    let texts = Texts {
        model: model.clone(),
        queries: ask.queries.clone(),
        documents: distinct.texts,
        options: options.clone(),
        max_document_tokens: ask.max_document_tokens,
        given_up: give_up.0.clone(),
    };
    submit_when_tokenised(app, texts, reservation, to, (ask, &distinct.firsts));
    let (ticket, layouts, tokenise) = match from.await {
        Ok(submitted) => submitted?,
        Err(_) => return Err(Problem::internal()),
    };
    let outcome = ticket.outcome(deadline).await;
    if let Some(mut problem) = outcome.problem {
        if let Some(text) = outcome.pair.and_then(|pair| text_of(&layouts, pair)) {
            let document = distinct.firsts.get(text).copied().unwrap_or(text);
            problem.message = format!("document {document}: {}", problem.message);
        }
        return Err(problem);
    }
    let times = Times { began, tokenise, queue: outcome.queued, compute: outcome.computed };
    let Partial { ranking, not_scored, .. } =
        rank(&model, &options, &outcome, layouts, &distinct.of).map_err(|error| describe(ask, &error))?;
    let query_chars = |document: &crate::ask::Document| ask.queries[document.query].chars().count();
    let characters = ask.documents.iter().map(|it| it.text.chars().count() + query_chars(it)).sum();
    let tokens = ranking.iter().map(|ranked| ranked.tokens).sum();
    let truncated = ranking.iter().filter(|ranked| ranked.truncated).count();
    app.metrics.scored(tokens, truncated, ranking.iter().map(|ranked| ranked.score));
    Ok(Answer { model, ranking, not_scored, tokens, characters, times })
}

/// Tokenises texts and puts their pairs into the queue, on the threads that tokenise: what is left there is a message.
fn submit_when_tokenised(
    app: &App,
    texts: Texts,
    reservation: Reservation,
    to: oneshot::Sender<Submitted>,
    (ask, firsts): (&Ask, &[usize]),
) {
    let (dispatcher, model) = (app.dispatcher.clone(), texts.model.clone());
    let (errors, firsts, window) = (ask.form.errors(), firsts.to_vec(), model.window);
    let start = Instant::now();
    let done = move |prepared: Result<Vec<crossrank::Prepared>, Refusal>| {
        let submitted = match prepared {
            Ok(prepared) => {
                let (mut pairs, mut layouts): (Vec<Tokenized>, _) = (vec![], vec![]);
                for document in prepared {
                    let (own, layout) = document.into_parts();
                    layouts.push((layout, own.len()));
                    pairs.extend(own);
                }
                let time = start.elapsed();
                let ticket = dispatcher.submit(model, pairs);
                Ok((ticket, layouts, time))
            }
            Err(Refusal::Engine(error)) => Err(refused(&error, errors, &firsts, window)),
            Err(Refusal::Fault(problem)) => Err(problem),
        };
        drop(reservation);
        // Where nobody waits any more the ticket is dropped, and with it the job.
        let _ = to.send(submitted);
    };
    tokenise(&app.texts, texts, Box::new(done));
}

/// The text that a pair is of; one that is long has several.
fn text_of(layouts: &[(Layout, usize)], pair: usize) -> Option<usize> {
    let mut end = 0;
    layouts.iter().position(|(_, pairs)| {
        end += pairs;
        pair < end
    })
}

fn rank(
    model: &Model,
    options: &RerankOptions,
    outcome: &Outcome,
    layouts: Vec<(Layout, usize)>,
    of: &[usize],
) -> crossrank::Result<Partial> {
    let mut documents: Vec<Option<DocumentScore>> = Vec::with_capacity(layouts.len());
    let mut scores = outcome.scores.iter();
    for (layout, count) in layouts {
        let own: Vec<_> = scores.by_ref().take(count).flatten().collect();
        let whole = own.len() == count;
        documents.push(if whole { Some(model.reranker.gather(&layout, &own, options)?) } else { None });
    }
    model.reranker.rank_scores(of.iter().map(|text| documents.get(*text).and_then(Option::as_ref)), options)
}

fn rerank_options(ask: &Ask, model: &Model) -> RerankOptions {
    let mut options = RerankOptions::default();
    options.score = match (ask.raw_scores, model.reranker.labels()) {
        (true, _) => ScoreMode::Raw,
        (false, 1) => ScoreMode::Sigmoid,
        (false, _) => ScoreMode::Softmax,
    };
    options.label = model.label;
    options.truncation = (!ask.truncate).then_some(Truncation::Error);
    options.long = ask.long;
    options.stride = ask.stride;
    options.fusion = ask.fusion;
    options.first_scores.clone_from(&ask.first_scores);
    options.min_score = ask.min_score;
    options.top_k = match ask.form {
        // There every document is answered, in the order in which they came.
        Form::Weaviate | Form::Score => None,
        Form::Tei | Form::Results | Form::Data | Form::Nim => ask.top_n,
    };
    options
}

/// Tokens that a request will have, as near as can be said without tokenising it.
fn estimate(ask: &Ask, model: &Model) -> u64 {
    const SPECIAL: usize = 3;
    let tokens = |document: &crate::ask::Document| {
        let query = ask.queries.get(document.query).map_or(0, String::len);
        let tokens = (query + document.text.len()) / BYTES_PER_TOKEN + SPECIAL;
        // In passages all of it is read.
        if ask.long == crossrank::Long::Truncate { tokens.min(model.window) } else { tokens }
    };
    ask.documents.iter().map(tokens).sum::<usize>() as u64
}

/// An engine's error about a request that was read.
fn describe(ask: &Ask, error: &Error) -> Problem {
    refused(error, ask.form.errors(), &[], 0)
}

fn refused(error: &Error, errors: ErrorForm, firsts: &[usize], window: usize) -> Problem {
    let at = |document: usize| firsts.get(document).copied().unwrap_or(document);
    match error {
        Error::Document { document, reason } => {
            let of = format!("document {}: {reason}", at(*document));
            Problem::new(
                Kind::TooLong,
                match errors {
                    ErrorForm::Merged => format!("invalid request: {of}"),
                    _ => format!(
                        "Input validation error: `inputs` must have less than {window} tokens. Given: {of}"
                    ),
                },
            )
        }
        Error::Query { reason } => Problem::new(Kind::TooLong, format!("query: {reason}")),
        Error::Option { option, reason } => Problem::new(Kind::Shape, format!("`{option}`: {reason}")),
        error => {
            tracing::error!(%error, "a request could not be prepared");
            Problem::internal()
        }
    }
}
