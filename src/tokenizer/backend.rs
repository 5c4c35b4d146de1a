//! What is used of the `tokenizers` crate. No other file of the engine knows its types; truncation, the template of a
//! pair and its segments are the engine's own.

mod any;
mod classes;
mod cuts;
mod model;

use std::ops::Range;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::tokenizer::{
    Encoding, NormalizedString, Normalizer, OffsetReferential, OffsetType, PostProcessor, PreTokenizedString,
    PreTokenizer,
};
use tokenizers::{
    DecoderWrapper, NormalizerWrapper, PaddingParams, PostProcessorWrapper, PreTokenizerWrapper,
    TruncationDirection, TruncationParams,
};

pub(super) use self::any::{Any, Parsed};
use super::charsmap;
use super::guard;
use super::settings::{Added, BertSettings};
use super::vocabulary::Words;

/// A `tokenizer.json` with WordPiece, read without the crate's own vocabulary.
pub(super) struct WordPieceFile {
    pub(super) outline: Outline,
    pub(super) unknown: String,
    pub(super) prefix: String,
    pub(super) max_chars: usize,
    pub(super) words: Words,
}

/// What a `tokenizer.json` has beside its model.
#[derive(Default)]
pub(super) struct Outline {
    pub(super) added: Vec<Added>,
    pub(super) truncates_left: bool,
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: Option<PreTokenizerWrapper>,
    post_processor: Option<PostProcessorWrapper>,
}

/// What is not used is read too: where the crate would refuse a file, it shall come to see it.
#[derive(Deserialize)]
struct Json<M> {
    version: Option<String>,
    truncation: Option<TruncationParams>,
    #[serde(rename = "padding")]
    _padding: Option<PaddingParams>,
    #[serde(default)]
    added_tokens: Vec<JsonToken>,
    #[serde(default, deserialize_with = "guard::normalizer")]
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: Option<PreTokenizerWrapper>,
    post_processor: Option<PostProcessorWrapper>,
    #[serde(rename = "decoder", default, deserialize_with = "guard::decoder")]
    _decoder: Option<DecoderWrapper>,
    model: M,
}

impl<M> Json<M> {
    /// What is beside the model, and the model.
    fn split(self) -> (Outline, M) {
        let added = self.added_tokens.into_iter().map(|token| Added {
            content: token.content,
            single_word: token.single_word,
            lstrip: token.lstrip,
            rstrip: token.rstrip,
            normalized: token.normalized,
            special: token.special,
        });
        let left = |params: TruncationParams| params.direction == TruncationDirection::Left;
        let outline = Outline {
            added: added.collect(),
            truncates_left: self.truncation.is_some_and(left),
            normalizer: self.normalizer,
            pre_tokenizer: self.pre_tokenizer,
            post_processor: self.post_processor,
        };
        (outline, self.model)
    }
}

#[derive(Deserialize)]
struct JsonToken {
    /// Not used by the crate either: an added token has the id that the vocabulary gives it.
    #[serde(rename = "id")]
    _id: u32,
    content: String,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    special: bool,
}

#[derive(Deserialize)]
struct JsonModel {
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

impl WordPieceFile {
    /// Words alone, as `vocab.txt` has them.
    pub(super) fn of(words: Words, unknown: String, prefix: &str, max_chars: usize) -> Self {
        Self { outline: Outline::default(), unknown, prefix: prefix.into(), max_chars, words }
    }

    /// None if it is broken, or of another form.
    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        let json: Json<JsonModel> = serde_json::from_str(str::from_utf8(json).ok()?).ok()?;
        if json.version.as_ref().is_some_and(|version| version != "1.0") {
            return None;
        }
        let (outline, model) = json.split();
        Some(Self {
            outline,
            unknown: model.unk_token,
            prefix: model.continuing_subword_prefix,
            max_chars: model.max_input_chars_per_word,
            words: model.vocab,
        })
    }
}

