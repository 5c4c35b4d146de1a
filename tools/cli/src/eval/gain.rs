//! What a model adds to a first stage, by depth, and what it costs.

mod report;

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use crossrank_eval::significance::{PERMUTATIONS, Significance, randomisation};
use crossrank_eval::{Judgements, Mean, Metric, Outcome, Queries, Query};

use super::{SEED, distinct, plot, tell_of_judgements};
use crate::args::{EvalArgs, GainArgs, RankArgs, ReportFormat};
use crate::failure::{Failure, say};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::rerank::ranker::{Candidates, Ranker};
use crate::search::candidates::{Candidate, FirstStage, first_scores};
use crate::search::corpus::{Corpus, told};
use crate::search::of_query;
use crate::{model, progress};

/// Where none are asked for: what a retriever usually gives, and how much of it may do.
const DEPTHS: [usize; 5] = [5, 10, 20, 50, 100];

/// What was measured.
struct Gain {
    first_stage: String,
    model: String,
    metrics: Vec<Metric>,
    mean: Mean,
    /// How many queries have judgements.
    judged: usize,
    /// How many of them have candidates.
    answered: usize,
    first: Stage,
    /// By how many candidates are ranked, fewest first.
    depths: Vec<Depth>,
}

/// The figures of one way to rank.
#[derive(Default)]
struct Stage {
    /// Of each query that has candidates, a value for each metric.
    values: Vec<Vec<f64>>,
    /// Over all of them.
    time: Duration,
}

struct Depth {
    depth: usize,
    stage: Stage,
    /// By the first metric, against the first stage.
    delta: f64,
    significance: Significance,
}

/// Runs the command.
pub fn run(args: &EvalArgs, interrupt: &Interrupt) -> Result<(), Failure> {
    let GainArgs { corpus, index, queries, run, plot, rank } = &args.gain;
    // Both are required.
    let (Some(corpus), Some(queries)) = (corpus, queries) else { return Ok(()) };
    let inputs = [Some(&args.qrels), Some(corpus), Some(queries), run.as_ref()];
    if inputs.into_iter().flatten().filter(|input| **input == *Path::new("-")).count() > 1 {
        return Err(Failure::about("-", "expected one input from stdin, found several"));
    }
    let mut depths = if args.depths.is_empty() { DEPTHS.to_vec() } else { distinct(&args.depths) };
    depths.sort_unstable();
    let deepest = depths.last().copied().unwrap_or_default();

    let judgements = Judgements::open(&args.qrels)?;
    let queries = judged(queries, &judgements)?;
    let mut ranker = Ranker::load(rank)?;
    let corpus = Corpus::open(corpus, index.as_deref(), None, false)?;
    let mut first_stage = FirstStage::new(run.as_deref(), deepest, &corpus.index)?;
    let documents = corpus.index.documents();
    let mut gain = Gain {
        first_stage: format!("{}; {documents} documents", first_stage.description()),
        model: models(&ranker),
        metrics: distinct(&args.metrics),
        mean: if args.retrieved_only { Mean::Answered } else { Mean::Judged },
        judged: judgements.queries().len(),
        answered: 0,
        first: Stage::default(),
        depths: vec![],
    };
    ranker.start();
    let stages = gain.measure(&queries, &judgements, (&mut first_stage, &depths), (&ranker, rank))?;
    first_stage.report();
    gain.tell(&judgements, queries.len());
    gain.compare(depths.into_iter().zip(stages));
    if let Some(path) = plot {
        plot::write(path, &gain.curve())?;
    }

    // Until here Ctrl-C ends the process at once; output that has begun is written to its end.
    let _held = interrupt.hold();
    interrupt.check()?;
    let mut output = Output::new();
    match args.format {
        ReportFormat::Text => gain.text(&mut output)?,
        ReportFormat::Json => gain.json(&mut output)?,
    }
    output.flush()
}

/// The queries that have judgements.
fn judged(path: &Path, judgements: &Judgements) -> Result<Vec<Query>, Failure> {
    let mut all = Vec::new();
    let mut count = 0;
    for query in Queries::open(path).map_err(told)? {
        let query = query.map_err(told)?;
        count += 1;
        if judgements.of(&query.id).is_some() {
            all.push(query);
        }
    }
    if all.is_empty() {
        let what = format!("expected a query that {} judges, found none among {count}", judgements.name());
        return Err(Failure::about(path.display(), what));
    }
    Ok(all)
}

/// What ranks, in a line.
fn models(ranker: &Ranker<'_>) -> String {
    let stages: Vec<String> = ranker.stages().map(|(args, _)| model::name(args)).collect();
    let info = ranker.last().info();
    format!("{}: {} on {}, {} threads", stages.join(", then "), info.dtype, info.isa, info.threads)
}

