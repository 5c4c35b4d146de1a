//! A file or standard input as bytes, decompressed where the first bytes say that it is gzip or zstd.
//!
//! The name says nothing: files are renamed, and standard input has none. Data that ends before its format says that it
//! ends is an error, so that the first half of a file is never taken for the file.

use std::error::Error as StdError;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::error::{Error, Result};

const BUFFER: usize = 1 << 16;

/// Opens a file, or standard input where there is no path or it is `-`; gives its name for errors, too.
pub fn open(path: Option<&Path>) -> Result<(String, Box<dyn BufRead + Send>)> {
    let (name, reader): (String, Box<dyn Read + Send>) = match path {
        Some(path) if path != Path::new("-") => {
            let name = path.display().to_string();
            let file = File::open(path).map_err(|error| Error::file(&name, error))?;
            (name, Box::new(file))
        }
        _ => ("<stdin>".to_owned(), Box::new(io::stdin())),
    };
    let reader = decompressed(reader).map_err(|error| Error::file(&name, error))?;
    Ok((name, reader))
}

#[derive(Clone, Copy, PartialEq)]
enum Format {
    Gzip,
    Zstd,
    Plain,
}

/// RFC 1952: the two bytes of the magic number.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// RFC 8878: the magic number of a frame, and all but the first byte, which is 0x50 to 0x5f, of a skippable one's.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];

/// What begins with these bytes; none where more of them are needed. A line that somebody types is known by its first
/// byte or two.
fn format(first: &[u8]) -> Option<Format> {
    let zstd = match first {
        [0x50..=0x5f, rest @ ..] => ZSTD_SKIPPABLE.starts_with(rest),
        first => ZSTD.starts_with(first),
    };
    match (zstd, GZIP.starts_with(first)) {
        (true, _) if first.len() == ZSTD.len() => Some(Format::Zstd),
        (_, true) if first.len() == GZIP.len() => Some(Format::Gzip),
        (false, false) => Some(Format::Plain),
        _ => None,
    }
}

fn decompressed(mut reader: Box<dyn Read + Send>) -> io::Result<Box<dyn BufRead + Send>> {
    let mut first = Vec::new();
    let format = loop {
        if let Some(format) = format(&first) {
            break format;
        }
        if reader.by_ref().take(1).read_to_end(&mut first)? == 0 {
            break Format::Plain;
        }
    };
    let reader = BufReader::with_capacity(BUFFER, Cursor::new(first).chain(reader));
    Ok(match format {
        Format::Plain => Box::new(reader),
        Format::Gzip => buffered(Whole { format: "gzip", reader: MultiGzDecoder::new(reader) }),
        Format::Zstd => buffered(Whole { format: "zstd", reader: ZstdFrames::new(reader) }),
    })
}

fn buffered(reader: impl Read + Send + 'static) -> Box<dyn BufRead + Send> {
    Box::new(BufReader::with_capacity(BUFFER, reader))
}

/// A decoder whose errors say what was read.
struct Whole<R> {
    format: &'static str,
    reader: R,
}

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer).map_err(|error| {
            let format = self.format;
            match error.kind() {
                io::ErrorKind::Interrupted => error,
                io::ErrorKind::UnexpectedEof => {
                    io::Error::other(format!("expected {format} data up to its end, found it cut short"))
                }
                _ => io::Error::other(format!("expected whole {format} data, found: {error}")),
            }
        })
    }
}

/// The frames of zstd data, one after another, each checked against its checksum and its size, where it has them.
struct ZstdFrames<R> {
    reader: R,
    decoder: FrameDecoder,
    within: bool,
    /// Bytes of this frame so far.
    read: u64,
}

impl<R> ZstdFrames<R> {
    fn new(reader: R) -> Self {
        Self { reader, decoder: FrameDecoder::new(), within: false, read: 0 }
    }
}

