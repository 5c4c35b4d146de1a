//! Scores that were published for real checkpoints.
//!
//! `CROSSRANK_MODELS` names a folder of checkpoints, each as on the Hugging Face hub: `MODELS/ORG/NAME`, as in
//! `MODELS/BAAI/bge-reranker-base`, or `MODELS/NAME`. Those that are there are scored in f32; those that are missing are
//! skipped aloud, and a folder that has none of them fails.
#![cfg(feature = "tokenizers")]

mod common;

use std::path::{Path, PathBuf};

use common::skip;
use crossrank::{Dtype, RerankOptions, Reranker};

/// What some text says that a checkpoint gives.
struct Published {
    model: &'static str,
    query: &'static str,
    documents: &'static [&'static str],
    expected: &'static [f32],
    what: What,
    /// By how much it may be off: what the text's own digits and arithmetic leave open.
    tolerance: f32,
}

#[derive(Clone, Copy, PartialEq)]
enum What {
    /// Through the checkpoint's own activation.
    Score,
    Logit,
}

const PLANET: &str = "Which planet is known as the Red Planet?";
const PLANETS: &[&str] = &[
    "Venus is often called Earth's twin because of its similar size and proximity.",
    "Mars, known for its reddish appearance, is often referred to as the Red Planet.",
    "Jupiter, the largest planet in our solar system, has a prominent red spot.",
    "Saturn, famous for its rings, is sometimes mistaken for the Red Planet.",
];
const CAPITAL: &str = "What is the capital of France?";
const CAPITALS: &[&str] = &["Paris is the capital of France.", "Berlin is the capital of Germany."];
const MINILM: &str = "cross-encoder/ms-marco-MiniLM-L6-v2";

/// Of sentence-transformers' own tests (`tests/cross_encoder/test_pretrained.py`), in f32, which allow as much.
const PLANET_SCORES: &[(&str, [f32; 4])] = &[
    ("cross-encoder/ms-marco-TinyBERT-L2-v2", [-10.87719, 6.95237, 5.87375, 5.6997]),
    ("cross-encoder/ms-marco-MiniLM-L2-v2", [-10.27371, 9.78853, 7.92458, 8.27393]),
    ("cross-encoder/ms-marco-MiniLM-L4-v2", [-7.84192, 8.94789, 5.64702, 6.6588]),
    (MINILM, [-6.52474, 9.69094, 6.92376, 6.66822]),
    ("cross-encoder/ms-marco-MiniLM-L12-v2", [-7.18467, 9.50125, 5.7218, 6.84708]),
    ("cross-encoder/mmarco-mMiniLMv2-L12-H384-v1", [-3.27741, 10.19737, 3.39716, 7.45499]),
    ("cross-encoder/ms-marco-electra-base", [3e-5, 0.92723, 0.78699, 0.80551]),
    ("BAAI/bge-reranker-base", [0.8755, 0.99813, 0.99625, 0.04914]),
    ("BAAI/bge-reranker-large", [0.69539, 0.99861, 0.97439, 0.81449]),
    ("BAAI/bge-reranker-v2-m3", [0.01928, 0.9987, 0.78573, 0.98696]),
    ("Alibaba-NLP/gte-reranker-modernbert-base", [0.80808, 0.95359, 0.88026, 0.91676]),
    ("ibm-granite/granite-embedding-reranker-english-r2", [0.78749, 0.96672, 0.88993, 0.94344]),
    ("jinaai/jina-reranker-v2-base-multilingual", [0.23745, 0.71458, 0.50653, 0.31483]),
    ("cross-encoder/qnli-distilroberta-base", [0.02079, 0.98746, 0.88894, 0.83448]),
    ("cross-encoder/stsb-roberta-base", [0.18105, 0.45064, 0.28236, 0.37914]),
    ("cl-nagoya/ruri-v3-reranker-310m", [0.00035, 0.9973, 0.00246, 0.28726]),
    ("hotchpotch/japanese-reranker-xsmall-v2", [0.02443, 0.97325, 0.11924, 0.91517]),
    ("sdadas/polish-reranker-base-ranknet", [0.18256, 0.9958, 0.59447, 0.9532]),
    ("cross-encoder-testing/reranker-bert-tiny-gooaq-bce", [0.29339, 0.93907, 0.82169, 0.91069]),
    ("cross-encoder-testing/reranker-bert-tiny-gooaq-bce-tanh-v4", [-0.70591, 0.99162, 0.91006, 0.98095]),
    // Its card has two digits.
    ("cross-encoder/ettin-reranker-32m-v1", [6.21, 10.82, 8.55, 9.86]),
];

