//! The forward pass allocates nothing once it has seen a size.
//!
//! Allocations of the whole process are counted, so this file has one test and shares its process with no other.

mod common;
#[path = "common/counting.rs"]
mod counting;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use common::{fixture, read_pairs};
use counting::allocations;
use crossrank::{Dtype, Reranker, Tokenized};

/// As much forking and joining as a request of `n` chunks, and no work.
fn fork(n: usize) {
    if n > 1 {
        rayon::join(|| fork(n / 2), || fork(n - n / 2));
    }
}

const CALLS: usize = 200;

#[test]
fn steady_state_allocates_nothing() {
    // A pool whose threads end may allocate meanwhile: all stay until nothing is counted any more.
    let _pools = [Dtype::F32, Dtype::Int8].map(allocates_nothing);
}

/// Gives the pool that it made.
fn allocates_nothing(dtype: Dtype) -> Arc<rayon::ThreadPool> {
    let folder = fixture("gelu-60");
    let pairs: Vec<Tokenized> = read_pairs(&folder.join("reference.jsonl"))
        .into_iter()
        .map(|pair| Tokenized::new(pair.ids, pair.type_ids))
        .collect();
    let mut logits = vec![0.0; pairs.len()];

    let one = Reranker::builder().dtype(dtype).threads(1).chunk_tokens(64).load(&folder).unwrap();
    one.score_tokenized_into(&pairs, &mut logits).unwrap();
    let counted = allocations(|| {
        for _ in 0..CALLS {
            one.score_tokenized_into(&pairs, &mut logits).unwrap();
        }
    });
    assert_eq!(counted, 0, "{dtype:?} on the caller's thread");

    // Each of several callers keeps what it needs.
    let counted = AtomicUsize::new(0);
    let (begin, end) = (Barrier::new(2), Barrier::new(2));
    std::thread::scope(|scope| {
        for caller in 0..2 {
            let mut logits = vec![0.0; pairs.len()];
            let (one, pairs, counted, begin, end) = (&one, &pairs, &counted, &begin, &end);
            scope.spawn(move || {
                let mut calls = || {
                    begin.wait();
                    (0..CALLS).for_each(|_| one.score_tokenized_into(pairs, &mut logits).unwrap());
                    end.wait();
                };
                calls();
                let during = allocations(calls);
                if caller == 0 {
                    counted.store(during, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(counted.into_inner(), 0, "{dtype:?}, two callers at once");

    // Rayon's queues take a new block now and then. What they need for the same forks without work is allowed,
    // twice over because blocks are shared in another rhythm.
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap());
    let many = Reranker::builder().dtype(dtype).pool(pool.clone()).chunk_tokens(64).load(&folder).unwrap();
    for _ in 0..CALLS {
        many.score_tokenized_into(&pairs, &mut logits).unwrap();
        pool.install(|| fork(pairs.len()));
    }
    let rayons_own = allocations(|| (0..CALLS).for_each(|_| pool.install(|| fork(pairs.len()))));
    let counted = allocations(|| {
        for _ in 0..CALLS {
            many.score_tokenized_into(&pairs, &mut logits).unwrap();
        }
    });
    println!(
        "{dtype:?}, {CALLS} calls on 3 threads: {counted} allocations, rayon's own for the same forks: {rayons_own}"
    );
    assert!(
        counted <= 2 * rayons_own + 2,
        "{dtype:?}: {counted} allocations; rayon alone makes {rayons_own}"
    );
    // One allocation a chunk, or even a call, would be far more than that.
    assert!(
        2 * rayons_own + 2 < CALLS,
        "rayon alone makes {rayons_own} allocations: the bound would see nothing"
    );

    // The counter counts: a first call must make its memory.
    let fresh = Reranker::builder().dtype(dtype).threads(1).load(&folder).unwrap();
    assert!(allocations(|| fresh.score_tokenized_into(&pairs, &mut logits).unwrap()) > 10);
    pool
}
