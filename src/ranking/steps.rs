//! The steps of a ranking one by one, for callers that keep a queue of their own, such as a server: it tokenises a
//! request when it arrives, scores pairs of several requests together, and ranks each when all its pairs are scored.
//!
//! Each step gives what [`Reranker::rerank`] gives, bit for bit.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use super::long::{Long, Tally};
use super::options::RerankOptions;
use super::passages::Cutter;
use super::scored::Found;
use super::{Partial, Ranked};
use crate::error::{Error, Result};
use crate::reranker::{PairScore, Reranker};
use crate::schedule::{Control, Extent, Results};
use crate::tokenized::Tokenized;

/// A query that has been tokenised once for all its documents. Made by [`Reranker::encode`].
#[derive(Clone, Debug)]
pub struct EncodedQuery {
    ids: Vec<u32>,
}

impl EncodedQuery {
    /// Number of tokens, at most one more than the window has.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }
}

/// What must be scored of one document: one pair, or one for each of its passages. Made by [`Reranker::prepare`].
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The pairs, at least one, in the order of the text.
    pub pairs: Vec<Tokenized>,
    layout: Layout,
}

/// What [`Reranker::gather`] must know beside the scores of the pairs.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Where each passage lies in the document, in bytes; none where the document is scored as a whole.
    passages: Option<Vec<Range<usize>>>,
    truncated: bool,
}

impl Prepared {
    /// The pairs, and what else is needed to make one score of theirs.
    pub fn into_parts(self) -> (Vec<Tokenized>, Layout) {
        (self.pairs, self.layout)
    }
}

/// All that a ranking must know of one document. Made by [`Reranker::gather`].
#[derive(Debug)]
pub struct DocumentScore {
    logits: Vec<f32>,
    found: Found,
}

impl Reranker {
    /// Tokenises a query, on the thread of the caller.
    ///
    /// # Errors
    /// When it cannot be tokenised.
    pub fn encode(&self, query: &str) -> Result<EncodedQuery> {
        Ok(EncodedQuery { ids: self.encode_query(query)? })
    }

    /// Tokenises document number `index` of a call, on the thread of the caller. Of the options [`RerankOptions::long`],
    /// `stride` and `truncation` count. Where the document is scored as a whole, no more than `max_document_tokens` of
    /// it count.
    ///
    /// # Errors
    /// When the pair cannot be tokenised, or cannot be cut to the window as the options ask.
    pub fn prepare(
        &self,
        query: &EncodedQuery,
        (index, document): (usize, &str),
        options: &RerankOptions,
        max_document_tokens: Option<usize>,
    ) -> Result<Prepared> {
        if options.long != Long::Truncate {
            return self.prepare_passages(query, (index, document), options);
        }
        let pair =
            self.tokenizer().pair(index, &query.ids, document, max_document_tokens, options.truncation)?;
        Ok(Prepared { pairs: vec![pair], layout: Layout::default() })
    }

    fn prepare_passages(
        &self,
        query: &EncodedQuery,
        (index, document): (usize, &str),
        options: &RerankOptions,
    ) -> Result<Prepared> {
        let tokenizer = self.tokenizer();
        self.check_stride(options.stride)?;
        let window = tokenizer.window(options.truncation);
        let (kept, room) = window.for_passages(query.ids.len()).map_err(|reason| Error::Query { reason })?;
        let mut cutter = Cutter::new(tokenizer, document, room, options.stride);
        let (mut pairs, mut passages) = (vec![], vec![]);
        let mut truncated = kept < query.ids.len();
        while let Some(cut) =
            cutter.next().map_err(|reason| Error::document_error(index, format!("it {reason}")))?
        {
            pairs.push(tokenizer.fill(&query.ids[..kept], &cut.ids, false));
            truncated |= cut.truncated;
            passages.push(cut.range);
        }
        Ok(Prepared { pairs, layout: Layout { passages: Some(passages), truncated } })
    }

    /// Scores pairs in input order, until `stop` is true: no chunk begins after that. A pair that was not reached has
    /// none; one whose logits are no finite numbers has an error of its own, which leaves the others alone.
    ///
    /// # Errors
    /// When ids do not fit the model, or the process was forked since the model was loaded; not when it is stopped.
    pub fn score_until(
        &self,
        pairs: &[Tokenized],
        stop: &AtomicBool,
    ) -> Result<Vec<Option<Result<PairScore>>>> {
        self.check_all(pairs)?;
        let labels = self.labels();
        let mut logits = vec![0.0; pairs.len() * labels];
        let mut extents = vec![Extent::default(); pairs.len()];
        let control = Control { stop: Some(stop), ..Control::default() };
        let results = Results { logits: &mut logits, extents: Some(&mut extents) };
        let run = self.scheduler.run(&self.model, &self.threads, self.chunk_tokens, pairs, control, results);
        match run {
            Ok(()) | Err(Error::Stopped { .. }) => {}
            Err(error) => return Err(error),
        }
        let score = |(i, (logits, extent)): (usize, (&[f32], Extent))| {
            // A pair that was scored has tokens.
            (extent.tokens > 0).then(|| match self.check_finite(logits) {
                Ok(()) => Ok(PairScore::new(logits, extent)),
                Err(error) => Err(error.at_document(Some(i))),
            })
        };
        Ok(logits.chunks_exact(labels).zip(extents).enumerate().map(score).collect())
    }

    /// Makes one score of those of a document's pairs, which are in the order of [`Prepared::pairs`].
    ///
    /// # Errors
    /// When they are not as many as the pairs were, or the options do not fit the model.
    pub fn gather(
        &self,
        layout: &Layout,
        pairs: &[&PairScore],
        options: &RerankOptions,
    ) -> Result<DocumentScore> {
        let expected = layout.passages.as_ref().map_or(1, Vec::len);
        let none = || {
            let reason = format!("expected the scores of {expected} pairs, found {}", pairs.len());
            Error::option("pairs", reason)
        };
        if pairs.len() != expected {
            return Err(none());
        }
        let Some(passages) = &layout.passages else {
            let pair = pairs[0];
            let found = Found { tokens: pair.tokens, truncated: pair.truncated, passage: None };
            return Ok(DocumentScore { logits: pair.logits.clone(), found });
        };
        let label = self.ranking_label(options.label)?;
        let activation = self.config.settings.activation.resolve(options.score, self.labels())?;
        let mut tally = Tally::new(self.labels(), layout.truncated);
        for (pair, bytes) in pairs.iter().zip(passages) {
            tally.add(bytes.clone(), &pair.logits, (pair.tokens, false), (activation, label));
        }
        let (logits, found) = tally.finish(options.long).ok_or_else(none)?;
        Ok(DocumentScore { logits, found })
    }

    /// Ranks documents by their scores, as [`Reranker::rerank`] does; documents without one are not scored.
    ///
    /// # Errors
    /// When options do not fit the model or the number of documents.
    pub fn rank_scores<'a>(
        &self,
        documents: impl ExactSizeIterator<Item = Option<&'a DocumentScore>>,
        options: &RerankOptions,
    ) -> Result<Partial> {
        options.check(documents.len())?;
        let label = self.ranking_label(options.label)?;
        let activation = self.config.settings.activation.resolve(options.score, self.labels())?;
        let scored = documents.map(|document| document.map(|it| (&it.logits[..], &it.found)));
        let Partial { ranking, not_scored } =
            Ranked::order_all(scored.enumerate(), options, (activation, label));
        Ok(Partial { ranking: options.finish(ranking, 0), not_scored })
    }
}
