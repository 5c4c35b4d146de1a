//! A new model folder, which is there as a whole or not at all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crossrank::Reranker;
use tempfile::TempDir;

use crate::failure::{Failure, describe};
use crate::interrupt::Interrupt;

/// What a model folder holds beside its weights. Only the first must be there, which loading has shown.
const COPIED: [&str; 12] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "config_sentence_transformers.json",
    MODULES,
    "sentence_bert_config.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "special_tokens_map.json",
];
const MODULES: &str = "modules.json";

/// What a module of `modules.json` holds: its settings, and its weights where those do not become part of the model's.
const OF_MODULE: [&str; 2] = ["config.json", "model.safetensors"];

/// Copies all of a model but its weights; those of modules behind the encoder with `their_weights`.
pub fn copy_neighbours(
    from: &Path,
    to: &Path,
    their_weights: bool,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    for name in COPIED {
        copy(&from.join(name), &to.join(name))?;
        interrupt.check()?;
    }
    for folder in module_folders(&from.join(MODULES))? {
        let to = to.join(&folder);
        fs::create_dir_all(&to).map_err(|error| Failure::about(to.display(), error))?;
        for name in &OF_MODULE[..if their_weights { 2 } else { 1 }] {
            copy(&from.join(&folder).join(name), &to.join(name))?;
        }
        interrupt.check()?;
    }
    Ok(())
}

/// The folders of modules that are not the model's own. Loading has checked what the file says.
fn module_folders(path: &Path) -> Result<Vec<String>, Failure> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::about(path.display(), error)),
    };
    let json: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|error| Failure::about(path.display(), error))?;
    if let Some(own) = json[0]["path"].as_str().filter(|path| !matches!(*path, "" | ".")) {
        let reason = format!("expected the Transformer in the model's own folder, found it in `{own}`");
        return Err(Failure::about(path.display(), reason));
    }
    let paths = json.as_array().into_iter().flatten().filter_map(|module| module["path"].as_str());
    let inside = |path: &&str| {
        let normal = |part| matches!(part, std::path::Component::Normal(_));
        !path.is_empty() && Path::new(path).components().all(normal)
    };
    Ok(paths
        .filter(inside)
        .filter(|folder| path.with_file_name(folder).is_dir())
        .map(str::to_owned)
        .collect())
}

/// Loads what has been written, before anyone else does.
pub fn load_result(folder: &Path) -> Result<Reranker, Failure> {
    Reranker::load(folder).map_err(|error| Failure::about("the result cannot be loaded", describe(&error)))
}

/// Copies what a file holds, not its permissions or links: hub folders are links into a read-only cache.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let bytes = match fs::read(from) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Failure::about(from.display(), error)),
    };
    fs::write(to, bytes).map_err(|error| Failure::about(to.display(), error))
}

/// The folder that something is to be written in, which must exist.
pub fn parent_folder(path: &Path) -> Result<&Path, Failure> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if parent.is_dir() {
        Ok(parent)
    } else {
        let reason = "expected a name within a folder that exists, found one that does not";
        Err(Failure::about(path.display(), reason))
    }
}

/// Where the result goes, all at once.
pub struct OutFolder {
    path: PathBuf,
    parent: PathBuf,
}

impl OutFolder {
    /// A folder that does not exist, or an empty one.
    pub fn check(path: &Path) -> Result<Self, Failure> {
        let failed = |reason: &dyn std::fmt::Display| Failure::about(path.display(), reason);
        let path = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(failed(&error)),
            Ok(_) => {
                let mut entries = fs::read_dir(path).map_err(|error| failed(&error))?;
                if entries.next().is_some() {
                    return Err(failed(
                        &"expected a folder that does not exist or is empty, found one with files",
                    ));
                }
                let path = path.canonicalize().map_err(|error| failed(&error))?;
                if std::env::current_dir().is_ok_and(|current| current == path) {
                    return Err(failed(
                        &"expected another folder than the current one, which would be replaced",
                    ));
                }
                path
            }
        };
        if path.parent().is_none() {
            return Err(failed(&"expected the name of a folder"));
        }
        let parent = parent_folder(&path)?.to_owned();
        Ok(Self { path, parent })
    }

    /// A folder beside it, so that it can be renamed; removed again unless `put`.
    pub fn temporary(&self, command: &str) -> Result<TempDir, Failure> {
        let folder =
            tempfile::Builder::new().prefix(&format!(".crossrank-{command}-")).tempdir_in(&self.parent);
        folder.map_err(|error| Failure::about(self.parent.display(), error))
    }

    pub fn put(self, folder: TempDir) -> Result<(), Failure> {
        let failed = |error| Failure::about(self.path.display(), error);
        // Windows renames over no folder, not even an empty one.
        if cfg!(windows) && self.path.is_dir() {
            fs::remove_dir(&self.path).map_err(failed)?;
        }
        fs::rename(folder.path(), &self.path).map_err(failed)?;
        let _ = folder.keep();
        Ok(())
    }
}
