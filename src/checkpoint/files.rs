//! The files of a model: out of a folder, or handed over as bytes.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crossrank_kernels::SharedBytes;
use serde_json::Value;

use super::mapped_file::MappedFile;
use super::modules::{Module, ModuleFiles, is_cross_encoder, list};
use super::stand_in;
use crate::error::{Error, Result};

pub(crate) const CONFIG: &str = "config.json";
pub(crate) const TOKENIZER: &str = "tokenizer.json";
/// What there was before `tokenizer.json`.
const VOCABULARIES: [&str; 5] =
    ["sentencepiece.bpe.model", "spiece.model", "vocab.json", "merges.txt", "vocab.txt"];
pub(crate) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";
pub(crate) const SENTENCE_TRANSFORMERS_CONFIG: &str = "config_sentence_transformers.json";
pub(crate) const MODULES: &str = "modules.json";
pub(crate) const SENTENCE_BERT_CONFIG: &str = "sentence_bert_config.json";
pub(crate) const WEIGHTS: &str = "model.safetensors";
pub(crate) const SHARD_INDEX: &str = "model.safetensors.index.json";
/// What an adapter's folder has.
const ADAPTER_CONFIG: &str = "adapter_config.json";
/// How the names of weights end that other tools read.
const WEIGHT_ENDINGS: [&str; 11] =
    [".bin", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx", ".ot", ".pt", ".pth", ".safetensors", ".tflite"];
/// Names of them that an error shows.
const MOST_NAMES: usize = 5;

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
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) bytes: SharedBytes,
    /// The same bytes, if they are a file that is mapped.
    pub(crate) map: Option<Arc<MappedFile>>,
}

impl File {
    pub(crate) fn json(&self) -> Result<Value> {
        self.check_json()?;
        super::json::parse((*self.bytes).as_ref())
            .map_err(|source| Error::Json { file: self.name.clone(), source })
    }