/// fastembed's tests, from ONNX in f32, which allow a thousandth.
const CAPITAL_LOGITS: &[(&str, [f32; 2])] = &[
    (MINILM, [8.500708, -2.541011]),
    ("cross-encoder/ms-marco-MiniLM-L12-v2", [9.330912, -2.0380247]),
    ("BAAI/bge-reranker-base", [6.157_333_4, -3.659_394]),
    ("jinaai/jina-reranker-v2-base-multilingual", [1.6533, -1.6455]),
];

const OTHERS: &[Published] = &[
    Published {
        model: MINILM,
        query: "How many people live in Berlin?",
        documents: &[
            "Berlin had a population of 3,520,031 registered inhabitants in an area of 891.82 square kilometers.",
            "Berlin is well known for its museums.",
        ],
        expected: &[8.607138, -4.3200774],
        what: What::Logit,
        tolerance: 1e-3,
    },
    // Of text-embeddings-inference, whose GELU is the tanh's.
    Published {
        model: "Alibaba-NLP/gte-reranker-modernbert-base",
        query: "What is Deep Learning?",
        documents: &["Deep Learning is not..."],
        expected: &[2.13616],
        what: What::Logit,
        tolerance: 1e-2,
    },
    Published {
        model: "tomaarsen/reranker-ModernBERT-large-gooaq-bce",
        query: "What is Deep Learning?",
        documents: &["Deep Learning is not..."],
        expected: &[-0.30617672],
        what: What::Logit,
        tolerance: 1e-2,
    },
];

fn published() -> Vec<Published> {
    let planets = PLANET_SCORES.iter().map(|(model, expected)| Published {
        model,
        query: PLANET,
        documents: PLANETS,
        expected,
        what: What::Score,
        tolerance: 1e-2,
    });
    let capitals = CAPITAL_LOGITS.iter().map(|(model, expected)| Published {
        model,
        query: CAPITAL,
        documents: CAPITALS,
        expected,
        what: What::Logit,
        tolerance: 1e-3,
    });
    let others = OTHERS.iter().map(|each| Published { ..*each });
    planets.chain(capitals).chain(others).collect()
}

/// Where a checkpoint is, if it is there.
fn folder_of(models: &Path, model: &str) -> Option<PathBuf> {
    let name = model.rsplit('/').next().unwrap_or(model);
    let folders = [models.join(model), models.join(name)];
    folders.into_iter().find(|folder| folder.join("config.json").is_file())
}

/// Compares one model with all that is published of it.
fn check(model: &str, folder: &Path) {
    let reranker = Reranker::builder().dtype(Dtype::F32).load(folder).unwrap();
    let mut compared = 0;
    for each in published().iter().filter(|each| each.model == model) {
        let options = RerankOptions::default();
        for ranked in reranker.rerank(each.query, each.documents, &options).unwrap() {
            let found = if each.what == What::Score { ranked.score } else { ranked.logit };
            let expected = each.expected[ranked.index];
            assert!(
                (found - expected).abs() <= each.tolerance,
                "{model}, `{}`, document {}: {expected} was published, found {found}",
                each.query,
                ranked.index
            );
            compared += 1;
        }
    }
    assert!(compared > 0, "nothing is published of {model}");
    println!("{model}: {compared} published scores");
}

#[test]
fn published_scores_are_those_of_the_checkpoints() {
    let mut models: Vec<&str> = published().iter().map(|each| each.model).collect();
    models.sort_unstable();
    models.dedup();
    let Some(folder) = std::env::var_os("CROSSRANK_MODELS").map(PathBuf::from) else {
        return skip(&format!(
            "the published scores of {} checkpoints: CROSSRANK_MODELS is unset",
            models.len()
        ));
    };
    let mut found = 0;
    for model in models {
        match folder_of(&folder, model) {
            Some(folder) => {
                check(model, &folder);
                found += 1;
            }
            None => skip(&format!("the published scores of {model}: CROSSRANK_MODELS has no such folder")),
        }
    }
    assert!(found > 0, "CROSSRANK_MODELS={} holds none of the listed checkpoints", folder.display());
}

/// A table with a typing mistake would compare nothing, or the wrong documents.
#[test]
fn the_table_has_a_number_for_each_document() {
    for each in published() {
        assert_eq!(each.documents.len(), each.expected.len(), "{}, `{}`", each.model, each.query);
        assert!(
            each.expected.iter().all(|x| x.is_finite()) && each.tolerance > 0.0 && each.tolerance <= 1e-2
        );
        assert_eq!(each.model.split('/').count(), 2, "{}", each.model);
    }
}
