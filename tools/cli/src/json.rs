//! JSON that stays on its line, and strings that other programs left broken.

use std::borrow::Cow;
use std::sync::Once;

use serde::Serialize;

use crate::failure::say;

/// What some readers take for the end of a line, though JSON allows it within strings: U+0085, U+2028, U+2029.
const LINE_ENDS: [(char, &str); 3] =
    [('\u{85}', "\\u0085"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")];

/// A value as JSON on one line, whoever splits it: all that this program writes goes through here.
pub fn line(value: &impl Serialize) -> serde_json::Result<String> {
    let mut json = serde_json::to_string(value)?;
    for (c, escape) in LINE_ENDS {
        // JSON allows them within strings only, and never after a backslash, so that an escape says the same.
        if json.contains(c) {
            json = json.replace(c, escape);
        }
    }
    Ok(json)
}

/// JSON with U+FFFD in place of each escape of half a surrogate pair, as other languages convert it; none where it holds
/// none. Said on stderr, once in a run.
pub fn without_lone_surrogates(json: &str) -> Option<String> {
    let repaired = replace_lone_surrogates(json);
    let Cow::Owned(repaired) = repaired else { return None };
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        say(
            "note",
            "a lone surrogate (half of a pair of escapes) is read as U+FFFD, here and wherever else it comes",
        );
    });
    Some(repaired)
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
    fn nothing_that_is_written_ends_a_line() {
        let value = "a\u{85}b\u{2028}c\u{2029}\\\u{2028}";
        let json = line(&indexmap::IndexMap::from([(value, value)])).unwrap();
        assert!(json.is_ascii(), "{json}");
        let read: std::collections::HashMap<String, String> = serde_json::from_str(&json).unwrap();
        assert_eq!(read[value], value);
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
