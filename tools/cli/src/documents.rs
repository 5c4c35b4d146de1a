//! The documents of `rerank`.

use std::path::Path;

use crate::args::InputFormat;
use crate::failure::Failure;
use crate::input::Lines;
use crate::object::{self, Object};

/// A document and where it stands.
pub struct Document {
    /// Its line, from 1.
    pub line: usize,
    /// What is scored.
    pub text: String,
    /// The object that held it, if one did.
    pub object: Option<Object>,
}

impl AsRef<str> for Document {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

/// All documents of an input, and what errors call it.
pub struct Documents {
    pub name: String,
    pub documents: Vec<Document>,
}

impl Documents {
    /// Reads everything; one bad line is an error.
    pub fn read(path: Option<&Path>, format: InputFormat) -> Result<Self, Failure> {
        let mut input = Lines::open(path)?;
        let name = input.name().to_owned();
        let failed = |line: usize, reason| Failure::about(format_args!("{name}: line {line}"), reason);
        let mut lines = Vec::new();
        while let Some(line) = input.next().map_err(|error| Failure::about(&name, error))? {
            lines.push((line.number, line.text.map_err(|reason| failed(line.number, reason))?));
        }

        let jsonl = match format {
            InputFormat::Auto => named_jsonl(path) || begins_as_jsonl(&lines),
            InputFormat::Text => false,
            InputFormat::Jsonl => true,
        };
        let hint = if format == InputFormat::Auto { " (read as JSONL; --input text would not)" } else { "" };
        let documents = if jsonl {
            lines
                .into_iter()
                .filter(|(_, text)| !text.trim().is_empty())
                .map(|(line, text)| {
                    from_json(line, &text).map_err(|reason| failed(line, format!("{reason}{hint}")))
                })
                .collect::<Result<_, _>>()?
        } else {
            lines.into_iter().map(|(line, text)| Document { line, text, object: None }).collect()
        };
        Ok(Self { name, documents })
    }
}

fn from_json(line: usize, text: &str) -> Result<Document, String> {
    let object = object::parse(text)?;
    Ok(Document { line, text: object::string(&object, "text")?, object: Some(object) })
}

fn named_jsonl(path: Option<&Path>) -> bool {
    let extension = path.and_then(|path| Path::new(path).extension());
    extension.is_some_and(|it| it.eq_ignore_ascii_case("jsonl") || it.eq_ignore_ascii_case("ndjson"))
}

/// Whether the line parses does not matter: a broken first line of JSONL is an error, not a text.
fn begins_as_jsonl(lines: &[(usize, String)]) -> bool {
    let first = lines.iter().find(|(_, text)| !text.trim().is_empty());
    let brace = first.and_then(|(_, text)| text.trim_start().strip_prefix('{'));
    brace.is_some_and(|rest| rest.trim_start().starts_with('"'))
}
