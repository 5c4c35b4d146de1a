//! Queries with their ids.

use std::path::Path;

use crate::error::Result;
use crate::folder;
use crate::lines::Lines;
use crate::texts::{Tabs, Text, Texts};

/// A query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Not empty; an integer is written as it was.
    pub id: String,
    /// It may be empty.
    pub text: String,
    /// Its line, from 1.
    pub line: usize,
}

/// Queries, read as they are asked for, each with an id of its own. After an error there are no more; a file without
/// queries is an error.
///
/// They are JSON objects, one a line, as BEIR has them (`_id` or `id`, and `text`), or an id, a tab and a text, as MS MARCO
/// has them: that text goes to the end of the line. Which of the two is told as for [`crate::Documents`].
pub struct Queries(Texts);

impl Queries {
    /// Opens queries: a file, `-` for standard input, or a folder of BEIR's (see [`folder`]).
    ///
    /// # Errors
    ///
    /// [`crate::Error::File`] where there is none that can be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let file = folder::file(path, &folder::QUERIES)?;
        Ok(Self::read(Lines::open(Some(&file))?))
    }

    /// The queries of these lines.
    pub fn read(lines: Lines) -> Self {
        Self(Texts::new(lines, Tabs::Queries).unique_ids())
    }

    /// What errors call the file.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// In how many lines so far half of a surrogate pair was replaced by U+FFFD.
    pub fn repaired(&self) -> usize {
        self.0.repaired()
    }
}

impl Iterator for Queries {
    type Item = Result<Query>;

    fn next(&mut self) -> Option<Self::Item> {
        let query = |Text { id, text, line, .. }| Query { id, text, line };
        self.0.next().map(|text| text.map(query))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queries(contents: &str) -> std::result::Result<Vec<(String, String)>, String> {
        let all: Result<Vec<_>> = Queries::read(Lines::of("q".into(), contents.into())).collect();
        Ok(all.map_err(|error| error.to_string())?.into_iter().map(|query| (query.id, query.text)).collect())
    }

    #[test]
    fn queries_have_two_forms() {
        let found =
            queries("{\"_id\":\"PLAIN-2\",\"text\":\"a\",\"metadata\":{}}\n{\"_id\":3,\"text\":\"b\"}\n");
        assert_eq!(found.unwrap(), [("PLAIN-2".into(), "a".into()), ("3".into(), "b".into())]);
        let found = queries("1\twhere to\tgo\n2\t");
        assert_eq!(found.unwrap(), [("1".into(), "where to\tgo".into()), ("2".into(), String::new())]);
    }

    #[test]
    fn what_is_wrong_is_named_by_line() {
        for (contents, expected) in [
            ("", "q: expected lines, found none"),
            ("1\ta\n1 b\n", "q: line 2: expected an id, a tab and a text, or a JSON object, found `1 b`"),
            (
                "1\ta\n2\tb\n1\tc",
                "q: line 3: id: expected one that no line before has, found `1`, which line 1 has",
            ),
        ] {
            assert_eq!(queries(contents).unwrap_err(), expected);
        }
    }
}
