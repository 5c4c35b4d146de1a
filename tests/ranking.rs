//! What a ranking holds: order, options, odd texts.
#![cfg(feature = "tokenizers")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use common::fixture;
use crossrank::{Error, Fusion, Long, RerankOptions, Reranker, ScoreMode, Truncation};

const QUERY: &str = "where do rivers go";
const DOCUMENTS: [&str; 5] =
    ["Bread is baked.", "Rivers run to the sea.", "", "Rivers run to the sea.", "東京 😀"];

fn reranker() -> Reranker {
    Reranker::load(fixture("gelu-60")).unwrap()
}

#[test]
fn best_first_then_by_index() {
    let ranking = reranker().rerank(QUERY, &DOCUMENTS, &Default::default()).unwrap();
    assert_eq!(ranking.len(), DOCUMENTS.len());
    for pair in ranking.windows(2) {
        assert!(
            pair[0].logit > pair[1].logit
                || (pair[0].logit == pair[1].logit && pair[0].index < pair[1].index),
            "{pair:?}"
        );
    }
    let place = |index| ranking.iter().position(|ranked| ranked.index == index).unwrap();
    assert_eq!(place(1) + 1, place(3), "equal documents stand side by side, the first first");
    let pairs: Vec<_> = DOCUMENTS.iter().map(|document| (QUERY, document)).collect();
    let scores = reranker().score_pairs(&pairs).unwrap();
    for ranked in ranking {
        assert_eq!(ranked.logit, scores[ranked.index].logits[0]);
        assert_eq!(ranked.score, 1.0 / (1.0 + (-ranked.logit).exp()), "this checkpoint names sigmoid");
        assert_eq!((ranked.tokens, ranked.truncated), (scores[ranked.index].tokens, false));
    }
}

#[test]
fn options_cut_the_ranking() {
    let reranker = reranker();
    let all = reranker.rerank(QUERY, &DOCUMENTS, &Default::default()).unwrap();
    let rank = |options: RerankOptions| reranker.rerank(QUERY, &DOCUMENTS, &options).unwrap();
    assert_eq!(rank(RerankOptions::default().top_k(2)), all[..2]);
    assert_eq!(rank(RerankOptions::default().top_k(0)), []);
    assert_eq!(rank(RerankOptions::default().top_k(99)), all);
    assert_eq!(rank(RerankOptions::default().min_score(all[0].score)), all[..1]);
    assert_eq!(rank(RerankOptions::default().min_score(2.0)), []);
    let nan = reranker.rerank(QUERY, &DOCUMENTS, &RerankOptions::default().min_score(f32::NAN));
    assert!(nan.unwrap_err().to_string().contains("min_score"));
    let raw = rank(RerankOptions::default().score(ScoreMode::Raw));
    assert!(raw.iter().zip(&all).all(|(raw, all)| raw.score == all.logit && raw.index == all.index));
    let softmax = reranker.rerank(QUERY, &DOCUMENTS, &RerankOptions::default().score(ScoreMode::Softmax));
    assert!(softmax.unwrap_err().to_string().contains("softmax over one label"));
}

