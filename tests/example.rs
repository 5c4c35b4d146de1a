//! The ranking that `examples/rerank.rs` shows is the right one.
#![cfg(feature = "tokenizers")]

mod common;

#[allow(dead_code)]
#[path = "../examples/rerank.rs"]
mod example;

use common::{for_each_isa, root};
use crossrank::Reranker;
use example::{PASSAGES, QUERY};

/// The two passages that explain why leaves change colour.
const ANSWERS: [&str; 2] = ["chlorophyll", "anthocyanins"];

#[test]
fn the_passages_that_answer_come_first() {
    let mut answers: Vec<usize> = ANSWERS
        .map(|word| {
            let found: Vec<usize> = (0..PASSAGES.len()).filter(|&i| PASSAGES[i].contains(word)).collect();
            assert_eq!(found.len(), 1, "passages with `{word}`");
            found[0]
        })
        .to_vec();
    answers.sort_unstable();
    assert!(answers.iter().any(|&i| i >= 2), "as retrieved they come first already");
    for_each_isa(|isa| {
        let reranker = Reranker::builder().isa(isa).load(root().join("models/default")).unwrap();
        let ranking = reranker.rerank(QUERY, &PASSAGES, &Default::default()).unwrap();
        assert_eq!(ranking.len(), PASSAGES.len());
        let mut first: Vec<usize> = ranking[..2].iter().map(|ranked| ranked.index).collect();
        first.sort_unstable();
        assert_eq!(first, answers, "on {isa}: {ranking:?}");
    });
}
