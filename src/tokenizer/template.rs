//! The special tokens around a pair of texts.

use std::ops::Range;

use serde_json::Value;
use tokenizers::PostProcessorWrapper;
use tokenizers::tokenizer::{Encoding, PostProcessor};

use crate::config::Config;

/// Where a pair's template puts special tokens and texts.
///
/// It is read off what the post-processor makes of a pair of one token each: none looks at ids, so it does the same to
/// every pair. Filling it in costs a copy of the ids, where the post-processor would merge strings and offsets too.
#[derive(Debug, PartialEq)]
pub(super) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, PartialEq)]
enum Piece {
    Special { id: u32, type_id: u32 },
    Query { type_id: u32 },
    Document { type_id: u32 },
}

impl Template {
    pub(super) fn of(processor: &PostProcessorWrapper) -> std::result::Result<Self, String> {
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

    pub(super) fn special_tokens(&self) -> usize {
        self.pieces.iter().filter(|piece| matches!(piece, Piece::Special { .. })).count()
    }

    /// Whether it gives what a pair classifier reads: a special token in front, both texts once, ids within the tables.
    pub(super) fn check(&self, config: &Config) -> std::result::Result<(), String> {
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

    pub(super) fn fill(&self, query: &[u32], document: &[u32]) -> (Vec<u32>, Vec<u32>) {
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
    use super::Template;

    #[test]
    fn other_post_processors_have_templates_too() {
        let bert =
            tokenizers::processors::bert::BertProcessing::new(("[SEP]".into(), 3), ("[CLS]".into(), 2));
        let (ids, type_ids) = Template::of(&bert.into()).unwrap().fill(&[7, 8], &[9]);
        assert_eq!((ids, type_ids), (vec![2, 7, 8, 3, 9, 3], vec![0, 0, 0, 0, 1, 1]));
    }
}
