//! An index, and what it finds.

use std::collections::HashMap;
use std::sync::Arc;

use tantivy::directory::RamDirectory;
use tantivy::postings::Postings;
use tantivy::schema::{IndexRecordOption, Value};
use tantivy::store::StoreReader;
use tantivy::{DocSet, InvertedIndexReader, SegmentReader, TERMINATED, TantivyDocument, Term};

use crate::bm25::Bm25;
use crate::error::{Error, Result};
use crate::words::Words;
use crate::writer::{Fields, Writer};

/// Blocks of texts, of about 16 kB, that each segment keeps unpacked.
const CACHED_BLOCKS: usize = 4;

/// A document that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Hit {
    /// Its number in the corpus, from 0.
    pub ordinal: u64,
    /// By [`Bm25`], above 0.
    pub score: f32,
}

/// A document as it was added.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// Its id.
    pub id: String,
    /// Its text.
    pub text: String,
}

/// The documents of a corpus, to be searched. It is shared by reference between threads.
pub struct Index {
    segments: Vec<Segment>,
    fields: Fields,
    documents: u64,
    bm25: Bm25,
}

/// Documents that were written together.
struct Segment {
    /// The number of the first one.
    begin: u64,
    ids: Arc<InvertedIndexReader>,
    words: Arc<InvertedIndexReader>,
    /// Of each document, what the frequency of a word is held against.
    saturation: Vec<f64>,
    texts: StoreReader,
}

impl Index {
    /// Indexes the documents that `fill` adds, in memory.
    ///
    /// # Errors
    /// When `fill` fails, an id is too long, or two documents have the same.
    pub fn in_memory<E: From<Error>>(fill: impl FnOnce(&mut Writer) -> Result<(), E>) -> Result<Self, E> {
        let mut writer = Writer::new(RamDirectory::create())?;
        fill(&mut writer)?;
        Ok(writer.finish()?)
    }

    pub(crate) fn open(index: &tantivy::Index) -> Result<Self> {
        let fields = Fields::of(&index.schema())?;
        let mut segments = vec![];
        let mut lengths = vec![];
        for segment in index.searchable_segments()? {
            let reader = SegmentReader::open(&segment)?;
            let values = |name| reader.fast_fields().u64(name);
            let (ordinals, of_segment) = (values(Fields::ORDINAL)?, values(Fields::LENGTH)?);
            lengths.push(
                (0..reader.max_doc())
                    .map(|document| of_segment.first(document).unwrap_or(0))
                    .collect::<Vec<_>>(),
            );
            segments.push(Segment {
                begin: ordinals.first(0).unwrap_or(0),
                ids: reader.inverted_index(fields.id)?,
                words: reader.inverted_index(fields.text)?,
                saturation: vec![],
                texts: reader.get_store_reader(CACHED_BLOCKS)?,
            });
        }
        let documents: usize = lengths.iter().map(Vec::len).sum();
        let words: u64 = lengths.iter().flatten().sum();
        let bm25 = Bm25::default();
        // Without words nothing is found, whatever the mean.
        let mean = words.max(1) as f64 / documents.max(1) as f64;
        for (segment, lengths) in segments.iter_mut().zip(lengths) {
            segment.saturation = lengths.into_iter().map(|length| bm25.saturation(length, mean)).collect();
        }
        segments.sort_unstable_by_key(|segment| segment.begin);
        Ok(Self { segments, fields, documents: documents as u64, bm25 })
    }

    /// How many documents there are.
    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// How documents are scored.
    pub fn bm25(&self) -> Bm25 {
        self.bm25
    }

