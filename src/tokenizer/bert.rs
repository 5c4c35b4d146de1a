//! The tokenizer of nearly all BERT checkpoints, without the strings and offsets that `tokenizers` keeps.
//!
//! A text is cut where no step of the crate sees across the cut: at ASCII white space, on both sides of ASCII
//! punctuation, and, in long runs, before a Chinese character and other white space. What lies between two cuts is tokenised on its own, and what lies
//! beyond the window never. ASCII is normalised here; for everything else the crate's own normaliser and
//! pre-tokeniser are asked, so that there is one authority on Unicode.
//!
//! Why a cut changes nothing: cleaning, lower-casing and the removal of accents look at one character each, and
//! decomposition reorders only runs of combining marks, which never reach across an ASCII character or the space that
//! is put around a Chinese one. White space and punctuation end a word on either side. A run without such a place is
//! gone through in blocks, see `encode_long_run`.

use super::backend::{BertPipeline, WordPieceFile, begins_anew};
use super::inner::inner_len;
use super::settings::Added;
use super::vocabulary::{Hash, Vocabulary};
use super::word_piece::WordPiece;

/// Bytes of a run of other than ASCII that are handed to the crate at once, before a place to cut it is looked for.
const BLOCK: usize = 512;

/// Bytes of a run without such a place, from which on it is gone through block by block.
const LONG: usize = 4 * BLOCK;

/// The most added tokens: each is looked for at every punctuation character.
const ADDED: usize = 32;

pub(super) struct Bert {
    pipeline: BertPipeline,
    words: WordPiece,
    /// Tokens that are found in the text as they stand, longest first.
    added: Vec<(Box<str>, u32)>,
}

impl Bert {
    /// With the vocabulary of a file and these added tokens, of which special ones are not looked for where they are to
    /// be split; None if it needs more than this can do.
    pub(super) fn new(
        file: WordPieceFile,
        pipeline: BertPipeline,
        added_tokens: &[Added],
        split_special: bool,
    ) -> Option<Self> {
        if added_tokens.len() > ADDED {
            return None;
        }
        let WordPieceFile { unknown, prefix, max_chars, words, .. } = file;
        let words = WordPiece::new(Vocabulary::new(words)?, &prefix, &unknown, max_chars)?;
        let mut added = Vec::new();
        for token in added_tokens {
            // It must begin where the text is cut anyway, or it would have to be looked for at every byte.
            let plain = token.content.starts_with(|first: char| first.is_ascii_punctuation())
                && !(token.single_word || token.lstrip || token.rstrip || token.normalized);
            match words.vocabulary().id(&token.content) {
                Some(_) if split_special && token.special => {}
                Some(id) if plain && added.iter().all(|&(_, other)| other != id) => {
                    added.push((token.content.clone().into_boxed_str(), id));
                }
                _ => return None,
            }
        }
        added.sort_by_key(|(content, _)| std::cmp::Reverse(content.len()));
        Some(Self { pipeline, words, added })
    }

    pub(super) fn vocabulary(&self) -> &Vocabulary {
        self.words.vocabulary()
    }

    /// The first `limit` ids of a text.
    pub(super) fn encode(&self, text: &str, limit: usize) -> Result<Vec<u32>, String> {
        // Four bytes to a token are usual.
        let mut ids = Vec::with_capacity(limit.min(text.len() / 4 + 8));
        let (mut word, mut hashes) = (Vec::new(), Vec::new());
        let mut rest = text;
        while let Some(&first) = rest.as_bytes().first()
            && ids.len() < limit
        {
            let len = if is_space(first) {
                1
            } else if first.is_ascii_punctuation() {
                match self.added.iter().find(|(content, _)| rest.starts_with(&**content)) {
                    Some(&(ref content, id)) => {
                        ids.push(id);
                        content.len()
                    }
                    None => {
                        self.words.encode(&[first], 1, &mut hashes, &mut ids);
                        1
                    }
                }
            } else {
                let len = rest.bytes().position(|byte| !is_inner(byte)).unwrap_or(rest.len());
                if rest.as_bytes().get(len).is_some_and(|byte| !byte.is_ascii()) {
                    match self.run(rest, len) {
                        Some(len) => {
                            self.encode_run(&rest[..len], limit, &mut hashes, &mut ids)?;
                            len
                        }
                        None => self.encode_long_run(rest, limit, &mut hashes, &mut ids)?,
                    }
                } else {
                    word.clear();
                    word.extend(rest.bytes().take(len).filter(|byte| !byte.is_ascii_control()));
                    if self.pipeline.lowercases() {
                        word.make_ascii_lowercase();
                    }
                    if !word.is_empty() {
                        self.words.encode(&word, word.len(), &mut hashes, &mut ids);
                    }
                    len
                }
            };
            rest = &rest[len..];
        }
        ids.truncate(limit);
        Ok(ids)
    }

