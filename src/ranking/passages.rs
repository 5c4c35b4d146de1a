//! A document in passages that fit the window.

use std::collections::VecDeque;
use std::ops::Range;

use unicode_segmentation::{USentenceBoundIndices, UnicodeSegmentation};

use crate::tokenizer::Tokenizer;

/// Bytes for each token of room beyond which a text is not tokenised as a whole to see whether it fits.
const MOST_BYTES: usize = 64;

/// Bytes for each token of room up to which a document may well be one passage.
const LIKELY_BYTES: usize = 8;

/// Where and of what tokens a passage is.
pub(super) struct Cut {
    /// Bytes of the document.
    pub(super) range: Range<usize>,
    /// As many as the room at most.
    pub(super) ids: Vec<u32>,
    /// Whether tokens of it were left out: a character of more tokens than the room has.
    pub(super) truncated: bool,
}

/// Cuts a document, passage by passage. What it holds does not grow with the document.
///
/// A passage is as many whole sentences as fit, by the rules of Unicode (UAX 29). Where a sentence alone does not fit,
/// words take the place of sentences, and where a word alone does not, characters. White space around a passage is no
/// part of it, and its ids are those that its text has on its own.
pub(super) struct Cutter<'a> {
    tokenizer: &'a Tokenizer,
    text: &'a str,
    room: usize,
    /// Tokens that a passage may share with the one before it.
    stride: usize,
    sentences: USentenceBoundIndices<'a>,
    /// What is left of a sentence that is longer than the room.
    long: Range<usize>,
    /// Pieces that were cut but did not fit.
    ahead: VecDeque<Piece>,
    /// Those of the passage under way; at first those that it shares with the one before.
    pieces: VecDeque<Piece>,
    /// Passages so far.
    pub(super) count: usize,
}

/// A sentence, or a part of one that is too long, with the white space behind it.
struct Piece {
    range: Range<usize>,
    /// As many as the room at most.
    ids: Vec<u32>,
    /// Whether it ends within a word, so that nothing may be joined to it.
    within_word: bool,
    truncated: bool,
}

impl<'a> Cutter<'a> {
    /// `room` is at least 1.
    pub(super) fn new(tokenizer: &'a Tokenizer, text: &'a str, room: usize, stride: usize) -> Self {
        Self {
            tokenizer,
            text,
            room,
            stride,
            sentences: text.split_sentence_bound_indices(),
            long: 0..0,
            ahead: VecDeque::new(),
            pieces: VecDeque::new(),
            count: 0,
        }
    }

    /// The bytes that have not been cut yet, nearly.
    pub(super) fn bytes_left(&self) -> usize {
        let behind = self.ahead.back().or(self.pieces.back()).map_or(0, |piece| piece.range.end);
        self.text.len() - behind
    }

    /// The next passage; an empty document is one. An error is the end of a sentence.
    pub(super) fn next(&mut self) -> Result<Option<Cut>, String> {
        if self.count == 0
            && let Some(whole) = self.whole()?
        {
            return Ok(Some(whole));
        }
        let mut fresh = 0;
        while let Some(piece) = self.next_piece()? {
            if fresh == 0 {
                while self.tokens() + piece.ids.len() > self.room {
                    self.pieces.pop_front();
                }
            } else if self.tokens() + piece.ids.len() > self.room {
                self.ahead.push_front(piece);
                break;
            }
            fresh += 1;
            let ends = piece.within_word;
            self.pieces.push_back(piece);
            if ends {
                break;
            }
        }
        let new_tokens = self.pieces.iter().rev().take(fresh).map(|piece| piece.ids.len()).sum::<usize>();
        if self.count > 0 && new_tokens == 0 {
            return Ok(None);
        }
        let ids = self.ids(fresh)?;
        let mut range = self.trimmed();
        if self.count == 0 && self.is_over() && self.tokenizer.joins_sentences() {
            // White space has no tokens.
            range = 0..self.text.len();
        }
        self.count += 1;
        let truncated = self.pieces.iter().any(|piece| piece.truncated);
        self.keep_shared();
        Ok(Some(Cut { range, ids, truncated }))
    }

    /// The document, where it is one passage and its ids can only be had of all of it.
    fn whole(&mut self) -> Result<Option<Cut>, String> {
        if self.tokenizer.joins_sentences() || self.text.len() > self.room * LIKELY_BYTES {
            return Ok(None);
        }
        let ids = self.tokenizer.encode_up_to(self.text, self.room + 1)?;
        if ids.len() > self.room {
            return Ok(None);
        }
        self.sentences = "".split_sentence_bound_indices();
        self.count = 1;
        Ok(Some(Cut { range: 0..self.text.len(), ids, truncated: false }))
    }

