//! A first stage and a model in one call.
#![cfg(feature = "tokenizers")]

mod common;

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::{Duration, Instant};

#[allow(dead_code)]
#[path = "../examples/two_stage.rs"]
mod two_stage;

use common::{fixture, root};
use crossrank::{Candidate, Cascade, Error, Found, Fusion, Pipeline, PipelineError, RerankOptions, Reranker};

const QUERY: &str = "where do rivers go";

fn candidates(count: usize) -> Vec<Candidate<u64>> {
    let text = |i: usize| format!("document {i}: rivers run to the sea ").repeat(1 + i * i % 5);
    (0..count).map(|i| Candidate::new(1000 + i as u64, text(i), 50.0 - i as f32)).collect()
}

fn finds(count: usize) -> impl Fn(&str, usize) -> Result<Vec<Candidate<u64>>, Infallible> {
    move |query, asked| {
        assert_eq!(query, QUERY);
        Ok(candidates(count.min(asked)))
    }
}

fn model() -> Reranker {
    Reranker::load(fixture("gelu-60")).unwrap()
}

#[test]
fn candidates_are_ranked_as_documents_are() {
    let model = model();
    let texts: Vec<String> = candidates(40).into_iter().map(|candidate| candidate.text).collect();
    for fusion in [Fusion::None, Fusion::Rrf, Fusion::Weight(0.5)] {
        let options = RerankOptions::default().fusion(fusion).top_k(7);
        let first_scores: Vec<f32> = candidates(40).iter().map(|candidate| candidate.score).collect();
        let expected = model.rerank(QUERY, &texts, &options.clone().first_scores(first_scores)).unwrap();
        let found = Pipeline::new(finds(40), &model).options(options).search(QUERY).unwrap();
        assert_eq!(found.len(), 7);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.ranked.as_ref(), Some(expected), "{fusion:?}");
            assert_eq!(found.first_rank, expected.index + 1);
            assert_eq!(found.candidate, candidates(40)[expected.index]);
        }
    }
    let second = Reranker::load(fixture("sharded")).unwrap();
    let cascade = || Cascade::new(&model).then(5, &second);
    let expected = cascade().rerank(QUERY, &texts, &Default::default()).unwrap();
    let found = Pipeline::with_cascade(finds(40), cascade()).search(QUERY).unwrap();
    let ranked: Vec<_> = found.into_iter().map(|found| found.ranked.unwrap()).collect();
    assert_eq!(ranked, expected);
}

#[test]
fn the_first_stage_is_asked_for_so_many_and_no_more_are_taken() {
    let model = model();
    let search = |count, asked| Pipeline::new(finds(count), &model).candidates(asked).search(QUERY).unwrap();
    assert_eq!(search(300, 30).len(), 30);
    assert_eq!(search(7, 30).len(), 7);
    assert_eq!(search(0, 30).len(), 0);
    assert_eq!(search(7, 0).len(), 0);
    assert_eq!(Pipeline::new(finds(300), &model).search(QUERY).unwrap().len(), 100);
    // It may not heed the number.
    let many = |_: &str, _| Ok::<_, Infallible>(candidates(9));
    let found = Pipeline::new(many, &model).candidates(4).search(QUERY).unwrap();
    let mut ids: Vec<u64> = found.iter().map(|found| found.candidate.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1000, 1001, 1002, 1003]);
}

#[test]
fn equal_texts_are_documents_of_their_own() {
    let model = model();
    let twice = |_: &str, _| {
        let texts = ["To the sea.", "To the sea.", "Bread."];
        Ok::<_, Infallible>(
            texts.iter().zip(["a", "b", "c"]).map(|(text, id)| Candidate::new(id, *text, 1.0)).collect(),
        )
    };
    let found = Pipeline::new(twice, &model).search(QUERY).unwrap();
    let logits: HashMap<&str, u32> = found
        .iter()
        .map(|found| (found.candidate.id, found.ranked.as_ref().unwrap().logit.to_bits()))
        .collect();
    assert_eq!((logits.len(), logits["a"]), (3, logits["b"]));
}

