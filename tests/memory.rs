//! What a request needs beside its texts and results does not grow with the number of documents.
//!
//! Memory of the whole process is counted, so this file has one test and shares its process with no other.
#![cfg(feature = "tokenizers")]
#![allow(unsafe_code)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use common::fixture;
use crossrank::{Ranked, Reranker};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

fn grow(bytes: usize) {
    PEAK.fetch_max(LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator unchanged; counting does not touch the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller meets the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller meets the contract of `dealloc`; `ptr` came from `System`.
        unsafe { System.dealloc(ptr, layout) }
    }
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // Both may be there for a moment.
        grow(new_size);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller meets the contract of `realloc`; `ptr` came from `System`.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that were live while `f` ran, beyond those before.
fn peak(f: impl FnOnce()) -> usize {
    let before = LIVE.load(Ordering::SeqCst);
    PEAK.store(before, Ordering::SeqCst);
    f();
    PEAK.load(Ordering::SeqCst) - before
}

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
