//! `crossrank rerank`: documents in, a ranking out.

pub mod ranker;
pub mod rows;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crossrank::{Error, Fusion, Ranked, Reranker};

use crate::args::{Fallback, OnBadDocument, OutputFormat, RankArgs, RerankArgs, ScoreMode};
use crate::documents::{Document, Documents};
use crate::failure::{Failure, describe, say};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::table::{Scale, Table};
use crate::{object, progress};
use ranker::{Candidates, Outcome, Ranker};
use rows::{BadRow, NotScoredRow, Row};

/// Columns where no terminal says how many it has.
pub const COLUMNS: usize = 100;

/// Runs the command.
pub fn run(args: &RerankArgs, interrupt: &Interrupt) -> Result<(), Failure> {
    // Before the documents, which may be long in coming.
    let ranker = Ranker::load(&args.rank);
    let fallback = args.rank.stages.fallback == Fallback::FirstStage;
    if let (Err(_), false) = (&ranker, fallback) {
        return ranker.map(drop);
    }
    let mut documents = Documents::read(args)?;
    let strict = args.on_bad_document == OnBadDocument::Error;
    if let (true, Some(bad)) = (strict, documents.bad.first()) {
        return Err(about_line(&documents.name, bad.line, &bad.reason));
    }
    let (ranker, outcome) = match ranker {
        Ok(mut ranker) => {
            ranker.start();
            let outcome = rank(args, &ranker, &mut documents);
            (Some(ranker), outcome)
        }
        Err(failure) => (None, Err(failure)),
    };
    let outcome = match outcome {
        Err(Failure::Message(reason)) if fallback => {
            say("note", &format!("{reason}; nothing was ranked, and the documents follow as they came"));
            Outcome { ranking: vec![], not_scored: (0..documents.good.len()).collect() }
        }
        outcome => {
            let outcome = outcome?;
            if !outcome.not_scored.is_empty() {
                let (missing, all) = (outcome.not_scored.len(), documents.good.len());
                let budget = args.rank.stages.budget_ms.unwrap_or_default();
                let what = format!("{missing} of {all} documents were not scored within {budget} ms");
                say("note", &format!("{}: {what}", documents.name));
            }
            outcome
        }
    };
    tell(args.on_bad_document, &documents)?;
    write(args, ranker.as_ref(), &outcome, &documents, interrupt)
}

/// Ranks what can be scored; documents that cannot be may move to the bad ones.
fn rank(args: &RerankArgs, ranker: &Ranker<'_>, documents: &mut Documents) -> Result<Outcome, Failure> {
    let strict = args.on_bad_document == OnBadDocument::Error;
    let mut outcome = rank_good(args, ranker, documents)?;
    if !strict && outcome.as_ref().is_err_and(|error| error.document().is_some()) {
        let reasons = ranker.unscorable(&args.query, &documents.good)?;
        documents.spoil(reasons);
        outcome = rank_good(args, ranker, documents)?;
    }
    outcome.map_err(|error| match error.document().and_then(|i| documents.good.get(i)) {
        Some(document) => about_line(&documents.name, document.line, &describe(&error)),
        None => error.into(),
    })
}

/// The engine's own errors are within the result.
fn rank_good(
    args: &RerankArgs,
    ranker: &Ranker<'_>,
    documents: &Documents,
) -> Result<Result<Outcome, Error>, Failure> {
    let scored = Arc::new(AtomicUsize::new(0));
    let first_scores = match args.rank.stages.fuse.0 {
        Fusion::Weight(_) => Some(first_scores(args, documents)?),
        _ => None,
    };
    let good = &documents.good[..];
    let candidates = Candidates { documents: good, first_scores, top_k: args.top_k, scored: scored.clone() };
    let rank = || ranker.rank(&args.query, candidates);
    Ok(progress::watch("scoring", ranker.work(good.len()), &scored, rank))
}

/// What the first stage thought of each document.
fn first_scores(args: &RerankArgs, documents: &Documents) -> Result<Vec<f32>, Failure> {
    let field = &args.first_score_field;
    let score = |document: &Document| {
        let found = match &document.object {
            Some(object) => object::number(object, field),
            None => Err(format!("expected a JSON object with the key `{field}`, found a line of text")),
        };
        found.map_err(|reason| {
            let reason = format!("{reason}, which --fuse weight needs");
            about_line(&documents.name, document.line, &reason)
        })
    };
    documents.good.iter().map(score).collect()
}

