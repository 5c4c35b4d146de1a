//! Documents in passages: what is scored, what is said of it, and what it costs.
#![cfg(feature = "tokenizers")]

mod common;

use common::{fixture, fixtures};
use crossrank::{Long, Passage, RerankOptions, Reranker, ScoreMode, Truncation};

const QUERY: &str = "where do rivers go";

/// A text of many sentences in several scripts, the same in every run.
fn text(sentences: usize, seed: u64) -> String {
    const SENTENCES: [&str; 8] = [
        "Rivers run to the sea.",
        "Bread is baked in an oven, as every baker knows!",
        "川は海へ流れる。",
        "Où vont les rivières ?",
        "It was 3.14 miles (or so) away from e.g. the mouth of it.",
        "👩‍👩‍👧 walked along.",
        "\n\nA new paragraph begins.",
        "Реки текут в море.",
    ];
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize
    };
    (0..sentences).map(|_| SENTENCES[next() % SENTENCES.len()]).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_best_passage_has_the_bits_of_its_text_alone() {
    for name in fixtures() {
        let reranker = Reranker::load(fixture(&name)).unwrap();
        let documents: Vec<String> = (0..6).map(|i| text(1 + 12 * i, i as u64)).collect();
        for stride in [0, 9] {
            let options =
                RerankOptions::default().long(Long::Max).stride(stride).score(ScoreMode::Raw).label(0);
            let ranking = reranker.rerank(QUERY, &documents, &options).unwrap();
            assert_eq!(ranking.len(), documents.len());
            let pairs: Vec<_> = ranking
                .iter()
                .map(|ranked| (QUERY, ranked.passage.as_ref().unwrap().text(&documents[ranked.index])))
                .collect();
            for (ranked, alone) in ranking.iter().zip(reranker.score_pairs(&pairs).unwrap()) {
                assert_eq!(ranked.logit.to_bits(), alone.logits[0].to_bits(), "{name}: {ranked:?}");
                assert!(!alone.truncated && !ranked.truncated, "{name}");
                let passage = ranked.passage.as_ref().unwrap();
                assert!(passage.index < passage.count);
                if passage.count == 1 {
                    assert_eq!(passage.bytes, 0..documents[ranked.index].len());
                }
            }
            let last = ranking.iter().find(|ranked| ranked.index == 5).unwrap();
            assert!(last.passage.as_ref().unwrap().count > 2, "{name}: {last:?}");
        }
    }
}

#[test]
fn max_and_mean_are_those_of_the_passages() {
    let reranker = Reranker::load(fixture("gelu-60")).unwrap();
    // A sentence fits, two do not: every passage is one of these.
    let sentences: Vec<String> =
        (0..9).map(|i| format!("{} number {i}.", "Rivers run to the sea".repeat(2 + i % 2))).collect();
    let document = sentences.join(" ");
    let alone: Vec<_> = sentences.iter().map(|sentence| (QUERY, sentence)).collect();
    let tokens = reranker.tokenize(QUERY, &sentences).unwrap().iter().map(|pair| pair.len()).max().unwrap();
    let reranker = Reranker::builder().max_length(tokens + 1).load(fixture("gelu-60")).unwrap();
    let alone: Vec<f32> = reranker.score_pairs(&alone).unwrap().iter().map(|score| score.logits[0]).collect();
    let rank = |long| {
        let options = RerankOptions::default().long(long).score(ScoreMode::Raw);
        reranker.rerank(QUERY, &[&document], &options).unwrap().remove(0)
    };
    let (max, mean) = (rank(Long::Max), rank(Long::Mean));
    let best = alone.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    assert_eq!(max.logit, best);
    let expected = (alone.iter().map(|logit| f64::from(*logit)).sum::<f64>() / 9.0) as f32;
    assert_eq!(mean.logit, expected);
    assert_ne!(max.logit, mean.logit);
    for ranked in [max, mean] {
        let passage = ranked.passage.unwrap();
        assert_eq!((passage.count, alone[passage.index]), (9, best));
        assert_eq!(passage.text(&document), sentences[passage.index]);
    }
}

#[test]
fn company_order_and_threads_change_no_bit_of_a_long_document() {
    let documents: Vec<String> = (0..40).map(|i| text(1 + (i * 7) % 90, i as u64)).collect();
    let options = RerankOptions::default().long(Long::Mean).stride(5).score(ScoreMode::Raw);
    let alone: Vec<_> = {
        let reranker = Reranker::builder().threads(1).load(fixture("relu-3-labels")).unwrap();
        let options = options.clone().label(1);
        documents.iter().map(|text| reranker.rerank(QUERY, &[text], &options).unwrap().remove(0)).collect()
    };
    for threads in [1, 2, 5] {
        let reranker =
            Reranker::builder().threads(threads).chunk_tokens(64).load(fixture("relu-3-labels")).unwrap();
        let ranking = reranker.rerank(QUERY, &documents, &options.clone().label(1)).unwrap();
        for ranked in ranking {
            let alone = &alone[ranked.index];
            assert_eq!(ranked.logit.to_bits(), alone.logit.to_bits());
            assert_eq!((&ranked.passage, ranked.tokens), (&alone.passage, alone.tokens));
        }
    }
}

