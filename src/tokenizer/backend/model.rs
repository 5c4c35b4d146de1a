//! A model of the crate, or the engine's own Unigram in its place.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tokenizers::models::TrainerWrapper;
use tokenizers::models::unigram::UnigramTrainer;
use tokenizers::{Model, ModelWrapper, Result, Token};

use crate::tokenizer::class::Class;
use crate::tokenizer::settings::Settings;
use crate::tokenizer::unigram::{Unigram, byte_pieces};

pub(super) enum AnyModel {
    Crate(Box<ModelWrapper>),
    Unigram(Box<Unigram>),
}

impl AnyModel {
    /// Fails where a model would give other ids from one call to the next, or none for some text.
    pub(super) fn check(&self) -> std::result::Result<(), String> {
        let Self::Crate(model) = self else { return Ok(()) };
        match &**model {
            ModelWrapper::BPE(bpe) => {
                if let Some(dropout) = bpe.dropout.filter(|&dropout| dropout != 0.0) {
                    return Err(format!(
                        "`model.dropout`: expected null, as ids are no chance, found {dropout}"
                    ));
                }
                if bpe.byte_fallback {
                    byte_pieces(|piece| self.token_to_id(piece))?;
                }
                match &bpe.unk_token {
                    Some(unknown) if self.token_to_id(unknown).is_none() => Err(missing(unknown)),
                    _ => Ok(()),
                }
            }
            ModelWrapper::WordPiece(model) if self.token_to_id(&model.unk_token).is_none() => {
                Err(missing(&model.unk_token))
            }
            ModelWrapper::WordLevel(model) if self.token_to_id(&model.unk_token).is_none() => {
                Err(missing(&model.unk_token))
            }
            _ => Ok(()),
        }
    }

    /// What transformers 5 leaves of the model of a file, for a class that it makes anew.
    pub(super) fn remake(&mut self, settings: &Settings) -> std::result::Result<(), String> {
        let other = |expected: &str| {
            Err(format!(
                "`model.type`: expected {expected}, found another, but class {} has it",
                settings.class()
            ))
        };
        match (settings.kind, self) {
            (Class::Roberta, Self::Crate(model)) => {
                let ModelWrapper::BPE(bpe) = &mut **model else { return other("BPE") };
                bpe.dropout = None;
                bpe.unk_token = None;
                bpe.continuing_subword_prefix = Some(String::new());
                bpe.end_of_word_suffix = Some(String::new());
                (bpe.fuse_unk, bpe.byte_fallback, bpe.ignore_merges) = (false, false, false);
                Ok(())
            }
            (Class::Roberta, Self::Unigram(_)) => other("BPE"),
            (class, Self::Unigram(model)) => {
                let unknown = match class {
                    Class::XlmRoberta => 3,
                    Class::Albert => 1,
                    _ => model.id(&settings.unknown).unwrap_or(0),
                };
                model.remake(unknown)
            }
            (_, Self::Crate(_)) => other("Unigram"),
        }
    }

    /// The token with the largest id.
    pub(super) fn largest(&self) -> Option<(String, u32)> {
        match self {
            Self::Crate(model) => model.get_vocab().into_iter().max_by_key(|&(_, id)| id),
            Self::Unigram(model) => model.largest().map(|(piece, id)| (piece.to_owned(), id)),
        }
    }

    /// Whether no token has a space, as this model writes it, behind anything else: then none reaches from one word into
    /// the next.
    pub(super) fn joins_no_words(&self, space: char) -> bool {
        let joins = |token: &str| token.trim_start_matches(space).contains(space);
        match self {
            Self::Crate(model) => !model.get_vocab().keys().any(|token| joins(token)),
            Self::Unigram(_) => false,
        }
    }
}

fn missing(unknown: &str) -> String {
    format!("its unk_token `{unknown}` is not in its vocabulary")
}

impl Model for AnyModel {
    type Trainer = TrainerWrapper;

    fn tokenize(&self, sequence: &str) -> Result<Vec<Token>> {
        match self {
            Self::Crate(model) => model.tokenize(sequence),
            Self::Unigram(model) => {
                let mut ids = Vec::with_capacity(sequence.len() / 3 + 1);
                model.encode(sequence, &mut ids);
                // Neither strings nor places of tokens are ever asked for.
                Ok(ids.into_iter().map(|id| Token::new(id, String::new(), (0, 0))).collect())
            }
        }
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        match self {
            Self::Crate(model) => model.token_to_id(token),
            Self::Unigram(model) => model.id(token),
        }
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        match self {
            Self::Crate(model) => model.id_to_token(id),
            Self::Unigram(_) => None,
        }
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        match self {
            Self::Crate(model) => model.get_vocab(),
            Self::Unigram(_) => HashMap::new(),
        }
    }

    fn get_vocab_size(&self) -> usize {
        match self {
            Self::Crate(model) => model.get_vocab_size(),
            Self::Unigram(model) => model.len(),
        }
    }

    fn save(&self, folder: &Path, prefix: Option<&str>) -> Result<Vec<PathBuf>> {
        match self {
            Self::Crate(model) => model.save(folder, prefix),
            Self::Unigram(_) => Err("it is not written".into()),
        }
    }

    fn get_trainer(&self) -> TrainerWrapper {
        match self {
            Self::Crate(model) => model.get_trainer(),
            Self::Unigram(_) => UnigramTrainer::default().into(),
        }
    }
}
