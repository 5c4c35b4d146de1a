//! What `crossrank quantize --calibrate` scales: a norm, the Linear layers that read it, and its residual's way back.
#![cfg(feature = "tokenizers")]

mod common;

use common::copy::{ModelCopy, Tensors};
use common::{for_each_isa, read_pairs};
use crossrank::{Dtype, Reranker};

const HIDDEN: usize = 60;
const SCALE: &str = "bert.encoder.layer.0.output.LayerNorm.residual_scale";

/// Powers of two: whatever they are multiplied with keeps its bits.
fn factor(column: usize) -> f32 {
    [0.25, 1.0, 2.0, 0.5, 8.0][column % 5]
}

/// Multiplies elements by what `by` gives for their index.
fn scale(tensors: &mut Tensors, name: &str, by: impl Fn(usize) -> f32) {
    let (_, _, data) = tensors.get_mut(name).unwrap();
    for (i, bytes) in data.chunks_exact_mut(4).enumerate() {
        let value = f32::from_le_bytes(bytes.try_into().unwrap());
        bytes.copy_from_slice(&(value * by(i)).to_le_bytes());
    }
}

fn add_residual_scale(tensors: &mut Tensors, len: usize) {
    let data = (0..len).flat_map(|i| (1.0 / factor(i)).to_le_bytes()).collect();
    tensors.insert(SCALE.to_owned(), (safetensors::Dtype::F32, vec![len], data));
}

#[test]
fn it_undoes_what_the_norm_before_it_is_scaled_by() {
    let plain = ModelCopy::of("gelu-60");
    let pairs = read_pairs(&plain.file("reference.jsonl"));
    let texts: Vec<(&str, &str)> = pairs.iter().map(|pair| (&*pair.query, &*pair.document)).collect();
    let scaled = ModelCopy::of("gelu-60");
    scaled.edit_tensors(|tensors| {
        for part in ["weight", "bias"] {
            scale(tensors, &format!("bert.encoder.layer.0.attention.output.LayerNorm.{part}"), factor);
        }
        scale(tensors, "bert.encoder.layer.0.intermediate.dense.weight", |i| 1.0 / factor(i % HIDDEN));
        add_residual_scale(tensors, HIDDEN);
    });
    let unscaled = ModelCopy::of("gelu-60");
    unscaled.edit_tensors(|tensors| add_residual_scale(tensors, HIDDEN));
    for_each_isa(|isa| {
        for dtype in [Dtype::F32, Dtype::Bf16] {
            let logits = |model: &ModelCopy| {
                let reranker = Reranker::builder().isa(isa).dtype(dtype).load(model.path()).unwrap();
                let scores = reranker.score_pairs(&texts).unwrap();
                scores.iter().flat_map(|score| score.logits.to_vec()).collect::<Vec<_>>()
            };
            let plain = logits(&plain);
            let moved = |model: &ModelCopy| {
                let differences =
                    logits(model).into_iter().zip(&plain).map(|(found, plain)| (found - plain).abs());
                differences.fold(0.0, f32::max)
            };
            // Digits are those of the largest of a row: a factor to one column changes what the others keep.
            let allowed = if (dtype, isa) == (Dtype::F32, "amx") { 1e-4 } else { 0.0 };
            assert!(moved(&scaled) <= allowed, "{dtype:?} on {isa}: {}", moved(&scaled));
            assert!(moved(&unscaled) > 1e-2, "{dtype:?} on {isa}: it counts, {}", moved(&unscaled));
        }
    });
}

#[test]
fn one_of_another_length_is_refused() {
    let model = ModelCopy::of("gelu-60");
    model.edit_tensors(|tensors| add_residual_scale(tensors, HIDDEN + 1));
    model.fails_with(&["model.safetensors", SCALE, "shape [60]", "shape [61]"]);
}
