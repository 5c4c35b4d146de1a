//! crossrank as WebAssembly modules: what a worker of `tools/web/package` calls. Texts and files in, JSON out.
//!
//! The modules are made by `tools/web/build.sh`. One instance serves one model, so its memory ends with it.

mod files;
mod isa;
mod options;
#[cfg(target_feature = "atomics")]
mod pool;
mod request;

use std::rc::Rc;

use crossrank::Reranker;
use wasm_bindgen::prelude::*;

use files::ModelFiles;
use options::Loading;
pub use request::Request;

/// What JavaScript gets to see of an error: its message.
fn error(error: impl std::fmt::Display) -> JsError {
    JsError::new(&error.to_string())
}

/// Takes the files of a model in pieces, as they arrive, into memory where they stay.
#[wasm_bindgen]
pub struct Loader(ModelFiles);

#[wasm_bindgen]
impl Loader {
    /// Memory for `bytes` bytes of a file, by its path in the model's folder.
    ///
    /// # Errors
    /// When a model has no file of that name, or it was named before, or there is not so much memory.
    pub fn reserve(&mut self, name: &str, bytes: usize) -> Result<(), JsError> {
        self.0.reserve(name, bytes).map_err(error)
    }

    /// The next bytes of a file.
    ///
    /// # Errors
    /// When nothing was reserved under that name, or less than is there with `chunk`.
    pub fn write(&mut self, name: &str, chunk: &[u8]) -> Result<(), JsError> {
        self.0.write(name, chunk).map_err(error)
    }

    /// Loads the model. `options` is a JSON object: `dtype`, `maxLength`, `isa`.
    ///
    /// # Errors
    /// When a file is missing, not complete or broken, or the options do not fit.
    pub fn finish(self, options: &str) -> Result<Engine, JsError> {
        let builder = Loading::parse(options).and_then(Loading::builder).map_err(error)?;
        #[cfg(target_feature = "atomics")]
        let builder = match pool::pool() {
            Some(pool) => builder.pool(pool),
            None => builder.threads(1),
        };
        #[cfg(not(target_feature = "atomics"))]
        let builder = builder.threads(1);
        let bytes = self.0.model().map_err(error)?;
        Ok(Engine(Rc::new(builder.from_bytes(bytes).map_err(error)?)))
    }
}

/// A loaded model.
#[wasm_bindgen]
pub struct Engine(Rc<Reranker>);

#[wasm_bindgen]
impl Engine {
    /// A loader without files.
    pub fn begin() -> Loader {
        Loader(ModelFiles::default())
    }

    /// What was loaded and how it runs, a JSON object: `family`, `dtype`, `isa`, `products`, `maxLength`, `labels`,
    /// `threads`, `notes`.
    pub fn info(&self) -> String {
        options::info(&self.0.info())
    }

    /// Documents to rank. `options` is a JSON object: `long`, `stride`, `label`, `score`.
    ///
    /// # Errors
    /// When the options are no such object.
    pub fn request(&self, query: &str, documents: Vec<String>, options: &str) -> Result<Request, JsError> {
        let options = options::Ranking::parse(options).and_then(options::Ranking::options).map_err(error)?;
        Ok(Request::new(Rc::clone(&self.0), query, documents, options))
    }

    /// The weights as `crossrank pack` writes them: a `model.safetensors` that loads without being packed, and so is in
    /// memory once.
    ///
    /// # Errors
    /// When the model is packed already.
    pub fn pack(&self) -> Result<Vec<u8>, JsError> {
        let mut bytes = Vec::new();
        self.0.write_packed(&mut bytes).map_err(error)?;
        Ok(bytes)
    }

    /// The logits of each document, one a label, in input order.
    ///
    /// # Errors
    /// When a document cannot be scored.
    pub fn logits(&self, query: &str, documents: Vec<String>) -> Result<Vec<f32>, JsError> {
        let pairs: Vec<(&str, &str)> = documents.iter().map(|document| (query, document.as_str())).collect();
        let scores = self.0.score_pairs(&pairs).map_err(error)?;
        Ok(scores.into_iter().flat_map(|score| score.logits).collect())
    }
}
