//! Which files of a repository the engine reads.
//!
//! It is the engine's own reading of a folder, file by file (`src/checkpoint/files.rs` there): the modules of
//! `modules.json` count where a `CrossEncoder` was saved, and the encoder may be in a folder of its own then.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::listing::is_safe;

const CONFIG: &str = "config.json";
const MODULES: &str = "modules.json";
const SENTENCE_TRANSFORMERS_CONFIG: &str = "config_sentence_transformers.json";
/// Beside `config.json`, where they are there. The last is for other programs that use the same folder.
const SETTINGS: [&str; 3] = ["tokenizer_config.json", "sentence_bert_config.json", "special_tokens_map.json"];
const TOKENIZER: &str = "tokenizer.json";
/// What there was before it.
const VOCABULARIES: [&str; 5] =
    ["sentencepiece.bpe.model", "spiece.model", "vocab.json", "merges.txt", "vocab.txt"];
const WEIGHTS: &str = "model.safetensors";
const SHARD_INDEX: &str = "model.safetensors.index.json";
const ADAPTER: &str = "adapter_config.json";
/// How the names of weights end that other programs read.
const WEIGHT_ENDINGS: [&str; 11] =
    [".bin", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx", ".ot", ".pt", ".pth", ".safetensors", ".tflite"];
/// Names that an error shows.
const MOST_NAMES: usize = 5;

/// A list of files, and how to get one of them.
pub(crate) struct Needs<'a, F> {
    pub(crate) id: &'a str,
    pub(crate) names: &'a BTreeSet<String>,
    /// Whether the names are all that the repository has, so that what is not among them does not exist.
    pub(crate) whole: bool,
    /// Gives the path of a file, or None where it is missing and work shall go on, to find what else is.
    pub(crate) get: F,
}

#[derive(Deserialize)]
struct Module {
    #[serde(default)]
    path: String,
}

#[derive(Deserialize)]
struct CrossEncoder {
    model_type: Option<String>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl<F: FnMut(&str) -> Result<Option<PathBuf>>> Needs<'_, F> {
    /// Gets every file that is needed, the weights last: who finds them finds the others, too.
    pub(crate) fn all(&mut self) -> Result<()> {
        if self.whole {
            self.refuse()?;
        }
        let paths = self.module_paths()?;
        let (encoder, modules) = match paths.split_first() {
            Some((encoder, modules)) => (&**encoder, modules),
            None => ("", &[][..]),
        };
        (self.get)(&within(encoder, CONFIG))?;
        for name in SETTINGS {
            self.get_if_there(&within(encoder, name))?;
        }
        self.tokenizer(encoder)?;
        for module in modules {
            (self.get)(&within(module, CONFIG))?;
        }
        for module in modules {
            self.module_weights(module)?;
        }
        self.weights(encoder)
    }

    fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    fn get_if_there(&mut self, name: &str) -> Result<Option<PathBuf>> {
        if self.has(name) { (self.get)(name) } else { Ok(None) }
    }

    fn unusable(&self, reason: String) -> Error {
        Error::Unusable { id: self.id.to_owned(), reason }
    }

    /// Says of a repository that it is no model for this engine, before anything is downloaded.
    fn refuse(&self) -> Result<()> {
        if self.has(ADAPTER) {
            return Err(self.unusable(format!(
                "it is an adapter, as its {ADAPTER} says, not a whole model: merge it into its base model \
                 (`merge_and_unload` in peft), save that with `save_pretrained` and give its folder"
            )));
        }
        let is_weights = |name: &String| {
            [WEIGHTS, SHARD_INDEX].iter().any(|end| name == end || name.ends_with(&format!("/{end}")))
        };
        let found = self.names.iter().filter(|name| is_weights(name));
        // In a folder of its own the encoder is only where modules.json says so.
        if found.filter(|name| !name.contains('/') || self.has(MODULES)).count() == 0 {
            return Err(self.no_weights(""));
        }
        Ok(())
    }