    /// The length of the run at the beginning of `text`, whose first `len` bytes hold no cut; None if it is a long one.
    /// Words in other scripts that follow each other are one run: they cost less together.
    fn run(&self, text: &str, len: usize) -> Option<usize> {
        let bytes = text.as_bytes();
        let end = text[len..].char_indices().map(|(i, c)| (len + i, c)).find(|&(i, c)| {
            let cut = if c.is_ascii() {
                let other_follows = bytes.get(i + 1).is_some_and(|byte| !byte.is_ascii());
                c.is_ascii_punctuation() || is_space(bytes[i]) && (i >= BLOCK || !other_follows)
            } else {
                i >= BLOCK && (is_other_space(c) || self.pipeline.splits_chinese() && is_ideograph(c))
            };
            cut || i >= LONG
        });
        let end = end.map_or(text.len(), |(i, _)| i);
        (end < LONG).then_some(end)
    }

    fn encode_run(
        &self,
        run: &str,
        limit: usize,
        hashes: &mut Vec<Hash>,
        ids: &mut Vec<u32>,
    ) -> Result<(), String> {
        self.pipeline.words(run, |word| {
            self.words.encode(word.as_bytes(), word.chars().count(), hashes, ids);
            ids.len() < limit
        })
    }
}

impl Bert {
    /// Encodes the run at the beginning of `text`, up to ASCII white space or punctuation, and says how long it is or
    /// how much of it was needed. Memory does not grow with it.
    ///
    /// It is normalised in blocks, each of which begins with a character that combines with nothing before it. A word
    /// may reach across blocks: what there is of it is kept, until it is longer than any that is looked up.
    fn encode_long_run(
        &self,
        text: &str,
        limit: usize,
        hashes: &mut Vec<Hash>,
        ids: &mut Vec<u32>,
    ) -> Result<usize, String> {
        let (mut word, mut chars, mut at) = (String::new(), 0, 0);
        let mut finish = |word: &mut String, chars: &mut usize, ids: &mut Vec<u32>| {
            if *chars > 0 {
                self.words.encode(word.as_bytes(), *chars, hashes, ids);
            }
            word.clear();
            *chars = 0;
        };
        while ids.len() < limit {
            if chars > self.words.max_chars() {
                word.clear();
                at += inner_len(&text[at..]);
            }
            let rest = &text[at..];
            if rest.bytes().next().is_none_or(ends_run) {
                break;
            }
            let len = block_len(rest);
            self.pipeline.fragments(&rest[..len], |number, fragment| {
                if number > 0 {
                    finish(&mut word, &mut chars, ids);
                }
                word.push_str(fragment);
                chars += fragment.chars().count();
                ids.len() < limit
            })?;
            at += len;
        }
        finish(&mut word, &mut chars, ids);
        Ok(at)
    }
}

/// Where a long run is cut: at its end, or from `BLOCK` on before what combines with nothing.
fn block_len(text: &str) -> usize {
    let cut = |&(i, c): &(usize, char)| {
        c.is_ascii() && ends_run(c as u8) || i >= BLOCK && (c.is_ascii_alphanumeric() || begins_anew(c))
    };
    text.char_indices().skip(1).find(cut).map_or(text.len(), |(i, _)| i)
}

fn ends_run(byte: u8) -> bool {
    is_space(byte) || byte.is_ascii_punctuation()
}

/// White space for the normaliser; the other ASCII control characters it removes.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// ASCII that can lie inside a word: letters, digits, control characters.
fn is_inner(byte: u8) -> bool {
    byte.is_ascii() && !is_space(byte) && !byte.is_ascii_punctuation()
}

/// The Chinese characters of the oldest and largest block: the normaliser puts a space on either side, and takes none
/// of them for unassigned.
fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{4e00}'..='\u{9fa5}')
}

/// White space that is not ASCII, and no control character, which the normaliser would remove.
fn is_other_space(c: char) -> bool {
    c.is_whitespace() && !c.is_control()
}
