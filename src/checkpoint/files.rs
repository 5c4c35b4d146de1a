//! The files of a model: out of a folder, or handed over as bytes.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Component, Path};
use std::sync::Arc;

use crossrank_kernels::SharedBytes;
use serde_json::Value;

use super::mapped_file::MappedFile;
use crate::error::{Error, Result};

pub(crate) const CONFIG: &str = "config.json";
pub(crate) const TOKENIZER: &str = "tokenizer.json";
pub(crate) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
pub(crate) const SENTENCE_TRANSFORMERS_CONFIG: &str = "config_sentence_transformers.json";
pub(crate) const MODULES: &str = "modules.json";
pub(crate) const SENTENCE_BERT_CONFIG: &str = "sentence_bert_config.json";
pub(crate) const WEIGHTS: &str = "model.safetensors";
pub(crate) const SHARD_INDEX: &str = "model.safetensors.index.json";

/// How weights get into memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum WeightSource {
    /// Map the file: embeddings are read in place, so that only the rows of words that occur are ever touched, and so
    /// are the weights of a packed checkpoint.
    ///
    /// The file must not change while the model lives. If another process overwrites it, scores may change; if it
    /// shrinks, reading beyond its new end kills the process with SIGBUS on Unix. Replacing a file by renaming a new
    /// one over it is safe. Where that cannot be promised, use [`WeightSource::Read`].
    #[default]
    Mmap,
    /// Read the file into memory once; later changes to it have no effect.
    Read,
}

/// A file that is there, under the name that errors give it.
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) bytes: SharedBytes,
    /// The same bytes, if they are a file that is mapped.
    pub(crate) map: Option<Arc<MappedFile>>,
}

impl File {
    pub(crate) fn json(&self) -> Result<Value> {
        super::json::parse((*self.bytes).as_ref())
            .map_err(|source| Error::Json { file: self.name.clone(), source })
    }
}

/// A model as bytes that the caller holds, for models embedded in a binary or fetched by other means.
///
/// Bytes are anything that gives a slice and lives long enough, at any alignment: `&'static [u8]` from
/// `include_bytes!`, a `Vec<u8>`, a map of the caller's own. Nothing is copied but what is packed, and the panels of a
/// packed checkpoint that do not lie at multiples of 64 bytes.
///
/// ```no_run
/// # fn main() -> crossrank::Result<()> {
/// let bytes = crossrank::ModelBytes::new(
///     std::fs::read("model/config.json").unwrap(),
///     std::fs::read("model/model.safetensors").unwrap(),
/// )
/// .tokenizer(std::fs::read("model/tokenizer.json").unwrap());
/// let reranker = crossrank::Reranker::from_bytes(bytes)?;
/// # Ok(())
/// # }
/// ```
pub struct ModelBytes(Files);

impl ModelBytes {
    /// The contents of `config.json` and `model.safetensors`.
    pub fn new(
        config: impl AsRef<[u8]> + Send + Sync + 'static,
        weights: impl AsRef<[u8]> + Send + Sync + 'static,
    ) -> Self {
        Self(Files {
            config: embedded(CONFIG, config),
            tokenizer: None,
            tokenizer_config: None,
            sentence_transformers_config: None,
            modules: None,
            sentence_bert_config: None,
            weights: vec![embedded(WEIGHTS, weights)],
            shard_index: None,
        })
    }

    /// The contents of one more weights file, for a checkpoint in shards. Their index is not needed.
    pub fn shard(mut self, weights: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        let name = format!("{WEIGHTS} (shard {})", self.0.weights.len() + 1);
        self.0.weights.push(embedded(&name, weights));
        self
    }

    /// The contents of `tokenizer.json`.
    pub fn tokenizer(mut self, bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        self.0.tokenizer = Some(embedded(TOKENIZER, bytes));
        self
    }

    /// The contents of `tokenizer_config.json`.
    pub fn tokenizer_config(mut self, bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        self.0.tokenizer_config = Some(embedded(TOKENIZER_CONFIG, bytes));
        self
    }

    /// The contents of `config_sentence_transformers.json`, which is read where there is a `modules.json`.
    pub fn sentence_transformers_config(mut self, bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        self.0.sentence_transformers_config = Some(embedded(SENTENCE_TRANSFORMERS_CONFIG, bytes));
        self
    }

    /// The contents of `modules.json`.
    pub fn modules(mut self, bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        self.0.modules = Some(embedded(MODULES, bytes));
        self
    }

