//! Documents of a corpus.

use std::borrow::Cow;
use std::path::Path;

use crate::error::Result;
use crate::folder;
use crate::lines::Lines;
use crate::texts::{Tabs, Text, Texts};

/// A document of a corpus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Not empty; an integer is written as it was.
    pub id: String,
    /// Empty where there is none.
    pub title: String,
    /// It may be empty.
    pub text: String,
    /// Its line, from 1.
    pub line: usize,
}

impl Document {
    /// Title and text with a space between, as BEIR's own evaluation joins them; the text alone where there is no title.
    pub fn full_text(&self) -> Cow<'_, str> {
        match (&*self.title, &*self.text) {
            ("", text) => Cow::Borrowed(text),
            (title, "") => Cow::Borrowed(title),
            (title, text) => Cow::Owned(format!("{title} {text}")),
        }
    }
}

/// The documents of a corpus, read as they are asked for. After an error there are no more; a corpus without documents is
/// an error.
///
/// The form is that of the file's name, without `.gz` or `.zst`, where it ends in `.jsonl`, `.ndjson`, `.json` or `.tsv`;
/// else the first line that is not blank tells:
///
/// - BEIR's: a JSON object a line, with `_id` (or else `id`; a string or an integer), `text`, and `title`, which may be
///   missing or null. Other keys are passed over.
/// - MS MARCO's passages: an id, a tab and a text. Its documents: id, address, title and text, with tabs between. All lines
///   have as many fields as the first.
pub struct Documents(Texts);

impl Documents {
    /// Opens a corpus: a file, `-` for standard input, or a folder of BEIR's (see [`folder`]).
    ///
    /// # Errors
    ///
    /// [`crate::Error::File`] where there is none that can be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let file = folder::file(path, &folder::CORPUS)?;
        Ok(Self::read(Lines::open(Some(&file))?))
    }

    /// The documents of these lines.
    pub fn read(lines: Lines) -> Self {
        Self(Texts::new(lines, Tabs::Documents))
    }

    /// Refuses an id that a line before has. All ids are held in memory for that.
    #[must_use]
    pub fn unique_ids(self) -> Self {
        Self(self.0.unique_ids())
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

impl Iterator for Documents {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Self::Item> {
        let document = |Text { id, title, text, line }| Document { id, title, text, line };
        self.0.next().map(|text| text.map(document))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(name: &str, contents: &str) -> Vec<std::result::Result<Document, String>> {
        let lines = Lines::of(name.to_owned(), contents.into());
        Documents::read(lines).unique_ids().map(|it| it.map_err(|error| error.to_string())).collect()
    }

    #[track_caller]
    fn good(name: &str, contents: &str) -> Vec<(String, String, String, usize)> {
        let fields = |it: Document| (it.id, it.title, it.text, it.line);
        documents(name, contents).into_iter().map(|it| fields(it.unwrap())).collect()
    }

    fn expected(all: &[(&str, &str, &str, usize)]) -> Vec<(String, String, String, usize)> {
        all.iter().map(|&(id, title, text, line)| (id.into(), title.into(), text.into(), line)).collect()
    }

    #[test]
    fn every_form_is_told_by_its_name_or_by_its_first_line() {
        let json =
            "\n {\"_id\": 7, \"title\": \"T\", \"text\": \"a\\tb\"}\r\n\n{\"_id\":\"x\",\"text\":\"\"}";
        let found = expected(&[("7", "T", "a\tb", 2), ("x", "", "", 4)]);
        for name in ["corpus.jsonl", "corpus.JSONL.gz", "corpus", "<stdin>", "corpus.json.zst"] {
            assert_eq!(good(name, json), found, "{name}");
        }
        let passages = "{0}\tthe \"first\"\n1\t\n";
        let found = expected(&[("{0}", "", "the \"first\"", 1), ("1", "", "", 2)]);
        assert_eq!(good("collection.tsv", passages), found);
        assert_eq!(good("collection", &passages[1..])[0].2, "the \"first\"");
        let pages = "D1\thttp://a\tTitle\tBody\nD2\t\t\t\n";
        let found = expected(&[("D1", "Title", "Body", 1), ("D2", "", "", 2)]);
        assert_eq!(good("docs.tsv", pages), found);
    }

    #[test]
    fn what_is_wrong_is_named_by_line_and_ends_the_documents() {
        for (name, contents, good, expected) in [
            ("c", "", 0, "c: expected lines, found none"),
            ("c", "\n \n", 0, "c: expected lines, found none"),
            ("c", "a b\n", 0, "c: line 1: expected an id, a tab and a text, or a JSON object, found `a b`"),
            ("c.jsonl", "a\tb\n", 0, "c.jsonl: line 1: expected JSON, found at column 1: expected value"),
            (
                "c",
                "a\tb\tc\n",
                0,
                "c: line 1: expected 2 fields (id, text) or 4 (id, url, title, text) with tabs between, found 3",
            ),
            (
                "c",
                "a\tb\n\nb\tc\td\te\nc\td\n",
                1,
                "c: line 3: expected 2 fields with tabs between, as in the first line, found 4",
            ),
            ("c", "a\tb\n\tc\n", 1, "c: line 2: id: expected an id, found nothing before the first tab"),
            ("c", "{\"_id\":1}\n", 0, "c: line 1: expected an object with the key `text`, found `_id`"),
            (
                "c",
                "{\"_id\":1,\"text\":\"a\"}\n{\"_id\":2,\"text\":\"a\"}\n{\"id\":\"1\",\"text\":\"b\"}\n",
                2,
                "c: line 3: id: expected one that no line before has, found `1`, which line 1 has",
            ),
        ] {
            let mut found = documents(name, contents);
            assert_eq!(found.pop().unwrap().unwrap_err(), expected);
            assert!(found.len() == good && found.iter().all(|it| it.is_ok()), "{expected}");
        }
    }

    #[test]
    fn title_and_text_are_joined_by_a_space() {
        let text = |title: &str, text: &str| {
            let document = Document { id: "1".into(), title: title.into(), text: text.into(), line: 1 };
            document.full_text().into_owned()
        };
        assert_eq!(text("a", "b"), "a b");
        assert_eq!((text("", "b"), text("a", ""), text("", "")), ("b".into(), "a".into(), String::new()));
    }
}
