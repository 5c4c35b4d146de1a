//! Where results go: stdout, or a file that has its name once it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::settings::Settings;
use crate::args::{SearchArgs, SearchFormat};
use crate::failure::{Failure, say};
use crate::output::Output;

/// Takes the results of one query after another.
pub enum Sink {
    Stdout(Output),
    File(Partial),
}

/// A file that is not whole yet.
pub struct Partial {
    /// Its name in the end.
    path: PathBuf,
    partial: PathBuf,
    settings: PathBuf,
    /// The lock on it ends with it.
    file: BufWriter<File>,
    /// The query whose results come next, if those before are there.
    next: Option<String>,
}

impl Sink {
    /// Opens what the arguments say.
    pub fn open(
        args: &SearchArgs,
        settings: impl FnOnce() -> Result<Settings, Failure>,
    ) -> Result<Self, Failure> {
        match &args.output {
            None => Ok(Self::Stdout(Output::new())),
            Some(path) => Partial::open(path, args, &settings()?).map(Self::File),
        }
    }

    /// Whether the results of this query are there already. Queries come in the order of the first time.
    pub fn has(&mut self, query: &str) -> bool {
        match self {
            Self::Stdout(_) => false,
            Self::File(file) => {
                if file.next.as_deref() == Some(query) {
                    file.next = None;
                }
                file.next.is_some()
            }
        }
    }

    /// Writes whole lines: all results of a query, or none.
    pub fn write(&mut self, lines: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Stdout(output) => {
                output.text(lines)?;
                output.flush()
            }
            Self::File(file) => {
                let written = file.file.write_all(lines).and_then(|()| file.file.flush());
                written.map_err(|error| Failure::about(file.partial.display(), error))
            }
        }
    }

    /// All has been written.
    pub fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Stdout(mut output) => output.flush(),
            Self::File(Partial { path, partial, settings, mut file, next }) => {
                if let Some(query) = next {
                    let reason = format!("it has results of query `{query}`, which is not asked");
                    return Err(Failure::about(partial.display(), reason));
                }
                let whole = file.flush().and_then(|()| file.get_ref().sync_all());
                whole
                    .and_then(|()| fs::rename(&partial, &path))
                    .map_err(|error| Failure::about(path.display(), error))?;
                fs::remove_file(&settings).map_err(|error| Failure::about(settings.display(), error))
            }
        }
    }
}

impl Partial {
    fn open(path: &Path, args: &SearchArgs, settings: &Settings) -> Result<Self, Failure> {
        let beside = |ending| {
            let mut name = path.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        let (partial, settings_path) = (beside(".partial"), beside(".partial.json"));
        let failed = |error: io::Error| Failure::about(partial.display(), error);
        if path.is_dir() {
            return Err(Failure::about(path.display(), "expected the name of a file, found a folder"));
        }
        let there = partial.symlink_metadata().is_ok();
        if there && !args.resume {
            let reason =
                "results of a run that did not end: `--resume` goes on with it; remove it to begin anew";
            return Err(Failure::about(partial.display(), reason));
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&partial)
            .map_err(failed)?;
        // A file system may have no locks, which is no reason to write nothing.
        if let Err(fs::TryLockError::WouldBlock) = file.try_lock() {
            return Err(Failure::about(partial.display(), "another process is writing this file"));
        }
        let mut next = None;
        if there {
            settings.check(&settings_path, &partial)?;
            let kept =
                kept(&mut file, args.format).map_err(|reason| Failure::about(partial.display(), reason))?;
            next = kept.next;
            file.set_len(kept.bytes).and_then(|()| file.seek(SeekFrom::End(0))).map_err(failed)?;
            say(
                "note",
                &format!("{}: going on behind {} queries with results", partial.display(), kept.queries),
            );
        } else {
            settings.write(&settings_path)?;
        }
        let (path, settings) = (path.to_owned(), settings_path);
        Ok(Self { path, partial, settings, file: BufWriter::with_capacity(1 << 16, file), next })
    }
}

/// What of a file counts.
#[derive(Debug, PartialEq)]
struct Kept {
    /// Up to where results are whole.
    bytes: u64,
    /// How many queries have results there.
    queries: usize,
    /// The query that comes next: the last one of the file may lack lines.
    next: Option<String>,
}

fn kept(file: impl io::Read, format: SearchFormat) -> Result<Kept, String> {
    let mut reader = BufReader::new(file);
    let mut kept = Kept { bytes: 0, queries: 0, next: None };
    let (mut at, mut line, mut number) = (0, vec![], 0);
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
        // Half a line is as good as none.
        if line.pop_if(|last| *last == b'\n').is_none() {
            return Ok(kept);
        }
        number += 1;
        let query =
            query_of(&line, format).ok_or_else(|| format!("line {number}: expected a line of results"))?;
        if kept.next.as_ref() != Some(&query) {
            kept.queries += usize::from(kept.next.is_some());
            kept.bytes = at;
            kept.next = Some(query);
        }
        at += read as u64;
    }
}

fn query_of(line: &[u8], format: SearchFormat) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Row {
        query_id: String,
    }
    match format {
        SearchFormat::Jsonl => serde_json::from_slice::<Row>(line).ok().map(|row| row.query_id),
        _ => std::str::from_utf8(line).ok()?.split_whitespace().next().map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_query_of_a_file_is_written_anew() {
        let lines = "a Q0 d 1 2 t\na Q0 e 2 1 t\nb Q0 d 1 2 t\n";
        let kept = |text: &str| kept(text.as_bytes(), SearchFormat::Trec).unwrap();
        let expected = |bytes, queries, next: &str| Kept { bytes, queries, next: Some(next.to_owned()) };
        assert_eq!(kept(""), Kept { bytes: 0, queries: 0, next: None });
        assert_eq!(kept("a Q0 d"), Kept { bytes: 0, queries: 0, next: None });
        assert_eq!(kept(&lines[..26]), expected(0, 0, "a"));
        for end in 39..=lines.len() {
            assert_eq!(kept(&lines[..end]), expected(26, 1, "b"), "{end}");
        }
        let json = "{\"query_id\":\"a b\",\"rank\":1}\n{\"query_id\":\"c\",\"rank\":1}\n{";
        assert_eq!(super::kept(json.as_bytes(), SearchFormat::Jsonl).unwrap(), expected(28, 1, "c"));
        let error = super::kept(lines.as_bytes(), SearchFormat::Jsonl).unwrap_err();
        assert_eq!(error, "line 1: expected a line of results");
    }
}