    fn no_weights(&self, folder: &str) -> Error {
        let ends = |name: &String| WEIGHT_ENDINGS.iter().any(|ending| name.ends_with(ending));
        let found: Vec<&String> =
            self.names.iter().filter(|name| name.starts_with(folder) && ends(name)).collect();
        let mut names: Vec<String> =
            found.iter().take(MOST_NAMES).map(|name| format!("`{}`", name.escape_debug())).collect();
        if found.len() > MOST_NAMES {
            names.push(format!("{} more", found.len() - MOST_NAMES));
        }
        let pickle = found
            .iter()
            .any(|name| name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth"));
        let to_do = if pickle {
            ". Weights of Python's pickle are not read: load and save them in Python (`save_pretrained` writes \
             safetensors) and give that folder, or see whether a pull request of the repository has them: \
             `org/name@refs/pr/N`"
        } else if found.is_empty() {
            ": is it a model?"
        } else {
            ". Give the repository of the model that they were made of"
        };
        let found = if names.is_empty() { "no weights at all".to_owned() } else { names.join(", ") };
        self.unusable(format!("expected {} or {SHARD_INDEX}, found {found}{to_do}", within(folder, WEIGHTS)))
    }

    /// The folders of the modules of a `CrossEncoder`, the encoder's first; none where it is no such model.
    fn module_paths(&mut self) -> Result<Vec<String>> {
        let modules = self.get_if_there(MODULES)?;
        let config = self.get_if_there(SENTENCE_TRANSFORMERS_CONFIG)?;
        let (Some(modules), Some(config)) = (modules, config) else { return Ok(Vec::new()) };
        let config: CrossEncoder = self.json(SENTENCE_TRANSFORMERS_CONFIG, &config)?;
        if config.model_type.as_deref() != Some("CrossEncoder") {
            return Ok(Vec::new());
        }
        let modules: Vec<Module> = self.json(MODULES, &modules)?;
        let mut paths = Vec::new();
        for Module { path } in modules {
            let path = if path == "." { String::new() } else { path };
            let path = path.strip_prefix("./").unwrap_or(&path).trim_end_matches('/');
            if !path.is_empty() && !is_safe(path) {
                return Err(self.unsafe_name(path));
            }
            paths.push(path.to_owned());
        }
        Ok(paths)
    }

    fn tokenizer(&mut self, folder: &str) -> Result<()> {
        if self.has(&within(folder, TOKENIZER)) {
            return (self.get)(&within(folder, TOKENIZER)).map(drop);
        }
        let mut any = false;
        for name in VOCABULARIES {
            let name = within(folder, name);
            any |= self.has(&name);
            self.get_if_there(&name)?;
        }
        if any {
            return Ok(());
        }
        if self.whole {
            return Err(self.unusable(format!(
                "expected {} or a vocabulary, as vocab.txt or sentencepiece.bpe.model, found neither",
                within(folder, TOKENIZER)
            )));
        }
        (self.get)(&within(folder, TOKENIZER)).map(drop)
    }

    /// A module may have no weights, as one that pools has none.
    fn module_weights(&mut self, folder: &str) -> Result<()> {
        if self.whole && !self.has(&within(folder, WEIGHTS)) && self.has(&within(folder, "pytorch_model.bin"))
        {
            return Err(self.no_weights(folder));
        }
        self.get_if_there(&within(folder, WEIGHTS)).map(drop)
    }

    fn weights(&mut self, folder: &str) -> Result<()> {
        let (whole, index) = (within(folder, WEIGHTS), within(folder, SHARD_INDEX));
        if self.has(&whole) || !self.has(&index) {
            if self.whole && !self.has(&whole) {
                return Err(self.no_weights(folder));
            }
            return (self.get)(&whole).map(drop);
        }
        let Some(path) = (self.get)(&index)? else { return Ok(()) };
        let Index { weight_map } = self.json(&index, &path)?;
        let shards: BTreeSet<String> = weight_map.into_values().collect();
        for shard in shards {
            if shard.contains('/') || !is_safe(&shard) {
                return Err(self.unsafe_name(&shard));
            }
            (self.get)(&within(folder, &shard))?;
        }
        Ok(())
    }

    fn unsafe_name(&self, name: &str) -> Error {
        Error::UnsafeName { id: self.id.to_owned(), name: name.to_owned() }
    }

    fn json<T: DeserializeOwned>(&self, name: &str, path: &PathBuf) -> Result<T> {
        let bytes = fs::read(path).map_err(Error::io(path))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| self.unusable(format!("its {name} is broken: {error}")))
    }
}

/// The name of a file in a folder of the repository, which is empty for the repository's own.
fn within(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}
