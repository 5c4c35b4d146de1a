//! One file, from the hub into `blobs/`.

use std::io::{self, Read};

use ureq::http::StatusCode;

use crate::cache::Cache;
use crate::check::{Checker, Found};
use crate::error::{Error, Result};
use crate::http::{About, Answer, Client, Want, broken};
use crate::listing::{Facts, beginning, stand_in};
use crate::part::Part;

/// Bytes that are read at a time.
const STEP: usize = 256 << 10;
/// With so many more bytes, what has failed before is forgotten.
const PROGRESS: u64 = 1 << 20;

/// What is downloaded, and into where.
pub(crate) struct Download<'a> {
    pub(crate) client: &'a Client,
    pub(crate) cache: &'a Cache,
    pub(crate) checker: &'a Checker,
    pub(crate) about: About<'a>,
    pub(crate) url: String,
    pub(crate) facts: &'a Facts,
    /// Told how many bytes there are.
    pub(crate) progress: &'a dyn Fn(u64),
}

/// Why an attempt has failed.
struct Failed {
    error: Error,
    /// Whether another one may succeed.
    again: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { again: error.is_passing(), error }
    }
}

impl Download<'_> {
    /// Downloads the file and compares it with its size and hash; only then does it replace the blob. What a broken
    /// connection leaves stays, for the next time.
    pub(crate) fn run(&self) -> Result<()> {
        let blobs = self.cache.blobs();
        let mut part = Part::open(&blobs, &self.facts.hash).map_err(Error::io(&blobs))?;
        let mut failed = 0;
        loop {
            let before = part.written();
            let Failed { error, again } = match self.attempt(&mut part) {
                Ok(()) => match self.compare(&part)? {
                    None => break,
                    Some(error) => {
                        // Its beginning may be of another time, or another process has taken it. Else the server has
                        // nothing better.
                        let again = before > 0 || !part.path().exists();
                        part.restart().map_err(Error::io(&blobs))?;
                        Failed { error, again }
                    }
                },
                Err(failed) => failed,
            };
            if part.written() >= before + PROGRESS {
                failed = 0;
            }
            if !again || failed >= self.client.settings().retries || !self.client.pause(failed, &error) {
                if part.written() == 0 {
                    part.discard();
                }
                return Err(error);
            }
            failed += 1;
        }
        let blob = self.cache.blob(&self.facts.hash);
        let path = part.path().to_owned();
        match part.finish(&blob) {
            // Another process that no lock has kept away took it, and has finished first.
            Err(error) if error.kind() == io::ErrorKind::NotFound && blob.exists() => Ok(()),
            result => result.map_err(Error::io(&path)),
        }
    }

    fn attempt(&self, part: &mut Part) -> std::result::Result<(), Failed> {
        let blobs = self.cache.blobs();
        let own = |source| Failed::from(Error::Io { path: blobs.clone(), source });
        if self.facts.size.is_some_and(|size| part.written() > size) {
            part.restart().map_err(own)?;
        }
        if part.written() > 0 && self.facts.size == Some(part.written()) {
            return Ok(());
        }
        let range = format!("bytes={}-", part.written());
        let version = part.etag().map(str::to_owned);
        let mut extra = Vec::new();
        if part.written() > 0 {
            extra.push(("range", &*range));
            extra.extend(version.as_deref().map(|version| ("if-range", version)));
        }
        let answer = self.client.ask(Want::Body, &self.url, self.about, &extra)?;
        match answer.status {
            StatusCode::PARTIAL_CONTENT if part.written() > 0 => {
                if let Some(reason) = self.wrong_range(&answer, part.written()) {
                    part.restart().map_err(own)?;
                    return Err(Failed { error: self.damaged(&answer.url, reason), again: true });
                }
            }
            StatusCode::OK => {
                part.restart().map_err(own)?;
                part.set_etag(answer.header("etag"));
            }
            status => {
                // 416 among them: the server has less of it than is there.
                part.restart().map_err(own)?;
                let reason = format!("expected the file, found the status {}", status.as_u16());
                return Err(Failed { error: self.damaged(&answer.url, reason), again: true });
            }
        }
        self.receive(answer, part)
    }

    /// What is wrong with the range that came, if something is.
    fn wrong_range(&self, answer: &Answer, from: u64) -> Option<String> {
        let found = answer.header("content-range").unwrap_or("none");
        let parsed = found.strip_prefix("bytes ").and_then(|range| range.split_once('/'));
        let begins = parsed.and_then(|(range, _)| range.split_once('-')?.0.parse().ok()) == Some(from);
        let total = parsed.is_some_and(|(_, total)| match (total.parse::<u64>(), self.facts.size) {
            (Ok(total), Some(size)) => total == size,
            (Ok(_), None) => true,
            (Err(_), _) => total == "*",
        });
        (!begins || !total).then(|| {
            let size = self.facts.size.map_or("*".to_owned(), |size| size.to_string());
            format!("expected the range from {from} of {size}, found `{}`", found.escape_debug())
        })
    }

    fn receive(&self, answer: Answer, part: &mut Part) -> std::result::Result<(), Failed> {
        let Answer { url, headers, body, status } = answer;
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let before = part.written();
        if let Some(coding) =
            header("content-encoding").filter(|coding| !coding.eq_ignore_ascii_case("identity"))
        {
            let reason = format!("expected the file as it is, found it in `{}`", coding.escape_debug());
            return Err(Failed { error: self.damaged(&url, reason), again: false });
        }
        if let (Some(length), Some(size)) =
            (header("content-length").and_then(|n| n.parse::<u64>().ok()), self.facts.size)
            && length != size - before.min(size)
        {
            let reason = format!("expected {} bytes, the server announces {length}", size - before.min(size));
            return Err(Failed { error: self.damaged(&url, reason), again: true });
        }
        let mut reader = body.into_reader();
        let mut buffer = vec![0; STEP];
        (self.progress)(part.written());
        loop {
            let read = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    // A range that brings nothing at all, as one in a coding, brings no more the next time.
                    if status == StatusCode::PARTIAL_CONTENT && part.written() == before {
                        part.restart().map_err(Error::io(&self.cache.blobs()))?;
                    }
                    return Err(broken(&url, &error).into());
                }
            };
            if let Some(size) = self.facts.size.filter(|size| part.written() + read as u64 > *size) {
                let reason = self.of_another_size(
                    format!("more than {size}"),
                    &buffer[..read],
                    before == part.written(),
                );
                part.restart().map_err(Error::io(&self.cache.blobs()))?;
                return Err(Failed { error: self.damaged(&url, reason), again: true });
            }
            part.append(&buffer[..read]).map_err(Error::io(part.path()))?;
            (self.progress)(part.written());
        }
        match self.facts.size {
            Some(size) if part.written() < size => {
                let start = beginning(part.path()).unwrap_or_default();
                let reason = self.of_another_size(part.written().to_string(), &start, true);
                // A page in place of the file is no beginning of it.
                if stand_in(&start).is_some() {
                    part.restart().map_err(Error::io(&self.cache.blobs()))?;
                }
                Err(Failed { error: self.damaged(&url, reason), again: true })
            }
            _ => Ok(()),
        }
    }

    fn of_another_size(&self, found: String, bytes: &[u8], is_beginning: bool) -> String {
        let size = self.facts.size.unwrap_or_default();
        let what = stand_in(bytes).filter(|_| is_beginning);
        let what = what.map(|what| format!(": {what}")).unwrap_or_default();
        format!("expected {size} bytes, found {found}{what}")
    }

    /// What is wrong with all of it, if something is.
    fn compare(&self, part: &Part) -> Result<Option<Error>> {
        part.settle().map_err(Error::io(part.path()))?;
        let found = self.checker.check(part.path(), self.facts.size, &self.facts.hash);
        Ok(match found.map_err(Error::io(part.path()))? {
            Found::Good => None,
            Found::Nothing => {
                Some(self.damaged(&self.url, "another process has taken what was downloaded".into()))
            }
            Found::Other(reason) => {
                let what = stand_in(&beginning(part.path()).unwrap_or_default());
                let what = what.map(|what| format!(": {what}")).unwrap_or_default();
                Some(self.damaged(&self.url, format!("{reason}{what}")))
            }
        })
    }

    fn damaged(&self, url: &str, reason: String) -> Error {
        Error::Damaged { url: crate::http::shown(url), reason }
    }
}