    /// Fails when something stands in the place of a JSON file that does not even begin like one.
    pub(crate) fn check_json(&self) -> Result<()> {
        match stand_in::of_json((*self.bytes).as_ref()) {
            Some(reason) => Err(Error::NotTheFile { file: self.name.clone(), reason }),
            None => Ok(()),
        }
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
pub struct ModelBytes {
    files: Files,
    /// The settings and weights of modules behind the encoder, in their order.
    modules: Vec<(File, Option<File>)>,
}

impl ModelBytes {
    /// The contents of `config.json` and `model.safetensors`.
    pub fn new(
        config: impl AsRef<[u8]> + Send + Sync + 'static,
        weights: impl AsRef<[u8]> + Send + Sync + 'static,
    ) -> Self {
        let files = Files {
            config: embedded(CONFIG, config),
            tokenizer: None,
            vocabularies: vec![],
            tokenizer_config: None,
            special_tokens_map: None,
            sentence_transformers_config: None,
            modules: None,
            sentence_bert_config: None,
            head: Vec::new(),
            weights: vec![embedded(WEIGHTS, weights)],
            shard_index: None,
        };
        Self { files, modules: Vec::new() }
    }

    /// The contents of one more weights file, for a checkpoint in shards. Their index is not needed.
    pub fn shard(mut self, weights: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        let name = format!("{WEIGHTS} (shard {})", self.files.weights.len() + 1);
        self.files.weights.push(embedded(&name, weights));
        self
    }

    /// The contents of `tokenizer.json`.
    pub fn tokenizer(mut self, bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        self.files.tokenizer = Some(embedded(TOKENIZER, bytes));
        self
    }

    /// The contents of `tokenizer_config.json`.
    pub fn tokenizer_config(mut self, bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        self.files.tokenizer_config = Some(embedded(TOKENIZER_CONFIG, bytes));
        self
    }

    /// The contents of `special_tokens_map.json`, which names special tokens where `tokenizer_config.json` has no
    /// `added_tokens_decoder`.
    pub fn special_tokens_map(mut self, bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        self.files.special_tokens_map = Some(embedded(SPECIAL_TOKENS_MAP, bytes));
        self
    }

    /// The contents of `config_sentence_transformers.json`, which is read where there is a `modules.json`.
    pub fn sentence_transformers_config(mut self, bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        self.files.sentence_transformers_config = Some(embedded(SENTENCE_TRANSFORMERS_CONFIG, bytes));
        self
    }

    /// The contents of `modules.json`.
    pub fn modules(mut self, bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        self.files.modules = Some(embedded(MODULES, bytes));
        self
    }

    /// The contents of `sentence_bert_config.json`, which is read where there is a `modules.json`.
    pub fn sentence_bert_config(mut self, bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        self.files.sentence_bert_config = Some(embedded(SENTENCE_BERT_CONFIG, bytes));
        self
    }

    /// The contents of `config.json` of one more module that `modules.json` lists behind the encoder, in its order.
    pub fn module(mut self, config: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        let name = format!("config.json of module {}", self.modules.len() + 1);
        self.modules.push((embedded(&name, config), None));
        self
    }

    /// The contents of a module's `config.json` and `model.safetensors`; the latter are not needed where the model is
    /// packed.
    pub fn module_with_weights(
        self,
        config: impl AsRef<[u8]> + Send + Sync + 'static,
        weights: impl AsRef<[u8]> + Send + Sync + 'static,
    ) -> Self {
        let name = format!("{WEIGHTS} of module {}", self.modules.len() + 1);
        let mut with = self.module(config);
        if let Some((_, place)) = with.modules.last_mut() {
            *place = Some(embedded(&name, weights));
        }
        with
    }

    /// Fails where the modules are not those of `modules.json`.
    pub(crate) fn into_files(self) -> Result<Files> {
        let Self { mut files, modules } = self;
        if let Some(file) = &files.modules
            && is_cross_encoder(files.sentence_transformers_config.as_ref())?.is_ok()
        {
            let head = list(file)?.into_iter().skip(1).zip(modules);
            let with_files = |(module, (config, weights))| ModuleFiles { module, config, weights };
            files.head = head.map(with_files).collect();
        }
        Ok(files)
    }
}

fn embedded(name: &str, bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> File {
    File { name: name.to_owned(), bytes: Arc::new(bytes), map: None }
}

/// Everything that is read of a model.
pub(crate) struct Files {
    pub(crate) config: File,
    pub(crate) tokenizer: Option<File>,
    /// The files that stand in for `tokenizer.json` where there is none, with their names.
    #[cfg_attr(not(feature = "tokenizers"), expect(dead_code, reason = "there is no tokenizer"))]
    pub(crate) vocabularies: Vec<(&'static str, File)>,
    pub(crate) tokenizer_config: Option<File>,
    pub(crate) special_tokens_map: Option<File>,
    pub(crate) sentence_transformers_config: Option<File>,
    pub(crate) modules: Option<File>,
    pub(crate) sentence_bert_config: Option<File>,
    /// What stands behind the encoder in place of a classifier of its own.
    pub(crate) head: Vec<ModuleFiles>,
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
        let modules = optional(folder, MODULES)?;
        let sentence_transformers_config = optional(folder, SENTENCE_TRANSFORMERS_CONFIG)?;
        let listed = match &modules {
            Some(file) if is_cross_encoder(sentence_transformers_config.as_ref())?.is_ok() => list(file)?,
            _ => Vec::new(),
        };
        let (encoder, head) = match listed.split_first() {
            Some((encoder, head)) => (module_folder(folder, &encoder.path)?, head),
            None => (folder.to_owned(), &[][..]),
        };
        let head = head.iter().map(|module| module_files(folder, module, source)).collect::<Result<_>>()?;
        let folder = &*encoder;
        let optional = |name: &str| optional(folder, name);
        if let Some(path) = entry(folder, ADAPTER_CONFIG)? {
            let what = "an adapter".into();
            return Err(Error::Adapter { file: path.display().to_string(), what });
        }
        let weights = |name: &str| open_weights(&folder.join(name), source);
        let whole = entry(folder, WEIGHTS)?.is_some();
        let index = if whole { None } else { optional(SHARD_INDEX)? };
        let (weights, shard_index) = match index {
            None if !whole => return Err(no_weights(folder)),
            None => (vec![weights(WEIGHTS)?], None),
            Some(file) => {
                let index = ShardIndex::parse(&file)?;
                let mut shards: Vec<&String> = index.weight_map.values().collect();
                shards.sort();
                shards.dedup();
                (shards.into_iter().map(|name| weights(name)).collect::<Result<_>>()?, Some(index))
            }
        };
        let tokenizer = optional(TOKENIZER)?;
        let mut vocabularies = vec![];
        for name in VOCABULARIES.into_iter().filter(|_| tokenizer.is_none()) {
            vocabularies.extend(optional(name)?.map(|file| (name, file)));
        }
        Ok(Self {
            config: read(&folder.join(CONFIG))?,
            tokenizer,
            vocabularies,
            tokenizer_config: optional(TOKENIZER_CONFIG)?,
            special_tokens_map: optional(SPECIAL_TOKENS_MAP)?,
            sentence_transformers_config,
            modules,
            sentence_bert_config: optional(SENTENCE_BERT_CONFIG)?,
            head,
            weights,
            shard_index,
        })
    }
}

fn open_weights(path: &Path, source: WeightSource) -> Result<File> {
    let name = path.display().to_string();
    match source {
        WeightSource::Mmap => {
            let map = Arc::new(MappedFile::open(path)?);
            Ok(File { name, bytes: map.clone(), map: Some(map) })
        }
        WeightSource::Read => Ok(File { name, bytes: Arc::new(MappedFile::read(path)?), map: None }),
    }
}

fn optional(folder: &Path, name: &str) -> Result<Option<File>> {
    entry(folder, name)?.map(|path| read(&path)).transpose()
}

/// The folder of a module. Its files may be links, as a hub's cache has them; it itself has no reason to be one.
fn module_folder(folder: &Path, path: &str) -> Result<PathBuf> {
    let own = folder.join(path);
    let mut walked = folder.to_owned();
    for part in Path::new(path).components() {
        walked.push(part);
        let found = walked.symlink_metadata().map_err(|source| Error::Io { path: walked.clone(), source })?;
        if !found.is_dir() {
            let reason = "expected a folder of a module, as modules.json says, found a file or a link";
            return Err(Error::Io { path: walked, source: io::Error::other(reason) });
        }
    }
    Ok(own)
}

fn module_files(folder: &Path, module: &Module, source: WeightSource) -> Result<ModuleFiles> {
    let own = module_folder(folder, &module.path)?;
    let weights = entry(&own, WEIGHTS)?.map(|path| open_weights(&path, source)).transpose()?;
    Ok(ModuleFiles { module: module.clone(), config: read(&own.join(CONFIG))?, weights })
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

/// The path of what the folder lists under a name. A link that leads nowhere is listed, too: it is not absent, and what
/// opens it says so.
fn entry(folder: &Path, name: &str) -> Result<Option<PathBuf>> {
    let path = folder.join(name);
    match path.symlink_metadata() {
        Ok(_) => Ok(Some(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { path, source }),
    }
}

/// Says where a file leads that cannot be opened, if it is a link.
pub(super) fn cannot_open(path: &Path, source: io::Error) -> Error {
    let source = match path.read_link() {
        Ok(target) => io::Error::new(source.kind(), format!("a link to {}: {source}", target.display())),
        Err(_) => source,
    };
    Error::Io { path: path.into(), source }
}

/// There are neither weights nor an index of shards: says what there is instead.
fn no_weights(folder: &Path) -> Error {
    let names = folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut names: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| WEIGHT_ENDINGS.iter().any(|ending| name.ends_with(ending)) || name == "onnx")
        .collect();
    names.sort();
    let path = folder.join(WEIGHTS);
    if let Some(adapter) = names.iter().find(|name| name.starts_with("adapter_model.")) {
        let file = folder.join(adapter).display().to_string();
        return Error::Adapter { file, what: "an adapter".into() };
    }
    let more = names.len().saturating_sub(MOST_NAMES);
    names.truncate(MOST_NAMES);
    let names: Vec<_> = names.iter().map(|name| format!("`{}`", name.escape_debug())).collect();
    let found = match (names.is_empty(), more) {
        (true, _) => "no weights at all".to_owned(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names.join(", ")),
    };
    let reason = format!("expected this file or {SHARD_INDEX}, found {found}");
    Error::Io { path, source: io::Error::new(io::ErrorKind::NotFound, reason) }
}

fn read(path: &Path) -> Result<File> {
    let read = || {
        let mut bytes = Vec::new();
        open_regular(path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|source| cannot_open(path, source))?;
    Ok(File { name: path.display().to_string(), bytes: Arc::new(bytes), map: None })
}

/// Opens what has an end: a pipe or a device may have none, and to open it may wait for ever.
pub(crate) fn open_regular(path: &Path) -> io::Result<std::fs::File> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("expected a regular file, found a folder, a pipe or a device"));
    }
    std::fs::File::open(path)
}
