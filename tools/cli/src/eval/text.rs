//! The report for people: a table of metrics by runs, and of depths.

use std::path::Path;

use crossrank_eval::Mean;
use crossrank_eval::significance::PERMUTATIONS;
use unicode_width::UnicodeWidthStr;

use super::{Evaluated, Report};
use crate::failure::Failure;
use crate::output::Output;
use crate::text::printable;

/// The longest name of a run that heads a column, in characters.
const NAME: usize = 40;
/// The longest id of a query, in characters.
const ID: usize = 300;

/// A number of queries.
type Count = fn(&Evaluated) -> usize;

impl Report {
    /// Each query's figures in `trec_eval`'s form, if they are asked for; then the tables.
    pub fn text(&self, output: &mut Output) -> Result<(), Failure> {
        let names = self.names();
        if self.per_query {
            for (run, name) in self.runs.iter().zip(&names) {
                self.queries(run, name, output)?;
            }
            output.line(String::new())?;
        }
        let mut rows = vec![[String::new()].into_iter().chain(names.iter().cloned()).collect::<Vec<_>>()];
        let means: Vec<Vec<f64>> = self.runs.iter().map(|run| run.whole.means(self.mean)).collect();
        for (i, metric) in self.metrics.iter().enumerate() {
            let values = means.iter().filter_map(|means| means.get(i)).map(|mean| format!("{mean:.4}"));
            rows.push([metric.to_string()].into_iter().chain(values).collect());
        }
        if !self.differences.is_empty() {
            rows[0].extend(["delta".to_owned(), "p".to_owned()]);
            for (row, it) in rows.iter_mut().skip(1).zip(&self.differences) {
                row.extend([format!("{:+.4}", it.delta), probability(it.significance.p_value)]);
            }
        }
        let counts: [(&str, Count); 3] = [
            ("judged queries", |run| run.whole.queries.len()),
            ("with results", |run| run.whole.answered),
            ("without results", |run| run.whole.missing()),
        ];
        for (name, count) in counts {
            let counts = self.runs.iter().map(|run| count(run).to_string());
            rows.push([name.to_owned()].into_iter().chain(counts).collect());
        }
        for line in aligned(&rows) {
            output.line(line)?;
        }
        for (run, name) in self.runs.iter().zip(&names) {
            self.depths(run, name, output)?;
        }
        output.line(String::new())?;
        output.line(match self.mean {
            Mean::Judged => "Means over all judged queries; those without results count as 0.".to_owned(),
            Mean::Answered => "Means over the judged queries with results.".to_owned(),
        })?;
        if !self.differences.is_empty() {
            let test = "p of a two-sided paired randomisation test";
            output.line(format!("{test}, of at most {PERMUTATIONS} permutations."))?;
        }
        Ok(())
    }

    /// The names of their files, or paths where several files have one name.
    fn names(&self) -> Vec<String> {
        let short = |run: &Evaluated| {
            Path::new(&run.name).file_name().map_or(run.name.clone(), |name| name.display().to_string())
        };
        let mut names: Vec<String> = self.runs.iter().map(short).collect();
        let twice = names.iter().enumerate().any(|(i, name)| names[..i].contains(name));
        if twice {
            names = self.runs.iter().map(|run| run.name.clone()).collect();
        }
        names.iter().map(|name| printable(name, NAME)).collect()
    }

    /// `%-22s\t%s\t%6.4f`: metric, query, value; and the run, where there are several.
    fn queries(&self, run: &Evaluated, name: &str, output: &mut Output) -> Result<(), Failure> {
        let last = if self.runs.len() > 1 { format!("\t{name}") } else { String::new() };
        let means = run.whole.means(self.mean);
        let queries = run.whole.queries.iter().map(|figures| (&*figures.query, &figures.values));
        for (query, values) in queries.chain([("all", &means)]) {
            let query = printable(query, ID);
            for (metric, value) in self.metrics.iter().zip(values) {
                output.line(format!("{metric:<22}\t{query}\t{value:6.4}{last}"))?;
            }
        }
        Ok(())
    }

    /// A line for each depth, the whole ranking last.
    fn depths(&self, run: &Evaluated, name: &str, output: &mut Output) -> Result<(), Failure> {
        if run.depths.is_empty() {
            return Ok(());
        }
        let heads = self.metrics.iter().map(ToString::to_string);
        let mut rows: Vec<Vec<String>> = vec![[format!("{name}, first")].into_iter().chain(heads).collect()];
        let depths = run.depths.iter().map(|(depth, evaluation)| (depth.to_string(), evaluation));
        for (depth, evaluation) in depths.chain([("all".to_owned(), &run.whole)]) {
            let means = evaluation.means(self.mean).into_iter().map(|mean| format!("{mean:.4}"));
            rows.push([depth].into_iter().chain(means).collect());
        }
        output.line(String::new())?;
        aligned(&rows).into_iter().try_for_each(|line| output.line(line))
    }
}

/// Columns to the right, but for the first; none of them touch.
pub(super) fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let widths: Vec<usize> =
        (0..columns).map(|column| cells(column).map(|cell| cell.width()).max().unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let mut line = String::new();
        for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let space = " ".repeat(width - cell.width());
            line += &if i == 0 { format!("{cell}{space}") } else { format!("  {space}{cell}") };
        }
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

pub(super) fn probability(p: f64) -> String {
    if p < 0.0001 { format!("{p:.0e}") } else { format!("{p:.4}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_width() {
        let rows = [vec!["", "東京", "b"], vec!["ndcg@10", "0.5", "1"], vec!["all"]];
        let rows = rows.map(|row| row.into_iter().map(str::to_owned).collect());
        assert_eq!(aligned(&rows), ["         東京  b", "ndcg@10   0.5  1", "all"]);
    }
}
