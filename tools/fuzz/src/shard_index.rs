//! `model.safetensors.index.json`.

use std::fs;

use tempfile::TempDir;

use crate::model::{self, CONFIG, TOKENIZER};

const SHARDS: [(&str, &[u8]); 2] = [
    ("model-00001-of-00002.safetensors", include_bytes!("../model/shards/model-00001-of-00002.safetensors")),
    ("model-00002-of-00002.safetensors", include_bytes!("../model/shards/model-00002-of-00002.safetensors")),
];

thread_local! {
    /// The folder of a model in two shards, without its index.
    static FOLDER: TempDir = {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let files = [("config.json", CONFIG), ("tokenizer.json", TOKENIZER)];
        for (name, contents) in files.into_iter().chain(SHARDS) {
            fs::write(folder.path().join(name), contents).expect("a file in it");
        }
        folder
    };
}

/// The bytes are `model.safetensors.index.json`. No name in it leads out of the model's folder.
pub fn shard_index(bytes: &[u8]) -> bool {
    FOLDER.with(|folder| {
        fs::write(folder.path().join("model.safetensors.index.json"), bytes).expect("an index in the folder");
        model::check(model::builder().load(folder.path())).is_some()
    })
}
