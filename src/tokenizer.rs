//! Texts to token ids, by the checkpoint's own `tokenizer.json`.

mod bert;
mod settings;
mod template;
#[cfg(test)]
mod tests;
mod vocabulary;
mod word_piece;

use tokenizers::{
    Model, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, TruncationDirection, TruncationParams,
    TruncationStrategy,
};

use self::bert::Bert;
use self::template::Template;
use crate::checkpoint::files::File;
use crate::checkpoint::json::Fields;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::tokenized::Tokenized;

/// Of English prose; other texts have fewer.
const BYTES_PER_TOKEN: usize = 4;

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
    texts: Texts,
    template: Template,
    max_length: usize,
    truncation: Truncation,
}

/// How one text becomes ids.
enum Texts {
    /// The form of nearly all BERT checkpoints, which costs a fraction.
    Bert(Bert),
    /// Whatever else `tokenizers` knows.
    Any(Box<tokenizers::Tokenizer>),
}

impl Texts {
    /// With the post-processor of the file.
    fn parse(json: &[u8]) -> std::result::Result<(Self, Option<PostProcessorWrapper>), String> {
        if let Some((bert, processor)) = Bert::parse(json) {
            return Ok((Self::Bert(bert), processor));
        }
        let mut any =
            tokenizers::Tokenizer::from_bytes(json).map_err(|error| format!("broken tokenizer: {error}"))?;
        if let Some(unknown) = unknown_token(any.get_model())
            && any.get_model().token_to_id(unknown).is_none()
        {
            return Err(format!("its unk_token `{unknown}` is not in its vocabulary"));
        }
        if any.get_truncation().is_some_and(|params| params.direction == TruncationDirection::Left) {
            return Err("`truncation.direction`: expected Right, as texts are cut there, found Left".into());
        }
        let processor = any.get_post_processor().cloned();
        // Nothing is added to a text here: special tokens and the cut to the window are `pair`'s.
        any.with_post_processor(None::<PostProcessorWrapper>);
        any.with_padding(None);
        Ok((Self::Any(Box::new(any)), processor))
    }

    /// Changes what is done to texts first, where it is BERT's, to what the settings ask for.
    fn set_normalizer(&mut self, fields: &Fields<'_>, broken: impl Fn(String) -> Error) -> Result<()> {
        match self {
            Self::Bert(bert) => settings::apply(fields, bert.normalizer_mut())?,
            Self::Any(any) => {
                if let Some(NormalizerWrapper::BertNormalizer(mut normalizer)) = any.get_normalizer().cloned()
                {
                    settings::apply(fields, &mut normalizer)?;
                    any.with_normalizer(Some(normalizer)).map_err(|error| broken(error.to_string()))?;
                }
            }
        }
        Ok(())
    }

    /// The token with the largest id.
    fn largest(&self) -> Option<(String, u32)> {
        match self {
            Self::Bert(bert) => bert.vocabulary().largest().map(|(token, id)| (token.to_owned(), id)),
            Self::Any(any) => any.get_vocab(true).into_iter().max_by_key(|&(_, id)| id),
        }
    }

    /// `limit` is the one that [`Texts::limit`] was told.
    fn encode(&self, text: &str, limit: usize) -> tokenizers::Result<Vec<u32>> {
        match self {
            Self::Bert(bert) => bert.encode(text, limit),
            Self::Any(any) => Ok(any.encode_fast(text, false)?.get_ids().to_vec()),
        }
    }

    /// Tokens beyond the limit are never looked at, so the model need not make them.
    fn limit(&mut self, limit: usize) -> tokenizers::Result<()> {
        if let Self::Any(any) = self {
            any.with_truncation(Some(TruncationParams {
                direction: TruncationDirection::Right,
                max_length: limit,
                strategy: TruncationStrategy::LongestFirst,
                stride: 0,
            }))?;
        }
        Ok(())
    }
}

/// The token that stands for what is unknown, where a model cannot do without.
fn unknown_token(model: &ModelWrapper) -> Option<&str> {
    match model {
        ModelWrapper::WordPiece(model) => Some(&model.unk_token),
        ModelWrapper::WordLevel(model) => Some(&model.unk_token),
        _ => None,
    }
}

impl Tokenizer {
    /// `settings` are `tokenizer_config.json`. `max_length` is the caller's, if there is one; the model's and the
    /// position table's apply too.
    pub(crate) fn load(
        file: &File,
        settings: Option<&File>,
        config: &Config,
        max_length: Option<usize>,
        truncation: Truncation,
    ) -> Result<Self> {
        let broken = |reason: String| Error::Tokenizer { file: file.name.clone(), reason };
        let (mut texts, processor) = Texts::parse((*file.bytes).as_ref()).map_err(broken)?;
        if let Some(file) = settings {
            let json = file.json()?;
            let fields = Fields::new(file, &json)?;
            settings::check(&fields)?;
            texts.set_normalizer(&fields, broken)?;
        }
        let processor =
            processor.ok_or_else(|| broken("it has no post-processor that adds special tokens".into()))?;
        let template = Template::of(&processor).map_err(broken)?;
        template.check(config).map_err(broken)?;
        if let Some((token, id)) = texts.largest()
            && id as usize >= config.vocab
        {
            let reason =
                format!("token `{token}` has id {id}, but the model's vocab_size is {}", config.vocab);
            return Err(broken(reason));
        }

        let window = max_length.map_or(config.window(), |limit| limit.min(config.window()));
        let special = template.special_tokens();
        if window < special + 2 {
            let needed = format!("too few for {special} special tokens and one token of either text");
            return Err(if window < config.window() {
                Error::option("max_length", format!("{window} tokens are {needed}"))
            } else {
                broken(format!("{window} tokens, the {}, are {needed}", config.window_field()))
            });
        }
        texts.limit(window + 1).map_err(|error| broken(error.to_string()))?;
        Ok(Self { texts, template, max_length: window, truncation })
    }

    /// The most tokens that a pair may have, special tokens included.
    pub(crate) fn max_length(&self) -> usize {
        self.max_length
    }

    /// About how many tokens a pair will have, from the tokens of its query and the bytes of what is not tokenised yet.
    pub(crate) fn estimate(&self, query: usize, bytes: usize) -> usize {
        (self.template.special_tokens() + query.min(self.max_length) + bytes / BYTES_PER_TOKEN)
            .min(self.max_length)
    }

    /// Ids of one text, without special tokens, cut to one more than the window, which shows that there was more. An
    /// error is the end of a sentence.
    pub(crate) fn encode(&self, text: &str) -> std::result::Result<Vec<u32>, String> {
        self.texts.encode(text, self.max_length + 1).map_err(|error| format!("cannot be tokenised: {error}"))
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

#[cfg(test)]
mod window_tests {
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
}
