//! Fields of a line that white space parts, and what is wrong with them.

use crate::text::printable;

/// How much of a field a message shows, in characters.
const SHOWN: usize = 60;

/// The fields of a line. They are parted by what C's `isspace` takes for white space, as in `trec_eval`; other white
/// space of Unicode may be part of an id.
pub fn fields(line: &str) -> impl Iterator<Item = &str> {
    line.split([' ', '\t', '\n', '\u{b}', '\u{c}', '\r']).filter(|field| !field.is_empty())
}

/// What is wrong with a field.
pub fn expected(field: &str, what: &str, found: &str) -> String {
    format!("{field}: expected {what}, found `{}`", printable(found, SHOWN))
}

/// Why a line is none of those that were expected, by how many fields it has.
pub fn count(what: &str, found: usize) -> String {
    format!("expected {what}, found {found}")
}
