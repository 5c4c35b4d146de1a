//! The model that a command works with.

use crossrank::{ModelBytes, Reranker};

use crate::args::{ModelArgs, WindowArgs};
use crate::failure::Failure;

/// What `inspect` calls the model inside this program.
const BUILT_IN: &str = "built-in default model";

macro_rules! default_model {
    ($file:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/default/", $file)).as_slice()
    };
}

/// Loads the model that was asked for, or the one inside this program, which is used where it lies.
pub fn load(model: &ModelArgs, window: Option<&WindowArgs>) -> Result<Reranker, Failure> {
    let mut builder =
        Reranker::builder().dtype(model.dtype.into()).tokenizer_rules(model.tokenizer_rules.into());
    if let Some(threads) = model.threads {
        builder = builder.threads(threads);
    }
    if let Some(window) = window {
        if let Some(truncation) = window.truncation {
            builder = builder.truncation(truncation.into());
        }
        if let Some(max_length) = window.max_length {
            builder = builder.max_length(max_length);
        }
    }
    let reranker = match &model.model {
        Some(folder) => builder.load(folder),
        None => {
            let bytes = ModelBytes::new(default_model!("config.json"), default_model!("model.safetensors"))
                .tokenizer(default_model!("tokenizer.json"))
                .tokenizer_config(default_model!("tokenizer_config.json"));
            builder.from_bytes(bytes)
        }
    };
    let reranker = reranker?;
    let (info, timings) = (reranker.info(), reranker.load_timings());
    tracing::info!(
        family = info.family,
        dtype = info.dtype,
        isa = info.isa,
        threads = info.threads,
        window = info.max_length,
        "loaded {}",
        name(model)
    );
    tracing::debug!(?timings, products = info.products, attention = info.attention, "how");
    Ok(reranker)
}

/// What to call it.
pub fn name(model: &ModelArgs) -> String {
    model.model.as_ref().map_or_else(|| BUILT_IN.to_owned(), |folder| folder.display().to_string())
}
