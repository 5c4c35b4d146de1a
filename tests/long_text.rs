//! Texts near 8,000 tokens: global layers in blocks of keys, local windows, angles far from the first position.
//!
//! Of the ModernBERT fixtures with a window of 8,192 tokens: their weights have no positions, so that nothing else
//! changes. `tools/reference/long_text.py` wrote what transformers says of the texts, which follow a rule.
#![cfg(feature = "tokenizers")]

mod common;

use common::copy::ModelCopy;
use common::{fixture, for_each_isa, skip};
use crossrank::Reranker;
use serde::Deserialize;

/// torch makes angles in f32, which here is off by some 1e-4 of a cosine.
const TOLERANCE: f32 = 1e-3;

const WORDS: &str = "river water stone bread iron copper heat light salt sea wind night bird train bridge lamp honey \
                     wool tea paper engine winter valley harbour";

#[derive(Deserialize)]
struct Long {
    query: String,
    seed: usize,
    words: usize,
    tokens: usize,
    logits: Vec<f32>,
}

/// The rule.
fn text(seed: usize, words: usize) -> String {
    let list: Vec<&str> = WORDS.split_whitespace().collect();
    let word = |i: usize| {
        let word = list[(i * i + seed * i + i / 7) % list.len()];
        if i % 11 == 10 { format!("{word}.") } else { word.to_owned() }
    };
    (0..words).map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn eight_thousand_tokens_give_transformers_logits() {
    for name in ["modernbert", "modernbert-old"] {
        let stored = std::fs::read_to_string(fixture(name).join("long.jsonl")).unwrap();
        let lines: Vec<Long> = stored.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.len() >= 3 && lines.iter().all(|line| line.tokens > 7_500), "{name}");
        // Texts that differ in the order of their words alone have other logits.
        let logits = lines.iter().map(|line| line.logits[0]);
        let spread = logits.clone().fold(f32::MIN, f32::max) - logits.fold(f32::MAX, f32::min);
        assert!(spread > 0.1, "{name}: {spread}");
        let copy = ModelCopy::of(name);
        copy.set_config("max_position_embeddings", 8192.into());
        for_each_isa(|isa| {
            let reranker = Reranker::builder().isa(isa).load(copy.path()).unwrap();
            // Seconds each without FMA.
            let lines = if isa == "portable" {
                skip(&format!("two of the long texts of {name} on portable"));
                &lines[..1]
            } else {
                &lines[..]
            };
            let texts: Vec<String> = lines.iter().map(|line| text(line.seed, line.words)).collect();
            let pairs: Vec<(&str, &str)> =
                lines.iter().zip(&texts).map(|(line, text)| (&*line.query, &**text)).collect();
            for (score, line) in reranker.score_pairs(&pairs).unwrap().iter().zip(lines) {
                assert_eq!((score.tokens, score.truncated), (line.tokens, false), "{name} on {isa}");
                let (found, expected) = (score.logits[0], line.logits[0]);
                println!("{name} on {isa}, {} tokens: {:.1e}", line.tokens, (found - expected).abs());
                assert!(
                    (found - expected).abs() <= TOLERANCE,
                    "{name} on {isa}, seed {}: expected {expected}, found {found}",
                    line.seed
                );
            }
        });
    }
}