#[test]
fn offsets_count_bytes_code_points_and_utf_16() {
    let reranker = Reranker::builder().max_length(24).load(fixture("gelu-60")).unwrap();
    let document = format!("{} Rivers run to the sea. {}", "Bread 👩‍👩‍👧 é 東京.".repeat(12), text(9, 1));
    let options = RerankOptions::default().long(Long::Max);
    let passage = reranker.rerank(QUERY, &[&document], &options).unwrap().remove(0).passage.unwrap();
    assert!(passage.count > 5, "{passage:?}");
    let check = |passage: &Passage| {
        let code_points: String = document
            .chars()
            .skip(passage.code_points(&document).start)
            .take(passage.code_points(&document).len())
            .collect();
        assert_eq!(code_points, passage.text(&document));
        let units: Vec<u16> = document.encode_utf16().collect();
        assert_eq!(String::from_utf16(&units[passage.utf16(&document)]).unwrap(), passage.text(&document));
    };
    check(&passage);
    let mut all = passage;
    all.bytes = document.rfind("Rivers").unwrap()..document.len();
    assert!(all.code_points(&document).start < all.utf16(&document).start);
    assert!(all.utf16(&document).start < all.bytes.start);
    check(&all);
}

#[test]
fn a_query_takes_its_share_of_the_window() {
    let long_query = "where do rivers go ".repeat(40);
    let reranker = Reranker::builder().max_length(40).load(fixture("gelu-60")).unwrap();
    let document = text(20, 3);
    let rank = |truncation: Truncation| {
        let options = RerankOptions::default().long(Long::Max).truncation(truncation);
        reranker.rerank(&long_query, &[&document], &options)
    };
    let halves = rank(Truncation::LongestFirst).unwrap().remove(0);
    let quarters = rank(Truncation::QueryQuarters).unwrap().remove(0);
    assert!(halves.truncated && quarters.truncated);
    assert!(quarters.passage.unwrap().count > halves.passage.unwrap().count);
    for truncation in [Truncation::OnlyDocument, Truncation::Error] {
        let error = rank(truncation).unwrap_err().to_string();
        assert!(error.starts_with("query: the query alone has 41 tokens or more"), "{error}");
    }
    // One that fits is never cut, and the error policy has nothing against a long document.
    let options = RerankOptions::default().long(Long::Max).truncation(Truncation::Error);
    assert!(!reranker.rerank(QUERY, &[&document], &options).unwrap()[0].truncated);
}

#[test]
fn truncation_by_call_is_that_of_loading() {
    let long_query = "where do rivers go ".repeat(40);
    let document = text(20, 3);
    let loaded = |truncation| {
        let reranker = Reranker::builder().truncation(truncation).load(fixture("gelu-60")).unwrap();
        reranker.rerank(&long_query, &[&document], &Default::default()).map(|ranking| ranking[0].logit)
    };
    let reranker = Reranker::load(fixture("gelu-60")).unwrap();
    let called = |truncation| {
        let options = RerankOptions::default().truncation(truncation);
        reranker.rerank(&long_query, &[&document], &options).map(|ranking| ranking[0].logit)
    };
    let of_two = [Truncation::LongestFirst, Truncation::QueryQuarters].map(|truncation| {
        let logit = called(truncation).unwrap();
        assert_eq!(logit, loaded(truncation).unwrap());
        logit
    });
    assert_ne!(of_two[0], of_two[1]);
    for truncation in [Truncation::OnlyDocument, Truncation::Error] {
        let errors = [called(truncation), loaded(truncation)].map(|result| result.unwrap_err().to_string());
        assert_eq!(errors[0], errors[1]);
    }
}

#[test]
fn strides_that_do_not_fit_are_errors() {
    let reranker = Reranker::load(fixture("gelu-60")).unwrap();
    let error = |options: RerankOptions| reranker.rerank(QUERY, &["a"], &options).unwrap_err().to_string();
    assert!(error(RerankOptions::default().stride(3)).contains("option `stride`"));
    let window = reranker.info().max_length;
    let found = error(RerankOptions::default().long(Long::Max).stride(window));
    assert!(
        found.contains(&format!("fewer tokens than the {window} of the window, found {window}")),
        "{found}"
    );
    let nothing: [&str; 0] = [];
    let options = RerankOptions::default().long(Long::Max);
    assert!(reranker.rerank(QUERY, &nothing, &options).unwrap().is_empty());
    let empty = reranker.rerank(QUERY, &[""], &options).unwrap();
    assert_eq!(empty[0].logit, reranker.score_pairs(&[(QUERY, "")]).unwrap()[0].logits[0]);
}
