//! The fields of a request's body, as clients really write them.
//!
//! For every optional field null is absence (langchain-cohere, Dify); booleans come as strings, too (RAGFlow); integers as
//! 3.0 or "3"; texts as strings, as objects with `text`, or as a list of parts (Dify). Halves of surrogate pairs, which
//! Node and Python send for a text that was cut in the middle, are read as U+FFFD. Fields that are not known are skipped
//! without being kept, however deep they nest.

use std::fmt;

use crossrank_eval::json::{kind, string, without_lone_surrogates};
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::problem::{Kind, Problem};

/// An object's fields, of those that are known.
pub(crate) struct Fields<'a>(Vec<(&'static str, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// Reads an object.
    ///
    /// # Errors
    /// When the body is no UTF-8, no JSON, no object, or has a known field twice.
    pub(crate) fn parse(body: &'a [u8], known: &[&'static str]) -> Result<Self, Problem> {
        let json = std::str::from_utf8(body).map_err(|error| {
            let at = error.valid_up_to();
            bad_json(format_args!("expected UTF-8, found another byte at {at}"))
        })?;
        // Some editors and Windows clients begin a file with a byte-order mark.
        let json = json.strip_prefix('\u{feff}').unwrap_or(json);
        Self::of(json, known)
    }

    /// Reads an object within a body.
    pub(crate) fn of(json: &'a str, known: &[&'static str]) -> Result<Self, Problem> {
        let mut reader = serde_json::Deserializer::from_str(json);
        // An array would be read by position elsewhere; here it is refused by name.
        let found = json.trim_start();
        if !found.is_empty() && !found.starts_with('{') {
            let whole = serde_json::from_str::<IgnoredAny>(json);
            return Err(match whole {
                Ok(_) => Problem::new(Kind::Shape, format!("expected a JSON object, found {}", kind(json))),
                Err(error) => bad_json(error),
            });
        }
        let fields = reader.deserialize_map(Known(known)).and_then(|fields| reader.end().map(|()| fields));
        let fields = fields.map_err(bad_json)?;
        if let Some(name) = fields.twice {
            return Err(Problem::new(Kind::Shape, format!("duplicate field `{name}`")));
        }
        Ok(Self(fields.values))
    }

    /// A field that is there and not null.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let value = self.0.iter().find(|(key, _)| *key == name)?.1;
        (value.get() != "null").then_some(value)
    }

    /// Whether a field is there, be it null.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| *key == name)
    }

    /// Whether a field is an array.
    pub(crate) fn is_array(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.get().starts_with('['))
    }

    /// A string.
    pub(crate) fn string(&self, name: &str) -> Result<Option<String>, Problem> {
        self.get(name).map(|value| read_string(name, value.get())).transpose()
    }

    /// A boolean, also as a string.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Problem> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.get().trim_matches('"').to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(Some(true)),
            "false" | "0" | "" => Ok(Some(false)),
            _ => Err(wrong(name, "true or false", value)),
        }
    }

    /// A number of things, from 0; also as a string or as 3.0. One beyond all bounds is as large as can be.
    pub(crate) fn count(&self, name: &str) -> Result<Option<usize>, Problem> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number =
            number(value).filter(|number| *number >= 0.0 && (number.fract() == 0.0 || number.is_infinite()));
        // The conversion saturates.
        number
            .map(|number| Some(number as usize))
            .ok_or_else(|| wrong(name, "an integer of at least 0", value))
    }

    /// A finite number, also as a string.
    pub(crate) fn number(&self, name: &str) -> Result<Option<f32>, Problem> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = number(value).map(|number| number as f32).filter(|number| number.is_finite());
        number.map(Some).ok_or_else(|| wrong(name, "a number", value))
    }

    /// The first `most` items of an array, and how many it has.
    pub(crate) fn items(&self, name: &str, most: usize) -> Result<Option<Items<'a>>, Problem> {
        let Some(value) = self.get(name) else { return Ok(None) };
        if !value.get().starts_with('[') {
            return Err(wrong(name, "an array", value));
        }
        let mut reader = serde_json::Deserializer::from_str(value.get());
        reader.deserialize_seq(First(most)).map(Some).map_err(bad_json)
    }

    /// An array of finite numbers, at most so many.
    pub(crate) fn numbers(&self, name: &str, most: usize) -> Result<Option<Vec<f32>>, Problem> {
        let Some(items) = self.items(name, most)? else { return Ok(None) };
        let read = |value: &&RawValue| {
            let number = number(value).map(|number| number as f32).filter(|number| number.is_finite());
            number.ok_or_else(|| wrong(name, "an array of numbers", value))
        };
        items.first.iter().map(read).collect::<Result<_, _>>().map(Some)
    }

    /// An array of strings, at most so many.
    pub(crate) fn strings(&self, name: &str, most: usize) -> Result<Option<Vec<String>>, Problem> {
        let Some(items) = self.items(name, most)? else { return Ok(None) };
        items.first.iter().map(|value| read_string(name, value.get())).collect::<Result<_, _>>().map(Some)
    }
}