impl Outline {
    /// Fails where the map of characters of a SentencePiece model is broken.
    fn check_map(&self) -> Result<(), String> {
        let Some(map) = classes::precompiled(self.normalizer.as_ref()) else { return Ok(()) };
        let json = serde_json::to_value(map).map_err(|error| error.to_string())?;
        let bytes = json["precompiled_charsmap"].as_str().and_then(charsmap::decode_base64);
        charsmap::check(&bytes.unwrap_or_default())
    }

    /// This one, leaving an empty one.
    pub(super) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// The settings of a file that does to texts what BERT does.
    pub(super) fn bert(&self) -> Option<BertSettings> {
        let Some(NormalizerWrapper::BertNormalizer(normalizer)) = &self.normalizer else { return None };
        let splits = matches!(self.pre_tokenizer, Some(PreTokenizerWrapper::BertPreTokenizer(_)));
        (splits && normalizer.clean_text).then_some(BertSettings {
            lowercase: normalizer.lowercase,
            strip_accents: normalizer.strip_accents,
            chinese: normalizer.handle_chinese_chars,
        })
    }

    /// A line for each step that the file has otherwise than a tokenizer of these settings.
    pub(super) fn differences(&self, settings: BertSettings) -> Vec<String> {
        let json = |value: serde_json::Result<Value>| value.unwrap_or_default();
        let of = |value: &Value| if value.is_null() { "none".to_owned() } else { value.to_string() };
        let own = BertPipeline::new(settings, false).normalizer;
        let (file, own) = (json(serde_json::to_value(&self.normalizer)), json(serde_json::to_value(own)));
        let mut lines = vec![];
        if file["type"] == own["type"] {
            for (field, value) in own.as_object().into_iter().flatten() {
                if file[field] != *value {
                    lines.push(format!("`normalizer.{field}` is {}, but {value} counts", file[field]));
                }
            }
        } else {
            lines.push(format!("`normalizer` is {}, but BERT's counts", of(&file["type"])));
        }
        let pre_tokenizer = json(serde_json::to_value(&self.pre_tokenizer));
        if pre_tokenizer["type"] != "BertPreTokenizer" {
            lines.push(format!("`pre_tokenizer` is {}, but BERT's counts", of(&pre_tokenizer["type"])));
        }
        lines
    }

    /// What the post-processor makes of a pair of one token each: ids with their types, the two texts as the ids
    /// `QUERY` and `DOCUMENT`. None looks at ids, so it does the same to every pair.
    pub(super) fn pair(&self) -> Result<Vec<(u32, u32)>, String> {
        let processor =
            self.post_processor.as_ref().ok_or("it has no post-processor that adds special tokens")?;
        check_special_tokens(&serde_json::to_value(processor).map_err(|error| error.to_string())?)?;
        let one = |id: u32, type_id: u32| {
            let ranges = std::iter::empty::<(usize, Range<usize>)>().collect();
            Encoding::new(
                vec![id],
                vec![type_id],
                vec![String::new()],
                vec![None],
                vec![(0, 0)],
                vec![0],
                vec![1],
                vec![],
                ranges,
            )
        };
        let pair = processor.process(one(QUERY, 0), Some(one(DOCUMENT, 1)), true);
        let pair = pair.map_err(|error| format!("its post-processor fails: {error}"))?;
        Ok(pair.get_ids().iter().copied().zip(pair.get_type_ids().iter().copied()).collect())
    }
}

/// Ids that no vocabulary reaches stand for the texts of a pair.
pub(super) const QUERY: u32 = u32::MAX;
pub(super) const DOCUMENT: u32 = u32::MAX - 1;

