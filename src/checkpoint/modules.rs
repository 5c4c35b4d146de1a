//! `modules.json` of sentence-transformers: what stands behind the encoder in place of a classifier of its own.
//!
//! The file's order counts, not `idx`. Of a class only the last part of its path counts: it has moved between
//! versions.

use std::path::{Component, Path};

use serde_json::{Map, Value};

use super::files::File;
use super::json::{Fields, kind};
use crate::error::Result;

/// One entry of `modules.json`.
#[derive(Clone, Debug)]
pub(crate) struct Module {
    pub(crate) class: Class,
    /// The folder of its files within the model's; empty for that itself.
    pub(crate) path: String,
}

impl Module {
    /// What stands before the names of its tensors.
    pub(crate) fn prefix(&self) -> String {
        format!("{}/", self.path)
    }
}

/// What is supported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    Transformer,
    Pooling,
    Dense,
    LayerNorm,
}

/// A module behind the encoder, with its files.
pub(crate) struct ModuleFiles {
    pub(crate) module: Module,
    pub(crate) config: File,
    /// None where it has none, as Pooling.
    pub(crate) weights: Option<File>,
}

/// The modules that a file lists, the encoder first.
pub(crate) fn list(file: &File) -> Result<Vec<Module>> {
    let json = file.json()?;
    let fields = Fields { file, map: &Map::new() };
    let modules = json.as_array().filter(|modules| !modules.is_empty());
    let modules = modules.ok_or_else(|| {
        let found = if json.is_array() { "an empty one" } else { kind(&json) };
        fields.error("(the whole file)", "a list of modules", found)
    })?;
    modules.iter().enumerate().map(|(number, module)| parse(&fields, number, module)).collect()
}

fn parse(fields: &Fields<'_>, number: usize, module: &Value) -> Result<Module> {
    let class = &module["type"];
    let name = class.as_str().unwrap_or_default();
    let own = name.starts_with("sentence_transformers.");
    let class = match name.rsplit('.').next() {
        Some("Transformer") if own => Class::Transformer,
        Some("Pooling") if own => Class::Pooling,
        Some("Dense") if own => Class::Dense,
        Some("LayerNorm") if own => Class::LayerNorm,
        _ => {
            let expected = "Transformer, Pooling, Dense or LayerNorm of sentence-transformers";
            return Err(fields.error(&format!("[{number}].type"), expected, class));
        }
    };
    if (class == Class::Transformer) != (number == 0) {
        let expected = "a Transformer first, and none behind it";
        return Err(fields.error(&format!("[{number}].type"), expected, name));
    }
    let path = &module["path"];
    let inside = |path: &str| {
        Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
    };
    match path.as_str() {
        Some(path) if inside(path) => {
            let path = if path == "." { "" } else { path };
            Ok(Module { class, path: path.to_owned() })
        }
        _ => Err(fields.error(&format!("[{number}].path"), "the path of a folder within this one", path)),
    }
}

/// Whether sentence-transformers takes a folder for one that its `CrossEncoder` has saved, by the `model_type` of
/// `config_sentence_transformers.json`, which is given where it is another one.
pub(crate) fn is_cross_encoder(config: Option<&File>) -> Result<std::result::Result<(), Option<String>>> {
    let model_type = match config {
        Some(file) => {
            let json = file.json()?;
            Fields::new(file, &json)?.string("model_type")?.map(str::to_owned)
        }
        None => None,
    };
    Ok(if model_type.as_deref() == Some("CrossEncoder") { Ok(()) } else { Err(model_type) })
}
