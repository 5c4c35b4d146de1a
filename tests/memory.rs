//! What a request needs beside its texts and results does not grow with the number of documents.
//!
//! Memory of the whole process is counted, so this file has one test and shares its process with no other.
#![cfg(feature = "tokenizers")]

mod common;
#[path = "common/counting.rs"]
mod counting;

use common::fixture;
use counting::peak;
use crossrank::{Ranked, Reranker};

const QUERY: &str = "where do rivers go";

/// What is kept of a document: its place in the ranking, a logit, and how much of it was scored.
const RESULT: usize = size_of::<Ranked>() + size_of::<f32>() + 2 * size_of::<usize>();

/// Luck of the threads: a worker that helps another may need memory of its own.
const SLACK: usize = 1 << 20;

#[test]
fn ten_thousand_documents_need_no_more_than_a_hundred() {
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
}
