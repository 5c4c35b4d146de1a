//! Documents that are longer than the window: scored in passages.

use std::ops::Range;
use std::sync::Mutex;

use super::passages::{Cut, Cutter};
use super::scored::{Found, Scored};
use crate::error::{Error, Result};
use crate::lock::lock;
use crate::reranker::Reranker;
use crate::schedule::Control;
use crate::score::ScoreActivation;

/// How a document is scored that does not fit the window beside its query.
///
/// [`Long::Max`] and [`Long::Mean`] cut it into passages of whole sentences, by the rules of Unicode's annex 29, as many
/// as fit; of a sentence that alone does not fit, of whole words. Each passage is scored with the query: its logits have
/// the bits that its text has as a document of its own. A document that fits is one passage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Long {
    /// Its beginning counts: what does not fit is cut off, as [`Truncation`](crate::Truncation) says.
    #[default]
    Truncate,
    /// Its best passage counts.
    Max,
    /// The mean of its passages' logits counts.
    Mean,
}

/// The passage of a document that answers the query best.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Passage {
    /// Its number among the document's passages, from 0.
    pub index: usize,
    /// The number of the document's passages.
    pub count: usize,
    /// Where it lies in the document, in bytes of UTF-8, at the borders of characters.
    pub bytes: Range<usize>,
}

impl Passage {
    /// Its text, out of the document's.
    ///
    /// # Panics
    /// When `document` is not the text that it was found in and ends before it, or has a character across its border.
    pub fn text<'a>(&self, document: &'a str) -> &'a str {
        &document[self.bytes.clone()]
    }

    /// Where it lies in code points, by which Python counts.
    ///
    /// # Panics
    /// As [`Passage::text`].
    pub fn code_points(&self, document: &str) -> Range<usize> {
        self.counted(document, |text| text.chars().count())
    }

    /// Where it lies in code units of UTF-16, by which JavaScript counts.
    ///
    /// # Panics
    /// As [`Passage::text`].
    pub fn utf16(&self, document: &str) -> Range<usize> {
        self.counted(document, |text| text.encode_utf16().count())
    }

    fn counted(&self, document: &str, length: impl Fn(&str) -> usize) -> Range<usize> {
        let start = length(&document[..self.bytes.start]);
        start..start + length(self.text(document))
    }
}

/// Chunks for each worker of which passages are held at once: enough that the end of each wave, where workers wait for
/// each other, costs little.
const CHUNKS: usize = 16;

/// Bytes that a token of prose has.
const BYTES_PER_TOKEN: usize = 4;

/// How passages are made and what is made of their logits.
#[derive(Clone, Copy)]
pub(super) struct Passages<'a> {
    pub(super) long: Long,
    /// Tokens that neighbours share.
    pub(super) stride: usize,
    pub(super) query: &'a [u32],
    /// Tokens of room for each.
    pub(super) room: usize,
    /// Whether the query was cut.
    pub(super) query_cut: bool,
    pub(super) activation: ScoreActivation,
    pub(super) label: usize,
}

/// A document under way.
struct Document<'a> {
    number: usize,
    cutter: Cutter<'a>,
    over: bool,
    tally: Tally,
}

/// What the passages of a document come to.
pub(super) struct Tally {
    /// By what it is best, its logits, its bytes, and its number.
    best: Option<(f32, Vec<f32>, Range<usize>, usize)>,
    /// Passages that have logits.
    scored: usize,
    sums: Vec<f64>,
    tokens: usize,
    truncated: bool,
}

impl Tally {
    /// `truncated` is whether something was left out already, such as a part of the query.
    pub(super) fn new(labels: usize, truncated: bool) -> Self {
        Self { best: None, scored: 0, sums: vec![0.0; labels], tokens: 0, truncated }
    }

    /// Adds the next passage: where it lies, its logits, its tokens, and whether some of it were left out. The first of
    /// the best ones stays the best.
    pub(super) fn add(
        &mut self,
        bytes: Range<usize>,
        logits: &[f32],
        (tokens, truncated): (usize, bool),
        (activation, label): (ScoreActivation, usize),
    ) {
        self.tokens += tokens;
        self.truncated |= truncated;
        self.sums.iter_mut().zip(logits).for_each(|(sum, logit)| *sum += f64::from(*logit));
        let order = activation.order(logits, label);
        if self.best.as_ref().is_none_or(|(best, ..)| order > *best) {
            self.best = Some((order, logits.to_vec(), bytes, self.scored));
        }
        self.scored += 1;
    }

