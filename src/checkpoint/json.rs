//! Fields of JSON files: what is missing or of another kind is an error that names the file and the field.

use serde_json::{Map, Value};

use super::files::File;
use crate::error::{Error, Result};

/// No real model comes near.
pub(crate) const MAX_SIZE: usize = 1 << 24;

/// A JSON object whose errors name the file and the field.
pub(crate) struct Fields<'a> {
    pub(crate) file: &'a File,
    pub(crate) map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// Fails where the JSON is no object.
    pub(crate) fn new(file: &'a File, json: &'a Value) -> Result<Self> {
        let map = json.as_object().ok_or_else(|| Error::Config {
            file: file.name.clone(),
            field: "(the whole file)".into(),
            expected: "a JSON object".into(),
            found: kind(json).into(),
        })?;
        Ok(Self { file, map })
    }

    pub(crate) fn error(&self, field: &str, expected: &str, found: impl ToString) -> Error {
        Error::Config {
            file: self.file.name.clone(),
            field: field.to_owned(),
            expected: expected.to_owned(),
            found: found.to_string(),
        }
    }

    /// A field that is there and not null.
    pub(crate) fn get(&self, field: &str) -> Option<&'a Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    pub(crate) fn has(&self, field: &str) -> bool {
        self.get(field).is_some()
    }

    pub(crate) fn size(&self, field: &str) -> Result<usize> {
        let expected = format!("an integer from 1 to {MAX_SIZE}");
        let value = self.get(field).ok_or_else(|| self.error(field, &expected, "none"))?;
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.filter(|size| (1..=MAX_SIZE).contains(size)).ok_or_else(|| self.error(field, &expected, value))
    }

    pub(crate) fn string(&self, field: &str) -> Result<Option<&'a str>> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.error(field, "a string", other)),
        }
    }
}

/// Parses JSON as Python writes it: the literals that are none of JSON's are read as strings, so that a field which is
/// used names what it found.
pub(crate) fn parse(bytes: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(bytes).or_else(|error| match quote_literals(bytes) {
        Some(quoted) => serde_json::from_slice(&quoted).map_err(|_| error),
        None => Err(error),
    })
}

/// The text with Python's literals in quotes; None if it has none.
fn quote_literals(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut quoted = Vec::with_capacity(bytes.len() + 16);
    let (mut rest, mut in_string, mut found) = (bytes, false, false);
    while let Some(&byte) = rest.first() {
        let literal =
            ["-Infinity", "Infinity", "NaN"].into_iter().find(|word| rest.starts_with(word.as_bytes()));
        let len = match literal.filter(|_| !in_string) {
            Some(literal) => {
                found = true;
                quoted.extend_from_slice(format!("\"{literal}\"").as_bytes());
                literal.len()
            }
            None => {
                in_string ^= byte == b'"';
                let len = if in_string && byte == b'\\' { rest.len().min(2) } else { 1 };
                quoted.extend_from_slice(&rest[..len]);
                len
            }
        };
        rest = &rest[len..];
    }
    found.then_some(quoted)
}

/// What a JSON value is, for errors.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
