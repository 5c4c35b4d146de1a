//! JSON objects as corpora hold them: one a line, with an id and texts, from programs that are not all careful.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::text::printable;

/// An id, a title and a text.
pub(crate) struct Record {
    pub id: String,
    /// Empty where there is none.
    pub title: String,
    pub text: String,
    /// Whether halves of surrogate pairs were replaced in it.
    pub repaired: bool,
}

/// The keys that count; others are passed over.
#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow, default, rename = "_id", deserialize_with = "there")]
    beir_id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "there")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "there")]
    title: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "there")]
    text: Option<&'a RawValue>,
}

/// A value that is there, be it null.
fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// Reads a line of BEIR's `corpus.jsonl` or `queries.jsonl`: `_id`, or else `id`, a string or an integer; `title`, which
/// may be missing or null; `text`.
pub(crate) fn record(line: &str) -> Result<Record, String> {
    // Every string becomes text, so that one half of a pair anywhere asks for the repair.
    read(line).or_else(|reason| match without_lone_surrogates(line) {
        Some(line) => read(&line).map(|record| Record { repaired: true, ..record }),
        None => Err(reason),
    })
}

fn read(line: &str) -> Result<Record, String> {
    // An array would be read by position.
    if !line.trim_start().starts_with('{') {
        return Err(match serde_json::from_str::<IgnoredAny>(line) {
            Ok(_) => format!("expected a JSON object, found {}", kind(line)),
            Err(error) => invalid(&error, ""),
        });
    }
    let raw: Raw = serde_json::from_str(line).map_err(|error| invalid(&error, ""))?;
    let missing = |key: &str| format!("expected an object with {key}, found {}", shown_keys(line));
    let (key, value) = match (raw.beir_id, raw.id) {
        (Some(value), _) => ("_id", value),
        (None, Some(value)) => ("id", value),
        (None, None) => return Err(missing("the key `_id` or `id`")),
    };
    let id = id(key, value)?;
    let title = match raw.title {
        Some(title) if title.get() != "null" => string("title", title.get())?,
        _ => String::new(),
    };
    let text = string("text", raw.text.ok_or_else(|| missing("the key `text`"))?.get())?;
    Ok(Record { id, title, text, repaired: false })
}

/// A string, or an integer as it is written.
fn id(key: &str, value: &RawValue) -> Result<String, String> {
    let json = value.get();
    let digits = json.strip_prefix('-').unwrap_or(json);
    if !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Ok(json.to_owned());
    }
    let id = string(key, json)?;
    if id.is_empty() { Err(format!("`{key}`: expected an id, found an empty string")) } else { Ok(id) }
}

/// The string that a JSON value is; errors call it `key`.
///
/// # Errors
/// What was expected and found, where it is another value or no JSON.
pub fn string(key: &str, json: &str) -> Result<String, String> {
    if !json.trim_start().starts_with('"') {
        return Err(format!("`{key}`: expected a string, found {}", kind(json)));
    }
    serde_json::from_str(json).map_err(|error| format!("`{key}`: {}", invalid(&error, " of the value")))
}

/// The parser's word, without its line number: every line is its first.
pub fn invalid(error: &serde_json::Error, of: &str) -> String {
    let reason = error.to_string();
    let reason = reason.split(" at line ").next().unwrap_or_default();
    format!("expected JSON, found at column {}{of}: {}", error.column(), printable(reason, 200))
}

/// What a JSON value is, in words.
pub fn kind(json: &str) -> &'static str {
    match json.trim_start().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// Some of the keys of an object, in words.
pub fn list_keys<'a>(keys: impl ExactSizeIterator<Item = &'a String>) -> String {
    const SHOWN: usize = 5;
    let count = keys.len();
    let mut shown: Vec<_> = keys.take(SHOWN).map(|key| format!("`{}`", printable(key, 40))).collect();
    if count > SHOWN {
        shown.push(format!("{} more", count - SHOWN));
    }
    if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
}

fn shown_keys(line: &str) -> String {
    serde_json::from_str(line).map_or_else(|_| "none".to_owned(), |Keys(keys)| list_keys(keys.iter()))
}

