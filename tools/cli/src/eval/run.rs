//! Candidates from a run of another search engine.

use std::collections::HashSet;
use std::path::Path;

use super::CANDIDATES;
use super::metrics::best_first;
use super::set::{Ids, expected, fields, known};
use crate::failure::Failure;
use crate::input::Lines;

/// Reads a TREC run: query, `Q0`, document, rank, score, tag. Gives the best documents of each query by score and takes
/// no notice of ranks, as `trec_eval`; of equal scores the one that comes first, where that goes by the name.
pub fn read(path: &Path, queries: &Ids, documents: &Ids) -> Result<Vec<Vec<usize>>, Failure> {
    let mut found: Vec<Vec<(usize, f64)>> = vec![Vec::new(); queries.len()];
    let mut seen = HashSet::new();
    Lines::open(Some(path))?.for_each(|line| {
        let names = ["query", "Q0", "document", "rank", "score", "tag"];
        let [query, _, document, _, score, _] = fields(line, names)?;
        let query = known(queries, "query", query, "queries.tsv")?;
        let index = known(documents, "document", document, "corpus.jsonl")?;
        let value: Option<f64> = score.parse().ok().filter(|score: &f64| !score.is_nan());
        let value = value.ok_or_else(|| expected("score", "a number", score))?;
        if !seen.insert((query, index)) {
            return Err(expected("document", "one that this query has not yet", document));
        }
        found[query].push((index, value));
        Ok(())
    })?;
    let best = |mut found: Vec<(usize, f64)>| {
        found.sort_by(|(_, a), (_, b)| best_first(a, b));
        found.into_iter().take(CANDIDATES).map(|(document, _)| document).collect()
    };
    Ok(found.into_iter().map(best).collect())
}
