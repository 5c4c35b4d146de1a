//! Token ids and logits against PyTorch's, on every instruction set of the machine.
#![cfg(feature = "tokenizers")]

mod common;

use common::copy::ModelCopy;
use common::{Pair, fixture, fixtures, for_each_isa, read_pairs, root, shared, skip};
use crossrank::{Dtype, Reranker};
use crossrank_kernels::Isa;

/// What the scores promise, in absolute terms.
const TOLERANCE: f32 = 1e-4;
/// What those of fixtures keep to, which are small; in f32 out of digits of bytes, too.
const OF_FIXTURES: f32 = 3e-5;

/// Scores the stored pairs from text and compares ids, type ids and logits.
fn check(name: &str, reranker: &Reranker, pairs: &[Pair], tolerance: f32) {
    let mut worst = 0.0f32;
    for (i, pair) in pairs.iter().enumerate() {
        let tokenized = &reranker.tokenize(&pair.query, &[&pair.document]).unwrap()[0];
        assert_eq!(tokenized.ids(), pair.ids, "{name}, ids of pair {i}");
        assert_eq!(tokenized.type_ids(), pair.type_ids, "{name}, type ids of pair {i}");
    }
    let texts: Vec<(&str, &str)> = pairs.iter().map(|pair| (&*pair.query, &*pair.document)).collect();
    for (i, (score, pair)) in reranker.score_pairs(&texts).unwrap().iter().zip(pairs).enumerate() {
        assert_eq!(score.tokens, pair.ids.len(), "{name}, tokens of pair {i}");
        assert_eq!(score.logits.len(), pair.logits.len(), "{name}, labels");
        for (found, expected) in score.logits.iter().zip(&pair.logits) {
            worst = worst.max((found - expected).abs());
            assert!(
                (found - expected).abs() <= tolerance,
                "{name} on {}, pair {i}: expected {expected}, found {found}",
                reranker.info().isa
            );
        }
    }
    println!("{name} on {}: {} pairs, worst {worst:.1e}", reranker.info().isa, pairs.len());
}

#[test]
fn fixtures_give_pytorchs_ids_and_logits() {
    for_each_isa(|isa| {
        for name in fixtures() {
            let folder = fixture(&name);
            let reranker = Reranker::builder().isa(isa).load(&folder).unwrap();
            let pairs = read_pairs(&folder.join("reference.jsonl"));
            assert!(pairs.len() >= 20, "{name} has {} pairs", pairs.len());
            check(&name, &reranker, &pairs, OF_FIXTURES);
        }
    });
}

/// Of `modernbert`, with its positions stretched: what `tools/reference/rope_scaling.py` wrote.
#[test]
fn stretched_positions_give_transformers_logits() {
    #[derive(serde::Deserialize)]
    struct Stretched {
        scaling: serde_json::Value,
        logits: Vec<Vec<f32>>,
    }
    let pairs = read_pairs(&fixture("modernbert").join("reference.jsonl"));
    let text = std::fs::read_to_string(fixture("modernbert").join("scaled.jsonl")).unwrap();
    assert!(text.lines().count() >= 3);
    for line in text.lines() {
        let Stretched { scaling, logits } = serde_json::from_str(line).unwrap();
        let copy = ModelCopy::of("modernbert");
        copy.edit_json("config.json", |json| {
            for kind in ["full_attention", "sliding_attention"] {
                let own = json["rope_parameters"][kind].as_object_mut().unwrap();
                own.extend(scaling.as_object().unwrap().clone());
            }
        });
        let mut moved = 0.0f32;
        let stretched: Vec<Pair> = pairs
            .iter()
            .zip(logits)
            .map(|(pair, logits)| {
                moved = moved.max((pair.logits[0] - logits[0]).abs());
                Pair { logits, ..pair.clone() }
            })
            .collect();
        assert!(moved > 0.1, "{scaling}: {moved}");
        for_each_isa(|isa| {
            let reranker = Reranker::builder().isa(isa).load(copy.path()).unwrap();
            // torch computes stretched frequencies in f32 step by step, and each logit of this fixture shows it.
            check(&format!("modernbert, {scaling}"), &reranker, &stretched, TOLERANCE);
        });
    }
}

#[test]
fn the_default_model_gives_the_logits_of_its_widened_tensors() {
    let pairs = read_pairs(&root().join("tests/fixtures/default-model.jsonl"));
    assert!(pairs.len() >= 100);
    for_each_isa(|isa| {
        let reranker =
            Reranker::builder().dtype(Dtype::F32).isa(isa).load(root().join("models/default")).unwrap();
        // Without FMA it takes long.
        let pairs = if isa == "portable" {
            skip("all but 16 pairs of the default model on portable");
            &pairs[..16]
        } else {
            &pairs
        };
        check("the default model", &reranker, pairs, TOLERANCE);
    });
}