impl<R: BufRead> ZstdFrames<R> {
    /// Enters a frame, or skips one that holds no data.
    fn begin(&mut self) -> io::Result<()> {
        match self.decoder.init(&mut self.reader) {
            Ok(()) => {
                (self.within, self.read) = (true, 0);
                Ok(())
            }
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length, ..
            })) => {
                let length = u64::from(length);
                let skipped = io::copy(&mut self.reader.by_ref().take(length), &mut io::sink())?;
                if skipped < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Leaves a frame, if it is what it says that it is.
    fn end(&mut self) -> io::Result<()> {
        let stored = self.decoder.get_checksum_from_data();
        if stored.is_some() && stored != self.decoder.get_calculated_checksum() {
            return Err(io::Error::other("a checksum that is not that of the data"));
        }
        // 0 where the frame does not say.
        let size = self.decoder.content_size();
        if size != 0 && size != self.read {
            return Err(io::Error::other(format!("{} bytes in a frame of {size}", self.read)));
        }
        self.within = false;
        Ok(())
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.within {
                if self.reader.fill_buf()?.is_empty() {
                    return Ok(0);
                }
                self.begin()?;
                continue;
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let strategy = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.reader, strategy).map_err(failed)?;
            }
            let count = self.decoder.read(buffer)?;
            self.read += count as u64;
            if count > 0 {
                return Ok(count);
            }
            self.end()?;
        }
    }
}

/// The reader's own error where there is one behind it, as the end of the data.
fn failed(error: FrameDecoderError) -> io::Error {
    let mut source: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(found) = source {
        if let Some(io) = found.downcast_ref::<io::Error>() {
            return io::Error::new(io.kind(), io.to_string());
        }
        source = found.source();
    }
    io::Error::other(error)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn read(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        decompressed(Box::new(Cursor::new(bytes)))?.read_to_end(&mut all)?;
        Ok(all)
    }

    fn text() -> Vec<u8> {
        (0..20_000).flat_map(|i| format!("{i} {}\n", i * i % 977).into_bytes()).collect()
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        compress_to_vec(text, CompressionLevel::Fastest)
    }

    #[test]
    fn bytes_that_are_no_magic_number_are_themselves() {
        for plain in [&b""[..], b"\x1f", b"\x28\xb5\x2f", b"(a)", b"P\n", b"P*M", b"\x1fb\n", b"q 0 a 1\n"] {
            assert_eq!(read(plain.to_vec()).unwrap(), plain);
        }
    }

    #[test]
    fn members_and_frames_follow_one_another() {
        let text = text();
        let twice = [&text[..], &text].concat();
        assert_eq!(read(gzip(&text)).unwrap(), text);
        assert_eq!(read([gzip(&text), gzip(b""), gzip(&text)].concat()).unwrap(), twice);
        assert_eq!(read(zstd(&text)).unwrap(), text);
        let skipped = [&[0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        let frames = [skipped.clone(), zstd(&text), skipped, zstd(b""), zstd(&text)].concat();
        assert_eq!(read(frames).unwrap(), twice);
    }

    #[test]
    fn data_that_is_cut_anywhere_is_an_error() {
        let text = &text()[..3000];
        for (format, whole) in [("gzip", gzip(text)), ("zstd", zstd(text))] {
            // The magic number itself is needed to tell a format.
            for len in 4..whole.len() {
                let error = read(whole[..len].to_vec()).unwrap_err().to_string();
                assert_eq!(
                    error,
                    format!("expected {format} data up to its end, found it cut short"),
                    "{len}"
                );
            }
            for len in 4..whole.len() {
                let cut = [&whole[..], &whole[..len]].concat();
                let error = read(cut).unwrap_err().to_string();
                assert!(error.ends_with("found it cut short"), "{format} {len}: {error}");
            }
        }
    }

    #[test]
    fn data_that_was_changed_is_an_error() {
        let text = text();
        for (format, mut whole) in [("gzip", gzip(&text)), ("zstd", zstd(&text))] {
            let last = whole.len() - if format == "gzip" { 8 } else { 1 };
            whole[last] ^= 1;
            let error = read(whole).unwrap_err().to_string();
            assert!(error.starts_with(&format!("expected whole {format} data, found: ")), "{error}");
        }
        let trailing = [gzip(&text), b"trailing text".to_vec()].concat();
        assert!(read(trailing).is_err());
        let trailing = [zstd(&text), b"trailing text".to_vec()].concat();
        assert!(read(trailing).is_err());
    }
}
