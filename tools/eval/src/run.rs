//! Rankings of a retrieval run.

use std::cmp::Ordering;
use std::path::Path;

use crate::error::Result;
use crate::fields::{count, expected, fields};
use crate::lines::Lines;
use crate::pairs::{Pairs, PairsBuilder, Slice};

/// A run of TREC's form: query, `Q0`, document, rank, score, tag, with white space between.
///
/// Documents of a query are ranked as `trec_eval` 9 and `pytrec_eval` rank them: by score, taken as a 32-bit float, and
/// documents of equal scores by id, the one with the greater bytes first. Neither the order of the lines nor the rank that
/// they state counts, and fields beyond the sixth are passed over.
///
/// A score is wholly a number, which may be infinite but not NaN, and a query has a document once. (`trec_eval` takes `1,9`
/// for 1 and `x` for 0; other tools keep the last of two lines silently.) Blank lines are passed over, and so are lines
/// that begin with `#`, as `trec_eval` 10 does.
pub struct Run {
    name: String,
    pairs: Pairs<f32>,
    comments: usize,
}

impl Run {
    /// Reads a file, or standard input for `-`.
    ///
    /// # Errors
    ///
    /// [`crate::Error`] where it cannot be read to its end or has no lines, where a line is not as above, and where a query
    /// has a document twice.
    pub fn open(path: &Path) -> Result<Self> {
        Self::read(Lines::open(Some(path))?)
    }

    /// Reads these lines.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn read(mut lines: Lines) -> Result<Self> {
        let mut builder = PairsBuilder::new();
        let mut comments = 0;
        while let Some((number, text)) = lines.next_text()? {
            if text.starts_with('#') {
                comments += 1;
                continue;
            }
            let added =
                row(&text).and_then(|(query, document, score)| builder.add(query, document, score, number));
            added.map_err(|reason| lines.error(number, reason))?;
        }
        let pairs = builder.finish(lines.name(), ranking_order)?;
        Ok(Self { name: lines.name().to_owned(), pairs, comments })
    }

    /// What errors call the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The queries that have results, in the order of their bytes.
    pub fn queries(&self) -> impl ExactSizeIterator<Item = &str> {
        self.pairs.queries()
    }

    /// The ranking of a query; none where it has no results.
    pub fn ranking(&self, query: &str) -> Option<Ranking<'_>> {
        self.pairs.of(query).map(Ranking)
    }

    /// How many lines there are, over all queries.
    pub fn count(&self) -> usize {
        self.pairs.len()
    }

    /// How many lines began with `#`.
    pub fn comments(&self) -> usize {
        self.comments
    }
}

/// The documents of one query, best first; there is at least one.
#[derive(Clone, Copy)]
pub struct Ranking<'a>(Slice<'a, f32>);

#[expect(clippy::len_without_is_empty, reason = "it never is")]
impl<'a> Ranking<'a> {
    /// How many documents it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Documents and their scores, best first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'a str, f32)> + use<'a> {
        self.0.iter()
    }
}

/// By score, highest first, then by id, greatest bytes first. Scores are not NaN; 0 and -0 are equal.
pub(crate) fn ranking_order((id, score): (&str, f32), (other_id, other): (&str, f32)) -> Ordering {
    other.partial_cmp(&score).unwrap_or(Ordering::Equal).then_with(|| other_id.cmp(id))
}

fn row(line: &str) -> std::result::Result<(&str, &str, f32), String> {
    let mut found = fields(line);
    let mut next = || found.next();
    let (Some(query), Some(_), Some(document), Some(_), Some(score), Some(_)) =
        (next(), next(), next(), next(), next(), next())
    else {
        let found = fields(line).count();
        return Err(count("6 fields (query, Q0, document, rank, score, tag)", found));
    };
    // By way of a 64-bit float, as C's `atof` and an assignment.
    let value = score.parse().ok().filter(|score: &f64| !score.is_nan());
    let value = value.ok_or_else(|| expected("score", "a number", score))?;
    Ok((query, document, value as f32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(contents: &str) -> std::result::Result<Run, String> {
        Run::read(Lines::of("run".into(), contents.into())).map_err(|error| error.to_string())
    }

    fn order(scores: &[(&str, &str)]) -> String {
        let lines = scores.iter().map(|(document, score)| format!("q Q0 {document} 1 {score} t\n"));
        let run = read(&lines.collect::<String>()).unwrap();
        let documents: Vec<_> = run.ranking("q").unwrap().iter().map(|(document, _)| document).collect();
        documents.join(" ")
    }

    #[test]
    fn scores_are_compared_as_floats_and_ids_as_bytes() {
        assert_eq!(order(&[("a", "1.0"), ("b", "1.0")]), "b a");
        assert_eq!(order(&[("doc10", "1"), ("doc9", "1e0")]), "doc9 doc10");
        assert_eq!(order(&[("Z", "1"), ("a", "1"), ("é", "1"), ("z", "1")]), "é z a Z");
        assert_eq!(order(&[("a", ".500000001"), ("z", ".5")]), "z a");
        assert_eq!(order(&[("a", "8.607142"), ("z", "8.607141")]), "a z");
        assert_eq!(order(&[("a", "1e40"), ("z", "1e39")]), "z a");
        assert_eq!(order(&[("a", "1e-46"), ("z", "1e-47")]), "z a");
        assert_eq!(order(&[("a", "0.0"), ("b", "-0.0")]), "b a");
        assert_eq!(order(&[("c", "-inf"), ("b", "1"), ("a", "inf")]), "a b c");
    }

    #[test]
    fn odd_lines_are_read_and_lines_of_a_query_need_not_be_together() {
        let run =
            read("2 Q0 a 9 1 t\r\n\n#2 Q0 b 1 9 t\n1\tQ0\tx\t1\t2\tt\n  2  Q0 c 1 3 t and more\n").unwrap();
        assert_eq!(run.queries().collect::<Vec<_>>(), ["1", "2"]);
        let ranking: Vec<_> = run.ranking("2").unwrap().iter().collect();
        assert_eq!(ranking, [("c", 3.0), ("a", 1.0)]);
        assert_eq!((run.count(), run.comments(), run.ranking("1").unwrap().len()), (3, 1, 1));
        assert!(run.ranking("3").is_none());
    }

    #[test]
    fn what_is_wrong_is_named_by_line_and_field() {
        for (contents, expected) in [
            ("\n", "run: expected lines, found none"),
            (
                "q Q0 a 1 2.5\n",
                "run: line 1: expected 6 fields (query, Q0, document, rank, score, tag), found 5",
            ),
            ("q Q0 a 1 NaN t\n", "run: line 1: score: expected a number, found `NaN`"),
            ("q Q0 a 1 1 t\nq Q0 b 1 1,9 t\n", "run: line 2: score: expected a number, found `1,9`"),
            ("q Q0 a 1 x t\n", "run: line 1: score: expected a number, found `x`"),
            (
                "q Q0 a 1 3 t\np Q0 a 2 2 t\nq Q0 b 1 3 t\nq Q0 a 9 1 t\n",
                "run: line 4: document: expected one that this query has not yet, found `a`, which line 1 has",
            ),
        ] {
            assert_eq!(read(contents).err().unwrap(), expected);
        }
    }
}