#[test]
fn several_labels_need_a_choice() {
    let reranker = Reranker::load(fixture("relu-3-labels")).unwrap();
    let error = reranker.rerank(QUERY, &DOCUMENTS, &Default::default()).unwrap_err().to_string();
    assert!(error.contains("label") && error.contains('3'), "{error}");
    let error =
        reranker.rerank(QUERY, &DOCUMENTS, &RerankOptions::default().label(3)).unwrap_err().to_string();
    assert!(error.contains("0 to 2") && error.contains("found 3"), "{error}");
    let pairs: Vec<_> = DOCUMENTS.iter().map(|document| (QUERY, document)).collect();
    let scores = reranker.score_pairs(&pairs).unwrap();
    for label in 0..3 {
        let options = RerankOptions::default().label(label);
        for ranked in reranker.rerank(QUERY, &DOCUMENTS, &options).unwrap() {
            let logits = &scores[ranked.index].logits;
            assert_eq!(
                (ranked.logit, ranked.score),
                (logits[label], logits[label]),
                "no activation for several labels"
            );
            let softmax = reranker.scores(ScoreMode::Softmax, logits).unwrap();
            assert!((softmax.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
        let ranking = reranker.rerank(QUERY, &DOCUMENTS, &options.score(ScoreMode::Softmax)).unwrap();
        assert!(
            ranking.windows(2).all(|pair| pair[0].score >= pair[1].score),
            "ranked by the label's odds: its logit alone says nothing of the others"
        );
    }
}

#[test]
fn no_documents_and_empty_texts() {
    let reranker = reranker();
    assert_eq!(reranker.rerank(QUERY, &[] as &[&str], &Default::default()).unwrap(), []);
    let ranking = reranker.rerank("", &["", "\u{0}\u{200b}"], &Default::default()).unwrap();
    assert_eq!(ranking.iter().map(|ranked| ranked.tokens).collect::<Vec<_>>(), [3, 3]);
}

#[test]
fn texts_beyond_the_window() {
    let long = "rivers run to the sea ".repeat(40);
    let load = |truncation| Reranker::builder().truncation(truncation).load(fixture("gelu-60")).unwrap();
    let types = |reranker: &Reranker, query: &str, document: &str| -> (usize, usize, bool) {
        let pair = reranker.tokenize(query, &[document]).unwrap().remove(0);
        let second = pair.type_ids().iter().filter(|&&id| id == 1).count();
        (pair.len() - second, second, pair.truncated())
    };
    let longest_first = load(Truncation::LongestFirst);
    assert_eq!(types(&longest_first, &long, &long), (2 + 30, 1 + 31, true), "both sides keep half");
    let (first, second, cut) = types(&longest_first, &long, "sea");
    assert!(cut && first + second == 64 && second > 1, "the short document stays whole");
    let (first, second, cut) = types(&longest_first, "sea", &long);
    assert!(cut && first + second == 64 && first > 2, "the short query stays whole");

    let only_document = load(Truncation::OnlyDocument);
    assert_eq!(types(&only_document, "sea", &long), types(&longest_first, "sea", &long));
    let error = only_document.rerank(&long, &["sea", &long], &Default::default()).unwrap_err();
    assert_eq!(error.document(), Some(0));
    assert!(error.to_string().contains("query alone"), "{error}");

    let strict = load(Truncation::Error);
    strict.rerank("sea", &["sea"], &Default::default()).unwrap();
    let error = strict.rerank("sea", &["sea", &long], &Default::default()).unwrap_err();
    assert_eq!(error.document(), Some(1));
    assert!(error.to_string().contains("max_length is 64"), "{error}");
}

#[test]
fn a_stop_flag_ends_the_call_and_progress_counts_documents() {
    let documents = vec!["rivers run to the sea"; 50];
    for threads in [1, 2] {
        let reranker =
            Reranker::builder().threads(threads).chunk_tokens(30).load(fixture("gelu-60")).unwrap();
        let progress = Arc::new(AtomicUsize::new(0));
        let options = RerankOptions::default().progress(progress.clone());
        reranker.rerank(QUERY, &documents, &options).unwrap();
        assert_eq!(progress.load(Ordering::Relaxed), 50);
        let stop = Arc::new(AtomicBool::new(true));
        let error = reranker.rerank(QUERY, &documents, &options.stop(stop)).unwrap_err();
        assert!(matches!(error, Error::Stopped { scored: 0, documents: 50 }), "{error}");
    }
}

#[test]
fn the_first_document_that_cannot_be_scored_is_named() {
    let long = "rivers run to the sea ".repeat(40);
    let mut documents = vec!["rivers run to the sea"; 200];
    for bad in [71, 72, 199] {
        documents[bad] = &long;
    }
    let pairs: Vec<_> = documents.iter().map(|document| (QUERY, document)).collect();
    let mut ids = vec![crossrank::Tokenized::new(vec![2, 3], vec![0, 1]); 200];
    for bad in [71, 72, 199] {
        ids[bad] = crossrank::Tokenized::new(vec![2, u32::MAX], vec![0, 1]);
    }
    for threads in [1, 2, 7] {
        let builder = Reranker::builder().threads(threads).chunk_tokens(30).truncation(Truncation::Error);
        let reranker = builder.load(fixture("gelu-60")).unwrap();
        for _ in 0..10 {
            let errors = [
                reranker.rerank(QUERY, &documents, &Default::default()).unwrap_err(),
                reranker.score_pairs(&pairs).unwrap_err(),
                reranker.score_tokenized(&ids).unwrap_err(),
            ];
            for error in errors {
                assert_eq!(error.document(), Some(71), "{threads} threads: {error}");
            }
        }
    }
}

#[test]
fn builder_options_out_of_range_are_errors() {
    let error = |builder: crossrank::Builder| builder.load(fixture("gelu-60")).unwrap_err().to_string();
    assert!(error(Reranker::builder().threads(0)).contains("expected 1 to 1024, found 0"));
    assert!(error(Reranker::builder().threads(1_000_000)).contains("found 1000000"));
    assert!(error(Reranker::builder().chunk_tokens(0)).contains("chunk_tokens"));
    let unknown = error(Reranker::builder().isa("sse9"));
    assert!(unknown.contains("`sse9` is unknown") && unknown.contains("portable"), "{unknown}");
}

#[test]
fn a_pool_of_the_callers_own() {
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
    let reranker = Reranker::builder().pool(pool.clone()).load(fixture("gelu-60")).unwrap();
    assert_eq!(reranker.info().threads, 2);
    let expected = reranker.rerank(QUERY, &DOCUMENTS, &Default::default()).unwrap();
    // From inside the pool, too.
    let inside = pool.install(|| reranker.rerank(QUERY, &DOCUMENTS, &Default::default()).unwrap());
    assert_eq!(inside, expected);
}

#[test]
fn rerankers_are_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Reranker>();
}

/// What a caller with a queue of its own does, all documents being scored or every second one.
fn by_steps(reranker: &Reranker, options: &RerankOptions, all: bool) -> crossrank::Partial {
    let query = reranker.encode(QUERY).unwrap();
    let prepared = DOCUMENTS.iter().enumerate().map(|document| {
        let (i, text) = document;
        reranker.prepare(&query, (i, *text), options, None).unwrap().into_parts()
    });
    let documents: Vec<_> = prepared
        .enumerate()
        .map(|(i, (pairs, layout))| {
            let scores = reranker.score_until(&pairs, &AtomicBool::new(!all && i % 2 == 1)).unwrap();
            let scores: Option<Vec<_>> = scores.into_iter().map(|score| score.map(Result::unwrap)).collect();
            let scores = scores?;
            Some(reranker.gather(&layout, &scores.iter().collect::<Vec<_>>(), options).unwrap())
        })
        .collect();
    reranker.rank_scores(documents.iter().map(Option::as_ref), options).unwrap()
}

#[test]
fn the_steps_one_by_one_give_what_the_whole_gives() {
    let reranker = Reranker::builder().max_length(12).load(fixture("gelu-60")).unwrap();
    let plain = RerankOptions::default;
    for options in [
        plain(),
        plain().score(ScoreMode::Raw).top_k(3),
        plain().long(Long::Max).stride(2),
        plain().long(Long::Mean),
        plain().fusion(Fusion::Weight(0.5)).first_scores(vec![5.0, 4.0, 3.0, 2.0, 1.0]),
        plain().truncation(Truncation::OnlyDocument).min_score(0.001),
    ] {
        let whole = reranker.rerank(QUERY, &DOCUMENTS, &options).unwrap();
        let steps = by_steps(&reranker, &options, true);
        assert_eq!((steps.ranking, steps.not_scored), (whole, vec![]));
    }
    let some = by_steps(&reranker, &plain(), false);
    assert_eq!(some.not_scored, [1, 3]);
    assert_eq!(some.ranking.len(), 3);
}

#[test]
fn no_more_tokens_of_a_document_count_than_the_step_is_told() {
    let reranker = reranker();
    let query = reranker.encode(QUERY).unwrap();
    let options = RerankOptions::default();
    let pairs = |text, most| reranker.prepare(&query, (0, text), &options, most).unwrap().pairs;
    let (cut, whole) = (pairs("rivers run to the sea", Some(2)), pairs("rivers run to the sea", None));
    let [cut_ids, whole_ids] = [cut[0].ids(), whole[0].ids()];
    let nothing = pairs("", None)[0].len();
    assert!(whole_ids.len() > nothing + 2);
    assert_eq!(cut_ids.len(), nothing + 2);
    let (last, before) = cut_ids.split_last().unwrap();
    assert_eq!((before, last), (&whole_ids[..before.len()], whole_ids.last().unwrap()));
    assert!(cut[0].truncated());
    assert_eq!(pairs("rivers run to the sea", Some(50)), whole);
    let gathered = reranker.gather(&Default::default(), &[], &options);
    assert!(gathered.unwrap_err().to_string().contains("found 0"));
}
