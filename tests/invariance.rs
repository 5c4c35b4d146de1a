//! The same pair gives the same bits in any company, in any order, on any number of threads.
#![cfg(feature = "tokenizers")]

mod common;

use common::{fixture, for_each_isa, read_pairs, shared, skip};
use crossrank::{Dtype, Reranker};

/// The bits of every pair's logits, alone and in input order.
fn check(folder: &std::path::Path, dtype: Dtype, isa: &str, max_length: usize, texts: &[(String, String)]) {
    let builder = || Reranker::builder().dtype(dtype).isa(isa).max_length(max_length);
    let load = |threads| builder().threads(threads).load(folder).unwrap();
    let bits = |reranker: &Reranker, texts: &[(String, String)]| -> Vec<Vec<u32>> {
        let scores = reranker.score_pairs(texts).unwrap();
        scores.iter().map(|score| score.logits.iter().map(|logit| logit.to_bits()).collect()).collect()
    };
    let one = load(1);
    let alone: Vec<Vec<u32>> =
        texts.iter().map(|text| bits(&one, std::slice::from_ref(text)).remove(0)).collect();
    assert!(
        alone.windows(2).any(|pair| pair[0] != pair[1]),
        "all pairs score alike: the test would see nothing"
    );

    // A fixed shuffle: every 37th of a prime number of places.
    let shuffled: Vec<usize> =
        (0..).map(|i| i * 37 % 101).filter(|&i| i < texts.len()).take(texts.len()).collect();
    for threads in [1, 2, 7] {
        let reranker = load(threads);
        assert_eq!(bits(&reranker, texts), alone, "together, {threads} threads, {isa}");
        let reversed: Vec<_> = texts.iter().rev().cloned().collect();
        let mut found = bits(&reranker, &reversed);
        found.reverse();
        assert_eq!(found, alone, "reversed, {threads} threads, {isa}");
        let order: Vec<_> = shuffled.iter().map(|&i| texts[i].clone()).collect();
        for (found, &i) in bits(&reranker, &order).iter().zip(&shuffled) {
            assert_eq!(*found, alone[i], "shuffled, {threads} threads, {isa}, pair {i}");
        }
    }
    for tokens in [40, 100_000] {
        let reranker = builder().threads(2).chunk_tokens(tokens).load(folder).unwrap();
        assert_eq!(bits(&reranker, texts), alone, "chunks of {tokens}, {isa}");
    }
}

fn text(pair: &common::Pair) -> (String, String) {
    (pair.query.clone(), pair.document.clone())
}

fn hundred(pairs: Vec<common::Pair>) -> Vec<(String, String)> {
    pairs.iter().map(text).cycle().take(100).collect()
}

#[test]
fn fixtures_give_the_same_bits_in_any_company() {
    for_each_isa(|isa| {
        for name in ["gelu-60", "silu-1-layer", "relu-3-labels"] {
            let folder = fixture(name);
            let texts = hundred(read_pairs(&folder.join("reference.jsonl")));
            for dtype in [Dtype::F32, Dtype::Bf16, Dtype::Int8] {
                check(&folder, dtype, isa, 512, &texts);
            }
        }
    });
}

#[test]
fn real_text_gives_the_same_bits_in_any_company() {
    let folder = common::root().join("models/default");
    let pairs = read_pairs(&common::root().join("tests/fixtures/default-model.jsonl"));
    let isa = crossrank_kernels::Isa::best().name();
    // Full windows, a few of them; then a hundred, cut so that the test does not take minutes.
    let long: Vec<_> = pairs.iter().filter(|pair| pair.ids.len() == 512).collect();
    assert!(long.len() >= 3);
    let texts: Vec<_> =
        long.iter().chain(&pairs.iter().take(3).collect::<Vec<_>>()).map(|pair| text(pair)).collect();
    check(&folder, Dtype::F32, isa, 512, &texts);
    let texts = hundred(pairs);
    for dtype in [Dtype::F32, Dtype::Int8] {
        check(&folder, dtype, isa, 48, &texts);
    }
}

#[test]
fn a_hundred_real_passages_give_the_same_bits_in_any_company() {
    let Some(shared) = shared() else {
        return skip("100 reference pairs in any company: ../shared is absent");
    };
    let pairs = read_pairs(&shared.join("reference/minilm-l6.jsonl"));
    check(
        &shared.join("models/minilm-l6"),
        Dtype::Bf16,
        crossrank_kernels::Isa::best().name(),
        48,
        &hundred(pairs),
    );
}

#[test]
fn callers_at_once_get_the_same_bits() {
    let folder = fixture("gelu-60");
    let texts = hundred(read_pairs(&folder.join("reference.jsonl")));
    let reranker = Reranker::builder().threads(2).load(&folder).unwrap();
    let expected = reranker.score_pairs(&texts).unwrap();
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(|| reranker.score_pairs(&texts).unwrap())).collect();
        for caller in callers {
            assert_eq!(caller.join().unwrap(), expected);
        }
    });
}
