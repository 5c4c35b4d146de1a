//! Where a text may be cut so that its parts have the ids of the whole: what lies beyond the window is never read.

use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::pre_tokenizers::metaspace::PrependScheme;
use tokenizers::pre_tokenizers::split::SplitPattern;
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper};

use super::model::AnyModel;

/// Bytes of a text that are handed to the crate at once, before a place to cut it is looked for.
const BLOCK: usize = 4096;

/// The length of the first part of a text: up to a space between two letters or digits, which begins the next.
pub(super) fn block_len(text: &str) -> usize {
    if text.len() <= BLOCK {
        return text.len();
    }
    let bytes = text.as_bytes();
    let is_cut = |&i: &usize| bytes[i] == b' ' && ends_word(&text[..i]) && begins_word(&text[i + 1..]);
    (BLOCK..bytes.len() - 1).find(is_cut).unwrap_or(bytes.len())
}

fn ends_word(text: &str) -> bool {
    // From there on come scripts with letters that join the space behind them, as one older one does, too.
    const RARE: char = '\u{11000}';
    text.chars().next_back().is_some_and(|c| c.is_alphanumeric() && c < RARE && c != '\u{d4e}')
}

fn begins_word(text: &str) -> bool {
    text.chars().next().is_some_and(|c| c.is_alphanumeric() && (c.is_ascii() || super::begins_anew(c)))
}

/// What a step in front of the model does at such a space.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Space {
    /// It stays, or becomes another character before which nothing is put.
    Kept,
    /// It would be lost at the beginning of a part.
    Stripped,
    Unknown,
}

/// Whether a text may be cut at such spaces.
pub(super) fn cuts_at_spaces(
    normalizer: Option<&NormalizerWrapper>,
    pre_tokenizer: Option<&PreTokenizerWrapper>,
    model: &AnyModel,
) -> bool {
    let space = normalizer.map_or(Space::Kept, normalized);
    if space == Space::Unknown {
        return false;
    }
    match pre_tokenizer {
        Some(step) => match splits(step) {
            Splits::AtSpaces => true,
            Splits::BeforeSpaces => space == Space::Kept,
            Splits::No => space == Space::Kept && joins_no_words(normalizer, step, model),
        },
        None => false,
    }
}

/// Whether a normaliser does the same to a text in two parts.
fn normalized(normalizer: &NormalizerWrapper) -> Space {
    match normalizer {
        NormalizerWrapper::Sequence(steps) => {
            let steps = steps.as_ref().iter().map(normalized);
            steps.fold(Space::Kept, |all, step| match (all, step) {
                (Space::Unknown, _) | (_, Space::Unknown) => Space::Unknown,
                (Space::Stripped, _) | (_, Space::Stripped) => Space::Stripped,
                _ => Space::Kept,
            })
        }
        NormalizerWrapper::BertNormalizer(_)
        | NormalizerWrapper::Lowercase(_)
        | NormalizerWrapper::StripAccents(_)
        | NormalizerWrapper::NFC(_)
        | NormalizerWrapper::NFD(_)
        | NormalizerWrapper::NFKC(_)
        | NormalizerWrapper::NFKD(_)
        | NormalizerWrapper::Nmt(_)
        | NormalizerWrapper::Precompiled(_) => Space::Kept,
        NormalizerWrapper::StripNormalizer(strip) if strip.strip_left => Space::Stripped,
        NormalizerWrapper::StripNormalizer(_) => Space::Kept,
        NormalizerWrapper::Replace(_) => {
            let json = serde_json::to_value(normalizer).unwrap_or_default();
            let pattern = serde_json::from_value(json["pattern"].clone());
            let content = json["content"].as_str();
            match (pattern, content) {
                (Ok(ReplacePattern::String(text)), _) if text == " " || !text.contains(' ') => Space::Kept,
                // A single space is none of these, or is put back.
                (Ok(ReplacePattern::Regex(regex)), _)
                    if [" {2,}", r"\s{2,}", r"\s{2,}|[\n\r\t]"].contains(&&*regex) =>
                {
                    Space::Kept
                }
                (Ok(ReplacePattern::Regex(regex)), Some(" ")) if regex == r"\s+" => Space::Kept,
                _ => Space::Unknown,
            }
        }
        _ => Space::Unknown,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Splits {
    /// Spaces are dropped, or put before every word.
    AtSpaces,
    /// A word begins at the space before it.
    BeforeSpaces,
    No,
}

/// How a pre-tokeniser splits that looks at one word at a time.
fn splits(pre_tokenizer: &PreTokenizerWrapper) -> Splits {
    match pre_tokenizer {
        PreTokenizerWrapper::BertPreTokenizer(_)
        | PreTokenizerWrapper::Whitespace(_)
        | PreTokenizerWrapper::WhitespaceSplit(_) => Splits::AtSpaces,
        PreTokenizerWrapper::Metaspace(step) if step.get_split() => match step.get_prepend_scheme() {
            PrependScheme::Always => Splits::AtSpaces,
            PrependScheme::First | PrependScheme::Never => Splits::BeforeSpaces,
        },
        PreTokenizerWrapper::ByteLevel(step) if step.use_regex => Splits::BeforeSpaces,
        PreTokenizerWrapper::Sequence(sequence) => {
            let steps = sequence.as_ref();
            let inside = |step: &PreTokenizerWrapper| {
                matches!(step, PreTokenizerWrapper::Digits(_) | PreTokenizerWrapper::Punctuation(_))
            };
            let mut all = steps.iter().filter(|step| !inside(step)).map(splits);
            match all.next() {
                // What comes behind sees words alone.
                Some(Splits::AtSpaces) if !begins_with_metaspace(steps) || all.clone().count() == 0 => {
                    if all.all(|step| step != Splits::No) { Splits::AtSpaces } else { Splits::No }
                }
                Some(Splits::BeforeSpaces) if all.count() == 0 => Splits::BeforeSpaces,
                _ => Splits::No,
            }
        }
        _ => Splits::No,
    }
}

fn begins_with_metaspace(steps: &[PreTokenizerWrapper]) -> bool {
    matches!(steps.first(), Some(PreTokenizerWrapper::Metaspace(_)))
}

/// Whether a text is one word to the model, of whose tokens none reaches beyond a space, as normalisers write it.
fn joins_no_words(
    normalizer: Option<&NormalizerWrapper>,
    pre_tokenizer: &PreTokenizerWrapper,
    model: &AnyModel,
) -> bool {
    let replaced = |step: &NormalizerWrapper| {
        let json = serde_json::to_value(step).unwrap_or_default();
        json["type"] == "Replace" && json["pattern"]["String"] == " " && json["content"] == "\u{2581}"
    };
    let replaces = match normalizer {
        Some(NormalizerWrapper::Sequence(steps)) => steps.as_ref().iter().any(replaced),
        Some(step) => replaced(step),
        None => false,
    };
    // A split at spaces finds none then.
    let whole = matches!(
        pre_tokenizer,
        PreTokenizerWrapper::Split(split)
            if split.pattern == SplitPattern::String(" ".into())
                && split.behavior == SplitDelimiterBehavior::MergedWithPrevious && !split.invert
    );
    replaces && whole && model.joins_no_words('\u{2581}')
}
