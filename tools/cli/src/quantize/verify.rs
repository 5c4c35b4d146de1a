//! The fidelity gate: whether the result ranks as its source does.

use std::path::Path;
use std::sync::atomic::AtomicUsize;

use crossrank::Reranker;
use serde::Serialize;

use crate::args::QuantizeArgs;
use crate::failure::{Failure, describe};
use crate::fidelity::{CANDIDATES, EvalSet, Fidelity, compare, logits, logits_file};
use crate::progress;

/// How far the figures may be off.
const NDCG_DIFFERENCE: f64 = 0.003;
const OVERLAP: f64 = 0.97;
const KENDALL_TAU: f64 = 0.975;
const MEAN_DELTA: f64 = 0.025;
const WORST_DELTA: f64 = 0.15;

/// Reads what the models will be compared on, before there is a result: a mistake in it costs no time and leaves
/// nothing.
pub fn prepare(args: &QuantizeArgs, source: &Reranker) -> Result<Option<EvalSet>, Failure> {
    let Some(folder) = &args.verify else { return Ok(None) };
    if source.labels() != 1 {
        let reason = format!("expected a model with one label, which ranks, found {}", source.labels());
        return Err(Failure::about("--verify", reason));
    }
    if let Some(file) = &args.logits {
        let inputs = [Some(&args.model_dir), Some(folder), args.run.as_ref(), args.calibrate.as_ref()];
        logits_file::check(file, inputs.into_iter().flatten(), &args.out_dir)?;
    }
    EvalSet::read(folder, args.run.as_ref(), args.queries).map(Some)
}

/// The gate's verdict, and what it rests on.
#[derive(Serialize)]
pub struct Verdict {
    passed: bool,
    /// How many queries there were before they were cut to the first few.
    all_queries: usize,
    /// Of the result; the source's is f32.
    dtype: &'static str,
    isa: &'static str,
    figures: Fidelity,
    checks: [Check; 5],
    /// Of the source and of the result.
    #[serde(skip)]
    logits: [Vec<Vec<f32>>; 2],
}

#[derive(Serialize)]
struct Check {
    figure: &'static str,
    value: f64,
    limit: f64,
    holds: bool,
}

impl Check {
    fn at_most(figure: &'static str, value: f64, limit: f64) -> Self {
        Self { figure, value, limit, holds: value.abs() <= limit }
    }

    fn at_least(figure: &'static str, value: f64, limit: f64) -> Self {
        Self { figure, value, limit, holds: value >= limit }
    }

    fn verdict(&self) -> &'static str {
        if self.holds { "holds" } else { "FAILS" }
    }
}

fn checks(figures: &Fidelity) -> [Check; 5] {
    let difference = figures.other.ndcg10 - figures.reference.ndcg10;
    [
        Check::at_most("ndcg10_difference", difference, NDCG_DIFFERENCE),
        Check::at_least("overlap10", figures.overlap10, OVERLAP),
        Check::at_least("kendall_tau", figures.kendall_tau, KENDALL_TAU),
        Check::at_most("mean_delta", figures.mean_delta, MEAN_DELTA),
        Check::at_most("worst_delta", figures.worst_delta, WORST_DELTA),
    ]
}

/// Scores with the source and with the result that was written, and compares.
pub fn verify(args: &QuantizeArgs, source_model: &Reranker, set: &EvalSet) -> Result<Verdict, Failure> {
    let (source, result) = (&args.model_dir, &args.out_dir);
    let about = |folder: &Path, reason: &str| Failure::about(folder.display(), reason);
    let loaded = Reranker::builder().dtype(args.dtype.into()).load(result);
    let result_model = loaded.map_err(|error| about(result, &describe(&error)))?;
    let done = AtomicUsize::new(0);
    let (reference, other) = progress::watch("verifying", 2 * set.pairs(), &done, || {
        let score = |model: &Reranker, folder: &Path| {
            logits(set, model, &done).map_err(|failure| match failure {
                Failure::Message(reason) => about(folder, &reason),
                other => other,
            })
        };
        Ok::<_, Failure>((score(source_model, source)?, score(&result_model, result)?))
    })?;
    let figures = compare(set, &reference, &other).map_err(|reason| about(source, &reason))?;
    let checks = checks(&figures);
    let info = result_model.info();
    Ok(Verdict {
        passed: checks.iter().all(|check| check.holds),
        all_queries: set.all_queries,
        dtype: info.dtype,
        isa: info.isa,
        figures,
        checks,
        logits: [reference, other],
    })
}

