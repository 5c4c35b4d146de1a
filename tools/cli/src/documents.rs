//! The documents of `rerank`.

use std::path::Path;

use crate::args::{InputFormat, RerankArgs};
use crate::failure::Failure;
use crate::input::{Line, Lines};
use crate::object::{self, Object};

/// A document and where it stands.
pub struct Document {
    /// Its place among all of the input, bad ones included, from 0.
    pub index: usize,
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

/// A document that cannot be scored, and why.
pub struct Bad {
    /// Its place among all of the input, from 0.
    pub index: usize,
    /// Its line, from 1.
    pub line: usize,
    /// What was expected, and what was found.
    pub reason: String,
    /// The object that it is, if it is one.
    pub object: Option<Object>,
}

/// All documents of an input, and what errors call it.
pub struct Documents {
    pub name: String,
    /// Those with a text, in the order of the input.
    pub good: Vec<Document>,
    /// The others.
    pub bad: Vec<Bad>,
}

impl Documents {
    /// Reads everything.
    pub fn read(args: &RerankArgs) -> Result<Self, Failure> {
        let path = args.file.as_deref();
        let own_fields = args.text_field != ["text"];
        if own_fields && args.input == InputFormat::Text {
            return Err(Failure::about(
                "--text-field",
                "expected --input jsonl or auto, found text, which has no keys",
            ));
        }
        let mut input = Lines::open(path)?;
        let name = input.name().to_owned();
        let mut lines = Vec::new();
        while let Some(line) = input.next_line()? {
            lines.push(line);
        }

        let jsonl = match args.input {
            InputFormat::Auto => own_fields || named_jsonl(path) || begins_as_jsonl(&lines),
            InputFormat::Text => false,
            InputFormat::Jsonl => true,
        };
        let hint = match args.input {
            InputFormat::Auto if !own_fields => " (read as JSONL; --input text would not)",
            _ => "",
        };
        let is_document =
            |line: &Line| !jsonl || !line.text.as_ref().is_ok_and(|text| text.trim().is_empty());
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for (index, line) in lines.into_iter().filter(is_document).enumerate() {
            let number = line.number;
            let read = match line.text {
                Ok(text) if jsonl => from_json(&text, &args.text_field)
                    .map_err(|(reason, object)| (format!("{reason}{hint}"), object)),
                Ok(text) => Ok((text, None)),
                Err(reason) => Err((reason, None)),
            };
            match read {
                Ok((text, object)) => good.push(Document { index, line: number, text, object }),
                Err((reason, object)) => bad.push(Bad { index, line: number, reason, object }),
            }
        }
        Ok(Self { name, good, bad })
    }

    /// Takes documents that cannot be scored after all, by their places among the good, in order, from these.
    pub fn spoil(&mut self, mut reasons: Vec<(usize, String)>) {
        reasons.reverse();
        let mut good = Vec::with_capacity(self.good.len());
        for (i, document) in std::mem::take(&mut self.good).into_iter().enumerate() {
            match reasons.pop_if(|(at, _)| *at == i) {
                Some((_, reason)) => {
                    let Document { index, line, object, .. } = document;
                    self.bad.push(Bad { index, line, reason, object });
                }
                None => good.push(document),
            }
        }
        self.good = good;
        self.bad.sort_by_key(|bad| bad.index);
    }
}

type Read = (String, Option<Object>);

/// The text of an object; where there is none the object comes with the reason, if it is one.
fn from_json(line: &str, fields: &[String]) -> Result<Read, Read> {
    let object = object::parse(line).map_err(|reason| (reason, None))?;
    match object::text(&object, fields) {
        Ok(text) => Ok((text, Some(object))),
        Err(reason) => Err((reason, Some(object))),
    }
}

fn named_jsonl(path: Option<&Path>) -> bool {
    let extension = path.and_then(|path| Path::new(path).extension());
    extension.is_some_and(|it| it.eq_ignore_ascii_case("jsonl") || it.eq_ignore_ascii_case("ndjson"))
}

/// Whether the line parses does not matter: a broken first line of JSONL is an error, not a text.
fn begins_as_jsonl(lines: &[Line]) -> bool {
    let mut texts = lines.iter().filter_map(|line| line.text.as_deref().ok());
    let brace =
        texts.find(|text| !text.trim().is_empty()).and_then(|text| text.trim_start().strip_prefix('{'));
    brace.is_some_and(|rest| rest.trim_start().starts_with('"'))
}
