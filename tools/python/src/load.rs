//! Models: where they come from, how they are loaded, and what a fork does to them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossrank::{Dtype, Reranker, TokenizerRules, WeightSource};
use crossrank_hub::{Event, Hub, Settings};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::errors;

/// How a model is loaded.
#[derive(Clone)]
pub struct Load {
    /// The folder.
    pub path: PathBuf,
    /// The most tokens of a pair.
    pub max_length: Option<usize>,
    /// The precision of products.
    pub dtype: Dtype,
    /// Worker threads.
    pub threads: Option<usize>,
    /// Whose token ids.
    pub tokenizer: TokenizerRules,
    /// Mapped or read.
    pub weights: WeightSource,
}

impl Load {
    /// Loads it. Prompts are Python's business: the engine puts none in front of a query.
    pub fn load(&self) -> crossrank::Result<Reranker> {
        let mut builder = Reranker::builder()
            .dtype(self.dtype)
            .tokenizer_rules(self.tokenizer)
            .weight_source(self.weights)
            .query_prompt("");
        if let Some(tokens) = self.max_length {
            builder = builder.max_length(tokens);
        }
        if let Some(threads) = self.threads {
            builder = builder.threads(threads);
        }
        builder.load(&self.path)
    }
}

/// A model, and the process that its threads are in.
///
/// The lock is taken by threads that have the interpreter's, and given back before they give that back. A process is
/// forked by a thread that has the interpreter's lock, too, so no child finds this one taken.
pub struct Shared {
    load: Load,
    current: Mutex<Current>,
}

struct Current {
    reranker: Arc<Reranker>,
    process: u32,
}

impl Shared {
    /// Loads a model.
    pub fn new(py: Python<'_>, load: Load) -> PyResult<Self> {
        let reranker = py.detach(|| load.load()).map_err(errors::to_python)?;
        let current = Current { reranker: Arc::new(reranker), process: std::process::id() };
        Ok(Self { load, current: Mutex::new(current) })
    }

    /// The model, with threads that are in this process.
    ///
    /// Where it was loaded before a fork, threads are made anew, and weights stay shared with the parent. Where a call was
    /// under way at the fork, its threads may have held locks that nobody will ever give back: the model is then loaded
    /// anew from its folder.
    pub fn get(&self, _py: Python<'_>) -> PyResult<Arc<Reranker>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let here = std::process::id();
        if current.process != here {
            match Arc::get_mut(&mut current.reranker) {
                Some(idle) => idle.restart_threads().map_err(errors::to_python)?,
                None => {
                    let anew = Arc::new(self.load.load().map_err(errors::to_python)?);
                    // Not to be dropped: that would touch what may be locked.
                    std::mem::forget(std::mem::replace(&mut current.reranker, anew));
                }
            }
            current.process = here;
        }
        Ok(current.reranker.clone())
    }
}

/// The precision of a name.
pub fn dtype(name: &str) -> PyResult<Dtype> {
    Dtype::named(name).ok_or_else(|| one_of("dtype", "auto, f32, bf16 or int8", name))
}

/// The token ids of a name.
pub fn tokenizer(name: &str) -> PyResult<TokenizerRules> {
    match name {
        "author" => Ok(TokenizerRules::Author),
        "transformers5" => Ok(TokenizerRules::Transformers5),
        _ => Err(one_of("tokenizer", "author or transformers5", name)),
    }
}

/// How weights come into memory.
pub fn weights(name: &str) -> PyResult<WeightSource> {
    match name {
        "mmap" => Ok(WeightSource::Mmap),
        "read" => Ok(WeightSource::Read),
        _ => Err(one_of("weights", "mmap or read", name)),
    }
}

/// An error that names what an argument may be.
pub fn one_of(name: &str, expected: &str, found: &str) -> PyErr {
    PyValueError::new_err(format!("{name}: expected {expected}, found {found:?}"))
}

/// The folder of a model on the Hugging Face hub, after what the cache lacked was downloaded, and what there was to warn
/// of. `overrides` are environment variables that count in place of the process's own; empty is not set.
#[pyfunction]
pub fn snapshot(
    py: Python<'_>,
    name: String,
    overrides: Vec<(String, OsString)>,
) -> PyResult<(PathBuf, Vec<String>)> {
    let (tell, mut told) = channel();
    let spawned = std::thread::Builder::new().name("crossrank-download".into()).spawn(move || {
        // Who waits may have been interrupted.
        let _ = tell.send(download(&name, &overrides));
    });
    spawned.map_err(|error| {
        PyRuntimeError::new_err(format!("no thread can be had for the download: {error}"))
    })?;
    loop {
        let told = &mut told;
        match py.detach(move || told.recv_timeout(Duration::from_millis(50))) {
            Ok(result) => return result.map_err(errors::of_hub),
            // What has come in by then stays in the cache.
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err("the download ended without a result"));
            }
        }
    }
}

fn download(name: &str, overrides: &[(String, OsString)]) -> crossrank_hub::Result<(PathBuf, Vec<String>)> {
    let model = crossrank_hub::Model::parse(name)?;
    let settings = Settings::from_env(|variable| {
        let own = overrides.iter().find(|(name, _)| name == variable).map(|(_, value)| value.clone());
        own.or_else(|| std::env::var_os(variable))
    })?;
    let warnings = Mutex::new(vec![]);
    let hub = Hub::new(settings)?.watched_by(|event| {
        if let Event::Warning { message } = event {
            warnings.lock().unwrap_or_else(PoisonError::into_inner).push(message.to_owned());
        }
    });
    let folder = hub.snapshot(&model)?;
    drop(hub);
    Ok((folder, warnings.into_inner().unwrap_or_else(PoisonError::into_inner)))
}
