//! The files of a model, written in pieces into the memory that the engine then reads.

use std::collections::BTreeMap;

use crossrank::ModelBytes;

/// Where the panels of a packed checkpoint must begin to be used where they lie.
const LINE: usize = 64;

/// Files at the root of a model's folder that the engine reads, but for weights.
const ROOT: [&str; 7] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "config_sentence_transformers.json",
    "modules.json",
    "sentence_bert_config.json",
];

/// Weights: one file, or shards with numbers in their names.
fn is_weights(name: &str) -> bool {
    name == "model.safetensors"
        || (name.starts_with("model-") && name.ends_with(".safetensors") && !name.contains('/'))
}

/// A file that is being written.
struct File {
    memory: Vec<u8>,
    /// Its first byte, at a multiple of [`LINE`].
    start: usize,
    len: usize,
    written: usize,
}

impl AsRef<[u8]> for File {
    fn as_ref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }
}

/// Files by their paths in the model's folder.
#[derive(Default)]
pub(crate) struct ModelFiles(BTreeMap<String, File>);

impl ModelFiles {
    /// Memory for a file of `len` bytes.
    pub(crate) fn reserve(&mut self, name: &str, len: usize) -> Result<(), String> {
        if !is_known(name) {
            return Err(format!(
                "`{name}` is no file of a model: expected {}, model.safetensors, its shards, or those of modules",
                ROOT.join(", ")
            ));
        }
        if self.0.contains_key(name) {
            return Err(format!("{name} was given twice"));
        }
        let mut memory = Vec::new();
        let room = len.checked_add(LINE).ok_or_else(|| format!("{name}: {len} bytes"))?;
        memory.try_reserve_exact(room).map_err(|_| format!("{name}: no memory for {len} bytes"))?;
        memory.resize(room, 0);
        let start = memory.as_ptr().addr().wrapping_neg() % LINE;
        self.0.insert(name.to_owned(), File { memory, start, len, written: 0 });
        Ok(())
    }

    /// Appends to a file.
    pub(crate) fn write(&mut self, name: &str, chunk: &[u8]) -> Result<(), String> {
        let file = self.0.get_mut(name).ok_or_else(|| format!("nothing is reserved for `{name}`"))?;
        if chunk.len() > file.len - file.written {
            return Err(format!("{name}: expected {} bytes, found more", file.len));
        }
        let at = file.start + file.written;
        file.memory[at..at + chunk.len()].copy_from_slice(chunk);
        file.written += chunk.len();
        Ok(())
    }

    /// The model that they are.
    pub(crate) fn model(mut self) -> Result<ModelBytes, String> {
        if let Some((name, file)) = self.0.iter().find(|(_, file)| file.written < file.len) {
            return Err(format!("{name}: expected {} bytes, found {}", file.len, file.written));
        }
        let config = self.take("config.json").ok_or("config.json is missing")?;
        let shards: Vec<String> = self.0.keys().filter(|name| is_weights(name)).cloned().collect();
        let mut shards = shards.iter().filter_map(|name| self.take(name)).collect::<Vec<_>>().into_iter();
        let mut model = ModelBytes::new(config, shards.next().ok_or("model.safetensors is missing")?);
        for shard in shards {
            model = model.shard(shard);
        }
        for (name, set) in [
            ("tokenizer.json", ModelBytes::tokenizer as fn(ModelBytes, File) -> ModelBytes),
            ("tokenizer_config.json", ModelBytes::tokenizer_config),
            ("special_tokens_map.json", ModelBytes::special_tokens_map),
            ("config_sentence_transformers.json", ModelBytes::sentence_transformers_config),
            ("modules.json", ModelBytes::modules),
            ("sentence_bert_config.json", ModelBytes::sentence_bert_config),
        ] {
            if let Some(file) = self.take(name) {
                model = set(model, file);
            }
        }
        self.modules(model)
    }

    /// With those of the modules, whose folders begin with their numbers.
    fn modules(mut self, mut model: ModelBytes) -> Result<ModelBytes, String> {
        let mut folders: Vec<(usize, String)> = self.0.keys().filter_map(|name| module_of(name)).collect();
        folders.sort();
        folders.dedup();
        for (_, folder) in folders {
            let config = self.take(&format!("{folder}/config.json"));
            let config = config.ok_or_else(|| format!("{folder}/config.json is missing"))?;
            model = match self.take(&format!("{folder}/model.safetensors")) {
                Some(weights) => model.module_with_weights(config, weights),
                None => model.module(config),
            };
        }
        Ok(model)
    }

    fn take(&mut self, name: &str) -> Option<File> {
        self.0.remove(name)
    }
}

fn is_known(name: &str) -> bool {
    ROOT.contains(&name) || is_weights(name) || module_of(name).is_some()
}

/// The number and the folder of the module that a file is of, such as `1_Pooling/config.json`.
fn module_of(name: &str) -> Option<(usize, String)> {
    let (folder, file) = name.split_once('/')?;
    let number = folder.split_once('_')?.0.parse().ok()?;
    ["config.json", "model.safetensors"].contains(&file).then(|| (number, folder.to_owned()))
}