/// Some of an array.
pub(crate) struct Items<'a> {
    pub(crate) first: Vec<&'a RawValue>,
    /// How many there are in all.
    pub(crate) count: usize,
}

/// A string, with U+FFFD in place of each half of a surrogate pair.
pub(crate) fn read_string(name: &str, json: &str) -> Result<String, Problem> {
    let shape = |reason: String| Problem::new(Kind::Shape, reason);
    string(name, json).or_else(|reason| match without_lone_surrogates(json) {
        Some(repaired) => string(name, &repaired).map_err(shape),
        None => Err(shape(reason)),
    })
}

/// A value that is a number, or a string that has one.
fn number(value: &RawValue) -> Option<f64> {
    // What JSON allows as a number, Rust reads; beyond f64 as infinite.
    let text = value.get().trim_matches('"').trim();
    let first = text.bytes().next().filter(|byte| byte.is_ascii_digit() || *byte == b'-');
    first.and_then(|_| text.parse().ok()).filter(|number: &f64| !number.is_nan())
}

/// Another value than was expected.
pub(crate) fn wrong(name: &str, expected: &str, found: &RawValue) -> Problem {
    const SHOWN: usize = 40;
    let json = found.get();
    let found = match json.as_bytes().first() {
        Some(b'{' | b'[') => kind(json).to_owned(),
        _ => json.chars().take(SHOWN).collect(),
    };
    Problem::new(Kind::Shape, format!("`{name}`: expected {expected}, found {found}"))
}

fn bad_json(error: impl fmt::Display) -> Problem {
    Problem::new(Kind::Json, format!("Failed to parse the request body as JSON: {error}"))
}

struct Known<'k>(&'k [&'static str]);

struct Found<'a> {
    values: Vec<(&'static str, &'a RawValue)>,
    twice: Option<&'static str>,
}

impl<'a> Visitor<'a> for Known<'_> {
    type Value = Found<'a>;

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<Found<'a>, M::Error> {
        let mut found = Found { values: Vec::with_capacity(self.0.len()), twice: None };
        // As raw JSON: a key that is half a surrogate pair is only another that is not known.
        while let Some(key) = map.next_key::<&RawValue>()? {
            let Some(name) = self.0.iter().find(|name| is_key(key, name)).copied() else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if found.values.iter().any(|(key, _)| *key == name) {
                found.twice = Some(name);
            }
            found.values.push((name, map.next_value()?));
        }
        Ok(found)
    }
}

/// Whether a key, as it is written, is a name. One that is written with escapes is read.
fn is_key(key: &RawValue, name: &str) -> bool {
    let json = key.get();
    if json.contains('\\') {
        return serde_json::from_str::<String>(json).is_ok_and(|key| key == name);
    }
    json.strip_prefix('"').and_then(|json| json.strip_suffix('"')) == Some(name)
}

struct First(usize);

impl<'a> Visitor<'a> for First {
    type Value = Items<'a>;

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("an array")
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut seq: S) -> Result<Items<'a>, S::Error> {
        let mut items = Items { first: vec![], count: 0 };
        while items.count < self.0 {
            let Some(value) = seq.next_element()? else { return Ok(items) };
            items.first.push(value);
            items.count += 1;
        }
        while let Some(IgnoredAny) = seq.next_element()? {
            items.count += 1;
        }
        Ok(items)
    }
}