fn write(
    args: &RerankArgs,
    ranker: Option<&Ranker<'_>>,
    outcome: &Outcome,
    documents: &Documents,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let Outcome { ranking, not_scored } = outcome;
    let Documents { good, bad, .. } = documents;
    // A least score is one that they do not have.
    let (mut behind, mut last) = (&not_scored[..], &bad[..]);
    let mut room = args.top_k.map_or(usize::MAX, |k| k.saturating_sub(ranking.len()));
    if args.rank.min_score.is_some() {
        room = 0;
    }
    behind = &behind[..behind.len().min(room)];
    room -= behind.len();
    if args.on_bad_document != OnBadDocument::Last {
        room = 0;
    }
    last = &last[..last.len().min(room)];

    // Until here Ctrl-C ends the process at once; output that has begun is written to its end.
    let _held = interrupt.hold();
    interrupt.check()?;
    let mut output = Output::new();
    match args.format {
        OutputFormat::Jsonl => {
            let mut rank = 0;
            let mut next = || {
                rank += 1;
                rank
            };
            for ranked in ranking {
                output.json(&Row { rank: next(), ranked, document: &good[ranked.index], args })?;
            }
            for index in behind {
                output.json(&NotScoredRow { rank: next(), document: &good[*index], args })?;
            }
            for bad in last {
                output.json(&BadRow { rank: next(), bad })?;
            }
        }
        OutputFormat::Text => {
            let scale =
                ranker.map_or(Scale { from: 0.0, to: 1.0 }, |it| scale(&args.rank, it.last(), ranking));
            let max_length = ranker.map_or(0, |ranker| ranker.last().info().max_length);
            let table = Table { columns: columns(), scale };
            let without_score = behind.iter().map(|index| format!("(not scored) {}", good[*index].text));
            let reasons = last.iter().map(|bad| format!("line {}: {}", bad.line, bad.reason));
            let without_score: Vec<String> = without_score.chain(reasons).collect();
            for line in table.lines(ranking, good, &without_score, max_length) {
                output.line(line)?;
            }
        }
    }
    output.flush()
}

fn about_line(name: &str, line: usize, reason: &str) -> Failure {
    Failure::about(format_args!("{name}: line {line}"), reason)
}

/// Says which documents have no score; an error where none has one.
fn tell(on_bad: OnBadDocument, documents: &Documents) -> Result<(), Failure> {
    let Documents { name, good, bad } = documents;
    if let (true, Some(first)) = (good.is_empty(), bad.first()) {
        let reason = format!("{}; no document can be ranked", first.reason);
        return Err(about_line(name, first.line, &reason));
    }
    let fate = if on_bad == OnBadDocument::Skip { "skipped" } else { "put last" };
    for bad in bad {
        say("note", &format!("{name}: line {}: {fate}: {}", bad.line, bad.reason));
    }
    if !bad.is_empty() {
        say("note", &format!("{name}: {} of {} documents {fate}", bad.len(), good.len() + bad.len()));
    }
    Ok(())
}

/// How wide a line for people may be.
pub fn columns() -> usize {
    let stdout = io::stdout();
    let size = if stdout.is_terminal() { terminal_size::terminal_size() } else { None };
    size.map_or(COLUMNS, |(width, _)| width.0.into())
}

/// Probabilities are shown as such; of other scores only their order means something.
pub fn scale(args: &RankArgs, reranker: &Reranker, ranking: &[Ranked]) -> Scale {
    let raw = match args.score.mode {
        _ if args.scaling.is_some() => false,
        ScoreMode::Model => reranker.info().activation == "identity",
        ScoreMode::Raw | ScoreMode::Difference => true,
        ScoreMode::Sigmoid | ScoreMode::Softmax => false,
    };
    // They need not come in the order of their scores.
    let scores = || ranking.iter().map(|ranked| ranked.score);
    if raw && !ranking.is_empty() {
        let (from, to) = (scores().fold(f32::INFINITY, f32::min), scores().fold(f32::NEG_INFINITY, f32::max));
        Scale { from, to }
    } else {
        Scale { from: 0.0, to: 1.0 }
    }
}
