//! From documents to logits: each text once, as a whole or in passages, as far as there is time.

use std::collections::HashMap;

use super::long::{Long, Passage, Passages};
use super::options::RerankOptions;
use super::pairs::Documents;
use crate::clock::Instant;
use crate::error::{Error, Result};
use crate::reranker::Reranker;
use crate::schedule::{Control, Extent, Results, Source};
use crate::score::ScoreActivation;

/// What is known of some texts.
pub(super) struct Scored {
    labels: usize,
    logits: Vec<f32>,
    found: Vec<Option<Found>>,
}

/// What is known of a text beside its logits.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) tokens: usize,
    pub(super) truncated: bool,
    pub(super) passage: Option<Passage>,
}

impl Scored {
    fn new(texts: usize, labels: usize) -> Self {
        let found = (0..texts).map(|_| None).collect();
        Self { labels, logits: vec![0.0; texts * labels], found }
    }

    /// Logits, a label each, and the rest; None if it was not scored.
    pub(super) fn get(&self, text: usize) -> Option<(&[f32], &Found)> {
        let found = self.found[text].as_ref()?;
        Some((&self.logits[text * self.labels..][..self.labels], found))
    }

    pub(super) fn set(&mut self, text: usize, logits: &[f32], found: Found) {
        self.logits[text * self.labels..][..self.labels].copy_from_slice(logits);
        self.found[text] = Some(found);
    }
}

impl Reranker {
    /// Scores the chosen documents, each text once. Beside the result is the number of the text of each that was chosen.
    ///
    /// An error names the first that cannot be scored, by its index among all documents.
    pub(super) fn score_documents(
        &self,
        query: &str,
        documents: &[impl AsRef<str> + Sync],
        chosen: &[usize],
        options: &RerankOptions,
        by: (ScoreActivation, usize),
        deadline: Option<Instant>,
    ) -> Result<(Scored, Vec<usize>)> {
        let query = self.encode_query(query)?;
        let mut numbers = HashMap::with_capacity(chosen.len());
        let (mut texts, mut firsts) = (Vec::with_capacity(chosen.len()), Vec::with_capacity(chosen.len()));
        let unique: Vec<usize> = chosen
            .iter()
            .map(|&index| {
                let text = documents[index].as_ref();
                *numbers.entry(text).or_insert_with(|| {
                    texts.push(text);
                    firsts.push(index);
                    texts.len() - 1
                })
            })
            .collect();
        drop(numbers);

        let control =
            Control { stop: options.stop.as_deref(), progress: options.progress.as_deref(), deadline };
        let mut scored = Scored::new(texts.len(), self.labels());
        let whole = if options.long == Long::Truncate {
            self.score_texts(&query, &texts, options, control, &mut scored)
        } else {
            self.score_in_passages(&query, &texts, options, by, control, &mut scored)
        };
        let whole = whole.map_err(|error| {
            let first = error.document().and_then(|text| firsts.get(text).copied());
            error.at_document(first)
        })?;
        let done = unique.iter().filter(|&&text| scored.found[text].is_some()).count();
        control.progress_by(done - scored.found.iter().flatten().count());
        // That time is up is no error; that the caller stopped is.
        let stopped = Control { deadline: None, ..control }.stopped();
        if !whole && (deadline.is_none() || stopped) {
            return Err(Error::Stopped { scored: done, documents: chosen.len() });
        }
        Ok((scored, unique))
    }

    /// Scores texts as they are, cut to the window; false if it was stopped.
    fn score_texts(
        &self,
        query: &[u32],
        texts: &[&str],
        options: &RerankOptions,
        control: Control<'_>,
        scored: &mut Scored,
    ) -> Result<bool> {
        let labels = self.labels();
        let source = |texts| Documents {
            tokenizer: self.tokenizer(),
            query,
            documents: texts,
            truncation: options.truncation,
        };
        let mut at = 0;
        while at < texts.len() {
            let wave = match control.deadline {
                None => texts.len(),
                Some(_) => self.wave(&source(&texts[at..])),
            };
            let texts = &texts[at..at + wave];
            let logits = &mut scored.logits[at * labels..][..wave * labels];
            let mut extents = vec![Extent::default(); wave];
            let results = Results { logits: &mut *logits, extents: Some(&mut extents) };
            let of_all = |error: Error| {
                let text = error.document().map(|text| at + text);
                error.at_document(text)
            };
            let whole = match self.score(&source(texts), control, results) {
                Ok(()) => true,
                Err(Error::Stopped { .. }) => false,
                Err(error) => return Err(of_all(error)),
            };
            if !whole {
                self.check_finite(logits).map_err(of_all)?;
            }
            for (found, extent) in scored.found[at..].iter_mut().zip(extents) {
                let Extent { tokens, truncated } = extent;
                // A pair has special tokens at least.
                *found = (tokens > 0).then_some(Found { tokens, truncated, passage: None });
            }
            if !whole {
                return Ok(false);
            }
            at += wave;
        }
        Ok(true)
    }

    /// How many texts are taken at once where there is a deadline: a chunk for each worker, so that they are scored in
    /// about their order, and no worker tokenises much more than it scores.
    fn wave(&self, source: &Documents<'_>) -> usize {
        let most = self.threads().count().saturating_mul(self.chunk_tokens());
        let (mut texts, mut cost) = (0, 0_usize);
        while texts < source.documents() && cost < most {
            cost = cost.saturating_add(source.cost(texts));
            texts += 1;
        }
        texts
    }

    /// Whether passages may share so many tokens.
    pub(super) fn check_stride(&self, stride: usize) -> Result<()> {
        let window = self.tokenizer().max_length();
        if stride >= window {
            let reason = format!("expected fewer tokens than the {window} of the window, found {stride}");
            return Err(Error::option("stride", reason));
        }
        Ok(())
    }

    fn score_in_passages(
        &self,
        query: &[u32],
        texts: &[&str],
        options: &RerankOptions,
        (activation, label): (ScoreActivation, usize),
        control: Control<'_>,
        scored: &mut Scored,
    ) -> Result<bool> {
        let window = self.tokenizer().window(options.truncation);
        self.check_stride(options.stride)?;
        if texts.is_empty() {
            return Ok(true);
        }
        let (kept, room) = window.for_passages(query.len()).map_err(|reason| Error::Query { reason })?;
        let passages = Passages {
            long: options.long,
            stride: options.stride,
            query: &query[..kept],
            room,
            query_cut: kept < query.len(),
            activation,
            label,
        };
        self.score_passages(texts.iter().copied(), passages, control, scored)
    }
}
