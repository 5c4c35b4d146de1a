//! The report for programs: lines of JSON.

use crossrank_eval::{Evaluation, Metric};
use indexmap::IndexMap;
use serde::Serialize;

use super::{Report, SEED};
use crate::failure::Failure;
use crate::output::Output;

type Metrics = IndexMap<String, f64>;

#[derive(Serialize)]
struct Row<'a> {
    run: &'a str,
    query: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    depth: Option<usize>,
    metrics: Metrics,
    #[serde(skip_serializing_if = "Option::is_none")]
    queries: Option<Queries>,
}

#[derive(Serialize)]
struct Queries {
    judged: usize,
    answered: usize,
    missing: usize,
}

#[derive(Serialize)]
struct Comparison<'a> {
    a: &'a str,
    b: &'a str,
    metric: String,
    delta: f64,
    p_value: f64,
    permutations: usize,
    seed: u64,
}

impl Report {
    /// For each run its queries, if they are asked for, its depths, and the whole; then how two runs differ.
    pub fn json(&self, output: &mut Output) -> Result<(), Failure> {
        for run in &self.runs {
            let name = &*run.name;
            if self.per_query {
                for figures in &run.whole.queries {
                    let metrics = named(&self.metrics, &figures.values);
                    let query = &*figures.query;
                    output.json(&Row { run: name, query, depth: None, metrics, queries: None })?;
                }
            }
            let depths = run.depths.iter().map(|(depth, evaluation)| (Some(*depth), evaluation));
            for (depth, evaluation) in depths.chain([(None, &run.whole)]) {
                let metrics = named(&self.metrics, &evaluation.means(self.mean));
                let queries = Some(queries(evaluation));
                output.json(&Row { run: name, query: "all", depth, metrics, queries })?;
            }
        }
        let [a, b] = &self.runs[..] else { return Ok(()) };
        for difference in &self.differences {
            output.json(&Comparison {
                a: &a.name,
                b: &b.name,
                metric: difference.metric.to_string(),
                delta: difference.delta,
                p_value: difference.significance.p_value,
                permutations: difference.significance.permutations,
                seed: SEED,
            })?;
        }
        Ok(())
    }
}

fn named(metrics: &[Metric], values: &[f64]) -> Metrics {
    metrics.iter().map(Metric::to_string).zip(values.iter().copied()).collect()
}

fn queries(evaluation: &Evaluation) -> Queries {
    let (judged, answered) = (evaluation.queries.len(), evaluation.answered);
    Queries { judged, answered, missing: evaluation.missing() }
}
