//! One request: documents are scored a few at a time, so that the worker can hear in between that nobody waits any more.

use std::rc::Rc;
use std::time::Duration;

use crossrank::{Instant, Ranked, RerankOptions, Reranker};
use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::error;

/// About how long a step takes.
const STEP: Duration = Duration::from_millis(40);
/// Bytes of text of a thread in the first step, and the fewest and the most of later ones, whose number follows from how
/// long the step before them took.
const FIRST_BYTES: usize = 1024;
const BYTES: [usize; 2] = [256, 1 << 16];

/// Documents that are being ranked.
#[wasm_bindgen]
pub struct Request {
    reranker: Rc<Reranker>,
    query: String,
    documents: Vec<String>,
    options: RerankOptions,
    done: usize,
    threads: usize,
    /// Bytes of the next step's texts.
    budget: usize,
    ranking: Vec<Ranked>,
}

impl Request {
    pub(crate) fn new(
        reranker: Rc<Reranker>,
        query: &str,
        documents: Vec<String>,
        options: RerankOptions,
    ) -> Self {
        let threads = reranker.info().threads;
        let query = query.to_owned();
        Self {
            reranker,
            query,
            documents,
            options,
            done: 0,
            threads,
            budget: FIRST_BYTES * threads,
            ranking: Vec::new(),
        }
    }
}

#[wasm_bindgen]
impl Request {
    /// Scores the next documents. True when there are no more.
    ///
    /// # Errors
    /// When one cannot be scored, or the options do not fit the model.
    pub fn step(&mut self) -> Result<bool, JsError> {
        let (mut taken, mut end) = (0, self.done);
        for document in &self.documents[self.done..] {
            let bytes = document.len() + self.query.len();
            if end > self.done && taken + bytes > self.budget {
                break;
            }
            taken += bytes;
            end += 1;
        }
        let start = Instant::now();
        let ranked = self.reranker.rerank(&self.query, &self.documents[self.done..end], &self.options);
        let ranked = ranked.map_err(|failed| {
            let number = failed.document().map(|document| document + self.done);
            error(failed.at_document(number))
        })?;
        self.ranking.extend(ranked.into_iter().map(|mut ranked| {
            ranked.index += self.done;
            ranked
        }));
        let speed = taken as f64 / start.elapsed().as_secs_f64().max(1e-3);
        let [fewest, most] = BYTES.map(|bytes| bytes * self.threads);
        self.budget = ((speed * STEP.as_secs_f64()) as usize).clamp(fewest, most);
        self.done = end;
        Ok(self.done == self.documents.len())
    }

    /// Documents that have been scored.
    pub fn done(&self) -> usize {
        self.done
    }

    /// The ranking, best first, as JSON: of each document `index`, `score`, `logit`, `tokens`, `truncated`, and of one
    /// that was scored in passages `passage`, the best of them, with `index`, `count`, and where it lies in the document,
    /// `start` and `end` in code units of UTF-16, `startByte` and `endByte` in UTF-8.
    ///
    /// # Errors
    /// When there is a document that was not scored, or `min_score` is NaN.
    pub fn finish(mut self, top_k: Option<usize>, min_score: Option<f32>) -> Result<String, JsError> {
        if self.done < self.documents.len() {
            return Err(error(format!("{} of {} documents were scored", self.done, self.documents.len())));
        }
        if min_score.is_some_and(f32::is_nan) {
            return Err(error("option `minScore`: expected a number, found NaN"));
        }
        self.ranking.sort_unstable_by(Ranked::best_first);
        self.ranking.retain(|ranked| min_score.is_none_or(|least| ranked.score >= least));
        self.ranking.truncate(top_k.unwrap_or(usize::MAX));
        let results: Vec<Found> =
            self.ranking.iter().map(|ranked| Found::new(ranked, &self.documents[ranked.index])).collect();
        serde_json::to_string(&results).map_err(error)
    }
}

/// One document of a ranking.
#[derive(Serialize)]
struct Found {
    index: usize,
    score: f32,
    logit: f32,
    tokens: usize,
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    passage: Option<BestPassage>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BestPassage {
    index: usize,
    count: usize,
    start: usize,
    end: usize,
    start_byte: usize,
    end_byte: usize,
}

impl Found {
    fn new(ranked: &Ranked, document: &str) -> Self {
        let passage = ranked.passage.as_ref().map(|passage| {
            let utf16 = passage.utf16(document);
            BestPassage {
                index: passage.index,
                count: passage.count,
                start: utf16.start,
                end: utf16.end,
                start_byte: passage.bytes.start,
                end_byte: passage.bytes.end,
            }
        });
        let Ranked { index, score, logit, tokens, truncated, .. } = *ranked;
        Self { index, score, logit, tokens, truncated, passage }
    }
}