impl Verdict {
    /// For people.
    pub fn facts(&self, args: &QuantizeArgs) -> Vec<(&'static str, String)> {
        let figures = &self.figures;
        let mut queries = figures.queries.to_string();
        if figures.queries < self.all_queries {
            queries = format!("the first {queries} of {}", self.all_queries);
        }
        let by = args.run.as_ref().map_or_else(|| "BM25".to_owned(), |run| run.display().to_string());
        let unfound = match figures.queries_without_candidates {
            0 => String::new(),
            count => format!("; none for {count} of the queries"),
        };
        let quality = |ndcg: f64, mrr: f64| format!("nDCG@10 {ndcg:.4}, MRR@10 {mrr:.4}");
        let (reference, other) = (figures.reference, figures.other);
        let percent = |share: f64| format!("{:.2} %", 100.0 * share);
        let [ndcg, overlap, tau, mean, worst] = &self.checks;
        let (query, document) = &figures.worst_pair;
        vec![
            ("queries", format!("{queries}, {} with a relevant document", figures.judged_queries)),
            (
                "candidates",
                format!("{} pairs, at most {CANDIDATES} a query, by {by}{unfound}", figures.pairs),
            ),
            ("source", format!("{}, in f32 on {}", quality(reference.ndcg10, reference.mrr10), self.isa)),
            ("result", format!("{}, in {} on {}", quality(other.ndcg10, other.mrr10), self.dtype, self.isa)),
            (
                "nDCG@10 moved by",
                format!("{:+.4}, at most {NDCG_DIFFERENCE}: {}", ndcg.value, ndcg.verdict()),
            ),
            ("MRR@10 moved by", format!("{:+.4}", other.mrr10 - reference.mrr10)),
            ("top-10 overlap", format!("{:.4}, at least {OVERLAP}: {}", overlap.value, overlap.verdict())),
            ("Kendall's tau-b", format!("{:.4}, at least {KENDALL_TAU}: {}", tau.value, tau.verdict())),
            (
                "mean delta logit",
                format!(
                    "{} of {:.4}, the standard deviation of the source's, at most {}: {}",
                    percent(mean.value),
                    figures.logit_sd,
                    percent(MEAN_DELTA),
                    mean.verdict()
                ),
            ),
            (
                "worst delta logit",
                format!(
                    "{} of it, at most {}: {} (query {query}, document {document})",
                    percent(worst.value),
                    percent(WORST_DELTA),
                    worst.verdict()
                ),
            ),
            ("fidelity", if self.passed { "passed" } else { "FAILED" }.to_owned()),
        ]
    }

    /// Writes the logits that were compared, if they were asked for.
    pub fn write_logits(&self, args: &QuantizeArgs, set: &EvalSet) -> Result<(), Failure> {
        let [reference, quantized] = &self.logits;
        args.logits.as_ref().map_or(Ok(()), |file| logits_file::write(file, set, reference, quantized))
    }

    /// An error when a limit does not hold.
    pub fn check(&self, result: &Path) -> Result<(), Failure> {
        if self.passed {
            return Ok(());
        }
        let off: Vec<String> = self
            .checks
            .iter()
            .filter(|check| !check.holds)
            .map(|check| format!("{} is {:.4} (limit {})", check.figure, check.value, check.limit))
            .collect();
        let reason = format!("it does not rank as its source does: {}; it stays where it is", off.join(", "));
        Err(Failure::about(result.display(), reason))
    }
}

/// An error after the result was written, in words that say that it was.
pub fn unverified(result: &Path, failure: Failure) -> Failure {
    match failure {
        Failure::Message(reason) => {
            let written = format!("{} is written, but not verified", result.display());
            Failure::about(written, reason)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Fidelity {
        Fidelity {
            overlap10: 0.97,
            kendall_tau: 0.975,
            mean_delta: 0.025,
            worst_delta: 0.15,
            ..Fidelity::default()
        }
    }

    fn off(change: impl FnOnce(&mut Fidelity)) -> Vec<&'static str> {
        let mut figures = figures();
        change(&mut figures);
        checks(&figures).iter().filter(|check| !check.holds).map(|check| check.figure).collect()
    }

    #[test]
    fn each_limit_holds_at_its_value_and_fails_beyond() {
        assert_eq!(off(|_| ()), [""; 0]);
        assert_eq!(off(|figures| figures.other.ndcg10 = 0.003), [""; 0]);
        assert_eq!(off(|figures| figures.other.ndcg10 = 0.0031), ["ndcg10_difference"]);
        assert_eq!(off(|figures| figures.reference.ndcg10 = 0.0031), ["ndcg10_difference"]);
        assert_eq!(off(|figures| figures.overlap10 = 0.9699), ["overlap10"]);
        assert_eq!(off(|figures| figures.kendall_tau = 0.9749), ["kendall_tau"]);
        assert_eq!(off(|figures| figures.mean_delta = 0.0251), ["mean_delta"]);
        assert_eq!(off(|figures| figures.worst_delta = 0.1501), ["worst_delta"]);
    }

    #[test]
    fn what_is_no_number_holds_nothing() {
        assert_eq!(off(|figures| figures.overlap10 = f64::NAN), ["overlap10"]);
        assert_eq!(off(|figures| figures.worst_delta = f64::NAN), ["worst_delta"]);
    }
}
