//! `crossrank search`: a corpus and queries in, rankings of two stages out.

pub mod candidates;
pub mod corpus;
mod rows;
mod settings;
mod sink;
mod table;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crossrank::Error;
use crossrank_eval::{Queries, Query, RunWriteError, RunWriter};

use crate::args::{Fallback, SearchArgs, SearchFormat};
use crate::failure::{Failure, describe, say};
use crate::interrupt::Interrupt;
use crate::rerank::ranker::{Candidates, Outcome, Ranker};
use crate::rerank::{columns, scale};
use crate::table::{Scale, Table};
use crate::text::printable;
use crate::{json, progress};
use candidates::{Candidate, FirstStage, first_scores};
use corpus::{Corpus, told};
use rows::{Line, Row};
use settings::Settings;
use sink::Sink;

/// The id of the query of `-q`.
const ONE: &str = "1";
/// The last field of a TREC run.
const TAG: &str = "crossrank";

/// Runs the command.
pub fn run(args: &SearchArgs, interrupt: &Interrupt) -> Result<(), Failure> {
    if args.resume && args.format == SearchFormat::Text {
        return Err(Failure::about(
            "--resume",
            "expected --format jsonl or trec, found text, which names no queries",
        ));
    }
    let queries = queries(args)?;
    let mut ranker = load(args)?;
    // A file that is resumed must be of the same corpus.
    let known_again = args.output.is_some();
    let corpus = Corpus::open(&args.corpus, args.index.as_deref(), args.queries.as_deref(), known_again)?;
    let mut first_stage = FirstStage::new(args.run.as_deref(), args.candidates, &corpus.index)?;
    let mut sink = Sink::open(args, || Settings::of(args, &corpus, ranker.as_ref()))?;
    let head = format!("{}; {} documents", first_stage.description(), corpus.index.documents());
    tracing::info!("{head}");
    let max_length = ranker.as_ref().map_or(0, |ranker| ranker.last().info().max_length);
    let mut page = Page { args, head, max_length, begun: false };

    let counter = match (&args.queries, &args.output) {
        (None, _) => indicatif::ProgressBar::hidden(),
        (_, None) => progress::counter("queries searched"),
        (_, Some(_)) => progress::counter_beside_output("queries searched"),
    };
    for query in queries {
        let query = query?;
        if sink.has(&query.id) {
            first_stage.skip(&query);
            counter.inc(1);
            continue;
        }
        let candidates = first_stage.candidates(&query)?;
        let outcome = rank(args, ranker.as_mut(), &query, &candidates)?;
        let lines = page.lines(&query, &candidates, &outcome, ranker.as_ref())?;
        // Ctrl-C waits until the results of a query are out.
        let _held = interrupt.hold();
        interrupt.check()?;
        counter.suspend(|| sink.write(&lines))?;
        counter.inc(1);
    }
    let _held = interrupt.hold();
    interrupt.check()?;
    drop(counter);
    first_stage.report();
    sink.finish()
}

/// The one query, or those of the file.
fn queries(args: &SearchArgs) -> Result<Box<dyn Iterator<Item = Result<Query, Failure>>>, Failure> {
    match (&args.queries, &args.query) {
        (Some(path), _) => {
            let queries = Queries::open(path).map_err(told)?;
            Ok(Box::new(queries.map(|query| query.map_err(told))))
        }
        (None, text) => {
            let text = text.clone().unwrap_or_default();
            Ok(Box::new(std::iter::once(Ok(Query { id: ONE.to_owned(), text, line: 1 }))))
        }
    }
}

/// The models, unless none ranks.
fn load(args: &SearchArgs) -> Result<Option<Ranker<'_>>, Failure> {
    if args.no_rerank {
        return Ok(None);
    }
    match Ranker::load(&args.rank) {
        Err(Failure::Message(reason)) if args.rank.stages.fallback == Fallback::FirstStage => {
            say("note", &format!("{reason}; nothing is ranked, and results are in the first stage's order"));
            Ok(None)
        }
        ranker => ranker.map(Some),
    }
}

