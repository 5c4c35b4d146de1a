//! Pairs into memory of the caller's, and what is put in front of queries.
#![cfg(feature = "tokenizers")]

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use common::fixture;
use crossrank::{Error, Reranker};

const PAIRS: [(&str, &str); 3] = [
    ("where do rivers go", "Rivers run to the sea."),
    ("where do rivers go", "Bread is baked."),
    ("what is bread made of", ""),
];

#[test]
fn logits_are_those_of_the_pairs_and_are_counted() {
    for (model, threads) in [("gelu-60", 1), ("gelu-60", 2), ("relu-3-labels", 2)] {
        let reranker = Reranker::builder().threads(threads).load(fixture(model)).unwrap();
        let expected: Vec<f32> =
            reranker.score_pairs(&PAIRS).unwrap().into_iter().flat_map(|pair| pair.logits).collect();
        let (stop, scored) = (AtomicBool::new(false), AtomicUsize::new(5));
        let mut logits = vec![f32::NAN; PAIRS.len() * reranker.labels()];
        reranker.score_pairs_into(&PAIRS, &stop, &scored, &mut logits).unwrap();
        assert_eq!((logits, scored.into_inner()), (expected, 5 + PAIRS.len()));
    }
}

#[test]
fn a_flag_that_is_set_stops_and_a_wrong_length_is_named() {
    let reranker = Reranker::load(fixture("gelu-60")).unwrap();
    let (stop, scored) = (AtomicBool::new(true), AtomicUsize::new(0));
    let error = reranker.score_pairs_into(&PAIRS, &stop, &scored, &mut [0.0; 3]).unwrap_err();
    assert!(matches!(error, Error::Stopped { scored: 0, documents: 3 }), "{error}");
    stop.store(false, Ordering::Relaxed);
    for length in [0, 2, 4] {
        let mut logits = vec![0.0; length];
        let error = reranker.score_pairs_into(&PAIRS, &stop, &scored, &mut logits).unwrap_err().to_string();
        assert!(error.contains(&format!("expected room for 3 logits, found {length}")), "{error}");
    }
    assert_eq!(scored.into_inner(), 0);
}

#[test]
fn a_prompt_of_the_callers_stands_in_the_place_of_the_checkpoints() {
    let logits = |prompt: Option<&str>, query: &str| {
        let mut builder = Reranker::builder().threads(1);
        if let Some(prompt) = prompt {
            builder = builder.query_prompt(prompt);
        }
        let reranker = builder.load(fixture("modular-prompt")).unwrap();
        reranker.score_pairs(&[(query, "Rivers run to the sea.")]).unwrap()
    };
    let query = "where do rivers go";
    let bare = logits(Some(""), query);
    assert_ne!(logits(None, query), bare, "the checkpoint has one");
    assert_eq!(logits(None, query), logits(Some(""), &format!("Which text says it: {query}")));
    assert_eq!(logits(Some("find: "), query), logits(Some(""), &format!("find: {query}")));
}
