//! Lines of JSON, as the command line reads and writes them.

use crossrank_cli::input::Lines;
use crossrank_cli::{json, object};

use crate::model::check_message;

/// Of objects of the kinds that commands read.
const KEYS: [&str; 4] = ["id", "text", "title", "body"];

/// The bytes are a file of JSON objects, one a line. What is read and written again is one line and reads the same.
pub fn jsonl(bytes: &[u8]) -> bool {
    let mut lines = Lines::of("fuzz".to_owned(), bytes.to_vec());
    let (mut numbers, mut valid) = (1.., true);
    while let Some(line) = lines.next_line().expect("memory is always read") {
        assert_eq!(Some(line.number), numbers.next(), "lines are counted");
        valid &= noted(line.text).is_some_and(|text| text.trim().is_empty() || check(&text));
    }
    valid
}

/// Whether the line is an object.
fn check(text: &str) -> bool {
    noted(object::pair(text));
    let Some(object) = noted(object::parse(text)) else { return false };
    noted(object::id(&object));
    noted(object::text(&object, &KEYS.map(str::to_owned)));
    noted(object::strings(&object, "pool"));
    let written = json::line(&object).expect("what was read can be written");
    let ends = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
    assert!(!written.contains(ends), "more than one line: {written:?}");
    let again = object::parse(&written).expect("what was written can be read");
    assert!(again.keys().eq(object.keys()), "{written:?}");
    for key in object.keys() {
        assert_eq!(noted(object::string(&again, key)), noted(object::string(&object, key)), "{written:?}");
    }
    true
}

/// What was read, or else a reason that says something.
fn noted<T>(read: Result<T, String>) -> Option<T> {
    read.map_err(|reason| check_message(&reason)).ok()
}
