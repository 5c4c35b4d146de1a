//! A fixture's copy, to be broken.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crossrank::Reranker;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;

/// dtype, shape and bytes of each tensor.
pub type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn copy_folder(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copy = to.join(path.file_name().unwrap());
        if path.is_dir() {
            std::fs::create_dir(&copy).unwrap();
            copy_folder(&path, &copy);
        } else {
            std::fs::copy(&path, copy).unwrap();
        }
    }
}

/// A model folder that may be changed.
pub struct ModelCopy {
    folder: tempfile::TempDir,
}

impl ModelCopy {
    pub fn of(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(&super::fixture(name), folder.path());
        Self { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> &Self {
        std::fs::write(self.file(name), bytes).unwrap();
        self
    }

    pub fn remove(&self, name: &str) -> &Self {
        std::fs::remove_file(self.file(name)).unwrap();
        self
    }

    pub fn edit_json(&self, name: &str, edit: impl FnOnce(&mut Value)) -> &Self {
        let mut json: Value = serde_json::from_slice(&std::fs::read(self.file(name)).unwrap()).unwrap();
        edit(&mut json);
        self.write(name, json.to_string())
    }

    pub fn set_config(&self, field: &str, value: Value) -> &Self {
        self.edit_json("config.json", |json| json[field] = value)
    }

    pub fn edit_tensors(&self, edit: impl FnOnce(&mut Tensors)) -> &Self {
        self.edit_tensors_with(None, edit)
    }

    pub fn edit_tensors_with(
        &self,
        metadata: Option<&[(&str, &str)]>,
        edit: impl FnOnce(&mut Tensors),
    ) -> &Self {
        let bytes = std::fs::read(self.file("model.safetensors")).unwrap();
        let mut tensors: Tensors = SafeTensors::deserialize(&bytes)
            .unwrap()
            .tensors()
            .into_iter()
            .map(|(name, view)| (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec())))
            .collect();
        edit(&mut tensors);
        self.write("model.safetensors", serialize(&tensors, metadata))
    }

    /// The message that loading fails with.
    pub fn error(&self) -> String {
        match Reranker::load(self.path()) {
            Ok(_) => panic!("it loaded"),
            Err(error) => error.to_string(),
        }
    }

    /// Loading fails with a message that has all these parts.
    #[track_caller]
    pub fn fails_with(&self, parts: &[&str]) {
        let error = self.error();
        for part in parts {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
    }
}

pub fn serialize(tensors: &Tensors, metadata: Option<&[(&str, &str)]>) -> Vec<u8> {
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, data))| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    let metadata = metadata.map(|pairs| pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect());
    safetensors::serialize(views, metadata).unwrap()
}
