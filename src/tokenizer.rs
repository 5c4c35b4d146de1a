//! Texts to token ids, by the checkpoint's own `tokenizer.json`.

use std::ops::Range;

use serde_json::Value;
use tokenizers::tokenizer::{Encoding, PostProcessor};
use tokenizers::{PostProcessorWrapper, TruncationDirection, TruncationParams, TruncationStrategy};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::files::File;
use crate::tokenized::Tokenized;

/// What to do with a pair that exceeds the window. Texts are cut on the right.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Truncation {
    /// Cut the longer of the two until both fit, as sentence-transformers does. Texts that both exceed the window count
    /// as equally long.
    #[default]
    LongestFirst,
    /// Cut the document only; a query that leaves it no token is an error.
    OnlyDocument,
    /// Cut nothing: a pair that does not fit is an error.
    Error,
}

/// The tokenizer of a model, with the window that pairs must fit.
pub(crate) struct Tokenizer {
    inner: tokenizers::Tokenizer,
    template: Template,
    max_length: usize,
    truncation: Truncation,
}

impl Tokenizer {
    /// `max_length` is the caller's, if there is one; the model's and the position table's apply too.
    pub(crate) fn load(
        file: &File,
        config: &Config,
        max_length: Option<usize>,
        truncation: Truncation,
    ) -> Result<Self> {
        let broken = |reason: String| Error::Tokenizer { file: file.name.clone(), reason };
        let mut inner = tokenizers::Tokenizer::from_bytes((*file.bytes).as_ref())
            .map_err(|error| broken(format!("broken tokenizer: {error}")))?;
        let template = match inner.get_post_processor() {
            Some(processor) => Template::of(processor).map_err(broken)?,
            None => return Err(broken("it has no post-processor that adds special tokens".into())),
        };
        template.check(config).map_err(broken)?;
        if let Some((token, id)) = inner.get_vocab(true).into_iter().max_by_key(|&(_, id)| id)
            && id as usize >= config.vocab
        {
            let reason =
                format!("token `{token}` has id {id}, but the model's vocab_size is {}", config.vocab);
            return Err(broken(reason));
        }

        let window = max_length.map_or(config.window(), |limit| limit.min(config.window()));
        let special = template.special_tokens();
        if window < special + 2 {
            let reason = format!(
                "{window} tokens (the smallest of the caller's, model_max_length and max_position_embeddings) are too \
                 few for {special} special tokens and one token of either text"
            );
            return Err(Error::option("max_length", reason));
        }
        // Nothing is added to a text here: special tokens and the cut to the window are `pair`'s.
        inner.with_post_processor(None::<PostProcessorWrapper>);
        inner.with_padding(None);
        // Tokens beyond the window are never looked at, so the model need not make them. One more than the window
        // is kept to see that there was more.
        let params = TruncationParams {
            direction: TruncationDirection::Right,
            max_length: window + 1,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
        };
        inner.with_truncation(Some(params)).map_err(|error| broken(error.to_string()))?;
        Ok(Self { inner, template, max_length: window, truncation })
    }

    /// The most tokens that a pair may have, special tokens included.
    pub(crate) fn max_length(&self) -> usize {
        self.max_length
    }

    /// Ids of one text, without special tokens, cut to one more than the window. An error is the end of a sentence.
    pub(crate) fn encode(&self, text: &str) -> std::result::Result<Vec<u32>, String> {
        let encoding = self.inner.encode_fast(text, false);
        encoding
            .map(|encoding| encoding.get_ids().to_vec())
            .map_err(|error| format!("cannot be tokenised: {error}"))
    }

    /// Puts an encoded query and a document, number `index` of the call, into the checkpoint's own template.
    pub(crate) fn pair(&self, index: usize, query: &[u32], document: &str) -> Result<Tokenized> {
        let document =
            self.encode(document).map_err(|reason| Error::document_error(index, format!("it {reason}")))?;
        let lengths = (query.len(), document.len());
        let kept = self.fit(index, lengths)?;
        let (ids, type_ids) = self.template.fill(&query[..kept.0], &document[..kept.1]);
        Ok(Tokenized { ids, type_ids, truncated: kept != lengths })
    }

    /// How many tokens of the query and of the document are kept.
    fn fit(&self, index: usize, (query, document): (usize, usize)) -> Result<(usize, usize)> {
        let room = self.max_length - self.template.special_tokens();
        if query + document <= room {
            return Ok((query, document));
        }
        match self.truncation {
            Truncation::LongestFirst => Ok(longest_first(query, document, room)),
            Truncation::OnlyDocument if query < room => Ok((query, room - query)),
            Truncation::OnlyDocument => {
                let reason = format!(
                    "the query alone has {query} tokens or more and leaves no room for the document: {room} of \
                     max_length {} are for text",
                    self.max_length
                );
                Err(Error::document_error(index, reason))
            }
            Truncation::Error => {
                let reason = format!(
                    "the pair has {} tokens or more; max_length is {}",
                    query + document + self.template.special_tokens(),
                    self.max_length
                );
                Err(Error::document_error(index, reason))
            }
        }
    }
}

/// The rule of the `tokenizers` crate: the shorter text stays whole while it takes at most half, then both take half
/// and the longer one the odd token, the second when they are equal.
fn longest_first(first: usize, second: usize, room: usize) -> (usize, usize) {
    let half = room / 2;
    if first.min(second) > half {
        if first > second { (room - half, half) } else { (half, room - half) }
    } else if first <= second {
        (first, room - first)
    } else {
        (room - second, second)
    }
}

