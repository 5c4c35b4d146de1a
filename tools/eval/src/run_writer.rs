//! Writes a run that every evaluation tool ranks alike.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{self, Write};

use crate::fields::expected;

/// Why a ranking was not written; nothing of it was then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunWriteError {
    /// It cannot be said in a run: which field, what was expected, and what was found.
    #[error("{0}")]
    Invalid(String),
    /// It cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes TREC's six columns: query, `Q0`, document, rank, score, tag.
///
/// Tools disagree about equal scores: `trec_eval` compares 32-bit floats and then ids downwards, `ir-measures` 64-bit
/// floats and ids upwards for some metrics, `ranx` keeps the order of the lines. So the scores of a query fall strictly
/// *as 32-bit floats that are read back from the text*, and all of them see the ranking that was given: a score that is
/// not below the one before it becomes the next smaller float. Ranks are counted from 1 and agree.
pub struct RunWriter<W> {
    out: W,
    tag: String,
    queries: HashSet<String>,
}

impl<W: Write> RunWriter<W> {
    /// A run with a tag, its last column.
    ///
    /// # Errors
    ///
    /// [`RunWriteError::Invalid`] for a tag that is empty or has white space or control characters.
    pub fn new(out: W, tag: &str) -> Result<Self, RunWriteError> {
        check("tag", "a tag", tag)?;
        Ok(Self { out, tag: tag.to_owned(), queries: HashSet::new() })
    }

    /// Writes the ranking of a query, documents with their scores, best first, in one piece. No document is no line.
    ///
    /// # Errors
    ///
    /// [`RunWriteError::Invalid`] where an id is empty or has white space or control characters, which other tools would take
    /// for the end of a column, where the query begins with `#`, as comments do, where a query or a document of it comes
    /// twice, and where a score is not finite. [`RunWriteError::Io`] where it cannot be written.
    pub fn query(&mut self, query: &str, ranking: &[(&str, f32)]) -> Result<(), RunWriteError> {
        check("query", "an id", query)?;
        if query.starts_with('#') {
            return Err(invalid("query", "an id that does not begin as a comment", query));
        }
        let mut documents = HashSet::with_capacity(ranking.len());
        for &(document, score) in ranking {
            check("document", "an id", document)?;
            if !documents.insert(document) {
                return Err(invalid("document", "one that this query has not yet", document));
            }
            if !score.is_finite() {
                return Err(invalid("score", "a finite number", &score.to_string()));
            }
        }
        if !self.queries.insert(query.to_owned()) {
            return Err(invalid("query", "one that this run has not yet", query));
        }
        let mut lines = String::new();
        let scores = falling(ranking.iter().map(|(_, score)| *score));
        for (i, (&(document, _), score)) in ranking.iter().zip(scores).enumerate() {
            // Writing to a string does not fail.
            let _ = writeln!(lines, "{query} Q0 {document} {} {} {}", i + 1, text(score), self.tag);
        }
        Ok(self.out.write_all(lines.as_bytes())?)
    }

    /// What was written to. Nothing is buffered here.
    pub fn into_inner(self) -> W {
        self.out
    }
}

/// White space is Unicode's, at which Python's `split` parts columns; of control characters it takes some for white
/// space, too.
fn check(field: &str, what: &str, id: &str) -> Result<(), RunWriteError> {
    if id.is_empty() || id.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(invalid(field, &format!("{what} without white space or control characters"), id));
    }
    Ok(())
}

fn invalid(field: &str, what: &str, found: &str) -> RunWriteError {
    RunWriteError::Invalid(expected(field, what, found))
}

/// The scores, each as it is where it is below the one before, else the next smaller float to that. Where there are too few
/// floats below, at the end of their range, those before give way.
fn falling(scores: impl ExactSizeIterator<Item = f32>) -> Vec<f32> {
    let (lowest, last) = (place(f32::MIN), scores.len().saturating_sub(1));
    let mut before = place(f32::MAX) + 1;
    let fall = |(i, score)| {
        // Fewer documents than floats: ids of four billion documents fit no memory.
        before = place(score).min(before - 1).max(lowest + (last - i) as i64);
        float(before)
    };
    scores.enumerate().map(fall).collect()
}