    /// The ids of the passage under way. Where they are more than those of its pieces and no longer fit, pieces go: of
    /// the `fresh` ones the last, to be cut again, else the first that are shared.
    fn ids(&mut self, mut fresh: usize) -> Result<Vec<u32>, String> {
        if self.tokenizer.joins_sentences() {
            return Ok(self.pieces.iter().flat_map(|piece| &piece.ids).copied().collect());
        }
        loop {
            let text = &self.text[self.trimmed()];
            let mut ids = self.tokenizer.encode_up_to(text, self.room + 1)?;
            if ids.len() <= self.room {
                return Ok(ids);
            }
            if fresh > 1 {
                if let Some(piece) = self.pieces.pop_back() {
                    self.ahead.push_front(piece);
                }
                fresh -= 1;
            } else if self.pieces.len() > 1 {
                self.pieces.pop_front();
            } else {
                ids.truncate(self.room);
                self.pieces.iter_mut().for_each(|piece| piece.truncated = true);
                return Ok(ids);
            }
        }
    }

    fn tokens(&self) -> usize {
        self.pieces.iter().map(|piece| piece.ids.len()).sum()
    }

    /// The bytes of the passage under way, without white space around them.
    fn trimmed(&self) -> Range<usize> {
        let start = self.pieces.front().map_or(0, |piece| piece.range.start);
        let end = self.pieces.back().map_or(0, |piece| piece.range.end);
        let text = &self.text[start..end];
        let start = start + (text.len() - text.trim_start().len());
        start..start + text.trim().len()
    }

    fn is_over(&self) -> bool {
        self.ahead.is_empty() && self.long.is_empty() && self.sentences.clone().next().is_none()
    }

    /// Leaves the pieces that the next passage begins with.
    fn keep_shared(&mut self) {
        let mut kept = 0;
        if !self.pieces.back().is_some_and(|piece| piece.within_word) {
            let mut tokens = 0;
            for piece in self.pieces.iter().rev() {
                tokens += piece.ids.len();
                if tokens > self.stride {
                    break;
                }
                kept += 1;
            }
        }
        self.pieces.drain(..self.pieces.len() - kept);
    }

    /// The ids of a piece, or one more than fit. White space alone is no part of any passage, whatever its tokens.
    fn encode(&self, piece: &str) -> Result<Vec<u32>, String> {
        if piece.trim().is_empty() { Ok(vec![]) } else { self.tokenizer.encode_up_to(piece, self.room + 1) }
    }

    fn next_piece(&mut self) -> Result<Option<Piece>, String> {
        if let Some(piece) = self.ahead.pop_front() {
            return Ok(Some(piece));
        }
        if self.long.is_empty() {
            let Some((start, sentence)) = self.sentences.next() else { return Ok(None) };
            let range = start..start + sentence.len();
            if sentence.len() <= self.room * MOST_BYTES {
                let ids = self.encode(sentence)?;
                if ids.len() <= self.room {
                    return Ok(Some(Piece { range, ids, within_word: false, truncated: false }));
                }
            }
            self.long = range;
        }
        self.part_of_long().map(Some)
    }

    /// The next word of a long sentence with the white space around it, or what fits of it.
    fn part_of_long(&mut self) -> Result<Piece, String> {
        let rest = &self.text[self.long.clone()];
        let most = rest.floor_char_boundary((self.room * MOST_BYTES).max(4));
        let word = rest.len() - rest.trim_start().len();
        let end = rest[word..].find(char::is_whitespace).map_or(rest.len(), |len| word + len);
        let end = end + (rest[end..].len() - rest[end..].trim_start().len());
        let mut part = &rest[..end.min(most)];
        let mut ids = self.encode(part)?;
        let mut within_word = part.len() < end;
        if ids.len() > self.room {
            (part, ids) = self.fitting(part)?;
            within_word = true;
        }
        let range = self.long.start..self.long.start + part.len();
        self.long.start = range.end;
        let truncated = ids.len() > self.room;
        ids.truncate(self.room);
        // What has no tokens joins whatever follows.
        Ok(Piece { range, within_word: within_word && !ids.is_empty(), ids, truncated })
    }

    /// The longest beginning of a text that fits, as far as halving finds it; at least a character.
    fn fitting<'t>(&self, text: &'t str) -> Result<(&'t str, Vec<u32>), String> {
        let first = text.chars().next().map_or(0, char::len_utf8);
        let mut best = (&text[..first], self.encode(&text[..first])?);
        let (mut fits, mut too_long) = (first, text.len());
        loop {
            let middle = text.floor_char_boundary(fits + (too_long - fits) / 2);
            if middle <= fits {
                return Ok(best);
            }
            let ids = self.encode(&text[..middle])?;
            if ids.len() <= self.room {
                (fits, best) = (middle, (&text[..middle], ids));
            } else {
                too_long = middle;
            }
        }
    }
}

#[cfg(test)]
#[path = "tests_of_passages.rs"]
mod tests;
