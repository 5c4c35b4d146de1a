//! What an index was made of.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::words::ANALYSIS;

/// The layout of the folder.
const FORMAT: u32 = 1;
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A corpus, as far as an index must know it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Source {
    /// Where it was: this is for people, a corpus that has moved is the same.
    pub path: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// SHA-256 of them, in hexadecimal.
    pub sha256: String,
}

impl Source {
    /// Reads a file to its end.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(Error::io(path))?;
        let (mut hash, mut bytes) = (Sha256::new(), 0);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = file.read(&mut buffer).map_err(Error::io(path))?;
            if read == 0 {
                break;
            }
            bytes += read as u64;
            hash.update(&buffer[..read]);
        }
        let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { path: path.display().to_string(), bytes, sha256 })
    }
}

/// The file that makes a folder an index.
#[derive(Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: u32,
    version: String,
    analysis: String,
    pub(crate) corpus: Source,
    documents: u64,
    /// The folder with tantivy's files, within that of the manifest.
    pub(crate) data: String,
    /// How many bytes each of them has.
    files: BTreeMap<String, u64>,
}

impl Manifest {
    /// Of data that has been written to the end.
    pub(crate) fn new(corpus: &Source, documents: u64, data: &Path) -> Result<Self> {
        let name = data.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (version, analysis) = (VERSION.to_owned(), ANALYSIS.to_owned());
        let files = sizes(data).map_err(Error::io(data))?;
        Ok(Self { format: FORMAT, version, analysis, corpus: corpus.clone(), documents, data: name, files })
    }

    /// Reads one: `Err` in the result says why it does not serve, though it is one.
    pub(crate) fn parse(bytes: &[u8]) -> serde_json::Result<std::result::Result<Self, String>> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
            version: String,
        }
        let head: Head = serde_json::from_slice(bytes)?;
        if head.format != FORMAT {
            return Ok(Err(made_by(&head.version)));
        }
        Ok(Ok(serde_json::from_slice(bytes)?))
    }

    /// Why it does not serve for a corpus.
    pub(crate) fn stale(&self, corpus: &Source) -> Option<String> {
        let had = &self.corpus;
        if self.version != VERSION {
            Some(made_by(&self.version))
        } else if self.analysis != ANALYSIS {
            Some("it was made with another analysis of texts".into())
        } else if had.bytes != corpus.bytes {
            Some(format!("the corpus has {} bytes, that of the index had {}", corpus.bytes, had.bytes))
        } else if had.sha256 != corpus.sha256 {
            Some("the corpus has changed".into())
        } else {
            None
        }
    }

    /// Why the data is not what was written.
    pub(crate) fn damage(&self, data: &Path) -> Result<Option<String>> {
        let found = sizes(data).map_err(Error::io(data))?;
        let wrong = self.files.iter().find(|(name, bytes)| found.get(*name) != Some(bytes));
        Ok(wrong.map(|(name, bytes)| match found.get(name) {
            Some(found) => format!("`{name}`: expected {bytes} bytes, found {found}"),
            None => format!("`{name}`: expected {bytes} bytes, found no such file"),
        }))
    }
}

fn made_by(version: &str) -> String {
    format!("it was made by version {version}, this is {VERSION}")
}

fn sizes(folder: &Path) -> std::io::Result<BTreeMap<String, u64>> {
    let entry = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry?;
        Ok((entry.file_name().to_string_lossy().into_owned(), entry.metadata()?.len()))
    };
    // tantivy's locks come and go.
    let lasting = |entry: &std::io::Result<(String, u64)>| {
        !entry.as_ref().is_ok_and(|(name, _)| name.ends_with(".lock"))
    };
    fs::read_dir(folder)?.map(entry).filter(lasting).collect()
}
