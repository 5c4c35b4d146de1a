//! The files beside `config.json`.

use crossrank::ModelBytes;

use crate::model::{self, CONFIG, TOKENIZER, WEIGHTS};

/// Stands between the files.
const SEPARATOR: &[u8] = b"====\n";

/// Adds a file to a model.
type Part = fn(ModelBytes, Vec<u8>) -> ModelBytes;

/// The bytes are `tokenizer_config.json`, `config_sentence_transformers.json`, `modules.json` and
/// `sentence_bert_config.json`, a line of `====` between them; the last may be missing.
pub fn neighbours(bytes: &[u8]) -> bool {
    let parts: [Part; 4] = [
        ModelBytes::tokenizer_config,
        ModelBytes::sentence_transformers_config,
        ModelBytes::modules,
        ModelBytes::sentence_bert_config,
    ];
    let mut model = ModelBytes::new(CONFIG, WEIGHTS).tokenizer(TOKENIZER);
    for (part, file) in parts.into_iter().zip(split(bytes)) {
        model = part(model, file);
    }
    model::load(model).is_some()
}

fn split(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    while let Some(at) = bytes.windows(SEPARATOR.len()).position(|window| window == SEPARATOR) {
        files.push(bytes[..at].to_vec());
        bytes = &bytes[at + SEPARATOR.len()..];
    }
    files.push(bytes.to_vec());
    files
}
