//! Lines of a file or of stdin.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use crate::failure::Failure;

/// No text that a model of a few hundred tokens reads comes near; it bounds the memory of an input without newlines.
const MAX_LINE_BYTES: u64 = 4 << 20;
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A line of the input, or why it is none.
pub struct Line {
    /// Counted from 1, as editors do.
    pub number: usize,
    /// Without its newline or CRLF.
    pub text: Result<String, String>,
}

/// A file, or stdin where there is none or it is `-`, with its name for errors.
fn open(path: Option<&Path>) -> Result<(String, Box<dyn BufRead + Send>), Failure> {
    match path {
        Some(path) if path != Path::new("-") => {
            let name = path.display().to_string();
            let file = File::open(path).map_err(|error| Failure::about(&name, error))?;
            Ok((name, Box::new(BufReader::new(file))))
        }
        _ => Ok(("<stdin>".to_owned(), Box::new(BufReader::new(io::stdin())))),
    }
}

/// All that a file, or stdin, holds, with its name for errors.
pub fn read(path: &Path) -> Result<(String, Vec<u8>), Failure> {
    let (name, mut reader) = open(Some(path))?;
    let mut contents = Vec::new();
    reader.read_to_end(&mut contents).map_err(|error| Failure::about(&name, error))?;
    Ok((name, contents))
}

/// Lines with their numbers. A byte order mark before the first is dropped; a last line needs no newline.
pub struct Lines {
    name: String,
    reader: Box<dyn BufRead + Send>,
    number: usize,
}

impl Lines {
    /// Opens a file; none, or `-`, is stdin.
    pub fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let (name, reader) = open(path)?;
        Ok(Self { name, reader, number: 0 })
    }

    /// Of contents that have been read; errors call them `name`.
    pub fn of(name: String, contents: Vec<u8>) -> Self {
        Self { name, reader: Box::new(Cursor::new(contents)), number: 0 }
    }

    /// What errors call the input.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Hands on the lines that are not blank; an error is about the line.
    pub fn for_each(&mut self, mut each: impl FnMut(&str) -> Result<(), String>) -> Result<(), Failure> {
        while let Some(line) = self.next_line().map_err(|error| Failure::about(&self.name, error))? {
            let done = line.text.and_then(|text| if text.trim().is_empty() { Ok(()) } else { each(&text) });
            let at = |reason| Failure::about(format_args!("{}: line {}", self.name, line.number), reason);
            done.map_err(at)?;
        }
        Ok(())
    }

    /// The next line, or none at the end.
    pub fn next_line(&mut self) -> io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        // One more than a line may have shows that it has more; another two are its CRLF, three the mark before the
        // first.
        let mark = if self.number == 0 { BYTE_ORDER_MARK.len() as u64 } else { 0 };
        self.reader.by_ref().take(MAX_LINE_BYTES + 2 + mark).read_until(b'\n', &mut bytes)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let whole = bytes.pop_if(|last| *last == b'\n').is_some();
        bytes.pop_if(|last| whole && *last == b'\r');
        if self.number == 1 && bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
            if bytes.is_empty() && !whole {
                return Ok(None);
            }
        }
        let text = if bytes.len() as u64 > MAX_LINE_BYTES {
            if !whole {
                self.reader.skip_until(b'\n')?;
            }
            Err(format!("expected at most {} MiB, found a longer line", MAX_LINE_BYTES >> 20))
        } else {
            String::from_utf8(bytes).map_err(|error| invalid_utf8(&error))
        };
        Ok(Some(Line { number: self.number, text }))
    }
}

fn invalid_utf8(error: &std::string::FromUtf8Error) -> String {
    let at = error.utf8_error().valid_up_to();
    format!("expected UTF-8, found byte 0x{:02x} at column {}", error.as_bytes()[at], at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &'static [u8]) -> Vec<Result<String, String>> {
        let mut lines = Lines { name: "test".into(), reader: Box::new(bytes), number: 0 };
        let mut all = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            all.push(line.text);
            assert_eq!(line.number, all.len());
        }
        all
    }

    fn good(bytes: &'static [u8]) -> Vec<String> {
        lines(bytes).into_iter().map(Result::unwrap).collect()
    }

    #[test]
    fn a_last_line_needs_no_newline_and_a_newline_begins_no_line() {
        assert_eq!(good(b"a\nb"), ["a", "b"]);
        assert_eq!(good(b"a\nb\n"), ["a", "b"]);
        assert_eq!(good(b"\n\n"), ["", ""]);
        assert_eq!(good(b""), [""; 0]);
    }

    #[test]
    fn crlf_is_a_newline_but_a_carriage_return_is_text() {
        assert_eq!(good(b"a\r\nb\r\r\n\r\n"), ["a", "b\r", ""]);
        assert_eq!(good(b"a\rb\r"), ["a\rb\r"]);
    }

    #[test]
    fn a_byte_order_mark_is_dropped_at_the_start_only() {
        assert_eq!(good(b"\xef\xbb\xbfa\n\xef\xbb\xbfb"), ["a", "\u{feff}b"]);
        assert_eq!(good(b"\xef\xbb\xbf\n"), [""]);
        assert_eq!(good(b"\xef\xbb\xbf"), [""; 0]);
    }

    #[test]
    fn what_is_not_utf8_is_named_and_the_next_line_is_read() {
        let lines = lines(b"ab\xffc\nd\n");
        assert_eq!(lines[0], Err("expected UTF-8, found byte 0xff at column 3".into()));
        assert_eq!(lines[1], Ok("d".into()));
    }

    #[test]
    fn a_line_that_is_too_long_is_an_error_and_the_next_is_read() {
        let max = MAX_LINE_BYTES as usize;
        let mut bytes = vec![b'a'; max];
        bytes.extend(b"\r\n");
        bytes.resize(bytes.len() + 3 * max, b'b');
        bytes.extend(b"\nlast");
        let lines = lines(bytes.leak());
        assert_eq!(lines[0].as_ref().map(String::len), Ok(max));
        assert_eq!(lines[1], Err("expected at most 4 MiB, found a longer line".into()));
        assert_eq!(lines[2], Ok("last".into()));
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn a_byte_order_mark_does_not_count_among_the_bytes_of_its_line() {
        let max = MAX_LINE_BYTES as usize;
        for (len, fits) in [(max, true), (max + 1, false), (max + 4, false)] {
            let bytes = [BYTE_ORDER_MARK, &vec![b'a'; len], b"\r\nlast"].concat();
            let lines = lines(bytes.leak());
            assert_eq!((lines[0].is_ok(), lines.len()), (fits, 2), "{len}");
            assert_eq!(lines[1], Ok("last".into()), "{len}");
        }
    }
}
