//! Relevance judgements.

use std::path::Path;

use crate::error::Result;
use crate::fields::{count, expected, fields};
use crate::folder;
use crate::lines::Lines;
use crate::pairs::{Pairs, PairsBuilder, Slice};

/// Judgements ("qrels"): for each query, grades of documents. A grade above 0 is relevant.
///
/// Two forms are read, and the first line tells which one it is:
///
/// - TREC's, which MS MARCO has, too: query, anything (mostly 0), document, grade, with white space between, four fields.
/// - BEIR's: a first line `query-id corpus-id score`, and lines with those three fields. Where the first line has tabs,
///   tabs alone part the fields of all.
///
/// Grades are integers; `1.0` is 1, but 0.5 is refused, although `trec_eval` takes it for 0. Blank lines are passed over,
/// and so are lines that begin with `#`, as `trec_eval` 10 does.
pub struct Judgements {
    name: String,
    pairs: Pairs<i32>,
    comments: usize,
}

#[derive(Clone, Copy)]
enum Form {
    Trec,
    Beir { tabs: bool },
}

const BEIR_HEADER: [&str; 3] = ["query-id", "corpus-id", "score"];

impl Judgements {
    /// Reads a file, `-` for standard input, or a folder of BEIR's (see [`folder`]).
    ///
    /// # Errors
    ///
    /// [`crate::Error`] where there is none that can be read to its end, where a line is none of those above, and where a
    /// query has a document twice.
    pub fn open(path: &Path) -> Result<Self> {
        let file = folder::file(path, &folder::JUDGEMENTS)?;
        Self::read(Lines::open(Some(&file))?)
    }

    /// Reads these lines.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn read(mut lines: Lines) -> Result<Self> {
        let mut builder = PairsBuilder::new();
        let (mut form, mut comments) = (None, 0);
        while let Some((number, text)) = lines.next_text()? {
            if text.starts_with('#') {
                comments += 1;
                continue;
            }
            let known = match form {
                Some(form) => form,
                None if is_header(&text) => {
                    form = Some(Form::Beir { tabs: text.contains('\t') });
                    continue;
                }
                None => *form.insert(Form::Trec),
            };
            let added = judgement(&text, known)
                .and_then(|(query, document, grade)| builder.add(query, document, grade, number));
            added.map_err(|reason| lines.error(number, reason))?;
        }
        let pairs = builder.finish(lines.name(), |(a, _), (b, _)| a.cmp(b))?;
        Ok(Self { name: lines.name().to_owned(), pairs, comments })
    }

    /// What errors call the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The queries that have judgements, in the order of their bytes, as `trec_eval` prints them.
    pub fn queries(&self) -> impl ExactSizeIterator<Item = &str> {
        self.pairs.queries()
    }

    /// The judgements of a query; none where it has none.
    pub fn of(&self, query: &str) -> Option<Judged<'_>> {
        self.pairs.of(query).map(Judged)
    }

    /// How many judgements there are.
    pub fn count(&self) -> usize {
        self.pairs.len()
    }

    /// How many lines began with `#`.
    pub fn comments(&self) -> usize {
        self.comments
    }
}

/// The judgements of one query, of which there is at least one.
#[derive(Clone, Copy)]
pub struct Judged<'a>(Slice<'a, i32>);

impl<'a> Judged<'a> {
    /// The grade of a document; none where it was not judged.
    pub fn grade(&self, document: &str) -> Option<i32> {
        self.0.value(document)
    }

    /// Documents and their grades, in the order of the ids' bytes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'a str, i32)> + use<'a> {
        self.0.iter()
    }
}

fn is_header(line: &str) -> bool {
    line.split_ascii_whitespace().map(str::to_ascii_lowercase).eq(BEIR_HEADER)
}