    /// The document's logits, and the rest; None if there was no passage.
    pub(super) fn finish(self, long: Long) -> Option<(Vec<f32>, Found)> {
        let (_, logits, bytes, index) = self.best?;
        let count = self.scored;
        let logits = match long {
            Long::Mean => self.sums.iter().map(|sum| (sum / count as f64) as f32).collect(),
            Long::Max | Long::Truncate => logits,
        };
        let passage = Some(Passage { index, count, bytes });
        Some((logits, Found { tokens: self.tokens, truncated: self.truncated, passage }))
    }
}

impl Reranker {
    /// Scores documents passage by passage; false if it was stopped. What is held at once does not grow with their
    /// length.
    pub(super) fn score_passages<'a>(
        &self,
        documents: impl Iterator<Item = &'a str>,
        passages: Passages<'_>,
        control: Control<'_>,
        scored: &mut Scored,
    ) -> Result<bool> {
        let chunks = if control.deadline.is_some() { 1 } else { CHUNKS };
        let wave_tokens = (self.threads().count() * chunks).saturating_mul(self.chunk_tokens()).max(1);
        let mut waiting = documents.enumerate();
        let mut under_way: Vec<Document<'_>> = vec![];
        loop {
            let mut expected: usize = under_way.iter().map(|document| passages.cost(&document.cutter)).sum();
            while expected < wave_tokens
                && let Some((number, text)) = waiting.next()
            {
                let cutter = Cutter::new(self.tokenizer(), text, passages.room, passages.stride);
                expected += passages.cost(&cutter);
                let tally = Tally::new(self.labels(), passages.query_cut);
                under_way.push(Document { number, cutter, over: false, tally });
            }
            if under_way.is_empty() {
                return Ok(true);
            }
            if !self.score_wave(&mut under_way, wave_tokens, passages, control)? {
                return Ok(false);
            }
            let (over, rest) = under_way.into_iter().partition(|document| document.over);
            under_way = rest;
            for document in over {
                control.progress_by(1);
                if let Some((logits, found)) = document.tally.finish(passages.long) {
                    scored.set(document.number, &logits, found);
                }
            }
        }
    }

    /// Cuts and scores passages of these documents, in order, until there are enough; false if it was stopped.
    fn score_wave(
        &self,
        documents: &mut [Document<'_>],
        wave_tokens: usize,
        passages: Passages<'_>,
        control: Control<'_>,
    ) -> Result<bool> {
        // The first ones are cut to their ends, so that they leave the wave.
        let mut left = wave_tokens;
        let shares: Vec<usize> = documents
            .iter()
            .map(|document| {
                let share = passages.cost(&document.cutter).min(left);
                left -= share;
                share
            })
            .collect();
        let cells: Vec<Mutex<&mut Document<'_>>> = documents.iter_mut().map(Mutex::new).collect();
        let cuts = self.threads().map(cells.len(), |i| lock(&cells[i]).cut(shares[i], passages));
        let mut pairs = vec![];
        let mut owners = vec![];
        for (i, (cell, cuts)) in cells.iter().zip(cuts).enumerate() {
            let number = lock(cell).number;
            let cuts = cuts.map_err(|reason| Error::document_error(number, format!("it {reason}")))?;
            for cut in cuts {
                pairs.push(self.tokenizer().fill(passages.query, &cut.ids, false));
                owners.push((i, cut));
            }
        }
        drop(cells);
        let inner = Control { progress: None, ..control };
        let (logits, extents) = match self.score_all(&pairs[..], inner) {
            Ok(scored) => scored,
            Err(Error::Stopped { .. }) => return Ok(false),
            Err(error) => {
                let number =
                    error.document().and_then(|pair| owners.get(pair)).map(|(i, _)| documents[*i].number);
                return Err(error.at_document(number));
            }
        };
        for (((i, cut), logits), extent) in
            owners.into_iter().zip(logits.chunks_exact(self.labels())).zip(extents)
        {
            let by = (passages.activation, passages.label);
            documents[i].tally.add(cut.range, logits, (extent.tokens, cut.truncated), by);
        }
        Ok(true)
    }
}

impl Passages<'_> {
    /// The tokens of what is left of a document.
    fn cost(&self, cutter: &Cutter<'_>) -> usize {
        let tokens = cutter.bytes_left() / BYTES_PER_TOKEN + 1;
        tokens.saturating_add(tokens.div_ceil(self.room).saturating_mul(self.query.len()))
    }
}

impl Document<'_> {
    /// The next passages, of so many tokens or a few more.
    fn cut(&mut self, tokens: usize, passages: Passages<'_>) -> std::result::Result<Vec<Cut>, String> {
        let (mut cuts, mut cost) = (vec![], 0);
        while cost < tokens {
            let Some(cut) = self.cutter.next()? else {
                self.over = true;
                break;
            };
            cost += cut.ids.len() + passages.query.len();
            cuts.push(cut);
        }
        Ok(cuts)
    }
}
