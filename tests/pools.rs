//! Callers that are workers of a rayon pool, and models that share one.
#![cfg(feature = "tokenizers")]

mod common;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::fixture;
use crossrank::{Reranker, Tokenized};
use rayon::prelude::*;

const QUERY: &str = "where do rivers go";
const DOCUMENT: &str = "Rivers run to the sea.";
const LOGIT: f32 = -4.4995875;
const JOBS: usize = 2000;

thread_local! {
    /// Jobs that lie on this thread's stack.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

fn nested<T>(deepest: &AtomicUsize, job: impl FnOnce() -> T) -> T {
    let depth = DEPTH.get() + 1;
    deepest.fetch_max(depth, Ordering::Relaxed);
    DEPTH.set(depth);
    let value = job();
    DEPTH.set(depth - 1);
    value
}

/// Small stacks, so that nesting is found by the test that counts it and not only by luck.
fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).stack_size(512 << 10).build().unwrap()
}

fn reranker() -> Reranker {
    Reranker::builder().threads(2).load(fixture("gelu-60")).unwrap()
}

fn is_right(logit: f32) {
    assert!((logit - LOGIT).abs() < 1e-4, "{logit}");
}

#[test]
fn jobs_of_another_pool_do_not_nest() {
    let reranker = reranker();
    let pairs = reranker.tokenize(QUERY, &[DOCUMENT]).unwrap();
    let calls: [&(dyn Fn() + Sync); 5] = [
        &|| is_right(reranker.rerank(QUERY, &[DOCUMENT], &Default::default()).unwrap()[0].logit),
        &|| is_right(reranker.score_pairs(&[(QUERY, DOCUMENT)]).unwrap()[0].logits[0]),
        &|| assert_eq!(reranker.tokenize(QUERY, &[DOCUMENT]).unwrap(), pairs),
        &|| is_right(reranker.score_tokenized(&pairs).unwrap()[0].logits[0]),
        &|| {
            let mut logits = [0.0];
            reranker.score_tokenized_into(&pairs, &mut logits).unwrap();
            is_right(logits[0]);
        },
    ];
    for threads in [2, 8] {
        let (pool, deepest) = (pool(threads), AtomicUsize::new(0));
        let job = |i: usize| nested(&deepest, calls[i % calls.len()]);
        pool.install(|| (0..JOBS).into_par_iter().for_each(job));
        pool.scope(|scope| (0..JOBS).for_each(|i| scope.spawn(move |_| job(i))));
        assert_eq!(deepest.into_inner(), 1, "a pool of {threads}");
    }
}

#[test]
fn a_lock_around_the_call_does_not_hang() {
    let reranker = Mutex::new(reranker());
    let called = |_| {
        let reranker = reranker.lock().unwrap();
        is_right(reranker.rerank(QUERY, &[DOCUMENT], &Default::default()).unwrap()[0].logit);
    };
    pool(8).install(|| (0..JOBS).into_par_iter().for_each(called));
}

#[test]
fn a_model_is_loaded_by_a_worker_of_another_pool() {
    let deepest = AtomicUsize::new(0);
    pool(2).install(|| {
        (0..8).into_par_iter().for_each(|_| drop(nested(&deepest, reranker)));
    });
    assert_eq!(deepest.into_inner(), 1);
}

#[test]
fn two_models_on_one_pool_at_once_give_their_own_logits() {
    let pool = Arc::new(pool(3));
    let models = ["gelu-60", "no-pooler"].map(|name| {
        let pairs: Vec<Tokenized> = common::read_pairs(&fixture(name).join("reference.jsonl"))
            .into_iter()
            .map(|pair| Tokenized::new(pair.ids, pair.type_ids))
            .collect();
        let model = Reranker::builder().pool(pool.clone()).chunk_tokens(64).load(fixture(name)).unwrap();
        let expected = model.score_tokenized(&pairs).unwrap();
        (model, pairs, expected)
    });
    std::thread::scope(|scope| {
        for (model, pairs, expected) in &models {
            for _ in 0..2 {
                scope.spawn(|| {
                    (0..50).for_each(|_| assert_eq!(model.score_tokenized(pairs).unwrap(), *expected));
                });
            }
        }
    });
    // And from workers of that pool.
    let both = |i: usize| {
        let (model, pairs, expected) = &models[i % 2];
        assert_eq!(model.score_tokenized(pairs).unwrap(), *expected);
    };
    pool.install(|| (0..20).into_par_iter().for_each(both));
}

/// A text that panics when it is read.
struct Bomb;

impl AsRef<str> for Bomb {
    fn as_ref(&self) -> &str {
        panic!("a panic of the test's")
    }
}

#[test]
fn a_text_that_panics_reaches_its_caller_and_nobody_else() {
    let reranker = reranker();
    for in_a_pool in [false, true] {
        let call = || drop(reranker.rerank(QUERY, &[Bomb], &Default::default()));
        let call = || if in_a_pool { pool(2).install(call) } else { call() };
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"a panic of the test's"));
        is_right(reranker.rerank(QUERY, &[DOCUMENT], &Default::default()).unwrap()[0].logit);
    }
}
