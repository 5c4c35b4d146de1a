//! Texts to token ids, by the checkpoint's own `tokenizer.json`.

use tokenizers::tokenizer::{Encoding, PostProcessor};
use tokenizers::{TruncationDirection, TruncationParams, TruncationStrategy};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::files::File;
use crate::tokenized::Tokenized;

/// What to do with a pair that exceeds the window. Texts are cut on the right.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Truncation {
    /// Cut the longer of the two until both fit, as sentence-transformers does.
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
    special_tokens: usize,
    max_length: usize,
    truncation: Truncation,
}

/// A text before special tokens.
pub(crate) struct EncodedText(Encoding);

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
        inner.with_padding(None);
        let added = |pair| inner.get_post_processor().map_or(0, |processor| processor.added_tokens(pair));
        let (special_tokens, single_special_tokens) = (added(true), added(false));

        let window = max_length.map_or(config.window(), |limit| limit.min(config.window()));
        // The `tokenizers` crate subtracts either number from the window, unchecked.
        if window < special_tokens.max(single_special_tokens) + 2 {
            let reason = format!(
                "{window} tokens are too few for {special_tokens} special tokens and one token of either text"
            );
            return Err(Error::option("max_length", reason));
        }
        // Tokens beyond the window are never looked at, so the model need not make them. One more than the window
        // is kept to see that there was more. The special tokens are counted by `assemble`.
        let params = TruncationParams {
            direction: TruncationDirection::Right,
            max_length: window + 1,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
        };
        inner.with_truncation(Some(params)).map_err(|error| broken(error.to_string()))?;

        let tokenizer = Self { inner, special_tokens, max_length: window, truncation };
        tokenizer.check_fits(file, config)?;
        Ok(tokenizer)
    }

    /// Every id that it can give must be a row of the model's tables.
    fn check_fits(&self, file: &File, config: &Config) -> Result<()> {
        let broken = |reason: String| Error::Tokenizer { file: file.name.clone(), reason };
        if let Some((token, id)) = self.inner.get_vocab(true).into_iter().max_by_key(|&(_, id)| id)
            && id as usize >= config.vocab
        {
            let reason =
                format!("token `{token}` has id {id}, but the model's vocab_size is {}", config.vocab);
            return Err(broken(reason));
        }
        let probe = self.pair("a", "a")?;
        let largest = probe.type_ids.iter().copied().max().unwrap_or(0) as usize;
        if largest >= config.token_types {
            let reason = format!(
                "its pair template gives type id {largest}, but type_vocab_size is {}",
                config.token_types
            );
            return Err(broken(reason));
        }
        if config.token_types > 1 && largest == 0 {
            let reason = format!(
                "its pair template gives every token type id 0, but the model has {} token types: documents would \
                 be scored as part of the query",
                config.token_types
            );
            return Err(broken(reason));
        }
        Ok(())
    }

    fn pair(&self, query: &str, document: &str) -> Result<Tokenized> {
        self.assemble(0, &self.encode(0, query)?, self.encode(0, document)?)
    }

    /// The most tokens that a pair may have, special tokens included.
    pub(crate) fn max_length(&self) -> usize {
        self.max_length
    }

    /// Encodes one text, for document `index` of the call.
    pub(crate) fn encode(&self, index: usize, text: &str) -> Result<EncodedText> {
        self.inner
            .encode_fast(text, false)
            .map(EncodedText)
            .map_err(|error| Error::document_error(index, format!("cannot be tokenised: {error}")))
    }

    /// Cuts a pair to the window and puts it into the checkpoint's own template.
    pub(crate) fn assemble(
        &self,
        index: usize,
        query: &EncodedText,
        document: EncodedText,
    ) -> Result<Tokenized> {
        let (mut query, mut document) = (query.0.clone(), document.0);
        let lengths = (query.len(), document.len());
        let kept = self.fit(index, lengths)?;
        query.truncate(kept.0, 0, TruncationDirection::Right);
        document.truncate(kept.1, 0, TruncationDirection::Right);
        document.set_type_ids(vec![1; document.len()]);
        let failed = |error| Error::document_error(index, format!("cannot be tokenised: {error}"));
        let processor = self.inner.get_post_processor();
        let pair = match processor {
            Some(processor) => processor.process(query, Some(document), true).map_err(failed)?,
            None => {
                query.merge_with(document, false);
                query
            }
        };
        let truncated = kept != lengths;
        Ok(Tokenized { ids: pair.get_ids().to_vec(), type_ids: pair.get_type_ids().to_vec(), truncated })
    }

    /// How many tokens of the query and of the document are kept.
    fn fit(&self, index: usize, (query, document): (usize, usize)) -> Result<(usize, usize)> {
        let room = self.max_length - self.special_tokens;
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
                    query + document + self.special_tokens,
                    self.max_length
                );
                Err(Error::document_error(index, reason))
            }
        }
    }
}

/// The rule of the `tokenizers` crate: the shorter text stays whole while it takes at most half, then both take half
/// and the second the odd token.
fn longest_first(first: usize, second: usize, room: usize) -> (usize, usize) {
    let half = room / 2;
    if first.min(second) > half {
        // Whichever is longer gets the odd token; the second when they are equal.
        if first > second { (room - half, half) } else { (half, room - half) }
    } else if first <= second {
        (first, room - first)
    } else {
        (room - second, second)
    }
}

#[cfg(test)]
mod tests {
    use super::longest_first;

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
}
