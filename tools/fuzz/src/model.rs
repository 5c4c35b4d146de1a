//! The small model that targets start from, and what is promised of any that is made of it.

use crossrank::{Builder, Error, ModelBytes, Reranker};

pub const CONFIG: &[u8] = include_bytes!("../model/config.json");
pub const TOKENIZER: &[u8] = include_bytes!("../model/tokenizer.json");
pub const WEIGHTS: &[u8] = include_bytes!("../model/model.safetensors");

/// Words of the vocabulary, others, and nothing.
const PAIRS: [(&str, &str); 3] =
    [("where do rivers go", "to the sea, to the sea."), ("", "Émile\u{301} 河流 12\u{200d}x"), ("a", "")];

/// A loader that starts no threads.
pub fn builder() -> Builder {
    Reranker::builder().threads(1)
}

/// Loads a model, if it can be, and holds it to its promises.
pub fn load(bytes: ModelBytes) -> Option<Reranker> {
    check(builder().from_bytes(bytes))
}

/// Holds what loading gave to what is promised of it.
pub fn check(loaded: crossrank::Result<Reranker>) -> Option<Reranker> {
    let reranker = loaded.map_err(|error| check_error(&error)).ok()?;
    let info = reranker.info();
    assert!(info.labels > 0 && info.layers > 0 && info.packed_bytes > 0, "{info:?}");
    score(&reranker);
    for (query, document) in PAIRS {
        match reranker.rerank(query, &[document], &Default::default()) {
            Ok(ranked) => assert!(ranked.len() == 1 && !ranked[0].score.is_nan(), "{ranked:?}"),
            Err(error) => check_error(&error),
        }
    }
    Some(reranker)
}

/// The bits of the logits of each pair that can be scored.
pub fn score(reranker: &Reranker) -> Vec<Option<Vec<u32>>> {
    let score = |pair| match reranker.score_pairs(&[pair]) {
        Ok(scores) => {
            let logits = &scores[0].logits;
            assert!(
                logits.len() == reranker.labels() && logits.iter().all(|logit| logit.is_finite()),
                "{logits:?}"
            );
            Some(logits.iter().map(|logit| logit.to_bits()).collect())
        }
        Err(error) => {
            check_error(&error);
            None
        }
    };
    PAIRS.map(score).into()
}

/// An error says what is wrong.
pub fn check_error(error: &Error) {
    check_message(&error.to_string());
}

/// A message has a subject and more than that.
pub fn check_message(message: &str) {
    assert!(message.split_whitespace().nth(2).is_some(), "an error says no more than `{message}`");
}
