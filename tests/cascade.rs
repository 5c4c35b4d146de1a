//! Several models one after another, and rankings within a deadline.
#![cfg(feature = "tokenizers")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::fixture;
use crossrank::{Cascade, Dtype, Error, Fusion, Long, Partial, RerankOptions, Reranker, Scaling};

const QUERY: &str = "where do rivers go";

fn documents(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("document {i}: rivers run to the sea ").repeat(1 + i * i % 5)).collect()
}

fn models() -> (Reranker, Reranker) {
    let first = Reranker::builder().dtype(Dtype::Int8).load(fixture("gelu-60")).unwrap();
    (first, Reranker::load(fixture("sharded")).unwrap())
}

#[test]
fn each_model_scores_what_the_one_before_kept() {
    let (first, second) = models();
    let documents = documents(30);
    let by_first = first.rerank(QUERY, &documents, &Default::default()).unwrap();
    let by_second = second.rerank(QUERY, &documents, &Default::default()).unwrap();
    let progress = Arc::new(AtomicUsize::new(0));
    let options = RerankOptions::default().progress(progress.clone());
    let ranking = Cascade::new(&first).then(12, &second).rerank(QUERY, &documents, &options).unwrap();
    assert_eq!(progress.load(Ordering::Relaxed), 42);
    assert_eq!(ranking.len(), 30);
    let mut kept: Vec<usize> = by_first[..12].iter().map(|ranked| ranked.index).collect();
    let expected: Vec<_> = by_second.iter().filter(|ranked| kept.contains(&ranked.index)).collect();
    for (ranked, expected) in ranking.iter().zip(expected) {
        assert_eq!((ranked.index, ranked.logit.to_bits()), (expected.index, expected.logit.to_bits()));
        assert_eq!((ranked.score, ranked.stage), (expected.score, 1));
        kept.retain(|index| *index != ranked.index);
    }
    assert!(kept.is_empty());
    assert_eq!(ranking[12..], by_first[12..], "what was not kept stays as the first model has it");

    let all = Cascade::new(&first).then(99, &second).rerank(QUERY, &documents, &Default::default()).unwrap();
    let logits = |ranking: &[crossrank::Ranked]| -> Vec<_> {
        ranking.iter().map(|ranked| (ranked.index, ranked.logit.to_bits())).collect()
    };
    assert_eq!(logits(&all), logits(&by_second));
    let three = Cascade::new(&first).then(20, &second).then(3, &first);
    let stages: Vec<usize> = three
        .rerank(QUERY, &documents, &Default::default())
        .unwrap()
        .iter()
        .map(|ranked| ranked.stage)
        .collect();
    assert_eq!(stages, [[2; 3].as_slice(), &[1; 17], &[0; 10]].concat());
}

#[test]
fn options_of_a_cascade_are_those_of_its_last_model() {
    let (first, second) = models();
    let documents = documents(20);
    let cascade = Cascade::new(&first).then(8, &second);
    let rank = |options: RerankOptions| cascade.rerank(QUERY, &documents, &options);
    let all = rank(RerankOptions::default()).unwrap();
    assert_eq!(rank(RerankOptions::default().top_k(3)).unwrap(), all[..3]);
    let least = all[4].score;
    let kept = rank(RerankOptions::default().min_score(least)).unwrap();
    assert!(kept.iter().all(|ranked| ranked.stage == 1 && ranked.score >= least) && kept.len() >= 5);
    let scaling = Scaling::new(0.5, 1.0).unwrap();
    let scaled = rank(RerankOptions::default().scaling(scaling)).unwrap();
    assert_eq!(scaled[0].score, scaling.score(scaled[0].logit));
    assert_eq!(scaled[10].score, all[10].score, "the first model's scores are its own");
    let fused = rank(RerankOptions::default().fusion(Fusion::Rrf)).unwrap();
    assert!(fused[..8].iter().all(|ranked| ranked.fused.is_some()));
    assert!(fused[8..].iter().all(|ranked| ranked.fused.is_none()));
    assert!(fused[..8].is_sorted_by(|a, b| a.fused >= b.fused));

    let three_labels = Reranker::load(fixture("relu-3-labels")).unwrap();
    let labels = Cascade::new(&first).then(5, &three_labels);
    let error = labels.rerank(QUERY, &documents, &Default::default()).unwrap_err().to_string();
    assert!(error.contains("3 labels"), "{error}");
    assert_eq!(labels.rerank(QUERY, &documents, &RerankOptions::default().label(2)).unwrap().len(), 20);
    let none = Cascade::new(&first).then(0, &second).rerank(QUERY, &documents, &Default::default());
    assert!(none.unwrap_err().to_string().contains("option `cascade`"));
}

