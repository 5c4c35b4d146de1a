//! A tokenizer whose texts the crate normalises and splits into words.

use serde::de::DeserializeOwned;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::{Lowercase, Precompiled, Sequence};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::tokenizer::TokenizerImpl;
use tokenizers::{
    AddedToken, DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    TruncationDirection, TruncationParams, TruncationStrategy,
};

use super::classes;
use super::cuts::{block_len, cuts_at_spaces};
use super::model::AnyModel;
use super::{BertPipeline, Json, Outline};
use crate::tokenizer::charsmap;
use crate::tokenizer::settings::{Added, BertSettings, Settings};
use crate::tokenizer::source::Merges;
use crate::tokenizer::unigram::{Unigram, UnigramFile};
use crate::tokenizer::vocabulary::Words;

type Engine =
    TokenizerImpl<AnyModel, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// A tokenizer that the crate runs, with the engine's own model where it is Unigram.
pub(in crate::tokenizer) struct Any {
    engine: Box<Engine>,
    /// Whether a text may be cut at a space between two letters or digits.
    cuts_at_spaces: bool,
}

/// What a file has, before a class makes its own of it.
pub(in crate::tokenizer) struct Parsed {
    model: AnyModel,
    pub(in crate::tokenizer) outline: Outline,
}

impl Parsed {
    pub(in crate::tokenizer) fn of(json: &[u8]) -> Result<Self, String> {
        let text = str::from_utf8(json).map_err(|error| format!("broken tokenizer: {error}"))?;
        // An error of Unigram's names its field; where another model stands, it says nothing.
        match read::<UnigramFile>(text) {
            Ok((outline, file)) => {
                if let Some(model) = Unigram::new(file)? {
                    return Ok(Self { model: AnyModel::Unigram(Box::new(model)), outline });
                }
            }
            Err(error) if error.starts_with("`model.") => return Err(error),
            Err(_) => {}
        }
        let (outline, model) = read::<ModelWrapper>(text).map_err(|error| {
            let field = if error.contains("out of vocabulary") { "`model.merges`: " } else { "" };
            format!("broken tokenizer: {field}{error}")
        })?;
        let model = AnyModel::Crate(Box::new(model));
        // The crate gives added tokens ids behind all others, and there must be some. Seldom is all looked at.
        let most = u32::MAX;
        if text.contains(&most.to_string())
            && let Some((token, _)) = model.largest().filter(|&(_, id)| id == most)
        {
            let what = format!("`model.vocab`: expected ids below {most}, found `{token}` with {most}");
            return Err(format!("broken tokenizer: {what}"));
        }
        Ok(Self { model, outline })
    }

    /// WordPiece of the words of `vocab.txt`.
    pub(in crate::tokenizer) fn of_words(words: Words) -> Result<Self, String> {
        let vocabulary: Vocab = words.entries().map(|(word, id)| (word.to_owned(), id)).collect();
        let model = WordPiece::builder().vocab(vocabulary).build().map_err(|error| error.to_string())?;
        Ok(Self { model: AnyModel::Crate(Box::new(model.into())), outline: Outline::default() })
    }

    /// BPE of the words of `vocab.json` and the merges of `merges.txt`.
    pub(in crate::tokenizer) fn of_merges((words, merges): Merges) -> Result<Self, String> {
        let words: Vocab = words.into_iter().collect();
        let model =
            BPE::builder().vocab_and_merges(words, merges).build().map_err(|error| error.to_string())?;
        Ok(Self { model: AnyModel::Crate(Box::new(model.into())), outline: Outline::default() })
    }

    /// Unigram of the pieces of a SentencePiece model, with its map of characters.
    pub(in crate::tokenizer) fn of_pieces(
        pieces: UnigramFile,
        added: Vec<Added>,
        map: &[u8],
    ) -> Result<Self, String> {
        let normalizer = if map.is_empty() {
            None
        } else {
            charsmap::check(map)?;
            Some(Precompiled::from(map).map_err(|error| error.to_string())?.into())
        };
        let model = Unigram::new(pieces)?
            .ok_or("`pieces`: expected ones of at most 1024 bytes, found a longer one")?;
        let outline = Outline { added, normalizer, ..Outline::default() };
        Ok(Self { model: AnyModel::Unigram(Box::new(model)), outline })
    }

    /// As the file has it, but for what the settings of its class say.
    pub(in crate::tokenizer) fn into_any(
        mut self,
        settings: &mut Settings,
    ) -> Result<(Any, Outline), String> {
        self.outline.check_map()?;
        let class = classes::recipe(settings, &self.outline)?;
        if settings.is_made_anew()
            && let Some(class) = class
        {
            self.model.remake(settings)?;
            (self.outline.normalizer, self.outline.pre_tokenizer) = class;
        } else {
            if let Some(class) = class {
                classes::note(settings, &self.outline, &class);
            }
            classes::correct(settings, &mut self.outline);
        }
        let mut engine = Engine::new(self.model);
        let error = |error: tokenizers::Error| error.to_string();
        engine.with_normalizer(self.outline.normalizer.clone()).map_err(error)?;
        engine.with_pre_tokenizer(self.outline.pre_tokenizer.clone());
        let any = Any { engine: Box::new(engine), cuts_at_spaces: false };
        Ok((any, self.outline))
    }

