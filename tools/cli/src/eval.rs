//! `crossrank eval`: runs against judgements.

mod gain;
mod plot;
mod report;
mod text;

use std::path::Path;
use std::sync::atomic::AtomicUsize;

use crossrank_eval::significance::{PERMUTATIONS, Significance, randomisation};
use crossrank_eval::{Evaluation, Judgements, Mean, Metric, Run};

use crate::args::{EvalArgs, ReportFormat};
use crate::failure::{Failure, say};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::progress;
use crate::text::printable;

/// Where the signs of the test are drawn from; the same figures come out in every run.
const SEED: u64 = 1;

/// What is reported.
struct Report {
    metrics: Vec<Metric>,
    mean: Mean,
    per_query: bool,
    runs: Vec<Evaluated>,
    /// Where there are two runs, one for each metric.
    differences: Vec<Difference>,
}

/// A run, and what it is worth.
struct Evaluated {
    name: String,
    whole: Evaluation,
    /// By how many documents of each ranking count.
    depths: Vec<(usize, Evaluation)>,
}

/// How the second of two runs differs from the first by a metric.
struct Difference {
    metric: Metric,
    delta: f64,
    significance: Significance,
}

/// Runs the command.
pub fn run(args: &EvalArgs, interrupt: &Interrupt) -> Result<(), Failure> {
    if args.against_first_stage {
        return gain::run(args, interrupt);
    }
    let inputs = || args.runs.iter().chain([&args.qrels]);
    if inputs().filter(|input| **input == *Path::new("-")).count() > 1 {
        return Err(Failure::about("-", "expected one input from stdin, found several"));
    }
    let metrics = distinct(&args.metrics);
    let depths = distinct(&args.depths);
    let mean = if args.retrieved_only { Mean::Answered } else { Mean::Judged };

    let bar = progress::steps(inputs().count());
    bar.set_message("reading judgements");
    let judgements = Judgements::open(&args.qrels)?;
    bar.inc(1);
    let mut runs = Vec::new();
    for path in &args.runs {
        bar.set_message(format!("reading {}", printable(&path.display().to_string(), 60)));
        let run = Run::open(path)?;
        let evaluate = |depth| Evaluation::new(&judgements, &run, &metrics, depth);
        let whole = evaluate(None)?;
        let depths = depths.iter().map(|&depth| Ok((depth, evaluate(Some(depth))?)));
        let depths = depths.collect::<Result<Vec<_>, Failure>>()?;
        bar.suspend(|| tell(&run, &judgements, &whole, &depths, mean));
        runs.push(Evaluated { name: run.name().to_owned(), whole, depths });
        bar.inc(1);
    }
    bar.finish_and_clear();
    tell_of_judgements(&judgements);
    let differences = match &runs[..] {
        [a, b] => compare(a, b, &metrics, mean),
        _ => Vec::new(),
    };

    let report = Report { metrics, mean, per_query: args.per_query, runs, differences };
    // Until here Ctrl-C ends the process at once; output that has begun is written to its end.
    let _held = interrupt.hold();
    interrupt.check()?;
    let mut output = Output::new();
    match args.format {
        ReportFormat::Text => report.text(&mut output)?,
        ReportFormat::Json => report.json(&mut output)?,
    }
    output.flush()
}

/// Each once, in the order in which they come first.
fn distinct<T: Copy + PartialEq>(all: &[T]) -> Vec<T> {
    let mut kept = Vec::new();
    for one in all {
        if !kept.contains(one) {
            kept.push(*one);
        }
    }
    kept
}

fn compare(a: &Evaluated, b: &Evaluated, metrics: &[Metric], mean: Mean) -> Vec<Difference> {
    let both = a.whole.differences(&b.whole, 0, mean).len();
    if both == 0 {
        say("note", "no judged query has results in both runs: they are not compared");
        return Vec::new();
    }
    let done = AtomicUsize::new(0);
    progress::watch("comparing", metrics.len() * PERMUTATIONS, &done, || {
        let difference = |(i, &metric): (usize, &Metric)| {
            let differences = a.whole.differences(&b.whole, i, mean);
            let delta = differences.iter().sum::<f64>() / differences.len() as f64;
            Difference { metric, delta, significance: randomisation(&differences, SEED, &done) }
        };
        metrics.iter().enumerate().map(difference).collect()
    })
}

/// Says what of a run does not count as a reader may think.
fn tell(run: &Run, judgements: &Judgements, whole: &Evaluation, depths: &[(usize, Evaluation)], mean: Mean) {
    let note = |what: String| say("note", &format!("{}: {what}", run.name()));
    let judged = whole.queries.len();
    if whole.missing() > 0 {
        let fate = match mean {
            Mean::Judged => "they count as 0",
            Mean::Answered => "they are left out",
        };
        note(format!("no results for {} of {judged} judged queries: {fate}", whole.missing()));
    }
    if whole.unjudged > 0 {
        let (unjudged, all) = (whole.unjudged, run.queries().len());
        note(format!("{unjudged} of {all} queries are not in {}: they do not count", judgements.name()));
    }
    let mut ties = whole.ties.clone();
    ties.extend(depths.iter().flat_map(|(_, evaluation)| evaluation.ties.clone()));
    for (cutoff, count) in ties.into_iter().filter(|(_, count)| *count > 0) {
        note(format!(
            "in {count} of {judged} queries documents {cutoff} and {} have equal scores: their ids decide which one counts",
            cutoff.saturating_add(1)
        ));
    }
    tell_of_comments(run.name(), run.comments());
}

fn tell_of_judgements(judgements: &Judgements) {
    let queries = judgements.queries().filter_map(|query| judgements.of(query));
    let without = queries.filter(|judged| judged.iter().all(|(_, grade)| grade <= 0)).count();
    if without > 0 {
        let all = judgements.queries().len();
        let what = format!("{without} of {all} queries have no relevant document: they count as 0");
        say("note", &format!("{}: {what}", judgements.name()));
    }
    tell_of_comments(judgements.name(), judgements.comments());
}

fn tell_of_comments(name: &str, count: usize) {
    if count > 0 {
        say("note", &format!("{name}: lines that begin with #, which were passed over: {count}"));
    }
}
