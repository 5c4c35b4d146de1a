//! JSON that stays on its line, and strings that other programs left broken.

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
    let repaired = crossrank_eval::json::without_lone_surrogates(json);
    if repaired.is_some() {
        say_lone_surrogates();
    }
    repaired
}

/// Says on stderr, once in a run, that halves of surrogate pairs were replaced.
pub fn say_lone_surrogates() {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        say(
            "note",
            "a lone surrogate (half of a pair of escapes) is read as U+FFFD, here and wherever else it comes",
        );
    });
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
}
