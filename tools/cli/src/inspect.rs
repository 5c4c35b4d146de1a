//! `crossrank inspect`: what a model is and how it would run.

use std::time::Instant;

use crossrank::{LoadTimings, ModelInfo, RerankOptions, Reranker};
use safetensors::Dtype;

use crate::args::InspectArgs;
use crate::failure::Failure;
use crate::model;
use crate::output::{Output, megabytes};
use crate::text::printable;

/// Runs the command.
///
/// `start` is when the program began.
pub fn run(args: &InspectArgs, start: Instant) -> Result<(), Failure> {
    let reranker = model::load(&args.model, None)?;
    let timings = if args.timings { timings(&reranker, start)? } else { Vec::new() };
    let info = reranker.info();
    let mut facts = vec![("model", model::name(&args.model))];
    facts.extend(describe(&info, args.model.model.is_none()));
    if args.check {
        let found =
            if reranker.verify()? { "matches the data" } else { "none: the checkpoint is not packed" };
        facts.push(("checksum", found.to_owned()));
    }
    facts.extend(timings);
    let mut output = Output::new();
    output.facts(&facts)?;
    output.flush()
}

fn describe(info: &ModelInfo, in_binary: bool) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("family", format!("{}, by {}", info.family, info.recognised_by)),
        ("layers", info.layers.to_string()),
        ("hidden size", info.hidden.to_string()),
        ("attention heads", info.heads.to_string()),
        ("intermediate size", info.intermediate.to_string()),
        ("hidden activation", info.hidden_act.clone()),
        ("vocabulary", info.vocab.to_string()),
        ("positions", info.max_positions.to_string()),
        ("token types", info.token_types.to_string()),
        ("max length", format!("{} tokens", info.max_length)),
        ("token ids", info.token_ids.clone()),
        ("head", info.head.clone()),
        ("labels", labels(info)),
        ("score activation", info.activation.clone()),
    ];
    let mut stored = 0;
    for (dtype, &(count, elements)) in &info.tensors {
        let bytes = bytes(dtype, elements);
        stored += bytes;
        facts.push(("tensors", format!("{dtype}: {count}, {elements} elements, {}", megabytes(bytes))));
    }
    if info.ignored.is_empty() {
        facts.push(("ignored", "none".to_owned()));
    }
    facts.extend(info.ignored.iter().map(|name| ("ignored", name.clone())));
    facts.extend(info.notes.iter().map(|note| ("note", note.clone())));
    facts.extend(info.quantization.iter().map(|(key, value)| ("metadata", format!("{key}: {value}"))));
    let place = if in_binary { "in this program" } else { "mapped" };
    facts.extend([
        ("checkpoint", format!("{} {place}; embeddings are read where they lie", megabytes(stored))),
        ("packed weights", packed(info)),
        ("dtype", info.dtype.to_owned()),
        ("instruction set", info.isa.to_owned()),
        ("products", info.products.to_owned()),
        ("attention", info.attention.to_owned()),
        ("between steps", info.between.to_owned()),
        ("last layer", info.last_layer.to_owned()),
        ("threads", info.threads.to_string()),
        ("tokens per chunk", info.chunk_tokens.to_string()),
    ]);
    facts
}

/// Steps in their order; what is in none of them is in the total.
fn timings(reranker: &Reranker, start: Instant) -> Result<Vec<(&'static str, String)>, Failure> {
    let before = Instant::now();
    // Which label ranks changes nothing, but models with several want one.
    let options = RerankOptions::default().label(0);
    reranker.rerank("where do rivers go?", &["A river runs to the sea."], &options)?;
    let (score, total) = (before.elapsed(), start.elapsed());
    let LoadTimings { files, threads, config, tokenizer, headers, weights, .. } = reranker.load_timings();
    let steps = [
        ("files", files),
        ("config", config),
        ("tokenizer", tokenizer),
        ("headers", headers),
        ("thread pool", threads),
        ("weights", weights),
        ("first score", score),
        ("total", total),
    ];
    Ok(steps.map(|(step, time)| (step, format!("{:.2} ms", time.as_secs_f64() * 1e3))).into())
}

fn packed(info: &ModelInfo) -> String {
    let all = megabytes(info.packed_bytes);
    match info.shared_bytes {
        0 => format!("{all} in memory"),
        shared => format!("{all}, {} of them where the checkpoint has them", megabytes(shared)),
    }
}

/// What elements of a dtype take; the engine names dtypes as safetensors files do.
fn bytes(dtype: &str, elements: usize) -> usize {
    let dtype: Option<Dtype> = serde_json::from_value(serde_json::Value::from(dtype)).ok();
    dtype.map_or(0, |dtype| elements.saturating_mul(dtype.bitsize()) / 8)
}

/// How many there are, and their names where there are several.
fn labels(info: &ModelInfo) -> String {
    match &info.label_names[..] {
        [_] => "1".to_owned(),
        names => format!(
            "{}: {}",
            names.len(),
            names.iter().map(|name| printable(name, 40)).collect::<Vec<_>>().join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn every_dtype_of_a_checkpoint_has_a_size() {
        for (dtype, expected) in
            [("F32", 40), ("F16", 20), ("BF16", 20), ("I8", 10), ("I64", 80), ("BOOL", 10)]
        {
            assert_eq!(bytes(dtype, 10), expected, "{dtype}");
        }
    }
}
