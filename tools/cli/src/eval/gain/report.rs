//! How it is told.

use crossrank_eval::Mean;
use crossrank_eval::significance::PERMUTATIONS;
use indexmap::IndexMap;
use serde::Serialize;

use super::{Depth, Gain, SEED, Stage};
use crate::eval::text::{aligned, probability};
use crate::failure::Failure;
use crate::output::Output;

/// A gain that this much of the best is as good.
const NEARLY: f64 = 0.95;

/// Above it a difference may well be chance.
const CHANCE: f64 = 0.05;

#[derive(Serialize)]
struct First<'a> {
    stage: &'a str,
    metrics: IndexMap<String, f64>,
    ms: f64,
}

#[derive(Serialize)]
struct AtDepth {
    depth: usize,
    metrics: IndexMap<String, f64>,
    delta: f64,
    p_value: f64,
    permutations: usize,
    seed: u64,
    ms: f64,
}

#[derive(Serialize)]
struct Whole<'a> {
    first_stage: &'a str,
    model: &'a str,
    metric: String,
    best_depth: Option<usize>,
    queries: Counts,
}

#[derive(Serialize)]
struct Counts {
    judged: usize,
    answered: usize,
    missing: usize,
}

impl Gain {
    /// A table, and what it comes to.
    pub(super) fn text(&self, output: &mut Output) -> Result<(), Failure> {
        output.line(self.first_stage.clone())?;
        output.line(self.model.clone())?;
        output.line(String::new())?;
        let row = |name: String, stage: &Stage, delta: String, p: String| {
            let ms = self.milliseconds(stage);
            let ms = if ms < 10.0 { format!("{ms:.2}") } else { format!("{ms:.1}") };
            let values = self.means(stage).into_iter().map(|mean| format!("{mean:.4}"));
            [name].into_iter().chain(values).chain([delta, p, ms]).collect::<Vec<_>>()
        };
        let heads = self.metrics.iter().map(ToString::to_string);
        let last = ["delta", "p", "ms"].map(str::to_owned);
        let mut rows = vec![[String::new()].into_iter().chain(heads).chain(last).collect()];
        rows.push(row("first stage".into(), &self.first, String::new(), String::new()));
        for Depth { depth, stage, delta, significance } in &self.depths {
            let delta = format!("{delta:+.4}");
            rows.push(row(format!("depth {depth}"), stage, delta, probability(significance.p_value)));
        }
        aligned(&rows).into_iter().try_for_each(|line| output.line(line))?;
        output.line(String::new())?;
        self.conclusion().into_iter().try_for_each(|line| output.line(line))?;
        output.line(String::new())?;
        let over = match self.mean {
            Mean::Judged => "all judged queries; those without candidates count as 0",
            Mean::Answered => "the judged queries with candidates",
        };
        output.line(format!("Means over {over} ({} of {} have candidates).", self.answered, self.judged))?;
        output.line(format!(
            "p of a two-sided paired randomisation test, of at most {PERMUTATIONS} permutations; ms is the mean time of a query."
        ))
    }

    /// What the table comes to, in sentences.
    fn conclusion(&self) -> Vec<String> {
        let metric = self.metrics.first().map(ToString::to_string).unwrap_or_default();
        let Some(best) = self.best() else {
            return vec![format!(
                "No depth is better than the first stage by {metric}: this model does not help here."
            )];
        };
        let chance = if best.significance.p_value > CHANCE { ", which may be chance" } else { "" };
        let p = probability(best.significance.p_value);
        let mut lines =
            vec![format!("{metric} is best at depth {}: {:+.4} (p {p}{chance}).", best.depth, best.delta)];
        let enough = self.depths.iter().find(|depth| depth.delta >= NEARLY * best.delta);
        if let Some(enough) = enough.filter(|enough| enough.depth < best.depth) {
            let share = 100.0 * enough.delta / best.delta;
            let times = self.milliseconds(&enough.stage) / self.milliseconds(&best.stage);
            lines.push(format!(
                "Depth {} has {share:.0} % of that gain, in {:.0} % of the time.",
                enough.depth,
                100.0 * times
            ));
        }
        if let Some(last) = self.depths.last().filter(|last| last.delta < best.delta) {
            lines.push(format!("Deeper it falls: depth {} adds {:+.4}.", last.depth, last.delta));
        }
        lines
    }

    /// The first stage, each depth, and the whole.
    pub(super) fn json(&self, output: &mut Output) -> Result<(), Failure> {
        let metrics =
            |stage: &Stage| self.metrics.iter().map(ToString::to_string).zip(self.means(stage)).collect();
        let ms = |stage: &Stage| self.milliseconds(stage);
        output.json(&First { stage: "first", metrics: metrics(&self.first), ms: ms(&self.first) })?;
        for Depth { depth, stage, delta, significance } in &self.depths {
            output.json(&AtDepth {
                depth: *depth,
                metrics: metrics(stage),
                delta: *delta,
                p_value: significance.p_value,
                permutations: significance.permutations,
                seed: SEED,
                ms: ms(stage),
            })?;
        }
        let (judged, answered) = (self.judged, self.answered);
        output.json(&Whole {
            first_stage: &self.first_stage,
            model: &self.model,
            metric: self.metrics.first().map(ToString::to_string).unwrap_or_default(),
            best_depth: self.best().map(|best| best.depth),
            queries: Counts { judged, answered, missing: judged - answered },
        })
    }
}