/// The keys of an object, in order.
struct Keys(Vec<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Keys;

            fn expecting(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Keys, M::Error> {
                let mut keys = Vec::new();
                while let Some((key, IgnoredAny)) = map.next_entry()? {
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// JSON with U+FFFD in place of each escape of half a surrogate pair, as other languages convert it; none where it holds
/// none.
pub fn without_lone_surrogates(json: &str) -> Option<String> {
    match replace_lone_surrogates(json) {
        Cow::Owned(repaired) => Some(repaired),
        Cow::Borrowed(_) => None,
    }
}

fn replace_lone_surrogates(json: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut rest = json;
    // Up to the next backslash, and what it escapes.
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let (replacement, len) = match unit(escape) {
            Some(0xd800..=0xdbff) => match unit(&escape[6..]) {
                Some(0xdc00..=0xdfff) => (&escape[..12], 12),
                _ => ("\\ufffd", 6),
            },
            Some(0xdc00..=0xdfff) => ("\\ufffd", 6),
            Some(_) => (&escape[..6], 6),
            // The character after it is whole, whatever it is.
            None => {
                let len = 1 + escape[1..].chars().next().map_or(0, char::len_utf8);
                (&escape[..len], len)
            }
        };
        out.push_str(replacement);
        rest = &escape[len..];
    }
    out.push_str(rest);
    if out == json { Cow::Borrowed(json) } else { Cow::Owned(out) }
}

/// The UTF-16 unit of an escape that a text begins with.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        u16::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_what_was_expected_and_found() {
        for (line, expected) in [
            ("[1]", "expected a JSON object, found an array"),
            ("[\"a\", \"b\", null, \"c\"]", "expected a JSON object, found an array"),
            ("{\"id\":1", "expected JSON, found at column 7: EOF while parsing an object"),
            ("{\"id\":1} x", "expected JSON, found at column 10: trailing characters"),
            ("{}", "expected an object with the key `_id` or `id`, found none"),
            (
                "{\"docid\":1,\"text\":\"a\"}",
                "expected an object with the key `_id` or `id`, found `docid`, `text`",
            ),
            (
                "{\"_id\":1,\"contents\":\"a\"}",
                "expected an object with the key `text`, found `_id`, `contents`",
            ),
            ("{\"_id\":1.5,\"text\":\"a\"}", "`_id`: expected a string, found a number"),
            ("{\"id\":\"\",\"text\":\"a\"}", "`id`: expected an id, found an empty string"),
            ("{\"id\":1,\"text\":null}", "`text`: expected a string, found null"),
            ("{\"id\":1,\"title\":[],\"text\":\"a\"}", "`title`: expected a string, found an array"),
            ("{\"id\":1,\"id\":2,\"text\":\"a\"}", "expected JSON, found at column 12: duplicate field `id`"),
        ] {
            assert_eq!(record(line).map(|record| record.id).unwrap_err(), expected);
        }
    }

    #[test]
    fn ids_are_strings_or_integers_and_titles_may_be_missing() {
        for (line, id, title, text) in [
            ("{\"_id\":\"a b\",\"id\":\"other\",\"text\":\"\"}", "a b", "", ""),
            ("{\"id\":-7,\"title\":null,\"text\":\"x\",\"metadata\":{\"a\":[1e999]}}", "-7", "", "x"),
            (
                "{\"text\":\"x\",\"title\":\"t\",\"_id\":12345678901234567890123}",
                "12345678901234567890123",
                "t",
                "x",
            ),
        ] {
            let record = record(line).unwrap();
            assert_eq!((&*record.id, &*record.title, &*record.text), (id, title, text));
            assert!(!record.repaired);
        }
    }

    #[test]
    fn half_a_surrogate_pair_is_replaced_and_noted() {
        for line in
            ["{\"id\":1,\"text\":\"cut \\ud83d\"}", "{\"id\":1,\"\\udc00\":2,\"text\":\"cut \\ud83d\"}"]
        {
            let record = record(line).unwrap();
            assert_eq!((&*record.text, record.repaired), ("cut \u{fffd}", true));
        }
        let whole = record("{\"id\":1,\"text\":\"\\ud83d\\ude00\"}").unwrap();
        assert_eq!((&*whole.text, whole.repaired), ("😀", false));
    }

    #[test]
    fn half_a_pair_is_replaced_and_nothing_else() {
        for (json, expected) in [
            (r#""cut \ud83d""#, r#""cut \ufffd""#),
            (r#""\udc00 low""#, r#""\ufffd low""#),
            (r#""\uD83D\uD83D\uDE00""#, r#""\ufffd\uD83D\uDE00""#),
            (r#""\ud83d\u0041\udbff\n""#, r#""\ufffd\u0041\ufffd\n""#),
            (r#""\ud83d\\udc00""#, r#""\ufffd\\udc00""#),
            (r#""\ud83dé""#, r#""\ufffdé""#),
        ] {
            assert_eq!(replace_lone_surrogates(json), expected);
        }
        for whole in
            [r#""\ud83d\ude00""#, r#""\\ud83d""#, r#""\u00e9 \" \\""#, r#""\ud8"#, "\\", "\\é", r#""\u+800""#]
        {
            assert_eq!(replace_lone_surrogates(whole), whole);
        }
    }
}