    /// The `count` best documents, best first, equal scores in the order of the corpus: only those that share a word with
    /// the query.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn search(&self, query: &str, count: usize) -> Result<Vec<Hit>> {
        let mut words = Words::default();
        words.read(query);
        let (mut places, mut distinct) = (HashMap::new(), Vec::<(&str, f64)>::new());
        for word in words.iter() {
            let place = *places.entry(word).or_insert(distinct.len());
            match distinct.get_mut(place) {
                Some((_, times)) => *times += 1.0,
                None => distinct.push((word, 1.0)),
            }
        }
        let mut terms = Vec::with_capacity(distinct.len());
        for (word, times) in distinct {
            let term = Term::from_field_text(self.fields.text, word);
            let of_segment = |segment: &Segment| segment.words.get_term_info(&term);
            let infos = self.segments.iter().map(of_segment).collect::<std::io::Result<Vec<_>>>()?;
            let with = infos.iter().flatten().map(|info| u64::from(info.doc_freq)).sum();
            terms.push((times * self.bm25.idf(self.documents, with), infos));
        }
        let mut hits = vec![];
        let mut scores = vec![];
        for (number, segment) in self.segments.iter().enumerate() {
            scores.clear();
            scores.resize(segment.saturation.len(), 0.0);
            // Word by word: the sum of a document is in the order of the query, so that documents of the same words have
            // the same bits. tantivy's own scorers add in the order in which they happen to stand.
            for (weight, infos) in &terms {
                let Some(info) = &infos[number] else { continue };
                let mut postings =
                    segment.words.read_postings_from_terminfo(info, IndexRecordOption::WithFreqs)?;
                let mut document = postings.doc();
                while document != TERMINATED {
                    let frequency = f64::from(postings.term_freq());
                    let at = document as usize;
                    scores[at] += weight * frequency / (frequency + segment.saturation[at]);
                    document = postings.advance();
                }
            }
            let found = scores.iter().enumerate().filter(|(_, score)| **score > 0.0);
            hits.extend(
                found.map(|(at, score)| Hit { ordinal: segment.begin + at as u64, score: *score as f32 }),
            );
            keep_best(&mut hits, count);
        }
        hits.sort_unstable_by(best_first);
        Ok(hits)
    }

    /// A document by its number in the corpus, from 0.
    ///
    /// # Errors
    /// When there is none of that number, or the index cannot be read.
    pub fn document(&self, ordinal: u64) -> Result<Stored> {
        let after = self.segments.partition_point(|segment| segment.begin <= ordinal);
        let segment = after.checked_sub(1).map(|at| &self.segments[at]);
        let local = segment
            .and_then(|segment| u32::try_from(ordinal - segment.begin).ok().map(|local| (segment, local)));
        let found = local.filter(|(segment, local)| (*local as usize) < segment.saturation.len());
        let Some((segment, local)) = found else {
            let what = format!("expected one of {} documents, found number {ordinal}", self.documents);
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, what).into());
        };
        let document: TantivyDocument = segment.texts.get(local)?;
        let text =
            |field| document.get_first(field).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
        Ok(Stored { id: text(self.fields.id), text: text(self.fields.text) })
    }

    /// The number in the corpus of the document with an id, from 0.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn find(&self, id: &str) -> Result<Option<u64>> {
        Ok(self.ordinals(id)?.first().copied())
    }

    /// Those of all documents with an id.
    pub(crate) fn ordinals(&self, id: &str) -> Result<Vec<u64>> {
        let term = Term::from_field_text(self.fields.id, id);
        let mut found = vec![];
        for segment in &self.segments {
            if let Some(mut postings) = segment.ids.read_postings(&term, IndexRecordOption::Basic)? {
                while postings.doc() != TERMINATED {
                    found.push(segment.begin + u64::from(postings.doc()));
                    postings.advance();
                }
            }
        }
        Ok(found)
    }
}

/// Scores are above 0 and no NaN, so the order is total.
fn best_first(a: &Hit, b: &Hit) -> std::cmp::Ordering {
    b.score.total_cmp(&a.score).then(a.ordinal.cmp(&b.ordinal))
}

/// Leaves the `count` best, in any order.
fn keep_best(hits: &mut Vec<Hit>, count: usize) {
    if hits.len() > count {
        if let Some(last) = count.checked_sub(1) {
            hits.select_nth_unstable_by(last, best_first);
        }
        hits.truncate(count);
    }
}
