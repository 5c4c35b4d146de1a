//! The corpus of `search`, indexed.

use std::path::Path;

use crossrank_eval::{Documents, folder};
use crossrank_search::{Event, Index, IndexFolder, Source, Writer};

use crate::failure::{Failure, say};
use crate::progress;

/// Between two looks at the terminal.
const DOCUMENTS: u64 = 512;

/// A corpus and its index.
pub struct Corpus {
    pub index: Index,
    /// What the corpus is, where it has been read for that.
    pub source: Option<Source>,
}

impl Corpus {
    /// Opens the index of a corpus, or makes it: in the folder `index`, or in memory. `known_again` is whether the source
    /// is wanted all the same.
    pub fn open(
        corpus: &Path,
        index: Option<&Path>,
        queries: Option<&Path>,
        known_again: bool,
    ) -> Result<Self, Failure> {
        let path = folder::file(corpus, &folder::CORPUS).map_err(told)?;
        let piped = path == Path::new("-");
        if piped && queries == Some(Path::new("-")) {
            return Err(Failure::about("--queries", "expected a file, since stdin is the corpus"));
        }
        let Some(place) = index else {
            let source = known_again && !piped;
            let source = source.then(|| Source::of(&path)).transpose().map_err(told)?;
            let index = Index::in_memory(|writer| fill(&path, source.as_ref(), writer))?;
            return Ok(Self { index, source });
        };
        if piped {
            return Err(Failure::about("--index", "expected a corpus that is a file, found stdin"));
        }
        let source = Source::of(&path).map_err(told)?;
        let tell = |event| match event {
            Event::Waiting => {
                say("note", &format!("{}: another process is building this index", place.display()))
            }
            Event::Building(Some(why)) => {
                say("note", &format!("{}: the index is built anew: {why}", place.display()))
            }
            _ => {}
        };
        let index = IndexFolder::new(place)
            .open_or_build(&source, tell, |writer| fill(&path, Some(&source), writer))?;
        Ok(Self { index, source: Some(source) })
    }
}

/// Adds all documents of a file, which must be what it was.
fn fill(path: &Path, source: Option<&Source>, writer: &mut Writer) -> Result<(), Failure> {
    let mut documents = Documents::open(path).map_err(told)?;
    let counter = progress::counter_beside_output("documents indexed");
    for document in &mut documents {
        let document = document.map_err(told)?;
        writer.add(&document.id, &document.full_text()).map_err(told)?;
        if writer.documents().is_multiple_of(DOCUMENTS) {
            counter.set_position(writer.documents());
        }
    }
    drop(counter);
    if documents.repaired() > 0 {
        let what = format!("{} lines with half of a surrogate pair, read as U+FFFD", documents.repaired());
        say("note", &format!("{}: {what}", documents.name()));
    }
    match source {
        Some(source) if Source::of(path).map_err(told)? != *source => {
            Err(Failure::about(path.display(), "the corpus has changed while it was being indexed"))
        }
        _ => Ok(()),
    }
}

/// An error of a library that says all there is to say.
pub fn told(error: impl std::fmt::Display) -> Failure {
    Failure::Message(error.to_string())
}
