//! Lines of a file or of standard input, with their numbers.

use std::io::{BufRead, Cursor, Read};
use std::path::Path;

use crate::decompress;
use crate::error::Error;

/// The longest line, in bytes without its end. It bounds the memory of an input without newlines.
pub const MAX_LINE_BYTES: usize = 4 << 20;
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A line of the input, or why it is none.
#[derive(Debug)]
pub struct Line {
    /// Counted from 1, as editors do.
    pub number: usize,
    /// Without its newline or CRLF; else what was expected, and what was found.
    pub text: Result<String, String>,
}

/// The lines of a file, which may be gzip or zstd. A byte order mark before the first is dropped; a last line needs no
/// newline.
pub struct Lines {
    name: String,
    reader: Box<dyn BufRead + Send>,
    number: usize,
}

impl Lines {
    /// Opens a file; `-`, or no path, is standard input.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where it cannot be opened or its first bytes cannot be read.
    pub fn open(path: Option<&Path>) -> Result<Self, Error> {
        let (name, reader) = decompress::open(path)?;
        Ok(Self { name, reader, number: 0 })
    }

    /// The lines of contents that have been read and are not compressed; errors call them `name`.
    pub fn of(name: String, contents: Vec<u8>) -> Self {
        Self { name, reader: Box::new(Cursor::new(contents)), number: 0 }
    }

    /// What errors call the input: its path, or `<stdin>`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next line, or none at the end. A line that is no text is no error yet: the one behind it can be read.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where the file cannot be read, or its compressed data is damaged or cut short. Nothing may be
    /// read after that.
    pub fn next_line(&mut self) -> Result<Option<Line>, Error> {
        let mut bytes = Vec::new();
        // One more than a line may have shows that it has more; another two are its CRLF, three the mark before the
        // first.
        let mark = if self.number == 0 { BYTE_ORDER_MARK.len() } else { 0 };
        let limit = (MAX_LINE_BYTES + 2 + mark) as u64;
        let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut bytes);
        read.map_err(|error| Error::file(&self.name, error))?;
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
        let text = if bytes.len() > MAX_LINE_BYTES {
            if !whole {
                self.reader.skip_until(b'\n').map_err(|error| Error::file(&self.name, error))?;
            }
            Err(format!("expected at most {} MiB, found a longer line", MAX_LINE_BYTES >> 20))
        } else {
            String::from_utf8(bytes).map_err(|error| invalid_utf8(&error))
        };
        Ok(Some(Line { number: self.number, text }))
    }

    /// The next line that is not blank, with its number, or none at the end.
    ///
    /// # Errors
    ///
    /// As [`Self::next_line`], and [`Error::Line`] for one that is no text.
    pub fn next_text(&mut self) -> Result<Option<(usize, String)>, Error> {
        while let Some(Line { number, text }) = self.next_line()? {
            let text = text.map_err(|reason| self.error(number, reason))?;
            if !text.trim().is_empty() {
                return Ok(Some((number, text)));
            }
        }
        Ok(None)
    }

    /// An error about a line of this input.
    pub(crate) fn error(&self, line: usize, reason: impl Into<String>) -> Error {
        Error::line(&self.name, line, reason)
    }
}

fn invalid_utf8(error: &std::string::FromUtf8Error) -> String {
    let at = error.utf8_error().valid_up_to();
    let byte = error.as_bytes().get(at).copied().unwrap_or_default();
    format!("expected UTF-8, found byte 0x{byte:02x} at column {}", at + 1)
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
        let max = MAX_LINE_BYTES;
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
        let max = MAX_LINE_BYTES;
        for (len, fits) in [(max, true), (max + 1, false), (max + 4, false)] {
            let bytes = [BYTE_ORDER_MARK, &vec![b'a'; len], b"\r\nlast"].concat();
            let lines = lines(bytes.leak());
            assert_eq!((lines[0].is_ok(), lines.len()), (fits, 2), "{len}");
            assert_eq!(lines[1], Ok("last".into()), "{len}");
        }
    }
}
