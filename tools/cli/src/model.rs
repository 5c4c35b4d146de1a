//! The model that a command works with.

use std::path::{Path, PathBuf};

use crossrank::{ModelBytes, Reranker};

use crate::args::{Command, ModelArgs, WindowArgs};
use crate::failure::Failure;

/// What `inspect` calls the model inside this program.
const BUILT_IN: &str = "built-in default model";

macro_rules! default_model {
    ($file:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/default/", $file)).as_slice()
    };
}

/// Puts the folder of a model in the place of its name, whichever command has one model.
pub fn resolve(command: &mut Command) -> Result<(), Failure> {
    let model = match command {
        // It may have several, and do without.
        Command::Rerank(_) | Command::Completions(_) => None,
        // It loads them by and by.
        #[cfg(feature = "serve")]
        Command::Serve(_) => None,
        #[cfg(feature = "search")]
        Command::Search(_) | Command::Eval(_) => None,
        Command::Score(args) => args.model.model.as_mut(),
        Command::FitScores(args) => args.model.model.as_mut(),
        Command::Inspect(args) => args.model.model.as_mut(),
        Command::Quantize(args) => Some(&mut args.model_dir),
        Command::Pack(args) => Some(&mut args.model_dir),
        Command::Bench(args) => args.model.as_mut(),
        Command::BenchOne(args) => args.model.model.as_mut(),
    };
    if let Some(model) = model {
        *model = folder(model)?;
    }
    Ok(())
}

/// The folder that a model's name stands for: that folder itself where it is there, else one of the hub's cache, after
/// the model has been downloaded if it must be.
pub fn folder(name: &Path) -> Result<PathBuf, Failure> {
    #[cfg(feature = "hub")]
    if name.to_str().is_some_and(|name| name.starts_with(crate::hub::FORCES)) || !name.exists() {
        return crate::hub::folder(name);
    }
    Ok(name.to_owned())
}

/// Loads the model that was asked for, or the one inside this program, which is used where it lies.
pub fn load(model: &ModelArgs, window: Option<&WindowArgs>) -> Result<Reranker, Failure> {
    load_by(Reranker::builder(), model, window)
}

/// The same, with options that the builder has already.
pub fn load_by(
    builder: crossrank::Builder,
    model: &ModelArgs,
    window: Option<&WindowArgs>,
) -> Result<Reranker, Failure> {
    let mut builder =
        builder.dtype(model.load.dtype.into()).tokenizer_rules(model.load.tokenizer_rules.into());
    if let Some(threads) = model.load.threads {
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