    /// BERT's tokenizer with the vocabulary of this one.
    pub(in crate::tokenizer) fn into_bert(
        self,
        settings: BertSettings,
        unknown: &str,
        max_chars: usize,
        prefix: &str,
    ) -> Result<(Any, Outline), String> {
        let model = match self.model {
            AnyModel::Crate(model) => *model,
            AnyModel::Unigram(_) => return Err("`model.type`: expected WordPiece, found Unigram".into()),
        };
        let ModelWrapper::WordPiece(mut model) = model else {
            return Err("`model.type`: expected WordPiece, found another".into());
        };
        model.unk_token = unknown.to_owned();
        model.max_input_chars_per_word = max_chars;
        model.continuing_subword_prefix = prefix.to_owned();
        let mut bert = Engine::new(AnyModel::Crate(Box::new(model.into())));
        let normalizer = BertPipeline::new(settings, false).normalizer;
        bert.with_normalizer(Some(normalizer)).map_err(|error| error.to_string())?;
        bert.with_pre_tokenizer(Some(BertPreTokenizer));
        Ok((Any { engine: Box::new(bert), cuts_at_spaces: false }, self.outline))
    }
}

impl Any {
    /// Fails where the model cannot do its work.
    pub(in crate::tokenizer) fn check(&self) -> Result<(), String> {
        self.engine.get_model().check()
    }

    /// Finds these in texts, too.
    pub(in crate::tokenizer) fn add(&mut self, tokens: &[Added]) -> Result<(), String> {
        let tokens: Vec<_> = tokens
            .iter()
            .map(|token| {
                AddedToken::from(token.content.clone(), token.special)
                    .single_word(token.single_word)
                    .lstrip(token.lstrip)
                    .rstrip(token.rstrip)
                    .normalized(token.normalized)
            })
            .collect();
        self.engine.add_tokens(tokens).map(drop).map_err(|error| error.to_string())
    }

    /// Whether special tokens in a text are text.
    pub(in crate::tokenizer) fn split_special(&mut self, split: bool) {
        self.engine.set_encode_special_tokens(split);
    }

    /// Puts lower-casing in front, as sentence-transformers does, unless it is one of the steps.
    pub(in crate::tokenizer) fn lowercase_first(&mut self) -> Result<(), String> {
        let is_lowercase = |step: &NormalizerWrapper| matches!(step, NormalizerWrapper::Lowercase(_));
        let mut steps: Vec<NormalizerWrapper> = match self.engine.get_normalizer() {
            None => vec![],
            Some(NormalizerWrapper::Sequence(sequence)) => sequence.as_ref().to_vec(),
            Some(step) => vec![step.clone()],
        };
        if steps.iter().any(is_lowercase) {
            return Ok(());
        }
        steps.insert(0, Lowercase.into());
        self.engine.with_normalizer(Some(Sequence::new(steps))).map(drop).map_err(|error| error.to_string())
    }

    pub(in crate::tokenizer) fn id(&self, token: &str) -> Option<u32> {
        self.engine.token_to_id(token)
    }

    /// The token with the largest id.
    pub(in crate::tokenizer) fn largest(&self) -> Option<(String, u32)> {
        let added = self.engine.get_added_tokens_decoder();
        let added = added.into_iter().map(|(id, token)| (token.content, id));
        added.chain(self.engine.get_model().largest()).max_by_key(|&(_, id)| id)
    }

    /// Tokens beyond the limit are never looked at, so the model need not make them, nor are texts read to their end where
    /// they can be cut. Told last.
    pub(in crate::tokenizer) fn limit(&mut self, limit: usize) -> Result<(), String> {
        let params = TruncationParams {
            direction: TruncationDirection::Right,
            max_length: limit,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
        };
        let engine = &mut self.engine;
        engine.with_truncation(Some(params)).map_err(|error| error.to_string())?;
        let spaced = engine.get_added_tokens_decoder().values().any(|token| {
            // Such a token may take the space away from what is behind it.
            token.rstrip || holds_such_space(&token.content)
        });
        self.cuts_at_spaces = !spaced
            && cuts_at_spaces(engine.get_normalizer(), engine.get_pre_tokenizer(), engine.get_model());
        Ok(())
    }

    /// The first `limit` ids of a text.
    pub(in crate::tokenizer) fn encode(&self, text: &str, limit: usize) -> Result<Vec<u32>, String> {
        let (mut ids, mut rest) = (vec![], text);
        while !rest.is_empty() && ids.len() < limit {
            let len = if self.cuts_at_spaces { block_len(rest) } else { rest.len() };
            #[cfg(test)]
            super::NORMALIZED.set(super::NORMALIZED.get() + len);
            let encoding = self.engine.encode_fast(&rest[..len], false).map_err(|error| error.to_string())?;
            ids.extend_from_slice(encoding.get_ids());
            rest = &rest[len..];
        }
        ids.truncate(limit);
        Ok(ids)
    }
}

/// Whether a token may stand in a text where a space is alone between two letters or digits.
fn holds_such_space(token: &str) -> bool {
    let chars: Vec<char> = token.chars().collect();
    let beside = |at: Option<usize>| at.and_then(|at| chars.get(at)).is_none_or(|c| c.is_alphanumeric());
    let mut places = chars.iter().enumerate();
    places.any(|(i, c)| c.is_whitespace() && beside(i.checked_sub(1)) && beside(Some(i + 1)))
}

/// A `tokenizer.json` with such a model.
fn read<M: DeserializeOwned>(json: &str) -> Result<(Outline, M), String> {
    let json: Json<M> = serde_json::from_str(json).map_err(|error| error.to_string())?;
    match &json.version {
        Some(version) if version != "1.0" => Err(format!("`version`: expected 1.0, found `{version}`")),
        _ => Ok(json.split()),
    }
}
