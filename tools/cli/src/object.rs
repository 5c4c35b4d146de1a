//! JSON objects, one a line.

use crossrank_eval::json::{invalid, kind, list_keys};
use indexmap::IndexMap;
use serde_json::value::RawValue;

use crate::json;

/// Keys in order, values as they were written. Of keys that occur twice the last value counts.
pub type Object = IndexMap<String, Box<RawValue>>;

/// Parses a line. (Keys are repaired where they hold half a surrogate pair; values stay as they were written.)
pub fn parse(line: &str) -> Result<Object, String> {
    parse_exactly(line).or_else(|reason| match json::without_lone_surrogates(line) {
        Some(line) => parse_exactly(&line),
        None => Err(reason),
    })
}

fn parse_exactly(line: &str) -> Result<Object, String> {
    let parse = |line| {
        serde_json::from_str(line).map_err(|error: serde_json::Error| match error.is_data() {
            true => format!("expected a JSON object, found {}", kind(line)),
            false => invalid(&error, ""),
        })
    };
    let object = parse(line)?;
    // Since it parses they are white space between values. Written out they would be newlines to some readers.
    if line.contains('\r') { parse(&line.replace('\r', " ")) } else { Ok(object) }
}

/// The string under a key that must be there.
pub fn string(object: &Object, key: &str) -> Result<String, String> {
    as_string(key, value(object, key)?)
}

/// The text under a key, or what several hold, joined by a space: of those some may be missing, null or empty.
pub fn text(object: &Object, keys: &[String]) -> Result<String, String> {
    if let [key] = keys {
        return string(object, key);
    }
    let there = keys.iter().filter_map(|key| Some((key, object.get(key)?)));
    let there = there.filter(|(_, value)| kind(value.get()) != "null");
    let texts = there.map(|(key, value)| as_string(key, value)).collect::<Result<Vec<_>, _>>()?;
    if texts.is_empty() {
        let names: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
        return Err(format!(
            "expected a text under one of {}, found {}",
            names.join(", "),
            shown_keys(object)
        ));
    }
    let texts: Vec<_> = texts.into_iter().filter(|text| !text.is_empty()).collect();
    Ok(texts.join(" "))
}

/// The number under a key that must be there, finite as an f32.
pub fn number(object: &Object, key: &str) -> Result<f32, String> {
    let json = value(object, key)?.get();
    let number = serde_json::from_str::<f64>(json).ok().map(|number| number as f32);
    number
        .filter(|number| number.is_finite())
        .ok_or_else(|| format!("`{key}`: expected a number within f32, found {}", kind(json)))
}

/// Whether what is under a key that must be there is true, or a number above 0.
pub fn relevant(object: &Object, key: &str) -> Result<bool, String> {
    let json = value(object, key)?.get().trim();
    match serde_json::from_str::<bool>(json) {
        Ok(relevant) => Ok(relevant),
        Err(_) => number(object, key)
            .map(|number| number > 0.0)
            .map_err(|_| format!("`{key}`: expected true, false or a number, found {}", kind(json))),
    }
}

/// The id under the key `id`: a string, or an integer as it is written.
pub fn id(object: &Object) -> Result<String, String> {
    let json = value(object, "id")?.get().trim();
    let digits = json.strip_prefix('-').unwrap_or(json);
    if !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Ok(json.to_owned());
    }
    string(object, "id")
}

/// A (query, document) pair.
pub fn pair(line: &str) -> Result<(String, String), String> {
    let object = parse(line)?;
    Ok((string(&object, "query")?, string(&object, "document")?))
}

/// The strings of an array under a key that must be there.
pub fn strings(object: &Object, key: &str) -> Result<Vec<String>, String> {
    let value = value(object, key)?;
    let items: Vec<&RawValue> = serde_json::from_str(value.get())
        .map_err(|_| format!("`{key}`: expected an array, found {}", kind(value.get())))?;
    items.iter().enumerate().map(|(i, item)| as_string(&format!("{key}[{i}]"), item)).collect()
}

fn value<'a>(object: &'a Object, key: &str) -> Result<&'a RawValue, String> {
    let missing = || format!("expected an object with the key `{key}`, found {}", shown_keys(object));
    object.get(key).map(|value| &**value).ok_or_else(missing)
}

fn as_string(name: &str, value: &RawValue) -> Result<String, String> {
    let json = value.get();
    let read = |json: &str| crossrank_eval::json::string(name, json);
    read(json).or_else(|reason| match kind(json) {
        "a string" => json::without_lone_surrogates(json).map_or(Err(reason), |json| read(&json)),
        _ => Err(reason),
    })
}

fn shown_keys(object: &Object) -> String {
    list_keys(object.keys())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_what_was_expected_and_found() {
        for (line, expected) in [
            ("[1]", "expected a JSON object, found an array"),
            ("\"text\"", "expected a JSON object, found a string"),
            ("null", "expected a JSON object, found null"),
            ("{\"a\":1", "expected JSON, found at column 6: EOF while parsing an object"),
            ("{\"a\":1} x", "expected JSON, found at column 9: trailing characters"),
        ] {
            assert_eq!(parse(line).unwrap_err(), expected);
        }
        for (line, expected) in [
            ("{}", "expected an object with the key `text`, found none"),
            ("{\"a\":1,\"b\":2}", "expected an object with the key `text`, found `a`, `b`"),
            ("{\"text\":[]}", "`text`: expected a string, found an array"),
        ] {
            assert_eq!(string(&parse(line).unwrap(), "text").unwrap_err(), expected);
        }
    }

    #[test]
    fn deep_values_pass_through_without_a_stack_overflow() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let object = parse(&format!("{{\"a\":{deep}}}")).unwrap();
        assert!(serde_json::to_string(&object["a"]).unwrap() == deep);
        assert_eq!(string(&object, "a").unwrap_err(), "`a`: expected a string, found an array");
    }

    #[test]
    fn carriage_returns_are_spaces_between_values_and_errors_within_strings() {
        let object = parse("{\r\"a\":[1,\r2]}\r").unwrap();
        assert_eq!(object["a"].get(), "[1, 2]");
        assert!(parse("{\"a\":\"b\rc\"}").unwrap_err().contains("control character"));
    }
}
