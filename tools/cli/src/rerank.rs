//! `crossrank rerank`: documents in, a ranking out.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crossrank::{Ranked, RerankOptions, Reranker};
use indexmap::IndexMap;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use crate::args::{OnBadDocument, OutputFormat, RerankArgs, ScoreMode};
use crate::documents::{Bad, Document, Documents};
use crate::failure::{Failure, describe, say};
use crate::interrupt::Interrupt;
use crate::object::Object;
use crate::output::Output;
use crate::table::{Scale, Table};
use crate::{model, progress};

/// Columns where no terminal says how many it has.
const COLUMNS: usize = 100;

/// Runs the command.
pub fn run(args: &RerankArgs, interrupt: &Interrupt) -> Result<(), Failure> {
    // Before the documents, which may be long in coming.
    let reranker = model::load(&args.model, Some(&args.window))?;
    let mut documents = Documents::read(args)?;
    let strict = args.on_bad_document == OnBadDocument::Error;
    if let (true, Some(bad)) = (strict, documents.bad.first()) {
        return Err(about_line(&documents.name, bad.line, &bad.reason));
    }
    let mut ranking = rank(args, &reranker, &documents.good);
    if !strict && ranking.as_ref().is_err_and(|error| error.document().is_some()) {
        let reasons = unscorable(args, &reranker, &documents.good)?;
        documents.spoil(reasons);
        ranking = rank(args, &reranker, &documents.good);
    }
    let ranking = ranking.map_err(|error| match error.document().and_then(|i| documents.good.get(i)) {
        Some(document) => about_line(&documents.name, document.line, &describe(&error)),
        None => error.into(),
    })?;
    tell(args.on_bad_document, &documents)?;
    let Documents { good: documents, bad, .. } = documents;
    let last = if args.on_bad_document == OnBadDocument::Last && args.min_score.is_none() {
        let room = args.top_k.map_or(bad.len(), |k| k.saturating_sub(ranking.len()));
        &bad[..room.min(bad.len())]
    } else {
        &[]
    };

    // Until here Ctrl-C ends the process at once; output that has begun is written to its end.
    let _held = interrupt.hold();
    interrupt.check()?;
    let mut output = Output::new();
    match args.format {
        OutputFormat::Jsonl => {
            for (i, ranked) in ranking.iter().enumerate() {
                let document = &documents[ranked.index];
                output.json(&Row { rank: i + 1, ranked, document, args })?;
            }
            for (i, bad) in last.iter().enumerate() {
                output.json(&BadRow { rank: ranking.len() + i + 1, bad })?;
            }
        }
        OutputFormat::Text => {
            let table = Table { columns: columns(), scale: scale(args.score.mode, &reranker, &ranking) };
            for line in table.lines(&ranking, &documents, last, reranker.info().max_length) {
                output.line(line)?;
            }
        }
    }
    output.flush()
}

fn about_line(name: &str, line: usize, reason: &str) -> Failure {
    Failure::about(format_args!("{name}: line {line}"), reason)
}

fn rank(args: &RerankArgs, reranker: &Reranker, documents: &[Document]) -> crossrank::Result<Vec<Ranked>> {
    let progress = Arc::new(AtomicUsize::new(0));
    let mut options = RerankOptions::default().score(args.score.mode.into()).progress(progress.clone());
    options.top_k = args.top_k;
    options.min_score = args.min_score;
    options.label = args.label.as_deref().map(|label| reranker.label(label)).transpose()?;
    progress::watch("scoring", documents.len(), &progress, || {
        reranker.rerank(&args.query, documents, &options)
    })
}

/// Which documents do not become tokens, or tokens that fit, and why.
fn unscorable(
    args: &RerankArgs,
    reranker: &Reranker,
    documents: &[Document],
) -> Result<Vec<(usize, String)>, Failure> {
    let mut reasons = Vec::new();
    for (i, document) in documents.iter().enumerate() {
        match reranker.tokenize(&args.query, &[document]) {
            Ok(_) => {}
            Err(error) if error.document().is_some() => reasons.push((i, describe(&error))),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(reasons)
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

fn columns() -> usize {
    let stdout = io::stdout();
    let size = if stdout.is_terminal() { terminal_size::terminal_size() } else { None };
    size.map_or(COLUMNS, |(width, _)| width.0.into())
}

/// Probabilities are shown as such; of other scores only their order means something.
fn scale(mode: ScoreMode, reranker: &Reranker, ranking: &[Ranked]) -> Scale {
    let raw = match mode {
        ScoreMode::Model => reranker.info().activation == "identity",
        ScoreMode::Raw | ScoreMode::Difference => true,
        ScoreMode::Sigmoid | ScoreMode::Softmax => false,
    };
    match ranking {
        [best, .., worst] if raw => Scale { from: worst.score, to: best.score },
        [only] if raw => Scale { from: only.score, to: only.score },
        _ => Scale { from: 0.0, to: 1.0 },
    }
}

/// A line of JSONL.
struct Row<'a> {
    rank: usize,
    ranked: &'a Ranked,
    document: &'a Document,
    args: &'a RerankArgs,
}

/// Names of ours that a key of the caller's must not take. (`text` is the caller's own where it is what was scored.)
const OURS: [&str; 7] = ["rank", "index", "score", "logit", "tokens", "truncated", "input"];

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("rank", &self.rank)?;
        map.serialize_entry("index", &self.document.index)?;
        map.serialize_entry("score", &self.ranked.score)?;
        map.serialize_entry("logit", &self.ranked.logit)?;
        map.serialize_entry("tokens", &self.ranked.tokens)?;
        map.serialize_entry("truncated", &self.ranked.truncated)?;
        map.serialize_entry("text", &self.document.text)?;
        let text_is_ours = self.args.text_field != ["text"];
        let error_is_ours = self.args.on_bad_document == OnBadDocument::Last;
        let others = self.document.object.iter().flat_map(Object::iter);
        let others = others.filter(|(key, _)| text_is_ours || *key != "text");
        pass_through(&mut map, others, |key| {
            OURS.contains(&key) || key == "text" || error_is_ours && key == "error"
        })?;
        map.end()
    }
}

/// A line of JSONL for a document without a score.
struct BadRow<'a> {
    rank: usize,
    bad: &'a Bad,
}

impl Serialize for BadRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("rank", &self.rank)?;
        map.serialize_entry("index", &self.bad.index)?;
        map.serialize_entry("error", &self.bad.reason)?;
        // `text`, too: it is not what was scored.
        let ours = |key: &str| OURS.contains(&key) || key == "error" || key == "text";
        pass_through(&mut map, self.bad.object.iter().flat_map(Object::iter), ours)?;
        map.end()
    }
}

/// The caller's keys as they came; those that have the names of ours within `input`.
fn pass_through<'a, M: SerializeMap>(
    map: &mut M,
    keys: impl Iterator<Item = (&'a String, &'a Box<RawValue>)>,
    ours: impl Fn(&str) -> bool,
) -> Result<(), M::Error> {
    let mut collisions = IndexMap::new();
    for (key, value) in keys {
        if ours(key) {
            collisions.insert(key, value);
        } else {
            map.serialize_entry(key, value)?;
        }
    }
    if collisions.is_empty() { Ok(()) } else { map.serialize_entry("input", &collisions) }
}
