//! `crossrank score`: pairs in, scores out, as they come.

use std::sync::mpsc::{Receiver, sync_channel};
use std::{iter, thread};

use crossrank::{Error, PairScore, Reranker, Tokenized};
use serde::Serialize;

use crate::args::ScoreArgs;
use crate::failure::{Failure, describe, say};
use crate::input::{Line, Lines};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::{model, object, progress, scaling};

/// Lines that wait while others are scored.
const AHEAD: usize = 64;
/// Lines that are scored together.
const TOGETHER: usize = 256;

/// Runs the command.
pub fn run(args: &ScoreArgs, interrupt: &Interrupt) -> Result<(), Failure> {
    let lines = Lines::open(args.file.as_deref())?;
    let name = lines.name().to_owned();
    let reranker = model::load(&args.model, Some(&args.window))?;
    let mode = args.score.mode.into();
    let scaling = args.scaling.as_deref();
    let scaling = scaling.map(|file| scaling::read(file, &reranker, None)).transpose()?;
    // A mode that does not fit the model is an error of the call, not of each line.
    reranker.scores(mode, &vec![0.0; reranker.labels()])?;

    let names = reranker.label_names();
    let lines = read_ahead(lines)?;
    let mut output = Output::new();
    let counter = progress::counter("pairs scored");
    let (mut index, mut bad) = (0_u64, false);
    while let Ok(first) = lines.recv() {
        let mut end = Ok(());
        // An error is the last that comes.
        let batch: Vec<Line> = iter::once(first)
            .chain(lines.try_iter().take(TOGETHER - 1))
            .map_while(|line| line.map_err(|error| end = Err(error)).ok())
            .collect();
        let numbers: Vec<usize> = batch.iter().map(|line| line.number).collect();
        let pairs = batch.into_iter().map(|line| line.text.and_then(|text| object::pair(&text))).collect();
        let results = each_good(pairs, |pairs| score(&reranker, pairs))?;
        // Ctrl-C waits until the lines that have been begun are out.
        let _held = interrupt.hold();
        counter.suspend(|| {
            for (line, result) in numbers.into_iter().zip(results) {
                match result {
                    Ok(pair) => {
                        let scores = match scaling {
                            Some(scaling) => vec![scaling.score(pair.logits[0])],
                            None => reranker.scores(mode, &pair.logits)?,
                        };
                        output.json(&Scored::new(index, &pair, &scores, &names))?;
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
        counter.set_position(index);
        end?;
    }
    if bad { Err(Failure::Reported) } else { Ok(()) }
}

/// Reads on while others score. The thread ends with the input, or with the process.
fn read_ahead(mut lines: Lines) -> Result<Receiver<crossrank_eval::Result<Line>>, Failure> {
    let (to, from) = sync_channel(AHEAD);
    let read = move || {
        for line in iter::from_fn(|| lines.next_line().transpose()) {
            let blank = |line: &Line| line.text.as_ref().is_ok_and(|text| text.trim().is_empty());
            if line.as_ref().is_ok_and(blank) {
                continue;
            }
            let failed = line.is_err();
            if to.send(line).is_err() || failed {
                break;
            }
        }
    };
    match thread::Builder::new().name("reader".into()).spawn(read) {
        Ok(_) => Ok(from),
        Err(error) => Err(Failure::about("cannot start the reading thread", error)),
    }
}

/// One for each line or pair; an error is that one's own.
type Each<T> = Vec<Result<T, String>>;

/// Does `work` with those that are good, and puts its results in their places.
fn each_good<T, U>(
    all: Each<T>,
    work: impl FnOnce(&[T]) -> Result<Each<U>, Failure>,
) -> Result<Each<U>, Failure> {
    let mut good = Vec::with_capacity(all.len());
    let bad: Vec<Option<String>> =
        all.into_iter().map(|one| one.map(|value| good.push(value)).err()).collect();
    let mut done = work(&good)?.into_iter();
    Ok(bad.into_iter().filter_map(|bad| bad.map(Err).or_else(|| done.next())).collect())
}

/// Scores pairs together. Where one cannot be scored each is tokenised by itself: that shows which.
fn score(reranker: &Reranker, pairs: &[(String, String)]) -> Result<Each<PairScore>, Failure> {
    let error = match reranker.score_pairs(pairs) {
        Ok(scores) => return Ok(scores.into_iter().map(Ok).collect()),
        Err(error) => error,
    };
    if error.document().is_none() {
        return Err(error.into());
    }
    let mut tokenized = Each::with_capacity(pairs.len());
    for (query, document) in pairs {
        match reranker.tokenize(query, &[document]) {
            Ok(pair) => tokenized.extend(pair.into_iter().map(Ok)),
            Err(error) if error.document().is_some() || matches!(error, Error::Query { .. }) => {
                tokenized.push(Err(describe(&error)));
            }
            Err(error) => return Err(error.into()),
        }
    }
    each_good(tokenized, |pairs| {
        let mut scores = Each::with_capacity(pairs.len());
        score_tokenized(reranker, pairs, &mut scores)?;
        Ok(scores)
    })
}

/// Scores pairs together, and halves them where one cannot be scored until it stands alone: a pair's score does not
/// depend on its company.
fn score_tokenized(
    reranker: &Reranker,
    pairs: &[Tokenized],
    scores: &mut Each<PairScore>,
) -> Result<(), Failure> {
    match (reranker.score_tokenized(pairs), pairs) {
        (Ok(all), _) => scores.extend(all.into_iter().map(Ok)),
        (Err(error), _) if error.document().is_none() => return Err(error.into()),
        (Err(error), [_]) => scores.push(Err(describe(&error))),
        (Err(_), _) => {
            let (left, right) = pairs.split_at(pairs.len() / 2);
            score_tokenized(reranker, left, scores)?;
            score_tokenized(reranker, right, scores)?;
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Scored<'a> {
    index: u64,
    logits: &'a [f32],
    score: Score<'a>,
    tokens: usize,
    truncated: bool,
    /// Names of the labels where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<&'a [String]>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Score<'a> {
    One(f32),
    Several(&'a [f32]),
}

impl<'a> Scored<'a> {
    fn new(index: u64, pair: &'a PairScore, scores: &'a [f32], labels: &'a [String]) -> Self {
        let labels = (labels.len() > 1).then_some(labels);
        let score = match scores {
            [score] => Score::One(*score),
            scores => Score::Several(scores),
        };
        Self { index, logits: &pair.logits, score, tokens: pair.tokens, truncated: pair.truncated, labels }
    }
}

#[derive(Serialize)]
struct Bad<'a> {
    index: u64,
    error: &'a str,
}
