//! Lines of JSONL.

use crossrank::Ranked;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::candidates::Candidate;
use crate::args::RankArgs;
use crate::rerank::rows::PassageOf;

/// A document of a result.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    /// From 1.
    pub rank: usize,
    /// From 1.
    pub first_rank: usize,
    pub candidate: &'a Candidate,
    /// None if it was not scored.
    pub ranked: Option<&'a Ranked>,
}

/// A row as JSON.
pub struct Line<'a> {
    pub query_id: &'a str,
    pub row: Row<'a>,
    pub args: &'a RankArgs,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Row { rank, first_rank, candidate, ranked } = self.row;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("query_id", self.query_id)?;
        map.serialize_entry("rank", &rank)?;
        map.serialize_entry("document_id", &candidate.id)?;
        if let Some(ranked) = ranked {
            map.serialize_entry("score", &ranked.score)?;
            map.serialize_entry("logit", &ranked.logit)?;
        }
        map.serialize_entry("first_rank", &first_rank)?;
        map.serialize_entry("first_score", &candidate.score)?;
        match ranked {
            Some(ranked) => {
                map.serialize_entry("tokens", &ranked.tokens)?;
                map.serialize_entry("truncated", &ranked.truncated)?;
                if let Some(passage) = &ranked.passage {
                    map.serialize_entry("passage", &PassageOf::new(passage, &candidate.text))?;
                }
                if !self.args.stages.cascade.is_empty() {
                    map.serialize_entry("stage", &ranked.stage)?;
                }
                if let Some(fused) = &ranked.fused {
                    map.serialize_entry("fused", fused)?;
                }
            }
            None => map.serialize_entry("not_scored", &true)?,
        }
        map.end()
    }
}
