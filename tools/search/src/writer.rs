//! From documents to an index.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use tantivy::indexer::NoMergePolicy;
use tantivy::schema::{FAST, Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::store::Compressor;
use tantivy::tokenizer::TokenizerManager;
use tantivy::{IndexSettings, IndexWriter, TantivyDocument};

use crate::error::{Error, Result};
use crate::index::Index;
use crate::words::{WordTokenizer, Words};

/// The most bytes of an id.
pub const MAX_ID_BYTES: usize = 1024;

/// What tantivy's own thread may hold before it writes a segment; it is not reached before a commit.
const ARENA_BYTES: usize = 200_000_000;
/// After so many bytes of texts they are written. It bounds the memory of those that wait, and says where segments end,
/// whatever the machine is doing.
const COMMIT_BYTES: usize = 16 << 20;
/// How many ids are looked at again that may be double. Hashes of 64 bits are as good as never equal by accident.
const MAX_SUSPECTS: usize = 100;

const WORDS: &str = "words";
const RAW: &str = "raw";

/// The fields of a document.
#[derive(Clone, Copy)]
pub(crate) struct Fields {
    pub(crate) id: Field,
    pub(crate) text: Field,
    pub(crate) ordinal: Field,
    pub(crate) length: Field,
}

impl Fields {
    pub(crate) const ORDINAL: &'static str = "ordinal";
    pub(crate) const LENGTH: &'static str = "length";

    fn schema() -> (Schema, Self) {
        let mut schema = Schema::builder();
        let text = |tokenizer, option| {
            let indexing = TextFieldIndexing::default();
            let indexing = indexing.set_tokenizer(tokenizer).set_index_option(option).set_fieldnorms(false);
            TextOptions::default().set_stored().set_indexing_options(indexing)
        };
        let fields = Self {
            id: schema.add_text_field("id", text(RAW, IndexRecordOption::Basic)),
            text: schema.add_text_field("text", text(WORDS, IndexRecordOption::WithFreqs)),
            ordinal: schema.add_u64_field(Self::ORDINAL, FAST),
            length: schema.add_u64_field(Self::LENGTH, FAST),
        };
        (schema.build(), fields)
    }

    /// Those of an index that is there.
    pub(crate) fn of(schema: &Schema) -> Result<Self> {
        Ok(Self {
            id: schema.get_field("id")?,
            text: schema.get_field("text")?,
            ordinal: schema.get_field(Self::ORDINAL)?,
            length: schema.get_field(Self::LENGTH)?,
        })
    }
}

/// Takes the documents of a corpus, in its order.
pub struct Writer {
    index: tantivy::Index,
    writer: IndexWriter,
    fields: Fields,
    words: Words,
    documents: u64,
    /// Bytes of texts that are not written yet.
    waiting: usize,
    /// Hashes of ids.
    seen: HashSet<u64>,
    /// Ids whose hash was there.
    suspects: Vec<String>,
}

impl Writer {
    /// An index that is empty, in memory or in an empty folder.
    pub(crate) fn new(directory: impl Into<Box<dyn tantivy::Directory>>) -> Result<Self> {
        let (schema, fields) = Fields::schema();
        let tokenizers = TokenizerManager::default();
        tokenizers.register(WORDS, WordTokenizer::default());
        let settings = IndexSettings {
            docstore_compression: Compressor::Lz4,
            docstore_compress_dedicated_thread: false,
            ..IndexSettings::default()
        };
        let index = tantivy::Index::builder()
            .schema(schema)
            .settings(settings)
            .tokenizers(tokenizers)
            .open_or_create(directory)?;
        // One thread: documents get their numbers in the order in which they come.
        let writer: IndexWriter = index.writer_with_num_threads(1, ARENA_BYTES)?;
        writer.set_merge_policy(Box::new(NoMergePolicy));
        Ok(Self {
            index,
            writer,
            fields,
            words: Words::default(),
            documents: 0,
            waiting: 0,
            seen: HashSet::new(),
            suspects: vec![],
        })
    }

    /// Adds a document. One without words is kept, and never found.
    ///
    /// # Errors
    /// When the id is longer than [`MAX_ID_BYTES`], or the index cannot be written. (That two documents have the same id is
    /// seen at the end.)
    pub fn add(&mut self, id: &str, text: &str) -> Result<()> {
        if id.len() > MAX_ID_BYTES {
            return Err(Error::LongId { document: self.documents + 1, bytes: id.len(), max: MAX_ID_BYTES });
        }
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        if !self.seen.insert(hasher.finish()) && self.suspects.len() < MAX_SUSPECTS {
            self.suspects.push(id.to_owned());
        }
        self.words.read(text);
        let mut document = TantivyDocument::default();
        document.add_text(self.fields.id, id);
        document.add_text(self.fields.text, text);
        document.add_u64(self.fields.ordinal, self.documents);
        document.add_u64(self.fields.length, self.words.len() as u64);
        self.writer.add_document(document)?;
        self.documents += 1;
        self.waiting += id.len() + text.len();
        if self.waiting >= COMMIT_BYTES {
            self.writer.commit()?;
            self.waiting = 0;
        }
        Ok(())
    }

    /// How many documents have been added.
    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// Writes what waits, and opens the index.
    pub(crate) fn finish(mut self) -> Result<Index> {
        self.writer.commit()?;
        self.writer.wait_merging_threads()?;
        let index = Index::open(&self.index)?;
        for id in self.suspects {
            if let [first, second, ..] = index.ordinals(&id)?[..] {
                return Err(Error::DuplicateId { id, first: first + 1, second: second + 1 });
            }
        }
        Ok(index)
    }
}
