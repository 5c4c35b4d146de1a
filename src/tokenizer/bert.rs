//! The tokenizer of nearly all BERT checkpoints, without the strings and offsets that `tokenizers` keeps.
//!
//! A text is cut where no step of the crate sees across the cut: at ASCII white space, on both sides of ASCII
//! punctuation, and before a Chinese character. What lies between two cuts is tokenised on its own, and what lies
//! beyond the window never. ASCII is normalised here; for everything else the crate's own normaliser and
//! pre-tokeniser are asked, so that there is one authority on Unicode.
//!
//! Why a cut changes nothing: cleaning, lower-casing and the removal of accents look at one character each, and
//! decomposition reorders only runs of combining marks, which never reach across an ASCII character or the space that
//! is put around a Chinese one. White space and punctuation end a word on either side.

use serde::Deserialize;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::tokenizer::{
    NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
};
use tokenizers::{
    DecoderWrapper, NormalizerWrapper, PaddingParams, PostProcessorWrapper, PreTokenizerWrapper,
    TruncationDirection, TruncationParams,
};

use super::vocabulary::{Hash, Vocabulary, Words};
use super::word_piece::WordPiece;

/// Bytes of a run of other than ASCII that are handed to the crate at once, before a place to cut it is looked for.
const BLOCK: usize = 512;

/// The most added tokens: each is looked for at every punctuation character.
const ADDED: usize = 32;

pub(super) struct Bert {
    normalizer: BertNormalizer,
    words: WordPiece,
    /// Tokens that are found in the text as they stand, longest first.
    added: Vec<(Box<str>, u32)>,
}

/// What `tokenizer.json` says of a tokenizer with WordPiece. What is not used is read too: where the crate would
/// refuse a file, it shall come to see it.
#[derive(Deserialize)]
struct File {
    version: Option<String>,
    truncation: Option<TruncationParams>,
    #[serde(rename = "padding")]
    _padding: Option<PaddingParams>,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: Option<PreTokenizerWrapper>,
    post_processor: Option<PostProcessorWrapper>,
    #[serde(rename = "decoder")]
    _decoder: Option<DecoderWrapper>,
    model: Model,
}

#[derive(Deserialize)]
struct AddedToken {
    /// Not used by the crate either: an added token has the id that the vocabulary gives it.
    #[serde(rename = "id")]
    _id: u32,
    content: String,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    #[serde(rename = "special")]
    _special: bool,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    _kind: Kind,
    unk_token: String,
    continuing_subword_prefix: String,
    max_input_chars_per_word: usize,
    vocab: Words,
}

#[derive(Deserialize)]
enum Kind {
    WordPiece,
}

impl Bert {
    /// The tokenizer of a `tokenizer.json` and its post-processor; None if it is broken, or of another form.
    pub(super) fn parse(json: &[u8]) -> Option<(Self, Option<PostProcessorWrapper>)> {
        let File {
            version, truncation, added_tokens, normalizer, pre_tokenizer, post_processor, model, ..
        } = serde_json::from_str(str::from_utf8(json).ok()?).ok()?;
        if version.is_some_and(|version| version != "1.0") || added_tokens.len() > ADDED {
            return None;
        }
        if truncation.is_some_and(|params| params.direction == TruncationDirection::Left) {
            return None;
        }
        let Some(NormalizerWrapper::BertNormalizer(normalizer)) = normalizer else { return None };
        if !normalizer.clean_text || !matches!(pre_tokenizer, Some(PreTokenizerWrapper::BertPreTokenizer(_)))
        {
            return None;
        }
        let words = WordPiece::new(
            Vocabulary::new(model.vocab)?,
            &model.continuing_subword_prefix,
            &model.unk_token,
            model.max_input_chars_per_word,
        )?;
        let mut added = Vec::new();
        for token in added_tokens {
            // It must begin where the text is cut anyway, or it would have to be looked for at every byte.
            let plain = token.content.starts_with(|first: char| first.is_ascii_punctuation())
                && !(token.single_word || token.lstrip || token.rstrip || token.normalized);
            let id = words.vocabulary().id(&token.content);
            match id {
                Some(id) if plain && added.iter().all(|&(_, other)| other != id) => {
                    added.push((token.content.into_boxed_str(), id));
                }
                _ => return None,
            }
        }
        added.sort_by_key(|(content, _)| std::cmp::Reverse(content.len()));
        Some((Self { normalizer, words, added }, post_processor))
    }

    pub(super) fn normalizer_mut(&mut self) -> &mut BertNormalizer {
        &mut self.normalizer
    }

    pub(super) fn vocabulary(&self) -> &Vocabulary {
        self.words.vocabulary()
    }

    /// The first `limit` ids of a text.
    pub(super) fn encode(&self, text: &str, limit: usize) -> tokenizers::Result<Vec<u32>> {
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
                    let len = self.run(rest, len);
                    self.encode_run(&rest[..len], limit, &mut hashes, &mut ids)?;
                    len
                } else {
                    word.clear();
                    word.extend(rest.bytes().take(len).filter(|byte| !byte.is_ascii_control()));
                    if self.normalizer.lowercase {
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

    /// The length of the run at the beginning of `text`, whose first `len` bytes hold no cut. Words in other scripts
    /// that follow each other are one run: they cost less together.
    fn run(&self, text: &str, len: usize) -> usize {
        let bytes = text.as_bytes();
        let end = text[len..].char_indices().map(|(i, c)| (len + i, c)).find(|&(i, c)| {
            if c.is_ascii() {
                let other_follows = bytes.get(i + 1).is_some_and(|byte| !byte.is_ascii());
                c.is_ascii_punctuation() || is_space(bytes[i]) && (i >= BLOCK || !other_follows)
            } else {
                i >= BLOCK && self.normalizer.handle_chinese_chars && is_ideograph(c)
            }
        });
        end.map_or(text.len(), |(i, _)| i)
    }

    fn encode_run(
        &self,
        run: &str,
        limit: usize,
        hashes: &mut Vec<Hash>,
        ids: &mut Vec<u32>,
    ) -> tokenizers::Result<()> {
        let mut normalized = NormalizedString::from(run);
        self.normalizer.normalize(&mut normalized)?;
        let mut pieces = PreTokenizedString::from(normalized);
        BertPreTokenizer.pre_tokenize(&mut pieces)?;
        for (word, _, _) in pieces.get_splits(OffsetReferential::Normalized, OffsetType::None) {
            if ids.len() >= limit {
                break;
            }
            self.words.encode(word.as_bytes(), word.chars().count(), hashes, ids);
        }
        Ok(())
    }
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
