//! The special tokens around a pair of texts.

use super::backend::{DOCUMENT, Outline, QUERY};
use crate::config::Config;

/// Where a pair's template puts special tokens and texts.
///
/// Filling it in costs a copy of the ids, where the `tokenizers` crate would merge strings and offsets too.
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
    /// That of a file.
    pub(super) fn of(outline: &Outline) -> std::result::Result<Self, String> {
        let pieces = outline.pair()?.into_iter().map(|(id, type_id)| match id {
            QUERY => Piece::Query { type_id },
            DOCUMENT => Piece::Document { type_id },
            id => Piece::Special { id, type_id },
        });
        Ok(Self { pieces: pieces.collect() })
    }

    /// BERT's own.
    pub(super) fn bert(cls: u32, sep: u32) -> Self {
        Self {
            pieces: vec![
                Piece::Special { id: cls, type_id: 0 },
                Piece::Query { type_id: 0 },
                Piece::Special { id: sep, type_id: 0 },
                Piece::Document { type_id: 1 },
                Piece::Special { id: sep, type_id: 1 },
            ],
        }
    }

    /// RoBERTa's own, which has no segments.
    pub(super) fn roberta(cls: u32, sep: u32) -> Self {
        let special = |id| Piece::Special { id, type_id: 0 };
        let (query, document) = (Piece::Query { type_id: 0 }, Piece::Document { type_id: 0 });
        Self { pieces: vec![special(cls), query, special(sep), special(sep), document, special(sep)] }
    }

    /// The same with every token in segment 0.
    pub(super) fn without_segments(mut self) -> Self {
        for piece in &mut self.pieces {
            let (Piece::Special { type_id, .. } | Piece::Query { type_id } | Piece::Document { type_id }) =
                piece;
            *type_id = 0;
        }
        self
    }

    pub(super) fn special_tokens(&self) -> usize {
        self.pieces.iter().filter(|piece| matches!(piece, Piece::Special { .. })).count()
    }

    /// Whether it gives what a pair classifier reads: a special token in front, both texts once, ids within the tables,
    /// and segments where there are `segments`.
    pub(super) fn check(&self, config: &Config, segments: bool) -> std::result::Result<(), String> {
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
                && *id as usize >= config.facts().vocab
            {
                return Err(format!(
                    "its pair template has token id {id}, but the model's vocab_size is {}",
                    config.facts().vocab
                ));
            }
        }
        if largest as usize >= config.facts().token_types {
            return Err(format!(
                "its pair template gives type id {largest}, but type_vocab_size is {}",
                config.facts().token_types
            ));
        }
        if segments && config.facts().token_types > 1 && largest == 0 {
            return Err(format!(
                "its pair template gives every token type id 0, but the model has {} token types: documents would be \
                 scored as part of the query",
                config.facts().token_types
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Template;
    use crate::tokenizer::backend::WordPieceFile;

    #[test]
    fn other_post_processors_have_templates_too() {
        let json = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": null, "decoder": null,
            "post_processor": {"type": "BertProcessing", "cls": ["[CLS]", 2], "sep": ["[SEP]", 3]},
            "model": {
                "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": {}
            }
        });
        let outline = WordPieceFile::parse(json.to_string().as_bytes()).unwrap().outline;
        let template = Template::of(&outline).unwrap();
        assert_eq!(template, Template::bert(2, 3));
        let (ids, type_ids) = template.fill(&[7, 8], &[9]);
        assert_eq!((ids, type_ids), (vec![2, 7, 8, 3, 9, 3], vec![0, 0, 0, 0, 1, 1]));
    }
}