/// Where a finite float stands among all of them, in steps from 0; -0 stands where 0 does.
fn place(x: f32) -> i64 {
    let magnitude = i64::from(x.abs().to_bits());
    if x < 0.0 { -magnitude } else { magnitude }
}

fn float(place: i64) -> f32 {
    let magnitude = f32::from_bits(place.unsigned_abs() as u32);
    if place < 0 { -magnitude } else { magnitude }
}

/// The shortest text that reads back as the float: directly, and by way of a 64-bit float, as C and Python read it.
fn text(score: f32) -> String {
    let shortest = format!("{score:?}");
    let by_double = shortest.parse().map(|double: f64| double as f32);
    if by_double == Ok(score) { shortest } else { format!("{:?}", f64::from(score)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_that_fall_stay_and_others_take_the_next_float() {
        let tiny = f32::from_bits(1);
        for (given, expected) in [
            (vec![], vec![]),
            (vec![3.0, 1.5, -2.0], vec![3.0, 1.5, -2.0]),
            (vec![1.0, 1.0, 1.0], vec![1.0, 1.0_f32.next_down(), 1.0_f32.next_down().next_down()]),
            (vec![0.0, -0.0, 0.0], vec![0.0, -tiny, -2.0 * tiny]),
            (vec![tiny, tiny, tiny], vec![tiny, 0.0, -tiny]),
            (vec![1.0, 2.0, 0.5], vec![1.0, 1.0_f32.next_down(), 0.5]),
            (vec![f32::MAX, f32::MAX], vec![f32::MAX, f32::MAX.next_down()]),
            (vec![f32::MIN, f32::MIN], vec![f32::MIN.next_up(), f32::MIN]),
            (vec![0.0, f32::MIN, f32::MIN], vec![0.0, f32::MIN.next_up(), f32::MIN]),
        ] {
            assert_eq!(falling(given.into_iter()), expected);
        }
    }

    #[test]
    fn what_a_run_cannot_hold_is_refused_by_field_and_leaves_nothing() {
        let mut run = RunWriter::new(Vec::new(), "t").unwrap();
        run.query("1", &[("a", 1.0)]).unwrap();
        let plain = "without white space or control characters";
        for (query, ranking, expected) in [
            ("a b", vec![], format!("query: expected an id {plain}, found `a b`")),
            ("", vec![], format!("query: expected an id {plain}, found ``")),
            ("#2", vec![], "query: expected an id that does not begin as a comment, found `#2`".into()),
            ("1", vec![], "query: expected one that this run has not yet, found `1`".into()),
            (
                "2",
                vec![("a", 1.0), ("b\u{a0}c", 0.0)],
                format!("document: expected an id {plain}, found `b\u{a0}c`"),
            ),
            ("2", vec![("a\u{1f}", 1.0)], format!("document: expected an id {plain}, found `a\\u{{1f}}`")),
            (
                "2",
                vec![("a", 1.0), ("a", 0.0)],
                "document: expected one that this query has not yet, found `a`".into(),
            ),
            ("2", vec![("a", f32::NAN)], "score: expected a finite number, found `NaN`".into()),
            ("2", vec![("a", f32::INFINITY)], "score: expected a finite number, found `inf`".into()),
        ] {
            assert_eq!(run.query(query, &ranking).unwrap_err().to_string(), expected);
        }
        run.query("2", &[("b", 0.5), ("a", 0.5)]).unwrap();
        let written = String::from_utf8(run.into_inner()).unwrap();
        assert_eq!(written, "1 Q0 a 1 1.0 t\n2 Q0 b 1 0.5 t\n2 Q0 a 2 0.49999997 t\n");
        assert!(RunWriter::new(Vec::new(), "a tag").is_err());
    }
}
