//! The files that a tokenizer is made of: `tokenizer.json`, or those from before there was one.

use std::collections::HashMap;

use super::class::Class;
use super::sentence_piece::{Kind, SentencePieceModel};
use super::settings::{Added, Settings, TokenizerRules};
use super::unigram::UnigramFile;
use super::vocabulary::Words;
use crate::checkpoint::files::File;
use crate::error::{Error, Result};

pub(crate) enum Source {
    /// `tokenizer.json`.
    Json(File),
    /// `vocab.txt`.
    WordPiece(File),
    /// `vocab.json` and `merges.txt`.
    Merges(File, File),
    /// `sentencepiece.bpe.model` or `spiece.model`.
    SentencePiece(File),
}

impl Source {
    /// `tokenizer` is `tokenizer.json`; `others` are the files that stand in for it, by their names. `config` names the
    /// folder where there is none of them.
    pub(crate) fn of(
        tokenizer: Option<File>,
        others: Vec<(&'static str, File)>,
        config: &File,
    ) -> Result<Self> {
        if let Some(file) = tokenizer {
            file.check_json()?;
            return Ok(Self::Json(file));
        }
        let mut others: HashMap<&str, File> = others.into_iter().collect();
        let mut take = |name: &str| others.remove(name);
        if let Some(file) = take("sentencepiece.bpe.model").or_else(|| take("spiece.model")) {
            return Ok(Self::SentencePiece(file));
        }
        match (take("vocab.json"), take("merges.txt"), take("vocab.txt")) {
            (Some(words), Some(merges), _) => {
                words.check_json()?;
                Ok(Self::Merges(words, merges))
            }
            (_, _, Some(words)) => Ok(Self::WordPiece(words)),
            (Some(found), None, _) => Err(alone(found, "merges.txt")),
            (None, Some(found), _) => Err(alone(found, "vocab.json")),
            (None, None, None) => {
                let reason = "there is no tokenizer.json beside it, nor vocab.txt, vocab.json with merges.txt, \
                              sentencepiece.bpe.model or spiece.model";
                Err(Error::Tokenizer { file: config.name.clone(), reason: reason.into() })
            }
        }
    }

    /// What tokens are read from, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Json(_) => "tokenizer.json",
            Self::WordPiece(_) => "vocab.txt",
            Self::Merges(..) => "vocab.json and merges.txt",
            Self::SentencePiece(_) => "a SentencePiece model",
        }
    }

    /// The name of the file that errors give.
    pub(super) fn name(&self) -> &str {
        let (Self::Json(file) | Self::WordPiece(file) | Self::Merges(file, _) | Self::SentencePiece(file)) =
            self;
        &file.name
    }
}

fn alone(file: File, missing: &str) -> Error {
    let reason = format!("expected {missing} or tokenizer.json beside it, found neither");
    Error::Tokenizer { file: file.name, reason }
}

/// The words of `vocab.txt`: the number of a line is the id of its word, and white space at its end is none of it.
pub(super) fn words(file: &[u8]) -> std::result::Result<Words, String> {
    let text = str::from_utf8(file).map_err(|error| format!("expected UTF-8: {error}"))?;
    let mut words = Words::default();
    for (id, line) in text.lines().enumerate() {
        let start = words.text_mut().len();
        words.text_mut().push_str(line.trim_end());
        let (Ok(start), Ok(id)) = (u32::try_from(start), u32::try_from(id)) else {
            return Err("it has more than 4 GB".into());
        };
        words.push(start, id);
    }
    Ok(words)
}

/// Words and merges by their ids, of `vocab.json` and `merges.txt`.
pub(super) type Merges = (HashMap<String, u32>, Vec<(String, String)>);

pub(super) fn merges(words: &File, merges: &File) -> std::result::Result<Merges, String> {
    let vocabulary: HashMap<String, u32> = serde_json::from_slice((*words.bytes).as_ref())
        .map_err(|error| format!("expected words with their ids: {error}"))?;
    let text = str::from_utf8((*merges.bytes).as_ref())
        .map_err(|error| format!("{} beside it: expected UTF-8: {error}", merges.name))?;
    let mut pairs = vec![];
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with("#version")) {
        let error = |found: String| {
            let line = number + 1;
            Err(format!(
                "{} beside it: line {line}: expected two tokens of the vocabulary, found {found}",
                merges.name
            ))
        };
        let Some((first, second)) = line.split_once(' ').filter(|(_, second)| !second.contains(' ')) else {
            return error(format!("`{line}`"));
        };
        for token in [first, second, &*format!("{first}{second}")] {
            if !vocabulary.contains_key(token) {
                return error(format!("`{line}`, of which `{token}` is none"));
            }
        }
        pairs.push((first.to_owned(), second.to_owned()));
    }
    Ok((vocabulary, pairs))
}

/// Pieces in the order that a class gives them, and the added tokens among them.
pub(super) fn pieces(
    model: SentencePieceModel,
    settings: &Settings,
) -> std::result::Result<(UnigramFile, Vec<Added>), String> {
    let added = |kind, special| {
        let pieces = model.pieces.iter().filter(move |piece| piece.kind == kind);
        pieces.map(move |piece| Added { special, ..Added::special(&piece.text) })
    };
    let added: Vec<Added> = added(Kind::Control, true).chain(added(Kind::UserDefined, false)).collect();
    let name = |name: usize| settings.kind.names()[name].unwrap_or_default();
    let (pad, mask) = (name(4), name(6));
    let zero = |text: &str| (text.to_owned(), 0.0);
    let own = |from: usize| {
        let pieces = model.pieces.iter().skip(from);
        pieces.map(|piece| (piece.text.clone(), piece.score))
    };
    let (unknown, list): (usize, Vec<(String, f64)>) = match settings.kind {
        Class::XlmRoberta => {
            let first = [&settings.bos, pad, &settings.eos, &settings.unknown].map(zero);
            (3, first.into_iter().chain(own(3)).chain([zero(mask)]).collect())
        }
        Class::Camembert => {
            let first = ["<s>NOTUSED", pad, "</s>NOTUSED", &settings.unknown].map(zero);
            let last = [("<unk>NOTUSED".to_owned(), -100.0)];
            (3, first.into_iter().chain(last).chain(own(1)).chain([zero(mask)]).collect())
        }
        Class::Albert => {
            // A digit before a comma: transformers 4 made the comma a piece of its own.
            let joins = |text: &str| {
                text.strip_suffix(',').and_then(|rest| rest.chars().next_back()).is_some_and(char::is_numeric)
            };
            let older = settings.rules == TokenizerRules::Author;
            let score = |(text, score): (String, f64)| {
                let score = if older && joins(&text) { score - 100.0 } else { score };
                (text, score)
            };
            (1, own(0).map(score).collect())
        }
        _ => return Err(unfit(settings, "XLMRobertaTokenizer, CamembertTokenizer or AlbertTokenizer")),
    };
    let (mut words, mut scores) = (Words::default(), Vec::with_capacity(list.len()));
    for (id, (text, score)) in list.into_iter().enumerate() {
        let start = words.text_mut().len() as u32;
        words.text_mut().push_str(&text);
        words.push(start, id as u32);
        scores.push(score);
    }
    Ok((UnigramFile { words, scores, unknown: Some(unknown), byte_fallback: false }, added))
}

/// What is said where a class makes nothing of a file.
pub(super) fn unfit(settings: &Settings, expected: &str) -> String {
    format!(
        "there is no tokenizer.json, and of this file alone expected class {expected}, found {}",
        settings.class()
    )
}
