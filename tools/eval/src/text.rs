//! Text of unknown origin, made fit for a terminal.

use std::fmt::Write;

/// Whether a character may steer a terminal or reorder its line: control characters (escape sequences begin with
/// one), and the marks that turn the direction of text.
pub fn steers_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// On one line, with what steers a terminal written as escapes, cut after `max` characters.
pub fn printable(text: &str, max: usize) -> String {
    let mut out = String::new();
    for (i, c) in text.chars().enumerate() {
        if i == max {
            out.push('…');
            break;
        }
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if steers_terminal(c) => {
                let _ = write!(out, "{}", c.escape_unicode());
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{202e}d\u{9b}é", 100), "a\\u{1b}[2Jb\\nc\\u{202e}d\\u{9b}é");
        assert_eq!(printable("abcdef", 3), "abc…");
        assert_eq!(printable("abc", 3), "abc");
    }
}
