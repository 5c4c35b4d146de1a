//! `config.json`.

use crossrank::ModelBytes;

use crate::model::{self, TOKENIZER, WEIGHTS};

/// The bytes are `config.json`.
pub fn config(bytes: &[u8]) -> bool {
    model::load(ModelBytes::new(bytes.to_vec(), WEIGHTS).tokenizer(TOKENIZER)).is_some()
}
