//! int8: when it is chosen, and that a checkpoint of f32 is quantised as it is loaded.
#![cfg(feature = "tokenizers")]

mod common;

use common::copy::{ModelCopy, Tensors};
use common::{fixture, read_pairs};
use crossrank::{Dtype, Reranker};
use safetensors::Dtype as Stored;

const METADATA: [(&str, &str); 2] =
    [("quantization", "crossrank-int8-rowwise-symmetric"), ("quantization_version", "1")];

/// What `--dtype auto` makes of a fixture that was changed.
fn auto(name: &str, edit: impl FnOnce(&mut Tensors)) -> String {
    let copy = ModelCopy::of(name);
    copy.edit_tensors_with(Some(&METADATA), edit);
    Reranker::load(copy.path()).unwrap().info().dtype.to_owned()
}

/// A matrix becomes I8.
fn quantize(tensors: &mut Tensors, name: &str) {
    let (_, shape, _) = tensors[name].clone();
    let scales = vec![0.01_f32; shape[0]].iter().flat_map(|scale| scale.to_le_bytes()).collect();
    tensors.insert(format!("{name}_scale"), (Stored::F32, vec![shape[0]], scales));
    let bytes = vec![3; shape.iter().product()];
    tensors.insert(name.to_owned(), (Stored::I8, shape, bytes));
}

#[test]
fn auto_is_int8_where_a_layer_is() {
    for (name, prefix) in [("gelu-60", "bert."), ("relu-3-labels", "module.bert."), ("silu-1-layer", "")] {
        assert_eq!(auto(name, |_| {}), "f32", "{name}");
        let words = format!("{prefix}embeddings.word_embeddings.weight");
        assert_eq!(auto(name, |tensors| quantize(tensors, &words)), "f32", "{name}: embeddings alone");
        // Of a model beside this one.
        let other = "decoder.encoder.layer.0.output.dense.weight";
        let edit = |tensors: &mut Tensors| drop(tensors.insert(other.into(), (Stored::I8, vec![1], vec![3])));
        assert_eq!(auto(name, edit), "f32", "{name}: a tensor of no layer");
        let up = format!("{prefix}encoder.layer.0.intermediate.dense.weight");
        assert_eq!(auto(name, |tensors| quantize(tensors, &up)), "int8", "{name}");
    }
}

/// Every tensor that `gelu-60` has, at other sizes and with other values.
fn random_model([layers, hidden, heads, intermediate]: [usize; 4]) -> ModelCopy {
    let copy = ModelCopy::of("gelu-60");
    copy.edit_json("config.json", |config| {
        let sizes = ["num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size"];
        for (field, size) in sizes.into_iter().zip([layers, hidden, heads, intermediate]) {
            config[field] = size.into();
        }
    });
    let mut random = fastrand::Rng::with_seed(7);
    let sizes = |size| match size {
        60 => hidden,
        100 => intermediate,
        other => other,
    };
    copy.edit_tensors(|tensors| {
        let small = std::mem::take(tensors);
        for (name, (_, shape, _)) in small {
            let names = match name.strip_prefix("bert.encoder.layer.0.") {
                Some(part) => (0..layers).map(|i| format!("bert.encoder.layer.{i}.{part}")).collect(),
                None if name.starts_with("bert.encoder.layer.") => vec![],
                None => vec![name],
            };
            let shape: Vec<usize> = shape.into_iter().map(sizes).collect();
            for name in names {
                let norm = name.ends_with("LayerNorm.weight");
                let mut value = || f32::from(u8::from(norm)) + 0.2 * (random.f32() - 0.5);
                let bytes = (0..shape.iter().product()).flat_map(|_| value().to_le_bytes()).collect();
                tensors.insert(name, (Stored::F32, shape.clone(), bytes));
            }
        }
    });
    copy
}

#[test]
fn a_model_of_six_layers_is_quantised_as_it_is_loaded() {
    let copy = random_model([6, 384, 12, 1536]);
    let load = |dtype| Reranker::builder().dtype(dtype).load(copy.path()).unwrap();
    let [full, int8] = [Dtype::F32, Dtype::Int8].map(load);
    let [full_info, int8_info] = [&full, &int8].map(Reranker::info);
    assert_eq!((full_info.dtype, int8_info.dtype), ("f32", "int8"));
    // The last layer, with f32 activations, is held in f32.
    let [full_bytes, int8_bytes] = [full_info.packed_bytes, int8_info.packed_bytes];
    assert!(2 * int8_bytes < full_bytes, "{int8_bytes} of {full_bytes} bytes");

    let pairs = read_pairs(&fixture("gelu-60").join("reference.jsonl"));
    let texts: Vec<(&str, &str)> = pairs.iter().map(|pair| (&*pair.query, &*pair.document)).collect();
    let [full, int8] = [full, int8].map(|reranker| {
        let scores = reranker.score_pairs(&texts).unwrap();
        scores.iter().map(|score| score.logits[0]).collect::<Vec<_>>()
    });
    let n = texts.len() as f32;
    let mean = full.iter().sum::<f32>() / n;
    let spread = (full.iter().map(|logit| (logit - mean).powi(2)).sum::<f32>() / n).sqrt();
    let moved = full.iter().zip(&int8).map(|(full, int8)| (full - int8).abs()).sum::<f32>() / n;
    println!("logits move by {moved:.5} on average and have a standard deviation of {spread:.5}");
    assert!(moved < 0.1 * spread, "logits move by {moved}, their standard deviation is {spread}");
    assert!(moved > 1e-4 * spread, "as near as f32: nothing was quantised");
}
