//! Lines of JSONL.

use crossrank::{Passage, Ranked};
use indexmap::IndexMap;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use crate::args::{OnBadDocument, RerankArgs};
use crate::documents::{Bad, Document};
use crate::object::Object;

/// A line for a document that was scored.
pub struct Row<'a> {
    pub rank: usize,
    pub ranked: &'a Ranked,
    pub document: &'a Document,
    pub args: &'a RerankArgs,
}

/// Names of ours that a key of the caller's must not take. (`text` is the caller's own where it is what was scored.)
const OURS: [&str; 11] = [
    "rank",
    "index",
    "score",
    "logit",
    "tokens",
    "truncated",
    "passage",
    "stage",
    "fused",
    "not_scored",
    "input",
];

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("rank", &self.rank)?;
        map.serialize_entry("index", &self.document.index)?;
        map.serialize_entry("score", &self.ranked.score)?;
        map.serialize_entry("logit", &self.ranked.logit)?;
        map.serialize_entry("tokens", &self.ranked.tokens)?;
        map.serialize_entry("truncated", &self.ranked.truncated)?;
        if let Some(passage) = &self.ranked.passage {
            map.serialize_entry("passage", &PassageOf::new(passage, &self.document.text))?;
        }
        if !self.args.rank.stages.cascade.is_empty() {
            map.serialize_entry("stage", &self.ranked.stage)?;
        }
        if let Some(fused) = &self.ranked.fused {
            map.serialize_entry("fused", fused)?;
        }
        own_keys(&mut map, self.document, self.args)?;
        map.end()
    }
}

/// The text of a document, and its other keys as they came.
fn own_keys<M: SerializeMap>(map: &mut M, document: &Document, args: &RerankArgs) -> Result<(), M::Error> {
    map.serialize_entry("text", &document.text)?;
    let error_is_ours = args.on_bad_document == OnBadDocument::Last;
    let others = document.object.iter().flat_map(Object::iter);
    pass_through(map, others, |key| OURS.contains(&key) || key == "text" || error_is_ours && key == "error")
}

/// The best passage of a document.
#[derive(serde::Serialize)]
pub struct PassageOf<'a> {
    index: usize,
    start_byte: usize,
    end_byte: usize,
    text: &'a str,
}

impl<'a> PassageOf<'a> {
    pub fn new(passage: &Passage, document: &'a str) -> Self {
        let (start_byte, end_byte) = (passage.bytes.start, passage.bytes.end);
        Self { index: passage.index, start_byte, end_byte, text: passage.text(document) }
    }
}

/// A line of JSONL for a document that was not come to.
pub struct NotScoredRow<'a> {
    pub rank: usize,
    pub document: &'a Document,
    pub args: &'a RerankArgs,
}

impl Serialize for NotScoredRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("rank", &self.rank)?;
        map.serialize_entry("index", &self.document.index)?;
        map.serialize_entry("not_scored", &true)?;
        own_keys(&mut map, self.document, self.args)?;
        map.end()
    }
}

/// A line of JSONL for a document without a score.
pub struct BadRow<'a> {
    pub rank: usize,
    pub bad: &'a Bad,
}

impl Serialize for BadRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("rank", &self.rank)?;
        map.serialize_entry("index", &self.bad.index)?;
        map.serialize_entry("error", &self.bad.reason)?;
        // `text`, too: it is not what was scored.
        let ours = |key: &str| OURS.contains(&key) || key == "error" || key == "text";
        pass_through(&mut map, self.bad.object.iter().flat_map(Object::iter), ours)?;
        map.end()
    }
}

/// The caller's keys as they came; those that have the names of ours within `input`.
fn pass_through<'a, M: SerializeMap>(
    map: &mut M,
    keys: impl Iterator<Item = (&'a String, &'a Box<RawValue>)>,
    ours: impl Fn(&str) -> bool,
) -> Result<(), M::Error> {
    let mut collisions = IndexMap::new();
    for (key, value) in keys {
        if ours(key) {
            collisions.insert(key, value);
        } else {
            map.serialize_entry(key, value)?;
        }
    }
    if collisions.is_empty() { Ok(()) } else { map.serialize_entry("input", &collisions) }
}