/// Ranks the candidates of a query.
fn rank(
    args: &SearchArgs,
    ranker: Option<&mut Ranker<'_>>,
    query: &Query,
    candidates: &[Candidate],
) -> Result<Outcome, Failure> {
    let as_found = || Outcome { ranking: vec![], not_scored: (0..candidates.len()).collect() };
    let Some(ranker) = ranker else { return Ok(as_found()) };
    ranker.start();
    let first_scores = first_scores(args.rank.stages.fuse.0, candidates);
    let infinite = candidates.iter().find(|candidate| !candidate.score.is_finite());
    let result = match infinite.filter(|_| first_scores.is_some()) {
        Some(candidate) => {
            let id = printable(&candidate.id, 60);
            let reason = format!(
                "document `{id}`: expected a finite score for --fuse weight, found {}",
                candidate.score
            );
            Err(about(query, &reason))
        }
        None => {
            let scored = Arc::new(AtomicUsize::new(0));
            let top_k = Some(args.top_k);
            let work = Candidates { documents: candidates, first_scores, top_k, scored: scored.clone() };
            let rank = || ranker.rank(&query.text, work);
            let total = ranker.work(candidates.len());
            // With several queries it is they who are counted.
            let result = if args.queries.is_some() {
                rank()
            } else {
                progress::watch("scoring", total, &scored, rank)
            };
            result.map_err(|error| of_query(query, candidates, &error))
        }
    };
    match result {
        Err(Failure::Message(reason)) if args.rank.stages.fallback == Fallback::FirstStage => {
            say(
                "note",
                &format!(
                    "{reason}; this query was not ranked, and its results are in the first stage's order"
                ),
            );
            Ok(as_found())
        }
        Ok(outcome) if !outcome.not_scored.is_empty() => {
            let (missing, all) = (outcome.not_scored.len(), candidates.len());
            let budget = args.rank.stages.budget_ms.unwrap_or_default();
            let id = printable(&query.id, 60);
            say(
                "note",
                &format!("query `{id}`: {missing} of {all} documents were not scored within {budget} ms"),
            );
            Ok(outcome)
        }
        result => result,
    }
}

fn about(query: &Query, reason: &str) -> Failure {
    Failure::about(format_args!("query `{}`", printable(&query.id, 60)), reason)
}

/// The engine's error, with the ids of query and document where it is about them.
pub fn of_query(query: &Query, candidates: &[Candidate], error: &Error) -> Failure {
    match error.document().and_then(|at| candidates.get(at)) {
        Some(candidate) => {
            about(query, &format!("document `{}`: {}", printable(&candidate.id, 60), describe(error)))
        }
        // Options are those of the call, whatever the query.
        None if matches!(error, Error::Option { .. }) => Failure::Message(describe(error)),
        None => about(query, &describe(error)),
    }
}

/// How results are written.
struct Page<'a> {
    args: &'a SearchArgs,
    /// What is searched, and how, for people.
    head: String,
    max_length: usize,
    begun: bool,
}

impl Page<'_> {
    /// The lines of a query.
    fn lines(
        &mut self,
        query: &Query,
        candidates: &[Candidate],
        outcome: &Outcome,
        ranker: Option<&Ranker<'_>>,
    ) -> Result<Vec<u8>, Failure> {
        let args = self.args;
        // A least score is one that the others do not have.
        let behind =
            if args.rank.min_score.is_some() { 0 } else { args.top_k.saturating_sub(outcome.ranking.len()) };
        let scored = outcome.ranking.iter().map(|ranked| (ranked.index, Some(ranked)));
        let all = scored.chain(outcome.not_scored.iter().take(behind).map(|index| (*index, None)));
        let mut rows: Vec<Row<'_>> = vec![];
        for (index, ranked) in all {
            let candidate = &candidates[index];
            rows.push(Row { rank: rows.len() + 1, first_rank: index + 1, candidate, ranked });
        }
        let failed = |error: &dyn std::fmt::Display| Failure::about("output", error);
        let mut out = String::new();
        match args.format {
            SearchFormat::Jsonl => {
                for row in rows {
                    let line = Line { query_id: &query.id, row, args: &args.rank };
                    out.push_str(&json::line(&line).map_err(|error| failed(&error))?);
                    out.push('\n');
                }
            }
            SearchFormat::Text => {
                if !self.begun {
                    out.push_str(&format!("{}\n", self.head));
                }
                if args.queries.is_some() {
                    out.push_str(&format!(
                        "\n{}: {}\n",
                        printable(&query.id, 60),
                        printable(&query.text, 300)
                    ));
                }
                let scale = ranker.map_or(Scale { from: 0.0, to: 1.0 }, |it| {
                    scale(&args.rank, it.last(), &outcome.ranking)
                });
                let columns = if args.output.is_some() { crate::rerank::COLUMNS } else { columns() };
                for line in table::lines(&Table { columns, scale }, &rows, self.max_length) {
                    out.push_str(&line);
                    out.push('\n');
                }
            }
            SearchFormat::Trec => {
                return trec(query, &rows).map_err(|error| about(query, &error.to_string()));
            }
        }
        self.begun = true;
        Ok(out.into_bytes())
    }
}

/// Rows as a TREC run. The order is that of the rows: where their scores do not fall, those that are written do.
fn trec(query: &Query, rows: &[Row<'_>]) -> Result<Vec<u8>, RunWriteError> {
    let unranked = rows.iter().all(|row| row.ranked.is_none());
    let mut last = 0.0;
    let mut ranking = Vec::with_capacity(rows.len());
    for row in rows {
        last = match row.ranked {
            Some(ranked) => ranked.fused.unwrap_or(ranked.logit),
            None if unranked => row.candidate.score,
            // Behind all that was scored.
            None => last,
        };
        ranking.push((&*row.candidate.id, last));
    }
    let mut run = RunWriter::new(Vec::new(), TAG)?;
    run.query(&query.id, &ranking)?;
    Ok(run.into_inner())
}