/// The `tokenizers` crate indexes the special tokens of a template without looking, and would panic where one is
/// missing.
fn check_special_tokens(processor: &Value) -> Result<(), String> {
    for inner in processor["processors"].as_array().into_iter().flatten() {
        check_special_tokens(inner)?;
    }
    for pieces in [&processor["single"], &processor["pair"]] {
        for piece in pieces.as_array().into_iter().flatten() {
            let Some(name) = piece["SpecialToken"]["id"].as_str() else { continue };
            let token = &processor["special_tokens"][name];
            let length = |field: &str| token[field].as_array().map(Vec::len);
            if length("ids").is_none() || length("ids") != length("tokens") {
                return Err(format!(
                    "its template names the special token `{name}`, which it does not define"
                ));
            }
        }
    }
    Ok(())
}

/// What BERT does to a text before its words are looked up. The crate is the one authority on Unicode.
pub(super) struct BertPipeline {
    normalizer: BertNormalizer,
    lowercase_first: bool,
}

impl BertPipeline {
    /// `lowercase_first` puts lower-casing in front of all else, whatever the settings say.
    pub(super) fn new(settings: BertSettings, lowercase_first: bool) -> Self {
        let BertSettings { lowercase, strip_accents, chinese } = settings;
        Self { normalizer: BertNormalizer::new(true, chinese, strip_accents, lowercase), lowercase_first }
    }

    pub(super) fn lowercases(&self) -> bool {
        self.normalizer.lowercase || self.lowercase_first
    }

    pub(super) fn splits_chinese(&self) -> bool {
        self.normalizer.handle_chinese_chars
    }

    /// The words of a text, in order, until `take` has had enough.
    pub(super) fn words(&self, text: &str, mut take: impl FnMut(&str) -> bool) -> Result<(), String> {
        let mut pieces = PreTokenizedString::from(self.normalized(text)?);
        BertPreTokenizer.pre_tokenize(&mut pieces).map_err(|error| error.to_string())?;
        for (word, _, _) in pieces.get_splits(OffsetReferential::Normalized, OffsetType::None) {
            if !take(word) {
                break;
            }
        }
        Ok(())
    }

    /// The words of a text of which the first may be the end of a word before it and the last the beginning of one
    /// behind it, numbered from 0: either is empty where the text begins or ends a word.
    pub(super) fn fragments(
        &self,
        text: &str,
        mut take: impl FnMut(usize, &str) -> bool,
    ) -> Result<(), String> {
        // A letter on either side joins what belongs together.
        let mut pieces = PreTokenizedString::from(format!("a{}a", self.normalized(text)?.get()));
        BertPreTokenizer.pre_tokenize(&mut pieces).map_err(|error| error.to_string())?;
        let splits = pieces.get_splits(OffsetReferential::Normalized, OffsetType::None);
        for (number, (word, _, _)) in splits.iter().enumerate() {
            let word = if number == 0 { &word[1..] } else { word };
            let word = if number + 1 == splits.len() { &word[..word.len() - 1] } else { word };
            if !take(number, word) {
                break;
            }
        }
        Ok(())
    }

    fn normalized(&self, text: &str) -> Result<NormalizedString, String> {
        #[cfg(test)]
        NORMALIZED.set(NORMALIZED.get() + text.len());
        let mut normalized = NormalizedString::from(text);
        if self.lowercase_first {
            normalized.lowercase();
        }
        self.normalizer.normalize(&mut normalized).map_err(|error| error.to_string())?;
        Ok(normalized)
    }
}

#[cfg(test)]
thread_local! {
    /// Bytes that were normalised on this thread.
    pub(super) static NORMALIZED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Whether a character stays, and no normalisation reorders it with what is before it: a text may be cut there.
pub(super) fn begins_anew(c: char) -> bool {
    // Of all combining characters this one comes last: what combines is put before it.
    const LAST: char = '\u{345}';
    let mut text = NormalizedString::from(String::from_iter([LAST, c]));
    let cleaned = BertNormalizer::new(true, false, Some(false), false).normalize(&mut text);
    let text = text.nfd().get();
    cleaned.is_ok() && c != LAST && text.starts_with(LAST) && text.len() > LAST.len_utf8()
}
