//! How far bf16 and int8 move the logits of each family, in parts of the standard deviation of f32's.
//!
//! The arithmetic says what to expect. In bf16 each operand of a product is off by `2^-9 / sqrt(3)` of itself (root mean
//! square), in int8 by `1/127 / sqrt(12)` of the largest value of its row, which in rows this short is 2.7 times their
//! root mean square. A layer has four products one behind the other, and their errors add up in squares. The logits'
//! deviation comes from the part of the pooled state that differs between texts, which is a share of the whole. So the
//! mean change is expected to be `0.8 * STEP * sqrt(2) * sqrt(4 * layers) / share`.
//!
//! The bounds below are twice the means that the fixtures were seen to have, each family having its own: where all tokens
//! are averaged, no row is kept in two bytes. The test also holds them against the formula with the smallest shares.
#![cfg(feature = "tokenizers")]

mod common;

use common::{fixture, fixtures, for_each_isa, read_pairs, skip};
use crossrank::{Dtype, Reranker};
use crossrank_kernels::Isa;

/// Enough that their deviation is known to a twentieth.
const LEAST_PAIRS: usize = 200;
/// How far the worst of so many may be beyond the bound of the mean: noise alone gives 4 times the mean.
const WORST: f32 = 6.0;

struct Kind {
    dtype: Dtype,
    /// The error of one operand over its root mean square.
    step: f32,
    /// The smallest share, halved as the bounds are doubled.
    share: f32,
}

const BF16: Kind = Kind { dtype: Dtype::Bf16, step: 0.00113, share: 0.06 };
const INT8: Kind = Kind { dtype: Dtype::Int8, step: 0.0061, share: 0.12 };

/// A fixture, how many layers run, and the bounds of the mean in bf16 and int8.
const BOUNDS: [(&str, usize, f32, f32); 14] = [
    ("albert", 4, 0.06, 0.065),
    ("albert-inner", 6, 0.06, 0.27),
    ("distilbert", 3, 0.065, 0.08),
    ("electra", 3, 0.045, 0.16),
    ("gelu-60", 3, 0.03, 0.05),
    ("modernbert", 4, 0.04, 0.1),
    ("modernbert-old", 4, 0.02, 0.085),
    ("modular", 3, 0.035, 0.09),
    ("modular-mean", 2, 0.015, 0.065),
    ("modular-prompt", 2, 0.03, 0.12),
    ("mpnet", 3, 0.025, 0.06),
    ("mpnet-40", 2, 0.025, 0.05),
    ("roberta", 3, 0.03, 0.125),
    ("xlmr", 3, 0.07, 0.16),
];
/// The fixture whose weights are stored in BF16: where only they are rounded, bf16 changes nothing.
const STORED_BF16: &str = "modernbert-old";

/// Stored queries with stored documents, each query with several.
fn pairs(name: &str) -> Vec<(String, String)> {
    let stored = read_pairs(&fixture(name).join("reference.jsonl"));
    let count = stored.len();
    let shifts = 0..LEAST_PAIRS.div_ceil(count);
    let pair =
        |i: usize, shift: usize| (stored[i].query.clone(), stored[(i + shift) % count].document.clone());
    shifts.flat_map(|shift| (0..count).map(move |i| (i, shift))).map(|(i, shift)| pair(i, shift)).collect()
}

/// The first label's logits.
fn logits(name: &str, isa: &str, dtype: Dtype, pairs: &[(String, String)]) -> Vec<f32> {
    let texts: Vec<(&str, &str)> = pairs.iter().map(|(query, document)| (&**query, &**document)).collect();
    let reranker = Reranker::builder().isa(isa).dtype(dtype).load(fixture(name)).unwrap();
    reranker.score_pairs(&texts).unwrap().iter().map(|score| score.logits[0]).collect()
}

fn mean(values: impl ExactSizeIterator<Item = f32>) -> f32 {
    let count = values.len() as f32;
    values.sum::<f32>() / count
}

#[test]
fn bf16_and_int8_move_logits_as_far_as_rounding_does() {
    for_each_isa(|isa| {
        if isa == "portable" && Isa::best().name() != isa {
            return skip("the families in bf16 and int8 on portable");
        }
        for (name, _, bf16, int8) in BOUNDS {
            let pairs = pairs(name);
            assert!(pairs.len() >= LEAST_PAIRS);
            let full = logits(name, isa, Dtype::F32, &pairs);
            let middle = mean(full.iter().copied());
            let deviation = mean(full.iter().map(|logit| (logit - middle).powi(2))).sqrt();
            for (kind, bound) in [(BF16, bf16), (INT8, int8)] {
                let rounded = logits(name, isa, kind.dtype, &pairs);
                let moved: Vec<f32> = rounded
                    .iter()
                    .zip(&full)
                    .map(|(rounded, full)| (rounded - full).abs() / deviation)
                    .collect();
                let mean = mean(moved.iter().copied());
                let worst = moved.iter().fold(0.0, |worst: f32, &moved| worst.max(moved));
                println!("{name} in {} on {isa}: mean {mean:.4}, worst {worst:.4}", kind.dtype.name());
                let about = format!("{name} in {} on {isa}: mean {mean}, worst {worst}", kind.dtype.name());
                assert!(mean <= bound && worst <= WORST * bound, "{about}, bound {bound}");
                let rounds = kind.dtype != Dtype::Bf16 || name != STORED_BF16;
                assert!(!rounds || mean >= kind.step / 2.0, "{about}: nearer than rounding can be");
            }
        }
    });
}

#[test]
fn the_bounds_are_the_arithmetics() {
    for (name, layers, bf16, int8) in BOUNDS {
        for (kind, bound) in [(BF16, bf16), (INT8, int8)] {
            let expected = 0.8 * kind.step * 2f32.sqrt() * (4.0 * layers as f32).sqrt() / kind.share;
            assert!(bound <= expected, "{name} in {}: {bound} over {expected}", kind.dtype.name());
        }
    }
    // A family without bounds would not be looked at.
    for name in fixtures() {
        let config = std::fs::read(fixture(&name).join("config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        let listed = BOUNDS.iter().any(|(listed, ..)| *listed == name);
        assert!(listed || config["model_type"] == "bert", "{name} has no bounds");
    }
}
