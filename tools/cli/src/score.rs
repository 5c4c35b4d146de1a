//! `crossrank score`: pairs in, scores out, as they come.

use std::sync::Arc;
use std::thread;

use crossrank::{PairScore, Reranker};
use serde::Serialize;

use crate::args::ScoreArgs;
use crate::failure::{Failure, describe, say};
use crate::input::{Line, Lines};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::progress::Counter;
use crate::queue::Queue;
use crate::{model, object};

/// Runs the command.
pub fn run(args: &ScoreArgs, interrupt: &Interrupt) -> Result<(), Failure> {
    let lines = Lines::open(args.file.as_ref())?;
    let name = lines.name().to_owned();
    let reranker = model::load(&args.model, Some(&args.window))?;
    let mode = args.score.mode.into();
    // A mode that does not fit the model is an error of the call, not of each line.
    reranker.scores(mode, &vec![0.0; reranker.labels()])?;

    let queue = read_ahead(lines)?;
    let mut output = Output::new();
    let counter = Counter::new("pairs scored");
    let (mut index, mut bad) = (0, false);
    loop {
        let lines = match queue.take() {
            Ok(lines) => lines,
            Err(end) => {
                end.map_err(|error| Failure::about(&name, error))?;
                return if bad { Err(Failure::Reported) } else { Ok(()) };
            }
        };
        let results = score(&reranker, lines)?;
        // Ctrl-C waits until the lines that have been begun are out.
        let _held = interrupt.hold();
        counter.suspend(|| {
            for (line, result) in results {
                match result {
                    Ok(pair) => {
                        let scores = reranker.scores(mode, &pair.logits)?;
                        output.json(&Scored::new(index, &pair, &scores))?;
                    }
                    Err(reason) => {
                        bad = true;
                        say("error", &format!("{name}: line {line}: {reason}"));
                        output.json(&Bad { index, error: &reason })?;
                    }
                }
                index += 1;
            }
            output.flush()
        })?;
        counter.set(index);
    }
}

/// Reads on while others score. The thread ends with the input, or with the process.
fn read_ahead(mut lines: Lines) -> Result<Arc<Queue>, Failure> {
    let queue = Arc::new(Queue::default());
    let to = queue.clone();
    let read = move || {
        let end = loop {
            match lines.next() {
                Ok(Some(line)) if line.text.as_ref().is_ok_and(|text| text.trim().is_empty()) => {}
                Ok(Some(line)) => to.push(line),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        to.end(end);
    };
    match thread::Builder::new().name("reader".into()).spawn(read) {
        Ok(_) => Ok(queue),
        Err(error) => Err(Failure::about("cannot start the reading thread", error)),
    }
}

/// The result of each line, with the line's number.
type Results = Vec<(usize, Result<PairScore, String>)>;

fn score(reranker: &Reranker, lines: Vec<Line>) -> Result<Results, Failure> {
    let mut results = Results::new();
    let (mut pairs, mut places) = (Vec::new(), Vec::new());
    for (place, line) in lines.into_iter().enumerate() {
        let result = match line.text.and_then(|text| parse(&text)) {
            Ok(pair) => {
                pairs.push(pair);
                places.push(place);
                // Overwritten below.
                Err(String::new())
            }
            Err(reason) => Err(reason),
        };
        results.push((line.number, result));
    }
    let mut scores = Vec::new();
    score_each(reranker, &pairs, &mut scores)?;
    for (place, score) in places.into_iter().zip(scores) {
        results[place].1 = score;
    }
    Ok(results)
}

fn parse(line: &str) -> Result<(String, String), String> {
    let object = object::parse(line)?;
    Ok((object::string(&object, "query")?, object::string(&object, "document")?))
}

/// Scores pairs together, and halves them where one cannot be scored until it stands alone: a pair's score does not
/// depend on its company.
fn score_each(
    reranker: &Reranker,
    pairs: &[(String, String)],
    scores: &mut Vec<Result<PairScore, String>>,
) -> Result<(), Failure> {
    match (reranker.score_pairs(pairs), pairs) {
        (Ok(all), _) => scores.extend(all.into_iter().map(Ok)),
        (Err(error), _) if error.document().is_none() => return Err(error.into()),
        (Err(error), [_]) => scores.push(Err(describe(&error))),
        (Err(_), _) => {
            let (left, right) = pairs.split_at(pairs.len() / 2);
            score_each(reranker, left, scores)?;
            score_each(reranker, right, scores)?;
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Scored<'a> {
    index: usize,
    logits: &'a [f32],
    score: Score<'a>,
    tokens: usize,
    truncated: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Score<'a> {
    One(f32),
    Several(&'a [f32]),
}

impl<'a> Scored<'a> {
    fn new(index: usize, pair: &'a PairScore, scores: &'a [f32]) -> Self {
        let score = match scores {
            [score] => Score::One(*score),
            scores => Score::Several(scores),
        };
        Self { index, logits: &pair.logits, score, tokens: pair.tokens, truncated: pair.truncated }
    }
}

#[derive(Serialize)]
struct Bad<'a> {
    index: usize,
    error: &'a str,
}