fn judgement(line: &str, form: Form) -> std::result::Result<(&str, &str, i32), String> {
    let found: Vec<&str> = match form {
        Form::Beir { tabs: true } => line.split('\t').map(str::trim_ascii).collect(),
        _ => fields(line).collect(),
    };
    let (query, document, grade) = match (form, &found[..]) {
        (Form::Trec, &[query, _, document, grade]) => (query, document, grade),
        (Form::Beir { .. }, &[query, document, grade]) => (query, document, grade),
        (Form::Trec, _) => {
            let what =
                "4 fields (query, 0, document, relevance) or first BEIR's line `query-id corpus-id score`";
            return Err(count(what, found.len()));
        }
        (Form::Beir { .. }, _) => return Err(count("3 fields (query-id, corpus-id, score)", found.len())),
    };
    for (field, id) in [("query", query), ("document", document)] {
        if id.is_empty() {
            return Err(expected(field, "an id", id));
        }
    }
    let integer = || grade.parse().ok().or_else(|| whole(grade.parse().ok()?));
    let value = integer().ok_or_else(|| expected("relevance", "an integer", grade))?;
    Ok((query, document, value))
}

/// A number without a fraction, as `pandas` writes integers of a column that lacked some.
fn whole(grade: f64) -> Option<i32> {
    let integer = grade as i32;
    (f64::from(integer) == grade).then_some(integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(contents: &str) -> std::result::Result<Judgements, String> {
        Judgements::read(Lines::of("qrels".into(), contents.into())).map_err(|error| error.to_string())
    }

    fn all(judgements: &Judgements) -> Vec<(&str, &str, i32)> {
        let of = |query| {
            judgements.of(query).unwrap().iter().map(move |(document, grade)| (query, document, grade))
        };
        judgements.queries().flat_map(of).collect()
    }

    #[test]
    fn trec_and_beir_hold_the_same() {
        let expected = [("1", "a", -1), ("10", "b", 2), ("10", "é", 0), ("2", "A", 1), ("2", "a", 3)];
        for contents in [
            "2 0 a 3\n10 Q0 \u{e9} 0\n\n1\t0\ta\t-1\r\n# a comment\n10  0 \t b +2\n2 0 A 1.0",
            "query-id\tcorpus-id\tscore\r\n2\ta\t3\r\n10\té\t0\n1\ta\t-1\n10\tb\t2\n2\tA\t1\n",
            "Query-ID corpus-id score\n2 a 3\n10 é 0\n1 a -1\n10 b 2\n2 A 1\n",
        ] {
            let judgements = read(contents).unwrap();
            assert_eq!(all(&judgements), expected);
            assert_eq!((judgements.count(), judgements.comments()), (5, contents.matches('#').count()));
            let judged = judgements.of("2").unwrap();
            assert_eq!((judged.grade("a"), judged.grade("b")), (Some(3), None));
            assert!(judgements.of("3").is_none());
        }
        // Tabs alone part the fields, so that an id may have spaces.
        let judgements = read("query-id\tcorpus-id\tscore\nq 1\tD o c\t1\n").unwrap();
        assert_eq!(all(&judgements), [("q 1", "D o c", 1)]);
    }

    #[test]
    fn what_is_wrong_is_named_by_line_and_field() {
        let beir = "query-id\tcorpus-id\tscore\n";
        for (contents, expected) in [
            (String::new(), "qrels: expected lines, found none"),
            (beir.to_owned(), "qrels: expected lines, found none"),
            ("# q 0 a 1\n".into(), "qrels: expected lines, found none"),
            (
                "q 0 a 1\nq 0 b\n".into(),
                "qrels: line 2: expected 4 fields (query, 0, document, relevance) or first BEIR's line \
                 `query-id corpus-id score`, found 3",
            ),
            (
                format!("{beir}q\ta\n"),
                "qrels: line 2: expected 3 fields (query-id, corpus-id, score), found 2",
            ),
            (format!("{beir}q\t\t1\n"), "qrels: line 2: document: expected an id, found ``"),
            ("q 0 a 1.9".into(), "qrels: line 1: relevance: expected an integer, found `1.9`"),
            ("q 0 a 3000000000".into(), "qrels: line 1: relevance: expected an integer, found `3000000000`"),
            ("q 0 a nan".into(), "qrels: line 1: relevance: expected an integer, found `nan`"),
            (
                "q 0 a 1\np 0 b 1\np 0 a 1\nq 0 a 0\np 0 b 1\n".into(),
                "qrels: line 4: document: expected one that this query has not yet, found `a`, which line 1 has",
            ),
        ] {
            assert_eq!(read(&contents).err().unwrap(), expected);
        }
    }
}
