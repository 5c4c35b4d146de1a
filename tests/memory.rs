//! What a request needs beside its texts and results does not grow with the number of documents.
//!
//! Memory of the whole process is counted, so this file has one test and shares its process with no other.
#![cfg(feature = "tokenizers")]

mod common;
#[path = "common/counting.rs"]
mod counting;

use common::fixture;
use counting::peak;
use crossrank::{Long, Passage, Ranked, RerankOptions, Reranker};

const QUERY: &str = "where do rivers go";

/// What is kept of a document: its place in the ranking, a logit, and how much of it was scored.
const KEPT: usize = size_of::<Ranked>()
    + size_of::<f32>()
    + 2 * size_of::<usize>()
    + size_of::<Option<(usize, bool, Option<Passage>)>>();

/// What finds documents of the same text: the text's place and number in a table that may be half empty, and numbers.
const SAME: usize = 2 * (size_of::<(&str, usize)>() + 1) + size_of::<&str>() + 3 * size_of::<usize>();

const RESULT: usize = KEPT + SAME;

/// Luck of the threads: a worker that helps another may need memory of its own.
const SLACK: usize = 1 << 20;

#[test]
fn neither_many_documents_nor_long_ones_need_more_memory() {
    let documents: Vec<String> =
        (0..10_000).map(|i| format!("rivers run to the sea {i} ").repeat(1 + i % 12)).collect();
    let few = &documents[..100];
    for threads in [1, 2] {
        let reranker = Reranker::builder().threads(threads).load(fixture("gelu-60")).unwrap();
        let rank = |documents: &[String]| {
            let ranking = reranker.rerank(QUERY, documents, &Default::default()).unwrap();
            assert_eq!(ranking.len(), documents.len());
        };
        let first = peak(|| rank(few));
        let hundred = peak(|| rank(few));
        let all = peak(|| rank(&documents));
        let bound = hundred + documents.len() * RESULT + SLACK;
        println!("{threads} threads: 100 need {first} bytes, then {hundred}; 10,000 need {all}");
        assert!(all <= bound, "{all} bytes on {threads} threads; {bound} are allowed");
        assert!(first > hundred, "a first call must make its memory: the counter counts nothing");

        // The bound would see ids that are held for the whole request.
        let ids = peak(|| assert_eq!(reranker.tokenize(QUERY, &documents).unwrap().len(), documents.len()));
        assert!(ids + documents.len() * RESULT > bound, "{ids} bytes of ids would not be seen");
    }
    // Passages are cut while others are scored: forty times as many words need no more, where all ids of them would.
    let long = |words: usize| -> Vec<String> {
        (0..8)
            .map(|i| format!("Document {i} ends here. ") + &"rivers run to the sea. ".repeat(words / 5))
            .collect()
    };
    let (short, long) = (long(1_000), long(40_000));
    let options = RerankOptions::default().long(Long::Max);
    for threads in [1, 2] {
        let reranker = Reranker::builder().threads(threads).load(fixture("gelu-60")).unwrap();
        let rank = |documents: &[String]| {
            let ranking = reranker.rerank(QUERY, documents, &options).unwrap();
            ranking.iter().map(|ranked| ranked.tokens).sum::<usize>()
        };
        rank(&short);
        let thousand = peak(|| assert!(rank(&short) > 8_000));
        let tokens = std::cell::Cell::new(0);
        let all = peak(|| tokens.set(rank(&long)));
        println!("{threads} threads: documents of 1,000 words need {thousand} bytes, of 40,000 {all}");
        let bound = thousand + SLACK;
        assert!(all <= bound, "{all} bytes on {threads} threads; {bound} are allowed");
        assert!(tokens.get() * 2 * size_of::<u32>() > bound, "ids of all would not be seen");
    }
}