#[test]
fn what_time_does_not_suffice_for_comes_last_in_the_first_order() {
    let model = model();
    let within = |options: RerankOptions, deadline| {
        Pipeline::new(finds(12), &model).options(options).search_within(QUERY, deadline).unwrap()
    };
    let ranks = |found: &[Found<u64>]| -> Vec<usize> { found.iter().map(|found| found.first_rank).collect() };
    let past = Instant::now();
    let found = within(RerankOptions::default(), past);
    assert!(found.iter().all(|found| found.ranked.is_none()));
    assert_eq!(ranks(&found), (1..=12).collect::<Vec<_>>());
    assert_eq!(ranks(&within(RerankOptions::default().top_k(3), past)), [1, 2, 3]);
    assert_eq!(ranks(&within(RerankOptions::default().min_score(0.0), past)), [0; 0]);
    let far = past + Duration::from_secs(1_000_000);
    let whole = Pipeline::new(finds(12), &model).search(QUERY).unwrap();
    assert_eq!(within(RerankOptions::default(), far), whole);
}

#[test]
fn what_the_first_stage_does_wrong_is_said() {
    let model = model();
    let fails = |_: &str, _| Err::<Vec<Candidate>, _>("no connection");
    let error = Pipeline::new(fails, &model).search(QUERY).unwrap_err();
    assert!(matches!(error, PipelineError::FirstStage("no connection")));
    assert_eq!(error.to_string(), "the first stage: no connection");

    let error = |change: fn(&mut Vec<Candidate<u64>>)| {
        let bad = move |_: &str, _| {
            let mut all = candidates(9);
            change(&mut all);
            Ok::<_, Infallible>(all)
        };
        Pipeline::new(bad, &model)
            .candidates(8)
            .search(QUERY)
            .map(|found| found.len())
            .map_err(|error| error.to_string())
    };
    for (message, found) in
        [(error(|all| all[3].score = f32::NAN), "NaN"), (error(|all| all[3].score = f32::INFINITY), "inf")]
    {
        let expected = format!("the first stage: candidate 4: expected a finite score, found {found}");
        assert_eq!(message, Err(expected));
    }
    let twice = error(|all| all[6].id = 1002);
    assert_eq!(
        twice,
        Err("the first stage: candidate 7: expected an id of its own, found that of candidate 3".into())
    );
    assert_eq!(error(|all| all[8].id = 1002), Ok(8), "beyond what was asked for");
}

#[test]
fn errors_of_the_model_are_its_own() {
    let model = model();
    let wrong = RerankOptions::default().stride(3);
    let error = Pipeline::new(finds(3), &model).options(wrong).search(QUERY).unwrap_err();
    assert!(matches!(error, PipelineError::Rerank(Error::Option { option: "stride", .. })), "{error}");
}

#[test]
fn the_example_finds_what_shared_words_do_not() {
    let folder = root().join("examples/data/everyday");
    let corpus = two_stage::corpus(&folder).unwrap();
    assert_eq!(corpus.len(), 400);
    let read = |name| std::fs::read_to_string(folder.join(name)).unwrap();
    // The grades of a query's passages.
    let qrels = read("qrels.txt");
    let grade = |query: &str, passage: &str| -> u32 {
        let line = qrels.lines().find(|line| line.starts_with(&format!("{query} 0 {passage} ")));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    };
    let model = Reranker::load(root().join("models/default")).unwrap();
    let retriever = |query: &str, count| Ok::<_, Infallible>(two_stage::first_stage(&corpus, query, count));
    let pipeline = Pipeline::new(retriever, &model).candidates(20);
    let (mut first, mut second, mut queries) = (0, 0, 0);
    for line in read("queries.tsv").lines() {
        let (id, query) = line.split_once('\t').unwrap();
        let found = pipeline.search(query).unwrap();
        let before = found.iter().find(|found| found.first_rank == 1).unwrap();
        first += u32::from(grade(id, &before.candidate.id) == 2);
        second += u32::from(grade(id, &found[0].candidate.id) == 2);
        queries += 1;
    }
    assert_eq!(queries, 40);
    assert!(second > first, "an answer comes first for {first} queries before and {second} after");
}