    /// The contents of `sentence_bert_config.json`, which is read where there is a `modules.json`.
    pub fn sentence_bert_config(mut self, bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        self.0.sentence_bert_config = Some(embedded(SENTENCE_BERT_CONFIG, bytes));
        self
    }

    pub(crate) fn into_files(self) -> Files {
        self.0
    }
}

fn embedded(name: &str, bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> File {
    File { name: name.to_owned(), bytes: Arc::new(bytes), map: None }
}

/// Everything that is read of a model.
pub(crate) struct Files {
    pub(crate) config: File,
    pub(crate) tokenizer: Option<File>,
    pub(crate) tokenizer_config: Option<File>,
    pub(crate) sentence_transformers_config: Option<File>,
    pub(crate) modules: Option<File>,
    pub(crate) sentence_bert_config: Option<File>,
    /// One file, or the shards.
    pub(crate) weights: Vec<File>,
    /// Tensor to shard, as the index says.
    pub(crate) shard_index: Option<ShardIndex>,
}

pub(crate) struct ShardIndex {
    pub(crate) name: String,
    /// Tensor name to file name.
    pub(crate) weight_map: BTreeMap<String, String>,
}

impl Files {
    pub(crate) fn open(folder: &Path, source: WeightSource) -> Result<Self> {
        if !folder.metadata().map_err(|source| Error::Io { path: folder.into(), source })?.is_dir() {
            return Err(Error::NotAFolder { path: folder.into() });
        }
        let optional = |name: &str| match folder.join(name) {
            path if path.exists() => read(&path).map(Some),
            _ => Ok(None),
        };
        let weights = |name: &str| {
            let path = folder.join(name);
            let map = match source {
                WeightSource::Mmap => Arc::new(MappedFile::open(&path)?),
                WeightSource::Read => {
                    let bytes = Arc::new(MappedFile::read(&path)?);
                    return Ok(File { name: path.display().to_string(), bytes, map: None });
                }
            };
            Ok(File { name: path.display().to_string(), bytes: map.clone(), map: Some(map) })
        };
        let index = if folder.join(WEIGHTS).exists() { None } else { optional(SHARD_INDEX)? };
        let (weights, shard_index) = match index {
            None => (vec![weights(WEIGHTS)?], None),
            Some(file) => {
                let index = ShardIndex::parse(&file)?;
                let mut shards: Vec<&String> = index.weight_map.values().collect();
                shards.sort();
                shards.dedup();
                (shards.into_iter().map(|name| weights(name)).collect::<Result<_>>()?, Some(index))
            }
        };
        Ok(Self {
            config: read(&folder.join(CONFIG))?,
            tokenizer: optional(TOKENIZER)?,
            tokenizer_config: optional(TOKENIZER_CONFIG)?,
            sentence_transformers_config: optional(SENTENCE_TRANSFORMERS_CONFIG)?,
            modules: optional(MODULES)?,
            sentence_bert_config: optional(SENTENCE_BERT_CONFIG)?,
            weights,
            shard_index,
        })
    }
}

impl ShardIndex {
    fn parse(file: &File) -> Result<Self> {
        let broken = |reason: String| Error::ShardIndex { file: file.name.clone(), reason };
        let json = file.json()?;
        let entries = json
            .get("weight_map")
            .and_then(Value::as_object)
            .ok_or_else(|| broken("`weight_map` is missing or no object".into()))?;
        let mut weight_map = BTreeMap::new();
        for (tensor, shard) in entries {
            let shard = shard
                .as_str()
                .ok_or_else(|| broken(format!("shard of `{tensor}` is no file name: {shard}")))?;
            // A hub folder may link its files elsewhere, but no name in it has a reason to.
            if !matches!(Path::new(shard).components().collect::<Vec<_>>()[..], [Component::Normal(_)]) {
                return Err(broken(format!(
                    "shard `{shard}` of `{tensor}` is not a file in the model's folder"
                )));
            }
            weight_map.insert(tensor.clone(), shard.to_owned());
        }
        if weight_map.is_empty() {
            return Err(broken("`weight_map` is empty".into()));
        }
        Ok(Self { name: file.name.clone(), weight_map })
    }
}

fn read(path: &Path) -> Result<File> {
    let read = || {
        let mut bytes = Vec::new();
        open_regular(path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|source| Error::Io { path: path.into(), source })?;
    Ok(File { name: path.display().to_string(), bytes: Arc::new(bytes), map: None })
}

/// Opens what has an end: a pipe or a device may have none, and to open it may wait for ever.
pub(crate) fn open_regular(path: &Path) -> io::Result<std::fs::File> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("expected a regular file, found a folder, a pipe or a device"));
    }
    std::fs::File::open(path)
}