#[test]
fn what_a_deadline_leaves_is_said_and_what_is_scored_has_its_bits() {
    let (first, second) = models();
    let mut documents = documents(400);
    documents[7] = documents[3].clone();
    for long in [Long::Truncate, Long::Max] {
        let options = RerankOptions::default().long(long);
        let whole = first.rerank(QUERY, &documents, &options).unwrap();
        let mut logits = vec![0; documents.len()];
        whole.iter().for_each(|ranked| logits[ranked.index] = ranked.logit.to_bits());
        // It has passed.
        let none = first.rerank_within(QUERY, &documents, &options, Instant::now()).unwrap();
        assert!(none.ranking.is_empty());
        assert_eq!(none.not_scored, (0..documents.len()).collect::<Vec<_>>());
        let mut micros = 100;
        let all = loop {
            let deadline = Instant::now() + Duration::from_micros(micros);
            let Partial { ranking, not_scored, .. } =
                first.rerank_within(QUERY, &documents, &options, deadline).unwrap();
            let mut indices: Vec<usize> = ranking.iter().map(|ranked| ranked.index).collect();
            assert!(not_scored.is_sorted() && not_scored.iter().all(|index| !indices.contains(index)));
            indices.extend(&not_scored);
            indices.sort_unstable();
            assert_eq!(indices, (0..documents.len()).collect::<Vec<_>>());
            assert!(ranking.iter().all(|ranked| ranked.logit.to_bits() == logits[ranked.index]));
            assert!(ranking.is_sorted_by(|a, b| (a.logit, b.index) > (b.logit, a.index)));
            if not_scored.is_empty() {
                break ranking;
            }
            micros *= 2;
        };
        assert!(all.iter().map(|ranked| ranked.index).eq(whole.iter().map(|ranked| ranked.index)));
    }
    let cascade = Cascade::new(&first).then(50, &second);
    let far = Instant::now() + Duration::from_secs(3600);
    let partial = cascade.rerank_within(QUERY, &documents, &Default::default(), far).unwrap();
    assert_eq!(partial.ranking, cascade.rerank(QUERY, &documents, &Default::default()).unwrap());
    assert!(partial.not_scored.is_empty());
    let none = cascade.rerank_within(QUERY, &documents, &Default::default(), Instant::now()).unwrap();
    assert_eq!((none.ranking.len(), none.not_scored.len()), (0, documents.len()));
}

#[test]
fn a_stop_is_an_error_within_a_deadline_too() {
    let (first, _) = models();
    let stop = Arc::new(AtomicBool::new(true));
    let options = RerankOptions::default().stop(stop);
    let far = Instant::now() + Duration::from_secs(3600);
    for long in [Long::Truncate, Long::Mean] {
        let options = options.clone().long(long);
        let error = first.rerank_within(QUERY, &documents(9), &options, far).unwrap_err();
        assert!(matches!(error, Error::Stopped { scored: 0, documents: 9 }), "{error}");
    }
}

#[test]
fn identical_documents_are_scored_once_and_all_get_the_result() {
    let (first, _) = models();
    let texts = documents(5);
    let many: Vec<&str> = (0..100).map(|i| &*texts[i * i % 5]).collect();
    let unique = first.rerank(QUERY, &texts, &Default::default()).unwrap();
    let progress = Arc::new(AtomicUsize::new(0));
    let options = RerankOptions::default().progress(progress.clone());
    for long in [Long::Truncate, Long::Max] {
        progress.store(0, Ordering::Relaxed);
        let ranking = first.rerank(QUERY, &many, &options.clone().long(long)).unwrap();
        assert_eq!(progress.load(Ordering::Relaxed), 100);
        assert_eq!(ranking.len(), 100);
        for ranked in &ranking {
            let same = unique.iter().find(|other| texts[other.index] == many[ranked.index]).unwrap();
            assert_eq!((ranked.logit.to_bits(), ranked.tokens), (same.logit.to_bits(), same.tokens));
        }
    }
    // The first of them is the one that an error names.
    let short =
        Reranker::builder().max_length(8).truncation(crossrank::Truncation::Error).load(fixture("gelu-60"));
    let same = ["a", "b", &many[0].repeat(9), "c", &many[0].repeat(9)];
    let error = short.unwrap().rerank("a", &same, &Default::default()).unwrap_err();
    assert_eq!(error.document(), Some(2), "{error}");
}
