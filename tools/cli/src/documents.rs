//! The documents of `rerank`.

use std::path::Path;

use serde_json::value::to_raw_value;

use crate::args::{InputFormat, RerankArgs};
use crate::failure::Failure;
use crate::input::{Line, Lines};
use crate::object::{self, Object};

/// The key that holds a document's text, where no other is asked for.
const TEXT: &str = "text";

/// A document and where it stands.
pub struct Document {
    /// Its place among all of the input, bad ones included, from 0.
    pub index: usize,
    /// Its line, from 1.
    pub line: usize,
    /// What is scored.
    pub text: String,
    /// The object that held it, if one did; without the text where that is all of a value, so that it is held once.
    pub object: Option<Object>,
    /// The place of the value among the object's that was left out.
    pub left_out: Option<usize>,
}

impl Document {
    /// What cannot be scored after all. (The text's value is written anew: the same string, perhaps with other escapes.)
    fn into_bad(self, reason: String) -> Bad {
        let mut object = self.object;
        if let (Some(object), Some(at), Ok(value)) = (&mut object, self.left_out, to_raw_value(&self.text)) {
            object.shift_insert(at, TEXT.into(), value);
        }
        Bad { index: self.index, line: self.line, reason, object }
    }
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
        let own_fields = args.text_field != [TEXT];
        if own_fields && args.input == InputFormat::Text {
            return Err(Failure::about(
                "--text-field",
                "expected --input jsonl or auto, found text, which has no keys",
            ));
        }
        let mut input = Lines::open(path)?;
        let name = input.name().to_owned();
        let mut next = || input.next_line();
        // Only what tells the form is held beside what is made of it.
        let mut first = Vec::new();
        let mut jsonl = match args.input {
            InputFormat::Auto => own_fields || named_jsonl(path),
            InputFormat::Text => false,
            InputFormat::Jsonl => true,
        };
        if args.input == InputFormat::Auto && !jsonl {
            while let Some(line) = next()? {
                let begins = begins_as_jsonl(&line);
                first.push(line);
                if let Some(begins) = begins {
                    jsonl = begins;
                    break;
                }
            }
        }
        let hint = match args.input {
            InputFormat::Auto if !own_fields => " (read as JSONL; --input text would not)",
            _ => "",
        };
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        let mut first = first.into_iter();
        let mut index = 0;
        while let Some(line) = first.next().map_or_else(&mut next, |line| Ok(Some(line)))? {
            if jsonl && line.text.as_ref().is_ok_and(|text| text.trim().is_empty()) {
                continue;
            }
            let number = line.number;
            let read = match line.text {
                Ok(text) if jsonl => from_json(&text, &args.text_field)
                    .map_err(|(reason, object)| (format!("{reason}{hint}"), object)),
                Ok(text) => Ok((text, None)),
                Err(reason) => Err((reason, None)),
            };
            match read {
                Ok((text, mut object)) => {
                    let text_alone = object.as_mut().filter(|_| !own_fields);
                    let left_out = text_alone.and_then(|it| it.shift_remove_full(TEXT)).map(|(at, ..)| at);
                    good.push(Document { index, line: number, text, object, left_out });
                }
                Err((reason, object)) => bad.push(Bad { index, line: number, reason, object }),
            }
            index += 1;
        }
        Ok(Self { name, good, bad })
    }

    /// Takes documents that cannot be scored after all, by their places among the good, in order, from these.
    pub fn spoil(&mut self, mut reasons: Vec<(usize, String)>) {
        reasons.reverse();
        let mut good = Vec::with_capacity(self.good.len());
        for (i, document) in std::mem::take(&mut self.good).into_iter().enumerate() {
            match reasons.pop_if(|(at, _)| *at == i) {
                Some((_, reason)) => self.bad.push(document.into_bad(reason)),
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

/// Whether an input that has this line is JSONL, if it tells: the first line with a text does. Whether it parses does not
/// matter: a broken first line of JSONL is an error, not a text.
fn begins_as_jsonl(line: &Line) -> Option<bool> {
    let text = line.text.as_deref().ok()?.trim_start();
    let within = text.strip_prefix('{');
    (!text.is_empty()).then(|| within.is_some_and(|rest| rest.trim_start().starts_with('"')))
}
