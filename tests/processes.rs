//! What a process brings: a fork after loading, and the environment variable of the number of threads.
#![cfg(all(unix, feature = "tokenizers"))]
#![allow(unsafe_code)]

mod common;

use std::process::Command;
use std::sync::Arc;

use common::fixture;
use crossrank::{Builder, Error, Reranker};

const QUERY: &str = "where do rivers go";
const DOCUMENT: &str = "Rivers run to the sea.";

/// Set where the test is run once more, in a process of its own.
const CHILD: &str = "CROSSRANK_TEST_CHILD";

/// This test in a process of its own, where `CHILD` is set.
fn alone(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    command
}

/// Runs `f` in a fork of this process; true if it gave true. A child that hangs is ended by an alarm.
fn in_a_fork(f: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child only calls `f` and ends; the allocator of the system is usable after a fork.
    match unsafe { libc::fork() } {
        -1 => panic!("{}", std::io::Error::last_os_error()),
        0 => {
            // SAFETY: sets a timer of this process.
            unsafe { libc::alarm(120) };
            let right = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_or(false);
            // SAFETY: ends this process without running what its parent registered for its own end.
            unsafe { libc::_exit(if right { 0 } else { 1 }) }
        }
        child => {
            let mut status = 0;
            // SAFETY: `child` is a child of this process, and `status` may be written.
            let waited = unsafe { libc::waitpid(child, &mut status, 0) };
            assert_eq!(waited, child);
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
        }
    }
}

fn load(builder: Builder) -> Reranker {
    builder.load(fixture("gelu-60")).unwrap()
}

#[test]
fn a_call_after_a_fork_is_an_error_at_once() {
    if std::env::var_os(CHILD).is_none() {
        let output = alone("a_call_after_a_fork_is_an_error_at_once").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let parent = std::process::id();
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
    for builder in [Reranker::builder().threads(2), Reranker::builder().pool(pool)] {
        let reranker = load(builder);
        let pairs = reranker.tokenize(QUERY, &[DOCUMENT]).unwrap();
        let scores = reranker.score_tokenized(&pairs).unwrap();
        let forked = |error: Error| {
            let text = error.to_string();
            matches!(error, Error::Forked { loaded, here } if loaded == parent && here == std::process::id())
                && ["forked", "threads(1)"].iter().all(|part| text.contains(part))
        };
        assert!(in_a_fork(|| {
            forked(reranker.rerank(QUERY, &[DOCUMENT], &Default::default()).unwrap_err())
                && forked(reranker.score_pairs(&[(QUERY, DOCUMENT); 40]).unwrap_err())
                && forked(reranker.tokenize(QUERY, &[DOCUMENT]).unwrap_err())
                && forked(reranker.score_tokenized(&pairs).unwrap_err())
                && forked(reranker.score_tokenized_into(&pairs, &mut [0.0]).unwrap_err())
        }));
        assert_eq!(reranker.score_tokenized(&pairs).unwrap(), scores, "the parent goes on");
        assert!(in_a_fork(|| {
            let own = load(Reranker::builder().threads(2));
            own.score_tokenized(&pairs).unwrap() == scores
        }));
    }
    let reranker = load(Reranker::builder().threads(1));
    let scores = reranker.score_pairs(&[(QUERY, DOCUMENT)]).unwrap();
    assert!(in_a_fork(|| reranker.score_pairs(&[(QUERY, DOCUMENT)]).unwrap() == scores));
}

#[test]
fn threads_that_are_restarted_after_a_fork_give_the_same_logits() {
    let name = "threads_that_are_restarted_after_a_fork_give_the_same_logits";
    if std::env::var_os(CHILD).is_none() {
        let output = alone(name).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap());
    for builder in [1, 2]
        .map(|threads| Reranker::builder().threads(threads))
        .into_iter()
        .chain([Reranker::builder().pool(pool.clone()), Reranker::builder().threads(2).chunk_tokens(8)])
    {
        let mut reranker = load(builder);
        let threads = reranker.info().threads;
        let pairs = [(QUERY, DOCUMENT); 40];
        let scores = reranker.score_pairs(&pairs).unwrap();
        assert!(in_a_fork(|| {
            reranker.restart_threads().unwrap();
            let right = reranker.score_pairs(&pairs).unwrap() == scores;
            // Its own child is one more process.
            right
                && reranker.info().threads == threads
                && in_a_fork(|| {
                    reranker.restart_threads().unwrap();
                    reranker.score_pairs(&pairs).unwrap() == scores
                })
        }));
        reranker.restart_threads().unwrap();
        assert_eq!(
            reranker.score_pairs(&pairs).unwrap(),
            scores,
            "in the process that loaded it nothing changes"
        );
    }
}

#[test]
fn the_variable_sets_the_threads_that_the_caller_does_not() {
    let name = "the_variable_sets_the_threads_that_the_caller_does_not";
    if std::env::var_os(CHILD).is_some() {
        let threads = Reranker::load(fixture("gelu-60")).map(|reranker| reranker.info().threads);
        println!("loaded: {threads:?}");
        println!("chosen: {}", load(Reranker::builder().threads(2)).info().threads);
        return;
    }
    let with = |value: &str| {
        let output = alone(name).env("CROSSRANK_THREADS", value).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("chosen: 2"), "{text}");
        text
    };
    for threads in [1, 3] {
        let text = with(&threads.to_string());
        assert!(text.contains(&format!("loaded: Ok({threads})")), "{text}");
    }
    for wrong in ["", "0", "1025", "-1", "two", "2.0"] {
        let text = with(wrong);
        let expected = format!("expected 1 to 1024, found `{wrong}`");
        assert!(text.contains("CROSSRANK_THREADS") && text.contains(&expected), "{text}");
    }
}
