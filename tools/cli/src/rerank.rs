//! `crossrank rerank`: documents in, a ranking out.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crossrank::{Ranked, RerankOptions, Reranker};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::args::{OutputFormat, RerankArgs, ScoreMode};
use crate::documents::{Document, Documents};
use crate::failure::{Failure, describe};
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
    let Documents { name, documents } = Documents::read(args.file.as_deref(), args.input)?;

    let progress = Arc::new(AtomicUsize::new(0));
    let mut options = RerankOptions::default().score(args.score.mode.into()).progress(progress.clone());
    options.top_k = args.top_k;
    options.min_score = args.min_score;
    options.label = args.label;
    let ranking = progress::watch("scoring", documents.len(), &progress, || {
        reranker.rerank(&args.query, &documents, &options)
    });
    let ranking = ranking.map_err(|error| match error.document().and_then(|i| documents.get(i)) {
        Some(document) => Failure::about(format_args!("{name}: line {}", document.line), describe(&error)),
        None => error.into(),
    })?;

    // Until here Ctrl-C ends the process at once; output that has begun is written to its end.
    let _held = interrupt.hold();
    interrupt.check()?;
    let mut output = Output::new();
    match args.format {
        OutputFormat::Jsonl => {
            for (i, ranked) in ranking.iter().enumerate() {
                output.json(&Row { rank: i + 1, ranked, document: &documents[ranked.index] })?;
            }
        }
        OutputFormat::Text => {
            let table = Table { columns: columns(), scale: scale(args.score.mode, &reranker, &ranking) };
            for line in table.lines(&ranking, &documents, reranker.info().max_length) {
                output.line(line)?;
            }
        }
    }
    output.flush()
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
        ScoreMode::Raw => true,
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
}

/// Names of ours that a key of the caller's must not take. (`text` is the caller's own.)
const OURS: [&str; 7] = ["rank", "index", "score", "logit", "tokens", "truncated", "input"];

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("rank", &self.rank)?;
        map.serialize_entry("index", &self.ranked.index)?;
        map.serialize_entry("score", &self.ranked.score)?;
        map.serialize_entry("logit", &self.ranked.logit)?;
        map.serialize_entry("tokens", &self.ranked.tokens)?;
        map.serialize_entry("truncated", &self.ranked.truncated)?;
        map.serialize_entry("text", &self.document.text)?;
        let mut collisions = Vec::new();
        for (key, value) in self.document.object.iter().flat_map(Object::iter) {
            match &**key {
                "text" => {}
                key if OURS.contains(&key) => collisions.push((key, value)),
                key => map.serialize_entry(key, value)?,
            }
        }
        if !collisions.is_empty() {
            map.serialize_entry("input", &collisions.into_iter().collect::<indexmap::IndexMap<_, _>>())?;
        }
        map.end()
    }
}