impl Gain {
    /// Takes the figures of the first stage, and gives those of each depth.
    fn measure(
        &mut self,
        queries: &[Query],
        judgements: &Judgements,
        (first_stage, depths): (&mut FirstStage<'_>, &[usize]),
        (ranker, args): (&Ranker<'_>, &RankArgs),
    ) -> Result<Vec<Stage>, Failure> {
        let mut stages: Vec<Stage> = depths.iter().map(|_| Stage::default()).collect();
        let counter = progress::counter_beside_output("queries ranked at each depth");
        for query in queries {
            let Some(judged) = judgements.of(&query.id) else { continue };
            let start = Instant::now();
            let candidates = first_stage.candidates(query)?;
            let time = start.elapsed();
            counter.inc(1);
            if candidates.is_empty() {
                continue;
            }
            let values = |order: &mut dyn Iterator<Item = usize>| {
                let grades = order.map(|at| judged.grade(&candidates[at].id));
                let outcome = Outcome::new(grades, judged.iter().map(|(_, grade)| grade));
                self.metrics.iter().map(|metric| metric.of(&outcome)).collect::<Vec<_>>()
            };
            self.first.add(values(&mut (0..candidates.len())), time);
            if self.answered == 0 {
                // What happens once, memory that grows and pages that come in, is no part of any depth.
                order(ranker, args, query, &candidates)?;
            }
            self.answered += 1;
            let mut last = (0, vec![], Duration::ZERO);
            for (&depth, stage) in depths.iter().zip(&mut stages) {
                let count = depth.min(candidates.len());
                if count > last.0 {
                    let start = Instant::now();
                    let order = order(ranker, args, query, &candidates[..count])?;
                    last = (
                        count,
                        values(&mut order.into_iter().chain(count..candidates.len())),
                        start.elapsed(),
                    );
                }
                stage.add(last.1.clone(), last.2);
            }
        }
        Ok(stages)
    }

    /// Says which queries count for nothing, or not as a reader may think.
    fn tell(&self, judgements: &Judgements, asked: usize) {
        let fate = match self.mean {
            Mean::Judged => "they count as 0",
            Mean::Answered => "they are left out",
        };
        let missing = self.judged - asked;
        if missing > 0 {
            let what = format!("{missing} of {} queries are not among the queries: {fate}", self.judged);
            say("note", &format!("{}: {what}", judgements.name()));
        }
        let empty = asked - self.answered;
        if empty > 0 {
            say("note", &format!("{empty} of {} judged queries have no candidates: {fate}", self.judged));
        }
        tell_of_judgements(judgements);
    }

    fn compare(&mut self, stages: impl Iterator<Item = (usize, Stage)>) {
        let done = std::sync::atomic::AtomicUsize::new(0);
        let stages: Vec<_> = stages.collect();
        self.depths = progress::watch("comparing", stages.len() * PERMUTATIONS, &done, || {
            let depth = |(depth, stage): (usize, Stage)| {
                let pairs = self.first.values.iter().zip(&stage.values);
                let differences: Vec<f64> =
                    pairs.filter_map(|(first, ranked)| Some(ranked.first()? - first.first()?)).collect();
                let significance = randomisation(&differences, SEED, &done);
                Depth { depth, delta: self.mean_of(differences.iter()), significance, stage }
            };
            stages.into_iter().map(depth).collect()
        });
    }

    /// A mean over queries, of values that those without candidates have as 0.
    fn mean_of<'a>(&self, values: impl Iterator<Item = &'a f64>) -> f64 {
        let count = if self.mean == Mean::Judged { self.judged } else { self.answered };
        values.sum::<f64>() / count.max(1) as f64
    }

    /// The mean of each metric.
    fn means(&self, stage: &Stage) -> Vec<f64> {
        let of = |i: usize| stage.values.iter().filter_map(move |values| values.get(i));
        (0..self.metrics.len()).map(|i| self.mean_of(of(i))).collect()
    }

    /// Milliseconds a query that has candidates.
    fn milliseconds(&self, stage: &Stage) -> f64 {
        stage.time.as_secs_f64() * 1e3 / self.answered.max(1) as f64
    }

    /// The depth that adds most, the least of several; none if none adds anything.
    fn best(&self) -> Option<&Depth> {
        let adds = self.depths.iter().filter(|depth| depth.delta > 0.0);
        adds.reduce(|best, depth| if depth.delta > best.delta { depth } else { best })
    }

    fn curve(&self) -> plot::Curve {
        let first = |stage: &Stage| self.means(stage).first().copied().unwrap_or_default();
        let point = |it: &Depth| plot::Point {
            depth: it.depth,
            quality: first(&it.stage),
            milliseconds: self.milliseconds(&it.stage),
        };
        plot::Curve {
            metric: self.metrics.first().map(ToString::to_string).unwrap_or_default(),
            first_stage: first(&self.first),
            points: self.depths.iter().map(point).collect(),
        }
    }
}

impl Stage {
    fn add(&mut self, values: Vec<f64>, time: Duration) {
        self.values.push(values);
        self.time += time;
    }
}

/// Candidates in the model's order; those that a cascade did not keep follow in the first stage's.
fn order(
    ranker: &Ranker<'_>,
    args: &RankArgs,
    query: &Query,
    documents: &[Candidate],
) -> Result<Vec<usize>, Failure> {
    let first_scores = first_scores(args.stages.fuse.0, documents);
    let work = Candidates { documents, first_scores, top_k: None, scored: Default::default() };
    let outcome = ranker.rank(&query.text, work).map_err(|error| of_query(query, documents, &error))?;
    let mut order: Vec<usize> = outcome.ranking.iter().map(|ranked| ranked.index).collect();
    let kept: HashSet<usize> = order.iter().copied().collect();
    order.extend((0..documents.len()).filter(|at| !kept.contains(at)));
    Ok(order)
}