/// int8 moves the logits of the F16 model that the default one was made from by less than what is promised of it.
#[test]
fn the_default_model_stays_near_pytorchs_logits_of_its_source() {
    // In parts of the standard deviation of the source's logits.
    const MEAN: f32 = 0.03;
    const WORST: f32 = 0.12;
    // The weights in bytes alone move them by more.
    const LEAST_MEAN: f32 = 0.002;
    let pairs = read_pairs(&root().join("tests/fixtures/default-source.jsonl"));
    assert!(pairs.len() >= 100);
    let texts: Vec<(&str, &str)> = pairs.iter().map(|pair| (&*pair.query, &*pair.document)).collect();
    let source: Vec<f32> = pairs.iter().map(|pair| pair.logits[0]).collect();
    let count = source.len() as f32;
    let middle = source.iter().sum::<f32>() / count;
    let deviation = (source.iter().map(|logit| (logit - middle).powi(2)).sum::<f32>() / count).sqrt();
    for_each_isa(|isa| {
        if isa == "portable" && Isa::best().name() != isa {
            return skip(
                "the default model in int8 on portable, whose products have the bits of the other sets",
            );
        }
        let reranker =
            Reranker::builder().dtype(Dtype::Int8).isa(isa).load(root().join("models/default")).unwrap();
        for (i, pair) in pairs.iter().enumerate() {
            let tokenized = &reranker.tokenize(&pair.query, &[&pair.document]).unwrap()[0];
            assert_eq!(tokenized.ids(), pair.ids, "ids of pair {i}");
            assert_eq!(tokenized.type_ids(), pair.type_ids, "type ids of pair {i}");
        }
        let scores = reranker.score_pairs(&texts).unwrap();
        assert_eq!(scores.len(), source.len());
        let moved =
            scores.iter().zip(&source).map(|(score, source)| (score.logits[0] - source).abs() / deviation);
        let moved: Vec<f32> = moved.collect();
        let mean = moved.iter().sum::<f32>() / count;
        let worst = moved.iter().fold(0.0, |worst: f32, &moved| worst.max(moved));
        println!("the default model in int8 on {isa}: mean {mean:.4}, worst {worst:.4}");
        assert!(mean <= MEAN && worst <= WORST, "on {isa}: mean {mean}, worst {worst}");
        assert!(mean >= LEAST_MEAN, "on {isa}: mean {mean}, nearer than bytes can be");
    });
}

#[test]
fn the_trained_model_gives_pytorchs_ids_and_logits() {
    let Some(shared) = shared() else {
        return skip("the 244 reference pairs of minilm-l6: ../shared is absent");
    };
    let pairs = read_pairs(&shared.join("reference/minilm-l6.jsonl"));
    assert_eq!(pairs.len(), 244);
    for_each_isa(|isa| {
        let reranker = Reranker::builder().isa(isa).load(shared.join("models/minilm-l6")).unwrap();
        // A minute's work without FMA: there the odd texts at the end must do.
        let pairs = if isa == "portable" {
            skip("204 of the 244 reference pairs of minilm-l6 on portable");
            &pairs[204..]
        } else {
            &pairs
        };
        check("minilm-l6", &reranker, pairs, TOLERANCE);
    });
}

/// bf16 rounds the weights, and on some instruction sets what they are multiplied by: logits move, by less than what is
/// promised of them.
#[test]
fn bf16_stays_near_pytorchs_logits() {
    // In parts of the logits' standard deviation, so that they hold for other weights of the model, too.
    const MEAN: f32 = 0.0033;
    const WORST: f32 = 0.016;
    let Some(shared) = shared() else {
        return skip("bf16 on the reference pairs of minilm-l6: ../shared is absent");
    };
    let pairs = read_pairs(&shared.join("reference/minilm-l6.jsonl"));
    let texts: Vec<(&str, &str)> = pairs.iter().map(|pair| (&*pair.query, &*pair.document)).collect();
    let count = pairs.len() as f32;
    let center = pairs.iter().map(|pair| pair.logits[0]).sum::<f32>() / count;
    let deviation = (pairs.iter().map(|pair| (pair.logits[0] - center).powi(2)).sum::<f32>() / count).sqrt();
    for_each_isa(|isa| {
        if !isa.starts_with("avx512") && isa != "amx" {
            return skip(&format!("bf16 on the reference pairs of minilm-l6 on {isa}"));
        }
        let reranker = Reranker::builder().isa(isa).dtype(Dtype::Bf16);
        let reranker = reranker.load(shared.join("models/minilm-l6")).unwrap();
        let scores = reranker.score_pairs(&texts).unwrap();
        let error = |(score, pair): (&crossrank::PairScore, &common::Pair)| {
            (score.logits[0] - pair.logits[0]).abs() / deviation
        };
        let errors = scores.iter().zip(&pairs).map(error);
        let errors: Vec<f32> = errors.collect();
        let mean = errors.iter().sum::<f32>() / errors.len() as f32;
        let worst = errors.iter().fold(0.0, |worst: f32, &error| worst.max(error));
        println!("minilm-l6 in bf16 on {isa}: mean {mean:.5}, worst {worst:.5} of {deviation}");
        assert!(mean < MEAN && worst < WORST, "on {isa}: mean {mean}, worst {worst}");
        assert!(mean > 2e-5, "on {isa}: as near as f32: the weights were not rounded");
    });
}
