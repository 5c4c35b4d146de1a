//! `model.safetensors` as checkpoints have it.

use crossrank::ModelBytes;

use crate::model::{self, CONFIG, TOKENIZER};

/// The bytes are `model.safetensors`. What loads can be packed, and then gives the same logits.
pub fn weights(bytes: &[u8]) -> bool {
    let of = |weights: Vec<u8>| ModelBytes::new(CONFIG, weights).tokenizer(TOKENIZER);
    let Some(reranker) = model::load(of(bytes.to_vec())) else { return false };
    let mut packed = Vec::new();
    if let Err(error) = reranker.write_packed(&mut packed) {
        model::check_error(&error);
        return false;
    }
    let again = model::load(of(packed)).expect("what was packed loads");
    assert_eq!(model::score(&again), model::score(&reranker), "packing moved a logit");
    true
}