/// Where a pair's template puts special tokens and texts.
///
/// It is read off what the post-processor makes of a pair of one token each: none looks at ids, so it does the same to
/// every pair. Filling it in costs a copy of the ids, where the post-processor would merge strings and offsets too.
#[derive(Debug, PartialEq)]
struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, PartialEq)]
enum Piece {
    Special { id: u32, type_id: u32 },
    Query { type_id: u32 },
    Document { type_id: u32 },
}

impl Template {
    fn of(processor: &PostProcessorWrapper) -> std::result::Result<Self, String> {
        check_special_tokens(&serde_json::to_value(processor).map_err(|error| error.to_string())?)?;
        // Ids that no vocabulary reaches stand for the texts.
        let (query, document) = (u32::MAX, u32::MAX - 1);
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
        let pair = processor.process(one(query, 0), Some(one(document, 1)), true);
        let pair = pair.map_err(|error| format!("its post-processor fails: {error}"))?;
        let pieces = pair.get_ids().iter().zip(pair.get_type_ids()).map(|(&id, &type_id)| match id {
            id if id == query => Piece::Query { type_id },
            id if id == document => Piece::Document { type_id },
            id => Piece::Special { id, type_id },
        });
        Ok(Self { pieces: pieces.collect() })
    }

    fn special_tokens(&self) -> usize {
        self.pieces.iter().filter(|piece| matches!(piece, Piece::Special { .. })).count()
    }

    /// Whether it gives what a pair classifier reads: a special token in front, both texts once, ids within the tables.
    fn check(&self, config: &Config) -> std::result::Result<(), String> {
        if !matches!(self.pieces.first(), Some(Piece::Special { .. })) {
            return Err(
                "its pair template does not begin with a special token, which the classifier reads".into()
            );
        }
        let texts = |piece: &&Piece| !matches!(piece, Piece::Special { .. });
        if !matches!(
            self.pieces.iter().filter(texts).collect::<Vec<_>>()[..],
            [Piece::Query { .. }, Piece::Document { .. }]
        ) {
            return Err("its pair template does not hold both texts once, the first first".into());
        }
        let mut largest = 0;
        for piece in &self.pieces {
            let (Piece::Special { type_id, .. } | Piece::Query { type_id } | Piece::Document { type_id }) =
                piece;
            largest = largest.max(*type_id);
            if let Piece::Special { id, .. } = piece
                && *id as usize >= config.vocab
            {
                return Err(format!(
                    "its pair template has token id {id}, but the model's vocab_size is {}",
                    config.vocab
                ));
            }
        }
        if largest as usize >= config.token_types {
            return Err(format!(
                "its pair template gives type id {largest}, but type_vocab_size is {}",
                config.token_types
            ));
        }
        if config.token_types > 1 && largest == 0 {
            return Err(format!(
                "its pair template gives every token type id 0, but the model has {} token types: documents would be \
                 scored as part of the query",
                config.token_types
            ));
        }
        Ok(())
    }

    fn fill(&self, query: &[u32], document: &[u32]) -> (Vec<u32>, Vec<u32>) {
        let len = self.special_tokens() + query.len() + document.len();
        let (mut ids, mut type_ids) = (Vec::with_capacity(len), Vec::with_capacity(len));
        for piece in &self.pieces {
            let (text, type_id) = match piece {
                Piece::Special { id, type_id } => (std::slice::from_ref(id), type_id),
                Piece::Query { type_id } => (query, type_id),
                Piece::Document { type_id } => (document, type_id),
            };
            ids.extend_from_slice(text);
            type_ids.resize(ids.len(), *type_id);
        }
        (ids, type_ids)
    }
}

/// The `tokenizers` crate indexes the special tokens of a template without looking, and would panic where one is
/// missing.
fn check_special_tokens(processor: &Value) -> std::result::Result<(), String> {
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

#[cfg(test)]
mod tests {
    use super::{Template, longest_first};

    #[test]
    fn longest_first_fills_the_room_and_leaves_both_sides_something() {
        for room in 2..40 {
            for first in 0..50 {
                for second in 0..50 {
                    if first + second <= room {
                        continue;
                    }
                    let (a, b) = longest_first(first, second, room);
                    assert_eq!(a + b, room);
                    assert!(a <= first && b <= second, "{first} {second} {room}: {a} {b}");
                    assert!((a > 0 || first == 0) && (b > 0 || second == 0));
                }
            }
        }
    }

    #[test]
    fn longest_first_is_the_rule_of_the_tokenizers_crate() {
        use tokenizers::tokenizer::Encoding;
        use tokenizers::utils::truncation::{TruncationParams, truncate_encodings};
        let encoding = |len: usize| {
            let tokens = (0..len).map(|i| tokenizers::Token::new(i as u32, String::new(), (0, 0))).collect();
            Encoding::from_tokens(tokens, 0)
        };
        for room in 2..14 {
            let params = TruncationParams { max_length: room, ..Default::default() };
            for first in 0..20 {
                for second in 0..20 {
                    if first + second <= room {
                        continue;
                    }
                    let (a, b) =
                        truncate_encodings(encoding(first), Some(encoding(second)), &params).unwrap();
                    let theirs = (a.len(), b.unwrap().len());
                    assert_eq!(longest_first(first, second, room), theirs, "{first} {second} {room}");
                }
            }
        }
    }

    #[test]
    fn other_post_processors_have_templates_too() {
        let bert =
            tokenizers::processors::bert::BertProcessing::new(("[SEP]".into(), 3), ("[CLS]".into(), 2));
        let (ids, type_ids) = Template::of(&bert.into()).unwrap().fill(&[7, 8], &[9]);
        assert_eq!((ids, type_ids), (vec![2, 7, 8, 3, 9, 3], vec![0, 0, 0, 0, 1, 1]));
    }
}
